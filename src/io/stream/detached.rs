//! Idle streams without their runtime: how a connection moves from one worker to another.
//!
//! monoio's streams belong to the ring of one thread. A stream that no task uses is taken out of it here, and put into the
//! ring of the thread that calls [`attach`](DetachedStream::attach).
#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd as _, OwnedFd};
use std::{io, ptr};

use monoio::net::TcpStream;
use rustix::io::fcntl_dupfd_cloexec;

use super::{Closed, Stream, cancel};
use crate::io::socket::{self, Pulse};
use crate::tls::record;

/// A stream that belongs to no thread.
#[derive(Debug)]
pub(crate) struct DetachedStream {
    fd: OwnedFd,
    tls: Option<Box<record::Detached>>,
    low_water: usize,
}

impl Stream {
    /// Takes a stream that is between two messages out of its thread. `None`, and it is closed: it can carry no other
    /// message, or there is no descriptor for the move.
    pub(crate) fn detach(self) -> Option<DetachedStream> {
        if self.reader.closed != Closed::Open {
            return None;
        }
        let stream = ManuallyDrop::new(self);
        // SAFETY: both fields are read once, and `stream` is neither used nor dropped afterwards.
        let (reader, writer) = unsafe { (ptr::read(&stream.reader), ptr::read(&stream.writer)) };
        cancel::count_stream(-1);
        // A copy: a wait that was given up may still hold the original until its ring has completed it.
        let fd = fcntl_dupfd_cloexec(reader.socket.as_fd(), 0).ok()?;
        let tls = match (reader.tls, writer.tls) {
            (Some(opener), Some(sealer)) => Some(Box::new(record::detach(*opener, *sealer)?)),
            _ => None,
        };
        Some(DetachedStream { fd, tls, low_water: reader.low_water })
    }
}

impl DetachedStream {
    /// The stream again, on the runtime of this thread.
    ///
    /// # Errors
    /// The runtime refuses the descriptor.
    pub(crate) fn attach(self) -> io::Result<Stream> {
        let tcp = TcpStream::from_std(std::net::TcpStream::from(self.fd))?;
        let mut stream = match self.tls {
            Some(tls) => {
                let (opener, sealer) = tls.attach();
                Stream::tls(tcp, opener, sealer)
            }
            None => Stream::plain(tcp),
        };
        stream.reader.low_water = self.low_water;
        Ok(stream)
    }

    /// Whether the peer has not closed it. What it may have sent is looked at by the thread that attaches the stream.
    pub(crate) fn is_alive(&self) -> bool {
        match socket::pulse(self.fd.as_fd()) {
            Pulse::Quiet => true,
            Pulse::Readable => self.tls.is_some(),
            Pulse::Dead => false,
        }
    }
}
