//! What is read from a certificate to judge or to name it.

use rustls::CertificateError;
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate, X509Name, X509Version};

use super::algorithms::rsa_bits;
use super::client_certificate::distinguished_name;
use crate::base::text::printable;

pub(super) fn is_authority(certificate: &X509Certificate<'_>) -> bool {
    // Old roots are of version 1, which has no extension to mark an authority.
    let old_root = certificate.version() == X509Version::V1 && certificate.subject() == certificate.issuer();
    certificate.is_ca() || old_root
}

/// Whether an authority's keyUsage, if it has one, includes cRLSign.
pub(super) fn signs_lists(certificate: &X509Certificate<'_>) -> bool {
    certificate.key_usage().is_ok_and(|usage| usage.is_none_or(|usage| usage.value.crl_sign()))
}

/// Why an authority may not issue certificates, by its own extensions (RFC 5280 §4.2.1.3, §4.2).
pub(super) fn unfit(certificate: &X509Certificate<'_>) -> Option<String> {
    let usage = certificate.key_usage().ok()?;
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Some("its keyUsage does not include keyCertSign".to_owned());
    }
    let unknown = certificate.extensions().iter().find(|extension| {
        extension.critical
            && matches!(extension.parsed_extension(), ParsedExtension::UnsupportedExtension { .. })
    });
    unknown.map(|extension| {
        let which = extension_name(&extension.oid.to_id_string());
        format!("it has the critical extension {which}, which is not supported")
    })
}

/// The first critical extension that webpki does not know.
pub(super) fn unsupported_extension(certificate: &X509Certificate<'_>) -> Option<String> {
    // keyUsage, subjectAltName, basicConstraints, nameConstraints, cRLDistributionPoints, extKeyUsage.
    const KNOWN: [&str; 6] = ["2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.30", "2.5.29.31", "2.5.29.37"];
    let critical = certificate.extensions().iter().filter(|extension| extension.critical);
    let mut oids = critical.map(|extension| extension.oid.to_id_string());
    oids.find(|oid| !KNOWN.contains(&&**oid)).map(|oid| extension_name(&oid))
}

/// An extension's OID with its name (RFC 5280 §4.2) where it is known.
pub(super) fn extension_name(oid: &str) -> String {
    let name = match oid {
        "2.5.29.32" => "certificatePolicies",
        "2.5.29.33" => "policyMappings",
        "2.5.29.36" => "policyConstraints",
        "2.5.29.54" => "inhibitAnyPolicy",
        "2.5.29.18" => "issuerAltName",
        "2.5.29.9" => "subjectDirectoryAttributes",
        "2.5.29.46" => "freshestCRL",
        "1.3.6.1.5.5.7.1.1" => "authorityInfoAccess",
        "1.3.6.1.5.5.7.1.24" => "TLS feature",
        "1.3.6.1.5.5.7.1.3" => "qcStatements",
        _ => return oid.to_owned(),
    };
    format!("{oid} ({name})")
}

/// A name from a certificate in one line: peers choose the bytes.
pub(super) fn plain_name(name: &X509Name<'_>) -> String {
    printable(&distinguished_name(name)).into_owned()
}

/// Seconds since 1970; before: 0, which is certainly past.
pub(super) fn unix(at: i64) -> u64 {
    u64::try_from(at).unwrap_or(0)
}

/// Whether a certificate's keyUsage, if it has one, lets its key make the signature of a handshake.
pub(super) fn may_sign(certificate: &CertificateDer<'_>) -> Result<bool, CertificateError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let usage = parsed.key_usage().map_err(|_| CertificateError::BadEncoding)?;
    Ok(usage.is_none_or(|usage| usage.value.digital_signature()))
}

/// The size of a certificate's key, if that is RSA.
pub(super) fn key_bits(certificate: &X509Certificate<'_>) -> Option<u32> {
    const RSA_ENCRYPTION: &str = "1.2.840.113549.1.1.1";
    let key = certificate.public_key();
    let is_rsa = key.algorithm.algorithm.to_id_string() == RSA_ENCRYPTION;
    is_rsa.then(|| rsa_bits(&key.subject_public_key.data)).flatten()
}
