//! `deny` and `reject`: of all requests of some clients, of those over a rate, or of some requests.

use super::super::draft::{Section, list, part, quoted, texts};
use super::super::report::Line;
use super::super::values;
use super::conditions::{self, Acls, Conjunction, Literal, Of, Test};
use super::frontend::Whole;
use super::parse::Item;
use super::rules::{Rule, Target};
use super::{HaProxy, Proxy};

impl<'b> HaProxy<'_, 'b> {
    pub(super) fn deny(
        &mut self,
        item: &Item,
        action: &[&str],
        condition: &[&str],
        acls: &Acls,
        proxy: &Proxy<'b>,
        whole: &mut Whole,
    ) {
        let is_login = |literal: &Literal| matches!(literal.test, Test::Login(..));
        if acls.known(condition).iter().flatten().any(is_login) {
            return self.auth(item, condition, acls, proxy, whole);
        }
        let found = match self.condition_of_refusal(acls, condition, item.line) {
            Ok(found) => found,
            Err(why) => {
                let known: Vec<Conjunction> =
                    acls.known_part(condition).iter().map(|tests| self.writable(tests, item.line)).collect();
                self.used(acls, condition, item.line);
                return known.iter().for_each(|tests| self.refuse_more(tests, &why, item, proxy, whole));
            }
        };
        let status = status_of(action);
        for tests in found {
            if tests.iter().any(|literal| matches!(literal.test, Test::Value(Of::Header, ..))) {
                let note = "a field is compared whole, and one that a request has twice with two values meets no condition";
                self.report.note(item.line, note);
            }
            if self.refusal(&tests, status, item, proxy, whole).is_some() {
                self.report.done(item.line);
                self.used(acls, condition, item.line);
            } else if tests.iter().any(|literal| matches!(literal.test, Test::Rate(_) | Test::Connections(_)))
            {
                // What is within the bound must pass, and what it is can't be asked.
                let why = "requests beyond this bound are NOT refused: it holds for all requests of a client, by a stick table of rates";
                self.report.missing(item.line, why, Some("route.rate_limit"));
            } else {
                self.refuse_more(&tests, "the condition can't be written", item, proxy, whole);
                self.used(acls, condition, item.line);
            }
        }
    }

    /// `http-request deny` of a backend, for a route that leads to it. False: it can't be written.
    pub(super) fn deny_of_backend(
        &mut self,
        route: &mut Section,
        item: &Item,
        condition: &[&str],
        acls: &Acls,
        tls: bool,
    ) -> bool {
        let Ok(found) = self.condition_of_refusal(acls, condition, item.line) else { return false };
        let status = status_of(&item.from(1));
        let entries: Option<Vec<_>> = found.iter().map(|tests| entries(tests, status)).collect();
        let Some(entries) = entries else { return false };
        for (_, entry) in
            entries.into_iter().flatten().filter(|(wanted, _)| wanted.is_none_or(|wanted| wanted == tls))
        {
            route.push_essential("refuse", entry, item.line);
        }
        self.report.done(item.line);
        self.used(acls, condition, item.line);
        true
    }

    /// Refuses all requests that a refusal may be about, and perhaps others, since it can't be written: those that have what can
    /// be asked of its tests.
    fn refuse_more(
        &mut self,
        tests: &[Literal],
        why: &str,
        item: &Item,
        proxy: &Proxy<'b>,
        whole: &mut Whole,
    ) {
        let known: Conjunction =
            tests.iter().filter(|it| is_tls(it) || keys(&it.test).is_some()).cloned().collect();
        let all = known.iter().all(is_tls);
        let entries = entries(&known, "503").filter(|_| proxy.is_http());
        let why = match entries {
            Some(entries) => {
                let listed = entries.into_iter().map(|(tls, entry)| (tls, entry, item.line));
                whole.refused.extend(listed);
                let what =
                    if all { "ALL requests of the frontend" } else { "all requests that it may be about" };
                format!("{why}: {what} are refused with 503, until the listener's `refuse` is completed")
            }
            None => {
                whole.closed = Some(item.line);
                format!("{why}: no connection may pass")
            }
        };
        self.report.missing(item.line, why, Some("listener.refuse"));
    }

    /// One alternative of a refusal. `None`: it can't be written.
    fn refusal(
        &mut self,
        tests: &[Literal],
        status: &str,
        item: &Item,
        proxy: &Proxy<'b>,
        whole: &mut Whole,
    ) -> Option<()> {
        let (special, plain): (Vec<&Literal>, Vec<&Literal>) =
            tests.iter().partition(|literal| is_special(literal));
        let plain: Conjunction = plain.into_iter().cloned().collect();
        let by_source = |literal: &&Literal| matches!(literal.test, Test::Source(_));
        // Conditions beside the client's address are those of a refusal, where there is one.
        let is_bare = plain.is_empty() || !proxy.is_http();
        let one = match &special[..] {
            [one] if !by_source(one) || is_bare && is_writable(&plain) => *one,
            several if several.iter().all(by_source) => {
                return self.refuse(tests, status, item, proxy, whole);
            }
            _ => return None,
        };
        if !is_writable(&plain) {
            return None;
        }
        let rule = |tests, target| Rule::refusal(tests, target, item.line);
        let (key, value) = self.restriction(one, item, proxy)?;
        let is_listener_s = key == "limits.connections_per_client";
        match (&one.test, key) {
            (_, _) if !plain.is_empty() && is_listener_s => return None,
            (_, "require_client_certificate") => {
                whole.rules.push(rule(plain, Target::Guard(key, value)));
            }
            (_, _) if !plain.is_empty() => {
                whole.rules.push(rule(plain, Target::Guard(key, value)));
            }
            (Test::Source(networks), "deny") => {
                whole.denied.extend(networks.iter().map(|network| (network.clone(), item.line)));
            }
            // Two lists of networks that may pass can't both hold.
            _ if whole.keys.iter().any(|(known, ..)| *known == key) && key == "allow" => {
                return self.refuse(tests, status, item, proxy, whole);
            }
            _ if whole.keys.iter().any(|(known, ..)| *known == key) => return None,
            _ => whole.keys.push((key, value, item.line)),
        }
        Some(())
    }

    /// A refusal by what a request is: the listener's or, behind other answers, a route. `None`: it can't be written.
    fn refuse(
        &mut self,
        tests: &[Literal],
        status: &str,
        item: &Item,
        proxy: &Proxy<'b>,
        whole: &mut Whole,
    ) -> Option<()> {
        let is_answer = |rule: &&Rule| !rule.refuses && matches!(rule.target, Target::Answer(..));
        let is_whole = |rule: &Rule| matches!(&rule.tests[..], [one] if is_tls(one));
        // Listeners that an answer above it has whole: with TLS, or without.
        let answered = whole.rules.iter().filter(is_answer).find(|rule| is_whole(rule));
        let left = answered.and_then(|rule| rule.tests.first()).map(|literal| literal.negated);
        let is_behind = whole.rules.iter().filter(is_answer).any(|rule| !is_whole(rule));
        let is_route =
            is_writable(tests) && !tests.iter().any(|literal| matches!(literal.test, Test::Source(_)));
        let entries = entries(tests, status).filter(|_| proxy.is_http());
        match entries {
            Some(entries) if !is_behind || !is_route => {
                if is_behind {
                    let note = "it goes before the answers that stand above it";
                    self.report.note(item.line, note);
                }
                for (tls, entry) in entries {
                    if tls.is_none() || left.is_none() || tls == left {
                        whole.refused.push((tls.or(left), entry, item.line));
                    }
                }
            }
            _ if is_route => {
                let target = Target::Answer("respond", format!("{{ status = {status} }}"));
                whole.rules.push(Rule::refusal(tests.to_vec(), target, item.line));
            }
            _ => return None,
        }
        Some(())
    }

    /// The key that refuses what a test matches.
    fn restriction(
        &mut self,
        literal: &Literal,
        item: &Item,
        proxy: &Proxy<'b>,
    ) -> Option<(&'static str, String)> {
        match (&literal.test, literal.negated) {
            (Test::Source(networks), true) => Some(("allow", texts(networks))),
            (Test::Source(networks), false) => Some(("deny", texts(networks))),
            (Test::Certificate, true) => Some(("require_client_certificate", "true".to_owned())),
            (Test::Rate(most), false) => Some(("rate_limit", self.rate(*most, item, proxy)?)),
            (Test::Connections(most), false) => Some(("limits.connections_per_client", most.to_string())),
            _ => None,
        }
    }

    /// So many requests in the period of the stick table.
    fn rate(&mut self, most: u64, item: &Item, proxy: &Proxy<'b>) -> Option<String> {
        let tables =
            self.backends.values().flat_map(|backend| &backend.block.items).chain(&proxy.block.items);
        let table = tables.filter(|item| item.word(0) == "stick-table").find_map(|item| {
            let mut words = item.words.iter().flat_map(|word| word.split(','));
            let period = words.find_map(|word| word.strip_prefix("http_req_rate(")?.strip_suffix(')'))?;
            Some((period.to_owned(), item.line))
        });
        let (period, line) = table?;
        self.report.done(line);
        let period = values::duration(&period, "ms")?;
        let number = |unit: char| period.strip_suffix(unit).and_then(|number| number.parse::<u64>().ok());
        let minutes = || Some(number('m')?.saturating_mul(60));
        let hours = || Some(number('h')?.saturating_mul(3600));
        let seconds = number('s').or_else(minutes).or_else(hours).filter(|seconds| *seconds > 0)?;
        let (rate, unit) = match most / seconds {
            0 => ((most.saturating_mul(3600) / seconds).max(1), "h"),
            _ if most.is_multiple_of(seconds) => (most / seconds, "s"),
            _ => ((most.saturating_mul(60) / seconds).max(1), "m"),
        };
        self.report.note(item.line, "the refusal is 429; a token bucket takes the place of a sliding rate");
        Some(format!("{{ rate = \"{rate}/{unit}\", burst = {}, by = \"client\" }}", most.max(1)))
    }
}

