//! `[telemetry]`

use super::texts::{CERTIFICATE_OR_SYSTEM, COLLECTOR, FIELD_NAMES, FIELD_VALUE, FREE};
use super::{Key, Kind, Preset, key, list};

pub(super) const KEYS: &[Key] =
    &[key("telemetry", Kind::Table(&[TELEMETRY]), Preset::Absent, "Traces; metrics need no section")];

const TELEMETRY: &[Key] = &[key(
    "otlp",
    Kind::Table(&[OTLP]),
    Preset::Off { example: "{ endpoint = \"http://127.0.0.1:4318\", sample = 0.01 }", means: "no traces" },
    "Where traces of requests go, by OTLP over HTTP in JSON",
)
.see("[traces](observability.md#traces)")];

const OTLP: &[Key] = &[
    key(
        "endpoint",
        COLLECTOR,
        Preset::Required("\"http://127.0.0.1:4318\""),
        "The collector; `/v1/traces` is put behind it",
    ),
    key(
        "sample",
        Kind::Share,
        Preset::Value("0.01"),
        "The share of requests that are recorded, of those that come without a `traceparent`; one that has it is recorded if that says so",
    ),
    key(
        "headers",
        Kind::Map {
            keys: &[],
            any: &key(
                "NAME",
                FIELD_VALUE,
                Preset::Off { example: "\"Bearer secret\"", means: "none" },
                "A header field of each request to the collector",
            ),
            names: FIELD_NAMES,
        },
        Preset::Off { example: "{ Authorization = \"Bearer secret\" }", means: "none" },
        "Header fields for the collector, such as a token",
    ),
    key(
        "trust",
        list(&CERTIFICATE_OR_SYSTEM),
        Preset::Off { example: "[\"collector-ca\"]", means: "`[\"system\"]`" },
        "What the certificate of an https collector is checked against",
    ),
    key("service", FREE, Preset::Value("\"ringate\""), "The `service.name` of the spans"),
    key(
        "timeout",
        Kind::Duration { zero: false },
        Preset::Value("\"10s\""),
        "How long the collector may take to answer; a batch that it does not take in three times is dropped. Its `Retry-After` is honoured",
    ),
];
