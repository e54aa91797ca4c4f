//! The rules of a route: conditions that a request is refused by, and changes to what passes.
//! A listener has refusals, a limit and header edits, which hold before any route is chosen.
//!
//! A route without any has no [`Rules`], and its requests pay for one branch. One with some is applied in two steps:
//!
//! ```text
//! request head ─► admit ─┬─► a Reply: answered here, without a backend
//!                        └─► ResponseRules: what is left to do with the response's head, a Reply's as well
//! ```
//!
//! Everything in [`Rules`] is decided when the snapshot is built; a request only looks things up.

pub(crate) mod auth;
mod certificate;
mod compress;
mod concurrency;
pub(crate) mod cors;
mod credentials;
mod headers;
mod keys;
mod limit;
mod prefix_mapping;
mod refusal;
mod request_view;
mod response_lines;

use std::borrow::Cow;
use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use crate::base::tally::Tally;
use crate::config::access::Variable;
pub(crate) use crate::config::plan::{AddressRule, Trace};
use crate::config::plan::{CertificateRule, Compression, Refusal};
use crate::http::{BodyLength, Coding, HeadEdit, ResponseHead, copy_lines, put_line, remove_lines};
use crate::proxy::access::Record;
use crate::proxy::connection_permit::ConnectionPermit;
use crate::proxy::reply::Reply;
use crate::proxy::trace::context as trace;
pub(crate) use auth::{Auth, Check, Stop, Verdicts};
pub(crate) use concurrency::Concurrency;
pub(crate) use cors::Cors;
pub(crate) use credentials::{Accepted, CredentialRule};
pub(crate) use headers::{Headers, Source};
pub(crate) use keys::KeyRule;
pub(crate) use limit::{Limit, LimitRecord};
pub(crate) use prefix_mapping::PrefixMapping;
pub(crate) use request_view::RequestView;
use response_lines::ResponseLines;

/// The rules of one route, or of a listener. Members are `None` or empty where the config has none.
#[derive(Debug, Default)]
pub struct Rules {
    /// Which clients are permitted; others get 403.
    pub permitted: Option<AddressRule>,
    /// Which requests are refused by what they are.
    pub refusals: Box<[Refusal]>,
    /// How many requests pass; others get 429.
    pub limit: Option<Arc<Limit>>,
    /// What pages of other origins may do. Preflights are answered here.
    pub cors: Option<Cors>,
    /// Which clients are admitted; others get 401.
    pub keys: Option<KeyRule>,
    /// Which credentials of consumers are accepted; others get 401 or 403.
    pub credentials: Option<CredentialRule>,
    /// The proof of identity that a client must give; others get 401 or 403.
    pub auth: Option<Box<Auth>>,
    /// What becomes of the trace context.
    pub trace: Trace,
    /// The certificate that a client must have; others get 403.
    pub certificate: Option<CertificateRule>,
    /// Fields that are set, added or removed.
    pub headers: Option<Box<Headers>>,
    /// Which responses are encoded.
    pub compression: Option<Compression>,
    /// How a backend's references to its own paths are changed.
    pub mapping: Option<PrefixMapping>,
    /// How many of its requests are served at a time; others get 429 or 503.
    pub concurrency: Option<Concurrency>,
}

/// What a request's rules have still to do with it and with its response.
#[derive(Debug)]
pub(crate) struct ResponseRules {
    /// Those of the listener, where these are a route's: their edits apply first.
    listener: Option<Box<Self>>,
    /// The rules that were asked.
    pub rules: Arc<Rules>,
    key: Option<keys::Known>,
    credential: Option<credentials::Accredited>,
    identity: Option<Box<auth::Identity>>,
    /// Whether CORS has a say in the response.
    cors: bool,
    trace: TraceEdit,
    offer: Option<compress::Offer>,
    /// The host that the client asked for, where responses are changed by it.
    host: Option<Box<str>>,
    /// Its place among the requests of the route, where these are bounded.
    permit: Option<Box<ConnectionPermit>>,
    /// What these rules and the listener's add to the request and to its response: whole field lines.
    request_lines: Vec<u8>,
    response_lines: ResponseLines,
    /// Which of the conditional header edits hold, but for those that a response's status decides.
    chosen: Vec<usize>,
}

/// What is done with the trace context that came, or did not.
#[derive(Debug)]
enum TraceEdit {
    Keep,
    /// The received one is valid, and stays the only one: no trailer has another.
    Guard,
    Remove,
    Replace([u8; 55]),
}

