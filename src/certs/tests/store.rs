//! The store on a real disk: what it keeps, what it refuses, and what a crash leaves behind.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{days, identity, now};
use crate::certs::bundle::{Bundle, BundleError};
use crate::certs::store::{
    Exposed, KEYS_FOLDER, Meta, Origin, Store, StoreError, check_name, load_file, load_pair, load_trust,
    read_secret,
};
use crate::certs::time::Timestamp;

fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("certs")).unwrap();
    (folder, store)
}

fn meta() -> Meta {
    Meta { description: None, origin: Origin::Generated, now: now() }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_was_put_is_got() {
    let (_folder, store) = store();
    let made = identity("a");
    let described = Meta { description: Some("to orders".to_owned()), ..meta() };
    assert_eq!(store.put("gateway", &made.bundle, &described).unwrap(), 1);
    let got = store.get("gateway").unwrap();
    assert_eq!((got.name.as_str(), got.description.as_str(), got.generation), ("gateway", "to orders", 1));
    assert_eq!((got.created, got.origin, got.staged), (Timestamp::from(now()), Origin::Generated, None));
    assert_eq!(got.bundle.chain(), made.bundle.chain());
    assert_eq!(got.bundle.key().unwrap().secret_der(), made.bundle.key().unwrap().secret_der());
}

#[test]
fn putting_again_makes_the_next_generation_and_keeps_the_last() {
    let (_folder, store) = store();
    let (one, two) = (identity("one"), identity("two"));
    let first = Meta { description: Some("kept".to_owned()), ..meta() };
    store.put("gateway", &one.bundle, &first).unwrap();
    let later = Meta { now: now() + days(1), origin: Origin::Imported, ..meta() };
    assert_eq!(store.put("gateway", &two.bundle, &later).unwrap(), 2);
    let got = store.get("gateway").unwrap();
    assert_eq!((got.generation, got.description.as_str(), got.origin), (2, "kept", Origin::Imported));
    assert_eq!(got.created, Timestamp::from(now()));
    assert_eq!(got.generation_created, Timestamp::from(now() + days(1)));
    assert_eq!(got.bundle.facts().subject, "CN=two");
    assert_eq!(store.get_generation("gateway", 1).unwrap().facts().subject, "CN=one");
    let missing = store.get_generation("gateway", 7).unwrap_err();
    assert!(missing.to_string().ends_with("it has: 1, 2"), "{missing}");
}

#[test]
fn the_folder_is_one_that_a_human_can_read() {
    let (_folder, store) = store();
    let made = identity("a");
    store.put("gateway", &made.bundle, &meta()).unwrap();
    let folder = store.path().join("gateway");
    assert_eq!(names(store.path()), [".lock", "gateway"]);
    assert_eq!(names(&folder), ["000001", "certificate.toml"]);
    assert_eq!(names(&folder.join("000001")), ["chain.pem", "key.pem"]);
    assert_eq!(fs::read_to_string(folder.join("000001/chain.pem")).unwrap(), made.chain_pem);
    let sha256 = &made.bundle.facts().sha256;
    let expected = format!(
        "# Written by ringate; change it with `ringate cert`.\n\n\
         name = \"gateway\"\ncreated = \"2030-01-01T00:00:00Z\"\nactive = 1\nlast = 1\n\n\
         [[generation]]\nnumber = 1\ncreated = \"2030-01-01T00:00:00Z\"\norigin = \"generated\"\n\
         subject = \"CN=a\"\nnot_after = \"2031-01-01T00:00:00Z\"\nsha256 = \"{sha256}\"\n\
         activated = \"2030-01-01T00:00:00Z\"\n"
    );
    assert_eq!(fs::read_to_string(folder.join("certificate.toml")).unwrap(), expected);
}

#[test]
fn keys_and_folders_are_their_owners_alone() {
    let (_folder, store) = store();
    store.put("gateway", &identity("a").bundle, &meta()).unwrap();
    for folder in ["", "gateway", "gateway/000001"] {
        assert_eq!(mode(&store.path().join(folder)), 0o700, "{folder}");
    }
    assert_eq!(mode(&store.path().join("gateway/000001/key.pem")), 0o600);
    assert_eq!(mode(&store.path().join(".lock")), 0o600);
}

#[test]
fn a_key_that_others_may_read_is_refused_with_the_command_that_helps() {
    let (_folder, store) = store();
    store.put("gateway", &identity("a").bundle, &meta()).unwrap();
    let key = store.path().join("gateway/000001/key.pem");
    for exposed in [0o640, 0o604, 0o620] {
        fs::set_permissions(&key, Permissions::from_mode(exposed)).unwrap();
        let error = store.get("gateway").unwrap_err();
        assert!(
            matches!(&error, StoreError::Exposed(Exposed::Key { mode, .. }) if *mode == exposed),
            "{error:?}"
        );
        assert!(error.to_string().contains(&format!("chmod 600 {}", key.display())), "{error}");
    }
    fs::set_permissions(&key, Permissions::from_mode(0o400)).unwrap();
    assert!(store.get("gateway").is_ok());
}

#[test]
fn names_that_are_paths_or_unclear_are_refused() {
    for name in ["a", "0", "gateway-prod", "a.b_c", &"x".repeat(64)] {
        assert!(check_name(name).is_ok(), "{name}");
    }
    let long = "x".repeat(65);
    let (_folder, store) = store();
    for name in ["", ".", "..", ".tmp-a", "-a", "_a", "A", "a/b", "../a", "a\\b", "a b", "a\0", "ä", &long] {
        let invalid = |error: StoreError| matches!(error, StoreError::InvalidName { .. });
        assert!(invalid(store.get(name).unwrap_err()), "{name:?}");
        assert!(invalid(store.delete(name).unwrap_err()), "{name:?}");
        assert!(invalid(store.put(name, &identity("a").bundle, &meta()).unwrap_err()), "{name:?}");
    }
    let reserved = |error: StoreError| matches!(error, StoreError::ReservedName { .. });
    assert!(reserved(check_name("system").unwrap_err()), "it means the system's roots");
}

#[test]
fn the_folder_of_api_keys_is_no_certificate_and_is_not_deleted_as_one() {
    let (_folder, store) = store();
    let keys = store.path().join(KEYS_FOLDER);
    fs::create_dir_all(&keys).unwrap();
    fs::write(keys.join("partners.toml"), "").unwrap();
    let reserved = |error: StoreError| matches!(error, StoreError::ReservedName { .. });
    assert!(reserved(store.put(KEYS_FOLDER, &identity("a").bundle, &meta()).unwrap_err()));
    assert!(reserved(store.delete(KEYS_FOLDER).unwrap_err()));
    assert!(keys.join("partners.toml").exists());
}

#[test]
fn a_pipe_is_not_waited_for_but_where_a_user_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.pem");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    for error in [load_file(&pipe).unwrap_err(), load_trust(&pipe).unwrap_err()] {
        assert!(matches!(error, StoreError::NotAFile { .. }), "{error:?}");
    }
    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::write(pipe, "hello").unwrap()
    });
    assert_eq!(&read_secret(&pipe).unwrap()[..], b"hello");
    writer.join().unwrap();
}

