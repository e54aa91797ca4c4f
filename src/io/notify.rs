//! The wire between the control thread and a worker: a byte notifies, the message is in a queue.

use std::io;
use std::os::unix::net::UnixStream as StdStream;

use monoio::io::AsyncReadRent;
use monoio::net::UnixStream;

/// The worker's end: it receives notifications.
#[derive(Debug)]
pub(crate) struct Notified(UnixStream);

/// The end that notifies.
#[derive(Debug)]
pub(crate) struct Notifier(StdStream);

/// A connected notifier and receiver: `notify` wakes the task that awaits `notified`. The `StdStream` is for the worker's
/// thread.
pub(crate) fn pair() -> io::Result<(Notifier, StdStream)> {
    let (notifier, receiver) = StdStream::pair()?;
    notifier.set_nonblocking(true)?;
    receiver.set_nonblocking(true)?;
    Ok((Notifier(notifier), receiver))
}

impl Notified {
    /// On the worker's runtime.
    pub(crate) fn adopt(stream: StdStream) -> io::Result<Self> {
        Ok(Self(UnixStream::from_std(stream)?))
    }

    /// Waits for a notification. False: the notifier is gone.
    pub(crate) async fn notified(&mut self) -> bool {
        let (result, _) = self.0.read(vec![0u8; 16]).await;
        matches!(result, Ok(n) if n > 0)
    }
}

impl Notifier {
    /// Notifies. If the socket is full, the receiver has notifications waiting and needs no more.
    pub(crate) fn notify(&self) {
        use std::io::Write as _;
        let _ = (&self.0).write(&[1]);
    }
}
