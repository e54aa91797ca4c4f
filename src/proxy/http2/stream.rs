//! One stream of a connection, as an exchange uses it.

use std::cell::RefMut;
use std::future::poll_fn;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::fields;
use super::session::Session;
use super::slots::{Head, Outgoing, register};
use super::state::State;
use crate::http2::{ErrorCode, FieldList, FieldSource, RequestLine, SendError, StreamEnd, StreamId};
use crate::io::peer::Flow;
use crate::io::{Buffer, StreamError};

/// The handle of a stream. Dropped before both directions have ended, it resets the stream.
///
/// Its methods take a shared reference, as an exchange reads and writes at the same time. There is one reader and one writer.
#[derive(Debug)]
pub(crate) struct Stream {
    session: Rc<Session>,
    slot: u32,
    id: StreamId,
    /// What a stream is reset with that is dropped before its end.
    on_drop: std::cell::Cell<ErrorCode>,
}

/// Looks at a stream, without keeping it open.
#[derive(Clone, Debug)]
pub(crate) struct StreamWatch {
    session: Rc<Session>,
    slot: u32,
    id: StreamId,
}

impl Stream {
    pub(super) fn new(session: Rc<Session>, slot: u32, id: StreamId) -> Self {
        Self { session, slot, id, on_drop: std::cell::Cell::new(ErrorCode::CANCEL) }
    }

    /// To look at it while it is used.
    pub(crate) fn watch(&self) -> StreamWatch {
        StreamWatch { session: Rc::clone(&self.session), slot: self.slot, id: self.id }
    }

    /// Whether it has ended before its time.
    pub(crate) fn is_ended(&self) -> bool {
        self.session.state().end_of(self.slot).is_some()
    }

    /// The next head that was received, if one was.
    pub(crate) fn take_head(&self) -> Option<Head> {
        self.session.state().slots.get_mut(self.slot).take_head()
    }

