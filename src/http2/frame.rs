//! Frames (RFC 9113 §4 and §6): read in place, written into the caller's buffer.

use super::error::{ErrorCode, Violation};

/// Length of a frame's header (§4.1).
pub const FRAME_HEADER_BYTES: usize = 9;
/// SETTINGS_MAX_FRAME_SIZE of either side until SETTINGS change it, and its smallest value (§6.5.2).
pub(super) const MIN_MAX_FRAME_BYTES: u32 = 1 << 14;
/// The largest value of SETTINGS_MAX_FRAME_SIZE.
pub(super) const MAX_MAX_FRAME_BYTES: u32 = (1 << 24) - 1;
/// The largest stream id.
pub(super) const MAX_STREAM_ID: u32 = (1 << 31) - 1;

/// END_STREAM of DATA and HEADERS.
pub(super) const END_STREAM: u8 = 0x1;
/// ACK of SETTINGS and PING.
pub(super) const ACK: u8 = 0x1;
/// END_HEADERS of HEADERS and CONTINUATION.
pub(super) const END_HEADERS: u8 = 0x4;
/// PADDED of DATA and HEADERS.
pub(super) const PADDED: u8 = 0x8;
/// PRIORITY of HEADERS.
pub(super) const PRIORITY: u8 = 0x20;

/// A frame's type (§6, RFC 9218 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Priority,
    RstStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    PriorityUpdate,
    /// To be passed over (§5.5).
    Unknown,
}

impl Kind {
    const KNOWN: [(u8, Self); 11] = [
        (0x0, Self::Data),
        (0x1, Self::Headers),
        (0x2, Self::Priority),
        (0x3, Self::RstStream),
        (0x4, Self::Settings),
        (0x5, Self::PushPromise),
        (0x6, Self::Ping),
        (0x7, Self::GoAway),
        (0x8, Self::WindowUpdate),
        (0x9, Self::Continuation),
        (0x10, Self::PriorityUpdate),
    ];

    #[inline]
    fn of(code: u8) -> Self {
        match Self::KNOWN.get(usize::from(code)) {
            Some(&(known, kind)) if known == code => kind,
            _ if code == 0x10 => Self::PriorityUpdate,
            _ => Self::Unknown,
        }
    }

    fn code(self) -> u8 {
        Self::KNOWN.iter().find(|(_, kind)| *kind == self).map_or(0xff, |(code, _)| *code)
    }
}

/// The nine bytes before a frame's payload (§4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) length: u32,
    pub(super) kind: Kind,
    pub(super) flags: u8,
    /// Without the reserved bit.
    pub(super) stream: u32,
}

impl FrameHeader {
    /// The header at the beginning of `bytes`; `None` until all of it is there.
    #[inline]
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let &[a, b, c, kind, flags, ref stream @ ..] = bytes.first_chunk::<FRAME_HEADER_BYTES>()?;
        Some(Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind: Kind::of(kind),
            flags,
            stream: u32::from_be_bytes(*stream) & MAX_STREAM_ID,
        })
    }

    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The nine bytes of a frame's header.
#[inline]
pub(super) fn header(kind: Kind, flags: u8, stream: u32, length: usize) -> [u8; FRAME_HEADER_BYTES] {
    debug_assert!(length <= MAX_MAX_FRAME_BYTES as usize && stream <= MAX_STREAM_ID);
    let [_, a, b, c] = (length as u32).to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    [a, b, c, kind.code(), flags, d, e, f, g]
}

/// The stream on which a PRIORITY frame, or the priority of HEADERS, makes its stream depend (RFC 9113 §6.3).
pub(super) fn dependency(priority: &[u8; 5]) -> u32 {
    let &[a, b, c, d, _] = priority;
    u32::from_be_bytes([a & 0x7f, b, c, d])
}

/// A payload without its padding (§6.1, §6.2).
///
/// # Errors
/// The padding takes all of the payload or more.
pub(super) fn without_padding(payload: &[u8], flags: u8) -> Result<&[u8], Violation> {
    if flags & PADDED == 0 {
        return Ok(payload);
    }
    let (&padding, rest) = payload.split_first().ok_or(Violation::Padding)?;
    let len = rest.len().checked_sub(usize::from(padding)).ok_or(Violation::Padding)?;
    Ok(&rest[..len])
}

/// A payload of four bytes as a number.
pub(super) fn number(payload: &[u8]) -> Result<u32, Violation> {
    payload.try_into().map(u32::from_be_bytes).map_err(|_| Violation::FrameLength)
}

fn write(kind: Kind, flags: u8, stream: u32, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&header(kind, flags, stream, payload.len()));
    out.extend_from_slice(payload);
}

/// RST_STREAM (§6.4).
pub(super) fn write_reset(stream: u32, code: ErrorCode, out: &mut Vec<u8>) {
    write(Kind::RstStream, 0, stream, &code.0.to_be_bytes(), out);
}

