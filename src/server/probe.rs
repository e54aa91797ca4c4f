//! One probe of a backend: connect, handshake with a chosen identity, read, and report the findings.
//!
//! ```text
//! resolve ─► connect ─► TLS handshake ─► request (HTTP) ─► read ─► a second handshake: does it resume?
//! ```
//!
//! The reading is what makes the result certain. A TLS 1.3 server verifies a client certificate only after our Finished, so
//! a finished handshake proves nothing: what follows does. An HTTP backend is sent a GET, since its response ends the wait
//! (GET and not HEAD or OPTIONS: there are backends that answer nothing else); with any other, a ticket, data, an alert or a
//! close does. [`QUIET`] of silence is consent with TLS 1.2 alone, whose servers verify before they finish. Some servers
//! (nginx) accept every certificate in TLS and refuse it in HTTP: the body of a 400 has the reason.
//!
//! It runs on the control plane's threads with blocking sockets, over the same handshake and record layer
//! and the same `ClientConfig` as traffic does, so that both get the same verdict.

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::base::address::{Address, endpoint_authority, endpoint_host};
use crate::base::published::Published;
use crate::http::{ALPN_HTTP2, BackendHttp};
use crate::io::socket;
use crate::proxy::failure::ConnectError;
use crate::proxy::upstream::config::{Endpoint, Upstream};
use crate::proxy_protocol::{self, Subject};
use crate::tls::{Identity, Sessions, bind};

mod answer;
mod check;
mod grpc;
mod http1;
mod http2;
mod invoke;
mod report;
mod udp;
mod wire;

pub(crate) use check::check;
pub(crate) use invoke::{Call, Invoked, invoke};
pub(crate) use report::label;
pub(crate) use report::{Report, Resumption, TlsReport, Verdict};

/// How long a word is waited for after the handshake, where no request can be sent.
pub(crate) const QUIET: Duration = Duration::from_millis(700);
/// The longest that one probe takes by default, both handshakes and the response together.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Most endpoints that are probed at a time.
const AT_ONCE: usize = 16;
/// Tickets kept between the first handshake and the second.
const TICKETS: usize = 2;

/// What is probed.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The upstream it belongs to; empty for a URL.
    pub upstream: String,
    /// The endpoint as the config names it, `host:port`.
    pub endpoint: String,
    /// Its address; `None`: the name does not resolve.
    pub address: Option<Address>,
    /// The PROXY header that a connection begins with, if it does. It marks the connection as ours, not a client's.
    pub proxy_protocol: Option<proxy_protocol::Version>,
    /// The source address; `None`: the kernel's choice.
    pub bind_address: Option<IpAddr>,
    /// How TLS is spoken, if it is.
    pub tls: Option<Tls>,
    /// Which versions of HTTP the upstream has.
    pub versions: BackendHttp,
    /// The request's host and path, if HTTP is spoken.
    pub http: Option<Http>,
    /// Datagrams are sent there, not connections made.
    pub udp: bool,
    /// TCP connect, and TLS handshake, each.
    pub connect_timeout: Duration,
    /// All of it.
    pub timeout: Duration,
}

/// How a target's TLS is spoken.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    /// The policy: versions, suites. Its resolver and its sessions are replaced.
    pub config: Arc<ClientConfig>,
    /// The same with an offer of HTTP/2 by ALPN, where the upstream speaks that.
    pub http2: Option<Arc<ClientConfig>>,
    /// Sent and verified; an error if the target has no usable name.
    pub server_name: Result<ServerName<'static>, String>,
    /// Presented if the backend requests one.
    pub identity: Option<Arc<Identity>>,
    /// Whether sessions are resumed.
    pub resumes: bool,
    /// Whether the backend is verified at all.
    pub verifies: bool,
    /// Whether a backend that does not request our certificate is refused.
    pub require_client_auth: bool,
}

impl Tls {
    /// The policy for a connection that may have these versions of HTTP.
    fn config_for(&self, http: BackendHttp) -> &Arc<ClientConfig> {
        self.http2.as_ref().filter(|_| http != BackendHttp::Http11).unwrap_or(&self.config)
    }
}

/// The request that is made.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    /// The Host header.
    pub host: String,
    /// The request-target.
    pub path: String,
}

