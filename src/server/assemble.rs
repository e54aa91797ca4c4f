//! Plan → snapshot: certificates are read, names resolved, TLS configs and route tables built.
//!
//! Whatever is wrong is said of its place in the config file; nothing is published unless all is right.

use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustc_hash::FxHashMap;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ProducesTickets;

use crate::base::snapshot::Snapshot;
use crate::certs::store::{Loaded, load_file, load_pair, load_trust};
use crate::certs::{Bundle, Store, StoreError};
use crate::config::Diagnostics;
use crate::config::plan::{self, CertificateRef, Plan, TrustRef};
use crate::proxy::running::{Endpoint, Listener, Route, Running, Traffic, Upstream, UpstreamTls};
use crate::route::{BuildError, HostPattern, PathPattern, RouteSpec, Table};
use crate::server::routing::{destination, rules};
use crate::tls::{self, BackendVerifier, ClientPolicy, Identity, ServerPolicy, ServerResolver, TrustAnchors};

/// What a plan became.
#[derive(Debug)]
pub struct Assembly {
    /// What workers run from.
    pub running: Running,
    /// The certificates in use, by how the config names them: the pointers that a rotation stores to.
    pub identities: Vec<(CertificateRef, Snapshot<Identity>)>,
}

/// Builds a snapshot. Errors are added to `problems`; the result is `None` if there are any.
pub fn assemble(plan: &Plan, problems: &mut Diagnostics) -> Option<Assembly> {
    let mut builder = Builder::new(plan, problems);
    let upstreams: Vec<_> = plan.upstreams.iter().map(|upstream| builder.upstream(upstream)).collect();
    let listeners: Vec<_> = plan
        .listeners
        .iter()
        .enumerate()
        .map(|(index, listener)| builder.listener(index, listener))
        .collect();
    let identities = builder.identities.into_iter().filter_map(|(name, cell)| Some((name, cell?))).collect();
    let upstreams = upstreams.into_iter().map(|upstream| upstream.map(Arc::new)).collect::<Option<_>>();
    let listeners = listeners.into_iter().collect::<Option<_>>();
    let running = Running { limits: plan.limits.clone(), listeners: listeners?, upstreams: upstreams? };
    Some(Assembly { running, identities })
}

/// One certificate as an identity. Errors are added to `problems`; the result is `None` if there are any.
pub fn identity(plan: &Plan, at: &plan::At<CertificateRef>, problems: &mut Diagnostics) -> Option<Identity> {
    Builder::new(plan, problems).make_identity(at)
}

struct Builder<'a> {
    plan: &'a Plan,
    problems: &'a mut Diagnostics,
    /// One cell a certificate, however often it is named. `None`: it could not be read, which has been said.
    identities: FxHashMap<CertificateRef, Option<Snapshot<Identity>>>,
    ticketer: Option<Arc<dyn ProducesTickets>>,
    store: Option<Store>,
    now: SystemTime,
}

impl<'a> Builder<'a> {
    fn new(plan: &'a Plan, problems: &'a mut Diagnostics) -> Self {
        Self {
            plan,
            problems,
            identities: FxHashMap::default(),
            ticketer: None,
            store: None,
            now: SystemTime::now(),
        }
    }

    fn wrong(&mut self, span: &Range<usize>, title: String, help: Option<&str>) {
        self.problems.error(span.clone(), title, help.map(str::to_owned));
    }

