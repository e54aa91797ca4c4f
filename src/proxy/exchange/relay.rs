//! Bodies in flight: from one stream to another, with back-pressure, never collected.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use super::body::{Frame, Part, frame};
use super::body_reader::BodyReader;
use super::body_writer::BodyWriter;
use super::stage::{BodyStage, Phase, ResponseStage};
use super::throttle::Throttle;
use super::trailer_filter::TrailerFilter;
use crate::http::grpc_web::{Decoder, Malformed};
use crate::http1::BodyError;
use crate::http2::FieldLines;
use crate::io::stream::{Keep, More};
use crate::io::{Buffer, Deadline, Pipe, StreamError};
use crate::proxy::failure::Failure;

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
    /// It can't be decoded.
    Undecodable,
}

impl RelayError {
    /// Whose fault it is that a response's body did not get through.
    pub(crate) fn of_response(self) -> Failure {
        match self {
            Self::Body(error) => Failure::ResponseBody(error),
            Self::From(error) => Failure::of_backend(error),
            Self::To(_) | Self::TooLong | Self::Undecodable => Failure::ClientGone,
            Self::TooSlow => Failure::ClientTooSlow,
        }
    }
}

/// Takes a copy of each part of a body.
pub(crate) type CopyTo<'a> = &'a dyn Fn(&[u8]);

/// What is left of a body, moving from `reader` to `writer`.
#[allow(missing_debug_implementations)] // it may hold a closure
pub(crate) struct Relay<'a> {
    /// The side that sends it.
    pub reader: BodyReader<'a>,
    /// The side that receives it.
    pub writer: BodyWriter<'a>,
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
    /// Of a request: the response, and how long either of them may pause once that has begun. Then they are a conversation,
    /// in which the client may be silent for as long as the backend may.
    pub conversation: Option<(&'a Cell<ResponseStage>, Duration)>,
    /// What takes a copy of it, if anything does.
    pub copy: Option<CopyTo<'a>>,
    /// What decodes it, if it is encoded.
    pub decoder: Option<&'a RefCell<Decoder>>,
    /// Bytes of the body that may still come; `u64::MAX` for no bound.
    pub allowance: u64,
    /// The pace at which it is sent, if it has one.
    pub throttle: Option<Box<Throttle>>,
}

