//! `[upstream.NAME]`.

use crate::base::limits::MAX_ATTEMPTS;

use super::circuit::{CIRCUIT, CIRCUIT_PER_ENDPOINT};
use super::texts::{
    CERTIFICATE_OR_NONE, CERTIFICATE_OR_SYSTEM, COOKIE, ENDPOINT, FIELD, FIELD_NAMES, FIELD_VALUE, FILE,
    FREE, GROUP, GROUPS, HASHED, HOST, NAME, NAMES, PERCENT, PIN, SOURCE, STATUS, STATUSES, SUITE, SUITES,
    URL_PATH,
};
use super::{Key, Kind, Preset, key, list};

pub(super) const KEYS: &[Key] = &[key(
    "upstream",
    Kind::Map {
        keys: &[],
        any: &key(
            "NAME",
            Kind::Table(&[UPSTREAM, OVERLAYS]),
            Preset::Section,
            "A group of backends; routes refer to it by its name",
        ),
        names: NAMES,
    },
    Preset::Optional,
    "Where traffic goes",
)];

const UPSTREAM: &[Key] = &[
    key(
        "endpoints",
        list(&Kind::OneOf(&[ENDPOINT, Kind::Table(&[ADDRESS])])),
        Preset::Required("[\"127.0.0.1:9443\"]"),
        "Backends: `\"HOST:PORT\"`, `\"unix:PATH\"` (`\"unix:@NAME\"`: abstract), or `{ address = \"HOST:PORT\", weight = 1, backup = false, drain = false }`; each address of a name is an endpoint with the weight of the name. `\"dns:HOST:PORT\"`, `\"srv:NAME\"` and `\"file:PATH\"` are kept up to date",
    )
    .see("[names with several addresses](upstreams.md#names-with-several-addresses), [discovery](upstreams.md#discovery)"),
    key(
        "balance",
        Kind::Choice(&[
            "round-robin",
            "least-requests",
            "least-connections",
            "two-choices",
            "random",
            "hash",
        ]),
        Preset::Value("\"round-robin\""),
        "How an endpoint is chosen, always by weight: in turn; the one with the fewest exchanges (`\"least-connections\"` is the same); \
         the one with fewer exchanges of two drawn at random; at random; by `hash`",
    )
    .see("[balancing](upstreams.md#balancing)"),
    key(
        "http",
        Kind::Choice(&["1.1", "2", "auto"]),
        Preset::Value("\"1.1\""),
        "The version of HTTP spoken with the backends: `\"2\"`: HTTP/2, over TLS by ALPN, else by prior knowledge; `\"auto\"`: over TLS, HTTP/2 or HTTP/1.1 as the backend chooses by ALPN, else HTTP/1.1",
    )
    .see("[HTTP/2 to backends](http.md#http2-to-backends)"),
    key(
        "hash",
        Kind::Table(&[HASH]),
        Preset::Absent,
        "What decides with `balance = \"hash\"`. A request without it is served in turn",
    ),
    key(
        "sticky",
        Kind::Table(&[STICKY]),
        Preset::Absent,
        "A client's requests go to the endpoint of its first one, as long as that can be used",
    )
    .see("[sticky sessions](upstreams.md#sticky-sessions)"),
    key(
        "slow_start",
        Kind::Duration { zero: true },
        Preset::Value("\"0s\""),
        "How long the weight of an endpoint rises that a reload adds, or that is back from being down",
    )
    .was(if cfg!(test) { &["slow_begin"] } else { &[] })
    .see("[slow start](upstreams.md#slow-start)"),
    key(
        "proxy_protocol",
        Kind::Choice(&["off", "v1", "v2"]),
        Preset::Value("\"off\""),
        "The PROXY header that each connection begins with, which then serves one client alone",
    )
    .see("[the PROXY protocol](proxy-protocol.md)"),
    key(
        "bind_address",
        SOURCE,
        Preset::Off { example: "\"127.0.0.1\"", means: "the kernel's choice" },
        "The source address of connections to TCP endpoints, which must be of the same family; addresses of a name that are not are left out",
    )
    .see("[source addresses](upstreams.md#source-addresses)"),
    key("timeouts", Kind::Table(&[TIMEOUTS]), Preset::Section, "How long a backend may take"),
    key(
        "pool",
        Kind::Table(&[POOL]),
        Preset::Section,
        "Connections that are kept, and how many exchanges there may be",
    ),
    key(
        "queue",
        Kind::Table(&[QUEUE]),
        Preset::Absent,
        "Exchanges that wait where every endpoint has `pool.max_per_endpoint`; it needs that key",
    ),
    key(
        "limits",
        Kind::Table(&[CIRCUIT, CIRCUIT_PER_ENDPOINT]),
        Preset::Section,
        "Circuit bounds of the upstream over all workers; beyond them: 503",
    )
    .see("[circuit bounds](upstreams.md#circuit-bounds)"),
    key("health", Kind::Table(&[HEALTH]), Preset::Section, "How it is found out whether endpoints are usable")
        .see("[health](upstreams.md#health)"),
    key(
        "outliers",
        Kind::Table(&[OUTLIERS]),
        Preset::Section,
        "Which outcomes of requests eject an endpoint for a time: what `health.passive` means",
    )
    .see("[ejection](upstreams.md#ejection)"),
    key(
        "retries",
        Kind::Table(&[RETRIES]),
        Preset::Absent,
        "When a request is sent again. Without it each endpoint is tried once where one cannot be connected to or, for idempotent requests, closes without a response",
    )
    .see("[retries](upstreams.md#retries)"),
    key(
        "mirror",
        Kind::Table(&[MIRROR]),
        Preset::Absent,
        "Another upstream gets copies of its requests; the responses to these are dropped",
    )
    .see("[mirroring](upstreams.md#mirroring)"),
    key(
        "tls",
        Kind::Table(&[TLS]),
        Preset::Optional,
        "TLS with the backends; without this table they are plain",
    ),
];

