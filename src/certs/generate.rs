//! New keys, certificates and requests.

use std::fmt;
use std::net::IpAddr;
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyUsagePurpose, PublicKeyData, SerialNumber,
};
use x509_parser::asn1_rs::Tag;
use x509_parser::extensions::{KeyUsage, ParsedExtension};
use x509_parser::prelude::{ASN1Time, X509Certificate};
use zeroize::Zeroizing;

use super::bundle::{Bundle, BundleError};
use super::encode;
use super::inspect;
use super::time::Timestamp;

mod error;
mod key;
mod request;
mod sign;

pub(crate) use error::GenerateError;
use key::CertificateKey;

pub(crate) use request::Usage;
#[allow(unreachable_pub)] // for internals
pub use request::{GenerateRequest, KeyType, San};
pub(crate) use sign::{Signing, check_request, requested, sign};

/// How far before its making a certificate begins to be valid: peers' clocks may be slow.
const BACKDATE_SECONDS: i64 = 5 * 60;
/// The longest validity, in days: a hundred years, which stays below the year 9999 of X.509.
pub(crate) const MAX_DAYS: u32 = 36_500;
/// The longest common name and organization (RFC 5280 appendix A.1, ub-common-name and its kin).
const MAX_NAME_CHARS: usize = 64;
/// The longest state or locality (RFC 5280 appendix A.1, ub-state-name, ub-locality-name).
const MAX_PLACE_CHARS: usize = 128;
/// id-at-serialNumber (X.520).
const SERIAL_NUMBER: [u64; 4] = [2, 5, 4, 5];
/// Most organizations in a subject: rcgen holds one value for each of its two names for this attribute.
pub(crate) const MAX_ORGANIZATIONS: usize = 2;

/// A new certificate with its key.
#[derive(Debug)]
pub struct Generated {
    /// The chain, leaf first, without a self-signed root above the leaf.
    pub chain_pem: String,
    /// The key in PKCS#8.
    pub key_pem: Zeroizing<String>,
    /// The same, checked.
    pub bundle: Bundle,
}

/// A request for a CA to sign, with its key.
#[derive(Debug)]
pub struct Csr {
    /// The request (PKCS#10).
    pub csr_pem: String,
    /// The key in PKCS#8.
    pub key_pem: Zeroizing<String>,
}

/// A CA certificate with its key, ready to sign.
pub struct CaMaterial {
    issuer: Issuer<'static, CertificateKey>,
    bundle: Bundle,
}

impl CaMaterial {
    /// Takes a bundle that is a CA and has its key.
    pub fn from_bundle(bundle: &Bundle) -> Result<Self, GenerateError> {
        let subject = || bundle.facts().subject.clone();
        if !bundle.facts().is_ca {
            return Err(GenerateError::IssuerIsNoCa { subject: subject() });
        }
        let key = bundle.key().ok_or_else(|| GenerateError::IssuerHasNoKey { subject: subject() })?;
        let certificate = inspect::parse(&bundle.chain()[0])
            .map_err(|reason| BundleError::NotACertificate { position: 1, reason })?;
        let may_sign = |usage: &KeyUsage| usage.key_cert_sign();
        if certificate.key_usage().is_ok_and(|usage| usage.is_some_and(|usage| !may_sign(usage.value))) {
            return Err(GenerateError::IssuerIsNoCa { subject: subject() });
        }
        let mut params = CertificateParams::default();
        params.distinguished_name =
            issuer_name(&certificate).ok_or_else(|| GenerateError::IssuerName { subject: subject() })?;
        if let Some(id) = key_identifier(&certificate) {
            params.key_identifier_method = KeyIdMethod::PreSpecified(id);
        }
        let issuer = Issuer::new(params, CertificateKey::new(key.clone())?);
        Ok(Self { issuer, bundle: bundle.clone() })
    }
}

impl fmt::Debug for CaMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CaMaterial").field(&self.bundle.facts().subject).finish()
    }
}

/// Whether such a certificate can be made. Making the key first takes a while for RSA.
///
/// # Errors
/// As of [`self_signed`].
pub(crate) fn check(request: &GenerateRequest, now: SystemTime) -> Result<(), GenerateError> {
    certificate_params(request, now).map(drop)
}

/// Makes a key and a certificate signed by it.
pub fn self_signed(request: &GenerateRequest, now: SystemTime) -> Result<Generated, GenerateError> {
    let key = CertificateKey::generate(request.key_type)?;
    let params = certificate_params(request, now)?;
    let certificate = params.self_signed(&key)?;
    generated(certificate.pem(), &key)
}

/// Makes a key and a certificate signed by `ca`. It ends with the CA's at the latest.
pub fn ca_signed(
    request: &GenerateRequest,
    ca: &CaMaterial,
    now: SystemTime,
) -> Result<Generated, GenerateError> {
    ca.bundle.check_validity(now)?;
    let key = CertificateKey::generate(request.key_type)?;
    generated(sign_for(certificate_params(request, now)?, &key, ca)?, &key)
}

