//! The facts about a client, once for each connection, in the forms that backends, rules and logs need.

use std::cell::OnceCell;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;

use crate::certs;
use crate::certs::consumers::index::{Names, PresentedCertificate};
use crate::config::access::Variable;
use crate::io::PeerHandle;
use crate::proxy::client_binding::{ClientBinding, ClientIds, Lazily, ProxiedOrigin};
use crate::tls::client_certificate::PresentedError;
use crate::tls::{AnyClient, ClientCertificate, Facts, Reason, SanName};

/// What is known of a client, in the form it is forwarded in.
#[derive(Debug)]
pub struct ClientFacts {
    /// Its address in text.
    pub address: Box<str>,
    /// What not every client has. One pointer: there is one for each idle connection.
    more: OnceCell<Box<More>>,
}

#[derive(Debug, Default)]
struct More {
    /// Present if it speaks TLS.
    tls: Option<ClientTls>,
    /// Present once a backend got a PROXY header for it, or if it came with one.
    own: Lazily,
}

/// What was negotiated with a client.
#[derive(Debug)]
pub struct ClientTls {
    /// TLS 1.3 was negotiated, and not 1.2.
    pub tls13: bool,
    /// The cipher suite by its IANA name.
    pub cipher: Box<str>,
    /// The server name in its handshake (SNI).
    pub sni: Option<Box<str>>,
    /// Its certificate.
    certificate: Option<Box<ClientCertificate>>,
    /// Whether that is verified. If not, it counts for credentials alone, which name it.
    verified: bool,
    /// By which of its door's policies that was verified.
    pub policy: u32,
}

/// Why a client is turned away after its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientError {
    /// Its certificate can't be made use of.
    Certificate(PresentedError),
    /// It resumed a session with a certificate that has expired since.
    Expired,
}

impl ClientError {
    /// Why, in a word.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Certificate(_) => Reason::BadCertificate,
            Self::Expired => Reason::Expired,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(error) => error.fmt(f),
            Self::Expired => f.write_str("the client resumed a session whose certificate has expired"),
        }
    }
}

impl ClientFacts {
    /// Of a client that speaks TLS, or does not.
    pub fn new(address: Box<str>, tls: Option<Box<ClientTls>>) -> Self {
        let more = tls.map(|tls| Box::new(More { tls: Some(*tls), own: Lazily::new() }));
        Self { address, more: more.map(OnceCell::from).unwrap_or_default() }
    }

    /// What was negotiated with it, if it speaks TLS.
    pub fn tls(&self) -> Option<&ClientTls> {
        self.more.get()?.tls.as_ref()
    }

    /// The binding of its connection, made at the first call from `said`, the addresses of its PROXY header.
    pub(crate) fn own(&self, ids: &ClientIds, said: ProxiedOrigin, peer: &PeerHandle) -> &ClientBinding {
        let more = self.more.get_or_init(Box::default);
        more.own.get_or_init(|| Box::new(ClientBinding::new(ids, said, peer)))
    }

    /// It has disconnected: the connections kept for it are closed.
    pub(crate) fn leave(&mut self) {
        if let Some(own) = self.more.get_mut().and_then(|more| more.own.get_mut()) {
            own.leave();
        }
    }

