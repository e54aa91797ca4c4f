//! Every bound of `[limits]` and `[listener.limits]` holds, is answered as it should be, and is counted.

mod bodies;
mod connections;
mod memory;
mod queue;
mod routes;

use crate::support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const ADMIN: &str = "[admin]";

/// Ringate before `backend` with these limits and an admin server.
fn limited(backend: &Backend, limits: &str) -> Ringate {
    Setup::to(backend.address()).section(ADMIN).limits(limits).start()
}