const OVERLAYS: &[Key] = &[key(
    "environment",
    Kind::Map {
        keys: &[],
        any: &key(
            "ENVIRONMENT",
            Kind::Overlay { of: &[UPSTREAM], section: "upstream.NAME" },
            Preset::Absent,
            "Any key of the upstream, for traffic of listeners in this environment; tables are merged, other values replaced",
        ),
        names: NAMES,
    },
    Preset::Off {
        example: "{ production = { endpoints = [\"10.1.0.1:8443\"], tls.certificate = \"gateway-prod\" } }",
        means: "none",
    },
    "What differs in an environment, usually under a header of its own: `[upstream.orders.environment.production]`",
)];

const ADDRESS: &[Key] = &[
    key("address", ENDPOINT, Preset::Required("\"127.0.0.1:9443\""), "Host and port, or a Unix socket"),
    key("weight", Kind::Integer(1, 1000), Preset::Value("1"), "Its share of the traffic"),
    key("backup", Kind::Boolean, Preset::Value("false"), "`true`: it is used only where no other one can be"),
    key(
        "drain",
        Kind::Boolean,
        Preset::Value("false"),
        "`true`: it gets no new requests, but for those of sticky sessions at it; requests under way end",
    )
    .see("[drain and weight](upstreams.md#drain-weight-add-and-remove)"),
];

const STICKY: &[Key] = &[
    key(
        "cookie",
        COOKIE,
        Preset::Off { example: "\"ringate\"", means: "required, or `header`" },
        "The cookie that Ringate sets, with the endpoint in it, signed",
    ),
    key(
        "header",
        FIELD,
        Preset::Off { example: "\"X-Session\"", means: "required, or `cookie`" },
        "The field of each response with the same, which an API client sends back with its requests",
    ),
    key(
        "max_age",
        Kind::Duration { zero: false },
        Preset::Off { example: "\"1h\"", means: "for ever, and the cookie until the browser ends" },
        "How long a session lasts without a request; after half of that it is renewed",
    ),
    key(
        "secret_file",
        FILE,
        Preset::Off {
            example: "\"session.secret\"",
            means: "a secret that Ringate makes and keeps in the store",
        },
        "The file with the secret that sessions are signed with, for several Ringates that share it: 16 bytes or more",
    ),
];

