//! `if` of servers and locations. What it answers becomes routes. If it refuses requests and can't be written, its place passes
//! nothing on.

use super::super::draft::{Section, part, quoted, texts};
use super::Nginx;
use super::location::Place;
use super::maps::Maps;
use super::parse::Directive;

/// What a variable of nginx's is among the keys of `match`.
enum Subject {
    /// A key with the name of a field, a parameter or a cookie.
    Value(&'static str, String),
    Method,
    Client,
}

impl<'d> Nginx<'_, 'd> {
    /// `if (…) { return …; }`: a route each. Also, whether one that refuses requests could not be written.
    pub(super) fn conditions(&mut self, place: &Place<'d>, plain: &[&str]) -> (Vec<Section>, bool) {
        let (mut routes, mut is_lost) = (Vec::new(), false);
        for directive in place.block.inner().iter().filter(|directive| directive.name == "if") {
            match self.condition(place, directive, plain) {
                Some(route) => routes.push(route),
                None => is_lost |= directive.inner().iter().any(is_refusal),
            }
        }
        (routes, is_lost)
    }

    fn condition(&mut self, place: &Place<'d>, directive: &'d Directive, plain: &[&str]) -> Option<Section> {
        let [inner] = directive.inner() else { return None };
        let mut route = place.route();
        let words = words(&directive.args);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["$scheme", "=" | "!=", scheme]
                if !plain.is_empty() && (words[1] == "=") == (scheme == "http") =>
            {
                route.set("only", quoted(&plain.join(" ")), directive.line);
            }
            ["$host" | "$http_host", "=", host] => route.essential("host", quoted(host), directive.line),
            [variable, operator, value] => {
                let (key, value) = matching(&subject(variable, &self.maps)?, operator, value)?;
                route.essential(&key, value, directive.line);
            }
            // Neither empty nor 0.
            [variable] => match self.maps.variable(variable) {
                Some((name, values)) if !values.has_zero => {
                    route.essential(
                        &format!("match.maps.{}", part(name)),
                        "{ present = true }",
                        directive.line,
                    );
                }
                _ => {
                    let (key, value) = matching(&subject(variable, &self.maps)?, "~", "^([^0]|0.)")?;
                    route.essential(&key, value, directive.line);
                }
            },
            _ => return None,
        }
        let answered = match inner.name.as_str() {
            "return" => self.answer(&mut route, place, inner),
            "rewrite" => self.permanent(&mut route, place, inner),
            _ => false,
        };
        if answered {
            self.report.done(directive.line);
        }
        answered.then_some(route)
    }
}

/// The words within the parentheses.
fn words(args: &[String]) -> Vec<String> {
    let mut words = args.to_vec();
    if let Some(first) = words.first_mut() {
        *first = first.strip_prefix('(').unwrap_or(first).to_owned();
    }
    if let Some(last) = words.last_mut() {
        *last = last.strip_suffix(')').unwrap_or(last).to_owned();
    }
    words.retain(|word| !word.is_empty());
    // `($http_x = "")`
    if words.len() == 2 && matches!(words[1].as_str(), "=" | "!=") {
        words.push(String::new());
    }
    words
}

fn subject(variable: &str, maps: &Maps) -> Option<Subject> {
    let named = |key, name: &str| Some(Subject::Value(key, name.to_owned()));
    if let Some((name, _)) = maps.variable(variable) {
        return named("maps", name);
    }
    match variable.strip_prefix('$')?.split_once('_') {
        // A route has a key of its own for it.
        Some(("http", "host")) => None,
        Some(("http", field)) => named("headers", &field.replace('_', "-")),
        Some(("arg", name)) => named("query", name),
        Some(("cookie", name)) => named("cookies", name),
        Some(("request", "method")) => Some(Subject::Method),
        Some(("remote", "addr")) => Some(Subject::Client),
        _ => None,
    }
}

/// The key of a route, and its value, for a comparison. `None`: it can't be written.
fn matching(subject: &Subject, operator: &str, value: &str) -> Option<(String, String)> {
    let (operator, is_not) = match operator.strip_prefix('!') {
        Some(operator) => (operator, true),
        None => (operator, false),
    };
    let (key, name) = match subject {
        Subject::Value(key, name) => (*key, part(name)),
        Subject::Client if operator == "=" => {
            return Some(match is_not {
                false => ("match.client".to_owned(), texts(&[value])),
                true => ("match.not".to_owned(), format!("[{{ client = {} }}]", texts(&[value]))),
            });
        }
        Subject::Client => return None,
        Subject::Method => {
            let methods = methods(operator, value)?;
            return Some(match is_not {
                false => ("methods".to_owned(), texts(&methods)),
                true => ("match.not".to_owned(), format!("[{{ methods = {} }}]", texts(&methods))),
            });
        }
    };
    // nginx takes what is not there for an empty text.
    let (value, is_not) = match (operator, value) {
        ("=", "") => ("{ regex = \".\" }".to_owned(), !is_not),
        ("=", value) => (quoted(value), is_not),
        ("~" | "~*", expression) => {
            let fold = if operator == "~*" { "(?i)" } else { "" };
            let expression = format!("{fold}{expression}");
            if regex::Regex::new(&expression).ok()?.is_match("") {
                return None;
            }
            (format!("{{ regex = {} }}", quoted(&expression)), is_not)
        }
        _ => return None,
    };
    Some(match is_not {
        false => (format!("match.{key}.{name}"), value),
        true => ("match.not".to_owned(), format!("[{{ {key} = {{ {name} = {value} }} }}]")),
    })
}

