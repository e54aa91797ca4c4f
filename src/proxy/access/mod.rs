//! The access log: a line an exchange, made by the worker that served it, written by a thread that may be slow.
//!
//! ```text
//! begin(head) ─► Record: the format's values of the request, escaped, in one reused buffer
//!                   │ Record::respond(head): fields of the response, where the format has any
//! end(record) ─► a whole line, in one push into this worker's ring ─► writer thread ─► file
//! ```
//!
//! Nothing is allocated once buffers have grown, nothing waits: where the ring is full the line is dropped and
//! counted. What is in a ring is not lost by a worker's end, so the writer alone decides when all is written.

mod relay;
mod render;
mod shared;
mod syslog;
mod writer;

use std::cell::RefCell;
use std::fmt::Display;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rtrb::Producer;

use crate::base::counters::Counters;
use crate::config::access::{Format, Piece, Style, Variable};
use crate::http::{Fields, RequestHead, ResponseHead};
use crate::http1::put_decimal;
use crate::proxy::client::ClientFacts;
pub(crate) use relay::{End, Relayed};
use render::Clock;
use shared::Shared;
pub(crate) use syslog::Receiver;
pub(crate) use writer::{Log, Seed, Target, Writer};

/// Records that are kept for the next exchanges.
const FREE: usize = 1024;
/// A record that has grown beyond this is not kept.
const KEPT_BYTES: usize = 8 * 1024;
/// The replacement of a value that is not shown.
const HIDDEN: &[u8] = b"[redacted]";

/// A worker's end of the log.
pub struct Sink {
    format: Rc<Format>,
    /// Of lines of tcp listeners.
    tcp_format: Rc<Format>,
    /// Of lines of udp listeners.
    udp_format: Rc<Format>,
    ring: RefCell<Producer<u8>>,
    /// Lines are put together here.
    line: RefCell<Vec<u8>>,
    #[allow(clippy::vec_box)] // they move in their boxes
    free: RefCell<Vec<Box<Record>>>,
    clock: Clock,
    shared: Arc<Shared>,
    counters: Arc<Counters>,
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink").field("format", &self.format).finish_non_exhaustive()
    }
}

/// The values of a request for its line, escaped. A range for each value of the format, empty for what is missing.
#[derive(Debug)]
pub struct Record {
    format: Rc<Format>,
    bytes: Vec<u8>,
    ranges: Vec<(u32, u32)>,
}

/// What became of an exchange.
pub struct Outcome<'a> {
    /// What the client was answered; 0 for nothing.
    pub status: u16,
    /// Bytes of the response, its head included.
    pub bytes: u64,
    /// From the request's head to the response's end.
    pub duration: Duration,
    /// From the request's head to the response's.
    pub first_byte: Option<Duration>,
    /// Where it went.
    pub upstream: Option<&'a str>,
    /// And there.
    pub endpoint: Option<&'a str>,
    /// How often it was sent.
    pub tries: u32,
    /// What a relay came to, where there was one.
    pub relay: Option<Relayed>,
    /// Why it was not served as asked.
    pub failure: Option<&'a dyn Display>,
    /// The same as an error type of RFC 9209 §2.3.
    pub error: Option<&'a str>,
    /// The code that a call of gRPC ended with.
    pub grpc_status: Option<u32>,
}

impl Sink {
    /// Begins the line of a request; `head` is `None` if it could not be understood.
    pub fn begin(
        &self,
        listener: &str,
        client: &ClientFacts,
        head: Option<&RequestHead<'_, '_>>,
        id: Option<&str>,
    ) -> Box<Record> {
        let kept = self.free.borrow_mut().pop();
        let mut record = kept.unwrap_or_else(|| Box::new(Record::new(&self.format)));
        record.begin(listener, client, head, id);
        record
    }

    /// Ends a line and hands it on.
    pub fn end(&self, record: Box<Record>, outcome: &Outcome<'_>) {
        self.write(&record, outcome);
        let mut free = self.free.borrow_mut();
        if free.len() < FREE && record.bytes.capacity() <= KEPT_BYTES {
            free.push(record);
        }
    }

