//! The content of a client's verified certificate, in the forms that backends, logs and rules need.
//!
//! Names in certificates are bytes that the certificate's owner chose. All output of this module is printable ASCII, escaped
//! so that no name can pass for two.

use std::fmt::Write as _;
use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use x509_parser::asn1_rs::ToDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use super::backend_verifier::sha256;
use crate::base::limits::MAX_CLIENT_CERTIFICATE_BYTES;
use crate::base::percent::percent_encoded;

/// A subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SanName {
    /// A dNSName, in lower case.
    Dns(Box<str>),
    /// A uniformResourceIdentifier, as it was written.
    Uri(Box<str>),
    /// An rfc822Name.
    Email(Box<str>),
    /// An iPAddress.
    Ip(IpAddr),
}

/// A client's certificate, once a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The subject by RFC 4514, most specific part first: `CN=orders,O=Example`.
    pub subject: Box<str>,
    /// The issuer in the same form.
    pub issuer: Box<str>,
    /// SHA-256 of the certificate.
    pub sha256: [u8; 32],
    /// The same in lower-case hexadecimal.
    pub fingerprint: Box<str>,
    /// The subject's alternative names.
    pub names: Box<[SanName]>,
    /// The value of X-Forwarded-Client-Cert.
    pub forwarded: Box<str>,
    /// The last second of its time, since 1970.
    pub not_after: i64,
}

/// Why a certificate is not taken although it was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresentedError {
    /// It can't be parsed.
    Unreadable,
    /// What is forwarded of it would be longer than [`MAX_CLIENT_CERTIFICATE_BYTES`].
    TooLong,
}

impl std::fmt::Display for PresentedError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable => f.write_str("the client's certificate cannot be parsed"),
            Self::TooLong => write!(
                f,
                "the client's certificate has more names than are forwarded ({MAX_CLIENT_CERTIFICATE_BYTES} bytes)"
            ),
        }
    }
}

impl ClientCertificate {
    /// `server` is the certificate that was presented to the client; `pem` is the client's own, to be forwarded whole.
    ///
    /// # Errors
    /// Parts of it can't be read, or there are too many.
    pub fn new(
        leaf: &CertificateDer<'_>,
        server: Option<&CertificateDer<'_>>,
        pem: Option<&str>,
    ) -> Result<Self, PresentedError> {
        let parsed = parse(leaf)?;
        let subject = distinguished_name(parsed.subject());
        let mut fingerprint = String::with_capacity(64);
        let sha256 = sha256(leaf);
        for byte in sha256 {
            let _ = write!(fingerprint, "{byte:02x}");
        }
        let names = names(&parsed)?;
        // Our own certificate is no reason to refuse a client's.
        let by = server.and_then(|own| self::names(&parse(own).ok()?).ok()).unwrap_or_default();
        let mut forwarded = String::new();
        for name in &by {
            if let SanName::Uri(uri) = name {
                pair(&mut forwarded, "By", &printable(uri));
            }
        }
        pair(&mut forwarded, "Hash", &fingerprint);
        if let Some(pem) = pem {
            let _ = write!(forwarded, ";Cert=\"{}\"", url_encoded(pem));
        }
        // Backslashes and quotes in it are escaped already.
        let _ = write!(forwarded, ";Subject=\"{subject}\"");
        for name in &names {
            match name {
                SanName::Uri(uri) => pair(&mut forwarded, "URI", &printable(uri)),
                SanName::Dns(name) => pair(&mut forwarded, "DNS", &printable(name)),
                SanName::Email(_) | SanName::Ip(_) => {}
            }
        }
        if forwarded.len() > MAX_CLIENT_CERTIFICATE_BYTES {
            return Err(PresentedError::TooLong);
        }
        Ok(Self {
            subject: subject.into(),
            issuer: distinguished_name(parsed.issuer()).into(),
            sha256,
            fingerprint: fingerprint.into(),
            names: names.into(),
            forwarded: forwarded.into(),
            not_after: parsed.validity().not_after.timestamp(),
        })
    }
}

fn parse<'c>(certificate: &'c CertificateDer<'_>) -> Result<X509Certificate<'c>, PresentedError> {
    X509Certificate::from_der(certificate).map(|(_, parsed)| parsed).map_err(|_| PresentedError::Unreadable)
}

