//! How many requests of a route are served at a time, over all workers.

use std::sync::Arc;

use crate::base::tally::{Entry, Tally};
use crate::config::plan::RouteLimits;
use crate::proxy::connection_permit::ConnectionPermit;
use crate::proxy::reply::Reply;

/// The bounds of one route; 0: none.
#[derive(Debug)]
pub struct Concurrency {
    /// What its requests are counted under. No listener has such a name, as it has spaces.
    name: Box<str>,
    requests: u64,
    per_client: u64,
}

impl Concurrency {
    /// `None`: nothing is bounded.
    pub fn new(limits: &RouteLimits, listener: &str, route: &str) -> Option<Self> {
        let RouteLimits { requests, requests_per_client: per_client, .. } = *limits;
        let name = format!("route {route} of {listener}").into();
        (requests > 0 || per_client > 0).then_some(Self { name, requests, per_client })
    }

    /// Counts a request of the client at `address`, until the permit is dropped.
    ///
    /// # Errors
    /// The response to a request that is too many.
    pub(crate) fn enter(&self, tally: &Arc<Tally>, address: &str) -> Result<Box<ConnectionPermit>, Reply> {
        let mut permit = ConnectionPermit::new(tally);
        // The client's first: one that has too many must not take the others' room.
        if self.per_client > 0
            && let Ok(address) = address.parse()
            && permit.enter_client((&self.name, self.per_client), address).is_err()
        {
            let mut reply = too_many(429, "limits.requests_per_client: the client has too many requests");
            reply.counter = Some(|counters| &counters.limit_route_requests_per_client);
            return Err(reply);
        }
        if self.requests > 0 {
            let key = tally.key(&*self.name);
            match tally.enter(key, self.requests) {
                Entry::Counted => permit.held[1] = Some(key),
                Entry::Uncounted => {}
                Entry::Full => {
                    let mut reply = too_many(503, "limits.requests: the route has too many requests");
                    reply.counter = Some(|counters| &counters.limit_route_requests);
                    return Err(reply);
                }
            }
        }
        Ok(permit)
    }
}

#[cold]
fn too_many(status: u16, cause: &'static str) -> Reply {
    let mut reply = Reply::refusal(status, cause);
    reply.fields.extend_from_slice(b"Retry-After: 1\r\n");
    reply
}
