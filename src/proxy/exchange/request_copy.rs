//! The copy of one request (`upstream.mirror`): its body is collected, it is sent, and its response is dropped.
//!
//! ```text
//! request ──► its body is at hand ─────────────────────────► a task of its own ──► response, dropped
//!    └──────► Collecting: the body as it passes by ── whole ──┘
//!                 └── too long, or cut: no copy
//! ```

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::own_request::{Effort, OwnRequest, Receive};
use crate::base::limits::{Limits, MAX_REPEATED_BYTES};
use crate::base::sample::sampled;
use crate::http::{BodyLength, OutgoingRequest, RequestContext, ResponseHead};
use crate::io::{Deadline, runtime};
use crate::proxy::failure::Failure;
use crate::proxy::upstream::mirror::{CopyInFlight, MirrorCounts, Skipped};
use crate::proxy::upstream::pool::Pool;
use crate::proxy::upstream::request_key::RequestKey;
use crate::proxy::worker::Worker;

/// A copy whose body passes by.
pub(crate) struct Collecting {
    /// `None`: it was sent, or there will be none.
    copy: Cell<Option<RequestCopy>>,
    body: RefCell<Vec<u8>>,
}

/// A request for the other upstream, but for its body.
pub(crate) struct RequestCopy {
    pub(crate) to: Rc<Pool>,
    pub(crate) counts: Arc<MirrorCounts>,
    pub(crate) _in_flight: CopyInFlight,
    pub(crate) head: OutgoingRequest,
    pub(crate) context: RequestContext,
    pub(crate) key: RequestKey,
    /// It carries credentials of a connection: that is not used again.
    pub(crate) authenticates: bool,
    pub(crate) idempotent: bool,
    pub(crate) limits: Limits,
}

impl Collecting {
    /// A copy of which no body is at hand.
    pub(crate) fn new(copy: RequestCopy) -> Self {
        Self { copy: Cell::new(Some(copy)), body: RefCell::default() }
    }

    /// A part of the request's body passes by.
    pub(crate) fn add(&self, data: &[u8]) {
        let mut body = self.body.borrow_mut();
        if body.len() + data.len() <= MAX_REPEATED_BYTES as usize {
            body.extend_from_slice(data);
        } else if let Some(copy) = self.copy.take() {
            body.clear();
            copy.counts.skip(Skipped::BodyTooLong);
        }
    }

    /// The body is whole: the copy is sent.
    pub(crate) fn finish(&self, worker: &Rc<Worker>) {
        if let Some(copy) = self.copy.take() {
            runtime::spawn(copy.send(Rc::clone(worker), self.body.take()));
        }
    }
}

impl Drop for Collecting {
    fn drop(&mut self) {
        if let Some(copy) = self.copy.take() {
            copy.counts.skip(Skipped::Incomplete);
        }
    }
}

impl RequestCopy {
    async fn send(mut self, worker: Rc<Worker>, body: Vec<u8>) {
        if self.head.body != BodyLength::None {
            self.head.body = BodyLength::Known(body.len() as u64);
        }
        let deadline = worker.wheel.deadline();
        match self.exchange(&worker, &deadline, &body).await {
            Ok(()) => self.counts.sent.fetch_add(1, Relaxed),
            Err(failure) => {
                let of = &self.to.upstream.name;
                sampled!(warn, Exchange of of, { upstream = of, }, "a mirrored request failed: {failure}");
                self.counts.failed.fetch_add(1, Relaxed)
            }
        };
        worker.heads.give(self.head.take_memory());
    }

    async fn exchange(&self, worker: &Worker, deadline: &Deadline, body: &[u8]) -> Result<(), Failure> {
        let host = std::str::from_utf8(self.head.authority()).ok();
        let request = OwnRequest {
            pool: &self.to,
            head: &self.head,
            content: body,
            context: self.context,
            key: self.key,
            host: host.filter(|_| self.to.is_named_by_request()),
            idempotent: self.idempotent,
            authenticates: self.authenticates,
            limits: &self.limits,
            effort: Effort::Spare,
            sent_to: Cell::default(),
        };
        request.run(worker, deadline, &mut Dropped).await
    }
}

/// The response to a copy, which no one gets.
struct Dropped;

impl Receive for Dropped {
    fn head(&mut self, _: &ResponseHead<'_, '_>) {}

    fn body(&mut self, _: &[u8]) -> bool {
        true
    }
}
