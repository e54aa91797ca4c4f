//! Locations become routes: what they match, and where their requests go.

use super::super::draft::{Section, list, quoted};
use super::super::report::Line;
use super::super::values::{self, Simple};
use super::chosen::{Choice, Shares};
use super::guards::is_access_control;
use super::listen::Server;
use super::parse::Directive;
use super::redirects::{location, redirect};
use super::upstream::Url;
use super::{Nginx, Scope, conditions, precedence};

/// What becomes of `return 444`.
pub(super) const CLOSES: &str = "the response is 403: nginx closes the connection without one";

/// What a location matches.
#[derive(Clone, Debug)]
pub(super) struct Matched {
    /// `path` of the route.
    pub(super) pattern: String,
    /// The prefix of nginx, with its own slash at the end, where it is one.
    pub(super) prefix: Option<String>,
    pub(super) is_exact: bool,
    /// The prefix is written as an expression, since others of nginx's go before it.
    pub(super) is_late: bool,
}

/// A place where requests are answered: a location, or a server without one.
#[derive(Clone)]
pub(super) struct Place<'d> {
    pub(super) scope: Scope<'d>,
    pub(super) block: &'d Directive,
    pub(super) matched: Matched,
    /// All listeners of the server are TLS.
    is_tls: bool,
    /// What its requests must have beside the path: a key of the route, with its value as TOML.
    condition: Option<(String, String)>,
    /// What refuses some of its requests and could not be written: none is passed on.
    pub(super) closed: Option<Line>,
    /// The number of its server's level among those of its scope.
    pub(super) server_level: usize,
}

impl Place<'_> {
    pub(super) fn route(&self) -> Section {
        let mut route = Section::new("[route]", self.block.line);
        if self.matched.pattern != "/" {
            route.essential("path", quoted(&self.matched.pattern), self.block.line);
        }
        if let Some(prefix) = self.matched.prefix.as_ref().filter(|_| self.matched.is_late) {
            route.text(precedence::LATE, prefix, self.block.line);
        }
        if let Some((key, value)) = &self.condition {
            route.essential(key, value.as_str(), self.block.line);
        }
        route
    }
}

