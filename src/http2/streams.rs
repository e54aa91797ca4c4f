//! The streams of a connection: a slab, an index by id, the order in which they send, and what is known of closed ones.

use super::config::Role;
use super::flow::{ReceiveWindow, SendWindow};
use super::priority::{Priority, URGENCIES};
use super::stream::State;

/// No slot.
const NONE: u32 = u32::MAX;
/// One turn in so many is taken by the least urgent streams, so that none waits for ever.
const LEAST_URGENT_TURN: u8 = 16;

/// Where a stream is in the slab.
pub(super) type Slot = u32;

/// One stream that is not idle, and not yet forgotten.
#[derive(Debug)]
pub(super) struct Stream {
    /// 0: the slot is free.
    pub(super) id: u32,
    pub(super) state: State,
    pub(super) send: SendWindow,
    pub(super) receive: ReceiveWindow,
    /// Bytes that were handed out in events and not consumed yet.
    pub(super) unconsumed: u32,
    /// Of these, what counts against the connection's window no more.
    pub(super) set_aside: u32,
    /// Bytes that Content-Length leaves for DATA. `None`: without a bound.
    pub(super) expected: Option<u64>,
    /// Since when its window keeps it from sending.
    pub(super) blocked_since: Option<u64>,
    pub(super) priority: Priority,
    /// Interim responses so far.
    pub(super) interim: u8,
    /// The request was a HEAD: its response has no content.
    pub(super) is_head_request: bool,
    /// The caller has something to send.
    pub(super) wants_to_send: bool,
    is_ready: bool,
    next: Slot,
    previous: Slot,
}

impl Stream {
    pub(super) fn new(id: u32, state: State, send: u32, receive: u32) -> Self {
        Self {
            id,
            state,
            send: SendWindow::new(send),
            receive: ReceiveWindow::new(receive),
            unconsumed: 0,
            set_aside: 0,
            expected: None,
            blocked_since: None,
            priority: Priority::default(),
            interim: 0,
            is_head_request: false,
            wants_to_send: false,
            is_ready: false,
            next: NONE,
            previous: NONE,
        }
    }
}

/// All streams of a connection.
#[derive(Debug)]
pub(super) struct Streams {
    slots: Vec<Stream>,
    /// Free slots, by their `next`.
    free: Slot,
    /// Id and slot, in the order of ids: streams are opened in that order.
    index: Vec<(u32, Slot)>,
    /// A ring of ready streams for each urgency: the one whose turn is next.
    ready: [Slot; URGENCIES],
    turn: u8,
}

impl Default for Streams {
    fn default() -> Self {
        Self { slots: Vec::new(), free: NONE, index: Vec::new(), ready: [NONE; URGENCIES], turn: 0 }
    }
}

impl Streams {
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn find(&self, id: u32) -> Option<Slot> {
        let at = self.index.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(self.index[at].1)
    }

    pub(super) fn get(&self, slot: Slot) -> &Stream {
        &self.slots[slot as usize]
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> &mut Stream {
        &mut self.slots[slot as usize]
    }

    /// The ids in use, in their order.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.index.iter().map(|(id, _)| *id)
    }

    /// The slot of the stream with the so many-th lowest id.
    pub(super) fn at(&self, place: usize) -> Slot {
        self.index[place].1
    }

    /// The stream with the highest id above `id`.
    pub(super) fn last_above(&self, id: u32) -> Option<(u32, Slot)> {
        self.index.last().copied().filter(|(last, _)| *last > id)
    }

    /// Puts a stream in: its id is above those of all others.
    pub(super) fn insert(&mut self, stream: Stream) -> Slot {
        debug_assert!(self.index.last().is_none_or(|(last, _)| *last < stream.id));
        let id = stream.id;
        let slot = match self.free {
            NONE => {
                self.slots.push(stream);
                (self.slots.len() - 1) as Slot
            }
            free => {
                self.free = self.get(free).next;
                *self.get_mut(free) = stream;
                free
            }
        };
        self.index.push((id, slot));
        slot
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        self.unready(slot);
        let id = self.get(slot).id;
        if let Ok(at) = self.index.binary_search_by_key(&id, |(id, _)| *id) {
            self.index.remove(at);
        }
        let free = self.free;
        let stream = self.get_mut(slot);
        (stream.id, stream.next) = (0, free);
        self.free = slot;
    }