/// A certificate for `key`, signed by `ca`, with the chain above it: PEM. It ends with the CA's at the latest.
fn sign_for(
    mut params: CertificateParams,
    key: &impl PublicKeyData,
    ca: &CaMaterial,
) -> Result<String, GenerateError> {
    params.not_after = params.not_after.min(datetime(ca.bundle.facts().not_after)?.to_datetime());
    let certificate = params.signed_by(key, &ca.issuer)?;
    let leaf = inspect::parse(certificate.der())
        .map_err(|reason| BundleError::NotACertificate { position: 1, reason })?;
    let issuer = inspect::parse(&ca.bundle.chain()[0])
        .map_err(|reason| BundleError::NotACertificate { position: 2, reason })?;
    // Peers compare names byte by byte; an issuer's name that rcgen writes differently would never verify.
    if leaf.issuer().as_raw() != issuer.subject().as_raw() {
        return Err(GenerateError::IssuerName { subject: ca.bundle.facts().subject.clone() });
    }
    let mut chain = certificate.pem();
    for above in ca.bundle.chain() {
        let is_root =
            inspect::parse(above).is_ok_and(|above| above.subject().as_raw() == above.issuer().as_raw());
        if !is_root {
            chain.push_str(&encode::pem("CERTIFICATE", above));
        }
    }
    Ok(chain)
}

/// Makes a key and a request for a CA to sign.
pub(crate) fn csr(request: &GenerateRequest) -> Result<Csr, GenerateError> {
    let key = CertificateKey::generate(request.key_type)?;
    let csr = subject_params(request)?.serialize_request(&key)?;
    Ok(Csr { csr_pem: csr.pem()?, key_pem: key.private().to_pem() })
}

/// What `quickstart` needs to speak mutual TLS with itself.
#[derive(Debug)]
pub struct QuickstartPki {
    /// A CA for both.
    pub ca: Generated,
    /// A server identity for localhost, 127.0.0.1, ::1 and the names given.
    pub server: Generated,
    /// A client identity.
    pub client: Generated,
}

/// Makes a CA, a server identity and a client identity, all valid for a year.
pub fn quickstart_pki(names: &[San], now: SystemTime) -> Result<QuickstartPki, GenerateError> {
    let organization = vec!["Ringate quickstart".to_owned()];
    let named = |common_name: &str| GenerateRequest {
        common_name: common_name.to_owned(),
        organization: organization.clone(),
        ..GenerateRequest::default()
    };
    let ca = self_signed(&GenerateRequest { is_ca: true, ..named("Ringate quickstart CA") }, now)?;
    let issuer = CaMaterial::from_bundle(&ca.bundle)?;
    let mut sans = vec![
        San::Dns("localhost".to_owned()),
        San::Ip(std::net::Ipv4Addr::LOCALHOST.into()),
        San::Ip(std::net::Ipv6Addr::LOCALHOST.into()),
    ];
    for name in names {
        if !sans.contains(name) {
            sans.push(name.clone());
        }
    }
    let server = GenerateRequest { sans, usage: Usage { server: true, client: false }, ..named("localhost") };
    let client = GenerateRequest { usage: Usage { server: false, client: true }, ..named("ringate-client") };
    Ok(QuickstartPki {
        server: ca_signed(&server, &issuer, now)?,
        client: ca_signed(&client, &issuer, now)?,
        ca,
    })
}

fn generated(chain_pem: String, key: &CertificateKey) -> Result<Generated, GenerateError> {
    let key_pem = key.private().to_pem();
    let bundle = Bundle::from_parts(chain_pem.as_bytes(), Some(key_pem.as_bytes()))?;
    Ok(Generated { chain_pem, key_pem, bundle })
}

/// All that a certificate and a request have in common.
fn subject_params(request: &GenerateRequest) -> Result<CertificateParams, GenerateError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject_name(request)?;
    params.subject_alt_names = effective_sans(request).iter().map(San::to_rcgen).collect::<Result<_, _>>()?;
    if request.is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        return Ok(params);
    }
    // Explicit, since rcgen adds the subject key identifier only then.
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages.push(KeyUsagePurpose::DigitalSignature);
    if request.key_type.is_rsa() {
        // For TLS 1.2's RSA key exchange, which old peers still use.
        params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
    }
    if request.usage.server {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    if request.usage.client {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    }
    if params.extended_key_usages.is_empty() {
        return Err(GenerateError::NoUsage);
    }
    Ok(params)
}

