//! HTTP/2 connections, to clients and to backends alike: the codec of `src/http2` with a socket under it and streams above.
//!
//! ```text
//!             exchanges: Stream (read a head, read and write pieces, reset)
//!                 │  ▲
//!   Session: codec, output, what each stream has received and has to send
//!                 │  ▲
//!             driver: one task for each connection
//!                 │  ▲
//!             io::Stream
//! ```
//!
//! A stream lends its buffer to the session: what arrives is put into the buffer of a reader that waits, and what is to be
//! sent waits in the writer's buffer for its turn. So order, windows and the length of a send are the driver's matter alone.

mod driver;
mod fields;
mod inbox;
mod session;
mod slots;
mod spare;
mod state;
mod stream;
#[cfg(test)]
mod tests;
mod timers;

pub(crate) use driver::{Serve, drive};
pub(crate) use session::Session;
pub(crate) use slots::Head;
pub(crate) use spare::SpareBytes;
pub(crate) use state::SessionEnd;
pub(crate) use stream::{Stream, StreamWatch};
pub(crate) use timers::{Overdue, Timeouts};
