//! Parts of bodies, taken out of one framing and put into another where they lie.

use std::ops::Range;
use std::pin::pin;

use crate::http::Trailers;
use crate::http::grpc_web::{Decoder, Malformed};
use crate::http1::{self, Body, BodyError, Framing};
use crate::io::stream::Keep;
use crate::io::{Buffer, Reader, StreamError, Writer};
use crate::proxy::exchange::trailer_filter::TrailerFilter;
use crate::proxy::http2::SpareBytes;

/// How a body is framed on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// As it is: by length, or by the connection's end.
    Bare,
    /// In chunks.
    Chunked,
    /// In the frames of an HTTP/2 stream, whose trailers follow by themselves.
    Stream,
}

impl Frame {
    /// How a body of this framing is sent on.
    pub(crate) fn of(framing: Framing) -> Self {
        if framing == Framing::Chunked { Self::Chunked } else { Self::Bare }
    }
}

/// Part of a body in its buffer, taken out of the framing that it came in. It may be framed more than once.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Where its bytes are, positions in the block.
    range: Range<usize>,
    /// Bytes of the buffer's plaintext that it used up, what was given up before it included.
    pub consumed: usize,
    /// Whether it is the last one.
    pub done: bool,
}

/// Part of a body, framed in its buffer and ready to be written.
#[derive(Debug)]
pub(crate) struct Piece {
    /// What to write, positions in the block.
    range: Range<usize>,
    /// What did not fit in front of it and is written before.
    before: Vec<u8>,
    /// What did not fit behind it and is written after.
    after: SpareBytes,
    /// Bytes of the buffer's plaintext that this piece used up.
    pub consumed: usize,
    /// Bytes of the body among them, without framing.
    pub data: usize,
    /// Whether it is the last one.
    pub done: bool,
}

/// Takes what the buffer holds of a body, behind `skip` bytes that are given up.
///
/// # Errors
/// The body broke the rules of its framing.
pub(crate) fn take(buffer: &mut Buffer, skip: usize, body: &mut Body) -> Result<Part, BodyError> {
    let origin = buffer.position() + skip;
    let taken = body.take(&mut buffer.data_mut()[skip..])?;
    let range = origin + taken.data.start..origin + taken.data.end;
    Ok(Part { range, consumed: skip + taken.consumed, done: taken.done })
}

/// Frames part of a body where it lies, and puts `lead` (an encoded head, or nothing) in front. `trailers` are
/// those of the body, of which `filter` decides. The same part may be framed again: its own bytes stay.
pub(crate) fn frame(
    buffer: &mut Buffer,
    part: &Part,
    lead: &[u8],
    (trailers, filter): (Trailers<'_>, TrailerFilter<'_>),
    out: Frame,
) -> Piece {
    let Part { mut range, consumed, done } = part.clone();
    let data = range.len();
    let mut after = SpareBytes::default();
    if out == Frame::Stream && done && !trailers.is_empty() {
        filter.keep(trailers, after.appendable());
    }
    if out == Frame::Chunked {
        let mut tail: &[u8] = b"";
        let mut last = Vec::new();
        if done {
            // Allocates once a chunked body, and only there.
            if !range.is_empty() {
                last.extend_from_slice(b"\r\n");
            }
            filter.end(trailers, &mut last);
            tail = &last;
        } else if !range.is_empty() {
            tail = b"\r\n";
        }
        if !range.is_empty() {
            let mut line = [0; 20];
            let line = http1::chunk_header(range.len(), &mut line);
            let start = range.start - line.len();
            buffer.block_mut()[start..range.start].copy_from_slice(line);
            range.start = start;
        }
        if room_behind(buffer, range.end, consumed) >= tail.len() {
            buffer.block_mut()[range.end..range.end + tail.len()].copy_from_slice(tail);
            range.end += tail.len();
        } else {
            after.appendable().extend_from_slice(tail);
        }
    }
    let mut before = Vec::new();
    if lead.len() <= range.start {
        let start = range.start - lead.len();
        buffer.block_mut()[start..range.start].copy_from_slice(lead);
        range.start = start;
    } else {
        before = lead.to_vec();
    }
    Piece { range, before, after, consumed, data, done }
}