#[test]
fn what_is_not_there_is_answered_with_what_is() {
    let (_folder, store) = store();
    let empty = store.get("gateway").unwrap_err();
    assert!(empty.to_string().contains("ringate cert import gateway"), "{empty}");
    assert!(!store.path().exists(), "reading makes no folder");
    for name in ["orders", "gateway", "gateway-prod"] {
        store.put(name, &identity("a").bundle, &meta()).unwrap();
    }
    let StoreError::NotFound { similar, .. } = store.get("gatway").unwrap_err() else {
        panic!("not found expected")
    };
    assert_eq!(similar, ["gateway", "gateway-prod", "orders"]);
}

#[test]
fn an_expired_bundle_is_not_put() {
    let (_folder, store) = store();
    let late = Meta { now: now() + days(400), ..meta() };
    let error = store.put("gateway", &identity("a").bundle, &late).unwrap_err();
    assert!(matches!(error, StoreError::Bundle { source: BundleError::Expired { .. }, .. }), "{error:?}");
    assert!(store.names().unwrap().is_empty());
}

#[test]
fn delete_removes_all_generations_and_the_name_may_be_used_again() {
    let (_folder, store) = store();
    store.put("gateway", &identity("a").bundle, &meta()).unwrap();
    store.put("gateway", &identity("b").bundle, &meta()).unwrap();
    store.delete("gateway").unwrap();
    assert_eq!(names(store.path()), [".lock"]);
    assert!(matches!(store.delete("gateway"), Err(StoreError::NotFound { .. })));
    assert_eq!(store.put("gateway", &identity("c").bundle, &meta()).unwrap(), 1);
}

