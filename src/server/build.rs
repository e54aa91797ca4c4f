//! Plan → snapshot: certificates are read, names resolved, TLS configs and route tables built.
//!
//! Every error is reported at its place in the config file; nothing is published unless all is right.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest::{Context, SHA256};
use rustc_hash::FxHashMap;
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;

use self::endpoints::Resolve;
use crate::base::published::Published;
use crate::certs::apikeys::Keys;
use crate::certs::store::{Files, Loaded, load_file, load_pair};
use crate::certs::{Bundle, Store, StoreError};
use crate::config::Diagnostics;
use crate::config::plan::{self, CertificateRef, KeySource, Plan};
use crate::proxy::rules::auth::UserFile;
use crate::proxy::snapshot::{Listener, RuntimeConfig, Traffic, Udp};
use crate::proxy::upstream::config::Upstream;
use crate::route::{BuildError, Map, Table};
use crate::server::auth::TokenKeys;
use crate::server::consumers::Consumers;
use crate::server::discovery::{Discovered, Source};
use crate::server::portal::{self, office::Office};
use crate::server::routing::{self, KeptLimit};
use crate::tls::{AnyClient, Identity, RevocationLists, TicketKeys};

mod trust;

mod auth;
mod clients;
mod credentials;
mod discovered;
pub mod endpoints;
pub(crate) mod heritage;
mod http;
mod identities;
mod listener_tls;
mod made;
pub(crate) mod maps;
mod meters;
mod pages;
mod stapling;
mod sticky;
mod telemetry;
mod upstreams;

/// What a plan became.
#[derive(Debug)]
pub struct Assembly {
    /// What workers run from.
    pub running: RuntimeConfig,
    /// What the next assembly compares itself with.
    pub made: Made,
    /// Certificates whose content is not what their cells hold: stored when the snapshot is published.
    pub renewed: Vec<(Published<Identity>, Arc<Identity>)>,
    /// Identities whose previous generation is retired in the store, so that no fallback is left.
    pub without_fallback: Vec<Arc<Identity>>,
    /// What is wrong with revocation lists, and what to do, in words.
    pub faults: Vec<String>,
}

/// What is kept of an assembly from one reload to the next.
#[derive(Clone, Debug, Default)]
pub struct Made {
    /// The certificates in use, by how the config names them: the pointers that a rotation stores to.
    pub identities: Vec<(CertificateRef, Published<Identity>)>,
    /// In the order of the plan's upstreams.
    upstreams: Vec<MadeUpstream>,
    /// In the order of the plan's listeners; `None` without TLS.
    listeners: Vec<Option<Policy>>,
    /// By the files that routes name.
    keys: FxHashMap<PathBuf, Keys>,
    limits: Vec<KeptLimit>,
    /// In the order of the plan's maps.
    maps: Vec<maps::MadeMap>,
    /// By the files that `auth.basic` names.
    users: FxHashMap<PathBuf, Published<UserFile>>,
    /// By what `auth.jwt` names.
    token_keys: FxHashMap<KeySource, TokenKeys>,
    /// The revocation lists in force, by `listener NAME` or `upstream NAME`.
    lists: FxHashMap<String, Arc<RevocationLists>>,
    /// The trusted certificates in force, by how the config names them.
    trusted: FxHashMap<CertificateRef, Vec<CertificateDer<'static>>>,
    /// What sticky sessions are signed with, if that is to be kept in the store.
    session_secret: Option<sticky::SessionSecret>,
    /// What is known of the sources that endpoints name.
    pub(crate) discovered: BTreeMap<Source, Discovered>,
    /// The consumers of the store with their credentials.
    pub(crate) consumers: Arc<Consumers>,
    /// Carries out the forms of pages for consumers.
    pub(crate) portal: Arc<Office>,
}

/// What runs already: whatever a new plan leaves as it is, is taken from here as the very same object, so
/// that pools, sessions, tickets and round-robins live on.
#[derive(Clone, Copy, Debug)]
pub struct Previous<'a> {
    /// Its plan.
    pub plan: &'a Plan,
    /// What workers run from.
    pub running: &'a RuntimeConfig,
    /// What that became.
    pub made: &'a Made,
}

/// SHA-256 over the files and addresses that a part of a snapshot was made from.
type Digest = [u8; 32];

