//! What a probe found, for people, scripts and the admin API.

use std::time::SystemTime;

use rustls::AlertDescription;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use super::wire::Failed;
use super::{Target, Tls};
use crate::base::address::endpoint_host;
use crate::certs::Facts;
use crate::tls::error::alert_text;
use crate::tls::handshake::ClientAuth;
use crate::tls::{Facts as TlsFacts, HandshakeError, Identity};

/// What a probe of one endpoint found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Whether traffic would flow.
    pub ok: bool,
    /// The upstream; empty for a URL.
    pub upstream: String,
    /// The endpoint as the config names it.
    pub endpoint: String,
    /// Its address; `None`: the name does not resolve.
    pub address: Option<String>,
    /// Whether it accepted a connection.
    #[serde(skip)]
    pub reached: bool,
    /// Why traffic would not flow.
    pub problem: Option<String>,
    /// The name that was sent and verified.
    pub server_name: Option<String>,
    /// What was negotiated; none where TLS failed or is not spoken.
    pub tls: Option<TlsReport>,
    /// What became of our certificate.
    pub client_certificate: Verdict,
    /// The certificate that was, or would have been, presented: `name #generation`.
    pub identity: Option<String>,
    /// The chain that the backend presented, leaf first; also where it was not accepted.
    pub chain: Vec<ChainLink>,
    /// The answer to our request, where HTTP is spoken.
    pub http: Option<HttpAnswer>,
    /// What came of a datagram, where the upstream is of udp listeners.
    #[serde(default)]
    pub udp: Option<String>,
    /// How long it all took.
    pub milliseconds: u64,
}

/// What was negotiated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TlsReport {
    /// `TLS 1.3` or `TLS 1.2`.
    pub version: String,
    /// The cipher suite.
    pub cipher: String,
    /// The key exchange group.
    pub key_exchange: Option<String>,
    /// The application protocol, if one was agreed upon.
    pub alpn: Option<String>,
    /// False: `insecure_skip_verify`, so the chain is unverified.
    pub verified: bool,
    /// Whether a second handshake resumed the session.
    pub resumption: Resumption,
}

/// What the second handshake came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Resumption {
    /// It resumed the session.
    Resumed,
    /// It was a full handshake again.
    Full,
    /// There was none.
    NotTried,
}

/// What became of our certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// The connection did not get that far, or TLS is not spoken.
    Unknown,
    /// The backend did not request one.
    NotAsked,
    /// It requested one, and continued without: we had none, or none that suits its signature schemes.
    NothingPresented,
    /// It requested one, got ours, and continued.
    Accepted,
    /// It requested one and refused ours, or the lack of one.
    Refused {
        /// The alert that it sent (RFC 8446 §6.2); `None`: it refused in another way, or closed without an alert.
        alert: Option<String>,
        /// The same in words.
        reason: String,
    },
}

/// One certificate of the backend's chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ChainLink {
    /// Its facts.
    #[serde(flatten)]
    pub facts: Facts,
    /// Whole days until its end; negative when that has passed.
    pub days_left: i64,
}

/// The answer to our request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HttpAnswer {
    /// The request, `GET /`.
    pub request: String,
    /// Its status.
    pub status: u16,
}

impl Report {
    /// What people call the endpoint: its name and, where that is not the address, `HOST/ADDRESS:PORT`.
    pub(crate) fn label(&self) -> String {
        label(&self.endpoint, self.address.as_deref())
    }

    pub(super) fn new(target: &Target) -> Self {
        let identity = target.tls.as_ref().and_then(|tls| tls.identity.as_deref());
        Self {
            ok: false,
            upstream: target.upstream.clone(),
            endpoint: target.endpoint.clone(),
            address: target.address.as_ref().map(ToString::to_string),
            reached: false,
            problem: None,
            server_name: None,
            tls: None,
            client_certificate: Verdict::Unknown,
            identity: identity.map(named),
            chain: Vec::new(),
            http: None,
            udp: None,
            milliseconds: 0,
        }
    }

    /// The first word on our certificate, after the handshake; what is read then may change it.
    pub(super) fn presented(&mut self, auth: &ClientAuth) {
        self.client_certificate = match auth {
            ClientAuth::NotAsked => Verdict::NotAsked,
            ClientAuth::AskedInVain => Verdict::NothingPresented,
            ClientAuth::Presented(_) => Verdict::Accepted,
        };
    }

    /// Whether the backend requested a certificate.
    pub(super) fn was_asked(&self) -> bool {
        !matches!(self.client_certificate, Verdict::Unknown | Verdict::NotAsked)
    }

    /// The backend refused our certificate, or its lack.
    pub(super) fn refused(&mut self, alert: Option<AlertDescription>, reason: String) -> String {
        let alert = alert.map(alert_name);
        self.client_certificate = Verdict::Refused { alert, reason: reason.clone() };
        reason
    }

    /// A failed handshake in words; a verdict on our certificate is noted.
    pub(super) fn judge_handshake(&mut self, failed: Failed, tls: &Tls) -> String {
        let Failed { error, auth, .. } = failed;
        self.presented(&auth);
        if !self.was_asked() {
            self.client_certificate = Verdict::Unknown;
            return error.to_string();
        }
        let with = match &tls.identity {
            Some(identity) => format!("the certificate {}", named(identity)),
            None => "a handshake without a certificate".to_owned(),
        };
        match error {
            // The server had our certificate, so a refusal from here on is about that.
            wire_error @ super::wire::WireError::Tls(HandshakeError::PeerAlert(alert)) => {
                let reason = format!("{with} was refused: {wire_error}");
                self.refused(Some(alert), reason)
            }
            error if error.is_end() => {
                self.refused(None, format!("{with} was refused without an alert: {error}"))
            }
            error => {
                self.client_certificate = Verdict::Unknown;
                error.to_string()
            }
        }
    }
}

impl TlsReport {
    pub(super) fn of(facts: &TlsFacts, verified: bool) -> Self {
        Self {
            version: facts.version_name().to_owned(),
            cipher: facts.suite_name().to_owned(),
            key_exchange: facts.group_name().map(str::to_owned),
            alpn: facts.alpn.as_deref().map(|name| String::from_utf8_lossy(name).into_owned()),
            verified,
            resumption: Resumption::NotTried,
        }
    }
}

/// A name of the config with its address.
pub(crate) fn label(endpoint: &str, address: Option<&str>) -> String {
    match address {
        Some(address) if address != endpoint => {
            format!("{}/{address}", endpoint_host(endpoint))
        }
        _ => endpoint.to_owned(),
    }
}

/// An identity as reports name it.
fn named(identity: &Identity) -> String {
    format!("{} #{}", identity.name(), identity.generation())
}

/// An alert's name in the RFCs, without what it usually means.
fn alert_name(alert: AlertDescription) -> String {
    let text = alert_text(alert);
    text.split(' ').next().unwrap_or(text).to_owned()
}

/// A chain's facts. Certificates that cannot be parsed are left out: the handshake's error is about them.
pub(super) fn chain(certificates: &[CertificateDer<'static>], now: SystemTime) -> Vec<ChainLink> {
    let parsed = certificates.iter().filter_map(|certificate| Facts::from_der(certificate).ok());
    parsed.map(|facts| ChainLink { days_left: facts.days_left(now), facts }).collect()
}
