//! Identities, and the choice of the one that is presented.
//!
//! A listener's resolver holds snapshots, not identities: what a rotation stores is what the next handshake
//! presents, on every worker. A backend's holds one generation, chosen before the handshake begins: its sessions
//! and its connection belong to that one.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{SignatureScheme, SupportedCipherSuite};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::handshake::ClientAuth;
use crate::base::published::Published;
use crate::base::spki::{self, KeyMatch};
use crate::base::uses::Uses;

/// Names of authorities that are noted, of those that a server sends.
const MAX_AUTHORITIES: usize = 64;
/// The serial of the next identity.
static NEXT_SERIAL: AtomicU64 = AtomicU64::new(1);

/// A certificate chain with its key: one generation of a named certificate.
pub struct Identity {
    serial: u64,
    name: String,
    generation: u64,
    certified: Arc<CertifiedKey>,
    names: Vec<NamePattern>,
    not_before: i64,
    not_after: i64,
    /// The generation before this one, for as long as it may stand in where this one is refused.
    previous: Published<Option<Arc<Identity>>>,
    uses: Uses,
    /// The same with an OCSP response. It belongs to this chain, so that no other generation ever has it.
    stapled: Published<Option<Stapled>>,
}

/// An OCSP response that was found good for an identity, with its times in seconds since 1970.
#[derive(Clone, Debug)]
pub struct Staple {
    /// In DER.
    pub response: Vec<u8>,
    /// When the responder knew the status to be right.
    pub this_update: i64,
    /// It is presented before this time.
    pub next_update: i64,
}

/// What is presented to clients that ask for a response.
struct Stapled {
    certified: Arc<CertifiedKey>,
    this_update: i64,
    next_update: i64,
}

/// Why an identity cannot be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityError {
    /// There is no certificate.
    EmptyChain,
    /// The leaf cannot be parsed.
    BadCertificate(String),
    /// The private key cannot be used.
    BadKey(String),
    /// The key belongs to another certificate.
    KeyMismatch,
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyChain => f.write_str("there is no certificate"),
            Self::BadCertificate(why) => write!(f, "the certificate cannot be parsed: {why}"),
            Self::BadKey(why) => write!(f, "the private key cannot be used: {why}"),
            Self::KeyMismatch => f.write_str("the private key does not belong to the certificate"),
        }
    }
}

impl std::error::Error for IdentityError {}

