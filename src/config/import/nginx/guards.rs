//! Locations that refuse requests by expressions: nothing opens where one can't be written.

use super::super::expressions;
use super::super::report::Line;
use super::parse::Directive;
use super::{Nginx, precedence};

impl Nginx<'_, '_> {
    /// A location that refuses requests by an expression that can't be written: those that it is about can't be told from others.
    pub(super) fn unwritable(&self, block: &[Directive]) -> Option<Line> {
        let locations = block.iter().filter(|directive| directive.name == "location");
        let mut found = locations.filter_map(|location| {
            let (modifier, path) = precedence::words(location);
            let is_lost = modifier.starts_with('~') && expressions::wider(path).is_none();
            let is_lost = is_lost && location.inner().iter().any(keeps_away);
            if is_lost { Some(location.line) } else { self.unwritable(location.inner()) }
        });
        found.next()
    }

    /// The expression of a location as Ringate takes it. One that refuses requests may refuse more.
    pub(super) fn expression(&mut self, location: &Directive, path: &str) -> Option<String> {
        if let Some(same) = expressions::same(path) {
            return Some(same);
        }
        let wider = expressions::wider(path).filter(|_| location.inner().iter().any(keeps_away));
        let why = match wider {
            Some(_) => "without what it looks at around a match: it also has requests that nginx exempts",
            None => "the expression looks around, or back, which those of Ringate don't",
        };
        match wider {
            Some(_) => self.report.note(location.line, why),
            None => self.report.missing(location.line, why, Some("route.path")),
        }
        wider
    }
}

/// Whether a directive, or one within it, keeps requests away.
fn keeps_away(directive: &Directive) -> bool {
    is_access_control(directive) || directive.inner().iter().any(keeps_away)
}

/// Whether a directive keeps requests away.
pub(super) fn is_access_control(directive: &Directive) -> bool {
    let is_refusal =
        directive.name == "return" && directive.arg(0).parse::<u16>().is_ok_and(|code| code >= 400);
    is_refusal
        || matches!(directive.name.as_str(), "allow" | "deny" | "internal" | "limit_except" | "satisfy")
        || directive.name.starts_with("auth_")
}
