//! The content of a new certificate.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use rcgen::SanType;
use rustls::pki_types::DnsName;
use serde::{Deserialize, Serialize};
use x509_parser::asn1_rs::Oid;
use x509_parser::oid_registry::{
    OID_X509_COMMON_NAME, OID_X509_COUNTRY_NAME, OID_X509_LOCALITY_NAME, OID_X509_ORGANIZATION_NAME,
    OID_X509_ORGANIZATIONAL_UNIT, OID_X509_SERIALNUMBER, OID_X509_STATE_OR_PROVINCE_NAME,
};
use x509_parser::x509::X509Name;

use super::{GenerateError, MAX_DAYS, subject_name};
use crate::certs::bundle::{Bundle, BundleError};
use crate::certs::inspect;

/// A new key's algorithm and size. Written `ecdsa-p256`, `rsa-2048` …
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum KeyType {
    /// ECDSA on P-256: small, fast, understood by everything that speaks TLS 1.2.
    #[default]
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// RSA with 2048 bits.
    Rsa2048,
    /// RSA with 3072 bits.
    Rsa3072,
    /// RSA with 4096 bits.
    Rsa4096,
    /// Ed25519. Not understood by browsers.
    Ed25519,
}

impl KeyType {
    /// All there are.
    pub const ALL: [Self; 6] =
        [Self::EcdsaP256, Self::EcdsaP384, Self::Rsa2048, Self::Rsa3072, Self::Rsa4096, Self::Ed25519];

    /// As written in commands and requests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
            Self::Ed25519 => "ed25519",
        }
    }

    /// As [`Facts`](crate::certs::Facts) name it.
    const fn title(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ECDSA P-256",
            Self::EcdsaP384 => "ECDSA P-384",
            Self::Rsa2048 => "RSA 2048",
            Self::Rsa3072 => "RSA 3072",
            Self::Rsa4096 => "RSA 4096",
            Self::Ed25519 => "Ed25519",
        }
    }

    pub(super) const fn is_rsa(self) -> bool {
        matches!(self, Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096)
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KeyType {
    type Err = GenerateError;

    fn from_str(text: &str) -> Result<Self, GenerateError> {
        let wanted = Self::ALL.into_iter().find(|key_type| key_type.name() == text);
        wanted.ok_or_else(|| GenerateError::UnknownKeyType { text: text.to_owned() })
    }
}

impl TryFrom<String> for KeyType {
    type Error = GenerateError;

    fn try_from(text: String) -> Result<Self, GenerateError> {
        text.parse()
    }
}

impl From<KeyType> for String {
    fn from(key_type: KeyType) -> Self {
        key_type.name().to_owned()
    }
}

/// A subject alternative name. Written `DNS:a.example`, `IP:192.0.2.1`, `URI:…`, `email:…`; without a
/// prefix, an address is an IP and anything else a DNS name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum San {
    /// A host name, perhaps with `*` as its first label.
    Dns(String),
    /// An address.
    Ip(IpAddr),
    /// A URI, as workload identities (SPIFFE) are.
    Uri(String),
    /// A mail address.
    Email(String),
}

impl San {
    pub(super) fn dns(name: &str) -> Option<Self> {
        let host = name.strip_prefix("*.").unwrap_or(name);
        DnsName::try_from(host).ok().map(|_| Self::Dns(name.to_ascii_lowercase()))
    }

    pub(super) fn to_rcgen(&self) -> Result<SanType, GenerateError> {
        let refused = |_| GenerateError::BadSan { text: self.to_string() };
        Ok(match self {
            Self::Dns(name) => SanType::DnsName(name.as_str().try_into().map_err(refused)?),
            Self::Ip(address) => SanType::IpAddress(*address),
            Self::Uri(uri) => SanType::URI(uri.as_str().try_into().map_err(refused)?),
            Self::Email(address) => SanType::Rfc822Name(address.as_str().try_into().map_err(refused)?),
        })
    }
}

impl FromStr for San {
    type Err = GenerateError;

    fn from_str(text: &str) -> Result<Self, GenerateError> {
        let text = text.trim();
        let printable = |value: &str| !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic());
        // An IPv6 address without a prefix has colons of its own.
        let (kind, value) = match text.parse::<IpAddr>() {
            Ok(_) => ("IP", text),
            Err(_) => text.split_once(':').unwrap_or(("DNS", text)),
        };
        let san = match kind.to_ascii_lowercase().as_str() {
            "dns" => Self::dns(value),
            "ip" => value.parse().ok().map(Self::Ip),
            "uri" if printable(value) && value.contains(':') => Some(Self::Uri(value.to_owned())),
            "email" if printable(value) && value.contains('@') => Some(Self::Email(value.to_owned())),
            _ => None,
        };
        san.ok_or_else(|| GenerateError::BadSan { text: text.to_owned() })
    }
}

impl fmt::Display for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "DNS:{name}"),
            Self::Ip(address) => write!(f, "IP:{address}"),
            Self::Uri(uri) => write!(f, "URI:{uri}"),
            Self::Email(address) => write!(f, "email:{address}"),
        }
    }
}

