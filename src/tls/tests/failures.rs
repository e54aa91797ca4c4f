//! Handshakes that must fail, with the right words and the right alert on the wire.

use rcgen::date_time_ymd;
use rustls::{AlertDescription, CertificateError};

use super::*;
use crate::tls::error::{Fault, concerns_our_certificate};
use crate::tls::handshake::ClientAuth;

fn versions(tls12: bool, tls13: bool) -> Versions {
    Versions { tls12, tls13 }
}

/// Both results of a handshake that is expected to fail somewhere.
fn attempt(
    client: &ClientPolicy,
    server: &ServerPolicy,
    server_name: &str,
) -> (Result<State, HandshakeError>, Result<State, HandshakeError>) {
    let client = Handshake::client(client_config(client).unwrap(), name(server_name)).unwrap();
    let mut client = End::new(client);
    let mut server = End::server(&server_config(server).unwrap());
    pump(&mut client, &mut server, 1000);
    (client.result, server.result)
}

fn serving(identity: Identity) -> ServerPolicy {
    let resolver = Arc::new(ServerResolver::new(vec![Published::new(identity)]));
    ServerPolicy { resolver, ..server_policy() }
}

#[test]
fn a_certificate_for_another_name() {
    for versions in [versions(true, false), versions(false, true)] {
        let client = ClientPolicy { versions, ..client_policy() };
        let (ours, theirs) = attempt(&client, &server_policy(), "other.test");
        let error = ours.unwrap_err();
        assert!(matches!(
            error,
            HandshakeError::BadCertificate(CertificateError::NotValidForNameContext { .. })
        ));
        assert_eq!(error.fault(), Fault::Peer);
        let text = error.to_string();
        assert!(text.contains("not for other.test") && text.contains(NAME), "{text}");
        assert_eq!(theirs, Err(HandshakeError::PeerAlert(AlertDescription::BadCertificate)));
    }
}

#[test]
fn an_unknown_issuer() {
    for versions in [versions(true, false), versions(false, true)] {
        let client = ClientPolicy { versions, ..client_policy() };
        let stranger = Authority::new("Stranger");
        let (ours, theirs) = attempt(&client, &serving(stranger.identity("x", 1, &[NAME])), NAME);
        assert_eq!(ours, Err(HandshakeError::BadCertificate(CertificateError::UnknownIssuer)));
        assert_eq!(theirs, Err(HandshakeError::PeerAlert(AlertDescription::UnknownCA)));
    }
}

#[test]
fn an_expired_certificate_and_one_of_the_future() {
    for (from, to, words) in [(1990, 2001, "expired"), (2900, 3000, "not valid yet")] {
        let mut leaf = params(&[NAME]);
        leaf.not_before = date_time_ymd(from, 1, 1);
        leaf.not_after = date_time_ymd(to, 1, 1);
        let (chain, key) = PKI.authority.leaf(&PKCS_ECDSA_P256_SHA256, leaf);
        let identity = Identity::new("old", 1, chain, key).unwrap();
        let (ours, theirs) = attempt(&client_policy(), &serving(identity), NAME);
        let text = ours.unwrap_err().to_string();
        assert!(text.contains(words) && text.contains("days"), "{text}");
        assert_eq!(theirs, Err(HandshakeError::PeerAlert(AlertDescription::CertificateExpired)));
    }
}