fn names(certificate: &X509Certificate<'_>) -> Result<Vec<SanName>, PresentedError> {
    let extension = certificate.subject_alternative_name().map_err(|_| PresentedError::Unreadable)?;
    let names = extension.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(SanName::Dns(name.to_ascii_lowercase().into())),
        GeneralName::URI(uri) => Some(SanName::Uri((*uri).into())),
        GeneralName::RFC822Name(address) => Some(SanName::Email((*address).into())),
        GeneralName::IPAddress(octets) => match octets.len() {
            4 => <[u8; 4]>::try_from(*octets).ok().map(|octets| SanName::Ip(octets.into())),
            _ => <[u8; 16]>::try_from(*octets).ok().map(|octets| SanName::Ip(octets.into())),
        },
        _ => None,
    };
    Ok(names.iter().filter_map(name).collect())
}

/// Appends `;key=value`, the value in quotes where it has one of the separators.
fn pair(out: &mut String, key: &str, value: &str) {
    if !out.is_empty() {
        out.push(';');
    }
    let quote = if value.contains([',', ';', '=']) { "\"" } else { "" };
    let _ = write!(out, "{key}={quote}{value}{quote}");
}

/// A name with all that no URI and no host name holds percent-encoded: spaces, quotes, backslashes, controls.
fn printable(name: &str) -> String {
    percent_encoded(name, |byte| matches!(byte, b'!'..=b'~') && !matches!(byte, b'"' | b'\\'))
}

/// PEM text as Envoy puts it into the header.
fn url_encoded(pem: &str) -> String {
    percent_encoded(pem, |byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// A distinguished name by RFC 4514, in ASCII: what is not is escaped byte by byte, as OpenSSL's `-nameopt RFC2253` does.
pub(super) fn distinguished_name(name: &X509Name<'_>) -> String {
    let mut out = String::new();
    let rdns: Vec<_> = name.iter_rdn().collect();
    for rdn in rdns.into_iter().rev() {
        for (at, attribute) in rdn.iter().enumerate() {
            if !out.is_empty() {
                out.push(if at == 0 { ',' } else { '+' });
            }
            push_attribute(&mut out, attribute);
        }
    }
    out
}

/// The attributes that have names, by the OIDs' dotted form; others are written as their OID and DER.
const ATTRIBUTES: [(&str, &str); 16] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.42", "GN"),
    ("2.5.4.97", "organizationIdentifier"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

fn push_attribute(out: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let oid = attribute.attr_type().to_id_string();
    let known = ATTRIBUTES.iter().find(|(dotted, _)| *dotted == oid);
    match (known, attribute.as_str()) {
        (Some((_, name)), Ok(value)) => {
            let _ = write!(out, "{name}=");
            push_escaped(out, value);
        }
        (name, _) => {
            let _ = write!(out, "{}=#", name.map_or(&*oid, |(_, name)| name));
            // Made of what was parsed, so it can be written again.
            for byte in attribute.attr_value().to_der_vec().unwrap_or_default() {
                let _ = write!(out, "{byte:02X}");
            }
        }
    }
}

/// RFC 4514 §2.4
fn push_escaped(out: &mut String, value: &str) {
    let last = value.len().saturating_sub(1);
    for (at, byte) in value.bytes().enumerate() {
        let escaped = match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => true,
            b'#' => at == 0,
            b' ' => at == 0 || at == last,
            _ => false,
        };
        if escaped {
            out.push('\\');
        }
        match byte {
            b' '..=b'~' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "\\{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(value: &str) -> String {
        let mut out = String::new();
        push_escaped(&mut out, value);
        out
    }

    #[test]
    fn no_value_of_a_subject_reads_as_another_part_of_it() {
        for (value, text) in [
            ("orders", "orders"),
            ("a,O=Evil", "a\\,O=Evil"),
            ("a\"b\\", "a\\\"b\\\\"),
            (" a ", "\\ a\\ "),
            (" ", "\\ "),
            ("#1", "\\#1"),
            ("a\r\nX: y", "a\\0D\\0AX: y"),
            ("ä", "\\C3\\A4"),
            ("", ""),
        ] {
            assert_eq!(escaped(value), text, "{value:?}");
        }
    }

    #[test]
    fn values_with_separators_stand_in_quotes() {
        let mut out = String::new();
        for value in ["spiffe://a/b", "http://a/?b=c;d", "a\"\\\r\nb"] {
            pair(&mut out, "URI", &printable(value));
        }
        assert_eq!(out, "URI=spiffe://a/b;URI=\"http://a/?b=c;d\";URI=a%22%5C%0D%0Ab");
    }

    #[test]
    fn pem_is_encoded_for_urls() {
        assert_eq!(url_encoded("-----BEGIN A-----\na+/=\n"), "-----BEGIN%20A-----%0Aa%2B%2F%3D%0A");
    }
}
