//! `auth` of a route.

use super::texts::{
    ANY, FIELD, FIELD_NAMES, FIELD_VALUE, FILE, FREE, KEYS_OF_TOKENS, NAME, TARGET, TOKEN_SOURCE,
    TRUSTED_NAME,
};
use super::{Key, Kind, Preset, key, list};
use crate::base::limits::MAX_AUTHORIZATION_BYTES;

pub(super) const KEYS: &[Key] = &[key(
    "auth",
    Kind::Table(&[AUTH]),
    Preset::Dotted,
    "The proof of identity that a client must give; all that is there must hold, and holds behind `allow`, `rate_limit`, CORS, certificates and API keys",
)
.http()
.see("[passwords and tokens](routes.md#passwords)")];

const AUTH: &[Key] = &[
    key(
        "basic",
        Kind::Table(&[BASIC]),
        Preset::Off { example: "{ file = \"users.htpasswd\", realm = \"Orders\", forward = \"X-User\", forward_authorization = false }", means: "none" },
        "A user and a password (`Authorization: Basic`); others: 401",
    )
    .http()
    .see("[passwords](routes.md#passwords)"),
    key(
        "jwt",
        Kind::Table(&[JWT]),
        Preset::Off {
            example: "{ issuer = \"https://login.example\", audience = [\"orders\"], jwks = \"https://login.example/keys\", trust = [\"system\"], refresh = \"5m\", algorithms = [\"RS256\"], leeway = \"60s\", token = \"bearer\", claims = { scope = \"orders\" }, forward = { X-User = \"sub\" }, forward_token = false }",
            means: "none",
        },
        "A signed token (JWT); others: 401, or 403 without the claims that it must have",
    )
    .http()
    .see("[tokens](routes.md#tokens)"),
    key(
        "forward",
        Kind::Table(&[FORWARD]),
        Preset::Off {
            example: "{ upstream = \"authz\", path = \"/check\", method = \"GET\", request_headers = [\"Authorization\", \"Cookie\"], response_headers = [\"X-User\"], refusal_headers = [\"Location\", \"Set-Cookie\", \"WWW-Authenticate\"], success_headers = [\"Set-Cookie\"], timeout = \"5s\", body_bytes = \"16KiB\", on_failure = \"deny\" }",
            means: "none",
        },
        "A service that is asked about each request: a 2xx lets it pass, a 3xx or 4xx is the client's response, anything else is a failure. It is asked last, about requests that have passed all other rules",
    )
    .http()
    .see("[authorization services](routes.md#authorization-services)"),
];

const FORWARD: &[Key] = &[
    key("upstream", NAME, Preset::Required("\"authz\""), "The service, as an upstream").http(),
    key("path", TARGET, Preset::Value("\"/\""), "The path that it is asked at, perhaps with a query").http(),
    key(
        "method",
        Kind::Choice(&["GET", "HEAD", "POST"]),
        Preset::Value("\"GET\""),
        "The method that it is asked with, without a body; the client's own is in X-Forwarded-Method",
    )
    .http(),
    key(
        "request_headers",
        list(&FIELD),
        Preset::Off {
            example: "[\"Authorization\", \"Cookie\"]",
            means: "Accept, Accept-Language, Authorization, Cookie, Origin, Referer, User-Agent, X-Requested-With, traceparent, tracestate",
        },
        "The client's fields that the service gets; `[\"*\"]`: all but those of the connection and of the body",
    )
    .http(),
    key(
        "response_headers",
        list(&FIELD),
        Preset::Off { example: "[\"X-User\"]", means: "none" },
        "Fields of a 2xx of the service that the backend gets; a client's own are dropped, whether the service sends them or not",
    )
    .http(),
    key(
        "refusal_headers",
        Kind::List { of: &FIELD, empty: true },
        Preset::Off {
            example: "[\"Location\", \"Set-Cookie\", \"WWW-Authenticate\"]",
            means: "Location, Retry-After, Set-Cookie, WWW-Authenticate",
        },
        "Fields of a 3xx or 4xx of the service that the client gets, beside its body and Content-Type",
    )
    .http(),
    key(
        "success_headers",
        list(&FIELD),
        Preset::Off { example: "[\"Set-Cookie\"]", means: "none" },
        "Fields of a 2xx of the service that the client gets beside those of the backend's response",
    )
    .http(),
    key(
        "timeout",
        Kind::Duration { zero: false },
        Preset::Value("\"5s\""),
        "Longest time for the whole answer, retries and a wait for a connection included",
    )
    .http(),
    key(
        "body_bytes",
        Kind::Size(0, MAX_AUTHORIZATION_BYTES),
        Preset::Value("\"16KiB\""),
        "Longest body of a 3xx or 4xx that the client gets; instead of a longer one it gets the error page of the status",
    )
    .http(),
    key(
        "on_failure",
        Kind::Choice(&["deny", "allow"]),
        Preset::Value("\"deny\""),
        "What becomes of a request if the service can't be reached, is too slow, breaks the rules of HTTP or answers 5xx: `\"deny\"`: 503; `\"allow\"`: it passes",
    )
    .http(),
];

