//! `listen` of servers becomes listeners: addresses with the same servers are one.

use super::super::algorithms;
use super::super::draft::{Section, quoted, texts};
use super::super::report::Line;
use super::super::values;
use super::parse::Directive;
use super::{Nginx, Scope};

/// What `listen` says.
#[derive(Clone, Debug)]
pub(super) struct Listen {
    /// As Ringate writes it.
    pub(super) address: String,
    pub(super) tls: bool,
    pub(super) proxy: bool,
    pub(super) udp: bool,
    pub(super) default: bool,
    pub(super) ipv6_only: Option<bool>,
    pub(super) line: Line,
}

/// A server with its names.
pub(super) struct Server<'d> {
    pub(super) scope: Scope<'d>,
    pub(super) block: &'d Directive,
    pub(super) listens: Vec<Listen>,
}

/// Addresses with the same servers, which become one listener.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) addresses: Vec<Listen>,
    /// Its servers; the first is the default.
    pub(super) servers: Vec<usize>,
}

impl Group {
    pub(super) fn is_tls(&self) -> bool {
        self.addresses.iter().any(|listen| listen.tls)
    }
}

/// `80`, `*:80`, `1.2.3.4`, `[::]:80`, `localhost:80`, `unix:/path`.
fn address(text: &str) -> Option<String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return (!path.is_empty()).then(|| format!("unix:{path}"));
    }
    if let Ok(port) = text.parse::<u16>() {
        return Some(format!("0.0.0.0:{port}"));
    }
    if text.parse::<std::net::SocketAddr>().is_ok() {
        return Some(text.to_owned());
    }
    if text.parse::<std::net::Ipv4Addr>().is_ok() {
        return Some(format!("{text}:80"));
    }
    if text.starts_with('[') && text.ends_with(']') {
        return Some(format!("{text}:80"));
    }
    match text.rsplit_once(':') {
        Some(("*", port)) => port.parse::<u16>().ok().map(|port| format!("0.0.0.0:{port}")),
        Some(("localhost", port)) => port.parse::<u16>().ok().map(|port| format!("127.0.0.1:{port}")),
        None if text == "localhost" => Some("127.0.0.1:80".to_owned()),
        None if text == "*" => Some("0.0.0.0:80".to_owned()),
        _ => None,
    }
}

