//! Idle connections that serve one client connection each: their backend was named its client by a PROXY header.

use std::cell::RefCell;

use rustc_hash::FxHashMap;

use crate::proxy::client_binding::ClientId;
use crate::proxy::upstream::connection::UpstreamConnection;

/// Idle connections to one endpoint, each of one client connection.
#[derive(Debug, Default)]
pub(crate) struct DedicatedIdle(RefCell<Kept>);

type Kept = FxHashMap<ClientId, Box<UpstreamConnection>>;

fn remove_oldest(kept: &mut Kept) -> Option<Box<UpstreamConnection>> {
    let oldest = kept.iter().min_by_key(|(_, backend)| backend.since()).map(|(id, _)| *id);
    oldest.and_then(|id| kept.remove(&id))
}

impl DedicatedIdle {
    pub(crate) fn take(&self, client: ClientId) -> Option<Box<UpstreamConnection>> {
        self.0.borrow_mut().remove(&client)
    }

    /// Keeps `backend`. Of more than `most`, the one that has waited longest ends.
    pub(crate) fn put(&self, client: ClientId, backend: Box<UpstreamConnection>, most: usize) {
        let mut kept = self.0.borrow_mut();
        // A client sends one request at a time: it has another connection here only under another server name.
        let before = kept.insert(client, backend);
        let given_up = if kept.len() > most { remove_oldest(&mut kept) } else { None };
        drop(kept);
        drop((before, given_up));
    }

    /// Ends those that have waited longest, until `most` are left.
    pub(crate) fn keep_at_most(&self, most: usize) {
        let mut kept = self.0.borrow_mut();
        if most == 0 {
            *kept = FxHashMap::default();
        }
        while kept.len() > most {
            drop(remove_oldest(&mut kept));
        }
    }

    pub(crate) fn retain(&self, mut keeps: impl FnMut(&mut UpstreamConnection) -> bool) {
        let mut kept = self.0.borrow_mut();
        if kept.is_empty() {
            return;
        }
        kept.retain(|_, backend| keeps(backend));
        if kept.is_empty() {
            kept.shrink_to_fit();
        }
    }
}
