//! What a session keeps for each of its streams.

use std::collections::VecDeque;
use std::ops::Range;
use std::task::{Context, Waker};

use super::inbox::Inbox;
use crate::http2::{FieldList, HeadKind, StreamEnd, StreamId};
use crate::io::Buffer;

/// A head that was received.
#[derive(Debug)]
pub(crate) struct Head {
    /// Its fields; not complete where it is too large.
    pub(crate) fields: FieldList,
    /// `None`: of a request beyond the bounds of its field list.
    pub(crate) kind: Option<HeadKind>,
    /// The message has neither content nor trailers.
    pub(crate) end_stream: bool,
}

/// A piece of content on its way out, in its writer's buffer.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) buffer: Buffer,
    /// What is left of it, positions in the block.
    pub(super) range: Range<usize>,
    /// It is the end of the message.
    pub(super) end: bool,
    /// All of it is in the output, END_STREAM included.
    pub(super) done: bool,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: StreamId,
    head: Option<Head>,
    /// Heads behind that one: a final response behind interim ones.
    later: VecDeque<Head>,
    pub(super) inbox: Inbox,
    pub(super) trailers: Option<FieldList>,
    /// The peer has ended its direction.
    pub(super) is_ended: bool,
    /// It ended before its time.
    pub(super) end: Option<StreamEnd>,
    pub(super) outgoing: Option<Outgoing>,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
    /// What waits for its end before its time.
    pub(super) watcher: Option<Waker>,
    /// Bytes of content so far.
    pub(super) received: u64,
    pub(super) sent: u64,
}

impl Slot {
    fn new(id: StreamId) -> Self {
        Self {
            id,
            head: None,
            later: VecDeque::new(),
            inbox: Inbox::default(),
            trailers: None,
            is_ended: false,
            end: None,
            outgoing: None,
            reader: None,
            writer: None,
            watcher: None,
            received: 0,
            sent: 0,
        }
    }

    /// Makes it what a new one is, where it lies.
    fn clear(&mut self) {
        let Self {
            id,
            head,
            later,
            inbox,
            trailers,
            is_ended,
            end,
            outgoing,
            reader,
            writer,
            watcher,
            received,
            sent,
        } = self;
        (*id, *head, *trailers, *is_ended, *end) = (StreamId::new(0), None, None, false, None);
        later.clear();
        *inbox = Inbox::default();
        (*outgoing, *reader, *writer, *watcher) = (None, None, None, None);
        (*received, *sent) = (0, 0);
    }

    /// A head was received.
    pub(super) fn push_head(&mut self, head: Head) {
        match self.head {
            None => self.head = Some(head),
            Some(_) => self.later.push_back(head),
        }
    }

    /// The next head that was received.
    pub(super) fn take_head(&mut self) -> Option<Head> {
        let head = self.head.take()?;
        self.head = self.later.pop_front();
        Some(head)
    }

    pub(super) fn wake_reader(&self) {
        if let Some(waker) = &self.reader {
            waker.wake_by_ref();
        }
    }

    pub(super) fn wake_writer(&self) {
        if let Some(waker) = &self.writer {
            waker.wake_by_ref();
        }
    }

    /// Wakes all that use the stream: it ended before its time.
    pub(super) fn wake(&self) {
        for waker in [&self.reader, &self.writer, &self.watcher].into_iter().flatten() {
            waker.wake_by_ref();
        }
    }

    /// Whether a piece waits for its turn.
    pub(super) fn is_sending(&self) -> bool {
        self.outgoing.as_ref().is_some_and(|piece| !piece.done)
    }
}

/// Keeps the waker of this poll.
pub(super) fn register(kept: &mut Option<Waker>, cx: &Context<'_>) {
    match kept {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        _ => *kept = Some(cx.waker().clone()),
    }
}

/// All streams that have a handle.
#[derive(Debug, Default)]
pub(super) struct Slots {
    all: Vec<Slot>,
    free: Vec<u32>,
    /// Id and slot, in the order of ids: streams are opened in that order.
    index: Vec<(StreamId, u32)>,
}

impl Slots {
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn find(&self, id: StreamId) -> Option<u32> {
        let at = self.index.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(self.index[at].1)
    }

    pub(super) fn get(&self, slot: u32) -> &Slot {
        &self.all[slot as usize]
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> &mut Slot {
        &mut self.all[slot as usize]
    }

    pub(super) fn find_mut(&mut self, id: StreamId) -> Option<&mut Slot> {
        let slot = self.find(id)?;
        Some(self.get_mut(slot))
    }

    pub(super) fn insert(&mut self, id: StreamId) -> u32 {
        let slot = match self.free.pop() {
            Some(slot) => {
                self.get_mut(slot).id = id;
                slot
            }
            None => {
                self.all.push(Slot::new(id));
                (self.all.len() - 1) as u32
            }
        };
        self.index.push((id, slot));
        slot
    }

    /// Takes a stream out whose handle is gone. Its slot serves the next stream.
    pub(super) fn remove(&mut self, slot: u32) {
        let slot_id = self.get(slot).id;
        if let Ok(at) = self.index.binary_search_by_key(&slot_id, |(id, _)| *id) {
            self.index.remove(at);
        }
        self.free.push(slot);
        self.get_mut(slot).clear();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.index.iter().map(|(_, slot)| self.get(*slot))
    }

    /// Gives memory back where no stream is left.
    pub(super) fn shrink(&mut self) {
        if self.index.is_empty() {
            *self = Self::default();
        }
    }
}
