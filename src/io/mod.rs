//! Floor 2: the only user of monoio. Buffers, sockets, streams (plain or TLS),
//! deadlines, and the runtime that a worker's thread runs on; standard streams, and the log's way to them.
//!
//! This floor and the snapshot cell are where `unsafe` is allowed.

pub mod buffer;
mod cancel;
pub mod deadline;
pub mod demo;
pub mod fault;
pub mod log;
pub mod notify;
pub mod peer;
mod pipe;
pub mod proxy_header;
pub mod runtime;
mod select_woken;
mod slab;
pub mod socket;
pub mod standard;
pub mod stream;
pub mod tls;
pub mod vital;
mod waker;

pub use monoio::io::Canceller;
pub use monoio::net::{TcpListener, TcpStream};
pub use monoio::time::sleep;

pub use buffer::Buffer;
pub use cancel::{ReadCancel, is_canceled};
pub use deadline::{Deadline, Fired, Wheel};
pub use pipe::Pipe;
pub use select_woken::WakeGated;
pub use stream::{Reader, Stream, StreamError, Writer};
