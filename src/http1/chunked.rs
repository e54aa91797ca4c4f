//! The chunked transfer coding (RFC 9112 §7.1).

use std::fmt;
use std::ops::Range;

use crate::base::limits::{MAX_CHUNK_LINE_BYTES, MAX_TRAILER_BYTES};
use crate::http::{Trailers, is_tchar, is_value_byte, may_trail, trim};

/// Most digits of a chunk's size: sixteen fill 64 bits.
const MAX_SIZE_DIGITS: u8 = 16;

/// Why a chunked body cannot be followed any further. The connection is lost with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkError {
    /// A size that is not 1 to 16 hexadecimal digits.
    Size,
    /// A size line longer than its limit.
    LineTooLong,
    /// An extension with a byte that none may hold.
    Extension,
    /// A line of the coding, or a chunk, does not end in CR LF.
    LineEnd,
    /// A trailer line that is no field.
    Trailer,
    /// A trailer section longer than its limit.
    TrailersTooLong,
}

impl ChunkError {
    /// The violation in words, for logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Size => "invalid chunk size",
            Self::LineTooLong => "chunk size line too long",
            Self::Extension => "invalid chunk extension",
            Self::LineEnd => "chunk or its line does not end in CR LF",
            Self::Trailer => "invalid trailer field",
            Self::TrailersTooLong => "trailers too long",
        }
    }
}

impl fmt::Display for ChunkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for ChunkError {}

/// What one call of [`ChunkedDecoder::decode`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Where the body's bytes are now, within `..consumed`.
    pub data: Range<usize>,
    /// How many bytes of the buffer were used. All, unless `done`.
    pub consumed: usize,
    /// The body has ended; the bytes after `consumed` are not its own.
    pub done: bool,
}

/// The state of the decoder. The size of the next chunk travels along its line:
///
/// ```text
/// Size ──► Padding ──► Extension ◄──► Quoted ◄──► Escaped
///   └──────────┬────────────┘
///            SizeLf ──► Data ──► DataCr ──► DataLf ──► Size
///              └ size 0 ──► TrailerStart ◄─► Trailer, TrailerLf
///                               └──► FinalLf ──► Done
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size { size: u64, digits: u8 },
    Padding(u64),
    Extension(u64),
    Quoted(u64),
    Escaped(u64),
    SizeLf(u64),
    Data(u64),
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    FinalLf,
    Done,
    Broken(ChunkError),
}

const START: State = State::Size { size: 0, digits: 0 };

