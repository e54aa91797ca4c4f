//! What is decided of a request before anything is sent: pure, from a head to a [`Forward`].

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::base::failures::Failed;
use crate::config::access::Variable;
use crate::http::grpc::Call;
use crate::http::{
    BodyLength, ForwardedFor, HeadEdit, Method, OutgoingRequest, PathRewrite, RequestContext, RequestHead,
    Version, authenticates_connection, grpc,
};
use crate::http1::{Envelope, RequestError};
use crate::proxy::access::Record;
use crate::proxy::client::ClientFacts;
use crate::proxy::destination::files::FileRequest;
use crate::proxy::destination::portal::Portal;
use crate::proxy::destination::unmapped;
use crate::proxy::error_pages::{ErrorContext, ErrorFormat};
use crate::proxy::exchange::found::{Found, Held, Resumed};
use crate::proxy::exchange::grpc_web;
use crate::proxy::exchange::local_reply::LocalReply;
use crate::proxy::exchange::lookup::{apart, routed};
use crate::proxy::exchange::portal_form::PortalForm;
pub(crate) use crate::proxy::exchange::refused::Refused;
use crate::proxy::exchange::request_key;
use crate::proxy::exchange::request_log;
use crate::proxy::exchange::trailer_filter::TrailerFilter;
use crate::proxy::exchange::websocket::websocket_key;
use crate::proxy::failure::Failure;
use crate::proxy::origin::{self, AddressText};
use crate::proxy::reply::Reply;
use crate::proxy::request_id::{RequestId, given_id};
use crate::proxy::rules::{self, RequestView, ResponseRules, Source, Stop};
use crate::proxy::snapshot::{Destination, Listener, Route, Split};
use crate::proxy::trace::{self, Trace};
use crate::proxy::upstream::pool::Pool;
use crate::proxy::upstream::request_key::{Repeat, RequestKey};
use crate::proxy::view::View;
use crate::proxy::worker::Worker;
use crate::route::Rewrite;

/// Longest authority taken from a request, in bytes: a DNS name of 253, brackets, a port. What is added
/// to a forwarded head stays within a buffer's headroom this way.
const MAX_AUTHORITY: usize = 270;

/// What becomes of a request.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // a box would be an allocation a request
pub(crate) enum Decision {
    /// It is forwarded to a backend.
    Forward(Forward),
    /// It is answered here.
    Answer(LocalReply),
}

/// Where a decision is written. It is large, so it is not returned: what returns it would copy it, and so would each of
/// that one's callers.
pub(crate) type Place = Option<Decision>;

/// What is known of a request once its head was read.
#[derive(Debug)]
pub(crate) enum Understood {
    /// The decision has been written.
    Decided,
    /// Something must be found out first; then [`resume`] decides.
    Wait(Box<Held>),
}

/// A request that was understood and routed.
#[derive(Debug)]
pub(crate) struct Forward {
    /// Its head as it goes on. It is encoded for the connection of each attempt.
    pub head: OutgoingRequest,
    /// Its destination.
    pub pool: Rc<Pool>,
    /// Its route, by its index among those of the listener.
    pub route: Option<u32>,
    /// Bytes of its head as the client sent it; of HTTP/2, without compression.
    pub head_bytes: u32,
    /// What is recorded of it, if it is.
    pub trace: Option<Box<Trace>>,
    /// Which of its endpoints it prefers.
    pub key: RequestKey,
    /// The route by its index, if that has other upstreams for when this one can't be reached.
    pub split: Option<u32>,
    /// Where in its route's shares it falls: a fraction of 2⁶⁴.
    pub point: u64,
    /// Its head in the client's buffer, and the framing of its body behind that.
    pub envelope: Envelope,
    /// What the response's parser must know.
    pub context: RequestContext,
    /// The client's version.
    pub version: Version,
    /// Whether the client may wait for a 100 before it sends the body.
    pub expects: bool,
    /// Whether it may be sent twice (RFC 9110 §9.2.2).
    pub idempotent: bool,
    /// The request carries connection-bound credentials (NTLM, Negotiate): its upstream connection must not be reused for other
    /// clients.
    pub authenticates: bool,
    /// The authority, where the backend's TLS server name is taken from it.
    pub host: Option<String>,
    /// What its client is, if it is a call of gRPC.
    pub grpc: Option<Call>,
    /// The time that the call gives itself, from its head to the end of its response (`grpc-timeout`).
    pub time: Option<Duration>,
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
    pub error_format: Option<ErrorFormat>,
}

