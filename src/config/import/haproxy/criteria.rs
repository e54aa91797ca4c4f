//! Criteria of ACLs and conditions with their flags and values.

use super::super::draft::quoted;
use super::super::expressions;
use super::super::values::{self, Simple};
use super::conditions::{Alternatives, Files, Like, MAX_ALTERNATIVES, Of, Test};
use super::maps::{Listed, LookedUp, from_of, looked_up};
use super::rules::escaped;

/// Flags and values of a criterion.
#[derive(Default)]
struct Flagged<'w> {
    values: Vec<&'w str>,
    method: Option<&'w str>,
    fold: bool,
}

fn flagged<'w>(words: &[&'w str], files: &'w Files) -> Result<Flagged<'w>, String> {
    let mut found = Flagged::default();
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        match word {
            "-i" => found.fold = true,
            "-m" => found.method = words.next(),
            "-f" => {
                let file = words.next().unwrap_or_default();
                let listed =
                    files.get(file).ok_or_else(|| format!("the patterns of {file} could not be read"))?;
                found.values.extend(listed.iter().map(String::as_str));
            }
            "-M" | "-n" | "-u" | "--" => {}
            value => found.values.push(value),
        }
    }
    Ok(found)
}

/// A criterion with its flags and values.
pub(super) fn test(words: &[&str], files: &Files) -> Result<Alternatives, String> {
    let Some((criterion, rest)) = words.split_first() else { return Err("a test is missing".to_owned()) };
    let Flagged { values, method, mut fold } = flagged(rest, files)?;
    let folded = criterion.strip_suffix(",lower");
    fold |= folded.is_some();
    let criterion = folded.unwrap_or(criterion);
    let (name, argument) = match criterion.split_once('(') {
        Some((name, rest)) => (name, rest.trim_end_matches(')').split(',').next().unwrap_or_default()),
        None => (criterion, ""),
    };
    let (name, method) = match name.rsplit_once('_') {
        // `path_beg` is `path -m beg`.
        Some((base, suffix @ ("beg" | "end" | "reg" | "sub" | "dir" | "dom" | "len" | "cnt")))
            if method.is_none() =>
        {
            (base, Some(suffix))
        }
        _ => (name, method),
    };
    let each = |make: &dyn Fn(&str) -> Result<Test, String>| values.iter().map(|value| make(value)).collect();
    let unknown = || Err(format!("{criterion} is nothing that a route can ask"));
    if let Some(sample) = looked_up(criterion) {
        return of_map(&sample, method, &values, fold).unwrap_or_else(unknown);
    }
    // More values than a condition may have alternatives stand in a map.
    if values.len() > MAX_ALTERNATIVES && name != "src" {
        let sample = if argument.is_empty() { name.to_owned() } else { format!("{name}({argument})") };
        let from = from_of(&sample).ok_or_else(|| format!("{criterion} has too many values"))?;
        return listed(&from, method, &values, fold);
    }
    match (name, argument) {
        ("path", "") => each(&|value| {
            path(method.unwrap_or("str"), value, fold)
                .ok_or_else(|| format!("{criterion} {value} is no path or prefix"))
        }),
        // The query is a part of it.
        ("capture.req.uri" | "url", "") => each(&|value| match method {
            Some("beg") if value.starts_with('/') && !value.contains('?') => {
                path("beg", value, fold).ok_or_else(|| format!("{criterion} {value} is no prefix"))
            }
            method => one_listed("{request.target}", method, value, fold),
        }),
        ("hdr" | "req.hdr" | "req.fhdr" | "fhdr", field) if field.eq_ignore_ascii_case("host") => {
            each(&|value| match method {
                Some("dom") => Ok(Test::Domain(value.to_ascii_lowercase())),
                method => match host(method.unwrap_or("str"), value) {
                    Some(test) => Ok(test),
                    None => one_listed("{request.host}", method, value, true),
                },
            })
        }
        ("hdr" | "req.hdr" | "req.fhdr" | "fhdr", field) if !field.is_empty() => match method {
            Some("cnt") if values == ["gt", "0"] || values == ["ge", "1"] => {
                Ok(vec![Test::Value(Of::Header, field.to_owned(), Like::Present)])
            }
            _ => named(Of::Header, field, method, &values, fold).unwrap_or_else(unknown),
        },
        ("url_param" | "urlp", field) if !field.is_empty() => {
            named(Of::Query, field, method, &values, fold).unwrap_or_else(unknown)
        }
        ("req.cook" | "cook", name) if !name.is_empty() => {
            named(Of::Cookie, name, method, &values, fold).unwrap_or_else(unknown)
        }
        ("http_auth", list) => Ok(vec![Test::Login(list.to_owned(), Vec::new())]),
        ("http_auth_group", list) if !values.is_empty() => {
            Ok(vec![Test::Login(list.to_owned(), values.iter().map(ToString::to_string).collect())])
        }
        ("method" | "capture.req.method", "") => each(&|value| Ok(Test::Method(value.to_owned()))),
        ("status", "") => statuses(&values),
        ("src", "") if method.is_none() || method == Some("ip") => {
            Ok(vec![Test::Source(values.iter().map(|value| (*value).to_owned()).collect())])
        }
        _ => match of_connection(name, method, &values) {
            Some(tests) => tests,
            None => unknown(),
        },
    }
}