/// What a request has proven that its route requires.
#[derive(Debug, Default)]
struct Proven {
    key: Option<keys::Known>,
    credential: Option<credentials::Accredited>,
    identity: Option<Box<auth::Identity>>,
}

impl TraceEdit {
    /// Whether what came does not go on.
    fn removes(&self) -> bool {
        matches!(self, Self::Remove | Self::Replace(_))
    }
}

impl Rules {
    /// Whether these rules are empty, so that the route needs none.
    pub(crate) fn is_empty(&self) -> bool {
        let Self {
            permitted,
            refusals,
            limit,
            cors,
            keys,
            credentials,
            trace,
            certificate,
            headers,
            compression,
            auth,
            mapping,
            concurrency,
        } = self;
        let none = permitted.is_none()
            && refusals.is_empty()
            && concurrency.is_none()
            && limit.is_none()
            && cors.is_none()
            && keys.is_none()
            && credentials.is_none()
            && certificate.is_none()
            && auth.is_none();
        none && *trace == Trace::Pass && headers.is_none() && compression.is_none() && mapping.is_none()
    }

    /// The header edits alone, of a request or of one that was not understood, behind those of `listener`. `None`: there
    /// are none.
    pub(crate) fn edits(
        self: &Arc<Self>,
        source: &Source<'_, '_, '_, '_>,
        listener: Option<Box<ResponseRules>>,
    ) -> Option<Box<ResponseRules>> {
        match self.headers.as_ref().and_then(|headers| headers.lines(source)) {
            Some(lines) => {
                let mut rules = ResponseRules::of(self, listener);
                rules.add(None, Some(lines));
                Some(rules)
            }
            None => listener,
        }
    }

    /// Applies each rule of a route. `listener`: what its listener's rules have to do. The first of the result is `None` if
    /// nothing is left to do with the request and its response. The second is an error if the request is not served, or not
    /// yet. `verdicts`: what was found out since, where it was asked before.
    pub(crate) fn admit(
        self: &Arc<Self>,
        asked: &RequestView<'_, '_, '_>,
        listener: Option<Box<ResponseRules>>,
        verdicts: Option<&Verdicts>,
    ) -> (Option<Box<ResponseRules>>, Result<(), Stop>) {
        match self.ask(asked, verdicts) {
            Ok(proven) => {
                let own = |_: &[u8]| proven.credential.as_ref().is_some_and(|it| it.allows_origin);
                let grant = self.cors.as_ref().map(|cors| cors.grant(asked, own));
                (self.admitted(asked, listener, proven, grant), Ok(()))
            }
            Err(Stop::Wait(check)) => (listener, Err(Stop::Wait(check))),
            Err(Stop::Refused(mut reply)) => {
                // A page may learn why it is refused.
                let grant = self.cors.as_ref().map(|cors| cors.grant(asked, |origin| self.may_use(origin)));
                reply.fields.extend_from_slice(grant.as_deref().unwrap_or_default());
                let rules = self.edits(&Source::Request(asked), listener);
                (rules, Err(reply.into()))
            }
        }
    }

    /// What is left to do with a request that is served.
    fn admitted(
        self: &Arc<Self>,
        asked: &RequestView<'_, '_, '_>,
        listener: Option<Box<ResponseRules>>,
        proven: Proven,
        grant: Option<cors::Grant>,
    ) -> Option<Box<ResponseRules>> {
        let trace = match self.trace {
            Trace::Pass => TraceEdit::Keep,
            Trace::Off => TraceEdit::Remove,
            Trace::Make if trace::valid(asked.head).is_some() => match asked.head.body {
                BodyLength::Unknown => TraceEdit::Guard,
                _ => TraceEdit::Keep,
            },
            Trace::Make => trace::make(asked.id, asked.sampled).map_or(TraceEdit::Keep, TraceEdit::Replace),
        };
        let lines = self.headers.as_ref().and_then(|headers| headers.lines(&Source::Request(asked)));
        let offer = self.compression.as_ref().map(|rule| compress::offer(rule, asked.head));
        let trace_stays = matches!(trace, TraceEdit::Keep);
        let Proven { key, credential, identity } = proven;
        if key.is_none()
            && credential.is_none()
            && identity.is_none()
            && grant.is_none()
            && lines.is_none()
            && offer.is_none()
            && trace_stays
            && self.mapping.is_none()
        {
            return listener;
        }
        let rules = *ResponseRules::of(self, listener);
        let mut rules =
            ResponseRules { key, credential, identity, cors: grant.is_some(), trace, offer, ..rules };
        rules.host = self.mapping.as_ref().and(asked.head.host).map(Into::into);
        rules.add(grant, lines);
        Some(Box::new(rules))
    }

