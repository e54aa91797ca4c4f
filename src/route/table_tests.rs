//! Which route a request gets.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

/// `HOST/PATH` or `HOST=/PATH`, then methods: a route as one line. `-` for any host, `*.` for wildcards.
fn spec(line: &str, id: usize) -> RouteSpec {
    let mut words = line.split(' ');
    let pattern = words.next().unwrap();
    let slash = pattern.find(['/', '=']).unwrap();
    let (host, path) = pattern.split_at(slash);
    let host = match host.strip_prefix("*.") {
        _ if host == "-" => None,
        Some(parent) => Some(HostPattern::Wildcard(parent.into())),
        None => Some(HostPattern::Exact(host.into())),
    };
    let path = match path.strip_prefix('=') {
        Some(path) => PathPattern::Exact(path.into()),
        None => PathPattern::Prefix(path.into()),
    };
    let methods: Vec<String> = words.map(str::to_owned).collect();
    let methods = Some(methods).filter(|methods| !methods.is_empty());
    RouteSpec { host, path, methods, conditions: Vec::new(), id }
}

fn find(table: &Table, host: Option<&str>, target: &str, method: &str) -> Match {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    table.find(&RouteQuery { host, path, query, method, client: "", headers: &[], announced: None })
}

fn build(lines: &[&str]) -> Result<Table, BuildError> {
    Table::build(lines.iter().enumerate().map(|(id, line)| spec(line, id)))
}

/// The line of the route that a GET gets, or else the status.
fn get<'l>(lines: &[&'l str], host: &str, path: &str) -> &'l str {
    ask(lines, host, path, "GET")
}

fn ask<'l>(lines: &[&'l str], host: &str, path: &str, method: &str) -> &'l str {
    match find(&build(lines).unwrap(), Some(host), path, method) {
        Match::Route(id) => lines[id],
        Match::MethodNotAllowed { .. } => "405",
        Match::NotFound => "404",
    }
}

#[test]
fn the_most_specific_host_wins_whatever_the_order() {
    let mut lines = ["-/", "*.example.com/", "*.b.example.com/", "a.b.example.com/"];
    for _ in 0..2 {
        for (host, line) in [
            ("a.b.example.com", "a.b.example.com/"),
            ("A.b.Example.COM.:8443", "a.b.example.com/"),
            ("x.b.example.com", "*.b.example.com/"),
            ("y.x.b.example.com", "*.b.example.com/"),
            ("b.example.com", "*.example.com/"),
            ("xb.example.com", "*.example.com/"),
            ("example.com", "-/"),
            ("xexample.com", "-/"),
            ("example.com.evil", "-/"),
            ("[::1]:80", "-/"),
        ] {
            assert_eq!(get(&lines, host, "/"), line, "{host}");
        }
        lines.reverse();
    }
}

#[test]
fn hosts_are_compared_without_case_port_and_final_dot() {
    let lines = ["EXAMPLE.com./", "[2001:DB8::1]/"];
    for host in ["example.com", "Example.Com", "example.com.", "example.com:80", "EXAMPLE.COM.:80"] {
        assert_eq!(get(&lines, host, "/"), lines[0], "{host}");
    }
    for host in ["[2001:db8::1]", "[2001:DB8::1]:443"] {
        assert_eq!(get(&lines, host, "/"), lines[1], "{host}");
    }
    for host in ["", ".", ":", "[", "[]", "example.com..", "www.example.com", &"A".repeat(300)] {
        assert_eq!(get(&lines, host, "/"), "404", "{host}");
    }
    assert_eq!(find(&build(&lines).unwrap(), None, "/", "GET"), Match::NotFound);
    assert_eq!(find(&build(&["-/"]).unwrap(), None, "/", "GET"), Match::Route(0));
}

#[test]
fn the_most_specific_path_wins_whatever_the_order() {
    let mut lines = ["-/", "-/orders", "-/orders/new", "-=/orders", "-=/orders/new/"];
    for _ in 0..2 {
        for (path, line) in [
            ("/", "-/"),
            ("/orders", "-=/orders"),
            ("/orders?x", "-=/orders"),
            ("/orders/", "-/orders"),
            ("/orders/?x", "-/orders"),
            ("/orders/1", "-/orders"),
            ("/orders/1/2/3", "-/orders"),
            ("/orders/new", "-/orders/new"),
            ("/orders/new/", "-=/orders/new/"),
            ("/orders/new/x", "-/orders/new"),
            ("/orders/newer", "-/orders"),
            ("/ordersx", "-/"),
            ("/ordersx/new", "-/"),
            ("/Orders", "-/"),
            ("/x/orders", "-/"),
            ("/order", "-/"),
            ("*", "-/"),
        ] {
            assert_eq!(get(&lines, "a", path), line, "{path}");
        }
        lines.reverse();
    }
}

