//! `error_page` becomes pages of listeners and routes, and `proxy_intercept_errors` the statuses that get one.

use super::super::draft::{Section, quoted};
use super::super::report::Line;
use super::super::values;
use super::authorization::answering;
use super::listen::{Group, Server};
use super::location::Place;
use super::parse::Directive;
use super::{Nginx, Scope};

/// A page of a status: the key of a listener or route, its value as TOML, and the line that it comes from.
pub(super) type Page = (String, String, Line);

/// Gives a route the pages of its server, unless its location has its own.
pub(super) fn add(pages: &[Page], route: &mut Section) {
    let has_own = (400..600).any(|status: u16| route.has(&format!("error_pages.{status}")));
    for (key, value, line) in pages.iter().filter(|_| !has_own) {
        route.set(key, value.as_str(), *line);
    }
}

impl<'d> Nginx<'_, 'd> {
    /// The pages of a server: its listeners have them, if they are those of all of their servers. Otherwise they are returned, for
    /// the server's routes.
    pub(super) fn pages(
        &mut self,
        server: &Server<'d>,
        groups: &[&Group],
        servers: &[Server<'d>],
    ) -> Vec<Page> {
        let lines = |server: &Server<'d>| -> Vec<Line> {
            server.scope.all("error_page").iter().map(|directive| directive.line).collect()
        };
        let own = lines(server);
        let mut others = groups.iter().flat_map(|group| &group.servers);
        let are_shared = others.all(|other| lines(&servers[*other]) == own);
        let pages = self.pages_in(&server.scope);
        if !are_shared {
            return pages;
        }
        for group in groups {
            let name = quoted(&group.name);
            let mut listeners = self.draft.listeners.iter_mut();
            let listener = listeners.find(|listener| listener.get("name") == Some(&name));
            listener.into_iter().for_each(|listener| add(&pages, listener));
        }
        Vec::new()
    }

    /// The pages of a location that has its own.
    pub(super) fn pages_of_place(&mut self, route: &mut Section, place: &Place<'d>) {
        let inner = place.scope.levels.get(place.server_level + 1..).unwrap_or_default();
        if inner.iter().any(|level| level.iter().any(|directive| directive.name == "error_page")) {
            let pages = self.pages_in(&place.scope);
            add(&pages, route);
        }
    }

    fn pages_in(&mut self, scope: &Scope<'d>) -> Vec<Page> {
        let mut found: Vec<Page> = Vec::new();
        for directive in scope.all("error_page") {
            if instead(directive).is_some() {
                continue; // of locations with files; see `Nginx::files`
            }
            let page = match redirect_of(directive) {
                Some(redirect) => Ok(redirect),
                None => self.page_file(scope, directive).map(|file| quoted(&file)),
            };
            match page {
                Ok(page) => {
                    self.report.done(directive.line);
                    for code in codes(directive) {
                        let key = format!("error_pages.{code}");
                        if !found.iter().any(|(known, ..)| *known == key) {
                            found.push((key, page.clone(), directive.line));
                        }
                    }
                }
                Err(why) => self.report.missing(directive.line, why, Some("route.error_pages")),
            }
        }
        found
    }

    /// The file of a page.
    fn page_file(&mut self, scope: &Scope<'d>, directive: &'d Directive) -> Result<String, String> {
        let uri = page_of(directive)?;
        self.file_of(scope, uri)
    }

    /// The file that a request for `uri` gets.
    pub(super) fn file_of(&mut self, scope: &Scope<'d>, uri: &str) -> Result<String, String> {
        let place = answering(scope, uri);
        let scope = match &place {
            Some((level, location, _)) => {
                let inner = location.inner();
                let acts = ["return", "proxy_pass", "rewrite", "if"];
                let is_tried = |it: &Directive| it.name == "try_files" && it.arg(0) != "$uri";
                if inner.iter().any(|it| acts.contains(&it.name.as_str()) || is_tried(it)) {
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
            if page_of(directive).is_ok() || redirect_of(directive).is_some() {
                for code in codes(directive) {
                    route.push("error_pages.intercept", quoted(&code.to_string()), directive.line);
                }
            }
        }
    }
}

/// `error_page 503 https://…`, or `error_page 503 =301 https://…`: the client is sent elsewhere.
fn redirect_of(directive: &Directive) -> Option<String> {
    let url = directive.args.last().filter(|url| url.contains("://") && !url.contains('$'))?;
    let changed = directive.args.iter().find_map(|arg| arg.strip_prefix('='));
    let status = changed.map_or(Some(302), |status| status.parse().ok());
    let status = status.filter(|status: &u16| matches!(status, 301 | 302 | 303 | 307 | 308))?;
    Some(format!("{{ redirect = {}, status = {status} }}", quoted(url)))
}

/// `error_page 404 =200 /index.html`: the URI of what is sent in the place of what is not there.
pub(super) fn instead(directive: &Directive) -> Option<&str> {
    let (uri, before) = directive.args.split_last()?;
    let (status, codes) = before.split_last()?;
    let is_plain = uri.starts_with('/') && !uri.contains(['$', '?']);
    let is_missing = codes.iter().all(|code| code == "404") && !codes.is_empty();
    (is_plain && is_missing && matches!(status.as_str(), "=" | "=200")).then_some(uri)
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
