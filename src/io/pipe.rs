//! Bytes that go from one socket to another without passing through this program's memory (splice(2)).
//!
//! A pipe holds references to the pages that the network left them in. What moves large pieces of plain bodies this way
//! copies nothing, where a read and a write copy everything twice.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use super::{buffer, descriptors};

/// Most bytes that a pipe takes in at once. So many may a peer leave unread here.
pub(super) const MOST: usize = 512 * 1024;
/// The room requested for pipes: so many bytes in whole pages. A page holds no more than the network put into one of its
/// own. Without privileges a user may have 16,384 pages of it (`fs.pipe-user-pages-soft`).
const ROOM: usize = MOST;
/// With less room, a pipe moves too little at once to be faster than a copy.
const LEAST_ROOM: usize = 256 * 1024;
/// Most pipes of a worker, each of which has two descriptors. Beyond, bodies are copied.
const PIPES: usize = 64;

thread_local! {
    static STOCK: RefCell<Stock> =
        const { RefCell::new(Stock { idle: Vec::new(), out: 0, needed: 0, moved: 0, failed: false, refused: false }) };
}

/// The worker's pipes.
struct Stock {
    idle: Vec<Ends>,
    /// How many are in use.
    out: usize,
    /// How many were in use at once since the last sweep.
    needed: usize,
    /// Bytes that left through them since the last [`Pipe::sweep`].
    moved: u64,
    /// None could be made since the last sweep: the system is out of descriptors, or of what a user may have in pipes.
    failed: bool,
    /// Not wanted, or the system can't move bytes through them: they are not tried again.
    refused: bool,
}

#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

impl Ends {
    fn make() -> rustix::io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // As much as was asked for, at least, or an error.
        fcntl_setpipe_size(&write, ROOM).or_else(|_| fcntl_setpipe_size(&write, LEAST_ROOM))?;
        Ok(Self { read, write })
    }
}

/// Part of a body on its way. What is left in it when it is dropped is lost.
#[derive(Debug)]
pub struct Pipe {
    /// Go back to the stock, or are closed, when this is dropped.
    ends: ManuallyDrop<Ends>,
    held: usize,
}

