//! `[runtime]`, `[process]`, `[admin]`, `[store]`, `[log]` and `[limits]`.

use crate::base::limits::{MAX_COUNT, MAX_HEAD_BYTES, MAX_HEADERS, MAX_WORKERS, MIN_BUFFER_MEMORY};

use super::texts::{ACCESS, ANY, CPUS, FIELD, FILE, FORMAT, FREE, HOST, LISTEN, NAME_SERVER, NAMES, PATTERN};
use super::{Key, Kind, Preset, key, list};

pub(super) const KEYS: &[Key] = &[
    key(
        "include",
        list(&PATTERN),
        Preset::Off { example: "[\"conf.d/*.toml\"]", means: "no other file" },
        "Further files of the config, in the order of their names; a pattern is relative to the file that has it. Tables are \
         merged; a name or key that stands in two files is an error",
    )
    .see("[operations.md](operations.md#a-config-of-several-files)"),
    key("runtime", Kind::Table(&[RUNTIME]), Preset::Section, "Threads, and how they do I/O"),
    key("process", Kind::Table(&[PROCESS]), Preset::Section, "What the process may do"),
    key(
        "admin",
        Kind::Table(&[ADMIN]),
        Preset::Optional,
        "The admin server; without this section there is none",
    ),
    key("store", Kind::Table(&[STORE]), Preset::Section, "The certificate store, and rotation"),
    key(
        "resolver",
        Kind::Table(&[RESOLVER]),
        Preset::Section,
        "How `dns:` and `srv:` endpoints are looked up",
    ),
    key("log", Kind::Table(&[LOG]), Preset::Section, "The log on standard error, and the access log"),
    key(
        "limits",
        Kind::Table(&[LIMITS, PROCESS_LIMITS]),
        Preset::Section,
        "Each but the last two also stands in `[listener.limits]`, which lies over this section",
    ),
];

const RUNTIME: &[Key] = &[
    key(
        "workers",
        Kind::OneOf(&[Kind::Choice(&["auto"]), Kind::Integer(1, MAX_WORKERS as u64)]),
        Preset::Value("\"auto\""),
        "Threads, each with its own ring; `\"auto\"`: one per CPU of `cpus`",
    ),
    key(
        "cpus",
        CPUS,
        Preset::Off { example: "\"0-3,8\"", means: "the process's affinity mask" },
        "The CPUs that workers are pinned to",
    ),
    key(
        "driver",
        Kind::Choice(&["auto", "io_uring", "epoll"]),
        Preset::Value("\"auto\""),
        "`\"auto\"`: epoll only where io_uring is refused",
    ),
    key(
        "drain",
        Kind::Duration { zero: true },
        Preset::Value("\"30s\""),
        "How long a drain may take before the remaining connections are closed; `\"0s\"`: at once",
    ),
    key(
        "splice",
        Kind::Boolean,
        Preset::Value("true"),
        "Whether the kernel moves large pieces of bodies that are plain on both sides, without a copy (splice(2))",
    )
    .see("[long bodies](upstreams.md#long-bodies)"),
];

const PROCESS: &[Key] = &[
    key(
        "user",
        FREE,
        Preset::Off { example: "\"ringate\"", means: "the one that started it" },
        "The user that all threads become once all addresses are bound, if the process was started as root: a name or a number",
    )
    .see("[least privilege](security.md)"),
    key(
        "group",
        FREE,
        Preset::Off { example: "\"ringate\"", means: "that of `user`" },
        "The group in the place of the user's: a name or a number",
    ),
    key(
        "landlock",
        Kind::Choice(&["off", "on"]),
        Preset::Value("\"off\""),
        "`\"on\"`: the process can open only files in the places that the config names at the start, and the system's own",
    )
    .see("[files](security.md#files-landlock)"),
    key(
        "seccomp",
        Kind::Choice(&["off", "log", "on"]),
        Preset::Value("\"off\""),
        "`\"on\"`: system calls that are not used are refused; `\"log\"`: the kernel logs them",
    )
    .see("[system calls](security.md#system-calls-seccomp)"),
    key(
        "restrict_rings",
        Kind::Boolean,
        Preset::Value("true"),
        "Whether the kernel refuses operations in a ring that are not used (IORING_REGISTER_RESTRICTIONS)",
    )
    .see("[io_uring](security.md#io_uring)"),
];

const RESOLVER: &[Key] = &[
    key(
        "servers",
        Kind::List { of: &NAME_SERVER, empty: true },
        Preset::Value("[]"),
        "Name servers: `\"IP:PORT\"`, or `\"IP\"` for port 53. Without any, those of /etc/resolv.conf, after /etc/hosts",
    )
    .see("[discovery](upstreams.md#discovery)"),
    key("ttl", Kind::Table(&[TTL]), Preset::Section, "Bounds of the time for which what was found holds"),
];

