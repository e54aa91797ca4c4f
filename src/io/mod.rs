//! Floor 2: the only user of monoio. Buffers, sockets, streams (plain or TLS),
//! deadlines, and the runtime that a worker's thread runs on; standard streams, and the log's way to them.
//!
//! This floor and the snapshot cell are where `unsafe` is allowed.

pub(crate) mod buffer;
mod cancel;
pub(crate) mod datagrams;
pub(crate) mod deadline;
pub(crate) mod descriptors;
pub(crate) mod fault;
pub(crate) mod file;
mod future_set;
pub(crate) mod inherit;
pub(crate) mod log;
pub(crate) mod notify;
pub(crate) mod peer;
mod pipe;
pub(crate) mod privileges;
pub(crate) mod proxy_header;
pub(crate) mod recent;
pub(crate) mod runtime;
pub(crate) mod sealed;
mod select_woken;
mod slab;
pub(crate) mod socket;
pub(crate) mod standard;
pub(crate) mod stream;
pub(crate) mod tls;
pub(crate) mod udp;
pub(crate) mod vital;
mod waker;

pub(crate) use monoio::io::Canceller;
pub(crate) use monoio::net::TcpStream;
pub(crate) use monoio::time::sleep;

pub(crate) use buffer::Buffer;
pub(crate) use cancel::{ReadCancel, is_canceled};
pub(crate) use deadline::{Deadline, Fired, Wheel};
pub(crate) use future_set::{FutureSet, Jobs};
pub(crate) use peer::PeerHandle;
pub(crate) use pipe::Pipe;
pub(crate) use select_woken::WakeGated;
pub(crate) use stream::{Reader, Stream, StreamError, Writer};
