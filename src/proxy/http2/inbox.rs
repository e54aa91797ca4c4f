//! Content of one stream between its reception and its reader.

use super::spare::SpareBytes;
use crate::io::Buffer;

/// Content that was received.
///
/// A reader that waits has lent its buffer, or will be given one when content arrives: a stream that waits holds none.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// Received while no reader waited, from `at` on.
    queue: SpareBytes,
    at: usize,
    waiting: bool,
    lent: Option<Buffer>,
    /// Bytes put into the lent buffer.
    filled: usize,
}

impl Inbox {
    /// Takes content in. Returns how much of it is in a reader's buffer; the rest is in the queue.
    pub(super) fn deliver(&mut self, mut data: &[u8]) -> usize {
        let mut taken = 0;
        if self.waiting && self.queue.as_slice().is_empty() {
            let buffer = self.lent.get_or_insert_with(Buffer::small);
            taken = put(buffer, data);
            self.filled += taken;
            data = &data[taken..];
        }
        if !data.is_empty() {
            self.queue.appendable().extend_from_slice(data);
        }
        taken
    }

    /// Bytes that wait for a reader.
    pub(super) fn queued(&self) -> usize {
        self.queue.as_slice().len() - self.at
    }

    /// Moves what waits into `buffer`, as much as fits.
    pub(super) fn take(&mut self, buffer: &mut Buffer) -> usize {
        if self.queued() == 0 {
            return 0;
        }
        buffer.reserve(1);
        let taken = put(buffer, &self.queue.as_slice()[self.at..]);
        self.at += taken;
        if self.queued() == 0 {
            self.queue.clear();
            self.at = 0;
        }
        taken
    }

    /// A reader waits with this buffer.
    pub(super) fn wait(&mut self, buffer: Buffer) {
        (self.waiting, self.filled) = (true, 0);
        self.lent = (!buffer.is_idle()).then_some(buffer);
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.waiting
    }

    pub(super) fn filled(&self) -> usize {
        self.filled
    }

    /// Moves what was put into the buffer of a reader that has given up to the one of its successor; the inner `None`: it does
    /// not fit. `None`: there is nothing of that kind.
    pub(super) fn regain(&mut self, buffer: &mut Buffer) -> Option<Option<usize>> {
        if !self.waiting {
            return None;
        }
        let (filled, lent) = self.take_back();
        let data = &lent.data()[lent.len() - filled..];
        match filled {
            0 => None,
            _ => Some((buffer.reserve(filled) && buffer.append(data)).then_some(filled)),
        }
    }

    /// The reader's buffer again, and how many bytes were put into it.
    pub(super) fn take_back(&mut self) -> (usize, Buffer) {
        self.waiting = false;
        let filled = std::mem::take(&mut self.filled);
        (filled, self.lent.take().unwrap_or_else(Buffer::small))
    }
}

/// Appends as much as fits.
fn put(buffer: &mut Buffer, data: &[u8]) -> usize {
    let fits = data.len().min(buffer.spare());
    if buffer.append(&data[..fits]) { fits } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reader_that_has_given_up_was_given_is_its_successors() {
        let mut inbox = Inbox::default();
        let mut first = Buffer::small();
        first.append(b"of its own ");
        inbox.wait(first);
        assert_eq!(inbox.deliver(b"late"), 4);
        let mut second = Buffer::small();
        assert_eq!(inbox.regain(&mut second), Some(Some(4)));
        assert_eq!(second.data(), b"late");
        assert_eq!(inbox.regain(&mut second), None);
        inbox.wait(second);
        assert_eq!(inbox.regain(&mut Buffer::small()), None);
        assert!(!inbox.is_waiting());
    }

    #[test]
    fn content_goes_to_the_reader_that_waits_and_else_into_the_queue() {
        let mut inbox = Inbox::default();
        assert_eq!(inbox.deliver(b"one"), 0);
        let mut buffer = Buffer::small();
        assert_eq!((inbox.queued(), inbox.take(&mut buffer), buffer.data()), (3, 3, &b"one"[..]));
        inbox.wait(buffer);
        assert_eq!((inbox.deliver(b" two"), inbox.filled(), inbox.queued()), (4, 4, 0));
        let (filled, buffer) = inbox.take_back();
        assert_eq!((filled, buffer.data(), inbox.is_waiting()), (4, &b"one two"[..], false));
    }

    #[test]
    fn what_does_not_fit_the_readers_buffer_waits() {
        let mut inbox = Inbox::default();
        inbox.wait(Buffer::small());
        let data = vec![7; 2 * Buffer::SMALL_ROOM];
        assert_eq!(inbox.deliver(&data), Buffer::SMALL_ROOM);
        assert_eq!(inbox.deliver(b"x"), 0);
        let (filled, mut buffer) = inbox.take_back();
        assert_eq!((filled, inbox.queued()), (Buffer::SMALL_ROOM, Buffer::SMALL_ROOM + 1));
        buffer.consume(filled);
        assert_eq!(inbox.take(&mut buffer), Buffer::SMALL_ROOM);
        buffer.consume(Buffer::SMALL_ROOM);
        assert_eq!((inbox.take(&mut buffer), inbox.queued(), inbox.at), (1, 0, 0));
    }
}
