//! HAProxy: frontends become listeners with their rules as routes, backends become upstreams.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

mod backend;
mod bind;
mod bounds;
mod conditional;
mod conditions;
mod criteria;
mod deny;
mod frontend;
mod headers;
mod known;
mod logins;
mod maps;
mod pages;
mod parse;
mod redirects;
mod rules;
mod samples;
mod server;
mod switches;

use super::File;
use super::draft::{Draft, quoted, texts};
use super::report::Report;
use super::values;
use crate::config::sources::Outside;
use logins::Login;
use parse::{Block, Item};

/// A section with the defaults that it has.
struct Proxy<'b> {
    block: &'b Block,
    defaults: Option<&'b Block>,
}

impl<'b> Proxy<'b> {
    /// The last line that begins with these words: its own, or that of its defaults.
    fn one(&self, words: &[&str]) -> Option<&'b Item> {
        let last = |block: &'b Block| block.items.iter().rev().find(|item| item.is(words));
        last(self.block).or_else(|| self.defaults.and_then(last))
    }

    /// Every line that begins with these words; those of its defaults only where it has none.
    fn all(&self, words: &[&str]) -> Vec<&'b Item> {
        let of = |block: &'b Block| -> Vec<&'b Item> {
            block.items.iter().filter(|item| item.is(words)).collect()
        };
        let own = of(self.block);
        if own.is_empty() { self.defaults.map(of).unwrap_or_default() } else { own }
    }

    /// Its ACLs and rules, and all other lines of its own: rules of its defaults come first.
    fn rules(&self) -> Vec<&'b Item> {
        const RULES: [&str; 6] =
            ["acl", "http-request", "http-response", "http-after-response", "tcp-request", "tcp-response"];
        let inherited = self.defaults.into_iter().flat_map(|block| &block.items);
        inherited.filter(|item| RULES.contains(&item.word(0))).chain(&self.block.items).collect()
    }

    /// Whether `option NAME` is on: the last line that names it counts.
    fn option(&self, name: &str) -> Option<&'b Item> {
        let mut lines = self.defaults.into_iter().chain([self.block]).flat_map(|block| &block.items);
        let last = lines.rfind(|item| item.is(&["option", name]) || item.is(&["no", "option", name]));
        last.filter(|item| item.word(0) == "option")
    }

    fn is_http(&self) -> bool {
        self.one(&["mode"]).is_some_and(|mode| mode.word(1) == "http")
    }

    fn name(&self) -> &'b str {
        &self.block.name
    }
}

/// A translation under way.
struct HaProxy<'t, 'b> {
    draft: &'t mut Draft,
    report: &'t mut Report,
    folder: &'t Path,
    outside: &'t dyn Outside,
    /// Where certificates and CAs are.
    crt_base: PathBuf,
    ca_base: PathBuf,
    backends: HashMap<&'b str, Proxy<'b>>,
    /// The bounds of a head in `global`, by their names.
    bounds: HashMap<&'b str, &'b Item>,
    userlists: HashMap<&'b str, &'b Block>,
    /// The logins that rules ask for.
    asked_logins: Vec<Login>,
    /// Hashes of passwords in plain text, by user and password.
    hashes: HashMap<String, String>,
    /// `ssl-default-bind-ciphers` and its kin, by their names.
    tls_defaults: HashMap<&'b str, &'b Item>,
}