const HASH: &[Key] = &[
    key(
        "by",
        HASHED,
        Preset::Required("\"header:X-User\""),
        "What of a request is hashed: the first field, cookie or query parameter of the name; the client's address; the normalised path. tcp connections and udp sessions have only the address",
    ),
    key(
        "load",
        Kind::Factor,
        Preset::Value("1.25"),
        "How many exchanges an endpoint may have before its keys go to others, in parts of its share of all exchanges; 0: no bound",
    ),
];

const TIMEOUTS: &[Key] = &[
    key("connect", Kind::Duration { zero: false }, Preset::Value("\"2s\""), "TCP and TLS together"),
    key(
        "response",
        Kind::Duration { zero: false },
        Preset::Value("\"30s\""),
        "From the request's end to the response's head; longer: 504",
    ),
    key(
        "idle",
        Kind::Duration { zero: false },
        Preset::Value("\"60s\""),
        "Longest time without progress in a response or relay (a slow reader that still makes progress does not time out); how long an idle connection is kept",
    ),
];

const POOL: &[Key] = &[
    key(
        "idle_per_worker",
        Kind::Integer(0, 65_535),
        Preset::Value("256"),
        "Idle connections kept per endpoint and worker, of more the least recently used is closed; 0: no reuse. Where the server name is the request's host, \
         one name has half of them at most, and names that are used once leave those in use alone",
    ),
    key(
        "min_idle",
        Kind::Integer(0, 65_535),
        Preset::Value("0"),
        "Idle connections per endpoint, over all workers, that are made before a request needs them, with their TLS handshake; 0: none. \
         Not for upstreams whose connections belong to one client or to the name that it asked for",
    ),
    key(
        "shared",
        Kind::Boolean,
        Preset::Value("true"),
        "A worker without an idle connection takes one that another worker does not need. Connections with a PROXY header, and those whose server name is the \
         request's host, stay with their worker",
    )
    .see("[connections of all workers](upstreams.md#connections-of-all-workers)"),
    key(
        "max_age",
        Kind::Duration { zero: false },
        Preset::Value("\"1h\""),
        "A connection older than this is not used again",
    ),
    key(
        "max_per_endpoint",
        Kind::Integer(0, 65_535),
        Preset::Value("0"),
        "Most exchanges, or tcp connections, at an endpoint over all workers, 0: no bound; an upstream of three has three times as many. Idle connections do not count",
    ),
];

const QUEUE: &[Key] = &[
    key(
        "length",
        Kind::Integer(0, 1_000_000),
        Preset::Value("100"),
        "Most exchanges that wait, over all workers; more: 503; 0: none waits",
    ),
    key(
        "timeout",
        Kind::Duration { zero: false },
        Preset::Value("\"1s\""),
        "How long one waits; longer: 503",
    ),
];

const HEALTH: &[Key] = &[
    key(
        "passive",
        Kind::Boolean,
        Preset::Value("true"),
        "`false`: no outcome of a request ejects an endpoint; one that cannot be connected to is tried last all the same",
    ),
    key(
        "type",
        Kind::Choice(&["http", "tcp", "tls", "grpc"]),
        Preset::Off { example: "\"http\"", means: "no active checks" },
        "How each endpoint is checked, once for the process: `\"tcp\"`: a connection; `\"tls\"`: a handshake as for traffic; `\"http\"`: a request, by the upstream's `http`; `\"grpc\"`: `grpc.health.v1.Health/Check`, which needs HTTP/2",
    ),
    key(
        "interval",
        Kind::Duration { zero: false },
        CHECK_INTERVAL,
        "From one check to the next, with up to a tenth more or less",
    ),
    key("timeout", Kind::Duration { zero: false }, CHECK_TIMEOUT, "For a whole check"),
    key(
        "fall",
        Kind::Integer(1, 100),
        CHECK_FALL,
        "Failed checks in a row that take an endpoint down; the first check decides alone",
    ),
    key("rise", Kind::Integer(1, 100), CHECK_RISE, "Passed checks in a row that bring it up again"),
    key(
        "all_down",
        Kind::Choice(&["use", "refuse"]),
        Preset::Off { example: "\"use\"", means: "`\"use\"`" },
        "While the checks of every endpoint fail: `\"use\"`: all are used; `\"refuse\"`: 503",
    ),
    key(
        "path",
        URL_PATH,
        Preset::Off { example: "\"/healthz\"", means: "`/`" },
        "The request-target of an http check",
    ),
    key(
        "method",
        Kind::Choice(&["GET", "HEAD", "OPTIONS"]),
        Preset::Off { example: "\"GET\"", means: "`\"GET\"`" },
        "Its method",
    ),
    key(
        "host",
        HOST,
        Preset::Off { example: "\"app.internal\"", means: "the endpoint as the config names it" },
        "Its Host",
    ),
    key(
        "headers",
        Kind::Map {
            keys: &[],
            any: &key(
                "NAME",
                FIELD_VALUE,
                Preset::Off { example: "\"1\"", means: "none" },
                "A further field of the request",
            ),
            names: FIELD_NAMES,
        },
        Preset::Off { example: "{ X-Health = \"1\" }", means: "none" },
        "Further fields of the request",
    ),
    key(
        "expect",
        list(&STATUSES),
        Preset::Off { example: "[\"200-399\"]", means: "200 to 399" },
        "Statuses that pass",
    ),
    key(
        "body",
        FREE,
        Preset::Off { example: "\"ok\"", means: "any" },
        "A text that the first 32 KiB of the response must contain",
    ),
    key(
        "service",
        FREE,
        Preset::Off { example: "\"orders.v1.Orders\"", means: "the server as a whole" },
        "The service that a grpc check asks for",
    ),
];

