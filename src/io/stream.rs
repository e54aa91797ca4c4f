//! A connection as the data path sees it: plaintext in buffers, whatever is on the wire.
//!
//! The two halves are independent, so that an upload and its response, or the two
//! directions of a relay, run at the same time.

mod detached;
mod error;
mod gathered;

use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use monoio::io::{AsyncReadRent, AsyncWriteRent, CancelHandle, CancelableAsyncReadRent};
use monoio::net::TcpStream;
use rustls::AlertDescription;

use super::buffer::Buffer;
use super::cancel;
use super::peer::PeerHandle;
use super::pipe::{self, Pipe};
use super::socket::{self, Pulse};
use crate::tls::{Opened, Opener, Sealer};

pub(crate) use detached::DetachedStream;
pub(crate) use error::StreamError;

/// What becomes of a buffer's content when it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It is needed again (a request that may be sent once more).
    Content,
    /// It may be encrypted where it lies.
    Nothing,
}

/// A connected stream, plain or TLS.
#[derive(Debug)]
pub struct Stream {
    /// What the peer sends.
    pub reader: Reader,
    /// What is sent to the peer.
    pub writer: Writer,
}

/// The reading half.
#[derive(Debug)]
pub struct Reader {
    socket: Rc<Socket>,
    tls: Option<Box<Opener>>,
    closed: Closed,
    /// SO_RCVLOWAT as it is set.
    low_water: usize,
    /// How many reads go without [gathering](Reader::read_on), as the peer has not sent as fast as that hopes.
    ungathered: u8,
}

/// How the peer ended its side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Not yet.
    Open,
    /// By FIN on a plain stream, by close_notify on TLS.
    Clean,
    /// By FIN without close_notify on TLS, or by a reset: what came before may have been cut (RFC 8446 §6.1).
    Truncated,
}

/// The socket of a stream: owned by its two halves and by each [`PeerHandle`] of it.
pub(super) struct Socket {
    tcp: UnsafeCell<TcpStream>,
    /// A write found that the peer had reset the connection. The kernel reports that once: a read after it finds an
    /// orderly end.
    reset: Cell<bool>,
}

#[allow(unsafe_code)]
impl Socket {
    fn tcp(&self) -> &TcpStream {
        // SAFETY: a `Socket` is used on one thread only. monoio's reads and writes clone the descriptor before they wait, and
        // touch the stream no more: no exclusive reference is used while this one is.
        unsafe { &*self.tcp.get() }
    }

    /// For one read or one write, which are independent of each other.
    #[allow(clippy::mut_from_ref)]
    fn tcp_mut(&self) -> &mut TcpStream {
        // SAFETY: as in `tcp`. A read and a write may both be under way, each on the descriptor that it has cloned, as in the
        // halves that monoio makes of a stream (`Splitable::into_split`).
        unsafe { &mut *self.tcp.get() }
    }

    /// Notes whether a failed write shows that the peer has reset the connection.
    fn note_failure(&self, error: &io::Error) {
        // EPIPE: the peer had ended its side in order before, or ours is ended.
        if error.kind() != io::ErrorKind::BrokenPipe {
            self.reset.set(true);
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        socket::fd_of(self.tcp())
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tcp().fmt(f)
    }
}

/// The writing half.
#[derive(Debug)]
pub struct Writer {
    socket: Rc<Socket>,
    tls: Option<Box<Sealer>>,
}

impl Stream {
    /// A plain stream.
    pub fn plain(tcp: TcpStream) -> Self {
        Self::new(tcp, None)
    }

    /// A TLS stream whose handshake is over.
    pub fn tls(tcp: TcpStream, opener: Opener, sealer: Sealer) -> Self {
        Self::new(tcp, Some((Box::new(opener), Box::new(sealer))))
    }

    fn new(tcp: TcpStream, tls: Option<(Box<Opener>, Box<Sealer>)>) -> Self {
        cancel::count_stream(1);
        let (opener, sealer) = tls.unzip();
        let socket = Rc::new(Socket { tcp: UnsafeCell::new(tcp), reset: Cell::new(false) });
        Self {
            reader: Reader {
                socket: Rc::clone(&socket),
                tls: opener,
                closed: Closed::Open,
                low_water: 1,
                ungathered: 0,
            },
            writer: Writer { socket, tls: sealer },
        }
    }

