//! What is known of directives that have no arm: needless ones, and the nearest key of the others.

/// Why Ringate does without a directive.
pub(super) fn needless(name: &str) -> Option<&'static str> {
    let found = NEEDLESS.iter().find(|(names, _)| names.contains(&name)).map(|(_, why)| *why);
    let families = [
        ("worker_", "workers are threads, pinned to CPUs"),
        ("proxy_buffer", "bodies are streamed with bounded buffers"),
        ("proxy_busy_buffers", "bodies are streamed with bounded buffers"),
        ("proxy_temp", "bodies are never written to disk"),
        ("proxy_max_temp", "bodies are never written to disk"),
        ("client_body_", "bodies are streamed with bounded buffers"),
        ("gzip_", "the defaults of Ringate hold"),
        ("types_hash_", "no tables need a size"),
        ("server_names_hash_", "no tables need a size"),
        ("map_hash_", "no tables need a size"),
        ("variables_hash_", "no tables need a size"),
        ("proxy_headers_hash_", "no tables need a size"),
        ("open_file_cache", "no files are served through it"),
    ];
    found.or_else(|| families.iter().find(|(start, _)| name.starts_with(start)).map(|(_, why)| *why))
}

const NEEDLESS: &[(&[&str], &str)] = &[
    (&["error_log"], "messages go to standard error, which systemd keeps: `log.level`"),
    (&["user", "group"], "systemd's unit has the user: User= and Group="),
    (
        &["pid", "daemon", "master_process", "lock_file"],
        "systemd knows the process; Ringate stays in the foreground",
    ),
    (
        &["sendfile", "tcp_nopush", "tcp_nodelay", "aio", "directio", "sendfile_max_chunk", "output_buffers"],
        "Ringate chooses how it sends",
    ),
    (
        &["proxy_http_version"],
        "connections to backends are HTTP/1.1 with keep-alive; see `upstream.http` for HTTP/2",
    ),
    (
        &[
            "proxy_request_buffering",
            "proxy_pass_request_headers",
            "proxy_pass_request_body",
            "proxy_ignore_client_abort",
            "proxy_socket_keepalive",
        ],
        "bodies are streamed, and an upload that ends early ends at the backend, too",
    ),
    (&["proxy_redirect"], "Location passes as the backend sends it"),
    (&["proxy_intercept_errors"], "a backend's errors pass"),
    (
        &["proxy_ssl_session_reuse", "proxy_ssl_server_name", "proxy_ssl_verify_depth", "proxy_ssl_ciphers"],
        "sessions resume, SNI is sent, and chains and cipher suites are judged by fixed rules",
    ),
    (
        &[
            "ssl_session_cache",
            "ssl_session_timeout",
            "ssl_session_tickets",
            "ssl_session_ticket_key",
            "ssl_buffer_size",
        ],
        "sessions resume by tickets, whose keys change by themselves",
    ),
    (
        &[
            "ssl_prefer_server_ciphers",
            "ssl_ecdh_curve",
            "ssl_dhparam",
            "ssl_verify_depth",
            "ssl_early_data",
            "ssl_conf_command",
        ],
        "rustls has no weak cipher suites and groups",
    ),
    (
        &["ssl_ciphers"],
        "the cipher suites are those of TLS 1.3, and of TLS 1.2 with forward secrecy and AEAD",
    ),
    (
        &["ssl_stapling", "ssl_stapling_file", "ssl_stapling_responder", "ssl_stapling_verify"],
        "nothing is stapled, or responses are verified in any case",
    ),
    (
        &["ssl_trusted_certificate"],
        "it serves OCSP stapling; client certificates are verified with `client_trust`",
    ),
    (
        &[
            "server_tokens",
            "etag",
            "msie_padding",
            "msie_refresh",
            "log_not_found",
            "log_subrequest",
            "recursive_error_pages",
        ],
        "Ringate adds no version and no such pages",
    ),
    (
        &["types", "default_type", "charset", "charset_types", "source_charset", "override_charset"],
        "backends say what type their content has, and files have a type by their names",
    ),
    (
        &[
            "keepalive_disable",
            "lingering_close",
            "lingering_time",
            "lingering_timeout",
            "reset_timedout_connection",
            "postpone_output",
            "chunked_transfer_encoding",
            "http2_max_concurrent_streams",
            "http2_recv_buffer_size",
            "http2_chunk_size",
            "connection_pool_size",
            "request_pool_size",
            "client_header_buffer_size",
            "ignore_invalid_headers",
            "max_ranges",
            "absolute_redirect",
            "port_in_redirect",
            "server_name_in_redirect",
            "if_modified_since",
            "disable_symlinks",
            "resolver_timeout",
            "subrequest_output_buffer_size",
            "send_lowat",
        ],
        "the defaults of Ringate hold",
    ),
    (
        &[
            "zone",
            "keepalive_requests",
            "keepalive_time",
            "proxy_cache_bypass_off",
            "preread_timeout",
            "preread_buffer_size",
        ],
        "workers share what they know of endpoints",
    ),
    (&["internal"], "no location that is translated has it"),
    (
        &[
            "limit_req_log_level",
            "limit_conn_log_level",
            "limit_req_dry_run",
            "rewrite_log",
            "uninitialized_variable_warn",
            "access_log_off",
        ],
        "refusals are counted, and in the access log",
    ),
    (&["http", "stream", "server", "location", "upstream"], "it is empty, or no request reaches it"),
];

