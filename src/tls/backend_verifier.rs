//! What a backend's certificate is checked against.
//!
//! ```text
//! chain ─► trusted itself: time ───────────────────────────────────────────────────────────────┐
//!      └─► or webpki: issuer, time, usage, name constraints ─► the anchor's time ─► revocation ─┴─► name ─► pins ─► handshake signature
//! ```

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::algorithms::{RsaBits, verify_handshake_signatures};
use super::certificate_facts::{
    is_authority, key_bits, may_sign, plain_name, signs_lists, unfit, unix, unsupported_extension,
};
use super::chain::{Role, Trust, Vouched};
use super::identity::note_chain;
use super::revocation::{RevocationLists, element};

pub(super) type Sha256 = [u8; 32];

/// Certificates that a peer's chain may end in, or that a peer may present itself.
#[derive(Clone, Debug)]
pub struct TrustAnchors {
    authorities: RootCertStore,
    /// The subjects of all, which clients choose their certificate by.
    subjects: Vec<DistinguishedName>,
    /// Everything that was added, by digest: a server may present exactly one of these, as a self-signed one does.
    exact: HashSet<Sha256>,
    /// The authorities that sign with RSA: subject in DER, and bits.
    rsa: Vec<(Vec<u8>, u32)>,
    /// What `authorities` does not keep of them.
    facts: Vec<AnchorFacts>,
}

/// What webpki's trust anchors lack.
#[derive(Clone, Debug)]
pub(super) struct AnchorFacts {
    /// Subject and SubjectPublicKeyInfo in DER.
    pub(super) subject: Vec<u8>,
    pub(super) spki: Vec<u8>,
    pub(super) signs_lists: bool,
    name: String,
    pub(super) der: CertificateDer<'static>,
    /// Why it cannot issue, by its own extensions.
    unfit: Option<String>,
}

/// What an operator should know of a certificate in a trust list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TrustConcern {
    /// It has no effect now, or no effect as an authority.
    Idle(String),
    /// No certificate of a peer will ever match it.
    Never(String),
}

/// See [`TrustConcern`]; `None`: the certificate is as it should be.
pub(crate) fn trust_concern(certificate: &CertificateDer<'_>, now: UnixTime) -> Option<TrustConcern> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let name = plain_name(parsed.subject());
    if !is_authority(&parsed)
        && let Err(error) = webpki::EndEntityCert::try_from(certificate)
    {
        let why = match error {
            webpki::Error::UnsupportedCertVersion => "it is of version 1 (TLS requires version 3)".to_owned(),
            webpki::Error::UnsupportedCriticalExtension => {
                let which = unsupported_extension(&parsed).unwrap_or_else(|| "of an unknown kind".to_owned());
                format!("it has the critical extension {which}, which is not supported")
            }
            other => format!("it cannot be used in a handshake ({other})"),
        };
        return Some(TrustConcern::Never(format!("{name} can never be accepted: {why}")));
    }
    let unfit = unfit(&parsed).filter(|_| is_authority(&parsed));
    if let Some(why) = unfit {
        return Some(TrustConcern::Idle(format!("the authority {name} does not vouch: {why}")));
    }
    match check_validity(certificate, now) {
        Err(CertificateError::ExpiredContext { .. }) => {
            Some(TrustConcern::Idle(format!("the trusted certificate {name} has expired")))
        }
        Err(_) => Some(TrustConcern::Idle(format!("the trusted certificate {name} is not valid yet"))),
        Ok(()) => None,
    }
}

/// Why a trust list cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustError {
    /// A certificate cannot be parsed.
    BadCertificate(String),
    /// Nothing is trusted, so no backend could be.
    Empty,
    /// A revocation list cannot be parsed.
    BadRevocationList(String),
    /// Revocation lists without an authority that could have signed them.
    RevocationWithoutAuthority,
}

impl fmt::Display for TrustError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadCertificate(why) => write!(f, "a trusted certificate cannot be parsed: {why}"),
            Self::Empty => f.write_str("no certificate is trusted"),
            Self::BadRevocationList(why) => write!(f, "a revocation list cannot be parsed: {why}"),
            Self::RevocationWithoutAuthority => {
                f.write_str("there are revocation lists, but no authority is trusted")
            }
        }
    }
}

impl std::error::Error for TrustError {}

impl Default for TrustAnchors {
    fn default() -> Self {
        Self::new()
    }
}

impl TrustAnchors {
    /// Trusts nothing.
    pub fn new() -> Self {
        Self {
            authorities: RootCertStore::empty(),
            subjects: Vec::new(),
            exact: HashSet::new(),
            rsa: Vec::new(),
            facts: Vec::new(),
        }
    }

