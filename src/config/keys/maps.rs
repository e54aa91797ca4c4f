//! `[map.NAME]`.

use super::texts::{ANY, FILE, MAP_INPUT, MAP_VALUE, NAMES};
use super::{Key, Kind, Preset, key};

pub(super) const KEYS: &[Key] = &[key(
    "map",
    Kind::Map {
        keys: &[],
        any: &key(
            "NAME",
            Kind::Table(&[MAP]),
            Preset::Section,
            "Its value is the variable `{map.NAME}`, and `maps.NAME` in conditions",
        ),
        names: NAMES,
    },
    Preset::Absent,
    "Values by what a request has: the host, a field, the client's network …",
)
.see("[maps](routes.md#maps)")];

const MAP: &[Key] = &[
    key(
        "from",
        MAP_INPUT,
        Preset::Required("\"{request.host}\""),
        "What of a request is looked up: `{request.host}` (without its port, in lower case), `{request.path}`, `{request.target}` (the path, and `?` with the query where there is one), `{request.method}`, `{client.address}`, `{request.header.NAME}`, `{request.cookie.NAME}` or `{request.query.NAME}`",
    )
    .http(),
    key(
        "entries",
        Kind::Map {
            keys: &[],
            any: &key("KEY", MAP_VALUE, Preset::Off { example: "\"alpha\"", means: "none" }, "The value for this key").http(),
            names: ANY,
        },
        Preset::Off {
            example: "{ \"a.example\" = \"alpha\", \"*.b.example\" = \"beta\", \"~ ^c[0-9]+[.]\" = \"gamma\" }",
            means: "none; this or `file`",
        },
        "Values by keys: a whole text, `prefix*`, `*suffix`, `~ REGEX` (`~*`: without regard to case), for `{client.address}` a network; a whole text goes before the longest suffix, the longest prefix and regular expressions in their order",
    )
    .http(),
    key(
        "file",
        FILE,
        Preset::Off { example: "\"tenants.map\"", means: "none; this or `entries`" },
        "The file with the entries: a key, white space and the value on each line; read again when it changes",
    )
    .http(),
    key(
        "default",
        MAP_VALUE,
        Preset::Value("\"\""),
        "The value where no key matches",
    )
    .http(),
    key("any_case", Kind::Boolean, Preset::Value("false"), "Whether keys match without regard to case").http(),
];
