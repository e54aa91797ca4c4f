//! What a location does with requests and responses: access, rates, header fields, compression.

use super::super::draft::{Section, list, part, quoted, texts};
use super::super::report::Line;
use super::super::values;
use super::conditions::{Comparison, all_of};
use super::parse::Directive;
use super::upstream::Url;
use super::variables::template;
use super::{Nginx, Scope};

impl<'d> Nginx<'_, 'd> {
    /// The clients that may pass. False: they can't be written, and no client may pass.
    pub(super) fn access(&mut self, route: &mut Section, scope: &Scope<'d>) -> bool {
        if let Some(directive) = scope.one("satisfy").filter(|satisfy| satisfy.arg(0) == "any") {
            self.report.missing(
                directive.line,
                "one of several kinds of access is not enough here",
                Some("route.allow"),
            );
            return false;
        }
        if let Some(directive) = scope.one("auth_request").filter(|request| request.arg(0) != "off")
            && !self.subrequest(route, scope, directive)
        {
            return false;
        }
        if let Some(off) = scope.one("auth_request").filter(|request| request.arg(0) == "off") {
            self.report.done(off.line);
        }
        if let Some(directive) = scope.one("auth_jwt").filter(|jwt| jwt.arg(0) != "off") {
            self.report.missing(directive.line, "it was not translated", Some("route.auth.jwt"));
            return false;
        }
        let own = scope.levels.last().into_iter().copied().flatten();
        for directive in own.filter(|inner| inner.name == "limit_except") {
            if !self.limit_except(route, directive) {
                return false;
            }
        }
        self.basic(route, scope);
        self.addresses(route, scope)
    }

    /// `limit_except METHOD … { allow …; deny all; }`. False: it can't be written.
    fn limit_except(&mut self, route: &mut Section, directive: &'d Directive) -> bool {
        let mut methods: Vec<&str> = directive.args.iter().map(String::as_str).collect();
        if methods.contains(&"GET") && !methods.contains(&"HEAD") {
            methods.push("HEAD");
        }
        let clients = match directive.inner().split_last() {
            Some((last, rest)) if last.name == "deny" && last.arg(0) == "all" => {
                rest.iter().all(|allow| allow.name == "allow").then(|| rest.iter().map(|allow| allow.arg(0)))
            }
            _ => None,
        };
        let Some(clients) = clients else {
            let why = "write a route with `methods` for what is allowed";
            self.report.missing(directive.line, why, Some("route.methods"));
            return false;
        };
        let clients: Vec<&str> = clients.collect();
        let mut passes = vec![format!("{{ methods = {} }}", texts(&methods))];
        if !clients.is_empty() {
            passes.push(format!("{{ client = {} }}", texts(&clients)));
        }
        let entry = format!("{{ not = [{}], status = 403 }}", passes.join(", "));
        route.push_essential("refuse", entry, directive.line);
        self.report.done(directive.line);
        directive.inner().iter().for_each(|inner| self.report.done(inner.line));
        true
    }

    /// `auth_basic`.
    fn basic(&mut self, route: &mut Section, scope: &Scope<'d>) {
        let Some(realm) = scope.one("auth_basic").filter(|realm| realm.arg(0) != "off") else { return };
        let Some(file) = scope.one("auth_basic_user_file") else { return };
        let path = values::absolute(self.folder, file.arg(0));
        let value = format!("{{ file = {}, realm = {} }}", quoted(&path), quoted(realm.arg(0)));
        route.essential("auth.basic", value, realm.line);
        self.report.done(realm.line);
        self.report.done(file.line);
    }

    /// `allow` and `deny`, of which nginx takes the first that matches. False: the order can't be written.
    pub(super) fn addresses(&mut self, section: &mut Section, scope: &Scope<'d>) -> bool {
        let level =
            scope.levels.iter().rev().find(|level| {
                level.iter().any(|directive| matches!(directive.name.as_str(), "allow" | "deny"))
            });
        let Some(level) = level else { return true };
        let rules: Vec<&'d Directive> =
            level.iter().filter(|directive| matches!(directive.name.as_str(), "allow" | "deny")).collect();
        let end = rules.iter().position(|rule| rule.arg(0) == "all").unwrap_or(rules.len());
        let is_closed = rules.get(end).is_some_and(|rule| rule.name == "deny");
        let (mut allowed, mut denied): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
        for rule in &rules[..end] {
            if rule.arg(0) == "unix:" {
                self.report.missing(
                    rule.line,
                    "clients of Unix sockets have no address",
                    Some("route.allow"),
                );
                return false;
            }
            match rule.name.as_str() {
                "allow" => allowed.push(rule.arg(0)),
                // What was allowed before may be part of it: here `deny` goes before `allow`.
                _ if !allowed.is_empty() => {
                    let why = "`deny` goes before `allow` here, in whatever order they stand";
                    self.report.missing(rule.line, why, Some("route.deny"));
                    return false;
                }
                _ => denied.push(rule.arg(0)),
            }
        }
        let line = rules[0].line;
        if is_closed && allowed.is_empty() {
            section.essential("deny", "[\"0.0.0.0/0\", \"::/0\"]", line);
        } else if is_closed {
            section.essential("allow", texts(&allowed), line);
        }
        if !denied.is_empty() {
            section.essential("deny", texts(&denied), line);
        }
        rules.iter().for_each(|rule| self.report.done(rule.line));
        true
    }

    /// Rates, responses' header fields and compression.
    pub(super) fn rules(&mut self, route: &mut Section, scope: &Scope<'d>) {
        self.rate(route, scope);
        self.bounds(route, scope);
        self.response_headers(route, scope);
        self.compression(route, scope);
        if scope.arg("merge_slashes") == Some("off")
            && let Some(directive) = scope.one("merge_slashes")
        {
            route.set("merge_slashes", "false", directive.line);
            self.report.done(directive.line);
        }
    }

    /// `limit_req`.
    fn rate(&mut self, route: &mut Section, scope: &Scope<'d>) {
        for (count, directive) in scope.all("limit_req").into_iter().enumerate() {
            let zone = directive.parameter("zone").and_then(|zone| self.zones.get(zone)).copied();
            let Some(zone) = zone else {
                self.report.missing(directive.line, "its zone is not there", Some("route.rate_limit"));
                continue;
            };
            let by = match zone.arg(0) {
                "$binary_remote_addr" | "$remote_addr" => Some("\"client\"".to_owned()),
                key => key
                    .strip_prefix("$http_")
                    .map(|field| format!("{{ header = {} }}", quoted(&field.replace('_', "-")))),
            };
            let rate = zone.parameter("rate").and_then(|rate| {
                Some(
                    (rate.strip_suffix("r/s").map(|n| (n, "s")))
                        .or_else(|| rate.strip_suffix("r/m").map(|n| (n, "m"))),
                )?
            });
            let (Some(by), Some((number, unit)), 0) = (by, rate, count) else {
                let why = "a route has one rate, by client address or by a header";
                self.report.missing(directive.line, why, Some("route.rate_limit"));
                continue;
            };
            let burst =
                directive.parameter("burst").and_then(|burst| burst.parse::<u64>().ok()).unwrap_or(0) + 1;
            let value = format!("{{ rate = \"{number}/{unit}\", burst = {burst}, by = {by} }}");
            route.set("rate_limit", value, directive.line);
            let delayed =
                if directive.has("nodelay") || burst == 1 { "" } else { "; requests are not delayed" };
            self.report.note(
                directive.line,
                format!("the refusal is 429, nginx's is 503 unless it says otherwise{delayed}"),
            );
            self.report.done(zone.line);
        }
        for name in ["limit_req_status", "limit_conn_status"] {
            if let Some(directive) =
                scope.one(name).filter(|it| it.arg(0) == "429" && name == "limit_req_status")
            {
                self.report.done(directive.line);
            } else if let Some(directive) = scope.one(name) {
                self.report.note(
                    directive.line,
                    "the status of a refusal is fixed: 429 of a rate or a client, 503 of a route or of connections",
                );
            }
        }
    }

    /// `proxy_set_header`, and nginx's own Host.
    pub(super) fn request_headers(&mut self, route: &mut Section, scope: &Scope<'d>, url: &Url) {
        let (set, hidden) = match url.grpc {
            true => ("grpc_set_header", "grpc_hide_header"),
            false => ("proxy_set_header", "proxy_hide_header"),
        };
        let mut host = None;
        for directive in scope.all(set) {
            let (name, value) = (directive.arg(0), directive.arg(1));
            let lower = name.to_ascii_lowercase();
            match lower.as_str() {
                "host" => {
                    host = Some(directive);
                    continue;
                }
                "connection" | "upgrade" | "te" | "content-length" | "transfer-encoding" | "expect" => {
                    self.report.needless(
                        directive.line,
                        "the field belongs to the connection; WebSocket and keep-alive work without it",
                    );
                    continue;
                }
                "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host" if value.contains('$') => {
                    self.report.needless(
                        directive.line,
                        "backends get X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host in any case",
                    );
                    continue;
                }
                _ => {}
            }
            if value.is_empty() {
                route.push("headers.request.remove", quoted(name), directive.line);
                self.report.done(directive.line);
                continue;
            }
            if self.is_answer(route, scope, directive) {
                continue;
            }
            match template(value, &self.maps) {
                Ok(value) => {
                    route.text(&format!("headers.request.set.{}", part(name)), &value, directive.line);
                    self.report.done(directive.line);
                }
                Err(why) => {
                    self.report.missing(
                        directive.line,
                        format!("{why}; the field is removed, as a client's own would take its place"),
                        Some("route.headers.request.set"),
                    );
                    route.push("headers.request.remove", quoted(name), directive.line);
                }
            }
        }
        self.host(route, host, url);
        for directive in scope.all(hidden) {
            route.push("headers.response.remove", quoted(directive.arg(0)), directive.line);
            self.report.done(directive.line);
        }
        for directive in scope.all("proxy_pass_header") {
            self.report.needless(directive.line, "fields of a response pass");
        }
    }

    /// The Host that the backend gets: the client's here, that of `proxy_pass` in nginx.
    fn host(&mut self, route: &mut Section, directive: Option<&'d Directive>, url: &Url) {
        const HOST: &str = "headers.request.set.Host";
        match directive.map(|directive| (directive, directive.arg(1))) {
            Some((directive, "$host" | "$http_host" | "$host:$server_port" | "$http_host:$server_port")) => {
                self.report.done(directive.line);
            }
            Some((directive, "$proxy_host")) => {
                route.text(HOST, &url.authority, directive.line);
                self.report.done(directive.line);
            }
            Some((directive, value)) if !value.contains('$') && !value.is_empty() => {
                route.text(HOST, value, directive.line);
                self.report.done(directive.line);
            }
            Some((directive, _)) => {
                self.report.missing(
                    directive.line,
                    "Host takes no variables: it is the client's",
                    Some("route.headers.request.set.Host"),
                );
            }
            None if url.authority.starts_with("unix:") => route.text(HOST, "localhost", route.line()),
            None => route.text(HOST, &url.authority, route.line()),
        }
    }

    /// `add_header`, also of an `if` that has nothing else: its fields take the place of the location's where it holds, and
    /// of several that hold the last one counts.
    pub(super) fn response_headers(&mut self, route: &mut Section, scope: &Scope<'d>) {
        let ifs = self.ifs_of_fields(scope);
        let own = self.added(route, scope);
        if ifs.is_empty() {
            for (name, value, line) in own {
                route.push(&format!("headers.response.add.{name}"), value, line);
            }
            return;
        }
        let none: Vec<Comparison> = ifs.iter().map(|(it, _)| it.opposite()).collect();
        let mut tables = vec![(none, own)];
        for (at, (comparison, directive)) in ifs.iter().enumerate() {
            let later = ifs[at + 1..].iter().map(|(it, _)| it.opposite());
            let holds = std::iter::once(comparison.clone()).chain(later).collect();
            tables.push((holds, self.added(route, &scope.within(directive.inner()))));
            self.report.done(directive.line);
        }
        for (holds, fields) in tables {
            let Some((_, _, line)) = fields.first() else { continue };
            let mut names: Vec<(&str, Vec<&str>)> = Vec::new();
            for (name, value, _) in &fields {
                match names.iter_mut().find(|(known, _)| known == name) {
                    Some((_, values)) => values.push(value),
                    None => names.push((name, vec![value])),
                }
            }
            let names: Vec<String> =
                names.iter().map(|(name, values)| format!("{name} = {}", list(values))).collect();
            let change = format!("response = {{ add = {{ {} }} }}", names.join(", "));
            route.push_table("headers.when", format!("{{ {}, {change} }}", all_of(&holds)), *line);
        }
    }

    /// The fields that a scope adds: their names and values as TOML, with the lines that have them.
    fn added(&mut self, route: &mut Section, scope: &Scope<'d>) -> Vec<(String, String, Line)> {
        let mut found = Vec::new();
        for directive in scope.all("add_header") {
            let (name, value) = (directive.arg(0), directive.arg(1));
            if self.is_answer(route, scope, directive) {
                continue;
            }
            match template(value, &self.maps) {
                Ok(value) if !value.is_empty() => {
                    found.push((part(name), quoted(&value), directive.line));
                    if directive.has("always") {
                        self.report.done(directive.line);
                    } else {
                        self.report.note(
                            directive.line,
                            "the field is added whatever the status is, as with `always`",
                        );
                    }
                }
                Ok(_) => self.report.needless(directive.line, "an empty field is not added"),
                Err(why) => self.report.missing(directive.line, why, Some("route.headers.response.add")),
            }
        }
        found
    }

    /// `gzip`.
    fn compression(&mut self, route: &mut Section, scope: &Scope<'d>) {
        let Some(directive) = scope.one("gzip") else { return };
        self.report.done(directive.line);
        if directive.arg(0) != "on" {
            return;
        }
        let mut types = vec!["text/html".to_owned()];
        if let Some(listed) = scope.one("gzip_types") {
            for kind in &listed.args {
                let kind = if kind == "*" { "text/*" } else { kind };
                if !types.iter().any(|known| known == kind) && !kind.eq_ignore_ascii_case("text/html") {
                    types.push(kind.to_owned());
                }
            }
            self.report.done(listed.line);
        }
        let least = scope.one("gzip_min_length");
        least.into_iter().for_each(|directive| self.report.done(directive.line));
        let least = least.and_then(|directive| values::bytes(directive.arg(0))).unwrap_or(20);
        let value = format!(
            "{{ algorithms = [\"gzip\"], min_size = {}, types = {} }}",
            values::size(least),
            texts(&types)
        );
        route.set("compression", value, directive.line);
    }
}
