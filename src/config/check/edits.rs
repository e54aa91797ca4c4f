//! What a route changes of requests and responses: `headers`, `strip_prefix`, `rewrite_prefix`, `rewrite`. A listener
//! has the first, too.

use crate::config::access;
use crate::config::file::{Section, Value};
use crate::config::plan::{At, HeaderEdits};
use crate::config::suggest::quoted;
use crate::config::units::Wrong;
use crate::config::{map_text, names};
use crate::http::is_same_name;
use crate::route::{PathPattern, Rewrite};

/// Fields that frame a message or end at this hop (RFC 9110 §7.6.1): Ringate writes them from what it understood.
const OWN: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "proxy-authenticate",
    "proxy-authorization",
];

/// `headers.request` and `headers.response`.
pub(super) fn headers(value: &Value<'_>) -> (HeaderEdits, HeaderEdits) {
    let Some(mut section) = value.section() else { return Default::default() };
    let request = section.section("request").map(|section| edits(section, true)).unwrap_or_default();
    let response = section.section("response").map(|section| edits(section, false)).unwrap_or_default();
    section.finish();
    (request, response)
}

fn edits(mut section: Section<'_>, request: bool) -> HeaderEdits {
    let mut edits = HeaderEdits::default();
    for (name, value) in written(&mut section, "set") {
        if request && name.value.eq_ignore_ascii_case("host") {
            edits.host =
                value.parse("\"backend.example\"", names::authority).map(|host| host.value.to_owned());
            continue;
        }
        let Some(name) = field(&value, name.value) else { continue };
        let template = value.parse("\"{client.address}\"", access::template);
        edits.set.extend(template.map(|template| (name, template.value)));
    }
    for (name, value) in written(&mut section, "add") {
        let Some(name) = field(&value, name.value) else { continue };
        for value in value.one_or_more("\"value\"").unwrap_or_default() {
            let template = value.parse("\"value\"", access::template);
            edits.add.extend(template.map(|template| (name.clone(), template.value)));
        }
    }
    for value in section.get("remove").and_then(|value| value.list("[\"Server\"]")).unwrap_or_default() {
        if let Some(name) = value.text("\"Server\"") {
            edits.remove.extend(field(&value, name.value));
        }
    }
    section.finish();
    edits
}

/// The fields of a table in the order of the file, in which they are sent, too.
pub(super) fn written<'a>(section: &mut Section<'a>, key: &'static str) -> Vec<(At<&'a str>, Value<'a>)> {
    let mut fields = section.section(key).map(|section| section.all()).unwrap_or_default();
    fields.sort_by_key(|(name, _)| name.span.start);
    fields
}

/// A field's name as written, if it is one that may be changed.
pub(super) fn field(value: &Value<'_>, name: &str) -> Option<String> {
    match changeable(name) {
        Ok(name) => Some(name),
        Err(Wrong { title, help }) => {
            value.error(&title, help);
            None
        }
    }
}

/// The same of a name that is a value.
pub(super) fn changeable(name: &str) -> Result<String, Wrong> {
    let lower = access::header(name)?;
    if OWN.iter().any(|own| is_same_name(own.as_bytes(), lower.as_bytes())) {
        let help = match &*lower {
            "host" => "only `headers.request.set` may have it",
            _ => "it frames this message or is for this hop only, and Ringate writes it anew",
        };
        return Err(Wrong::new(format!("{} can't be changed", quoted(name))).help(help));
    }
    Ok(name.to_owned())
}

/// `$1` as the crate's `${1}`, which ends at its digit; any other `$` is itself.
fn template(path: &str) -> String {
    let mut out = String::with_capacity(path.len() + 4);
    let mut rest = path.chars().peekable();
    while let Some(next) = rest.next() {
        match rest.peek().filter(|_| next == '$').and_then(|digit| digit.to_digit(10)) {
            Some(digit) => {
                rest.next();
                out.push_str(&format!("${{{digit}}}"));
            }
            None if next == '$' => out.push_str("$$"),
            None => out.push(next),
        }
    }
    out
}

/// The keys that change a path, of which a route has one at most; and whether responses are changed back.
pub(super) struct RewriteKeys<'a>([Option<Value<'a>>; 3], Option<Value<'a>>);

impl<'a> RewriteKeys<'a> {
    pub(super) fn of(section: &mut Section<'a>) -> Self {
        let keys = ["strip_prefix", "rewrite_prefix", "rewrite"].map(|key| section.get(key));
        Self(keys, section.get("rewrite_responses"))
    }

    /// Those that are there.
    pub(super) fn values(&self) -> impl Iterator<Item = &Value<'a>> {
        self.0.iter().chain([&self.1]).flatten()
    }

    /// A prefix is that of a path or an exact path.
    pub(super) fn fits(&self, path: &PathPattern) {
        let prefixes = self.0[..2]
            .iter()
            .flatten()
            .filter(|_| matches!(path, PathPattern::Suffix(_) | PathPattern::Regex(_)));
        for value in prefixes {
            let help = "write `rewrite`, in which `$1` is what the first group of the expression captured";
            value.key_error(format!("`{}`: the route's path has no prefix", value.name), help);
        }
    }

    /// Whether responses are changed back.
    pub(super) fn responses(&self) -> bool {
        self.1.as_ref().and_then(Value::boolean).unwrap_or(true)
    }

    /// `matched` is the route's path.
    pub(super) fn read(&self, pattern: &PathPattern) -> Rewrite {
        let matched = pattern.path();
        let [strip, prefix, path] = self.0.each_ref().map(Option::as_ref);
        let strip = strip.filter(|value| value.boolean() == Some(true));
        let given: Vec<_> = [strip, prefix, path].into_iter().flatten().collect();
        if let [first, second, ..] = &given[..] {
            let help = format!("take it out, or `{}`", first.name);
            second.error("the path is changed in two ways", Some(help));
        }
        let read =
            |value: &Value<'_>| value.parse("\"/v2\"", names::new_path).map(|path| path.value.to_owned());
        if let Some((value, path)) =
            path.and_then(|value| Some((value, value.parse("\"/v2\"", map_text::path)?.value)))
        {
            let plain = path.plain().map(std::borrow::Cow::into_owned);
            return match (pattern, plain) {
                (PathPattern::Regex(pattern), Some(path)) if path.contains('$') => {
                    Rewrite::Captures(pattern.clone(), template(&path))
                }
                (PathPattern::Regex(_), None) if path.to_string().contains('$') => {
                    let help = "take one of the two out: values of maps have no captured parts";
                    value.error("the path has a map and captured parts", Some(help.to_owned()));
                    Rewrite::Keep
                }
                _ => Rewrite::whole(path),
            };
        }
        match prefix.and_then(read) {
            Some(prefix) => Rewrite::prefix(matched, &prefix),
            None if strip.is_some() => Rewrite::prefix(matched, ""),
            None => Rewrite::Keep,
        }
    }
}