/// An upstream, and what it was made from besides the plan.
#[derive(Clone, Debug)]
struct MadeUpstream {
    upstream: Arc<Upstream>,
    /// The addresses of its endpoints.
    addresses: Digest,
    /// The files that its TLS trusts by.
    trust: Digest,
}

/// A listener's TLS config, and what it was made from besides the plan.
#[derive(Clone, Debug)]
struct Policy {
    config: Arc<rustls::ServerConfig>,
    any_client: Option<Arc<AnyClient>>,
    tickets: Arc<TicketKeys>,
    read: Digest,
}

/// How a listener takes its clients' certificates.
struct Clients {
    /// `None`: clients are not asked.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// Present if any certificate is taken.
    any: Option<Arc<AnyClient>>,
}

/// Builds a snapshot. Errors are added to `problems`; the result is `None` if there are any.
pub fn build(plan: &Plan, previous: Option<Previous<'_>>, problems: &mut Diagnostics) -> Option<Assembly> {
    assemble_with(plan, previous, &endpoints::system, problems)
}

/// The same, with a resolver of its own.
fn assemble_with(
    plan: &Plan,
    previous: Option<Previous<'_>>,
    resolver: Resolve<'_>,
    problems: &mut Diagnostics,
) -> Option<Assembly> {
    Builder { starts: previous.is_none(), resolver, ..Builder::new(plan, previous, problems) }.build()
}

/// The running plan with the current content of its files of trust and revocation lists. An invalid file leaves what runs
/// unchanged; so do identities, which are tried before they change, and addresses: `resolver` resolves only names that have
/// none, and `found` has what lookups of sources have found.
pub(crate) fn refresh(
    previous: Previous<'_>,
    resolver: Resolve<'_>,
    found: &BTreeMap<Source, Discovered>,
    problems: &mut Diagnostics,
) -> Option<Assembly> {
    let discovered = found.clone();
    Builder { refreshes: true, resolver, discovered, ..Builder::new(previous.plan, Some(previous), problems) }
        .build()
}

/// One certificate as an identity. Errors are added to `problems`; the result is `None` if there are any.
pub fn identity(
    plan: &Plan,
    at: &plan::At<CertificateRef>,
    problems: &mut Diagnostics,
) -> Option<Arc<Identity>> {
    Builder::new(plan, None, problems).make_identity(at).map(|cell| cell.load())
}

/// The same of files that may have changed since `current` was read from them: if they have not, their time is no error.
pub fn identity_again(
    plan: &Plan,
    at: &plan::At<CertificateRef>,
    current: &Identity,
    problems: &mut Diagnostics,
) -> Option<Arc<Identity>> {
    let mut builder = Builder { current: Some(current), ..Builder::new(plan, None, problems) };
    builder.make_identity(at).map(|cell| cell.load())
}

struct Builder<'a> {
    plan: &'a Plan,
    previous: Option<Previous<'a>>,
    problems: &'a mut Diagnostics,
    /// See [`refresh`].
    refreshes: bool,
    /// Nothing runs yet.
    starts: bool,
    /// The secret of the predecessor's sessions.
    inherited: Option<sticky::SessionSecret>,
    /// What else a predecessor knew.
    heritage: Option<&'a heritage::Heritage>,
    /// See [`identity_again`].
    current: Option<&'a Identity>,
    /// One cell for each certificate, however often it is named. `None`: it could not be read, which has been reported.
    identities: FxHashMap<CertificateRef, Option<Published<Identity>>>,
    /// The places of the config that present them.
    presented: Vec<identities::Presented>,
    renewed: Vec<(Published<Identity>, Arc<Identity>)>,
    without_fallback: Vec<Arc<Identity>>,
    limits: Vec<KeptLimit>,
    /// The maps, and what they were made of.
    maps: Vec<Arc<Map>>,
    made_maps: Vec<maps::MadeMap>,
    /// Routes with counts of their own so far.
    route_series: usize,
    keys: FxHashMap<PathBuf, Keys>,
    users: FxHashMap<PathBuf, Published<UserFile>>,
    token_keys: FxHashMap<KeySource, TokenKeys>,
    lists: FxHashMap<String, Arc<RevocationLists>>,
    trusted: FxHashMap<CertificateRef, Vec<CertificateDer<'static>>>,
    /// See [`Made`].
    session_secret: Option<sticky::SessionSecret>,
    /// See [`Assembly::faults`].
    faults: Vec<String>,
    resolver: Resolve<'a>,
    /// What names resolve to, or why they do not.
    resolved: FxHashMap<String, Result<Vec<SocketAddr>, String>>,
    /// What is known of the sources that endpoints name.
    discovered: BTreeMap<Source, Discovered>,
    /// What the part being built has read so far.
    read: Context,
    store: Option<Store>,
    /// See [`Made`].
    consumers: Arc<Consumers>,
    /// See [`Made`].
    portal: Arc<Office>,
    /// Of all routes, in the plan's order.
    route_ids: Arc<[String]>,
    now: SystemTime,
}