    /// How it speaks to us: `http` or `https`.
    pub fn proto(&self) -> &'static str {
        if self.tls().is_some() { "https" } else { "http" }
    }

    /// The client's verified certificate, if it has one.
    pub fn certificate(&self) -> Option<&ClientCertificate> {
        self.tls()?.certificate()
    }

    /// The certificate that it presented, and whether that is verified.
    pub(crate) fn presented(&self) -> Option<(&ClientCertificate, bool)> {
        let tls = self.tls()?;
        Some((tls.certificate.as_deref()?, tls.verified))
    }

    /// Hands `read` what its certificate is compared by with those of credentials.
    pub(crate) fn with_presented<R>(&self, read: impl FnOnce(Option<&PresentedCertificate<'_>>) -> R) -> R {
        let Some((certificate, verified)) = self.presented() else { return read(None) };
        let names = AlternativeNames(&certificate.names);
        read(Some(&PresentedCertificate {
            sha256: &certificate.sha256,
            not_after: certificate.not_after,
            verified: verified.then_some((&*certificate.issuer, &names as &dyn Names)),
        }))
    }

    /// The value of a variable of its handshake; `None` for other variables, and without a value.
    pub fn tls_value(&self, variable: &Variable) -> Option<&str> {
        let tls = self.tls()?;
        match variable {
            Variable::TlsVersion => Some(if tls.tls13 { "TLSv1.3" } else { "TLSv1.2" }),
            Variable::TlsCipher => Some(&tls.cipher),
            Variable::TlsSni => tls.sni.as_deref(),
            Variable::CertificateSubject => Some(&tls.certificate()?.subject),
            Variable::CertificateFingerprint => Some(&tls.certificate()?.fingerprint),
            _ => None,
        }
    }
}

impl ClientTls {
    /// The verified certificate.
    fn certificate(&self) -> Option<&ClientCertificate> {
        self.certificate.as_deref().filter(|_| self.verified)
    }

    /// The facts of a finished handshake under a `policy`. `whole` forwards the client's whole certificate. `any`: the
    /// handshake took any certificate, and this says which count as verified.
    ///
    /// # Errors
    /// The client is not to be served.
    pub(crate) fn new(
        facts: &Facts,
        whole: bool,
        policy: u32,
        any: Option<&AnyClient>,
    ) -> Result<Box<Self>, ClientError> {
        let chain = facts.peer_certificates.as_deref().unwrap_or_default();
        let verified = any.is_none_or(|any| any.trusts(chain));
        let leaf = chain.first();
        let certificate = leaf.map(|leaf| certificate(facts, leaf, whole, verified)).transpose()?;
        let cipher = facts.suite_name();
        Ok(Box::new(Self {
            tls13: facts.version == rustls::ProtocolVersion::TLSv1_3,
            cipher: cipher.replace("TLS13_", "TLS_").into(),
            sni: facts.sni.as_deref().map(Into::into),
            certificate: certificate.map(Box::new),
            verified,
            policy,
        }))
    }
}

fn certificate(
    facts: &Facts,
    leaf: &CertificateDer<'_>,
    whole: bool,
    verified: bool,
) -> Result<ClientCertificate, ClientError> {
    let pem = whole.then(|| certs::pem("CERTIFICATE", leaf));
    let server = facts.server_identity.as_ref().and_then(|identity| identity.chain().first());
    let pem = pem.as_ref().map(|text| text.as_str());
    let certificate = ClientCertificate::new(leaf, server, pem).map_err(ClientError::Certificate)?;
    // A full handshake has checked that; a ticket outlives the certificate in it.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    if verified && facts.resumed && i64::try_from(now).is_ok_and(|now| now > certificate.not_after) {
        return Err(ClientError::Expired);
    }
    Ok(certificate)
}

/// The alternative names of a client's certificate.
#[derive(Debug)]
struct AlternativeNames<'a>(&'a [SanName]);

impl Names for AlternativeNames<'_> {
    fn has(&self, san: &str) -> bool {
        let Some((kind, value)) = san.split_once(':') else { return false };
        self.0.iter().any(|name| match name {
            SanName::Dns(name) => kind == "DNS" && name.eq_ignore_ascii_case(value),
            SanName::Uri(uri) => kind == "URI" && **uri == *value,
            SanName::Email(address) => kind == "email" && address.eq_ignore_ascii_case(value),
            SanName::Ip(address) => kind == "IP" && value.parse() == Ok(*address),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block of the allocator's size classes, of which each idle connection over TLS has one.
    #[test]
    fn what_is_known_of_an_idle_client_is_small() {
        assert!(size_of::<More>() <= 128, "{}", size_of::<More>());
        assert!(size_of::<ClientFacts>() <= 24, "{}", size_of::<ClientFacts>());
    }
}
