//! `geo`: a map of the client's address.

use super::super::draft::{part, quoted};
use super::Nginx;
use super::parse::Directive;

impl<'d> Nginx<'_, 'd> {
    /// `geo [$address] $variable { … }`, whose variable may then stand where those of maps may.
    pub(super) fn geo(&mut self, directive: &'d Directive) {
        let (source, name) = match directive.args.len() {
            1 => ("$remote_addr", directive.arg(0)),
            _ => (directive.arg(0), directive.arg(1)),
        };
        let Some(name) = name.strip_prefix('$').filter(|name| !name.is_empty()) else { return };
        if !matches!(source, "$remote_addr" | "$binary_remote_addr") {
            let why = "networks are those of the client's address";
            return self.report.missing(directive.line, why, Some("map.from"));
        }
        let (mut entries, mut default, mut values, mut is_whole) = (Vec::new(), None, Vec::new(), true);
        for inner in directive.inner() {
            let (key, value) = (inner.name.as_str(), inner.arg(0));
            match key {
                "default" => {
                    default = Some(value);
                    self.report.done(inner.line);
                    continue;
                }
                "ranges" | "proxy" | "proxy_recursive" | "delete" | "include" => {
                    let why = "networks have a prefix, and are of the client's address";
                    self.report.missing(inner.line, why, Some("map.entries"));
                    is_whole = false;
                    continue;
                }
                key => entries.push(format!("{} = {}", quoted(key), quoted(value))),
            }
            values.push(value);
            self.report.done(inner.line);
        }
        let line = directive.line;
        let section = self.draft.process(&format!("map.{}", part(name)), line);
        section.text("from", "{client.address}", line);
        section.set("entries", format!("{{ {} }}", entries.join(", ")), line);
        if let Some(value) = default {
            section.text("default", value, line);
        }
        self.maps.add(name, values.iter().copied(), default, is_whole);
        self.report.done(line);
    }
}
