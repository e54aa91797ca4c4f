//! When a successor is due, and which side makes it.

use std::time::Duration;

use super::{Family, days, now};
use crate::certs::generate::{GenerateRequest, KeyType, Usage, csr, self_signed};
use crate::certs::renewal::{Reason, Renewal, renewal};
use crate::certs::store::{Meta, Origin, Store};
use crate::certs::time::Timestamp;

const BEFORE: Duration = Duration::from_secs(30 * 86_400);

#[test]
fn a_successor_is_due_some_days_before_the_end_and_waits_once_it_is_staged() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let meta = |origin, now| Meta { description: None, origin, now };
    let made = self_signed(&GenerateRequest::new("a"), now()).unwrap();
    let decide = |store: &Store, at| renewal(&store.describe("a", at).unwrap(), at, BEFORE);
    store.create("a", &made.bundle, &meta(Origin::Generated, now())).unwrap();

    let due = now() + days(335);
    assert_eq!(decide(&store, now()), Renewal::NotBefore(Timestamp::from(due)));
    assert_eq!(decide(&store, due - Duration::from_secs(1)), Renewal::NotBefore(Timestamp::from(due)));
    assert_eq!(decide(&store, due), Renewal::Stage);
    assert_eq!(decide(&store, now() + days(400)), Renewal::Stage, "and all the more after the end");

    let next = GenerateRequest::like(&made.bundle).unwrap();
    assert_eq!(next, GenerateRequest { sans: vec!["a".parse().unwrap()], ..GenerateRequest::new("a") });
    let next = self_signed(&next, due).unwrap();
    store.stage("a", &next.bundle, &meta(Origin::Generated, due)).unwrap();
    assert_eq!(decide(&store, now()), Renewal::NotBefore(Timestamp::from(due)), "staged early, by a person");
    assert_eq!(decide(&store, due), Renewal::Staged { generation: 2, unattended: true });
    store.activate("a", None, due).unwrap();
    assert_eq!(decide(&store, due), Renewal::NotBefore(Timestamp::from(due + days(335))));
    store.rollback("a", due).unwrap();
    let staged = Renewal::Staged { generation: 2, unattended: false };
    assert_eq!(decide(&store, due), staged, "a person has rolled back from it");
}

#[test]
fn what_a_person_staged_or_asked_for_is_neither_replaced_nor_activated() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let meta = |origin| Meta { description: None, origin, now: now() };
    let made = self_signed(&GenerateRequest::new("a"), now()).unwrap();
    let short = self_signed(&GenerateRequest { days: 90, ..GenerateRequest::new("a") }, now()).unwrap();
    let at = now() + days(360);
    let decide = |name: &str| renewal(&store.describe(name, at).unwrap(), at, BEFORE);
    let longer = |request| self_signed(&GenerateRequest { days: 900, ..request }, now()).unwrap().bundle;
    let renamed = longer(GenerateRequest { sans: vec!["b".parse().unwrap()], ..GenerateRequest::new("a") });
    let other_key = longer(GenerateRequest { key_type: KeyType::EcdsaP384, ..GenerateRequest::new("a") });
    for (name, bundle, origin) in [
        ("brought", &made.bundle, Origin::Imported),
        ("short", &short.bundle, Origin::Generated),
        ("renamed", &renamed, Origin::Generated),
        ("other-key", &other_key, Origin::Generated),
    ] {
        store.create(name, &made.bundle, &meta(Origin::Generated)).unwrap();
        store.stage(name, bundle, &meta(origin)).unwrap();
        assert_eq!(decide(name), Renewal::Staged { generation: 2, unattended: false }, "{name}");
    }
    store.create("asked", &made.bundle, &meta(Origin::Generated)).unwrap();
    let request = csr(&GenerateRequest::new("a")).unwrap();
    store.request("asked", &request, "CN=a", &meta(Origin::Generated), false).unwrap();
    assert_eq!(decide("asked"), Renewal::Bring(Reason::Requested));
}

#[test]
fn what_others_made_others_renew() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let family = Family::new();
    for (name, bundle, origin, reason) in [
        ("signed", &family.leaf.bundle, Origin::Generated, Reason::SignedByCa),
        ("brought", &family.leaf.bundle, Origin::Imported, Reason::Imported),
    ] {
        store.create(name, bundle, &Meta { description: None, origin, now: now() }).unwrap();
        let at = now() + days(360);
        assert_eq!(renewal(&store.describe(name, at).unwrap(), at, BEFORE), Renewal::Bring(reason));
    }
}

#[test]
fn a_short_validity_is_renewed_in_its_last_third() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let made = self_signed(&GenerateRequest { days: 3, ..GenerateRequest::new("a") }, now()).unwrap();
    store
        .create("a", &made.bundle, &Meta { description: None, origin: Origin::Generated, now: now() })
        .unwrap();
    let decide = |at| renewal(&store.describe("a", at).unwrap(), at, BEFORE);
    assert!(matches!(decide(now() + days(1)), Renewal::NotBefore(_)));
    assert_eq!(decide(now() + days(2)), Renewal::Stage);
}

#[test]
fn a_successor_is_the_same_but_for_its_key_and_time() {
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
        let first = self_signed(&request, now()).unwrap();
        let next = GenerateRequest::like(&first.bundle).unwrap();
        assert_eq!(next, request);
        let second = self_signed(&next, now() + days(80)).unwrap();
        let (old, new) = (first.bundle.facts(), second.bundle.facts());
        assert_eq!((&old.subject, &old.sans, &old.usages), (&new.subject, &new.sans, &new.usages));
        assert!(new.not_after > old.not_after && old.spki_sha256 != new.spki_sha256);
    }
}