    /// Counts an admitted request among those of the route until its exchange ends, where these are bounded.
    ///
    /// # Errors
    /// The response to one that is too many.
    pub(crate) fn enter(
        self: &Arc<Self>,
        (tally, asked): (&Arc<Tally>, &RequestView<'_, '_, '_>),
        pending: &mut Option<Box<ResponseRules>>,
    ) -> Result<(), Reply> {
        let Some(bound) = &self.concurrency else { return Ok(()) };
        let permit = bound.enter(tally, asked.address)?;
        pending.get_or_insert_with(|| ResponseRules::of(self, None)).permit = Some(permit);
        Ok(())
    }

    /// Whether pages of an origin may use one of the route's credentials.
    fn may_use(&self, origin: &[u8]) -> bool {
        self.credentials.as_ref().is_some_and(|rule| rule.allows(origin))
    }

    fn ask(&self, asked: &RequestView<'_, '_, '_>, verdicts: Option<&Verdicts>) -> Result<Proven, Stop> {
        if let Some(rule) = &self.permitted {
            rule.permits_client(asked.address)
                .then_some(())
                .ok_or_else(|| Reply::refusal(403, "the client's address is not permitted"))?;
        }
        if !self.refusals.is_empty() {
            refusal::check(&self.refusals, asked, "the route")?;
        }
        // A request that has waited was counted before.
        if let Some(limit) = self.limit.as_ref().filter(|_| verdicts.is_none()) {
            limit.take(asked)?;
        }
        // First: a preflight carries neither certificate nor key.
        if let Some(cors) = &self.cors {
            cors.preflight(asked, |origin| self.may_use(origin))?;
        }
        if let Some(rule) = &self.certificate {
            certificate::check(rule, asked.client.certificate()).map_err(|why| Reply::refusal(403, why))?;
        }
        let mut proven = Proven::default();
        match (&self.keys, &self.credentials) {
            (None, None) => {}
            (Some(keys), None) => proven.key = Some(keys.check(asked)?),
            (None, Some(rule)) => proven.credential = Some(rule.check(asked)?),
            // Keys of before are as good as credentials.
            (Some(keys), Some(rule)) => match keys.check(asked) {
                Ok(known) => proven.key = Some(known),
                Err(_) => proven.credential = Some(rule.check(asked)?),
            },
        }
        if let Some(auth) = &self.auth {
            proven.identity = Some(auth.ask(asked, verdicts)?);
        }
        Ok(proven)
    }

    /// Asks those rules of a listener that refuse requests, before any route is chosen.
    ///
    /// # Errors
    /// The response of the rule that refuses the request.
    pub(crate) fn admit_to_listener(&self, asked: &RequestView<'_, '_, '_>) -> Result<(), Reply> {
        if !self.refusals.is_empty() {
            refusal::check(&self.refusals, asked, "the listener")?;
        }
        self.limit.as_ref().map_or(Ok(()), |limit| limit.take(asked))
    }
}

impl ResponseRules {
    /// Rules that have nothing to do yet but what the listener's have.
    fn of(rules: &Arc<Rules>, listener: Option<Box<Self>>) -> Box<Self> {
        let mut listener = listener;
        let lines = |it: &mut Box<Self>| (take(&mut it.request_lines), take(&mut it.response_lines));
        let (request_lines, response_lines) = listener.as_mut().map(lines).unwrap_or_default();
        Box::new(Self {
            listener,
            rules: Arc::clone(rules),
            key: None,
            credential: None,
            identity: None,
            cors: false,
            trace: TraceEdit::Keep,
            offer: None,
            host: None,
            permit: None,
            request_lines,
            response_lines,
            chosen: Vec::new(),
        })
    }

    /// The Host that the backend is to see, if not the request's.
    pub(crate) fn host(&self) -> Option<&str> {
        let own = self.rules.headers.as_ref().and_then(|headers| headers.host(&self.chosen));
        own.or_else(|| self.listener.as_ref()?.host())
    }