fn certificate_params(
    request: &GenerateRequest,
    now: SystemTime,
) -> Result<CertificateParams, GenerateError> {
    if !(1..=MAX_DAYS).contains(&request.days) {
        return Err(GenerateError::BadDays { days: request.days });
    }
    let now = Timestamp::from(now);
    let mut params = subject_params(request)?;
    params.not_before = datetime(now.plus(-BACKDATE_SECONDS))?.to_datetime();
    params.not_after = datetime(now.plus(i64::from(request.days) * 86_400))?.to_datetime();
    params.serial_number = Some(serial_number()?);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// rcgen requires the `time` crate's type; x509-parser makes it, with an error if a clock is out of X.509's range.
fn datetime(time: Timestamp) -> Result<ASN1Time, GenerateError> {
    ASN1Time::from_timestamp(time.unix()).map_err(|_| GenerateError::Clock { now: time })
}

/// 126 random bits in 16 octets: positive, never zero, and of one length (RFC 5280 §4.1.2.2).
fn serial_number() -> Result<SerialNumber, GenerateError> {
    let mut octets = [0u8; 16];
    aws_lc_rs::rand::fill(&mut octets).map_err(|_| GenerateError::Random)?;
    octets[0] = octets[0] & 0x3F | 0x40;
    Ok(SerialNumber::from_slice(&octets))
}

fn effective_sans(request: &GenerateRequest) -> Vec<San> {
    let needs_one = request.sans.is_empty() && request.usage.server && !request.is_ca;
    let from_name = || match request.common_name.parse::<IpAddr>() {
        Ok(address) => Some(San::Ip(address)),
        Err(_) => San::dns(&request.common_name),
    };
    if needs_one { from_name().into_iter().collect() } else { request.sans.clone() }
}

fn subject_name(request: &GenerateRequest) -> Result<DistinguishedName, GenerateError> {
    let mut name = DistinguishedName::new();
    if let Some(country) = &request.country {
        let letters = country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_alphabetic());
        let country = country.to_ascii_uppercase();
        let printable = country.as_str().try_into().ok().filter(|_| letters);
        let printable = printable.ok_or_else(|| GenerateError::BadCountry { text: country.clone() })?;
        name.push(DnType::CountryName, DnValue::PrintableString(printable));
    }
    let mut push = |kind: DnType, field: &'static str, value: &str, limit: usize| {
        if value.trim().is_empty() || value.chars().any(char::is_control) {
            return Err(GenerateError::EmptyField { field });
        }
        if value.chars().count() > limit {
            return Err(GenerateError::FieldTooLong { field, limit });
        }
        name.push(kind, value);
        Ok(())
    };
    if let Some(state) = &request.state {
        push(DnType::StateOrProvinceName, "state", state, MAX_PLACE_CHARS)?;
    }
    if let Some(locality) = &request.locality {
        push(DnType::LocalityName, "locality", locality, MAX_PLACE_CHARS)?;
    }
    if request.organization.len() > MAX_ORGANIZATIONS {
        return Err(GenerateError::TooManyOrganizations { count: request.organization.len() });
    }
    let kinds = [DnType::OrganizationName, DnType::CustomDnType(vec![2, 5, 4, 10])];
    for (kind, organization) in kinds.into_iter().zip(&request.organization) {
        push(kind, "organization", organization, MAX_NAME_CHARS)?;
    }
    if let Some(unit) = &request.organizational_unit {
        push(DnType::OrganizationalUnitName, "organizational_unit", unit, MAX_NAME_CHARS)?;
    }
    if let Some(number) = &request.serial_number {
        push(DnType::CustomDnType(SERIAL_NUMBER.to_vec()), "serial_number", number, MAX_NAME_CHARS)?;
    }
    push(DnType::CommonName, "common_name", &request.common_name, MAX_NAME_CHARS)?;
    Ok(name)
}

/// `certificate`'s subject in rcgen's terms; none if it has parts that rcgen cannot write.
fn issuer_name(certificate: &X509Certificate<'_>) -> Option<DistinguishedName> {
    let mut name = DistinguishedName::new();
    for attribute in certificate.subject().iter_attributes() {
        let oid: Vec<u64> = attribute.attr_type().iter()?.collect();
        let value = attribute.attr_value();
        let text = std::str::from_utf8(value.data).ok()?;
        let value = match value.header.tag() {
            Tag::Utf8String => DnValue::Utf8String(text.to_owned()),
            Tag::PrintableString => DnValue::PrintableString(text.try_into().ok()?),
            Tag::Ia5String => DnValue::Ia5String(text.try_into().ok()?),
            Tag::T61String => DnValue::TeletexString(text.try_into().ok()?),
            _ => return None,
        };
        let kind = DnType::from_oid(&oid);
        // A second value of a kind is written under the kind's other name; see MAX_ORGANIZATIONS.
        let kind = if name.get(&kind).is_some() { DnType::CustomDnType(oid) } else { kind };
        if name.get(&kind).is_some() {
            return None;
        }
        name.push(kind, value);
    }
    Some(name)
}

fn key_identifier(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    })
}
