//! `http`: its servers, and the routes of their hosts.

use std::collections::BTreeSet;

use super::super::draft::{Section, quoted, texts};
use super::super::values;
use super::listen::{Group, Server};
use super::parse::Directive;
use super::precedence::LATE;
use super::{Nginx, Scope, pages};
use crate::base::limits::MAX_HEAD_BYTES;

/// What a name of a server means.
enum Host {
    /// `host` of a route.
    Is(String),
    /// It names no host.
    None,
}

impl<'d> Nginx<'_, 'd> {
    pub(super) fn http(&mut self, scope: &Scope<'d>) {
        let Some(block) = scope.levels.last().copied() else { return };
        for directive in block {
            match directive.name.as_str() {
                "upstream" => drop(self.upstreams.insert(directive.arg(0), directive)),
                "limit_req_zone" | "limit_conn_zone" => {
                    if let Some(zone) = directive.parameter("zone") {
                        self.zones.insert(zone.split(':').next().unwrap_or_default(), directive);
                    }
                }
                "map" if directive.arg(0) != "$http_upgrade" => self.map(directive),
                "geo" => self.geo(directive),
                "split_clients" => self.split(directive),
                "map" => {
                    self.report.needless(directive.line, "requests for WebSocket are passed on as such");
                    for inner in directive.inner() {
                        self.report.needless(inner.line, "requests for WebSocket are passed on as such");
                    }
                }
                _ => {}
            }
        }
        self.resolver(scope);
        let servers = self.servers(scope, block);
        self.access_log(scope, &servers);
        let groups = self.groups(&servers, "http");
        for group in &groups {
            let Some(first) = group.servers.first() else { continue };
            let default = servers[*first].scope.clone();
            let mut listener = self.listener(group, &default, &servers);
            self.limits(&mut listener, &default, group, &servers);
            self.draft.listeners.push(listener);
        }
        for (index, server) in servers.iter().enumerate() {
            self.server(index, server, &groups, &servers);
        }
    }

    /// The routes of a server, for each of its names.
    fn server(&mut self, index: usize, server: &Server<'d>, groups: &[Group], servers: &[Server<'d>]) {
        let own: Vec<&Group> = groups.iter().filter(|group| group.servers.contains(&index)).collect();
        let is_default = |group: &&&Group| group.servers.first() == Some(&index);
        let has_wildcards = |group: &Group| {
            group.servers.iter().filter(|other| **other != index).any(|other| {
                let names = servers[*other].scope.levels.last().copied().unwrap_or_default();
                let names = names.iter().filter(|directive| directive.name == "server_name");
                names.flat_map(|directive| &directive.args).any(|name| name.starts_with(['*', '.']))
            })
        };
        let by_default: Vec<&str> = own.iter().filter(is_default).map(|group| group.name.as_str()).collect();
        let by_name: Vec<&str> = own
            .iter()
            .filter(|group| !is_default(group) || has_wildcards(group))
            .map(|group| group.name.as_str())
            .collect();
        let hosts = self.hosts(server, !by_default.is_empty());
        let plain: Vec<&str> =
            own.iter().filter(|group| !group.is_tls()).map(|group| group.name.as_str()).collect();
        let pages = self.pages(server, &own, servers);
        let mut routes = self.locations(server, own.iter().all(|group| group.is_tls()), &plain);
        routes.iter_mut().for_each(|route| pages::add(&pages, route));
        if hosts.is_empty() && by_default.is_empty() && !own.is_empty() {
            self.report
                .note(server.block.line, "none of its names can be a host of a route: no request reaches it");
        }
        for route in routes {
            if !by_default.is_empty() {
                self.place(&route, None, &by_default);
            }
            for host in hosts.iter().filter(|_| !by_name.is_empty()) {
                self.place(&route, Some(host), &by_name);
            }
        }
    }

    /// A route for a host at listeners. A route that is for some listeners only keeps to these.
    fn place(&mut self, route: &Section, host: Option<&str>, listeners: &[&str]) {
        let listed = |key: &str, name: &str| {
            Some(route.get(key)?.trim_matches('"').split(' ').any(|listed| listed == name))
        };
        let is_kept =
            |name: &&str| listed("only", name) != Some(false) && listed("except", name) != Some(true);
        let listeners: Vec<&str> = listeners.iter().copied().filter(is_kept).collect();
        if listeners.is_empty() {
            return;
        }
        let mut placed = Section::new("[route]", route.line());
        match listeners[..] {
            [one] => placed.essential("listener", quoted(one), route.line()),
            _ => placed.essential("listener", texts(&listeners), route.line()),
        }
        // A name of the route's own goes before the server's.
        if let Some(host) = host.filter(|_| !route.has("host")) {
            placed.essential("host", quoted(host), route.line());
        }
        placed.take(route, &["only", "except", LATE]);
        self.draft.route(placed);
    }

    /// The hosts that a server's names mean.
    fn hosts(&mut self, server: &Server<'d>, is_default: bool) -> Vec<String> {
        let mut found = BTreeSet::new();
        for directive in server.block.inner().iter().filter(|directive| directive.name == "server_name") {
            self.report.done(directive.line);
            for name in &directive.args {
                let host = match name.as_str() {
                    "_" | "" | "\"\"" => Host::None,
                    name if name.starts_with('~') => {
                        let why = "a host is a name or `*.name`";
                        self.report.missing(directive.line, format!("{name}: {why}"), Some("route.host"));
                        Host::None
                    }
                    name if name.starts_with('.') => {
                        found.insert(name[1..].to_owned());
                        Host::Is(format!("*{name}"))
                    }
                    name if name.contains('$') || name.trim_start_matches("*.").contains('*') => {
                        let why = "a host is a name or `*.name`";
                        self.report.missing(directive.line, format!("{name}: {why}"), Some("route.host"));
                        Host::None
                    }
                    name => Host::Is(name.to_ascii_lowercase()),
                };
                if let Host::Is(host) = host {
                    found.insert(host);
                }
            }
        }
        if found.is_empty() && !is_default {
            return Vec::new();
        }
        found.into_iter().collect()
    }

    /// `access_log` of the process: the first one. Those of locations that differ are logs of their own.
    fn access_log(&mut self, scope: &Scope<'d>, servers: &[Server<'d>]) {
        let first = scope.one("access_log").or_else(|| {
            servers
                .iter()
                .find_map(|server| server.block.inner().iter().find(|inner| inner.name == "access_log"))
        });
        let Some(directive) = first else { return };
        let Some(value) = self.log_target(directive) else {
            self.report.missing(directive.line, "the file's name has variables", Some("log.access"));
            return;
        };
        let format = directive.args.get(1).filter(|format| !format.contains('='));
        self.draft.process("log", directive.line).text("access", &value, directive.line);
        match format {
            Some(format) if format != "combined" && format != "main" => self.report.note(
                directive.line,
                format!("the format `{format}` is not translated: see `log.access_format`"),
            ),
            _ => self.report.done(directive.line),
        }
    }

    /// Timeouts and bounds of the client's side: of the default server, since they are the listener's.
    fn limits(&mut self, listener: &mut Section, scope: &Scope<'d>, group: &Group, servers: &[Server<'d>]) {
        let times = [
            ("client_header_timeout", "limits.head_timeout"),
            ("client_body_timeout", "limits.body_timeout"),
            ("keepalive_timeout", "limits.idle_timeout"),
        ];
        for (name, key) in times {
            let Some(directive) = scope.one(name) else { continue };
            match values::duration(directive.arg(0), "s").filter(|time| time != "0s") {
                Some(time) => {
                    listener.text(key, &time, directive.line);
                    self.report.done(directive.line);
                }
                None if name == "keepalive_timeout" => {
                    listener.set("limits.requests_per_connection", "1", directive.line);
                    self.report.done(directive.line);
                }
                None => self.report.missing(directive.line, "the time is not understood", Some(key)),
            }
        }
        if let Some(directive) = scope.one("send_timeout") {
            self.report
                .needless(directive.line, "`limits.body_timeout` and `limits.body_rate` bound slow readers");
        }
        if let Some(directive) = scope.one("keepalive_requests") {
            listener.set("limits.requests_per_connection", directive.arg(0), directive.line);
            self.report.done(directive.line);
        }
        self.head_bounds(listener, scope, group);
        if scope.arg("http2") == Some("off") {
            if let Some(directive) = scope.one("http2") {
                listener.set("http.versions", "[\"1.1\"]", directive.line);
                self.report.done(directive.line);
            }
        } else if let Some(directive) = scope.one("http2") {
            self.report.needless(directive.line, "HTTP/2 is served where clients ask for it");
        }
        self.body_bound(listener, group, servers);
        self.connection_bound(listener, scope);
    }

    /// `large_client_header_buffers`, which are four of 8 KiB by default.
    fn head_bounds(&mut self, listener: &mut Section, scope: &Scope<'d>, group: &Group) {
        const MOST: u64 = MAX_HEAD_BYTES as u64;
        let Some(directive) = scope.one("large_client_header_buffers") else {
            return listener.set("limits.head_bytes", values::size(MOST), group.addresses[0].line);
        };
        let (count, each) = (directive.arg(0).parse::<u64>().ok(), values::bytes(directive.arg(1)));
        let (Some(count), Some(each)) = (count, each) else { return };
        let all = count.saturating_mul(each);
        let most = all.clamp(1024, MOST);
        listener.set("limits.head_bytes", values::size(most), directive.line);
        listener.set("limits.target_bytes", values::size(each.clamp(1024, most)), directive.line);
        match all == most {
            true => self.report.done(directive.line),
            false => self.report.note(directive.line, "a head has from 1 to 32 KiB at most"),
        }
    }

    /// `client_max_body_size`: the largest of all servers and locations at the address.
    fn body_bound(&mut self, listener: &mut Section, group: &Group, servers: &[Server<'d>]) {
        const DEFAULT: u64 = 1 << 20;
        let mut all: Vec<(&'d Directive, u64)> = Vec::new();
        let mut has_default = false;
        for index in &group.servers {
            let scope = &servers[*index].scope;
            match scope.one("client_max_body_size") {
                Some(directive) => all.extend(values::bytes(directive.arg(0)).map(|size| (directive, size))),
                None => has_default = true,
            }
            below(servers[*index].block, &mut |directive| {
                if directive.name == "client_max_body_size" {
                    all.extend(values::bytes(directive.arg(0)).map(|size| (directive, size)));
                }
            });
        }
        let line = group.addresses[0].line;
        let unbound = all.iter().any(|(_, size)| *size == 0);
        let most =
            all.iter().map(|(_, size)| *size).chain(has_default.then_some(DEFAULT)).max().unwrap_or(DEFAULT);
        let first = all.iter().find(|(_, size)| *size == most || (unbound && *size == 0));
        if !unbound {
            listener.set(
                "limits.body_bytes",
                values::size(most),
                first.map_or(line, |(directive, _)| directive.line),
            );
        }
        for (directive, size) in all {
            // Smaller ones are those of routes.
            if (unbound && size == 0) || (size == most && !unbound) {
                self.report.done(directive.line);
            }
        }
    }

    /// `limit_conn` by address.
    fn connection_bound(&mut self, listener: &mut Section, scope: &Scope<'d>) {
        for directive in scope.all("limit_conn") {
            let zone = self.zones.get(directive.arg(0)).copied();
            let key = zone.map(|zone| zone.arg(0)).unwrap_or_default();
            match key {
                "$binary_remote_addr" | "$remote_addr" => {
                    listener.set("limits.connections_per_client", directive.arg(1), directive.line);
                    self.report
                        .note(directive.line, "connections are counted, not requests under way; beyond: 503");
                    zone.into_iter().for_each(|zone| self.report.done(zone.line));
                }
                "$server_name" => {
                    listener.set("limits.connections", directive.arg(1), directive.line);
                    self.report.note(directive.line, "more connections wait, and are not refused");
                    zone.into_iter().for_each(|zone| self.report.done(zone.line));
                }
                _ => {
                    let why = "connections are counted by client address";
                    self.report.missing(directive.line, why, Some("limits.connections_per_client"));
                }
            }
        }
    }
}

/// Every directive below a block.
fn below<'d>(block: &'d Directive, visit: &mut impl FnMut(&'d Directive)) {
    for directive in block.inner() {
        visit(directive);
        below(directive, visit);
    }
}
