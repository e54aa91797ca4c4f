//! Which trailer fields of a body go on: what holds for a field of the head holds for a trailer of its name.

use crate::http::{Trailers, connection_lists};
use crate::http1;
use crate::proxy::rules::ResponseRules;

/// What decides on the trailers of one body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrailerFilter<'a> {
    way: Way,
    /// What Connection lists in the message's head.
    named: Option<&'a [u8]>,
    rules: Option<&'a ResponseRules>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    ToBackend,
    /// In a response with this status.
    ToClient(u16),
    /// In one that is encoded on its way.
    Encoded(u16),
}

impl<'a> TrailerFilter<'a> {
    /// Those of a request.
    pub(crate) fn of_request(named: Option<&'a [u8]>, rules: Option<&'a ResponseRules>) -> Self {
        Self { way: Way::ToBackend, named, rules }
    }

    /// Those of a response, by its status; `encoded`: its body is encoded on its way.
    pub(crate) fn of_response(
        named: Option<&'a [u8]>,
        (rules, status): (Option<&'a ResponseRules>, u16),
        encoded: bool,
    ) -> Self {
        Self { way: if encoded { Way::Encoded(status) } else { Way::ToClient(status) }, named, rules }
    }

    /// Appends the end of a chunked body: the last chunk, and those of its `trailers` that go on.
    pub(crate) fn end(&self, trailers: Trailers<'_>, out: &mut Vec<u8>) {
        if trailers.is_empty() || self.named.is_none() && self.rules.is_none() {
            return http1::encode_last_chunk(trailers, out);
        }
        let mut kept = Vec::with_capacity(trailers.lines().len());
        trailers.copy(|name| self.drops(name), &mut kept);
        http1::encode_last_chunk(Trailers::of(&kept), out);
    }

    /// Appends those of the `trailers` that go on, as lines.
    pub(crate) fn keep(&self, trailers: Trailers<'_>, out: &mut Vec<u8>) {
        trailers.copy(|name| self.drops(name), out);
    }

    fn drops(&self, name: &[u8]) -> bool {
        self.named.is_some_and(|list| connection_lists(list, name))
            || self.rules.is_some_and(|rules| match self.way {
                Way::ToBackend => rules.drops_request_trailer(name),
                Way::ToClient(status) => rules.drops_response_trailer(name, status, false),
                Way::Encoded(status) => rules.drops_response_trailer(name, status, true),
            })
    }
}
