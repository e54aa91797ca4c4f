//! `[[route]]`.

use super::auth;
use super::conditions::{COMBINED, CONDITIONS};
use super::rules::{self, ALLOW_DENY};
use super::texts::{
    CHARSET, FIELD, FIELD_NAMES, FIELD_VALUE, FILE, FREE, HOST, HOST_PATTERN, LOCATION, LOG_CHOICE,
    MAPPED_PATH, METHOD, NAME, PATH_PATTERN, SAN, SUBJECT, TEMPLATE, TRIED, URL_PATH,
};
use super::{Key, Kind, Preset, key, list};
use crate::base::limits::MAX_COUNT;

pub(super) const KEYS: &[Key] = &[key(
    "route",
    list(&Kind::Table(&[
        MATCHES,
        CHANGES,
        ALLOW_DENY,
        PATHS,
        CERTIFICATES,
        DESTINATION,
        rules::KEYS,
        auth::KEYS,
    ])),
    Preset::AtLeastOne,
    "Which traffic goes where: at least one for each listener; a tcp listener's differ in `sni`",
)];

const MATCHES: &[Key] = &[
    key(
        "listener",
        Kind::OneOf(&[NAME, list(&NAME)]),
        Preset::Shown { example: "\"public\"", means: "the only one that can be meant" },
        "Where the traffic comes in: a name or a list of names",
    ),
    key(
        "host",
        Kind::OneOf(&[HOST_PATTERN, list(&HOST_PATTERN)]),
        Preset::Off { example: "\"api.example.com\"", means: "any" },
        "A name, an address, or `\"*.example.com\"`; or a list of these",
    )
    .http(),
    key(
        "path",
        PATH_PATTERN,
        Preset::Value("\"/\""),
        "This path and all below it; `\"=/orders\"` is that path alone, `\"*.png\"` all that end so, `\"~ ^/v[0-9]+/\"` all of which the regular expression matches a part (`~*`: without regard to case)",
    )
    .http()
    .see("[routing](routes.md#routing)"),
    key(
        "methods",
        list(&METHOD),
        Preset::Off { example: "[\"GET\", \"POST\"]", means: "any" },
        "Which methods, in capitals; GET does not imply HEAD",
    )
    .http(),
    key("match", Kind::Table(&[CONDITIONS, COMBINED]), Preset::Dotted, "What else a request must have").http(),
];

/// `headers` of a route or a listener.
pub(super) const HEADERS: Kind = Kind::Table(&[EDITS, WHEN]);

/// `request` and `response`.
pub(super) const EDITS: &[Key] = &[
    key("request", Kind::Table(&[REQUEST_EDITS]), Preset::Dotted, "What backends get").http(),
    key("response", Kind::Table(&[RESPONSE_EDITS]), Preset::Dotted, "What clients get").http(),
];

const WHEN: &[Key] = &[key(
    "when",
    super::conditions::WHEN,
    Preset::Off {
        example: "[{ path = \"/api\", not = { client = [\"10.0.0.0/8\"] }, request = { set = { X-Outside = \"1\" } } }, { status = [\"5xx\"], response = { set = { Cache-Control = \"no-store\" } } }]",
        means: "none",
    },
    "Changes under conditions, behind those of `request` and `response`: tables with the keys of `match`, and `host`, `path`, `methods` and `status`, with `request` and `response`; each holds if all of its conditions do",
)
.http()
.see("[header rules under conditions](routes.md#header-rules-under-conditions)")];

