//! HTTP/2 as RFC 9113 has it, on the side of the clients.

use crate::http::{OK, ok};
use crate::support::*;
use peer::*;

mod clients;
mod conformance;
mod endings;
mod exchanges;
mod floods;
pub mod peer;

const ADMIN: &str = "[admin]\nlisten = \"unix:run/admin.sock\"";

/// Everything goes to one endpoint, and metrics can be read.
fn setup(endpoint: std::net::SocketAddr) -> Setup {
    Setup::to(endpoint).section(ADMIN)
}

/// A backend that answers with what it got, and Ringate before it.
fn echo() -> (Backend, Ringate) {
    let backend = Backend::serving(|request| {
        let mut body = request.head.clone().into_bytes();
        body.extend_from_slice(&request.body);
        ok(body)
    });
    let ringate = setup(backend.address()).start();
    (backend, ringate)
}
