//! The content of a certificate.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521, OID_PKCS1_RSASSAPSS,
    OID_SIG_ED448, OID_SIG_ED25519,
};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::{SubjectPublicKeyInfo, X509Name};

use super::bundle::BundleError;
use super::encode;
use super::renewal::window;
use super::time::Timestamp;
use crate::base::spki;
use crate::base::text::printable;

/// The facts of one certificate, for people and scripts: status, console, API, `certificate.toml`. Names are printable:
/// the issuer of a certificate chose their bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The subject's distinguished name, `C=DE, O=Example, CN=gateway`.
    pub subject: String,
    /// The issuer's distinguished name.
    pub issuer: String,
    /// The subject's first common name, if it has one.
    pub common_name: Option<String>,
    /// Subject alternative names: `DNS:a.example`, `IP:192.0.2.1`, `URI:…`, `email:…`.
    pub sans: Vec<String>,
    /// Extended key usages: `server`, `client`, or an OID's dotted form. Empty: not restricted.
    pub usages: Vec<String>,
    /// The first second it is valid.
    pub not_before: Timestamp,
    /// The last second it is valid.
    pub not_after: Timestamp,
    /// The serial number in hexadecimal, as `openssl x509 -serial` prints it.
    pub serial: String,
    /// `ECDSA P-256`, `RSA 2048`, `Ed25519` …
    pub key_type: String,
    /// The key's size in bits, as its kind counts them; none for keys of unknown kinds.
    pub key_bits: Option<usize>,
    /// Whether it may sign other certificates.
    pub is_ca: bool,
    /// Whether subject and issuer are the same name.
    pub self_signed: bool,
    /// SHA-256 over the whole certificate, as `openssl x509 -fingerprint -sha256` prints it.
    pub sha256: String,
    /// SHA-256 over the SubjectPublicKeyInfo, as `pins` in the config takes it: `sha256/BASE64`.
    pub spki_sha256: String,
}

impl Facts {
    /// The facts of a DER certificate (RFC 5280 §4.1), or [`BundleError::NotACertificate`].
    pub fn from_der(der: &[u8]) -> Result<Self, BundleError> {
        match parse(der) {
            Ok(certificate) => Ok(Self::of(&certificate)),
            Err(reason) => Err(BundleError::NotACertificate { position: 1, reason }),
        }
    }

    pub(crate) fn of(certificate: &X509Certificate<'_>) -> Self {
        Self {
            subject: name_text(certificate.subject()),
            issuer: name_text(certificate.issuer()),
            common_name: certificate
                .subject()
                .iter_common_name()
                .find_map(|name| name.as_str().ok())
                .map(|name| printable(name).into_owned()),
            sans: sans(certificate).iter().map(|san| printable(san).into_owned()).collect(),
            usages: usages(certificate),
            not_before: Timestamp::from_unix(certificate.validity().not_before.timestamp()),
            not_after: Timestamp::from_unix(certificate.validity().not_after.timestamp()),
            serial: serial(certificate.raw_serial()),
            key_type: key_type(certificate.public_key()),
            key_bits: key_bits(certificate.public_key()),
            is_ca: certificate.is_ca(),
            self_signed: certificate.subject().as_raw() == certificate.issuer().as_raw(),
            sha256: encode::fingerprint(certificate.as_raw()),
            spki_sha256: encode::pin(certificate.public_key().raw),
        }
    }

    /// Whether its end is near at `now`: in 30 days, or in the last third of a shorter validity; or past.
    pub fn ends_soon(&self, now: SystemTime) -> bool {
        const BEFORE: Duration = Duration::from_secs(30 * 86_400);
        let window = window(BEFORE, self.not_before.unix(), self.not_after.unix());
        self.not_after.unix() - Timestamp::from(now).unix() <= window
    }

    /// Whole days of validity left at `now`; negative once expired.
    pub fn days_left(&self, now: SystemTime) -> i64 {
        self.not_after.days_from(now)
    }
}

/// Parses exactly one certificate. What follows it is an error, since it would be unchecked.
pub(crate) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok((rest, _)) => Err(format!("{} more bytes follow the certificate", rest.len())),
        Err(error) => Err(error.to_string()),
    }
}

