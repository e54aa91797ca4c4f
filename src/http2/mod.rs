//! HTTP/2 as bytes in and bytes out (RFC 9113), with its header compression (RFC 7541), extended CONNECT (RFC 8441) and
//! priorities (RFC 9218).
//!
//! Nothing here knows a socket, a clock or a runtime. [`Connection`] has the calling order, and [`Violation`] all that a
//! peer can do wrong.
//!
//! ```text
//! bytes ─► frame ─► connection ─► Event       hpack, message: header blocks, fields, well-formed heads
//!                     │  ▲                    stream, streams: states, slab, turns
//! bytes ◄─ frame ◄────┘  └─ send, consume     flow, flood, settings, priority
//! ```

mod config;
mod connection;
mod error;
mod event;
mod field_lines;
mod fields;
mod flood;
mod flow;
mod frame;
mod head;
mod hpack;
mod message;
mod priority;
mod settings;
mod stream;
mod streams;
#[cfg(test)]
mod tests;

#[allow(unreachable_pub)] // for internals
pub use config::{Config, Role};
#[allow(unreachable_pub)] // for internals
pub use connection::Connection;
#[allow(unreachable_pub)] // for internals
pub use error::{ErrorCode, Flood, HpackError, Malformed, Scope, SendError, Violation};
#[allow(unreachable_pub)] // for internals
pub use event::{Event, HeadKind, Received, ResetCause, StreamEnd, StreamId};
#[allow(unreachable_pub)] // for internals
pub use field_lines::{FieldLines, FieldSource};
#[allow(unreachable_pub)] // for internals
pub use fields::{Field, FieldLimits, FieldList};
#[allow(unreachable_pub)] // for internals
pub use flood::{FloodLimit, Floods};
#[allow(unreachable_pub)] // for internals
pub use frame::FRAME_HEADER_BYTES;
#[allow(unreachable_pub)] // for internals
pub use head::Unserved;
#[allow(unreachable_pub)] // for internals
pub use hpack::{Decoder, Encoder};
#[allow(unreachable_pub)] // for internals
pub use message::RequestLine;
#[allow(unreachable_pub)] // for internals
pub use priority::Priority;
#[allow(unreachable_pub)] // for internals
pub use settings::PeerSettings;