    /// Trusts each of `certificates`; the first that cannot be parsed is the error.
    pub fn build(
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Self, TrustError> {
        let mut anchors = Self::new();
        for certificate in certificates {
            anchors.add(certificate)?;
        }
        Ok(anchors)
    }

    /// Trusts `certificate`: as an authority if it is one, and as a server's own certificate in any case.
    pub fn add(&mut self, certificate: CertificateDer<'static>) -> Result<(), TrustError> {
        let bad = |error: String| TrustError::BadCertificate(error);
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|error| bad(error.to_string()))?;
        let authority = is_authority(&parsed);
        if self.exact.insert(sha256(&certificate)) {
            self.subjects.push(parsed.subject().as_raw().to_vec().into());
        }
        if authority {
            if let Some(bits) = key_bits(&parsed) {
                self.rsa.push((parsed.subject().as_raw().to_vec(), bits));
            }
            self.facts.push(AnchorFacts {
                subject: parsed.subject().as_raw().to_vec(),
                spki: parsed.public_key().raw.to_vec(),
                signs_lists: signs_lists(&parsed),
                name: plain_name(parsed.subject()),
                der: certificate.clone(),
                unfit: unfit(&parsed),
            });
            self.authorities.add(certificate).map_err(|error| bad(error.to_string()))?;
        }
        Ok(())
    }

    /// The number of certificates.
    pub fn len(&self) -> usize {
        self.exact.len()
    }

    /// Whether nothing is trusted.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty()
    }

    pub(super) fn is_exact(&self, digest: &Sha256) -> bool {
        self.exact.contains(digest)
    }

    pub(super) fn authorities(&self) -> &[TrustAnchor<'static>] {
        &self.authorities.roots
    }

    pub(super) fn facts(&self) -> impl Iterator<Item = &AnchorFacts> {
        self.facts.iter()
    }

    /// The subjects of all, for CertificateRequest; none where they would not fit: then clients choose without a hint
    /// (RFC 8446 §4.2.4, RFC 5246 §7.4.4).
    pub(super) fn hints(&self) -> Vec<DistinguishedName> {
        if self.hints_fit() { self.subjects.clone() } else { Vec::new() }
    }

    /// Whether the subjects of all fit into a CertificateRequest, whose lists have lengths of 16 bits.
    pub fn hints_fit(&self) -> bool {
        self.subjects.iter().map(|name| name.as_ref().len() + 2).sum::<usize>() <= MAX_HINT_BYTES
    }

    /// The authority of this subject and key (contents in DER) that may issue, and is in its time.
    pub(super) fn vouching(
        &self,
        subject: &[u8],
        spki: &[u8],
        now: UnixTime,
    ) -> Result<&AnchorFacts, Unacceptable> {
        let content = |der| element(der).map(|(_, content, _)| content);
        let mut refused = None;
        for known in &self.facts {
            if content(&known.subject) != Some(subject) || content(&known.spki) != Some(spki) {
                continue;
            }
            let name = || known.name.clone();
            let why = match (&known.unfit, check_validity(&known.der, now)) {
                (None, Ok(())) => return Ok(known),
                (Some(why), _) => Unacceptable::AuthorityUnfit { name: name(), why: why.clone() },
                (None, Err(CertificateError::ExpiredContext { .. })) => {
                    Unacceptable::AuthorityExpired { name: name() }
                }
                (None, Err(_)) => Unacceptable::AuthorityNotYetValid { name: name() },
            };
            refused.get_or_insert(why);
        }
        let unknown = || Unacceptable::AuthorityUnfit { name: "?".into(), why: "it is unknown".into() };
        Err(refused.unwrap_or_else(unknown))
    }
}

/// The most bytes of names in a CertificateRequest. The rest of its 65,535 is for the other extensions.
const MAX_HINT_BYTES: usize = 60_000;

/// Why a certificate is refused that webpki and rustls have no word for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unacceptable {
    /// The SHA-256 of its public key is not among the pinned ones.
    Pin(Sha256),
    /// A trusted authority has the name of its issuer, but did not sign it.
    Namesake {
        /// The name.
        issuer: String,
    },
    /// The trusted authority that its chain ends in has expired.
    AuthorityExpired {
        /// Its subject.
        name: String,
    },
    /// The trusted authority that its chain ends in is not valid yet.
    AuthorityNotYetValid {
        /// Its subject.
        name: String,
    },
    /// The trusted authority that its chain ends in may not issue, by its own extensions.
    AuthorityUnfit {
        /// Its subject.
        name: String,
        /// Why.
        why: String,
    },
    /// A certificate of X.509 version 1 or 2 in the chain; TLS requires version 3 (RFC 8446 §4.4.2.2).
    Version,
    /// A certificate of the chain has a critical extension of a kind that is not supported.
    CriticalExtension {
        /// Its OID, with its name where that is known.
        extension: String,
        /// Whose it is; none: the peer's own.
        authority: Option<String>,
    },
    /// An authority of the chain constrains names of a kind that is not supported, and certificates below it have such.
    NameConstraints {
        /// The authority.
        authority: String,
        /// The kind.
        kind: &'static str,
    },
    /// An authority of the chain issued a certificate to itself, for another key of its own.
    SelfIssued {
        /// Its name.
        name: String,
    },
    /// Its keyUsage does not let its key sign, which is all that it does in a handshake (RFC 8446 §4.4.2.2).
    NotForSigning,
    /// An RSA key is smaller than the policy allows.
    WeakKey {
        /// Its size.
        bits: u32,
        /// The least size.
        least: u32,
        /// Whose it is; none: the backend's own.
        authority: Option<String>,
    },
}

