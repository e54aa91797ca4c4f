//! A connection under test, with what it lends and writes, and raw frames to feed it with.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::http2::frame::{FRAME_HEADER_BYTES, FrameHeader, Kind};
use crate::http2::{
    Config, Connection, Decoder, ErrorCode, Event, Field, FieldLimits, FieldList, HeadKind, RequestLine,
    ResetCause, Role, Scope, StreamId, Violation,
};

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
/// END_STREAM, and ACK.
pub(super) const ES: u8 = 1;
/// END_HEADERS
pub(super) const EH: u8 = 4;

/// A frame's bytes.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A literal field that is not indexed, without Huffman.
pub(super) fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0];
    for text in [name, value] {
        match text.len() {
            len @ 0..127 => field.push(len as u8),
            len => {
                let mut rest = len - 127;
                field.push(127);
                while rest >= 128 {
                    field.push(rest as u8 | 128);
                    rest >>= 7;
                }
                field.push(rest as u8);
            }
        }
        field.extend_from_slice(text.as_bytes());
    }
    field
}

/// The header block of a plain GET.
pub(super) fn get() -> Vec<u8> {
    [&b"\x82\x84\x86"[..], &literal(":authority", "a")].concat()
}

/// A header block of literals.
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| literal(name, value)).collect()
}

pub(super) fn field<'a>(name: &'a str, value: &'a str) -> Field<'a> {
    Field { name: name.as_bytes(), value: value.as_bytes(), never_indexed: false }
}

pub(super) const GET: RequestLine<'static> = RequestLine {
    method: "GET",
    scheme: Some("https"),
    authority: "a.example",
    path: Some("/"),
    protocol: None,
};

/// A connection, and what its caller has.
pub(super) struct Peer {
    pub(super) connection: Connection,
    pub(super) fields: FieldList,
    pub(super) out: Vec<u8>,
    pub(super) now: u64,
    /// Input that was not used up yet.
    pub(super) input: Vec<u8>,
    /// Reads the header blocks that the connection writes.
    decoder: Decoder,
    /// A header block of which CONTINUATION follows.
    written_block: Vec<u8>,
}

impl Peer {
    pub(super) fn new(role: Role, config: Config) -> Self {
        let config = Arc::new(config);
        let connection = match role {
            Role::Server => Connection::server(config),
            Role::Client => Connection::client(config),
        };
        let mut peer = Self {
            connection,
            fields: FieldList::new(),
            out: Vec::new(),
            now: 0,
            input: Vec::new(),
            decoder: Decoder::default(),
            written_block: Vec::new(),
        };
        peer.connection.start(&mut peer.out);
        peer
    }

    /// One that has exchanged SETTINGS.
    pub(super) fn ready(role: Role, config: Config) -> Self {
        let mut peer = Self::new(role, config);
        if role == Role::Server {
            peer.feed(PREFACE).unwrap();
        }
        peer.feed(&frame(SETTINGS, 0, 0, &[])).unwrap();
        peer.feed(&frame(SETTINGS, ES, 0, &[])).unwrap();
        peer.out.clear();
        peer
    }

    pub(super) fn server() -> Self {
        Self::ready(Role::Server, Config::default())
    }

    pub(super) fn client() -> Self {
        Self::ready(Role::Client, Config::default())
    }