#[test]
fn a_self_signed_certificate_is_trusted_exactly_and_checked_besides() {
    for authority in [false, true] {
        let make = |names: &[&str], to: i32| {
            let mut leaf = params(names);
            leaf.not_after = date_time_ymd(to, 1, 1);
            if authority {
                leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained); // as `openssl req -x509` does
            }
            let key = KeyPair::generate().unwrap();
            let der = leaf.self_signed(&key).unwrap().der().clone();
            (der.clone(), Identity::new("self", 1, vec![der], private_key(&key)).unwrap())
        };
        let trusting = |der: CertificateDer<'static>| {
            let anchors = TrustAnchors::build([der]).unwrap();
            let verifier = BackendVerifier::new(anchors, Vec::new(), [], RsaBits::default()).unwrap();
            ClientPolicy { verifier, ..client_policy() }
        };
        let (der, identity) = make(&[NAME], 3000);
        let (ours, theirs) = attempt(&trusting(der.clone()), &serving(identity), NAME);
        assert_eq!((ours, theirs), (Ok(State::Done), Ok(State::Done)));

        let (_, another) = make(&[NAME], 3000);
        let (ours, _) = attempt(&trusting(der), &serving(another), NAME);
        assert!(matches!(ours, Err(HandshakeError::BadCertificate(_))));

        let (der, identity) = make(&["wrong.test"], 3000);
        let (ours, _) = attempt(&trusting(der), &serving(identity), NAME);
        assert!(ours.unwrap_err().to_string().contains("not for backend.test"));

        let (der, identity) = make(&[NAME], 2001);
        let (ours, _) = attempt(&trusting(der), &serving(identity), NAME);
        let error = ours.unwrap_err();
        assert!(error.to_string().contains("expired"), "{error}");
    }
}

#[test]
fn pins_are_checked_besides_trust() {
    use aws_lc_rs::digest::{SHA256, digest};
    use x509_parser::prelude::{FromDer, X509Certificate};
    let leaf = PKI.ecdsa.load();
    let (_, parsed) = X509Certificate::from_der(&leaf.chain()[0]).unwrap();
    let pin: [u8; 32] = digest(&SHA256, parsed.public_key().raw).as_ref().try_into().unwrap();
    for (pins, good) in [(vec![[0; 32], pin], true), (vec![[0; 32]], false)] {
        let verifier =
            BackendVerifier::new(PKI.authority.trust(), Vec::new(), pins, RsaBits::default()).unwrap();
        let (ours, _) = attempt(&ClientPolicy { verifier, ..client_policy() }, &server_policy(), NAME);
        assert_eq!(ours.is_ok(), good);
        if let Err(error) = ours {
            assert!(error.to_string().contains("not among the pinned ones"), "{error}");
        }
    }
}

#[test]
fn a_refused_client_certificate_shows_after_the_handshake_in_tls13() {
    let stranger = Authority::new("Stranger");
    let (good, bad) = (PKI.client.load(), Arc::new(stranger.identity("x", 1, &["x.test"])));
    let cases = [
        (Some(bad), AlertDescription::UnknownCA),
        (None, AlertDescription::CertificateRequired),
        (Some(good), AlertDescription::CloseNotify),
    ];
    for (identity, alert) in cases {
        let mut client = End::client(&presenting(&client_policy(), identity));
        let mut server = End::server(&server_config(&demanding(&PKI.authority)).unwrap());
        pump(&mut client, &mut server, usize::MAX);
        let refused = server.result.is_err();
        let mut client = client.finish(); // a client that does not read believes in success
        if alert == AlertDescription::CloseNotify {
            assert!(!refused && client.receive(&[]).is_ok());
            assert!(matches!(&client.facts.client_auth, ClientAuth::Presented(it) if it.generation() == 7));
            let seen = server.finish().facts.peer_certificates.unwrap();
            assert_eq!(seen, PKI.client.load().chain());
        } else {
            assert!(refused && concerns_our_certificate(alert));
            assert_eq!(client.receive(&[]), Err(RecordError::PeerAlert(alert)));
        }
    }
}

#[test]
fn a_refused_client_certificate_fails_the_handshake_in_tls12() {
    let policy = ClientPolicy { versions: versions(true, false), ..client_policy() };
    let (ours, theirs) = attempt(&policy, &demanding(&PKI.authority), NAME);
    assert_eq!(theirs, Err(HandshakeError::NoCertificate));
    assert!(matches!(ours, Err(HandshakeError::PeerAlert(_))), "{ours:?}");
    let client = presenting(&policy, Some(PKI.client.load()));
    shake(&client, &server_config(&demanding(&PKI.authority)).unwrap());
}

