//! Standard output and standard error, whatever is at their other end: no reader, a full disk, a slow pipe, a file
//! that has reached its bound. Nothing here panics, and every failure is the caller's to see.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, poll};

/// One of the process's standard streams, unbuffered.
///
/// Unlike the standard library's handles it reports EBADF, and waits where a non-blocking stream is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standard {
    /// Descriptor 1.
    Output,
    /// Descriptor 2.
    Error,
}

impl Standard {
    /// Writes all of `bytes`, and waits for as long as a reader that lives takes none. Returns how many bytes were
    /// written, and why not all of them were.
    pub(crate) fn write_whole(self, bytes: &[u8]) -> (usize, io::Result<()>) {
        let mut written = 0;
        while written < bytes.len() {
            match self.write_once(&bytes[written..]) {
                Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
                Ok(n) => written += n,
                Err(error) => return (written, Err(error)),
            }
        }
        (written, Ok(()))
    }

    fn write_once(self, bytes: &[u8]) -> io::Result<usize> {
        let [output, error] = &CLOSED;
        match self {
            Self::Output if output.load(Ordering::Relaxed) => Err(rustix::io::Errno::BADF.into()),
            Self::Error if error.load(Ordering::Relaxed) => Err(rustix::io::Errno::BADF.into()),
            Self::Output => write(io::stdout().as_fd(), bytes),
            Self::Error => write(io::stderr().as_fd(), bytes),
        }
    }
}

impl Write for Standard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_once(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether descriptors 1 and 2 were closed when the process began. Before `main` the standard library opens /dev/null in
/// their place, so that a write to them would seem to have gone well.
static CLOSED: [AtomicBool; 2] = [const { AtomicBool::new(false) }; 2];

/// Run by the loader before the standard library's part of the start.
#[used]
#[allow(unsafe_code)]
// SAFETY: the section holds pointers to functions of this signature, whose arguments may be left unread. The function
// only calls fcntl and stores to atomics, so it needs nothing that is set up later.
#[unsafe(link_section = ".init_array")]
static FIND_CLOSED: extern "C" fn() = find_closed;

#[allow(unsafe_code)]
extern "C" fn find_closed() {
    for (closed, descriptor) in CLOSED.iter().zip([libc::STDOUT_FILENO, libc::STDERR_FILENO]) {
        // SAFETY: F_GETFD takes any number and changes nothing.
        closed.store(unsafe { libc::fcntl(descriptor, libc::F_GETFD) } == -1, Ordering::Relaxed);
    }
}

/// One write. Another process that shares the open file may have made it non-blocking: then EAGAIN is no failure.
fn write(to: std::os::fd::BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match rustix::io::write(to, bytes) {
            Ok(n) => return Ok(n),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => match poll(&mut [PollFd::new(&to, PollFlags::OUT)], None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        }
    }
}

/// Has a write beyond `RLIMIT_FSIZE` fail with EFBIG, where by default SIGXFSZ ends the process.
#[allow(unsafe_code)]
pub(crate) fn ignore_file_size_signal() {
    // SAFETY: SIG_IGN is a valid disposition of SIGXFSZ, and no code of ours runs in a handler.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}
