//! Ringate: a high-performance L4/L7 proxy on io_uring.
//!
//! The folder tree is the architecture. A floor imports only lower floors:
//!
//! | floor | modules | knows |
//! | --- | --- | --- |
//! | 0 | `base` | limits, the snapshot cell, counters |
//! | 1 | `http1`, `tls`, `certs`, `route`, `config`, `proxy_protocol` | bytes and types; no socket, clock or runtime |
//! | 2 | `io` | monoio: buffers, sockets, streams, deadlines |
//! | 3 | `proxy` | exchanges, relays, upstream pools |
//! | 4 | `server`, `admin` | workers, snapshots, drain; the control thread |
//!
//! `cli` stands above them all, one file a command.

pub mod admin;
pub mod base;
pub mod certs;
pub mod cli;
pub mod config;
pub mod http1;
pub mod io;
pub mod proxy;
pub mod proxy_protocol;
pub mod route;
pub mod server;
pub mod tls;
