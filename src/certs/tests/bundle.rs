//! What makes a bundle, and what is refused with which words.

use proptest::prelude::*;
use rustls::pki_types::PrivateKeyDer;

use super::{Family, days, identity, now};
use crate::certs::bundle::{Bundle, BundleError};
use crate::certs::generate::{GenerateRequest, csr};
use crate::certs::parse;
use crate::certs::time::Timestamp;

fn refusal(result: Result<Bundle, BundleError>) -> (BundleError, String) {
    let error = result.expect_err("it must be refused");
    let text = error.to_string();
    (error, text)
}

#[test]
fn a_chain_and_its_key_may_come_in_one_text_in_any_order() {
    let family = Family::new();
    for text in [
        format!("{}{}", family.leaf.chain_pem, *family.leaf.key_pem),
        format!("{}{}", *family.leaf.key_pem, family.leaf.chain_pem),
        format!("\u{FEFF}{}{}", family.leaf.chain_pem, *family.leaf.key_pem).replace('\n', "\r\n"),
        format!("{}{}", family.leaf.chain_pem, *family.leaf.key_pem).replace('\n', "\n    "),
        format!("Bag Attributes: <none>\n{}Key Attributes:\n{}", family.leaf.chain_pem, *family.leaf.key_pem),
    ] {
        let bundle = Bundle::from_pem(text.as_bytes()).unwrap();
        assert_eq!(bundle.chain().len(), 2);
        assert_eq!(bundle.facts().common_name.as_deref(), Some("leaf.example"));
        assert!(bundle.key().is_some());
    }
}

#[test]
fn a_certificate_without_a_key_is_a_bundle() {
    let bundle = Bundle::from_pem(identity("a").chain_pem.as_bytes()).unwrap();
    assert!(bundle.key().is_none());
    assert!(bundle.key_pem().is_none());
}

#[test]
fn parts_may_be_pem_or_der_each() {
    let made = identity("a");
    let (cert_der, key_der) =
        (made.bundle.chain()[0].to_vec(), made.bundle.key().unwrap().secret_der().to_vec());
    for cert in [made.chain_pem.as_bytes(), &cert_der] {
        for key in [made.key_pem.as_bytes(), &key_der] {
            let bundle = Bundle::from_parts(cert, Some(key)).unwrap();
            assert_eq!(bundle.facts(), made.bundle.facts());
            assert_eq!(bundle.key().unwrap().secret_der(), key_der);
        }
    }
    assert!(Bundle::from_pem(&cert_der).is_ok());
}

#[test]
fn a_bundle_survives_its_own_pem() {
    let family = Family::new();
    let bundle = &family.leaf.bundle;
    let again = Bundle::from_parts(bundle.chain_pem().as_bytes(), Some(bundle.key_pem().unwrap().as_bytes()))
        .unwrap();
    assert_eq!(again.chain(), bundle.chain());
    assert_eq!(bundle.chain_pem(), family.leaf.chain_pem);
}

#[test]
fn the_key_of_another_certificate_is_refused() {
    let (a, b) = (identity("a"), identity("b"));
    let (error, text) = refusal(Bundle::from_parts(a.chain_pem.as_bytes(), Some(b.key_pem.as_bytes())));
    assert!(matches!(error, BundleError::KeyMismatch { .. }), "{error:?}");
    assert!(text.contains("CN=a") && text.contains(&a.bundle.facts().spki_sha256), "{text}");
    assert!(text.contains(&b.bundle.facts().spki_sha256), "{text}");
}

#[test]
fn two_different_keys_are_ambiguous_but_the_same_key_twice_is_not() {
    let (a, b) = (identity("a"), identity("b"));
    let with_own = format!("{}{}", a.chain_pem, *a.key_pem);
    assert!(Bundle::from_parts(with_own.as_bytes(), Some(a.key_pem.as_bytes())).is_ok());
    let (error, _) = refusal(Bundle::from_parts(with_own.as_bytes(), Some(b.key_pem.as_bytes())));
    assert_eq!(error, BundleError::SeveralKeys { count: 2 });
}

#[test]
fn ca_certificates_without_a_key_are_a_trust_bundle_in_any_order() {
    let (a, b) = (Family::new().root, Family::new().intermediate);
    let bundle = Bundle::from_pem(format!("{}{}", a.chain_pem, b.chain_pem).as_bytes()).unwrap();
    assert_eq!(bundle.chain().len(), 2);
}

#[test]
fn validity_is_judged_by_the_clock_that_is_passed_in() {
    let bundle = identity("a").bundle;
    assert_eq!(bundle.check_validity(now()), Ok(()));
    assert_eq!(bundle.check_validity(now() + days(365)), Ok(()));
    let expired = bundle.check_validity(now() + days(366)).unwrap_err();
    let since = Timestamp::from(now() + days(365));
    assert_eq!(expired, BundleError::Expired { position: 1, subject: "CN=a".to_owned(), since });
    assert!(expired.to_string().contains("2031-01-01T00:00:00Z"), "{expired}");
    let early = bundle.check_validity(now() - days(1)).unwrap_err();
    assert!(matches!(early, BundleError::NotYetValid { position: 1, .. }), "{early:?}");
    assert!(early.to_string().contains("check this machine's clock"), "{early}");
}

