//! Making a connection to one endpoint: TCP, then TLS with the sessions that this worker has of it.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::AlertDescription;
use rustls::ProtocolVersion;
use rustls::pki_types::{CertificateDer, ServerName};

use crate::base::address::Address;
use crate::base::meter::UpstreamCells;
use crate::http::{ALPN_HTTP2, BackendHttp};
use crate::io::deadline::TICK;
use crate::io::{Buffer, Deadline, Stream, TcpStream, descriptors, proxy_header, sleep, socket, tls};
use crate::proxy::failure::{ConnectError, Stage};
use crate::proxy::identity_connections::TrackedConnection;
use crate::proxy::upstream::backend_tls::UpstreamTls;
use crate::proxy::upstream::certificate_verdict::CertificateVerdict;
use crate::proxy::upstream::config::Upstream;
use crate::proxy::upstream::endpoint::{EndpointTls, Failed};
use crate::proxy::upstream::identity::Choice;
use crate::proxy::worker::Worker;
use crate::tls::handshake::ClientAuth;
use crate::tls::{Facts, Handshake, Identity, Reason, SessionPool};

/// How long a connection for which no descriptor is free waits before it tries again.
const SHORT_PAUSE: Duration = Duration::from_millis(10);

/// What a worker keeps of one endpoint from connection to connection.
#[derive(Debug, Default)]
pub(crate) struct Dialer {
    sessions: RefCell<SessionPool>,
    /// The sessions of the previous generation of the identity, as the fallback of the active one.
    rescued: RefCell<SessionPool>,
}

/// The version of HTTP that a connection has, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// HTTP/1.1, or any other protocol that is relayed.
    Http11,
    /// HTTP/2, by ALPN or prior knowledge.
    Http2,
}

/// What a connection is made for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DialOptions<'a> {
    /// The name to verify, over TLS.
    pub(crate) name: Option<&'a ServerName<'static>>,
    /// The request is at hand and may be sent again.
    pub(crate) whole: bool,
    /// A PROXY header, the first bytes of the connection.
    pub(crate) header: Option<&'a [u8]>,
    /// Which versions of HTTP it may have.
    pub(crate) http: BackendHttp,
}

/// A connection just made.
pub(crate) struct NewConnection {
    /// The connection.
    pub(crate) stream: Stream,
    /// What arrived with the handshake, if anything did.
    pub(crate) early: Option<Buffer>,
    /// Its version of HTTP.
    pub(crate) spoken: Spoken,
    /// The serial of the identity that the handshake could present; 0 without one.
    pub(crate) identity: u64,
    /// What the server makes of our certificate.
    pub(crate) verdict: CertificateVerdict,
    /// Its entry among the connections made with a client identity.
    pub(crate) hold: Option<TrackedConnection>,
}

impl NewConnection {
    fn plain(tcp: TcpStream, http: BackendHttp) -> Self {
        Self {
            stream: Stream::plain(tcp),
            early: None,
            spoken: if http == BackendHttp::Http2 { Spoken::Http2 } else { Spoken::Http11 },
            identity: 0,
            verdict: CertificateVerdict::NotAsked,
            hold: None,
        }
    }

    fn established(stream: Stream, facts: &Facts, early: Option<Buffer>, choice: &Choice) -> Self {
        let presented = matches!(facts.client_auth, ClientAuth::Presented(_));
        let verdict = match facts.client_auth {
            ClientAuth::NotAsked if facts.resumed && choice.identity.is_some() => {
                CertificateVerdict::FromSession
            }
            ClientAuth::NotAsked => CertificateVerdict::NotAsked,
            // Judged once the handshake is over.
            _ if facts.version == ProtocolVersion::TLSv1_3 => {
                CertificateVerdict::Pending { presented, fallback: false }
            }
            _ if presented => CertificateVerdict::Accepted,
            _ => CertificateVerdict::NotAsked,
        };
        let is_http2 = facts.alpn.as_deref() == Some(ALPN_HTTP2);
        let spoken = if is_http2 { Spoken::Http2 } else { Spoken::Http11 };
        Self { stream, early, spoken, identity: choice.serial(), verdict, hold: None }
    }
}

/// What a finished handshake gives.
type Handshaked = (Stream, Facts, Option<Buffer>);