impl<'d> Nginx<'_, 'd> {
    /// The `server` blocks of a block.
    pub(super) fn servers(&mut self, scope: &Scope<'d>, block: &'d [Directive]) -> Vec<Server<'d>> {
        let mut servers = Vec::new();
        for server in block.iter().filter(|directive| directive.name == "server") {
            let inner = scope.within(server.inner());
            let listens = self.listens(&inner, server);
            self.report.done(server.line);
            servers.push(Server { scope: inner, block: server, listens });
        }
        servers
    }

    /// Reads the `listen` lines of a server.
    pub(super) fn listens(&mut self, scope: &Scope<'d>, server: &'d Directive) -> Vec<Listen> {
        // `ssl on`, of old configs.
        let all_tls = scope.is_on("ssl");
        let mut found = Vec::new();
        for directive in server.inner().iter().filter(|directive| directive.name == "listen") {
            let Some(address) = address(directive.arg(0)) else {
                self.report.missing(
                    directive.line,
                    "the address must be an IP address and a port, or `unix:PATH`",
                    Some("listener.address"),
                );
                continue;
            };
            let udp = directive.has("udp");
            if directive.has("quic") {
                self.report.missing(directive.line, "HTTP/3 is not served", Some("listener.http.versions"));
                continue;
            }
            self.report.done(directive.line);
            found.push(Listen {
                address,
                tls: directive.has("ssl") || all_tls,
                proxy: directive.has("proxy_protocol"),
                udp,
                default: directive.has("default_server") || directive.has("default"),
                ipv6_only: directive.parameter("ipv6only").map(|value| value == "on"),
                line: directive.line,
            });
        }
        if found.is_empty() && !server.inner().iter().any(|directive| directive.name == "listen") {
            self.report.note(server.line, "without `listen` it listens on port 80");
            let (tls, proxy, udp, default) = (all_tls, false, false, false);
            let address = "0.0.0.0:80".to_owned();
            found.push(Listen { address, tls, proxy, udp, default, ipv6_only: None, line: server.line });
        }
        found
    }

    /// The listeners that servers need.
    pub(super) fn groups(&mut self, servers: &[Server<'d>], kind: &str) -> Vec<Group> {
        let mut addresses: Vec<(Listen, Vec<usize>)> = Vec::new();
        for (index, server) in servers.iter().enumerate() {
            for listen in &server.listens {
                let same = |known: &&mut (Listen, Vec<usize>)| {
                    known.0.address == listen.address && known.0.udp == listen.udp
                };
                match addresses.iter_mut().find(same) {
                    Some((known, users)) => {
                        // The default server goes first.
                        if listen.default && !users.contains(&index) {
                            users.insert(0, index);
                        } else if !users.contains(&index) {
                            users.push(index);
                        }
                        known.tls |= listen.tls;
                        known.proxy |= listen.proxy;
                    }
                    None => addresses.push((listen.clone(), vec![index])),
                }
            }
        }
        let mut groups: Vec<Group> = Vec::new();
        for (listen, users) in addresses {
            let same = |group: &&mut Group| {
                let first = &group.addresses[0];
                group.servers == users
                    && (first.tls, first.proxy, first.udp) == (listen.tls, listen.proxy, listen.udp)
                    && first.ipv6_only == listen.ipv6_only
            };
            match groups.iter_mut().find(same) {
                Some(group) => group.addresses.push(listen),
                None => groups.push(Group { name: String::new(), addresses: vec![listen], servers: users }),
            }
        }
        for index in 0..groups.len() {
            let first = &groups[index].addresses[0];
            let scheme = match (kind, first.tls, first.udp) {
                ("http", true, _) => "https",
                (_, _, true) => "udp",
                (kind, _, _) => kind,
            };
            let port = first.address.rsplit(':').next().unwrap_or_default();
            let port: String = port.chars().filter(char::is_ascii_alphanumeric).collect();
            let base = format!("{scheme}-{port}");
            let taken = |name: &str, groups: &[Group], draft: &[Section]| {
                groups.iter().any(|group| group.name == name)
                    || draft.iter().any(|section| section.get("name") == Some(&quoted(name)))
            };
            let mut name = base.clone();
            let mut number = 2;
            while taken(&name, &groups, &self.draft.listeners) {
                name = format!("{base}-{number}");
                number += 1;
            }
            groups[index].name = name;
        }
        groups
    }

    /// A listener's section with what is not of one protocol alone.
    pub(super) fn listener(&mut self, group: &Group, scope: &Scope<'d>, servers: &[Server<'d>]) -> Section {
        let line = group.addresses[0].line;
        let mut section = Section::new("[listener]", line);
        section.text("name", &group.name, line);
        let addresses: Vec<&str> = group.addresses.iter().map(|listen| listen.address.as_str()).collect();
        match addresses[..] {
            [one] => section.essential("address", quoted(one), line),
            _ => section.essential("address", texts(&addresses), line),
        }
        if group.addresses[0].ipv6_only == Some(false) {
            section.set("ipv6_only", "false", line);
        }
        if group.addresses[0].proxy {
            section.essential("proxy_protocol", "\"any\"", line);
        }
        if group.is_tls() {
            self.tls(&mut section, group, servers);
        }
        self.client_address(&mut section, scope);
        section
    }

    /// `set_real_ip_from` and `real_ip_header`.
    fn client_address(&mut self, section: &mut Section, scope: &Scope<'d>) {
        let trusted = scope.all("set_real_ip_from");
        if trusted.is_empty() {
            return;
        }
        let header = scope.one("real_ip_header");
        for directive in trusted.iter().chain(&header) {
            self.report.done(directive.line);
        }
        if let Some(directive) = scope.one("real_ip_recursive") {
            self.report.needless(directive.line, "trusted addresses at the end of the list are passed over");
        }
        let field = header.map_or("X-Real-IP", |header| header.arg(0));
        let line = trusted[0].line;
        if field == "proxy_protocol" {
            self.report.note(
                line,
                "the address of a PROXY header is believed: whatever can reach the listener can choose it",
            );
            return;
        }
        let networks: Vec<&str> = trusted
            .iter()
            .map(|directive| directive.arg(0))
            .map(|net| if net == "unix:" { "unix:" } else { net })
            .collect();
        let value = format!("{{ header = {}, trusted = {} }}", quoted(field), texts(&networks));
        section.set("client_address", value, line);
    }

    /// `ssl_*` of all servers at an address.
    fn tls(&mut self, section: &mut Section, group: &Group, servers: &[Server<'d>]) {
        for index in &group.servers {
            self.certificates(section, &servers[*index].scope);
        }
        let Some(first) = group.servers.first() else { return };
        let scope = servers[*first].scope.clone();
        self.client_certificates(section, &scope);
        for index in &group.servers[1..] {
            for name in ["ssl_verify_client", "ssl_client_certificate"] {
                let (one, other) = (scope.one(name), servers[*index].scope.one(name));
                if let Some(directive) = other.filter(|other| one.is_none_or(|one| one.args != other.args)) {
                    let why = "client certificates are asked for by the listener, for all of its hosts alike";
                    self.report.missing(directive.line, why, Some("route.require_client_certificate"));
                }
            }
        }
        if let Some(directive) = scope.one("ssl_protocols") {
            let known: Vec<&str> = directive
                .args
                .iter()
                .filter_map(|arg| arg.strip_prefix("TLSv1."))
                .filter(|version| matches!(*version, "2" | "3"))
                .map(|version| if version == "2" { "1.2" } else { "1.3" })
                .collect();
            match known.len() == directive.args.len() {
                true => self.report.done(directive.line),
                false => self.report.note(directive.line, "versions below 1.2 are not there"),
            }
            if !known.is_empty() {
                section.set("tls.versions", texts(&known), directive.line);
            }
        }
        self.algorithms(section, &scope);
        self.stapling(section, &scope);
    }

    /// `ssl_stapling`, `ssl_stapling_file` and `ssl_stapling_responder`.
    fn stapling(&mut self, section: &mut Section, scope: &Scope<'d>) {
        let Some(on) = scope.one("ssl_stapling").filter(|on| on.arg(0) == "on") else { return };
        self.report.done(on.line);
        if let Some(file) = scope.one("ssl_stapling_file") {
            let path = quoted(&values::absolute(self.folder, file.arg(0)));
            section.set("tls.ocsp", format!("{{ file = {path} }}"), file.line);
            self.report.done(file.line);
            return;
        }
        match scope.one("ssl_stapling_responder") {
            Some(url) => {
                section.set(
                    "tls.ocsp",
                    format!("{{ fetch = true, url = {} }}", quoted(url.arg(0))),
                    url.line,
                );
                self.report.done(url.line);
            }
            None => section.set("tls.ocsp", "{ fetch = true }", on.line),
        }
        self.report.note(
            on.line,
            "public CAs have ended OCSP: leave `tls.ocsp` out unless the certificate names a responder",
        );
    }

    /// `ssl_ciphers`, `ssl_conf_command Ciphersuites`, `ssl_prefer_server_ciphers` and `ssl_ecdh_curve`.
    fn algorithms(&mut self, section: &mut Section, scope: &Scope<'d>) {
        let commands = scope.all("ssl_conf_command");
        let tls13 = commands.into_iter().find(|command| command.arg(0).eq_ignore_ascii_case("ciphersuites"));
        let tls12 = scope.one("ssl_ciphers");
        let lines: Vec<Line> = tls12.iter().chain(&tls13).map(|directive| directive.line).collect();
        let texts = (tls12.map(|directive| directive.arg(0)), tls13.map(|directive| directive.arg(1)));
        self.cipher_suites(section, texts, &lines, "listener.tls.cipher_suites");
        if let Some(directive) = scope.one("ssl_prefer_server_ciphers") {
            if directive.arg(0) == "off" {
                section.text("tls.cipher_order", "client", directive.line);
            }
            self.report.done(directive.line);
        }
        if let Some(directive) = scope.one("ssl_ecdh_curve") {
            match algorithms::groups(directive.arg(0)) {
                Ok(Some(groups)) => {
                    section.set("tls.groups", groups, directive.line);
                    self.report.done(directive.line);
                }
                Ok(None) => {}
                Err(unknown) => {
                    let why = format!("there is no group {}", unknown.join(", "));
                    self.report.missing(directive.line, why, Some("listener.tls.groups"));
                }
            }
        }
    }

    /// Lists of suites for TLS 1.2 and TLS 1.3, which stand in `lines`.
    pub(super) fn cipher_suites(
        &mut self,
        section: &mut Section,
        (tls12, tls13): (Option<&str>, Option<&str>),
        lines: &[Line],
        key: &str,
    ) {
        let Some(last) = lines.last() else { return };
        match algorithms::cipher_suites(tls12, tls13, section.get("tls.versions")) {
            Ok(Some((suites, left))) => {
                section.set("tls.cipher_suites", suites, *last);
                for line in lines {
                    match left.is_empty() {
                        true => self.report.done(*line),
                        false => self.report.note(*line, format!("without {}", left.join(", "))),
                    }
                }
            }
            Ok(None) => {}
            Err(unknown) => {
                let why = format!("there is no cipher suite {}", unknown.join(", "));
                lines.iter().for_each(|line| self.report.missing(*line, why.clone(), Some(key)));
            }
        }
    }

    fn certificates(&mut self, section: &mut Section, scope: &Scope<'d>) {
        let (certificates, keys) = (scope.all("ssl_certificate"), scope.all("ssl_certificate_key"));
        let passphrase = scope.one("ssl_password_file");
        for (certificate, key) in certificates.iter().zip(&keys) {
            let path = |directive: &Directive| quoted(&values::absolute(self.folder, directive.arg(0)));
            if certificate.arg(0).contains('$') || certificate.arg(0).starts_with("data:") {
                self.report.missing(
                    certificate.line,
                    "a certificate is a file or a name in the store",
                    Some("listener.tls.certificates"),
                );
                continue;
            }
            let mut value = format!("{{ cert = {}, key = {}", path(certificate), path(key));
            if let Some(file) = passphrase {
                value.push_str(&format!(", passphrase_file = {}", path(file)));
                self.report.done(file.line);
            }
            value.push_str(" }");
            section.push_essential("tls.certificates", value, certificate.line);
            self.report.done(certificate.line);
            self.report.done(key.line);
        }
    }

    fn client_certificates(&mut self, section: &mut Section, scope: &Scope<'d>) {
        let Some(verify) = scope.one("ssl_verify_client").filter(|verify| verify.arg(0) != "off") else {
            for name in ["ssl_client_certificate", "ssl_verify_client", "ssl_crl"] {
                if let Some(directive) = scope.one(name) {
                    self.report.needless(directive.line, "client certificates are not asked for");
                }
            }
            return;
        };
        let mode = match verify.arg(0) {
            "on" => "required",
            "optional" => "optional",
            _ => {
                self.report.missing(
                    verify.line,
                    "certificates that are not verified are accepted with `credentials` only",
                    Some("route.credentials"),
                );
                return;
            }
        };
        section.essential("tls.client_auth", quoted(mode), verify.line);
        if mode == "required" {
            self.report.note(verify.line, "without a certificate the handshake fails; nginx answers 400");
        } else {
            self.report.done(verify.line);
        }
        for name in ["ssl_client_certificate", "ssl_crl"] {
            let Some(directive) = scope.one(name) else { continue };
            let key = if name == "ssl_crl" { "tls.client_crl" } else { "tls.client_trust" };
            let path = values::absolute(self.folder, directive.arg(0));
            section.push_essential(key, quoted(&path), directive.line);
            self.report.done(directive.line);
        }
    }
}
