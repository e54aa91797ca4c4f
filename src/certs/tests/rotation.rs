//! Generations from staged to retired, as the store keeps them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::{days, identity, now};
use crate::certs::bundle::{Bundle, BundleError};
use crate::certs::generate::{GenerateRequest, csr};
use crate::certs::store::write::Staged;
use crate::certs::store::{
    Activation, GenerationState, Meta, Origin, Rollback, StateError, Store, StoreError,
};

fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("certs")).unwrap();
    (folder, store)
}

fn meta() -> Meta {
    Meta { description: None, origin: Origin::Generated, now: now() }
}

fn stage(store: &Store, common_name: &str) -> Staged {
    store.stage("gateway", &identity(common_name).bundle, &meta()).unwrap()
}

fn active(store: &Store) -> (u32, String) {
    let got = store.get("gateway").unwrap();
    (got.generation, got.bundle.facts().subject.clone())
}

fn subject(found: Option<(u32, Bundle)>) -> Option<(u32, String)> {
    found.map(|(number, bundle)| (number, bundle.facts().subject.clone()))
}

/// The folders of generations that are on the disk.
fn kept(store: &Store) -> Vec<String> {
    let entries = fs::read_dir(store.path().join("gateway")).unwrap();
    let mut names: Vec<String> = entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != "certificate.toml");
    names.sort();
    names
}

#[test]
fn a_generation_is_staged_activated_replaced_and_retired() {
    let (_folder, store) = store();
    assert!(matches!(
        store.stage("gateway", &identity("one").bundle, &meta()),
        Err(StoreError::NotFound { .. })
    ));
    assert!(!store.path().exists(), "nothing was made for a name that does not exist");
    store.create("gateway", &identity("one").bundle, &meta()).unwrap();

    assert_eq!(stage(&store, "two"), Staged { generation: 2, replaced: None });
    assert_eq!(active(&store), (1, "CN=one".to_owned()));
    assert_eq!(subject(store.get_staged("gateway").unwrap()), Some((2, "CN=two".to_owned())));

    let activation = store.activate("gateway", Some(2), now()).unwrap();
    assert_eq!(activation, Activation { active: 2, previous: Some(1), retired: None });
    assert_eq!(active(&store), (2, "CN=two".to_owned()));
    assert_eq!(subject(store.get_previous("gateway").unwrap()), Some((1, "CN=one".to_owned())));
    assert!(store.get_staged("gateway").unwrap().is_none());

    assert_eq!(stage(&store, "three").generation, 3);
    let activation = store.activate("gateway", None, now()).unwrap();
    assert_eq!(activation, Activation { active: 3, previous: Some(2), retired: Some(1) });
    assert_eq!(kept(&store), ["000002", "000003"], "the key of a retired generation is gone");
    assert!(matches!(
        store.get_generation("gateway", 1),
        Err(StoreError::State(StateError::NoSuchGeneration { .. }))
    ));

    store.retire("gateway", 2).unwrap();
    assert_eq!(kept(&store), ["000003"]);
    let nothing = store.rollback("gateway", now()).unwrap_err();
    assert!(matches!(nothing, StoreError::State(StateError::NothingPrevious { .. })), "{nothing:?}");
    assert!(matches!(store.retire("gateway", 3), Err(StoreError::State(StateError::RetiresActive { .. }))));
    assert!(matches!(
        store.retire("gateway", 9),
        Err(StoreError::State(StateError::NoSuchGeneration { .. }))
    ));

    let described = store.describe("gateway", now()).unwrap();
    let states: Vec<_> = described.generations.iter().map(|it| (it.number, it.state)).collect();
    use GenerationState::{Active, Retired};
    assert_eq!(states, [(3, Active), (2, Retired), (1, Retired)]);
    assert_eq!(described.generation(1).unwrap().subject(), "CN=one");
}