impl<'a> Builder<'a> {
    fn new(plan: &'a Plan, previous: Option<Previous<'a>>, problems: &'a mut Diagnostics) -> Self {
        Self {
            plan,
            previous,
            problems,
            refreshes: false,
            starts: false,
            inherited: None,
            heritage: None,
            current: None,
            identities: FxHashMap::default(),
            presented: Vec::new(),
            renewed: Vec::new(),
            without_fallback: Vec::new(),
            limits: Vec::new(),
            maps: Vec::new(),
            made_maps: Vec::new(),
            route_series: 0,
            keys: FxHashMap::default(),
            users: FxHashMap::default(),
            token_keys: FxHashMap::default(),
            lists: FxHashMap::default(),
            trusted: FxHashMap::default(),
            session_secret: None,
            faults: Vec::new(),
            resolver: &endpoints::system,
            resolved: FxHashMap::default(),
            discovered: BTreeMap::new(),
            store: None,
            consumers: Arc::default(),
            portal: previous.map(|previous| Arc::clone(&previous.made.portal)).unwrap_or_default(),
            route_ids: Arc::default(),
            read: Context::new(&SHA256),
            now: SystemTime::now(),
        }
    }

    fn build(mut self) -> Option<Assembly> {
        let plan = self.plan;
        self.resolve();
        self.discover();
        let consumers = self.consumers();
        self.route_ids = super::routes::ids(plan).into();
        let maps = self.maps();
        let upstreams: Vec<_> = plan.upstreams.iter().map(|upstream| self.upstream(upstream)).collect();
        let listeners: Vec<_> = plan
            .listeners
            .iter()
            .enumerate()
            .map(|(index, listener)| self.listener(index, listener))
            .collect();
        let collector_tls = self.collector_tls();
        self.staple();
        self.warn_of_concerns();
        let identities = self.identities.into_iter().filter_map(|(name, cell)| Some((name, cell?))).collect();
        let (renewed, without_fallback, limits, keys) =
            (self.renewed, self.without_fallback, self.limits, self.keys);
        let (users, token_keys) = (self.users, self.token_keys);
        let upstreams = upstreams.into_iter().collect::<Option<Vec<_>>>();
        let listeners = listeners.into_iter().collect::<Option<Vec<_>>>();
        let (mut lists, trusted, faults) = (self.lists, self.trusted, self.faults);
        let session_secret = self.session_secret;
        let discovered = self.discovered;
        if let Some(previous) = self.previous.filter(|_| self.refreshes) {
            // What could not be made anew stays as it runs.
            previous.made.lists.iter().for_each(|(place, of)| {
                lists.entry(place.clone()).or_insert_with(|| Arc::clone(of));
            });
        }
        maps?;
        let collector_tls = collector_tls?;
        let (upstreams, (listeners, policies)) = (upstreams?, listeners?.into_iter().unzip());
        let running = RuntimeConfig {
            version: 0,
            limits: super::machine::resolve(plan.limits.clone()),
            listeners,
            upstreams: upstreams.iter().map(|made| Arc::clone(&made.upstream)).collect(),
            maps: self.maps,
            collector_tls,
        };
        let made = Made {
            maps: self.made_maps,
            identities,
            upstreams,
            listeners: policies,
            keys,
            limits,
            users,
            token_keys,
            lists,
            trusted,
            session_secret,
            discovered,
            consumers,
            portal: self.portal,
        };
        Some(Assembly { running, made, renewed, without_fallback, faults })
    }

    /// Notes what the part being built is made from besides its section of the plan: it is built anew if that
    /// has changed. Identities need no note, as their cells are shared.
    fn note(&mut self, bytes: &[u8]) {
        self.read.update(&(bytes.len() as u64).to_le_bytes());
        self.read.update(bytes);
    }

    /// What was noted since the last time.
    fn noted(&mut self) -> Digest {
        let read = std::mem::replace(&mut self.read, Context::new(&SHA256)).finish();
        let mut digest = Digest::default();
        digest.copy_from_slice(read.as_ref());
        digest
    }

