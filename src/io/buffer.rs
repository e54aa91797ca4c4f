//! Buffers of the worker's pool, passed by ownership to the kernel and back.
//!
//! A block is laid out as
//!
//! ```text
//! 0 ........ start ........ end ........ raw_start ........ raw_end ........ capacity
//!   free       plaintext       gap          ciphertext          spare
//! ```
//!
//! with `start ≤ end ≤ raw_start ≤ raw_end ≤ capacity` at all times. On a plain
//! stream the ciphertext is empty. On TLS, records are opened in place: their
//! plaintext is moved up to `end`, so that what a parser sees is contiguous.
//! [`HEADROOM`] bytes before the first plaintext take what is written in front of
//! it (a re-encoded head, a chunk's size line, a TLS record's header), so that head
//! and body leave in one send without being copied together.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use monoio::buf::{IoBuf, IoBufMut};

use super::slab::{Block, HUGE, Slabs};
use crate::base::limits::{MAX_HEAD_BYTES, MAX_TLS_RECORD_BYTES};

/// Free bytes before the first plaintext of a fresh buffer.
pub(crate) const HEADROOM: usize = 1024;
/// Bytes that a read never fills, so that a chunk's CRLF and a record's tag fit behind the plaintext.
pub(crate) const TAILROOM: usize = 64;
/// Capacity of a small block: the longest head and its surroundings. Whole pages, as of [`LARGE`].
pub(crate) const SMALL: usize = 36 * 1024;
/// Capacity of a large block, for bodies that stream.
pub(crate) const LARGE: usize = 260 * 1024;

const _: () = assert!(SMALL >= HEADROOM + MAX_HEAD_BYTES + TAILROOM);
const _: () = assert!(SMALL >= HEADROOM + MAX_TLS_RECORD_BYTES + TAILROOM);
const _: () = assert!(LARGE >= HEADROOM + MAX_HEAD_BYTES + 2 * MAX_TLS_RECORD_BYTES + TAILROOM);

thread_local! {
    static POOL: RefCell<Pool> = const {
        RefCell::new(Pool {
            small: Slabs::single(SMALL),
            large: Slabs::huge(LARGE),
            out: 0,
            share: usize::MAX,
            counted: false,
        })
    };
}

struct Pool {
    small: Slabs,
    large: Slabs,
    /// Bytes of the blocks that are in use.
    out: usize,
    /// How many there should be at most.
    share: usize,
    /// Whether this thread is among [`WORKERS`].
    counted: bool,
}

/// Threads that share the bound of the process.
static WORKERS: AtomicUsize = AtomicUsize::new(0);

/// Bounds the buffers of all workers to `bytes`, 0 for no bound; this worker's share is the same as each other's.
/// Called by each of them at its start, and now and then, as the bound may change, and how many share it.
pub(crate) fn bound(bytes: u64) {
    POOL.with_borrow_mut(|pool| {
        if !std::mem::replace(&mut pool.counted, true) {
            WORKERS.fetch_add(1, Relaxed);
        }
        let share = usize::try_from(bytes).unwrap_or(usize::MAX) / WORKERS.load(Relaxed).max(1);
        pool.share = if bytes == 0 { usize::MAX } else { share };
    });
}

/// How much of a worker's share is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Use {
    /// Less than half: bodies that stream may have large buffers.
    Low,
    /// Less than three quarters.
    High,
    /// What is under way may have the rest; nothing new may begin.
    Short,
    /// All of it.
    Full,
}

/// How much is in use now.
#[inline]
pub(crate) fn in_use() -> Use {
    POOL.with_borrow(Pool::in_use)
}

/// Counts what is held for a body elsewhere than in a buffer: `before` bytes until now, `now` from here on.
pub(crate) fn hold_beside(before: usize, now: usize) {
    // A worker that ends has no pool any more.
    let _ = POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        pool.out = pool.out - before + now;
    });
}

/// Whether `bytes` may be held beside what buffers hold: they fit the half that may be used freely.
pub(super) fn has_room_beside(bytes: usize) -> bool {
    POOL.with_borrow(|pool| pool.out.saturating_add(bytes) <= pool.share / 2)
}