#[test]
fn a_rollback_stages_what_it_replaces_again() {
    let (_folder, store) = store();
    store.create("gateway", &identity("one").bundle, &meta()).unwrap();
    stage(&store, "two");
    store.activate("gateway", None, now()).unwrap();
    let back = store.rollback("gateway", now()).unwrap();
    assert_eq!(back, Rollback { active: 1, replaced: Some(2), staged_again: true });
    assert_eq!(active(&store), (1, "CN=one".to_owned()));
    assert_eq!(subject(store.get_staged("gateway").unwrap()), Some((2, "CN=two".to_owned())));
    let again = store.activate("gateway", Some(2), now()).unwrap();
    assert_eq!(again, Activation { active: 2, previous: Some(1), retired: None });

    // Unless a newer one waits there.
    stage(&store, "three");
    let back = store.rollback("gateway", now()).unwrap();
    assert_eq!(back, Rollback { active: 1, replaced: Some(2), staged_again: false });
    assert_eq!(subject(store.get_staged("gateway").unwrap()), Some((3, "CN=three".to_owned())));
    assert_eq!(subject(store.get_previous("gateway").unwrap()), Some((2, "CN=two".to_owned())));
    assert_eq!(kept(&store), ["000001", "000002", "000003"]);
}

#[test]
fn activate_takes_the_generation_that_was_meant_or_none() {
    let (_folder, store) = store();
    store.create("gateway", &identity("one").bundle, &meta()).unwrap();
    let nothing = store.activate("gateway", None, now()).unwrap_err();
    assert!(matches!(nothing, StoreError::State(StateError::NothingStaged { .. })), "{nothing:?}");
    stage(&store, "two");
    // Another one is staged after the trial of the second.
    assert_eq!(stage(&store, "three"), Staged { generation: 3, replaced: Some(2) });
    let other = store.activate("gateway", Some(2), now()).unwrap_err();
    assert!(
        matches!(other, StoreError::State(StateError::OtherStaged { wanted: 2, staged: 3, .. })),
        "{other:?}"
    );
    assert_eq!(active(&store).0, 1);
    assert_eq!(kept(&store), ["000001", "000003"]);
    // What ended while it waited is not activated.
    let late = store.activate("gateway", Some(3), now() + days(400)).unwrap_err();
    assert!(matches!(late, StoreError::Bundle { source: BundleError::Expired { .. }, .. }), "{late:?}");
}

#[test]
fn a_trial_belongs_to_the_generation_that_was_tried() {
    let (_folder, store) = store();
    store.create("gateway", &identity("one").bundle, &meta()).unwrap();
    stage(&store, "two");
    store.record_trial("gateway", 2, true, now()).unwrap();
    let trial = |store: &Store| store.describe("gateway", now()).unwrap().trial;
    assert!(trial(&store).is_some_and(|trial| trial.generation == 2 && trial.passed));
    // A bundle put beside it does not end its wait.
    store.put("gateway", &identity("in place").bundle, &meta()).unwrap();
    assert!(trial(&store).is_some());
    stage(&store, "four");
    assert!(trial(&store).is_none());
    store.record_trial("gateway", 2, true, now()).unwrap();
    assert!(trial(&store).is_none(), "the second is not staged any more");
}

#[test]
fn many_rotations_leave_three_generations_at_most_and_a_short_record() {
    let (_folder, store) = store();
    let made = identity("one").bundle;
    store.create("gateway", &made, &meta()).unwrap();
    for _ in 0..40 {
        store.stage("gateway", &made, &meta()).unwrap();
        store.activate("gateway", None, now()).unwrap();
    }
    assert_eq!(kept(&store), ["000040", "000041"]);
    let described = store.describe("gateway", now()).unwrap();
    assert_eq!(described.generations.len(), 2 + 16);
}

#[test]
fn a_name_that_is_taken_is_not_created_again() {
    let (_folder, store) = store();
    store.create("gateway", &identity("one").bundle, &meta()).unwrap();
    let taken = store.create("gateway", &identity("two").bundle, &meta()).unwrap_err();
    assert!(taken.to_string().contains("ringate cert stage gateway"), "{taken}");
    fs::write(store.path().join("gateway/certificate.toml"), "broken").unwrap();
    let taken = store.create("gateway", &identity("two").bundle, &meta()).unwrap_err();
    assert!(matches!(taken, StoreError::State(StateError::Exists { .. })), "{taken:?}");
}

