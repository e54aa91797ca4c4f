//! Memory for the worker's buffers: slabs, cut into blocks of one size.
//!
//! Large blocks lie in huge pages. With a page table entry for each 4 KiB, copying to and from a socket waits for
//! address translation as much as for memory: docs/performance-log.md. Where the system has none to give
//! (`/sys/kernel/mm/transparent_hugepage/enabled` is `never`), the same memory is in small pages.
//!
//! Small blocks are slabs of their own: nothing was gained for them, and of most a page or two is all that is ever used.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// A huge page of x86-64, and of AArch64 with pages of 4 KiB: bytes of a slab of more than one block, and what its start
/// is aligned to.
pub(super) const HUGE: usize = 2 * 1024 * 1024;

/// The slabs of one size of block.
pub(super) struct Slabs {
    size: usize,
    per_slab: usize,
    slabs: Vec<Option<Slab>>,
    /// Where there is none among them.
    holes: Vec<usize>,
    /// No slab before this one has a free block, where a slab has several.
    first: usize,
    /// The free ones, where a slab is a block, the last that went back at the end.
    singles: Vec<u32>,
    free: usize,
    /// The fewest that were free since the last [`Slabs::trim`]: these were not needed.
    unneeded: usize,
}

/// A block of memory, initialised, owned. It goes back by [`Slabs::put`]; one that does not is lost with its slab.
#[derive(Debug)]
pub(super) struct Block {
    start: NonNull<u8>,
    len: u32,
    slab: u32,
}

impl Slabs {
    /// No slab yet, of a block of `size` bytes each.
    pub(super) const fn single(size: usize) -> Self {
        Self::cut(size, 1)
    }

    /// No slab yet, of as many blocks of `size` bytes each as a huge page holds.
    pub(super) const fn huge(size: usize) -> Self {
        assert!(size <= HUGE && HUGE / size <= 64);
        Self::cut(size, HUGE / size)
    }

    const fn cut(size: usize, per_slab: usize) -> Self {
        Self {
            size,
            per_slab,
            slabs: Vec::new(),
            holes: Vec::new(),
            first: 0,
            singles: Vec::new(),
            free: 0,
            unneeded: 0,
        }
    }

    /// How many are free.
    pub(super) fn free(&self) -> usize {
        self.free
    }

    /// Bytes of all slabs.
    pub(super) fn mapped(&self) -> usize {
        let each = if self.per_slab == 1 { self.size } else { HUGE };
        (self.slabs.len() - self.holes.len()) * each
    }

    /// A free block, if there is one: the one that went back last, or where a slab has several, one of the first slab
    /// that has any, so that the last ones become whole again.
    pub(super) fn take(&mut self) -> Option<Block> {
        let at = match self.per_slab {
            1 => self.singles.pop()? as usize,
            _ => self.next_free()?,
        };
        let slab = self.slabs.get_mut(at)?.as_mut()?;
        let block = slab.take()?;
        // SAFETY: `block` is below `per_slab`, so it lies within the slab's mapping.
        let start = unsafe { slab.start.add(block * self.size) };
        self.free -= 1;
        self.unneeded = self.unneeded.min(self.free);
        Some(Block { start, len: self.size as u32, slab: at as u32 })
    }

    /// The first slab that has a free block.
    fn next_free(&mut self) -> Option<usize> {
        let has_free = |slot: &Option<Slab>| slot.as_ref().is_some_and(|slab| slab.free != 0);
        let at = self.slabs.iter().skip(self.first).position(has_free);
        self.first += at.unwrap_or(self.slabs.len().saturating_sub(self.first));
        at.map(|_| self.first)
    }

    /// One more slab.
    pub(super) fn grow(&mut self) {
        let slab = if self.per_slab == 1 { Slab::map(self.size) } else { Slab::map_huge(self.per_slab) };
        let at = self.holes.pop().unwrap_or(self.slabs.len());
        if at == self.slabs.len() {
            self.slabs.push(None);
        }
        self.slabs[at] = Some(slab);
        self.free += self.per_slab;
        self.has_free(at);
    }

