//! What a credential is issued with: a key, a certificate signed by the definition's CA, or the consumer's own certificate.

use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;

use super::credential::{CertificateNames, CertificateOrigin, CertificateRecord, Credential, later};
use super::definition::Definition;
use super::error::ConsumerError;
use super::order::Issue;
use crate::base::text::API_KEY;
use crate::certs::bundle::Bundle;
use crate::certs::generate::{CaMaterial, GenerateRequest, Signing, check_request, sign};
use crate::certs::generate::{San, Usage};
use crate::certs::inspect::Facts;
use crate::certs::store::Store;
use crate::certs::time::Timestamp;

/// How long a certificate of a credential without an end is valid.
const DAYS_WITHOUT_EXPIRY: u32 = 365;
/// Longest text of a CSR or certificate that is kept.
const MAX_PEM_BYTES: usize = 64 * 1024;

/// What a consumer gives for its certificate.
#[derive(Debug)]
pub(super) enum Material {
    /// A request for the definition's CA, PEM.
    Request(String),
    /// Its own certificate.
    Own(CertificateRecord),
}

/// What was made.
#[derive(Debug)]
pub(super) struct Made {
    /// With its new state, key and certificate.
    pub credential: Credential,
    /// The key, to be shown once.
    pub key: Option<String>,
    /// The certificate with its chain, PEM.
    pub certificate: Option<String>,
    /// What the consumer should know.
    pub warnings: Vec<String>,
}

/// Whether what a consumer gives suits the definition.
///
/// # Errors
/// It does not, or is not usable.
pub(super) fn check(
    definition: &Definition,
    given: Issue,
    names: Option<&CertificateNames>,
    now: SystemTime,
) -> Result<Option<Material>, ConsumerError> {
    let invalid = |text: String| Err(ConsumerError::Invalid(text));
    let name = &definition.name;
    let ways = [given.csr.is_some(), given.certificate.is_some(), names.is_some()];
    if ways.iter().filter(|way| **way).count() > 1 {
        return invalid("give one of a CSR, a certificate, or the names of certificates".to_owned());
    }
    if ways.contains(&true) && !definition.mtls {
        return invalid(format!(
            "[credentials.{name}] has no client certificate: leave it out, or set `mtls = true`"
        ));
    }
    if let Some(names) = names {
        let san: Result<San, _> = names.san.parse();
        san?;
        if names.issuer.trim().is_empty() || !names.issuer.contains('=') {
            return invalid(
                "the issuer is a name as in RFC 4514, such as \"CN=Partner CA,O=Partner\"".to_owned(),
            );
        }
    }
    match given {
        Issue { csr: Some(csr), .. } => {
            if definition.issuer.is_none() {
                return invalid(format!(
                    "[credentials.{name}] has no `issuer` to sign a CSR: bring a certificate, or name a CA of the store there"
                ));
            }
            bounded(&csr)?;
            Ok(Some(Material::Request(check_request(csr.as_bytes())?)))
        }
        Issue { certificate: Some(certificate), .. } => {
            bounded(&certificate)?;
            own(&certificate, now).map(|record| Some(Material::Own(record)))
        }
        Issue { csr: None, certificate: None } => Ok(None),
    }
}

fn bounded(text: &str) -> Result<(), ConsumerError> {
    if text.len() > MAX_PEM_BYTES {
        return Err(ConsumerError::Invalid(format!("it is longer than {MAX_PEM_BYTES} bytes")));
    }
    Ok(())
}

/// The consumer's own certificate.
fn own(text: &str, now: SystemTime) -> Result<CertificateRecord, ConsumerError> {
    let invalid = |error: &dyn std::fmt::Display| ConsumerError::Invalid(error.to_string());
    let bundle = Bundle::from_parts(text.as_bytes(), None).map_err(|error| invalid(&error))?;
    if bundle.key().is_some() {
        let text = "it has a private key, which is its consumer's alone: give the certificate without it";
        return Err(ConsumerError::Invalid(text.to_owned()));
    }
    bundle.check_validity(now).map_err(|error| invalid(&error))?;
    Ok(record(bundle.facts(), &bundle.chain()[0], CertificateOrigin::Own, bundle.chain_pem()))
}

fn record(facts: &Facts, der: &[u8], from: CertificateOrigin, pem: String) -> CertificateRecord {
    CertificateRecord {
        sha256: HEXLOWER.encode(digest(&SHA256, der).as_ref()),
        subject: facts.subject.clone(),
        not_after: facts.not_after,
        from,
        until: None,
        pem,
    }
}

impl Material {
    /// Keeps it with the credential. Returns what the consumer should know.
    pub(super) fn note(self, credential: &mut Credential, now: Timestamp) -> Vec<String> {
        match self {
            Self::Request(csr) => {
                credential.csr = Some(csr);
                Vec::new()
            }
            Self::Own(certificate) => {
                credential.csr = None;
                let facts = Bundle::from_parts(certificate.pem.as_bytes(), None);
                credential.put_certificate(certificate, now, Duration::ZERO);
                let usages = facts.map(|bundle| bundle.facts().usages.clone()).unwrap_or_default();
                if usages.is_empty() || usages.iter().any(|usage| usage == "client" || usage == "any") {
                    return Vec::new();
                }
                vec!["the certificate is not for clients (extended key usage): most TLS clients do not present it"
                    .to_owned()]
            }
        }
    }
}