impl Pool {
    fn class(&mut self, size: usize) -> &mut Slabs {
        if size == SMALL { &mut self.small } else { &mut self.large }
    }

    fn in_use(&self) -> Use {
        let quarter = self.share / 4;
        match self.out {
            out if out < 2 * quarter => Use::Low,
            out if out < 3 * quarter => Use::High,
            out if out < self.share => Use::Short,
            _ => Use::Full,
        }
    }

    /// Whether a body that streams may have a large block: one is free, or a slab more of them, which is resident whole,
    /// fits the half that may be used freely.
    fn has_large(&mut self) -> bool {
        if self.in_use() != Use::Low {
            return false;
        }
        let half = self.share / 2;
        let with_slab = self.small.mapped().saturating_add(self.large.mapped()).saturating_add(HUGE);
        if self.large.free() > 0 || with_slab <= half {
            return true;
        }
        // Small ones that lie idle make room, if that is enough.
        let helps = with_slab.saturating_sub(self.small.free() * SMALL) <= half;
        if helps {
            self.small.clear();
        }
        helps
    }

    /// A block of this size. Where a new slab is needed for it and there is little room, slabs of the other size that
    /// lie idle go first.
    fn take(&mut self, size: usize) -> Block {
        self.out += size;
        loop {
            if let Some(block) = self.class(size).take() {
                return block;
            }
            let idle = self.small.free() * SMALL + self.large.free() * LARGE;
            if self.out.saturating_add(idle) > self.share {
                let other = if size == SMALL { &mut self.large } else { &mut self.small };
                other.clear();
            }
            self.class(size).grow();
        }
    }
}

/// Gives slabs that this worker's buffers have not needed since the last call back to the system. Called once
/// a second: then a steady load maps and unmaps nothing, and two seconds after a burst nothing is left of it.
///
/// When many buffers were returned, the states of their connections were freed too: then the allocator is called
/// to give back its free pages as well, which it does not do by itself on a thread that has become idle.
pub(crate) fn trim() {
    let given = POOL.with_borrow_mut(|pool| pool.small.trim() + pool.large.trim());
    if given >= MANY {
        // SAFETY: may be called at any time by any thread; it frees only unused memory.
        unsafe { libmimalloc_sys::mi_collect(true) };
    }
}

/// So many blocks given back at once are the end of a burst.
const MANY: usize = 64;

/// An owned block from the worker's pool, to which it goes back when dropped.
#[derive(Debug)]
pub struct Buffer {
    /// Goes back to the pool, not to the system, when this is dropped.
    block: ManuallyDrop<Block>,
    start: usize,
    end: usize,
    raw_start: usize,
    raw_end: usize,
}

impl Buffer {
    /// What a read into an empty small buffer may bring.
    pub const SMALL_ROOM: usize = SMALL - HEADROOM - TAILROOM;
    /// The same of a large one.
    pub const LARGE_ROOM: usize = LARGE - HEADROOM - TAILROOM;

    /// An empty buffer for heads and small bodies.
    pub fn small() -> Self {
        Self::take(SMALL)
    }

    /// An empty buffer of the large size, for what would not fit the small one.
    pub fn large() -> Self {
        Self::take(LARGE)
    }

    /// An empty buffer for bodies that stream: large while there is plenty of memory.
    pub fn streaming() -> Self {
        if POOL.with_borrow_mut(Pool::has_large) { Self::large() } else { Self::small() }
    }

    /// The same ciphertext at the front of a large buffer, while there is plenty of memory; what holds plaintext stays as
    /// it is.
    pub fn roomy(mut self) -> Self {
        if !self.is_empty() {
            return self;
        }
        if !self.is_large() && POOL.with_borrow_mut(Pool::has_large) {
            return self.moved_to(Self::large());
        }
        self.move_into_front();
        self
    }

    /// The same ciphertext in a small buffer, if it fits there: a part of a record, whose rest does too. What holds plaintext
    /// stays as it is.
    pub fn lean(self) -> Self {
        let fits = self.raw_len() <= MAX_TLS_RECORD_BYTES;
        if self.is_large() && self.is_empty() && fits { self.moved_to(Self::small()) } else { self }
    }