/// Takes a chunked body apart as it comes in, in place. Allocates only if there are trailers.
#[derive(Debug)]
pub struct ChunkedDecoder {
    state: State,
    /// Bytes of the current size line.
    line_bytes: usize,
    /// Bytes of the trailer section, dropped ones included.
    trailer_bytes: usize,
    /// The trailers to pass on, then the line that is being read.
    trailers: Vec<u8>,
    /// Where that line begins.
    trailer_line: usize,
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkedDecoder {
    /// A decoder at the start of a body.
    pub const fn new() -> Self {
        Self { state: START, line_bytes: 0, trailer_bytes: 0, trailers: Vec::new(), trailer_line: 0 }
    }

    /// Decodes from the front of `buf`, moving the data that it finds together so that it is contiguous.
    ///
    /// # Errors
    /// The first violation, and from then on always the same.
    pub fn decode(&mut self, buf: &mut [u8]) -> Result<Decoded, ChunkError> {
        let mut data = 0..0;
        let mut at = 0;
        while at < buf.len() {
            match self.state {
                State::Done => break,
                State::Data(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len() - at);
                    if data.is_empty() {
                        data = at..at + here;
                    } else {
                        buf.copy_within(at..at + here, data.end);
                        data.end += here;
                    }
                    at += here;
                    let left = left - here as u64;
                    self.state = if left == 0 { State::DataCr } else { State::Data(left) };
                }
                _ => {
                    self.state =
                        self.step(buf[at]).inspect_err(|&error| self.state = State::Broken(error))?;
                    at += 1;
                }
            }
        }
        Ok(Decoded { data, consumed: at, done: self.is_done() })
    }

    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The trailer fields to pass on, once the body has ended. Those about framing, routing,
    /// authentication, content coding, this hop or the client's origin are not among them (RFC 9110 §6.5.1).
    pub fn trailers(&self) -> Trailers<'_> {
        Trailers::of(&self.trailers[..self.trailer_line])
    }

    /// One byte that is not data.
    fn step(&mut self, byte: u8) -> Result<State, ChunkError> {
        match self.state {
            State::Size { .. }
            | State::Padding(_)
            | State::Extension(_)
            | State::Quoted(_)
            | State::Escaped(_)
            | State::SizeLf(_) => self.step_size_line(byte),
            State::DataCr if byte == b'\r' => Ok(State::DataLf),
            State::DataLf if byte == b'\n' => Ok(START),
            State::Data(_) | State::DataCr | State::DataLf => Err(ChunkError::LineEnd),
            State::TrailerStart | State::Trailer | State::TrailerLf | State::FinalLf => {
                self.step_trailer(byte)
            }
            State::Done => Ok(State::Done),
            State::Broken(error) => Err(error),
        }
    }

    fn step_size_line(&mut self, byte: u8) -> Result<State, ChunkError> {
        self.line_bytes += 1;
        if self.line_bytes > MAX_CHUNK_LINE_BYTES {
            return Err(ChunkError::LineTooLong);
        }
        match (self.state, byte) {
            (State::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == MAX_SIZE_DIGITS {
                    return Err(ChunkError::Size);
                }
                let digit = (byte as char).to_digit(16).unwrap_or_default();
                Ok(State::Size { size: size << 4 | u64::from(digit), digits: digits + 1 })
            }
            (State::Size { digits: 0, .. }, _) => Err(ChunkError::Size),
            (State::Size { size, .. } | State::Extension(size), b'\r') => Ok(State::SizeLf(size)),
            (State::Size { size, .. } | State::Padding(size), b';') => Ok(State::Extension(size)),
            // RFC 9112 §7.1.1 has white space before an extension, but none at the end of the line.
            (State::Size { size, .. } | State::Padding(size), b' ' | b'\t') => Ok(State::Padding(size)),
            (State::Size { .. } | State::Padding(_), _) => Err(ChunkError::Size),
            (State::Extension(size), b'"') => Ok(State::Quoted(size)),
            (State::Extension(size), b';' | b'=' | b' ' | b'\t') => Ok(State::Extension(size)),
            (State::Extension(size), _) if is_tchar(byte) => Ok(State::Extension(size)),
            (State::Quoted(size), b'"') => Ok(State::Extension(size)),
            (State::Quoted(size), b'\\') => Ok(State::Escaped(size)),
            (State::Quoted(size) | State::Escaped(size), _) if is_value_byte(byte) => Ok(State::Quoted(size)),
            (State::SizeLf(size), b'\n') => {
                self.line_bytes = 0;
                Ok(if size == 0 { State::TrailerStart } else { State::Data(size) })
            }
            (State::SizeLf(_), _) => Err(ChunkError::LineEnd),
            _ => Err(ChunkError::Extension),
        }
    }

    fn step_trailer(&mut self, byte: u8) -> Result<State, ChunkError> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > MAX_TRAILER_BYTES {
            return Err(ChunkError::TrailersTooLong);
        }
        match (self.state, byte) {
            (State::TrailerStart, b'\r') => Ok(State::FinalLf),
            (State::FinalLf, b'\n') => Ok(State::Done),
            (State::Trailer, b'\r') => Ok(State::TrailerLf),
            (State::TrailerLf, b'\n') => {
                self.end_trailer()?;
                Ok(State::TrailerStart)
            }
            (State::FinalLf | State::TrailerLf, _) => Err(ChunkError::LineEnd),
            // A folded line fails as well: it does not begin with a name.
            (State::TrailerStart, _) if !is_tchar(byte) => Err(ChunkError::Trailer),
            (_, _) if !is_value_byte(byte) => Err(ChunkError::Trailer),
            _ => {
                self.trailers.push(byte);
                Ok(State::Trailer)
            }
        }
    }

    /// Judges the line that was read: refused, dropped, or kept in the one form `Name: value`.
    fn end_trailer(&mut self) -> Result<(), ChunkError> {
        let line = &self.trailers[self.trailer_line..];
        let colon = line.iter().position(|&byte| !is_tchar(byte)).ok_or(ChunkError::Trailer)?;
        let (name, value) = match line.split_at(colon) {
            (name, [b':', value @ ..]) => (std::str::from_utf8(name).unwrap_or_default(), trim(value)),
            _ => return Err(ChunkError::Trailer),
        };
        if may_trail(name) {
            let value = value.to_vec();
            self.trailers.truncate(self.trailer_line + colon);
            self.trailers.extend_from_slice(b": ");
            self.trailers.extend_from_slice(&value);
            self.trailers.extend_from_slice(b"\r\n");
            self.trailer_line = self.trailers.len();
        } else {
            self.trailers.truncate(self.trailer_line);
        }
        Ok(())
    }
}

