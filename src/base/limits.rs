//! Every maximum of the data path, in one place.

use std::time::Duration;

/// The bounds that a user can set: `[limits]` in the config file, and `[listener.limits]` over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest message head, request or response, in bytes. Longer: 431, or 502 from a backend.
    pub head_bytes: usize,
    /// Most header fields in a head. More: 431, or 502 from a backend.
    pub headers: usize,
    /// Longest request-target in bytes. Longer: 414.
    pub target_bytes: usize,
    /// Longest request body in bytes, 0 for no bound. Longer: 413.
    pub body_bytes: u64,
    /// From a connection's first byte (or its TLS handshake's start) to the end of a request head. Longer: 408.
    pub head_timeout: Duration,
    /// How long a client may stay silent within a body, or refuse to read one. Longer: 408, or a close.
    pub body_timeout: Duration,
    /// Least bytes a second of a body, sent or taken by a client, 0 for no bound. Only time in which Ringate waits
    /// for the client counts. Slower: 408, or a close.
    pub body_rate: u64,
    /// How far a client may fall behind `body_rate`: so long it may be silent before that counts.
    pub body_grace: Duration,
    /// How long a client connection may idle between requests. Longer: a close.
    pub idle_timeout: Duration,
    /// Most requests on one client connection; 0 for no bound. The last response has `Connection: close`.
    pub requests_per_connection: u64,
    /// Most client connections of a listener over all workers, 0 for no bound. More wait.
    pub connections: u64,
    /// Most connections of one client address (IPv6: of one /64) to a listener, 0 for no bound. More: 503 on a plain
    /// http listener, elsewhere a close.
    pub connections_per_client: u64,
    /// Most sessions of a udp listener over all workers. With so many, the longest silent one ends for a new one.
    pub udp_sessions: u64,
    /// Most client connections of one worker, 0 for no bound. More wait in the listen queue. Of the process alone.
    pub connections_per_worker: usize,
    /// Memory for the buffers of all workers in bytes, 0 for no bound; `None`: half of what the process may use.
    /// With three quarters of it in use, new exchanges and connections are refused: 503. Of the process alone.
    pub buffer_memory: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 16 * 1024,
            headers: 100,
            target_bytes: 8 * 1024,
            body_bytes: 0,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(60),
            body_rate: 240,
            body_grace: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(75),
            requests_per_connection: 0,
            connections: 0,
            connections_per_client: 0,
            udp_sessions: 16 * 1024,
            connections_per_worker: 0,
            buffer_memory: None,
        }
    }
}