impl<'d> Nginx<'_, 'd> {
    /// The routes of a server, without listener and host. `plain` are its listeners without TLS.
    pub(super) fn locations(&mut self, server: &Server<'d>, is_tls: bool, plain: &[&str]) -> Vec<Section> {
        let mut found = Vec::new();
        let matched =
            Matched { pattern: "/".into(), prefix: Some("/".into()), is_exact: false, is_late: false };
        let (scope, block) = (server.scope.clone(), server.block);
        let server_level = scope.levels.len() - 1;
        let mut whole = Place { scope, block, matched, is_tls, condition: None, closed: None, server_level };
        let inner = server.block.inner();
        let ifs = self.conditions(&whole, plain);
        whole.closed = ifs.lost.or_else(|| self.unwritable(inner));
        self.rewrites(&whole, &mut found);
        if let Some(directive) = inner.iter().find(|directive| directive.name == "return") {
            self.returns(&whole, directive, &mut found);
            for location in inner.iter().filter(|directive| directive.name == "location") {
                self.never(location, "the `return` of the server answers all requests");
            }
            return ifs.before(found, plain);
        }
        self.nested(&whole, inner, plain, &mut found);
        let has_root = found.iter().any(|route| !route.has("path") && !conditions::is_conditional(route));
        if !has_root && !self.files(&whole, &mut found) {
            let mut route = whole.route();
            route.comment("No location of nginx has these requests: it looks for files, and has no root.");
            route.set("respond", "{ status = 404, body = \"not found\\n\" }", server.block.line);
            found.push(route);
        }
        precedence::order(&mut found);
        ifs.before(found, plain)
    }

    fn nested(
        &mut self,
        outer: &Place<'d>,
        block: &'d [Directive],
        plain: &[&str],
        found: &mut Vec<Section>,
    ) {
        for location in block.iter().filter(|directive| directive.name == "location") {
            if location.arg(0).starts_with('@') {
                continue; // where `try_files` and `error_page` lead to
            }
            let Some(matched) = self.matched(location, outer) else {
                self.never(location, "the route of its location could not be written");
                continue;
            };
            let scope = outer.scope.within(location.inner());
            let mut place = Place { scope, block: location, matched, ..outer.clone() };
            if self.report.is_open(location.line) {
                self.report.done(location.line);
            }
            let ifs = self.conditions(&place, plain);
            self.nested(&place, location.inner(), plain, found);
            place.closed = place.closed.or(ifs.lost);
            let mut own = Vec::new();
            self.action(&place, outer, &mut own);
            found.extend(ifs.within(own));
        }
    }

    /// Lines that no request reaches.
    fn never(&mut self, block: &Directive, why: &str) {
        for inner in block.inner() {
            if self.report.is_open(inner.line) {
                self.report.missing(inner.line, why, None);
            }
            self.never(inner, why);
        }
        if self.report.is_open(block.line) {
            self.report.missing(block.line, why, None);
        }
    }

    /// `outer` has the location.
    fn matched(&mut self, location: &Directive, outer: &Place<'d>) -> Option<Matched> {
        let (modifier, path) = precedence::words(location);
        let is_late = precedence::is_late(location, outer.block.inner())
            || outer.matched.is_late && modifier.is_empty() && outer.matched.prefix.is_some();
        let plain = |prefix: &str| Matched {
            pattern: pattern(prefix),
            prefix: Some(prefix.to_owned()),
            is_exact: false,
            is_late: false,
        };
        let other = |pattern: String, is_exact| Matched { pattern, prefix: None, is_exact, is_late: false };
        let exact = |path: &str| other(format!("={path}"), true);
        match modifier {
            "=" => Some(exact(path)),
            "" | "^~" => {
                if !path.starts_with('/') {
                    self.report.missing(location.line, "a path begins with a slash", Some("route.path"));
                    return None;
                }
                if is_late {
                    let (pattern, prefix) = (precedence::late(path), Some(path.to_owned()));
                    return Some(Matched { pattern, prefix, is_exact: false, is_late });
                }
                if path != "/" && !path.ends_with('/') {
                    self.report.note(
                        location.line,
                        format!("only whole parts of a path match: {path}/x does, and {path}x does not"),
                    );
                }
                Some(plain(path))
            }
            "~" | "~*" => Some(match values::simple(path) {
                Some(Simple::Exact(path)) if modifier == "~" => exact(&path),
                Some(Simple::Prefix(path)) if modifier == "~" && !is_late => {
                    self.report.note(
                        location.line,
                        "the expression became a path, and only whole parts of it match",
                    );
                    plain(&path)
                }
                _ => {
                    let within = outer.matched.prefix.as_deref();
                    let path = self.expression(location, path)?;
                    other(precedence::expression(&path, modifier == "~*", within), false)
                }
            }),
            _ => {
                self.report.missing(location.line, "this kind of location is not known", Some("route.path"));
                None
            }
        }
    }

    /// Where the requests of a place go, with its rules.
    fn action(&mut self, place: &Place<'d>, outer: &Place<'d>, found: &mut Vec<Section>) {
        self.rewrites(place, found);
        let own = place.block.inner();
        let named = |name: &str| own.iter().find(|directive| directive.name == name);
        if let Some(directive) = named("internal") {
            // A client gets 404, and subrequests are no requests of clients.
            let mut route = place.route();
            route.essential("respond", "{ status = 404 }", directive.line);
            self.report.done(directive.line);
            found.push(route);
            for inner in own.iter().filter(|inner| inner.name != "internal") {
                self.report
                    .needless(inner.line, "no request of a client reaches it: its location is `internal`");
            }
            return;
        }
        if let Some(directive) = named("return") {
            self.returns(place, directive, found);
            return;
        }
        if let Some(directive) = named("proxy_pass").or_else(|| named("grpc_pass")) {
            self.passes(place, directive, found);
            return;
        }
        // `try_files $uri @app`: what is no file goes to a backend.
        let fallback = named("try_files").or_else(|| place.scope.one("try_files"));
        if let Some(directive) = fallback
            && let Some(name) = directive.args.last().filter(|name| name.starts_with('@'))
            && let Some(block) = self.find_named(outer, name)
        {
            self.report.missing(
                directive.line,
                format!("a route has one destination: all requests go to {name}"),
                Some("route.try_files"),
            );
            self.report.done(block.line);
            let scope = outer.scope.within(block.inner());
            let place = Place { scope, ..place.clone() };
            if let Some(pass) = block.inner().iter().find(|inner| inner.name == "proxy_pass") {
                self.passes(&place, pass, found);
                return;
            }
        }
        let code =
            fallback.and_then(|directive| directive.args.last()).and_then(|last| last.strip_prefix('='));
        if let (Some(code), Some(directive)) = (code.and_then(|code| code.parse::<u16>().ok()), fallback)
            && named("root").is_none()
            && directive.args.len() == 1
        {
            let mut route = place.route();
            route.set("respond", format!("{{ status = {code} }}"), directive.line);
            self.report.done(directive.line);
            found.push(route);
            return;
        }
        // A place for nothing but a refusal.
        let first = own.iter().find(|directive| matches!(directive.name.as_str(), "allow" | "deny"));
        if let Some(directive) = first.filter(|it| it.name == "deny" && it.arg(0) == "all") {
            let mut route = place.route();
            route.essential("respond", "{ status = 403 }", directive.line);
            self.report.done(directive.line);
            found.push(route);
            return;
        }
        if !self.files(place, found) {
            self.refused(place, place.block.line, found);
        }
    }

    fn find_named(&self, outer: &Place<'d>, name: &str) -> Option<&'d Directive> {
        let all = outer.scope.levels.iter().rev().flat_map(|level| level.iter());
        all.filter(|directive| directive.name == "location").find(|location| location.arg(0) == name)
    }

    /// A place whose requests can't be served as they were: they must not go where others go.
    fn refused(&mut self, place: &Place<'d>, line: Line, found: &mut Vec<Section>) {
        let at = self.report.place(line);
        let mut route = place.route();
        route.comment(format!("TODO {at}: this location was not translated."));
        route.essential(
            "respond",
            format!("{{ status = 503, body = {} }}", quoted(&format!("not translated: {at}\n"))),
            line,
        );
        let why = match place.closed {
            Some(cause) => format!(
                "its route responds with 503 until it is completed: {} refuses some of its requests, and was not translated",
                self.report.place(cause)
            ),
            None => "its route responds with 503 until it is completed".to_owned(),
        };
        self.report.missing(place.block.line, why, Some("route"));
        if place.block.name == "location" {
            self.never(place.block, "its location was not translated");
        }
        found.push(route);
    }

    /// `proxy_pass`, perhaps to one of several places.
    fn passes(&mut self, place: &Place<'d>, directive: &'d Directive, found: &mut Vec<Section>) {
        match self.choice(directive) {
            Ok(Choice::One(shares)) => self.passes_to(place, directive, &shares, found),
            Ok(Choice::ByMap(values, default)) => {
                let values = values.into_iter().map(|(condition, address)| (Some(condition), address));
                for (condition, address) in values.chain([(None, default)]) {
                    let place = Place { condition, ..place.clone() };
                    match address {
                        Some(address) => self.passes_to(&place, directive, &vec![(1, address)], found),
                        None => {
                            let mut route = place.route();
                            route.essential("respond", "{ status = 500 }", directive.line);
                            found.push(route);
                        }
                    }
                }
            }
            Err(why) => {
                self.report.missing(directive.line, why, Some("route.upstream"));
                self.refused(place, directive.line, found);
            }
        }
    }

    /// The upstreams of addresses, with their weights, and the first address. `None`: one is none, which is listed.
    fn destinations(
        &mut self,
        place: &Place<'d>,
        directive: &'d Directive,
        shares: &Shares,
    ) -> Option<(Vec<(u64, String)>, Url)> {
        let (mut names, mut first) = (Vec::new(), None);
        for (weight, address) in shares {
            let url = match Url::of(directive, address) {
                Ok(url) => url,
                Err(why) => {
                    self.report.missing(directive.line, why, Some("route.upstream"));
                    return None;
                }
            };
            names.push((*weight, self.upstream(&url, &place.scope, directive)?));
            first = first.or(Some(url));
        }
        Some((names, first?))
    }

    /// `proxy_pass` to an address, or to several by their shares.
    fn passes_to(
        &mut self,
        place: &Place<'d>,
        directive: &'d Directive,
        shares: &Shares,
        found: &mut Vec<Section>,
    ) {
        let mut route = place.route();
        let Some((names, url)) = self.destinations(place, directive, shares) else {
            return self.refused(place, directive.line, found);
        };
        if place.closed.is_some() {
            return self.refused(place, directive.line, found);
        }
        if let Some(uri) = &url.uri
            && !self.replaces(&mut route, place, uri, directive)
        {
            return self.refused(place, directive.line, found);
        }
        if !self.access(&mut route, &place.scope) {
            return self.refused(place, directive.line, found);
        }
        self.rewrites_within(&mut route, place);
        match &names[..] {
            [(_, name)] => route.essential("upstream", quoted(name), directive.line),
            several => {
                let share = |(weight, name): &(u64, String)| {
                    format!("{{ name = {}, weight = {weight} }}", quoted(name))
                };
                let several: Vec<String> = several.iter().map(share).collect();
                route.essential("upstreams", list(&several), directive.line);
                if !place
                    .scope
                    .all("proxy_set_header")
                    .iter()
                    .any(|set| set.arg(0).eq_ignore_ascii_case("host"))
                {
                    let note = "each upstream gets the name of the first one as Host";
                    self.report.note(directive.line, note);
                }
            }
        }
        self.report.done(directive.line);
        // A refusal by the path would not see the other reading of it: see `Ifs`.
        if url.uri.is_none()
            && !["rewrite", "rewrite_prefix", "strip_prefix", "refuse"].iter().any(|key| route.has(key))
        {
            route.text("encoded_slashes", "pass", directive.line);
        }
        self.request_headers(&mut route, &place.scope, &url);
        self.rules(&mut route, &place.scope);
        self.lifetime_of_responses(&mut route, &place.scope);
        self.intercepted(&mut route, &place.scope);
        self.pages_of_place(&mut route, place);
        found.push(route);
    }

    /// The URI of `proxy_pass` takes the place of what the location matched. False: it can't be written.
    fn replaces(&mut self, route: &mut Section, place: &Place<'d>, uri: &str, directive: &Directive) -> bool {
        if uri.contains('$') || uri.contains('?') {
            self.report.missing(directive.line, "the URI has variables or a query", Some("route.rewrite"));
            return false;
        }
        if place.matched.is_exact {
            route.essential("rewrite", quoted(uri), directive.line);
            return true;
        }
        let Some(prefix) = place.matched.prefix.as_deref() else {
            self.report.missing(
                directive.line,
                "a URI needs a location that is a path",
                Some("route.rewrite_prefix"),
            );
            return false;
        };
        if prefix == uri {
            return true;
        }
        if place.matched.is_late {
            route.essential("path", quoted(&format!("{}(.*)$", place.matched.pattern)), place.block.line);
            route.essential("rewrite", quoted(&format!("{}$1", uri.replace('$', "$$"))), directive.line);
            return true;
        }
        if prefix.ends_with('/') != uri.ends_with('/') {
            self.report.note(
                directive.line,
                "location and URI differ in the slash at their end: paths are joined with one slash",
            );
        }
        match uri {
            "/" => route.essential("strip_prefix", "true", directive.line),
            uri => route.essential("rewrite_prefix", quoted(uri.trim_end_matches('/')), directive.line),
        }
        true
    }

    /// `return`.
    fn returns(&mut self, place: &Place<'d>, directive: &'d Directive, found: &mut Vec<Section>) {
        let mut route = place.route();
        // nginx answers before it looks at `allow`, `deny` and passwords.
        if place.closed.is_some() || !self.answer(&mut route, place, directive) {
            return self.refused(place, directive.line, found);
        }
        let own = place.block.inner().iter().filter(|own| is_access_control(own) && own.name != "return");
        own.for_each(|own| self.report.needless(own.line, "nginx does not look at it: `return` goes before"));
        self.response_headers(&mut route, &place.scope);
        self.log_of_route(&mut route, &place.scope);
        found.push(route);
    }

    /// What `return` answers with. False: it can't be written.
    pub(super) fn answer(&mut self, route: &mut Section, place: &Place<'d>, directive: &Directive) -> bool {
        let (code, rest) = match directive.arg(0).parse::<u16>() {
            Ok(code) => (code, directive.arg(1)),
            Err(_) => (302, directive.arg(0)),
        };
        let is_redirect = matches!(code, 301 | 302 | 303 | 307 | 308);
        if is_redirect {
            let target = match location(rest, &self.maps) {
                Some(location) => Ok(format!(", location = {}", quoted(&location))),
                None => redirect(rest, place.is_tls, &self.maps),
            };
            return match target {
                Ok(target) => {
                    route.essential("redirect", format!("{{ status = {code}{target} }}"), directive.line);
                    self.report.done(directive.line);
                    true
                }
                Err(why) => {
                    self.report.missing(directive.line, why, Some("route.redirect"));
                    false
                }
            };
        }
        if code == 444 {
            self.report.note(directive.line, CLOSES);
            route.essential("respond", "{ status = 403 }", directive.line);
            return true;
        }
        if rest.contains('$') {
            self.report.missing(directive.line, "a fixed response has no variables", Some("route.respond"));
            return false;
        }
        let mut value = format!("{{ status = {code}");
        if !rest.is_empty() {
            value.push_str(&format!(", body = {}", quoted(rest)));
            let own = place.scope.one("default_type");
            let kind = own.map_or("text/plain", |directive| directive.arg(0));
            value.push_str(&format!(", content_type = {}", quoted(kind)));
            own.into_iter().for_each(|directive| self.report.done(directive.line));
        }
        value.push_str(" }");
        route.essential("respond", value, directive.line);
        self.report.done(directive.line);
        true
    }

    /// `rewrite … permanent` and `redirect` of a server or location, each a route of its own.
    fn rewrites(&mut self, place: &Place<'d>, found: &mut Vec<Section>) {
        for directive in place.block.inner().iter().filter(|directive| directive.name == "rewrite") {
            if !directive.has("permanent") && !directive.has("redirect") {
                continue;
            }
            let mut route = place.route();
            if self.permanent(&mut route, place, directive) {
                found.push(route);
            }
        }
    }

    /// A `rewrite` that answers with a redirect. False: it can't be written.
    pub(super) fn permanent(
        &mut self,
        route: &mut Section,
        place: &Place<'d>,
        directive: &Directive,
    ) -> bool {
        let status = if directive.has("permanent") { 301 } else { 302 };
        let (from, to) = (directive.arg(0), directive.arg(1));
        let missing = "this rewriting can't be expressed";
        let whole = matches!(from, "^" | "^(.*)$" | "^(.*)" | "^/(.*)$" | "^/(.*)" | ".*" | "^.*$");
        let target = if let Some(to) = to.strip_suffix('?').filter(|_| whole) {
            let found =
                location(to, &self.maps).map(|location| format!(", location = {}", quoted(&location)));
            found.ok_or_else(|| missing.to_owned())
        } else if whole {
            let to = to.replace("/$1", "$request_uri").replace("$1", "$request_uri");
            redirect(&to, place.is_tls, &self.maps)
        } else {
            match (values::simple(from), to) {
                (Some(Simple::Exact(path)), to) if !to.contains('$') => {
                    route.essential("path", quoted(&format!("={path}")), directive.line);
                    redirect(to, place.is_tls, &self.maps)
                }
                (Some(Simple::Prefix(path)), to) => {
                    route.essential("path", quoted(&pattern(&path)), directive.line);
                    match to.strip_suffix("$1") {
                        Some(base) if base.starts_with('/') && !base.contains('$') => {
                            Ok(format!(", rewrite_prefix = {}", quoted(base)))
                        }
                        None if !to.contains('$') => redirect(to, place.is_tls, &self.maps),
                        _ => Err(missing.to_owned()),
                    }
                }
                _ => Err(missing.to_owned()),
            }
        };
        match target {
            Ok(target) => {
                route.essential("redirect", format!("{{ status = {status}{target} }}"), directive.line);
                self.report.done(directive.line);
                true
            }
            Err(why) => {
                self.report.missing(directive.line, why, Some("route.redirect"));
                false
            }
        }
    }

    /// `rewrite … break` and `last` within a location that passes requests on.
    pub(super) fn rewrites_within(&mut self, route: &mut Section, place: &Place<'d>) {
        for directive in place.block.inner().iter().filter(|directive| directive.name == "rewrite") {
            if directive.has("permanent") || directive.has("redirect") {
                continue;
            }
            let prefix = place.matched.prefix.as_deref().map(|prefix| prefix.trim_end_matches('/'));
            let from = match values::simple(directive.arg(0)) {
                Some(Simple::Prefix(path)) => Some(path.trim_end_matches('/').to_owned()),
                _ => None,
            };
            let to = directive.arg(1).strip_suffix("$1").map(|to| to.trim_end_matches('/'));
            match (prefix, from, to) {
                (Some(prefix), Some(from), Some(to)) if prefix == from && !to.contains('$') => {
                    match to {
                        to if place.matched.is_late => {
                            let path = format!("{}/(.*)$", precedence::late(prefix));
                            route.essential("path", quoted(&path), place.block.line);
                            route.essential("rewrite", quoted(&format!("{to}/$1")), directive.line);
                        }
                        "" => route.essential("strip_prefix", "true", directive.line),
                        to => route.essential("rewrite_prefix", quoted(to), directive.line),
                    }
                    self.report.done(directive.line);
                }
                _ => self.report.missing(
                    directive.line,
                    "only the path that the location matches can be replaced",
                    Some("route.rewrite_prefix"),
                ),
            }
        }
    }
}

/// A prefix as `path` of a route: parts of a path match whole.
fn pattern(prefix: &str) -> String {
    match prefix.trim_end_matches('/') {
        "" => "/".to_owned(),
        path => path.to_owned(),
    }
}