impl Identity {
    /// Checks that `key` belongs to the first certificate of `chain`. `name` and `generation` identify it in the store.
    pub fn new(
        name: impl Into<String>,
        generation: u64,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, IdentityError> {
        let leaf = chain.first().ok_or(IdentityError::EmptyChain)?;
        let (_, parsed) = X509Certificate::from_der(leaf)
            .map_err(|error| IdentityError::BadCertificate(error.to_string()))?;
        let names = dns_names(&parsed);
        let validity = parsed.validity();
        let (not_before, not_after) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        let key = default_provider().key_provider.load_private_key(key);
        let key = key.map_err(|error| IdentityError::BadKey(error.to_string()))?;
        // Not `CertifiedKey::from_der`: it refuses leaves of version 1 or with critical extensions that it does not know.
        // Whether a peer accepts such a certificate is the peer's decision.
        if let Some(public) = key.public_key()
            && spki::compare(parsed.public_key(), public.as_ref()) != KeyMatch::Same
        {
            return Err(IdentityError::KeyMismatch);
        }
        let certified = CertifiedKey::new(chain, key);
        let certified = Arc::new(certified);
        let (name, previous, uses) = (name.into(), Published::new(None), Uses::default());
        let (serial, stapled) = (next_serial(), Published::new(None));
        Ok(Self {
            serial,
            name,
            generation,
            certified,
            names,
            not_before,
            not_after,
            previous,
            uses,
            stapled,
        })
    }

    /// The same content under another number.
    pub fn renumbered(&self, generation: u64) -> Self {
        Self {
            serial: next_serial(),
            name: self.name.clone(),
            generation,
            certified: Arc::clone(&self.certified),
            names: self.names.clone(),
            not_before: self.not_before,
            not_after: self.not_after,
            previous: Published::new(None),
            uses: Uses::default(),
            stapled: self.stapled.clone(),
        }
    }

    /// The certificate's name in the store.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A number that no other identity of this process has, also none of the same name and generation: a certificate may be
    /// deleted and made anew, or be of another store. Never 0.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// The generation: the number that the store gave to this version of the certificate's content.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The chain, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// Chain and key as rustls takes them.
    pub fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// Keeps an OCSP response: from now on it is stapled, until its end.
    pub fn staple(&self, staple: Staple) {
        let Staple { response, this_update, next_update } = staple;
        let certified = CertifiedKey { ocsp: Some(response), ..CertifiedKey::clone(&self.certified) };
        self.stapled.store(Arc::new(Some(Stapled {
            certified: Arc::new(certified),
            this_update,
            next_update,
        })));
    }

    /// The times of the response that is stapled at `now`: of its making, and its end.
    pub fn stapled(&self, now: i64) -> Option<(i64, i64)> {
        self.stapled.with(|stapled| {
            let stapled = stapled.as_ref().filter(|stapled| now < stapled.next_update)?;
            Some((stapled.this_update, stapled.next_update))
        })
    }

    /// The response that is stapled at `now`, in DER.
    pub(crate) fn response(&self, now: i64) -> Option<Vec<u8>> {
        self.certified_at(now).ocsp.clone()
    }

    /// Chain and key with the response that is stapled at `now`, if there is one.
    fn certified_at(&self, now: i64) -> Arc<CertifiedKey> {
        self.stapled.with(|stapled| match stapled {
            Some(stapled) if now < stapled.next_update => Arc::clone(&stapled.certified),
            _ => Arc::clone(&self.certified),
        })
    }

    /// When the leaf's time begins, in seconds since 1970.
    pub fn not_before(&self) -> i64 {
        self.not_before
    }

    /// When the leaf's time ends, in seconds since 1970.
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    /// The generation before this one, if it may stand in where this one is refused.
    pub fn previous(&self) -> Option<Arc<Self>> {
        self.previous.load().as_ref().clone()
    }

    /// Names the generation that may stand in for this one, or takes it back.
    pub fn set_previous(&self, previous: Option<Arc<Self>>) {
        self.previous.store(Arc::new(previous));
    }

    /// Where and when this generation is used.
    pub fn uses(&self) -> &Uses {
        &self.uses
    }

    /// How well the leaf's alternative names match a server name.
    fn matches(&self, server_name: &str) -> Match {
        self.names.iter().map(|pattern| pattern.matches(server_name)).max().unwrap_or(Match::None)
    }

    /// Whether its key makes the signature of a suite; in TLS 1.3 no suite depends on the key.
    pub fn suits(&self, suite: SupportedCipherSuite) -> bool {
        match suite {
            SupportedCipherSuite::Tls12(suite) => self.can_sign(suite.sign),
            SupportedCipherSuite::Tls13(_) => false,
        }
    }

    fn can_sign(&self, schemes: &[SignatureScheme]) -> bool {
        self.certified.key.choose_scheme(schemes).is_some()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({} #{})", self.name, self.generation)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Match {
    None,
    Wildcard,
    Exact,
}

/// A dNSName of a certificate, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
enum NamePattern {
    Exact(String),
    /// The name is `*.` and this: it matches one whole label before it (RFC 9525 §6.3).
    Wildcard(String),
}

impl NamePattern {
    fn matches(&self, server_name: &str) -> Match {
        match self {
            Self::Exact(name) if name.eq_ignore_ascii_case(server_name) => Match::Exact,
            Self::Wildcard(parent) => match server_name.split_once('.') {
                Some((label, rest)) if !label.is_empty() && rest.eq_ignore_ascii_case(parent) => {
                    Match::Wildcard
                }
                _ => Match::None,
            },
            Self::Exact(_) => Match::None,
        }
    }
}

/// The dNSNames of the subject's alternative names; the common name counts for nothing (RFC 9525 §6.3).
fn dns_names(certificate: &X509Certificate<'_>) -> Vec<NamePattern> {
    // An extension that cannot be read names nothing. It keeps the certificate from no handshake without a name.
    let names = certificate.extensions().iter().flat_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => names.general_names.as_slice(),
        _ => &[],
    });
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(relative(name).to_ascii_lowercase()),
            _ => None,
        })
        .map(|name| match name.strip_prefix("*.") {
            Some(parent) => NamePattern::Wildcard(parent.to_owned()),
            None => NamePattern::Exact(name),
        })
        .collect()
}

