//! One worker's TLS sessions with one endpoint.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

/// Most server names of one store. There is one, unless the name is the request's host.
const MAX_NAMES: usize = 64;

/// What was learned from one endpoint for the next handshake with it: tickets, sessions, its key exchange group.
///
/// rustls gives a store only the server name to look up by, so each endpoint, trust policy, ALPN list and
/// identity generation of each worker has a store of its own, put into a config by
/// [`with_sessions`](super::config::with_sessions). When the generation ends, [`retire`](Self::retire)
/// empties it for good: a ticket that an old connection still receives then goes nowhere.
pub struct Sessions {
    tickets_per_name: usize,
    // rustls demands Sync of a store. Only its own worker calls this one, so the lock is never waited for.
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    retired: bool,
    /// The name used last stands last.
    names: VecDeque<(ServerName<'static>, Known)>,
}

#[derive(Default)]
struct Known {
    group: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    /// Oldest first; each is used once (RFC 8446 §C.4).
    tickets: VecDeque<Tls13ClientSessionValue>,
}

impl Sessions {
    /// A store that keeps at most `tickets_per_endpoint` TLS 1.3 tickets; with 0, no session at all is kept.
    pub fn new(tickets_per_endpoint: usize) -> Self {
        Self { tickets_per_name: tickets_per_endpoint, inner: Mutex::default() }
    }

    /// Forgets everything, and whatever comes from now on.
    pub fn retire(&self) {
        let mut inner = self.lock();
        inner.retired = true;
        inner.names.clear();
    }

    /// The TLS 1.3 tickets held.
    pub fn tickets(&self) -> usize {
        self.lock().names.iter().map(|(_, known)| known.tickets.len()).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic can't leave the lists half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn edit(&self, name: ServerName<'static>, change: impl FnOnce(&mut Known)) {
        let mut inner = self.lock();
        if inner.retired {
            return;
        }
        let known = match inner.names.iter().position(|(known, _)| *known == name) {
            Some(at) => inner.names.remove(at).map(|(_, known)| known),
            None => None,
        };
        if inner.names.len() >= MAX_NAMES {
            inner.names.pop_front();
        }
        let mut known = known.unwrap_or_default();
        change(&mut known);
        inner.names.push_back((name, known));
    }

    fn look<R>(&self, name: &ServerName<'_>, look: impl FnOnce(&mut Known) -> Option<R>) -> Option<R> {
        let mut inner = self.lock();
        inner.names.iter_mut().find(|(known, _)| known == name).and_then(|(_, known)| look(known))
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("tickets", &self.tickets()).finish_non_exhaustive()
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        if self.kx_hint(&name) != Some(group) {
            self.edit(name, |known| known.group = Some(group));
        }
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.look(name, |known| known.group)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        if self.tickets_per_name > 0 {
            self.edit(name, |known| known.tls12 = Some(value));
        }
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.look(name, |known| known.tls12.clone())
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.look(name, |known| known.tls12.take());
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        let most = self.tickets_per_name;
        if most == 0 {
            return;
        }
        self.edit(name, |known| {
            if known.tickets.len() >= most {
                known.tickets.pop_front();
            }
            known.tickets.push_back(value);
        });
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.look(name, |known| known.tickets.pop_back())
    }
}