    /// Whether this stream speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.reader.tls.is_some()
    }

    /// Checks whether an idle pooled connection can carry another request. Takes in what a TLS
    /// peer may send unasked (tickets, key updates); application data or an end mean that it can't.
    pub fn is_fresh(&mut self) -> bool {
        loop {
            match socket::pulse(self.reader.socket.as_fd()) {
                Pulse::Quiet => return true,
                Pulse::Dead => return false,
                Pulse::Readable if !self.is_tls() => return false,
                Pulse::Readable => {}
            }
            if !self.reader.take_control_records() {
                return false;
            }
        }
    }

    /// Ends a plain stream with a reset, since a FIN would mean that everything was sent. TLS has close_notify for that.
    pub fn reset(&self) {
        if !self.is_tls() {
            socket::reset(self.reader.socket.as_fd());
        }
    }

    /// Ends the writing side: close_notify on TLS, then FIN.
    pub async fn shutdown(&mut self) {
        let _ = self.writer.shutdown().await;
    }
}

impl Drop for Stream {
    /// Sends an alert to a peer whose record could not be opened (RFC 8446 §6.2), if that is possible without waiting.
    fn drop(&mut self) {
        cancel::count_stream(-1);
        let due = self.reader.tls.as_ref().and_then(|opener| opener.alert_due());
        if let (Some(alert), Some(sealer)) = (due, &mut self.writer.tls) {
            let mut record = [0; Sealer::CONTROL_ROOM];
            let len = sealer.alert(alert, &mut record);
            socket::send_now(self.reader.socket.as_fd(), &record[..len]);
            // What lies unread would make the close a reset, which may overtake the alert.
            socket::drain_now(self.reader.socket.as_fd());
        }
        // The connection ends now, also if a `PeerHandle` keeps the socket open.
        socket::finish(self.reader.socket.as_fd());
    }
}

impl Reader {
    /// How the peer ended, if it did.
    pub fn closed(&self) -> Closed {
        if self.closed == Closed::Clean && self.tls.is_none() && self.socket.reset.get() {
            return Closed::Truncated;
        }
        self.closed
    }

    /// The alert with which a TLS peer ended the connection, if it has been read.
    pub fn peer_alert(&self) -> Option<AlertDescription> {
        self.tls.as_ref().and_then(|opener| opener.peer_alert())
    }

    /// Whether a TLS 1.2 peer has begun a new handshake, which is declined.
    pub fn asked_renegotiation(&self) -> bool {
        self.tls.as_ref().is_some_and(|opener| opener.asked_renegotiation())
    }

    /// The other end, to ask the kernel about it while the stream is in use.
    pub(crate) fn peer(&self) -> PeerHandle {
        PeerHandle(Rc::clone(&self.socket))
    }

    /// Adds at least one byte of plaintext to `buffer`; 0 means the peer's end, see [`Reader::closed`].
    pub fn fill(&mut self, buffer: Buffer) -> impl Future<Output = (Result<usize, StreamError>, Buffer)> {
        self.fill_with(buffer, None)
    }

    /// As [`Reader::fill`], for a wait that may be called off without losing a byte: then the error is ECANCELED.
    /// `cancel` is of the [`ReadCancel`](super::ReadCancel) that will do it.
    pub fn fill_cancelable(
        &mut self,
        buffer: Buffer,
        cancel: Option<CancelHandle>,
    ) -> impl Future<Output = (Result<usize, StreamError>, Buffer)> {
        self.fill_with(buffer, cancel)
    }

