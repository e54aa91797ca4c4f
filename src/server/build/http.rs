//! The versions of HTTP that a listener serves.

use std::sync::Arc;

use crate::config::plan::{self, ListenerHttp};
use crate::http2::{Config, FieldLimits};
use crate::proxy::snapshot::HttpVersions;

/// Pseudo-fields of a request that are counted with its fields.
const PSEUDO_FIELDS: usize = 5;

/// What clients are offered by ALPN, best first.
pub(super) fn alpn(http: &ListenerHttp) -> Vec<Vec<u8>> {
    let http2 = [&b"h2"[..]].into_iter().filter(|_| http.http2);
    let http1 = [&b"http/1.1"[..], b"http/1.0"].into_iter().filter(|_| http.http1);
    http2.chain(http1).map(<[u8]>::to_vec).collect()
}

/// What workers need to know of it.
pub(super) fn versions(listener: &plan::Listener) -> HttpVersions {
    let http = &listener.http;
    let config = || Config {
        max_concurrent_streams: http.max_concurrent_streams,
        fields: FieldLimits {
            bytes: http.header_list_bytes,
            fields: listener.limits.headers + PSEUDO_FIELDS,
        },
        connect_protocol: true,
        ..Config::default()
    };
    HttpVersions { http1: http.http1, http2: http.http2.then(|| Arc::new(config())) }
}
