//! Standard streams as a process may find them: without a reader, full, stalled, bounded, slow.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::pipe::{fcntl_setpipe_size, pipe};
use rustix::process::{Pid, Signal, kill_process};

use super::eventually;

/// The other end of a standard stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// A pipe whose reader has left: EPIPE.
    Gone,
    /// A full disk: ENOSPC.
    Full,
    /// A descriptor that is open for reading alone: EBADF.
    ReadOnly,
    /// A full pipe without a reader.
    Stalled,
    /// The same, non-blocking: EAGAIN.
    StalledNonBlocking,
}

impl Sink {
    /// Every one that a write fails on at once.
    pub const FAILING: [Self; 3] = [Self::Gone, Self::Full, Self::ReadOnly];
    /// Every one.
    pub const ALL: [Self; 5] =
        [Self::Gone, Self::Full, Self::ReadOnly, Self::Stalled, Self::StalledNonBlocking];

    /// The end for a child, and what must be kept open meanwhile.
    pub fn open(self) -> (Stdio, Option<OwnedFd>) {
        match self {
            Self::Gone => (Stdio::from(pipe().unwrap().1), None),
            Self::Full => (File::options().write(true).open("/dev/full").unwrap().into(), None),
            Self::ReadOnly => (File::open("/dev/null").unwrap().into(), None),
            Self::Stalled | Self::StalledNonBlocking => {
                let (reader, writer) = pipe().unwrap();
                fcntl_setpipe_size(&writer, 4096).unwrap();
                rustix::fs::fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
                while rustix::io::write(&writer, &[b'.'; 512]).is_ok() {}
                if self == Self::Stalled {
                    rustix::fs::fcntl_setfl(&writer, OFlags::empty()).unwrap();
                }
                (writer.into(), Some(reader))
            }
        }
    }
}

/// A pipe of one page whose reader takes 256 bytes at a time with pauses between. The text is what it has read.
pub fn slow(nonblocking: bool) -> (Stdio, Arc<Mutex<Vec<u8>>>) {
    let (reader, writer) = pipe().unwrap();
    fcntl_setpipe_size(&writer, 4096).unwrap();
    if nonblocking {
        rustix::fs::fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    }
    let text = Arc::<Mutex<Vec<u8>>>::default();
    let read = Arc::clone(&text);
    std::thread::spawn(move || {
        let (mut reader, mut piece) = (File::from(reader), [0; 256]);
        while let Ok(n @ 1..) = reader.read(&mut piece) {
            read.lock().unwrap().extend_from_slice(&piece[..n]);
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    (writer.into(), text)
}

/// A child whose streams are the test's affair, killed when it is dropped.
pub struct Bare(Child);

impl Bare {
    pub fn start(command: &mut Command) -> Self {
        let child = Self(command.stdin(Stdio::null()).spawn().unwrap());
        // What the command holds of the streams' ends is closed.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        child
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the end of the process", || self.ended())
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
