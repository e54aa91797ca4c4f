//! What a route asks for beyond an upstream: conditions that a request is refused by, and changes to what passes.
//!
//! A route without any has no [`Rules`], and its requests pay for one branch. One with some is asked twice:
//!
//! ```text
//! request head ─► admit ─┬─► Err(Reply): answered here, no backend hears of it
//!                        └─► Ok(Pending): what is left to do when the response's head is there
//! ```
//!
//! Everything in [`Rules`] is decided when the snapshot is built; a request only looks things up.

use std::sync::Arc;

use super::exchange::ClientFacts;
use super::reply::Reply;
use crate::http1::RequestHead;

/// The rules of one route. Members are `None` or empty where the config does not ask for them.
#[derive(Debug, Default)]
pub struct Rules {}

/// A request as rules see it: understood and routed, nothing of it sent yet.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a, 'h, 'b> {
    /// Its head.
    pub head: &'a RequestHead<'h, 'b>,
    /// Its path as it was routed by: normalised, without query.
    pub path: &'a str,
    /// Who asks.
    pub client: &'a ClientFacts,
    /// Its request id.
    pub id: &'a str,
}

/// What a request's rules have still to do with its response.
#[derive(Debug)]
pub struct Pending {
    /// The rules that were asked.
    pub rules: Arc<Rules>,
}

impl Rules {
    /// Whether these rules ask for nothing, so that the route needs none.
    pub fn is_empty(&self) -> bool {
        true
    }

    /// Asks each rule. `None`: nothing is left to do with the response.
    ///
    /// # Errors
    /// The request is not served; this is its answer.
    pub fn admit(self: &Arc<Self>, _asked: &Asked<'_, '_, '_>) -> Result<Option<Box<Pending>>, Reply> {
        Ok(None)
    }
}

impl Pending {
    /// Changes the encoded head of the final response, from its status line to the empty line.
    pub fn edit_response(&self, _head: &mut Vec<u8>) {}
}
