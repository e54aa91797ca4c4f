//! What a location bounds of its own, and the log of its requests.

use super::super::draft::{Section, part, quoted};
use super::super::values;
use super::parse::Directive;
use super::{Nginx, Scope};

/// The least rate of a response that Ringate takes, in bytes a second.
const LEAST_RATE: u64 = 1024;

impl<'d> Nginx<'_, 'd> {
    /// Bodies, the rate of responses, requests at a time, and the access log.
    pub(super) fn bounds(&mut self, route: &mut Section, scope: &Scope<'d>) {
        if let Some(directive) = scope.one("client_max_body_size")
            && let Some(size) = values::bytes(directive.arg(0))
        {
            route.set("limits.body_bytes", values::size(size), directive.line);
            self.report.done(directive.line);
        }
        self.pace(route, scope);
        self.requests(route, scope);
        self.log_of_route(route, scope);
    }

    /// `limit_rate` and `limit_rate_after`.
    fn pace(&mut self, route: &mut Section, scope: &Scope<'d>) {
        let after = scope.one("limit_rate_after");
        let burst = after.and_then(|directive| values::bytes(directive.arg(0))).filter(|burst| *burst > 0);
        let Some(directive) = scope.one("limit_rate") else { return };
        match values::bytes(directive.arg(0)) {
            Some(0) => {}
            Some(rate) => {
                let size = values::size(rate.max(LEAST_RATE));
                let size = size.trim_matches('"');
                let unit = if size.ends_with('B') { "" } else { "B" };
                route.text("limits.response_rate", &format!("{size}{unit}/s"), directive.line);
                if let (Some(burst), Some(after)) = (burst, after) {
                    route.set("limits.response_burst", values::size(burst), after.line);
                }
            }
            None => {
                let why = "a rate has no variables";
                return self.report.missing(directive.line, why, Some("route.limits.response_rate"));
            }
        }
        self.report.done(directive.line);
        after.into_iter().for_each(|after| self.report.done(after.line));
    }

    /// `limit_conn` of the location itself: nginx counts requests under way. That of a server is its listener's.
    fn requests(&mut self, route: &mut Section, scope: &Scope<'d>) {
        let own = scope.levels.last().into_iter().copied().flatten();
        for directive in own.filter(|directive| directive.name == "limit_conn") {
            let zone = self.zones.get(directive.arg(0)).copied();
            let key = match zone.map(|zone| zone.arg(0)).unwrap_or_default() {
                "$binary_remote_addr" | "$remote_addr" => "limits.requests_per_client",
                "$server_name" => "limits.requests",
                _ => {
                    let why = "requests are counted by client address, or all together";
                    self.report.missing(directive.line, why, Some("route.limits.requests"));
                    continue;
                }
            };
            route.set(key, directive.arg(1), directive.line);
            self.report.note(directive.line, "each route counts for itself; one client's refusal is 429");
            zone.into_iter().for_each(|zone| self.report.done(zone.line));
        }
    }

    /// Where the lines of an `access_log` go. `None`: the name has variables.
    pub(super) fn log_target(&self, directive: &Directive) -> Option<String> {
        let target = directive.arg(0);
        let value = match target {
            "off" => "off".to_owned(),
            "/dev/stdout" | "/dev/stderr" => "stdout".to_owned(),
            target => match target.strip_prefix("syslog:server=") {
                Some(server) => {
                    let server = server.split(',').next().unwrap_or_default();
                    let has_port = server.starts_with("unix:") || server.contains(':');
                    format!("syslog:{server}{}", if has_port { "" } else { ":514" })
                }
                None => values::absolute(self.folder, target),
            },
        };
        (!value.contains('$')).then_some(value)
    }

    /// `access_log`, where it is not the one of the process.
    pub(super) fn log_of_route(&mut self, route: &mut Section, scope: &Scope<'d>) {
        let Some(directive) = scope.one("access_log") else { return };
        let Some(target) = self.log_target(directive) else {
            let why = "the file's name has variables";
            return self.report.missing(directive.line, why, Some("route.access_log"));
        };
        let section = self.draft.process("log", directive.line);
        if section.get("access") == Some(quoted(&target).as_str()) {
            return self.report.done(directive.line);
        }
        if target == "off" {
            route.text("access_log", "off", directive.line);
            return self.report.done(directive.line);
        }
        let stem = target.rsplit('/').next().unwrap_or_default().trim_end_matches(".log");
        let kept = stem.chars().map(|one| if one.is_ascii_alphanumeric() { one } else { '-' });
        let stem: String = kept.collect::<String>().trim_matches('-').chars().take(80).collect();
        let stem = if stem.is_empty() || stem == "off" { "log".to_owned() } else { stem };
        // Files of one name in several folders are several logs.
        for number in 1_usize.. {
            let name = if number == 1 { stem.clone() } else { format!("{stem}-{number}") };
            let key = format!("named.{}.access", part(&name));
            let section = self.draft.process("log", directive.line);
            match section.get(&key) {
                Some(known) if known != quoted(&target) => continue,
                Some(_) => {}
                None => section.text(&key, &target, directive.line),
            }
            route.text("access_log", &name, directive.line);
            break;
        }
        let has_format = directive.args.get(1).is_some_and(|format| !format.contains('='));
        let condition = directive.args.iter().any(|arg| arg.starts_with("if="));
        match (condition, has_format) {
            (true, _) => {
                self.report
                    .note(directive.line, "its condition is not translated: see `sample` of `access_log`");
            }
            (_, true) if !matches!(directive.arg(1), "combined" | "main") => {
                self.report
                    .note(directive.line, "its format is not translated: see `log.named.NAME.access_format`");
            }
            _ => self.report.done(directive.line),
        }
    }
}