    fn moved_to(mut self, mut other: Self) -> Self {
        other.set_raw(self.raw_mut());
        other
    }

    fn take(size: usize) -> Self {
        let block = ManuallyDrop::new(POOL.with_borrow_mut(|pool| pool.take(size)));
        Self { block, start: HEADROOM, end: HEADROOM, raw_start: HEADROOM, raw_end: HEADROOM }
    }

    /// The plaintext.
    #[inline]
    pub fn data(&self) -> &[u8] {
        &self.block[self.start..self.end]
    }

    /// The plaintext, to be changed in place.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.block[self.start..self.end]
    }

    /// Bytes of plaintext.
    #[inline]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether there is no plaintext.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether neither plaintext nor ciphertext is held, so that the buffer may be given back.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.start == self.end && self.raw_start == self.raw_end
    }

    /// Whether this is a large block.
    #[inline]
    pub fn is_large(&self) -> bool {
        self.block.len() != SMALL
    }

    /// Takes `n` bytes of plaintext off the front.
    #[inline]
    pub fn consume(&mut self, n: usize) {
        debug_assert!(n <= self.len());
        self.start += n;
        if self.is_idle() {
            self.start = HEADROOM;
            self.end = HEADROOM;
            self.raw_start = HEADROOM;
            self.raw_end = HEADROOM;
        }
    }

    /// A part of the block, by positions.
    #[inline]
    pub fn part(&self, range: Range<usize>) -> &[u8] {
        &self.block[range]
    }

    /// The whole block, for those that work on a part of it given by absolute positions.
    #[inline]
    pub fn block_mut(&mut self) -> &mut [u8] {
        &mut self.block
    }

    /// The position of the first plaintext byte in the block.
    #[inline]
    pub fn position(&self) -> usize {
        self.start
    }

    /// Bytes free behind position `at` of the block, up to what must not be overwritten.
    /// `at` is at or behind the plaintext's start; what lies between is given up by the caller.
    #[inline]
    pub fn gap_after(&self, at: usize) -> usize {
        if at < self.end {
            0
        } else if self.raw_start == self.raw_end {
            self.block.len() - at
        } else {
            self.raw_start - at
        }
    }

    /// Copies `bytes` to the end of the plaintext, if they fit and no ciphertext is in the way.
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        if self.gap_after(self.end) < bytes.len() {
            return false;
        }
        self.block[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
        if self.raw_start < self.end {
            self.raw_start = self.end;
            self.raw_end = self.end;
        }
        true
    }

    /// Bytes that the next read may fill.
    #[inline]
    pub fn spare(&self) -> usize {
        (self.block.len() - TAILROOM).saturating_sub(self.raw_end)
    }

    /// Makes `need` bytes of spare room: by moving what is held to the front, or into a large block.
    /// Returns false if even a large block has not got it.
    pub fn reserve(&mut self, need: usize) -> bool {
        if self.spare() >= need {
            return true;
        }
        let held = self.len() + (self.raw_end - self.raw_start);
        if HEADROOM + held + need + TAILROOM <= self.block.len() {
            self.move_into_front();
        } else if !self.is_large() && HEADROOM + held + need + TAILROOM <= LARGE {
            let mut large = Self::large();
            large.end = large.start + self.len();
            large.block[large.start..large.end].copy_from_slice(self.data());
            large.raw_start = large.end;
            large.raw_end = large.end + (self.raw_end - self.raw_start);
            large.block[large.raw_start..large.raw_end]
                .copy_from_slice(&self.block[self.raw_start..self.raw_end]);
            *self = large;
        }
        self.spare() >= need
    }

    fn move_into_front(&mut self) {
        let plain = self.len();
        let raw = self.raw_end - self.raw_start;
        let front = HEADROOM.min(self.start);
        self.block.copy_within(self.start..self.end, front);
        self.start = front;
        self.end = front + plain;
        self.block.copy_within(self.raw_start..self.raw_end, self.end);
        self.raw_start = self.end;
        self.raw_end = self.end + raw;
    }

    /// The ciphertext.
    #[inline]
    pub fn raw_mut(&mut self) -> &mut [u8] {
        &mut self.block[self.raw_start..self.raw_end]
    }

    /// Bytes of ciphertext.
    #[inline]
    pub fn raw_len(&self) -> usize {
        self.raw_end - self.raw_start
    }

    /// Takes `consumed` bytes of ciphertext off the front, of which `plaintext` (relative to
    /// it) was opened in place and is now moved to the end of the plaintext.
    pub fn opened(&mut self, plaintext: Range<usize>, consumed: usize) {
        debug_assert!(plaintext.end <= consumed && consumed <= self.raw_len());
        let from = self.raw_start + plaintext.start..self.raw_start + plaintext.end;
        if self.is_empty() {
            (self.start, self.end) = (from.start, from.end);
        } else if !plaintext.is_empty() {
            self.block.copy_within(from, self.end);
            self.end += plaintext.len();
        }
        self.raw_start += consumed;
        if self.raw_start == self.raw_end {
            self.raw_start = self.end;
            self.raw_end = self.end;
        }
    }

    /// Makes `bytes` the only ciphertext of an empty buffer. They fit: a handshake's rest is one read at most.
    pub fn set_raw(&mut self, bytes: &[u8]) {
        debug_assert!(self.is_idle());
        self.raw_end = self.raw_start + bytes.len();
        self.block[self.raw_start..self.raw_end].copy_from_slice(bytes);
    }

    /// Lets `read` fill the spare room. What it says to have read is held from then on.
    pub fn receive(
        &mut self,
        ciphertext: bool,
        read: impl FnOnce(&mut [u8]) -> std::io::Result<Option<usize>>,
    ) -> std::io::Result<Option<usize>> {
        if !ciphertext {
            self.raw_start = self.end;
            self.raw_end = self.end;
        }
        let room = self.raw_end..self.raw_end + self.spare();
        let result = read(&mut self.block[room]);
        if let Ok(Some(n)) = result {
            self.received(n, ciphertext);
        }
        result
    }

    fn received(&mut self, n: usize, ciphertext: bool) {
        if ciphertext {
            self.raw_end += n;
        } else {
            debug_assert_eq!(self.raw_start, self.raw_end);
            // Plaintext is contiguous: a plain stream's `raw_end` is its `end`.
            self.end = self.raw_end + n;
            self.raw_start = self.end;
            self.raw_end = self.end;
        }
    }

    /// This buffer as the target of a read, behind what it holds.
    #[inline]
    pub fn for_reading(mut self, ciphertext: bool) -> Spare {
        if !ciphertext {
            // Bytes behind `end` were given up (a consumed chunk's frame): read right there.
            self.raw_start = self.end;
            self.raw_end = self.end;
        }
        Spare { buffer: self, ciphertext, most: usize::MAX }
    }

    /// The same of a plain stream or a file, for `most` bytes at most.
    pub fn for_reading_up_to(self, most: usize) -> Spare {
        Spare { most, ..self.for_reading(false) }
    }

    /// This buffer as the source of a write of `range`, positions in the block.
    #[inline]
    pub fn for_writing(self, range: Range<usize>) -> Outgoing {
        debug_assert!(range.end <= self.block.len());
        Outgoing { buffer: self, range }
    }
}

