//! `[error_pages]` and `[[listener]]`.

use super::conditions::REFUSE;
use super::process::LIMITS;
use super::route::HEADERS;
use super::rules::{ALLOW_DENY, COMPRESSION, LISTENER_RATE_LIMIT};
use super::texts::{
    CERTIFICATE, ERROR_STATUSES, FIELD_VALUE, FILE, FREE, GROUP, GROUPS, HTTP_URL, LISTEN, NAME, PLACE,
    SOCKET_MODE, SUITE, SUITES, TRUSTED,
};
use super::{Key, Kind, Preset, key, list};
use crate::base::limits::{MAX_HTTP2_HEADER_LIST_BYTES, MAX_HTTP2_STREAMS, MIN_HTTP2_HEADER_LIST_BYTES};

/// Of a listener, of all listeners, and of a route.
pub(super) const PAGES: Kind = Kind::Map {
    keys: &[
        key(
            "json",
            Kind::Boolean,
            Preset::Value("true"),
            "Whether clients that prefer JSON get a problem document (RFC 9457)",
        ),
        INTERCEPT,
    ],
    any: &key(
        "STATUS",
        Kind::OneOf(&[FILE, Kind::Table(&[PAGE])]),
        Preset::Off { example: "\"pages/404.html\"", means: "plain words" },
        "The page of a status from 400 to 599, or of all `4xx` or `5xx`: a file, or a table. \
         `{status}`, `{reason}` and `{request.id}` are filled in",
    ),
    names: "^([45][0-9][0-9]|4xx|5xx)$",
};

const INTERCEPT: Key = key(
    "intercept",
    Kind::List { of: &ERROR_STATUSES, empty: true },
    Preset::Off { example: "[\"404\", \"502-504\"]", means: "none" },
    "Statuses of backends' responses whose body is replaced by the page of the status; without a page, by plain words. Calls of gRPC are left alone",
)
.http()
.see("[pages for backends' errors](routes.md#pages-for-backends-errors)");

const PAGE: &[Key] = &[
    key(
        "file",
        FILE,
        Preset::Off { example: "\"pages/404.html\"", means: "none" },
        "The page's file; this, `text` or `redirect`",
    ),
    key(
        "text",
        FREE,
        Preset::Off { example: "\"{status} {reason}\"", means: "none" },
        "The page itself; this, `file` or `redirect`",
    ),
    key(
        "content_type",
        FIELD_VALUE,
        Preset::Off { example: "\"text/html\"", means: "by the file's name; for `text` plain text" },
        "The page's media type",
    ),
    key(
        "redirect",
        PLACE,
        Preset::Off { example: "\"https://www.example.com/sorry\"", means: "none" },
        "No page: the client is sent to this URL or path; this, `file` or `text`. Logs and counters have the status of the failure",
    ),
    key(
        "status",
        Kind::Numbers(&[301, 302, 303, 307, 308]),
        Preset::Value("302"),
        "With `redirect`: the status of the response",
    ),
];

pub(super) const ERROR_PAGES: &[Key] = &[key(
    "error_pages",
    PAGES,
    Preset::Absent,
    "What clients get where Ringate itself responds with an error; without it, plain words",
)];

pub(super) const KEYS: &[Key] = &[key(
    "listener",
    list(&Kind::Table(&[LISTENER, ALLOW_DENY, RULES, SECTIONS])),
    Preset::AtLeastOne,
    "Where clients connect: at least one",
)];

const LISTENER: &[Key] = &[
    key("name", NAME, Preset::Required("\"public\""), "Unique; letters, digits, `.`, `_`, `-`"),
    key(
        "address",
        Kind::OneOf(&[LISTEN, list(&LISTEN)]),
        Preset::Required("\"127.0.0.1:8443\""),
        "Where to listen: `\"IP:PORT\"`, `\"unix:PATH\"` (`\"unix:@NAME\"`: abstract), or a list of them; port 0: a free one. An address in use is tried for two seconds",
    ),
    key(
        "socket_mode",
        SOCKET_MODE,
        Preset::Value("\"660\""),
        "The permissions of its Unix sockets: a process that may write to one may connect",
    )
    .see("[Unix sockets](operations.md#unix-sockets)"),
    key(
        "ipv6_only",
        Kind::Boolean,
        Preset::Value("true"),
        "Whether `[::]` takes no IPv4 connections, whatever `net.ipv6.bindv6only` is; with `false`, IPv4 clients have their IPv4 addresses everywhere",
    ),
    key("protocol", Kind::Choice(&["http", "tcp", "udp"]), Preset::Value("\"http\""), "HTTP, relayed bytes, or relayed datagrams")
        .see("[UDP](udp.md)"),
    key(
        "environment",
        NAME,
        Preset::Off { example: "\"production\"", means: "none" },
        "Which overlay of its upstreams its traffic uses, where they have one",
    ),
    key(
        "proxy_protocol",
        Kind::Choice(&["off", "v1", "v2", "any"]),
        Preset::Value("\"off\""),
        "Which PROXY header its connections must begin with. Its address is believed: whatever can reach the listener can choose it",
    )
    .see("[the PROXY protocol](proxy-protocol.md)"),
];

