//! Files below a root that are sent to clients: found, opened and read.
//!
//! Opening is a system call of the worker itself: monoio has no openat2(2), and its ring may open no file (`runtime.rs`). For names
//! that the kernel has in memory it takes microseconds, otherwise as long as the disk does. Reading never waits for a disk under
//! io_uring: what is in memory is taken at once (RWF_NOWAIT), the rest is read by the ring. The epoll driver waits in the read.
#![allow(unsafe_code)]

use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::vec;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::buffer::Buffer;
use super::pipe::Pipe;
use crate::base::limits::OPEN_TRIES;
use crate::route::Links;

/// Fewer bytes than this are copied sooner than moved.
const UNSEEN_MIN: u64 = 32 * 1024;

/// A root folder. It is looked up for each request: a deployment may put another folder in its place at any time.
#[derive(Debug)]
pub(crate) struct Root(OwnedFd);

/// What there is at a path.
#[derive(Debug)]
pub(crate) enum Found {
    /// A regular file.
    File(OpenFile),
    /// A folder.
    Folder,
    /// Something that is not served: a pipe, a socket, a device.
    Other,
}

/// A regular file that is open.
#[derive(Debug)]
pub(crate) struct OpenFile {
    file: Handle,
    /// Bytes when it was opened.
    pub(crate) length: u64,
    /// When its content changed last: seconds since 1970, and nanoseconds.
    pub(crate) modified: (u64, u32),
    /// Reads of what is in memory are refused by its file system.
    is_slow: bool,
}

/// What a file is read by.
#[derive(Debug)]
enum Handle {
    /// Its descriptor, as long as all that was read of it was in memory: nothing is allocated for it.
    Plain(OwnedFd),
    /// The ring.
    Ring(monoio::fs::File),
}

impl Root {
    /// The folder of this path.
    ///
    /// # Errors
    /// It is not there, or no folder, or not permitted, or the system has no descriptor.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(open(path, flags, Mode::empty())?))
    }

    /// What is at `path` below it. Nothing of it is read, and no pipe is waited for.
    ///
    /// # Errors
    /// Those of openat2(2): EXDEV for what is not below the root, ELOOP for a link that is not followed.
    pub(crate) fn find(&self, path: &[u8], links: Links) -> io::Result<Found> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = self.open_below(path, flags, links)?;
        let stat = fstat(&fd)?;
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Found::File(OpenFile {
                file: Handle::Plain(fd),
                length: u64::try_from(stat.st_size).unwrap_or(0),
                modified: (
                    u64::try_from(stat.st_mtime).unwrap_or(0),
                    u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
                ),
                is_slow: false,
            }),
            FileType::Directory => Found::Folder,
            _ => Found::Other,
        })
    }

    /// Whether a folder is at `path` below it.
    ///
    /// # Errors
    /// As [`Root::find`].
    pub(crate) fn has_folder(&self, path: &[u8], links: Links) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        self.open_below(path, flags, links).map(drop)
    }

    fn open_below(&self, path: &[u8], flags: OFlags, links: Links) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let resolve = match links {
            Links::Inside => resolve,
            Links::None => resolve | ResolveFlags::NO_SYMLINKS,
        };
        let mut tries = 0;
        loop {
            match openat2(&self.0, path, flags, Mode::empty(), resolve) {
                // A folder was moved meanwhile.
                Err(Errno::AGAIN | Errno::INTR) if tries < OPEN_TRIES => tries += 1,
                result => return Ok(result?),
            }
        }
    }
}

impl OpenFile {
    fn fd(&self) -> BorrowedFd<'_> {
        match &self.file {
            Handle::Plain(fd) => fd.as_fd(),
            // SAFETY: the file owns the descriptor and is borrowed for as long as the result lives.
            Handle::Ring(file) => unsafe { BorrowedFd::borrow_raw(file.as_raw_fd()) },
        }
    }

    /// The file as the ring reads it.
    fn ring(&mut self) -> io::Result<&monoio::fs::File> {
        if let Handle::Plain(fd) = &self.file {
            // A second descriptor of the file, which the first makes way for.
            self.file = Handle::Ring(monoio::fs::File::from_std(fd.try_clone()?.into())?);
        }
        match &self.file {
            Handle::Ring(file) => Ok(file),
            Handle::Plain(_) => unreachable!("it was replaced"),
        }
    }

    /// Reads up to `most` bytes from `at` on behind what `buffer` holds. 0: the file ends there.
    async fn read_at(&mut self, mut buffer: Buffer, at: u64, most: usize) -> (io::Result<usize>, Buffer) {
        if !self.is_slow {
            let fd = self.fd();
            let read = buffer.receive(false, |spare| {
                let most = most.min(spare.len());
                let mut slices = [IoSliceMut::new(&mut spare[..most])];
                Ok(Some(preadv2(fd, &mut slices, at, ReadWriteFlags::NOWAIT)?))
            });
            match read.map_err(|error| error.raw_os_error()) {
                Ok(n) => return (Ok(n.unwrap_or(0)), buffer),
                Err(Some(libc::EAGAIN | libc::EINTR)) => {}
                Err(_) => self.is_slow = true,
            }
        }
        let file = match self.ring() {
            Ok(file) => file,
            Err(error) => return (Err(error), buffer),
        };
        loop {
            let (result, spare) = file.read_at(buffer.for_reading_up_to(most), at).await;
            buffer = spare.into_buffer();
            match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return (result, buffer),
            }
        }
    }

    /// Whether the byte at `at` is there, in memory.
    fn is_at_hand(&self, at: u64) -> bool {
        let mut byte = [0];
        preadv2(self.fd(), &mut [IoSliceMut::new(&mut byte)], at, ReadWriteFlags::NOWAIT) == Ok(1)
    }
}