    /// Takes a block back.
    pub(super) fn put(&mut self, block: Block) {
        let at = block.slab as usize;
        let Some(slab) = self.slabs.get_mut(at).and_then(Option::as_mut) else { return };
        let offset = block.start.as_ptr() as usize - slab.start.as_ptr() as usize;
        slab.free |= 1 << (offset / self.size);
        self.free += 1;
        self.has_free(at);
    }

    fn has_free(&mut self, at: usize) {
        match self.per_slab {
            1 => self.singles.push(at as u32),
            _ => self.first = self.first.min(at),
        }
    }

    /// Gives slabs that have not been needed since the last call back to the system. Returns their blocks' number.
    /// A slab of which one block is in use stays.
    pub(super) fn trim(&mut self) -> usize {
        self.give_back(self.unneeded)
    }

    /// Gives back all slabs of which no block is in use.
    pub(super) fn clear(&mut self) {
        self.give_back(self.free);
    }

    fn give_back(&mut self, at_most: usize) -> usize {
        let mut given = 0;
        if self.per_slab == 1 {
            given = at_most;
            self.singles.drain(..at_most).for_each(|at| self.slabs[at as usize] = None);
        } else {
            for slot in self.slabs.iter_mut().rev() {
                if given + self.per_slab > at_most {
                    break;
                }
                if slot.as_ref().is_some_and(|slab| slab.is_whole(self.per_slab)) {
                    *slot = None;
                    given += self.per_slab;
                }
            }
        }
        while self.slabs.last().is_some_and(Option::is_none) {
            self.slabs.pop();
        }
        let holes = self.slabs.iter().enumerate().filter(|(_, slot)| slot.is_none());
        self.holes.clear();
        self.holes.extend(holes.rev().map(|(at, _)| at));
        if self.slabs.is_empty() {
            self.slabs.shrink_to_fit();
            self.holes.shrink_to_fit();
            self.singles.shrink_to_fit();
        }
        self.free -= given;
        self.unneeded = self.free;
        given
    }
}

impl Drop for Slabs {
    /// Blocks may outlive the thread's pool: their slabs stay for ever.
    fn drop(&mut self) {
        for slab in self.slabs.drain(..).flatten() {
            if !slab.is_whole(self.per_slab) {
                std::mem::forget(slab);
            }
        }
    }
}

/// A private mapping of `len` bytes.
fn map(len: usize) -> NonNull<u8> {
    // SAFETY: it is fresh, so nothing else refers to it. The kernel fills it with zeroes: every byte is initialised.
    let mapped = unsafe {
        mmap_anonymous(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
    };
    mapped.ok().and_then(|start| NonNull::new(start.cast::<u8>())).unwrap_or_else(|| {
        // As Rust's own allocations do where there is no memory left.
        std::alloc::handle_alloc_error(
            std::alloc::Layout::from_size_align(len, 1).unwrap_or(std::alloc::Layout::new::<[u8; HUGE]>()),
        )
    })
}

struct Slab {
    start: NonNull<u8>,
    len: usize,
    /// A bit for each free block.
    free: u64,
}

impl Slab {
    /// A slab of one block.
    fn map(len: usize) -> Self {
        Self { start: map(len), len, free: 1 }
    }

    /// A slab of `blocks` blocks in a huge page, if there is one.
    fn map_huge(blocks: usize) -> Self {
        // Room to align it in; what lies before and behind goes back at once.
        let len = 2 * HUGE;
        let mapped = map(len);
        let before = mapped.as_ptr().align_offset(HUGE);
        // SAFETY: `before` is less than HUGE, so all three parts lie within the mapping; the first and the last are
        // never used. Without huge pages the advice is refused, which changes nothing else.
        unsafe {
            let start = mapped.add(before);
            if before > 0 {
                let _ = munmap(mapped.as_ptr().cast(), before);
            }
            let _ = munmap(start.as_ptr().add(HUGE).cast(), len - before - HUGE);
            let _ = madvise(start.as_ptr().cast(), HUGE, Advice::LinuxHugepage);
            Self { start, len: HUGE, free: u64::MAX >> (64 - blocks) }
        }
    }

    fn is_whole(&self, blocks: usize) -> bool {
        self.free.count_ones() as usize == blocks
    }

    fn take(&mut self) -> Option<usize> {
        let at = (self.free != 0).then(|| self.free.trailing_zeros() as usize)?;
        self.free &= self.free - 1;
        Some(at)
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: the mapping that was made for it, of which no block is in use.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
    }
}

impl Block {
    /// Its size in bytes.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }
}

impl std::ops::Deref for Block {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the slab mapped and initialised these bytes, lives at least as long as `self`, and lent them to no other
        // block.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len as usize) }
    }
}