    /// As [`Reader::fill`], within a long body, of which `due` more bytes of plaintext are certain to arrive; `None`: that is
    /// unknown. A fast body is read into a large buffer, as much at once as it takes: a few large reads instead of many small
    /// ones. A reader that waits holds no large buffer, as all of its memory is resident.
    ///
    /// Nothing is held back for longer than [`GATHER_PATIENCE`]. A sender that has not sent [`GATHER_MIN`] by then is read from
    /// as its bytes arrive, until that many have arrived, or for [`UNGATHERED`] reads.
    ///
    /// Up to `unseen` bytes of a plain stream may also be returned in a [`Pipe`], if no others are in `buffer`.
    pub async fn read_on(
        &mut self,
        mut buffer: Buffer,
        due: Option<u64>,
        unseen: u64,
    ) -> (Result<More, StreamError>, Buffer) {
        // Ciphertext is never shorter than its plaintext.
        let raw = buffer.raw_len();
        let due = due.map(|due| usize::try_from(due).unwrap_or(usize::MAX).saturating_sub(raw));
        let worth_waiting = due.filter(|due| *due >= GATHER_MIN);
        let mut many = false;
        if let Some(due) = worth_waiting.filter(|_| self.ungathered == 0) {
            let most = if unseen > 0 { pipe::MOST } else { Buffer::LARGE_ROOM - raw };
            self.wake_at(due.min(most));
            let held = (!buffer.is_idle()).then_some(buffer);
            let ready = monoio::time::timeout(GATHER_PATIENCE, self.socket.tcp().readable(false)).await;
            buffer = held.unwrap_or_else(Buffer::small);
            match ready {
                Ok(Err(error)) => return (Err(error.into()), buffer),
                ready => many = ready.is_ok(),
            }
        }
        if !many && due.is_none_or(|due| due > Buffer::SMALL_ROOM) {
            let enough = due.map_or(GATHER_MIN, |due| due.min(GATHER_MIN));
            many = socket::arrived(self.socket.as_fd()).is_ok_and(|bytes| bytes >= enough as u64);
        }
        if worth_waiting.is_some() {
            let fewer = if self.ungathered == 0 { UNGATHERED } else { self.ungathered - 1 };
            self.ungathered = if many { 0 } else { fewer };
        }
        if many && unseen > 0 && buffer.is_idle() {
            // Where nothing has been waited for, the worker's other connections have a turn.
            if due.is_none()
                && let Err(error) = self.readable().await
            {
                return (Err(error.into()), buffer);
            }
            match self.take_unseen(unseen) {
                Ok(Some(pipe)) => return (Ok(More::Unseen(pipe)), buffer),
                Ok(None) => {}
                Err(error) => return (Err(error.into()), buffer),
            }
        }
        if many {
            let (fd, ciphertext) = (self.socket.as_fd(), self.tls.is_some());
            buffer = buffer.roomy();
            match buffer.receive(ciphertext, |spare| socket::recv_now(fd, spare)) {
                Ok(Some(n)) if n > 0 && !ciphertext => return (Ok(More::Read(n)), buffer),
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return (Err(error.into()), buffer);
                }
                // An end is met again.
                _ => {}
            }
        } else {
            buffer = buffer.lean();
        }
        let (result, buffer) = self.fill(buffer).await;
        (result.map(More::Read), buffer)
    }

    /// Whether bytes may be passed to `writer` unchanged: neither stream is TLS.
    pub fn is_as_plain_as(&self, writer: &Writer) -> bool {
        self.tls.is_none() && writer.tls.is_none()
    }

    /// Takes what has arrived on a plain stream, at most `most` bytes, if that is a lot. `None`: it must be read.
    pub fn take_unseen(&mut self, most: u64) -> io::Result<Option<Pipe>> {
        debug_assert!(self.tls.is_none());
        let fd = self.socket.as_fd();
        if socket::arrived(fd)? >= UNSEEN_MIN { Pipe::fill(fd, most) } else { Ok(None) }
    }

    /// Adds what has arrived already, without waiting. An end is met again by the next read, an error as an end.
    pub fn take_arrived(&mut self, buffer: &mut Buffer) {
        let fd = self.socket.as_fd();
        if let Ok(Some(1..)) = buffer.receive(self.tls.is_some(), |spare| socket::recv_now(fd, spare)) {
            let _ = self.open_records(buffer);
        }
    }

    /// From how many bytes on the socket counts as readable (SO_RCVLOWAT).
    fn wake_at(&mut self, bytes: usize) {
        if self.low_water != bytes && socket::set_low_water(self.socket.as_fd(), bytes).is_ok() {
            self.low_water = bytes;
        }
    }

    async fn fill_with(
        &mut self,
        mut buffer: Buffer,
        cancel: Option<CancelHandle>,
    ) -> (Result<usize, StreamError>, Buffer) {
        let before = buffer.len();
        loop {
            let want = match self.open_records(&mut buffer) {
                Ok(want) => want,
                // What arrived whole before it still counts; the next call returns the same error.
                Err(_) if buffer.len() > before => 0,
                Err(error) => return (Err(error), buffer),
            };
            if buffer.len() > before {
                return (Ok(buffer.len() - before), buffer);
            }
            if self.closed != Closed::Open {
                return (Ok(0), buffer);
            }
            if !buffer.reserve(want) {
                return (Err(StreamError::TooLarge), buffer);
            }
            self.wake_at(1);
            let ciphertext = self.tls.is_some();
            let spare = buffer.for_reading(ciphertext);
            let (result, spare) = match cancel.clone() {
                None => self.socket.tcp_mut().read(spare).await,
                Some(cancel) => self.socket.tcp_mut().cancelable_read(spare, cancel).await,
            };
            buffer = spare.into_buffer();
            match result {
                Ok(0) => self.closed = if ciphertext { Closed::Truncated } else { Closed::Clean },
                Ok(n) if !ciphertext => return (Ok(n), buffer),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (Err(error.into()), buffer),
            }
        }
    }

    /// Opens every whole record that `buffer` holds. Returns how much room the next read wants.
    fn open_records(&mut self, buffer: &mut Buffer) -> Result<usize, StreamError> {
        let Some(opener) = &mut self.tls else {
            return Ok(1);
        };
        loop {
            if buffer.raw_len() == 0 {
                // Room for a whole record, so that one read can bring it.
                return Ok(crate::base::limits::MAX_TLS_RECORD_BYTES);
            }
            match opener.open(buffer.raw_mut())? {
                Opened::Incomplete { need } => return Ok(need.saturating_sub(buffer.raw_len()).max(1)),
                Opened::Data { plaintext, consumed } => buffer.opened(plaintext, consumed),
                Opened::Control { consumed } => buffer.opened(0..0, consumed),
                Opened::Closed { consumed } => {
                    buffer.opened(0..0, consumed);
                    self.closed = Closed::Clean;
                    return Ok(1);
                }
            }
        }
    }

    /// Takes in what has arrived on an idle TLS connection. False: it was an end, data, or half a record.
    fn take_control_records(&mut self) -> bool {
        let mut buffer = Buffer::small();
        let room = HEADROOM_END..HEADROOM_END + buffer.spare();
        let Ok(Some(n)) = socket::recv_now(self.socket.as_fd(), &mut buffer.block_mut()[room.clone()]) else {
            return false;
        };
        let Some(opener) = &mut self.tls else {
            return false;
        };
        let mut rest = room.start..room.start + n;
        while !rest.is_empty() {
            match opener.open(&mut buffer.block_mut()[rest.clone()]) {
                Ok(Opened::Control { consumed }) => rest.start += consumed,
                _ => return false,
            }
        }
        n > 0
    }

    /// Waits until there is something to read, holding no buffer meanwhile.
    pub async fn readable(&mut self) -> io::Result<()> {
        self.wake_at(1);
        self.socket.tcp().readable(false).await
    }
}