impl Relay<'_> {
    /// Moves it to its end. Returns the buffer with what arrived behind the body.
    ///
    /// # Errors
    /// See [`RelayError`]; both connections are unusable then.
    pub(crate) async fn run(mut self, mut buffer: Buffer) -> Result<Buffer, RelayError> {
        let [reading, writing] = self.waits;
        loop {
            self.keep_pace().await;
            match self.pause() {
                Some(pause) => self.rest(pause),
                None => {
                    let patience = self.opening.take().unwrap_or(reading);
                    self.wait(patience);
                }
            }
            let held = buffer.len();
            let (result, filled) = self.read(buffer).await;
            buffer = filled;
            let piece = match result.map_err(RelayError::From)? {
                More::Read(0) => return self.end(buffer).await,
                More::Read(_) => {
                    let mut part = self.reader.take(&mut buffer, 0).map_err(RelayError::Body)?;
                    if let Some(decoder) = self.decoder {
                        let decoded = part.decode(&mut buffer, &mut decoder.borrow_mut());
                        decoded.map_err(|Malformed| RelayError::Undecodable)?;
                    }
                    if let Some(copy) = self.copy {
                        copy(&buffer.block_mut()[part.range()]);
                    }
                    frame(&mut buffer, &part, &[], (self.reader.trailers(), self.filter), self.out)
                }
                More::Unseen(pipe) => {
                    // A client that takes its time holds a pipe, and no buffer beside it.
                    drop(buffer);
                    self.pass(pipe).await?;
                    buffer = Buffer::small();
                    if self.reader.is_done() {
                        return Ok(buffer);
                    }
                    continue;
                }
            };
            debug_assert!(piece.consumed > 0 || buffer.len() > held);
            self.allowance = self.allowance.checked_sub(piece.data as u64).ok_or(RelayError::TooLong)?;
            self.wait(writing);
            let (result, written) = self.writer.write_piece(&piece, buffer, Keep::Nothing).await;
            buffer = written;
            result.map_err(RelayError::To)?;
            self.count(piece.len());
            buffer.consume(piece.consumed);
            if piece.done {
                return Ok(buffer);
            }
        }
    }

    /// Reads more of the body, as much at once as its pace allows.
    async fn read(&mut self, buffer: Buffer) -> (Result<More, StreamError>, Buffer) {
        let unseen = self.may_pass_unseen();
        let portion = self.throttle.as_ref().map_or(u64::MAX, |throttle| throttle.portion(self.moved.get()));
        if portion >= Buffer::LARGE_ROOM as u64 {
            return self.reader.read_on(buffer, unseen.min(portion)).await;
        }
        // Boxed, as it is rare: each relay carries this future's size.
        Box::pin(async {
            let buffer = if buffer.is_idle() { Buffer::small() } else { buffer };
            let (result, buffer) = self.reader.fill(buffer).await;
            (result.map(More::Read), buffer)
        })
        .await
    }

    /// Waits until the bytes that were sent are due, where the body has a pace.
    pub(crate) async fn keep_pace(&self) {
        let Some(throttle) = &self.throttle else { return };
        while let Some(pause) = throttle.ahead(self.moved.get()) {
            // The client owes nothing meanwhile, and neither does the backend.
            let (phase, patience) = self.waits[0];
            self.wait((phase, patience.saturating_add(pause)));
            throttle.wait(pause).await;
        }
    }

    /// How many bytes need not be read here: those of a body that is sent on unchanged, on plain streams.
    fn may_pass_unseen(&self) -> u64 {
        match &self.writer {
            BodyWriter::H1(writer)
                if self.out == Frame::Bare && self.copy.is_none() && Pipe::is_to_be_had() =>
            {
                self.reader.may_pass_unseen(writer).map_or(0, |due| due.min(self.allowance))
            }
            _ => 0,
        }
    }

    /// Moves bytes of the body by the kernel.
    async fn pass(&mut self, mut pipe: Pipe) -> Result<(), RelayError> {
        let len = pipe.len() as u64;
        self.allowance -= len;
        self.reader.pass(len);
        let [_, writing] = self.waits;
        while pipe.len() > 0 {
            self.wait(writing);
            let wrote = self.writer.write_unseen(&mut pipe).await.map_err(RelayError::To)?;
            self.count(wrote);
        }
        Ok(())
    }

    /// Begins the message where its head is not written with its body: then it leaves `encoded`.
    pub(crate) fn begin(&self, status: u16, encoded: &mut Vec<u8>) -> Result<(), StreamError> {
        if let BodyWriter::H2 { stream, .. } = &self.writer {
            stream.send_response(status, FieldLines::of(encoded), false)?;
            encoded.clear();
        }
        Ok(())
    }

    pub(crate) fn count(&self, written: usize) {
        self.moved.set(self.moved.get() + written as u64);
    }

    /// How long the body may pause within a conversation; `None`: there is none.
    fn pause(&self) -> Option<Duration> {
        let (response, pause) = self.conversation?;
        matches!(response.get(), ResponseStage::Begun { .. }).then_some(pause)
    }

    /// Waits for the next part of a request's body within a conversation: the backend may send as well.
    fn rest(&self, pause: Duration) {
        self.stage.enter(Phase::ClientBody);
        self.phase.set(Phase::BackendBody);
        self.deadline.set(pause);
    }

    pub(crate) fn wait(&self, (phase, patience): (Phase, Duration)) {
        self.stage.enter(phase);
        self.phase.set(phase);
        self.deadline.set(patience);
    }

    /// The sender's end: the end of the body, or half of one.
    async fn end(mut self, mut buffer: Buffer) -> Result<Buffer, RelayError> {
        self.reader.eof().map_err(RelayError::Body)?;
        if let Some(decoder) = self.decoder {
            decoder.borrow().finish().map_err(|Malformed| RelayError::Undecodable)?;
        }
        let part = Part::end(&buffer);
        let piece = frame(&mut buffer, &part, &[], (self.reader.trailers(), self.filter), self.out);
        let (result, buffer) = self.writer.write_piece(&piece, buffer, Keep::Nothing).await;
        result.map_err(RelayError::To)?;
        self.count(piece.len());
        Ok(buffer)
    }
}