/// The methods that a comparison names.
fn methods<'v>(operator: &str, value: &'v str) -> Option<Vec<&'v str>> {
    let listed = match operator {
        "=" => vec![value],
        "~" => {
            let inner = value.strip_prefix("^(").and_then(|rest| rest.strip_suffix(")$"))?;
            inner.strip_prefix("?:").unwrap_or(inner).split('|').collect()
        }
        _ => return None,
    };
    let is_plain = |method: &&str| {
        !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-')
    };
    listed.iter().all(is_plain).then_some(listed)
}

/// Whether a directive within `if` refuses a request.
fn is_refusal(directive: &Directive) -> bool {
    directive.name == "return" && directive.arg(0).parse::<u16>().is_ok_and(|code| code >= 400)
}

/// Whether a route is for some of the requests of its path.
pub(super) fn is_conditional(route: &Section) -> bool {
    ["host", "only", "match", "methods"].iter().any(|key| route.has(key))
}

/// What a server answers before it looks for a location holds for all of its locations: such a route is repeated for each path,
/// since a path goes before conditions. `plain` are its listeners without TLS.
pub(super) fn guarded(guards: Vec<Section>, mut routes: Vec<Section>, plain: &[&str]) -> Vec<Section> {
    let mut paths: Vec<String> =
        routes.iter().filter_map(|route| route.get("path")).map(str::to_owned).collect();
    paths.dedup();
    let mut all = Vec::new();
    for guard in guards {
        let by_scheme = !["host", "match", "methods"].iter().any(|key| guard.has(key));
        if by_scheme && guard.has("only") && !guard.has("path") {
            // It has all requests of those listeners.
            routes.iter_mut().for_each(|route| route.keep_from(plain));
            all.push(guard);
            continue;
        }
        for path in paths.iter().filter(|_| !guard.has("path")) {
            let mut copy = guard.clone();
            copy.essential("path", path.as_str(), guard.line());
            all.push(copy);
        }
        all.push(guard);
    }
    all.append(&mut routes);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_become_conditions() {
        let maps = Maps::of(&[("kind", &["a", "0"])]);
        let of = |variable: &str, operator: &str, value: &str| {
            matching(&subject(variable, &maps)?, operator, value)
                .map(|(key, value)| format!("{key} = {value}"))
        };
        for (variable, operator, value, expected) in [
            ("$http_x_beta", "=", "1", "match.headers.x-beta = \"1\""),
            ("$http_x", "=", "", "match.not = [{ headers = { x = { regex = \".\" } } }]"),
            ("$http_x", "!=", "", "match.headers.x = { regex = \".\" }"),
            ("$arg_a", "!=", "b", "match.not = [{ query = { a = \"b\" } }]"),
            ("$cookie_a", "~*", "b|c", "match.cookies.a = { regex = \"(?i)b|c\" }"),
            ("$http_user_agent", "!~", "x", "match.not = [{ headers = { user-agent = { regex = \"x\" } } }]"),
            ("$request_method", "!~", "^(GET|HEAD)$", "match.not = [{ methods = [\"GET\", \"HEAD\"] }]"),
            ("$kind", "=", "a", "match.maps.kind = \"a\""),
            ("${kind}", "!=", "", "match.maps.kind = { regex = \".\" }"),
            ("$remote_addr", "=", "10.0.0.1", "match.client = [\"10.0.0.1\"]"),
        ] {
            assert_eq!(of(variable, operator, value).as_deref(), Some(expected));
        }
        for (variable, operator, value) in [
            ("$bad", "=", "1"),
            ("$http_x", "~", "a*"),
            ("$http_x", "~", "(?=a)"),
            ("$request_method", "~", "P"),
            ("$remote_addr", "~", "^10"),
            ("$http_x", "-f", "a"),
        ] {
            assert_eq!(of(variable, operator, value), None, "{variable} {operator} {value}");
        }
        let words = |text: &[&str]| words(&text.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(words(&["($http_a", "~", "(a)(b)", ")"]), ["$http_a", "~", "(a)(b)"]);
        assert_eq!(words(&["(", "$a", "=", "b)"]), ["$a", "=", "b"]);
        assert_eq!(words(&["($a", "=", ")"]), ["$a", "=", ""]);
    }
}