const CHECK_INTERVAL: Preset = Preset::Off { example: "\"5s\"", means: "`\"5s\"`" };
const CHECK_TIMEOUT: Preset = Preset::Off { example: "\"2s\"", means: "`\"2s\"`" };
const CHECK_FALL: Preset = Preset::Off { example: "3", means: "3" };
const CHECK_RISE: Preset = Preset::Off { example: "2", means: "2" };

const MIRROR: &[Key] = &[
    key(
        "upstream",
        NAME,
        Preset::Required("\"shadow\""),
        "The upstream that gets the copies: its overlay for the environment, if it has one",
    ),
    key("percent", Kind::Percent, Preset::Value("100"), "How many of the requests have a copy"),
];

const OUTLIERS: &[Key] = &[
    key(
        "consecutive_failures",
        Kind::Integer(0, 1000),
        Preset::Value("5"),
        "Failures in a row, over all workers, that eject an endpoint: a new connection closed without a response, no response in time, an invalid response; 0: none do",
    ),
    key(
        "consecutive_5xx",
        Kind::Integer(0, 1000),
        Preset::Value("0"),
        "Responses with a status from 500 to 599 in a row that eject it; 0: none do",
    ),
    key(
        "error_rate",
        PERCENT,
        Preset::Value("\"30%\""),
        "Share of 502, 503 and 504 among at least 100 responses to a worker within 10 s that ejects it, if the others' share is less than half of its own; `\"0%\"`: none does",
    ),
    key(
        "slow_after",
        Kind::Duration { zero: true },
        Preset::Value("\"2s\""),
        "A request without a response for so long counts as a failure, if other endpoints respond meanwhile and this one does not; 0: it does not",
    ),
    key(
        "base_ejection",
        Kind::Duration { zero: false },
        Preset::Value("\"30s\""),
        "How long an endpoint is ejected for the first time; each time that follows soon is twice as long",
    ),
    key("max_ejection", Kind::Duration { zero: false }, Preset::Value("\"5m\""), "The longest time"),
    key(
        "max_ejected",
        PERCENT,
        Preset::Value("\"50%\""),
        "Share of the endpoints that may be ejected at once; one of several always may, unless it is `\"0%\"`; the only one never is",
    ),
    key(
        "panic_threshold",
        PERCENT,
        Preset::Value("\"0%\""),
        "If a smaller share of the endpoints is usable, all are used; `\"0%\"`: if none is",
    ),
];

