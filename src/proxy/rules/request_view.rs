//! A request as rules see it.

use std::borrow::Cow;

use crate::http::RequestHead;
use crate::proxy::client::ClientFacts;
use crate::route::{PathError, RouteQuery, keep_slashes, normalise_path};

/// A request as rules see it: understood and routed, nothing of it sent yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestView<'a, 'h, 'b> {
    /// Its head.
    pub head: &'a RequestHead<'h, 'b>,
    /// Its path as it was routed by: normalised, without query.
    pub path: &'a str,
    /// The connection that it came by.
    pub client: &'a ClientFacts,
    /// The client's address: the connection's, or the one that a trusted proxy names.
    pub address: &'a str,
    /// Its request id.
    pub id: &'a str,
    /// The listener it came in by.
    pub listener: &'a str,
    /// What a trace context that is made for it says of others: whether they are to record it.
    pub sampled: bool,
}

impl RequestView<'_, '_, '_> {
    /// Hands `ask` the request as conditions and maps see it, its path in the normalised form.
    pub(crate) fn with_query<R>(&self, ask: impl FnOnce(&RouteQuery<'_>) -> R) -> R {
        let path = normalise_path(self.path).unwrap_or(Cow::Borrowed(self.path));
        ask(&self.query(&path))
    }

    /// The same with the path that the client has sent, where an encoded slash is no slash.
    pub(super) fn with_received<R>(&self, ask: impl FnOnce(&RouteQuery<'_>) -> R) -> R {
        let path = self.head.target.path;
        let normal = match normalise_path(path) {
            Err(PathError::HiddenSeparator) => keep_slashes(path).map(|slashed| Cow::Owned(slashed.kept)),
            normal => normal,
        };
        ask(&self.query(&normal.unwrap_or(Cow::Borrowed(path))))
    }

    /// The same with this path.
    pub(super) fn query<'q>(&'q self, path: &'q str) -> RouteQuery<'q> {
        RouteQuery {
            host: self.head.host,
            path,
            query: self.head.target.query,
            method: self.head.method.as_str(),
            client: self.address,
            headers: &self.head.fields,
            announced: None,
        }
    }
}