impl Pipe {
    /// What has arrived on a socket, at most `most` bytes. `None`: it must be read, as nothing is there, or the peer's
    /// end, or as memory is short, or there are no pipes.
    ///
    /// Only for sockets on which bytes were seen to lie: it would wait for them.
    ///
    /// # Errors
    /// Those of the socket.
    pub(super) fn fill(from: BorrowedFd<'_>, most: u64) -> io::Result<Option<Self>> {
        let Some(mut pipe) = Self::take() else { return Ok(None) };
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(MOST);
        match splice(from, None, &pipe.ends.write, None, most, SpliceFlags::NONBLOCK) {
            Ok(0) | Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Ok(n) => {
                pipe.hold(n);
                Ok(Some(pipe))
            }
            // The kernel's build, or a sandbox, has no splice.
            Err(error @ (Errno::INVAL | Errno::NOSYS | Errno::PERM | Errno::ACCESS)) => {
                tracing::warn!("this system refuses splice(2), so that long bodies are copied: {error}");
                STOCK.with_borrow_mut(|stock| stock.refused = true);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Bytes of a file from `at` on, at most `most`. `None`: they must be read, as none is there, or memory is short, or there
    /// are no pipes, or files of this kind can't be moved.
    ///
    /// Only for bytes that were seen to be in memory: it would wait for a disk.
    ///
    /// # Errors
    /// Those of the file.
    pub(super) fn fill_from_file(file: BorrowedFd<'_>, at: u64, most: u64) -> io::Result<Option<Self>> {
        let Some(mut pipe) = Self::take() else { return Ok(None) };
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(MOST);
        let mut at = at;
        match splice(file, Some(&mut at), &pipe.ends.write, None, most, SpliceFlags::NONBLOCK) {
            Ok(0) | Err(Errno::AGAIN | Errno::INTR | Errno::INVAL | Errno::NOSYS | Errno::PERM) => Ok(None),
            Ok(n) => {
                pipe.hold(n);
                Ok(Some(pipe))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Hands a socket what it takes now. `None`: nothing.
    ///
    /// # Errors
    /// Those of the socket.
    pub(super) fn drain(&mut self, to: BorrowedFd<'_>) -> io::Result<Option<usize>> {
        let sent = at_once(to, || splice(&self.ends.read, None, to, None, self.held, SpliceFlags::NONBLOCK));
        match sent {
            Ok(n) => {
                self.hold(self.held - n);
                STOCK.with_borrow_mut(|stock| stock.moved += n as u64);
                Ok(Some(n))
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Bytes that are in it.
    #[allow(clippy::len_without_is_empty)] // unused
    pub fn len(&self) -> usize {
        self.held
    }

    /// Whether this worker may use pipes at all.
    pub fn allow(allowed: bool) {
        STOCK.with_borrow_mut(|stock| stock.refused = !allowed);
    }

    /// Closes pipes that have not been needed since the last call, and returns how many bytes have left through this
    /// worker's since then. Called once a second.
    pub fn sweep() -> u64 {
        STOCK.with_borrow_mut(|stock| {
            stock.idle.truncate(stock.needed - stock.out);
            (stock.needed, stock.failed) = (stock.out, false);
            std::mem::take(&mut stock.moved)
        })
    }

    /// Whether there is one: while there is plenty of memory, and not too many are in use.
    pub fn is_to_be_had() -> bool {
        let given = |stock: &Stock| !stock.refused && !stock.failed && stock.out < PIPES;
        STOCK.with_borrow(given) && buffer::has_room_beside(MOST)
    }

    /// An empty one.
    fn take() -> Option<Self> {
        if !Self::is_to_be_had() || descriptors::are_short() {
            return None;
        }
        STOCK.with_borrow_mut(|stock| {
            let ends = match stock.idle.pop() {
                Some(ends) => ends,
                None => match Ends::make() {
                    Ok(ends) => ends,
                    Err(_) => {
                        stock.failed = true;
                        return None;
                    }
                },
            };
            stock.out += 1;
            stock.needed = stock.needed.max(stock.out);
            Some(Self { ends: ManuallyDrop::new(ends), held: 0 })
        })
    }

    fn hold(&mut self, held: usize) {
        buffer::hold_beside(self.held, held);
        self.held = held;
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let empty = self.held == 0;
        self.hold(0);
        // SAFETY: `ends` is not touched again: this is the end of `self`.
        let ends = unsafe { ManuallyDrop::take(&mut self.ends) };
        // A worker that ends has no stock any more.
        let _ = STOCK.try_with(|stock| {
            let mut stock = stock.borrow_mut();
            stock.out -= 1;
            stock.idle.extend(empty.then_some(ends));
        });
    }
}

/// Makes a call that must not wait for room in a socket, whose own flag alone decides that. The ring would not wait for
/// such a socket either, but asks for nothing meanwhile.
fn at_once<T>(to: BorrowedFd<'_>, call: impl FnOnce() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    let flags = fcntl_getfl(to)?;
    if flags.contains(OFlags::NONBLOCK) {
        return call();
    }
    fcntl_setfl(to, flags | OFlags::NONBLOCK)?;
    let result = call();
    fcntl_setfl(to, flags)?;
    result
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let there = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        (listener.accept().expect("its other end").0, there)
    }

    fn fill(from: &TcpStream, most: u64) -> Option<Pipe> {
        from.peek(&mut [0]).expect("bytes, or an end");
        Pipe::fill(from.as_fd(), most).expect("a sound socket")
    }

    #[test]
    fn bytes_pass_in_order_and_no_more_than_asked_for() {
        let ((from, mut sender), (to, mut taker)) = (connected(), connected());
        sender.write_all(b"abcdef").expect("room");
        let mut pipe = fill(&from, 4).expect("bytes");
        assert_eq!((pipe.len(), pipe.drain(to.as_fd()).expect("a sound socket")), (4, Some(4)));
        assert_eq!(pipe.len(), 0);
        let mut pipe = fill(&from, 4).expect("bytes");
        assert_eq!(pipe.drain(to.as_fd()).expect("a sound socket"), Some(2));
        let mut got = [0; 6];
        taker.read_exact(&mut got).expect("all of it");
        assert_eq!(&got, b"abcdef");
    }

    #[test]
    fn an_end_is_left_to_who_reads() {
        let (from, sender) = connected();
        drop(sender);
        assert!(fill(&from, 1).is_none());
    }

    #[test]
    fn a_full_socket_is_not_waited_for_and_blocks_again_afterwards() {
        let ((from, mut sender), (to, mut taker)) = (connected(), connected());
        let feeding = std::thread::spawn(move || {
            let _ = sender.write_all(&vec![b'x'; 64 << 20]);
        });
        let (mut passed, mut left) = (0, None);
        while left.is_none() {
            let mut pipe = fill(&from, u64::MAX).expect("bytes");
            while pipe.len() > 0 && left.is_none() {
                match pipe.drain(to.as_fd()).expect("a sound socket") {
                    Some(n) => passed += n,
                    None => left = Some(pipe.len()),
                }
            }
            assert!(passed < 64 << 20, "some buffer is full at last");
        }
        let flags = fcntl_getfl(&to).expect("flags");
        assert!(!flags.contains(OFlags::NONBLOCK));
        drop((from, to));
        let mut got = Vec::new();
        taker.read_to_end(&mut got).expect("what has passed");
        assert_eq!(got.len(), passed);
        feeding.join().expect("no panic");
    }

    #[test]
    fn an_empty_pipe_is_used_again_and_one_that_holds_bytes_is_not() {
        let counts = || STOCK.with_borrow(|stock| (stock.idle.len(), stock.out));
        let ((from, mut sender), (to, _taker)) = (connected(), connected());
        sender.write_all(b"abc").expect("room");
        let mut pipe = fill(&from, 3).expect("bytes");
        assert_eq!(counts(), (0, 1));
        pipe.drain(to.as_fd()).expect("a sound socket");
        drop(pipe);
        assert_eq!((counts(), Pipe::sweep()), ((1, 0), 3));
        sender.write_all(b"abc").expect("room");
        drop(fill(&from, 3).expect("bytes"));
        assert_eq!(counts(), (0, 0));
        sender.write_all(b"abc").expect("room");
        let mut pipe = fill(&from, 3).expect("bytes");
        pipe.drain(to.as_fd()).expect("a sound socket");
        drop(pipe);
        for (left, what) in [(1, "needed a moment ago"), (0, "not needed since")] {
            Pipe::sweep();
            assert_eq!(counts(), (left, 0), "{what}");
        }
    }

    #[test]
    fn one_that_could_not_be_made_is_not_asked_for_again_at_once() {
        let (from, mut sender) = connected();
        sender.write_all(b"abc").expect("room");
        STOCK.with_borrow_mut(|stock| stock.failed = true);
        assert!(!Pipe::is_to_be_had() && fill(&from, 1).is_none());
        Pipe::sweep();
        assert!(fill(&from, 1).is_some());
    }

    #[test]
    fn pipes_are_bounded_in_number_and_by_memory() {
        let (from, mut sender) = connected();
        sender.write_all(&[b'x'; PIPES + 2]).expect("room");
        let mut held: Vec<_> = (0..PIPES).map(|_| fill(&from, 1).expect("a pipe")).collect();
        assert!(fill(&from, 1).is_none(), "too many");
        held.pop();
        buffer::bound(4);
        assert!(fill(&from, 1).is_none(), "no memory to be had");
        buffer::bound(0);
        assert!(fill(&from, 1).is_some());
    }
}