impl Target {
    /// What people call it: see [`Report::label`].
    pub(crate) fn label(&self) -> String {
        report::label(&self.endpoint, self.address.as_ref().map(ToString::to_string).as_deref())
    }

    /// Every endpoint of an upstream, each address of a name for itself. `identity` is presented in place of the upstream's own.
    pub(crate) fn of_upstream(
        upstream: &Upstream,
        http: bool,
        identity: Option<&Arc<Identity>>,
    ) -> Vec<Self> {
        let each = upstream.endpoints.iter().map(|endpoint| Self::of(upstream, endpoint, http, identity));
        each.collect()
    }

    /// One endpoint of an upstream.
    pub(crate) fn of(
        upstream: &Upstream,
        endpoint: &Endpoint,
        http: bool,
        identity: Option<&Arc<Identity>>,
    ) -> Self {
        let host = host_of(&endpoint.name);
        let tls = upstream.tls.as_ref().map(|tls| Tls {
            config: Arc::clone(tls.config_for(upstream.http)),
            http2: tls.http2.clone(),
            server_name: tls.server_name.clone().map_or_else(|| server_name(host), Ok),
            identity: identity.cloned().or_else(|| tls.identity.as_ref().map(Published::load)),
            resumes: tls.tickets > 0,
            verifies: tls.verifies,
            require_client_auth: tls.require_client_auth,
        });
        Self {
            upstream: upstream.name.clone(),
            endpoint: endpoint.name.clone(),
            address: endpoint.address.clone(),
            proxy_protocol: upstream.proxy_protocol,
            bind_address: upstream.bind_address,
            tls,
            versions: upstream.http,
            http: http
                .then(|| Http { host: endpoint_authority(&endpoint.name).to_owned(), path: "/".to_owned() }),
            udp: false,
            connect_timeout: upstream.connect_timeout,
            timeout: PATIENCE,
        }
    }

    /// Whether requests go by HTTP/2 on a connection with this protocol by ALPN.
    fn takes_http2(&self, alpn: Option<&str>) -> bool {
        match self.tls {
            Some(_) => alpn.is_some_and(|name| name.as_bytes() == ALPN_HTTP2),
            None => self.versions == BackendHttp::Http2,
        }
    }

    fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// The same, as a udp listener reaches it.
    pub(crate) fn over_udp(mut self) -> Self {
        (self.udp, self.http) = (true, None);
        self
    }
}

/// The host of `host:port`, without the brackets of an IPv6 address.
fn host_of(endpoint: &str) -> &str {
    let host = endpoint_host(endpoint);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// A name that TLS can send and verify.
///
/// # Errors
/// In words.
pub(crate) fn server_name(host: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(host.to_owned()).map_err(|_| format!("`{host}` is no name that can be verified"))
}

/// Probes all targets, several at a time; the reports are in their order.
pub(crate) fn probe_all(targets: &[Target]) -> Vec<Report> {
    probe_each(targets, |_| {})
}

/// The same. `found` gets each report as soon as it is there.
pub(crate) fn probe_each(targets: &[Target], found: impl Fn(&Report) + Sync) -> Vec<Report> {
    let found = &found;
    let one = |target: &Target| {
        let report = probe(target);
        found(&report);
        report
    };
    let mut reports = Vec::with_capacity(targets.len());
    for some in targets.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            let running: Vec<_> = some.iter().map(|target| scope.spawn(move || one(target))).collect();
            for (target, probing) in some.iter().zip(running) {
                reports.push(probing.join().unwrap_or_else(|_| {
                    let mut report = Report::new(target);
                    report.problem = Some("the probe failed: a bug of Ringate".to_owned());
                    report
                }));
            }
        });
    }
    reports
}

/// Probes one target, for its `timeout` at most. It never fails: what went wrong is in the report.
pub(crate) fn probe(target: &Target) -> Report {
    let begun = Instant::now();
    let until = begun + target.timeout;
    let mut report = Report::new(target);
    if let Err(problem) = look(target, until, &mut report) {
        report.problem = Some(problem);
    }
    report.milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    report.ok = report.problem.is_none();
    report
}