    /// The result's value; its error is said of `span`.
    fn good<T, E: std::fmt::Display>(&mut self, span: &Range<usize>, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.wrong(span, error.to_string(), None)).ok()
    }

    fn bundle(&mut self, at: &plan::At<CertificateRef>) -> Option<Bundle> {
        let loaded = match &at.value {
            CertificateRef::File(path) => load_file(path),
            CertificateRef::Pair { cert, key } => load_pair(cert, key),
            CertificateRef::Store(name) => self
                .store(&at.span)
                .and_then(|store| store.get(name))
                .map(|stored| Loaded { bundle: stored.bundle, exposed: None }),
        };
        let loaded = self.good(&at.span, loaded)?;
        if let Some(exposed) = loaded.exposed {
            self.problems.warning(at.span.clone(), exposed.to_string(), None);
        }
        Some(loaded.bundle)
    }

    /// The store. Folders of it that others may look into are warned of once.
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

    fn identity(&mut self, at: &plan::At<CertificateRef>) -> Option<Snapshot<Identity>> {
        if let Some(known) = self.identities.get(&at.value) {
            return known.clone();
        }
        let made = self.make_identity(at).map(Snapshot::new);
        self.identities.insert(at.value.clone(), made.clone());
        made
    }

    fn make_identity(&mut self, at: &plan::At<CertificateRef>) -> Option<Identity> {
        let bundle = self.bundle(at)?;
        let now = self.now;
        self.good(&at.span, bundle.check_validity(now))?;
        let Some(key) = bundle.key() else {
            self.wrong(
                &at.span,
                format!(
                    "the certificate of {} has no private key, which is needed to present it",
                    bundle.facts().subject
                ),
                Some("put the key into the same PEM file, or write { cert = \"FILE\", key = \"FILE\" }"),
            );
            return None;
        };
        let identity = Identity::new(describe(&at.value), 1, bundle.chain().to_vec(), key.clone_key());
        self.good(&at.span, identity)
    }

    fn listener(&mut self, index: usize, listener: &plan::Listener) -> Option<Listener> {
        let tls = match &listener.tls {
            None => None,
            Some(tls) => Some(self.listener_tls(listener, tls)?),
        };
        let traffic = match listener.protocol {
            plan::Protocol::Http => self.http(index)?,
            plan::Protocol::Tcp => {
                let route = self.plan.routes.iter().find(|route| route.listeners.contains(&index))?;
                Traffic::Tcp { upstream: route.upstreams().next()? }
            }
        };
        let addresses = listener.addresses.iter().map(|address| address.value).collect();
        let limits = listener.limits.clone();
        Some(Listener { name: listener.name.value.clone(), addresses, tls, limits, traffic })
    }

    fn listener_tls(
        &mut self,
        listener: &plan::Listener,
        tls: &plan::ListenerTls,
    ) -> Option<Arc<rustls::ServerConfig>> {
        let bundles: Vec<_> = tls.certificates.iter().map(|at| self.identity(at)).collect();
        let bundles = bundles.into_iter().collect::<Option<Vec<_>>>()?;
        let span = &listener.name.span;
        if self.ticketer.is_none() {
            self.ticketer = self.good(span, tls::ticketer());
        }
        let policy = ServerPolicy {
            versions: versions(tls.versions),
            resolver: Arc::new(ServerResolver::new(bundles)),
            client_verifier: None,
            alpn: match listener.protocol {
                plan::Protocol::Http => vec![b"http/1.1".to_vec()],
                plan::Protocol::Tcp => Vec::new(),
            },
            ticketer: self.ticketer.clone()?,
        };
        self.good(span, tls::server_config(&policy))
    }

    fn http(&mut self, index: usize) -> Option<Traffic> {
        let mut routes = Vec::new();
        let mut specs = Vec::new();
        let mut spans = Vec::new();
        for route in self.plan.routes.iter().filter(|route| route.listeners.contains(&index)) {
            specs.push(RouteSpec {
                host: route.host.as_ref().map(|host| match &host.value {
                    plan::HostPattern::Exact(name) => HostPattern::Exact(name.clone()),
                    plan::HostPattern::Wildcard(name) => HostPattern::Wildcard(name.clone()),
                }),
                path: match &route.path.value {
                    plan::PathPattern::Prefix(path) => PathPattern::Prefix(path.clone()),
                    plan::PathPattern::Exact(path) => PathPattern::Exact(path.clone()),
                },
                methods: route.methods.clone(),
                id: routes.len(),
            });
            let strip = match &route.path.value {
                plan::PathPattern::Prefix(path) | plan::PathPattern::Exact(path) if route.strip_prefix => {
                    Some(path.clone())
                }
                _ => None,
            };
            routes.push(Route { to: destination(&route.to), strip, rules: rules(route) });
            spans.push(route.span.clone());
        }
        match Table::build(specs) {
            Ok(table) => Some(Traffic::Http { table, routes }),
            Err(error) => {
                let (BuildError::Conflict { second: id, .. } | BuildError::NeverMatches { id }) = error;
                let help = match error {
                    BuildError::Conflict { .. } => {
                        "another route of this listener matches the same requests: tell them apart by host, path or methods, or remove one"
                    }
                    BuildError::NeverMatches { .. } => {
                        "write the path without encodings, dot segments or double slashes"
                    }
                };
                let span = spans[id].clone();
                self.wrong(
                    &span,
                    "this route can't be told apart, or matches nothing".to_owned(),
                    Some(help),
                );
                None
            }
        }
    }

    fn upstream(&mut self, upstream: &plan::Upstream) -> Option<Upstream> {
        let endpoints: Vec<_> = upstream.endpoints.iter().map(|at| self.endpoint(at)).collect();
        let tls = match &upstream.tls {
            None => None,
            Some(tls) => Some(self.upstream_tls(&upstream.name, tls)?),
        };
        Some(Upstream {
            name: upstream.name.value.clone(),
            endpoints: endpoints.into_iter().collect::<Option<_>>()?,
            connect_timeout: upstream.connect_timeout,
            response_timeout: upstream.response_timeout,
            idle_timeout: upstream.idle_timeout,
            idle_per_worker: upstream.idle_per_worker,
            max_age: upstream.max_age,
            tls,
        })
    }

    fn endpoint(&mut self, at: &plan::At<plan::Endpoint>) -> Option<Endpoint> {
        let name = at.address.clone();
        let addresses: Vec<SocketAddr> = match name.to_socket_addrs() {
            Ok(addresses) => addresses.collect(),
            Err(error) => {
                self.wrong(
                    &at.span,
                    format!("`{name}` does not resolve: {error}"),
                    Some("endpoints are resolved once, at start: use an address, or a name that resolves on this host"),
                );
                return None;
            }
        };
        if addresses.is_empty() {
            self.wrong(&at.span, format!("`{name}` resolves to no address"), None);
            return None;
        }
        Some(Endpoint { name, addresses, weight: at.weight })
    }

    fn upstream_tls(&mut self, name: &plan::At<String>, tls: &plan::UpstreamTls) -> Option<UpstreamTls> {
        let identity = match &tls.certificate {
            None => None,
            Some(at) => Some(self.identity(at)?),
        };
        let verifier: Arc<dyn ServerCertVerifier> = self.verifier(&name.span, &tls.trust)?;
        let suites = tls.cipher_suites.as_ref().map(|suites| {
            let named = suites.iter().filter_map(|at| tls::config::cipher_suite_by_name(at.value.name()));
            named.collect()
        });
        let policy = ClientPolicy {
            versions: versions(tls.versions),
            cipher_suites: suites,
            verifier: Arc::clone(&verifier),
            alpn: Vec::new(),
        };
        let config = self.good(&name.span, tls::client_config(&policy))?;
        let server_name = match &tls.server_name {
            None => None,
            Some(at) => {
                let parsed = ServerName::try_from(at.value.clone())
                    .map_err(|_| format!("`{}` is neither a DNS name nor an IP address", at.value));
                Some(self.good(&at.span, parsed)?)
            }
        };
        Some(UpstreamTls { config, verifier, server_name, identity, tickets: tls.tickets_per_endpoint })
    }

    fn verifier(
        &mut self,
        span: &Range<usize>,
        trust: &[plan::At<TrustRef>],
    ) -> Option<Arc<BackendVerifier>> {
        let mut anchors = TrustAnchors::new();
        let mut whole = true;
        for at in trust {
            let certificates = match &at.value {
                TrustRef::System => self.system_roots(&at.span),
                TrustRef::Certificate(CertificateRef::File(path)) => self.trust_file(&at.span, path),
                TrustRef::Certificate(named) => {
                    let at = plan::At { value: named.clone(), span: at.span.clone() };
                    self.bundle(&at).map(|bundle| bundle.chain().to_vec())
                }
            };
            let Some(certificates) = certificates else {
                whole = false;
                continue;
            };
            for certificate in certificates {
                // One bad root among the system's hundred is passed over, one that was named is not.
                if let Err(error) = anchors.add(certificate)
                    && at.value != TrustRef::System
                {
                    self.wrong(&at.span, error.to_string(), None);
                    whole = false;
                }
            }
        }
        if !whole {
            return None;
        }
        let span = trust.first().map_or(span, |at| &at.span);
        self.good(span, BackendVerifier::new(anchors, Vec::new(), []))
    }

    fn system_roots(&mut self, span: &Range<usize>) -> Option<Vec<CertificateDer<'static>>> {
        let found = rustls_native_certs::load_native_certs();
        if found.certs.is_empty() {
            self.wrong(
                span,
                "this system has no root certificates".to_owned(),
                Some("install the package `ca-certificates`, or name a CA file in `trust`"),
            );
            return None;
        }
        Some(found.certs)
    }

    fn trust_file(&mut self, span: &Range<usize>, path: &Path) -> Option<Vec<CertificateDer<'static>>> {
        self.good(span, load_trust(path))
    }
}

fn versions(versions: plan::TlsVersions) -> tls::Versions {
    tls::Versions { tls12: versions.tls12, tls13: versions.tls13 }
}

/// A certificate's name in logs.
fn describe(certificate: &CertificateRef) -> String {
    match certificate {
        CertificateRef::Store(name) => name.clone(),
        CertificateRef::File(path) => path.display().to_string(),
        CertificateRef::Pair { cert, .. } => cert.display().to_string(),
    }
}
