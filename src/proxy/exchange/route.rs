//! What is decided of a request before anything is sent: pure, from bytes to an [`Forward`].

use std::borrow::Cow;
use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::base::limits::{Limits, MAX_REQUEST_ID_BYTES};
use crate::config::access::Variable;
use crate::http1::{
    self, ForwardedFor, Framing, HeadLimits, Method, Parsed, PathRewrite, RequestContext, RequestHead,
    Version,
};
use crate::proxy::access::{Record, Sink};
use crate::proxy::client::ClientFacts;
use crate::proxy::error_pages::ErrorFormat;
use crate::proxy::exchange::local_reply::LocalReply;
use crate::proxy::exchange::trailers::Trailers;
use crate::proxy::failure::Failure;
use crate::proxy::origin::{self, AddressText};
use crate::proxy::reply::Reply;
use crate::proxy::request_id::RequestIds;
use crate::proxy::rules::{RequestView, ResponseRules, cors};
use crate::proxy::snapshot::{Destination, Listener, Route, Traffic};
use crate::proxy::upstream::pool::Pool;
use crate::proxy::view::View;
use crate::route::{self, Match, PathError, Table, keep_empty_parts, keep_slashes, normalise_path};

/// Longest authority taken from a request, in bytes: a DNS name of 253, brackets, a port. What is added
/// to a forwarded head stays within a buffer's headroom this way.
const MAX_AUTHORITY: usize = 270;

/// What becomes of a request.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // an order is moved once, and a box would be an allocation a request
pub(crate) enum Decision {
    /// It goes to a backend.
    Forward(Forward),
    /// It is answered here.
    Answer(Box<LocalReply>),
}

/// A request that was understood, routed and encoded for its backend.
#[derive(Debug)]
pub(crate) struct Forward {
    /// Bytes of its head in the client's buffer.
    pub head_len: usize,
    /// Where it goes.
    pub pool: Rc<Pool>,
    /// The route by its index, if that has other upstreams for when this one can't be reached.
    pub split: Option<u32>,
    /// Its body's framing.
    pub framing: Framing,
    /// What the response's parser must know.
    pub context: RequestContext,
    /// The client's version.
    pub version: Version,
    /// Whether the client may wait for a 100 before it sends the body.
    pub expects: bool,
    /// Whether the client lets its connection live on.
    pub keep_alive: bool,
    /// Whether it may be sent twice (RFC 9110 §9.2.2).
    pub idempotent: bool,
    /// Whether what it says of who asks may hold for all that follows on its backend's connection (NTLM, Negotiate):
    /// that serves nobody else then.
    pub authenticates: bool,
    /// The authority, where the backend's TLS server name is taken from it.
    pub host: Option<String>,
    /// From its end to the response's head.
    pub response_timeout: Duration,
    /// Silence within the response.
    pub idle_timeout: Duration,
    /// Its line in the access log, if there is one.
    pub logged: RefCell<Option<Box<Record>>>,
    /// What its Connection lists, if its trailers have to mind that.
    pub named: Option<Box<[u8]>>,
    /// What its route's rules have still to do with its trailers and with the response.
    pub pending: Option<Box<ResponseRules>>,
    /// How the client wants to be told of a failure, where there are pages for that.
    pub wish: Option<ErrorFormat>,
}

impl Forward {
    /// Sends it to another upstream of its route: nothing of it has left.
    pub(crate) fn go_to(&mut self, pool: &Rc<Pool>, route: &Route) {
        self.pool = Rc::clone(pool);
        self.response_timeout = route.response_timeout.unwrap_or(pool.upstream.response_timeout);
        self.idle_timeout = route.idle_timeout.unwrap_or(pool.upstream.idle_timeout);
    }

    /// Which of its trailers go to the backend.
    pub(crate) fn trailers(&self) -> Trailers<'_> {
        Trailers::of_request(self.named.as_deref(), self.pending.as_deref())
    }
}

/// The id that a trusted client gave its request: one field, and nothing that a page or a log would stumble over.
fn given_id<'b>(head: &RequestHead<'_, 'b>) -> Option<&'b str> {
    let mut all = head.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("x-request-id"));
    let id = all.next().filter(|_| all.next().is_none())?.value;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=:@".contains(byte);
    let good = !id.is_empty() && id.len() <= MAX_REQUEST_ID_BYTES && id.iter().all(plain);
    std::str::from_utf8(id).ok().filter(|_| good)
}