pub(super) fn translate(
    files: &[File],
    folder: &Path,
    outside: &dyn Outside,
    draft: &mut Draft,
    report: &mut Report,
) {
    let mut blocks = parse::blocks(files, report);
    parse::inherit(&mut blocks);
    let mut haproxy = HaProxy {
        draft,
        report,
        folder,
        outside,
        crt_base: folder.to_owned(),
        ca_base: folder.to_owned(),
        backends: HashMap::new(),
        bounds: HashMap::new(),
        userlists: HashMap::new(),
        asked_logins: Vec::new(),
        hashes: HashMap::new(),
        tls_defaults: HashMap::new(),
    };
    let (mut defaults, mut proxies): (Option<&Block>, Vec<Proxy<'_>>) = (None, Vec::new());
    for block in &blocks {
        match block.kind.as_str() {
            "global" => haproxy.global(block, folder),
            "resolvers" => haproxy.resolvers(block),
            "userlist" => drop(haproxy.userlists.insert(&block.name, block)),
            "defaults" => {
                haproxy.report.done(block.line);
                defaults = Some(block);
            }
            "frontend" | "backend" | "listen" => {
                let named = block.from.as_ref().and_then(|from| {
                    blocks.iter().find(|other| other.kind == "defaults" && other.name == *from)
                });
                let proxy = || Proxy { block, defaults: named.or(defaults) };
                if block.kind != "frontend" {
                    haproxy.backends.insert(&block.name, proxy());
                }
                if block.kind != "backend" {
                    proxies.push(proxy());
                }
            }
            _ => {}
        }
    }
    for proxy in &proxies {
        haproxy.frontend(proxy);
    }
    haproxy.close(&blocks);
}

impl<'b> HaProxy<'_, 'b> {
    fn global(&mut self, block: &'b Block, folder: &Path) {
        self.report.done(block.line);
        for item in &block.items {
            let line = item.line;
            match item.word(0) {
                "crt-base" => self.crt_base = folder.join(item.word(1)),
                "ca-base" => self.ca_base = folder.join(item.word(1)),
                "nbthread" => self.draft.process("runtime", line).set("workers", item.word(1), line),
                "hard-stop-after" => match values::duration(item.word(1), "ms") {
                    Some(time) => self.draft.process("runtime", line).text("drain", &time, line),
                    None => continue,
                },
                "log" => {
                    self.log(item);
                    continue;
                }
                "tune.bufsize" | "tune.maxrewrite" | "tune.http.maxhdr" => {
                    self.bounds.insert(item.word(0), item);
                    continue;
                }
                // Where a line uses it, it says what became of it.
                name if name.starts_with("ssl-default-") => {
                    self.tls_defaults.insert(name, item);
                    continue;
                }
                "stats" => {
                    let why = "the admin server has status, metrics and changes: add [admin]";
                    self.report.missing(line, why, Some("admin.listen"));
                    continue;
                }
                "maxconn" => {
                    self.report.needless(line, "connections are bound by memory: `limits.buffer_memory`");
                    continue;
                }
                _ => continue,
            }
            self.report.done(line);
        }
    }

    /// `log ADDRESS …`: the access log.
    fn log(&mut self, item: &Item) {
        let target = item.word(1);
        let value = match target {
            "stdout" | "stderr" | "fd@1" | "fd@2" => "stdout".to_owned(),
            path if path.starts_with('/') => format!("syslog:unix:{path}"),
            address if address.contains('@') || address.starts_with("ring") => {
                return self.report.missing(
                    item.line,
                    "the access log goes to a file, to stdout or to syslog over UDP",
                    Some("log.access"),
                );
            }
            address if address.contains(':') => format!("syslog:{address}"),
            address => format!("syslog:{address}:514"),
        };
        self.draft.process("log", item.line).text("access", &value, item.line);
        self.report.note(item.line, "there is one access log for the process; facility and level are fixed");
    }

    fn resolvers(&mut self, block: &'b Block) {
        self.report.done(block.line);
        let mut servers = Vec::new();
        for item in &block.items {
            match item.word(0) {
                "nameserver" => {
                    servers.push(item.word(2).trim_start_matches("udp@").to_owned());
                    self.report.done(item.line);
                }
                "hold" if item.word(1) == "valid" => {
                    if let Some(time) = values::duration(item.word(2), "ms") {
                        let ttl = format!("{{ max = {} }}", quoted(&time));
                        self.draft.process("resolver", block.line).set("ttl", ttl, item.line);
                        self.report.done(item.line);
                    }
                }
                _ => {}
            }
        }
        if !servers.is_empty() {
            self.draft.process("resolver", block.line).set("servers", texts(&servers), block.line);
        }
    }

    /// Lines that no arm has considered.
    fn close(&mut self, blocks: &[Block]) {
        let mut seen = Vec::new();
        for block in blocks {
            if block.kind == "userlist" {
                self.rest(block);
            }
            if self.report.is_open(block.line) {
                match block.kind.as_str() {
                    "backend" => self.report.needless(block.line, "no frontend leads to it"),
                    kind => {
                        let (why, nearest) = known::section(kind);
                        self.report.missing(block.line, why, nearest);
                    }
                }
                seen.push(block.line);
            }
            for item in block.items.iter().filter(|item| self.report.is_open(item.line)).collect::<Vec<_>>() {
                if seen.contains(&block.line) && block.kind == "backend" {
                    self.report.needless(item.line, "no frontend leads to its backend");
                    continue;
                }
                match known::needless(item) {
                    Some(why) => self.report.needless(item.line, why),
                    None => {
                        let (why, nearest) = known::missing(item);
                        self.report.missing(item.line, why, nearest);
                    }
                }
            }
        }
    }
}