/// The values of `allow` and `deny`.
const RULES: &[Key] = &[
    key(
        "client_address",
        Kind::Table(&[CLIENT_ADDRESS]),
        Preset::Off { example: "{ header = \"X-Forwarded-For\", trusted = [\"10.0.0.0/8\"] }", means: "none" },
        "The client behind trusted proxies: requests that come from a `trusted` network are from the client that `header` names, by its rightmost \
         entry that is not trusted. It counts for `allow`, `deny`, `rate_limit`, the access log, `{client.address}` and X-Forwarded-For; \
         `limits.connections_per_client` counts connections, which are the proxy's",
    )
    .http(),
    key(
        "proxy_status",
        Kind::Boolean,
        Preset::Value("true"),
        "Responses of Ringate's own to failures have a Proxy-Status field with the type of the failure (RFC 9209), and nothing else",
    )
    .http()
    .see("[Proxy-Status](http.md#proxy-status)"),
    key(
        "request_id",
        Kind::Choice(&["make", "accept"]),
        Preset::Value("\"make\""),
        "`\"accept\"`: an X-Request-Id that a client sends is kept; for trusted clients only",
    )
    .http(),
    key(
        "compression",
        COMPRESSION,
        Preset::Off { example: "true", means: "`false`" },
        "Whether responses are encoded as their clients prefer it; a route may have its own setting",
    )
    .http(),
    key(
        "refuse",
        REFUSE,
        Preset::Off {
            example: "[{ path = \"/internal\", not = { client = [\"10.0.0.0/8\"] }, status = 404 }]",
            means: "none",
        },
        "Requests that are refused whatever the routes say: tables with the keys of `route.match`, and `host`, `path`, `methods` and `status`; a request that meets all conditions of one gets its status, 403 where that is left out",
    )
    .http()
    .see("[refusals](routes.md#refusals)"),
    key(
        "rate_limit",
        LISTENER_RATE_LIMIT,
        Preset::Off { example: "{ rate = \"1000/s\", burst = 1000, by = \"client\" }", means: "none" },
        "How many requests are served, or `\"100/s\"` alone; more: 429. It holds before any route is chosen, and beside the routes' own limits",
    )
    .http(),
    key(
        "headers",
        HEADERS,
        Preset::Dotted,
        "Header fields that are changed whatever the route, before the route's own changes",
    )
    .http(),
    key(
        "error_pages",
        PAGES,
        Preset::Off { example: "{ 404 = \"pages/404.html\" }", means: "`[error_pages]`" },
        "This listener's pages, which go before those of `[error_pages]`",
    )
    .http(),
];

const CLIENT_ADDRESS: &[Key] = &[
    key(
        "header",
        super::texts::FORWARDED,
        Preset::Required("\"X-Forwarded-For\""),
        "The field with the client's address: X-Forwarded-For or X-Real-IP",
    ),
    key(
        "trusted",
        list(&TRUSTED),
        Preset::Required("[\"10.0.0.0/8\"]"),
        "The networks of the proxies whose field is believed; `\"unix:\"`: proxies that connect over a Unix socket",
    ),
];

const SECTIONS: &[Key] = &[
    key(
        "limits",
        Kind::Overlay { of: &[LIMITS], section: "limits" },
        Preset::Off { example: "{ connections = 1000 }", means: "`[limits]`" },
        "The keys of `[limits]` but `connections_per_worker` and `buffer_memory`, for this listener",
    ),
    key(
        "http",
        Kind::Table(&[HTTP]),
        Preset::Dotted,
        "Which versions of HTTP are served, and the bounds of HTTP/2",
    )
    .see("[HTTP/2](http.md#http2)")
    .http(),
    key("udp", Kind::Table(&[UDP]), Preset::Dotted, "When the sessions of a udp listener end")
        .see("[sessions](udp.md#sessions)")
        .udp(),
    key(
        "tls",
        Kind::Table(&[LISTENER_TLS]),
        Preset::Optional,
        "TLS with clients; without this table the listener is plain",
    ),
];

const HTTP: &[Key] = &[
    key(
        "versions",
        list(&Kind::Choice(&["1.1", "2"])),
        Preset::Value("[\"1.1\", \"2\"]"),
        "The versions of HTTP served: on TLS negotiated by ALPN, on a plain listener HTTP/2 with prior knowledge",
    )
    .http(),
    key(
        "max_concurrent_streams",
        Kind::Integer(1, MAX_HTTP2_STREAMS as u64),
        Preset::Value("128"),
        "Requests of an HTTP/2 connection at a time (SETTINGS_MAX_CONCURRENT_STREAMS)",
    )
    .http(),
    key(
        "header_list_bytes",
        Kind::Size(MIN_HTTP2_HEADER_LIST_BYTES as u64, MAX_HTTP2_HEADER_LIST_BYTES as u64),
        Preset::Value("\"64KiB\""),
        "Longest header list of an HTTP/2 request: names and values, and 32 bytes for each field; more: 431",
    )
    .http(),
];