impl fmt::Display for Unacceptable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // As `tls.pins` takes it (RFC 7469 §2.1.1).
            Self::Pin(key) => write!(
                f,
                "its public key is not among the pinned ones (its pin is sha256/{})",
                BASE64.encode(key)
            ),
            Self::Namesake { issuer } => {
                write!(f, "it is not signed by the trusted authority {issuer}, but by another of that name")
            }
            Self::AuthorityExpired { name } => {
                write!(f, "the trusted authority {name} that vouches for it has expired")
            }
            Self::AuthorityNotYetValid { name } => {
                write!(f, "the trusted authority {name} that vouches for it is not valid yet")
            }
            Self::AuthorityUnfit { name, why } => {
                write!(f, "the trusted authority {name} does not vouch: {why}")
            }
            Self::Version => {
                f.write_str("its chain has a certificate of version 1, and TLS requires version 3")
            }
            Self::CriticalExtension { extension, authority: None } => {
                write!(f, "it has the critical extension {extension}, which is not supported")
            }
            Self::CriticalExtension { extension, authority: Some(name) } => {
                write!(
                    f,
                    "the authority {name} in its chain has the critical extension {extension}, which is not supported"
                )
            }
            Self::NameConstraints { authority, kind } => write!(
                f,
                "the authority {authority} in its chain constrains {kind} (name constraints), a kind that is not supported"
            ),
            Self::SelfIssued { name } => write!(
                f,
                "its chain has a certificate that the authority {name} issued to itself for another key, which is not \
                 followed: trust that certificate instead"
            ),
            Self::NotForSigning => f.write_str("its keyUsage does not allow digitalSignature"),
            Self::WeakKey { bits, least, authority: None } => {
                write!(f, "its RSA key has {bits} bits, and `min_rsa_bits` is {least}")
            }
            Self::WeakKey { bits, least, authority: Some(name) } => {
                write!(
                    f,
                    "the RSA key of its authority {name} has {bits} bits, and `min_rsa_bits` is {least}"
                )
            }
        }
    }
}

impl std::error::Error for Unacceptable {}

impl From<Unacceptable> for Error {
    fn from(why: Unacceptable) -> Self {
        CertificateError::Other(OtherError(Arc::new(why))).into()
    }
}

/// Checks a backend's certificate: by webpki against the authorities, or as one that is trusted itself.
///
/// A certificate that is trusted itself is accepted if the name and the time are right, whatever its extensions.
#[derive(Debug)]
pub struct BackendVerifier {
    judge: Judge,
    rsa: RsaBits,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
enum Judge {
    Trust {
        trust: Box<Trust>,
        pins: HashSet<Sha256>,
    },
    /// Any peer that has the key of the certificate that it presents is accepted.
    Nobody,
}

impl BackendVerifier {
    /// `crls`: with any, each certificate of a chain must be covered by one that is not out of date, and not be revoked.
    /// `pins`: SHA-256 of the subject public key info; with any, the leaf's must be among them.
    /// `rsa`: the least size of RSA keys, in the chain and in the handshake.
    pub fn new(
        anchors: TrustAnchors,
        crls: Vec<CertificateRevocationListDer<'static>>,
        pins: impl IntoIterator<Item = [u8; 32]>,
        rsa: RsaBits,
    ) -> Result<Arc<Self>, TrustError> {
        let lists = RevocationLists::build(crls).map_err(TrustError::BadRevocationList)?;
        Self::with_lists(anchors, Arc::new(lists), pins, rsa)
    }

    /// [`new`](Self::new) with lists that are read already.
    pub(crate) fn with_lists(
        anchors: TrustAnchors,
        lists: Arc<RevocationLists>,
        pins: impl IntoIterator<Item = [u8; 32]>,
        rsa: RsaBits,
    ) -> Result<Arc<Self>, TrustError> {
        let algorithms = rsa.algorithms();
        let trust = Box::new(Trust::new(anchors, lists, algorithms)?);
        let judge = Judge::Trust { trust, pins: pins.into_iter().collect() };
        Ok(Arc::new(Self { judge, rsa, algorithms }))
    }

