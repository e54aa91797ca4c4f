//! The PROXY protocol: the addresses of a load balancer's header count as if the client had connected itself, and backends
//! get the addresses of clients in the same way.

mod accept;
mod peers;
mod send;

use crate::http::ok;
use crate::support::*;

/// A line that names 192.0.2.7 as the client.
const LINE: &str = "PROXY TCP4 192.0.2.7 198.51.100.9 4711 443\r\n";
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// The same in version 2, with a TLV of one byte and an unknown kind.
fn binary() -> Vec<u8> {
    let addresses = [192, 0, 2, 7, 198, 51, 100, 9, 0x12, 0x67, 0x01, 0xbb];
    [&SIGNATURE[..], &[0x21, 0x11, 0, 16], &addresses, &[0xe0, 0, 1, 0]].concat()
}

/// A backend that answers with the head of the request.
fn echo() -> Backend {
    Backend::serving(|request| ok(request.head.as_bytes()))
}
