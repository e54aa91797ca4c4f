//! Frontends: listeners, and the rules that lead from them to backends.

use std::collections::{BTreeSet, HashMap};

use super::super::draft::{Section, quoted};
use super::super::report::Line;
use super::super::values;
use super::bind::Bound;
use super::conditions::{self, Acls, Conjunction, Literal, Test};
use super::headers::{self, HeaderRule};
use super::parse::Item;
use super::rules::{self, Rule, Target};
use super::samples::Samples;
use super::{HaProxy, Proxy};

/// What a frontend's rules say of the frontend as a whole.
#[derive(Default)]
pub(super) struct Whole {
    pub(super) rules: Vec<Rule>,
    /// Keys of every listener, as TOML.
    pub(super) keys: Vec<(&'static str, String, Line)>,
    pub(super) denied: Vec<(String, Line)>,
    /// Entries of `refuse`, as TOML, each with whether it is for TLS or plain connections only.
    pub(super) refused: Vec<(Option<bool>, String, Line)>,
    /// Rules on header fields.
    headers: Vec<HeaderRule>,
    /// What its variables and captures stand for.
    samples: Samples,
    /// A rule whose refusals could not be translated: no request may pass.
    pub(super) closed: Option<Line>,
}

impl<'b> HaProxy<'_, 'b> {
    pub(super) fn frontend(&mut self, proxy: &Proxy<'b>) {
        let line = proxy.block.line;
        let is_http = proxy.is_http();
        self.report.done(line);
        let binds = self.binds(proxy);
        if binds.is_empty() {
            return self.report.missing(
                line,
                "it has no `bind` that can be translated",
                Some("listener.address"),
            );
        }
        let rules = proxy.rules();
        let samples = Samples::of(&rules, &Samples::default());
        let acls = self.acls(&rules, &samples);
        let mut whole = Whole { samples, ..Whole::default() };
        for item in rules {
            self.rule(item, proxy, &acls, &mut whole);
        }
        self.switches(proxy, &acls, &mut whole, is_http);
        let mut reached = BTreeSet::new();
        for (bound, mut listener) in binds {
            self.listener(&mut listener, proxy, &bound, &whole, is_http);
            self.draft.listeners.push(listener);
            self.routes(proxy, &bound, &whole, is_http, &mut reached);
        }
        for rule in whole.rules.iter().filter(|rule| !reached.contains(&rule.line)) {
            self.report
                .note(rule.line, "no request reaches it: an earlier rule has them all, or no `bind` fits");
        }
    }

    /// What a listener has of its frontend's lines.
    fn listener(
        &mut self,
        listener: &mut Section,
        proxy: &Proxy<'b>,
        bound: &Bound,
        whole: &Whole,
        is_http: bool,
    ) {
        if !is_http {
            listener.essential("protocol", "\"tcp\"", bound.line);
        }
        let mut times = vec![
            ("client", "limits.body_timeout"),
            ("http-request", "limits.head_timeout"),
            ("http-keep-alive", "limits.idle_timeout"),
        ];
        if !is_http {
            times.clear();
            if let Some(item) = proxy.one(&["timeout", "client"]) {
                self.report
                    .needless(item.line, "`timeouts.idle` of the upstream bounds a relay on both sides");
            }
        }
        for (name, key) in times {
            let Some(item) = proxy.one(&["timeout", name]) else { continue };
            if let Some(time) = values::duration(item.word(2), "ms").filter(|time| time != "0s") {
                listener.text(key, &time, item.line);
                self.report.done(item.line);
            }
        }
        if let Some(item) = proxy.one(&["maxconn"]).filter(|_| !listener.has("limits.connections")) {
            listener.set("limits.connections", item.word(1), item.line);
            self.report.done(item.line);
        }
        for (key, value, line) in &whole.keys {
            listener.essential(key, value.clone(), *line);
        }
        for (network, line) in &whole.denied {
            listener.push_essential("deny", quoted(network), *line);
        }
        if is_http {
            for (_, entry, line) in
                whole.refused.iter().filter(|(tls, ..)| tls.is_none_or(|tls| tls == bound.tls))
            {
                listener.push_essential("refuse", entry.clone(), *line);
            }
            self.header_rules(listener, &whole.headers, bound.tls);
            self.head_bounds(listener, bound.line);
            let items = proxy.all(&["compression"]);
            self.compression(listener, &items);
            self.pages(listener, proxy);
        }
    }

