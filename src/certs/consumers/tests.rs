//! Orders on a store, and what the index says of them.

use std::time::{Duration, SystemTime};

use super::index::{NotInForce, PresentedCertificate};
use super::order::{AddConsumer, Filter, Issue, Reason, Renew, Request};
use super::*;
use crate::certs::Store;
use crate::certs::generate::{GenerateRequest, csr, self_signed};
use crate::certs::store::Meta;
use crate::certs::store::Origin;
use crate::certs::time::Timestamp;

struct Office {
    _dir: tempfile::TempDir,
    store: Store,
    book: Book,
    definitions: Vec<Definition>,
    now: SystemTime,
}

fn definition(name: &str, api_key: bool, mtls: bool) -> Definition {
    Definition {
        name: name.into(),
        title: name.into(),
        api_key,
        mtls,
        javascript_origins: true,
        expiry: Some(Duration::from_secs(100)),
        suspendable: true,
        approval: Approval::Manual,
        issuer: mtls.then(|| "ca".to_owned()),
    }
}

impl Office {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let now = SystemTime::now();
        let ca = self_signed(&GenerateRequest { is_ca: true, ..GenerateRequest::new("Consumers CA") }, now)
            .unwrap();
        store.put("ca", &ca.bundle, &Meta { description: None, origin: Origin::Generated, now }).unwrap();
        let definitions = vec![definition("key", true, false), definition("both", true, true)];
        Self { _dir: dir, store, book: Book::default(), definitions, now }
    }

    fn run(&mut self, order: Order) -> Result<Answer, ConsumerError> {
        let Self { store, book, definitions, now, .. } = self;
        Desk { store, book, definitions, now: *now }.run(order)
    }

    fn issued(&mut self, order: Order) -> order::Issued {
        match self.run(order).unwrap() {
            Answer::Issued(issued) => *issued,
            other => panic!("{other:?}"),
        }
    }

    fn consumer(&mut self, name: &str) {
        self.run(Order::AddConsumer(AddConsumer { name: name.into(), ..AddConsumer::default() })).unwrap();
    }

    fn index(&self) -> Index {
        // From the disk, not from what is remembered.
        Index::of(&Book::load(&self.store).unwrap())
    }

    fn at(&self, seconds: i64) -> i64 {
        Timestamp::from(self.now).unix() + seconds
    }

    fn later(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

fn request(definition: &str) -> Request {
    Request { consumer: "acme".into(), definition: definition.into(), ..Request::default() }
}

#[test]
fn a_credential_lives_from_request_to_end() {
    let mut office = Office::new();
    office.consumer("acme");
    let asked = Request { origins: vec!["https://App.example:443".into()], ..request("key") };
    let requested = office.issued(Order::Request(asked));
    assert_eq!((requested.credential.state, requested.key), (Standing::Requested, None));
    let name = requested.credential.name;
    assert_eq!(name, "acme-key");
    assert!(matches!(
        office.run(Order::Issue(name.clone(), Issue::default())),
        Err(ConsumerError::State { is: Standing::Requested, .. })
    ));
    office.run(Order::Approve(name.clone())).unwrap();
    assert!(office.index().len() == 0);
    let issued = office.issued(Order::Issue(name.clone(), Issue::default()));
    let key = issued.key.unwrap();
    assert_eq!(key.len(), 68);
    let on_disk = std::fs::read_to_string(office.store.path().join("_credentials/acme-key.toml")).unwrap();
    assert!(!on_disk.contains(&key[4..]), "{on_disk}");
    let index = office.index();
    let (now, end) = (office.at(0), office.at(100));
    let entry = index.by_key(key.as_bytes(), now).unwrap();
    assert_eq!((&*entry.consumer, &*entry.name), ("acme", "acme-key"));
    assert_eq!(entry.standing(now), Ok(()));
    assert_eq!(entry.standing(end - 1), Ok(()));
    assert_eq!(entry.standing(end), Err(NotInForce::Expired));
    assert!(
        index.allows("key", "https://app.example", now) && !index.allows("both", "https://app.example", now)
    );
    assert!(!index.allows("key", "https://app.example", end));
    assert!(index.by_key(b"rgk_0", now).is_none());

    office.run(Order::Suspend(name.clone(), Reason { reason: "unpaid".into() })).unwrap();
    let index = office.index();
    let entry = index.by_key(key.as_bytes(), now).unwrap();
    assert_eq!(entry.standing(now), Err(NotInForce::Suspended));
    assert_eq!(entry.standing(end), Err(NotInForce::Expired));
    assert!(!index.allows("key", "https://app.example", now));
    office.run(Order::Resume(name.clone())).unwrap();
    assert_eq!(office.index().by_key(key.as_bytes(), now).unwrap().standing(now), Ok(()));

    office.later(200);
    let Answer::Credentials { credentials } =
        office.run(Order::List(Filter { state: Some(Standing::Expired), ..Filter::default() })).unwrap()
    else {
        panic!()
    };
    assert_eq!(credentials.len(), 1);
    let renewed = office
        .issued(Order::Renew(name.clone(), Renew { new_key: true, overlap_seconds: 10, ..Renew::default() }));
    let next = renewed.key.unwrap();
    let index = office.index();
    let now = office.at(0);
    assert!(
        index.by_key(key.as_bytes(), now + 9).is_some() && index.by_key(key.as_bytes(), now + 10).is_none()
    );
    assert_eq!(index.by_key(next.as_bytes(), now).unwrap().standing(now), Ok(()));

    assert!(matches!(office.run(Order::Delete(name.clone())), Err(ConsumerError::Invalid(_))));
    office.run(Order::Revoke(name.clone(), Reason::default())).unwrap();
    assert_eq!(office.index().by_key(next.as_bytes(), now).unwrap().standing(now), Err(NotInForce::Revoked));
    for order in [
        Order::Renew(name.clone(), Renew::default()),
        Order::Resume(name.clone()),
        Order::Approve(name.clone()),
        Order::Revoke(name.clone(), Reason::default()),
    ] {
        assert!(matches!(office.run(order), Err(ConsumerError::State { is: Standing::Revoked, .. })));
    }
    office.run(Order::Delete(name)).unwrap();
    assert!(office.index().by_key(next.as_bytes(), now).is_none());
}

#[test]
fn the_ca_signs_what_a_csr_asks_for_and_a_certificate_that_is_brought_is_pinned() {
    let mut office = Office::new();
    office.consumer("acme");
    let made = csr(&GenerateRequest::new("whatever, CN=evil")).unwrap();
    let asked = Request { csr: Some(made.csr_pem.clone()), name: Some("one".into()), ..request("both") };
    office.run(Order::Request(asked)).unwrap();
    office.run(Order::Approve("one".into())).unwrap();
    let issued = office.issued(Order::Issue("one".into(), Issue::default()));
    let chain = issued.certificate.unwrap();
    let bundle = crate::certs::Bundle::from_parts(chain.as_bytes(), Some(made.key_pem.as_bytes())).unwrap();
    let facts = bundle.facts();
    assert_eq!(facts.common_name.as_deref(), Some("acme"));
    assert_eq!(facts.usages, ["client"]);
    assert!(facts.not_after.unix() <= office.at(100), "{}", facts.not_after);
    let digest = |der: &[u8]| {
        <[u8; 32]>::try_from(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der).as_ref()).unwrap()
    };
    let sha256 = digest(&bundle.chain()[0]);
    let index = office.index();
    let presented = PresentedCertificate { sha256: &sha256, not_after: office.at(99), verified: None };
    let now = office.at(0);
    assert_eq!(index.by_certificate(&presented, now).count(), 1);
    assert!(index.by_key(issued.key.unwrap().as_bytes(), now).unwrap().has(&presented, now));
    assert_eq!(index.by_certificate(&presented, office.at(101)).count(), 0);

    let own = self_signed(&GenerateRequest::new("own"), office.now).unwrap();
    let asked =
        Request { certificate: Some(own.chain_pem.clone()), name: Some("two".into()), ..request("both") };
    office.run(Order::Request(asked)).unwrap();
    office.run(Order::Approve("two".into())).unwrap();
    let issued = office.issued(Order::Issue("two".into(), Issue::default()));
    let sha256 = digest(&own.bundle.chain()[0]);
    let other = PresentedCertificate { sha256: &sha256, not_after: i64::MAX, verified: None };
    let index = office.index();
    let key = issued.key.unwrap();
    let entry = index.by_key(key.as_bytes(), now).unwrap();
    assert!(entry.has(&other, now) && !entry.has(&presented, now));

    // Neither a key in the wrong place, nor what was tampered with.
    let with_key = format!("{}{}", own.chain_pem, own.key_pem.as_str());
    let mut broken = made.csr_pem.clone();
    broken.insert(broken.len() / 2, 'A');
    for wrong in [
        Request { certificate: Some(with_key), ..request("both") },
        Request { csr: Some(broken), ..request("both") },
        Request { csr: Some(made.csr_pem.clone()), ..request("key") },
        Request { csr: Some(made.csr_pem), certificate: Some(own.chain_pem), ..request("both") },
        Request { origins: vec!["*".into()], ..request("both") },
        Request { description: "a\nb".into(), ..request("both") },
        Request { name: Some("../up".into()), ..request("both") },
        Request { consumer: "none".into(), ..request("both") },
        request("none"),
    ] {
        assert!(office.run(Order::Request(wrong.clone())).is_err(), "{wrong:?}");
    }
    office.run(Order::Request(Request { name: Some("three".into()), ..request("both") })).unwrap();
    office.run(Order::Approve("three".into())).unwrap();
    let without = office.run(Order::Issue("three".into(), Issue::default()));
    assert!(
        matches!(without, Err(ConsumerError::Invalid(ref text)) if text.contains("--csr")),
        "{without:?}"
    );
}

