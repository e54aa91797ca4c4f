//! Requests as the admin API reads them, and answers as it writes them.

use serde_json::{Value, json};

use super::{identity, now};
use crate::certs::KeyType;
use crate::certs::command::*;
use crate::certs::store::Store;

fn run<R: Request>(store: &Store, request: R) -> Result<Value, CommandError> {
    let context = Context { now: now(), uses: &|_| Vec::new(), renew_before: None };
    request.run(store, &context).map(|answer| serde_json::to_value(answer).unwrap())
}

fn generate(body: Value) -> Result<Generate, serde_json::Error> {
    serde_json::from_value(body)
}

#[test]
fn a_body_names_what_the_certificate_shall_say_beside_its_own_keys() {
    let request = generate(json!({
        "name": "gateway", "description": "orders", "common_name": "gateway.example", "organization": "Acme",
        "sans": ["DNS:gateway.example"], "days": 90, "key_type": "ecdsa-p384"
    }))
    .unwrap();
    assert_eq!(
        (request.name.as_str(), request.subject.organization.as_slice()),
        ("gateway", &["Acme".to_owned()][..])
    );
    assert_eq!((request.subject.days, request.subject.key_type), (90, KeyType::EcdsaP384));
    for (wrong, said) in [
        (json!({ "name": "a", "common_nme": "a" }), "common_nme"),
        (json!({ "name": 1, "common_name": "a" }), "expected a string"),
        (json!({ "name": "a", "common_name": "a", "key_type": "rsa-1024" }), "rsa-2048"),
        (json!({ "name": "a", "common_name": "a", "days": -1 }), "-1"),
    ] {
        let error = generate(wrong).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn answers_are_read_back_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let made = run(&store, generate(json!({ "name": "a", "common_name": "a" })).unwrap()).unwrap();
    let back: Made = serde_json::from_value(made.clone()).unwrap();
    assert_eq!(serde_json::to_value(back).unwrap(), made);
    let stage: Stage = serde_json::from_value(json!({ "generate": null })).unwrap();
    assert_eq!(
        serde_json::to_value(&stage).unwrap(),
        json!({ "generate": null }),
        "as the command line sends it"
    );
    run(&store, Stage { name: "a".to_owned(), ..stage }).unwrap();
    let shown = run(&store, Show { name: "a".to_owned() }).unwrap();
    let back: Shown = serde_json::from_value(shown.clone()).unwrap();
    assert_eq!(serde_json::to_value(back).unwrap(), shown);
    let listed = run(&store, List {}).unwrap();
    let back: Listed = serde_json::from_value(listed.clone()).unwrap();
    assert_eq!(serde_json::to_value(back).unwrap(), listed);
    for part in [Part::Active, Part::Staged] {
        for der in [false, true] {
            let exported = run(&store, Export { name: "a".to_owned(), part, der }).unwrap();
            let back: Exported = serde_json::from_value(exported.clone()).unwrap();
            assert_eq!(serde_json::to_value(back).unwrap(), exported);
        }
    }
}

#[test]
fn pasted_text_and_base64_are_imported_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let brought = identity("brought");
    let der = data_encoding::BASE64.encode(&brought.bundle.chain()[0]);
    for (name, certificate) in [("pem", brought.chain_pem.as_str()), ("der", der.as_str())] {
        let body = json!({ "name": name, "certificate": certificate, "key": *brought.key_pem, "passphrase": "s3cret" });
        let import: Import = serde_json::from_value(body).unwrap();
        let shown = format!("{import:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("PRIVATE") && !shown.contains("MII"), "{shown}");
        let made = run(&store, import).unwrap();
        assert_eq!(made["subject"], "CN=brought");
    }
    let broken = serde_json::from_value::<Import>(json!({ "name": "a", "certificate": "&%$" }));
    assert!(broken.unwrap_err().to_string().contains("base64"));
}

#[test]
fn each_failure_has_its_kind() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let make = |name: &str, common_name: &str| {
        run(&store, generate(json!({ "name": name, "common_name": common_name })).unwrap())
    };
    make("a", "a").unwrap();
    let kind = |failed: Result<Value, CommandError>| failed.unwrap_err().kind();
    let name = || "a".to_owned();
    assert_eq!(kind(make("a", "a")), ErrorKind::Conflict);
    assert_eq!(kind(make("../a", "a")), ErrorKind::Invalid);
    assert_eq!(kind(make("b", "")), ErrorKind::Invalid);
    assert_eq!(kind(run(&store, Show { name: "b".to_owned() })), ErrorKind::NotFound);
    assert_eq!(kind(run(&store, Rollback { name: name() })), ErrorKind::Conflict);
    assert_eq!(
        kind(run(&store, Activate { name: name(), generation: None, force: true })),
        ErrorKind::Conflict
    );
    assert_eq!(
        kind(run(&store, Export { name: name(), part: Part::Request, der: false })),
        ErrorKind::NotFound
    );
    let long = Describe { name: name(), description: "x".repeat(5000) };
    assert_eq!(kind(run(&store, long)), ErrorKind::Invalid);
    let used = |_: &str| vec![Use { by: "listener \"web\"".to_owned(), role: Role::Server }];
    let context = Context { now: now(), uses: &used, renew_before: None };
    let refused = Delete { name: name() }.run(&store, &context).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(refused.to_string().contains("listener \"web\" (server identity)"), "{refused}");
}
