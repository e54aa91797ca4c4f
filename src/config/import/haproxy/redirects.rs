//! `redirect`: a location, a prefix or a scheme becomes `redirect` of routes.

use super::super::draft::quoted;
use super::super::values;
use super::HaProxy;
use super::conditions::{Acls, Test};
use super::frontend::Whole;
use super::parse::Item;
use super::rules::Target;

/// Options of a redirect that Ringate's have not.
const OPTIONS: [&str; 4] = ["set-cookie", "clear-cookie", "append-slash", "keep-query"];

const PARTS: &str = "the target has parts of the request";

impl<'b> HaProxy<'_, 'b> {
    /// `words`: those behind `redirect`.
    pub(super) fn redirect(
        &mut self,
        item: &Item,
        words: &[&str],
        condition: &[&str],
        acls: &Acls,
        whole: &mut Whole,
    ) {
        let option = |name: &str| words.contains(&name);
        let code = words.windows(2).find(|pair| pair[0] == "code").map_or("302", |pair| pair[1]);
        let (kind, to) =
            (words.first().copied().unwrap_or_default(), words.get(1).copied().unwrap_or_default());
        let mut maps = Vec::new();
        let keys = match kind {
            _ if OPTIONS.iter().any(|name| option(name)) || kind == "prefix" && option("drop-query") => {
                Err("this option of a redirect was not translated")
            }
            "scheme" if matches!(to, "http" | "https") => Ok(format!("scheme = {}", quoted(to))),
            "location" if !to.is_empty() => match self.map_text(to, item.line) {
                Some((location, names)) => {
                    maps = names;
                    Ok(format!("location = {}", quoted(&location)))
                }
                None => Err(PARTS),
            },
            // Ringate's takes the place of the path that a route matches.
            "prefix" if prefix(to).contains("rewrite_prefix") && has_path(acls, condition) => {
                Err("a prefix with a path stands before the whole path, for routes without one of their own")
            }
            "prefix" if !to.is_empty() && !to.contains(['%', '?']) => Ok(prefix(to)),
            _ => Err(PARTS),
        };
        let keys = match keys {
            Ok(keys) => keys,
            Err(why) => return self.report.missing(item.line, why, Some("route.redirect")),
        };
        let target = Target::Answer("redirect", format!("{{ status = {code}, {keys} }}"));
        let present = if option("ignore-empty") { &maps[..] } else { &[] };
        self.answered(item, target, (condition, present), acls, whole);
    }
}

/// The keys of a redirect to a URL that goes before the path and query of the request.
fn prefix(to: &str) -> String {
    let Some((scheme, rest)) = to.split_once("://") else {
        return format!("rewrite_prefix = {}", quoted(to));
    };
    let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let (host, port) = values::host_and_port(host);
    let mut keys = format!("scheme = {}, host = {}", quoted(scheme), quoted(host));
    keys.extend(port.map(|port| format!(", port = {port}")));
    if !matches!(path, "" | "/") {
        keys.push_str(&format!(", rewrite_prefix = {}", quoted(path)));
    }
    keys
}

/// Whether a condition asks for a path that a route has a prefix or a whole path for.
fn has_path(acls: &Acls, condition: &[&str]) -> bool {
    let asks = |test: &Test| matches!(test, Test::Path(path) if path.starts_with(['/', '=']) && path != "/");
    let found = acls.condition(condition).unwrap_or_default();
    found.iter().flatten().any(|literal| asks(&literal.test))
}
