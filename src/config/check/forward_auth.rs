//! `route.auth.forward`: a service that is asked about each request.

use std::time::Duration;

use crate::base::limits::MAX_AUTHORIZATION_BYTES;
use crate::config::file::{Section, Value};
use crate::config::plan::{AnyOr, AskMethod, ForwardAuth, OnFailure, Upstream};
use crate::config::suggest::quoted;
use crate::config::units::Wrong;
use crate::http::{ASKED_FIELDS, is_same_name};

use super::destination::upstream;
use super::edits::changeable;
use super::rules::list_of;

/// The client's fields that a service gets where none are named: what logins and proofs of identity are in, and what
/// services choose their answer by.
const ASKED: [&str; 10] = [
    "Accept",
    "Accept-Language",
    "Authorization",
    "Cookie",
    "Origin",
    "Referer",
    "User-Agent",
    "X-Requested-With",
    "traceparent",
    "tracestate",
];
/// Its fields that a client gets with a refusal where none are named.
const REFUSAL: [&str; 4] = ["Location", "Retry-After", "Set-Cookie", "WWW-Authenticate"];
/// Fields that tell backends of the client, and are Ringate's to set.
const OURS: [&str; 8] = [
    "forwarded",
    "traceparent",
    "tracestate",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
];

/// The whole of `auth.forward`. `None`: it is wrong, which has been reported.
pub(super) fn forward_auth(value: &Value<'_>, upstreams: Option<&[Upstream]>) -> Option<ForwardAuth> {
    let mut section = value.section()?;
    let service = section.require("upstream", "\"authz\"");
    let path = section.get("path").map(|value| value.parse("\"/check\"", target));
    let methods = [("GET", AskMethod::Get), ("HEAD", AskMethod::Head), ("POST", AskMethod::Post)];
    let method = section.get("method").and_then(|value| value.choice(&methods));
    let request_headers = list_of(&mut section, "request_headers", "\"Cookie\"", asked);
    let response_headers = names(&mut section, "response_headers", "\"X-User\"", given);
    let refusal_headers = names(&mut section, "refusal_headers", "\"Location\"", changeable);
    let success_headers = names(&mut section, "success_headers", "\"Set-Cookie\"", changeable);
    let timeout = section.get("timeout").and_then(|value| value.duration(false));
    let body_bytes = section.get("body_bytes").and_then(|value| value.size(0..=MAX_AUTHORIZATION_BYTES));
    let words = [("deny", OnFailure::Deny), ("allow", OnFailure::Allow)];
    let on_failure = section.get("on_failure").and_then(|value| value.choice(&words));
    section.finish();
    let written = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    Some(ForwardAuth {
        upstream: upstream(&service?, upstreams?)?,
        path: path.map_or(Some("/".to_owned()), |path| Some(path?.value.to_owned()))?,
        method: method.unwrap_or_default(),
        request_headers: request_headers.unwrap_or_else(|| AnyOr::These(written(&ASKED))),
        response_headers: response_headers.unwrap_or_default(),
        refusal_headers: refusal_headers.unwrap_or_else(|| written(&REFUSAL)),
        success_headers: success_headers.unwrap_or_default(),
        timeout: timeout.unwrap_or(Duration::from_secs(5)),
        body_bytes: body_bytes.map_or(16 * 1024, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
        on_failure: on_failure.unwrap_or_default(),
    })
}

/// Field names, each once.
fn names(
    section: &mut Section<'_>,
    key: &'static str,
    example: &str,
    read: impl Fn(&str) -> Result<String, Wrong>,
) -> Option<Vec<String>> {
    let value = section.get(key)?;
    let list = match key {
        "refusal_headers" => value.any_list(&format!("[{example}]"))?,
        _ => value.list(&format!("[{example}]"))?,
    };
    let mut names: Vec<String> = Vec::new();
    for entry in &list {
        let Some(name) = entry.parse(example, &read) else { continue };
        if names.iter().any(|known| is_same_name(known.as_bytes(), name.value.as_bytes())) {
            entry.error(&format!("{} is named twice", quoted(&name.value)), None);
        } else {
            names.push(name.value);
        }
    }
    Some(names)
}

/// A field of the client's that a service may get.
fn asked(text: &str) -> Result<String, Wrong> {
    let name = changeable(text)?;
    match ASKED_FIELDS.iter().any(|own| is_same_name(own.as_bytes(), name.as_bytes())) {
        true => {
            let wrong = Wrong::new(format!("{} is Ringate's to set, and the service gets it", quoted(text)));
            Err(wrong.help("leave it out"))
        }
        false => Ok(name),
    }
}

/// A field of a service's that a backend may get.
fn given(text: &str) -> Result<String, Wrong> {
    let name = changeable(text)?;
    match OURS.iter().any(|own| is_same_name(own.as_bytes(), name.as_bytes())) {
        true => Err(Wrong::new(format!("{} has a meaning of its own", quoted(text)))),
        false => Ok(name),
    }
}

/// A path, perhaps with a query.
fn target(text: &str) -> Result<&str, Wrong> {
    let wrong = |reason: &str| Wrong::new(format!("{} is not a path: {reason}", quoted(text)));
    if !text.starts_with('/') {
        return Err(wrong("it does not begin with a slash").help(format!("did you mean \"/{text}\"?")));
    }
    match text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        true => Ok(text),
        false => Err(wrong("it has a character that no path and no query has").help("percent-encode it")),
    }
}
