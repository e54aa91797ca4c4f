//! Variables whose value the config itself says: `set $backend 10.0.0.1:8080;` and `$server_port`.

use std::collections::BTreeMap;

use super::super::report::Report;
use super::parse::Directive;
use super::variables::name_in;

/// The value of a variable, or `None` where it has several.
type Known = BTreeMap<String, Option<String>>;

/// Writes the values of such variables where they stand, in each server of a block.
pub(super) fn write(block: &mut [Directive], report: &mut Report) {
    for directive in block.iter_mut() {
        match directive.name.as_str() {
            "http" => write(directive.block.as_deref_mut().unwrap_or_default(), report),
            "server" if directive.block.is_some() => server(directive, report),
            _ => {}
        }
    }
}

fn server(server: &mut Directive, report: &mut Report) {
    let mut known = Known::new();
    let block = server.block.as_deref_mut().unwrap_or_default();
    let ports: Vec<&str> = block
        .iter()
        .filter(|inner| inner.name == "listen")
        .filter_map(|listen| port(listen.arg(0)))
        .collect();
    if let Some(first) = ports.first().filter(|first| ports.iter().all(|port| port == *first)) {
        known.insert("server_port".to_owned(), Some((*first).to_owned()));
    }
    collect(block, &mut known);
    for directive in block.iter_mut() {
        replace(directive, &known, report);
    }
}

/// The port of `listen`.
fn port(listen: &str) -> Option<&str> {
    let port = listen.rsplit(':').next().unwrap_or_default();
    match port.parse::<u16>() {
        Ok(_) => Some(port),
        Err(_) => (!listen.starts_with("unix:")).then_some("80"),
    }
}

/// What `set` says. A variable that has two values, or one that depends on something, is none of these.
fn collect(block: &[Directive], known: &mut Known) {
    for directive in block {
        if directive.name == "set" {
            let (name, value) = (directive.arg(0).trim_start_matches('$'), directive.arg(1));
            let value = Some(value.to_owned()).filter(|value| !value.contains('$'));
            known.entry(name.to_owned()).and_modify(|known| *known = None).or_insert(value);
        }
        // What stands within counts for some requests only.
        let mut within = Known::new();
        collect(directive.inner(), &mut within);
        for name in within.into_keys() {
            match directive.name.as_str() {
                // A location has its own value.
                "location" => drop(known.entry(name).or_insert(None)),
                _ => drop(known.insert(name, None)),
            }
        }
    }
}

fn replace(directive: &mut Directive, known: &Known, report: &mut Report) {
    match directive.name.as_str() {
        "set" => {
            let name = directive.arg(0).trim_start_matches('$');
            if matches!(known.get(name), Some(Some(_))) {
                report.done(directive.line);
            }
            return;
        }
        "proxy_pass" | "grpc_pass" => {
            let written = filled(directive.arg(0), known);
            // With a variable in it, the URI of `proxy_pass` is all of what the backend gets.
            let has_uri = written.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
            if let Some(address) = directive.args.first_mut().filter(|address| address.contains('$')) {
                let plain = written.strip_suffix("$request_uri").filter(|plain| !plain.contains('$'));
                match plain {
                    Some(plain) => *address = plain.to_owned(),
                    None if !has_uri => *address = written,
                    None => {}
                }
            }
        }
        "proxy_set_header" | "grpc_set_header" | "add_header" | "return" | "root" | "alias" => {
            for argument in directive.args.iter_mut().filter(|argument| argument.contains('$')) {
                *argument = filled(argument, known);
            }
        }
        _ => {}
    }
    let mut known = known.clone();
    if directive.name == "location" {
        let mut own = Known::new();
        collect(directive.inner(), &mut own);
        known.extend(own);
    }
    for inner in directive.block.as_deref_mut().unwrap_or_default() {
        replace(inner, &known, report);
    }
}

/// A text with the values of what is known.
fn filled(text: &str, known: &Known) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let (name, after) = name_in(&rest[at + 1..]);
        match known.get(name) {
            Some(Some(value)) => out.push_str(value),
            _ => out.push_str(&rest[at..rest.len() - after.len()]),
        }
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_their_values() {
        let known = Known::from([("a".into(), Some("1".into())), ("b".into(), None)]);
        assert_eq!(filled("x$a-${a}b$b$ab$", &known), "x1-1b$b$ab$");
        assert_eq!(
            (port("80"), port("[::]:81"), port("1.2.3.4"), port("unix:/a")),
            (Some("80"), Some("81"), Some("80"), None)
        );
    }
}