const TTL: &[Key] = &[
    key("min", Kind::Duration { zero: false }, Preset::Value("\"1s\""), "Least time between two lookups"),
    key(
        "max",
        Kind::Duration { zero: false },
        Preset::Value("\"5m\""),
        "Longest time between two lookups, and the time for which endpoints are kept when the name servers say that there are none",
    ),
];

const ADMIN: &[Key] = &[
    key(
        "listen",
        Kind::OneOf(&[LISTEN, list(&LISTEN)]),
        Preset::Value("\"unix:run/admin.sock\""),
        "Where the admin server listens: `\"unix:PATH\"`, or `\"IP:PORT\"` with `token_file`, or a list of them. Commands use a Unix socket if there is one",
    ),
    key(
        "token_file",
        FILE,
        Preset::Off { example: "\"run/admin.token\"", means: "none" },
        "The file with the bearer token, mode 0600; required over TCP",
    ),
    key(
        "read_only_token_file",
        FILE,
        Preset::Off { example: "\"run/read-only.token\"", means: "none" },
        "The file with another bearer token, mode 0600, with which a client reads everything and changes nothing",
    ),
    key(
        "audit",
        FILE,
        Preset::Off { example: "\"audit.log\"", means: "none" },
        "The audit log: a line of JSON for each change, with its client, and what was before and after",
    )
    .see("[the audit log](admin-api.md#the-audit-log)"),
    key(
        "hosts",
        list(&HOST),
        Preset::Off { example: "[\"ringate.internal\"]", means: "none" },
        "Names by which it may be called over TCP without the token, besides addresses and `localhost`",
    ),
    key(
        "metrics",
        Kind::Choice(&["token", "open"]),
        Preset::Value("\"token\""),
        "`\"open\"`: `/metrics` needs no token over TCP",
    ),
];

const STORE: &[Key] = &[
    key("path", FILE, Preset::Value("\"certs\""), "The folder of the certificate store"),
    key(
        "grace",
        Kind::Duration { zero: true },
        Preset::Value("\"10m\""),
        "How long connections of an old generation may live after a rotation; `\"0s\"`: not at all",
    ),
    key(
        "renew_before",
        Kind::Duration { zero: false },
        Preset::Value("\"30d\""),
        "How long before its end a generated certificate stages its successor, a third of its life at most",
    ),
    key(
        "renew",
        Kind::Choice(&["staged", "automatic"]),
        Preset::Value("\"staged\""),
        "`\"automatic\"`: the successor is activated when a trial has passed everywhere",
    ),
];

const LOG: &[Key] = &[
    key(
        "level",
        Kind::Choice(&["error", "warn", "info", "debug", "trace"]),
        Preset::Value("\"info\""),
        "The least severe messages that are logged",
    ),
    key(
        "format",
        Kind::Choice(&["text", "json"]),
        Preset::Value("\"text\""),
        "`\"text\"` for people, `\"json\"`: one object a line",
    ),
    key(
        "access",
        ACCESS,
        Preset::Value("\"off\""),
        "The access log: one line a request, or a connection of a tcp listener. A file (`\"./access.log\"`) is opened anew on SIGUSR1; \
         others: `\"stdout\"`, `\"syslog:HOST:PORT\"`, `\"syslog:unix:PATH\"`, `\"journald\"`",
    ),
    key(
        "access_format",
        Kind::OneOf(&[FORMAT, FIELDS]),
        Preset::Shown { example: "\"text\"", means: "as `format`" },
        "What a line contains: `\"text\"`, `\"json\"`, a line such as \
         `'{client.address} \"{request.method} {request.target}\" {response.status} {duration}ms'`, or a table of a JSON \
         object's fields, `{ client = \"client.address\" }`",
    )
    .see("[the access log](observability.md#the-access-log)"),
    key(
        "tcp_format",
        Kind::OneOf(&[FORMAT, FIELDS]),
        Preset::Shown { example: "\"text\"", means: "as `format`" },
        "The same for lines of tcp listeners",
    ),
    key(
        "udp_format",
        Kind::OneOf(&[FORMAT, FIELDS]),
        Preset::Shown { example: "\"text\"", means: "as `format`" },
        "The same for lines of udp listeners",
    ),
    key(
        "redact",
        Kind::Table(&[REDACT]),
        Preset::Off {
            example: "{ headers = [\"Authorization\", \"Cookie\"], query = [\"token\"] }",
            means: "none",
        },
        "What the access log does not show",
    ),
    key(
        "named",
        Kind::Map {
            keys: &[],
            any: &key("NAME", Kind::Table(&[NAMED_LOG]), Preset::Off { example: "{ access = \"api.log\" }", means: "none" }, "A further access log"),
            names: NAMES,
        },
        Preset::Off { example: "{ api = { access = \"api.log\", access_format = \"json\" } }", means: "none" },
        "Further access logs, 15 at most: `route.access_log` names them",
    ),
];