/// The line before a chunk of `len` bytes, which are followed by CR LF. `len` is not 0: that would end the body.
pub fn chunk_header(len: usize, line: &mut [u8; 20]) -> &[u8] {
    debug_assert!(len > 0, "an empty chunk ends the body");
    let mut at = line.len() - 2;
    line[at..].copy_from_slice(b"\r\n");
    let mut rest = len;
    loop {
        at -= 1;
        line[at] = b"0123456789abcdef"[rest & 15];
        rest >>= 4;
        if rest == 0 {
            break;
        }
    }
    &line[at..]
}

/// Appends the end of a chunked body.
pub fn encode_last_chunk(trailers: Trailers<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    out.extend_from_slice(trailers.lines());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes a whole body at once: its data, its trailers, and what was left over.
    fn decode(body: &[u8]) -> Result<(Vec<u8>, Vec<u8>, usize), ChunkError> {
        let mut buf = body.to_vec();
        let mut decoder = ChunkedDecoder::new();
        let decoded = decoder.decode(&mut buf)?;
        assert!(decoded.done, "{:?} has no end", body.escape_ascii().to_string());
        let left = body.len() - decoded.consumed;
        Ok((buf[decoded.data].to_vec(), decoder.trailers().lines().to_vec(), left))
    }

    #[track_caller]
    fn refused(body: &[u8], error: ChunkError) {
        let mut decoder = ChunkedDecoder::new();
        assert_eq!(decoder.decode(&mut body.to_vec()), Err(error), "{}", body.escape_ascii());
        assert_eq!(decoder.decode(&mut b"0\r\n\r\n".to_vec()), Err(error), "an error is final");
    }

    #[test]
    fn chunks_are_moved_together() {
        let body = b"5\r\nhello\r\n1 \t;a\r\n \r\n00A;b=c;d=\"e\\\"\xff;\"\r\nwide world\r\n0\r\n\r\nGET /";
        assert_eq!(decode(body), Ok((b"hello wide world".to_vec(), vec![], 5)));
        assert_eq!(decode(b"000;x\r\n\r\n"), Ok((vec![], vec![], 0)));
    }

    #[test]
    fn what_follows_the_end_is_left_alone() {
        let mut buf = *b"0\r\n\r\nrest";
        let mut decoder = ChunkedDecoder::new();
        let end = decoder.decode(&mut buf);
        assert_eq!(end, Ok(Decoded { data: 0..0, consumed: 5, done: true }));
        assert_eq!(decoder.decode(&mut buf[5..]), Ok(Decoded { data: 0..0, consumed: 0, done: true }));
    }

    #[test]
    fn sizes_are_one_to_sixteen_hexadecimal_digits() {
        for body in [
            &b"\r\n"[..],
            b"g\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\n",
            b" 1\r\n",
            b";a\r\n",
            b"1,2\r\n",
            b"1 \r\n",
            b"1 2\r\n",
            b"1\0\r\n",
            b"1\n",
            b"00000000000000000\r\n",
            b"10000000000000000\r\n",
        ] {
            refused(body, ChunkError::Size);
        }
        let mut decoder = ChunkedDecoder::new();
        let begun = decoder.decode(&mut b"FFFFffffFFFFffff\r\nabc".to_vec());
        assert_eq!(begun, Ok(Decoded { data: 18..21, consumed: 21, done: false }));
    }

    #[test]
    fn lines_and_chunks_end_in_cr_lf_alone() {
        for body in [
            &b"1\rx"[..],
            b"1;a\rx",
            b"1\r\nab",
            b"1\r\na\n",
            b"1\r\na\rb",
            b"2\r\na\r\n1\r\n",
            b"0\r\n\rx",
            b"0\r\na: b\rc",
        ] {
            refused(body, ChunkError::LineEnd);
        }
        refused(b"0\r\n\n", ChunkError::Trailer);
    }

    #[test]
    fn extensions_hold_no_control_characters() {
        for body in [
            &b"1;a\n"[..],
            b"1;a\0\r\n",
            b"1;\"a\r\n",
            b"1;\"a\n\"",
            b"1;\"\\\r\n",
            b"1;\"\0\"",
            b"1;a{\r\n",
            b"1;\xff\r\n",
        ] {
            refused(body, ChunkError::Extension);
        }
    }

    #[test]
    fn size_lines_are_bounded() {
        let line = |len: usize| format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(len - 4)).into_bytes();
        assert!(decode(&line(MAX_CHUNK_LINE_BYTES)).is_ok());
        refused(&line(MAX_CHUNK_LINE_BYTES + 1), ChunkError::LineTooLong);
    }

    #[test]
    fn trailers_are_passed_on_in_one_form() {
        let body = b"0\r\nExpires-In:5\r\nGrpc-Status: \t0 \r\nempty:\r\nb:\xff\t.\r\n\r\n";
        let trailers = b"Expires-In: 5\r\nGrpc-Status: 0\r\nempty: \r\nb: \xff\t.\r\n";
        assert_eq!(decode(body), Ok((vec![], trailers.to_vec(), 0)));
    }

    #[test]
    fn trailers_that_should_have_come_before_are_dropped() {
        for name in [
            "Content-Length",
            "TRANSFER-ENCODING",
            "host",
            "Connection",
            "Keep-Alive",
            "TE",
            "Trailer",
            "Upgrade",
            "Authorization",
            "Cookie",
            "Set-Cookie",
            "Content-Type",
            "Expect",
            "X-Forwarded-For",
            "X_Request_ID",
            "Forwarded",
            "Proxy-Authorization",
            "If-Match",
            "Cache-Control",
            "Set_Cookie",
            "Content~Type",
            "X.Forwarded.Client.Cert",
            "Proxy_Authorization",
            "Max_Forwards",
        ] {
            let body = format!("0\r\na: b\r\n{name}: 5\r\nc: d\r\n\r\n");
            let trailers = b"a: b\r\nc: d\r\n".to_vec();
            assert_eq!(decode(body.as_bytes()), Ok((vec![], trailers, 0)), "{name}");
        }
    }

    #[test]
    fn trailers_that_are_no_fields_are_refused() {
        for body in [
            &b"0\r\n: b\r\n\r\n"[..],
            b"0\r\na\r\n\r\n",
            b"0\r\na : b\r\n\r\n",
            b"0\r\n a: b\r\n\r\n",
            b"0\r\na: b\r\n\tc\r\n\r\n",
            b"0\r\na: \0\r\n\r\n",
            b"0\r\na: b\n\r\n",
            b"0\r\na\xff: b\r\n\r\n",
        ] {
            refused(body, ChunkError::Trailer);
        }
    }

    #[test]
    fn trailers_are_bounded_dropped_ones_included() {
        let section = |len: usize| format!("0\r\nhost: {}\r\n\r\n", "x".repeat(len - 10)).into_bytes();
        assert!(decode(&section(MAX_TRAILER_BYTES)).is_ok());
        refused(&section(MAX_TRAILER_BYTES + 1), ChunkError::TrailersTooLong);
    }

    #[test]
    fn what_is_encoded_is_what_is_decoded() {
        let mut line = [0; 20];
        assert_eq!(chunk_header(1, &mut line), b"1\r\n");
        assert_eq!(chunk_header(0x1a2b, &mut line), b"1a2b\r\n");
        assert_eq!(chunk_header(usize::MAX, &mut line), b"ffffffffffffffff\r\n");
        let mut end = Vec::new();
        encode_last_chunk(Trailers::of(b"a: b\r\n"), &mut end);
        assert_eq!(decode(&end), Ok((vec![], b"a: b\r\n".to_vec(), 0)));
        end.clear();
        encode_last_chunk(Trailers::default(), &mut end);
        assert_eq!(end, b"0\r\n\r\n");
    }
}
