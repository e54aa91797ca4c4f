//! Which location goes first: of nginx's the exact one, then the longest prefix if it has `^~`, then the first expression of the
//! file, then the longest prefix. In Ringate prefixes go before expressions, so a prefix that an expression may take requests
//! from is written as one, behind those of nginx.

use std::cmp::Reverse;

use super::super::draft::Section;
use super::super::values::{self, Simple};
use super::parse::Directive;

/// The mark of a late prefix among the keys of its route, with the prefix.
pub(super) const LATE: &str = "late";

/// The modifier of a location, and its path.
pub(super) fn words(location: &Directive) -> (&str, &str) {
    match location.args.len() {
        1 => match location.arg(0).split_at_checked(1) {
            // `location =/x`
            Some(("=", path)) => ("=", path),
            _ => ("", location.arg(0)),
        },
        _ => (location.arg(0), location.arg(1)),
    }
}

/// Whether a prefix yields to an expression beside it or within; of an expression, whether there is a prefix that yields to it.
pub(super) fn is_late(location: &Directive, beside: &[Directive]) -> bool {
    let (modifier, path) = words(location);
    let others = beside.iter().filter(|other| other.name == "location").map(words);
    let mut within = location.inner().iter().filter(|other| other.name == "location").map(words);
    match modifier {
        "" | "^~" if path != "/" && within.any(|(modifier, _)| modifier.starts_with('~')) => true,
        "" if path != "/" => others
            .filter(|(modifier, _)| modifier.starts_with('~'))
            .any(|(_, expression)| meet(expression, path)),
        "~" => others
            .filter(|(modifier, path)| modifier.is_empty() && *path != "/")
            .any(|(_, prefix)| meet(path, prefix)),
        _ => false,
    }
}

/// Whether a path may be below the prefix and match the expression.
fn meet(expression: &str, prefix: &str) -> bool {
    let prefix = prefix.to_ascii_lowercase();
    match values::simple(&expression.to_ascii_lowercase()) {
        Some(Simple::Exact(path)) => path.starts_with(&prefix),
        Some(Simple::Prefix(path)) => path.starts_with(&prefix) || prefix.starts_with(&path),
        None => true,
    }
}

/// A prefix as `path` of a route that goes behind expressions.
pub(super) fn late(prefix: &str) -> String {
    format!("~ ^{}", regex::escape(prefix))
}

/// An expression as `path`. `within`: the prefix that it counts below.
pub(super) fn expression(expression: &str, ignores_case: bool, within: Option<&str>) -> String {
    let fold = if ignores_case { "(?i)" } else { "" };
    match within.filter(|prefix| *prefix != "/" && !expression.starts_with('^')) {
        Some(prefix) if ignores_case => format!("{}.*(?i:{expression})", late(prefix)),
        Some(prefix) => format!("{}.*(?:{expression})", late(prefix)),
        None => format!("~ {fold}{expression}"),
    }
}

/// Late prefixes behind all others, the longest first.
pub(super) fn order(routes: &mut [Section]) {
    routes.sort_by_key(|route| {
        let late = route.get(LATE);
        (late.is_some(), Reverse(late.map_or(0, str::len)))
    });
}