/// Files that a config may include, how deep, and the bytes of all of them together.
pub(crate) const MAX_INCLUDED_FILES: usize = 1000;
/// See [`MAX_INCLUDED_FILES`].
pub(crate) const MAX_INCLUDE_DEPTH: usize = 8;
/// See [`MAX_INCLUDED_FILES`].
pub(crate) const MAX_CONFIG_BYTES: usize = 64 * 1024 * 1024;
/// The longest file that `${file:PATH}` in the config may name, in bytes.
pub(crate) const MAX_REFERRED_BYTES: u64 = 64 * 1024;
/// The longest regular expression of a route, in bytes, and the largest program that it becomes.
pub(crate) const MAX_REGEX_BYTES: usize = 1024;
/// See the longest one.
pub(crate) const MAX_REGEX_PROGRAM_BYTES: usize = 256 * 1024;
/// Routes of a host that match by a suffix or regular expression: a request may be compared with each.
pub(crate) const MAX_PATTERN_ROUTES: usize = 256;
/// Users in a file of `auth.basic`.
pub(crate) const MAX_PASSWORD_USERS: usize = 100_000;
/// The highest cost of a bcrypt hash: some seconds.
pub(crate) const MAX_BCRYPT_COST: u32 = 15;
/// Most rounds of a SHA-crypt hash: about a second.
pub(crate) const MAX_SHA_CRYPT_ROUNDS: u32 = 1_000_000;
/// Passwords that wait to be verified, over all workers. More: 503.
pub(crate) const PASSWORD_QUEUE: usize = 64;
/// Threads that verify passwords.
pub(crate) const PASSWORD_THREADS: usize = 2;
/// How far those threads give way to workers: with this nice value, a tenth of the weight.
pub(crate) const PASSWORD_NICE: i32 = 10;
/// Passwords of a file whose verdict is remembered; a power of two, as the next.
pub(crate) const VERIFIED_PASSWORDS: usize = 4096;
/// Tokens of an issuer whose signature was verified, and is not verified again.
pub(crate) const VERIFIED_TOKENS: usize = 16_384;
/// The longest token that is looked at, in bytes.
pub(crate) const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// The longest claim that goes to a backend, in bytes.
pub(crate) const MAX_CLAIM_BYTES: usize = 1024;
/// The longest OCSP response, in bytes.
pub(crate) const MAX_OCSP_BYTES: usize = 32 * 1024;
/// Keys in a set that tokens are verified by.
pub(crate) const MAX_TOKEN_KEYS: usize = 64;
/// The largest value that `head_bytes` may take: a head must fit a small buffer.
pub(crate) const MAX_HEAD_BYTES: usize = 32 * 1024;
/// The largest value that `headers` may take: the slots are on the parser's stack.
pub(crate) const MAX_HEADERS: usize = 256;
/// Most routes with metrics of their own, over all listeners. Those of further routes are counted together.
pub(crate) const MAX_ROUTE_SERIES: usize = 1000;
/// Most upstreams whose durations are in the metrics, in the order of their names. Of others there are counts alone.
pub(crate) const MAX_UPSTREAM_HISTOGRAMS: usize = 1000;
/// Failed TLS handshakes with clients whose records are kept, for each listener.
pub(crate) const CLIENT_FAILURES: usize = 64;
/// Longest certificate of a client that is kept in such a record, in bytes.
pub(crate) const CLIENT_FAILURE_CERTIFICATE_BYTES: usize = 16 * 1024;
/// Traces of one worker that wait for the exporter. More are dropped and counted.
pub(crate) const TRACE_RING: usize = 1024;
/// How long a batch of spans that a collector has not taken waits at most, in all, before it is given up.
pub(crate) const TRACE_HELD: Duration = Duration::from_secs(30);
/// The longest time that a collector's Retry-After counts for. Nothing is sent meanwhile.
pub(crate) const TRACE_REST: Duration = Duration::from_secs(300);
/// Spans that are sent to a collector at once.
pub(crate) const TRACE_BATCH_SPANS: u64 = 512;
/// Longest trailer section of a chunked body, in bytes.
pub(crate) const MAX_TRAILER_BYTES: usize = 8 * 1024;
/// Longest chunk-size line with its extensions, in bytes.
pub(crate) const MAX_CHUNK_LINE_BYTES: usize = 256;
/// Most interim (1xx) responses passed on for one request.
pub const MAX_INTERIM_RESPONSES: usize = 16;
/// Largest handshake flight accepted from a TLS peer before it is refused, in bytes.
pub(crate) const MAX_HANDSHAKE_BYTES: usize = 64 * 1024;
/// How long sessions with a backend are used again before it must prove its identity anew; a TLS 1.3 ticket lives for
/// 7 days at most (RFC 8446 §4.6.1), a TLS 1.2 session for 24 hours (RFC 5246 §F.1.4).
pub(crate) const MAX_SESSION_AGE: Duration = Duration::from_secs(24 * 3600);
/// Server names for which one endpoint's sessions are kept. It has one, unless the name is that of the request.
pub(crate) const MAX_SESSION_NAMES: usize = 64;
/// TLS 1.3 tickets of an endpoint, as a multiple of `tickets_per_endpoint`, where so many handshakes are made at once.
pub(crate) const MAX_TICKETS_GROWTH: usize = 16;
/// Largest TLS ciphertext fragment with its header, in bytes (RFC 8446 §5.2, RFC 5246 §6.2.3).
pub const MAX_TLS_RECORD_BYTES: usize = 5 + 16_384 + 2_048;

// HTTP/2. A bound of a pair is for `HTTP2_FLOOD_WINDOW`: so many in any case, and so many more for each useful frame (DATA
// with content, or a head). A peer that passes one is disconnected with ENHANCE_YOUR_CALM.