const CHANGES: &[Key] = &[
    key("headers", HEADERS, Preset::Dotted, "Header fields that are changed on the way").http(),
    key(
        "timeouts",
        Kind::Table(&[&[
            key(
                "response",
                Kind::Duration { zero: false },
                Preset::Off { example: "\"5s\"", means: "the upstream's" },
                "From the request's end to the response's head; longer: 504",
            )
            .http(),
            key(
                "idle",
                Kind::Duration { zero: false },
                Preset::Off { example: "\"60s\"", means: "the upstream's" },
                "Longest time without progress in a response",
            )
            .http(),
        ]]),
        Preset::Off { example: "{ response = \"5s\", idle = \"60s\" }", means: "the upstream's" },
        "Instead of the upstream's",
    )
    .http(),
    key(
        "access_log",
        Kind::OneOf(&[LOG_CHOICE, Kind::Table(&[ACCESS_LOG])]),
        Preset::Off { example: "{ log = \"api\", sample = 0.1 }", means: "`log.access`, a line for each request" },
        "The access log of the route: `\"off\"`, a name in `log.named`, or a table",
    )
    .http()
    .see("[logs of routes](observability.md#logs-of-routes)"),
    key(
        "limits",
        Kind::Table(&[LIMITS]),
        Preset::Off {
            example: "{ body_bytes = \"10MiB\", response_rate = \"1MiB/s\", response_burst = \"4MiB\", requests = 100, requests_per_client = 10 }",
            means: "none",
        },
        "Bounds of the route's requests and responses",
    )
    .http()
    .see("[limits of a route](routes.md#limits-of-a-route)"),
];

const ACCESS_LOG: &[Key] = &[
    key(
        "log",
        LOG_CHOICE,
        Preset::Off { example: "\"api\"", means: "`log.access`" },
        "The name of the log in `log.named`",
    )
    .http(),
    key(
        "sample",
        Kind::Share,
        Preset::Value("1"),
        "The share of requests that have a line; those that fail, or get a status from 400 on, have one in any case: with 0 these alone",
    )
    .http(),
];

const LIMITS: &[Key] = &[
    key(
        "body_bytes",
        Kind::Size(0, i64::MAX as u64),
        Preset::Off { example: "\"10MiB\"", means: "the listener's `limits.body_bytes`" },
        "Longest request body, in the place of the listener's bound, 0: no bound; longer: 413",
    )
    .http(),
    key(
        "response_rate",
        Kind::Rate,
        Preset::Off { example: "\"1MiB/s\"", means: "no bound, as with 0" },
        "Most bytes of each response that are sent in a second, at least 1KiB/s",
    )
    .http(),
    key(
        "response_burst",
        Kind::Size(0, i64::MAX as u64),
        Preset::Off { example: "\"4MiB\"", means: "0" },
        "Bytes of each response that are sent before `response_rate` holds",
    )
    .http(),
    key(
        "requests",
        Kind::Integer(0, MAX_COUNT),
        Preset::Off { example: "100", means: "no bound, as with 0" },
        "Most requests of the route at a time, over all workers; more: 503",
    )
    .http(),
    key(
        "requests_per_client",
        Kind::Integer(0, MAX_COUNT),
        Preset::Off { example: "10", means: "no bound, as with 0" },
        "Most of them from one client address (IPv6: one /64); more: 429",
    )
    .http(),
];

const fn none(example: &'static str) -> Preset {
    Preset::Off { example, means: "none" }
}

/// `set`, `add` and `remove`. Each has an example, and a meaning where it differs between requests and responses.
const fn edits(
    field: &'static Key,
    set: (&'static str, &'static str),
    add: &'static str,
    remove: (&'static str, &'static str),
) -> [Key; 3] {
    [
        key("set", Kind::Map { keys: &[], any: field, names: FIELD_NAMES }, none(set.0), set.1).http(),
        key("add", ADDED, none(add), "Fields beside those of their name").http(),
        key("remove", list(&FIELD), none(remove.0), remove.1).http(),
    ]
}

const REQUEST_FIELD: Key = key(
    "NAME",
    TEMPLATE,
    none("\"ringate\""),
    "Replaces every field of this name; `Host` takes no variables",
)
.http();

