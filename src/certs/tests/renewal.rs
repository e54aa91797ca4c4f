//! When a successor is due, and who makes it.

use std::time::Duration;

use super::{Family, days, now};
use crate::certs::generate::{GenerateRequest, self_signed};
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
    assert_eq!(decide(&store, due), Renewal::Staged(2));
    store.activate("a", None, due).unwrap();
    assert_eq!(decide(&store, due), Renewal::NotBefore(Timestamp::from(due + days(335))));
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