#[test]
fn a_consumer_goes_with_its_credentials() {
    let mut office = Office::new();
    office.definitions[0].approval = Approval::Automatic;
    office.consumer("acme");
    let issued = office.issued(Order::Request(request("key")));
    assert_eq!(issued.credential.state, Standing::Active);
    let key = issued.key.unwrap();
    assert!(matches!(
        office.run(Order::DeleteConsumer { name: "acme".into(), force: false }),
        Err(ConsumerError::InUse { .. })
    ));
    // An interrupted deletion: the consumer's file is gone, the credential's is not.
    std::fs::remove_file(office.store.path().join("_consumers/acme.toml")).unwrap();
    assert!(office.index().by_key(key.as_bytes(), office.at(0)).is_none());
    office.book = Book::load(&office.store).unwrap();
    office.consumer("acme");
    assert!(office.index().by_key(key.as_bytes(), office.at(0)).is_none(), "another consumer got it");

    office.run(Order::Request(request("key"))).unwrap();
    office.run(Order::DeleteConsumer { name: "acme".into(), force: true }).unwrap();
    assert!(office.store.credentials().unwrap().is_empty() && office.store.consumers().unwrap().is_empty());
}

#[test]
fn a_definition_of_axway_is_read() {
    const JSON: &str = r#"{"group": "management", "apiVersion": "v1alpha1", "kind": "CredentialRequestDefinition",
        "name": "api-key-mtls", "title": "API Key and mTLS", "metadata": {"scope": {"kind": "Environment", "name": "e"}},
        "tags": [], "spec": {"schema": {"type": "object", "properties": {
            "cors": {"type": "array", "items": {"anyOf": [{"type": "string"}]}, "title": "Javascript Origins", "uniqueItems": true},
            "team": {"type": "string"}, "x-axway-mtls": {"type": "string", "x-axway-hidden": true}}},
        "provision": {"schema": {"type": "object", "required": ["apiKey"], "properties": {
            "apiKey": {"type": "string", "title": "API Key", "x-axway-encrypted": true}}},
            "policies": {"expiry": {"period": 60}, "suspendable": true}}}}"#;
    let read = axway::import(JSON).unwrap();
    assert_eq!(
        read.toml,
        "[credentials.api-key-mtls]\ntitle = \"API Key and mTLS\"\napi_key = true\nmtls = true\n\
         javascript_origins = true\nexpiry = \"60d\"\nsuspendable = true\napproval = \"manual\"\n"
    );
    let ignored = read.ignored.join("\n");
    assert!(ignored.contains("spec.schema.properties.team") && ignored.contains("metadata"), "{ignored}");
    assert!(
        !ignored.contains("apiKey") && !ignored.contains("cors") && !ignored.contains("mtls"),
        "{ignored}"
    );
    let value: serde_json::Value = serde_json::from_str(JSON).unwrap();
    let yaml = serde_yaml_ng::to_string(&value).unwrap();
    assert_eq!(axway::import(&yaml).unwrap().toml, read.toml);
    for wrong in [
        "",
        "a: b",
        "[1, 2]",
        "{",
        &JSON.replace("management", "catalog"),
        &JSON.replace("apiKey", "secret").replace("x-axway-mtls", "x"),
    ] {
        assert!(axway::import(wrong).is_err(), "{wrong}");
    }
}
