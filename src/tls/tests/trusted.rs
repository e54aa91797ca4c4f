//! What vouches for a peer: revocation lists by issuer, key, scope and time; anchors in their time; exact trust first.

use std::time::Duration;

use rcgen::{
    CertificateRevocationListParams, CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope,
    ExtendedKeyUsagePurpose, KeyIdMethod, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateRevocationListDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use time::OffsetDateTime;

use super::*;

const DAY: i64 = 86_400;
/// The time of these tests, in seconds since 1970.
const NOW: i64 = 1_800_000_000;
const SERIAL: u64 = 0x80_4e;

fn day(offset: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(NOW + offset * DAY).unwrap()
}

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(NOW as u64))
}

/// An authority with these usages that lives from the one day to the other.
fn authority(usages: &[KeyUsagePurpose], from: i64, until: i64) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "One Name");
    params.key_usages = usages.to_vec();
    (params.not_before, params.not_after) = (day(from), day(until));
    let key = KeyPair::generate().unwrap();
    let der = params.self_signed(&key).unwrap().der().clone();
    // Lists of an authority without cRLSign are made too: rcgen asks the issuer's own parameters.
    params.key_usages = Vec::new();
    Authority { der, issuer: Issuer::new(params, key) }
}

fn leaf(authority: &Authority) -> CertificateDer<'static> {
    let mut params = params(&[NAME]);
    params.serial_number = Some(SerialNumber::from(SERIAL));
    (params.not_before, params.not_after) = (day(-9), day(9));
    authority.leaf(&PKCS_ECDSA_P256_SHA256, params).0.remove(0)
}

/// A list from the one day to the other.
fn list(
    authority: &Authority,
    (from, until): (i64, i64),
    number: u64,
    revokes: bool,
    scope: Option<CrlScope>,
) -> CertificateRevocationListDer<'static> {
    let entry = RevokedCertParams {
        serial_number: SerialNumber::from(SERIAL),
        revocation_time: day(from),
        reason_code: None,
        invalidity_date: None,
    };
    let point = |scope| CrlIssuingDistributionPoint {
        distribution_point: CrlDistributionPoint { uris: vec!["http://crl.test/".to_owned()] },
        scope: Some(scope),
    };
    let params = CertificateRevocationListParams {
        this_update: day(from),
        next_update: day(until),
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: scope.map(point),
        revoked_certs: if revokes { vec![entry] } else { Vec::new() },
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(&authority.issuer).unwrap().der().clone()
}

fn client_verifier(
    anchors: TrustAnchors,
    lists: Vec<CertificateRevocationListDer<'static>>,
) -> Result<Arc<ClientVerifier>, TrustError> {
    let lists = RevocationLists::build(lists).map_err(TrustError::BadRevocationList)?;
    ClientVerifier::new(anchors, Arc::new(lists), (Demand::Required, ClientUsage::Client))
}