/// `404`, `500:599`, `ge 500`: statuses that responses may have.
fn statuses(values: &[&str]) -> Result<Alternatives, String> {
    let wrong = |value: &str| format!("status {value} is none from 200 to 599");
    let (mut operator, mut found) = ("eq", Alternatives::new());
    for value in values {
        if matches!(*value, "eq" | "ge" | "gt" | "le" | "lt") {
            operator = value;
            continue;
        }
        let number = |text: &str| text.parse::<u16>().map_err(|_| wrong(value));
        let (first, last) = match (operator, value.split_once(':')) {
            ("eq", Some((first, ""))) => (number(first)?, u16::MAX),
            ("eq", Some(("", last))) => (0, number(last)?),
            ("eq", Some((first, last))) => (number(first)?, number(last)?),
            ("ge", None) => (number(value)?, u16::MAX),
            ("gt", None) => (number(value)?.saturating_add(1), u16::MAX),
            ("le", None) => (0, number(value)?),
            ("lt", None) => (0, number(value)?.saturating_sub(1)),
            (_, None) => (number(value)?, number(value)?),
            _ => return Err(wrong(value)),
        };
        let (first, last) = (first.max(200), last.min(599));
        if first > last {
            return Err(wrong(value));
        }
        found.push(Test::Status(first, last));
    }
    Ok(found)
}

/// Whether words compare a host with its port.
pub(super) fn has_port(words: &[&str]) -> bool {
    let is_host = |word: &str| {
        let word = word.to_ascii_lowercase();
        ["hdr(host)", "req.hdr(host)", "req.fhdr(host)"].contains(&word.as_str())
    };
    let is_ported = |word: &&str| word.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let mut within = words.split(|word| matches!(*word, "{" | "}" | "!{"));
    within.any(|words| words.first().is_some_and(|word| is_host(word)) && words.iter().any(is_ported))
}

/// A test of what a file has for a sample.
fn of_map(
    sample: &LookedUp,
    method: Option<&str>,
    values: &[&str],
    fold: bool,
) -> Option<Result<Alternatives, String>> {
    let test = |expected: String| Test::LookedUp(sample.clone(), expected);
    let each =
        |make: &dyn Fn(&str) -> String| Some(Ok(values.iter().map(|value| test(make(value))).collect()));
    let regex = |text: String| format!("{{ regex = {} }}", quoted(&format!("(?i){text}")));
    match method {
        Some("found") if sample.default.is_empty() => Some(Ok(vec![test("{ present = true }".to_owned())])),
        // What is not in the file has a value as well.
        Some("found") => Some(Ok(vec![Test::Always])),
        None | Some("str") if fold => each(&|value| regex(format!("^{}$", escaped(value)))),
        None | Some("str") => each(&|value| format!("{{ value = {} }}", quoted(value))),
        Some("beg") if !fold => each(&|value| format!("{{ prefix = {} }}", quoted(value))),
        Some("end") if !fold => each(&|value| format!("{{ suffix = {} }}", quoted(value))),
        Some("sub") if !fold => each(&|value| format!("{{ contains = {} }}", quoted(value))),
        _ => None,
    }
}

/// Tests of a value that has a name. `None`: this kind of comparison is not known.
fn named(
    of: Of,
    name: &str,
    method: Option<&str>,
    values: &[&str],
    fold: bool,
) -> Option<Result<Alternatives, String>> {
    let each = |value: &&str| {
        let like = match method {
            None | Some("str") if !fold => Some(Like::Is((*value).to_owned())),
            method => like(method.unwrap_or("str"), value, fold),
        };
        let like = like.ok_or_else(|| format!("{name} {value} is no expression of Ringate's"))?;
        Ok(Test::Value(of, name.to_owned(), like))
    };
    match method {
        Some("found") => Some(Ok(vec![Test::Value(of, name.to_owned(), Like::Present)])),
        None | Some("str" | "beg" | "end" | "sub" | "reg") => Some(values.iter().map(each).collect()),
        _ => None,
    }
}