    /// Gives memory back where no stream is left.
    pub(super) fn shrink(&mut self) {
        if self.index.is_empty() {
            *self = Self { turn: self.turn, ..Self::default() };
        }
    }

    /// Puts a stream at the end of its urgency's ring, if it wants to send and its window lets it.
    pub(super) fn ready(&mut self, slot: Slot) {
        let stream = self.get(slot);
        if stream.is_ready || !stream.wants_to_send || stream.send.available() == 0 {
            return;
        }
        let urgency = usize::from(stream.priority.urgency);
        let (next, previous) = match self.ready[urgency] {
            NONE => {
                self.ready[urgency] = slot;
                (slot, slot)
            }
            first => (first, self.get(first).previous),
        };
        let stream = self.get_mut(slot);
        (stream.is_ready, stream.next, stream.previous) = (true, next, previous);
        self.get_mut(previous).next = slot;
        self.get_mut(next).previous = slot;
    }

    /// Takes a stream out of its ring.
    pub(super) fn unready(&mut self, slot: Slot) {
        let stream = self.get_mut(slot);
        if !std::mem::replace(&mut stream.is_ready, false) {
            return;
        }
        let (next, previous, urgency) = (stream.next, stream.previous, usize::from(stream.priority.urgency));
        self.get_mut(previous).next = next;
        self.get_mut(next).previous = previous;
        if self.ready[urgency] == slot {
            self.ready[urgency] = if next == slot { NONE } else { next };
        }
    }

    pub(super) fn prioritise(&mut self, slot: Slot, priority: Priority) {
        self.unready(slot);
        self.get_mut(slot).priority = priority;
        self.ready(slot);
    }

    #[cfg(test)]
    fn has_ready(&self) -> bool {
        self.ready.iter().any(|first| *first != NONE)
    }

    /// The stream whose turn it is: of the most urgent ones, the incremental take turns, and the others end first.
    pub(super) fn next_ready(&mut self) -> Option<Slot> {
        let mut rings = self.ready.iter().copied().filter(|first| *first != NONE);
        let least = self.turn + 1 == LEAST_URGENT_TURN;
        let slot = if least { rings.next_back() } else { rings.next() }?;
        self.turn = (self.turn + 1) % LEAST_URGENT_TURN;
        let stream = self.get(slot);
        if stream.priority.incremental {
            self.ready[usize::from(stream.priority.urgency)] = stream.next;
        }
        Some(slot)
    }
}

/// What is known of a stream's id that is in no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Past {
    /// No stream had it yet (RFC 9113 §5.1.1).
    Idle,
    /// It was passed over: it is closed without having been used.
    Unused,
    /// Both sides ended it, or the peer reset it.
    Closed,
    /// We reset it: frames of the peer may be on their way.
    Reset,
    /// Too long ago to be known: we may have reset it.
    Forgotten,
}

/// The ids of streams that clients opened: the highest one, and what became of the 128 before it.
#[derive(Debug, Default)]
pub(super) struct History {
    last: u32,
    /// A bit for each odd id from `last` downwards.
    opened: u128,
    reset: u128,
    /// The highest id of a stream that we reset and that is further back, 0 for none.
    reset_before: u32,
}

impl History {
    /// The highest id that was in use, 0 for none.
    pub(super) fn last(&self) -> u32 {
        self.last
    }

    /// A stream is opened: its id is above all others.
    pub(super) fn open(&mut self, id: u32) {
        let by = (id - self.last).div_ceil(2);
        let shift = |bits: u128| bits.checked_shl(by).unwrap_or(0);
        let leaving = self.reset & !u128::MAX.checked_shr(by).unwrap_or(0);
        if leaving != 0 {
            self.reset_before = self.last - 2 * leaving.trailing_zeros();
        }
        (self.opened, self.reset) = (shift(self.opened) | 1, shift(self.reset));
        self.last = id;
    }

