//! HTTP/1.x as bytes in and bytes out (RFC 9110, RFC 9112): heads, framing, bodies.
//!
//! Nothing here knows a socket, a clock or a runtime. One exchange calls, in this order:
//!
//! ```text
//! parse_request(buf)   Partial: read more and call again with all of it
//!   └─ Complete(head)  decide, then encode_request(head, …, out); the head borrows buf, so this
//!                      is done before anything is awaited; then drop head.len bytes of buf
//! Body::new(framing)   take() what follows until done
//! parse_response(buf)  the same for the backend's answer, 1xx first
//! encode_response(…)   says which framing the client gets
//! ```
//!
//! This module is the only place where a body's length is decided. What is ambiguous is an error,
//! never repaired, and what is forwarded is written anew from what was understood.

mod authority;
mod body;
mod chunked;
mod coding;
mod edit;
mod encode;
mod error;
mod field;
mod request;
mod response;
#[cfg(test)]
mod tests;

use std::mem::MaybeUninit;

pub(crate) use authority::host_name;
#[allow(unreachable_pub)] // for internals
pub use body::{Body, BodyError};
pub(crate) use chunked::{ChunkError, LAST_CHUNK};
#[allow(unreachable_pub)] // for internals
pub use chunked::{ChunkedDecoder, chunk_header, encode_last_chunk, pass_trailers};
pub(crate) use coding::{Coding, Encoder, negotiate};
pub(crate) use edit::{append_fields, remove_fields};
pub(crate) use encode::{Content, PLAIN_TEXT, encode_answer, encode_reply, put_decimal, reason_phrase};
#[allow(unreachable_pub)] // for internals
pub use encode::{ForwardedFor, PathRewrite, ResponseContext, encode_request, encode_response};
pub(crate) use error::RequestError;
#[allow(unreachable_pub)] // for internals
pub use error::ResponseError;
#[allow(unreachable_pub)] // for internals
pub use field::lists;
pub(crate) use field::{is_same_name, is_token};
pub(crate) use request::is_head_request;
#[allow(unreachable_pub)] // for internals
pub use request::{Method, RequestHead, parse_request};
#[allow(unreachable_pub)] // for internals
pub use response::{RequestContext, ResponseHead, Upgrade, parse_response};

use crate::base::limits::{Limits, MAX_HEADERS};

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
pub(crate) type HeaderSlots<'b> = [MaybeUninit<httparse::Header<'b>>];

/// Slots for as many fields as any limit allows. They are not initialised, so making them costs
/// nothing: make them anew for each call, since they borrow the buffer that was parsed.
#[inline]
pub const fn header_slots<'b>() -> [MaybeUninit<httparse::Header<'b>>; MAX_HEADERS] {
    [const { MaybeUninit::uninit() }; MAX_HEADERS]
}

/// What a parser made of a buffer without finding fault with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<T> {
    /// A whole head.
    Complete(T),
    /// The head goes on; call again with these bytes and more. Never said of a buffer that
    /// has reached `head_bytes`.
    Partial,
}

/// The version of a message. Others are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
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
