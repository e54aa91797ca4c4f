//! Floor 3: exchanges (L7), relays (L4), and the connections to backends.
//!
//! One task serves one client connection from accept to close, its backend side included:
//!
//! ```text
//! accept ─► TLS handshake ─► hot wait ─► head ─► decide ─► check out ─► attempt ─► check in ─┐
//!                              ▲  │ silent for a while                                        │
//!                              │  └─► idle wait (no buffer)                                   │
//!                              └──────────────────────────────────────────────────────────────┘
//! ```

pub(crate) mod access;
pub(crate) mod client;
pub(crate) mod client_binding;
pub(crate) mod client_failures;
pub(crate) mod connection_permit;
pub(crate) mod destination;
pub(crate) mod downstream;
pub(crate) mod error_pages;
pub(crate) mod exchange;
pub(crate) mod failure;
pub(crate) mod head_buffers;
pub(crate) mod http2;
pub(crate) mod identity_connections;
pub(crate) mod idle;
pub(crate) mod origin;
pub(crate) mod reply;
pub(crate) mod request_id;
pub(crate) mod rules;
pub(crate) mod snapshot;
pub(crate) mod stream_peer;
pub(crate) mod trace;
pub(crate) mod upstream;
pub(crate) mod view;
pub(crate) mod worker;