impl Forward {
    /// Sends it to another upstream of its route: nothing of it has left.
    pub(crate) fn go_to(&mut self, pool: &Rc<Pool>, route: &Route) {
        self.key = self.key.moved(self.pool.upstream.hash_by == pool.upstream.hash_by);
        self.pool = Rc::clone(pool);
        self.response_timeout = route.response_timeout.unwrap_or(pool.upstream.response_timeout);
        self.idle_timeout = route.idle_timeout.unwrap_or(pool.upstream.idle_timeout);
    }

    /// Which of its trailers go to the backend.
    pub(crate) fn trailer_filter(&self) -> TrailerFilter<'_> {
        TrailerFilter::of_request(self.named.as_deref(), self.pending.as_deref())
    }
}

/// Routes a request whose head was read, and takes what is to be forwarded of the head.
///
/// # Errors
/// The response instead of a backend's, with all that was found out until then.
pub(crate) fn understand(
    view: &View,
    listener: usize,
    client: &ClientFacts,
    worker: &Worker,
    (head, envelope): (&RequestHead<'_, '_>, Envelope),
    place: &mut Place,
) -> Result<Understood, Box<Refused>> {
    let of = &view.config.listeners[listener];
    let id = worker.ids.next();
    let text = id_of(of, head, &id);
    let error_format = of.pages.as_ref().map(|_| ErrorFormat::of(fields_of(head), text));
    let logged = worker.access.as_ref().map(|sink| sink.begin(&of.name, client, Some(head), Some(text)));
    // What has no place in a buffer has its lines elsewhere.
    let head_bytes = if envelope.len > 0 { envelope.len } else { head.fields.block().len() };
    let head_bytes = u32::try_from(head_bytes).unwrap_or(u32::MAX);
    let tracer = worker.traces.as_ref();
    let trace = tracer.and_then(|tracer| tracer.begin(head, &id, (&of.name, client, text)));
    let (grpc, route, rules, verdicts) = (Call::of(head), None, None, None);
    let found = Found { envelope, route, head_bytes, trace, id, error_format, grpc, logged, rules, verdicts };
    conclude((view, of), client, worker, head, found, place)
}

/// The same of a request that has waited: its head is the one of before.
///
/// # Errors
/// See [`understand`].
#[cold]
pub(crate) fn resume(
    view: &View,
    listener: usize,
    client: &ClientFacts,
    worker: &Worker,
    (head, resumed): (&RequestHead<'_, '_>, Resumed),
    place: &mut Place,
) -> Result<Understood, Box<Refused>> {
    conclude((view, &view.config.listeners[listener]), client, worker, head, resumed.found(), place)
}

/// The id of a request: that of its client, if the listener takes it.
fn id_of<'b>(of: &Listener, head: &RequestHead<'_, 'b>, own: &'b RequestId) -> &'b str {
    of.accept_request_id.then(|| given_id(head)).flatten().unwrap_or_else(|| own.as_str())
}

/// Names and values of its fields.
fn fields_of<'h>(head: &'h RequestHead<'_, '_>) -> impl Iterator<Item = (&'h [u8], &'h [u8])> {
    head.fields.iter().map(|header| (header.name.as_bytes(), header.value))
}

