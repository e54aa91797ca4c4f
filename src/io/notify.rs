//! The wire between the control thread and a worker: one byte is a bell, the message is in a queue.

use std::io;
use std::os::unix::net::UnixStream as StdStream;

use monoio::io::AsyncReadRent;
use monoio::net::UnixStream;

/// The worker's end of a bell.
#[derive(Debug)]
pub(crate) struct Notified(UnixStream);

/// The ringing end of a bell.
#[derive(Debug)]
pub(crate) struct Notifier(StdStream);

/// A pair: who holds the rope wakes who waits for the bell. `StdStream` crosses to the worker's thread.
pub(crate) fn pair() -> io::Result<(Notifier, StdStream)> {
    let (rope, bell) = StdStream::pair()?;
    rope.set_nonblocking(true)?;
    bell.set_nonblocking(true)?;
    Ok((Notifier(rope), bell))
}

impl Notified {
    /// On the worker's runtime.
    pub(crate) fn adopt(stream: StdStream) -> io::Result<Self> {
        Ok(Self(UnixStream::from_std(stream)?))
    }

    /// Waits for a ring. False: the other end is gone.
    pub(crate) async fn rung(&mut self) -> bool {
        let (result, _) = self.0.read(vec![0u8; 16]).await;
        matches!(result, Ok(n) if n > 0)
    }
}

impl Notifier {
    /// Rings. A bell that has been rung often and not heard yet needs no more of it.
    pub(crate) fn pull(&self) {
        use std::io::Write as _;
        let _ = (&self.0).write(&[1]);
    }
}