/// Takes what has arrived of a short body of which a part came with its head. Most backends send the rest in a record or
/// a segment of its own, close behind: one send less for us.
pub(crate) fn take_rest(reader: &mut Reader, buffer: &mut Buffer, head_len: usize, framing: Framing) {
    let Framing::Length(length) = framing else { return };
    let left = length.saturating_sub((buffer.len() - head_len) as u64);
    if (1..=buffer.spare() as u64).contains(&left) {
        reader.take_arrived(buffer);
    }
}

/// Bytes that may be overwritten behind `at`, where `consumed` bytes of plaintext are used up.
fn room_behind(buffer: &Buffer, at: usize, consumed: usize) -> usize {
    let used = buffer.position() + consumed;
    if consumed < buffer.len() { used - at } else { used - at + buffer.gap_after(used) }
}

impl Part {
    /// All that the buffer holds behind `skip` bytes.
    pub(crate) fn all(buffer: &Buffer, skip: usize, done: bool) -> Self {
        let end = buffer.position() + buffer.len();
        Self { range: buffer.position() + skip..end, consumed: buffer.len(), done }
    }

    /// The end of a body of which nothing is left.
    pub(crate) fn end(buffer: &Buffer) -> Self {
        Self { range: buffer.position()..buffer.position(), consumed: 0, done: true }
    }

    /// Decodes its bytes where they lie.
    ///
    /// # Errors
    /// They can't be decoded.
    pub(crate) fn decode(&mut self, buffer: &mut Buffer, decoder: &mut Decoder) -> Result<(), Malformed> {
        self.range = decoder.decode(buffer.block_mut(), self.range.clone(), self.done)?;
        Ok(())
    }

    /// Where its bytes are, positions in the block.
    pub(crate) fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// How many bytes it has.
    pub(crate) fn data(&self) -> u64 {
        self.range.len() as u64
    }
}

impl Piece {
    /// Of one that was framed for a stream: where its content is, and the lines of the trailers behind it.
    pub(crate) fn content(&self) -> (Range<usize>, &[u8]) {
        (self.range.clone(), self.after.as_slice())
    }

    /// Whether it is the end of the body, and nothing else.
    pub(crate) fn is_end(&self) -> bool {
        self.done && self.len() == 0
    }

    /// Writes it whole. The buffer comes back with its plaintext not yet consumed.
    pub(crate) async fn write(
        &self,
        writer: &mut Writer,
        buffer: Buffer,
        keep: Keep,
    ) -> (Result<(), StreamError>, Buffer) {
        if self.before.is_empty() && self.after.as_slice().is_empty() {
            return pin!(self.write_range(writer, buffer, keep)).await;
        }
        // Boxed, as it is rare: each exchange carries this future's size.
        Box::pin(async {
            if let Err(error) = writer.write_bytes(&self.before).await {
                return (Err(error), buffer);
            }
            let (result, buffer) = self.write_range(writer, buffer, keep).await;
            match result {
                Ok(()) => (writer.write_bytes(self.after.as_slice()).await, buffer),
                error => (error, buffer),
            }
        })
        .await
    }

    async fn write_range(
        &self,
        writer: &mut Writer,
        buffer: Buffer,
        keep: Keep,
    ) -> (Result<(), StreamError>, Buffer) {
        if self.range.is_empty() {
            return (Ok(()), buffer);
        }
        pin!(writer.write_all(buffer, self.range.clone(), keep)).await
    }

    /// How many bytes it puts on the wire (before TLS).
    #[allow(clippy::len_without_is_empty)] // unused
    pub(crate) fn len(&self) -> usize {
        self.before.len() + self.range.len() + self.after.as_slice().len()
    }
}