#[test]
fn one_broken_certificate_does_not_hide_the_others() {
    let (_folder, store) = store();
    for name in ["a", "b", "c"] {
        store.put(name, &identity(name).bundle, &meta()).unwrap();
    }
    fs::write(store.path().join("b/000001/chain.pem"), "garbage").unwrap();
    fs::write(store.path().join("c/certificate.toml"), "name = 1").unwrap();
    fs::write(store.path().join("README.md"), "about").unwrap();
    fs::create_dir(store.path().join("notes")).unwrap();
    let listing = store.list().unwrap();
    assert_eq!(listing.certificates.iter().map(|stored| &stored.name).collect::<Vec<_>>(), ["a"]);
    assert_eq!(listing.broken.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["b", "c"]);
    let messages: Vec<String> = listing.broken.iter().map(|(_, error)| error.to_string()).collect();
    assert!(messages[0].contains("b/000001: it is neither PEM"), "{}", messages[0]);
    assert!(messages[1].contains("c/certificate.toml: "), "{}", messages[1]);
    store.delete("c").unwrap();
}

#[test]
fn a_record_that_contradicts_its_folder_is_refused() {
    let (_folder, store) = store();
    store.put("a", &identity("a").bundle, &meta()).unwrap();
    let path = store.path().join("a/certificate.toml");
    let good = fs::read_to_string(&path).unwrap();
    for (from, to, message) in [
        ("active = 1", "active = 9", "no [[generation]] with number 9"),
        ("name = \"a\"", "name = \"b\"", "names the certificate \"b\""),
        ("active = 1", "aktive = 1", "aktive"),
    ] {
        fs::write(&path, good.replace(from, to)).unwrap();
        let error = store.get("a").unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    fs::write(&path, good.replace("active = 1\n", "staged = 1\n")).unwrap();
    let staged = store.get("a").unwrap_err();
    assert!(staged.to_string().contains("ringate cert activate a"), "{staged}");
    assert!(store.get_generation("a", 1).is_ok());
}

#[test]
fn the_leavings_of_a_crash_are_ignored_and_the_next_open_or_write_removes_them() {
    let (_folder, store) = store();
    store.put("gateway", &identity("a").bundle, &meta()).unwrap();
    let folder = store.path().join("gateway");
    // A new certificate whose folder was not renamed yet, and one whose deletion was cut short.
    fs::create_dir_all(store.path().join(".tmp-other/000001")).unwrap();
    fs::write(store.path().join(".tmp-other/000001/key.pem"), "half a k").unwrap();
    // A generation half written, one complete but not committed, and a record half written.
    fs::create_dir(folder.join(".tmp-000002")).unwrap();
    fs::create_dir(folder.join("000002")).unwrap();
    fs::write(folder.join("000002/chain.pem"), "never committed").unwrap();
    fs::write(folder.join(".tmp-certificate.toml"), "name = \"gat").unwrap();
    // Someone's own file is not ours to remove.
    fs::write(folder.join("notes.txt"), "mine").unwrap();

    assert_eq!(store.names().unwrap(), ["gateway"]);
    assert_eq!(store.get("gateway").unwrap().generation, 1);
    assert_eq!(store.list().unwrap().certificates.len(), 1);

    // While another writer is at work, what looks like leavings may be its own.
    let busy = fs::File::open(store.path().join(".lock")).unwrap();
    rustix::fs::flock(&busy, rustix::fs::FlockOperation::LockExclusive).unwrap();
    Store::open(store.path()).unwrap();
    assert_eq!(names(store.path()), [".lock", ".tmp-other", "gateway"]);
    drop(busy);
    Store::open(store.path()).unwrap();
    assert_eq!(names(&folder), ["000001", "certificate.toml", "notes.txt"]);
    assert_eq!(names(store.path()), [".lock", "gateway"]);

    fs::create_dir_all(store.path().join(".tmp-other/000001")).unwrap();
    fs::create_dir(folder.join(".tmp-000002")).unwrap();

    assert_eq!(store.put("gateway", &identity("b").bundle, &meta()).unwrap(), 2);
    assert_eq!(store.get("gateway").unwrap().bundle.facts().subject, "CN=b");
    assert_eq!(names(&folder), ["000001", "000002", "certificate.toml", "notes.txt"]);
    assert_eq!(names(store.path()), [".lock", "gateway"]);
    assert_eq!(store.put("other", &identity("c").bundle, &meta()).unwrap(), 1);
}

#[test]
fn a_write_cut_at_any_step_leaves_the_old_state() {
    // Each step of `put` on an existing certificate, in order; the commit is left out.
    let steps: [fn(&Path); 4] = [
        |folder| fs::create_dir(folder.join(".tmp-000002")).unwrap(),
        |folder| fs::write(folder.join(".tmp-000002/chain.pem"), "new").unwrap(),
        |folder| fs::rename(folder.join(".tmp-000002"), folder.join("000002")).unwrap(),
        |folder| fs::write(folder.join(".tmp-certificate.toml"), "active = 2").unwrap(),
    ];
    for cut in 0..=steps.len() {
        let (_folder, store) = store();
        store.put("gateway", &identity("old").bundle, &meta()).unwrap();
        steps[..cut].iter().for_each(|step| step(&store.path().join("gateway")));
        let got = store.get("gateway").unwrap();
        assert_eq!(
            (got.generation, got.bundle.facts().subject.as_str()),
            (1, "CN=old"),
            "cut after {cut} steps"
        );
        assert_eq!(store.put("gateway", &identity("new").bundle, &meta()).unwrap(), 2);
        assert_eq!(store.get("gateway").unwrap().bundle.facts().subject, "CN=new");
    }
}

#[test]
fn a_folder_of_someone_elses_is_not_overwritten() {
    let (_folder, store) = store();
    fs::create_dir_all(store.path().join("mine")).unwrap();
    fs::write(store.path().join("mine/thesis.txt"), "years of work").unwrap();
    let error = store.put("mine", &identity("a").bundle, &meta()).unwrap_err();
    assert!(matches!(error, StoreError::InTheWay { .. }), "{error:?}");
    assert!(matches!(store.delete("mine"), Err(StoreError::NotFound { .. })));
    assert!(store.path().join("mine/thesis.txt").exists());
}

#[test]
fn writers_at_once_lose_nothing_and_readers_always_see_a_whole_certificate() {
    const WRITERS: usize = 4;
    const PUTS: usize = 8;
    let (_folder, store) = store();
    let made: Vec<Bundle> = (0..WRITERS).map(|writer| identity(&format!("w{writer}")).bundle).collect();
    store.put("gateway", &made[0], &meta()).unwrap();
    let mut numbers: Vec<u32> = std::thread::scope(|scope| {
        let writers: Vec<_> = made
            .iter()
            .map(|bundle| {
                let store = &store;
                let put = move |_| store.put("gateway", bundle, &meta()).unwrap();
                scope.spawn(move || (0..PUTS).map(put).collect::<Vec<u32>>())
            })
            .collect();
        while !writers.iter().all(|writer| writer.is_finished()) {
            store.get("gateway").unwrap();
        }
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    numbers.sort_unstable();
    let last = u32::try_from(WRITERS * PUTS + 1).unwrap();
    assert_eq!(numbers, (2..=last).collect::<Vec<u32>>());
    assert_eq!(store.get("gateway").unwrap().generation, last);
    let previous = store.get_previous("gateway").unwrap().unwrap().0;
    assert_eq!(previous, last - 1);
    assert_eq!(
        names(&store.path().join("gateway")),
        [&format!("{previous:06}"), &format!("{last:06}"), "certificate.toml"]
    );
}

#[test]
fn two_writers_creating_one_name_make_two_generations() {
    let (_folder, store) = store();
    let made = identity("a").bundle;
    let mut numbers: Vec<u32> = std::thread::scope(|scope| {
        let put = || store.put("gateway", &made, &meta()).unwrap();
        let writers = [scope.spawn(put), scope.spawn(put)];
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2]);
}

#[test]
fn a_file_is_no_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("certs");
    fs::write(&path, "").unwrap();
    assert!(matches!(Store::open(&path), Err(StoreError::NotAFolder { .. })));
}

// Files outside the store

fn file(folder: &TempDir, name: &str, content: impl AsRef<[u8]>, mode: u32) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn one_file_or_a_pair_is_loaded_and_exposed_keys_are_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let made = identity("a");
    let both = file(&folder, "both.pem", format!("{}{}", made.chain_pem, *made.key_pem), 0o640);
    let cert = file(&folder, "cert.pem", &made.chain_pem, 0o644);
    let key = file(&folder, "key.pem", made.key_pem.as_bytes(), 0o600);

    let loaded = load_file(&both).unwrap();
    assert!(loaded.bundle.key().is_some());
    assert!(loaded.exposed[0].to_string().contains("chmod 600"));
    let loaded = load_file(&cert).unwrap();
    assert!(loaded.bundle.key().is_none() && loaded.exposed.is_empty());
    let loaded = load_pair(&cert, &key).unwrap();
    assert!(loaded.bundle.key().is_some() && loaded.exposed.is_empty());
}

#[test]
fn errors_name_the_file_that_is_at_fault() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (identity("a"), identity("b"));
    let cert = file(&folder, "cert.pem", &a.chain_pem, 0o644);
    let key = file(&folder, "key.pem", b.key_pem.as_bytes(), 0o600);
    let junk = file(&folder, "junk.pem", "junk", 0o600);
    let large = file(&folder, "large.pem", vec![b'x'; (1 << 20) + 1], 0o600);
    let missing = folder.path().join("missing.pem");
    let begins = |error: StoreError, path: &Path| {
        let text = error.to_string();
        assert!(text.starts_with(path.to_str().unwrap()), "{text}");
        text
    };
    begins(load_file(&missing).unwrap_err(), &missing);
    begins(load_file(folder.path()).unwrap_err(), folder.path());
    begins(load_file(&large).unwrap_err(), &large);
    begins(load_pair(&junk, &key).unwrap_err(), &junk);
    begins(load_pair(&cert, &junk).unwrap_err(), &junk);
    begins(load_trust(&junk).unwrap_err(), &junk);
    let text = begins(load_pair(&cert, &key).unwrap_err(), &cert);
    assert!(text.contains("key.pem: the private key does not belong"), "{text}");
}

#[test]
fn trust_files_hold_any_number_of_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (identity("a"), identity("b"));
    let several = file(&folder, "several.pem", format!("{}{}", a.chain_pem, b.chain_pem), 0o644);
    let der = file(&folder, "one.der", &a.bundle.chain()[0], 0o644);
    assert_eq!(load_trust(&several).unwrap(), [a.bundle.chain(), b.bundle.chain()].concat());
    assert_eq!(load_trust(&der).unwrap(), a.bundle.chain());
}
