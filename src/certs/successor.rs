//! What a generated certificate's successor is made of: the same, for as long again, with a new key.

use x509_parser::oid_registry::OID_X509_SERIALNUMBER;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use super::bundle::Bundle;
use super::facts;
use super::generate::{GenerateRequest, KeyType, MAX_DAYS, San, Usage};

const DAY: i64 = 86_400;

/// The request for a successor of the bundle's leaf. `None`: we can't make one that peers would take in its place,
/// because another certificate signed it, or it is of a kind that is not made here.
pub fn successor(bundle: &Bundle) -> Option<GenerateRequest> {
    let facts = bundle.facts();
    if !facts.self_signed || bundle.key().is_none() {
        return None;
    }
    let parsed = facts::parse(&bundle.chain()[0]).ok()?;
    let subject = parsed.subject();
    let seconds = facts.not_after.unix() - facts.not_before.unix();
    let days = u32::try_from(seconds / DAY).unwrap_or(1).clamp(1, MAX_DAYS);
    Some(GenerateRequest {
        common_name: facts.common_name.clone()?,
        organization: subject.iter_organization().filter_map(text).collect(),
        organizational_unit: subject.iter_organizational_unit().find_map(text),
        country: subject.iter_country().find_map(text),
        state: subject.iter_state_or_province().find_map(text),
        locality: locality(subject),
        serial_number: subject.iter_by_oid(&OID_X509_SERIALNUMBER).find_map(text),
        sans: facts.sans.iter().filter_map(|san| san.parse::<San>().ok()).collect(),
        days,
        key_type: key_type(&facts.key_type)?,
        usage: Usage { server: uses(&facts.usages, "server"), client: uses(&facts.usages, "client") },
        is_ca: facts.is_ca,
    })
}

fn uses(usages: &[String], purpose: &str) -> bool {
    usages.is_empty() || usages.iter().any(|usage| usage == purpose || usage == "any")
}

fn text(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    attribute.as_str().ok().map(str::to_owned)
}

fn locality(subject: &X509Name<'_>) -> Option<String> {
    subject.iter_locality().find_map(text)
}

fn key_type(named: &str) -> Option<KeyType> {
    Some(match named {
        "ECDSA P-256" => KeyType::EcdsaP256,
        "ECDSA P-384" => KeyType::EcdsaP384,
        "RSA 2048" => KeyType::Rsa2048,
        "RSA 3072" => KeyType::Rsa3072,
        "RSA 4096" => KeyType::Rsa4096,
        "Ed25519" => KeyType::Ed25519,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::super::generate::self_signed;
    use super::*;

    #[test]
    fn a_successor_is_the_same_but_for_its_key_and_time() {
        let now = SystemTime::now();
        for key_type in [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Ed25519] {
            let request = GenerateRequest {
                common_name: "gateway".to_owned(),
                organization: vec!["Example".to_owned()],
                organizational_unit: Some("Edge".to_owned()),
                country: Some("DE".to_owned()),
                state: Some("Bavaria".to_owned()),
                locality: Some("Munich".to_owned()),
                sans: vec!["DNS:a.example".parse().unwrap(), "IP:192.0.2.1".parse().unwrap()],
                days: 90,
                key_type,
                usage: Usage { server: false, client: true },
                ..GenerateRequest::default()
            };
            let first = self_signed(&request, now - Duration::from_secs(80 * 86_400)).unwrap();
            let next = successor(&first.bundle).unwrap();
            assert_eq!(next, request);
            let second = self_signed(&next, now).unwrap();
            let (old, new) = (first.bundle.facts(), second.bundle.facts());
            assert_eq!((&old.subject, &old.sans, &old.usages), (&new.subject, &new.sans, &new.usages));
            assert!(new.not_after > old.not_after && old.spki_sha256 != new.spki_sha256);
        }
    }
}
