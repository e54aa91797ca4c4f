//! `server` lines become endpoints, and what they have in common the settings of their upstream.

use super::super::draft::{Section, quoted};
use super::super::report::Line;
use super::super::values;
use super::parse::Item;
use super::{HaProxy, Proxy};

/// What a server has for its upstream as a whole: the first server that has it decides.
const SHARED: &[&str] = &[
    "ssl",
    "verify",
    "ca-file",
    "crt",
    "crl-file",
    "sni",
    "verifyhost",
    "send-proxy",
    "send-proxy-v2",
    "send-proxy-v2-ssl",
    "check",
    "check-ssl",
    "inter",
    "fall",
    "rise",
    "maxconn",
    "alpn",
    "proto",
    "source",
    "slowstart",
    "pool-max-conn",
    "ssl-min-ver",
    "maxqueue",
    "observe",
    "error-limit",
    "no-check",
    "ciphers",
    "ciphersuites",
    "curves",
];
/// Parameters that are followed by a value.
const VALUED: &[&str] = &[
    "weight",
    "cookie",
    "inter",
    "fastinter",
    "downinter",
    "fall",
    "rise",
    "maxconn",
    "maxqueue",
    "minconn",
    "slowstart",
    "resolvers",
    "init-addr",
    "resolve-prefer",
    "resolve-opts",
    "resolve-net",
    "port",
    "addr",
    "ca-file",
    "crt",
    "crl-file",
    "verify",
    "sni",
    "verifyhost",
    "ciphers",
    "ciphersuites",
    "curves",
    "alpn",
    "proto",
    "source",
    "pool-max-conn",
    "pool-purge-delay",
    "pool-low-conn",
    "max-reuse",
    "ssl-min-ver",
    "ssl-max-ver",
    "observe",
    "error-limit",
    "on-error",
    "on-marked-down",
    "on-marked-up",
    "track",
    "id",
    "redir",
    "socks4",
    "ws",
    "check-sni",
    "check-alpn",
    "check-proto",
    "agent-port",
    "agent-inter",
    "agent-addr",
    "agent-send",
    "interface",
    "log-proto",
    "tcp-ut",
    "namespace",
    "init-state",
];
/// Parameters that change nothing here.
const NEEDLESS: &[&str] = &[
    "cookie",
    "resolvers",
    "init-addr",
    "resolve-prefer",
    "resolve-opts",
    "resolve-net",
    "fastinter",
    "downinter",
    "minconn",
    "pool-purge-delay",
    "pool-low-conn",
    "max-reuse",
    "ssl-max-ver",
    "on-error",
    "on-marked-down",
    "on-marked-up",
    "id",
    "enabled",
    "no-sslv3",
    "no-tlsv10",
    "no-tlsv11",
    "no-tls-tickets",
    "ssl-reuse",
    "no-ssl-reuse",
    "stick",
    "non-stick",
    "no-verifyhost",
    "tfo",
    "check-sni",
    "check-alpn",
    "check-proto",
    "log-proto",
    "tcp-ut",
    "ws",
    "init-state",
    "allow-0rtt",
    "force-tlsv12",
    "force-tlsv13",
    "no-sslv2",
];

/// The parameters of a server with those of `default-server`.
#[derive(Clone, Debug, Default)]
pub(super) struct Parameters {
    pub(super) all: Vec<(String, String)>,
}

