//! `error_page` becomes pages of listeners, and `proxy_intercept_errors` the statuses that get one.

use super::super::draft::{Section, quoted};
use super::super::values;
use super::authorization::answering;
use super::listen::{Group, Server};
use super::parse::Directive;
use super::{Nginx, Scope};

impl<'d> Nginx<'_, 'd> {
    /// The pages of a server and of its locations, for the listeners that it is at.
    pub(super) fn pages(&mut self, server: &Server<'d>, groups: &[&Group]) {
        let mut scopes = vec![server.scope.clone()];
        while let Some(scope) = scopes.pop() {
            let level = scope.levels.last().copied().unwrap_or_default();
            let is_own = level.iter().any(|directive| directive.name == "error_page");
            // Those of `http` hold for servers that have none of their own.
            if is_own || scope.levels.len() == server.scope.levels.len() {
                for directive in scope.all("error_page") {
                    self.page(&scope, directive, groups);
                }
            }
            let locations = level.iter().filter(|directive| directive.name == "location");
            scopes.extend(locations.map(|location| scope.within(location.inner())));
        }
    }

    fn page(&mut self, scope: &Scope<'d>, directive: &'d Directive, groups: &[&Group]) {
        let file = match self.page_file(scope, directive) {
            Ok(file) => file,
            Err(why) => return self.report.missing(directive.line, why, Some("listener.error_pages")),
        };
        self.report.done(directive.line);
        for group in groups {
            let name = quoted(&group.name);
            let Some(listener) =
                self.draft.listeners.iter_mut().find(|listener| listener.get("name") == Some(&name))
            else {
                continue;
            };
            for code in codes(directive) {
                let key = format!("error_pages.{code}");
                match listener.get(&key) {
                    Some(known) if known != quoted(&file) => self.report.missing(
                        directive.line,
                        format!("the page of {code} is the listener's, and another place has another one"),
                        Some("listener.error_pages"),
                    ),
                    _ => listener.text(&key, &file, directive.line),
                }
            }
        }
    }

    /// The file of a page.
    fn page_file(&mut self, scope: &Scope<'d>, directive: &'d Directive) -> Result<String, String> {
        let uri = page_of(directive)?;
        let place = answering(scope, uri);
        let scope = match &place {
            Some((level, location, _)) => {
                let inner = location.inner();
                let acts = ["return", "proxy_pass", "try_files", "rewrite", "if"];
                if inner.iter().any(|directive| acts.contains(&directive.name.as_str())) {
                    return Err("a page is a file, and the location of this one has none".to_owned());
                }
                Scope { levels: scope.levels[..=*level].to_vec() }.within(inner)
            }
            None => scope.clone(),
        };
        if let Some(alias) = scope.levels.last().and_then(|level| level.iter().find(|it| it.name == "alias"))
        {
            let rest = place.map_or(uri, |(.., rest)| rest);
            self.report.done(alias.line);
            return Ok(values::absolute(self.folder, &format!("{}{rest}", alias.arg(0))));
        }
        let root = scope.one("root").ok_or("the file of the page could not be found: there is no `root`")?;
        if root.arg(0).contains('$') {
            return Err("the file of the page has variables".to_owned());
        }
        if let Some((_, location, _)) = place {
            self.report.done(location.line);
            // Of a location that is for pages alone.
            if location.inner().iter().any(|inner| std::ptr::eq(inner, root)) {
                self.report.done(root.line);
            }
        }
        Ok(values::absolute(self.folder, &format!("{}{uri}", root.arg(0).trim_end_matches('/'))))
    }

    /// `proxy_intercept_errors`: which of a backend's errors get their page.
    pub(super) fn intercepted(&mut self, route: &mut Section, scope: &Scope<'d>) {
        if !scope.is_on("proxy_intercept_errors") {
            return;
        }
        let Some(line) = scope.one("proxy_intercept_errors").map(|directive| directive.line) else { return };
        self.report.done(line);
        for directive in scope.all("error_page") {
            if page_of(directive).is_ok() {
                for code in codes(directive) {
                    route.push("error_pages.intercept", quoted(&code.to_string()), directive.line);
                }
            }
        }
    }
}

/// The URI of a page that keeps the status of its error.
fn page_of(directive: &Directive) -> Result<&str, String> {
    let uri = directive.args.last().map_or("", String::as_str);
    if directive.args.iter().any(|arg| arg.starts_with('=')) {
        return Err("a page has the status of its error".to_owned());
    }
    if !uri.starts_with('/') || uri.contains(['$', '?']) {
        return Err("a page is a file: errors do not lead to a named location or another URL".to_owned());
    }
    Ok(uri)
}

/// The statuses that a page is for.
fn codes(directive: &Directive) -> impl Iterator<Item = u16> + use<'_> {
    let codes = directive.args.iter().filter_map(|arg| arg.parse::<u16>().ok());
    codes.filter(|code| (400..=599).contains(code))
}
