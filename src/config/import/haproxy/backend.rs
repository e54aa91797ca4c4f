//! Backends become upstreams: balancing, checks, timeouts, retries.

use super::super::draft::{Section, part, texts};
use super::super::report::Line;
use super::super::values;
use super::parse::Item;
use super::server::Parameters;
use super::{HaProxy, Proxy};

impl<'b> HaProxy<'_, 'b> {
    /// The upstream of a backend. `None`: it has no server, or there is no such backend.
    pub(super) fn upstream(&mut self, name: &str, is_http: bool) -> Option<String> {
        let proxy = self.backends.get(name)?;
        let proxy = Proxy { block: proxy.block, defaults: proxy.defaults };
        let line = proxy.block.line;
        self.report.done(line);
        let mut section = Section::new("", line);
        let shared = self.servers(&proxy, &mut section);
        if !section.has("endpoints") {
            self.report.missing(line, "it has no server", Some("upstream.endpoints"));
            return None;
        }
        self.balance(&mut section, &proxy);
        self.timeouts(&mut section, &proxy);
        self.retries(&mut section, &proxy);
        self.connections(&mut section, &proxy, &shared, line);
        if is_http {
            self.sessions(&mut section, &proxy);
        }
        self.checks(&mut section, &proxy, &shared);
        self.server_tls(&mut section, &shared, line);
        Some(self.draft.upstream(name, section))
    }

    fn balance(&mut self, section: &mut Section, proxy: &Proxy<'b>) {
        let Some(item) = proxy.one(&["balance"]) else { return };
        let line = item.line;
        let algorithm = item.word(1);
        let (word, argument) = match algorithm.split_once('(') {
            Some((word, rest)) => (word, rest.trim_end_matches(')')),
            None => (algorithm, item.word(2)),
        };
        let by = match word {
            "roundrobin" | "static-rr" => return self.report.done(line),
            "leastconn" => {
                section.text("balance", "least-requests", line);
                return self.report.done(line);
            }
            "random" => {
                section.text("balance", if argument == "1" { "random" } else { "two-choices" }, line);
                return self.report.done(line);
            }
            "source" => "client-address".to_owned(),
            "uri" => "path".to_owned(),
            "hdr" => format!("header:{argument}"),
            "url_param" => format!("query:{argument}"),
            "hash" if argument == "src" => "client-address".to_owned(),
            "hash" if argument == "path" || argument == "pathq" => "path".to_owned(),
            _ => {
                let why = format!("{word}: requests are served in turn instead");
                return self.report.missing(line, why, Some("upstream.balance"));
            }
        };
        section.text("balance", "hash", line);
        section.text("hash.by", &by, line);
        self.report.done(line);
    }

    fn timeouts(&mut self, section: &mut Section, proxy: &Proxy<'b>) {
        let mut set = |haproxy: &mut Self, name: &str, keys: &[&str]| {
            let Some(item) = proxy.one(&["timeout", name]) else { return };
            let Some(time) = values::duration(item.word(2), "ms").filter(|time| time != "0s") else {
                return haproxy.report.needless(item.line, "without a time there is no such bound");
            };
            for key in keys {
                section.text(key, &time, item.line);
            }
            haproxy.report.done(item.line);
        };
        set(self, "connect", &["timeouts.connect"]);
        set(self, "server", &["timeouts.response", "timeouts.idle"]);
        set(self, "tunnel", &["timeouts.idle"]);
    }

    fn retries(&mut self, section: &mut Section, proxy: &Proxy<'b>) {
        if let Some(item) = proxy.one(&["retries"]) {
            let attempts = item.word(1).parse::<u64>().unwrap_or(3).saturating_add(1).min(10);
            section.set("retries.attempts", attempts.to_string(), item.line);
            self.report.done(item.line);
        }
        let Some(item) = proxy.one(&["retry-on"]) else { return };
        let mut on = Vec::new();
        for word in item.from(1) {
            let words: &[&str] = match word {
                "none" => &[],
                "conn-failure" => &["connect"],
                "empty-response" | "junk-response" => &["reset"],
                "response-timeout" => &["timeout"],
                "404" | "425" | "429" | "500" | "501" | "502" | "503" | "504" => {
                    on.push(word);
                    &[]
                }
                "all-retryable-errors" => &["connect", "reset", "timeout", "503"],
                other => {
                    self.report.note(item.line, format!("{other} is no reason to send a request again"));
                    &[]
                }
            };
            on.extend(words.iter().filter(|word| !on.contains(*word)).copied().collect::<Vec<_>>());
        }
        if on.is_empty() {
            section.set("retries.attempts", "1", item.line);
        } else {
            section.set("retries.on", texts(&on), item.line);
        }
        self.report.done(item.line);
    }

    /// What the first server has for its connections.
    fn connections(&mut self, section: &mut Section, proxy: &Proxy<'b>, shared: &Parameters, line: Line) {
        if let Some(most) = shared.get("maxconn").filter(|most| *most != "0") {
            section.set("pool.max_per_endpoint", most, line);
            let queue = proxy.one(&["timeout", "queue"]).or_else(|| proxy.one(&["timeout", "connect"]));
            if let Some(item) = queue
                && let Some(time) = values::duration(item.word(2), "ms").filter(|time| time != "0s")
            {
                section.text("queue.timeout", &time, item.line);
                self.report.done(item.line);
            }
        }
        if let Some(item) = proxy.one(&["timeout", "queue"]).filter(|_| !shared.has("maxconn")) {
            self.report.needless(item.line, "without `maxconn` of a server nothing waits");
        }
        if shared.has("send-proxy-v2") || shared.has("send-proxy-v2-ssl") {
            section.essential("proxy_protocol", "\"v2\"", line);
        } else if shared.has("send-proxy") {
            section.essential("proxy_protocol", "\"v1\"", line);
        }
        if shared.get("proto") == Some("h2") {
            section.essential("http", "\"2\"", line);
        } else if let Some(offered) =
            shared.get("alpn").filter(|offered| offered.split(',').any(|one| one == "h2"))
        {
            section.text("http", if offered.contains("http/1.1") { "auto" } else { "2" }, line);
        }
        if let Some(time) = shared.get("slowstart").and_then(|time| values::duration(time, "ms")) {
            section.text("slow_start", &time, line);
        }
        if let Some(most) = shared.get("pool-max-conn").filter(|most| most.parse::<u64>().is_ok()) {
            section.set("pool.idle_per_worker", most, line);
        }
        let source = shared.get("source").or_else(|| {
            proxy.one(&["source"]).map(|item| {
                self.report.done(item.line);
                item.word(1)
            })
        });
        if let Some(source) = source.filter(|source| source.parse::<std::net::IpAddr>().is_ok()) {
            section.text("bind_address", source, line);
        }
    }

    /// `cookie` and `stick on`.
    fn sessions(&mut self, section: &mut Section, proxy: &Proxy<'b>) {
        if let Some(item) = proxy.one(&["cookie"]) {
            if !item.has("insert") {
                let why = "the cookie is Ringate's own: it is inserted";
                return self.report.missing(item.line, why, Some("upstream.sticky.cookie"));
            }
            section.text("sticky.cookie", item.word(1), item.line);
            if let Some(time) = item.after("maxidle").and_then(|time| values::duration(time, "s")) {
                section.text("sticky.max_age", &time, item.line);
            }
            self.report.note(item.line, "the cookie's value is Ringate's own: sessions of before begin anew");
        }
        if let Some(item) = proxy.one(&["stick", "on"]).filter(|item| item.word(2) == "src") {
            section.text("balance", "hash", item.line);
            section.text("hash.by", "client-address", item.line);
            self.report.note(item.line, "the client's address is hashed: there is no table to keep");
        }
    }

    /// `option httpchk`, `http-check` and `check` of servers.
    fn checks(&mut self, section: &mut Section, proxy: &Proxy<'b>, shared: &Parameters) {
        if !shared.has("check") {
            return;
        }
        let line = proxy.block.line;
        for (name, key) in [("inter", "health.interval"), ("fall", "health.fall"), ("rise", "health.rise")] {
            let Some(value) = shared.get(name) else { continue };
            match name {
                "inter" => {
                    if let Some(time) = values::duration(value, "ms") {
                        section.text(key, &time, line);
                    }
                }
                _ => section.set(key, value, line),
            }
        }
        if !shared.has("inter") {
            section.text("health.interval", "2s", line);
        }
        if let Some(item) = proxy.one(&["timeout", "check"])
            && let Some(time) = values::duration(item.word(2), "ms")
        {
            section.text("health.timeout", &time, item.line);
            self.report.done(item.line);
        }
        let Some(item) = proxy.option("httpchk") else {
            let other = proxy.option("ssl-hello-chk").or_else(|| proxy.option("tcp-check"));
            other.into_iter().for_each(|item| self.report.done(item.line));
            if let Some(item) = proxy.option("ssl-hello-chk").filter(|_| !shared.has("ssl")) {
                let why = "TLS passes through, so the check is a connection without a handshake";
                self.report.note(item.line, why);
            }
            return section.text("health.type", if shared.has("ssl") { "tls" } else { "tcp" }, line);
        };
        self.report.done(item.line);
        section.text("health.type", "http", item.line);
        let (method, path) = match (item.word(2), item.word(3)) {
            ("", _) => ("OPTIONS", "/"),
            (path, "") => ("OPTIONS", path),
            (method, path) => (method, path),
        };
        section.text("health.method", method, item.line);
        section.text("health.path", path, item.line);
        // `HTTP/1.1\r\nHost:\ www`
        if let Some(host) = item.from(4).join(" ").split_once("Host:").map(|(_, host)| host.trim().to_owned())
        {
            section.text("health.host", &host, item.line);
        }
        for check in proxy.all(&["http-check"]) {
            self.http_check(section, check);
        }
    }

    fn http_check(&mut self, section: &mut Section, check: &Item) {
        let line = check.line;
        match check.word(1) {
            "send" => {
                if let Some(method) = check.after("meth") {
                    section.text("health.method", method, line);
                }
                if let Some(path) = check.after("uri") {
                    section.text("health.path", path, line);
                }
                for words in check.words.windows(3).filter(|words| words[0] == "hdr") {
                    match words[1].to_ascii_lowercase().as_str() {
                        "host" => section.text("health.host", &words[2], line),
                        _ => section.text(&format!("health.headers.{}", part(&words[1])), &words[2], line),
                    }
                }
                self.report.done(line);
            }
            "expect" => {
                let words: Vec<&str> = check.from(2).into_iter().filter(|word| *word != "!").collect();
                match words[..] {
                    _ if check.has("!") => {
                        self.report.missing(
                            line,
                            "the opposite of an expectation can't be written",
                            Some("upstream.health.expect"),
                        );
                    }
                    ["status", statuses] => {
                        let all: Vec<&str> = statuses.split(',').collect();
                        section.set("health.expect", texts(&all), line);
                        self.report.done(line);
                    }
                    ["rstatus", "^[23]" | "(2|3)[0-9][0-9]" | "^2[0-9][0-9]|^3[0-9][0-9]" | "[23].."] => {
                        section.set("health.expect", "[\"200-399\"]", line);
                        self.report.done(line);
                    }
                    ["string", text] => {
                        section.text("health.body", text, line);
                        self.report.done(line);
                    }
                    _ => self.report.missing(
                        line,
                        "a check expects statuses or a text",
                        Some("upstream.health.expect"),
                    ),
                }
            }
            "disable-on-404" => {
                self.report.missing(
                    line,
                    "a 404 takes an endpoint down as any other status",
                    Some("upstream.health.expect"),
                );
            }
            _ => {}
        }
    }
}
