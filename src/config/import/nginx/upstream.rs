//! `proxy_pass`, `upstream` and the settings of connections to backends become upstreams.

use super::super::draft::{Section, quoted, texts};
use super::super::report::Line;
use super::super::values;
use super::parse::Directive;
use super::{Nginx, Scope};

/// Where `proxy_pass` leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) tls: bool,
    /// gRPC: HTTP/2.
    pub(super) grpc: bool,
    /// `host[:port]`, or `unix:/path`.
    pub(super) authority: String,
    pub(super) uri: Option<String>,
}

impl Url {
    /// An address of `proxy_pass` or `grpc_pass`, which may have no scheme.
    pub(super) fn of(directive: &Directive, address: &str) -> Result<Self, String> {
        match address {
            address if directive.name == "grpc_pass" && !address.contains("://") => {
                Self::parse(&format!("grpc://{address}"))
            }
            address => Self::parse(address),
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) =
            text.split_once("://").ok_or("the address must begin with http:// or https://")?;
        let (tls, grpc) = match scheme {
            "http" => (false, false),
            "https" => (true, false),
            "grpc" => (false, true),
            "grpcs" => (true, true),
            other => return Err(format!("{other}:// is not spoken")),
        };
        if let Some(path) = rest.strip_prefix("unix:") {
            let (path, uri) = match path.split_once(':') {
                Some((path, uri)) => (path, Some(uri.to_owned()).filter(|uri| !uri.is_empty())),
                None => (path, None),
            };
            return Ok(Self { tls, grpc, authority: format!("unix:{path}"), uri });
        }
        let (authority, uri) = match rest.find('/') {
            Some(at) => (&rest[..at], Some(rest[at..].to_owned())),
            None => (rest, None),
        };
        if authority.contains('$') {
            return Err("the address has variables: an upstream has a fixed name".to_owned());
        }
        Ok(Self { tls, grpc, authority: authority.to_owned(), uri })
    }

    fn default_port(&self) -> u16 {
        if self.tls { 443 } else { 80 }
    }

    /// The authority's name, without its port.
    pub(super) fn host(&self) -> &str {
        values::host_and_port(&self.authority).0
    }
}

/// `address[:port]` of a server, with a port in any case.
fn endpoint(address: &str, port: u16) -> Option<String> {
    if address.starts_with("unix:") {
        return Some(address.to_owned());
    }
    if address.contains('$') {
        return None;
    }
    let has_port = match address.rsplit_once(':') {
        Some((host, port)) => port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']')),
        None => false,
    };
    Some(if has_port { address.to_owned() } else { format!("{address}:{port}") })
}