/// Fills the report.
///
/// # Errors
/// Why traffic would not flow, in words.
fn look(target: &Target, until: Instant, report: &mut Report) -> Result<(), String> {
    if target.udp {
        return udp::look(target, report);
    }
    if target.tls.is_none() {
        let tcp = connect(target, until)?;
        report.reached = true;
        return answer::plain(target, tcp, until, report);
    }
    let (mut connection, config) = handshake(target, until, report)?;
    let outcome = answer::over_tls(target, &mut connection, report);
    // Late tickets are read with the answer: only then can a second handshake resume.
    connection.close();
    outcome?;
    if let Some(tls) = target.tls.as_ref().filter(|tls| tls.resumes)
        && let (Some(config), Ok(name)) = (&config, &tls.server_name)
    {
        resume(target, config, name, until, report);
    }
    Ok(())
}

/// A connection on which requests can be made: with its handshake, where TLS is spoken.
///
/// # Errors
/// Why there is none, in words; the report has what was found until then.
fn open(target: &Target, until: Instant, report: &mut Report) -> Result<wire::Connection, String> {
    Ok(handshake(target, until, report)?.0)
}

/// A connection, and the TLS config that it was made with, if it was.
type Opened = (wire::Connection, Option<Arc<ClientConfig>>);

fn handshake(target: &Target, until: Instant, report: &mut Report) -> Result<Opened, String> {
    let mut tcp = connect(target, until)?;
    report.reached = true;
    let Some(tls) = &target.tls else { return Ok((wire::Connection::plain(tcp, until), None)) };
    let name = tls.server_name.clone()?;
    report.server_name = Some(name.to_str().into_owned());
    let sessions = Arc::new(Sessions::new(name.clone(), TICKETS));
    let config = bind(&tls.config, tls.identity.clone(), sessions);
    let until_handshaked = until.min(Instant::now() + target.connect_timeout);
    let handshaked = wire::handshake(&mut tcp, &config, name, until_handshaked);
    let presented = match &handshaked {
        Ok((established, _)) => established.facts.peer_certificates.as_deref().unwrap_or_default(),
        Err(failed) => &failed.chain,
    };
    report.chain = report::chain(presented, SystemTime::now());
    let (established, rest) = handshaked.map_err(|failed| report.judge_handshake(failed, tls))?;
    report.tls = Some(TlsReport::of(&established.facts, tls.verifies));
    report.presented(&established.facts.client_auth);
    let connection = wire::Connection::new(tcp, established, rest, until);
    if tls.require_client_auth && report.client_certificate == Verdict::NotAsked {
        connection.close();
        return Err(ConnectError::NotAsked.to_string());
    }
    Ok((connection, Some(config)))
}

/// A second handshake. Its failure proves nothing against the first: it only leaves resumption unknown.
fn resume(
    target: &Target,
    config: &Arc<ClientConfig>,
    name: &ServerName<'static>,
    until: Instant,
    report: &mut Report,
) {
    let Ok(mut tcp) = connect(target, until) else { return };
    let until_handshaked = until.min(Instant::now() + target.connect_timeout);
    let Ok((established, rest)) = wire::handshake(&mut tcp, config, name.clone(), until_handshaked) else {
        return;
    };
    if let Some(tls) = &mut report.tls {
        tls.resumption = if established.facts.resumed { Resumption::Resumed } else { Resumption::Full };
    }
    wire::Connection::new(tcp, established, rest, until).close();
}

/// A connection to the target's address.
fn connect(target: &Target, until: Instant) -> Result<std::net::TcpStream, String> {
    let Some(address) = &target.address else {
        return Err(format!("unreachable: `{}` does not resolve", target.endpoint));
    };
    let patience = target.connect_timeout.min(until.saturating_duration_since(Instant::now()));
    if patience.is_zero() {
        return Err(format!("unreachable: no time was left to connect to {address}"));
    }
    let tcp = match socket::connect_within(address, target.bind_address, patience) {
        Ok(tcp) => tcp,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            return Err(format!("unreachable: {address} did not answer within {patience:?}"));
        }
        Err(error) => return Err(format!("unreachable: {address}: {error}")),
    };
    if let Some(version) = target.proxy_protocol {
        // A few bytes into an empty buffer: they do not wait.
        let header = proxy_protocol::encode(version, Subject::Local);
        (&tcp).write_all(&header).map_err(|error| format!("{address}: {error}"))?;
    }
    Ok(tcp)
}