    /// A rule of `http-request`, `http-response`, `tcp-request` or `redirect`.
    fn rule(&mut self, item: &'b Item, proxy: &Proxy<'b>, acls: &Acls, whole: &mut Whole) {
        let split = |words: &[&'b str]| {
            let at = words.iter().position(|word| matches!(*word, "if" | "unless")).unwrap_or(words.len());
            (words[..at].to_vec(), words[at..].to_vec())
        };
        let (words, condition) = split(&item.from(0));
        let action: &[&str] = match words[..] {
            ["http-request", ref rest @ ..] => rest,
            ["tcp-request", "connection" | "content" | "session", ref rest @ ..] => rest,
            ["redirect", ..] => &words,
            ["tcp-request", "inspect-delay", ..] => {
                let why = "`limits.head_timeout` bounds the wait for a ClientHello";
                return self.report.needless(item.line, why);
            }
            ["http-response" | "http-after-response", ..] => {
                return self.conditional_header(item, (&condition, proxy), acls, whole);
            }
            _ => return,
        };
        match action.first().copied().unwrap_or_default() {
            "deny" | "reject" | "tarpit" | "silent-drop" => {
                self.deny(item, action, &condition, acls, proxy, whole)
            }
            "auth" => self.auth(item, &condition, acls, proxy, whole),
            "redirect" => self.redirect(item, &action[1..], &condition, acls, whole),
            "return" => self.returned(item, action, &condition, acls, whole),
            "accept" | "allow"
                if condition.iter().any(|word| word.contains("ssl_hello_type")) || condition.is_empty() =>
            {
                self.report.needless(item.line, "a listener of TLS waits for the ClientHello by itself");
            }
            action if action.starts_with("track-sc") => {
                self.report.needless(item.line, "counters of rates are Ringate's own");
            }
            _ => self.conditional_header(item, (&condition, proxy), acls, whole),
        }
    }