/// A name without the dot that marks it as absolute: `localhost.` is `localhost` (RFC 1034 §3.1).
fn relative(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

fn next_serial() -> u64 {
    NEXT_SERIAL.fetch_add(1, Ordering::Relaxed)
}

/// Chooses a server identity by the name that the client sends (SNI).
#[derive(Debug)]
pub struct ServerResolver {
    bundles: Vec<Published<Identity>>,
    staples: bool,
}

impl ServerResolver {
    /// `bundles` in the config's order: the first is presented where none matches. None at all refuses every handshake.
    pub fn new(bundles: Vec<Published<Identity>>) -> Self {
        Self { bundles, staples: false }
    }

    /// The same, with the OCSP responses that the identities have.
    pub fn stapling(bundles: Vec<Published<Identity>>) -> Self {
        Self { bundles, staples: true }
    }

    /// The best match: an exact name before a wildcard, a key that the client can verify before one
    /// that it cannot, the earlier before the later. So where no name matches it is the first bundle.
    ///
    /// `now` in seconds since 1970: see [`in_its_time`].
    pub(super) fn choose(
        &self,
        server_name: Option<&str>,
        schemes: &[SignatureScheme],
        now: i64,
    ) -> Option<Arc<Identity>> {
        let server_name = server_name.map(relative);
        let mut best: Option<(Match, bool, Arc<Identity>)> = None;
        for bundle in &self.bundles {
            let identity = in_its_time(bundle.load(), now);
            let matched = server_name.map_or(Match::None, |name| identity.matches(name));
            let candidate = (matched, identity.can_sign(schemes));
            if best.as_ref().is_none_or(|(matched, signs, _)| candidate > (*matched, *signs)) {
                best = Some((candidate.0, candidate.1, identity));
            }
        }
        best.map(|(_, _, identity)| identity)
    }
}

/// The generation to present: where `identity` is not valid yet (the clock was wrong when it was made or activated) and
/// the previous generation is valid, the previous one.
fn in_its_time(identity: Arc<Identity>, now: i64) -> Arc<Identity> {
    if now >= identity.not_before() {
        return identity;
    }
    let valid = |previous: &Arc<Identity>| (previous.not_before()..=previous.not_after()).contains(&now);
    identity.previous().filter(valid).unwrap_or(identity)
}

/// The time by which the TLS library judges certificates, too.
fn unix_now() -> i64 {
    let now = DefaultTimeProvider.current_time().map_or(0, |now| now.as_secs());
    i64::try_from(now).unwrap_or(i64::MAX)
}

impl ResolvesServerCert for ServerResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let now = unix_now();
        let identity = self.choose(hello.server_name(), hello.signature_schemes(), now);
        OBSERVED.with_borrow_mut(|observed| {
            observed.sni = hello.server_name().map(str::to_owned);
            observed.server_identity.clone_from(&identity);
        });
        let identity = identity?;
        identity.uses().present();
        Some(match self.staples {
            true => identity.certified_at(now),
            false => Arc::clone(identity.certified()),
        })
    }
}

/// Presents one generation of a client identity to backends that ask for it; without one, notes that it was asked.
#[derive(Debug)]
pub(crate) struct ClientResolver {
    identity: Option<Arc<Identity>>,
}

impl ClientResolver {
    /// Presents `identity`, if there is one.
    pub(crate) fn new(identity: Option<Arc<Identity>>) -> Self {
        Self { identity }
    }
}

impl ResolvesClientCert for ClientResolver {
    fn resolve(&self, issuers: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let identity = self.identity.as_ref().filter(|identity| identity.can_sign(schemes));
        let client_auth = identity.cloned().map_or(ClientAuth::AskedInVain, ClientAuth::Presented);
        OBSERVED.with_borrow_mut(|observed| {
            observed.client_auth = client_auth;
            observed.authorities = issuers.iter().take(MAX_AUTHORITIES).map(|name| name.to_vec()).collect();
        });
        Some(Arc::clone(identity?.certified()))
    }

    fn has_certs(&self) -> bool {
        self.identity.is_some()
    }
}

/// What the resolvers saw of one handshake.
///
/// They are shared by all of them, so they leave it in a place of the thread, from which
/// [`observe`] takes it before another handshake can run.
#[derive(Debug, Default)]
pub(super) struct Observed {
    pub(super) sni: Option<String>,
    pub(super) server_identity: Option<Arc<Identity>>,
    pub(super) client_auth: ClientAuth,
    /// On a client: the names of the authorities (in DER) that the server takes certificates of.
    pub(super) authorities: Vec<Vec<u8>>,
    /// The chain that the peer presented, whatever was thought of it.
    pub(super) chain: Vec<CertificateDer<'static>>,
}

impl Observed {
    pub(super) fn merge(&mut self, later: Self) {
        if later.server_identity.is_some() {
            self.sni = later.sni;
            self.server_identity = later.server_identity;
        }
        if !matches!(later.client_auth, ClientAuth::NotAsked) {
            self.client_auth = later.client_auth;
            self.authorities = later.authorities;
        }
        if !later.chain.is_empty() {
            self.chain = later.chain;
        }
    }
}

thread_local! {
    static OBSERVED: RefCell<Observed> = RefCell::default();
}

/// The verifier's note: what the peer presented.
pub(super) fn note_chain(leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) {
    let chain = std::iter::once(leaf).chain(rest).map(|der| der.clone().into_owned());
    OBSERVED.with_borrow_mut(|observed| observed.chain = chain.collect());
}

/// Runs one step of one handshake, and answers what its resolvers saw.
pub(super) fn observe<R>(step: impl FnOnce() -> R) -> (R, Observed) {
    OBSERVED.take();
    let result = step();
    (result, OBSERVED.take())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label_and_case_does_not_matter() {
        let wildcard = NamePattern::Wildcard("example.com".into());
        assert_eq!(wildcard.matches("A.Example.COM"), Match::Wildcard);
        for other in ["example.com", ".example.com", "a.b.example.com", "a.example.org"] {
            assert_eq!(wildcard.matches(other), Match::None, "{other}");
        }
        assert_eq!(NamePattern::Exact("a.example.com".into()).matches("A.EXAMPLE.com"), Match::Exact);
    }
}