/// What [`Reader::read_on`] brought.
#[derive(Debug)]
pub enum More {
    /// So many bytes of plaintext, into the buffer; 0 is the peer's end.
    Read(usize),
    /// Bytes that stay in the kernel.
    Unseen(Pipe),
}

/// Fewer bytes than this are copied sooner than moved.
const UNSEEN_MIN: u64 = 32 * 1024;
/// Where a fresh buffer's content begins.
const HEADROOM_END: usize = super::buffer::HEADROOM;
/// Fewer bytes than this are not worth waiting for.
const GATHER_MIN: usize = 64 * 1024;
/// Reads without gathering, once a sender was found slow.
const UNGATHERED: u8 = 64;
/// How long bytes that have arrived may wait for more.
const GATHER_PATIENCE: Duration = Duration::from_millis(5);

impl Writer {
    /// The other end, to ask the kernel about it while the stream is in use.
    pub(crate) fn peer(&self) -> PeerHandle {
        PeerHandle(Rc::clone(&self.socket))
    }

    /// Whether what is written goes out as it is, without TLS.
    pub fn is_plain(&self) -> bool {
        self.tls.is_none()
    }

    /// Writes `range` (positions in the buffer's block) whole.
    pub async fn write_all(
        &mut self,
        mut buffer: Buffer,
        range: Range<usize>,
        keep: Keep,
    ) -> (Result<(), StreamError>, Buffer) {
        let Some(sealer) = &mut self.tls else {
            return pin!(send_all(&self.socket, buffer, range)).await;
        };
        let fits = keep == Keep::Nothing
            && !sealer.has_pending()
            && range.len() <= Sealer::MAX_FRAGMENT
            && range.start >= sealer.prefix_len()
            && buffer.gap_after(range.end) >= sealer.suffix_len();
        if !fits {
            let result = self.seal_and_send(&buffer.block_mut()[range]).await;
            return (result, buffer);
        }
        let record = match sealer.seal_in_place(buffer.block_mut(), range) {
            Ok(record) => record,
            Err(error) => return (Err(error.into()), buffer),
        };
        pin!(send_all(&self.socket, buffer, record)).await
    }