    fn write(&self, record: &Record, outcome: &Outcome<'_>) {
        let mut line = self.line.borrow_mut();
        line.clear();
        record.render(outcome, &self.clock, &mut line);
        line.push(b'\n');
        if self.ring.borrow_mut().push_entire_slice(&line).is_err() {
            self.counters.access_lines_dropped.add(1);
            self.shared.wake();
        }
    }

    /// Wakes the writer if much waits for it, and counts the lines that it could not write. Called now and then.
    pub fn sweep(&self) {
        let ring = self.ring.borrow();
        if ring.slots() < ring.buffer().capacity() / 2 {
            self.shared.wake();
        }
        self.counters.access_lines_dropped.add(self.shared.take_lost());
    }
}

impl Record {
    fn new(format: &Rc<Format>) -> Self {
        Self { format: Rc::clone(format), bytes: Vec::with_capacity(512), ranges: Vec::new() }
    }

    fn begin(
        &mut self,
        listener: &str,
        client: &ClientFacts,
        head: Option<&RequestHead<'_, '_>>,
        id: Option<&str>,
    ) {
        self.bytes.clear();
        self.ranges.clear();
        let format = Rc::clone(&self.format);
        for piece in &format.pieces {
            let Piece::Value(variable) = piece else { continue };
            let start = self.bytes.len();
            match variable {
                Variable::Listener => self.put(listener.as_bytes()),
                Variable::ClientAddress => self.put(client.address.as_bytes()),
                Variable::ClientScheme => self.put(client.proto().as_bytes()),
                Variable::CertificateSubject
                | Variable::CertificateFingerprint
                | Variable::TlsVersion
                | Variable::TlsCipher
                | Variable::TlsSni => self.put(client.tls_value(variable).unwrap_or_default().as_bytes()),
                Variable::RequestId => self.put(id.unwrap_or_default().as_bytes()),
                _ => {
                    if let Some(head) = head {
                        self.put_of(head, variable, &format.hidden_query);
                    }
                }
            }
            self.ranges.push((start as u32, self.bytes.len() as u32));
        }
    }

    /// Takes a value that is not in the head, where the format has it.
    pub(crate) fn note(&mut self, wanted: &Variable, value: &[u8]) {
        let format = Rc::clone(&self.format);
        for (at, _) in values(&format).enumerate().filter(|(_, variable)| *variable == wanted) {
            let start = self.bytes.len();
            self.put(value);
            self.ranges[at] = (start as u32, self.bytes.len() as u32);
        }
    }

    fn put_of(&mut self, head: &RequestHead<'_, '_>, variable: &Variable, hidden: &[String]) {
        match variable {
            Variable::Method => self.put(head.method.as_str().as_bytes()),
            Variable::Target | Variable::Path | Variable::Query => {
                let path = *variable != Variable::Query;
                let query = head.target.query.filter(|_| *variable != Variable::Path);
                self.put_target(path.then_some(head.target.path), query, hidden);
            }
            Variable::Host => self.put(head.host.unwrap_or_default().as_bytes()),
            Variable::Version => self.put(head.version.as_str().as_bytes()),
            Variable::TraceParent => self.put_field(&head.fields, "traceparent", &[]),
            Variable::RequestHeader(name) => self.put_field(&head.fields, name, hidden),
            Variable::RequestHidden(name) if head.fields.get(name).is_some() => self.put(HIDDEN),
            _ => {}
        }
    }

    /// A target, or part of one, with the values of hidden keys left out.
    fn put_target(&mut self, path: Option<&str>, query: Option<&str>, hidden: &[String]) {
        if query.is_none() && path.is_none() {
            return;
        }
        self.quote();
        render::escape(self.format.style, path.unwrap_or_default().as_bytes(), &mut self.bytes);
        if let Some(query) = query {
            if path.is_some() {
                self.bytes.push(b'?');
            }
            render::query(self.format.style, query.as_bytes(), hidden, &mut self.bytes);
        }
        self.quote();
    }

