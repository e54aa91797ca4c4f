//! Which requests are copied for another upstream (`upstream.mirror`). The exchange goes on as if none were.

use std::rc::Rc;
use std::sync::Arc;

use super::body::Part;
use super::request_copy::{Collecting, RequestCopy};
use super::state::Exchange;
use crate::base::limits::MAX_REPEATED_BYTES;
use crate::http::BodyLength;
use crate::io::Buffer;
use crate::io::buffer::{self, Use};
use crate::proxy::upstream::mirror::Skipped;

/// What tells a copy from the request: the name of the upstream that it was made for.
const MARK: &str = "X-Ringate-Mirrored";

impl Exchange<'_> {
    /// Begins a copy of the request if it is to have one. `first` is what `buffer` has of its body.
    #[inline]
    pub(crate) fn mirror(&mut self, first: &Part, buffer: &mut Buffer) {
        let mirror = self.order.pool.upstream.mirror.as_ref();
        if mirror.is_some_and(|mirror| mirror.covers(self.order.point)) {
            self.begin_copy(first, buffer);
        }
    }

    #[cold]
    fn begin_copy(&mut self, first: &Part, buffer: &mut Buffer) {
        let order = &self.order;
        let Some(mirror) = &order.pool.upstream.mirror else { return };
        let Some(to) = self.view.0.pool_named(&mirror.upstream) else { return };
        let in_flight = match order.head.body {
            _ if order.head.upgrade().is_some() => Err(Skipped::Upgrade),
            BodyLength::Known(length) if length > MAX_REPEATED_BYTES => Err(Skipped::BodyTooLong),
            _ if buffer::in_use() >= Use::Short => Err(Skipped::MemoryShort),
            _ => mirror.counts.begin().ok_or(Skipped::Busy),
        };
        let in_flight = match in_flight {
            Ok(in_flight) => in_flight,
            Err(reason) => return mirror.counts.skip(reason),
        };
        let mark = format!("{MARK}: {}\r\n", order.pool.upstream.name);
        let same_hash = order.pool.upstream.hash_by == to.upstream.hash_by;
        let copy = RequestCopy {
            to: Rc::clone(to),
            counts: Arc::clone(&mirror.counts),
            _in_flight: in_flight,
            head: order.head.copy(mark.as_bytes()),
            context: order.context,
            key: order.key.moved(same_hash),
            authenticates: order.authenticates,
            idempotent: order.idempotent,
            limits: self.limits.clone(),
        };
        let collecting = Collecting::new(copy);
        collecting.add(&buffer.block_mut()[first.range()]);
        if first.done {
            collecting.finish(self.worker);
        } else {
            self.copy = Some(Box::new(collecting));
        }
    }
}
