//! Drives a TLS handshake over a socket.

use std::fmt;
use std::io;

use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt};
use monoio::net::TcpStream;
use rustls::AlertDescription;

use super::buffer::Buffer;
use super::stream::Stream;
use crate::tls::{Facts, Handshake, HandshakeError, Reason, State};

/// Most bytes that are read after a handshake has failed.
const PARTING_BYTES: usize = 256 * 1024;

/// Why a handshake failed.
#[derive(Debug)]
pub enum TlsError {
    /// The socket did.
    Io(io::Error),
    /// The peer closed in the middle.
    Closed,
    /// TLS did; the alert, if one was due, has been sent.
    Handshake(HandshakeError),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the connection broke in the TLS handshake: {error}"),
            Self::Closed => f.write_str("the peer closed the connection during the TLS handshake"),
            Self::Handshake(error) => error.fmt(f),
        }
    }
}

impl TlsError {
    /// Why, in a word.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Io(error) if error.kind() == io::ErrorKind::ConnectionReset => Reason::Reset,
            Self::Io(_) | Self::Closed => Reason::Closed,
            Self::Handshake(error) => error.reason(),
        }
    }

    /// The alert that a client was sent because of it.
    pub(crate) fn alert_to_client(&self) -> Option<AlertDescription> {
        match self {
            Self::Handshake(error) => error.alert_to_client(),
            Self::Io(_) | Self::Closed => None,
        }
    }

    /// The alert that we sent because of it.
    pub fn alert_sent(&self) -> Option<AlertDescription> {
        match self {
            Self::Handshake(error) => error.alert_sent(),
            Self::Io(_) | Self::Closed => None,
        }
    }
}

impl From<io::Error> for TlsError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<HandshakeError> for TlsError {
    fn from(error: HandshakeError) -> Self {
        Self::Handshake(error)
    }
}

/// The exchange of messages. The buffer holds what arrived behind them. Of a failed handshake the alert has been sent.
pub(crate) async fn shake(tcp: &mut TcpStream, handshake: &mut Handshake) -> Result<Buffer, TlsError> {
    let mut out = Vec::new();
    let mut incoming = Buffer::small();
    loop {
        let progress = handshake.advance(incoming.raw_mut(), &mut out);
        if !out.is_empty() {
            let (result, sent) = tcp.write_all(std::mem::take(&mut out)).await;
            // An alert is on its way because of an error that is more precise than a failed send.
            if progress.is_ok() {
                result?;
            }
            out = sent;
            out.clear();
        }
        let progress = progress?;
        incoming.opened(0..0, progress.consumed);
        if progress.state == State::Done {
            return Ok(incoming);
        }
        if progress.consumed > 0 && incoming.raw_len() > 0 {
            continue;
        }
        if !incoming.reserve(crate::base::limits::MAX_TLS_RECORD_BYTES) {
            return Err(TlsError::Handshake(HandshakeError::TooLarge));
        }
        let (result, spare) = tcp.read(incoming.for_reading(true)).await;
        incoming = spare.into_buffer();
        if result? == 0 {
            return Err(TlsError::Closed);
        }
    }
}

/// Ends a connection whose handshake failed: sends `last`, ends our side, and reads on up to a bound, so that what the
/// client still sends does not reset the connection before the alert is read (RFC 8446 §6.2). The caller bounds the time.
pub(crate) async fn part(mut tcp: TcpStream, last: &'static [u8]) {
    if tcp.write_all(last).await.0.is_err() || tcp.shutdown().await.is_err() {
        return;
    }
    let (mut room, mut left) = (vec![0; 4096], PARTING_BYTES);
    loop {
        let (result, read) = tcp.read(room).await;
        match result {
            Ok(n) if (1..left).contains(&n) => left -= n,
            _ => return,
        }
        room = read;
    }
}

/// The stream of a handshake that [`shake`] has brought to its end.
pub(crate) fn finish(
    tcp: TcpStream,
    handshake: Handshake,
    mut incoming: Buffer,
) -> Result<(Stream, Facts, Option<Buffer>), TlsError> {
    let established = handshake.finish()?;
    let mut rest = None;
    if incoming.raw_len() > 0 || !established.early_plaintext.is_empty() {
        if !established.early_plaintext.is_empty() {
            incoming = behind(&established.early_plaintext, incoming);
        }
        rest = Some(incoming);
    }
    Ok((Stream::tls(tcp, established.opener, established.sealer), established.facts, rest))
}

/// `plaintext` with the ciphertext of `incoming` behind it.
fn behind(plaintext: &[u8], mut incoming: Buffer) -> Buffer {
    let mut buffer = Buffer::large();
    let raw = incoming.raw_mut();
    buffer.set_raw(&[plaintext, raw].concat());
    buffer.opened(0..plaintext.len(), plaintext.len());
    buffer
}
