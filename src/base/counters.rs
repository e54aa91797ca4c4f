//! Per-worker counters: written by their worker only, summed by the reader.

use std::sync::atomic::AtomicU64;

pub(crate) use super::count::Count;
use super::failures::Failures;
use super::histogram::Histogram;
use super::latency::LatencyCounts;

/// Counters that were renamed, with the old name: both are in metrics and status until the next version.
pub(crate) const RENAMED: [(&str, &str); 3] = [
    ("client_certificate_fallbacks", "identity_rescues"),
    ("client_certificate_grace_expired", "identity_overdue"),
    ("downstream_disconnects", "clients_left"),
];

/// The counts of renamed counters under their old names.
pub(crate) fn under_old_names(totals: &[(&'static str, u64)]) -> Vec<(&'static str, u64)> {
    let old = |(new, old): &(&str, &'static str)| {
        totals.iter().find(|(name, _)| name == new).map(|(_, value)| (*old, *value))
    };
    RENAMED.iter().filter_map(old).collect()
}

/// What a udp listener has relayed, over all workers. A worker adds once for each batch.
#[derive(Debug, Default)]
pub struct DatagramCounts {
    /// Sessions begun.
    pub sessions: AtomicU64,
    /// Sessions that are open now.
    pub open: AtomicU64,
    /// Datagrams to backends.
    pub datagrams_up: AtomicU64,
    /// Datagrams from backends.
    pub datagrams_down: AtomicU64,
    /// Bytes of payload to backends.
    pub bytes_up: AtomicU64,
    /// Bytes of payload from backends.
    pub bytes_down: AtomicU64,
    /// Datagrams that were dropped, for whatever reason.
    pub dropped: AtomicU64,
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// The counts of one worker.
        #[derive(Debug, Default)]
        #[repr(align(128))] // a cache line pair of its own, so that workers never share one
        pub struct Counters {
            $($(#[doc = $doc])* pub $name: Count,)*
            /// Times from a request's head to its response's.
            pub latency: LatencyCounts,
            /// How much later than due the worker's timer ran.
            pub(crate) delay: Histogram,
            /// The last requests that failed.
            pub failures: Failures,
        }

        /// What each counter counts, in words.
        pub(crate) const MEANINGS: &[(&str, &str)] = &[$((stringify!($name), concat!($($doc),*)),)*];

        impl Counters {
            /// Each counter's name and value.
            pub fn read(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)*]
            }
        }
    };
}

counters! {
    /// Client connections accepted.
    connections_accepted,
    /// Connections that could not be accepted, mostly for want of descriptors.
    accept_failures,
    /// Client connections open now.
    connections_open,
    /// Exchanges begun (a request head was understood).
    requests,
    /// Responses of the 1xx class passed on.
    responses_1xx,
    /// Responses of the 2xx class.
    responses_2xx,
    /// Responses of the 3xx class.
    responses_3xx,
    /// Responses of the 4xx class, Ringate's own included.
    responses_4xx,
    /// Responses of the 5xx class, Ringate's own included.
    responses_5xx,
    /// Requests answered by Ringate itself, as their route requires: fixed responses, redirects, refusals.
    requests_answered,
    /// Requests refused because they broke the rules of HTTP or a limit.
    requests_refused,
    /// Requests refused by a condition of a listener or a route (`refuse`).
    requests_denied,
    /// Requests refused by a route's rate limit.
    requests_limited,
    /// Requests refused for want of a good API key, password or token.
    requests_unauthorized,
    /// Requests refused for want of a consumer's credential.
    credentials_missing,
    /// Requests refused as their API key is unknown, or not one of the route.
    credentials_unknown,
    /// Requests refused as their credential's client certificate was not presented.
    credentials_without_certificate,
    /// Requests refused as another client certificate than their credential's was presented.
    credentials_other_certificate,
    /// Requests refused as their credential is suspended.
    credentials_suspended,
    /// Requests refused as their credential has expired.
    credentials_expired,
    /// Requests refused as their credential was revoked.
    credentials_revoked,
    /// Forms of pages for consumers refused: too many of one client or of all.
    portal_limited,
    /// Requests refused as their user or password is wrong (auth.basic).
    auth_passwords_wrong,
    /// Requests refused as too many passwords were being verified (auth.basic).
    auth_passwords_busy,
    /// Requests refused as their token is not valid (auth.jwt).
    auth_tokens_invalid,
    /// Requests refused as their token has expired.
    auth_tokens_expired,
    /// Requests refused as their token lacks a claim.
    auth_tokens_insufficient,
    /// Requests refused as the keys that verify tokens are not known yet.
    auth_keys_missing,
    /// Requests that an authorization service let pass (auth.forward).
    auth_forward_allowed,
    /// Requests that an authorization service refused (auth.forward).
    auth_forward_denied,
    /// Requests that an authorization service did not answer in time (auth.forward).
    auth_forward_timeouts,
    /// Requests for which an authorization service could not be reached, or closed without an answer (auth.forward).
    auth_forward_unreachable,
    /// Requests to which the answer of an authorization service broke the rules of HTTP (auth.forward).
    auth_forward_invalid,
    /// Requests to which an authorization service answered 5xx, or with fields that can't be passed on (auth.forward).
    auth_forward_errors,
    /// Requests that passed as their authorization service failed (auth.forward.on_failure).
    auth_forward_passed,
    /// Responses of backends that got an error page (error_pages.intercept).
    responses_replaced,
    /// Responses encoded (zstd, br, gzip).
    responses_encoded,
    /// Responses being encoded now.
    encodings_open,
    /// Bytes of bodies before they were encoded.
    encoding_bytes_in,
    /// The same bytes after.
    encoding_bytes_out,
    /// Exchanges that ended before their response did.
    exchanges_aborted,
    /// Calls of gRPC that failed within their response, and that Ringate therefore ended with a status of its own.
    grpc_calls_ended,
    /// Connections made to backends.
    backend_connections,
    /// Backend connections that could not be made.
    backend_connect_failures,
    /// Requests sent on a pooled backend connection.
    backend_reuses,
    /// Idle backend connections taken over from another worker.
    backend_connections_taken_over,
    /// Idle backend connections made before a request needed them (`pool.min_idle`).
    backend_connections_prewarmed,
    /// Backend connections that speak HTTP/2.
    backend_http2_connections,
    /// Backend connections that speak HTTP/2 and are open now.
    backend_http2_connections_open,
    /// Requests sent as streams of backend connections that speak HTTP/2.
    backend_http2_streams,
    /// TLS handshakes with backends that do not take HTTP/2, where the upstream has `http = "2"`.
    backend_http2_refusals,
    /// Requests sent again because an HTTP/2 backend had certainly not processed them (GOAWAY, REFUSED_STREAM).
    http2_unprocessed_retries,
    /// Requests sent again because a pooled connection had gone stale.
    stale_retries,
    /// Requests sent to another endpoint because theirs closed a new connection without an answer.
    failovers,
    /// Requests sent again because of `retries`.
    retries,
    /// Requests not sent again because the upstream's budget for retries was used up.
    retries_refused,
    /// Requests for which an upstream of a split could not be reached, so that another one was asked.
    split_failovers,
    /// Client connections that speak HTTP/2.
    http2_connections,
    /// Client connections that speak HTTP/2 and are open now.
    http2_connections_open,
    /// Streams that peers reset (RST_STREAM).
    http2_resets_received,
    /// Streams that were reset, or requests refused, since the peer broke the rules of HTTP/2.
    http2_stream_errors,
    /// Connections that ended since the peer broke the rules of HTTP/2, floods included.
    http2_connection_errors,
    /// Connections ended for streams that the peer opened and reset at once (rapid reset).
    http2_floods_resets,
    /// Connections ended for errors that made Ringate reset streams (MadeYouReset).
    http2_floods_provoked_resets,
    /// Connections ended for requests beyond the stream limit.
    http2_floods_refused_streams,
    /// Connections ended for SETTINGS frames.
    http2_floods_settings,
    /// Connections ended for PING frames.
    http2_floods_pings,
    /// Connections ended for empty DATA frames.
    http2_floods_empty_data,
    /// Connections ended for WINDOW_UPDATE frames.
    http2_floods_window_updates,
    /// Connections ended for PRIORITY and PRIORITY_UPDATE frames.
    http2_floods_priorities,
    /// Connections ended for frames on closed streams.
    http2_floods_closed_streams,
    /// Connections ended for frames of unknown types.
    http2_floods_unknown_frames,
    /// Connections ended for heads beyond `http.header_list_bytes`.
    http2_floods_large_heads,
    /// Connections ended for entries put into the table of header compression and evicted, and for changes of its size.
    http2_floods_table,
    /// Connections ended for header blocks of too many CONTINUATION frames or bytes, or that expand to too many.
    http2_floods_header_blocks,
    /// TLS handshakes with clients, finished.
    client_handshakes,
    /// TLS handshakes with clients, failed.
    client_handshake_failures,
    /// PROXY headers taken from clients.
    proxy_headers,
    /// Client connections closed for want of a good PROXY header.
    proxy_header_failures,
    /// TLS handshakes with backends, finished.
    backend_handshakes,
    /// TLS handshakes with backends that resumed a session.
    backend_resumptions,
    /// TLS handshakes with backends, failed.
    backend_handshake_failures,
    /// Refusals of the active generation of a client certificate by a backend.
    identity_refusals,
    /// Connections to a backend that presented the previous generation of a client certificate, since the backend refused
    /// the active one.
    client_certificate_fallbacks,
    /// Backend connections ended since the grace (`store.grace`) of their client certificate's generation had expired.
    client_certificate_grace_expired,
    /// Bytes of TCP payload relayed towards backends (L4).
    relay_bytes_up,
    /// Bytes of TCP payload relayed towards clients (L4).
    relay_bytes_down,
    /// Sessions of udp listeners begun.
    udp_sessions,
    /// Sessions of udp listeners that are open now.
    udp_sessions_open,
    /// Datagrams sent to backends by udp listeners.
    udp_datagrams_up,
    /// Datagrams received from backends by udp listeners.
    udp_datagrams_down,
    /// Bytes of the payload of datagrams sent to backends.
    udp_bytes_up,
    /// Bytes of the payload of datagrams received from backends.
    udp_bytes_down,
    /// Datagrams of clients that the kernel dropped, as the listener's receive queue was full.
    udp_queue_drops,
    /// Datagrams that the kernel did not take for sending: its queue was full, or they were too large for the way.
    udp_send_drops,
    /// Datagrams of clients that no session was begun for: not permitted, a bound, no endpoint or no descriptor, a drain.
    udp_refused,
    /// Times that a backend of a udp listener could not be reached (ICMP, or no way to it); its session ends.
    udp_unreachable,
    /// Bytes of bodies and relays that the kernel moved without a copy (`runtime.splice`).
    spliced_bytes,
    /// Deadlines that expired.
    timeouts,
    /// Connection tasks that panicked and were closed.
    panics,
    /// Access-log lines dropped because the writer was behind, or because they could not be written.
    access_lines_dropped,
    /// Requests recorded as traces (`telemetry.otlp`).
    traces_recorded,
    /// Spans dropped as the collector was behind.
    spans_dropped,
    /// Exchanges that had to wait for an endpoint (`pool.max_per_endpoint`).
    queued,
    /// Exchanges that wait for an endpoint now.
    queue_open,
    /// Exchanges ended since the client disconnected while they waited for an endpoint or for the response.
    downstream_disconnects,
    /// Exchanges refused as the health checks of every endpoint fail (`health.all_down`).
    refused_endpoints_down,
    /// Exchanges refused for an upstream's `limits.requests`.
    limit_upstream_requests,
    /// Exchanges refused for an upstream's `limits.pending`.
    limit_upstream_pending,
    /// Exchanges refused for an upstream's `limits.connections`.
    limit_upstream_connections,
    /// Exchanges refused for `limits.per_endpoint.requests`.
    limit_endpoint_requests,
    /// Exchanges refused for `limits.per_endpoint.pending`.
    limit_endpoint_pending,
    /// Exchanges refused for `limits.per_endpoint.connections`.
    limit_endpoint_connections,
    /// Exchanges refused for `queue.length`.
    limit_queue_length,
    /// Exchanges refused for `queue.timeout`.
    limit_queue_timeout,
    /// Exchanges and connections refused for `limits.buffer_memory`.
    limit_buffer_memory,
    /// Requests refused for `http.max_concurrent_streams`.
    limit_http2_streams,
    /// Requests refused since every HTTP/2 connection of a worker to the endpoint was at the backend's stream limit.
    limit_http2_backend_connections,
    /// Requests refused for `limits.head_bytes`, or `http.header_list_bytes`.
    limit_head_bytes,
    /// Requests refused for `limits.headers`.
    limit_headers,
    /// Requests refused for `limits.target_bytes`.
    limit_target_bytes,
    /// Requests refused for `limits.requests` of a route.
    limit_route_requests,
    /// Requests refused for `limits.requests_per_client` of a route.
    limit_route_requests_per_client,
    /// Requests refused, or cut, for `limits.body_bytes`.
    limit_body_bytes,
    /// Clients that met `limits.head_timeout`, in a head, a TLS handshake or a PROXY header.
    limit_head_timeout,
    /// Clients that met `limits.body_timeout`, sending or reading.
    limit_body_timeout,
    /// Clients that fell below `limits.body_rate`, sending or reading.
    limit_body_rate,
    /// Connections closed for `limits.idle_timeout`.
    limit_idle_timeout,
    /// Connections closed for `limits.requests_per_connection`.
    limit_requests_per_connection,
    /// Connections that waited for `limits.connections`.
    limit_connections,
    /// Connections refused for `limits.connections_per_client`.
    limit_connections_per_client,
    /// Sessions that ended, or were not begun, for `limits.udp_sessions`.
    limit_udp_sessions,
    /// Times that a worker stopped accepting for `limits.connections_per_worker`.
    limit_connections_per_worker,
    /// Connections, of clients and to backends, that waited for a file descriptor.
    descriptor_waits,
    /// Idle client connections closed since descriptors were short.
    connections_displaced,
}
