//! Rules of routes, some of which listeners have, too.

use super::texts::{API_KEYS, FIELD, MEDIA_RANGE, METHOD, NAME, NETWORK, ORIGIN, REQUEST_RATE, STAR};
use super::{Key, Kind, Preset, key, list};

pub(super) const ALLOW_DENY: &[Key] = &[
    key(
        "allow",
        list(&NETWORK),
        Preset::Off { example: "[\"10.0.0.0/8\"]", means: "all" },
        "Client addresses or networks that may pass; others: 403, on tcp a close. A listener's hold before any route is chosen",
    ),
    key(
        "deny",
        Kind::List { of: &NETWORK, empty: true },
        Preset::Off { example: "[\"10.9.0.0/16\"]", means: "none" },
        "Client addresses or networks that may not pass; it goes before `allow`",
    ),
];

pub(super) const KEYS: &[Key] = &[
    key(
        "refuse",
        super::conditions::REFUSE,
        Preset::Off {
            example: "[{ cookies = { session = { present = false } }, methods = [\"POST\"], status = 403 }]",
            means: "none",
        },
        "Requests that are refused: tables with the keys of `match`, and `host`, `path`, `methods` and `status`; a request that meets all conditions of one gets its status",
    )
    .http()
    .see("[refusals](routes.md#refusals)"),
    key(
        "error_pages",
        super::listener::PAGES,
        Preset::Off { example: "{ 404 = \"pages/404.html\", intercept = [\"404\", \"502-504\"] }", means: "as the listener" },
        "This route's pages, which go before those of its listener, and which of its backend's responses get one",
    )
    .http()
    .see("[error pages](routes.md#error-pages)"),
    key(
        "trace",
        Kind::Choice(&["off", "pass", "make"]),
        Preset::Value("\"pass\""),
        "`traceparent` and `tracestate` (W3C Trace Context): dropped, passed as they are, or passed if valid and made otherwise",
    )
    .http(),
    key(
        "compression",
        COMPRESSION,
        Preset::Off {
            example: "{ algorithms = [\"zstd\", \"br\", \"gzip\"], min_size = \"1KiB\", types = [\"text/*\", \"application/json\"] }",
            means: "as the listener",
        },
        "Whether responses are encoded as their clients prefer it: a table, or `true` or `false`",
    )
    .http(),
    key(
        "rate_limit",
        Kind::OneOf(&[REQUEST_RATE, Kind::Table(&[RATE_LIMIT])]),
        Preset::Off { example: "{ rate = \"100/s\", burst = 100, by = \"client\" }", means: "none" },
        "How many requests are served, or `\"100/s\"` alone; more: 429",
    )
    .http(),
    key(
        "cors",
        Kind::Table(&[CORS]),
        Preset::Off {
            example: "{ origins = [\"https://app.example.com\"], methods = [\"GET\", \"HEAD\", \"POST\"], headers = [\"X-A\"], credentials = false, max_age = \"10m\", expose = [\"X-B\"] }",
            means: "none",
        },
        "Cross-origin requests of browsers: preflights get their response here",
    )
    .http(),
    key(
        "api_keys",
        Kind::OneOf(&[API_KEYS, Kind::Table(&[KEY_RULE])]),
        Preset::Off {
            example: "{ from = \"partners\", header = \"X-Api-Key\", name_header = \"X-Api-Key-Name\", forward = false }",
            means: "none",
        },
        "The API keys that open the route, or `\"partners\"` alone; others: 401. See `ringate apikey`",
    )
    .http(),
    key(
        "credentials",
        list(&NAME),
        Preset::Off { example: "[\"api-key-mtls\"]", means: "none" },
        "The definitions, `[credentials.NAME]`, of which a client needs a credential; others: 401, or 403 with a key and without its certificate",
    )
    .http()
    .see("[consumers and credentials](consumers.md)"),
];

/// `rate_limit` of a listener.
pub(super) const LISTENER_RATE_LIMIT: Kind = Kind::OneOf(&[REQUEST_RATE, Kind::Table(&[LISTENER_LIMIT])]);

