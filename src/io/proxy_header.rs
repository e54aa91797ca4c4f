//! PROXY headers on a socket.
//!
//! The header is peeked at first, and then only its own bytes are read. So the TLS handshake or the request's head that
//! follows begins at its own first byte, and a connection that has not sent its header yet holds no buffer of the pool.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

use monoio::io::AsyncWriteRentExt;
use monoio::net::TcpStream;

use super::{peer, socket};
use crate::proxy_protocol::{Accept, Header, HeaderError, MAX_HEADER, Parsed, parse};

/// Bytes peeked at in one call: more than nearly every header has.
const PIECE: usize = 512;

/// Why there is no header.
#[derive(Debug)]
pub(crate) enum ProxyHeaderError {
    /// The socket failed.
    Io(io::Error),
    /// The peer left without a byte, in order or not.
    Left,
    /// The peer closed in the middle.
    Closed,
    /// What came is none.
    Header(HeaderError),
}

impl fmt::Display for ProxyHeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the connection broke in the PROXY header: {error}"),
            Self::Left => f.write_str("the peer left before it sent a PROXY header"),
            Self::Closed => f.write_str("the peer closed the connection within the PROXY header"),
            Self::Header(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for ProxyHeaderError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Takes the header off a connection.
///
/// # Errors
/// The connection has none, or ended. It is of no use then.
pub(crate) async fn read(tcp: &TcpStream, accept: Accept) -> Result<Header, ProxyHeaderError> {
    let mut held = Vec::new();
    loop {
        match advance(socket::fd_of(tcp), &mut held, accept) {
            Ok(Some(header)) => return Ok(header),
            Ok(None) => {}
            // A port scan or a health check often ends with a reset.
            Err(ProxyHeaderError::Io(_)) if held.is_empty() => return Err(ProxyHeaderError::Left),
            Err(error) => return Err(error),
        }
        tcp.readable(false).await?;
    }
}

/// Reads what has arrived of the header. `held` has what was read before.
fn advance(
    fd: BorrowedFd<'_>,
    held: &mut Vec<u8>,
    accept: Accept,
) -> Result<Option<Header>, ProxyHeaderError> {
    let mut piece = [0; PIECE];
    loop {
        let before = held.len();
        let count = match peer::peek(fd, &mut piece)? {
            None => return Ok(None),
            Some(0) if before == 0 => return Err(ProxyHeaderError::Left),
            Some(0) => return Err(ProxyHeaderError::Closed),
            Some(count) => count,
        };
        held.extend_from_slice(&piece[..count]);
        match parse(held, accept).map_err(ProxyHeaderError::Header)? {
            Parsed::Complete(header) => {
                take(fd, &mut piece[..header.len - before])?;
                return Ok(Some(header));
            }
            // All of it is the header's.
            Parsed::Partial => take(fd, &mut piece[..count])?,
        }
        debug_assert!(held.len() < MAX_HEADER, "a header that does not end");
    }
}

/// Reads bytes that were peeked at.
fn take(fd: BorrowedFd<'_>, mut seen: &mut [u8]) -> Result<(), ProxyHeaderError> {
    while !seen.is_empty() {
        match socket::recv_now(fd, seen)? {
            Some(count @ 1..) => seen = &mut seen[count..],
            _ => return Err(ProxyHeaderError::Closed),
        }
    }
    Ok(())
}

/// Sends a header.
///
/// # Errors
/// The connection broke.
pub(crate) async fn send(tcp: &mut TcpStream, header: &[u8]) -> io::Result<()> {
    tcp.write_all(header.to_vec()).await.0.map(drop)
}
