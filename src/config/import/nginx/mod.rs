//! nginx: the `http` and `stream` modules, from contexts that inherit to listeners, routes and upstreams.

use std::collections::HashMap;
use std::path::Path;

mod authorization;
mod bounds;
mod chosen;
mod conditions;
mod constants;
mod files;
mod geo;
mod guards;
mod http;
mod known;
mod listen;
mod location;
mod maps;
mod pages;
mod parse;
mod precedence;
mod redirects;
mod rules;
mod stream;
mod upstream;
mod variables;

use super::File;
use super::draft::{Draft, quoted, texts};
use super::report::Report;
use super::values;
use crate::config::sources::Outside;
use chosen::Split;
use maps::Maps;
use parse::{Directive, Reader};

/// The contexts of a directive, from the outermost on: a directive counts where it stands nearest.
#[derive(Clone)]
struct Scope<'d> {
    levels: Vec<&'d [Directive]>,
}

impl<'d> Scope<'d> {
    fn within(&self, block: &'d [Directive]) -> Self {
        let mut levels = self.levels.clone();
        levels.push(block);
        Self { levels }
    }

    /// All directives of a name at the nearest level that has any.
    fn all(&self, name: &str) -> Vec<&'d Directive> {
        let of = |level: &&'d [Directive]| -> Vec<&'d Directive> {
            level.iter().filter(|directive| directive.name == name).collect()
        };
        self.levels.iter().rev().map(of).find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// The last of them.
    fn one(&self, name: &str) -> Option<&'d Directive> {
        self.all(name).pop()
    }

    /// Its first argument.
    fn arg(&self, name: &str) -> Option<&'d str> {
        self.one(name).map(|directive| directive.arg(0))
    }

    /// Whether a flag is on.
    fn is_on(&self, name: &str) -> bool {
        self.arg(name) == Some("on")
    }
}

/// A translation under way.
struct Nginx<'t, 'd> {
    folder: &'t Path,
    draft: &'t mut Draft,
    report: &'t mut Report,
    /// `upstream` blocks by name.
    upstreams: HashMap<&'d str, &'d Directive>,
    /// `limit_req_zone` and `limit_conn_zone` by the zone's name.
    zones: HashMap<&'d str, &'d Directive>,
    /// The variables of maps.
    maps: Maps,
    /// `split_clients` by its variable.
    splits: HashMap<String, Split>,
}

pub(super) fn translate(
    files: &[File],
    folder: &Path,
    outside: &dyn Outside,
    draft: &mut Draft,
    report: &mut Report,
) {
    let mut reader = Reader::new(folder, outside, report);
    let mut all: Vec<Directive> = files.iter().flat_map(|file| reader.file(file, 0)).collect();
    constants::write(&mut all, report);
    let (upstreams, zones, maps, splits) = Default::default();
    let mut nginx = Nginx { folder, draft, report, upstreams, zones, maps, splits };
    nginx.process(&all);
    let is_fragment = |directive: &&Directive| {
        matches!(directive.name.as_str(), "server" | "upstream" | "map" | "geo" | "split_clients")
    };
    if all.iter().any(|directive| is_fragment(&directive)) {
        // A file of conf.d, which nginx.conf includes.
        nginx.http(&Scope { levels: vec![&all] });
    }
    for http in all.iter().filter(|directive| directive.name == "http") {
        nginx.report.done(http.line);
        nginx.http(&Scope { levels: vec![&all, http.inner()] });
    }
    for stream in all.iter().filter(|directive| directive.name == "stream") {
        nginx.report.done(stream.line);
        nginx.stream(&Scope { levels: vec![&all, stream.inner()] });
    }
    nginx.close(&all);
}

impl<'d> Nginx<'_, 'd> {
    /// Directives of the process.
    fn process(&mut self, main: &'d [Directive]) {
        for directive in main {
            match directive.name.as_str() {
                "worker_processes" => {
                    let count = directive.arg(0);
                    if count.parse::<usize>().is_ok() {
                        self.draft.process("runtime", directive.line).set("workers", count, directive.line);
                        self.report.note(directive.line, "a worker is a thread with a CPU of its own");
                    } else {
                        self.report.needless(directive.line, "one worker for each CPU is the default");
                    }
                }
                "error_log" => self.error_log(directive),
                "worker_shutdown_timeout" => {
                    if let Some(time) = values::duration(directive.arg(0), "s") {
                        self.draft.process("runtime", directive.line).text("drain", &time, directive.line);
                        self.report.done(directive.line);
                    }
                }
                "events" => {
                    self.report.needless(directive.line, "Ringate uses io_uring, or epoll without it");
                    for inner in directive.inner() {
                        self.report
                            .needless(inner.line, "connections are bound by memory: `limits.buffer_memory`");
                    }
                }
                _ => {}
            }
        }
    }

    fn error_log(&mut self, directive: &Directive) {
        let level = match directive.arg(1) {
            "debug" => "debug",
            "info" | "notice" => "info",
            "warn" => "warn",
            "" | "error" | "crit" | "alert" | "emerg" => "error",
            _ => return,
        };
        // Messages of Ringate's level "info" are as rare as nginx's notices.
        let level = if level == "error" || level == "warn" { "info" } else { level };
        self.draft.process("log", directive.line).text("level", level, directive.line);
        self.report
            .note(directive.line, "the log goes to standard error, which systemd keeps in its journal");
    }

    /// `resolver`, of `http` and `stream`.
    fn resolver(&mut self, scope: &Scope<'d>) {
        let Some(directive) = scope.one("resolver") else { return };
        let is_address = |arg: &&String| {
            !arg.contains('=') && arg.starts_with(|c: char| c.is_ascii_hexdigit() || c == '[')
        };
        let servers: Vec<&String> = directive.args.iter().filter(is_address).collect();
        if servers.is_empty() {
            self.report.missing(
                directive.line,
                "name servers are given by their addresses",
                Some("resolver.servers"),
            );
            return;
        }
        let section = self.draft.process("resolver", directive.line);
        section.set("servers", texts(&servers), directive.line);
        if let Some(valid) = directive.parameter("valid").and_then(|valid| values::duration(valid, "s")) {
            section.set("ttl", format!("{{ max = {} }}", quoted(&valid)), directive.line);
        }
        self.report.done(directive.line);
    }

    /// Lines that no arm has considered: those of the tables of `known`, and below blocks that are not translated.
    fn close(&mut self, all: &[Directive]) {
        for directive in all {
            if self.report.is_open(directive.line) {
                if let Some(why) = known::needless(&directive.name) {
                    self.report.needless(directive.line, why);
                    self.needless_below(directive, why);
                    continue;
                }
                let (why, nearest) = known::missing(&directive.name);
                self.report.missing(directive.line, why, nearest);
            }
            self.close(directive.inner());
        }
    }

    fn needless_below(&mut self, directive: &Directive, why: &str) {
        for inner in directive.inner() {
            self.report.needless(inner.line, why);
            self.needless_below(inner, why);
        }
    }
}