/// Issues what was approved.
///
/// # Errors
/// It was not approved, its certificate is missing or can't be signed, or there are no random numbers.
pub(super) fn issue(
    store: &Store,
    definition: &Definition,
    mut credential: Credential,
    now: SystemTime,
) -> Result<Made, ConsumerError> {
    let time = Timestamp::from(now);
    let expires = definition.expiry.map(|expiry| later(time, expiry));
    let name = credential.name.clone();
    credential.state = super::desk::moved(&name, "issued", credential.state.issue(expires, time))?;
    let mut warnings = Vec::new();
    let certificate = certify(store, definition, &mut credential, Duration::ZERO, now, &mut warnings)?;
    let key = definition.api_key.then(|| new_key(&mut credential, time, Duration::ZERO)).transpose()?;
    Ok(Made { credential, key, certificate, warnings })
}

/// Makes what a renewal, whose new end the credential has already, makes anew. The certificate that the gateway signed is
/// signed again; one of before counts until `overlap` is over, or to its own end where it has the same key.
///
/// # Errors
/// The certificate can't be signed, or there are no random numbers.
pub(super) fn renew(
    store: &Store,
    definition: &Definition,
    mut credential: Credential,
    new_key: bool,
    overlap: Duration,
    now: SystemTime,
) -> Result<Made, ConsumerError> {
    if new_key && !definition.api_key {
        return Err(ConsumerError::Invalid(format!(
            "[credentials.{}] has no key: leave --new-key out",
            definition.name
        )));
    }
    let mut warnings = Vec::new();
    let certificate = certify(store, definition, &mut credential, overlap, now, &mut warnings)?;
    let time = Timestamp::from(now);
    let key = new_key.then(|| self::new_key(&mut credential, time, overlap)).transpose()?;
    Ok(Made { credential, key, certificate, warnings })
}

/// The certificate of a credential that needs one: signed from its CSR, or there already.
fn certify(
    store: &Store,
    definition: &Definition,
    credential: &mut Credential,
    overlap: Duration,
    now: SystemTime,
    warnings: &mut Vec<String>,
) -> Result<Option<String>, ConsumerError> {
    if !definition.mtls {
        return Ok(None);
    }
    let name = &credential.name;
    let Some(csr) = &credential.csr else {
        if credential.certificate.is_empty() && credential.names.is_none() {
            let csr = if definition.issuer.is_some() { "--csr FILE, or " } else { "" };
            return Err(ConsumerError::Invalid(format!(
                "{name} needs a client certificate: issue it with {csr}--certificate FILE"
            )));
        }
        let expires = credential.state.term().and_then(|term| term.expires);
        if let Some(own) = credential.certificate.last()
            && expires.is_none_or(|expires| own.not_after < expires)
        {
            warnings.push(format!(
                "the consumer's own certificate ends on {}, before the credential does: bring the next one by `ringate \
                 credential renew {name} --certificate FILE`",
                own.not_after
            ));
        }
        return Ok(None);
    };
    let Some(issuer) = &definition.issuer else {
        return Err(ConsumerError::Invalid(format!(
            "[credentials.{}] has no `issuer` any more to sign the CSR of {name}",
            definition.name
        )));
    };
    let ca = CaMaterial::from_bundle(&store.get(issuer)?.bundle)?;
    let subject = GenerateRequest {
        common_name: credential.consumer.clone(),
        organizational_unit: Some(name.clone()),
        days: DAYS_WITHOUT_EXPIRY,
        usage: Usage { server: false, client: true },
        ..GenerateRequest::default()
    };
    let expires = credential.state.term().and_then(|term| term.expires);
    let signing = Signing { request: &subject, not_after: expires };
    let signed = sign(csr.as_bytes(), &signing, &ca, now)?;
    let facts = signed.bundle.facts();
    if expires.is_some_and(|expires| facts.not_after < expires) {
        warnings.push(format!(
            "the certificate ends on {}, with the CA {issuer}, before the credential does",
            facts.not_after
        ));
    }
    let made = record(facts, &signed.bundle.chain()[0], CertificateOrigin::Issued, signed.chain_pem.clone());
    credential.put_certificate(made, Timestamp::from(now), overlap);
    Ok(Some(signed.chain_pem))
}

/// 256 random bits. What is kept is their SHA-256.
fn new_key(credential: &mut Credential, now: Timestamp, overlap: Duration) -> Result<String, ConsumerError> {
    let mut bytes = [0u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| ConsumerError::Random)?;
    let key = format!("{API_KEY}{}", HEXLOWER.encode(&bytes));
    credential.put_key(HEXLOWER.encode(digest(&SHA256, key.as_bytes()).as_ref()), now, overlap);
    Ok(key)
}