    fn wrong(&mut self, span: &Range<usize>, title: String, help: Option<&str>) {
        self.problems.error(span.clone(), title, help.map(str::to_owned));
    }

    /// The result's value; its error is reported at `span`.
    fn good<T, E: std::fmt::Display>(&mut self, span: &Range<usize>, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.wrong(span, error.to_string(), None)).ok()
    }

    fn bundle(&mut self, at: &plan::At<CertificateRef>) -> Option<Bundle> {
        self.loaded(at).map(|(bundle, _)| bundle)
    }

    /// The bundle, and its generation in the store.
    fn loaded(&mut self, at: &plan::At<CertificateRef>) -> Option<(Bundle, Option<u64>)> {
        let mut generation = None;
        let loaded = match &at.value {
            CertificateRef::File(path) => load_file(path),
            CertificateRef::Pair { cert, key } => load_pair(cert, key),
            CertificateRef::Locked { cert, key, passphrase_file } => {
                Files { cert, key: key.as_deref(), passphrase_file: Some(passphrase_file) }.load()
            }
            CertificateRef::Store(name) => {
                self.store(&at.span).and_then(|store| store.get(name)).map(|stored| {
                    generation = Some(u64::from(stored.generation));
                    Loaded { bundle: stored.bundle, exposed: Vec::new() }
                })
            }
        };
        let loaded = self.good(&at.span, loaded)?;
        for exposed in &loaded.exposed {
            self.problems.warning(at.span.clone(), exposed.to_string(), None);
        }
        for note in loaded.bundle.notes() {
            let title = format!("{}: {note}", describe(&at.value));
            self.problems.warning(at.span.clone(), title, None);
        }
        Some((loaded.bundle, generation))
    }

    /// The store. Folders of it that others can read are warned of once.
    fn store(&mut self, span: &Range<usize>) -> Result<Store, StoreError> {
        if let Some(store) = &self.store {
            return Ok(store.clone());
        }
        let store = Store::open(&self.plan.store)?;
        for exposed in store.exposed() {
            self.problems.warning(span.clone(), exposed.to_string(), None);
        }
        Ok(self.store.insert(store).clone())
    }

    fn listener(&mut self, index: usize, listener: &plan::Listener) -> Option<(Listener, Option<Policy>)> {
        let policy = match &listener.tls {
            None => None,
            Some(tls) => Some(self.listener_policy(listener, tls)?),
        };
        let tls = policy.as_ref().map(|policy| Arc::clone(&policy.config));
        let any_client = policy.as_ref().and_then(|policy| policy.any_client.clone());
        let traffic = match listener.protocol {
            plan::Protocol::Http => self.http(index)?,
            plan::Protocol::Tcp => self.tcp(index, listener)?,
            plan::Protocol::Udp => self.udp(index, listener)?,
        };
        let clients = listener.tls.as_ref().and_then(|tls| tls.clients.as_ref());
        let forward_certificate = clients.is_some_and(|clients| clients.forward_certificate);
        let pages = match self.previous.filter(|_| self.refreshes) {
            Some(previous) => previous.running.listeners[index].pages.clone(),
            None => self.read_pages(listener.error_pages.as_ref())?,
        };
        let limit = self.limit(listener, None);
        let meters::ListenerMeters { meter, failures, unrouted } = self.listener_meters(listener);
        let listener = Listener {
            meter,
            failures,
            unrouted,
            pages,
            rules: routing::listener_rules(&maps::bind_listener(listener, &self.maps), limit),
            accept_request_id: listener.accept_request_id,
            proxy_status: listener.proxy_status,
            permitted: listener.permitted.clone(),
            client_address: listener.client_address.clone(),
            name: listener.name.value.clone(),
            addresses: Vec::new(),
            sockets: Vec::new(),
            tls,
            verifies_clients: clients.is_some() || any_client.is_some(),
            any_client,
            proxy_protocol: listener.proxy_protocol,
            limits: listener.limits.clone(),
            forward_certificate,
            http: http::versions(listener),
            traffic,
        };
        Some((listener, policy))
    }

    fn udp(&self, index: usize, listener: &plan::Listener) -> Option<Traffic> {
        let route = self.plan.routes.iter().find(|route| route.listeners.contains(&index))?;
        let upstream = self.plan.in_environment(route.upstreams().next()?, environment_of(listener));
        let mut before = self.previous.iter().flat_map(|previous| &previous.running.listeners);
        let counts = before.find_map(|before| match &before.traffic {
            Traffic::Udp(udp) if before.name == listener.name.value => Some(Arc::clone(&udp.counts)),
            _ => None,
        });
        let counts = counts.unwrap_or_default();
        Some(Traffic::Udp(Udp { upstream, sessions: listener.udp, counts }))
    }

    fn tcp(&mut self, index: usize, listener: &plan::Listener) -> Option<Traffic> {
        let routes = self.plan.routes.iter().filter(|route| route.listeners.contains(&index));
        let seen = |upstream| self.plan.in_environment(upstream, environment_of(listener));
        let routes: Vec<_> =
            routes.filter_map(|route| Some((route, seen(route.upstreams().next()?)))).collect();
        if let [(only, upstream)] = &routes[..]
            && only.sni.is_none()
        {
            return Some(Traffic::Tcp { upstream: *upstream });
        }
        let specs = routes.iter().map(|(route, upstream)| routing::spec_by_name(route, *upstream));
        let table = Table::build(specs);
        Some(Traffic::TcpByName { table: self.good(&listener.name.span, table)? })
    }

    fn http(&mut self, index: usize) -> Option<Traffic> {
        let mut routes: Vec<crate::proxy::snapshot::Route> = Vec::new();
        let mut specs = Vec::new();
        let mut spans = Vec::new();
        let environment = environment_of(&self.plan.listeners[index]);
        let ids = Arc::clone(&self.route_ids);
        let all = self.plan.routes.iter().zip(&*ids).filter(|(route, _)| route.listeners.contains(&index));
        for (route, id) in all {
            let mut seen = plan::Route::clone(route);
            seen.to
                .upstreams_mut()
                .for_each(|upstream| *upstream = self.plan.in_environment(*upstream, environment));
            let listener = &self.plan.listeners[index];
            let limit = self.limit(listener, Some(route));
            let keys = match &route.rules.api_keys {
                None => None,
                Some(keys) => Some(self.keys(&keys.file)?),
            };
            if let plan::Destination::Files(files) = &route.to
                && !self.refreshes
                && let Err((title, help)) = crate::server::files::check(files)
            {
                self.wrong(&files.span, title, help);
                return None;
            }
            let credentials = self.credential_rule(route);
            let auth = self.auth_rule(route, environment)?;
            let meter = self.route_meter(listener, route, &routes);
            let pages = self.pages_of(index, route, id)?;
            let page = |page: &_| portal::portal(page, self.plan, index, &self.consumers, &self.portal);
            let log = routing::log(route, &self.plan.log.named);
            let parts = routing::Parts { limit, keys, credentials, auth, log, pages };
            maps::bind_route(&mut seen, &self.maps);
            let made = routing::route(&seen, (listener, meter), parts, page, id);
            specs.extend(routing::specs(&seen, routes.len()));
            routes.push(made);
            spans.push(route.span.clone());
        }
        match Table::build(specs) {
            Ok(table) => Some(Traffic::Http { table, routes }),
            Err(error) => {
                let (id, title, help) = match error {
                    BuildError::Conflict { first, second } => (
                        second,
                        format!(
                            "this route matches the same requests as the one at {}",
                            self.problems.place(spans[first].start)
                        ),
                        "distinguish them by host, path, methods or match, add a route with the conditions of both, or remove one",
                    ),
                    BuildError::NeverMatches { id } => (
                        id,
                        "this route matches no request".to_owned(),
                        "write the path without encodings, dot segments or double slashes",
                    ),
                    BuildError::TooManyPatterns { id } => (
                        id,
                        "this route has one pattern too many for its host".to_owned(),
                        "a host has 256 suffixes and regular expressions at most: put some of them together",
                    ),
                };
                self.wrong(&spans[id], title, Some(help));
                None
            }
        }
    }
}

fn environment_of(listener: &plan::Listener) -> Option<&str> {
    listener.environment.as_ref().map(|at| at.as_str())
}

/// A certificate's name in logs.
fn describe(certificate: &CertificateRef) -> String {
    match certificate {
        CertificateRef::Store(name) => name.clone(),
        CertificateRef::File(path) => path.display().to_string(),
        CertificateRef::Pair { cert, .. } | CertificateRef::Locked { cert, .. } => cert.display().to_string(),
    }
}