    /// Accepts any certificate (`insecure_skip_verify`). That the backend holds its key is still checked, so that only the
    /// peer of the handshake can decrypt the connection.
    pub fn unchecked(rsa: RsaBits) -> Arc<Self> {
        Arc::new(Self { judge: Judge::Nobody, rsa, algorithms: rsa.algorithms() })
    }

    /// The certificate that signed with a key too small, if that is why a chain is refused.
    fn weak_authority(&self, chain: &[&CertificateDer<'_>], anchors: &TrustAnchors) -> Option<Unacceptable> {
        let least = self.rsa.bits();
        let mut issuer = None;
        for (index, der) in chain.iter().enumerate() {
            let (_, parsed) = X509Certificate::from_der(der).ok()?;
            match key_bits(&parsed) {
                Some(bits) if index > 0 && bits < least => {
                    let authority = Some(plain_name(parsed.subject()));
                    return Some(Unacceptable::WeakKey { bits, least, authority });
                }
                _ => issuer = Some((parsed.issuer().as_raw().to_vec(), plain_name(parsed.issuer()))),
            }
        }
        let (subject, name) = issuer?;
        let (_, bits) = anchors.rsa.iter().find(|(known, bits)| *known == subject && *bits < least)?;
        Some(Unacceptable::WeakKey { bits: *bits, least, authority: Some(name) })
    }

    /// A handshake signature that does not verify may be made with a key too small.
    fn name_weak_key(&self, error: Error, leaf: &CertificateDer<'_>) -> Error {
        let least = self.rsa.bits();
        match (error, X509Certificate::from_der(leaf)) {
            (Error::InvalidCertificate(CertificateError::BadSignature), Ok((_, parsed))) => {
                match key_bits(&parsed).filter(|bits| *bits < least) {
                    Some(bits) => Unacceptable::WeakKey { bits, least, authority: None }.into(),
                    None => CertificateError::BadSignature.into(),
                }
            }
            (error, _) => error,
        }
    }
}

impl ServerCertVerifier for BackendVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        note_chain(end_entity, intermediates);
        let Judge::Trust { trust, pins } = &self.judge else {
            return Ok(ServerCertVerified::assertion());
        };
        match trust.verify(end_entity, intermediates, Role::Server, now) {
            // webpki passes over keyUsage. A certificate that is trusted itself may have any.
            Ok(Vouched::Authority) if !may_sign(end_entity)? => {
                return Err(Unacceptable::NotForSigning.into());
            }
            Ok(_) => {}
            Err(error) => {
                use CertificateError::{BadSignature, UnknownIssuer};
                let chain: Vec<_> = std::iter::once(end_entity).chain(intermediates).collect();
                let better = match &error {
                    Error::InvalidCertificate(BadSignature | UnknownIssuer) => {
                        self.weak_authority(&chain, trust.anchors())
                    }
                    _ => None,
                };
                let better = better.or_else(|| match &error {
                    Error::InvalidCertificate(BadSignature) => namesake(&chain),
                    _ => None,
                });
                return Err(better.map_or(error, Error::from));
            }
        }
        let leaf = ParsedCertificate::try_from(end_entity)?;
        verify_server_name(&leaf, server_name)?;
        let key = sha256(&leaf.subject_public_key_info());
        if !pins.is_empty() && !pins.contains(&key) {
            return Err(Unacceptable::Pin(key).into());
        }
        Ok(ServerCertVerified::assertion())
    }

    verify_handshake_signatures!(Self::name_weak_key);
}

/// A chain whose signatures do not verify, as when a CA was made anew under its old name.
fn namesake(chain: &[&CertificateDer<'_>]) -> Option<Unacceptable> {
    let (_, last) = X509Certificate::from_der(chain.last()?).ok()?;
    Some(Unacceptable::Namesake { issuer: plain_name(last.issuer()) })
}

pub(super) fn check_validity(
    certificate: &CertificateDer<'_>,
    now: UnixTime,
) -> Result<(), CertificateError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let not_before = unix(parsed.validity().not_before.timestamp());
    let not_after = unix(parsed.validity().not_after.timestamp());
    let at = |secs| UnixTime::since_unix_epoch(std::time::Duration::from_secs(secs));
    if now.as_secs() < not_before {
        return Err(CertificateError::NotValidYetContext { time: now, not_before: at(not_before) });
    }
    if now.as_secs() > not_after {
        return Err(CertificateError::ExpiredContext { time: now, not_after: at(not_after) });
    }
    Ok(())
}

pub(super) fn sha256(bytes: &[u8]) -> Sha256 {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}