    /// Makes the field lines of this request, each rule's behind those of the rules before it. What a rule sets or
    /// removes is also taken out of these.
    fn add(&mut self, grant: Option<cors::Grant>, lines: Option<headers::Lines>) {
        let Self {
            rules,
            key,
            credential,
            identity,
            trace,
            request_lines: request,
            response_lines: response,
            chosen,
            ..
        } = self;
        if let Some(accredited) = credential {
            remove_lines(request, |name| credentials::is_name(name) || accredited.removes(name));
            for (name, value) in accredited.fields() {
                put_line(name, value.as_bytes(), request);
            }
        }
        if let (Some(rule), Some(known)) = (&rules.keys, key) {
            remove_lines(request, |name| rule.removes(known, name));
            put_line(&rule.name_header, known.name.as_bytes(), request);
        }
        if let (Some(auth), Some(identity)) = (&rules.auth, identity) {
            remove_lines(request, |name| auth.owns(name) || identity.removes(name));
            request.extend_from_slice(identity.lines());
            response.extend(identity.response_lines());
        }
        if trace.removes() {
            remove_lines(request, trace::is_context);
        }
        if let TraceEdit::Replace(value) = trace {
            put_line("traceparent", &value[..], request);
        }
        if let Some(grant) = grant {
            response.remove(cors::is_cors);
            response.extend(&grant);
        }
        if let (Some(headers), Some(lines)) = (&rules.headers, lines) {
            remove_lines(request, |name| headers.drops_from_request(name));
            request.extend_from_slice(&lines.request);
            response.remove(|name| headers.drops_from_response(name));
            response.extend(&lines.response);
            for (at, lines) in lines.chosen {
                let change = headers.conditional(at);
                if change.asks_status() {
                    response.push_by_status(rules, at, lines.response);
                    continue;
                }
                remove_lines(request, |name| change.drops_from_request(name));
                request.extend_from_slice(&lines.request);
                response.remove(|name| change.drops_from_response(name));
                response.extend(&lines.response);
                chosen.push(at);
            }
        }
    }

    /// Whether a field of this name of the request does not go to the backend.
    fn removes_from_request(&self, name: &[u8]) -> bool {
        let key = || Some(self.rules.keys.as_ref()?.removes(self.key.as_ref()?, name));
        self.listener.as_ref().is_some_and(|listener| listener.removes_from_request(name))
            || key().unwrap_or(false)
            || self.removes_credential(name)
            || self.trace.removes() && trace::is_context(name)
            || self.edits_drop_from_request(name)
    }

    /// Whether a field of the request is the credential's: its key, or a name that the client would give itself.
    fn removes_credential(&self, name: &[u8]) -> bool {
        // The names are Ringate's also where a key of `api_keys` was good.
        self.rules.credentials.is_some() && credentials::is_name(name)
            || self.credential.as_ref().is_some_and(|it| it.removes(name))
            || self.rules.auth.as_ref().is_some_and(|auth| auth.owns(name))
            || self.identity.as_ref().is_some_and(|it| it.removes(name))
    }

    /// Whether header edits that hold take a field of this name out of the request.
    fn edits_drop_from_request(&self, name: &[u8]) -> bool {
        let Some(headers) = &self.rules.headers else { return false };
        let conditional = |at: &usize| headers.conditional(*at).drops_from_request(name);
        headers.drops_from_request(name) || self.chosen.iter().any(conditional)
    }

    /// The same of the response, but for those that ask for its status.
    fn edits_drop_from_response(&self, name: &[u8]) -> bool {
        let Some(headers) = &self.rules.headers else { return false };
        let conditional = |at: &usize| headers.conditional(*at).drops_from_response(name);
        headers.drops_from_response(name) || self.chosen.iter().any(conditional)
    }

    /// Whether a field of this name of a response with this status does not go to the client.
    fn removes_from_response(&self, status: u16, name: &[u8]) -> bool {
        self.listener.as_ref().is_some_and(|listener| listener.removes_from_response(status, name))
            || self.response_lines.drops(status, name)
            || self.cors && cors::is_cors(name)
            || self.edits_drop_from_response(name)
    }

    /// Whether a trailer of this name does not go to the backend: one that the head's rules set, remove or guard.
    pub(crate) fn drops_request_trailer(&self, name: &[u8]) -> bool {
        self.listener.as_ref().is_some_and(|listener| listener.drops_request_trailer(name))
            || self.rules.keys.as_ref().is_some_and(|rule| rule.owns(name))
            || self.removes_credential(name)
            || !matches!(self.trace, TraceEdit::Keep) && trace::is_context(name)
            || self.edits_drop_from_request(name)
    }

    /// The same of a trailer to the client of a response with this status, where the body goes as it is or is `encoded` on its way.
    pub(crate) fn drops_response_trailer(&self, name: &[u8], status: u16, encoded: bool) -> bool {
        encoded && compress::describes_body(name) || self.removes_from_response(status, name)
    }