    /// Writes a part of what is in a pipe, on a plain stream: as much as the peer takes, once it takes something.
    pub async fn write_unseen(&mut self, pipe: &mut Pipe) -> io::Result<usize> {
        debug_assert!(self.tls.is_none());
        loop {
            let sent = pipe.drain(self.socket.as_fd());
            match sent.inspect_err(|error| self.socket.note_failure(error))? {
                Some(0) => return Err(io::ErrorKind::WriteZero.into()),
                Some(n) => return Ok(n),
                None => self.socket.tcp().writable(false).await?,
            }
        }
    }

    /// Writes all of a buffer's plaintext, leaving it there.
    pub async fn write_data(&mut self, buffer: Buffer, keep: Keep) -> (Result<(), StreamError>, Buffer) {
        let range = buffer.position()..buffer.position() + buffer.len();
        pin!(self.write_all(buffer, range, keep)).await
    }

    /// Writes bytes that lie outside any buffer (our own replies, chunk ends).
    pub async fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        if self.tls.is_some() {
            return self.seal_and_send(bytes).await;
        }
        for piece in bytes.chunks(super::buffer::SMALL - HEADROOM_END) {
            let mut buffer = Buffer::small();
            buffer.append(piece);
            self.write_data(buffer, Keep::Nothing).await.0?;
        }
        Ok(())
    }

    async fn seal_and_send(&mut self, mut plaintext: &[u8]) -> Result<(), StreamError> {
        // What a small buffer held fits another one, with its records' overhead.
        let mut out =
            if plaintext.len() > Buffer::SMALL_ROOM { Buffer::streaming() } else { Buffer::small() };
        loop {
            let Some(sealer) = &mut self.tls else {
                return Ok(());
            };
            let mut written = sealer.pending(out.block_mut())?;
            while !plaintext.is_empty() {
                let (taken, sealed) = sealer.seal_into(plaintext, &mut out.block_mut()[written..])?;
                if taken == 0 {
                    break;
                }
                plaintext = &plaintext[taken..];
                written += sealed;
            }
            let (result, sent) = send_all(&self.socket, out, 0..written).await;
            result?;
            if plaintext.is_empty() {
                return Ok(());
            }
            out = sent;
        }
    }

    /// Ends our side: close_notify on TLS, then FIN.
    pub async fn shutdown(&mut self) -> Result<(), StreamError> {
        if let Some(sealer) = &mut self.tls {
            let mut out = Buffer::small();
            let n = sealer.close_notify(out.block_mut());
            let _ = send_all(&self.socket, out, 0..n).await;
        }
        self.socket.tcp_mut().shutdown().await?;
        Ok(())
    }
}

/// Sends `range` of the buffer's block whole.
async fn send_all(socket: &Socket, buffer: Buffer, range: Range<usize>) -> (Result<(), StreamError>, Buffer) {
    let mut outgoing = buffer.for_writing(range);
    while !outgoing.range.is_empty() {
        let (result, sent) = socket.tcp_mut().write(outgoing).await;
        outgoing = sent;
        match result {
            Ok(0) => return (Err(io::Error::from(io::ErrorKind::WriteZero).into()), outgoing.into_buffer()),
            Ok(n) => outgoing.range.start += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                socket.note_failure(&error);
                return (Err(error.into()), outgoing.into_buffer());
            }
        }
    }
    (Ok(()), outgoing.into_buffer())
}
