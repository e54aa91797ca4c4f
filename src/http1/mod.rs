//! HTTP/1.x as bytes in and bytes out (RFC 9110, RFC 9112): heads, framing, bodies.
//!
//! Nothing here knows a socket, a clock or a runtime. One exchange calls, in this order:
//!
//! ```text
//! parse_request(buf)   Partial: read more and call again with all of it
//!   └─ Complete(head)  decide; the head borrows buf, so what goes on of it is taken into an OutgoingRequest
//!                      before anything is awaited; then drop head.len bytes of buf
//! encode_request(…)    once there is a connection
//! Body::new(framing)   take() what follows until done
//! parse_response(buf)  the same for the backend's answer, 1xx first
//! encode_response(…)   says which framing the client gets
//! ```
//!
//! This module is the only place where a body's length is decided. What is ambiguous is an error,
//! never repaired, and what is forwarded is written anew from what was understood.

mod body;
mod chunked;
mod encode;
mod error;
mod field;
mod request;
mod response;
#[cfg(test)]
mod tests;

use std::mem::MaybeUninit;

#[allow(unreachable_pub)] // for internals
pub use body::{Body, BodyError};
pub(crate) use chunked::ChunkError;
#[allow(unreachable_pub)] // for internals
pub use chunked::{ChunkedDecoder, chunk_header, encode_last_chunk};
#[allow(unreachable_pub)] // for internals
pub use encode::{ResponseContext, encode_request, encode_response};
pub(crate) use encode::{encode_answer, encode_reply, put_decimal};
pub(crate) use error::RequestError;
#[allow(unreachable_pub)] // for internals
pub use error::ResponseError;
pub(crate) use request::is_head_request;
#[allow(unreachable_pub)] // for internals
pub use request::parse_request;
#[allow(unreachable_pub)] // for internals
pub use response::parse_response;

use std::ops::Deref;

use crate::base::limits::{Limits, MAX_HEADERS};
use crate::http::{BodyLength, Field};

/// The bounds of one message head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Longest head in bytes, from the first byte (blank lines before it included) to the empty line.
    pub head_bytes: usize,
    /// Most header fields; never more than there are slots.
    pub headers: usize,
    /// Longest request-target in bytes.
    pub target_bytes: usize,
}

impl From<&Limits> for HeadLimits {
    fn from(limits: &Limits) -> Self {
        Self { head_bytes: limits.head_bytes, headers: limits.headers, target_bytes: limits.target_bytes }
    }
}

/// Where a parser puts the header fields it finds: an array on the caller's stack.
pub(crate) type HeaderSlots<'b> = [MaybeUninit<Field<'b>>];

/// Slots for as many fields as any limit allows. They are not initialised, so making them costs
/// nothing: make them anew for each call, since they borrow the buffer that was parsed.
#[inline]
pub const fn header_slots<'b>() -> [MaybeUninit<Field<'b>>; MAX_HEADERS] {
    [const { MaybeUninit::uninit() }; MAX_HEADERS]
}

/// What a parser made of a buffer without finding fault with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<T> {
    /// A whole head.
    Complete(T),
    /// The head continues; call again with these bytes and more. Never returned for a buffer that
    /// has reached `head_bytes`.
    Partial,
}

/// A head that was understood in full, and what HTTP/1 alone knows of it.
#[derive(Clone, Copy, Debug)]
pub struct Received<H> {
    /// The message.
    pub head: H,
    /// Bytes of the head in the buffer, from the blank lines before it to the empty line after it.
    pub len: usize,
    /// Of the body. Never `UntilClose` in a request.
    pub framing: Framing,
    /// Whether the sender's connection may carry another message. False also after 101, and where a body that cannot
    /// be might follow (1xx or 204 with a length).
    pub keep_alive: bool,
}

/// What an exchange needs to know of a head that it has taken out of its buffer: see [`Received`].
#[derive(Clone, Copy, Debug)]
pub struct Envelope {
    /// Bytes of the head.
    pub len: usize,
    /// Of the body.
    pub framing: Framing,
    /// Whether the sender's connection may carry another message.
    pub keep_alive: bool,
}

impl<H> Received<H> {
    /// Without the head.
    pub fn envelope(&self) -> Envelope {
        Envelope { len: self.len, framing: self.framing, keep_alive: self.keep_alive }
    }
}

impl<H> Deref for Received<H> {
    type Target = H;

    fn deref(&self) -> &H {
        &self.head
    }
}

/// How the length of a message's body is known (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// So many bytes.
    Length(u64),
    /// The chunked transfer coding.
    Chunked,
    /// All until the connection closes; responses only.
    UntilClose,
}

impl Framing {
    /// How a body of this length is framed where its length has to be known, or else its end.
    pub(crate) fn of(body: BodyLength) -> Self {
        match body {
            BodyLength::None => Self::None,
            BodyLength::Known(length) => Self::Length(length),
            BodyLength::Unknown => Self::Chunked,
        }
    }
}

impl From<Framing> for BodyLength {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::None => Self::None,
            Framing::Length(length) => Self::Known(length),
            Framing::Chunked | Framing::UntilClose => Self::Unknown,
        }
    }
}
