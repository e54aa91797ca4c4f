//! The admin addresses of a process that drains, taken over by one that is started anew.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::upgrade::Drain;

/// How long the other process may take for each step.
const PATIENCE: Duration = Duration::from_secs(1);
/// Most bytes of a response that are read.
const MOST: u64 = 16 * 1024;

/// What both kinds of sockets can do.
pub(super) trait Patient: Read + Write {
    /// Waits no longer than that for a read or a write.
    fn set_patience(&self, patience: Duration) -> io::Result<()>;
}

impl Patient for TcpStream {
    fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(patience))?;
        self.set_write_timeout(Some(patience))
    }
}

impl Patient for std::os::unix::net::UnixStream {
    fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(patience))?;
        self.set_write_timeout(Some(patience))
    }
}

/// Whether what answers is a ringate that drains.
pub(super) fn is_draining(mut stream: impl Patient) -> bool {
    let response = exchange(&mut stream, "GET /readyz HTTP/1.1\r\n", "");
    response.is_ok_and(|text| text.starts_with("HTTP/1.1 503") && text.ends_with("\r\n\r\ndraining\n"))
}

/// Has a ringate that drains close a TCP address of its admin server. Whether it was asked to.
pub(super) fn release(address: SocketAddr, token: &str) -> bool {
    let connect = || TcpStream::connect_timeout(&address, PATIENCE);
    if !connect().is_ok_and(is_draining) {
        return false;
    }
    let body = serde_json::to_string(&Drain { release: true }).unwrap_or_default();
    let head = format!(
        "POST /v1/drain HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n",
        body.len()
    );
    let response = connect().and_then(|mut stream| exchange(&mut stream, &head, &body));
    response.is_ok_and(|text| text.starts_with("HTTP/1.1 202"))
}

fn exchange(stream: &mut impl Patient, head: &str, body: &str) -> io::Result<String> {
    stream.set_patience(PATIENCE)?;
    write!(stream, "{head}Host: localhost\r\nConnection: close\r\n\r\n{body}")?;
    let mut response = String::new();
    stream.take(MOST).read_to_string(&mut response)?;
    Ok(response)
}