/// The verdicts of both directions in words, which must be the same.
fn verdict(
    anchors: &TrustAnchors,
    lists: &[CertificateRevocationListDer<'static>],
    leaf: &CertificateDer<'static>,
) -> String {
    let backends = BackendVerifier::new(anchors.clone(), lists.to_vec(), [], RsaBits::default()).unwrap();
    let clients = client_verifier(anchors.clone(), lists.to_vec()).unwrap();
    let name = ServerName::try_from(NAME).unwrap();
    let backend = backends.verify_server_cert(leaf, &[], &name, &[], now()).err();
    let client = clients.verify_client_cert(leaf, &[], now()).err();
    let said = |error: Option<rustls::Error>| {
        error.map_or_else(|| "accepted".to_owned(), |error| HandshakeError::from(error).to_string())
    };
    let (backend, client) = (said(backend), said(client));
    assert_eq!(backend, client);
    backend
}

#[test]
fn the_newest_list_of_the_issuers_key_in_its_time_counts_in_any_order() {
    let (ours, other) = (authority(&[], -99, 99), authority(&[], -99, 99));
    let leaf = leaf(&ours);
    let anchors = TrustAnchors::build([ours.der.clone(), other.der.clone()]).unwrap();
    let all = |authority, time, number, revokes| list(authority, time, number, revokes, None);
    let (old, new) = (all(&ours, (-5, 25), 1, false), all(&ours, (-1, 30), 2, true));
    let cases: [(&str, Vec<_>, &str); 13] = [
        ("older, and newer that revokes", vec![old.clone(), new.clone()], "is revoked"),
        ("released since", vec![all(&ours, (-5, 25), 1, true), all(&ours, (-1, 30), 2, false)], "accepted"),
        ("twice the same", vec![old.clone(), old.clone()], "accepted"),
        ("ended beside a good one", vec![all(&ours, (-30, -1), 1, true), old.clone()], "accepted"),
        (
            "ended though its number is higher",
            vec![all(&ours, (-30, -1), 9, false), new.clone()],
            "is revoked",
        ),
        ("ended alone", vec![all(&ours, (-30, -1), 1, false)], "was due to be replaced"),
        ("not yet in its time", vec![all(&ours, (1, 30), 9, false), new.clone()], "is revoked"),
        ("not yet in its time, alone", vec![all(&ours, (1, 30), 9, false)], "no revocation list covers"),
        ("of another key of this name", vec![all(&other, (-1, 30), 9, true), old.clone()], "accepted"),
        ("another key, and revoked", vec![all(&other, (0, 30), 9, false), new.clone()], "is revoked"),
        ("another key alone", vec![all(&other, (-1, 30), 9, false)], "no revocation list covers"),
        ("one number, two dates", vec![all(&ours, (-5, 25), 2, false), new.clone()], "is revoked"),
        ("one date and number", vec![all(&ours, (-1, 30), 2, false), new.clone()], "is revoked"),
    ];
    for (what, mut lists, right) in cases {
        for order in ["as written", "reversed"] {
            let said = verdict(&anchors, &lists, &leaf);
            assert!(said.contains(right), "{what}, {order}: {said}");
            lists.reverse();
        }
    }
}

#[test]
fn a_list_for_authorities_says_nothing_of_other_certificates() {
    let ours = authority(&[], -99, 99);
    let mut with_point = params(&[NAME]);
    with_point.serial_number = Some(SerialNumber::from(SERIAL));
    (with_point.not_before, with_point.not_after) = (day(-9), day(9));
    with_point.crl_distribution_points =
        vec![CrlDistributionPoint { uris: vec!["http://crl.test/".to_owned()] }];
    let pointed = ours.leaf(&PKCS_ECDSA_P256_SHA256, with_point).0.remove(0);
    let anchors = ours.trust();
    let users = list(&ours, (-5, 25), 1, true, Some(CrlScope::UserCertsOnly));
    let authorities = list(&ours, (-1, 25), 2, false, Some(CrlScope::CaCertsOnly));
    let says = |lists: &[_], leaf| verdict(&anchors, lists, leaf);
    assert!(says(&[users.clone(), authorities.clone()], &pointed).contains("is revoked"));
    assert!(says(&[authorities.clone(), users.clone()], &pointed).contains("is revoked"));
    assert!(says(&[authorities], &pointed).contains("no revocation list covers"));
    let elsewhere = leaf(&ours);
    assert!(says(&[users], &elsewhere).contains("no revocation list covers"), "it names no such point");
}

#[test]
fn an_authority_without_crl_sign_signs_no_lists() {
    let ours = authority(&[KeyUsagePurpose::KeyCertSign], -99, 99);
    let lists = [list(&ours, (-5, 25), 1, false, None)];
    assert!(verdict(&ours.trust(), &lists, &leaf(&ours)).contains("its keyUsage has no cRLSign"));
    let both = authority(&[KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign], -99, 99);
    let lists = [list(&both, (-5, 25), 1, false, None)];
    assert_eq!(verdict(&both.trust(), &lists, &leaf(&both)), "accepted");
}

#[test]
fn an_authority_out_of_its_time_or_without_key_cert_sign_does_not_vouch() {
    let said = |authority: &Authority| verdict(&authority.trust(), &[], &leaf(authority));
    let ended = authority(&[], -99, -1);
    assert!(said(&ended).contains("One Name that vouches for it has expired"), "{}", said(&ended));
    assert!(said(&authority(&[], 1, 99)).contains("is not valid yet"));
    assert!(said(&authority(&[KeyUsagePurpose::CrlSign], -9, 9)).contains("does not include keyCertSign"));
    assert_eq!(said(&authority(&[], -9, 9)), "accepted");

    // The same key and name, made anew: one of the two is in its time.
    let key = KeyPair::generate().unwrap();
    let made = |from: i64, until: i64| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params.not_before, params.not_after) = (day(from), day(until));
        let der = params.self_signed(&key).unwrap().der().clone();
        (der, params)
    };
    let ((old, _), (new, params)) = (made(-99, -1), made(-9, 99));
    let renewed = Authority { der: new.clone(), issuer: Issuer::new(params, key) };
    let leaf = leaf(&renewed);
    let anchors = TrustAnchors::build([old, new]).unwrap();
    assert_eq!(verdict(&anchors, &[], &leaf), "accepted");
}

#[test]
fn an_authority_beside_it_takes_nothing_from_a_certificate_that_is_trusted_itself() {
    let (issuer, stranger) = (authority(&[], -99, -1), authority(&[], -99, 99));
    for usage in [ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth] {
        let mut params = params(&[NAME]);
        params.extended_key_usages = vec![usage];
        params.serial_number = Some(SerialNumber::from(SERIAL));
        (params.not_before, params.not_after) = (day(-9), day(9));
        let exact = issuer.leaf(&PKCS_ECDSA_P256_SHA256, params).0.remove(0);
        for beside in [vec![], vec![stranger.der.clone()], vec![issuer.der.clone()]] {
            let anchors = TrustAnchors::build([exact.clone()].into_iter().chain(beside)).unwrap();
            assert_eq!(verdict(&anchors, &[], &exact), "accepted");
        }
        let anchors = TrustAnchors::build([exact.clone(), issuer.der.clone()]).unwrap();
        let revoking = [list(&issuer, (-5, 25), 1, true, None)];
        assert!(
            verdict(&anchors, &revoking, &exact).contains("is revoked"),
            "a list that names it still counts"
        );
    }
}

#[test]
fn names_that_do_not_fit_into_a_certificate_request_are_left_out() {
    let mut anchors = TrustAnchors::new();
    let key = KeyPair::generate().unwrap();
    for number in 0..800 {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        let name = format!("Authority {number:4} {}", "of a long name ".repeat(4));
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        anchors.add(params.self_signed(&key).unwrap().der().clone()).unwrap();
        if number == 99 {
            let verifier = client_verifier(anchors.clone(), Vec::new());
            assert_eq!(verifier.unwrap().root_hint_subjects().len(), 100);
        }
    }
    assert!(!anchors.hints_fit());
    let verifier = client_verifier(anchors, Vec::new()).unwrap();
    assert!(verifier.root_hint_subjects().is_empty());
}