/// Streams that a client may have open at a time: what browsers and gRPC clients use, and nginx's and Go's order.
pub(crate) const HTTP2_STREAMS: u32 = 128;
/// Requests for which one connection to a backend is made, and its SETTINGS awaited (RFC 9113 §6.5.2 recommends to permit no
/// fewer streams).
pub(crate) const HTTP2_FIRST_STREAMS: u32 = 100;
/// HTTP/2 connections that one worker has to one endpoint: as many streams as these may carry are enough for one worker.
pub(crate) const HTTP2_BACKEND_CONNECTIONS: usize = 256;
/// Silence of a backend with streams after which a PING asks whether it is alive.
pub(crate) const HTTP2_PING_AFTER: Duration = Duration::from_secs(5);
/// How long the answer to a PING may take.
pub(crate) const HTTP2_PING_PATIENCE: Duration = Duration::from_secs(5);
/// How long a backend's first SETTINGS, and their acknowledgement of ours, may take.
pub(crate) const HTTP2_SETTINGS_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a request is sent again that a backend has certainly not processed (GOAWAY, REFUSED_STREAM).
pub(crate) const HTTP2_UNPROCESSED_REPEATS: u32 = 5;
/// Bytes of a request's body that are kept after they were sent, as the backend may say that it has not processed the request:
/// so many a new stream may carry by the window that most backends have, before its backend has said anything.
pub(crate) const HTTP2_HELD_BYTES: usize = 64 * 1024;
/// Longest header list, as RFC 9113 §6.5.2 counts it, in bytes.
pub(crate) const HTTP2_HEADER_LIST_BYTES: usize = 64 * 1024;
/// Range of `http.header_list_bytes`: a request of a browser fits the least.
pub(crate) const MIN_HTTP2_HEADER_LIST_BYTES: usize = 4 * 1024;
/// See the least.
pub(crate) const MAX_HTTP2_HEADER_LIST_BYTES: usize = 256 * 1024;
/// Largest value of `http.max_concurrent_streams`.
pub(crate) const MAX_HTTP2_STREAMS: usize = 10_000;
/// Dynamic table of our encoder, in bytes: some 40 fields repeat on a connection, and each lookup passes over all of them.
pub(crate) const HTTP2_ENCODER_TABLE_BYTES: u32 = 2048;
/// What a stream may send before it is consumed, in bytes.
pub(crate) const HTTP2_STREAM_WINDOW: u32 = 256 * 1024;
/// What all streams of a connection may send before it is consumed, in bytes.
pub(crate) const HTTP2_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The time within which the bounds below hold.
pub(crate) const HTTP2_FLOOD_WINDOW: Duration = Duration::from_secs(10);
/// Streams that a client opens and resets before its response is sent (rapid reset): a browser that leaves a page cancels as
/// many as it has open. More for each response that was sent whole.
pub(crate) const HTTP2_RESETS_RECEIVED: (u32, u32) = (200, 1);
/// Streams that a peer's errors make us reset (MadeYouReset): correct peers make none but by a race.
pub(crate) const HTTP2_RESETS_PROVOKED: (u32, u32) = (50, 0);
/// Streams beyond the limit: a client that did not wait for SETTINGS may open some hundreds.
pub(crate) const HTTP2_STREAMS_REFUSED: (u32, u32) = (500, 0);
/// SETTINGS, each of which costs an answer and a pass over all streams: peers send one or two.
pub(crate) const HTTP2_SETTINGS: (u32, u32) = (50, 0);
/// PING, each of which costs an answer: gRPC sends one for each round trip with data.
pub(crate) const HTTP2_PINGS: (u32, u32) = (500, 1);
/// DATA without content and without END_STREAM: a few libraries flush so.
pub(crate) const HTTP2_EMPTY_DATA: (u32, u32) = (200, 1);
/// WINDOW_UPDATE: some clients send one for the stream and one for the connection with each small read.
pub(crate) const HTTP2_WINDOW_UPDATES: (u32, u32) = (2000, 16);
/// PRIORITY and PRIORITY_UPDATE: browsers send a few for each request.
pub(crate) const HTTP2_PRIORITIES: (u32, u32) = (1000, 4);
/// Frames on closed streams: those in flight when we reset one, up to a window of small frames for each.
pub(crate) const HTTP2_CLOSED_STREAMS: (u32, u32) = (5000, 4);
/// Frames of unknown types: browsers send a few that mean nothing, so that servers keep passing over them.
pub(crate) const HTTP2_UNKNOWN_FRAMES: (u32, u32) = (500, 1);
/// Heads beyond the header list's bound: each costs its decoding.
pub(crate) const HTTP2_HEADS_TOO_LARGE: (u32, u32) = (50, 0);
/// Entries that leave the table of header compression, beyond those that one block may evict. A table size update counts as
/// 64 entries.
pub(crate) const HTTP2_TABLE_EVICTIONS: (u32, u32) = (2000, 0);
/// Entries that each header block may evict: a proxy in front, whose clients differ, evicts as many as its requests have fields.
pub(crate) const HTTP2_TABLE_EVICTIONS_PER_BLOCK: u32 = 64;
/// CONTINUATION frames of one header block: with frames of the smallest maximum, 8 carry twice the header list's bound.
pub(crate) const HTTP2_CONTINUATIONS: u32 = 16;

