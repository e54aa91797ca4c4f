//! The forms of single values that several keys share.

use super::{Key, Kind, Preset, Text, key};

const fn text(what: &'static str, pattern: &'static str) -> Kind {
    Kind::Text(Text { what, pattern })
}

/// Names of listeners, upstreams, environments.
pub(super) const NAMES: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$";
/// Names of header fields (RFC 9110 §5.1).
pub(super) const FIELD_NAMES: &str = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";
/// Any name.
pub(super) const ANY: &str = "^";

pub(super) const NAME: Kind = text("name", NAMES);
/// Names of certificates in the store.
pub(super) const STORED_NAME: Kind = text("name in the store", NAMES);
/// Paths of `try_files`.
pub(super) const TRIED: Kind = text("path with `{path}`, or `\"=404\"`", "^(/|[{]path[}]|=[45][0-9][0-9]$)");
pub(super) const FREE: Kind = text("text", ANY);
pub(super) const FILE: Kind = text("path", "^.");
pub(super) const PATTERN: Kind = text("path with `*`, `?` and `[…]`", "^.");
pub(super) const FIELD: Kind = text("header name", FIELD_NAMES);
/// A request-target: a path, and perhaps a query.
pub(super) const TARGET: Kind = text("path, or path and query", "^/[!-\"$-~]*$");
pub(super) const CHARSET: Kind = text("name of a charset, or `\"none\"`", FIELD_NAMES);
pub(super) const FIELD_VALUE: Kind = text("value", "^[\\t -~]*$");
pub(super) const FORMAT: Kind = text("`\"text\"`, `\"json\"` or a line with `{variables}`", "^.");
pub(super) const TEMPLATE: Kind = text("value with `{variables}`", "^[\\t -~]*$");
pub(super) const HOST: Kind = text("host", "^[^*/ ]+$");
pub(super) const HOST_PATTERN: Kind = text("host or `\"*.host\"`", "^([*][.])?[^*/ ]+$");
pub(super) const URL_PATH: Kind = text("path", "^/");
pub(super) const MAPPED_PATH: Kind = text("path with `{map.NAME}`", "^(/|[{]map[.])");
pub(super) const PLACE: Kind = text("URL or path", "^(/|[A-Za-z][A-Za-z0-9+.-]*://)");
pub(super) const LOCATION: Kind =
    text("URL or path with `{map.NAME}`", "^(/|[{]map[.]|[A-Za-z][A-Za-z0-9+.-]*://)");
pub(super) const PATH_PATTERN: Kind =
    text("`\"/prefix\"`, `\"=/exact\"`, `\"*.suffix\"`, `\"~ REGEX\"`", "^(=?/|[*][^*]|~)");
pub(super) const METHOD: Kind = text("method", "^[!#$%&'+.^_`|~0-9A-Z-]+$");
pub(super) const NETWORK: Kind = text("network", "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$");
pub(super) const TRUSTED: Kind = text("network, or `\"unix:\"`", "^([0-9A-Fa-f:.]+(/[0-9]{1,3})?|unix:)$");
pub(super) const SOCKET_MODE: Kind = text("octal mode", "^0?[0-7]{3}$");
pub(super) const LISTEN: Kind =
    text("`\"unix:PATH\"` or `\"IP:PORT\"`", "^(unix:.+|([0-9.]+|\\[[0-9A-Fa-f:.%]+\\]):[0-9]{1,5})$");
pub(super) const ENDPOINT: Kind = text(
    "`\"HOST:PORT\"`, `\"unix:PATH\"`, `\"dns:HOST:PORT\"`, `\"srv:NAME\"`, `\"file:PATH\"`",
    "^((dns:)?([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\]):[0-9]{1,5}|unix:.+|srv:[A-Za-z0-9._-]+|file:.+)$",
);
pub(super) const COLLECTOR: Kind =
    text("`\"http://HOST[:PORT]\"` or `\"https://…\"`", "^[hH][tT][tT][pP][sS]?://[^?#@ ]+$");
pub(super) const HTTP_URL: Kind = text("`\"http://HOST[:PORT][/PATH]\"`", "^[hH][tT][tT][pP]://[^?#@ ]+$");
pub(super) const NAME_SERVER: Kind =
    text("name server", "^([0-9A-Fa-f:.]+|([0-9.]+|\\[[0-9A-Fa-f:.]+\\])(:[0-9]{1,5})?)$");
pub(super) const SOURCE: Kind = text("IP address", "^[0-9A-Fa-f:.]+$");
pub(super) const COOKIE: Kind = text("cookie name", FIELD_NAMES);
pub(super) const HASHED: Kind = text(
    "`\"header:NAME\"`, `\"cookie:NAME\"`, `\"query:NAME\"`, `\"client-address\"` or `\"path\"`",
    "^(client-address|path|(header|cookie):[!#$%&'*+.^_`|~0-9A-Za-z-]+|query:[^&=# ]+)$",
);
pub(super) const CPUS: Kind =
    text("CPU list, `\"0-3,8\"`", "^ *[0-9]+( *- *[0-9]+)? *( *, *[0-9]+( *- *[0-9]+)? *)*$");
pub(super) const REQUEST_RATE: Kind = text("`\"100/s\"`, `\"20/m\"`, `\"5/h\"`", "^0*[1-9][0-9]*/[smh]$");
pub(super) const MEDIA_RANGE: Kind =
    text("media type", "^[A-Za-z0-9!#$&^_.+-]+/([A-Za-z0-9!#$&^_.+-]+|[*])$");
pub(super) const ORIGIN: Kind =
    text("`\"https://host[:port]\"`, `\"https://*.host\"` or `\"*\"`", "^([*]|[A-Za-z0-9+.-]+://[^/ ]+)$");