const RETRIES: &[Key] = &[
    key(
        "on",
        list(&Kind::OneOf(&[
            Kind::Choice(&[
                "connect",
                "reset",
                "timeout",
                "grpc-cancelled",
                "grpc-deadline-exceeded",
                "grpc-internal",
                "grpc-resource-exhausted",
                "grpc-unavailable",
            ]),
            STATUS,
        ])),
        Preset::Value("[\"connect\", \"reset\"]"),
        "`\"connect\"`: no connection; `\"reset\"`: closed before any byte of a response; `\"timeout\"`: no head in time; `\"503\"`: a response with this status. \
         These but `\"connect\"` for idempotent requests only. `\"grpc-unavailable\"`: a call of gRPC ends with this status before any message of the response, whatever its method",
    ),
    key(
        "attempts",
        Kind::Integer(1, MAX_ATTEMPTS as u64),
        Preset::Shown { example: "2", means: "2, and after a reset each endpoint once" },
        "Most times that a request is sent, the first included",
    ),
    key(
        "budget",
        Kind::Integer(0, 100),
        Preset::Value("20"),
        "Most retries, in percent of the requests of the last 10 s, for each worker",
    ),
    key(
        "attempt_timeout",
        Kind::Duration { zero: false },
        Preset::Off { example: "\"10s\"", means: "an equal share of `timeouts.response`" },
        "With `\"timeout\"`: from the request's end to the response's head, for each attempt but the last; at most `timeouts.response`",
    ),
];

const TLS: &[Key] = &[
    key(
        "server_name",
        HOST,
        Preset::Off { example: "\"orders.internal\"", means: "the request's host; for tcp the endpoint's" },
        "SNI, and the name that is verified: a DNS name or an IP address",
    ),
    key(
        "trust",
        list(&CERTIFICATE_OR_SYSTEM),
        Preset::Value("[\"system\"]"),
        "What the backend's certificate is checked against: `\"system\"`, names in the store, files. Its usages, where it names any, must include serverAuth and digitalSignature. An entry may be a folder (its `*.pem`, `*.crt`, `*.cer` and `*.der` files; watched, too) or a PKCS#12 truststore with `passphrase_file`",
    ),
    key(
        "pins",
        Kind::List { of: &PIN, empty: true },
        Preset::Value("[]"),
        "SHA-256 of public keys (SubjectPublicKeyInfo), as `ringate cert show` prints them; with any, the backend's must be among them, besides being trusted",
    ),
    key(
        "crl",
        Kind::List { of: &FILE, empty: true },
        Preset::Value("[]"),
        "Files with revocation lists, PEM or DER; with any, each certificate of a chain but the root must be covered by one that is not out of date",
    ),
    key(
        "min_rsa_bits",
        Kind::Numbers(&[1024, 2048, 3072, 4096]),
        Preset::Value("2048"),
        "Least size of RSA keys, in the chain and in the handshake; 1024 is for old backends",
    ),
    key(
        "insecure_skip_verify",
        Kind::Boolean,
        Preset::Value("false"),
        "`true`: any certificate is accepted; contradicts `trust`, `pins` and `crl`. A warning at start, in the status and in a metric",
    ),
    key(
        "certificate",
        CERTIFICATE_OR_NONE,
        Preset::Off { example: "\"gateway\"", means: "none" },
        "The client identity, presented when the backend asks for one; `false`: none, also where the upstream of an overlay has one",
    ),
    key(
        "require_client_auth",
        Kind::Boolean,
        Preset::Value("false"),
        "`true`: a backend that never asks for `certificate` is refused with 502",
    ),
    key(
        "versions",
        list(&Kind::Choice(&["1.2", "1.3"])),
        Preset::Value("[\"1.2\", \"1.3\"]"),
        "The TLS versions enabled",
    ),
    key(
        "cipher_suites",
        list(&SUITE),
        Preset::Shown { example: SUITES, means: "all of these, AES first" },
        "In order of preference",
    ),
    key(
        "groups",
        list(&GROUP),
        Preset::Shown { example: GROUPS, means: "all of these" },
        "Key exchange groups, in order of preference: a key share is sent for the first one",
    ),
    key("resumption", Kind::Table(&[RESUMPTION]), Preset::Section, "Resumption of TLS sessions"),
];

const RESUMPTION: &[Key] = &[key(
    "tickets_per_endpoint",
    Kind::Integer(0, 1024),
    Preset::Value("8"),
    "Session tickets kept per endpoint and worker, up to 16 times as many where so many handshakes are made at once; 0: no resumption",
)];