impl<'d> Nginx<'_, 'd> {
    /// The upstream that a URL leads to, with the settings of its place. `None`: it was reported why not.
    pub(super) fn upstream(
        &mut self,
        url: &Url,
        scope: &Scope<'d>,
        directive: &'d Directive,
    ) -> Option<String> {
        let line = directive.line;
        let mut section = Section::new("", line);
        let name = match self.upstreams.get(url.authority.as_str()).copied() {
            Some(block) => {
                self.block(&mut section, block, 80)?;
                block.arg(0).to_owned()
            }
            None => {
                let Some(endpoint) = endpoint(&url.authority, url.default_port()) else {
                    self.report.missing(line, "the address has variables", Some("upstream.endpoints"));
                    return None;
                };
                section.push_essential("endpoints", quoted(&endpoint), line);
                endpoint.trim_start_matches("unix:").rsplit('/').next().unwrap_or("app").replace(':', "-")
            }
        };
        if url.grpc {
            section.essential("http", "\"2\"", line);
        }
        self.settings(&mut section, scope);
        if url.tls {
            self.backend_tls(&mut section, scope, url.host(), line);
        }
        Some(self.draft.upstream(&name, section))
    }

    /// An `upstream` block. `None`: it has no server that can be used.
    pub(super) fn block(&mut self, section: &mut Section, block: &'d Directive, port: u16) -> Option<()> {
        self.report.done(block.line);
        let servers: Vec<&'d Directive> =
            block.inner().iter().filter(|directive| directive.name == "server").collect();
        for server in &servers {
            self.server_line(section, server, port);
        }
        if !section.has("endpoints") {
            self.report.missing(
                block.line,
                "it has no server that can be translated",
                Some("upstream.endpoints"),
            );
            return None;
        }
        self.failures(section, &servers);
        for directive in block.inner().iter().filter(|directive| directive.name != "server") {
            self.group_setting(section, directive);
        }
        Some(())
    }

    /// `server ADDRESS …` of an `upstream`.
    fn server_line(&mut self, section: &mut Section, server: &'d Directive, port: u16) {
        let Some(mut address) = endpoint(server.arg(0), port) else {
            self.report.missing(server.line, "the address has variables", Some("upstream.endpoints"));
            return;
        };
        if server.has("resolve") {
            address = match server.parameter("service") {
                Some(service) => {
                    let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
                    let service =
                        if service.contains('.') { service.to_owned() } else { format!("_{service}._tcp") };
                    format!("srv:{service}.{host}")
                }
                None => format!("dns:{address}"),
            };
        }
        let mut keys = vec![format!("address = {}", quoted(&address))];
        keys.extend(server.parameter("weight").map(|weight| format!("weight = {weight}")));
        if server.has("backup") {
            keys.push("backup = true".to_owned());
        }
        if server.has("down") || server.has("drain") {
            keys.push("drain = true".to_owned());
        }
        let value = if keys.len() == 1 { quoted(&address) } else { format!("{{ {} }}", keys.join(", ")) };
        section.push_essential("endpoints", value, server.line);
        if let Some(most) = server.parameter("max_conns").filter(|most| *most != "0") {
            section.set("pool.max_per_endpoint", most, server.line);
            self.report.note(server.line, "max_conns is the upstream's: it holds for each of its servers");
        }
        if let Some(time) = server.parameter("slow_start").and_then(|time| values::duration(time, "s")) {
            section.text("slow_start", &time, server.line);
        }
        for arg in &server.args[1..] {
            let name = arg.split('=').next().unwrap_or_default();
            let known = [
                "weight",
                "backup",
                "down",
                "drain",
                "max_conns",
                "slow_start",
                "resolve",
                "service",
                "max_fails",
                "fail_timeout",
            ];
            if !known.contains(&name) {
                self.report.missing(
                    server.line,
                    format!("the parameter {name} is not there"),
                    Some("upstream.endpoints"),
                );
            }
        }
        self.report.done(server.line);
    }

    /// `max_fails` and `fail_timeout`, which are the upstream's here.
    fn failures(&mut self, section: &mut Section, servers: &[&'d Directive]) {
        let with = |name: &str| {
            servers.iter().find_map(|server| Some((server.parameter(name)?.to_owned(), server.line)))
        };
        if let Some((fails, line)) = with("max_fails") {
            section.set("outliers.consecutive_failures", fails, line);
            if servers.iter().any(|server| server.parameter("max_fails") != servers[0].parameter("max_fails"))
            {
                self.report.note(line, "max_fails is the upstream's: it holds for each of its servers");
            }
        }
        if let Some((time, line)) = with("fail_timeout")
            && let Some(time) = values::duration(&time, "s").filter(|time| time != "0s")
        {
            section.text("outliers.base_ejection", &time, line);
            // It must not be longer than the longest ejection.
            section.text("outliers.max_ejection", &longest(&time), line);
        }
    }

    fn group_setting(&mut self, section: &mut Section, directive: &'d Directive) {
        let line = directive.line;
        match directive.name.as_str() {
            "least_conn" | "least_time" => section.text("balance", "least-requests", line),
            "ip_hash" => {
                section.text("balance", "hash", line);
                section.text("hash.by", "client-address", line);
            }
            "random" => {
                let word = if directive.arg(0) == "two" { "two-choices" } else { "random" };
                section.text("balance", word, line);
            }
            "hash" => match hashed(directive.arg(0)) {
                Some(by) => {
                    section.text("balance", "hash", line);
                    section.text("hash.by", &by, line);
                }
                None => {
                    let why = "a hash is of a header, a cookie, a query parameter, the client's address or the path";
                    return self.report.missing(line, why, Some("upstream.hash.by"));
                }
            },
            "keepalive" => section.set("pool.idle_per_worker", directive.arg(0), line),
            "keepalive_timeout" => {
                return self.report.needless(line, "idle connections are kept for `timeouts.idle`");
            }
            "keepalive_time" => match values::duration(directive.arg(0), "s") {
                Some(time) => section.text("pool.max_age", &time, line),
                None => return,
            },
            "queue" => {
                section.set("queue.length", directive.arg(0), line);
                if let Some(time) =
                    directive.parameter("timeout").and_then(|time| values::duration(time, "s"))
                {
                    section.text("queue.timeout", &time, line);
                }
            }
            "sticky" if directive.arg(0) == "cookie" => {
                section.text("sticky.cookie", directive.arg(1), line);
                if let Some(time) =
                    directive.parameter("expires").and_then(|time| values::duration(time, "s"))
                {
                    section.text("sticky.max_age", &time, line);
                }
            }
            "ntlm" => {
                return self.report.needless(line, "connections with NTLM belong to one client in any case");
            }
            _ => return,
        }
        self.report.done(line);
    }

    /// Timeouts, attempts and the source address.
    fn settings(&mut self, section: &mut Section, scope: &Scope<'d>) {
        for name in ["proxy_connect_timeout", "grpc_connect_timeout"] {
            if let Some(directive) = scope.one(name)
                && let Some(time) = values::duration(directive.arg(0), "s")
            {
                section.text("timeouts.connect", &time, directive.line);
                self.report.done(directive.line);
            }
        }
        for name in ["proxy_read_timeout", "grpc_read_timeout"] {
            if let Some(directive) = scope.one(name)
                && let Some(time) = values::duration(directive.arg(0), "s")
            {
                section.text("timeouts.response", &time, directive.line);
                section.text("timeouts.idle", &time, directive.line);
                self.report.done(directive.line);
            }
        }
        if let Some(directive) = scope.one("proxy_send_timeout") {
            self.report
                .needless(directive.line, "`timeouts.idle` bounds an upload that makes no progress, too");
        }
        if let Some(directive) = scope
            .one("proxy_bind")
            .filter(|directive| !directive.arg(0).contains('$') && directive.arg(0) != "off")
        {
            section.text("bind_address", directive.arg(0), directive.line);
            self.report.done(directive.line);
        }
        self.attempts(section, scope);
    }

    /// `proxy_next_upstream`.
    fn attempts(&mut self, section: &mut Section, scope: &Scope<'d>) {
        if let Some(directive) = scope.one("proxy_next_upstream") {
            let mut on: Vec<&str> = Vec::new();
            for arg in &directive.args {
                match arg.as_str() {
                    "error" => on.extend(["connect", "reset"]),
                    "timeout" => on.push("timeout"),
                    "http_500" => on.push("500"),
                    "http_502" => on.push("502"),
                    "http_503" => on.push("503"),
                    "http_504" => on.push("504"),
                    "http_429" => on.push("429"),
                    "off" => section.set("retries.attempts", "1", directive.line),
                    "non_idempotent" => {
                        self.report
                            .note(directive.line, "requests that are not idempotent are not sent twice");
                    }
                    other => self
                        .report
                        .note(directive.line, format!("{other} is no reason to send a request again")),
                }
            }
            if !on.is_empty() {
                section.set("retries.on", texts(&on), directive.line);
            }
            self.report.done(directive.line);
        }
        if let Some(directive) =
            scope.one("proxy_next_upstream_tries").filter(|directive| directive.arg(0) != "0")
        {
            section.set("retries.attempts", directive.arg(0), directive.line);
            self.report.done(directive.line);
        }
        if let Some(directive) = scope.one("proxy_next_upstream_timeout") {
            self.report.needless(directive.line, "`timeouts.response` and `retries.budget` bound attempts");
        }
    }

    /// `proxy_ssl_*`. `host` is the name in `proxy_pass`.
    pub(super) fn backend_tls(&mut self, section: &mut Section, scope: &Scope<'d>, host: &str, line: Line) {
        let name = scope.one("proxy_ssl_name").filter(|name| !name.arg(0).contains('$'));
        match name {
            Some(directive) => {
                section.text("tls.server_name", directive.arg(0), directive.line);
                self.report.done(directive.line);
            }
            // nginx verifies the name in `proxy_pass`, or that of the host where it says so.
            None if scope.one("proxy_ssl_name").is_none() && !host.starts_with("unix:") => {
                section.text("tls.server_name", host.trim_matches(['[', ']']), line);
            }
            None => {
                if let Some(directive) = scope.one("proxy_ssl_name") {
                    self.report.note(directive.line, "without `tls.server_name` it is the request's host");
                }
            }
        }
        let verify = scope.is_on("proxy_ssl_verify");
        for (directive, key) in [("proxy_ssl_trusted_certificate", "tls.trust"), ("proxy_ssl_crl", "tls.crl")]
        {
            let Some(directive) = scope.one(directive) else { continue };
            if verify {
                let path = values::absolute(self.folder, directive.arg(0));
                section.push_essential(key, quoted(&path), directive.line);
                self.report.done(directive.line);
            } else {
                self.report.needless(directive.line, "`proxy_ssl_verify` is off");
            }
        }
        if let Some(directive) = scope.one("proxy_ssl_verify") {
            self.report.done(directive.line);
        }
        if !verify {
            section.set("tls.insecure_skip_verify", "true", line);
            self.report.note(line, "nginx does not verify this backend (`proxy_ssl_verify` is off): set `tls.trust` instead of `tls.insecure_skip_verify`");
        }
        self.backend_identity(section, scope);
        if let Some(directive) = scope.one("proxy_ssl_protocols") {
            let versions: Vec<&str> = ["1.2", "1.3"]
                .into_iter()
                .filter(|version| directive.has(&format!("TLSv{version}")))
                .collect();
            match versions.len() == directive.args.len() {
                true => self.report.done(directive.line),
                false => self.report.note(directive.line, "versions below 1.2 are not there"),
            }
            section.set("tls.versions", texts(&versions), directive.line);
        }
        if let Some(directive) = scope.one("proxy_ssl_ciphers") {
            let suites = (Some(directive.arg(0)), None);
            self.cipher_suites(section, suites, &[directive.line], "upstream.tls.cipher_suites");
        }
    }

    fn backend_identity(&mut self, section: &mut Section, scope: &Scope<'d>) {
        let (certificate, key) = (scope.one("proxy_ssl_certificate"), scope.one("proxy_ssl_certificate_key"));
        let (Some(certificate), Some(key)) = (certificate, key) else { return };
        if certificate.arg(0).contains('$') {
            self.report.missing(
                certificate.line,
                "the file's name has variables",
                Some("upstream.tls.certificate"),
            );
            return;
        }
        let path = |directive: &Directive| quoted(&values::absolute(self.folder, directive.arg(0)));
        let mut value = format!("{{ cert = {}, key = {}", path(certificate), path(key));
        if let Some(file) = scope.one("proxy_ssl_password_file") {
            value.push_str(&format!(", passphrase_file = {}", path(file)));
            self.report.done(file.line);
        }
        value.push_str(" }");
        section.essential("tls.certificate", value, certificate.line);
        self.report.done(certificate.line);
        self.report.done(key.line);
    }
}

/// Five minutes, or ten times as long as a first ejection that is longer than that.
fn longest(first: &str) -> String {
    let minutes = first.strip_suffix('m').and_then(|minutes| minutes.parse::<u64>().ok());
    match (minutes, first.ends_with(['h', 'd'])) {
        (Some(minutes), _) if minutes > 5 => format!("{minutes}m"),
        (_, true) => first.to_owned(),
        _ => "5m".to_owned(),
    }
}

/// `hash.by` of a key of nginx.
fn hashed(key: &str) -> Option<String> {
    match key {
        "$request_uri" | "$uri" | "$scheme$proxy_host$request_uri" => Some("path".to_owned()),
        "$remote_addr" | "$binary_remote_addr" => Some("client-address".to_owned()),
        _ => [("$http_", "header"), ("$cookie_", "cookie"), ("$arg_", "query")].iter().find_map(
            |(start, kind)| {
                let name = key.strip_prefix(start).filter(|name| !name.contains('$') && !name.is_empty())?;
                Some(format!(
                    "{kind}:{}",
                    if *kind == "header" { name.replace('_', "-") } else { name.to_owned() }
                ))
            },
        ),
    }
}