fn conclude(
    (view, of): (&View, &Listener),
    client: &ClientFacts,
    worker: &Worker,
    head: &RequestHead<'_, '_>,
    mut found: Found,
    place: &mut Place,
) -> Result<Understood, Box<Refused>> {
    let id = found.id;
    match decide((view, of), client, worker, (head, id_of(of, head, &id)), &mut found, place) {
        Ok(decision) => Ok(decision),
        Err(failure) => {
            let Found { logged, rules, route, trace, head_bytes, error_format: format, grpc, .. } = found;
            let context = Some(ErrorContext { head_only: head.method == Method::Head, format, grpc, route });
            let id = Some(id_of(of, head, &id).into());
            Err(Box::new(Refused { failure, context, logged, id, rules, route, head_bytes, trace }))
        }
    }
}

/// The destination of a request.
fn decide(
    (view, listener): (&View, &Listener),
    client: &ClientFacts,
    worker: &Worker,
    (head, id): (&RequestHead<'_, '_>, &str),
    found: &mut Found,
    place: &mut Place,
) -> Result<Understood, Failure> {
    let said = client_of(listener, head, client);
    let address = said.as_ref().map_or(&*client.address, AddressText::as_str);
    // A listener's rules do not depend on the path, which is normalised for the route.
    // Without traces of its own, Ringate leaves it to others to record what a route makes a context for.
    let sampled = worker.traces.is_none() || found.trace.is_some();
    let (path, name) = (head.target.path, &*listener.name);
    let asked = RequestView { head, path, client, address, id, listener: name, sampled };
    if let Some(record) = &mut found.logged {
        request_log::note(record, &asked, view);
    }
    if let Err(reply) = admit(listener, &asked, found)? {
        note_refusal(worker, &asked, "", &reply);
        return Ok(refuse(reply, listener, head, found, place));
    }
    check(head)?;
    let (normalised, (route, matched)) = routed(&listener.traffic, head, address)?;
    found.route = u32::try_from(route).ok();
    found.trace_route(matched);
    if matched.pages.is_some() && found.error_format.is_none() {
        found.error_format = Some(ErrorFormat::of(fields_of(head), id));
    }
    if let Some(log) = &matched.log {
        request_log::choose(log, (worker, view), &asked, found.id.point, &mut found.logged);
    }
    check_length(head, matched.limits.body_bytes.unwrap_or(listener.limits.body_bytes))?;
    let asked = RequestView { path: &normalised, ..asked };
    if matched.grpc_web {
        found.grpc = found.grpc.or_else(|| Call::of_web(head));
    }
    if let Some(stopped) = apply_rules(matched, (view, listener, worker), &asked, found, place) {
        return Ok(stopped);
    }
    if let (Some(record), Some(pending)) = (&mut found.logged, &found.rules) {
        pending.note(record);
    }
    // Rules and redirects see one form of the path; the backend of such a route sees its empty parts.
    let apart = if matched.merge_slashes {
        None
    } else {
        apart(&listener.traffic, (head, address), &normalised, route)
    };
    let own = RequestView { path: apart.as_deref().unwrap_or(asked.path), ..asked };
    Ok(lead((view, listener, worker), matched, (&asked, &own), found, place))
}

