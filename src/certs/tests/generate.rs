//! What is generated, and what cannot be asked for.

use std::net::{IpAddr, Ipv4Addr};

use super::{Family, days, identity, now};
use crate::certs::bundle::BundleError;
use crate::certs::generate::{
    CaMaterial, GenerateError, GenerateRequest, KeyType, San, Usage, ca_signed, csr, quickstart_pki,
    self_signed,
};
use crate::certs::time::Timestamp;
use crate::certs::{Bundle, Facts};

#[test]
fn every_key_type_is_generated_read_back_and_matches() {
    let names = ["ECDSA P-256", "ECDSA P-384", "RSA 2048", "RSA 3072", "RSA 4096", "Ed25519"];
    for (key_type, name) in KeyType::ALL.into_iter().zip(names) {
        let made = self_signed(&GenerateRequest { key_type, ..GenerateRequest::new("a") }, now()).unwrap();
        let read = Bundle::from_parts(made.chain_pem.as_bytes(), Some(made.key_pem.as_bytes())).unwrap();
        assert_eq!(read.facts().key_type, name);
        assert_eq!(key_type.to_string().parse(), Ok(key_type));
    }
}

#[test]
fn a_certificate_says_what_was_asked_for() {
    let request = GenerateRequest {
        organization: vec!["Example".to_owned(), "Example Group".to_owned()],
        organizational_unit: Some("Platform".to_owned()),
        country: Some("de".to_owned()),
        state: Some("Bayern".to_owned()),
        locality: Some("Köln".to_owned()),
        sans: ["DNS:a.example", "IP:192.0.2.1", "URI:spiffe://example/gw", "email:ops@example.com"]
            .map(|san| san.parse().unwrap())
            .to_vec(),
        days: 30,
        ..GenerateRequest::new("gateway")
    };
    let facts = self_signed(&request, now()).unwrap().bundle.facts().clone();
    assert_eq!(facts.subject, "C=DE, ST=Bayern, L=Köln, O=Example, O=Example Group, OU=Platform, CN=gateway");
    assert_eq!(facts.issuer, facts.subject);
    assert_eq!(
        facts.sans,
        ["DNS:a.example", "IP:192.0.2.1", "URI:spiffe://example/gw", "email:ops@example.com"]
    );
    assert_eq!(facts.usages, ["server", "client"]);
    assert_eq!(facts.not_before, Timestamp::from(now()).plus(-300));
    assert_eq!(facts.not_after, Timestamp::from(now() + days(30)));
    assert_eq!(facts.days_left(now()), 30);
    assert!(facts.self_signed && !facts.is_ca);
    assert_eq!(facts.serial.len(), 32, "128 bits: {}", facts.serial);
    assert_ne!(facts.serial, identity("gateway").bundle.facts().serial);
}

#[test]
fn facts_are_written_and_read_as_json() {
    let facts = identity("a").bundle.facts().clone();
    let json = serde_json::to_value(&facts).unwrap();
    assert_eq!(json["not_after"], "2031-01-01T00:00:00Z");
    assert!(json["spki_sha256"].as_str().unwrap().starts_with("sha256/"));
    assert_eq!(serde_json::from_value::<Facts>(json).unwrap(), facts);
}