pub(super) const COMPRESSION: Kind = Kind::OneOf(&[Kind::Boolean, Kind::Table(&[COMPRESS])]);

const COMPRESS: &[Key] = &[
    key(
        "algorithms",
        list(&Kind::Choice(&["zstd", "br", "gzip"])),
        Preset::Value("[\"zstd\", \"br\", \"gzip\"]"),
        "The codings, the first one where a client prefers several as much",
    )
    .http(),
    key(
        "min_size",
        Kind::Size(0, 1 << 40),
        Preset::Value("\"1KiB\""),
        "Bodies known to be shorter are not encoded",
    )
    .http(),
    key(
        "types",
        list(&MEDIA_RANGE),
        Preset::Off {
            example: "[\"text/*\", \"application/json\"]",
            means: "text, JSON, XML, JavaScript, SVG, WebAssembly",
        },
        "The media types that are encoded",
    )
    .http(),
];

const RATE_LIMIT: &[Key] = &limit_keys(Kind::OneOf(&[Kind::Choice(&["client", "route"]), BY_HEADER]));
const LISTENER_LIMIT: &[Key] = &limit_keys(Kind::OneOf(&[Kind::Choice(&["client", "listener"]), BY_HEADER]));

/// `by` in the form of a table.
const BY_HEADER: Kind = Kind::Table(&[&[key(
    "header",
    FIELD,
    Preset::Required("\"X-Tenant\""),
    "The field whose values are counted apart; requests without it are counted by client",
)
.http()]]);

const fn limit_keys(by: Kind) -> [Key; 3] {
    [
        key("rate", REQUEST_RATE, Preset::Required("\"100/s\""), "How many requests in a second, minute or hour").http(),
        key(
            "burst",
            Kind::Integer(1, 10_000_000),
            Preset::Off { example: "100", means: "the requests of one second" },
            "How many requests may come at once",
        )
        .http(),
        key(
            "by",
            by,
            Preset::Value("\"client\""),
            "What is counted apart: client addresses (IPv6 networks of 64 bits), nothing, or a field's values, `{ header = \"X-Tenant\" }`",
        )
        .http(),
    ]
}

const CORS: &[Key] = &[
    key(
        "origins",
        list(&ORIGIN),
        Preset::Required("[\"https://app.example.com\"]"),
        "Whose pages may use the route",
    )
    .http(),
    key(
        "methods",
        list(&Kind::OneOf(&[STAR, METHOD])),
        Preset::Value("[\"GET\", \"HEAD\", \"POST\"]"),
        "The methods that a preflight allows; `[\"*\"]`: any",
    )
    .http(),
    key(
        "headers",
        list(&FIELD),
        Preset::Off { example: "[\"X-A\"]", means: "none" },
        "Request fields that a preflight allows; `[\"*\"]`: any",
    )
    .http(),
    key(
        "credentials",
        Kind::Boolean,
        Preset::Value("false"),
        "Whether credentials may be sent; not with `origins = [\"*\"]`",
    )
    .http(),
    key(
        "max_age",
        Kind::Duration { zero: true },
        Preset::Value("\"10m\""),
        "How long a browser may keep a preflight's response",
    )
    .http(),
    key(
        "expose",
        list(&FIELD),
        Preset::Off { example: "[\"X-B\"]", means: "none" },
        "Response fields that scripts may read; `[\"*\"]`: any",
    )
    .http(),
];

const KEY_RULE: &[Key] = &[
    key(
        "from",
        API_KEYS,
        Preset::Required("\"partners\""),
        "The file of keys, made by `ringate apikey`: its name in the store, or a path with a slash",
    )
    .http(),
    key(
        "header",
        FIELD,
        Preset::Value("\"X-Api-Key\""),
        "The field with the key; without it, `Authorization: Bearer` is read. Beside it, that field goes on to the backend",
    )
    .http(),
    key(
        "name_header",
        FIELD,
        Preset::Value("\"X-Api-Key-Name\""),
        "The field that carries the key's name to the backend; a client's own is dropped",
    )
    .http(),
    key("forward", Kind::Boolean, Preset::Value("false"), "Whether the key itself goes on to the backend").http(),
];
