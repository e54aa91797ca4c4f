//! `[credentials.NAME]`.

use super::texts::{FREE, NAMES, STORED_NAME};
use super::{Key, Kind, Preset, key};

pub(super) const KEYS: &[Key] = &[key(
    "credentials",
    Kind::Map {
        keys: &[],
        any: &key(
            "NAME",
            Kind::Table(&[DEFINITION]),
            Preset::Section,
            "A kind of credential that consumers can ask for; routes refer to it by its name",
        ),
        names: NAMES,
    },
    Preset::Absent,
    "What consumers call APIs with: see `ringate consumer` and `ringate credential`",
)
.see("[consumers and credentials](consumers.md)")];

const DEFINITION: &[Key] = &[
    key(
        "title",
        FREE,
        Preset::Off { example: "\"API Key and mTLS\"", means: "the name" },
        "For people",
    ),
    key("api_key", Kind::Boolean, Preset::Value("false"), "An API key is issued; this or `mtls`, or both"),
    key(
        "mtls",
        Kind::Boolean,
        Preset::Value("false"),
        "A client certificate belongs to it; with `api_key`, the key counts only on a connection with that certificate",
    )
    .see("[certificates](consumers.md#certificates)"),
    key(
        "javascript_origins",
        Kind::Boolean,
        Preset::Value("false"),
        "Whether the consumer may name origins: these are the credential's CORS policy",
    )
    .see("[origins](consumers.md#origins)"),
    key(
        "expiry",
        Kind::Duration { zero: false },
        Preset::Off { example: "\"60d\"", means: "no end" },
        "How long it is valid once it is issued or renewed; 3650 days at most",
    ),
    key("suspendable", Kind::Boolean, Preset::Value("true"), "Whether it can be suspended"),
    key(
        "approval",
        Kind::Choice(&["manual", "automatic"]),
        Preset::Value("\"manual\""),
        "Whether a person approves each request, or it is issued at once",
    ),
    key(
        "issuer",
        STORED_NAME,
        Preset::Off { example: "\"consumers-ca\"", means: "consumers bring their certificates" },
        "The CA of the store, with its key, that signs certificates requested by CSR; needs `mtls`",
    ),
];
