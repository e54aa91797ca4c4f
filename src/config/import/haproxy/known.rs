//! What is known of lines that have no arm: needless ones, and the nearest key of the others.

use super::parse::Item;

/// Why Ringate does without a line.
pub(super) fn needless(item: &Item) -> Option<&'static str> {
    let first = match item.word(0) {
        "no" => item.word(1),
        word => word,
    };
    let option = if first == "option" {
        item.words.iter().rev().find(|word| OPTIONS.iter().any(|(names, _)| names.contains(&word.as_str())))
    } else {
        None
    };
    if first == "option" {
        return OPTIONS
            .iter()
            .find(|(names, _)| option.is_some_and(|word| names.contains(&word.as_str())))
            .map(|(_, why)| *why);
    }
    if first.starts_with("tune.") || first.starts_with("ssl-default-") {
        return Some("the defaults of Ringate hold; TLS has no weak versions and cipher suites");
    }
    NEEDLESS.iter().find(|(names, _)| names.contains(&first)).map(|(_, why)| *why)
}

const NEEDLESS: &[(&[&str], &str)] = &[
    (
        &[
            "daemon",
            "user",
            "group",
            "uid",
            "gid",
            "chroot",
            "pidfile",
            "master-worker",
            "mworker-max-reloads",
            "set-dumpable",
            "ulimit-n",
            "fd-hard-limit",
            "grace",
        ],
        "systemd's unit has the user, and knows the process",
    ),
    (
        &[
            "nbproc",
            "cpu-map",
            "cpu-policy",
            "thread-groups",
            "numa-cpu-mapping",
            "noepoll",
            "nosplice",
            "busy-polling",
            "spread-checks",
            "max-spread-checks",
        ],
        "workers are threads, pinned to CPUs",
    ),
    (
        &[
            "description",
            "node",
            "id",
            "log-tag",
            "log-send-hostname",
            "unique-id-format",
            "unique-id-header",
            "localpeer",
            "quiet",
            "zero-warning",
            "expose-experimental-directives",
            "profiling.tasks",
            "default-path",
            "backlog",
            "enabled",
        ],
        "nothing depends on it",
    ),
    (
        &["maxconn", "maxconnrate", "maxsslconn", "maxsessrate", "maxsslrate"],
        "connections are bound by memory: `limits.buffer_memory`",
    ),
    (
        &["log-stderr", "accepted_payload_size", "parse-resolv-conf", "resolve_retries", "timeout", "hold"],
        "the defaults of Ringate hold",
    ),
    (
        &[
            "fullconn",
            "http-reuse",
            "hash-type",
            "hash-balance-factor",
            "load-server-state-from-file",
            "server-state-file",
            "server-state-base",
            "dispatch",
        ],
        "connections are reused by idempotent requests, and shared by workers",
    ),
    (&["mode", "log"], "it is known from the translation of its section"),
    (&["stick-table"], "counters of rates are Ringate's own, for each listener or route"),
];

const OPTIONS: &[(&[&str], &str)] = &[
    (
        &[
            "httplog",
            "tcplog",
            "dontlognull",
            "dontlog-normal",
            "log-health-checks",
            "log-separate-errors",
            "logasap",
            "socket-stats",
            "tcpka",
            "clitcpka",
            "srvtcpka",
            "contstats",
        ],
        "the access log has a line for each request; health is in the log",
    ),
    (
        &[
            "http-server-close",
            "httpclose",
            "http-keep-alive",
            "http-pretend-keepalive",
            "http-tunnel",
            "forceclose",
            "prefer-last-server",
            "http-no-delay",
            "http-buffer-request",
            "http-use-proxy-header",
        ],
        "connections are kept, to clients and to backends",
    ),
    (&["forwardfor"], "backends get X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host in any case"),
    (
        &[
            "redispatch",
            "abortonclose",
            "allbackups",
            "persist",
            "transparent",
            "splice-auto",
            "splice-request",
            "splice-response",
            "nolinger",
            "tcp-smart-accept",
            "tcp-smart-connect",
            "independent-streams",
            "idle-close-on-response",
            "checkcache",
            "h1-case-adjust-bogus-client",
            "h1-case-adjust-bogus-server",
        ],
        "requests go to another endpoint where one can't be connected to",
    ),
    (
        &["disable-h2-upgrade", "accept-invalid-http-request", "accept-invalid-http-response"],
        "invalid messages are refused in any case",
    ),
    (&["httpchk", "tcp-check", "ssl-hello-chk"], "no server has `check`"),
];