const REQUEST_EDITS: &[Key] = &edits(
    &REQUEST_FIELD,
    (
        "{ X-Gateway = \"ringate\", X-Client = \"{client.address}\" }",
        "Fields that replace those of their name; `Host` takes no variables",
    ),
    "{ X-Seen = [\"a\", \"b\"] }",
    ("[\"Cookie\"]", "Fields that do not reach the backend"),
);

const RESPONSE_FIELD: Key =
    key("NAME", TEMPLATE, none("\"no-store\""), "Replaces every field of this name").http();

const RESPONSE_EDITS: &[Key] = &edits(
    &RESPONSE_FIELD,
    (
        "{ Cache-Control = \"no-store\" }",
        "The same for responses, those of Ringate itself as well: redirects, fixed responses, refusals and failures of a backend",
    ),
    "{ Vary = \"Origin\" }",
    ("[\"Server\"]", "Fields that do not reach the client"),
);

const ADDED: Kind = Kind::Map {
    keys: &[],
    any: &key(
        "NAME",
        Kind::OneOf(&[TEMPLATE, list(&TEMPLATE)]),
        Preset::Off { example: "\"value\"", means: "none" },
        "A value, or a list of values, which are added beside the fields of this name",
    )
    .http(),
    names: FIELD_NAMES,
};

const PATHS: &[Key] = &[
    key(
        "strip_prefix",
        Kind::Boolean,
        Preset::Value("false"),
        "Whether what `path` matched is removed before the request goes on",
    )
    .http(),
    key(
        "rewrite_prefix",
        URL_PATH,
        Preset::Off { example: "\"/v2\"", means: "none" },
        "Replaces what `path` matched",
    )
    .http(),
    key(
        "rewrite",
        MAPPED_PATH,
        Preset::Off { example: "\"/index.html\"", means: "none" },
        "Replaces the whole path; the query stays, as with the other two. `\"{map.NAME}\"`: by the value of a map, unless that is empty",
    )
    .http(),
    key(
        "rewrite_responses",
        Kind::Boolean,
        Preset::Value("true"),
        "Whether, with `strip_prefix` or `rewrite_prefix`, paths in Location, Refresh and Set-Cookie get their prefix back, and, where `headers.request.set.Host` names another host, the backend's name leaves them",
    )
    .http()
    .see("[paths](routes.md#paths)"),
    key(
        "merge_slashes",
        Kind::Boolean,
        Preset::Value("true"),
        "`false`: slashes in a row go on as they came, for object stores and signed URLs. Routes and rules still see one slash, and where the path with \
         all of its slashes would match another route it goes on with one",
    )
    .http(),
    key(
        "encoded_slashes",
        Kind::Choice(&["refuse", "pass"]),
        Preset::Value("\"refuse\""),
        "`%2F` in a path: 400, or on as it is, if with `/` in its place the path would match the same route",
    )
    .http(),
    key(
        "grpc_web",
        Kind::Boolean,
        Preset::Value("false"),
        "`true`: calls of gRPC-Web (`application/grpc-web` and `application/grpc-web-text`, as browsers make them) reach the backend as calls of gRPC. \
         Its upstreams have `http = \"2\"` or `\"auto\"`",
    )
    .http()
    .see("[gRPC-Web](http.md#grpc-web)"),
    key(
        "sni",
        HOST_PATTERN,
        Preset::Off { example: "\"*.db.internal\"", means: "any" },
        "The server name that a TLS client asks for; the TLS goes on unopened. Only for listeners without `tls`",
    )
    .tcp(),
];