#[test]
fn prefixes_end_at_segments_with_or_without_a_slash() {
    assert_eq!(get(&["-/a/"], "h", "/a"), "-/a/");
    assert_eq!(get(&["-/a/"], "h", "/a/b"), "-/a/");
    assert_eq!(get(&["-/a"], "h", "/ab"), "404");
    assert_eq!(get(&["-/a"], "h", "/"), "404");
    assert_eq!(get(&["-=*"], "h", "*"), "-=*");
    assert_eq!(get(&["-=/a"], "h", "/a/"), "404");
    assert_eq!(get(&["-/ä"], "h", "/äx"), "404");
}

#[test]
fn a_method_that_is_listed_comes_before_any() {
    let lines = ["-/", "-/a", "-/a GET POST", "-/b PUT", "-=/b/c DELETE"];
    for (method, path, line) in [
        ("GET", "/a", "-/a GET POST"),
        ("PUT", "/a", "-/a"),
        ("get", "/a", "-/a"),
        ("PUT", "/b/c", "-/b PUT"),
        ("DELETE", "/b/c", "-=/b/c DELETE"),
        ("GET", "/b/c", "-/"),
    ] {
        assert_eq!(ask(&lines, "h", path, method), line, "{method} {path}");
    }
}

#[test]
fn a_method_that_no_route_takes_is_told_which_ones_are() {
    let table = build(&["a/x PUT GET", "-=/x/y DELETE GET", "b/ PATCH"]).unwrap();
    let allow = |list: &str| Match::MethodNotAllowed { allow: list.into() };
    assert_eq!(find(&table, Some("a"), "/x", "POST"), allow("GET, PUT"));
    assert_eq!(find(&table, Some("a"), "/x/y", "POST"), allow("DELETE, GET, PUT"));
    assert_eq!(find(&table, Some("c"), "/x/y", "POST"), allow("DELETE, GET"));
    assert_eq!(find(&table, Some("c"), "/x", "POST"), Match::NotFound);
}

#[test]
fn a_host_without_a_route_for_the_path_falls_back() {
    let lines = ["a.example.com/x", "*.example.com/y", "-/z", "a.example.com/y POST"];
    for (path, line) in [("/x", lines[0]), ("/y", lines[1]), ("/z", lines[2]), ("/q", "404")] {
        assert_eq!(get(&lines, "a.example.com", path), line, "{path}");
    }
}

#[test]
fn two_routes_for_the_same_requests_are_a_conflict() {
    for lines in [
        &["-/a", "-/b", "-/a"][..],
        &["-/a", "-/b", "-/a/"],
        &["A.b/", "-/b", "a.B./"],
        &["*.a/", "-/b", "*.A/"],
        &["-=/a GET", "-/b", "-=/a PUT GET"],
    ] {
        assert_eq!(build(lines).err(), Some(BuildError::Conflict { first: 0, second: 2 }), "{lines:?}");
    }
    let apart = ["-/a", "-=/a", "-=/a/", "-/a GET GET", "-/a PUT", "x/a", "*.x/a"];
    assert_eq!(build(&apart).err(), None);
}

#[test]
fn routes_that_never_match_are_refused() {
    for line in ["-/a//b", "-/a/../b", "-/%41", "-/a?b", "-=/%c3", "-/%2f"] {
        assert_eq!(build(&[line]).err(), Some(BuildError::NeverMatches { id: 0 }), "{line}");
    }
    for (path, methods) in
        [(PathPattern::Prefix("a".into()), None), (PathPattern::Prefix("/".into()), Some(vec![]))]
    {
        let spec = RouteSpec { host: None, path, methods, conditions: Vec::new(), id: 7 };
        assert_eq!(Table::build([spec]).err(), Some(BuildError::NeverMatches { id: 7 }));
    }
}

