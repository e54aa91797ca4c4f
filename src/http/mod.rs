//! HTTP messages as rules, routing and logs see them, whatever version carries them (RFC 9110).
//!
//! A codec ([`http1`](crate::http1)) turns bytes into these types, and these types into bytes. Nothing here knows how a
//! version frames a message or ends a connection.
//!
//! ```text
//! request:  bytes ─► codec ─► RequestHead ─► rules, routing, logs ─► HeadEdit ─► OutgoingRequest ─► codec ─► bytes
//! response: bytes ─► codec ─► ResponseHead ─► rules, logs ─► HeadEdit ─► codec ─► bytes
//! ```

mod authority;
mod coding;
pub(crate) mod conditional;
mod edit;
mod field;
mod field_name;
pub(crate) mod grpc;
pub(crate) mod grpc_web;
mod lines;
mod message;
mod outgoing;
pub(crate) mod range;
mod status;
mod trailers;

pub(crate) use authority::{host_name, parse_authority};
pub(crate) use coding::{Coding, Encoder, negotiate, quality, rank};
#[allow(unreachable_pub)] // for internals
pub use edit::HeadEdit;
pub(crate) use field::{
    ASKED_FIELDS, KnownField, authenticates_connection, is_tchar, is_token, is_value_byte, list, says_client,
    trim,
};
#[allow(unreachable_pub)] // for internals
pub use field::{Field, Fields, connection_lists};
#[allow(unreachable_pub)] // for internals
pub use field_name::is_same_name;
pub(crate) use lines::{
    LineCopy, copy_lines, first_line, put_line, put_text_line, read_lines, remove_lines, split_line,
};
pub(crate) use message::{ALPN_HTTP2, BackendHttp, Content};
#[allow(unreachable_pub)] // for internals
pub use message::{BodyLength, Method, RequestContext, RequestHead, ResponseHead, Target, Upgrade, Version};
#[allow(unreachable_pub)] // for internals
pub use outgoing::{ForwardedFor, OutgoingRequest, PathRewrite};
pub(crate) use status::{PLAIN_TEXT, reason_phrase};
#[allow(unreachable_pub)] // for internals
pub use trailers::Trailers;
pub(crate) use trailers::may_trail;