/// What a buffer held, in no more memory than that takes, while its block is lent to another buffer.
#[derive(Debug)]
pub struct Parked {
    bytes: Box<[u8]>,
    /// Where they lie in the block.
    from: usize,
    size: usize,
    /// `start`, `end`, `raw_start` and `raw_end` of the buffer.
    ends: [usize; 4],
}

impl Buffer {
    /// Gives the block back and keeps what it holds, and `used` of it besides: positions in the block, which
    /// are the same again after [`Parked::unpark`].
    pub fn park(self, used: Range<usize>) -> Parked {
        let from = self.start.min(used.start);
        let to = self.raw_end.max(self.end).max(used.end);
        Parked {
            bytes: self.block[from..to].into(),
            from,
            size: self.block.len(),
            ends: [self.start, self.end, self.raw_start, self.raw_end],
        }
    }
}

impl Parked {
    /// A buffer that holds the same.
    pub fn unpark(self) -> Buffer {
        let mut buffer = Buffer::take(self.size);
        buffer.block[self.from..self.from + self.bytes.len()].copy_from_slice(&self.bytes);
        [buffer.start, buffer.end, buffer.raw_start, buffer.raw_end] = self.ends;
        buffer
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: `block` is not touched again: this is the end of `self`.
        let block = unsafe { ManuallyDrop::take(&mut self.block) };
        // A thread that is ending has no pool any more.
        let _ = POOL.try_with(|pool| {
            let pool = &mut *pool.borrow_mut();
            pool.out -= block.len();
            pool.class(block.len()).put(block);
        });
    }
}