/// The destination of a request that the rules of its route let pass. `own` has its path as backends and files are asked for it.
fn lead(
    (view, listener, worker): (&View, &Listener, &Worker),
    matched: &Route,
    (asked, own): (&RequestView<'_, '_, '_>, &RequestView<'_, '_, '_>),
    found: &mut Found,
    place: &mut Place,
) -> Understood {
    let (head, client) = (asked.head, asked.client);
    let refuse = |reply: Reply, found: &mut Found, place: &mut Place| {
        note_refusal(worker, asked, &matched.id, &reply);
        refuse(reply, listener, head, found, place)
    };
    let path = match new_path(matched, own) {
        Ok(path) => path,
        Err(reply) => return refuse(reply, found, place),
    };
    match &matched.to {
        Destination::Upstream(upstream) => {
            let to = Picked::only(&view.pools[*upstream]);
            forward(matched, to, (own, &path), found, worker.heads.take(), place)
        }
        Destination::Split(split) => {
            let to = Picked::of(split, view, head, found);
            forward(matched, to, (own, &path), found, worker.heads.take(), place)
        }
        Destination::Reply(reply) => answered(found.local((**reply).clone(), head), place),
        Destination::Portal(portal) => to_portal(portal, (listener, matched, worker), asked, found, place),
        Destination::Files(files) => {
            let of = (found.id.point, matched.limits.response);
            let request = FileRequest::new(files, head, (&path, asked.path), of, worker.heads.take());
            let reply = Reply::refusal(500, "a file was not opened");
            answered(later(reply, (listener, worker), asked, found).with_file(request), place)
        }
        Destination::Redirect(redirect) => match asked.with_query(|query| redirect.reply(query, client)) {
            Ok(reply) => answered(found.local(reply, head), place),
            Err(reply) => refuse(reply, found, place),
        },
    }
}

/// The path that a backend or the files below a root are asked for.
///
/// # Errors
/// The refusal of a request for which the route's map has a value that is no path.
#[inline]
fn new_path<'p>(matched: &'p Route, asked: &RequestView<'p, '_, '_>) -> Result<Cow<'p, str>, Reply> {
    let by_map = match &matched.rewrite {
        Rewrite::Mapped(_) if asked.path != "*" => asked.with_query(|query| matched.rewrite.by_map(query)),
        _ => Ok(None),
    };
    let by_map = by_map.map_err(unmapped)?;
    Ok(by_map.map_or_else(|| matched.rewrite.apply(asked.path), Cow::Owned))
}

/// To the page for consumers, or one of its forms.
fn to_portal(
    portal: &Portal,
    (listener, matched, worker): (&Listener, &Route, &Worker),
    asked: &RequestView<'_, '_, '_>,
    found: &mut Found,
    place: &mut Place,
) -> Understood {
    match portal.form(asked.head, asked.client, asked.address) {
        None => answered(found.local(portal.reply(asked.client), asked.head), place),
        Some(Err(reply)) => {
            note_refusal(worker, asked, &matched.id, &reply);
            refuse(reply, listener, asked.head, found, place)
        }
        Some(Ok((clerk, form))) => {
            let form = PortalForm::new(clerk, form, asked.head.expect_continue);
            let reply = Reply::refusal(503, "a form was not carried out");
            answered(later(reply, (listener, worker), asked, found).with_form(form), place)
        }
    }
}

/// The upstream that a request goes to first.
struct Picked<'v> {
    pool: &'v Rc<Pool>,
    /// The route by its index, if that has other upstreams for when this one can't be reached.
    split: Option<u32>,
    /// Whether one of those takes its TLS server name from the request.
    named: bool,
}

impl<'v> Picked<'v> {
    /// The only upstream of a route.
    fn only(pool: &'v Rc<Pool>) -> Self {
        Self { pool, split: None, named: pool.is_named_by_request() }
    }

    /// One of several, by their shares.
    fn of(split: &Split, view: &'v View, head: &RequestHead<'_, '_>, found: &Found) -> Self {
        // Whether its body is at hand is not known yet.
        let repeat = if head.method.is_idempotent() { Repeat::Held } else { Repeat::Never };
        let (answers, point) = (|upstream: usize| !view.pools[upstream].is_shunned(repeat), found.id.point);
        let picked = split.pick(point);
        let picked = if answers(picked) { Some(picked) } else { split.pick_where(point, answers) };
        let picked = picked.unwrap_or_else(|| split.pick(point));
        // What names no host is given its endpoint's, and stays with that.
        let has_host = head.host.is_some() || found.rules.as_deref().and_then(ResponseRules::host).is_some();
        let named = split.upstreams().any(|upstream| view.pools[upstream].is_named_by_request());
        Self { pool: &view.pools[picked], split: found.route.filter(|_| has_host), named }
    }
}