/// Why a line is not in the result, and the nearest key.
pub(super) fn missing(item: &Item) -> (&'static str, Option<&'static str>) {
    let found = MISSING.iter().find(|(words, _, _)| item.is(words));
    found.map_or(("Ringate has no counterpart", None), |(_, why, nearest)| (*why, *nearest))
}

const MISSING: &[(&[&str], &str, Option<&str>)] = &[
    (&["errorfile"], "this page was not translated", Some("route.error_pages")),
    (&["http-error"], "this page was not translated", Some("route.error_pages")),
    (&["errorfiles"], "pages are files without the head of a response", Some("error_pages")),
    (&["errorloc"], "this page was not translated", Some("route.error_pages")),
    (&["errorloc302"], "this page was not translated", Some("route.error_pages")),
    (&["errorloc303"], "this page was not translated", Some("route.error_pages")),
    (&["log-format"], "the access log has variables of its own", Some("log.access_format")),
    (&["stats"], "the admin server has status, metrics and changes", Some("admin.listen")),
    (&["monitor-uri"], "a route with `respond` answers checks of Ringate itself", Some("route.respond")),
    (&["monitor"], "a route with `respond` answers checks of Ringate itself", Some("route.respond")),
    (&["capture"], "the access log names the fields that it has", Some("log.access_format")),
    (&["http-request", "capture"], "the access log names the fields that it has", Some("log.access_format")),
    (
        &["http-request", "set-path"],
        "only the path that a route matches can be replaced",
        Some("route.rewrite_prefix"),
    ),
    (
        &["http-request", "replace-path"],
        "only the path that a route matches can be replaced",
        Some("route.rewrite_prefix"),
    ),
    (
        &["http-request", "replace-uri"],
        "only the path that a route matches can be replaced",
        Some("route.rewrite_prefix"),
    ),
    (
        &["http-request", "set-uri"],
        "only the path that a route matches can be replaced",
        Some("route.rewrite"),
    ),
    (&["http-request", "cache-use"], "responses are not cached", None),
    (&["http-response", "cache-store"], "responses are not cached", None),
    (&["http-request", "lua."], "there is no Lua", None),
    (&["lua-load"], "there is no Lua", None),
    (&["http-request", "set-var"], "variables of the config's own are not there", None),
    (&["http-request", "auth"], "logins were not translated", Some("route.auth.basic")),
    (&["http-request"], "this rule was not translated", Some("route")),
    (&["http-response"], "this rule was not translated", Some("route.headers.response")),
    (&["http-after-response"], "this rule was not translated", Some("listener.headers.response")),
    (&["tcp-request"], "this rule was not translated", Some("listener.deny")),
    (&["tcp-response"], "this rule was not translated", None),
    (&["filter"], "filters are not there", None),
    (&["acl"], "no rule that was translated uses it", Some("route.match")),
    (&["stick"], "sessions stick by a cookie, or by a hash", Some("upstream.sticky")),
    (&["email-alert"], "there are no mails: alert by the metrics", None),
    (&["option"], "this option is not there", None),
    (&["external-check"], "checks are tcp, tls, http or grpc", Some("upstream.health.type")),
    (&["tcp-check"], "a check of tcp is a connection", Some("upstream.health.type")),
    (&["http-check"], "this kind of check was not translated", Some("upstream.health")),
    (&["source"], "the source address is the upstream's", Some("upstream.bind_address")),
    (&["use-server"], "endpoints are chosen by `balance`", Some("upstream.balance")),
    (&["force-persist"], "sessions stick by a cookie of Ringate's own", Some("upstream.sticky")),
];

/// Of a section that is not translated.
pub(super) fn section(kind: &str) -> (&'static str, Option<&'static str>) {
    match kind {
        "peers" => ("counters are of one process", None),
        "cache" => ("responses are not cached", None),
        "mailers" => ("there are no mails: alert by the metrics", None),
        "program" => ("systemd starts other programs", None),
        "http-errors" => ("pages are files without the head of a response", Some("error_pages")),
        "fcgi-app" => ("FastCGI is not spoken", Some("upstream")),
        _ => ("this section has no counterpart", None),
    }
}
