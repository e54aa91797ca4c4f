//! A backend that is made of frames: it sends what a test says, also what no server would.

use std::collections::BTreeMap;
use std::io;

use ringate::internals::http2::{Decoder, FieldLimits, FieldList};

use crate::support::*;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame as it was received.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// A request's head.
#[derive(Debug, Default)]
pub struct Head {
    pub stream: u32,
    pub fields: Vec<(String, String)>,
    pub ends: bool,
}

impl Head {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A backend's end of an HTTP/2 connection.
pub struct Frames<'c> {
    pub connection: &'c mut Connection,
    decoder: Decoder,
}

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block of these fields, none of them in a table.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127 + 128, "a longer one takes more digits");
            match text.len() {
                short @ ..127 => block.push(short as u8),
                long => block.extend([127, (long - 127) as u8]),
            }
            block.extend(text.as_bytes());
        }
    }
    block
}

/// HEADERS with these fields.
pub fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, &block(fields))
}

/// A whole response without a body.
pub fn empty(stream: u32, status: &str) -> Vec<u8> {
    headers(stream, END_STREAM, &[(":status", status)])
}

/// A whole response, 200 with this body.
pub fn ok(stream: u32, body: &str) -> Vec<u8> {
    let mut bytes = headers(stream, 0, &[(":status", "200")]);
    bytes.extend(frame(DATA, END_STREAM, stream, body.as_bytes()));
    bytes
}

/// RST_STREAM with this code.
pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// GOAWAY with this last stream and code.
pub fn goaway(last: u32, code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

impl<'c> Frames<'c> {
    /// Reads the client's preface, and sends SETTINGS with this payload.
    pub fn accept(connection: &'c mut Connection, settings: &[u8]) -> io::Result<Self> {
        assert_eq!(connection.bytes(PREFACE.len())?, PREFACE);
        connection.send(frame(SETTINGS, 0, 0, settings))?;
        Ok(Self { connection, decoder: Decoder::default() })
    }

    /// The next frame, whatever it is.
    pub fn any(&mut self) -> io::Result<Frame> {
        let header = self.connection.bytes(9)?;
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
        let payload = self.connection.bytes(length as usize)?;
        Ok(Frame { kind: header[3], flags: header[4], stream, payload })
    }

    /// The next frame of a stream. SETTINGS and PING are answered.
    pub fn next(&mut self) -> io::Result<Frame> {
        loop {
            let next = self.any()?;
            match next.kind {
                SETTINGS if next.flags == 0 => self.connection.send(frame(SETTINGS, 1, 0, &[]))?,
                PING if next.flags == 0 => self.connection.send(frame(PING, 1, 0, &next.payload))?,
                DATA | HEADERS | RST_STREAM => return Ok(next),
                _ => {}
            }
        }
    }

    /// The next request's head. DATA and resets before it are passed over, and windows granted.
    pub fn head(&mut self) -> io::Result<Head> {
        loop {
            let next = self.next()?;
            if next.kind == HEADERS {
                return self.decode(next);
            }
        }
    }

    /// The fields of HEADERS.
    pub fn decode(&mut self, first: Frame) -> io::Result<Head> {
        let Frame { mut flags, stream, payload: mut fragment, .. } = first;
        let ends = flags & END_STREAM > 0;
        while flags & END_HEADERS == 0 {
            let next = self.any()?;
            assert_eq!((next.kind, next.stream), (CONTINUATION, stream));
            fragment.extend(next.payload);
            flags = next.flags;
        }
        let mut list = FieldList::new();
        list.clear(FieldLimits { bytes: 1 << 20, fields: 1000 });
        self.decoder.decode(&fragment, &mut list).map_err(|error| io::Error::other(error.to_string()))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fields = list.all().map(|field| (text(field.name), text(field.value))).collect();
        Ok(Head { stream, fields, ends })
    }

    /// The rest of a request's body, with its trailers.
    pub fn body(&mut self, head: &Head) -> io::Result<(Vec<u8>, Head)> {
        let (mut body, mut ends) = (Vec::new(), head.ends);
        while !ends {
            let next = self.next()?;
            assert_eq!(next.stream, head.stream, "one request at a time");
            ends = next.flags & END_STREAM > 0;
            match next.kind {
                DATA => {
                    let size = (next.payload.len() as u32).to_be_bytes();
                    if !next.payload.is_empty() {
                        self.send(frame(WINDOW_UPDATE, 0, 0, &size))?;
                        self.send(frame(WINDOW_UPDATE, 0, next.stream, &size))?;
                    }
                    body.extend(next.payload);
                }
                HEADERS => return Ok((body, self.decode(next)?)),
                _ => return Err(io::ErrorKind::ConnectionReset.into()),
            }
        }
        Ok((body, Head::default()))
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.connection.send(bytes)
    }
}

/// A backend that answers each request as it comes.
pub fn backend(
    settings: &'static [u8],
    answer: impl Fn(&mut Frames<'_>, Head) -> io::Result<()> + Send + Sync + 'static,
) -> Backend {
    Backend::start(move |connection| {
        let mut frames = Frames::accept(connection, settings)?;
        loop {
            let head = frames.head()?;
            answer(&mut frames, head)?;
        }
    })
}

/// A backend that answers many requests beside each other, each by its path, as windows let it.
pub fn many(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Backend {
    Backend::start(move |connection| {
        let mut frames = Frames::accept(connection, &[])?;
        // What is left of each response, and the windows: of streams and of the connection.
        let mut left: BTreeMap<u32, (Vec<u8>, usize)> = BTreeMap::new();
        let (mut window, mut of_streams) = (65_535, 65_535);
        loop {
            let next = frames.any()?;
            let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap()) as usize;
            match next.kind {
                SETTINGS if next.flags == 0 => {
                    for setting in next.payload.chunks(6).filter(|setting| setting[..2] == [0, 4]) {
                        of_streams = number(&setting[2..]);
                    }
                    frames.send(frame(SETTINGS, 1, 0, &[]))?;
                }
                PING if next.flags == 0 => frames.send(frame(PING, 1, 0, &next.payload))?,
                WINDOW_UPDATE if next.stream == 0 => window += number(&next.payload),
                WINDOW_UPDATE => {
                    left.entry(next.stream).and_modify(|(_, granted)| *granted += number(&next.payload));
                }
                RST_STREAM => drop(left.remove(&next.stream)),
                HEADERS => {
                    let head = frames.decode(next)?;
                    let body = answer(head.get(":path").unwrap_or_default());
                    frames.send(headers(head.stream, 0, &[(":status", "200")]))?;
                    left.insert(head.stream, (body, of_streams));
                }
                _ => {}
            }
            for (stream, (body, granted)) in &mut left {
                while !body.is_empty() && *granted > 0 && window > 0 {
                    let length = body.len().min(*granted).min(window).min(16_384);
                    let piece: Vec<u8> = body.drain(..length).collect();
                    (*granted, window) = (*granted - length, window - length);
                    frames.send(frame(DATA, u8::from(body.is_empty()), *stream, &piece))?;
                }
            }
            left.retain(|_, (body, _)| !body.is_empty());
        }
    })
}

/// Ringate before backends of HTTP/2 alone.
pub fn before(backends: &[&Backend]) -> Setup {
    before_with(backends, "")
}

/// The same with further lines for the upstream.
pub fn before_with(backends: &[&Backend], lines: &str) -> Setup {
    Setup::to_all(backends.iter().map(|backend| backend.address()))
        .section("[admin]")
        .upstream(&format!("http = \"2\"\n{lines}"))
}
