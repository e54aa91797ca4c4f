//! The handshake and the record layer over a blocking socket.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};

use crate::tls::handshake::ClientAuth;
use crate::tls::{Established, Handshake, HandshakeError, Opened, RecordError, Sealer, State};

/// Bytes read at a time.
const PIECE: usize = 16 * 1024;
/// Most plaintext that is kept of an answer.
pub(super) const MOST: usize = 32 * 1024;

/// Why the wire failed.
#[derive(Debug)]
pub(super) enum WireError {
    /// The socket did.
    Io(io::Error),
    /// The peer closed, where more was due.
    Closed,
    /// Nothing came in time.
    Timeout,
    /// The handshake did.
    Tls(HandshakeError),
    /// An established connection did.
    Record(RecordError),
}

impl WireError {
    /// Whether the peer ended the connection, without saying why.
    pub(super) fn is_end(&self) -> bool {
        use io::ErrorKind as K;
        match self {
            Self::Closed => true,
            Self::Io(error) => {
                matches!(error.kind(), K::ConnectionReset | K::BrokenPipe | K::ConnectionAborted)
            }
            _ => false,
        }
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Closed => f.write_str("the backend closed the connection"),
            Self::Timeout => f.write_str("the backend did not answer in time"),
            Self::Tls(error) => error.fmt(f),
            Self::Record(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Io(error),
        }
    }
}

/// A handshake that failed, the state of our certificate in it, and the certificates of the backend.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: WireError,
    pub(super) auth: ClientAuth,
    pub(super) chain: Vec<CertificateDer<'static>>,
}

/// Makes the handshake. Returns what arrived behind it, too.
pub(super) fn handshake(
    tcp: &mut TcpStream,
    config: &Arc<ClientConfig>,
    name: ServerName<'static>,
    until: Instant,
) -> Result<(Established, Vec<u8>), Failed> {
    let failed =
        |error| Failed { error: WireError::Tls(error), auth: ClientAuth::NotAsked, chain: Vec::new() };
    let mut handshake = Handshake::client(Arc::clone(config), name).map_err(failed)?;
    let mut incoming = Vec::new();
    if let Err(error) = shake(tcp, &mut handshake, &mut incoming, until) {
        let auth = handshake.client_auth().clone();
        return Err(Failed { error, auth, chain: handshake.presented().0 });
    }
    Ok((handshake.finish().map_err(failed)?, incoming))
}

fn shake(
    tcp: &mut TcpStream,
    handshake: &mut Handshake,
    incoming: &mut Vec<u8>,
    until: Instant,
) -> Result<(), WireError> {
    let mut out = Vec::new();
    loop {
        let progress = handshake.advance(incoming, &mut out);
        let sent = send(tcp, &out, until);
        out.clear();
        let progress = progress.map_err(WireError::Tls)?;
        incoming.drain(..progress.consumed);
        if progress.state == State::Done {
            // A peer that has closed meanwhile may have sent the reason: that is read next.
            return Ok(());
        }
        if progress.consumed > 0 && !incoming.is_empty() {
            continue;
        }
        match receive(tcp, incoming, until) {
            Ok(0) => return Err(sent.err().unwrap_or(WireError::Closed)),
            Ok(_) => {}
            Err(error) => return Err(error),
        }
    }
}

fn send(tcp: &mut TcpStream, bytes: &[u8], until: Instant) -> Result<(), WireError> {
    if bytes.is_empty() {
        return Ok(());
    }
    tcp.set_write_timeout(Some(left(until)?))?;
    Ok(tcp.write_all(bytes)?)
}

fn receive(tcp: &mut TcpStream, incoming: &mut Vec<u8>, until: Instant) -> Result<usize, WireError> {
    tcp.set_read_timeout(Some(left(until)?))?;
    let held = incoming.len();
    incoming.resize(held + PIECE, 0);
    let result = tcp.read(&mut incoming[held..]);
    incoming.truncate(held + *result.as_ref().unwrap_or(&0));
    Ok(result?)
}

fn left(until: Instant) -> Result<Duration, WireError> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(WireError::Timeout) } else { Ok(left) }
}

/// A connection, plain or with its handshake done.
#[derive(Debug)]
pub(super) struct Connection {
    tcp: TcpStream,
    tls: Option<(crate::tls::Opener, Sealer)>,
    incoming: Vec<u8>,
    /// What has been received in the clear.
    pub(super) plaintext: Vec<u8>,
    /// Whether the peer has sent anything since the handshake.
    heard: bool,
    until: Instant,
}

/// What came after the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Data, which is in `plaintext`.
    Data,
    /// A ticket or another message of the record layer: the server has gone on.
    Control,
    /// The peer ended its side, in order or not.
    End,
}

impl Connection {
    pub(super) fn new(tcp: TcpStream, established: Established, rest: Vec<u8>, until: Instant) -> Self {
        let Established { opener, sealer, early_plaintext, .. } = established;
        let heard = !early_plaintext.is_empty();
        Self { tcp, tls: Some((opener, sealer)), incoming: rest, plaintext: early_plaintext, heard, until }
    }

    pub(super) fn plain(tcp: TcpStream, until: Instant) -> Self {
        Self { tcp, tls: None, incoming: Vec::new(), plaintext: Vec::new(), heard: false, until }
    }

    /// Whether the peer has sent anything since the handshake: data, a ticket.
    pub(super) fn heard(&self) -> bool {
        self.heard
    }

    /// Sends all of it. What fails here shows in the next [`next`](Self::next), which may know the reason.
    pub(super) fn send(&mut self, mut bytes: &[u8]) -> Result<(), WireError> {
        let Some((_, sealer)) = &mut self.tls else {
            return send(&mut self.tcp, bytes, self.until);
        };
        let mut out = vec![0; PIECE];
        while !bytes.is_empty() {
            let (taken, written) = sealer.seal_into(bytes, &mut out).map_err(WireError::Record)?;
            bytes = &bytes[taken..];
            send(&mut self.tcp, &out[..written], self.until)?;
        }
        Ok(())
    }

    /// Waits for the next record, until `until` at most.
    pub(super) fn next(&mut self, until: Instant) -> Result<Event, WireError> {
        loop {
            if let Some(event) = self.open()? {
                self.heard |= event != Event::End;
                return Ok(event);
            }
            if receive(&mut self.tcp, &mut self.incoming, until.min(self.until))? == 0 {
                return Ok(Event::End);
            }
        }
    }

    fn open(&mut self) -> Result<Option<Event>, WireError> {
        if self.incoming.is_empty() {
            return Ok(None);
        }
        let Some((opener, _)) = &mut self.tls else {
            self.plaintext.append(&mut self.incoming);
            return Ok(Some(Event::Data));
        };
        let (event, consumed) = match opener.open(&mut self.incoming).map_err(WireError::Record)? {
            Opened::Incomplete { .. } => return Ok(None),
            Opened::Data { plaintext, consumed } => {
                self.plaintext.extend_from_slice(&self.incoming[plaintext]);
                (Event::Data, consumed)
            }
            Opened::Control { consumed } => (Event::Control, consumed),
            Opened::Closed { consumed } => (Event::End, consumed),
        };
        self.incoming.drain(..consumed);
        Ok(Some(event))
    }

    /// Ends the connection in order, as far as possible.
    pub(super) fn close(mut self) {
        if let Some((_, sealer)) = &mut self.tls {
            let mut out = [0; Sealer::CONTROL_ROOM];
            let len = sealer.close_notify(&mut out);
            let _ = send(&mut self.tcp, &out[..len], self.until);
        }
    }
}
