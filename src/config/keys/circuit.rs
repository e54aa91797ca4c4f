//! `[upstream.NAME] limits`: bounds of an upstream and of each of its endpoints.

use super::{Key, Kind, Preset, key};

pub(super) const CIRCUIT: &[Key] = &[
    key(
        "connections",
        Kind::Integer(0, 1_000_000),
        Preset::Value("0"),
        "Most connections to its endpoints, idle ones included; 0: no bound",
    ),
    key(
        "pending",
        Kind::Integer(0, 1_000_000),
        Preset::Value("0"),
        "Most requests for which a connection is being made; 0: no bound",
    ),
    key(
        "requests",
        Kind::Integer(0, 1_000_000),
        Preset::Value("0"),
        "Most requests, or tcp connections, under way; 0: no bound",
    ),
];

pub(super) const CIRCUIT_PER_ENDPOINT: &[Key] = &[key(
    "per_endpoint",
    Kind::Table(&[ENDPOINT_CIRCUIT]),
    Preset::Section,
    "The same for each endpoint: beyond them another one is used and, if none has room: 503",
)];

const ENDPOINT_CIRCUIT: &[Key] = &[
    key(
        "connections",
        Kind::Integer(0, 1_000_000),
        Preset::Value("0"),
        "Most connections to an endpoint, idle ones included; 0: no bound",
    ),
    key(
        "pending",
        Kind::Integer(0, 1_000_000),
        Preset::Value("0"),
        "Most requests for which a connection to an endpoint is being made; 0: no bound",
    ),
    key(
        "requests",
        Kind::Integer(0, 1_000_000),
        Preset::Value("0"),
        "Most requests, or tcp connections, under way at an endpoint; 0: no bound",
    ),
];