    /// What is changed of a response's references to its backend's paths; `None`: nothing.
    fn mapped(&self, head: &ResponseHead<'_, '_>) -> Option<prefix_mapping::MappedFields> {
        let mapping = self.rules.mapping.as_ref()?;
        let backends = self.host().unwrap_or_default();
        mapping.change(head, &[self.host.as_deref().unwrap_or_default(), backends])
    }

    /// How long the request has waited for checks of `auth`.
    pub(crate) fn waited(&self) -> Duration {
        self.identity.as_ref().map_or(Duration::ZERO, |it| it.waited)
    }

    /// Notes in the access log what was found and made.
    pub(crate) fn note(&self, access: &mut Record) {
        if let Some(known) = &self.key {
            access.note(&Variable::ClientKey, known.name.as_bytes());
        }
        if let Some(it) = &self.credential {
            access.note(&Variable::ClientConsumer, it.consumer.as_bytes());
            access.note(&Variable::ClientCredential, it.credential.as_bytes());
        }
        if let Some(it) = &self.identity {
            access.note(&Variable::AuthUser, it.user.as_bytes());
        }
        match &self.trace {
            TraceEdit::Keep | TraceEdit::Guard => {}
            TraceEdit::Remove => access.note(&Variable::TraceParent, b""),
            TraceEdit::Replace(value) => access.note(&Variable::TraceParent, value),
        }
    }
}

/// Hands `write` what a request's rules change of it on its way to the backend.
pub(crate) fn edit_request<R>(rules: Option<&ResponseRules>, write: impl FnOnce(&HeadEdit<'_>) -> R) -> R {
    let Some(rules) = rules else { return write(&HeadEdit::default()) };
    let removed = |name: &[u8]| rules.removes_from_request(name);
    write(&HeadEdit { removed: Some(&removed), added: &rules.request_lines })
}

/// Hands `write` what a request's rules change of a response of Ringate's own, which has this status.
pub(crate) fn edit_reply<R>(
    rules: Option<&ResponseRules>,
    status: u16,
    write: impl FnOnce(&HeadEdit<'_>) -> R,
) -> R {
    let Some(rules) = rules else { return write(&HeadEdit::default()) };
    let removed = |name: &[u8]| rules.removes_from_response(status, name);
    write(&HeadEdit { removed: Some(&removed), added: &rules.response_lines.of(status) })
}

/// Hands `write` the head of a final response and what a request's rules change of it, and returns how the body is
/// encoded, if it is. `room`: whether there is room for one more encoder.
pub(crate) fn edit_response<R>(
    rules: Option<&ResponseRules>,
    head: &ResponseHead<'_, '_>,
    room: bool,
    write: impl FnOnce(&ResponseHead<'_, '_>, &HeadEdit<'_>) -> R,
) -> (R, Option<Coding>) {
    edit_reply(rules, head.status, |edit| {
        let Some(mapped) = rules.and_then(|rules| rules.mapped(head)) else {
            return edit_encoded(rules, head, room, edit, write);
        };
        // What rules set is as it is meant.
        let mut added = Vec::new();
        copy_lines(&mapped.lines, |name| edit.removes(name), &mut added);
        added.extend_from_slice(edit.added);
        let removed = |name: &[u8]| edit.removes(name) || mapped.removes(name);
        edit_encoded(rules, head, room, &HeadEdit { removed: Some(&removed), added: &added }, write)
    })
}

/// The same with what else is changed of the head.
fn edit_encoded<R>(
    rules: Option<&ResponseRules>,
    head: &ResponseHead<'_, '_>,
    room: bool,
    edit: &HeadEdit<'_>,
    write: impl FnOnce(&ResponseHead<'_, '_>, &HeadEdit<'_>) -> R,
) -> (R, Option<Coding>) {
    let compression = || {
        let rules = rules?;
        compress::change(rules.rules.compression.as_ref()?, rules.offer?, head, room, edit)
    };
    let Some(change) = compression() else { return (write(head, edit), None) };
    let mut added = Cow::Borrowed(edit.added);
    if change.removes_any() {
        let lines = added.to_mut();
        lines.clear();
        copy_lines(edit.added, |name| change.removes(name), lines);
    }
    added.to_mut().extend_from_slice(&change.added);
    let removed = |name: &[u8]| edit.removes(name) || change.removes(name);
    let edit = HeadEdit { removed: Some(&removed), added: &added };
    (write(&change.of(head), &edit), change.coding)
}

#[cfg(test)]
mod tests;