/// Understands the request at the front of `bytes`, routes it, and appends its new head to `out` if it is to be
/// forwarded. `None`: the head is not whole yet.
///
/// # Errors
/// What the client is told instead of a response.
pub(crate) fn understand(
    view: &View,
    listener: usize,
    client: &ClientFacts,
    ids: &RequestIds,
    access: Option<&Sink>,
    bytes: &[u8],
    out: &mut Vec<u8>,
) -> Result<Option<Decision>, Failure> {
    let limits = &view.config.listeners[listener].limits;
    ids.wish.set(None);
    let mut slots = http1::header_slots();
    let head = match http1::parse_request(bytes, &mut slots, &HeadLimits::from(limits)) {
        Ok(Parsed::Complete(head)) => head,
        Ok(Parsed::Partial) => return Ok(None),
        Err(error) => return Err(Failure::Request(error)),
    };
    let digits = ids.next();
    let given = view.config.listeners[listener].accept_request_id.then(|| given_id(&head)).flatten();
    let id = given.unwrap_or_else(|| std::str::from_utf8(&digits).unwrap_or_default());
    let pages = view.config.listeners[listener].pages.as_ref();
    let wish = pages.map(|_| ErrorFormat::of(head.headers.iter().map(|h| (h.name.as_bytes(), h.value)), id));
    ids.wish.set(wish);
    if let Some(sink) = access {
        sink.begin(&view.config.listeners[listener].name, client, Some(&head), Some(id));
    }
    let said = admit(&view.config.listeners[listener], &head, client, access)?;
    let address = said.as_ref().map_or(&*client.address, AddressText::as_str);
    check(&head, limits)?;
    let traffic = &view.config.listeners[listener].traffic;
    let (normalised, (route, matched)) = routed(traffic, &head)?;
    let listener = &view.config.listeners[listener].name;
    let asked = RequestView { head: &head, path: &normalised, client, address, id, listener };
    let pending = match matched.rules.as_ref().map(|rules| rules.admit(&asked)) {
        None => None,
        Some(Ok(pending)) => pending,
        Some(Err(reply)) => {
            let answer = LocalReply::new(reply, None, &head, access).told_by(pages, wish);
            return Ok(Some(Decision::Answer(Box::new(answer))));
        }
    };
    if let (Some(sink), Some(pending)) = (access, &pending) {
        pending.note(sink);
    }
    // Rules and redirects see one form of the path; the backend of such a route sees its empty parts.
    let apart = if matched.merge_slashes { None } else { apart(traffic, &head, &normalised, route) };
    let asked = RequestView { path: apart.as_deref().unwrap_or(asked.path), ..asked };
    let mut order = match &matched.to {
        Destination::Upstream(upstream) => {
            forward(matched, &view.pools[*upstream], &asked, pending, access, out)
        }
        Destination::Split(split) => {
            let answers = |upstream: usize| !view.pools[upstream].is_shunned();
            let picked = split.pick(ids.point());
            let picked = if answers(picked) { Some(picked) } else { split.pick_where(ids.point(), answers) };
            let picked = picked.unwrap_or_else(|| split.pick(ids.point()));
            let order = forward(matched, &view.pools[picked], &asked, pending, access, out);
            // What names no host is given its endpoint's, and stays with that.
            let own = matched.rules.as_ref().and_then(|rules| rules.host());
            let host = own.or(head.host);
            let named = || split.upstreams().any(|upstream| view.pools[upstream].is_named_by_request());
            let name = order.host.or_else(|| host.filter(|_| named()).map(str::to_owned));
            Forward { split: host.and_then(|_| u32::try_from(route).ok()), host: name, ..order }
        }
        Destination::Reply(reply) => {
            return Ok(Some(Decision::answer((**reply).clone(), pending, &head, access)));
        }
        Destination::Redirect(redirect) => {
            let reply = redirect.reply(&head, &normalised, client);
            return Ok(Some(Decision::answer(reply, pending, &head, access)));
        }
    };
    order.wish = wish;
    Ok(Some(Decision::Forward(order)))
}