    /// Waits for the next head.
    ///
    /// # Errors
    /// The stream ended before.
    pub(crate) async fn head(&self) -> Result<Head, StreamError> {
        poll_fn(|cx| {
            let mut state = self.session.state();
            let end = state.end_of(self.slot);
            let slot = state.slots.get_mut(self.slot);
            match (slot.take_head(), end) {
                (Some(head), _) => Poll::Ready(Ok(head)),
                (None, Some(end)) => Poll::Ready(Err(ended(end))),
                (None, None) => {
                    register(&mut slot.reader, cx);
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Returns the memory of a head's fields.
    pub(crate) fn give_fields(list: FieldList) {
        fields::give(list);
    }

    /// Moves content that has arrived into `buffer`, without waiting. Returns how much.
    pub(crate) fn take_arrived(&self, buffer: &mut Buffer) -> usize {
        let mut state = self.session.state();
        let taken = state.slots.get_mut(self.slot).inbox.take(buffer);
        if taken > 0 {
            self.consume(taken, state);
        }
        taken
    }

    /// Gives the window back for content that was taken, and has the driver send that, if it is due.
    fn consume(&self, taken: usize, mut guard: RefMut<'_, State>) {
        let state = &mut *guard;
        state.queued -= taken;
        state.codec.consume(self.id, taken, &mut state.out);
        let due = !state.out.is_empty();
        drop(guard);
        if due {
            self.session.wake_driver();
        }
    }

    /// Whether all content was read, and the peer has ended its direction: then trailers are there, if there are any.
    pub(crate) fn is_over(&self) -> bool {
        let mut state = self.session.state();
        let slot = state.slots.get_mut(self.slot);
        slot.is_ended && slot.inbox.queued() == 0 && slot.inbox.filled() == 0
    }

    /// Adds content to `buffer`, at least a byte; 0 means the message's end. A stream that waits holds no buffer, unless that
    /// has something in it.
    ///
    /// # Errors
    /// The stream ended before its time, or the buffer is full.
    pub(crate) async fn read(&self, buffer: Buffer) -> (Result<usize, StreamError>, Buffer) {
        let mut held = Some(buffer);
        poll_fn(|cx| self.poll_read(&mut held, cx)).await
    }

    fn poll_read(
        &self,
        held: &mut Option<Buffer>,
        cx: &mut Context<'_>,
    ) -> Poll<(Result<usize, StreamError>, Buffer)> {
        let mut guard = self.session.state();
        let state = &mut *guard;
        let end = state.end_of(self.slot);
        let slot = state.slots.get_mut(self.slot);
        if held.is_none() && slot.inbox.is_waiting() {
            if slot.inbox.filled() == 0 && !slot.is_ended && end.is_none() {
                register(&mut slot.reader, cx);
                return Poll::Pending;
            }
            let (filled, buffer) = slot.inbox.take_back();
            if filled > 0 {
                return Poll::Ready((Ok(filled), buffer));
            }
            *held = Some(buffer);
        }
        let mut buffer = held.take().unwrap_or_else(Buffer::small);
        if let Some(filled) = slot.inbox.regain(&mut buffer) {
            return Poll::Ready((filled.ok_or(StreamError::TooLarge), buffer));
        }
        let taken = slot.inbox.take(&mut buffer);
        if taken > 0 {
            self.consume(taken, guard);
            return Poll::Ready((Ok(taken), buffer));
        }
        if slot.inbox.queued() > 0 || !buffer.reserve(1) {
            return Poll::Ready((Err(StreamError::TooLarge), buffer));
        }
        if slot.is_ended {
            return Poll::Ready((Ok(0), buffer));
        }
        if let Some(end) = end {
            return Poll::Ready((Err(ended(end)), buffer));
        }
        slot.inbox.wait(buffer);
        register(&mut slot.reader, cx);
        Poll::Pending
    }

    /// The trailers, once the message is over and if it has some.
    pub(crate) fn take_trailers(&self) -> Option<FieldList> {
        self.session.state().slots.get_mut(self.slot).trailers.take()
    }

    /// Sends an interim response's head. Servers only.
    ///
    /// # Errors
    /// The stream has ended, or its state or a field does not allow it.
    pub(crate) fn send_interim<'a>(
        &self,
        status: u16,
        fields: impl FieldSource<'a>,
    ) -> Result<(), StreamError> {
        self.send(|state| state.codec.send_interim(self.id, status, fields, &mut state.out))
    }

    /// Sends the final response's head. Servers only.
    ///
    /// # Errors
    /// The stream has ended, or its state or a field does not allow it.
    pub(crate) fn send_response<'a>(
        &self,
        status: u16,
        fields: impl FieldSource<'a>,
        end_stream: bool,
    ) -> Result<(), StreamError> {
        self.send(|state| state.codec.send_response(self.id, status, fields, end_stream, &mut state.out))
    }

    /// Sends trailers, which end the message.
    ///
    /// # Errors
    /// The stream has ended, or its state or a field does not allow it.
    pub(crate) fn send_trailers<'a>(&self, fields: impl FieldSource<'a>) -> Result<(), StreamError> {
        self.send(|state| state.codec.send_trailers(self.id, fields, &mut state.out))
    }

    /// Gives up what has not been sent of a piece whose writer has gone.
    pub(crate) fn give_up_unsent(&self) {
        let mut guard = self.session.state();
        let state = &mut *guard;
        let slot = state.slots.get_mut(self.slot);
        if slot.is_sending() {
            state.waiting -= 1;
            state.codec.want_to_send(self.id, false);
        }
        slot.outgoing = None;
    }

    fn send(&self, write: impl FnOnce(&mut State) -> Result<(), SendError>) -> Result<(), StreamError> {
        let mut guard = self.session.state();
        let state = &mut *guard;
        if let Some(end) = state.end_of(self.slot) {
            return Err(ended(end));
        }
        let result = write(state);
        drop(guard);
        self.session.wake_driver();
        result.map_err(|error| ended(StreamEnd::Send(error)))
    }

    /// Sends content of a buffer, `range` of its block, once windows let it and its turn has come. The buffer comes back
    /// with its plaintext. `end`: it is the end of the message.
    ///
    /// # Errors
    /// The stream ended before all of it was sent.
    pub(crate) async fn write(
        &self,
        buffer: Buffer,
        range: Range<usize>,
        end: bool,
    ) -> (Result<(), StreamError>, Buffer) {
        let mut held = Some(Outgoing { buffer, range, end, done: false });
        poll_fn(|cx| self.poll_write(&mut held, cx)).await
    }

    fn poll_write(
        &self,
        held: &mut Option<Outgoing>,
        cx: &mut Context<'_>,
    ) -> Poll<(Result<(), StreamError>, Buffer)> {
        let mut guard = self.session.state();
        let state = &mut *guard;
        let end = state.end_of(self.slot);
        let (mut piece, is_new) = match held.take() {
            Some(piece) => (piece, true),
            None => {
                let slot = state.slots.get_mut(self.slot);
                let Some(piece) = slot.outgoing.take_if(|piece| piece.done || end.is_some()) else {
                    register(&mut slot.writer, cx);
                    return Poll::Pending;
                };
                (piece, false)
            }
        };
        if let Some(end) = end {
            return Poll::Ready((Err(ended(end)), piece.buffer));
        }
        if is_new && (state.is_free() || piece.range.is_empty()) {
            let most = state.room();
            match state.send(self.id, &mut piece, most) {
                Ok(sent) => state.slots.get_mut(self.slot).sent += sent as u64,
                Err(error) => return Poll::Ready((Err(ended(StreamEnd::Send(error))), piece.buffer)),
            }
        }
        let done = piece.done;
        let returned = if done {
            Some(piece.buffer)
        } else {
            state.wait_for_turn(self.slot, piece);
            register(&mut state.slots.get_mut(self.slot).writer, cx);
            None
        };
        drop(guard);
        if is_new {
            self.session.wake_driver();
        }
        match returned {
            Some(buffer) => Poll::Ready((Ok(()), buffer)),
            None => Poll::Pending,
        }
    }

    /// The same for bytes that lie outside of any buffer.
    ///
    /// # Errors
    /// The stream ended before all of it was sent.
    pub(crate) async fn write_bytes(&self, bytes: &[u8], end: bool) -> Result<(), StreamError> {
        let mut pieces = bytes.chunks(Buffer::SMALL_ROOM).peekable();
        if pieces.peek().is_none() {
            return if end { self.write(Buffer::small(), 0..0, true).await.0 } else { Ok(()) };
        }
        while let Some(piece) = pieces.next() {
            let mut buffer = Buffer::small();
            buffer.append(piece);
            let range = buffer.position()..buffer.position() + piece.len();
            self.write(buffer, range, end && pieces.peek().is_none()).await.0?;
        }
        Ok(())
    }

    /// What the stream is reset with where it is dropped before its end; CANCEL if this is not called.
    pub(crate) fn set_code(&self, code: ErrorCode) {
        self.on_drop.set(code);
    }

    /// Waits for the stream's end before its time: until then it is pending.
    #[cfg(test)]
    pub(crate) async fn ended(&self) -> StreamEnd {
        poll_fn(|cx| self.poll_ended(cx)).await
    }

    /// The same, for a future that polls several things.
    pub(crate) fn poll_ended(&self, cx: &Context<'_>) -> Poll<StreamEnd> {
        let mut state = self.session.state();
        match state.end_of(self.slot) {
            Some(end) => Poll::Ready(end),
            None => {
                register(&mut state.slots.get_mut(self.slot).watcher, cx);
                Poll::Pending
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let code = self.on_drop.get();
        self.session.state().remove(self.slot, code);
        self.session.wake_driver();
    }
}

impl Session {
    /// Sends a request's head on a new stream. Clients only.
    ///
    /// # Errors
    /// The peer takes no stream now, or not this request. Nothing was sent.
    pub(crate) fn open<'a>(
        self: &Rc<Self>,
        line: &RequestLine<'_>,
        fields: impl FieldSource<'a>,
        end_stream: bool,
    ) -> Result<Stream, SendError> {
        let mut guard = self.state();
        let state = &mut *guard;
        if state.end.is_some() {
            return Err(SendError::Closed);
        }
        let id = state.codec.send_request(line, fields, end_stream, &mut state.out)?;
        let slot = state.slots.insert(id);
        drop(guard);
        self.wake_driver();
        Ok(Stream::new(Rc::clone(self), slot, id))
    }

    /// The next request, for the driver.
    pub(super) fn next_request(self: &Rc<Self>) -> Option<Stream> {
        let mut state = self.state();
        let slot = state.incoming.pop_front()?;
        let id = state.slots.get(slot).id;
        drop(state);
        self.changed.set(true);
        Some(Stream::new(Rc::clone(self), slot, id))
    }
}

impl StreamWatch {
    /// Whether the stream has ended before its time, or its handle is gone.
    pub(crate) fn has_left(&self) -> bool {
        let state = self.session.state();
        state.slots.get(self.slot).id != self.id || state.end_of(self.slot).is_some()
    }

    /// What it has carried so far. `held_up`: content waits here as the peer takes no more.
    pub(crate) fn flow(&self) -> Option<Flow> {
        let state = self.session.state();
        let slot = state.slots.get(self.slot);
        (slot.id == self.id).then(|| Flow {
            received: slot.received,
            taken: slot.sent,
            held_up: slot.is_sending(),
        })
    }

    /// Whether nothing of what the peer sent waits to be read.
    pub(crate) fn is_drained(&self) -> bool {
        let state = self.session.state();
        let slot = state.slots.get(self.slot);
        slot.id != self.id || slot.inbox.queued() == 0 && slot.inbox.filled() == 0
    }
}

/// The error of a stream that has ended.
fn ended(end: StreamEnd) -> StreamError {
    StreamError::Http2(end)
}