impl Dialer {
    /// Connects to endpoint number `endpoint`, within `timeouts.connect`; over TLS if there is a name to verify.
    pub(crate) async fn dial(
        &self,
        worker: &Worker,
        deadline: &Deadline,
        (upstream, meter): (&Upstream, &UpstreamCells),
        endpoint: usize,
        wanted: DialOptions<'_>,
        choice: &Choice,
    ) -> Result<NewConnection, ConnectError> {
        let DialOptions { name, header, http, .. } = wanted;
        let Some(address) = &upstream.endpoints[endpoint].address else {
            return Err(ConnectError::Unresolved);
        };
        let (stage, short) = (Cell::new(Stage::Tcp), Cell::new(false));
        deadline.set(upstream.connect_timeout);
        let connecting = pin!(async {
            let connect = async || {
                let begun = Instant::now();
                let mut tcp = connect_tcp(worker, address, upstream.bind_address, &short)
                    .await
                    .map_err(ConnectError::Io)?;
                worker.counters.backend_connections.add(1);
                meter.connections.add(1);
                meter.connect.add(begun.elapsed());
                if let Some(header) = header {
                    proxy_header::send(&mut tcp, header).await.map_err(ConnectError::Io)?;
                }
                Ok(tcp)
            };
            let tcp = connect().await?;
            let (Some(tls), Some(name)) = (&upstream.tls, name) else {
                return Ok(NewConnection::plain(tcp, http));
            };
            stage.set(Stage::Tls);
            let offered = self.holds_session(name, choice.rescue);
            let mut handshake = self.handshake((worker, meter), tls, choice, tcp, (name, http)).await;
            if handshake.is_err() {
                self.forget(name);
                // A backend that fails on a session instead of ignoring it gets a full handshake.
                if offered {
                    let tcp = connect().await?;
                    handshake = self.handshake((worker, meter), tls, choice, tcp, (name, http)).await;
                }
            }
            self.record_failure(
                worker,
                (&upstream.endpoints[endpoint].state.tls, tls, name, http),
                handshake,
                choice,
            )
        });
        let result = deadline.race(connecting).await.unwrap_or_else(|_| match short.get() {
            true => Err(ConnectError::NoDescriptor),
            false => Err(ConnectError::Timeout(stage.get())),
        });
        if let (Err(error @ ConnectError::Timeout(Stage::Tls)), Some(name)) = (&result, name) {
            let failed = Failed::now(name, Reason::Timeout, error.to_string());
            upstream.endpoints[endpoint].state.tls.failed(failed);
        }
        result
    }