impl std::ops::DerefMut for Block {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len as usize) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 260 * 1024;

    fn take(slabs: &mut Slabs) -> Block {
        slabs.take().unwrap_or_else(|| {
            slabs.grow();
            slabs.take().unwrap()
        })
    }

    #[test]
    fn blocks_do_not_overlap_and_lie_in_aligned_slabs() {
        let mut slabs = Slabs::huge(SIZE);
        assert_eq!(slabs.per_slab, 7);
        let mut blocks: Vec<Block> = (0..15).map(|_| take(&mut slabs)).collect();
        for (n, block) in blocks.iter_mut().enumerate() {
            assert_eq!(block.len(), SIZE);
            block.fill(n as u8);
        }
        assert!(blocks.iter().enumerate().all(|(n, block)| block.iter().all(|&byte| byte == n as u8)));
        assert_eq!((slabs.slabs.len(), slabs.free()), (3, 6));
        assert!(slabs.slabs.iter().flatten().all(|slab| (slab.start.as_ptr() as usize).is_multiple_of(HUGE)));
    }

    #[test]
    fn the_block_that_went_back_is_the_next_and_a_slab_in_use_stays() {
        let mut slabs = Slabs::huge(SIZE);
        let mut blocks: Vec<Block> = (0..14).map(|_| take(&mut slabs)).collect();
        let kept = blocks.remove(3);
        let address = blocks[0].as_ptr();
        blocks.drain(..).for_each(|block| slabs.put(block));
        let first = take(&mut slabs);
        assert_eq!(first.as_ptr(), address);
        slabs.put(first);
        slabs.trim();
        assert_eq!(slabs.trim(), 7, "the second slab is free, the first is not");
        assert_eq!((slabs.slabs.len(), slabs.free(), slabs.trim()), (1, 6, 0));
        slabs.put(kept);
        slabs.trim();
        assert_eq!(slabs.trim(), 7);
        assert!(slabs.slabs.is_empty());
    }

    #[test]
    fn single_blocks_go_back_one_by_one_the_longest_unused_first() {
        let mut slabs = Slabs::single(4096);
        let mut blocks: Vec<Block> = (0..4).map(|_| take(&mut slabs)).collect();
        let last = blocks[3].as_ptr();
        blocks.drain(1..).for_each(|block| slabs.put(block));
        slabs.trim();
        let again = take(&mut slabs);
        assert_eq!(again.as_ptr(), last);
        assert_eq!((slabs.trim(), slabs.free(), slabs.mapped()), (2, 0, 2 * 4096));
        slabs.put(again);
        let (first, second) = (take(&mut slabs), take(&mut slabs));
        assert_eq!((first.as_ptr(), slabs.mapped()), (last, 3 * 4096));
        [first, second].into_iter().chain(blocks).for_each(|block| slabs.put(block));
        slabs.clear();
        assert_eq!((slabs.free(), slabs.mapped()), (0, 0));
    }

    #[test]
    fn what_was_needed_since_the_last_trim_stays() {
        let mut slabs = Slabs::huge(SIZE);
        let blocks: Vec<Block> = (0..8).map(|_| take(&mut slabs)).collect();
        blocks.into_iter().for_each(|block| slabs.put(block));
        slabs.trim();
        let block = take(&mut slabs);
        slabs.put(block);
        assert_eq!((slabs.trim(), slabs.free()), (7, 7));
        assert_eq!((slabs.trim(), slabs.free()), (7, 0));
    }
}