/// The client's address, where a trusted proxy names another one than its own.
///
/// # Errors
/// The listener does not permit it.
fn admit(
    listener: &Listener,
    head: &RequestHead<'_, '_>,
    client: &ClientFacts,
    access: Option<&Sink>,
) -> Result<Option<AddressText>, Failure> {
    let rule = listener.client_address.as_ref();
    let said = rule.and_then(|rule| origin::client_of(rule, head, &client.address));
    if let (Some(sink), Some(address)) = (access, &said) {
        sink.note(&Variable::ClientAddress, address.as_str().as_bytes());
    }
    if !listener.permitted.is_empty() {
        let address = said.as_ref().map_or(&*client.address, AddressText::as_str);
        let permits = |address: IpAddr| listener.permitted.permits(address);
        address.parse().is_ok_and(permits).then_some(()).ok_or(Failure::NotPermitted)?;
    }
    Ok(said)
}

/// The path of a request in its normal form, and its route with its index.
fn routed<'t, 'b>(
    traffic: &'t Traffic,
    head: &RequestHead<'_, 'b>,
) -> Result<(Cow<'b, str>, (usize, &'t Route)), Failure> {
    match normalise_path(head.target.path) {
        Ok(path) => {
            let found = find(traffic, head, &path)?;
            Ok((path, found))
        }
        Err(error) => find_slashed(traffic, head, error),
    }
}

/// The route, with its index, of a request whose path is `path` in its normalised form.
fn find<'t>(
    traffic: &'t Traffic,
    head: &RequestHead<'_, '_>,
    path: &str,
) -> Result<(usize, &'t Route), Failure> {
    let Traffic::Http { table, routes } = traffic else {
        return Err(Failure::NoRoute);
    };
    let method = head.method.as_str();
    let (host, query, headers) = (head.host, head.target.query, head.headers);
    let asked = route::RouteQuery { host, path, query, method, headers, announced: None };
    let preflight = (head.method == Method::Options).then(|| cors::preflight_of(head)).flatten();
    if let Some((method, fields)) = preflight {
        return find_for_preflight(table, routes, &asked, (method, fields));
    }
    match table.find(&asked) {
        Match::Route(index) => Ok((index, &routes[index])),
        Match::MethodNotAllowed { allow } => Err(Failure::MethodNotAllowed(allow)),
        Match::NotFound => Err(Failure::NoRoute),
    }
}

/// The route of a path that was refused, if it has encoded slashes and a route that lets them pass: the very one that
/// the path comes to with these slashes decoded, so that nothing reaches a route's backend around another route.
#[cold]
fn find_slashed<'t, 'b>(
    traffic: &'t Traffic,
    head: &RequestHead<'_, 'b>,
    error: PathError,
) -> Result<(Cow<'b, str>, (usize, &'t Route)), Failure> {
    let refused = || Failure::AmbiguousPath(error);
    if error != PathError::HiddenSeparator {
        return Err(refused());
    }
    let slashed = keep_slashes(head.target.path).map_err(|_| refused())?;
    let (index, route) = find(traffic, head, &slashed.kept).map_err(|_| refused())?;
    let (same, _) = find(traffic, head, &slashed.decoded).map_err(|_| refused())?;
    if !route.encoded_slashes || same != index {
        return Err(refused());
    }
    Ok((slashed.kept.into(), (index, route)))
}

/// The path with its empty parts, if it comes to the same route in that form and is the same but for them.
#[cold]
fn apart(traffic: &Traffic, head: &RequestHead<'_, '_>, merged: &str, route: usize) -> Option<String> {
    let path = keep_empty_parts(head.target.path, merged)?;
    let (index, _) = find(traffic, head, &path).ok()?;
    (index == route).then_some(path)
}