// Logs, the admin server, datagrams, keys and the rest.

/// Lines of the access log that may wait for the disk, in bytes for each worker. Beyond that they are dropped.
pub(crate) const ACCESS_RING_BYTES: usize = 1024 * 1024;
/// Lines of the log that may wait for standard error. Beyond that they are dropped.
pub(crate) const LOG_QUEUE_LINES: usize = 4096;
/// The same in bytes.
pub(crate) const LOG_QUEUE_BYTES: usize = 1024 * 1024;
/// The least `limits.response_rate` of a route, in bytes a second: a buffer of 32 KiB is sent at once, and clients that
/// wait longer than half a minute for the next one give up.
pub(crate) const MIN_RESPONSE_RATE: u64 = 1024;
/// Most entries of a map (`[map.NAME]`), and most regular expressions among them, which are tried one after the other.
pub(crate) const MAX_MAP_ENTRIES: usize = 200_000;
/// See [`MAX_MAP_ENTRIES`].
pub(crate) const MAX_MAP_REGEXES: usize = 256;
/// Longest file of a map, in bytes.
pub(crate) const MAX_MAP_FILE_BYTES: u64 = 16 * 1024 * 1024;
/// Longest value of a map, in bytes: it may become part of a field.
pub(crate) const MAX_MAP_VALUE_BYTES: usize = 1024;
/// Keys that a rate limit by client or header tells apart; beyond that, keys share.
pub(crate) const RATE_LIMIT_KEYS: usize = 64 * 1024;
/// Longest ClientHello that is waited for where a route is chosen by its server name, in bytes.
pub(crate) const MAX_CLIENT_HELLO_BYTES: usize = 16 * 1024;
/// Longest X-Forwarded-Client-Cert that is made of a client's certificate, in bytes; each of its connections holds one.
pub(crate) const MAX_CLIENT_CERTIFICATE_BYTES: usize = 8 * 1024;
/// Longest API key that is looked up, in bytes.
pub(crate) const MAX_API_KEY_BYTES: usize = 256;
/// Most consumers of a store.
pub(crate) const MAX_CONSUMERS: usize = 100_000;
/// Most credentials of a store.
pub(crate) const MAX_CREDENTIALS: usize = 100_000;
/// Failed requests that a worker keeps: so many that clients are at fault for, and so many others.
pub(crate) const FAILURES: usize = 64;
/// Longest content of a form of the page for consumers, in bytes: a CSR or a chain is in it.
pub(crate) const MAX_PORTAL_FORM_BYTES: usize = 128 * 1024;
/// How many forms may wait to be carried out.
pub(crate) const PORTAL_FORMS: usize = 32;
/// How long a client waits for that.
pub(crate) const PORTAL_PATIENCE: Duration = Duration::from_secs(30);
/// How long a request of the page for consumers is kept that is neither decided nor collected, or was refused.
pub(crate) const PORTAL_REQUEST_TIME: Duration = Duration::from_secs(30 * 86_400);
/// Most origins of a credential.
pub(crate) const MAX_CREDENTIAL_ORIGINS: usize = 32;
/// Longest title, contact, description or reason of consumers and credentials, in bytes.
pub(crate) const MAX_CREDENTIAL_TEXT_BYTES: usize = 256;
/// Bodies that one worker encodes at once; beyond that they go as they are. An encoder holds up to a MiB.
pub(crate) const ENCODERS_PER_WORKER: u64 = 128;
/// Most bytes of a PROXY header of version 2 behind its first 16: addresses and TLVs. A line of version 1 has 107 at most
/// (proxy-protocol.txt §2.1).
pub(crate) const MAX_PROXY_V2_BYTES: usize = 4096;
/// Longest request id that is taken from a client, in bytes.
pub(crate) const MAX_REQUEST_ID_BYTES: usize = 64;
/// Longest body of a refusal by an authorization service that a client may get (`auth.forward.body_bytes`), in bytes.
pub(crate) const MAX_AUTHORIZATION_BYTES: u64 = 1024 * 1024;
/// Most bytes of the fields that an authorization service gives a request, or its response.
pub(crate) const MAX_AUTHORIZATION_FIELDS: usize = 8 * 1024;
/// Most bytes of a body that an error page takes the place of which are read, so that its connection can be used again.
pub(crate) const MAX_DROPPED_BYTES: u64 = 64 * 1024;
/// Most ranges of a request that are answered with parts of a file; with more of them all of it is sent.
pub(crate) const MAX_RANGES: usize = 32;
/// Longest path of a file below its root, and longest name of a part of it, in bytes: those of Linux.
pub(crate) const MAX_FILE_PATH_BYTES: usize = 4095;
/// See [`MAX_FILE_PATH_BYTES`].
pub(crate) const MAX_FILE_NAME_BYTES: usize = 255;
/// How often a file is looked up again where a folder on the way to it was moved meanwhile.
pub(crate) const OPEN_TRIES: usize = 8;
/// Longest error page, in bytes.
pub(crate) const MAX_PAGE_BYTES: u64 = 256 * 1024;
/// Addresses of one name that become endpoints.
pub(crate) const MAX_ADDRESSES: usize = 256;
/// Most connections to the admin server that had a request with the token.
pub(crate) const ADMIN_CONNECTIONS: usize = 64;
/// Most of all others. Beyond that the oldest idle one ends.
pub(crate) const ADMIN_STRANGERS: usize = 64;
/// How long a connection to the admin server may be without a request with the token, or one under way.
pub(crate) const ADMIN_STRANGER_IDLE: Duration = Duration::from_secs(5);
/// Longest head of a request to the admin server, in bytes.
pub(crate) const ADMIN_HEAD_BYTES: usize = 16 * 1024;
/// Longest body of a request to the admin server, in bytes: a certificate with its chain, as text.
pub(crate) const ADMIN_BODY_BYTES: usize = 2 << 20;
/// How long the head of a request to the admin server may take, the wait for it included, where the connection had one
/// with the token.
pub(crate) const ADMIN_HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the admin server works on a request.
pub(crate) const ADMIN_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a client of the admin server may take nothing of its answer.
pub(crate) const ADMIN_WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests a second to the admin server, of all clients together that may give orders; as many again of all others.
pub(crate) const ADMIN_REQUESTS_PER_SECOND: u32 = 200;
/// Requests to the admin server that may come at once after a silence.
pub(crate) const ADMIN_BURST: u32 = 400;
/// Keys that the admin server makes or opens at a time: each keeps a CPU busy that traffic wants.
pub(crate) const ADMIN_MAKING: usize = 1;
/// Trials and probes that the admin server makes at a time.
pub(crate) const ADMIN_TRIALS: usize = 2;
/// Requests to the admin server that wait for either; beyond that they are refused.
pub(crate) const ADMIN_WAITING: usize = 16;
/// Most clients that read `/v1/events` at a time.
pub(crate) const ADMIN_SUBSCRIBERS: usize = 16;
/// Events that wait for one of them; beyond that it is dropped.
pub(crate) const ADMIN_EVENTS: usize = 256;
/// Endpoints of which the figures in `/v1/events` have a row each; beyond that there are those of upstreams alone.
pub(crate) const ADMIN_FIGURE_ENDPOINTS: usize = 256;
/// Sessions of browsers that are open at a time; with more, the oldest ends.
pub(crate) const ADMIN_SESSIONS: usize = 64;
/// How long such a session lasts.
pub(crate) const ADMIN_SESSION_TIME: Duration = Duration::from_secs(12 * 3600);
/// Lines of the audit log that may wait for the disk.
pub(crate) const AUDIT_LINES: usize = 1024;
/// Longest state before or after a change that the audit log shows, in bytes.
pub(crate) const AUDIT_STATE_BYTES: usize = 64 * 1024;
/// Warnings and errors of the log that are kept for `/v1/logs`.
pub(crate) const RECENT_LINES: usize = 512;
/// Longest of these lines, in bytes; the rest of a longer one is left out.
pub(crate) const RECENT_LINE_BYTES: usize = 2048;
/// Most times that one request is sent, retries included.
pub(crate) const MAX_ATTEMPTS: usize = 10;
/// Longest request that is read whole before it is sent so that it may be sent again, its head included, in bytes.
pub(crate) const MAX_REPEATED_BYTES: u64 = 16 * 1024;
/// Seconds over which a budget for retries is counted.
pub(crate) const RETRY_WINDOW: usize = 10;
/// Retries that a worker may send to an upstream within that time however few requests there are.
pub(crate) const RETRY_FLOOR: u64 = 10;
/// Copies of an upstream's requests that are held or under way at a time, over all workers.
pub(crate) const MIRRORED_AT_ONCE: u64 = 256;
/// How long an endpoint is tried last after its first failed connection. Each failed trial doubles that.
pub(crate) const HOLD_OFF: Duration = Duration::from_secs(1);
/// The longest time for which an endpoint is tried last after a failed connection.
pub(crate) const MAX_HOLD_OFF: Duration = Duration::from_secs(8);
/// A request without a response for so long ejects its endpoint, if only others answer meanwhile.
pub(crate) const STALLED: Duration = Duration::from_secs(5);
/// Seconds over which a worker counts the responses of an endpoint for `outliers.error_rate`.
pub(crate) const ERROR_RATE_WINDOW: Duration = Duration::from_secs(10);
/// Fewer responses of an endpoint within that time are no reason for an ejection.
pub(crate) const ERROR_RATE_RESPONSES: u32 = 100;
/// Exchanges at an endpoint up to which a hash sends it all of its keys, however few there are elsewhere.
pub(crate) const HASH_LOAD_FLOOR: u64 = 8;
/// How long before its endpoint closes it an idle connection is not used any more, but at most half of its time.
pub(crate) const KEEP_ALIVE_MARGIN: Duration = Duration::from_secs(1);
/// How long requests that may not be repeated have connections of their own after an endpoint has closed one under a
/// request.
pub(crate) const CAREFUL_REUSE: Duration = Duration::from_secs(60);
/// Health checks that are made at a time.
pub(crate) const CHECKS_AT_ONCE: usize = 64;
/// Most workers of one process.
pub(crate) const MAX_WORKERS: usize = 1024;
/// The smallest bound on a process's buffers, in bytes.
pub(crate) const MIN_BUFFER_MEMORY: u64 = 4 << 20;
/// Places for listeners and clients whose connections are counted, 8 bytes each. With 30,000 of them at a time,
/// about one new one in a thousand finds none.
pub(crate) const MAX_COUNTED: usize = 1 << 17;
/// Most connections that are counted of one listener or client.
pub(crate) const MAX_COUNT: u64 = (1 << 24) - 1;
/// Most iterations of the function that makes a key from a passphrase (PBKDF2, PKCS#12): a file is refused that
/// would keep a CPU busy for longer.
pub(crate) const MAX_KDF_ITERATIONS: u32 = 5_000_000;
/// Most memory that scrypt may take to make a key from a passphrase, in bytes.
pub(crate) const MAX_SCRYPT_BYTES: u64 = 256 << 20;
/// Most passes of scrypt over its memory.
pub(crate) const MAX_SCRYPT_PARALLEL: u16 = 8;
/// Longest description of a certificate, in bytes.
pub(crate) const MAX_DESCRIPTION_BYTES: usize = 4096;
/// Received pieces of datagrams that one worker holds at once, of 64 KiB each: they are sent on before more is received.
pub(crate) const UDP_BATCH: usize = 32;
/// Batches that a udp listener receives in a row before other tasks of its worker have their turn.
pub(crate) const UDP_BATCHES: usize = 4;
/// How long a session whose client has sent after a reply must be silent before it ends for a new one.
pub(crate) const UDP_SILENCE: Duration = Duration::from_secs(1);
/// Most descriptors that a process hands to its successor, or takes from a service manager.
pub(crate) const HANDOVER_DESCRIPTORS: usize = 1 << 16;
/// Longest text of a message between a process and its successor, in bytes.
pub(crate) const HANDOVER_BYTES: usize = 256 << 20;
/// Most buckets of rate limits that a process hands to its successor; those that are nearest to full are left out.
pub(crate) const HANDOVER_BUCKETS: usize = 1 << 20;
/// Bytes of OCSP responses that a process hands to its successor at most, in all. It fetches others.
pub(crate) const HANDOVER_OCSP_BYTES: usize = 64 << 20;
/// How long a successor may take to be ready, unless the caller says otherwise.
pub(crate) const UPGRADE_PATIENCE: Duration = Duration::from_secs(30);
/// The longest time that a caller may say.
pub(crate) const MAX_UPGRADE_PATIENCE: Duration = Duration::from_secs(300);