/// The status that a refusal has.
fn status_of<'w>(action: &[&'w str]) -> &'w str {
    let status = action.windows(2).find(|pair| matches!(pair[0], "status" | "deny_status"));
    status.map_or("403", |pair| pair[1])
}

/// Whether a test is no match of a request, but a rule of its own.
fn is_special(literal: &Literal) -> bool {
    matches!(
        literal.test,
        Test::Source(_) | Test::Rate(_) | Test::Connections(_) | Test::Login(..) | Test::Certificate
    )
}

fn is_tls(literal: &Literal) -> bool {
    literal.test == Test::Tls
}

/// Whether a route can ask all of it.
pub(super) fn is_writable(tests: &[Literal]) -> bool {
    let asked: Conjunction = tests.iter().filter(|literal| !is_tls(literal)).cloned().collect();
    conditions::write(&asked, &mut Section::new("", Line::default()), Line::default()).is_some()
}

/// Entries of `refuse` for requests that meet all tests, each with whether it is for listeners with or without TLS alone. `None`:
/// part of it can't be asked.
fn entries(tests: &[Literal], status: &str) -> Option<Vec<(Option<bool>, String)>> {
    let is_name = |literal: &Literal| matches!(literal.test, Test::ServerName(_));
    if !tests.iter().any(is_name) {
        return Some(vec![entry(tests, status)?]);
    }
    let mut found = Vec::new();
    for tls in [true, false] {
        let contradicts = |literal: &Literal| match literal.test {
            Test::Tls => literal.negated == tls,
            // Without TLS there is no server name.
            Test::ServerName(_) => !tls && !literal.negated,
            _ => false,
        };
        if tests.iter().any(contradicts) {
            continue;
        }
        let is_left = |literal: &&Literal| !is_tls(literal) && (tls || !is_name(literal));
        let left: Conjunction = tests.iter().filter(is_left).cloned().collect();
        let (_, entry) = entry(&left, status)?;
        found.push((Some(tls), entry));
    }
    Some(found)
}