    /// Takes in bytes, and returns what they brought, as text.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<String>, Violation> {
        let mut events = Vec::new();
        self.each(bytes, |peer, event, input| events.push(peer.describe(event, input)))?;
        Ok(events)
    }

    /// Takes in bytes, and acts on each event at once.
    pub(super) fn each(
        &mut self,
        bytes: &[u8],
        mut act: impl FnMut(&mut Self, &Event, &[u8]),
    ) -> Result<(), Violation> {
        self.input.extend_from_slice(bytes);
        let input = std::mem::take(&mut self.input);
        let mut at = 0;
        let result = loop {
            let received = self.connection.receive(&input[at..], self.now, &mut self.fields, &mut self.out);
            let received = match received {
                Ok(received) => received,
                Err(violation) => break Err(violation),
            };
            let before = at;
            at += received.consumed;
            assert!(at <= input.len());
            match received.event {
                Some(event) => act(self, &event, &input[before..]),
                None => break Ok(()),
            }
        };
        self.input = input[at..].to_vec();
        result
    }

    pub(super) fn list(&self) -> String {
        let mut text = String::new();
        for field in self.fields.all() {
            let mark = if field.never_indexed { "!" } else { "" };
            write!(text, " {{{mark}{}: {}}}", field.name.escape_ascii(), field.value.escape_ascii()).unwrap();
        }
        text
    }

    pub(super) fn describe(&self, event: &Event, input: &[u8]) -> String {
        let end = |end: bool| if end { " end" } else { "" };
        match event {
            Event::Head { stream, kind, end_stream } => {
                let kind = match kind {
                    HeadKind::Request => "request",
                    HeadKind::Interim => "interim",
                    HeadKind::Response => "response",
                };
                format!("{kind} {stream}{}{}", end(*end_stream), self.list())
            }
            Event::HeadTooLarge { stream, end_stream } => format!("too large {stream}{}", end(*end_stream)),
            Event::Data { stream, data, end_stream } => {
                format!("data {stream} \"{}\"{}", input[data.clone()].escape_ascii(), end(*end_stream))
            }
            Event::Trailers { stream } => format!("trailers {stream}{}", self.list()),
            Event::Reset { stream, cause: ResetCause::Peer(code) } => {
                format!("reset {stream} by peer: {code}")
            }
            Event::Reset { stream, cause: ResetCause::Violation(violation) } => {
                format!("reset {stream}: {violation}")
            }
            Event::Reset { stream, cause: ResetCause::NotProcessed } => format!("not processed {stream}"),
            Event::Refused { stream, violation } => format!("refused {stream}: {violation}"),
            Event::WindowAvailable { stream: None } => "window".to_owned(),
            Event::WindowAvailable { stream: Some(stream) } => format!("window {stream}"),
            Event::Settings => "settings".to_owned(),
            Event::Priority { stream } => {
                format!("priority {stream} {:?}", self.connection.priority(*stream).unwrap())
            }
            Event::Pong { payload } => format!("pong {}", hex(payload)),
            Event::GoAway { last, code } => format!("goaway {last} {code}"),
        }
    }

    /// What was written, frame by frame, as text.
    pub(super) fn written(&mut self) -> Vec<String> {
        let out = std::mem::take(&mut self.out);
        let mut rest = out.strip_prefix(PREFACE).unwrap_or(&out);
        let mut frames = Vec::new();
        while let Some(header) = FrameHeader::parse(rest) {
            let end = FRAME_HEADER_BYTES + header.length as usize;
            frames.push(self.describe_frame(header, &rest[FRAME_HEADER_BYTES..end]));
            rest = &rest[end..];
        }
        assert!(rest.is_empty(), "whole frames are written");
        frames
    }

    fn describe_frame(&mut self, header: FrameHeader, payload: &[u8]) -> String {
        let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        let end = if header.has(ES) { " end" } else { "" };
        match header.kind {
            Kind::Data => format!("DATA {}{end} \"{}\"", header.stream, payload.escape_ascii()),
            Kind::Headers | Kind::Continuation => {
                self.written_block.extend_from_slice(payload);
                let name = if header.kind == Kind::Headers { "HEADERS" } else { "CONTINUATION" };
                let end = if header.kind == Kind::Headers { end } else { "" };
                let mut text = format!("{name} {}{end}", header.stream);
                if header.has(EH) {
                    let block = std::mem::take(&mut self.written_block);
                    let mut fields = FieldList::new();
                    fields.clear(FieldLimits { bytes: usize::MAX, fields: usize::MAX });
                    self.decoder.decode(&block, &mut fields).unwrap();
                    std::mem::swap(&mut self.fields, &mut fields);
                    text.push_str(&self.list());
                    std::mem::swap(&mut self.fields, &mut fields);
                }
                text
            }
            Kind::RstStream => format!("RST_STREAM {} {}", header.stream, ErrorCode(number(0))),
            Kind::Settings if header.has(ES) => "SETTINGS ack".to_owned(),
            Kind::Settings => {
                let settings = payload.chunks(6).map(|setting| {
                    let id = u16::from_be_bytes([setting[0], setting[1]]);
                    format!(" {id}={}", u32::from_be_bytes(setting[2..].try_into().unwrap()))
                });
                format!("SETTINGS{}", settings.collect::<String>())
            }
            Kind::Ping => format!("PING{} {}", if header.has(ES) { " ack" } else { "" }, hex(payload)),
            Kind::GoAway => format!("GOAWAY {} {}", number(0), ErrorCode(number(4))),
            Kind::WindowUpdate => format!("WINDOW_UPDATE {} {}", header.stream, number(0)),
            Kind::PriorityUpdate => {
                format!("PRIORITY_UPDATE {} \"{}\"", number(0), payload[4..].escape_ascii())
            }
            Kind::Priority | Kind::PushPromise | Kind::Unknown => panic!("never written: {header:?}"),
        }
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Pieces of content as one: where they are cut is not part of their meaning.
pub(super) fn joined(events: Vec<String>) -> Vec<String> {
    let mut joined: Vec<String> = Vec::new();
    for event in events {
        if let Some(last) = joined.last_mut()
            && event.starts_with("data ")
            && let (Some((before, _)), Some((start, rest))) = (last.rsplit_once('"'), event.split_once('"'))
            && last.starts_with(start)
        {
            *last = format!("{before}{rest}");
        } else {
            joined.push(event);
        }
    }
    joined
}

/// How a connection ended, as text.
pub(super) fn verdict(violation: Violation) -> String {
    let (code, scope) = violation.verdict();
    let scope = if scope == Scope::Connection { "" } else { " (of a stream)" };
    format!("{code}: {violation}{scope}")
}

pub(super) fn stream(id: u32) -> StreamId {
    StreamId::new(id)
}
