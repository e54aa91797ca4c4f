//! Conditions on requests: `route.match`, and `refuse` of routes and listeners.

use super::texts::{
    ANY, FIELD_NAMES, FIELD_VALUE, HOST_PATTERN, METHOD, NAMES, NETWORK, PATH_PATTERN, REGEX,
    RESPONSE_STATUSES,
};
use super::{Key, Kind, Preset, key, list};

pub(super) const CONDITIONS: &[Key] = &[
    key(
        "headers",
        Kind::Map {
            keys: &[],
            any: &key(
                "NAME",
                EXPECTED,
                Preset::Off { example: "\"2\"", means: "any" },
                "A header field that a request must have, or not have; compared whole: `*` is no pattern, and a value with one is written `{ value = \"*/*\" }`",
            )
            .http(),
            names: FIELD_NAMES,
        },
        Preset::Off { example: "{ x-version = \"2\", x-beta = { present = true } }", means: "any" },
        "Header fields that a request must have",
    ),
    key(
        "query",
        Kind::Map {
            keys: &[],
            any: &key(
                "NAME",
                EXPECTED,
                Preset::Off { example: "\"1\"", means: "any" },
                "A query parameter that a request must have, or not have, compared decoded",
            )
            .http(),
            names: ANY,
        },
        Preset::Off { example: "{ debug = \"1\" }", means: "any" },
        "Query parameters that a request must have",
    ),
    key(
        "cookies",
        Kind::Map {
            keys: &[],
            any: &key(
                "NAME",
                EXPECTED,
                Preset::Off { example: "\"1\"", means: "any" },
                "A cookie that a request must have, or not have",
            )
            .http(),
            names: FIELD_NAMES,
        },
        Preset::Off { example: "{ beta = { present = true } }", means: "any" },
        "Cookies that a request must have",
    ),
    key(
        "client",
        list(&NETWORK),
        Preset::Off { example: "[\"10.0.0.0/8\"]", means: "any" },
        "Networks of which one has the client's address",
    ),
    key(
        "maps",
        Kind::Map {
            keys: &[],
            any: &key(
                "NAME",
                EXPECTED,
                Preset::Off { example: "\"alpha\"", means: "any" },
                "The value that `[map.NAME]` must have for the request; `present` is any that is not empty",
            )
            .http(),
            names: NAMES,
        },
        Preset::Off { example: "{ tenant = \"alpha\" }", means: "any" },
        "Values that maps must have for the request",
    ),
];

/// A table of conditions within another one.
const INNER: Kind = Kind::Table(&[CONDITIONS, OF_LINE]);

/// Conditions on what a route has keys of its own for.
const OF_LINE: &[Key] = &[
    key(
        "methods",
        list(&METHOD),
        Preset::Off { example: "[\"GET\"]", means: "any" },
        "The method is one of these",
    ),
    key(
        "host",
        Kind::OneOf(&[HOST_PATTERN, list(&HOST_PATTERN)]),
        Preset::Off { example: "\"*.example.com\"", means: "any" },
        "The host is this one, or one of these",
    ),
    key(
        "path",
        Kind::OneOf(&[PATH_PATTERN, list(&PATH_PATTERN)]),
        Preset::Off { example: "\"/admin\"", means: "any" },
        "The path is matched by this, or by one of these, in the forms of a route's `path`",
    ),
];

/// `refuse` of a route or a listener.
pub(super) const REFUSE: Kind = list(&Kind::Table(&[CONDITIONS, OF_LINE, COMBINED, REFUSAL_STATUS]));

const REFUSAL_STATUS: &[Key] =
    &[key("status", Kind::Integer(400, 599), Preset::Value("403"), "The status of the response")];

/// `headers.when` of a route or a listener.
pub(super) const WHEN: Kind =
    list(&Kind::Table(&[CONDITIONS, OF_LINE, COMBINED, RESPONSE_STATUS, super::route::EDITS]));

const RESPONSE_STATUS: &[Key] = &[key(
    "status",
    list(&RESPONSE_STATUSES),
    Preset::Off { example: "[\"404\", \"5xx\"]", means: "any" },
    "The response has one of these statuses; with it, `response` alone can be changed",
)
.http()];

pub(super) const COMBINED: &[Key] = &[
    key(
        "any",
        list(&INNER),
        Preset::Off {
            example: "[{ headers = { X-Beta = \"1\" } }, { cookies = { beta = \"1\" }, client = [\"10.0.0.0/8\"] }]",
            means: "none",
        },
        "Tables with the keys of `match`, and `host`, `path` and `methods`; one of them must hold, which is so if all of its keys do",
    ),
    key(
        "all",
        list(&INNER),
        Preset::Off {
            example: "[{ headers = { Origin = { suffix = \".example\" } } }, { query = { v = { regex = \"^[0-9]+$\" } }, methods = [\"GET\"] }]",
            means: "none",
        },
        "The same; all must hold",
    ),
    key(
        "not",
        Kind::OneOf(&[INNER, list(&INNER)]),
        Preset::Off { example: "{ headers = { User-Agent = { contains = \"bot\" } } }", means: "none" },
        "The same, one or several; none may hold",
    ),
];

/// What a field or parameter must be.
const EXPECTED: Kind = Kind::OneOf(&[
    FIELD_VALUE,
    Kind::Table(&[&[
        key(
            "value",
            FIELD_VALUE,
            Preset::Off { example: "\"*/*\"", means: "any" },
            "The value; this or `present`",
        ),
        key(
            "present",
            Kind::Boolean,
            Preset::Off { example: "true", means: "any" },
            "Whether there is one; this or `value`",
        ),
        key(
            "prefix",
            FIELD_VALUE,
            Preset::Off { example: "\"v2.\"", means: "any" },
            "What the value begins with, instead of `value`",
        ),
        key(
            "suffix",
            FIELD_VALUE,
            Preset::Off { example: "\".example\"", means: "any" },
            "What the value ends with, instead of `value`",
        ),
        key(
            "contains",
            FIELD_VALUE,
            Preset::Off { example: "\"bot\"", means: "any" },
            "What is in the value, instead of `value`",
        ),
        key(
            "regex",
            REGEX,
            Preset::Off { example: "\"^v[0-9]+$\"", means: "any" },
            "A regular expression that matches a part of the value, instead of `value`",
        ),
    ]]),
]);