const BASIC: &[Key] = &[
    key(
        "file",
        FILE,
        Preset::Required("\"users.htpasswd\""),
        "Users and hashes, as `htpasswd` makes them: bcrypt, apr1, `{SHA}`, SHA-256 and SHA-512 crypt. It is read again when it changes",
    )
    .http(),
    key("realm", FIELD_VALUE, Preset::Value("\"Restricted\""), "What a browser names when it asks for the password")
        .http(),
    key(
        "forward",
        FIELD,
        Preset::Off { example: "\"X-User\"", means: "none" },
        "The field that carries the user's name to the backend; a client's own is dropped",
    )
    .http(),
    key(
        "forward_authorization",
        Kind::Boolean,
        Preset::Value("false"),
        "Whether the password itself goes on to the backend",
    )
    .http(),
];

const JWT: &[Key] = &[
    key("issuer", FREE, Preset::Required("\"https://login.example\""), "What `iss` must be").http(),
    key(
        "audience",
        Kind::OneOf(&[FREE, list(&FREE)]),
        Preset::Off { example: "[\"orders\"]", means: "any" },
        "One of these must be in `aud`",
    )
    .http(),
    key(
        "jwks",
        KEYS_OF_TOKENS,
        Preset::Required("\"https://login.example/keys\""),
        "The issuer's keys, a JSON Web Key Set: a file, which is read again when it changes, or an https URL",
    )
    .http(),
    key(
        "trust",
        list(&TRUSTED_NAME),
        Preset::Off { example: "[\"system\"]", means: "the system's CAs" },
        "What the certificate of the URL's server is checked against",
    )
    .http(),
    key(
        "refresh",
        Kind::Duration { zero: false },
        Preset::Value("\"5m\""),
        "How often the URL is fetched; sooner where a token names a key that is not there",
    )
    .http(),
    key(
        "algorithms",
        list(&Kind::Choice(&[
            "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256",
            "HS384", "HS512",
        ])),
        Preset::Off { example: "[\"RS256\", \"ES256\"]", means: "all but HS256, HS384 and HS512" },
        "The algorithms that are accepted; those of HS need a key of the type `oct` in a file",
    )
    .http(),
    key(
        "leeway",
        Kind::Duration { zero: true },
        Preset::Value("\"60s\""),
        "How far the issuer's clock and ours may differ, for `exp`, `nbf` and `iat`",
    )
    .http(),
    key(
        "token",
        TOKEN_SOURCE,
        Preset::Value("\"bearer\""),
        "Where the token is: `Authorization: Bearer`, another field, a cookie or a query parameter",
    )
    .http(),
    key(
        "claims",
        Kind::Map {
            keys: &[],
            any: &key(
                "NAME",
                Kind::OneOf(&[FREE, list(&FREE)]),
                Preset::Off { example: "\"orders\"", means: "any" },
                "A value that the claim must have, or several of which one will do: alone, in a list, or as a word of `scope`",
            )
            .http(),
            names: ANY,
        },
        Preset::Off { example: "{ scope = \"orders\" }", means: "none" },
        "Claims that a token must have; others: 403. `a.b` is `b` in the object `a`",
    )
    .http(),
    key(
        "forward",
        Kind::Map {
            keys: &[],
            any: &key(
                "NAME",
                FREE,
                Preset::Off { example: "\"sub\"", means: "none" },
                "The claim that is the field's value",
            )
            .http(),
            names: FIELD_NAMES,
        },
        Preset::Off { example: "{ X-User = \"sub\" }", means: "none" },
        "Fields that carry claims to the backend; a client's own are dropped",
    )
    .http(),
    key("forward_token", Kind::Boolean, Preset::Value("false"), "Whether the token itself goes on to the backend")
        .http(),
];
