//! `bind` becomes listeners: lines with the same settings are one.

use super::super::algorithms;
use super::super::draft::{Section, quoted, texts};
use super::super::report::Line;
use super::super::values;
use super::parse::Item;
use super::{HaProxy, Proxy};

/// A listener that `bind` lines make.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    pub(super) name: String,
    pub(super) tls: bool,
    pub(super) line: Line,
}

/// `:80`, `*:80`, `[::]:80`, `ipv4@1.2.3.4:80`, `/path`, `unix@/path`, `abns@name`.
fn address(text: &str) -> Option<String> {
    let text = text.strip_prefix("ipv4@").or_else(|| text.strip_prefix("ipv6@")).unwrap_or(text);
    if let Some(name) = text.strip_prefix("abns@") {
        return Some(format!("unix:@{name}"));
    }
    if let Some(path) = text.strip_prefix("unix@") {
        return Some(format!("unix:{path}"));
    }
    if text.starts_with('/') {
        return Some(format!("unix:{text}"));
    }
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let host = host.trim_matches(['[', ']']);
    Some(match host {
        "" | "*" => format!("0.0.0.0:{port}"),
        "localhost" => format!("127.0.0.1:{port}"),
        host if host.parse::<std::net::Ipv6Addr>().is_ok() => format!("[{host}]:{port}"),
        host if host.parse::<std::net::Ipv4Addr>().is_ok() => format!("{host}:{port}"),
        _ => return None,
    })
}

