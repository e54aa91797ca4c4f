//! HTTP/1.1 as RFC 9110 and RFC 9112 have it, seen from both of Ringate's sides.

use crate::support::*;

mod answers;
mod bodies;
mod connections;
mod heads;
mod interim;
mod refusals;
mod rewriting;
mod routing;
mod streaming;
mod upgrade;

pub use bodies::noise;

/// A response that needs no thought.
pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A response with this body.
pub fn ok(body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    response.extend_from_slice(body);
    response
}

/// A backend that answers with the request line it got, and Ringate before it.
fn echo() -> (Backend, Ringate) {
    let backend = Backend::serving(|request| ok(request.line()));
    let ringate = Setup::to(backend.address()).start();
    (backend, ringate)
}

/// Whatever is sent back for one connection's worth of bytes, to its end.
pub fn exchange(ringate: &Ringate, bytes: impl AsRef<[u8]>) -> String {
    let mut client = ringate.client();
    client.send(bytes);
    String::from_utf8(client.rest()).unwrap()
}
