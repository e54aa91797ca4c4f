//! Files of a location: `root`, `alias`, `index`, `try_files`, `gzip_static`, `expires`.

use super::super::draft::{Section, quoted, texts};
use super::super::report::Line;
use super::super::values;
use super::location::Place;
use super::pages::instead;
use super::parse::Directive;
use super::{Nginx, Scope};

impl<'d> Nginx<'_, 'd> {
    /// A route that serves the files of a place. False: it has none, or they can't be served as they were, which is listed.
    pub(super) fn files(&mut self, place: &Place<'d>, found: &mut Vec<Section>) -> bool {
        if place.closed.is_some() {
            return false;
        }
        let own = |name: &str| place.block.inner().iter().find(|directive| directive.name == name);
        let Some(directive) = own("alias").or_else(|| place.scope.one("root")) else { return false };
        let folder = directive.arg(0);
        if folder.contains('$') {
            self.report.missing(directive.line, "a root has no variables", Some("route.root"));
            return false;
        }
        let mut route = place.route();
        if !self.access(&mut route, &place.scope) {
            return false;
        }
        self.rewrites_within(&mut route, place);
        let attempts = self.tried(place);
        let written = match directive.name.as_str() {
            "alias" => self.alias(&mut route, place, directive),
            _ => {
                route.essential("root", quoted(&values::absolute(self.folder, folder)), directive.line);
                true
            }
        };
        let Some(mut attempts) = attempts.filter(|_| written) else { return false };
        self.report.done(directive.line);
        if directive.name == "root" {
            self.sent_instead(place, folder, &mut attempts);
        }
        if let Some((tried, line)) = attempts {
            if directive.name == "alias" {
                self.report.missing(line, "with `alias` it was not translated", Some("route.try_files"));
                return false;
            }
            route.essential("try_files", texts(&tried), line);
        }
        self.index(&mut route, place);
        self.sent(&mut route, place);
        self.rules(&mut route, &place.scope);
        self.pages_of_place(&mut route, place);
        found.push(route);
        true
    }

    /// `error_page 404 =200 /index.html` is one more file to try.
    fn sent_instead(&mut self, place: &Place<'d>, root: &str, attempts: &mut Option<(Vec<String>, Line)>) {
        let found = place.scope.all("error_page").into_iter().find_map(|page| Some((page, instead(page)?)));
        let Some((page, uri)) = found else { return };
        let own = values::absolute(self.folder, &format!("{}{uri}", root.trim_end_matches('/')));
        if self.file_of(&place.scope, uri).ok() != Some(own) {
            let why = "the file stands below another root";
            return self.report.missing(page.line, why, Some("route.try_files"));
        }
        let (mut tried, line) =
            attempts.take().unwrap_or_else(|| (vec!["{path}".to_owned(), "{path}/".to_owned()], page.line));
        match tried.last().map(String::as_str) {
            Some("=404") => drop(tried.pop()),
            // Something else is sent where nothing is there.
            Some(last) if !last.contains("{path}") => {
                self.report.needless(page.line, "`try_files` ends before");
                *attempts = Some((tried, line));
                return;
            }
            _ => {}
        }
        tried.push(uri.to_owned());
        self.report.done(page.line);
        *attempts = Some((tried, line));
    }

    /// `alias`: the folder takes the place of what the location matched. False: it can't be written.
    fn alias(&mut self, route: &mut Section, place: &Place<'d>, directive: &Directive) -> bool {
        let path = values::absolute(self.folder, directive.arg(0));
        if place.matched.is_exact {
            let Some((folder, name)) = path.rsplit_once('/').filter(|(_, name)| !name.is_empty()) else {
                self.report.missing(directive.line, "an exact location has one file", Some("route.root"));
                return false;
            };
            let folder = if folder.is_empty() { "/" } else { folder };
            route.essential("root", quoted(folder), directive.line);
            route.essential("try_files", texts(&[format!("/{name}")]), directive.line);
            return true;
        }
        let Some(prefix) = place.matched.prefix.as_deref() else {
            self.report.missing(
                directive.line,
                "`alias` needs a location that is a path",
                Some("route.root"),
            );
            return false;
        };
        if place.matched.is_late {
            let pattern = format!("{}/?(.*)$", place.matched.pattern);
            route.essential("path", quoted(&pattern), place.block.line);
            route.essential("rewrite", quoted("/$1"), directive.line);
            route.essential("root", quoted(&path), directive.line);
            return true;
        }
        if prefix.ends_with('/') != path.ends_with('/') {
            self.report.note(
                directive.line,
                "location and `alias` differ in the slash at their end: paths are joined with one slash",
            );
        }
        if prefix != "/" {
            route.essential("strip_prefix", "true", directive.line);
        }
        route.essential("root", quoted(&path), directive.line);
        true
    }

    /// `try_files`. `None`: it can't be written. Within, `None`: there is none.
    #[allow(clippy::option_option)]
    fn tried(&mut self, place: &Place<'d>) -> Option<Option<(Vec<String>, Line)>> {
        let Some(directive) = place.scope.one("try_files") else { return Some(None) };
        let mut tried = Vec::new();
        for (at, argument) in directive.args.iter().enumerate() {
            let is_last = at + 1 == directive.args.len();
            // A query does not change which file it is.
            let path = argument.split('?').next().unwrap_or_default();
            let path = path.trim_end_matches("$is_args$args").replace("$uri", "{path}");
            let is_status = is_last && path.strip_prefix('=').is_some_and(|code| code.parse::<u16>().is_ok());
            let is_path = path.starts_with('/') || path.starts_with("{path}");
            if path.contains('$') || !(is_status || is_path) {
                self.report.missing(
                    directive.line,
                    format!("{argument} can't be tried"),
                    Some("route.try_files"),
                );
                return None;
            }
            if is_last && path.ends_with(".php") {
                self.report.missing(
                    directive.line,
                    format!("{argument} is a program"),
                    Some("route.try_files"),
                );
                return None;
            }
            tried.push(path);
        }
        self.report.done(directive.line);
        Some(Some((tried, directive.line)))
    }

    /// `index`.
    fn index(&mut self, route: &mut Section, place: &Place<'d>) {
        let Some(directive) = place.scope.one("index") else { return };
        let names: Vec<&str> = directive.args.iter().map(String::as_str).collect();
        if names.iter().any(|name| name.contains(['/', '$'])) {
            let why = "an index is the name of a file";
            return self.report.missing(directive.line, why, Some("route.index"));
        }
        if names != ["index.html"] {
            route.set("index", texts(&names), directive.line);
        }
        self.report.done(directive.line);
    }

    /// `expires` of what backends respond.
    pub(super) fn lifetime_of_responses(&mut self, route: &mut Section, scope: &Scope<'d>) {
        const ADDED: &str = "headers.response.add.Cache-Control";
        let Some(directive) = scope.one("expires") else { return };
        match lifetime(&directive.args) {
            Ok(None) => self.report.done(directive.line),
            Ok(Some(value)) => {
                match route.has(ADDED) {
                    true => route.push(ADDED, quoted(&value), directive.line),
                    false => route.text("headers.response.set.Cache-Control", &value, directive.line),
                }
                self.report
                    .note(directive.line, "Cache-Control is set whatever the status is, and Expires is not");
            }
            Err(why) => self.report.missing(directive.line, why, Some("route.headers.response.set")),
        }
    }

    /// What is sent of files, and how long clients keep it.
    fn sent(&mut self, route: &mut Section, place: &Place<'d>) {
        let statics = [("brotli_static", "br"), ("zstd_static", "zstd"), ("gzip_static", "gzip")];
        let mut codings = Vec::new();
        for (name, coding) in statics {
            let Some(directive) = place.scope.one(name) else { continue };
            if directive.arg(0) != "off" {
                codings.push(coding);
            }
            match directive.arg(0) {
                "always" => self.report.note(directive.line, "only clients that accept the coding get it"),
                _ => self.report.done(directive.line),
            }
        }
        if let Some(directive) = statics.iter().find_map(|(name, _)| place.scope.one(name))
            && !codings.is_empty()
        {
            route.set("precompressed", texts(&codings), directive.line);
        }
        if let Some(directive) = place.scope.one("expires") {
            match lifetime(&directive.args) {
                Ok(value) => {
                    if let Some(value) = value {
                        route.set("cache_control", quoted(&value), directive.line);
                    }
                    self.report.done(directive.line);
                }
                Err(why) => self.report.missing(directive.line, why, Some("route.cache_control")),
            }
        }
        match place.scope.one("charset") {
            Some(directive) if directive.arg(0).eq_ignore_ascii_case("utf-8") => {
                self.report.done(directive.line)
            }
            Some(directive) if directive.arg(0).contains('$') => {
                self.report.missing(directive.line, "a charset has no variables", Some("route.charset"));
            }
            Some(directive) => {
                let charset = if directive.arg(0) == "off" { "none" } else { directive.arg(0) };
                route.set("charset", quoted(charset), directive.line);
                self.report.done(directive.line);
            }
            None => route.set("charset", "\"none\"", place.block.line),
        }
        if let Some(directive) = place.scope.one("disable_symlinks").filter(|links| links.arg(0) == "on") {
            route.set("symlinks", "\"none\"", directive.line);
            self.report.done(directive.line);
        }
        if let Some(directive) = place.scope.one("autoindex") {
            match directive.arg(0) {
                "on" => self.report.missing(directive.line, "folders are not listed", Some("route.index")),
                _ => self.report.done(directive.line),
            }
        }
    }
}

