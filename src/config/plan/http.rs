//! `listener.http`

use crate::base::limits::{HTTP2_HEADER_LIST_BYTES, HTTP2_STREAMS};

/// Which versions of HTTP are served, and the bounds of HTTP/2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerHttp {
    /// `versions` has "1.1".
    pub http1: bool,
    /// `versions` has "2".
    pub http2: bool,
    /// `max_concurrent_streams`: requests of a connection at a time.
    pub max_concurrent_streams: u32,
    /// `header_list_bytes`: the longest header list.
    pub header_list_bytes: usize,
}

impl Default for ListenerHttp {
    fn default() -> Self {
        Self {
            http1: true,
            http2: true,
            max_concurrent_streams: HTTP2_STREAMS,
            header_list_bytes: HTTP2_HEADER_LIST_BYTES,
        }
    }
}
