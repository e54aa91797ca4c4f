//! What a session keeps: the codec, the output, and the streams.

use std::collections::VecDeque;
use std::task::Waker;

use super::fields;
use super::slots::{Head, Outgoing, Slots};
use super::timers::{Overdue, Timers};
use crate::http2::{Connection, ErrorCode, SendError, StreamEnd, StreamId, Violation};
use crate::io::buffer;

/// Output with so many bytes is sent before streams add to it, and before more is received.
pub(super) const OUT_FULL: usize = 64 * 1024;
/// Content of one stream that goes out in its turn, in bytes.
const TURN: usize = 16 * 1024;
/// Memory for output that a connection keeps while it is in use.
pub(super) const KEPT_OUT: usize = OUT_FULL + 2 * TURN;
/// Requests that the driver has not taken over, with which nothing more is received. Those of one read are taken over
/// together, so that what their exchanges send leaves together.
pub(super) const UNTAKEN: usize = 128;
/// Streams that were reset and whose exchanges have not noticed, with which nothing more is received.
pub(super) const UNNOTICED: usize = 16;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionEnd {
    /// In order: one side has announced the end, and no stream is left.
    Finished,
    /// The peer closed it.
    Closed,
    /// It broke.
    Lost,
    /// The peer broke the rules.
    Violation(Violation),
    /// The peer was too slow.
    Overdue(Overdue),
}

/// What is behind the cell.
#[derive(Debug)]
pub(super) struct State {
    pub(super) codec: Connection,
    pub(super) out: Vec<u8>,
    pub(super) slots: Slots,
    /// Requests that the driver has not taken over yet.
    pub(super) incoming: VecDeque<u32>,
    /// What waits for the peer's first SETTINGS.
    pub(super) unsettled: Vec<Waker>,
    /// Pieces that wait for their turn.
    pub(super) waiting: usize,
    /// Streams that ended before their time and have a handle still.
    pub(super) unnoticed: usize,
    /// Bytes of content that wait for their readers.
    pub(super) queued: usize,
    /// Memory that is counted with that of buffers.
    held: usize,
    /// Output is being sent.
    pub(super) sending: bool,
    pub(super) timers: Timers,
    pub(super) end: Option<SessionEnd>,
}

impl State {
    /// Whether more may be received: the output has room, and the driver and exchanges have noticed what came.
    pub(super) fn may_receive(&self) -> bool {
        self.out.len() < OUT_FULL && self.unnoticed < UNNOTICED && self.incoming.len() < UNTAKEN
    }

    pub(super) fn new(codec: Connection) -> Self {
        Self {
            codec,
            out: Vec::new(),
            slots: Slots::default(),
            incoming: VecDeque::new(),
            unsettled: Vec::new(),
            waiting: 0,
            unnoticed: 0,
            queued: 0,
            held: 0,
            sending: false,
            timers: Timers::default(),
            end: None,
        }
    }

    pub(super) fn request(&mut self, stream: StreamId, head: Head) {
        let place = self.slots.insert(stream);
        let slot = self.slots.get_mut(place);
        slot.is_ended = head.end_stream;
        slot.push_head(head);
        self.incoming.push_back(place);
    }

    /// The peer's SETTINGS were received, or the connection has ended.
    pub(super) fn wake_unsettled(&mut self) {
        std::mem::take(&mut self.unsettled).into_iter().for_each(Waker::wake);
    }

    /// A stream ended before its time.
    pub(super) fn cut(&mut self, stream: StreamId, end: StreamEnd) {
        let Some(slot) = self.slots.find_mut(stream) else { return };
        if slot.end.replace(end).is_none() {
            self.unnoticed += 1;
        }
        if slot.is_sending() {
            self.waiting -= 1;
        }
        slot.wake();
    }

    /// Why a stream can be used no further, if it can't.
    pub(super) fn end_of(&self, slot: u32) -> Option<StreamEnd> {
        let of_session = || match self.end? {
            SessionEnd::Violation(violation) => Some(StreamEnd::Failed(violation)),
            _ => Some(StreamEnd::Lost),
        };
        self.slots.get(slot).end.or_else(of_session)
    }

    /// Whether a piece may go into the output at once: there is room, and none waits for its turn.
    pub(super) fn is_free(&self) -> bool {
        self.waiting == 0 && self.out.len() < OUT_FULL
    }

    /// Moves as much of a piece as windows let into the output, `most` bytes at most.
    pub(super) fn send(
        &mut self,
        id: StreamId,
        piece: &mut Outgoing,
        most: usize,
    ) -> Result<usize, SendError> {
        let length = piece.range.len().min(most);
        let whole = length == piece.range.len();
        if length == 0 && !piece.end {
            piece.done = whole;
            return Ok(0);
        }
        let data = piece.buffer.part(piece.range.start..piece.range.start + length);
        let sent = self.codec.send_data(id, data, piece.end && whole, &mut self.out)?;
        piece.range.start += sent;
        piece.done = whole && sent == length;
        Ok(sent)
    }

    /// What fits the output now.
    pub(super) fn room(&self) -> usize {
        OUT_FULL.saturating_sub(self.out.len())
    }

    /// A piece waits for its turn from here on.
    pub(super) fn wait_for_turn(&mut self, slot: u32, piece: Outgoing) {
        let one = self.slots.get_mut(slot);
        one.outgoing = Some(piece);
        self.waiting += 1;
        self.codec.want_to_send(one.id, true);
    }

    /// Sends the next part of a stream's piece. False: nothing could be sent.
    pub(super) fn send_turn(&mut self, place: u32) -> bool {
        let slot = self.slots.get_mut(place);
        let id = slot.id;
        let Some(mut piece) = slot.outgoing.take_if(|piece| !piece.done) else {
            self.codec.want_to_send(id, false);
            return true;
        };
        let sent = self.send(id, &mut piece, TURN);
        let slot = self.slots.get_mut(place);
        let (bytes, done) = match sent {
            Ok(bytes) => (bytes, piece.done),
            Err(error) => {
                if slot.end.replace(StreamEnd::Send(error)).is_none() {
                    self.unnoticed += 1;
                }
                (0, true)
            }
        };
        piece.done = done;
        slot.sent += bytes as u64;
        slot.outgoing = Some(piece);
        if done {
            slot.wake_writer();
            self.waiting -= 1;
            self.codec.want_to_send(id, false);
        }
        done || bytes > 0
    }

    /// Takes a stream out whose handle is gone. If it is not over, it is reset with `code`.
    pub(super) fn remove(&mut self, place: u32, code: ErrorCode) {
        let slot = self.slots.get_mut(place);
        let id = slot.id;
        self.queued -= slot.inbox.queued();
        if slot.end.is_some() {
            self.unnoticed = self.unnoticed.saturating_sub(1);
        } else if slot.is_sending() {
            self.waiting -= 1;
        }
        while let Some(head) = slot.take_head() {
            fields::give(head.fields);
        }
        slot.trailers.take().into_iter().for_each(fields::give);
        self.slots.remove(place);
        if self.end.is_none() {
            self.codec.reset(id, code, &mut self.out);
        }
    }

    /// Counts memory that is not in buffers with that which is.
    pub(super) fn account(&mut self) {
        let holds = self.out.capacity() + self.queued;
        if holds != self.held {
            buffer::hold_beside(self.held, holds);
            self.held = holds;
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        buffer::hold_beside(self.held, 0);
    }
}