impl Parameters {
    fn add(&mut self, words: &[&str]) {
        let mut at = 0;
        while at < words.len() {
            let word = words[at];
            let is_valued = VALUED.contains(&word);
            let value = if is_valued { words.get(at + 1).copied().unwrap_or_default() } else { "" };
            if let Some(negated) = word.strip_prefix("no-").filter(|name| SHARED.contains(name)) {
                self.all.retain(|(name, _)| name != negated);
            }
            self.all.retain(|(name, _)| name != word);
            self.all.push((word.to_owned(), value.to_owned()));
            at += 1 + usize::from(is_valued);
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

impl<'b> HaProxy<'_, 'b> {
    /// The endpoints of a backend, and the parameters that hold for all of them.
    pub(super) fn servers(&mut self, proxy: &Proxy<'b>, section: &mut Section) -> Parameters {
        let mut defaults = Parameters::default();
        for item in proxy.all(&["default-server"]) {
            defaults.add(&item.from(1));
            self.report.done(item.line);
        }
        let mut shared: Option<Parameters> = None;
        let mut templates = proxy.all(&["server-template"]);
        let servers = proxy.all(&["server"]);
        for item in &servers {
            let mut parameters = defaults.clone();
            parameters.add(&item.from(3));
            let address = item.word(2).to_owned();
            self.endpoint(section, item, &address, &parameters);
            self.differences(&mut shared, parameters, item);
        }
        for item in templates.drain(..) {
            let mut parameters = defaults.clone();
            parameters.add(&item.from(4));
            let target = item.word(3);
            let address = match target.strip_prefix('_') {
                Some(_) => format!("srv:{}", target.split(':').next().unwrap_or_default()),
                None => format!("dns:{target}"),
            };
            self.endpoint(section, item, &address, &parameters);
            self.differences(&mut shared, parameters, item);
        }
        shared.unwrap_or_default()
    }

    fn endpoint(&mut self, section: &mut Section, item: &Item, address: &str, parameters: &Parameters) {
        let line = item.line;
        let address =
            address.strip_prefix("ipv4@").or_else(|| address.strip_prefix("ipv6@")).unwrap_or(address);
        let mut address =
            match address.strip_prefix("unix@").or(Some(address).filter(|path| path.starts_with('/'))) {
                Some(path) => format!("unix:{path}"),
                None => address.to_owned(),
            };
        let port = address.rsplit_once(':').is_some_and(|(host, port)| {
            port.parse::<u16>().is_ok()
                && (!host.contains(':') || host.ends_with(']') || host.starts_with("dns:"))
        });
        if !port && !address.starts_with("unix:") && !address.starts_with("srv:") {
            let default = if parameters.has("ssl") { 443 } else { 80 };
            address = format!("{address}:{default}");
            self.report.note(line, format!("without a port the backend's is taken to be {default}"));
        }
        let is_name = address.parse::<std::net::SocketAddr>().is_err() && !address.contains("unix:");
        if parameters.has("resolvers")
            && is_name
            && !address.starts_with("dns:")
            && !address.starts_with("srv:")
        {
            address = format!("dns:{address}");
        }
        let mut keys = vec![format!("address = {}", quoted(&address))];
        match parameters.get("weight") {
            Some("0") => keys.push("drain = true".to_owned()),
            Some(weight) => keys.push(format!("weight = {weight}")),
            None => {}
        }
        if parameters.has("backup") {
            keys.push("backup = true".to_owned());
        }
        if parameters.has("disabled") && !keys.iter().any(|key| key.starts_with("drain")) {
            keys.push("drain = true".to_owned());
        }
        let value = if keys.len() == 1 { quoted(&address) } else { format!("{{ {} }}", keys.join(", ")) };
        section.push_essential("endpoints", value, line);
        self.report.done(line);
        for (name, _) in &parameters.all {
            let own = ["weight", "backup", "disabled"];
            if !own.contains(&name.as_str())
                && !SHARED.contains(&name.as_str())
                && !NEEDLESS.contains(&name.as_str())
            {
                self.report.missing(
                    line,
                    format!("the parameter {name} has no counterpart"),
                    Some("upstream.endpoints"),
                );
            }
        }
    }

    /// Notes what a server has otherwise than the first one.
    fn differences(&mut self, shared: &mut Option<Parameters>, own: Parameters, item: &Item) {
        let Some(first) = shared else {
            *shared = Some(own);
            return;
        };
        for name in SHARED {
            if first.get(name) != own.get(name) {
                self.report
                    .note(item.line, format!("{name} is the upstream's: it is as with its first server"));
            }
        }
    }

    /// TLS with the servers. `sni` may be that of the request.
    pub(super) fn server_tls(&mut self, section: &mut Section, shared: &Parameters, line: Line) {
        if !shared.has("ssl") {
            return;
        }
        let text = |value: &str| {
            value.strip_prefix("str(").and_then(|rest| rest.strip_suffix(')')).map(str::to_owned)
        };
        let sni = shared.get("sni").map(|sni| text(sni).ok_or(sni));
        match (shared.get("verifyhost"), sni) {
            (Some(name), _) => section.text("tls.server_name", name, line),
            (None, Some(Ok(name))) => section.text("tls.server_name", &name, line),
            (None, Some(Err("req.hdr(host)" | "hdr(host)" | "req.hdr(Host)" | "ssl_fc_sni"))) => {
                self.report.note(line, "the server name is the request's host, which is verified, too");
            }
            (None, Some(Err(other))) => {
                self.report.missing(
                    line,
                    format!("sni {other}: a name is fixed, or the request's host"),
                    Some("upstream.tls.server_name"),
                );
            }
            (None, None) => {}
        }
        if shared.get("verify") == Some("none") {
            section.set("tls.insecure_skip_verify", "true", line);
            self.report.note(line, "HAProxy does not verify this backend (verify none): set `tls.trust` instead of `tls.insecure_skip_verify`");
        } else if let Some(file) = shared.get("ca-file") {
            if file == "@system-ca" {
                section.push_essential("tls.trust", "\"system\"", line);
            } else {
                section.push_essential("tls.trust", quoted(&values::absolute(&self.ca_base, file)), line);
            }
        } else {
            section.set("tls.trust", "[\"system\"]", line);
        }
        if let Some(file) = shared.get("crl-file") {
            section.push_essential("tls.crl", quoted(&values::absolute(&self.ca_base, file)), line);
        }
        if let Some(file) = shared.get("crt") {
            section.essential("tls.certificate", quoted(&values::absolute(&self.crt_base, file)), line);
        }
        if shared.get("ssl-min-ver") == Some("TLSv1.3") {
            section.set("tls.versions", "[\"1.3\"]", line);
        }
        self.algorithms(section, "server", |word| shared.get(word), line);
        if !section.has("tls.server_name") && shared.get("verify") != Some("none") {
            self.report.note(line, "the backend's certificate must have the request's host as its name; set `tls.server_name` otherwise");
        }
    }
}
