//! Rules in their order become routes, of which the most specific one counts.
//!
//! Where an earlier rule and a later one can match the same request, their common part becomes a route of its own
//! that goes where the earlier one goes.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::super::report::Line;
use super::super::values::{self, Simple};
use super::conditions::{Conjunction, Like, Literal, Of, Test};
use crate::base::limits::MAX_PATTERN_ROUTES;

/// Where the requests of a rule go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Backend(String),
    /// A key of the route with its value, as TOML.
    Answer(&'static str, String),
    /// Wherever later rules lead, with this key besides.
    Guard(&'static str, String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) tests: Conjunction,
    pub(super) target: Target,
    pub(super) guards: Vec<(&'static str, String)>,
    /// It refuses requests: none of these may go where later rules lead.
    pub(super) refuses: bool,
    pub(super) line: Line,
}

impl Rule {
    /// One that refuses requests.
    pub(super) fn refusal(tests: Conjunction, target: Target, line: Line) -> Self {
        Self { tests, target, guards: Vec::new(), refuses: true, line }
    }
}

/// Most routes that the rules of one listener become.
const MAX_ROUTES: usize = 2000;
/// Most paths of one listener that are regular expressions.
const MAX_PATTERNS: usize = MAX_PATTERN_ROUTES - 56;

/// The rules as a listener with or without TLS has them: tests of that are decided.
pub(super) fn of_listener(rules: &[Rule], tls: bool, is_http: bool) -> Vec<Rule> {
    let decide = |rule: &Rule| Some(Rule { tests: decided(&rule.tests, tls, is_http)?, ..rule.clone() });
    rules.iter().filter_map(decide).collect()
}

/// Tests as a listener with or without TLS has them. `None`: they never hold there.
pub(super) fn decided(all: &[Literal], tls: bool, is_http: bool) -> Option<Conjunction> {
    let mut tests = Conjunction::new();
    for literal in all {
        match &literal.test {
            // Without TLS there is no server name. With it, clients ask for the host that they named.
            Test::ServerName(_) if !tls && literal.negated => {}
            Test::ServerName(_) if !tls => return None,
            Test::ServerName(name) => {
                let test = if is_http { Test::Host(name.clone()) } else { Test::Sni(name.clone()) };
                let literal = Literal { test, negated: literal.negated };
                if !all.contains(&literal) {
                    tests.push(literal);
                }
            }
            Test::Tls if literal.negated == tls => return None,
            Test::Tls => {}
            Test::Always if literal.negated => return None,
            Test::Always => {}
            _ => tests.push(literal.clone()),
        }
    }
    Some(tests)
}

/// The rules; where they have too many regular expressions for a host of Ringate, paths that begin with a text become whole
/// parts of paths. And the lines of those.
pub(super) fn bounded(mut rules: Vec<Rule>) -> (Vec<Rule>, Vec<Line>) {
    let patterns: BTreeSet<&str> =
        rules.iter().filter_map(|rule| path(&rule.tests)).filter(|path| path.starts_with('~')).collect();
    if patterns.len() <= MAX_PATTERNS {
        return (rules, Vec::new());
    }
    let mut lines = Vec::new();
    for rule in rules.iter_mut().filter(|rule| !rule.refuses) {
        for literal in &mut rule.tests {
            if let Test::Path(path) = &mut literal.test
                && let Some(text) = beginning(path)
            {
                *path = text;
                lines.push(rule.line);
            }
        }
    }
    (rules, lines)
}

/// The routes that the rules become, the earlier of two with the same match first.
pub(super) fn routes(rules: &[Rule]) -> Vec<Rule> {
    let rules = patterns_first(rules);
    let all = || rules.iter().enumerate();
    let is_guard = |rule: &Rule| matches!(rule.target, Target::Guard(..));
    let mut found = answers(&all().filter(|(_, rule)| !is_guard(rule)).collect::<Vec<_>>());
    for (at, guard) in all().filter(|(_, rule)| is_guard(rule)) {
        found = guarded(found, guard, |place, _| place > at);
    }
    firsts(found.into_iter().map(|(_, rule)| rule))
}

/// Routes, where those of a guard's requests that `applies` is for have its key.
pub(super) fn guarded_where(routes: Vec<Rule>, guard: &Rule, applies: impl Fn(&Rule) -> bool) -> Vec<Rule> {
    let routes = routes.into_iter().map(|rule| (0, rule)).collect();
    firsts(guarded(routes, guard, |_, rule| applies(rule)).into_iter().map(|(_, rule)| rule))
}

/// The rules without those whose match an earlier one has.
fn firsts(rules: impl Iterator<Item = Rule>) -> Vec<Rule> {
    let mut kept: Vec<Rule> = Vec::new();
    for rule in rules {
        if !kept.iter().any(|known| same(&known.tests, &rule.tests)) {
            kept.push(rule);
        }
    }
    kept
}

/// Rules that are no guards as routes, each with the place of the rule that it goes where that leads. From the last rule on: one
/// more rule has the requests of the routes behind it that it meets, and would not go before by itself.
fn answers(rules: &[(usize, &Rule)]) -> Vec<(usize, Rule)> {
    // One without tests has all requests that are left.
    let end = rules.iter().position(|(_, rule)| rule.tests.is_empty()).map_or(rules.len(), |at| at + 1);
    let mut found: Vec<(usize, Rule)> = Vec::new();
    for (number, (at, rule)) in rules[..end].iter().enumerate().rev() {
        let mut own: Vec<(usize, Rule)> = Vec::new();
        for (_, later) in &found {
            let Some(tests) = within(rule, later).filter(|tests| !same(tests, &rule.tests)) else { continue };
            let is_first = || !rules[..number].iter().any(|(_, earlier)| is_between(earlier, rule, later));
            if !goes_before(&rule.tests, &later.tests, is_first) {
                own.push((*at, Rule { tests, ..(*rule).clone() }));
            }
        }
        own.push((*at, (*rule).clone()));
        if own.len() + found.len() > MAX_ROUTES {
            return in_pairs(&rules[..end]);
        }
        found.retain(|(_, later)| !own.iter().any(|(_, rule)| same(&rule.tests, &later.tests)));
        own.append(&mut found);
        found = own;
    }
    found
}

/// The same with the common parts of two rules alone, where all of them are too many.
fn in_pairs(rules: &[(usize, &Rule)]) -> Vec<(usize, Rule)> {
    let mut found: Vec<(usize, Rule)> = Vec::new();
    for (number, (at, rule)) in rules.iter().enumerate() {
        for (_, later) in &rules[number + 1..] {
            if found.len() >= MAX_ROUTES {
                return found;
            }
            if let Some(tests) = both(&rule.tests, &later.tests).filter(|tests| !same(tests, &rule.tests)) {
                found.push((*at, Rule { tests, ..(*rule).clone() }));
            }
        }
        found.push((*at, (*rule).clone()));
    }
    found
}

/// Whether a rule puts the expression of a route before that of another one, behind which the route stands.
fn is_between(earlier: &Rule, rule: &Rule, later: &Rule) -> bool {
    let keeps =
        |behind: &Rule| within(earlier, behind).is_some_and(|tests| path(&tests) == path(&behind.tests));
    let is_same = path(&earlier.tests) == path(&later.tests);
    is_same || keeps(later) && (!keeps(rule) || goes_before(&earlier.tests, &rule.tests, || true))
}

/// Whether a route goes before another one that stands behind it, for each request that meets both. `is_first`: whether its expression
/// does.
fn goes_before(one: &[Literal], other: &[Literal], is_first: impl FnOnce() -> bool) -> bool {
    let longer = |one: &str, other: &str| match one.len().cmp(&other.len()) {
        Ordering::Greater => Some(true),
        Ordering::Less => Some(false),
        Ordering::Equal => None,
    };
    let by_host = match (host(one), host(other)) {
        (Some(one), Some(other)) => match (one.starts_with('*'), other.starts_with('*')) {
            (false, true) => Some(true),
            (true, false) => Some(false),
            _ => longer(one, other),
        },
        (one, other) => (one.is_some() != other.is_some()).then_some(one.is_some()),
    };
    let own = |tests| path(tests).filter(|path| *path != "/");
    let rank = |path: &str| ["=", "/", "*", "~"].iter().position(|kind| path.starts_with(kind));
    let by_path = match (own(one), own(other)) {
        (Some(one), Some(other)) if one == other => None,
        (Some(one), Some(other)) => match (rank(one), rank(other)) {
            (first, second) if first != second => Some(first < second),
            (Some(3), _) => Some(is_first()),
            _ => longer(one, other),
        },
        (one, other) => (one.is_some() != other.is_some()).then_some(one.is_some()),
    };
    let has_method = |tests: &[Literal]| {
        tests.iter().any(|literal| !literal.negated && matches!(literal.test, Test::Method(_)))
    };
    let by_method = (has_method(one) != has_method(other)).then(|| has_method(one));
    by_host.or(by_path).or(by_method).unwrap_or_else(|| {
        match conditions(one).cmp(&conditions(other)) {
            Ordering::Greater => true,
            Ordering::Less => false,
            // The first of the file counts, unless all are plain.
            Ordering::Equal => !one.iter().chain(other).all(is_plain),
        }
    })
}

/// How many conditions tests have: those on fields, and others.
fn conditions(tests: &[Literal]) -> (usize, usize) {
    let is_condition = |literal: &&Literal| {
        literal.negated
            || !matches!(
                literal.test,
                Test::Host(_) | Test::Path(_) | Test::Method(_) | Test::Sni(_) | Test::Always
            )
    };
    let is_field =
        |literal: &Literal| !literal.negated && matches!(literal.test, Test::Value(Of::Header, ..));
    let fields = tests.iter().filter(|literal| is_field(literal)).count();
    (fields, tests.iter().filter(is_condition).count() - fields)
}

/// Whether a test is none of those of which the first of the file counts.
fn is_plain(literal: &Literal) -> bool {
    match &literal.test {
        Test::Host(_) | Test::Path(_) | Test::Method(_) | Test::Sni(_) => !literal.negated,
        Test::Value(_, _, Like::Is(_) | Like::Present) => !literal.negated,
        _ => false,
    }
}

/// The routes, where those of the guard's requests that it applies to have its key. A request may meet several guards.
fn guarded(
    routes: Vec<(usize, Rule)>,
    guard: &Rule,
    applies: impl Fn(usize, &Rule) -> bool,
) -> Vec<(usize, Rule)> {
    let Target::Guard(key, value) = &guard.target else { return routes };
    let mut found = Vec::with_capacity(routes.len());
    for (at, mut rule) in routes {
        let common = within(guard, &rule).filter(|_| applies(at, &rule));
        let with = |rule: &Rule| [&rule.guards[..], &[(*key, value.clone())]].concat();
        match common {
            Some(tests) if same(&tests, &rule.tests) => rule.guards = with(&rule),
            Some(tests) if found.len() < MAX_ROUTES => {
                found.push((at, Rule { tests, guards: with(&rule), line: guard.line, ..rule.clone() }));
            }
            // Too many routes: what keeps requests away holds for all that the route has.
            Some(_) => rule.guards = with(&rule),
            None => {}
        }
        found.push((at, rule));
    }
    found
}

/// The tests of requests that meet a rule and a route behind it. Of two expressions both stay, each a test of its own, so that the
/// route's own place among expressions holds.
fn within(rule: &Rule, behind: &Rule) -> Option<Conjunction> {
    let (Some(asked), Some(own)) = (path(&rule.tests), path(&behind.tests)) else {
        return both(&rule.tests, &behind.tests);
    };
    let is_nested = covers(asked, own) || covers(own, asked);
    match (shape(asked), shape(own)) {
        _ if is_nested => return both(&rule.tests, &behind.tests),
        (Shape::Other, Shape::Exact(_)) | (Shape::Exact(_), Shape::Other) => return None,
        (Shape::Other, _) | (_, Shape::Other) => {}
        _ => return None,
    }
    let also = |literal: &Literal| match &literal.test {
        Test::Path(path) if !literal.negated => {
            Literal { test: Test::AlsoPath(path.clone()), negated: false }
        }
        _ => literal.clone(),
    };
    both(&rule.tests.iter().map(also).collect::<Conjunction>(), &behind.tests)
}

/// The rules, with the paths of those behind a refusal by a regular expression as such, too: a prefix would go before it,
/// whatever their order, and expressions go by that.
fn patterns_first(rules: &[Rule]) -> Vec<Rule> {
    let is_pattern = |rule: &Rule| {
        path(&rule.tests).is_some_and(|path| path.starts_with('~') && matches!(shape(path), Shape::Other))
    };
    let first = rules.iter().position(|rule| rule.refuses && is_pattern(rule));
    let mut rules = rules.to_vec();
    for rule in rules.iter_mut().skip(first.map_or(usize::MAX, |first| first + 1)) {
        for literal in &mut rule.tests {
            let Test::Path(path) = &mut literal.test else { continue };
            *path = match path.strip_prefix('=') {
                Some(exact) => format!("~ ^{}$", escaped(exact)),
                None if path.starts_with('/') && path != "/" => format!("~ ^{}(/|$)", escaped(path)),
                None => continue,
            };
        }
    }
    rules
}

/// Text as a regular expression of itself.
pub(super) fn escaped(text: &str) -> String {
    // `\<` and `\>` are the bounds of a word.
    let plain = |one: char| {
        one.is_ascii_alphanumeric() || matches!(one, '/' | '_' | '-' | '<' | '>') || !one.is_ascii()
    };
    text.chars().flat_map(|one| if plain(one) { vec![one] } else { vec!['\\', one] }).collect()
}

/// Whether a rule's requests all match an earlier one.
pub(super) fn is_unreachable(rules: &[Rule], at: usize) -> bool {
    let covers = |earlier: &Rule| {
        !matches!(earlier.target, Target::Guard(..))
            && both(&earlier.tests, &rules[at].tests).is_some_and(|tests| same(&tests, &rules[at].tests))
    };
    rules[..at].iter().any(covers)
}

fn same(one: &[Literal], other: &[Literal]) -> bool {
    one.len() == other.len() && one.iter().all(|literal| other.contains(literal))
}

fn host(tests: &[Literal]) -> Option<&str> {
    tests.iter().filter(|literal| !literal.negated).find_map(|literal| match &literal.test {
        Test::Host(host) => Some(host.as_str()),
        _ => None,
    })
}

fn path(tests: &[Literal]) -> Option<&str> {
    tests.iter().filter(|literal| !literal.negated).find_map(|literal| match &literal.test {
        Test::Path(path) => Some(path.as_str()),
        _ => None,
    })
}

/// The tests of requests that match both; `None`: there are none, or they can't be written.
fn both(one: &[Literal], other: &[Literal]) -> Option<Conjunction> {
    let mut all: Conjunction = Vec::new();
    let hosts = match (host(one), host(other)) {
        (Some(one), Some(other)) => Some(common_host(one, other)?.to_owned()),
        (one, other) => one.or(other).map(str::to_owned),
    };
    let paths = match (path(one), path(other)) {
        (Some(one), Some(other)) => Some(common_path(one, other)?.to_owned()),
        (one, other) => one.or(other).map(str::to_owned),
    };
    all.extend(hosts.map(|host| Literal { test: Test::Host(host), negated: false }));
    all.extend(paths.map(|path| Literal { test: Test::Path(path), negated: false }));
    for literal in one.iter().chain(other) {
        let is_place = matches!(literal.test, Test::Host(_) | Test::Path(_)) && !literal.negated;
        if is_place || all.contains(literal) {
            continue;
        }
        let negated = |known: &Literal| known.negated || literal.negated;
        let contradicts = |known: &Literal| match (&known.test, &literal.test) {
            (Test::Method(_), Test::Method(_)) | (Test::Sni(_), Test::Sni(_)) => true,
            (Test::Value(of, name, Like::Is(_)), Test::Value(other, same, Like::Is(_))) => {
                of == other && of.is_same(name, same)
            }
            (Test::Map(name, one), Test::Map(other, two)) => {
                let is_value = |text: &str| text.starts_with("{ value = ");
                name == other && one != two && is_value(one) && is_value(two)
            }
            (known, test) => known == test,
        };
        let contradicts = |known: &Literal| match negated(known) {
            true => known.test == literal.test && known.negated != literal.negated,
            false => contradicts(known),
        };
        if all.iter().any(contradicts) {
            return None;
        }
        all.push(literal.clone());
    }
    Some(all)
}

fn common_host<'h>(one: &'h str, other: &'h str) -> Option<&'h str> {
    let within = |name: &str, pattern: &str| {
        pattern.strip_prefix('*').is_some_and(|suffix| name.ends_with(suffix) && name.len() > suffix.len())
    };
    match () {
        () if one == other || within(one, other) => Some(one),
        () if within(other, one) => Some(other),
        () => None,
    }
}

/// The narrower of two paths of which one contains the other.
fn common_path<'p>(one: &'p str, other: &'p str) -> Option<&'p str> {
    let is_known = |path: &str| !matches!(shape(path), Shape::Other);
    match () {
        () if covers(other, one) => Some(one),
        () if covers(one, other) => Some(other),
        () if is_known(one) && is_known(other) => None,
        // What the earlier one has is its, whatever the later one matches.
        () if one.starts_with('~') && other.starts_with('~') => Some(one),
        () => None,
    }
}

/// What a path begins with that an expression of nothing else matches.
pub(super) fn beginning(path: &str) -> Option<String> {
    match values::simple(path.strip_prefix("~ ")?) {
        Some(Simple::Prefix(text)) => Some(text),
        _ => None,
    }
}

/// Which paths one of Ringate's matches, whether it is an expression or not.
enum Shape {
    /// This one.
    Exact(String),
    /// This one and those below it.
    Part(String),
    /// Those that begin with this text.
    Begin(String),
    /// Others.
    Other,
}

fn shape(path: &str) -> Shape {
    if let Some(exact) = path.strip_prefix('=') {
        return Shape::Exact(exact.to_owned());
    }
    let Some(regex) = path.strip_prefix("~ ") else {
        let is_path = path.starts_with('/');
        return if is_path { Shape::Part(path.trim_end_matches('/').to_owned()) } else { Shape::Other };
    };
    let part = regex.strip_prefix('^').and_then(|rest| rest.strip_suffix("(/|$)"));
    if let Some(part) = part.and_then(values::literal) {
        return Shape::Part(part);
    }
    match values::simple(regex) {
        Some(Simple::Exact(text)) => Shape::Exact(text),
        Some(Simple::Prefix(text)) => Shape::Begin(text),
        None => Shape::Other,
    }
}

/// Whether all paths that `path` matches match `outer`, too.
fn covers(outer: &str, path: &str) -> bool {
    use Shape::{Begin, Exact, Other, Part};
    if outer == path || outer == "/" {
        return true;
    }
    match (shape(outer), shape(path)) {
        (Exact(outer), Exact(path)) => outer == path,
        (Part(outer), Exact(path) | Part(path)) => {
            path.strip_prefix(&outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        (Part(outer), Begin(path)) => path.strip_prefix(&outer).is_some_and(|rest| rest.starts_with('/')),
        (Begin(outer), Exact(path) | Part(path) | Begin(path)) => path.starts_with(&outer),
        (Other, Exact(path)) => {
            let regex = outer.strip_prefix("~ ").and_then(|regex| regex::Regex::new(regex).ok());
            regex.is_some_and(|regex| regex.is_match(&path))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Report;
    use super::*;

    fn rule(tests: Vec<Test>, to: &str) -> Rule {
        let line = Report::default().line("f", 1, "x");
        let tests = tests.into_iter().map(|test| Literal { test, negated: false }).collect();
        Rule { tests, target: Target::Backend(to.to_owned()), guards: Vec::new(), refuses: false, line }
    }

    fn of(rules: &[Rule]) -> Vec<String> {
        let shown = |rule: &Rule| {
            let to = match &rule.target {
                Target::Backend(name) => name.clone(),
                other => format!("{other:?}"),
            };
            let guard = if rule.guards.is_empty() { "" } else { " guarded" };
            format!("{}{} {to}{guard}", host(&rule.tests).unwrap_or("*"), path(&rule.tests).unwrap_or("/"))
        };
        routes(rules).iter().map(shown).collect()
    }

    #[test]
    fn an_earlier_path_goes_before_a_later_host() {
        let (path, host) = (Test::Path("/api".into()), Test::Host("a.example".into()));
        let rules = [rule(vec![path], "api"), rule(vec![host], "a"), rule(vec![], "rest")];
        assert_eq!(of(&rules), ["a.example/api api", "*/api api", "a.example/ a", "*/ rest"]);
        assert!(!is_unreachable(&rules, 1));
    }

    #[test]
    fn what_an_earlier_rule_has_is_never_reached() {
        let rules =
            [rule(vec![Test::Path("/a".into())], "one"), rule(vec![Test::Path("/a/b".into())], "two")];
        assert!(is_unreachable(&rules, 1));
        assert_eq!(of(&rules), ["*/a/b one", "*/a one"]);
    }

    #[test]
    fn a_refusal_by_an_expression_goes_before_paths_behind_it() {
        let mut refusal = rule(vec![Test::Path("~ \\.php$".into())], "no");
        refusal.refuses = true;
        let api = vec![Test::Host("a.example".into()), Test::Path("/api".into())];
        let rules = [
            rule(vec![Test::Path("/first".into())], "first"),
            refusal,
            rule(api, "api"),
            rule(vec![], "rest"),
        ];
        assert_eq!(
            of(&rules),
            [
                "*/first first",
                "a.example~ ^/api(/|$) no",
                "*~ \\.php$ no",
                "a.example~ ^/api(/|$) api",
                "*/ rest"
            ]
        );
    }

    #[test]
    fn beginnings_of_paths_have_what_lies_within_them() {
        for (one, other, common) in [
            ("~ ^/api", "/api/v1", Some("/api/v1")),
            ("/api/v1", "~ ^/api", Some("/api/v1")),
            ("~ ^/api", "=/apis", Some("=/apis")),
            ("~ ^/api", "/api", Some("/api")),
            ("/api", "~ ^/api", Some("/api")),
            ("~ ^/apis", "/api", None),
            ("~ ^/api/x", "/api", Some("~ ^/api/x")),
            ("~ ^/api", "~ ^/apis", Some("~ ^/apis")),
            ("~ ^/a", "~ ^/b", None),
            ("~ \\.png$", "~ ^/b", Some("~ \\.png$")),
            ("~ \\.png$", "=/a.png", Some("=/a.png")),
            ("~ \\.png$", "=/a.gif", None),
            ("~ \\.png$", "/b", None),
            ("~ ^/a", "~ ^/b$", None),
            ("~ ^/a", "~ ^/ab$", Some("~ ^/ab$")),
            ("~ ^/a(/|$)", "~ ^/ab", None),
            ("~ ^/a(/|$)", "=/a", Some("=/a")),
            ("=/a", "~ ^/a$", Some("=/a")),
        ] {
            assert_eq!(common_path(one, other), common, "{one} {other}");
        }
    }

    #[test]
    fn what_three_rules_have_goes_where_the_first_leads() {
        let field = |name: &str| Test::Value(Of::Header, name.into(), Like::Is("1".into()));
        let path = || Test::Path("~ ^/dom".into());
        // The path goes before fields.
        let rules = [rule(vec![path()], "dom"), rule(vec![field("a")], "a"), rule(vec![field("b")], "b")];
        let all = routes(&rules);
        let to = |target: &str| all.iter().filter(|it| it.target == Target::Backend(target.into())).count();
        assert_eq!((all.len(), to("dom"), to("a"), to("b")), (4, 1, 2, 1));
        // All sets of fields, since each has more of them than a rule.
        let rules = ["a", "b", "c"].map(|name| rule(vec![field(name)], name));
        let all = routes(&rules);
        let to = |target: &str| all.iter().filter(|it| it.target == Target::Backend(target.into())).count();
        assert_eq!((to("a"), to("b"), to("c")), (4, 2, 1));
        // Of patterns, the first of the file counts.
        let begins = |name: &str| Test::Value(Of::Header, name.into(), Like::By("prefix", "1".into()));
        assert_eq!(routes(&["a", "b", "c"].map(|name| rule(vec![begins(name)], name))).len(), 3);
    }

    #[test]
    fn opposite_tests_contradict_and_others_do_not() {
        let literal = |method: &str, negated| Literal { test: Test::Method(method.into()), negated };
        assert_eq!(both(&[literal("GET", true)], &[literal("GET", false)]), None);
        assert_eq!(both(&[literal("GET", true)], &[literal("PUT", false)]).map(|all| all.len()), Some(2));
        assert_eq!(both(&[literal("GET", false)], &[literal("PUT", false)]), None);
    }

    #[test]
    fn a_guard_by_an_expression_leaves_paths_their_destinations() {
        let mut guard = rule(vec![Test::Path("~ \\.php$".into())], "");
        guard.target = Target::Guard("allow", "[]".into());
        let under = |path: &str| rule(vec![Test::Path(path.into())], "b");
        for (path, also) in [("~ ^/b", true), ("/b", true), ("=/b/x.php", false)] {
            let tests = within(&guard, &under(path)).expect("common requests");
            let asked = Literal { test: Test::AlsoPath("~ \\.php$".into()), negated: false };
            assert_eq!((tests.contains(&asked), super::path(&tests)), (also, Some(path)));
        }
        assert_eq!(within(&guard, &under("=/b/x")), None);
        let all =
            guarded_where(vec![under("/b"), rule(vec![], "rest")], &guard, |rule| rule.tests.is_empty());
        assert_eq!(all.iter().map(|rule| rule.guards.len()).collect::<Vec<_>>(), [0, 1, 0]);
    }

    #[test]
    fn a_guard_leads_where_later_rules_do() {
        let mut guard = rule(vec![Test::Path("/admin".into())], "");
        guard.target = Target::Guard("allow", "[\"10.0.0.0/8\"]".into());
        let rules = [guard, rule(vec![Test::Host("a.example".into())], "a"), rule(vec![], "rest")];
        assert_eq!(
            of(&rules),
            ["a.example/admin a guarded", "a.example/ a", "*/admin rest guarded", "*/ rest"]
        );
    }
}