/// What is sent of a file: one part of it, or several with text around them.
#[derive(Debug)]
pub(crate) struct FileBody {
    file: OpenFile,
    /// What is left of the part that is being sent.
    part: Range<u64>,
    around: Option<Box<Around>>,
}

/// The text around parts.
#[derive(Debug)]
struct Around {
    text: Vec<u8>,
    /// How much of it was written, and may be before the next part.
    written: usize,
    until: usize,
    /// The parts that follow, each with where the text before it ends.
    parts: vec::IntoIter<(usize, Range<u64>)>,
}

impl FileBody {
    /// This part of a file.
    pub(crate) fn part(file: OpenFile, part: Range<u64>) -> Self {
        Self { file, part, around: None }
    }

    /// These parts, each behind its share of `text`; what is left of that goes behind the last.
    pub(crate) fn parts(file: OpenFile, text: Vec<u8>, parts: Vec<(usize, Range<u64>)>) -> Self {
        let around = Around { text, written: 0, until: 0, parts: parts.into_iter() };
        Self { file, part: 0..0, around: Some(Box::new(around)) }
    }

    /// Whether all of it was taken.
    pub(crate) fn is_over(&self) -> bool {
        let text_is_over =
            |around: &Around| around.written == around.text.len() && around.parts.as_slice().is_empty();
        self.part.is_empty() && self.around.as_deref().is_none_or(text_is_over)
    }

    /// Adds at least a byte; 0: it is over, or the file has become shorter than it was.
    pub(crate) async fn fill(&mut self, mut buffer: Buffer) -> (io::Result<usize>, Buffer) {
        let before = buffer.len();
        loop {
            self.put_text(&mut buffer);
            if self.part.is_empty() {
                if buffer.spare() > 0 && self.next_part() {
                    continue;
                }
                return (Ok(buffer.len() - before), buffer);
            }
            let most =
                usize::try_from(self.part.end - self.part.start).unwrap_or(usize::MAX).min(buffer.spare());
            if most == 0 {
                return (Ok(buffer.len() - before), buffer);
            }
            let (result, filled) = self.file.read_at(buffer, self.part.start, most).await;
            buffer = filled;
            let read = match result {
                // What came before it goes out first.
                Err(_) if buffer.len() > before => 0,
                Err(error) => return (Err(error), buffer),
                Ok(read) => read,
            };
            self.part.start += read as u64;
            if read < most {
                return (Ok(buffer.len() - before), buffer);
            }
        }
    }

    /// As [`FileBody::fill`], of what is long into a large buffer. Up to `unseen` bytes may come in a pipe, if no others are in
    /// `buffer`.
    pub(crate) async fn fill_on(&mut self, mut buffer: Buffer, unseen: u64) -> (io::Result<Filled>, Buffer) {
        let left = self.part.end - self.part.start;
        if buffer.is_idle() && left.min(unseen) >= UNSEEN_MIN && !self.has_text() && !self.file.is_slow {
            match self.take_unseen(left.min(unseen)) {
                Ok(Some(pipe)) => return (Ok(Filled::Unseen(pipe)), buffer),
                Ok(None) => {}
                Err(error) => return (Err(error), buffer),
            }
        }
        if left > buffer.spare() as u64 {
            buffer = buffer.roomy();
        }
        let (result, buffer) = self.fill(buffer).await;
        (result.map(Filled::Read), buffer)
    }

    /// How many bytes of the file are next, without text between them.
    pub(crate) fn due(&self) -> u64 {
        self.part.end - self.part.start
    }

    /// The next bytes of the part in a pipe, if they are in memory.
    fn take_unseen(&mut self, most: u64) -> io::Result<Option<Pipe>> {
        let (at, most) = (self.part.start, most.min(super::pipe::MOST as u64));
        // What lies between is there too, but for what the system has dropped from memory: that it would wait for.
        if !self.file.is_at_hand(at) || !self.file.is_at_hand(at + most - 1) {
            return Ok(None);
        }
        let pipe = Pipe::fill_from_file(self.file.fd(), at, most)?;
        self.part.start += pipe.as_ref().map_or(0, |pipe| pipe.len() as u64);
        Ok(pipe)
    }

