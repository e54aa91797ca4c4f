//! What was found out about a request on its way to a decision, and the request that waits for more.

use std::pin::pin;
use std::time::{Duration, Instant};

use super::authorization::Authorization;
use super::client_watch::while_connected;
use super::local_reply::LocalReply;
use crate::config::access::Variable;
use crate::http::RequestHead;
use crate::http::grpc::Call;
use crate::http1::Envelope;
use crate::proxy::access::Record;
use crate::proxy::error_pages::ErrorFormat;
use crate::proxy::reply::Reply;
use crate::proxy::request_id::RequestId;
use crate::proxy::rules::auth::PasswordCheck;
use crate::proxy::rules::{self, Check, RequestView, ResponseRules, Verdicts};
use crate::proxy::snapshot::Route;
use crate::proxy::stream_peer::StreamPeer;
use crate::proxy::trace::Trace;
use crate::proxy::view::View;
use crate::proxy::worker::Worker;

/// What was found out about a request on its way to a decision.
#[derive(Debug)]
pub(crate) struct Found {
    pub(super) envelope: Envelope,
    /// See [`Forward`](super::route::Forward).
    pub(super) route: Option<u32>,
    pub(super) head_bytes: u32,
    pub(super) trace: Option<Box<Trace>>,
    pub(super) id: RequestId,
    pub(super) error_format: Option<ErrorFormat>,
    pub(super) grpc: Option<Call>,
    pub(super) logged: Option<Box<Record>>,
    /// What rules have still to do: the listener's, and the route's once they were asked.
    pub(super) rules: Option<Box<ResponseRules>>,
    /// What checks have found that it waited for.
    pub(super) verdicts: Option<Box<Verdicts>>,
}

impl Found {
    /// All of it, for a request that waits.
    fn take(&mut self) -> Self {
        let (trace, logged, rules) = (self.trace.take(), self.logged.take(), self.rules.take());
        let verdicts = self.verdicts.take();
        Self { trace, logged, rules, verdicts, ..*self }
    }

    pub(super) fn note(&mut self, variable: &Variable, value: &[u8]) {
        if let Some(record) = &mut self.logged {
            record.note(variable, value);
        }
    }

    /// A request that is recorded has a route, which may not want it to be.
    pub(super) fn trace_route(&mut self, route: &Route) {
        let is_off = route.rules.as_ref().is_some_and(|rules| rules.trace == rules::Trace::Off);
        self.trace = self.trace.take().filter(|_| !is_off);
        if let Some(trace) = &mut self.trace {
            trace.route = Some(route.meter.path.to_string());
        }
    }

    /// The response to the request, which is made here.
    pub(super) fn local(&mut self, reply: Reply, head: &RequestHead<'_, '_>) -> LocalReply {
        let (rules, logged) = (self.rules.take(), self.logged.take());
        let reply = LocalReply::new(reply, rules, (head, self.envelope), self.grpc, logged);
        let waited = self.verdicts.as_ref().map_or(Duration::ZERO, |verdicts| verdicts.waited);
        reply.measured((self.route, self.head_bytes), self.trace.take(), waited)
    }
}

/// A request that waits for a check.
#[derive(Debug)]
pub(crate) struct Held {
    check: Waiting,
    found: Found,
}

/// See [`Check`].
#[derive(Debug)]
enum Waiting {
    Password(Box<PasswordCheck>),
    Forward(Box<Authorization>),
}

/// The same with the verdict.
#[derive(Debug)]
pub(crate) struct Resumed(Found);

impl Resumed {
    pub(super) fn found(self) -> Found {
        self.0
    }
}

impl Held {
    /// A request that waits for `check`. Nothing is left of it in `found`.
    #[cold]
    pub(super) fn new(
        check: Check,
        view: &View,
        asked: &RequestView<'_, '_, '_>,
        found: &mut Found,
    ) -> Box<Self> {
        let check = match check {
            Check::Password(check) => Waiting::Password(check),
            Check::Forward(check) => Waiting::Forward(Authorization::new(check, view, asked)),
        };
        Box::new(Self { check, found: found.take() })
    }

    /// Waits for the verdict. `None`: the client has left.
    pub(crate) async fn run(
        self,
        (view, listener): (&View, usize),
        worker: &Worker,
        client: &StreamPeer,
    ) -> Option<Resumed> {
        let Self { check, mut found } = self;
        let begun = Instant::now();
        let mut verdicts = found.verdicts.take().unwrap_or_default();
        match check {
            Waiting::Password(check) => {
                verdicts.password = Some(while_connected(worker, client, pin!(check.run())).await?);
            }
            Waiting::Forward(authorization) => {
                let limits = &view.config.listeners[listener].limits;
                let asked = authorization.run((view, limits), worker, client, found.trace.as_deref_mut());
                let asked = while_connected(worker, client, pin!(asked)).await?;
                found.note(&Variable::AuthStatus, asked.status.as_bytes());
                found.note(&Variable::AuthDuration, asked.milliseconds.as_bytes());
                verdicts.forward = Some(asked.verdict);
            }
        }
        verdicts.waited += begun.elapsed();
        Some(Resumed(Found { verdicts: Some(verdicts), ..found }))
    }
}