    /// A rule on a header field, if it is one.
    fn conditional_header(
        &mut self,
        item: &Item,
        (condition, proxy): (&[&str], &Proxy<'b>),
        acls: &Acls,
        whole: &mut Whole,
    ) {
        if is_header_rule(&item.from(0)) {
            let changed = headers::changed_above(&proxy.rules(), Some(item.line));
            let rule = self.header_rule(item, condition, (acls, &whole.samples), &changed);
            whole.headers.extend(rule);
        }
    }

    /// A rule on `line` has this condition.
    pub(super) fn used(&mut self, acls: &Acls, condition: &[&str], line: Line) {
        for line in acls.lines(condition) {
            self.report.done(line);
            acls.note(line).into_iter().for_each(|note| self.report.note(line, note));
        }
        conditions::note(condition).into_iter().for_each(|note| self.report.note(line, note));
    }

    fn returned(&mut self, item: &Item, action: &[&str], condition: &[&str], acls: &Acls, whole: &mut Whole) {
        let after = |name: &str| action.windows(2).find(|pair| pair[0] == name).map(|pair| pair[1]);
        if ["file", "errorfile", "lf-file", "errorfiles", "hdr"].iter().any(|name| action.contains(name)) {
            return self.report.missing(item.line, "a fixed response has a text", Some("route.respond"));
        }
        let body = match (after("string"), after("lf-string")) {
            (None, Some(format)) if format.contains('%') => {
                return self.report.missing(
                    item.line,
                    "a fixed response has no variables",
                    Some("route.respond"),
                );
            }
            (plain, format) => plain.or(format),
        };
        let mut keys = format!("{{ status = {}", after("status").unwrap_or("200"));
        if let Some(body) = body {
            keys.push_str(&format!(", body = {}", quoted(body)));
        }
        if let Some(kind) = after("content-type") {
            keys.push_str(&format!(", content_type = {}", quoted(kind)));
        }
        keys.push_str(" }");
        self.answered(item, Target::Answer("respond", keys), (condition, &[]), acls, whole);
    }

    /// A rule, for requests that meet a condition and have a value in each of the maps `present`.
    pub(super) fn answered(
        &mut self,
        item: &Item,
        target: Target,
        (condition, present): (&[&str], &[String]),
        acls: &Acls,
        whole: &mut Whole,
    ) {
        match self.condition(acls, condition, item.line) {
            Ok(mut found) => {
                self.report.done(item.line);
                self.used(acls, condition, item.line);
                for name in present {
                    let test = Test::Map(name.clone(), "{ present = true }".to_owned());
                    let literal = Literal { test, negated: false };
                    found
                        .iter_mut()
                        .filter(|tests| !tests.contains(&literal))
                        .for_each(|tests| tests.push(literal.clone()));
                }
                let rule = |tests| Rule {
                    tests,
                    target: target.clone(),
                    guards: Vec::new(),
                    refuses: false,
                    line: item.line,
                };
                whole.rules.extend(found.into_iter().map(rule));
            }
            Err(why) => self.report.missing(item.line, why, Some("route.match")),
        }
    }

    fn routes(
        &mut self,
        proxy: &Proxy<'b>,
        bound: &Bound,
        whole: &Whole,
        is_http: bool,
        reached: &mut BTreeSet<Line>,
    ) {
        let (rules, parts) = rules::bounded(rules::of_listener(&whole.rules, bound.tls, is_http));
        for line in parts {
            let note = "there are too many expressions: only whole parts of the path match, /api and /api/x but not /apis";
            self.report.note(line, note);
        }
        for (at, rule) in rules.iter().enumerate() {
            if !rules::is_unreachable(&rules, at) || matches!(rule.target, Target::Guard(..)) {
                reached.insert(rule.line);
            }
        }
        if let Some(closed) = whole.closed.filter(|_| !is_http) {
            // A listener of tcp without a route is refused by the check, and left out.
            let why = "its frontend is left out, as connections that it refuses would pass";
            return self.report.missing(closed, why, Some("listener.deny"));
        }
        let mut names: HashMap<String, Option<String>> = HashMap::new();
        for rule in self.with_logins_of_backends(rules::routes(&rules), proxy, bound.tls) {
            let mut route = Section::new("[route]", rule.line);
            route.essential("listener", quoted(&bound.name), bound.line);
            if conditions::write(&rule.tests, &mut route, rule.line).is_none() {
                let why = "part of its condition can't be asked by a route";
                self.report.missing(rule.line, why, Some("route.match"));
                continue;
            }
            self.guards(&mut route, &rule);
            match &rule.target {
                _ if whole.closed.is_some() && is_http => self.closed(&mut route, whole, rule.line),
                Target::Answer(key, value) => route.essential(key, value.clone(), rule.line),
                Target::Guard(..) => continue,
                Target::Backend(name) => {
                    let known =
                        names.entry(name.clone()).or_insert_with(|| self.upstream(name, is_http)).clone();
                    match known {
                        Some(upstream) => {
                            route.essential("upstream", quoted(&upstream), rule.line);
                            if is_http {
                                self.backend_rules(&mut route, name, (proxy, &whole.samples), bound.tls);
                                as_sent(&mut route, rule.line);
                            }
                        }
                        None if is_http => {
                            self.report.missing(
                                rule.line,
                                format!("its backend {name} could not be translated: 503"),
                                Some("upstream"),
                            );
                            route.essential("respond", "{ status = 503 }", rule.line);
                        }
                        None => {
                            self.report.missing(
                                rule.line,
                                format!("its backend {name} could not be translated"),
                                Some("upstream"),
                            );
                            continue;
                        }
                    }
                }
            }
            self.draft.route(route);
        }
    }

    fn closed(&mut self, route: &mut Section, whole: &Whole, line: Line) {
        let at = whole.closed.map(|line| self.report.place(line)).unwrap_or_default();
        route.comment(format!("TODO {at}: its access control was not translated."));
        route.essential(
            "respond",
            format!("{{ status = 503, body = {} }}", quoted(&format!("not translated: {at}\n"))),
            line,
        );
    }

    /// The rules of a backend, for each route that leads to it.
    fn backend_rules(
        &mut self,
        route: &mut Section,
        name: &str,
        (frontend, samples): (&Proxy<'b>, &Samples),
        tls: bool,
    ) {
        let Some(backend) = self.backends.get(name) else { return };
        let block = backend.block;
        // Those of a `listen` are its listener's.
        if std::ptr::eq(block, frontend.block) {
            return;
        }
        let backend = Proxy { block, defaults: backend.defaults };
        self.pages_of_backend(route, &backend, frontend);
        let items = backend.rules();
        let samples = Samples::of(&items, samples);
        let acls = self.acls(&items, &samples);
        let mut rules = Vec::new();
        for &item in &items {
            let words = item.from(0);
            let at = words.iter().position(|word| matches!(*word, "if" | "unless")).unwrap_or(words.len());
            let (words, condition) = words.split_at(at);
            let is_rule =
                matches!(words.first(), Some(&("http-request" | "http-response" | "http-after-response")));
            if !is_rule {
                continue;
            }
            let always = acls.condition(condition).is_ok_and(|found| found == [Conjunction::new()]);
            // As it was written before its quotes.
            let path = route.get("path").map(|path| path.trim_matches('"').replace("\\\\", "\\"));
            match words {
                words if is_header_rule(words) => {
                    let mut changed = headers::changed_above(&frontend.rules(), None);
                    changed.extend(headers::changed_above(&items, Some(item.line)));
                    rules.extend(self.header_rule(item, condition, (&acls, &samples), &changed));
                }
                ["http-request", action @ ("set-path" | "replace-path"), ..] if always => {
                    let arguments = words[2..].join(" ");
                    self.stripped(route, item, action, &arguments, path.as_deref());
                }
                ["http-request", "deny" | "reject" | "tarpit", ..]
                    if self.deny_of_backend(route, item, condition, &acls, tls) => {}
                ["http-request", "auth" | "deny" | "reject", ..] if self.is_login(item, &acls, &backend) => {}
                ["http-request", "deny" | "auth" | "reject" | "tarpit", ..] => {
                    let why =
                        "refusals of a backend were not translated, so its requests are refused with 503";
                    self.report.missing(item.line, why, Some("route.allow"));
                    route.remove("upstream");
                    let whole = Whole { closed: Some(item.line), ..Whole::default() };
                    self.closed(route, &whole, item.line);
                }
                _ => {}
            }
        }
        self.header_rules(route, &rules, tls);
    }

    /// `set-path %[path,regsub(^/api/?,/)]` and `replace-path /api(/)?(.*) /\2`: the route's path is taken away.
    fn stripped(
        &mut self,
        route: &mut Section,
        item: &Item,
        action: &str,
        arguments: &str,
        path: Option<&str>,
    ) {
        let missing = "only the path that a route matches can be replaced";
        let beginning = path.and_then(rules::beginning);
        let own = path.filter(|path| path.starts_with('/')).map(str::to_owned);
        let Some(matched) = own.or_else(|| beginning.clone()) else {
            return self.report.missing(item.line, missing, Some("route.rewrite_prefix"));
        };
        let plain = arguments.replace('\\', "");
        let (from, to) = match action {
            "set-path" => {
                let inner = plain
                    .strip_prefix("%[path,regsub(")
                    .and_then(|rest| rest.split_once(')'))
                    .map(|(inner, _)| inner);
                match inner.and_then(|inner| inner.split_once(',')) {
                    Some((from, to)) => (from.to_owned(), to.to_owned()),
                    None => return self.report.missing(item.line, missing, Some("route.rewrite_prefix")),
                }
            }
            _ => match plain.split_once(' ') {
                Some((from, to)) => (from.to_owned(), to.to_owned()),
                None => return self.report.missing(item.line, missing, Some("route.rewrite_prefix")),
            },
        };
        let from = from.trim_start_matches('^').trim_end_matches('$');
        let from = ["(/)?(.*)", "/?(.*)", "/(.*)", "(/.*)?", "(/.*)", "(.*)", "/?", "/"]
            .iter()
            .find_map(|tail| from.strip_suffix(tail))
            .unwrap_or(from);
        let to = to.trim_end_matches(['1', '2']).trim_end_matches('/');
        match from == matched.trim_end_matches('/') {
            // The beginning of a path may end within a part of it.
            true if beginning.is_some() && (to.is_empty() || to.starts_with('/')) && !to.contains('$') => {
                let slash = if matched.ends_with('/') { "/" } else { "/?" };
                let pattern = format!("~ ^{}{slash}(.*)$", rules::escaped(from));
                route.essential("path", quoted(&pattern), item.line);
                route.essential("rewrite", quoted(&format!("{to}/$1")), item.line);
            }
            true if to.is_empty() => route.essential("strip_prefix", "true", item.line),
            true if to.starts_with('/') => route.essential("rewrite_prefix", quoted(to), item.line),
            _ => return self.report.missing(item.line, missing, Some("route.rewrite_prefix")),
        }
        self.report.done(item.line);
    }
}

/// Whether words are a rule that changes a header field.
fn is_header_rule(words: &[&str]) -> bool {
    matches!(words.first(), Some(&("http-request" | "http-response" | "http-after-response")))
        && matches!(
            words.get(1),
            Some(&("set-header" | "add-header" | "del-header" | "replace-header" | "replace-value"))
        )
}

/// HAProxy compares and forwards paths as they were sent.
fn as_sent(route: &mut Section, line: Line) {
    if route.has("upstream") {
        route.text("encoded_slashes", "pass", line);
    }
}