impl<'b> HaProxy<'_, 'b> {
    /// The listeners of a frontend, without what its other lines say.
    pub(super) fn binds(&mut self, proxy: &Proxy<'b>) -> Vec<(Bound, Section)> {
        let mut found: Vec<(String, Vec<String>, Section, Bound)> = Vec::new();
        for item in proxy.all(&["bind"]) {
            let mut addresses = Vec::new();
            for text in item.word(1).split(',') {
                match address(text) {
                    Some(address) => addresses.push(address),
                    None => {
                        let why = format!("{text} is not an IP address with one port, nor a Unix socket");
                        self.report.missing(item.line, why, Some("listener.address"));
                    }
                }
            }
            if addresses.is_empty() {
                continue;
            }
            self.report.done(item.line);
            let settings = item.from(2).join(" ");
            if let Some((_, known, _, _)) = found.iter_mut().find(|(same, ..)| *same == settings) {
                known.extend(addresses);
                continue;
            }
            let tls = item.has("ssl");
            let name = match found.len() {
                0 => super::super::draft::name_of(proxy.name()),
                more => format!("{}-{}", super::super::draft::name_of(proxy.name()), more + 1),
            };
            let mut section = Section::new("[listener]", item.line);
            section.text("name", &name, item.line);
            section.essential("address", "[]", item.line);
            self.parameters(&mut section, item);
            if tls {
                self.bind_tls(&mut section, item);
            }
            found.push((settings, addresses, section, Bound { name, tls, line: item.line }));
        }
        let finished = found.into_iter().map(|(_, addresses, mut section, bound)| {
            match &addresses[..] {
                [one] => section.essential("address", quoted(one), bound.line),
                _ => section.essential("address", texts(&addresses), bound.line),
            }
            (bound, section)
        });
        finished.collect()
    }

    fn parameters(&mut self, section: &mut Section, item: &Item) {
        let line = item.line;
        if item.has("accept-proxy") {
            section.essential("proxy_protocol", "\"any\"", line);
        }
        if item.has("v4v6") {
            section.set("ipv6_only", "false", line);
        }
        if let Some(mode) = item.after("mode") {
            section.text("socket_mode", mode, line);
        }
        if let Some(most) = item.after("maxconn") {
            section.set("limits.connections", most, line);
        }
        for word in [
            "interface",
            "namespace",
            "transparent",
            "crt-list",
            "accept-netscaler-cip",
            "generate-certificates",
        ] {
            if item.has(word) {
                self.report.missing(
                    line,
                    format!("the parameter {word} has no counterpart"),
                    Some("listener"),
                );
            }
        }
    }

    fn bind_tls(&mut self, section: &mut Section, item: &Item) {
        let line = item.line;
        let pairs = item.words.windows(2);
        for pair in pairs.filter(|pair| pair[0] == "crt") {
            let path = self.crt_base.join(&pair[1]);
            if pair[1].ends_with('/') || !pair[1].contains('.') {
                self.report.missing(
                    line,
                    format!("{} is a folder: name its files", pair[1]),
                    Some("listener.tls.certificates"),
                );
                continue;
            }
            section.push_essential("tls.certificates", quoted(&path.display().to_string()), line);
        }
        if !section.has("tls.certificates") {
            // Without one the listener would be plain.
            section.essential("tls.certificates", "[]", line);
        }
        if let Some(mode @ ("required" | "optional")) = item.after("verify") {
            section.essential("tls.client_auth", quoted(mode), line);
            for (word, key) in [("ca-file", "tls.client_trust"), ("crl-file", "tls.client_crl")] {
                if let Some(file) = item.after(word) {
                    section.push_essential(key, quoted(&values::absolute(&self.ca_base, file)), line);
                }
            }
            if item.has("crt-ignore-err") || item.has("ca-ignore-err") {
                self.report.missing(
                    line,
                    "certificates that are not verified are refused",
                    Some("route.credentials"),
                );
            }
        }
        if let Some(offered) = item.after("alpn") {
            let versions: Vec<&str> = [("http/1.1", "1.1"), ("h2", "2")]
                .iter()
                .filter(|(name, _)| offered.split(',').any(|one| one == *name))
                .map(|(_, version)| *version)
                .collect();
            if !versions.is_empty() && versions.len() < 2 {
                section.set("http.versions", texts(&versions), line);
            }
        }
        if item.after("ssl-min-ver") == Some("TLSv1.3") || item.has("force-tlsv13") {
            section.set("tls.versions", "[\"1.3\"]", line);
        } else if item.after("ssl-max-ver") == Some("TLSv1.2")
            || item.has("force-tlsv12")
            || item.has("no-tlsv13")
        {
            section.set("tls.versions", "[\"1.2\"]", line);
        }
        self.algorithms(section, "bind", |word| item.after(word), line);
        let options = self.tls_defaults.get("ssl-default-bind-options").copied();
        let by_default = options.filter(|options| options.has("prefer-client-ciphers"));
        if item.has("prefer-client-ciphers") || by_default.is_some() {
            section.text("tls.cipher_order", "client", line);
            by_default.iter().for_each(|options| self.report.done(options.line));
        }
        if item.has("strict-sni") {
            self.report.missing(
                line,
                "strict-sni: the first certificate is the default",
                Some("listener.tls.certificates"),
            );
        }
    }

    /// `ciphers`, `ciphersuites` and `curves` of a line, or of `ssl-default-bind-…` or `ssl-default-server-…`.
    pub(super) fn algorithms<'p>(
        &mut self,
        section: &mut Section,
        side: &str,
        own: impl Fn(&str) -> Option<&'p str>,
        line: Line,
    ) {
        let key = |name: &str| format!("{}.tls.{name}", if side == "bind" { "listener" } else { "upstream" });
        let default =
            |word: &str| self.tls_defaults.get(format!("ssl-default-{side}-{word}").as_str()).copied();
        let found = |word: &str| {
            let by_default = default(word).map(|item| (item.word(1).to_owned(), item.line));
            own(word).map(|text| (text.to_owned(), line)).or(by_default)
        };
        let (tls12, tls13) = (found("ciphers"), found("ciphersuites"));
        let curves = found("curves").or_else(|| own("ecdhe").map(|text| (text.to_owned(), line)));
        let text = |of: &Option<(String, Line)>| of.as_ref().map(|(text, _)| text.clone());
        let lines: Vec<Line> = tls12.iter().chain(&tls13).map(|(_, line)| *line).collect();
        let (tls12, tls13) = (text(&tls12), text(&tls13));
        match algorithms::cipher_suites(tls12.as_deref(), tls13.as_deref(), section.get("tls.versions")) {
            Ok(Some((suites, left))) => {
                section.set("tls.cipher_suites", suites, line);
                for line in &lines {
                    match left.is_empty() {
                        true => self.report.done(*line),
                        false => self.report.note(*line, format!("without {}", left.join(", "))),
                    }
                }
            }
            Ok(None) => {}
            Err(unknown) => {
                let why = format!("there is no cipher suite {}", unknown.join(", "));
                let key = key("cipher_suites");
                lines.iter().for_each(|line| self.report.missing(*line, why.clone(), Some(&key)));
            }
        }
        let Some((text, at)) = curves else { return };
        match algorithms::groups(&text) {
            Ok(Some(groups)) => {
                section.set("tls.groups", groups, line);
                self.report.done(at);
            }
            Ok(None) => {}
            Err(unknown) => {
                let why = format!("there is no group {}", unknown.join(", "));
                self.report.missing(at, why, Some(&key("groups")));
            }
        }
    }
}