const CERTIFICATES: &[Key] = &[
    key(
        "require_client_certificate",
        Kind::Boolean,
        Preset::Off { example: "false", means: "`false`" },
        "Whether clients without a verified certificate get 403",
    )
    .http(),
    key(
        "client_certificate",
        Kind::Table(&[&[
            key(
                "subject",
                Kind::OneOf(&[SUBJECT, list(&SUBJECT)]),
                Preset::Off { example: "[\"CN=orders,O=Example\"]", means: "any" },
                "One of these is its subject by RFC 4514; `*` is any part of one value",
            )
            .http(),
            key(
                "san",
                Kind::OneOf(&[SAN, list(&SAN)]),
                Preset::Off { example: "[\"spiffe://example.com/*\"]", means: "any" },
                "One of these is among its names: `\"a.example\"`, `\"*.a.example\"`, `\"spiffe://…\"` with `*` within a segment, an e-mail or IP address",
            )
            .http(),
        ]]),
        Preset::Off {
            example: "{ subject = [\"CN=orders,O=Example\"], san = [\"spiffe://example.com/*\", \"*.partners.example\"] }",
            means: "any",
        },
        "What a client's certificate must name; others: 403",
    )
    .http(),
];

const DESTINATION: &[Key] = &[
    key(
        "upstream",
        NAME,
        Preset::Shown { example: "\"orders\"", means: "required, unless the route has `upstreams`, `redirect`, `respond`, `portal` or `root`" },
        "Where the traffic goes",
    ),
    key(
        "upstreams",
        list(&Kind::Table(&[SHARE])),
        Preset::Off { example: "[{ name = \"orders\", weight = 9 }, { name = \"orders-new\", weight = 1 }]", means: "none" },
        "Several upstreams, each with its share of the requests",
    )
    .http(),
    key(
        "redirect",
        Kind::Table(&[REDIRECT]),
        Preset::Off {
            example: "{ status = 307, scheme = \"https\", host = \"www.example.com\", port = 8443, path = \"/new\" }",
            means: "none",
        },
        "Send the client elsewhere; at least one of its keys but `status` says where (`rewrite_prefix` instead of `path`: what `path` of the route matched; `location` instead of all of them)",
    )
    .http(),
    key(
        "respond",
        Kind::Table(&[RESPOND]),
        Preset::Off {
            example: "{ status = 200, body = \"\", content_type = \"text/plain; charset=utf-8\" }",
            means: "none",
        },
        "A fixed response, without a backend",
    )
    .http(),
    key(
        "portal",
        Kind::Table(&[PORTAL]),
        Preset::Off {
            example: "{ title = \"Our APIs\", requests = false, gateway_keys = false, pending = 100, hourly = 10 }",
            means: "none",
        },
        "A page for consumers: the APIs of the listener that accept credentials, how to make and install a client certificate, and whether the one presented is accepted",
    )
    .http()
    .see("[a page for consumers](consumers.md#a-page-for-consumers)"),
    key(
        "root",
        FILE,
        Preset::Off { example: "\"public\"", means: "none" },
        "Files below this folder, relative to the config file's own: the request's path, as `strip_prefix` or `rewrite_prefix` leave it, names one",
    )
    .http()
    .see("[files](routes.md#files)"),
    key(
        "index",
        list(&FREE),
        Preset::Off { example: "[\"index.html\"]", means: "`[\"index.html\"]`" },
        "With `root`: what is sent for a folder, the first of these names that is there; none: 403",
    )
    .http(),
    key(
        "try_files",
        list(&TRIED),
        Preset::Off { example: "[\"{path}\", \"{path}/\", \"/index.html\"]", means: "`[\"{path}\", \"{path}/\"]`" },
        "With `root`: paths below it, the first of which that is there is sent; `{path}` is the request's, a slash at the end means a folder, `\"=404\"` as the last one is a status",
    )
    .http(),
    key(
        "precompressed",
        list(&Kind::Choice(&["br", "zstd", "gzip"])),
        Preset::Off { example: "[\"br\", \"zstd\", \"gzip\"]", means: "none" },
        "With `root`: `FILE.br`, `FILE.zst` or `FILE.gz` is sent instead of FILE to clients that accept it; the first one where a client prefers several as much",
    )
    .http(),
    key(
        "cache_control",
        FIELD_VALUE,
        Preset::Off { example: "\"public, max-age=3600\"", means: "none" },
        "With `root`: the Cache-Control field of responses with a file",
    )
    .http(),
    key(
        "charset",
        CHARSET,
        Preset::Off { example: "\"iso-8859-1\"", means: "`\"utf-8\"`" },
        "With `root`: the `charset` of media types that begin with `text/`; `\"none\"`: they have none",
    )
    .http(),
    key(
        "symlinks",
        Kind::Choice(&["inside", "none"]),
        Preset::Off { example: "\"none\"", means: "`\"inside\"`" },
        "With `root`: which symbolic links are followed, those that stay below the root, or none; none ever leads out of it",
    )
    .http(),
    key(
        "dot_files",
        Kind::Boolean,
        Preset::Off { example: "true", means: "`false`" },
        "With `root`: whether names that begin with a dot are served, too; `/.well-known/` always is",
    )
    .http(),
];

