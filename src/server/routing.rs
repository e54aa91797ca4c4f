//! Routes, made ready for the data path.

use std::sync::Arc;
use std::time::Duration;

use crate::certs::apikeys::Keys;
use crate::config::plan;
use crate::proxy::destination::portal::Portal;
use crate::proxy::error_pages::Pages;
use crate::proxy::reply::{Reply, ReplyBody};
use crate::proxy::rules::{
    Auth, Concurrency, Cors, CredentialRule, Headers, KeyRule, Limit, PrefixMapping, Rules,
};
use crate::proxy::snapshot::{Destination, Route, RouteLog, RouteMeter, Split};
use crate::route::{Clause, HostPattern, PathPattern, Rewrite, RouteSpec};

/// What a route's rules are made of besides the plan.
pub(super) struct Parts {
    /// Its rate limit.
    pub(super) limit: Option<Arc<Limit>>,
    /// The API keys of its file.
    pub(super) keys: Option<Keys>,
    /// The credentials that it accepts.
    pub(super) credentials: Option<CredentialRule>,
    /// The proof of identity that its clients must give.
    pub(super) auth: Auth,
    /// Its access log, if it is not the main one.
    pub(super) log: Option<RouteLog>,
    /// Its error pages, if they are not the listener's.
    pub(super) pages: Option<Arc<Pages>>,
}

/// The access log of a route, among those of the process.
pub(super) fn log(route: &plan::Route, named: &[plan::NamedLog]) -> Option<RouteLog> {
    let chosen = route.access_log.as_ref()?;
    let place = |name: &str| named.iter().position(|log| log.name == name);
    let channel = match &chosen.log {
        plan::LogChoice::Off => None,
        plan::LogChoice::Main => Some(0),
        // One that is there from the next start on has its lines in the main log until then.
        plan::LogChoice::Named(name) => {
            Some(place(name).and_then(|at| u8::try_from(at + 1).ok()).unwrap_or_default())
        }
    };
    let share = u128::from(chosen.sample) * u128::from(u64::MAX) / 1_000_000;
    Some(RouteLog { channel, share: share as u64 })
}

/// A route as workers see it.
pub(super) fn route(
    route: &plan::Route,
    (listener, meter): (&plan::Listener, Arc<RouteMeter>),
    parts: Parts,
    portal: impl Fn(&plan::Portal) -> Portal,
    id: &str,
) -> Route {
    Route {
        id: id.into(),
        meter,
        to: destination(&route.to, portal),
        rewrite: route.rewrite.clone(),
        encoded_slashes: route.encoded_slashes,
        merge_slashes: route.merge_slashes,
        grpc_web: route.grpc_web,
        response_timeout: route.response_timeout,
        idle_timeout: route.idle_timeout,
        intercepted: intercepted(route, listener).into(),
        pages: parts.pages.clone(),
        log: parts.log,
        limits: route.limits,
        rules: rules(route, listener, parts, id),
    }
}

/// What the table must know of it, for each of its hosts.
pub(super) fn specs(route: &plan::Route, id: usize) -> Vec<RouteSpec> {
    let spec = |host: Option<HostPattern>| RouteSpec {
        host,
        path: route.path.value.clone(),
        methods: route.methods.clone(),
        conditions: route.conditions.clone(),
        id,
    };
    match &route.hosts[..] {
        [] => vec![spec(None)],
        hosts => hosts.iter().map(|host| spec(Some(host.value.clone()))).collect(),
    }
}

/// The same of a route of TLS that is not opened.
pub(super) fn spec_by_name(route: &plan::Route, upstream: usize) -> RouteSpec {
    RouteSpec {
        host: route.sni.as_ref().map(|name| name.value.clone()),
        path: PathPattern::Prefix("/".to_owned()),
        methods: None,
        conditions: Vec::new(),
        id: upstream,
    }
}

fn destination(to: &plan::Destination, portal: impl Fn(&plan::Portal) -> Portal) -> Destination {
    match to {
        plan::Destination::Upstreams(shares) => match &shares[..] {
            [one] => Destination::Upstream(one.upstream),
            shares => {
                Destination::Split(Split::new(shares.iter().map(|share| (share.upstream, share.weight))))
            }
        },
        plan::Destination::Respond(respond) => Destination::Reply(Box::new(fixed(respond))),
        plan::Destination::Redirect(redirect) => Destination::Redirect(Box::new(redirect.clone())),
        plan::Destination::Portal(page) => Destination::Portal(Box::new(portal(page))),
        plan::Destination::Files(files) => Destination::Files(Arc::new(files.value.clone())),
    }
}

/// The rules of a route, if it has any.
fn rules(route: &plan::Route, listener: &plan::Listener, parts: Parts, id: &str) -> Option<Arc<Rules>> {
    let asked = &route.rules;
    let Parts { limit, keys, credentials, auth, log: _, pages: _ } = parts;
    let keys = asked.api_keys.as_ref().zip(keys).map(|(asked, keys)| KeyRule {
        keys,
        header: asked.header.clone(),
        name_header: asked.name_header.clone(),
        forward: asked.forward,
    });
    let sets_host = sets_host(&route.request_headers, &route.conditional_headers)
        || sets_host(&listener.request_headers, &listener.conditional_headers);
    let rules = Rules {
        permitted: (!asked.permitted.is_empty()).then(|| asked.permitted.clone()),
        refusals: asked.refusals.clone().into(),
        limit,
        cors: cors(asked.cors.as_ref(), credentials.as_ref()),
        keys,
        credentials,
        auth: (!auth.is_empty()).then(|| Box::new(auth)),
        trace: asked.trace,
        certificate: route.client_certificate.clone(),
        mapping: mapping(route, sets_host),
        headers: Headers::new(&route.request_headers, &route.response_headers, &route.conditional_headers),
        compression: compression(route, listener),
        concurrency: Concurrency::new(&route.limits, &listener.name, id),
    };
    (!rules.is_empty()).then(|| Arc::new(rules))
}

