//! A request on its way, as the fields of an HTTP/2 stream (RFC 9113 §8.3).

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

use crate::http::{BodyLength, OutgoingRequest, read_lines};
use crate::http2::{Field, FieldLines, FieldSource, RequestLine};

/// The fields of one request. Host is `:authority`; what belongs to a connection is left out.
pub(crate) struct RequestFields<'a> {
    request: &'a OutgoingRequest,
    length: Option<Digits>,
    forwards: Option<Digits>,
}

impl<'a> RequestFields<'a> {
    /// Those of this one.
    pub(crate) fn of(request: &'a OutgoingRequest) -> Self {
        let length = match request.body {
            BodyLength::Known(length) => Some(Digits::of(length)),
            BodyLength::None | BodyLength::Unknown => None,
        };
        let forwards = request.max_forwards.map(|count| Digits::of(u64::from(count)));
        Self { request, length, forwards }
    }

    /// Of a request for WebSocket, which is an extended CONNECT (RFC 8441 §5): the Sec-WebSocket-Accept of its response, by
    /// RFC 6455 §4.2.2. It is empty where the client gave no key.
    pub(crate) fn accept(&self) -> Option<Box<str>> {
        if !self.is_websocket() {
            return None;
        }
        let key = read_lines(self.request.fields()).find(|(name, _)| is_key(name));
        Some(key.map_or_else(Box::default, |(_, key)| accept_of(key)))
    }

    fn is_websocket(&self) -> bool {
        self.request.upgrade().is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
    }

    /// The pseudo-fields, but for `:scheme`.
    pub(crate) fn line(&self) -> RequestLine<'a> {
        let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).unwrap_or_default();
        let websocket = self.is_websocket();
        RequestLine {
            method: if websocket { "CONNECT" } else { text(self.request.method()) },
            scheme: None,
            authority: text(self.request.authority()),
            path: Some(text(self.request.target())),
            protocol: websocket.then_some("websocket"),
        }
    }

    /// The fields behind them.
    pub(crate) fn fields(&self) -> impl FieldSource<'_> {
        let own = [
            self.length.as_ref().map(|digits| (&b"content-length"[..], digits.bytes())),
            self.forwards.as_ref().map(|digits| (&b"max-forwards"[..], digits.bytes())),
            self.request.expect_continue.then_some((b"expect", b"100-continue")),
            self.request.takes_trailers.then_some((b"te", b"trailers")),
        ];
        let all = self.request.fields();
        let (lines, filtered) = if self.is_websocket() { (&[][..], all) } else { (all, &[][..]) };
        let more = read_lines(filtered).filter(|(name, _)| !is_key(name));
        let more = more.chain(own.into_iter().flatten()).chain(read_lines(self.request.added()));
        FieldLines { lines, more: more.map(|(name, value)| Field { name, value, never_indexed: false }) }
    }
}

fn is_key(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"sec-websocket-key")
}

/// Proves that the key was read.
fn accept_of(key: &[u8]) -> Box<str> {
    const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key);
    context.update(MAGIC);
    data_encoding::BASE64.encode(context.finish().as_ref()).into()
}

/// The digits of a number.
struct Digits {
    bytes: [u8; 20],
    start: usize,
}

impl Digits {
    fn of(mut number: u64) -> Self {
        let (mut bytes, mut start) = ([0; 20], 20);
        loop {
            start -= 1;
            bytes[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return Self { bytes, start };
            }
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}