#[test]
fn who_was_asked_for_a_certificate_is_known() {
    let server = server_config(&demanding(&PKI.authority)).unwrap();
    let mut client = End::client(&client_config(&client_policy()).unwrap());
    pump(&mut client, &mut End::server(&server), usize::MAX);
    assert!(matches!(client.finish().facts.client_auth, ClientAuth::AskedInVain));
    let (client, _) =
        shake(&client_config(&client_policy()).unwrap(), &server_config(&server_policy()).unwrap());
    assert!(matches!(client.facts.client_auth, ClientAuth::NotAsked));
}

#[test]
fn no_common_version_or_suite() {
    let client = ClientPolicy { versions: versions(true, false), ..client_policy() };
    let server = ServerPolicy { versions: versions(false, true), ..server_policy() };
    let (ours, theirs) = attempt(&client, &server, NAME);
    assert!(matches!(theirs, Err(HandshakeError::NoCommonVersion(_))), "{theirs:?}");
    assert_eq!(ours, Err(HandshakeError::PeerAlert(AlertDescription::ProtocolVersion)));

    let client = ClientPolicy { cipher_suites: Some(vec![CIPHER_SUITES[4]]), ..client_policy() };
    let server = serving(PKI.authority.identity("ecdsa", 1, &[NAME])); // an RSA suite needs an RSA key
    let (ours, theirs) = attempt(&client, &server, NAME);
    assert!(matches!(theirs, Err(HandshakeError::NoCommonCipher(_))), "{theirs:?}");
    assert_eq!(ours, Err(HandshakeError::PeerAlert(AlertDescription::HandshakeFailure)));
}

#[test]
fn alpn_is_negotiated_or_refused() {
    let h1 = || vec![b"http/1.1".to_vec()];
    let server = ServerPolicy { alpn: h1(), ..server_policy() };
    let client = client_config(&ClientPolicy { alpn: h1(), ..client_policy() }).unwrap();
    let (line, _) = shake(&client, &server_config(&server).unwrap());
    assert_eq!(line.facts.alpn.as_deref(), Some(&b"http/1.1"[..]));
    let (ours, theirs) =
        attempt(&ClientPolicy { alpn: vec![b"h2".to_vec()], ..client_policy() }, &server, NAME);
    assert_eq!(theirs, Err(HandshakeError::NoCommonProtocol));
    assert_eq!(ours, Err(HandshakeError::PeerAlert(AlertDescription::NoApplicationProtocol)));
}

#[test]
fn plain_text_on_either_side_is_named() {
    for (bytes, words) in [
        (&b"GET / HTTP/1.1\r\n"[..], "plain HTTP"),
        (b"HTTP/1.1 400 Bad Request", "plain HTTP"),
        (b"SSH-2.0-x", "\"SSH-2.0-x\""),
    ] {
        let mut server = End::server(&server_config(&server_policy()).unwrap());
        assert!(server.take(bytes).is_empty());
        let mut client = End::client(&client_config(&client_policy()).unwrap());
        client.take(&[]);
        client.take(bytes);
        for result in [server.result, client.result] {
            let text = result.unwrap_err().to_string();
            assert!(text.contains(words), "{text}");
        }
    }
}

#[test]
fn an_endless_handshake_is_cut() {
    let mut server = End::server(&server_config(&server_policy()).unwrap());
    // A ClientHello of nearly 64 KiB in records of one byte.
    server.take(&[22, 3, 1, 0, 4, 1, 0, 0xff, 0xf0]);
    for _ in 0..20_000 {
        server.take(&[22, 3, 1, 0, 1, 0]);
    }
    assert_eq!(server.result, Err(HandshakeError::TooLarge));
}

#[test]
fn a_bad_record_gets_its_alert() {
    let mut server = End::server(&server_config(&server_policy()).unwrap());
    let answer = server.take(&[22, 3, 1, 0, 5, 2, 0, 0, 1, 0]); // a ServerHello to a server
    assert!(matches!(server.result, Err(HandshakeError::PeerMisbehaved(_))), "{:?}", server.result);
    assert_eq!(answer[..6], [21, 3, 3, 0, 2, 2]);
}
