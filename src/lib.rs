//! Ringate: a high-performance L4/L7 proxy on io_uring.
//!
//! The folder tree is the architecture. A floor imports only lower floors:
//!
//! | floor | modules | knows |
//! | --- | --- | --- |
//! | 0 | `base` | limits, the snapshot cell, counters |
//! | 1 | `http`, `http1`, `http2`, `tls`, `certs`, `auth`, `route`, `config`, `proxy_protocol` | bytes and types; no socket, clock or runtime |
//! | 2 | `io` | monoio: buffers, sockets, streams, deadlines |
//! | 3 | `proxy` | exchanges, relays, upstream pools |
//! | 4 | `server`, `admin` | workers, snapshots, drain; the control thread |
//!
//! The types of a domain are defined once, in its folder: hosts, paths and conditions in `route`, TLS versions in `tls`,
//! the modes of the PROXY protocol in `proxy_protocol`. `config` alone imports its own floor: its plan is made of them.
//!
//! `cli` stands above them all, one file a command.

mod admin;
mod auth;
mod base;
mod certs;
pub mod cli;
mod config;
mod http;
mod http1;
mod http2;
mod io;
mod proxy;
mod proxy_protocol;
mod route;
mod server;
mod tls;

/// What the integration tests, the benchmarks and the fuzz targets of this repository use. Nothing outside of it may
/// rely on any of this: it changes without notice.
pub mod internals {
    #![allow(missing_docs)]

    pub mod base {
        pub mod counters {
            pub use crate::base::counters::Counters;
        }
        pub mod limits {
            pub use crate::base::limits::{Limits, MAX_INTERIM_RESPONSES, MAX_TLS_RECORD_BYTES};
        }
        pub mod published {
            pub use crate::base::published::Published;
        }
        pub mod tally {
            pub use crate::base::tally::Tally;
        }
    }
    pub mod certs {
        pub use crate::certs::{
            Bundle, CaMaterial, Facts, GenerateRequest, Generated, KeyType, Meta, Origin, Passphrase, San,
            Store,
        };
        pub mod generate {
            pub use crate::certs::generate::{QuickstartPki, ca_signed, quickstart_pki, self_signed};
        }
        pub mod ocsp {
            pub use crate::certs::ocsp::{OcspError, Response, Subject};
        }
        pub mod store {
            pub use crate::certs::store::{load_pair, load_trust};
        }
    }
    pub mod config {
        pub use crate::config::{Diagnostics, parse, warnings};
        pub mod edit {
            pub use crate::config::edit::upstream_in as upstream;
        }
    }
    pub mod http {
        pub use crate::http::{
            BodyLength, Field as HttpField, Fields, ForwardedFor, HeadEdit, Method, OutgoingRequest,
            PathRewrite, RequestContext, RequestHead, ResponseHead, Trailers, Upgrade, Version,
            connection_lists, is_same_name,
        };
        pub mod conditional {
            pub use crate::http::conditional::{Validators, Verdict, evaluate};
        }
        pub mod range {
            pub use crate::http::range::{Multipart, Selection, select};
        }
    }
    pub mod http1 {
        pub use crate::http1::{
            Body, BodyError, ChunkedDecoder, Framing, HeadLimits, Parsed, Received, ResponseContext,
            ResponseError, chunk_header, encode_last_chunk, encode_request, encode_response, header_slots,
            parse_request, parse_response,
        };
    }
    pub mod http2 {
        pub use crate::http2::{
            Config, Connection, Decoder, Encoder, ErrorCode, Event, FRAME_HEADER_BYTES, Field, FieldLimits,
            FieldLines, FieldList, FieldSource, Flood, FloodLimit, Floods, HeadKind, HpackError, Malformed,
            PeerSettings, Priority, Received, RequestLine, ResetCause, Role, Scope, SendError, StreamId,
            Unserved, Violation,
        };
    }
    pub mod dns {
        pub use crate::server::discovery::message::{Data, Kind, Reply, Service, parse};
    }
    pub mod io {
        pub mod peer {
            pub use crate::io::peer::flow;
        }
        pub mod runtime {
            pub use crate::io::runtime::{Driver, block_on, detect, spawn};
        }
    }
    pub mod proxy {
        pub use crate::proxy::downstream::frontend::Frontend;
        pub use crate::proxy::upstream::pool::ConnectRequest;
        pub use crate::proxy::worker::Worker;
    }
    pub mod proxy_protocol {
        pub use crate::proxy_protocol::{
            Accept, Addresses, MAX_HEADER, Parsed, Subject, Version, encode, parse,
        };
    }
    pub mod route {
        pub use crate::route::{
            HostPattern, PathPattern, RouteQuery, RouteSpec, Table, keep_slashes, normalise_path,
        };
        pub mod files {
            pub use crate::route::files::{FilePath, Pattern, decode_path};
        }
    }
    pub mod server {
        pub use crate::server::{Server, build};
    }
    pub mod tls {
        pub use crate::tls::{
            BackendVerifier, CipherOrder, ClientCertificate, ClientPolicy, Handshake, HandshakeError, Hello,
            HelloReader, Identity, Opener, RsaBits, Sealer, ServerPolicy, ServerResolver, State,
            TrustAnchors, Versions, client_config, config, read_hello, server_config, ticketer,
        };
    }
}