    /// We reset a stream.
    pub(super) fn reset(&mut self, id: u32) {
        if let Some(bit) = self.bit(id) {
            self.reset |= bit;
        }
    }

    fn bit(&self, id: u32) -> Option<u128> {
        1u128.checked_shl(self.last.checked_sub(id)? / 2)
    }

    pub(super) fn past(&self, id: u32, role: Role) -> Past {
        // Servers open streams by PUSH_PROMISE only, which no peer of ours may use.
        if id > self.last || id.is_multiple_of(2) {
            return Past::Idle;
        }
        match self.bit(id) {
            None if id <= self.reset_before => Past::Forgotten,
            None => Past::Closed,
            Some(bit) if self.reset & bit != 0 => Past::Reset,
            Some(bit) if self.opened & bit != 0 => Past::Closed,
            // Our own streams are opened one by one.
            Some(_) if role == Role::Client => Past::Closed,
            Some(_) => Past::Unused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http2::stream::Part;

    fn streams(ids: &[u32]) -> Streams {
        let mut streams = Streams::default();
        for &id in ids {
            let state = State::Open { local: Part::Body, remote: Part::Body };
            let mut stream = Stream::new(id, state, 10, 10);
            stream.wants_to_send = true;
            let slot = streams.insert(stream);
            streams.ready(slot);
        }
        streams
    }

    fn turns(streams: &mut Streams, count: usize) -> Vec<u32> {
        (0..count).map_while(|_| streams.next_ready().map(|slot| streams.get(slot).id)).collect()
    }

    #[test]
    fn slots_are_used_again_and_found_by_id() {
        let mut streams = streams(&[1, 3, 5]);
        streams.remove(streams.find(3).unwrap());
        let state = State::Open { local: Part::Body, remote: Part::Body };
        assert_eq!(streams.insert(Stream::new(9, state, 10, 10)), 1);
        assert_eq!((streams.find(3), streams.find(9), streams.len()), (None, Some(1), 3));
        assert_eq!(streams.last_above(5), Some((9, 1)));
        for id in [1, 5, 9] {
            streams.remove(streams.find(id).unwrap());
        }
        assert!(!streams.has_ready());
        streams.shrink();
        assert_eq!(streams.slots.capacity(), 0);
    }

    #[test]
    fn urgent_streams_come_first_and_incremental_ones_take_turns() {
        let mut streams = streams(&[1, 3, 5, 7]);
        assert_eq!(turns(&mut streams, 6), [1, 3, 5, 7, 1, 3]);
        let slot = streams.find(5).unwrap();
        streams.prioritise(slot, Priority { urgency: 1, incremental: false });
        assert_eq!(turns(&mut streams, 9), [5; 9]);
        assert_eq!(turns(&mut streams, 3), [7, 5, 5]); // the sixteenth turn is of the least urgent
        streams.unready(slot);
        assert_eq!(turns(&mut streams, 3), [1, 3, 7]);
    }

    #[test]
    fn the_past_of_ids_is_kept_for_a_while() {
        let mut history = History::default();
        let past = |history: &History, id| history.past(id, Role::Server);
        assert_eq!(past(&history, 1), Past::Idle);
        history.open(1);
        history.open(7);
        history.reset(7);
        assert_eq!(
            [1, 2, 3, 5, 7, 9].map(|id| past(&history, id)),
            [Past::Closed, Past::Idle, Past::Unused, Past::Unused, Past::Reset, Past::Idle]
        );
        history.open(255);
        assert_eq!(past(&history, 1), Past::Closed);
        history.open(257);
        assert_eq!((past(&history, 1), past(&history, 7)), (Past::Closed, Past::Reset));
        history.reset(257);
        history.open(263);
        // Stream 7 was reset, and is forgotten: so may be all before it.
        assert_eq!([1, 7, 9].map(|id| past(&history, id)), [Past::Forgotten, Past::Forgotten, Past::Unused]);
        history.open(u32::MAX >> 1);
        assert_eq!([257, 259].map(|id| past(&history, id)), [Past::Forgotten, Past::Closed]);
    }
}