/// A buffer lent to the kernel for a read.
#[derive(Debug)]
pub struct Spare {
    buffer: Buffer,
    ciphertext: bool,
    /// Most bytes that may be read.
    most: usize,
}

impl Spare {
    /// The buffer again, after the read.
    #[inline]
    pub fn into_buffer(self) -> Buffer {
        self.buffer
    }
}

// SAFETY: the block is part of a mapping, which this value owns and which neither moves nor
// shrinks while the kernel has it; `bytes_total` bytes from `write_ptr` lie within it, since
// `spare` is computed from the block's length; all of it is initialised from the start.
unsafe impl IoBufMut for Spare {
    fn write_ptr(&mut self) -> *mut u8 {
        let at = self.buffer.raw_end;
        self.buffer.block[at..].as_mut_ptr()
    }

    fn bytes_total(&mut self) -> usize {
        self.buffer.spare().min(self.most)
    }

    unsafe fn set_init(&mut self, n: usize) {
        let ciphertext = self.ciphertext;
        self.buffer.received(n, ciphertext);
    }
}

/// A buffer lent to the kernel for a write.
#[derive(Debug)]
pub struct Outgoing {
    buffer: Buffer,
    /// What is still to be written.
    pub range: Range<usize>,
}

impl Outgoing {
    /// The buffer again, after the write.
    #[inline]
    pub fn into_buffer(self) -> Buffer {
        self.buffer
    }
}