    fn put_field(&mut self, fields: &Fields<'_, '_>, name: &str, hidden: &[String]) {
        let Some(value) = fields.get(name) else { return };
        // A Referer has a query too.
        match (hidden, value.iter().position(|&byte| byte == b'?')) {
            ([_, ..], Some(at)) => {
                self.quote();
                render::escape(self.format.style, &value[..=at], &mut self.bytes);
                render::query(self.format.style, &value[at + 1..], hidden, &mut self.bytes);
                self.quote();
            }
            _ => self.put(value),
        }
    }

    fn put(&mut self, value: &[u8]) {
        if !value.is_empty() {
            self.quote();
            render::escape(self.format.style, value, &mut self.bytes);
            self.quote();
        }
    }

    fn quote(&mut self) {
        if self.format.style == Style::Json {
            self.bytes.push(b'"');
        }
    }

    /// Takes the fields that the format has of a response.
    pub fn respond(&mut self, head: &ResponseHead<'_, '_>) {
        let format = Rc::clone(&self.format);
        for (at, variable) in values(&format).enumerate() {
            let start = self.bytes.len();
            match variable {
                Variable::ResponseHeader(name) => self.put_field(&head.fields, name, &format.hidden_query),
                Variable::ResponseHidden(name) if head.fields.get(name).is_some() => self.put(HIDDEN),
                _ => continue,
            }
            self.ranges[at] = (start as u32, self.bytes.len() as u32);
        }
    }

    fn render(&self, outcome: &Outcome<'_>, clock: &Clock, out: &mut Vec<u8>) {
        let style = self.format.style;
        let mut ranges = self.ranges.iter();
        for piece in &self.format.pieces {
            let variable = match piece {
                Piece::Literal(text) => {
                    out.extend_from_slice(text.as_bytes());
                    continue;
                }
                Piece::Value(variable) => variable,
            };
            let range = ranges.next().copied().unwrap_or_default();
            match variable {
                Variable::Time => clock.write(style, out),
                Variable::Status => put_decimal(out, u64::from(outcome.status)),
                Variable::ResponseBytes => put_decimal(out, outcome.bytes),
                Variable::Duration => render::milliseconds(Some(outcome.duration), style, out),
                Variable::DurationMicros => render::microseconds(Some(outcome.duration), style, out),
                Variable::FirstByte => render::milliseconds(outcome.first_byte, style, out),
                Variable::FirstByteMicros => render::microseconds(outcome.first_byte, style, out),
                Variable::Upstream => render::value(style, outcome.upstream, out),
                Variable::Endpoint => render::value(style, outcome.endpoint, out),
                Variable::RelayUp => render::number(outcome.relay.map(|relay| relay.up), style, out),
                Variable::RelayDown => render::number(outcome.relay.map(|relay| relay.down), style, out),
                Variable::DatagramsUp => {
                    let datagrams = outcome.relay.and_then(|relay| relay.datagrams);
                    render::number(datagrams.map(|(up, _)| up), style, out);
                }
                Variable::DatagramsDown => {
                    let datagrams = outcome.relay.and_then(|relay| relay.datagrams);
                    render::number(datagrams.map(|(_, down)| down), style, out);
                }
                Variable::RelayEnd => {
                    render::value(style, outcome.relay.map(|relay| relay.end.name()), out);
                }
                Variable::Tries => put_decimal(out, u64::from(outcome.tries)),
                Variable::Failure => {
                    let failure = outcome.failure.map(ToString::to_string);
                    render::value(style, failure.as_deref(), out);
                }
                Variable::FailureType => render::value(style, outcome.error, out),
                Variable::GrpcStatus => render::number(outcome.grpc_status.map(u64::from), style, out),
                _ if range.0 == range.1 => render::missing(style, out),
                _ => out.extend_from_slice(&self.bytes[range.0 as usize..range.1 as usize]),
            }
        }
    }
}

fn values(format: &Format) -> impl Iterator<Item = &Variable> {
    format.pieces.iter().filter_map(|piece| match piece {
        Piece::Value(variable) => Some(variable),
        Piece::Literal(_) => None,
    })
}

#[cfg(test)]
mod tests;