const NAMED_LOG: &[Key] = &[
    key(
        "access",
        ACCESS,
        Preset::Required("\"api.log\""),
        "Where its lines go: the forms of `log.access` but `\"off\"`",
    ),
    key(
        "access_format",
        Kind::OneOf(&[FORMAT, FIELDS]),
        Preset::Off { example: "\"json\"", means: "`log.access_format`" },
        "What a line contains: the forms of `log.access_format`",
    ),
];

/// A JSON object's fields.
const FIELDS: Kind = Kind::Map {
    keys: &[],
    any: &key(
        "FIELD",
        FREE,
        Preset::Off { example: "\"client.address\"", means: "none" },
        "A variable: the value of this field of the line's JSON object",
    ),
    names: ANY,
};

const REDACT: &[Key] = &[
    key(
        "headers",
        list(&FIELD),
        Preset::Off { example: "[\"Authorization\"]", means: "none" },
        "Header fields whose values are shown as `[redacted]`",
    ),
    key(
        "query",
        list(&FREE),
        Preset::Off { example: "[\"token\"]", means: "none" },
        "Query keys whose values are shown as `[redacted]` in targets, queries and Referer",
    ),
];

/// Bounds that a listener may have of its own.
pub(super) const LIMITS: &[Key] = &[
    key(
        "head_bytes",
        Kind::Size(1024, MAX_HEAD_BYTES as u64),
        Preset::Value("\"16KiB\""),
        "Longest message head; longer: 431, from a backend 502",
    )
    .http(),
    key(
        "headers",
        Kind::Integer(1, MAX_HEADERS as u64),
        Preset::Value("100"),
        "Most header fields in a head; more: 431, from a backend 502",
    )
    .http(),
    key(
        "target_bytes",
        Kind::Size(1, MAX_HEAD_BYTES as u64),
        Preset::Value("\"8KiB\""),
        "Longest request-target, at most `head_bytes`; longer: 414",
    )
    .http(),
    key(
        "body_bytes",
        Kind::Size(0, i64::MAX as u64),
        Preset::Value("0"),
        "Longest request body, 0: no bound; longer: 413",
    )
    .http(),
    key(
        "head_timeout",
        Kind::Duration { zero: false },
        Preset::Value("\"10s\""),
        "From a connection's first byte to the end of a request's head, and for a PROXY header and a TLS handshake together; longer: 408, or a close",
    ),
    key(
        "body_timeout",
        Kind::Duration { zero: false },
        Preset::Value("\"60s\""),
        "Longest time without progress within a request's body, or while a client does not read a response; longer: 408 or a close",
    )
    .http(),
    key(
        "body_rate",
        Kind::Rate,
        Preset::Value("\"240B/s\""),
        "Least speed of a body while Ringate waits for the client, sending or receiving, 0: none; slower: 408 or a close",
    )
    .http(),
    key(
        "body_grace",
        Kind::Duration { zero: false },
        Preset::Value("\"20s\""),
        "How far a client may fall behind `body_rate`, pauses included; later bytes make up for it, earlier ones are not saved up",
    )
    .http(),
    key(
        "idle_timeout",
        Kind::Duration { zero: false },
        Preset::Value("\"75s\""),
        "How long a client's connection may idle between requests",
    )
    .http(),
    key(
        "requests_per_connection",
        Kind::Integer(0, MAX_COUNT),
        Preset::Value("0"),
        "Most requests on one connection, 0: no bound; the last response has `Connection: close`",
    )
    .http(),
    key(
        "connections",
        Kind::Integer(0, MAX_COUNT),
        Preset::Value("0"),
        "Most client connections of each http or tcp listener over all workers, 0: no bound; more wait",
    ),
    key(
        "connections_per_client",
        Kind::Integer(0, MAX_COUNT),
        Preset::Value("0"),
        "Most of them, or of a udp listener's sessions, from one address (IPv6: one /64), 0: no bound; more: 503 on a plain http listener, else a close; of udp, the datagram is dropped",
    ),
    key(
        "udp_sessions",
        Kind::Integer(1, MAX_COUNT),
        Preset::Value("16384"),
        "Most sessions of each udp listener over all workers; for one more, the longest silent one ends",
    )
    .see("[sessions](udp.md#sessions)")
    .udp(),
];

/// Bounds of the whole process.
const PROCESS_LIMITS: &[Key] = &[
    key(
        "connections_per_worker",
        Kind::Integer(0, u32::MAX as u64),
        Preset::Value("0"),
        "Most client connections of one worker, 0: no bound; more wait in the listen queue",
    ),
    key(
        "buffer_memory",
        Kind::OneOf(&[
            Kind::Choice(&["auto"]),
            Kind::Integer(0, 0),
            Kind::Size(MIN_BUFFER_MEMORY, i64::MAX as u64),
        ]),
        Preset::Value("\"auto\""),
        "Memory for buffers of all workers; `\"auto\"`: half of what the process may use (the machine's, or its control group's bound), \
         0: no bound. At three quarters of it new exchanges and connections are refused with 503",
    ),
];
