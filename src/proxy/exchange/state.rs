//! What is known of one exchange while it lasts.

use std::cell::Cell;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use super::body::Phase;
use super::client_watch::DisconnectWatch;
use super::next::IsLast;
use super::retry_policy::Attempts;
use super::route::Forward;
use crate::base::limits::Limits;
use crate::base::sample::sampled;
use crate::io::{Buffer, Deadline};
use crate::proxy::access;
use crate::proxy::client::ClientFacts;
use crate::proxy::error_pages::ErrorFormat;
use crate::proxy::failure::Failure;
use crate::proxy::view::View;
use crate::proxy::worker::Worker;

/// Where a request has failed. Empty, and without memory of its own, as long as nothing does.
#[derive(Default)]
pub(crate) struct Failover {
    /// The split's upstreams that could not answer it.
    pub(crate) upstreams: Vec<usize>,
    /// Endpoints of the present upstream that closed a new connection without an answer, once for each time.
    pub(crate) endpoints: Vec<usize>,
}

/// One request and its response.
pub(crate) struct Exchange<'a> {
    pub(crate) worker: &'a Worker,
    /// Whether a response that begins now is the last of its client's connection, as far as the listener knows.
    pub(crate) is_last: IsLast<'a>,
    pub(crate) client: &'a ClientFacts,
    pub(crate) limits: &'a Limits,
    /// What it was routed by, and its listener in there.
    pub(crate) view: (&'a View, usize),
    pub(crate) order: Forward,
    pub(crate) trail: Attempts,
    pub(crate) tried: Failover,
    /// Whether the client had sent more by the time its request left.
    pub(crate) ahead: Cell<bool>,
    /// The request while its response is waited for, where a slow backend loses it to another one.
    pub(crate) spare: Cell<Option<Buffer>>,
    /// Whether any byte of a final response went to the client.
    pub(crate) answered: Cell<bool>,
    /// Whether only the connection's end tells the client where the response's body ends.
    pub(crate) unframed: Cell<bool>,
    /// Whether the request went out whole.
    pub(crate) sent: Cell<bool>,
    /// Whether any byte of a response came from the backend.
    pub(crate) heard: Cell<bool>,
    /// What the deadline stands for.
    pub(crate) phase: Cell<Phase>,
    /// What each body waits for, whatever the other one does beside it.
    pub(crate) upload: Cell<Phase>,
    pub(crate) download: Cell<Phase>,
    pub(crate) vigil: DisconnectWatch,
    pub(crate) started: Option<Instant>,
    pub(crate) first_byte: Cell<Option<Duration>>,
    /// Status, bytes and endpoint, for the log.
    pub(crate) status: Cell<u16>,
    pub(crate) bytes: Cell<u64>,
    pub(crate) endpoint: Cell<Option<usize>>,
    pub(crate) relayed: Cell<Option<access::Relayed>>,
}

/// What a response left behind.
pub(crate) struct Outcome {
    /// The backend's connection may be used again.
    pub(crate) backend: bool,
    /// The client's connection may be used again.
    pub(crate) client: bool,
    /// Both become a tunnel; what the backend already sent of it.
    pub(crate) tunnel: Option<Buffer>,
}

impl<'a> Exchange<'a> {
    pub(crate) fn new(
        worker: &'a Worker,
        is_last: IsLast<'a>,
        view: (&'a View, usize),
        (client_fd, client): (RawFd, &'a ClientFacts),
        order: Forward,
    ) -> Self {
        Self {
            worker,
            is_last,
            client,
            limits: &view.0.config.listeners[view.1].limits,
            view,
            order,
            trail: Attempts::default(),
            tried: Failover::default(),
            ahead: Cell::new(false),
            spare: Cell::new(None),
            answered: Cell::new(false),
            unframed: Cell::new(false),
            sent: Cell::new(false),
            heard: Cell::new(false),
            phase: Cell::new(Phase::BackendWrite),
            upload: Cell::new(Phase::BackendWrite),
            download: Cell::new(Phase::BackendBody),
            vigil: DisconnectWatch::new(client_fd),
            started: worker.access.as_ref().map(|_| Instant::now()),
            first_byte: Cell::new(None),
            status: Cell::new(0),
            bytes: Cell::new(0),
            endpoint: Cell::new(None),
            relayed: Cell::new(None),
        }
    }

    /// Whether any byte of a final response went to the client: then it can't be told of a failure any more.
    pub(crate) fn is_answered(&self) -> bool {
        self.answered.get()
    }

    /// Whether its response's body ends with the connection, so that one that is cut must not end in order.
    pub(crate) fn is_unframed(&self) -> bool {
        self.unframed.get()
    }

    /// How the client wants to be told of a failure.
    pub(crate) fn wish(&self) -> Option<ErrorFormat> {
        self.order.wish
    }

    /// Whether the request was HEAD.
    pub(crate) fn is_head(&self) -> bool {
        self.order.context.head
    }

    /// Most bytes that the request's body may have.
    pub(crate) fn body_bound(&self) -> u64 {
        if self.limits.body_bytes == 0 { u64::MAX } else { self.limits.body_bytes }
    }

    pub(crate) fn wait(&self, deadline: &Deadline, phase: Phase, patience: Duration) {
        self.phase.set(phase);
        self.vigil.set(self.worker, deadline, phase, patience);
    }

    /// The exchange's line in the access log, and a line in the log if it failed.
    /// `told`: bytes of what the client is told of a failure, before anything of a response has gone out.
    pub(crate) fn log(&self, failure: Option<&Failure>, told: usize) {
        let (client, upstream) = (self.client, &self.order.pool.upstream);
        let endpoint = self.endpoint.get().and_then(|index| upstream.endpoints.get(index));
        let endpoint = endpoint.map(|endpoint| endpoint.label.as_str());
        if let Some(failure) = failure {
            self.worker.count_bound(failure);
            let endpoint = endpoint.unwrap_or("-");
            if failure.is_clients() || failure.is_logged() || failure.retry_after().is_some() {
                // What is refused to protect others may come by the thousand: its counts tell.
                tracing::debug!(client = %client.address, upstream = upstream.name, endpoint, "{failure}");
            } else {
                let of = &upstream.name;
                sampled!(warn, Exchange of of, { client = %client.address, upstream = of, endpoint, }, "{failure}");
            }
        }
        let (Some(sink), Some(record), Some(started)) =
            (&self.worker.access, self.order.logged.take(), self.started)
        else {
            return;
        };
        let status = match failure {
            Some(failure) if !self.answered.get() => failure.status().unwrap_or(0),
            _ => self.status.get(),
        };
        let outcome = access::Outcome {
            status,
            bytes: self.bytes.get() + told as u64,
            duration: started.elapsed(),
            first_byte: if told > 0 { Some(started.elapsed()) } else { self.first_byte.get() },
            upstream: Some(&upstream.name),
            endpoint,
            tries: self.trail.sent(),
            relay: self.relayed.get(),
            failure: failure.map(|failure| failure as &dyn std::fmt::Display),
        };
        sink.end(record, &outcome);
    }
}
