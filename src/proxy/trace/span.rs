//! What is recorded of a request: a server span, and a client span for each time that it was sent to a backend.

use std::time::{Duration, SystemTime};

use super::context::{self, Parent};
use crate::http::{HeadEdit, RequestHead, Version, is_same_name, put_line, remove_lines};
use crate::proxy::client::ClientFacts;

/// A request that is recorded.
#[derive(Debug)]
pub(crate) struct Trace {
    /// The trace's id.
    pub(crate) id: u128,
    /// The id of the server span.
    pub(crate) span: u64,
    /// The client's span, if it sent one.
    pub(crate) parent: Option<u64>,
    /// The client's `tracestate`, which goes on as it is; empty if there is no valid one.
    pub(crate) state: String,
    /// When its head had arrived.
    pub(crate) begun: SystemTime,
    /// The method as it was sent.
    pub(crate) method: String,
    /// The path as it was sent, without the query.
    pub(crate) path: String,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
    /// The authority that it asks for.
    pub(crate) host: String,
    /// `1.0`, `1.1` or `2`.
    pub(crate) version: &'static str,
    /// The client's address.
    pub(crate) client: String,
    /// Its User-Agent.
    pub(crate) user_agent: String,
    /// Its id in logs and towards backends.
    pub(crate) request_id: String,
    /// The listener.
    pub(crate) listener: String,
    /// The path of its route, if it has one.
    pub(crate) route: Option<String>,
    /// The id of the next attempt's span.
    pub(crate) next: u64,
    /// The times that it was sent.
    pub(crate) attempts: Vec<Attempt>,
    /// How it ended.
    pub(crate) finished: Finished,
}

/// How a request ended.
#[derive(Debug, Default)]
pub(crate) struct Finished {
    /// The status that the client got; 0 for none.
    pub(crate) status: u16,
    /// From its head to the response's end.
    pub(crate) duration: Duration,
    /// Why it was not served as intended, as an error type of RFC 9209 §2.3.
    pub(crate) error: Option<&'static str>,
    /// The same in words.
    pub(crate) reason: Option<String>,
}

/// One time that a request was sent to a backend, or was to be.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// The id of the client span.
    pub(crate) span: u64,
    /// When it began: with the choice of an endpoint.
    pub(crate) begun: SystemTime,
    /// When it ended; `None` while it lasts.
    pub(crate) ended: Option<SystemTime>,
    /// The upstream.
    pub(crate) upstream: String,
    /// The endpoint's `HOST:PORT`, if one was chosen.
    pub(crate) endpoint: String,
    /// The address that the connection goes to.
    pub(crate) address: String,
    /// Whether it is over TLS.
    pub(crate) tls: bool,
    /// The backend's status; 0 for none.
    pub(crate) status: u16,
    /// `1.1` or `2`, once there is a connection.
    pub(crate) version: Option<&'static str>,
    /// Why it failed, as an error type.
    pub(crate) error: Option<&'static str>,
    /// The same in words.
    pub(crate) reason: Option<String>,
    /// Method and path of a request of Ringate's own that the client's waited for (`auth.forward`).
    pub(crate) own: Option<(&'static str, String)>,
}

/// Hands `write` what is changed of a request on its way, with the trace context that a recorded request has. It is the
/// line that is added last, so that each attempt can have a span of its own in it.
pub(crate) fn with_context<R>(
    trace: Option<&Trace>,
    edit: &HeadEdit<'_>,
    write: impl FnOnce(&HeadEdit<'_>) -> R,
) -> R {
    let Some(trace) = trace else { return write(edit) };
    // A state belongs to the parent that came with it, and one that is not valid is dropped (§3.3 of the standard).
    let keeps_state = trace.parent.is_some() && !trace.state.is_empty();
    let is_replaced = |name: &[u8]| match keeps_state {
        true => is_same_name(name, b"traceparent"),
        false => context::is_context(name),
    };
    let mut added = edit.added.to_vec();
    remove_lines(&mut added, is_replaced);
    put_line("traceparent", context::written(trace.id, trace.next).as_bytes(), &mut added);
    let removed = |name: &[u8]| edit.removes(name) || is_replaced(name);
    write(&HeadEdit { removed: Some(&removed), added: &added })
}

impl Trace {
    /// A request that begins now.
    pub(super) fn begin(
        (id, span, next): (u128, u64, u64),
        parent: Option<Parent>,
        head: &RequestHead<'_, '_>,
        (listener, client, request_id): (&str, &ClientFacts, &str),
    ) -> Box<Self> {
        let text = |name: &str| {
            let value = head.fields.get(name).unwrap_or_default();
            String::from_utf8_lossy(&value[..value.len().min(MOST_TEXT)]).into_owned()
        };
        let state = parent.map(|_| context::state(head)).unwrap_or_default();
        let path = head.target.path;
        Box::new(Self {
            id,
            span,
            parent: parent.map(|parent| parent.span),
            state,
            begun: SystemTime::now(),
            method: head.method.as_str().to_owned(),
            path: path.get(..MOST_TEXT).unwrap_or(path).to_owned(),
            scheme: client.proto(),
            host: head.host.unwrap_or_default().to_owned(),
            version: match head.version {
                Version::Http10 => "1.0",
                Version::Http11 => "1.1",
                Version::Http2 => "2",
            },
            client: client.address.to_string(),
            user_agent: text("user-agent"),
            request_id: request_id.to_owned(),
            listener: listener.to_owned(),
            route: None,
            next,
            attempts: Vec::new(),
            finished: Finished::default(),
        })
    }

    /// Begins an attempt. `next` is the id of the span of the one behind it. Returns its `traceparent`.
    pub(crate) fn attempt(&mut self, next: u64) -> String {
        let span = std::mem::replace(&mut self.next, next);
        self.attempts.push(Attempt {
            span,
            begun: SystemTime::now(),
            ended: None,
            upstream: String::new(),
            endpoint: String::new(),
            address: String::new(),
            tls: false,
            status: 0,
            version: None,
            error: None,
            reason: None,
            own: None,
        });
        context::written(self.id, span)
    }

    /// The attempt that lasts, if one does.
    pub(crate) fn current(&mut self) -> Option<&mut Attempt> {
        self.attempts.last_mut().filter(|attempt| attempt.ended.is_none())
    }
}

/// Longest text that is recorded of a client's.
const MOST_TEXT: usize = 1024;