const UDP: &[Key] = &[
    key(
        "requests",
        Kind::Integer(0, u32::MAX as u64),
        Preset::Off { example: "1", means: "no bound, as with 0" },
        "Datagrams of a client after which its next one begins another session",
    )
    .udp(),
    key(
        "responses",
        Kind::Integer(0, u32::MAX as u64),
        Preset::Off { example: "1", means: "they are not counted, as with 0" },
        "Datagrams that the backend sends for each of the client's, 1 for DNS: a session that has had all of them ends",
    )
    .udp(),
];

const LISTENER_TLS: &[Key] = &[
    key(
        "certificates",
        list(&CERTIFICATE),
        Preset::Required("[\"web\"]"),
        "Chosen by SNI, the first is the default. Each is a name in the store, a file (a value with a slash, or ending with \
         .pem, .crt, .cer, .der, .p12 or .pfx), or a table `{ cert = \"FILE\", key = \"FILE\", passphrase_file = \"FILE\" }`; PKCS#12 needs no key",
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
        "In order of preference. Each version that is enabled needs one; of TLS 1.2 one for the key of a certificate",
    )
    .see("[cipher suites](tls.md#cipher-suites-and-groups)"),
    key(
        "cipher_order",
        Kind::Choice(&["server", "client"]),
        Preset::Value("\"server\""),
        "Whose order of preference decides between the suites that both sides have",
    ),
    key(
        "groups",
        list(&GROUP),
        Preset::Shown { example: GROUPS, means: "all of these" },
        "Key exchange groups, in order of preference; X25519MLKEM768 is of TLS 1.3 alone",
    ),
    key(
        "ocsp",
        Kind::Table(&[OCSP]),
        Preset::Off { example: "{ file = \"web.ocsp\" }", means: "none" },
        "The OCSP responses that are stapled for clients that ask for them: `file` or `fetch`",
    )
    .see("[OCSP](certificates.md#ocsp)"),
    key(
        "client_auth",
        Kind::Choice(&["none", "optional", "required"]),
        Preset::Value("\"none\""),
        "Whether clients are asked for a certificate; `\"required\"`: the handshake fails without one. A certificate that is presented must be valid in either case, unless a route has `credentials` with certificates: then any may be presented with `\"optional\"`, which is their default",
    ),
    key(
        "client_trust",
        list(&CERTIFICATE),
        Preset::Off { example: "[\"partners\"]", means: "required with `client_auth`" },
        "The CAs that issue clients' certificates, or such certificates themselves. A CA out of its time does not vouch, nor one whose keyUsage lacks keyCertSign; \
         a certificate that stands here itself is judged by its own time. If the names do not fit into a TLS message (60,000 bytes), none are sent. An entry may be a folder (its `*.pem`, `*.crt`, `*.cer` and `*.der` files; watched, too) or a PKCS#12 truststore with `passphrase_file`",
    ),
    key(
        "client_crl",
        Kind::OneOf(&[FILE, list(&FILE)]),
        Preset::Off { example: "[\"./partners.crl\"]", means: "none" },
        "Revocation lists, PEM or DER; with any, each certificate of a chain but its root must be covered by one that is not out of date. \
         Of several that cover it, signed by its issuer's key, the newest in its time counts. If the only list of an issuer has ended, its certificates are refused: `check`, the log and `ringate status` warn of it. Delta and indirect lists are refused",
    ),
    key(
        "client_usage",
        Kind::Choice(&["client", "any"]),
        Preset::Off { example: "\"any\"", means: "`\"client\"`" },
        "What a client's certificate must be for, where it has an extended key usage: `\"client\"`: clientAuth (RFC 5280 §4.2.1.12); \
         `\"any\"`: anything, such as serverAuth alone, which is all that public CAs issue",
    )
    .see("[clientAuth](tls.md#certificates-without-clientauth)"),
    key(
        "forward_certificate",
        Kind::Boolean,
        Preset::Off { example: "false", means: "`false`" },
        "Whether backends get the whole certificate in X-Forwarded-Client-Cert, not only its names",
    ),
];

const OCSP: &[Key] = &[
    key(
        "file",
        Kind::OneOf(&[FILE, list(&FILE)]),
        Preset::Off { example: "\"web.ocsp\"", means: "none" },
        "A response in DER or PEM, or a list of them, for the certificates of the listener; watched",
    ),
    key(
        "fetch",
        Kind::Boolean,
        Preset::Value("false"),
        "Whether responses are fetched from each certificate's CA, by the URL in it or by `url`, again at half of their validity",
    ),
    key(
        "url",
        HTTP_URL,
        Preset::Off {
            example: "\"http://ocsp.example\"",
            means: "the URL in the certificate (authorityInfoAccess)",
        },
        "The responder that is asked instead",
    ),
];