#[test]
fn a_request_in_json_needs_no_more_than_a_name() {
    let request: GenerateRequest = serde_json::from_str(r#"{"common_name": "a"}"#).unwrap();
    assert_eq!(request, GenerateRequest::new("a"));
    assert_eq!((request.days, request.key_type), (365, KeyType::EcdsaP256));
    let full = r#"{"common_name": "a", "sans": ["IP:::1", "b"], "key_type": "rsa-2048"}"#;
    let full: GenerateRequest = serde_json::from_str(full).unwrap();
    assert_eq!(full.sans, [San::Ip("::1".parse().unwrap()), San::Dns("b".to_owned())]);
    assert_eq!(full.key_type, KeyType::Rsa2048);
    assert!(serde_json::from_str::<GenerateRequest>(r#"{"common_name": "a", "dayz": 3}"#).is_err());
}

#[test]
fn a_server_without_alternative_names_takes_its_common_name() {
    let sans = |common_name: &str| identity(common_name).bundle.facts().sans.clone();
    assert_eq!(sans("a.example"), ["DNS:a.example"]);
    assert_eq!(sans("192.0.2.1"), ["IP:192.0.2.1"]);
    assert!(sans("Not a host").is_empty());
    let client = Usage { server: false, client: true };
    let client = self_signed(&GenerateRequest { usage: client, ..GenerateRequest::new("a") }, now()).unwrap();
    assert!(client.bundle.facts().sans.is_empty());
    assert_eq!(client.bundle.facts().usages, ["client"]);
}

#[test]
fn alternative_names_are_read_strictly() {
    for (text, san) in [
        ("DNS:*.Example.com", San::Dns("*.example.com".to_owned())),
        ("localhost", San::Dns("localhost".to_owned())),
        ("127.0.0.1", San::Ip(Ipv4Addr::LOCALHOST.into())),
        ("::1", San::Ip("::1".parse::<IpAddr>().unwrap())),
        ("ip:::1", San::Ip("::1".parse::<IpAddr>().unwrap())),
    ] {
        assert_eq!(text.parse(), Ok(san));
    }
    for text in
        ["", "DNS:", "DNS:a b", "DNS:*", "DNS:a.*.b", "IP:1.2.3", "URI:x", "email:x", "RID:1.2", "DNS:a\nb"]
    {
        assert!(matches!(text.parse::<San>(), Err(GenerateError::BadSan { .. })), "{text:?}");
    }
}

#[test]
fn what_x509_cannot_say_is_refused() {
    let base = || GenerateRequest::new("a");
    let long = "x".repeat(65);
    for (request, message) in [
        (GenerateRequest::new(""), "common_name is blank"),
        (GenerateRequest::new("a\0b"), "control characters"),
        (GenerateRequest::new(long.clone()), "put long host names into the alternative names"),
        (GenerateRequest { organization: vec![long], ..base() }, "organization is longer than the 64"),
        (GenerateRequest { organization: vec!["O".to_owned(); 3], ..base() }, "3 organizations"),
        (GenerateRequest { country: Some("Germany".to_owned()), ..base() }, "two letters"),
        (GenerateRequest { days: 0, ..base() }, "give 1 to 36500"),
        (GenerateRequest { days: 36_501, ..base() }, "give 1 to 36500"),
        (GenerateRequest { usage: Usage { server: false, client: false }, ..base() }, "at least one"),
    ] {
        let text = self_signed(&request, now()).unwrap_err().to_string();
        assert!(text.contains(message), "{text}");
    }
    let text = "dsa".parse::<KeyType>().unwrap_err().to_string();
    assert!(text.contains("ecdsa-p256, ecdsa-p384, rsa-2048"), "{text}");
}

#[test]
fn a_ca_signs_and_its_leaves_end_no_later_than_it() {
    let family = Family::new();
    let leaf = &family.leaf.bundle;
    assert_eq!(leaf.chain().len(), 2, "the intermediate goes along, the root does not");
    assert_eq!(leaf.facts().issuer, "CN=intermediate");
    assert!(family.intermediate.bundle.facts().is_ca);
    assert_eq!(family.intermediate.bundle.chain().len(), 1);

    let ca = CaMaterial::from_bundle(&family.root.bundle).unwrap();
    let later = now() + days(100);
    let long = ca_signed(&GenerateRequest::new("b"), &ca, later).unwrap();
    assert_eq!(long.bundle.facts().not_after, family.root.bundle.facts().not_after);
    let expired = ca_signed(&GenerateRequest::new("b"), &ca, now() + days(366)).unwrap_err();
    assert!(matches!(expired, GenerateError::Bundle(BundleError::Expired { .. })), "{expired:?}");
}

#[test]
fn only_a_ca_with_its_key_can_sign() {
    let leaf = CaMaterial::from_bundle(&identity("a").bundle).unwrap_err();
    assert!(matches!(leaf, GenerateError::IssuerIsNoCa { .. }), "{leaf:?}");
    let keyless = Bundle::from_pem(Family::new().root.chain_pem.as_bytes()).unwrap();
    let keyless = CaMaterial::from_bundle(&keyless).unwrap_err();
    assert!(matches!(keyless, GenerateError::IssuerHasNoKey { .. }), "{keyless:?}");
}

#[test]
fn a_request_for_a_ca_comes_with_its_key() {
    let made = csr(&GenerateRequest::new("a.example")).unwrap();
    assert!(made.csr_pem.starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
    assert!(made.key_pem.starts_with("-----BEGIN PRIVATE KEY-----"));
}

#[test]
fn quickstart_has_a_ca_a_server_and_a_client() {
    let extra: San = "DNS:box.example".parse().unwrap();
    let pki = quickstart_pki(&[extra, San::Dns("localhost".to_owned())], now()).unwrap();
    assert!(pki.ca.bundle.facts().is_ca);
    let server = pki.server.bundle.facts();
    assert_eq!(server.sans, ["DNS:localhost", "IP:127.0.0.1", "IP:::1", "DNS:box.example"]);
    assert_eq!(server.usages, ["server"]);
    assert_eq!(pki.client.bundle.facts().usages, ["client"]);
    assert_eq!(server.issuer, pki.ca.bundle.facts().subject);
}