pub(super) const PIN: Kind = text("`\"sha256/BASE64\"`", "^sha256/[A-Za-z0-9+/]{43}=$");
pub(super) const SUBJECT: Kind = text("subject", "^[^/=]+=");
pub(super) const SAN: Kind = text("name, URI, e-mail or IP address", "^.");
pub(super) const API_KEYS: Kind = text("name in the store or file", "^.");
pub(super) const ACCESS: Kind = text(
    "`\"off\"`, `\"stdout\"`, a file, `\"syslog:HOST:PORT\"`, `\"syslog:unix:PATH\"` or `\"journald\"`",
    "^(off|stdout|journald(:/.+)?|syslog:[^/].*|[^:]*[/.][^:]*|[^:/]*/.*)$",
);
pub(super) const MAP_INPUT: Kind = text(
    "one variable of the request",
    "^[{](request[.](host|path|target|method|(header|cookie|query)[.][^{}]+)|client[.]address)[}]$",
);
pub(super) const MAP_VALUE: Kind = text("value", "^[\\t -~]{0,1024}$");
pub(super) const LOG_CHOICE: Kind = text("`\"off\"`, or a name in `log.named`", NAMES);
pub(super) const STORED: Kind = text("name in the store or file", "^.");

pub(super) const REGEX: Kind = text("regular expression", "^.");
pub(super) const KEYS_OF_TOKENS: Kind = text("file or https URL", "^.");
pub(super) const TRUSTED_NAME: Kind = text("`\"system\"`, name in the store or file", "^.");
pub(super) const TOKEN_SOURCE: Kind = text(
    "`\"bearer\"`, `\"header:NAME\"`, `\"cookie:NAME\"` or `\"query:NAME\"`",
    "^(bearer|(header|cookie):[!#$%&'*+.^_`|~0-9A-Za-z-]+|query:[^&=# ]+)$",
);
pub(super) const STATUSES: Kind = text("`\"200\"` or `\"200-399\"`", "^[2-5][0-9][0-9](-[2-5][0-9][0-9])?$");
pub(super) const PERCENT: Kind = text("`\"0%\"` to `\"100%\"`", "^(100|[0-9]{1,2})%$");

/// A certificate with its key: the forms of `listener.tls.certificates`.
pub(super) const CERTIFICATE: Kind = Kind::OneOf(&[STORED, Kind::Table(&[CERTIFICATE_FILES])]);

/// The same, or `false`.
pub(super) const CERTIFICATE_OR_NONE: Kind =
    Kind::OneOf(&[STORED, Kind::Table(&[CERTIFICATE_FILES]), Kind::Boolean]);

const CERTIFICATE_FILES: &[Key] = &[
    key(
        "cert",
        FILE,
        Preset::Required("\"web.pem\""),
        "The file with the certificate and its chain, or a PKCS#12 container",
    ),
    key(
        "key",
        FILE,
        Preset::Off { example: "\"web.key\"", means: "required, but for PKCS#12 or with `passphrase_file`" },
        "The file with the private key",
    ),
    key(
        "passphrase_file",
        FILE,
        Preset::Off { example: "\"web.passphrase\"", means: "none" },
        "The file with the passphrase that the key or the container is encrypted with",
    ),
];
/// Fields that a client's address is taken from.
pub(super) const FORWARDED: Kind = text(
    "`\"X-Forwarded-For\"` or `\"X-Real-IP\"`",
    "^[Xx]-([Ff][Oo][Rr][Ww][Aa][Rr][Dd][Ee][Dd]-[Ff][Oo][Rr]|[Rr][Ee][Aa][Ll]-[Ii][Pp])$",
);
pub(super) const STAR: Kind = Kind::Choice(&["*"]);
pub(super) const ERROR_STATUSES: Kind =
    text("`\"404\"`, `\"502-504\"`, `\"4xx\"` or `\"5xx\"`", "^([45][0-9][0-9](-[45][0-9][0-9])?|[45]xx)$");
pub(super) const RESPONSE_STATUSES: Kind =
    text("`\"404\"`, `\"502-504\"` or `\"5xx\"`", "^([2-5][0-9][0-9](-[2-5][0-9][0-9])?|[2-5]xx)$");
pub(super) const STATUS: Kind = text("a status from `\"400\"` to `\"599\"`", "^[45][0-9][0-9]$");
/// What a backend's certificate is checked against.
pub(super) const CERTIFICATE_OR_SYSTEM: Kind =
    Kind::OneOf(&[text("`\"system\"`, name in the store or file", "^."), Kind::Table(&[CERTIFICATE_FILES])]);

/// Every cipher suite.
pub(super) const SUITES: &str = "[\"TLS13_AES_128_GCM_SHA256\", \"TLS13_AES_256_GCM_SHA384\", \"TLS13_CHACHA20_POLY1305_SHA256\", \
     \"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\", \"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384\", \
     \"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256\", \"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\", \
     \"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384\", \"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256\"]";
/// The names of the three suites of TLS 1.3 are accepted with `TLS_` before them, too: the IANA's.
pub(super) const SUITE: Kind = Kind::Choice(&[
    "TLS13_AES_128_GCM_SHA256",
    "TLS13_AES_256_GCM_SHA384",
    "TLS13_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
]);
/// Every key exchange group.
pub(super) const GROUPS: &str = "[\"X25519MLKEM768\", \"X25519\", \"secp256r1\", \"secp384r1\"]";
pub(super) const GROUP: Kind = Kind::Choice(&["X25519MLKEM768", "X25519", "secp256r1", "secp384r1"]);
