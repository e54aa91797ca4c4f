//! `stream`: relayed connections and datagrams.

use super::super::draft::{Section, quoted};
use super::super::values;
use super::listen::{Group, Server};
use super::parse::Directive;
use super::upstream::Url;
use super::{Nginx, Scope};

impl<'d> Nginx<'_, 'd> {
    pub(super) fn stream(&mut self, scope: &Scope<'d>) {
        let Some(block) = scope.levels.last().copied() else { return };
        for directive in block {
            if directive.name == "upstream" {
                self.upstreams.insert(directive.arg(0), directive);
            }
        }
        self.resolver(scope);
        let servers = self.servers(scope, block);
        for group in self.groups(&servers, "tcp") {
            self.stream_server(&group, &servers);
        }
    }

    fn stream_server(&mut self, group: &Group, servers: &[Server<'d>]) {
        let Some(server) = group.servers.first().map(|index| &servers[*index]) else { return };
        let Some(pass) = server.block.inner().iter().find(|inner| inner.name == "proxy_pass") else {
            self.report.missing(
                server.block.line,
                "without `proxy_pass` nothing can be relayed",
                Some("route.upstream"),
            );
            return;
        };
        let udp = group.addresses[0].udp;
        let mut listener = self.listener(group, &server.scope, servers);
        listener.essential("protocol", if udp { "\"udp\"" } else { "\"tcp\"" }, group.addresses[0].line);
        for (name, key) in [("proxy_responses", "udp.responses"), ("proxy_requests", "udp.requests")] {
            if let Some(directive) = server.scope.one(name).filter(|_| udp) {
                listener.set(key, directive.arg(0), directive.line);
                self.report.done(directive.line);
            }
        }
        for directive in server.scope.all("limit_conn") {
            listener.set("limits.connections_per_client", directive.arg(1), directive.line);
            self.report.done(directive.line);
        }
        if !self.addresses(&mut listener, &server.scope) {
            return self.report.missing(
                server.block.line,
                "its access control can't be written, so it is left out",
                Some("listener.allow"),
            );
        }
        let mut routes = Vec::new();
        for (name, target) in self.targets(server, pass) {
            let mut route = Section::new("[route]", pass.line);
            route.essential("listener", quoted(&group.name), group.addresses[0].line);
            if let Some(name) = name {
                route.essential("sni", quoted(&name), pass.line);
            }
            let Some(upstream) = self.stream_upstream(&target, &server.scope, pass, udp) else { continue };
            route.essential("upstream", quoted(&upstream), pass.line);
            routes.push(route);
        }
        if routes.is_empty() {
            return;
        }
        self.report.done(pass.line);
        self.draft.listeners.push(listener);
        for route in routes {
            self.draft.route(route);
        }
    }

    /// Where connections go: to one place, or by the name in the ClientHello (`ssl_preread` and a `map`).
    fn targets(&mut self, server: &Server<'d>, pass: &'d Directive) -> Vec<(Option<String>, String)> {
        let target = pass.arg(0);
        let Some(variable) = target.strip_prefix('$') else { return vec![(None, target.to_owned())] };
        let maps = server.scope.levels.iter().copied().flatten();
        let map = maps
            .filter(|directive| directive.name == "map")
            .find(|map| map.arg(1).trim_start_matches('$') == variable);
        let Some(map) = map.filter(|map| map.arg(0) == "$ssl_preread_server_name") else {
            self.report.missing(pass.line, "the address has variables", Some("route.sni"));
            return Vec::new();
        };
        if let Some(directive) = server.scope.one("ssl_preread") {
            self.report.done(directive.line);
        }
        self.report.done(map.line);
        let mut found = Vec::new();
        for entry in map.inner() {
            match entry.name.as_str() {
                "hostnames" => self.report.needless(entry.line, "`*.name` is a pattern in any case"),
                "default" => {
                    found.push((None, entry.arg(0).to_owned()));
                    self.report.done(entry.line);
                }
                name if name.starts_with('~') || name.is_empty() || name.ends_with('*') => {
                    self.report.missing(entry.line, "a name is whole, or `*.name`", Some("route.sni"));
                }
                name => {
                    let (name, target) = (name.to_ascii_lowercase(), entry.arg(0).to_owned());
                    if let Some(suffix) = name.strip_prefix('.') {
                        found.push((Some(suffix.to_owned()), target.clone()));
                        found.push((Some(format!("*{name}")), target));
                    } else {
                        found.push((Some(name), target));
                    }
                    self.report.done(entry.line);
                }
            }
        }
        found
    }

    fn stream_upstream(
        &mut self,
        target: &str,
        scope: &Scope<'d>,
        pass: &'d Directive,
        udp: bool,
    ) -> Option<String> {
        let mut section = Section::new("", pass.line);
        let name = match self.upstreams.get(target).copied() {
            Some(block) => {
                self.block(&mut section, block, 0)?;
                target.to_owned()
            }
            None => {
                section.push_essential("endpoints", quoted(target), pass.line);
                target.trim_start_matches("unix:").rsplit('/').next().unwrap_or("app").replace(':', "-")
            }
        };
        for (setting, key) in
            [("proxy_connect_timeout", "timeouts.connect"), ("proxy_timeout", "timeouts.idle")]
        {
            if let Some(directive) = scope.one(setting)
                && let Some(time) = values::duration(directive.arg(0), "s")
            {
                section.text(key, &time, directive.line);
                self.report.done(directive.line);
            }
        }
        if scope.is_on("proxy_protocol")
            && let Some(directive) = scope.one("proxy_protocol")
        {
            section.essential("proxy_protocol", "\"v1\"", directive.line);
            self.report.done(directive.line);
        }
        if let Some(directive) = scope.one("proxy_bind").filter(|directive| !directive.arg(0).contains('$')) {
            section.text("bind_address", directive.arg(0), directive.line);
            self.report.done(directive.line);
        }
        if scope.is_on("proxy_ssl") && !udp {
            let directive = scope.one("proxy_ssl")?;
            let url = Url { tls: true, grpc: false, authority: target.to_owned(), uri: None };
            self.backend_tls(&mut section, scope, url.host(), directive.line);
            self.report.done(directive.line);
        }
        Some(self.draft.upstream(&name, section))
    }
}
