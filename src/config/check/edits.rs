//! What a route changes of requests and responses: `headers`, `strip_prefix`, `rewrite_prefix`, `rewrite`. A listener
//! has the first, too.

use crate::config::access::{self, Variable};
use crate::config::file::{Section, Value};
use crate::config::foreign_variables::{self, ForeignVariable};
use crate::config::plan::{At, ConditionalEdits, HeaderEdits};
use crate::config::suggest::quoted;
use crate::config::units::Wrong;
use crate::config::{map_text, names};
use crate::http::is_same_name;
use crate::route::{Clause, PathPattern, Rewrite};

use super::{conditions, pages};

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

/// `headers.request`, `headers.response` and `headers.when`.
pub(super) fn headers(value: Option<&Value<'_>>) -> (HeaderEdits, HeaderEdits, Vec<ConditionalEdits>) {
    let Some(mut section) = value.and_then(|value| value.section()) else { return Default::default() };
    let request = section.section("request").map(|section| edits(section, true)).unwrap_or_default();
    let response = section.section("response").map(|section| edits(section, false)).unwrap_or_default();
    let entries = section.get("when").and_then(|value| value.list(WHEN)).unwrap_or_default();
    let conditional = entries.iter().filter_map(conditional).collect();
    section.finish();
    (request, response, conditional)
}

const WHEN: &str = "[{ path = \"/api\", response = { set = { Cache-Control = \"no-store\" } } }]";

/// One of `headers.when`.
fn conditional(value: &Value<'_>) -> Option<ConditionalEdits> {
    let mut section = value.section()?;
    let [status, request, response] = ["status", "request", "response"].map(|key| section.get(key));
    let changes = usize::from(request.is_some()) + usize::from(response.is_some());
    if section.all().len() == changes {
        let help = "write `headers.request` and `headers.response` for all of them, or a condition such as `path = \"/api\"`";
        value.error("it has no condition, and would hold for every request", Some(help.into()));
    }
    if changes == 0 {
        let help = "add `request` or `response`, with `set`, `add` or `remove`";
        value.error("it changes nothing", Some(help.into()));
    }
    if let (Some(_), Some(request)) = (&status, &request) {
        let help = "the request has gone by when its status is known: write `request` into an entry without `status`";
        request.key_error("`request` and `status` exclude each other".to_owned(), help);
    }
    let statuses = status.as_ref().and_then(|value| value.list("[\"404\", \"5xx\"]")).unwrap_or_default();
    let statuses = statuses.iter().filter_map(|entry| entry.parse("\"404\"", statuses_of));
    let statuses = statuses.map(|at| at.value).collect();
    let read = |value: &Value<'_>, request| {
        let is_empty =
            |value: &Value<'_>| value.is_table() && value.section().is_some_and(|it| it.all().is_empty());
        let inner = value.section().map(|section| section.all()).unwrap_or_default();
        let inner = inner.iter().map(|(_, value)| value);
        inner.chain([value]).filter(|value| is_empty(value)).for_each(|value| {
            value.error("it changes nothing", Some("write what it sets or adds, or leave it out".into()));
        });
        value.section().map(|section| edits(section, request)).unwrap_or_default()
    };
    let request = request.as_ref().map(|value| read(value, true)).unwrap_or_default();
    let response = response.as_ref().map(|value| read(value, false)).unwrap_or_default();
    let clauses = conditions::of_request(&mut section);
    section.finish();
    let when = (!clauses.is_empty()).then_some(Clause::All(clauses));
    Some(ConditionalEdits { when, statuses, request, response })
}

/// `404`, `502-504`, `5xx`
fn statuses_of(text: &str) -> Result<(u16, u16), Wrong> {
    pages::status_range(text, 200).ok_or_else(|| {
        Wrong::new(format!("{} is no status of a response, and no range of them", quoted(text)))
            .help("write \"404\", \"502-504\" or \"5xx\", from 200 to 599")
    })
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
        foreign(&value, access::is_early);
        edits.set.extend(template.map(|template| (name, template.value)));
    }
    for (name, value) in written(&mut section, "add") {
        let Some(name) = field(&value, name.value) else { continue };
        for value in value.one_or_more("\"value\"").unwrap_or_default() {
            let template = value.parse("\"value\"", access::template);
            foreign(&value, access::is_early);
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

/// Warns of another proxy's variable in a text: here it is none. `permits`: which of Ringate's may stand there.
pub(super) fn foreign(value: &Value<'_>, permits: fn(&Variable) -> bool) {
    let found = value.as_text().and_then(|text| foreign_variables::find(text.value));
    let Some(ForeignVariable { written, ours }) = found else { return };
    let is_permitted = |ours: &String| access::variable(ours).is_ok_and(|variable| permits(&variable));
    let help = match ours.filter(is_permitted) {
        Some(ours) => format!("write {{{ours}}}"),
        None => "Ringate's variables are written in braces, such as {map.NAME}".to_owned(),
    };
    value.warning(&format!("`{written}` is no variable here, and stays as it is"), Some(help));
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

/// The parts that an expression is to have captured: each digit behind a `$`.
fn captures(path: &str) -> impl Iterator<Item = usize> {
    path.split('$').skip(1).filter_map(|rest| rest.chars().next()?.to_digit(10)).map(|digit| digit as usize)
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
            foreign(value, |variable| matches!(variable, Variable::Map(_)));
            return match (pattern, plain) {
                (PathPattern::Regex(pattern), Some(path)) if path.contains('$') => {
                    let groups = pattern.groups();
                    if let Some(part) = captures(&path).find(|part| *part > groups) {
                        let title = format!("`${part}` is always empty: the expression has {groups} groups");
                        value.warning(&title, Some("put what is to be captured in parentheses".to_owned()));
                    }
                    Rewrite::Captures(pattern.clone(), template(&path))
                }
                (_, Some(path)) if captures(&path).next().is_some() => {
                    let help = "`$1` is what the first group of the route's regular expression captured: write `path = \"~ ^/a/(.*)$\"`; \
                                or keep what follows the path, by `rewrite_prefix`";
                    value.error(
                        "the path has captured parts, and the route's path is no expression",
                        Some(help.to_owned()),
                    );
                    Rewrite::Keep
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