// SAFETY: as above; the range lies within the block, which is initialised from the start.
unsafe impl IoBuf for Outgoing {
    fn read_ptr(&self) -> *const u8 {
        self.buffer.block[self.range.start..].as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.range.end - self.range.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_runs_short_in_steps_and_idle_blocks_make_room() {
        bound(0);
        assert_eq!(in_use(), Use::Low);
        POOL.with_borrow_mut(|pool| pool.share = 4 * HUGE);
        let count = |bytes: usize| bytes.div_ceil(SMALL);
        let mut held: Vec<_> = (1..count(2 * HUGE)).map(|_| Buffer::small()).collect();
        assert_eq!(in_use(), Use::Low);
        assert!(!Buffer::streaming().is_large(), "a slab is more than what may still be used freely");
        held.push(Buffer::small());
        assert_eq!((in_use(), Buffer::streaming().is_large()), (Use::High, false));
        held.resize_with(count(3 * HUGE), Buffer::small);
        assert_eq!(in_use(), Use::Short);
        held.resize_with(count(4 * HUGE), Buffer::small);
        assert_eq!(in_use(), Use::Full);
        held.clear();
        assert_eq!((in_use(), Buffer::streaming().is_large()), (Use::Low, true));
        let idle = POOL.with_borrow(|pool| (pool.small.free(), pool.large.free()));
        assert_eq!(idle, (0, 7), "the small ones made room");
        POOL.with_borrow_mut(|pool| pool.share = usize::MAX);
    }

    #[test]
    fn half_a_record_moves_to_a_buffer_of_the_other_size_and_back() {
        let mut buffer = Buffer::small();
        put(&mut buffer, &[7; 9_000], true);
        let mut buffer = buffer.roomy();
        assert!(buffer.is_large());
        assert!(buffer.raw_mut() == [7; 9_000] && buffer.is_empty());
        let mut buffer = buffer.lean();
        assert!(!buffer.is_large());
        assert!(buffer.raw_mut() == [7; 9_000] && buffer.spare() >= MAX_TLS_RECORD_BYTES);
        let mut large = buffer.roomy();
        put(&mut large, &[8; 200_000], true);
        large.opened(0..0, 200_000);
        assert_eq!(large.raw_len(), 9_000);
        assert_eq!(large.roomy().spare(), Buffer::LARGE_ROOM - 9_000, "it moves to the front");
        let mut buffer = Buffer::small();
        put(&mut buffer, b"plain", false);
        assert!(!buffer.roomy().is_large(), "plaintext has its place in the block");
    }

    #[test]
    fn a_parked_buffer_comes_back_as_it_was() {
        for ciphertext in [false, true] {
            let mut buffer = Buffer::small();
            put(&mut buffer, b"GET / HTTP/1.1", ciphertext);
            buffer.block_mut()[HEADROOM - 4..HEADROOM].copy_from_slice(b"lead");
            let parked = buffer.park(HEADROOM - 4..HEADROOM + 3);
            assert!(parked.bytes.len() < 30);
            // Another buffer has had the block meanwhile.
            Buffer::small().block_mut().fill(0);
            let mut buffer = parked.unpark();
            assert_eq!(&buffer.block_mut()[HEADROOM - 4..HEADROOM], b"lead");
            let (data, raw) = (buffer.data().to_vec(), buffer.raw_mut().to_vec());
            assert_eq!(if ciphertext { raw } else { data }, b"GET / HTTP/1.1");
        }
    }

    fn put(buffer: &mut Buffer, bytes: &[u8], ciphertext: bool) {
        let mut spare = std::mem::replace(buffer, Buffer::small()).for_reading(ciphertext);
        assert!(spare.bytes_total() >= bytes.len());
        let at = spare.buffer.raw_end;
        spare.buffer.block[at..at + bytes.len()].copy_from_slice(bytes);
        // SAFETY: the bytes were just written.
        unsafe { spare.set_init(bytes.len()) };
        *buffer = spare.into_buffer();
    }

    #[test]
    fn plaintext_of_two_records_becomes_contiguous() {
        let mut buffer = Buffer::small();
        put(&mut buffer, b"HHabcTTHHdefTTrest", true);
        buffer.opened(2..5, 7);
        buffer.opened(2..5, 7);
        assert_eq!(buffer.data(), b"abcdef");
        assert_eq!(buffer.raw_mut(), b"rest");
        buffer.consume(6);
        assert_eq!(buffer.raw_mut(), b"rest");
    }

    #[test]
    fn reserve_keeps_both_regions() {
        let mut buffer = Buffer::small();
        put(&mut buffer, b"HHabcTT", true);
        buffer.opened(2..5, 7);
        put(&mut buffer, &[7; 20_000], true);
        assert!(buffer.reserve(30_000));
        assert!(buffer.is_large());
        assert_eq!(buffer.data(), b"abc");
        assert_eq!(buffer.raw_len(), 20_000);
        assert!(!buffer.reserve(LARGE));
    }

    #[test]
    fn a_plain_read_goes_right_behind_the_plaintext_even_if_bytes_were_given_up() {
        let mut buffer = Buffer::small();
        put(&mut buffer, b"abc", false);
        buffer.end -= 1;
        put(&mut buffer, b"xyz", false);
        assert_eq!(buffer.data(), b"abxyz");
    }

    #[test]
    fn blocks_go_back_to_the_pool_and_from_there_to_the_system() {
        let address = Buffer::large().block.as_ptr();
        assert_eq!(Buffer::large().block.as_ptr(), address);
        let many: Vec<Buffer> = (0..64).map(|_| Buffer::small()).collect();
        drop(many);
        let free = || POOL.with_borrow(|pool| pool.small.free());
        assert!(free() >= 64);
        trim();
        trim();
        assert_eq!(free(), 0);
    }
}