/// SETTINGS (§6.5): identifiers and values.
pub(super) fn write_settings(settings: impl Iterator<Item = (u16, u32)>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    for (id, value) in settings {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
    let length = out.len() - start - FRAME_HEADER_BYTES;
    out[start..start + FRAME_HEADER_BYTES].copy_from_slice(&header(Kind::Settings, 0, 0, length));
}

/// SETTINGS with ACK.
pub(super) fn write_settings_ack(out: &mut Vec<u8>) {
    write(Kind::Settings, ACK, 0, &[], out);
}

/// PING (§6.7).
pub(super) fn write_ping(flags: u8, payload: [u8; 8], out: &mut Vec<u8>) {
    write(Kind::Ping, flags, 0, &payload, out);
}

/// GOAWAY (§6.8).
pub(super) fn write_goaway(last: u32, code: ErrorCode, out: &mut Vec<u8>) {
    let mut payload = [0; 8];
    payload[..4].copy_from_slice(&last.to_be_bytes());
    payload[4..].copy_from_slice(&code.0.to_be_bytes());
    write(Kind::GoAway, 0, 0, &payload, out);
}

/// WINDOW_UPDATE (§6.9). Stream 0 is the connection.
pub(super) fn write_window_update(stream: u32, increment: u32, out: &mut Vec<u8>) {
    write(Kind::WindowUpdate, 0, stream, &increment.to_be_bytes(), out);
}

/// PRIORITY_UPDATE (RFC 9218 §7.1).
pub(super) fn write_priority_update(stream: u32, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&header(Kind::PriorityUpdate, 0, 0, 4 + value.len()));
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(value);
}

/// Leaves room for the header of HEADERS: a header block is appended next.
pub(super) fn begin_headers(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    start
}

/// Makes HEADERS, and CONTINUATION if need be, of the header block behind the room left at `start` (§4.3).
pub(super) fn finish_headers(start: usize, stream: u32, flags: u8, max_frame: usize, out: &mut Vec<u8>) {
    let block = out.len() - start - FRAME_HEADER_BYTES;
    let more = block.saturating_sub(1) / max_frame;
    out.resize(out.len() + more * FRAME_HEADER_BYTES, 0);
    // From the last fragment to the first, so that none is overwritten before it is moved.
    for fragment in (0..=more).rev() {
        let offset = fragment * max_frame;
        let length = (block - offset).min(max_frame);
        let from = start + FRAME_HEADER_BYTES + offset;
        let to = from + fragment * FRAME_HEADER_BYTES;
        out.copy_within(from..from + length, to);
        let last = if fragment == more { END_HEADERS } else { 0 };
        let header = match fragment {
            0 => header(Kind::Headers, flags | last, stream, length),
            _ => header(Kind::Continuation, last, stream, length),
        };
        out[to - FRAME_HEADER_BYTES..to].copy_from_slice(&header);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_is_written() {
        for (code, kind) in Kind::KNOWN {
            assert_eq!((Kind::of(code), kind.code()), (kind, code));
            let bytes = header(kind, 0x25, 0x7fff_fffe, 0xabcdef);
            let parsed = FrameHeader { length: 0xabcdef, kind, flags: 0x25, stream: 0x7fff_fffe };
            assert_eq!(FrameHeader::parse(&bytes), Some(parsed));
            assert_eq!(FrameHeader::parse(&bytes[..8]), None);
        }
        for code in (0xa..0x10).chain(0x11..=0xff) {
            assert_eq!(Kind::of(code), Kind::Unknown);
        }
        let reserved = [0, 0, 0, 0, 0, 0x80, 0, 0, 1];
        assert_eq!(FrameHeader::parse(&reserved).unwrap().stream, 1);
    }

    #[test]
    fn a_long_block_is_cut_into_frames() {
        for (len, max) in [(0, 4), (1, 4), (4, 4), (5, 4), (8, 4), (9, 4), (100, 7)] {
            let block: Vec<u8> = (0..len).collect();
            let mut out = b"before".to_vec();
            let start = begin_headers(&mut out);
            out.extend_from_slice(&block);
            finish_headers(start, 5, END_STREAM, max, &mut out);
            let (mut rest, mut whole, mut frames) = (&out[6..], Vec::new(), 0);
            while let Some(header) = FrameHeader::parse(rest) {
                assert_eq!(header.kind, if frames == 0 { Kind::Headers } else { Kind::Continuation });
                assert_eq!((header.stream, header.has(END_STREAM)), (5, frames == 0));
                let payload = &rest[9..9 + header.length as usize];
                assert!(payload.len() <= max);
                whole.extend_from_slice(payload);
                rest = &rest[9 + payload.len()..];
                assert_eq!(header.has(END_HEADERS), rest.is_empty());
                frames += 1;
            }
            assert_eq!((whole, rest.len()), (block, 0));
        }
    }
}
