//! Which identity is presented, and that a swap is seen by the next handshake.

use super::*;
use crate::tls::handshake::ClientAuth;

/// The name and generation of what a server presents to a client that asks for `asked`.
fn presented(config: &Arc<ServerConfig>, asked: &str) -> (String, u64) {
    // Trust in every leaf is beside the point here, so the client's own verdict is not looked at.
    let handshake = Handshake::client(client_config(&client_policy()).unwrap(), name(asked)).unwrap();
    let mut client = End::new(handshake);
    let mut server = End::server(config);
    pump(&mut client, &mut server, usize::MAX);
    let facts = server.finish().facts;
    assert_eq!(facts.sni.as_deref(), Some(asked).filter(|_| !asked.starts_with("127")));
    let identity = facts.server_identity.unwrap();
    (identity.name().to_owned(), identity.generation())
}

#[test]
fn the_name_chooses_and_the_first_is_the_default() {
    let make = |label: &str, names: &[&str]| Published::new(PKI.authority.identity(label, 1, names));
    let bundles = vec![
        make("default", &["default.test", "127.0.0.1"]),
        make("wild", &["*.shop.test"]),
        make("exact", &["pay.shop.test"]),
    ];
    let resolver = Arc::new(ServerResolver::new(bundles));
    let config = server_config(&ServerPolicy { resolver, ..server_policy() }).unwrap();
    for (asked, expected) in [
        ("default.test", "default"),
        ("a.shop.test", "wild"),
        ("pay.shop.test", "exact"),
        ("127.0.0.1", "default"),
    ] {
        assert_eq!(presented(&config, asked).0, expected, "{asked}");
    }
}

#[test]
fn a_trailing_dot_in_the_server_name_or_the_certificate_changes_nothing() {
    let make = |label: &str, names: &[&str]| Published::new(PKI.authority.identity(label, 1, names));
    let resolver =
        ServerResolver::new(vec![make("default", &["other.test"]), make("asked", &["a.test", "*.b.test"])]);
    let choose = |name: &str| resolver.choose(Some(name), &[], 0).unwrap().name().to_owned();
    for asked in ["a.test", "a.test.", "A.TEST.", "x.b.test", "x.b.test.", "-x.b.test", "_x.b.test"] {
        assert_eq!(choose(asked), "asked", "{asked}");
    }
    for asked in ["a.test..", ".", "", "b.test.", ".b.test", "a..b.test", "y.x.b.test", "*.b.test.x"] {
        assert_eq!(choose(asked), "default", "{asked}");
    }
}

#[test]
fn a_generation_of_the_future_gives_way_to_a_previous_one_that_is_valid() {
    let year = |year: i32| rcgen::date_time_ymd(year, 1, 1);
    let make = |generation: u64, from: i32, to: i32| {
        let mut params = params(&[NAME]);
        (params.not_before, params.not_after) = (year(from), year(to));
        let (chain, key) = PKI.authority.leaf(&PKCS_ECDSA_P256_SHA256, params);
        Arc::new(Identity::new("x", generation, chain, key).unwrap())
    };
    let future = make(2, 2040, 2050);
    let cell = Published::new(future.renumbered(0));
    cell.store(Arc::clone(&future));
    let resolver = ServerResolver::new(vec![cell]);
    let presents =
        |at: i32| resolver.choose(Some(NAME), &[], year(at).unix_timestamp()).unwrap().generation();
    assert_eq!(presents(2030), 2, "there is no other");
    future.set_previous(Some(make(1, 2020, 2035)));
    assert_eq!([2019, 2030, 2036, 2041].map(presents), [2, 1, 2, 2]);
}

#[test]
fn a_swap_is_seen_by_the_next_handshake_names_included() {
    let first = Published::new(PKI.authority.identity("first", 1, &["first.test"]));
    let second = Published::new(PKI.authority.identity("second", 1, &["second.test"]));
    let resolver = Arc::new(ServerResolver::new(vec![first, second.clone()]));
    let config = server_config(&ServerPolicy { resolver, ..server_policy() }).unwrap();
    assert_eq!(presented(&config, "second.test"), ("second".into(), 1));
    second.store(Arc::new(PKI.authority.identity("second", 2, &["second.test", "first.test", "new.test"])));
    assert_eq!(presented(&config, "second.test"), ("second".into(), 2));
    assert_eq!(presented(&config, "new.test"), ("second".into(), 2));
    assert_eq!(presented(&config, "first.test"), ("first".into(), 1));
}

#[test]
fn a_handshake_presents_the_generation_that_it_was_bound_to() {
    let server = server_config(&demanding(&PKI.authority)).unwrap();
    let base = client_config(&client_policy()).unwrap();
    for generation in [1, 2] {
        let identity = Arc::new(PKI.authority.identity("client", generation, &["c.test"]));
        let store = Arc::new(Sessions::new(name(NAME), 4));
        let (client, server) = shake(&bind(&base, Some(Arc::clone(&identity)), store), &server);
        assert_eq!(server.facts.peer_certificates.unwrap(), identity.chain());
        let seen = client.facts.client_auth;
        assert!(matches!(seen, ClientAuth::Presented(it) if it.generation() == generation));
    }
}

#[test]
fn a_key_must_belong_to_its_certificate() {
    let (chain, key) = PKI.authority.leaf(&PKCS_ECDSA_P256_SHA256, params(&[NAME]));
    let (_, other) = PKI.authority.leaf(&PKCS_ECDSA_P256_SHA256, params(&[NAME]));
    assert_eq!(Identity::new("x", 1, chain.clone(), other).unwrap_err(), IdentityError::KeyMismatch);
    assert_eq!(Identity::new("x", 1, Vec::new(), key.clone_key()).unwrap_err(), IdentityError::EmptyChain);
    let rubbish = vec![CertificateDer::from(vec![1, 2, 3])];
    assert!(matches!(Identity::new("x", 1, rubbish, key.clone_key()), Err(IdentityError::BadCertificate(_))));
    let identity = Identity::new("x", 3, chain, key).unwrap();
    assert_eq!(format!("{identity:?}"), "Identity(x #3)");
    assert!(identity.not_before() < identity.not_after());
}
