//! One request and its response.
#![allow(dead_code)] // until listeners make HTTP/2 streams

pub(crate) mod body;
pub(crate) mod body_reader;
pub(crate) mod body_writer;
pub(crate) mod client_stream;
pub(crate) mod client_watch;
pub(crate) mod coding;
pub(crate) mod decided;
pub(crate) mod duplex;
pub(crate) mod failover;
pub(crate) mod forward;
pub(crate) mod head_lines;
pub(crate) mod local_reply;
pub(crate) mod min_rate;
pub(crate) mod mirror;
pub(crate) mod next;
pub(crate) mod observed;
pub(crate) mod relay;
pub(crate) mod request_copy;
pub(crate) mod request_fields;
pub(crate) mod request_key;
pub(crate) mod retry_policy;
pub(crate) mod route;
pub(crate) mod stage;
pub(crate) mod state;
pub(crate) mod trailer_filter;
pub(crate) mod tunnel;
pub(crate) mod tunnel_end;
pub(crate) mod upstream_stream;