/// A rule has refused a request: for those that look at failures.
#[cold]
fn note_refusal(worker: &Worker, asked: &RequestView<'_, '_, '_>, route: &str, reply: &Reply) {
    // The answer to a preflight is no failure.
    let Some(cause) = reply.cause.as_deref().filter(|_| reply.status >= 400) else { return };
    worker.counters.failures.note(&Failed {
        clients: reply.error.is_none(),
        route,
        id: asked.id,
        status: reply.status,
        ..Failed::at(asked.listener, reply.error.unwrap_or("http_request_denied"), &cause)
    });
}

/// Applies the rules of a route. `Some`: one of them refuses the request, or it waits for a check.
fn apply_rules(
    matched: &Route,
    (view, listener, worker): (&View, &Listener, &Worker),
    asked: &RequestView<'_, '_, '_>,
    found: &mut Found,
    place: &mut Place,
) -> Option<Understood> {
    let rules = matched.rules.as_ref()?;
    let (pending, admitted) = rules.admit(asked, found.rules.take(), found.verdicts.as_deref());
    found.rules = pending;
    let entered = admitted.and_then(|()| {
        let entered = rules.enter((&worker.tally, asked), &mut found.rules);
        entered.map_err(Stop::from)
    });
    match entered {
        Ok(()) => None,
        Err(Stop::Refused(reply)) => {
            note_refusal(worker, asked, &matched.id, &reply);
            Some(refuse(reply, listener, asked.head, found, place))
        }
        Err(Stop::Wait(check)) => Some(Understood::Wait(Held::new(check, view, asked, found))),
    }
}

/// The client's address, where a trusted proxy names another one than its own.
fn client_of(listener: &Listener, head: &RequestHead<'_, '_>, client: &ClientFacts) -> Option<AddressText> {
    let rule = listener.client_address.as_ref();
    rule.and_then(|rule| origin::client_of(rule, head, &client.address))
}

/// Applies the listener's rules, before any route is chosen. `Ok(Err)`: the answer of a rule that refuses the request.
///
/// # Errors
/// The listener does not permit the client's address.
fn admit(
    listener: &Listener,
    asked: &RequestView<'_, '_, '_>,
    found: &mut Found,
) -> Result<Result<(), Reply>, Failure> {
    if found.verdicts.is_some() {
        return Ok(Ok(())); // a request that has waited was admitted before
    }
    if let Some(rules) = &listener.rules {
        found.rules = rules.edits(&Source::Request(asked), None);
    }
    if !listener.permitted.is_empty() {
        listener.permitted.permits_client(asked.address).then_some(()).ok_or(Failure::NotPermitted)?;
    }
    Ok(listener.rules.as_ref().map_or(Ok(()), |rules| rules.admit_to_listener(asked)))
}

/// Writes the decision that a request is answered here.
fn answered(answer: LocalReply, place: &mut Place) -> Understood {
    *place = Some(Decision::Answer(answer));
    Understood::Decided
}

/// A reply that another one takes the place of. That may be a failure.
fn later(
    reply: Reply,
    (listener, worker): (&Listener, &Worker),
    asked: &RequestView<'_, '_, '_>,
    found: &mut Found,
) -> LocalReply {
    let answer = found.local(reply, asked.head).with_id(asked.id, worker.heads.take());
    answer.with_pages(listener.pages_of(found.route), found.error_format)
}

/// The refusal of a rule, by the listener's pages.
fn refuse(
    mut reply: Reply,
    listener: &Listener,
    head: &RequestHead<'_, '_>,
    found: &mut Found,
    place: &mut Place,
) -> Understood {
    if let Some(error) = reply.error.filter(|_| listener.proxy_status) {
        reply.fields.extend_from_slice(format!("Proxy-Status: ringate; error={error}\r\n").as_bytes());
    }
    let answer = found.local(reply, head);
    let answer = answer.with_pages(listener.pages_of(found.route), found.error_format);
    answered(answer, place)
}