const PORTAL: &[Key] = &[
    key("title", FREE, Preset::Value("\"APIs\""), "The title of the page").http(),
    key(
        "requests",
        Kind::Boolean,
        Preset::Value("false"),
        "A form for requests, which end in the queue of `ringate credential list --state requested`",
    )
    .http()
    .see("[requests](consumers.md#requests-by-the-page)"),
    key(
        "gateway_keys",
        Kind::Boolean,
        Preset::Value("false"),
        "Consumers may let the gateway make the key of a certificate: it is shown once, in a PKCS#12, and forgotten; needs `requests` and `issuer` of the definition",
    )
    .http(),
    key("pending", Kind::Integer(1, 10_000), Preset::Value("100"), "Most requests that wait for a decision, or to be collected")
        .http(),
    key(
        "hourly",
        Kind::Integer(1, 10_000),
        Preset::Value("10"),
        "Requests of one client address in an hour; all clients together may make ten times as many",
    )
    .http(),
];

const SHARE: &[Key] = &[
    key("name", NAME, Preset::Required("\"orders\""), "The upstream").http(),
    key("weight", Kind::Integer(1, 1000), Preset::Value("1"), "Its share of the requests").http(),
];

const REDIRECT: &[Key] = &[
    key(
        "status",
        Kind::Numbers(&[301, 302, 303, 307, 308]),
        Preset::Value("307"),
        "The status of the response",
    )
    .http(),
    key(
        "scheme",
        Kind::Choice(&["http", "https"]),
        Preset::Off { example: "\"https\"", means: "as the request" },
        "The scheme of the target",
    )
    .http(),
    key(
        "host",
        HOST,
        Preset::Off { example: "\"www.example.com\"", means: "as the request" },
        "The host of the target, in which `{map.NAME}` may stand",
    )
    .http(),
    key(
        "port",
        Kind::Integer(1, 65_535),
        Preset::Off { example: "8443", means: "the request's, or a new scheme's own" },
        "The port of the target, also with another `host`",
    )
    .http(),
    key(
        "path",
        MAPPED_PATH,
        Preset::Off { example: "\"/new\"", means: "as the request" },
        "All of the path, in which `{map.NAME}` may stand; the query stays",
    )
    .http(),
    key(
        "rewrite_prefix",
        URL_PATH,
        Preset::Off { example: "\"/v2\"", means: "as the request" },
        "Replaces what the route's `path` matched",
    )
    .http(),
    key(
        "location",
        LOCATION,
        Preset::Off { example: "\"https://www.example.com/new\"", means: "from the others" },
        "All of the target, in the place of the other keys: a URL, or a path; the request's query does not stay. Where a map in it has no value for \
         the request: 404",
    )
    .http()
    .see("[redirects](routes.md#redirects-by-a-map)"),
];

const RESPOND: &[Key] = &[
    key("status", Kind::Integer(200, 599), Preset::Value("200"), "The status").http(),
    key("body", FREE, Preset::Value("\"\""), "The body; none with 204, 205 and 304").http(),
    key("content_type", FIELD_VALUE, Preset::Value("\"text/plain; charset=utf-8\""), "The body's media type")
        .http(),
];
