//! Bodies in flight: from one stream to another, with back-pressure, never collected.

use std::cell::Cell;
use std::ops::Range;
use std::pin::pin;
use std::time::Duration;

use crate::http::{BodyLength, Trailers};
use crate::http1::{self, Body, BodyError, Framing};
use crate::io::stream::{Closed, Keep, More};
use crate::io::{Buffer, Deadline, Pipe, Reader, StreamError, Writer};
use crate::proxy::exchange::stage::{BodyStage, Phase};
use crate::proxy::exchange::trailer_filter::TrailerFilter;
use crate::proxy::failure::Failure;

/// How a body is framed on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// As it is: by length, or by the connection's end.
    Bare,
    /// In chunks.
    Chunked,
}

impl Frame {
    /// How a body of this framing is sent on.
    pub(crate) fn of(framing: Framing) -> Self {
        if framing == Framing::Chunked { Self::Chunked } else { Self::Bare }
    }

    /// How a request's body of this length goes out.
    pub(crate) fn of_request(body: BodyLength) -> Self {
        if body == BodyLength::Unknown { Self::Chunked } else { Self::Bare }
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
    after: Vec<u8>,
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
    let mut after = Vec::new();
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
            after = tail.to_vec();
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
    /// Writes it whole. The buffer comes back with its plaintext not yet consumed.
    pub(crate) async fn write(
        &self,
        writer: &mut Writer,
        buffer: Buffer,
        keep: Keep,
    ) -> (Result<(), StreamError>, Buffer) {
        if self.before.is_empty() && self.after.is_empty() {
            return pin!(self.write_range(writer, buffer, keep)).await;
        }
        // Boxed, as it is rare: each exchange carries this future's size.
        Box::pin(async {
            if let Err(error) = writer.write_bytes(&self.before).await {
                return (Err(error), buffer);
            }
            let (result, buffer) = self.write_range(writer, buffer, keep).await;
            match result {
                Ok(()) => (writer.write_bytes(&self.after).await, buffer),
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
        self.before.len() + self.range.len() + self.after.len()
    }
}

/// Why a body did not get through.
#[derive(Debug)]
pub(crate) enum RelayError {
    /// It broke the rules of its framing, or ended early.
    Body(BodyError),
    /// The side that sends it broke.
    From(StreamError),
    /// The side that receives it broke.
    To(StreamError),
    /// It is longer than it may be.
    TooLong,
    /// The client is slower than it may be.
    TooSlow,
}

impl RelayError {
    /// Whose fault it is that a response's body did not get through.
    pub(crate) fn of_response(self) -> Failure {
        match self {
            Self::Body(error) => Failure::ResponseBody(error),
            Self::From(error) => Failure::BackendGone(Some(error)),
            Self::To(_) | Self::TooLong => Failure::ClientGone,
            Self::TooSlow => Failure::ClientTooSlow,
        }
    }
}

/// What is left of a body, moving from `reader` to `writer`.
#[derive(Debug)]
pub(crate) struct Relay<'a> {
    /// The side that sends it.
    pub reader: &'a mut Reader,
    /// The side that receives it.
    pub writer: &'a mut Writer,
    /// What is known of its length.
    pub body: &'a mut Body,
    /// How it is framed going out.
    pub out: Frame,
    /// Which of its trailers go on.
    pub filter: TrailerFilter<'a>,
    /// The exchange's deadline and what it bounds.
    pub deadline: &'a Deadline,
    /// What an expired deadline means.
    pub phase: &'a Cell<Phase>,
    /// The stage of this body.
    pub stage: BodyStage<'a>,
    /// Bytes written of it, framing included.
    pub moved: &'a Cell<u64>,
    /// Phase and patience of reading and of writing.
    pub waits: [(Phase, Duration); 2],
    /// Phase and patience of the first read, where they are others.
    pub opening: Option<(Phase, Duration)>,
    /// Bytes of the body that may still come; `u64::MAX` for no bound.
    pub allowance: u64,
}

impl Relay<'_> {
    /// Moves it to its end. Returns the buffer with what arrived behind the body.
    ///
    /// # Errors
    /// See [`RelayError`]; both connections are unusable then.
    pub(crate) async fn run(mut self, mut buffer: Buffer) -> Result<Buffer, RelayError> {
        let [reading, writing] = self.waits;
        loop {
            let patience = self.opening.take().unwrap_or(reading);
            self.wait(patience);
            let held = buffer.len();
            let due = match *self.body {
                Body::Length { left } => Some(left),
                _ => None,
            };
            let unseen = self.may_pass_unseen(due);
            let (result, filled) = self.reader.read_on(buffer, due, unseen).await;
            buffer = filled;
            let piece = match result.map_err(RelayError::From)? {
                More::Read(0) => return self.end(buffer).await,
                More::Read(_) => {
                    let part = take(&mut buffer, 0, self.body).map_err(RelayError::Body)?;
                    frame(&mut buffer, &part, &[], (self.body.trailers(), self.filter), self.out)
                }
                More::Unseen(pipe) => {
                    // A client that takes its time holds a pipe, and no buffer beside it.
                    drop(buffer);
                    self.pass(pipe).await?;
                    buffer = Buffer::small();
                    if self.body.is_done() {
                        return Ok(buffer);
                    }
                    continue;
                }
            };
            debug_assert!(piece.consumed > 0 || buffer.len() > held);
            self.allowance = self.allowance.checked_sub(piece.data as u64).ok_or(RelayError::TooLong)?;
            self.wait(writing);
            let (result, written) = piece.write(self.writer, buffer, Keep::Nothing).await;
            buffer = written;
            result.map_err(RelayError::To)?;
            self.count(piece.len());
            buffer.consume(piece.consumed);
            if piece.done {
                return Ok(buffer);
            }
        }
    }

    /// How many bytes need not be read here: those of a body that is sent on unchanged, on plain streams.
    fn may_pass_unseen(&self, due: Option<u64>) -> u64 {
        let as_it_is = self.out == Frame::Bare && matches!(self.body, Body::Length { .. } | Body::UntilClose);
        if as_it_is && self.reader.is_as_plain_as(self.writer) && Pipe::is_to_be_had() {
            due.unwrap_or(u64::MAX).min(self.allowance)
        } else {
            0
        }
    }

    /// Moves bytes of the body by the kernel.
    async fn pass(&mut self, mut pipe: Pipe) -> Result<(), RelayError> {
        let len = pipe.len() as u64;
        self.allowance -= len;
        self.body.pass(len);
        let [_, writing] = self.waits;
        while pipe.len() > 0 {
            self.wait(writing);
            let wrote = self.writer.write_unseen(&mut pipe).await;
            self.count(wrote.map_err(|error| RelayError::To(error.into()))?);
        }
        Ok(())
    }

    pub(crate) fn count(&self, written: usize) {
        self.moved.set(self.moved.get() + written as u64);
    }

    pub(crate) fn wait(&self, (phase, patience): (Phase, Duration)) {
        self.stage.enter(phase);
        self.phase.set(phase);
        self.deadline.set(patience);
    }

    /// The peer closed: the end of the body, or half of one.
    async fn end(self, buffer: Buffer) -> Result<Buffer, RelayError> {
        if self.reader.closed() == Closed::Truncated && matches!(self.body, Body::UntilClose) {
            // Without close_notify it is unknown whether this was all (RFC 9112 §9.8).
            return Err(RelayError::Body(BodyError::Truncated));
        }
        self.body.eof().map_err(RelayError::Body)?;
        if self.out == Frame::Chunked {
            self.writer.write_bytes(http1::LAST_CHUNK).await.map_err(RelayError::To)?;
            self.count(http1::LAST_CHUNK.len());
        }
        Ok(buffer)
    }
}