/// What goes to the backend, and what else there is to be known of the request.
fn forward(
    matched: &Route,
    Picked { pool, split, named }: Picked<'_>,
    (asked, path): (&RequestView<'_, '_, '_>, &str),
    found: &mut Found,
    memory: Vec<u8>,
    place: &mut Place,
) -> Understood {
    let RequestView { head, client, .. } = asked;
    let rewrite = if path == head.target.path { PathRewrite::Keep } else { PathRewrite::Replace(path) };
    let forwarded = ForwardedFor {
        client: asked.address,
        proto: client.proto(),
        host: head.host,
        request_id: asked.id,
        client_certificate: client.certificate().map(|certificate| &*certificate.forwarded),
    };
    // A request that names no host (HTTP/1.0) is given the endpoint's.
    let rules = found.rules.take();
    let own = rules.as_deref().and_then(ResponseRules::host);
    let host = own.or_else(|| head.host.is_none().then(|| pool.authority()));
    if let Some(trace) = found.trace.as_ref() {
        let context = trace::context::written(trace.id, trace.next);
        found.note(&Variable::TraceParent, context.as_bytes());
    }
    let write = |head: &RequestHead<'_, '_>, edit: &HeadEdit<'_>| {
        let write = |edit: &HeadEdit<'_>| OutgoingRequest::new(head, rewrite, host, &forwarded, edit, memory);
        trace::with_context(found.trace.as_deref(), edit, write)
    };
    let outgoing =
        rules::edit_request(rules.as_deref(), |edit| match (found.grpc, websocket_key(head, asked.id)) {
            (Some(Call::Web(web)), _) => grpc_web::request(web, head, edit, write),
            (_, None) => write(head, edit),
            (_, Some(key)) => {
                let added = [edit.added, key.as_bytes()].concat();
                write(head, &HeadEdit { added: &added, ..*edit })
            }
        });
    let upstream = &pool.upstream;
    *place = Some(Decision::Forward(Forward {
        head: outgoing,
        pool: Rc::clone(pool),
        route: found.route,
        head_bytes: found.head_bytes,
        trace: found.trace.take(),
        key: request_key::of(upstream, asked),
        split,
        point: found.id.point,
        envelope: found.envelope,
        context: RequestContext::from(*head),
        version: head.version,
        expects: head.expect_continue,
        idempotent: head.method.is_idempotent(),
        authenticates: head.fields.iter().any(|header| authenticates_connection(header.name, header.value)),
        host: own.or(head.host).filter(|_| named).map(str::to_owned),
        grpc: found.grpc,
        time: found.grpc.and_then(|_| grpc::timeout(head.fields.get("grpc-timeout")?)),
        response_timeout: matched.response_timeout.unwrap_or(upstream.response_timeout),
        idle_timeout: matched.idle_timeout.unwrap_or(upstream.idle_timeout),
        logged: found.logged.take().into(),
        named: head.named_trailers(),
        pending: rules,
        error_format: found.error_format,
    }));
    Understood::Decided
}

/// What Ringate bounds beyond the grammar.
fn check(head: &RequestHead<'_, '_>) -> Result<(), Failure> {
    if head.host.is_some_and(|host| host.len() > MAX_AUTHORITY) {
        return Err(Failure::Request(RequestError::BadHost));
    }
    if head.max_forwards == Some(0) {
        return Err(Failure::LastHop);
    }
    Ok(())
}

/// Whether a body of a known length may be so long; 0: there is no bound.
fn check_length(head: &RequestHead<'_, '_>, bound: u64) -> Result<(), Failure> {
    match head.body {
        BodyLength::Known(length) if bound > 0 && length > bound => Err(Failure::BodyTooLarge),
        _ => Ok(()),
    }
}