/// The route of a preflight: that of the request of which it speaks, if it has a policy. If it has none, its backend
/// may have one, or whichever takes OPTIONS; but the policy of another route says nothing about it.
fn find_for_preflight<'t>(
    table: &Table,
    routes: &'t [Route],
    asked: &route::RouteQuery<'_>,
    (method, fields): (&str, &[u8]),
) -> Result<(usize, &'t Route), Failure> {
    let has_policy = |index: usize| routes[index].rules.as_ref().is_some_and(|rules| rules.cors.is_some());
    let meant = match table.find(&route::RouteQuery { method, announced: Some(fields), ..*asked }) {
        Match::Route(index) => Some(index),
        _ => None,
    };
    if let Some(index) = meant.filter(|index| has_policy(*index)) {
        return Ok((index, &routes[index]));
    }
    match table.find(asked) {
        Match::Route(index) if has_policy(index) && meant.is_some() => Err(Failure::NoCors),
        Match::Route(index) => Ok((index, &routes[index])),
        Match::MethodNotAllowed { allow } => Err(Failure::MethodNotAllowed(allow)),
        Match::NotFound => Err(Failure::NoRoute),
    }
}

impl Decision {
    fn answer(
        reply: Reply,
        pending: Option<Box<ResponseRules>>,
        head: &RequestHead<'_, '_>,
        access: Option<&Sink>,
    ) -> Self {
        Self::Answer(Box::new(LocalReply::new(reply, pending, head, access)))
    }
}

/// Appends the head that goes to the backend, and says what else there is to be known of the request.
fn forward(
    matched: &Route,
    pool: &Rc<Pool>,
    asked: &RequestView<'_, '_, '_>,
    pending: Option<Box<ResponseRules>>,
    access: Option<&Sink>,
    out: &mut Vec<u8>,
) -> Forward {
    let RequestView { head, client, .. } = asked;
    let path = matched.rewrite.apply(asked.path);
    let rewrite = if path == head.target.path { PathRewrite::Keep } else { PathRewrite::Replace(&path) };
    let forwarded = ForwardedFor {
        client: asked.address,
        proto: client.proto(),
        host: head.host,
        request_id: asked.id,
        client_certificate: client.certificate().map(|certificate| &*certificate.forwarded),
    };
    // A request that names no host (HTTP/1.0) is given the endpoint's.
    let own = matched.rules.as_ref().and_then(|rules| rules.host());
    let host = own.or_else(|| head.host.is_none().then(|| pool.authority()));
    http1::encode_request(head, rewrite, &forwarded, host, out);
    if let Some(pending) = &pending {
        pending.edit_request(out);
    }
    let upstream = &pool.upstream;
    Forward {
        head_len: head.len,
        pool: Rc::clone(pool),
        split: None,
        framing: head.framing,
        context: RequestContext::from(*head),
        version: head.version,
        expects: head.expect_continue,
        keep_alive: head.keep_alive,
        idempotent: head.method.is_idempotent(),
        authenticates: head.headers.iter().any(|header| authenticates_connection(header.name, header.value)),
        host: own.or(head.host).filter(|_| pool.is_named_by_request()).map(str::to_owned),
        response_timeout: matched.response_timeout.unwrap_or(upstream.response_timeout),
        idle_timeout: matched.idle_timeout.unwrap_or(upstream.idle_timeout),
        logged: access.and_then(Sink::take).into(),
        named: head.named_trailers(),
        pending,
        wish: None,
    }
}

/// Whether a field has credentials of a scheme that authenticates connections instead of requests (RFC 4559 §6).
fn authenticates_connection(name: &str, value: &[u8]) -> bool {
    let is = |scheme: &&[u8]| value.get(..scheme.len()).is_some_and(|said| said.eq_ignore_ascii_case(scheme));
    name.eq_ignore_ascii_case("authorization") && [&b"ntlm"[..], b"negotiate"].iter().any(is)
}

/// What Ringate bounds beyond the grammar.
fn check(head: &RequestHead<'_, '_>, limits: &Limits) -> Result<(), Failure> {
    if head.host.is_some_and(|host| host.len() > MAX_AUTHORITY) {
        return Err(Failure::Request(http1::RequestError::BadHost));
    }
    if head.max_forwards == Some(0) {
        return Err(Failure::LastHop);
    }
    match head.framing {
        Framing::Length(length) if limits.body_bytes > 0 && length > limits.body_bytes => {
            Err(Failure::BodyTooLarge)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_do_not_repeat() {
        let ids = RequestIds::new(0x0123_4567_89ab_cdef);
        let all: std::collections::HashSet<_> = (0..1000).map(|_| ids.next()).collect();
        assert_eq!(all.len(), 1000);
        assert!(all.iter().all(|id| id.starts_with(b"0123456789abcdef")));
    }
}
