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

mod journal;
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
use crate::route::{Map, RouteQuery, cookie, parameter};
pub(crate) use relay::{End, Relayed};
use render::Clock;
use shared::Shared;
pub(crate) use syslog::Receiver;
pub(crate) use writer::{Logs, Seed, Target, Writer};

/// Records that are kept for the next exchanges.
const FREE: usize = 1024;
/// A record that has grown beyond this is not kept.
const KEPT_BYTES: usize = 8 * 1024;
/// The replacement of a value that is not shown.
const HIDDEN: &[u8] = b"[redacted]";

/// A worker's end of the logs.
pub struct Sink {
    /// The log of the process, then those that routes name, in the order of the config.
    channels: Box<[Channel]>,
    /// Of lines of tcp listeners.
    tcp_format: Rc<Format>,
    /// Of lines of udp listeners.
    udp_format: Rc<Format>,
    /// Lines are put together here.
    line: RefCell<Vec<u8>>,
    #[allow(clippy::vec_box)] // they move in their boxes
    free: RefCell<Vec<Box<Record>>>,
    clock: Clock,
    counters: Arc<Counters>,
}

/// The way to one log.
struct Channel {
    format: Rc<Format>,
    /// `None`: it is off.
    ring: Option<RefCell<Producer<u8>>>,
    shared: Arc<Shared>,
}

/// Which log has the line of a request, and whether it has one at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The log, by its place among the process's; 0: the main one.
    pub(crate) channel: u8,
    /// Whether the line is written in any case, or only if the request failed.
    pub(crate) kept: bool,
}

impl Choice {
    const MAIN: Self = Self { channel: 0, kept: true };
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink").field("channels", &self.channels.len()).finish_non_exhaustive()
    }
}

/// The values of a request for its line, escaped. A range for each value of the format, empty for what is missing.
#[derive(Debug)]
pub struct Record {
    format: Rc<Format>,
    choice: Choice,
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

impl Outcome<'_> {
    /// Whether the client did not get what it asked for.
    fn is_failed(&self) -> bool {
        let by_status = self.status == 0 || self.status >= 400;
        by_status || self.failure.is_some() || self.grpc_status.is_some_and(|code| code != 0)
    }
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
        let format = &self.channels[0].format;
        let kept = self.free.borrow_mut().pop();
        let mut record = kept.unwrap_or_else(|| Box::new(Record::new(format)));
        record.choose(Choice::MAIN, format);
        record.begin(listener, client, head, id);
        record
    }

    /// Begins the line anew for the log that the route of the request chooses.
    pub(crate) fn choose(
        &self,
        record: &mut Record,
        choice: Choice,
        (listener, client): (&str, &ClientFacts),
        (head, id): (&RequestHead<'_, '_>, &str),
    ) {
        // A log that the config has since the last start is there after the next one.
        let known = usize::from(choice.channel) < self.channels.len();
        let choice = if known { choice } else { Choice { channel: 0, ..choice } };
        let format = &self.channels[usize::from(choice.channel)].format;
        let same = Rc::ptr_eq(format, &record.format);
        record.choose(choice, format);
        if !same {
            record.begin(listener, client, Some(head), Some(id));
        }
    }

    /// Ends a line and hands it on.
    pub fn end(&self, record: Box<Record>, outcome: &Outcome<'_>) {
        if record.choice.kept || outcome.is_failed() {
            self.write(&record, outcome);
        }
        self.give_back(record);
    }

    /// Ends a request that has no line.
    pub(crate) fn give_back(&self, record: Box<Record>) {
        let mut free = self.free.borrow_mut();
        if free.len() < FREE && record.bytes.capacity() <= KEPT_BYTES {
            free.push(record);
        }
    }

    fn write(&self, record: &Record, outcome: &Outcome<'_>) {
        let channel = &self.channels[usize::from(record.choice.channel)];
        let Some(ring) = &channel.ring else { return };
        let mut line = self.line.borrow_mut();
        line.clear();
        record.render(outcome, &self.clock, &mut line);
        line.push(b'\n');
        if ring.borrow_mut().push_entire_slice(&line).is_err() {
            self.counters.access_lines_dropped.add(1);
            channel.shared.wake();
        }
    }

    /// Wakes the writer if much waits for it, and counts the lines that it could not write. Called now and then.
    pub fn sweep(&self) {
        for channel in &self.channels {
            let Some(ring) = channel.ring.as_ref().map(RefCell::borrow) else { continue };
            if ring.slots() < ring.buffer().capacity() / 2 {
                channel.shared.wake();
            }
            self.counters.access_lines_dropped.add(channel.shared.take_lost());
        }
    }
}

impl Record {
    fn new(format: &Rc<Format>) -> Self {
        let (format, choice) = (Rc::clone(format), Choice::MAIN);
        Self { format, choice, bytes: Vec::with_capacity(512), ranges: Vec::new() }
    }

    fn choose(&mut self, choice: Choice, format: &Rc<Format>) {
        self.choice = choice;
        if !Rc::ptr_eq(format, &self.format) {
            self.format = Rc::clone(format);
        }
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

    /// Takes the values that maps have for the request, where the format has any.
    pub(crate) fn note_maps(&mut self, asked: &RouteQuery<'_>, maps: &[Arc<Map>]) {
        let format = Rc::clone(&self.format);
        for variable in values(&format) {
            let Variable::Map(named) = variable else { continue };
            if let Some(map) = maps.iter().find(|map| map.name() == named.name()) {
                map.with(asked, |value| self.note(variable, value.as_bytes()));
            }
        }
    }

    /// Whether the format has values of maps.
    pub(crate) fn has_maps(&self) -> bool {
        values(&self.format).any(|variable| matches!(variable, Variable::Map(_)))
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
            Variable::RequestCookie(name) => self.put(cookie(&head.fields, name).unwrap_or_default()),
            Variable::RequestParameter(name) => {
                let value = parameter(head.target.query, name);
                match value {
                    Some(_) if hidden.contains(&name.to_ascii_lowercase()) => self.put(HIDDEN),
                    value => self.put(&value.unwrap_or_default()),
                }
            }
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