    fn has_text(&self) -> bool {
        self.around.as_ref().is_some_and(|around| around.written < around.until)
    }

    /// Puts what fits of the text before the next part.
    fn put_text(&mut self, buffer: &mut Buffer) {
        let Some(around) = &mut self.around else { return };
        let end = around.until.min(around.written.saturating_add(buffer.spare()));
        if buffer.append(&around.text[around.written..end]) {
            around.written = end;
        }
    }

    /// Goes on with the next part, or with the text behind the last one. False: there is neither.
    fn next_part(&mut self) -> bool {
        let Some(around) = &mut self.around else { return false };
        match around.parts.next() {
            Some((until, part)) => (around.until, self.part) = (until, part),
            None if around.until < around.text.len() => around.until = around.text.len(),
            None => return false,
        }
        true
    }
}

/// What [`FileBody::fill_on`] brought.
#[derive(Debug)]
pub(crate) enum Filled {
    /// So many bytes, into the buffer; 0: there are none.
    Read(usize),
    /// Bytes that stay in the kernel.
    Unseen(Pipe),
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::io::runtime::{Driver, block_on, detect};

    fn root() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("folder")).unwrap();
        std::fs::write(dir.path().join("secret"), "secret").unwrap();
        std::fs::write(root.join("a"), "0123456789").unwrap();
        symlink("a", root.join("inside")).unwrap();
        symlink("../secret", root.join("outside")).unwrap();
        symlink(dir.path().join("secret"), root.join("absolute")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, root.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let opened = Root::open(&root).unwrap();
        (dir, opened)
    }

    #[test]
    fn nothing_outside_is_opened_and_nothing_is_waited_for() {
        let (dir, root) = root();
        block_on(Driver::Epoll, async move {
            let errno =
                |path: &str, links| root.find(path.as_bytes(), links).unwrap_err().raw_os_error().unwrap();
            for path in ["outside", "absolute", "../secret", "/etc/passwd", "folder/../../secret"] {
                assert_eq!(errno(path, Links::Inside), libc::EXDEV, "{path}");
            }
            for path in ["outside", "inside", "loop"] {
                assert_eq!(errno(path, Links::None), libc::ELOOP, "{path}");
            }
            assert_eq!(errno("loop", Links::Inside), libc::ELOOP);
            assert_eq!(errno("no", Links::Inside), libc::ENOENT);
            assert_eq!(errno("a/b", Links::Inside), libc::ENOTDIR);
            assert!(matches!(root.find(b"pipe", Links::Inside), Ok(Found::Other)));
            assert!(matches!(root.find(b"folder", Links::None), Ok(Found::Folder)));
            assert!(matches!(root.find(b".", Links::None), Ok(Found::Folder)));
            assert!(
                matches!(root.find(b"inside", Links::Inside), Ok(Found::File(file)) if file.length == 10)
            );
            assert!(
                root.has_folder(b"folder", Links::None).is_ok()
                    && root.has_folder(b"a", Links::None).is_err()
            );
        })
        .unwrap();
        drop(dir);
    }

    #[test]
    fn parts_and_text_come_in_order_whatever_the_driver() {
        for driver in [detect().unwrap_or(Driver::Epoll), Driver::Epoll] {
            for is_slow in [false, true] {
                let (dir, root) = root();
                let read = block_on(driver, async move {
                    let Ok(Found::File(mut file)) = root.find(b"a", Links::Inside) else { panic!("a file") };
                    file.is_slow = is_slow;
                    let text = b"[](-)".to_vec();
                    let mut body = FileBody::parts(file, text, vec![(1, 2..4), (3, 9..10), (4, 0..1)]);
                    let mut buffer = Buffer::small();
                    while !body.is_over() {
                        let (result, filled) = body.fill(buffer).await;
                        buffer = filled;
                        assert!(result.unwrap() > 0);
                    }
                    String::from_utf8(buffer.data().to_vec()).unwrap()
                });
                assert_eq!(read.unwrap(), "[23](9-0)", "{driver:?} {is_slow}");
                drop(dir);
            }
        }
    }

    #[test]
    fn a_file_that_has_become_shorter_is_not_padded() {
        let (dir, root) = root();
        let path = dir.path().join("root/a");
        block_on(Driver::Epoll, async move {
            let Ok(Found::File(file)) = root.find(b"a", Links::Inside) else { panic!("a file") };
            let mut body = FileBody::part(file, 0..10);
            std::fs::write(path, "0123").unwrap();
            let (read, buffer) = body.fill(Buffer::small()).await;
            assert_eq!((read.unwrap(), buffer.data()), (4, &b"0123"[..]));
            let (read, _buffer) = body.fill(buffer).await;
            assert_eq!((read.unwrap(), body.is_over()), (0, false));
        })
        .unwrap();
    }
}