    /// One handshake, full or resumed.
    async fn handshake(
        &self,
        (worker, meter): (&Worker, &UpstreamCells),
        tls: &UpstreamTls,
        choice: &Choice,
        mut tcp: TcpStream,
        (name, http): (&ServerName<'static>, BackendHttp),
    ) -> Result<Handshaked, Broken> {
        let (begun, now) = (Instant::now(), elapsed(worker));
        let identity = choice.identity.as_ref();
        let sessions = self.pool(choice.rescue);
        let config = sessions.borrow_mut().config(tls.config_for(http), name, identity, tls.tickets, now);
        let mut handshake = Handshake::client(config, name.clone()).map_err(Broken::early)?;
        let result = match tls::shake(&mut tcp, &mut handshake).await {
            Ok(rest) => tls::finish(tcp, handshake, rest).map_err(Broken::early),
            Err(error) => {
                let client_auth = handshake.client_auth().clone();
                let (chain, authorities) = handshake.presented();
                Err(Broken { error, client_auth, chain, authorities })
            }
        };
        match &result {
            Ok(_) => meter.handshake.add(begun.elapsed()),
            Err(_) => worker.counters.backend_handshake_failures.add(1),
        }
        result
    }

    /// Records the result of a handshake, and refuses a backend that did not request our certificate with `require_client_auth`.
    fn record_failure(
        &self,
        worker: &Worker,
        (record, tls, name, http): (&EndpointTls, &UpstreamTls, &ServerName<'static>, BackendHttp),
        handshake: Result<Handshaked, Broken>,
        choice: &Choice,
    ) -> Result<NewConnection, ConnectError> {
        let (stream, facts, early) = match handshake {
            Ok(handshaked) => handshaked,
            Err(Broken { error, client_auth, chain, authorities }) => {
                let no_protocol = error.reason().alert() == Some(AlertDescription::NoApplicationProtocol);
                worker.counters.backend_http2_refusals.add(u64::from(no_protocol));
                let reason = error.reason().after(!matches!(client_auth, ClientAuth::NotAsked));
                let failed = Failed::now(name, reason, error.to_string());
                let alert_sent = error.alert_sent();
                record.failed(Failed { alert_sent, client_auth, chain, authorities, ..failed });
                return Err(ConnectError::Tls(error, reason));
            }
        };
        // A resumed session was made by a handshake in which the backend did request it.
        let asked = facts.resumed || matches!(facts.client_auth, ClientAuth::Presented(_));
        if tls.require_client_auth && !asked {
            self.forget(name);
            worker.counters.backend_handshake_failures.add(1);
            let failed = Failed::now(name, Reason::NotAsked, ConnectError::NotAsked.to_string());
            let (chain, client_auth) = (facts.peer_certificates.unwrap_or_default(), facts.client_auth);
            record.failed(Failed { client_auth, chain, authorities: facts.authorities, ..failed });
            return Err(ConnectError::NotAsked);
        }
        if http == BackendHttp::Http2 && facts.alpn.as_deref() != Some(ALPN_HTTP2) {
            worker.counters.backend_http2_refusals.add(1);
            record.record_handshake(name, facts);
            return Err(ConnectError::NoHttp2);
        }
        worker.counters.backend_handshakes.add(1);
        worker.counters.backend_resumptions.add(u64::from(facts.resumed));
        let dialed = NewConnection::established(stream, &facts, early, choice);
        record.record_handshake(name, facts);
        Ok(dialed)
    }

    /// Drops the sessions of `name`.
    pub(crate) fn forget(&self, name: &ServerName<'_>) {
        self.sessions.borrow_mut().forget(name);
        self.rescued.borrow_mut().forget(name);
    }

    /// The sessions of the active generation, or of its fallback.
    fn pool(&self, rescue: bool) -> &RefCell<SessionPool> {
        if rescue { &self.rescued } else { &self.sessions }
    }

    /// Whether there is a session to resume: after a full handshake, the server has gone on to give one.
    pub(crate) fn holds_session(&self, name: &ServerName<'_>, rescue: bool) -> bool {
        self.pool(rescue).borrow().holds(name)
    }

    /// Ends sessions that are too old or of another identity than those of this moment.
    pub(crate) fn sweep(&self, worker: &Worker, current: Option<&Arc<Identity>>) {
        let now = elapsed(worker);
        self.sessions.borrow_mut().sweep(current, now);
        let previous = current.and_then(|current| current.previous());
        self.rescued.borrow_mut().sweep(previous.as_ref(), now);
    }
}

/// A connection to `address` from `source`, once there is a descriptor for it. `short` is set while there is none.
async fn connect_tcp(
    worker: &Worker,
    address: &Address,
    source: Option<IpAddr>,
    short: &Cell<bool>,
) -> io::Result<TcpStream> {
    loop {
        if descriptors::has_one_for_backends() {
            match socket::connect(address, source).await {
                // The last ones are left to the admin server.
                Ok(tcp) if !descriptors::is_for_backends(&tcp) => {}
                Err(error) if descriptors::is_want(&error) => {}
                result => {
                    short.set(false);
                    return result;
                }
            }
        }
        if !short.replace(true) {
            worker.counters.descriptor_waits.add(1);
        }
        descriptors::want();
        sleep(SHORT_PAUSE).await;
    }
}

/// A handshake that failed, and what was seen of the backend until then.
struct Broken {
    error: tls::TlsError,
    client_auth: ClientAuth,
    chain: Vec<CertificateDer<'static>>,
    authorities: Vec<Vec<u8>>,
}

impl Broken {
    fn early(error: impl Into<tls::TlsError>) -> Self {
        let (chain, authorities) = (Vec::new(), Vec::new());
        Self { error: error.into(), client_auth: ClientAuth::NotAsked, chain, authorities }
    }
}

/// The worker's time, for the age of sessions.
fn elapsed(worker: &Worker) -> Duration {
    Duration::from_millis(worker.wheel.now().saturating_mul(TICK.as_millis() as u64))
}
