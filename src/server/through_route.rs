//! A request as a route sends it on to its backend: the same steps as for traffic, by the same rules, but for what clients have
//! to prove (credentials, certificates, addresses, limits).

use super::probe::Call;
use crate::config::Plan;
use crate::http::{ForwardedFor, OutgoingRequest, PathRewrite, read_lines};
use crate::http1::{HeadLimits, Parsed, header_slots, parse_request};
use crate::proxy::client::ClientFacts;
use crate::proxy::rules::{RequestView, ResponseRules, Source, edit_request};
use crate::proxy::snapshot::{Listener, Route, RuntimeConfig, Traffic};
use crate::route::{PathPattern, normalise_path};

/// The address of a client that is this process.
const CLIENT: &str = "127.0.0.1";
/// `X-Request-Id` of such requests.
const ID: &str = "invoke";

/// What the route at `at` makes of a request of its listener in `environment`, or of its first one.
///
/// # Errors
/// The request can't be one of this route; in words.
pub(crate) fn through(
    (plan, running): (&Plan, &RuntimeConfig),
    at: usize,
    environment: Option<&str>,
    call: Call,
) -> Result<Call, String> {
    let (listener, route) = find(plan, running, at, environment).ok_or("the route is of no http listener")?;
    let body =
        if call.body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", call.body.len()) };
    let mut text = format!("{} {} HTTP/1.1\r\nHost: {}\r\n{body}", call.method, call.target, call.host);
    call.fields.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
    text.push_str("\r\n");
    let mut slots = header_slots();
    let parsed = parse_request(text.as_bytes(), &mut slots, &HeadLimits::from(&listener.limits));
    let head = match parsed.map_err(|error| format!("the listener refuses this request: {error}"))? {
        Parsed::Complete(head) => head,
        Parsed::Partial => return Err("the listener takes this request for the beginning of one".to_owned()),
    };
    let path = normalise_path(head.target.path)
        .map_err(|error| format!("the listener refuses this path: {error}"))?;
    let pattern = &plan.routes[at].path.value;
    if !matches(pattern, &path) {
        return Err(format!("`path` does not match the route, whose path is {}", pattern.path()));
    }
    let client = ClientFacts::new(CLIENT.into(), None);
    let asked = RequestView {
        head: &head,
        path: &path,
        client: &client,
        address: CLIENT,
        id: ID,
        listener: &listener.name,
        sampled: false,
    };
    let source = Source::Request(&asked);
    let edits = listener.rules.as_ref().and_then(|rules| rules.edits(&source, None));
    let edits = match &route.rules {
        Some(rules) => rules.edits(&source, edits),
        None => edits,
    };
    let host = edits.as_deref().and_then(ResponseRules::host);
    let forwarded = ForwardedFor {
        client: CLIENT,
        proto: if listener.tls.is_some() { "https" } else { "http" },
        host: head.host,
        request_id: ID,
        client_certificate: None,
    };
    let rewritten = route.rewrite.apply(&path);
    let rewrite =
        if rewritten == head.target.path { PathRewrite::Keep } else { PathRewrite::Replace(&rewritten) };
    let outgoing = edit_request(edits.as_deref(), |edit| {
        OutgoingRequest::new(&head, rewrite, host, &forwarded, edit, Vec::new())
    });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let lines = read_lines(outgoing.fields()).chain(read_lines(outgoing.added()));
    Ok(Call {
        target: text(outgoing.target()),
        host: text(outgoing.authority()),
        fields: lines.map(|(name, value)| (text(name), text(value))).collect(),
        method: call.method,
        body: call.body,
    })
}

/// The route as its listener in the environment has it, or as its first one does.
fn find<'r>(
    plan: &Plan,
    running: &'r RuntimeConfig,
    at: usize,
    environment: Option<&str>,
) -> Option<(&'r Listener, &'r Route)> {
    let listeners = &plan.routes.get(at)?.listeners;
    let is_in = |index: &&usize| {
        plan.listeners[**index].environment.as_ref().map(|at| at.value.as_str()) == environment
    };
    let index = *listeners.iter().find(is_in).or(listeners.first())?;
    let listener = &running.listeners[index];
    let Traffic::Http { routes, .. } = &listener.traffic else { return None };
    let before = plan.routes[..at].iter().filter(|route| route.listeners.contains(&index)).count();
    Some((listener, routes.get(before)?))
}

fn matches(pattern: &PathPattern, path: &str) -> bool {
    match pattern {
        PathPattern::Exact(exact) => exact == path,
        PathPattern::Prefix(prefix) => {
            let prefix = prefix.trim_end_matches('/');
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                || path == "*"
        }
        PathPattern::Suffix(end) => path.ends_with(end.as_str()),
        PathPattern::Regex(pattern) => pattern.matches(path.as_bytes()),
    }
}