/// Whether a request may get another Host.
fn sets_host(always: &plan::HeaderEdits, conditional: &[plan::ConditionalEdits]) -> bool {
    always.host.is_some() || conditional.iter().any(|it| it.request.host.is_some())
}

/// The backend's responses that get an error page, by the route or else by its listener.
fn intercepted<'a>(route: &'a plan::Route, listener: &'a plan::Listener) -> &'a [(u16, u16)] {
    let of_listener = || listener.error_pages.as_ref().and_then(|pages| pages.intercept.as_deref());
    let own = route.rules.error_pages.as_ref().and_then(|pages| pages.intercept.as_deref());
    own.or_else(of_listener).unwrap_or_default()
}

/// How responses are changed back where a prefix of the path is changed on the way to the backend, or its Host set.
fn mapping(route: &plan::Route, sets_host: bool) -> Option<PrefixMapping> {
    let to_backend = matches!(route.to, plan::Destination::Upstreams(_));
    match &route.rewrite {
        _ if !to_backend || !route.rewrite_responses => None,
        Rewrite::Prefix { matched, with } => Some(PrefixMapping::new(matched, with)),
        _ => sets_host.then(|| PrefixMapping::new("", "")),
    }
}

/// The CORS policy of a route. Where its credentials have origins there is one without any of its own, too.
fn cors(written: Option<&plan::Cors>, credentials: Option<&CredentialRule>) -> Option<Cors> {
    let with_origins = credentials.filter(|rule| rule.accepted.iter().any(|it| it.origins));
    match (written, with_origins) {
        (Some(cors), _) => Some(Cors::new(cors)),
        (None, None) => None,
        (None, Some(rule)) => Some(Cors::new(&plan::Cors {
            origins: Vec::new(),
            methods: plan::AnyOr::Any,
            headers: plan::AnyOr::Any,
            // A browser presents no client certificate without this.
            credentials: rule.accepted.iter().any(|it| it.mtls),
            max_age: Duration::from_secs(600),
            expose: Vec::new(),
        })),
    }
}

/// What a route has encoded, or else its listener.
fn compression(route: &plan::Route, listener: &plan::Listener) -> Option<plan::Compression> {
    match route.rules.compression.as_ref().or(listener.compression.as_ref())? {
        plan::CompressionSetting::Off => None,
        plan::CompressionSetting::On(compression) => Some(compression.clone()),
    }
}

/// A rate limit and where it holds, by which a reload finds its buckets again.
#[derive(Clone, Debug)]
pub(super) struct KeptLimit {
    listener: String,
    /// `None`: the listener's own.
    route: Option<Place>,
    asked: plan::RateLimit,
    limit: Arc<Limit>,
}

/// Which requests a route is for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    hosts: Vec<HostPattern>,
    path: PathPattern,
    methods: Option<Vec<String>>,
    conditions: Vec<Clause>,
}

/// The rate limit of a route, or of the listener itself: the one of before if neither it nor its place has changed, so
/// that a reload gives no client a new burst.
pub(super) fn limit(
    listener: &plan::Listener,
    route: Option<&plan::Route>,
    before: &[KeptLimit],
) -> Option<KeptLimit> {
    let (asked, cause) = match route {
        Some(route) => (route.rules.rate_limit.clone()?, "the rate limit of the route"),
        None => (listener.rate_limit.clone()?, "the rate limit of the listener"),
    };
    let place = route.map(|route| Place {
        hosts: route.hosts.iter().map(|host| host.value.clone()).collect(),
        path: route.path.value.clone(),
        methods: route.methods.clone(),
        conditions: route.conditions.clone(),
    });
    let listener = &listener.name.value;
    let same = |kept: &&KeptLimit| kept.listener == *listener && kept.route == place && kept.asked == asked;
    let limit = before.iter().find(same).map(|kept| Arc::clone(&kept.limit));
    let limit = limit.unwrap_or_else(|| Arc::new(Limit::new(&asked, cause)));
    Some(KeptLimit { listener: listener.clone(), route: place, asked, limit })
}

impl KeptLimit {
    /// The limit itself.
    pub(super) fn limit(&self) -> Arc<Limit> {
        Arc::clone(&self.limit)
    }

    /// Where it holds and what it allows, as text.
    pub(super) fn place(&self) -> String {
        format!("{} {:?} {:?}", self.listener, self.route, self.asked)
    }
}

/// What a listener asks of its requests before any route is chosen, if anything.
pub(super) fn listener_rules(listener: &plan::Listener, limit: Option<Arc<Limit>>) -> Option<Arc<Rules>> {
    let headers =
        Headers::new(&listener.request_headers, &listener.response_headers, &listener.conditional_headers);
    let refusals = listener.refusals.clone().into();
    let rules = Rules { refusals, limit, headers, ..Rules::default() };
    (!rules.is_empty()).then(|| Arc::new(rules))
}

fn fixed(respond: &plan::Respond) -> Reply {
    let body = match respond.status {
        204 | 304 => ReplyBody::None,
        _ => ReplyBody::Own {
            media_type: respond.content_type.as_str().into(),
            bytes: respond.body.as_bytes().into(),
        },
    };
    Reply { status: respond.status, fields: Vec::new(), body, cause: None, counter: None, error: None }
}
