//! What a route does with its requests: `upstream` or `respond`, one of them.

use crate::config::file::{Section, Value};
use crate::config::names;
use crate::config::plan::{Destination, Respond, Share, Upstream};
use crate::config::suggest::nearest;

use super::route::unknown;

/// Statuses that have no body (RFC 9110 §6.4.1, §15.3.6).
const WITHOUT_BODY: [u16; 3] = [204, 205, 304];

/// Reads whichever key the route has; several are an error, none is that `upstream` is missing.
pub(super) fn of(
    section: &mut Section<'_>,
    respond: Option<&Value<'_>>,
    upstreams: Option<&[Upstream]>,
) -> Destination {
    let Some(respond) = respond else {
        let named = section.require("upstream", "\"NAME\"");
        let upstream = named.and_then(|value| upstream(&value, upstreams?));
        return Destination::Upstreams(vec![Share { upstream: upstream.unwrap_or(0), weight: 1 }]);
    };
    if let Some(other) = section.get("upstream") {
        let title = format!("`{}`: the route already has `{}`", other.name, respond.name);
        section.errors().borrow_mut().error(other.key_span, title, Some("take one of them out".into()));
    }
    Destination::Respond(self::respond(respond))
}

fn respond(value: &Value<'_>) -> Respond {
    let mut respond =
        Respond { status: 200, body: String::new(), content_type: "text/plain; charset=utf-8".to_owned() };
    let Some(mut section) = value.section() else { return respond };
    if let Some(status) = section.get("status").and_then(|value| value.number(200..=599)) {
        respond.status = u16::try_from(status).unwrap_or(respond.status);
    }
    let body = section.get("body");
    if let Some(text) = body.as_ref().and_then(|value| value.text("\"moved\\n\"")) {
        respond.body = text.value.to_owned();
    }
    if let Some(body) = body.filter(|_| !respond.body.is_empty() && WITHOUT_BODY.contains(&respond.status)) {
        body.error(&format!("a response of status {} has no body", respond.status), None);
    }
    let read = section.get("content_type");
    if let Some(content_type) = read.and_then(|value| value.parse("\"text/html\"", names::field_value)) {
        respond.content_type = content_type.value.to_owned();
    }
    section.finish();
    respond
}

fn upstream(value: &Value<'_>, upstreams: &[Upstream]) -> Option<usize> {
    let name = value.text("\"orders\"")?.value;
    let found = upstreams.iter().position(|upstream| upstream.name.value == name);
    if found.is_none() {
        let near = nearest(name, upstreams.iter().map(|upstream| upstream.name.as_str()));
        unknown(value, "upstream", name, near, &format!("add [upstream.{name}] with `endpoints`"));
    }
    found
}
