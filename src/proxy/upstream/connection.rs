//! A connection to an endpoint.

use rustls::AlertDescription;
use rustls::pki_types::ServerName;

use super::certificate_verdict::CertificateVerdict;
use super::circuit::CountedConnection;
use super::connect::{NewConnection, Spoken};
use super::load::InFlight;
use crate::io::{Buffer, Stream};
use crate::proxy::client_binding::ClientId;
use crate::proxy::identity_connections::TrackedConnection;
use crate::proxy::worker::Worker;

/// What is known of the connection of an exchange, however many others it carries.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionFacts<'a> {
    /// Which endpoint of the pool.
    pub(crate) endpoint: usize,
    /// The name that was verified; `None` on plain connections.
    pub(crate) server_name: Option<&'a ServerName<'static>>,
    /// The serial of the identity that it was made with; 0 without one.
    pub(crate) identity: u64,
    /// What the backend makes of our certificate.
    pub(crate) verdict: CertificateVerdict,
    /// The alert that the backend ended it with.
    pub(crate) alert: Option<AlertDescription>,
    /// Whether the backend asked for a new handshake, which TLS 1.2 calls renegotiation.
    pub(crate) renegotiates: bool,
}

/// A connection to an endpoint.
#[derive(Debug)]
pub struct UpstreamConnection {
    /// Its entry among the connections made with a client identity.
    pub(crate) hold: Option<TrackedConnection>,
    /// The connection.
    pub stream: Stream,
    /// What arrived with the handshake, if anything did.
    pub early: Option<Buffer>,
    /// Its version of HTTP.
    pub(crate) spoken: Spoken,
    /// Which endpoint of the pool.
    pub endpoint: usize,
    /// Whether it has carried a request before.
    pub reused: bool,
    /// The client connection that it is kept for; `None`: any.
    pub(crate) client: Option<ClientId>,
    /// The name that was verified; `None` on plain connections.
    pub(crate) server_name: Option<ServerName<'static>>,
    /// The serial of the identity that it was made with; 0 without one.
    pub(crate) identity: u64,
    /// What the backend makes of our certificate.
    pub(crate) verdict: CertificateVerdict,
    /// Its count among those of the upstream and the endpoint, where these are bounded.
    pub(crate) _counted: CountedConnection,
    pub(crate) born: u64,
    pub(crate) since: u64,
    /// The exchange that it carries; `None` while it is idle.
    pub(crate) in_flight: Option<InFlight>,
}

impl UpstreamConnection {
    pub(crate) fn fresh(
        worker: &Worker,
        (endpoint, counted): (usize, CountedConnection),
        server_name: Option<ServerName<'static>>,
        client: Option<ClientId>,
        dialed: NewConnection,
    ) -> Box<Self> {
        let NewConnection { stream, early, spoken, identity, verdict, hold } = dialed;
        let now = worker.wheel.now();
        Box::new(Self {
            hold,
            stream,
            early,
            spoken,
            endpoint,
            reused: false,
            client,
            server_name,
            identity,
            verdict,
            _counted: counted,
            born: now,
            since: now,
            in_flight: None,
        })
    }

    /// What is known of it.
    pub(crate) fn facts(&self) -> ConnectionFacts<'_> {
        let reader = &self.stream.reader;
        ConnectionFacts {
            endpoint: self.endpoint,
            server_name: self.server_name.as_ref(),
            identity: self.identity,
            verdict: self.verdict,
            alert: reader.peer_alert(),
            renegotiates: reader.asked_renegotiation(),
        }
    }

    /// The tick since which it has been idle.
    pub(crate) fn since(&self) -> u64 {
        self.since
    }
}