/// An entry of `refuse` for requests that meet all tests, and whether it is for listeners with or without TLS alone. `None`:
/// part of it can't be asked.
fn entry(tests: &[Literal], status: &str) -> Option<(Option<bool>, String)> {
    let (mut tls, mut holds, mut not) = (None, Vec::new(), Vec::new());
    for literal in tests {
        match (&literal.test, literal.negated) {
            (Test::Tls, negated) => tls = Some(!negated),
            (Test::Always, false) => {}
            (test, false) => holds.push(keys(test)?),
            (test, true) => not.push(format!("{{ {} }}", keys(test)?)),
        }
    }
    let mut parts: Vec<String> = match &holds[..] {
        [] if !not.is_empty() => Vec::new(),
        [] => vec!["path = \"/\"".to_owned()],
        [one] => vec![one.clone()],
        several => {
            let all: Vec<String> = several.iter().map(|one| format!("{{ {one} }}")).collect();
            vec![format!("all = {}", list(&all))]
        }
    };
    if !not.is_empty() {
        parts.push(format!("not = {}", list(&not)));
    }
    let status = status.parse().ok().filter(|status| (400..=599).contains(status)).unwrap_or(403_u16);
    parts.push(format!("status = {status}"));
    Some((tls, format!("{{ {} }}", parts.join(", "))))
}

/// What an entry of `refuse` or of `headers.when` asks.
pub(super) fn keys(test: &Test) -> Option<String> {
    Some(match test {
        Test::Host(host) => format!("host = {}", quoted(host)),
        Test::Path(path) => format!("path = {}", quoted(path)),
        Test::Method(method) => format!("methods = [{}]", quoted(method)),
        Test::Value(of, name, like) => conditions::value_key(*of, name, like),
        Test::ServerName(name) => format!("host = {}", quoted(name)),
        Test::Source(networks) => format!("client = {}", texts(networks)),
        Test::Map(name, expected) => format!("maps = {{ {} = {expected} }}", part(name)),
        _ => return None,
    })
}
