//! Certificates for keys that are not here: a CA of the store signs a request (PKCS#10, RFC 2986).
//!
//! Of a request its key counts, and that its sender has that key. Subject, usages and validity are the signer's choice.

use rcgen::{
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256,
    PublicKeyData, SignatureAlgorithm,
};
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject;
use std::time::SystemTime;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

use super::request::{San, of_names};
use super::{CaMaterial, GenerateError, GenerateRequest, certificate_params, datetime, sign_for};
use crate::certs::bundle::Bundle;
use crate::certs::encode;
use crate::certs::inspect;
use crate::certs::time::Timestamp;

/// What a signed certificate has besides its key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signing<'a> {
    /// Subject, names, usages, days of validity.
    pub request: &'a GenerateRequest,
    /// Its end in the place of the days, if there is one.
    pub not_after: Option<Timestamp>,
}

/// A certificate for a key that is not here.
#[derive(Debug)]
pub(crate) struct Signed {
    /// The chain, leaf first, without a self-signed root above the leaf.
    pub chain_pem: String,
    /// The same, checked; without a key.
    pub bundle: Bundle,
}

/// The key of a request, whose sender has proven that it has it.
struct RequestedKey {
    public: Vec<u8>,
    algorithm: &'static SignatureAlgorithm,
}

impl PublicKeyData for RequestedKey {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

/// Signs a request (PEM or DER). The certificate ends with the CA's at the latest.
///
/// # Errors
/// It is no request, its signature or key is not good, or the CA can't sign.
pub(crate) fn sign(
    csr: &[u8],
    signing: &Signing<'_>,
    ca: &CaMaterial,
    now: SystemTime,
) -> Result<Signed, GenerateError> {
    ca.bundle.check_validity(now)?;
    let der = der(csr)?;
    let key = key(&parse(&der)?)?;
    let mut params = certificate_params(signing.request, now)?;
    if let Some(not_after) = signing.not_after {
        params.not_after = datetime(not_after)?.to_datetime();
    }
    let chain_pem = sign_for(params, &key, ca)?;
    let bundle = Bundle::from_parts(chain_pem.as_bytes(), None)?;
    Ok(Signed { chain_pem, bundle })
}

/// Whether a request can be signed; returns it as PEM.
///
/// # Errors
/// It is no request, or its signature or key is not good.
pub(crate) fn check_request(csr: &[u8]) -> Result<String, GenerateError> {
    let der = der(csr)?;
    key(&parse(&der)?)?;
    Ok(encode::pem("CERTIFICATE REQUEST", &der).to_string())
}

/// The subject and the names that a request asks for.
///
/// # Errors
/// It is no request, or has names that cannot be written here.
pub(crate) fn requested(csr: &[u8]) -> Result<GenerateRequest, GenerateError> {
    let der = der(csr)?;
    let parsed = parse(&der)?;
    let sans = parsed.requested_extensions().into_iter().flatten().find_map(|extension| match extension {
        ParsedExtension::SubjectAlternativeName(names) => Some(inspect::general_names(&names.general_names)),
        _ => None,
    });
    let sans = sans.unwrap_or_default();
    let sans = sans.iter().map(|san| san.parse()).collect::<Result<Vec<San>, _>>()?;
    Ok(GenerateRequest { sans, ..of_names(&parsed.certification_request_info.subject) })
}

fn der(csr: &[u8]) -> Result<Vec<u8>, GenerateError> {
    let refused = |reason: &str| GenerateError::BadRequest { reason: reason.to_owned() };
    let text = std::str::from_utf8(csr).ok().filter(|text| text.contains("-----BEGIN "));
    let Some(text) = text else { return Ok(csr.to_vec()) };
    if text.contains("PRIVATE KEY-----") {
        return Err(refused("it has a private key, which is its owner's alone: send the request without it"));
    }
    // OpenSSL's and Java's older label.
    let text = text.replace("NEW CERTIFICATE REQUEST", "CERTIFICATE REQUEST");
    let der = CertificateSigningRequestDer::from_pem_slice(text.as_bytes())
        .map_err(|_| refused("it has no section CERTIFICATE REQUEST"))?;
    Ok(der.to_vec())
}

fn parse(der: &[u8]) -> Result<X509CertificationRequest<'_>, GenerateError> {
    let refused = |reason: &str| GenerateError::BadRequest { reason: reason.to_owned() };
    let request = match X509CertificationRequest::from_der(der) {
        Ok(([], request)) => request,
        Ok(_) => return Err(refused("more bytes follow it")),
        Err(_) => return Err(refused("it can't be parsed as PKCS#10")),
    };
    request.verify_signature().map_err(|_| refused("its signature is not made with its key"))?;
    Ok(request)
}

fn key(request: &X509CertificationRequest<'_>) -> Result<RequestedKey, GenerateError> {
    let spki = &request.certification_request_info.subject_pki;
    let refused = |reason: String| GenerateError::BadRequest { reason };
    let kind = inspect::key_type(spki);
    let algorithm: Option<&'static SignatureAlgorithm> = match kind.as_str() {
        "ECDSA P-256" => Some(&PKCS_ECDSA_P256_SHA256),
        "ECDSA P-384" => Some(&PKCS_ECDSA_P384_SHA384),
        "ECDSA P-521" => Some(&PKCS_ECDSA_P521_SHA512),
        "Ed25519" => Some(&PKCS_ED25519),
        rsa if rsa.starts_with("RSA ") => Some(&PKCS_RSA_SHA256),
        _ => None,
    };
    let algorithm = algorithm.filter(|_| inspect::is_usable(spki));
    let algorithm = algorithm.ok_or_else(|| {
        refused(format!(
            "its key is {kind}, which is not signed; make one of EC P-256, or RSA with 2048 to 8192 bits"
        ))
    })?;
    Ok(RequestedKey { public: spki.subject_public_key.data.to_vec(), algorithm })
}