#[test]
fn a_request_waits_with_its_key_for_the_certificate() {
    let (_folder, store) = store();
    let request = GenerateRequest::new("a.example");
    let made = csr(&request).unwrap();
    store.request("gateway", &made, "CN=a.example", &meta(), false).unwrap();
    let none = store.get("gateway").unwrap_err();
    assert!(none.to_string().contains("ringate cert import gateway --cert FILE"), "{none}");
    let described = store.describe("gateway", now()).unwrap();
    assert_eq!(described.request.unwrap().pem, made.csr_pem);
    assert_eq!(kept(&store), ["000001"]);
    let key = fs::metadata(store.path().join("gateway/000001/key.pem")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);

    // A second request would throw the key of the first away.
    let waits = store.request("gateway", &made, "CN=a.example", &meta(), false).unwrap_err();
    assert!(matches!(waits, StoreError::State(StateError::RequestWaits { .. })), "{waits:?}");
    // A certificate for another key does not fit.
    let other = identity("other").chain_pem;
    let imported = Meta { origin: Origin::Imported, ..meta() };
    let wrong = store.complete("gateway", other.as_bytes(), None, &imported).unwrap_err();
    assert!(matches!(wrong, StoreError::Bundle { source: BundleError::KeyMismatch { .. }, .. }), "{wrong:?}");
    assert_eq!(kept(&store), ["000001"], "the request still waits");

    store.retire("gateway", 1).unwrap();
    assert!(kept(&store).is_empty(), "given up, its key is gone");
}

#[test]
fn a_store_that_everybody_may_write_to_is_refused_and_other_open_folders_are_named() {
    let (_folder, store) = store();
    store.create("gateway", &identity("one").bundle, &meta()).unwrap();
    assert!(store.exposed().is_empty());
    let open = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    open(store.path(), 0o755);
    open(&store.path().join("gateway/000001"), 0o750);
    let found: Vec<String> = store.exposed().iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains(&format!("chmod 700 {}", store.path().display())), "{found:?}");
    assert!(found[1].contains("gateway/000001"), "{found:?}");
    open(store.path(), 0o777);
    let refused = Store::open(store.path()).unwrap_err();
    assert!(refused.to_string().contains("chmod 700"), "{refused}");
}

#[test]
fn a_writer_that_waits_in_vain_says_for_whom() {
    let (_folder, store) = store();
    store.create("gateway", &identity("one").bundle, &meta()).unwrap();
    let lock = fs::OpenOptions::new().write(true).open(store.path().join(".lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    fs::write(store.path().join(".lock"), "process 4711 (ringate)\n").unwrap();
    // Readers do not wait.
    assert_eq!(active(&store).0, 1);
    let store = store.with_patience(Duration::from_millis(50));
    let busy = store.set_description("gateway", "new").unwrap_err();
    assert!(busy.to_string().contains("process 4711 (ringate) holds the store's lock"), "{busy}");
}

#[test]
fn a_lock_that_is_a_link_is_not_followed() {
    let (folder, store) = store();
    fs::create_dir(store.path()).unwrap();
    let target = folder.path().join("precious");
    fs::write(&target, "precious").unwrap();
    std::os::unix::fs::symlink(&target, store.path().join(".lock")).unwrap();
    assert!(store.create("gateway", &identity("one").bundle, &meta()).is_err());
    fs::remove_file(store.path().join(".lock")).unwrap();
    fs::hard_link(&target, store.path().join(".lock")).unwrap();
    assert!(store.create("gateway", &identity("one").bundle, &meta()).is_err());
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
}

#[test]
fn what_is_written_for_people_survives_every_change() {
    let (_folder, store) = store();
    let described = Meta { description: Some("to orders".to_owned()), ..meta() };
    store.create("gateway", &identity("one").bundle, &described).unwrap();
    store.set_description("gateway", "to the orders service, \"prod\"\nsecond line").unwrap();
    stage(&store, "two");
    store.activate("gateway", None, now()).unwrap();
    let got = store.get("gateway").unwrap();
    assert_eq!(got.description, "to the orders service, \"prod\"\nsecond line");
    let described = store.describe("gateway", now()).unwrap();
    let json = serde_json::to_value(&described).unwrap();
    let newest = &json["generations"][0];
    for (key, value) in [
        ("state", json!("active")),
        ("subject", json!("CN=two")),
        ("issuer", json!("CN=two")),
        ("key_type", json!("ECDSA P-256")),
        ("key_bits", json!(256)),
        ("days_left", json!(365)),
        ("chain_length", json!(1)),
        ("has_key", json!(true)),
    ] {
        assert_eq!(newest[key], value, "{key}");
    }
    for key in ["sans", "serial", "not_before", "not_after", "sha256", "spki_sha256", "created", "activated"]
    {
        assert!(!newest[key].is_null(), "{key}");
    }
    assert!(!json.to_string().contains("PRIVATE KEY"));
}