/// How well a route matches, by the rules and a look at each route; `None`: not at all.
fn rank(spec: &RouteSpec, host: &str, path: &str, method: &str) -> Option<(usize, usize, bool)> {
    let by_host = match &spec.host {
        None => 0,
        Some(HostPattern::Wildcard(parent)) => {
            host.strip_suffix(parent.as_str())?.strip_suffix('.')?.len().max(1)
        }
        Some(HostPattern::Exact(name)) => (name == host).then_some(usize::MAX)?,
    };
    // The longer the wildcard, the less of the host is left before it.
    let by_host = if matches!(spec.host, Some(HostPattern::Wildcard(_))) { 1000 - by_host } else { by_host };
    let by_path = match &spec.path {
        PathPattern::Exact(exact) => (exact == path).then_some(usize::MAX)?,
        PathPattern::Prefix(prefix) => {
            let prefix = prefix.trim_end_matches('/');
            let rest = path.strip_prefix(prefix)?;
            (rest.is_empty() || rest.starts_with('/')).then_some(prefix.len())?
        }
        PathPattern::Suffix(_) | PathPattern::Regex(_) => unreachable!("none is made"),
    };
    let by_method = match &spec.methods {
        None => false,
        Some(methods) => methods.iter().any(|name| name == method).then_some(true)?,
    };
    Some((by_host, by_path, by_method))
}

proptest! {
    #[test]
    fn what_is_found_is_what_a_look_at_each_route_finds(
        lines in prop::collection::vec(
            ("(-|(\\*\\.)?[ab](\\.[ab]){0,2})", "=?(/[ab]{1,2}){1,3}/?", select(vec!["", " GET", " PUT", " GET PUT"])),
            1..12,
        ),
        requests in prop::collection::vec(("[ab](\\.[ab]){0,3}", "(/[ab]{1,2}){0,4}/?", select(vec!["GET", "PUT", "X"])), 10),
        order in prop::collection::vec(any::<Index>(), 12),
    ) {
        let specs = lines.iter().enumerate().map(|(id, (host, path, methods))| spec(&format!("{host}{path}{methods}"), id));
        // Those that conflict with earlier ones are left out.
        let mut specs = specs.fold(Vec::new(), |mut kept: Vec<RouteSpec>, spec| {
            kept.push(spec);
            if Table::build(kept.clone()).is_err() { kept.pop(); }
            kept
        });
        for (at, index) in order.iter().enumerate().take(specs.len()) {
            let other = index.index(specs.len());
            specs.swap(at, other);
        }
        let table = Table::build(specs.clone()).unwrap();
        for (host, path, method) in &requests {
            let best = specs.iter().filter_map(|spec| Some((rank(spec, host, path, method)?, spec.id))).max();
            let found = match find(&table, Some(host), path, method) {
                Match::Route(id) => Some(id),
                _ => None,
            };
            prop_assert_eq!(found, best.map(|(_, id)| id), "{} {} {}", method, host, path);
        }
    }
}

#[test]
fn suffixes_and_regular_expressions_stand_between_prefixes_and_the_root() {
    let path =
        |path: PathPattern, id| RouteSpec { host: None, path, methods: None, conditions: Vec::new(), id };
    let regex = |text: &str| PathPattern::Regex(crate::route::Pattern::new(text, false).unwrap());
    let specs = vec![
        path(PathPattern::Prefix("/".into()), 0),
        path(PathPattern::Prefix("/guarded".into()), 1),
        path(PathPattern::Exact("/v1/x.png".into()), 2),
        path(PathPattern::Suffix(".png".into()), 3),
        path(PathPattern::Suffix("/a.png".into()), 4),
        path(regex("^/v[0-9]+/"), 5),
        path(regex("^/v1/"), 6),
    ];
    let table = Table::build(specs.clone()).unwrap();
    for (target, id) in [
        ("/guarded/v1/x.png", 1),
        ("/v1/x.png", 2),
        ("/v1/y.png", 3),
        ("/v1/a.png", 4),
        ("/v1/y", 5),
        ("/x/v1/y", 0),
        ("/", 0),
    ] {
        assert_eq!(find(&table, None, target, "GET"), Match::Route(id), "{target}");
    }
    for id in [3, 5] {
        let twice = specs.iter().cloned().chain([RouteSpec { id: 7, ..specs[id].clone() }]);
        assert_eq!(Table::build(twice).err(), Some(BuildError::Conflict { first: id, second: 7 }));
    }
    let many = (0..=MAX_PATTERN_ROUTES).map(|id| path(regex(&format!("^/{id}$")), id));
    assert_eq!(Table::build(many).err(), Some(BuildError::TooManyPatterns { id: MAX_PATTERN_ROUTES }));
    // Without a route for all the rest.
    let table = Table::build([path(PathPattern::Suffix(".js".into()), 0)]).unwrap();
    assert_eq!(find(&table, None, "/a.js", "GET"), Match::Route(0));
    assert_eq!(find(&table, None, "/a", "GET"), Match::NotFound);
}