#[test]
fn what_is_no_certificate_says_what_it_is() {
    let made = identity("a");
    let request = csr(&GenerateRequest::new("a")).unwrap();
    let damaged = made.chain_pem.replace("MII", "M!I");
    let cut = &made.chain_pem[..made.chain_pem.len() / 2];
    let wrong = material_pem("CERTIFICATE", b"hello");
    for (input, message) in [
        ("", "it is empty"),
        (" \n ", "it is empty"),
        ("hello", "neither PEM"),
        (&damaged, "damaged"),
        (cut, "-----END CERTIFICATE----- is missing"),
        ("-----BEGIN CERTIFICATE---\n", "does not end with five dashes"),
        (&wrong, "certificate 1 cannot be read"),
        (&made.key_pem, "it holds no certificate, but: PRIVATE KEY"),
        (&request.csr_pem, "send the request to a CA"),
        ("-----BEGIN PKCS7-----\nMAA=\n-----END PKCS7-----\n", "holds no certificates, or is damaged"),
        ("-----BEGIN TRUSTED CERTIFICATE-----\nMAA=\n-----END TRUSTED CERTIFICATE-----\n", "`openssl x509"),
    ] {
        let (error, text) = refusal(Bundle::from_pem(input.as_bytes()));
        assert!(text.contains(message), "{error:?}: {text}");
    }
    let (_, text) = refusal(Bundle::from_parts(made.chain_pem.as_bytes(), Some(made.chain_pem.as_bytes())));
    assert!(text.contains("no private key, but: CERTIFICATE"), "{text}");
    let trailing = [made.bundle.chain()[0].as_ref(), b"x"].concat();
    assert!(matches!(
        refusal(Bundle::from_pem(&trailing)).0,
        BundleError::NotACertificate { position: 1, .. }
    ));
}

fn material_pem(label: &str, der: &[u8]) -> String {
    crate::certs::encode::pem(label, der).to_string()
}

#[test]
fn a_damaged_key_is_refused() {
    let made = identity("a");
    let mut der = made.bundle.key().unwrap().secret_der().to_vec();
    let middle = der.len() / 2;
    der[middle..].fill(0);
    let key = material_pem("PRIVATE KEY", &der);
    let (error, _) = refusal(Bundle::from_parts(made.chain_pem.as_bytes(), Some(key.as_bytes())));
    assert!(matches!(error, BundleError::KeyUnsupported { .. }), "{error:?}");
}

#[test]
fn trust_is_every_certificate_and_no_key() {
    let (a, b) = (identity("a"), identity("b"));
    let text = format!("{}{}{}", a.chain_pem, *a.key_pem, b.chain_pem);
    assert_eq!(parse::certificates(text.as_bytes(), None).unwrap().len(), 2);
    assert_eq!(parse::certificates(&a.bundle.chain()[0], None).unwrap().len(), 1);
    let no_certificate = parse::certificates(a.key_pem.as_bytes(), None).unwrap_err();
    assert!(matches!(no_certificate, BundleError::NoCertificate { .. }), "{no_certificate:?}");
    let broken = format!("{}{}", a.chain_pem, material_pem("CERTIFICATE", b"hello"));
    let broken = parse::certificates(broken.as_bytes(), None).unwrap_err();
    assert!(matches!(broken, BundleError::NotACertificate { position: 2, .. }), "{broken:?}");
}

#[test]
fn a_key_without_its_line_breaks_is_refused_and_never_shown() {
    let made = identity("a");
    let inner: Vec<&str> = made.key_pem.lines().filter(|line| !line.starts_with('-')).collect();
    let secret = &inner[0][30..60];
    for lost in ["", "\\n", " "] {
        let broken = made.key_pem.replace('\n', lost);
        let (_, said) = refusal(Bundle::from_parts(made.chain_pem.as_bytes(), Some(broken.as_bytes())));
        assert!(said.contains("were line breaks lost?"), "{said}");
        for text in [format!("{broken}\n{}", made.chain_pem), format!("{}{broken}\n", made.chain_pem), broken]
        {
            let as_key = Bundle::from_parts(made.chain_pem.as_bytes(), Some(text.as_bytes())).err();
            let as_both = Bundle::from_pem(text.as_bytes()).err();
            let as_trust = parse::certificates(text.as_bytes(), None).err();
            for error in [as_key, as_both, as_trust].into_iter().flatten() {
                assert!(!format!("{error:?} {error}").contains(secret), "{error}");
            }
        }
    }
}

#[test]
fn keys_never_show_in_debug_output() {
    let made = identity("a");
    assert!(matches!(**made.bundle.key().unwrap(), PrivateKeyDer::Pkcs8(_)));
    let text = format!("{:?}", made.bundle);
    assert!(text.contains("PrivateKey(…)"), "{text}");
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Bundle::from_pem(&bytes);
        let _ = parse::certificates(&bytes, None);
    }

    #[test]
    fn no_change_of_a_byte_makes_the_reader_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        use std::sync::OnceLock;
        static GOOD: OnceLock<(Vec<u8>, String)> = OnceLock::new();
        let (der, text) = GOOD.get_or_init(|| {
            let made = identity("a");
            (made.bundle.chain()[0].to_vec(), format!("{}{}", made.chain_pem, *made.key_pem))
        });
        let mut der = der.clone();
        let place = at.index(der.len());
        der[place] = byte;
        let _ = Bundle::from_pem(&der);
        let mut text = text.clone().into_bytes();
        let place = at.index(text.len());
        text[place] = byte;
        let _ = Bundle::from_pem(&text);
    }
}