impl TryFrom<String> for San {
    type Error = GenerateError;

    fn try_from(text: String) -> Result<Self, GenerateError> {
        text.parse()
    }
}

impl From<San> for String {
    fn from(san: San) -> Self {
        san.to_string()
    }
}

/// What an identity may be presented as (extended key usage, RFC 5280 §4.2.1.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// To clients.
    pub server: bool,
    /// To backends.
    pub client: bool,
}

impl Default for Usage {
    fn default() -> Self {
        Self { server: true, client: true }
    }
}

/// The content of a new certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GenerateRequest {
    /// CN, 1 to 64 characters.
    pub common_name: String,
    /// O, at most [`MAX_ORGANIZATIONS`](super::MAX_ORGANIZATIONS). In JSON a text or a list of texts.
    #[serde(deserialize_with = "one_or_many")]
    pub organization: Vec<String>,
    /// OU.
    pub organizational_unit: Option<String>,
    /// C, two letters.
    pub country: Option<String>,
    /// ST.
    pub state: Option<String>,
    /// L.
    pub locality: Option<String>,
    /// serialNumber: a device's, not the certificate's.
    pub serial_number: Option<String>,
    /// Alternative names. A server certificate without any takes its common name, if that is a host
    /// name or an address: clients check nothing else.
    pub sans: Vec<San>,
    /// Validity in days from now on, 1 to [`MAX_DAYS`].
    pub days: u32,
    /// The key to make.
    pub key_type: KeyType,
    /// What it may be used as. Ignored for a CA.
    pub usage: Usage,
    /// Whether it may sign certificates, and nothing else.
    pub is_ca: bool,
}

impl Default for GenerateRequest {
    fn default() -> Self {
        Self {
            common_name: String::new(),
            organization: Vec::new(),
            organizational_unit: None,
            country: None,
            state: None,
            locality: None,
            serial_number: None,
            sans: Vec::new(),
            days: 365,
            key_type: KeyType::default(),
            usage: Usage::default(),
            is_ca: false,
        }
    }
}

impl GenerateRequest {
    /// A request with this common name and every default.
    pub fn new(common_name: impl Into<String>) -> Self {
        Self { common_name: common_name.into(), ..Self::default() }
    }

    /// The content of `bundle`'s leaf, for a successor with a new key and the same length of validity.
    ///
    /// # Errors
    /// It has something that cannot be written here: the successor must be made elsewhere.
    pub fn like(bundle: &Bundle) -> Result<Self, GenerateError> {
        let facts = bundle.facts();
        let leaf = inspect::parse(&bundle.chain()[0])
            .map_err(|reason| BundleError::NotACertificate { position: 1, reason })?;
        let key_type = KeyType::ALL.into_iter().find(|key_type| key_type.title() == facts.key_type);
        let key_type =
            key_type.ok_or_else(|| GenerateError::UnknownKeyType { text: facts.key_type.clone() })?;
        let usage = |name: &str| facts.usages.is_empty() || facts.usages.iter().any(|usage| usage == name);
        let seconds = facts.not_after.unix() - facts.not_before.unix();
        // Rounded down: what was added for slow clocks does not become a day.
        let days = u32::try_from(seconds / 86_400).unwrap_or(MAX_DAYS).clamp(1, MAX_DAYS);
        let request = Self {
            sans: inspect::sans(&leaf).iter().map(|san| san.parse()).collect::<Result<_, _>>()?,
            days,
            key_type,
            usage: Usage { server: usage("server") || usage("any"), client: usage("client") || usage("any") },
            is_ca: facts.is_ca,
            ..of_names(leaf.subject())
        };
        let written = subject_name(&request)?.iter().count();
        if written != leaf.subject().iter_attributes().count() {
            return Err(GenerateError::CannotRepeat { subject: facts.subject.clone() });
        }
        Ok(request)
    }
}

/// A request with the parts of a subject that can be written here.
pub(super) fn of_names(subject: &X509Name<'_>) -> GenerateRequest {
    let values = |oid: &Oid<'_>| -> Vec<String> {
        let attributes = subject.iter_by_oid(oid);
        attributes.filter_map(|value| value.as_str().ok()).map(str::to_owned).collect()
    };
    let one = |oid: &Oid<'_>| values(oid).into_iter().next();
    GenerateRequest {
        common_name: one(&OID_X509_COMMON_NAME).unwrap_or_default(),
        organization: values(&OID_X509_ORGANIZATION_NAME),
        organizational_unit: one(&OID_X509_ORGANIZATIONAL_UNIT),
        country: one(&OID_X509_COUNTRY_NAME),
        state: one(&OID_X509_STATE_OR_PROVINCE_NAME),
        locality: one(&OID_X509_LOCALITY_NAME),
        serial_number: one(&OID_X509_SERIALNUMBER),
        ..GenerateRequest::default()
    }
}

/// A list of texts, or one text.
fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(text) => vec![text],
        OneOrMany::Many(texts) => texts,
    })
}