/// Cache-Control of `expires`; `None`: there is none.
fn lifetime(args: &[String]) -> Result<Option<String>, &'static str> {
    let [time] = args else { return Err("a time by the file's own was not translated") };
    Ok(match time.as_str() {
        "off" => None,
        "epoch" => Some("no-cache".to_owned()),
        "max" => Some("max-age=315360000".to_owned()),
        time if time.starts_with('-') => Some("no-cache".to_owned()),
        time => Some(format!(
            "max-age={}",
            values::milliseconds(time, "s").ok_or("a variable or a time of day was not translated")? / 1000
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_become_lifetimes() {
        let of = |text: &str| lifetime(&text.split(", ").map(str::to_owned).collect::<Vec<_>>());
        for (text, expected) in [
            ("30d", Some("max-age=2592000")),
            ("1h30m", Some("max-age=5400")),
            ("90", Some("max-age=90")),
            ("0", Some("max-age=0")),
            ("-1", Some("no-cache")),
            ("epoch", Some("no-cache")),
            ("max", Some("max-age=315360000")),
            ("off", None),
        ] {
            assert_eq!(of(text), Ok(expected.map(str::to_owned)), "{text}");
        }
        assert!(of("modified, 1h").is_err() && of("@15h").is_err() && of("$time").is_err());
    }
}