/// Why a directive is not in the result, and the nearest key.
pub(super) fn missing(name: &str) -> (&'static str, Option<&'static str>) {
    let found = MISSING.iter().find(|(names, _, _)| names.contains(&name));
    if let Some((_, why, nearest)) = found {
        return (why, *nearest);
    }
    let families: [(&str, &str, Option<&str>); 11] = [
        ("proxy_cache", "responses are not cached", None),
        ("proxy_store", "responses are not stored", None),
        ("fastcgi_", "FastCGI is not spoken", Some("upstream")),
        ("uwsgi_", "uwsgi is not spoken", Some("upstream")),
        ("scgi_", "SCGI is not spoken", Some("upstream")),
        ("memcached_", "memcached is not spoken", Some("upstream")),
        ("ssl_", "this setting of TLS is not there", Some("listener.tls")),
        ("proxy_", "this setting of proxying is not there", Some("upstream")),
        ("grpc_", "this setting of gRPC is not there", Some("upstream.http")),
        ("auth_", "this kind of authentication was not translated", Some("route.api_keys")),
        ("lua_", "there is no Lua", None),
    ];
    let family = families.iter().find(|(start, _, _)| name.starts_with(start));
    family.map_or(("Ringate has no counterpart", None), |(_, why, nearest)| (*why, *nearest))
}

const MISSING: &[(&[&str], &str, Option<&str>)] = &[
    (
        &["limit_conn", "limit_conn_zone"],
        "requests are counted for a route, connections for a listener",
        Some("route.limits.requests_per_client"),
    ),
    (
        &["root", "alias", "index", "autoindex", "try_files", "expires", "gzip_static"],
        "it is for a location that serves files, with a root of its own or of its server",
        Some("route.root"),
    ),
    (
        &["map", "geo", "split_clients", "set", "if"],
        "variables of the config's own are not there",
        Some("route.match"),
    ),
    (&["rewrite"], "this rewriting can't be expressed", Some("route.rewrite_prefix")),
    (&["log_format"], "the access log has a format of its own", Some("log.access_format")),
    (&["access_log"], "no route has this log", Some("route.access_log")),
    (&["error_page"], "pages of errors are files of the listener", Some("listener.error_pages")),
    (
        &[
            "sub_filter",
            "sub_filter_once",
            "sub_filter_types",
            "addition_types",
            "add_before_body",
            "add_after_body",
        ],
        "bodies are not changed",
        None,
    ),
    (&["stub_status"], "the admin server has `/metrics`", Some("admin.listen")),
    (
        &["limit_rate", "limit_rate_after", "proxy_limit_rate"],
        "no route has this rate",
        Some("route.limits.response_rate"),
    ),
    (&["load_module"], "there are no modules", None),
    (&["env"], "the environment is the process's", None),
    (&["mirror", "mirror_request_body"], "copies go to an upstream", Some("upstream.mirror")),
    (
        &["sticky", "sticky_cookie_insert", "sticky_route"],
        "sessions stick by a cookie of Ringate's own",
        Some("upstream.sticky"),
    ),
    (&["health_check", "check", "match"], "health checks are keys of the upstream", Some("upstream.health")),
    (
        &["auth_request", "auth_request_set"],
        "no location that is translated uses it",
        Some("route.auth.forward"),
    ),
    (
        &[
            "perl",
            "js_content",
            "js_import",
            "content_by_lua_block",
            "access_by_lua_block",
            "rewrite_by_lua_block",
        ],
        "there are no scripts",
        None,
    ),
];