/// A value that is not compared whole, or without regard to case.
fn like(method: &str, value: &str, fold: bool) -> Option<Like> {
    let plain = match method {
        "beg" => Some("prefix"),
        "end" => Some("suffix"),
        "sub" => Some("contains"),
        _ => None,
    };
    if let Some(key) = plain.filter(|_| !fold && !value.is_empty()) {
        return Some(Like::By(key, value.to_owned()));
    }
    let literal = escaped(value);
    let regex = match method {
        "beg" => format!("^{literal}"),
        "end" => format!("{literal}$"),
        "sub" => literal,
        "reg" => value.to_owned(),
        _ => format!("^{literal}$"),
    };
    let regex = format!("{}{regex}", if fold { "(?i)" } else { "" });
    expressions::same(&regex).map(|regex| Like::By("regex", regex))
}

/// Tests of the client's connection and of its counters.
fn of_connection(name: &str, method: Option<&str>, values: &[&str]) -> Option<Result<Alternatives, String>> {
    Some(Ok(vec![match name {
        "ssl_fc" => Test::Tls,
        "ssl_c_used" => Test::Certificate,
        "ssl_c_verify" if values == ["0"] => Test::Certificate,
        "req_ssl_sni" | "req.ssl_sni" | "ssl_fc_sni" => {
            let test = if name == "ssl_fc_sni" { Test::ServerName } else { Test::Sni };
            let names: Option<Alternatives> = match method {
                None | Some("str") => {
                    Some(values.iter().map(|value| test(value.to_ascii_lowercase())).collect())
                }
                Some("end") => {
                    values.iter().map(|value| Some(test(format!("*.{}", value.strip_prefix('.')?)))).collect()
                }
                _ => None,
            };
            return Some(names.ok_or_else(|| "a server name is whole, or ends at a dot".to_owned()));
        }
        "sc_http_req_rate" | "sc0_http_req_rate" | "src_http_req_rate" => Test::Rate(more_than(values)?),
        "sc_conn_cur" | "sc0_conn_cur" | "src_conn_cur" => Test::Connections(more_than(values)?),
        "always_true" => Test::Always,
        _ => return None,
    }]))
}

/// `gt N`, `ge N`.
fn more_than(values: &[&str]) -> Option<u64> {
    match values {
        ["gt", most] => most.parse().ok(),
        ["ge", most] => most.parse::<u64>().ok()?.checked_sub(1),
        _ => None,
    }
}

/// A test of a part of the request by a list with this value.
fn one_listed(from: &str, method: Option<&str>, value: &str, fold: bool) -> Result<Test, String> {
    listed(from, method, &[value], fold)?.pop().ok_or_else(|| "a value is missing".to_owned())
}

/// The same by a list of all values.
fn listed(from: &str, method: Option<&str>, values: &[&str], fold: bool) -> Result<Alternatives, String> {
    Listed::of(from, method.unwrap_or("str"), values, fold).map(|listed| vec![Test::Listed(listed)])
}

fn path(method: &str, value: &str, fold: bool) -> Option<Test> {
    let any_case = if fold { "(?i)" } else { "" };
    match method {
        "str" if value.starts_with('/') && !fold => Some(Test::Path(format!("={value}"))),
        "str" if value.starts_with('/') => Some(Test::Path(format!("~ (?i)^{}$", escaped(value)))),
        "beg" | "dir" if value == "/" => Some(Test::Path("/".to_owned())),
        "beg" if value.starts_with('/') => Some(Test::Path(format!("~ {any_case}^{}", escaped(value)))),
        "dir" if !value.trim_matches('/').is_empty() => {
            Some(Test::Path(format!("~ {any_case}/{}(/|$)", escaped(value.trim_matches('/')))))
        }
        "end" | "sub" => {
            let end = if method == "end" { "$" } else { "" };
            Some(Test::Path(format!("~ {any_case}{}{end}", escaped(value))))
        }
        "reg" => Some(match values::simple(value).filter(|_| !fold) {
            Some(Simple::Exact(path)) => Test::Path(format!("={path}")),
            _ => Test::Path(format!("~ {}", expressions::same(&format!("{any_case}{value}"))?)),
        }),
        _ => None,
    }
}

fn host(method: &str, value: &str) -> Option<Test> {
    let value = value.to_ascii_lowercase();
    match method {
        "str" => Some(Test::Host(value.split(':').next().unwrap_or_default().to_owned())),
        "end" => value.strip_prefix('.').map(|rest| Test::Host(format!("*.{rest}"))),
        _ => None,
    }
}