/// A distinguished name in one printable line.
pub(super) fn name_text(name: &X509Name<'_>) -> String {
    printable(&name.to_string()).into_owned()
}

/// Subject alternative names as they are.
pub(super) fn sans(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    general_names(&extension.value.general_names)
}

/// The names of an extension that play a part in TLS.
pub(super) fn general_names(names: &[GeneralName<'_>]) -> Vec<String> {
    names.iter().filter_map(san).collect()
}

fn san(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(format!("DNS:{name}")),
        GeneralName::URI(uri) => Some(format!("URI:{uri}")),
        GeneralName::RFC822Name(address) => Some(format!("email:{address}")),
        GeneralName::IPAddress(octets) => ip(octets).map(|address| format!("IP:{address}")),
        // Directory names, OIDs and other names play no part in TLS.
        _ => None,
    }
}

fn ip(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(octets).ok().map(IpAddr::from)
}

fn usages(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.extended_key_usage() else { return Vec::new() };
    let usage = extension.value;
    let named = [(usage.any, "any"), (usage.server_auth, "server"), (usage.client_auth, "client")];
    let named = named.into_iter().filter(|(set, _)| *set).map(|(_, name)| name.to_owned());
    named.chain(usage.other.iter().map(|oid| oid.to_id_string())).collect()
}

fn serial(raw: &[u8]) -> String {
    let significant = raw.iter().position(|byte| *byte != 0).unwrap_or(raw.len().saturating_sub(1));
    encode::hex(&raw[significant..])
}

/// Whether identities can have keys of this kind.
pub(super) fn is_usable(key: &SubjectPublicKeyInfo<'_>) -> bool {
    let name = key_type(key);
    let size = key_bits(key).unwrap_or(0);
    name.starts_with("RSA ") && (2048..=8192).contains(&size)
        || ["ECDSA P-256", "ECDSA P-384", "ECDSA P-521", "Ed25519"].contains(&&*name)
}

pub(super) fn key_type(key: &SubjectPublicKeyInfo<'_>) -> String {
    let algorithm = &key.algorithm.algorithm;
    if *algorithm == OID_PKCS1_RSASSAPSS {
        return "RSA for PSS alone (rsassaPss)".to_owned();
    }
    if let Ok(PublicKey::RSA(rsa)) = key.parsed() {
        return format!("RSA {}", bits(rsa.modulus));
    }
    if *algorithm == OID_SIG_ED25519 {
        return "Ed25519".to_owned();
    }
    if *algorithm == OID_SIG_ED448 {
        return "Ed448".to_owned();
    }
    if *algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY {
        return format!("OID {algorithm}");
    }
    if spki::has_explicit_parameters(key) {
        return "ECDSA with explicit curve parameters".to_owned();
    }
    match key.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok()) {
        Some(curve) if curve == OID_EC_P256 => "ECDSA P-256".to_owned(),
        Some(curve) if curve == OID_NIST_EC_P384 => "ECDSA P-384".to_owned(),
        Some(curve) if curve == OID_NIST_EC_P521 => "ECDSA P-521".to_owned(),
        Some(curve) => format!("ECDSA on curve {curve}"),
        None => "ECDSA on an unnamed curve".to_owned(),
    }
}

fn key_bits(key: &SubjectPublicKeyInfo<'_>) -> Option<usize> {
    if let Ok(PublicKey::RSA(rsa)) = key.parsed() {
        return Some(bits(rsa.modulus));
    }
    let named = ["P-256", "P-384", "P-521", "Ed25519", "Ed448"].into_iter().zip([256, 384, 521, 256, 456]);
    let key_type = key_type(key);
    named.into_iter().find_map(|(name, bits)| key_type.ends_with(name).then_some(bits))
}

/// Length of a big-endian number in bits, as RSA keys are named by.
fn bits(number: &[u8]) -> usize {
    let Some(first) = number.iter().position(|byte| *byte != 0) else { return 0 };
    (number.len() - first) * 8 - number[first].leading_zeros() as usize
}
