//! OpenSSL's command line as the real peer: it reads what we write, and we read what it writes.

use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;

use super::days;
use crate::certs::bundle::{Bundle, BundleError};
use crate::certs::generate::{
    CaMaterial, GenerateError, GenerateRequest, KeyType, Usage, ca_signed, csr, quickstart_pki, self_signed,
};
use crate::certs::store::{Meta, Origin, StateError, Store, StoreError, load_file, load_pair};

/// Runs `openssl` in `folder` and returns what it printed; fails the test if it fails.
pub(super) fn openssl(folder: &TempDir, arguments: &str) -> String {
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(folder)
        .output()
        .expect("openssl must be installed: apt-get install openssl");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments}: {text}{errors}");
    text
}

fn write(folder: &TempDir, name: &str, content: &str) {
    std::fs::write(folder.path().join(name), content).unwrap();
}

pub(super) fn read(folder: &TempDir, name: &str) -> Vec<u8> {
    std::fs::read(folder.path().join(name)).unwrap()
}

#[test]
fn openssl_reads_every_key_and_certificate_that_we_make() {
    let folder = tempfile::tempdir().unwrap();
    for key_type in KeyType::ALL {
        let made = self_signed(&GenerateRequest { key_type, ..GenerateRequest::new("a") }, SystemTime::now())
            .unwrap();
        write(&folder, "cert.pem", &made.chain_pem);
        write(&folder, "key.pem", &made.key_pem);
        openssl(&folder, "verify -x509_strict -check_ss_sig -CAfile cert.pem cert.pem");
        let public = openssl(&folder, "pkey -in key.pem -pubout");
        assert_eq!(public, openssl(&folder, "x509 -in cert.pem -noout -pubkey"), "{key_type}");
    }
}

#[test]
fn openssl_agrees_about_the_facts() {
    let folder = tempfile::tempdir().unwrap();
    let made = self_signed(&GenerateRequest::new("a.example"), SystemTime::now()).unwrap();
    write(&folder, "cert.pem", &made.chain_pem);
    let facts = made.bundle.facts();
    let said = openssl(&folder, "x509 -in cert.pem -noout -serial -fingerprint -sha256 -subject -enddate");
    assert!(said.contains(&format!("serial={}", facts.serial)), "{said}");
    assert!(said.contains(&format!("Fingerprint={}", facts.sha256)), "{said}");
    let text = openssl(&folder, "x509 -in cert.pem -noout -text");
    for expected in [
        "Digital Signature",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "DNS:a.example",
        "CA:FALSE",
        "X509v3 Subject Key Identifier",
        "X509v3 Authority Key Identifier",
        "Key Usage: critical",
        "Basic Constraints: critical",
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
}

#[test]
fn openssl_verifies_quickstart_for_the_purposes_it_was_made_for() {
    let folder = tempfile::tempdir().unwrap();
    let pki = quickstart_pki(&[], SystemTime::now()).unwrap();
    write(&folder, "ca.pem", &pki.ca.chain_pem);
    write(&folder, "server.pem", &pki.server.chain_pem);
    write(&folder, "client.pem", &pki.client.chain_pem);
    for host in ["-verify_hostname localhost", "-verify_ip 127.0.0.1", "-verify_ip ::1"] {
        openssl(&folder, &format!("verify -x509_strict -CAfile ca.pem -purpose sslserver {host} server.pem"));
    }
    openssl(&folder, "verify -x509_strict -CAfile ca.pem -purpose sslclient client.pem");
    let text = openssl(&folder, "x509 -in ca.pem -noout -text");
    assert!(text.contains("Certificate Sign, CRL Sign") && text.contains("CA:TRUE"), "{text}");
}

#[test]
fn openssl_signs_our_request() {
    let folder = tempfile::tempdir().unwrap();
    let usage = Usage { server: false, client: true };
    let made = csr(&GenerateRequest { usage, ..GenerateRequest::new("client") }).unwrap();
    write(&folder, "client.csr", &made.csr_pem);
    write(&folder, "key.pem", &made.key_pem);
    let text = openssl(&folder, "req -in client.csr -noout -verify -text");
    assert!(text.contains("TLS Web Client Authentication"), "{text}");
    openssl(
        &folder,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -subj /CN=ca",
    );
    openssl(
        &folder,
        "x509 -req -in client.csr -CA ca.pem -CAkey ca.key -copy_extensions copy -out client.pem -days 9",
    );
    let paths = (folder.path().join("client.pem"), folder.path().join("key.pem"));
    let loaded = load_pair(&paths.0, &paths.1).unwrap();
    assert_eq!(loaded.bundle.facts().issuer, "CN=ca");
}

#[test]
fn keys_of_openssl_are_imported_in_every_encoding() {
    let folder = tempfile::tempdir().unwrap();
    openssl(&folder, "genrsa -traditional -out rsa.pem 2048");
    openssl(&folder, "ecparam -name prime256v1 -genkey -out sec1.pem");
    openssl(&folder, "ecparam -name secp384r1 -genkey -noout -out sec384.pem");
    openssl(&folder, "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa8.pem");
    openssl(&folder, "genpkey -algorithm ED25519 -out ed.pem");
    for (key, key_type) in [
        ("rsa.pem", "RSA 2048"),
        ("sec1.pem", "ECDSA P-256"),
        ("sec384.pem", "ECDSA P-384"),
        ("rsa8.pem", "RSA 2048"),
        ("ed.pem", "Ed25519"),
    ] {
        openssl(&folder, &format!("req -x509 -key {key} -out cert.pem -subj /C=DE/O=Peer/CN=peer -days 9"));
        openssl(&folder, "x509 -in cert.pem -outform DER -out cert.der");
        openssl(&folder, &format!("pkey -in {key} -outform DER -out key.der"));
        for (cert, key) in [("cert.pem", key), ("cert.der", "key.der")] {
            let bundle = Bundle::from_parts(&read(&folder, cert), Some(&read(&folder, key))).unwrap();
            assert_eq!(bundle.facts().key_type, key_type);
            assert_eq!(bundle.facts().subject, "C=DE, O=Peer, CN=peer");
            // The key survives in the encoding it came in.
            let pem = bundle.key_pem().unwrap();
            assert!(Bundle::from_parts(&read(&folder, cert), Some(pem.as_bytes())).is_ok());
        }
    }
    let key = |name: &str| Bundle::from_parts(&read(&folder, "cert.pem"), Some(&read(&folder, name)));
    assert!(matches!(key("rsa.pem"), Err(BundleError::KeyMismatch { .. })));
    openssl(&folder, "req -x509 -key sec1.pem -out cert.pem -subj /CN=peer");
    assert!(matches!(**key("sec1.pem").unwrap().key().unwrap(), PrivateKeyDer::Sec1(_)));
    openssl(&folder, "req -x509 -key rsa.pem -out cert.pem -subj /CN=peer");
    assert!(matches!(**key("rsa.pem").unwrap().key().unwrap(), PrivateKeyDer::Pkcs1(_)));
}

#[test]
fn locked_keys_and_containers_name_the_command_that_opens_them_and_it_does() {
    let folder = tempfile::tempdir().unwrap();
    openssl(&folder, "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=peer");
    openssl(&folder, "pkcs8 -topk8 -in key.pem -out locked8.pem -passout pass:secret");
    openssl(&folder, "pkcs8 -topk8 -in key.pem -outform DER -out locked8.der -passout pass:secret");
    openssl(&folder, "pkcs12 -export -in cert.pem -inkey key.pem -out all.p12 -passout pass:secret");
    openssl(&folder, "x509 -in cert.pem -trustout -out trusted.pem");

    let cert = read(&folder, "cert.pem");
    for (file, has_key) in
        [("locked8.pem", true), ("locked8.der", true), ("all.p12", false), ("trusted.pem", false)]
    {
        let bytes = read(&folder, file);
        let refused =
            if has_key { Bundle::from_parts(&cert, Some(&bytes)) } else { Bundle::from_pem(&bytes) };
        let text = refused.unwrap_err().to_string();
        let command = text.split('`').nth(1).unwrap_or_else(|| panic!("{file}: no command in {text}"));
        let command = command.strip_prefix("openssl ").unwrap().replace("FILE", file);
        let secret = if has_key || file == "all.p12" { " -passin pass:secret" } else { "" };
        openssl(&folder, &format!("{command}{secret}"));
        let output = command.split(' ').next_back().unwrap();
        let opened = read(&folder, output);
        let opened =
            if has_key { Bundle::from_parts(&cert, Some(&opened)) } else { Bundle::from_pem(&opened) };
        let opened = opened.unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(opened.facts().subject, "CN=peer");
        assert_eq!(opened.key().is_some(), has_key || file == "all.p12", "{file}");
    }
}

#[test]
fn an_expired_intermediate_counts_and_an_expired_root_does_not() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder, "ca.ext", "basicConstraints=critical,CA:TRUE\n");
    openssl(
        &folder,
        "req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.pem -subj /CN=root -days 1",
    );
    openssl(&folder, "req -newkey rsa:2048 -nodes -keyout ca.key -out ca.csr -subj /CN=ca");
    openssl(&folder, "x509 -req -in ca.csr -CA root.pem -CAkey root.key -extfile ca.ext -out ca.pem -days 3");
    openssl(&folder, "req -newkey rsa:2048 -nodes -keyout leaf.key -out leaf.csr -subj /CN=leaf");
    openssl(&folder, "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -out leaf.pem -days 30");
    let chain = ["leaf.pem", "ca.pem", "root.pem"].map(|name| read(&folder, name)).concat();
    let chain = Bundle::from_pem(&chain).unwrap();
    let now = SystemTime::now();
    assert_eq!(chain.check_validity(now + days(2)), Ok(()));
    let ended = chain.check_validity(now + days(4)).unwrap_err();
    assert!(matches!(ended, BundleError::Expired { position: 2, .. }), "{ended:?}");
}

#[test]
fn a_small_rsa_key_cannot_be_an_identity_but_its_certificate_can_be_trusted() {
    let folder = tempfile::tempdir().unwrap();
    openssl(&folder, "req -x509 -newkey rsa:1024 -nodes -keyout key.pem -out cert.pem -subj /CN=peer");
    let refused =
        load_pair(&folder.path().join("cert.pem"), &folder.path().join("key.pem")).unwrap_err().to_string();
    assert!(refused.contains("an RSA key of 1024 bits"), "{refused}");
    assert_eq!(load_file(&folder.path().join("cert.pem")).unwrap().bundle.facts().key_type, "RSA 1024");
}

#[test]
fn a_ca_of_openssl_signs_through_us() {
    let folder = tempfile::tempdir().unwrap();
    openssl(
        &folder,
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /C=DE/O=Peer/O=Group/CN=Peer-CA",
    );
    let ca = load_pair(&path(&folder, "ca.pem"), &path(&folder, "ca.key")).unwrap().bundle;
    let ca = CaMaterial::from_bundle(&ca).unwrap_or_else(|error| panic!("{error}"));
    let made = ca_signed(&GenerateRequest::new("a.example"), &ca, SystemTime::now()).unwrap();
    write(&folder, "leaf.pem", &made.chain_pem);
    // Not -x509_strict: the CA that openssl makes by default has no key usage, and would not pass itself.
    openssl(&folder, "verify -CAfile ca.pem -verify_hostname a.example leaf.pem");

    // A name that rcgen cannot write is refused here, not by the first peer that looks at it.
    openssl(&folder, "req -x509 -key ca.key -out ad.pem -subj /DC=com/DC=example/CN=AD-CA");
    let ad = load_pair(&path(&folder, "ad.pem"), &path(&folder, "ca.key")).unwrap().bundle;
    let refused = CaMaterial::from_bundle(&ad).unwrap_err();
    assert!(matches!(refused, GenerateError::IssuerName { .. }), "{refused:?}");
}

#[test]
fn a_certificate_for_our_request_completes_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("certs")).unwrap();
    // Later than what openssl makes below.
    let now = SystemTime::now() + days(1);
    let meta = Meta { description: None, origin: Origin::Imported, now };
    openssl(&folder, "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=ca");
    for (number, active) in [(2, true), (4, false)] {
        let made = csr(&GenerateRequest::new("a.example")).unwrap();
        store.request("gateway", &made, "CN=a.example", &meta, false).unwrap();
        write(&folder, "a.csr", &made.csr_pem);
        openssl(&folder, "x509 -req -in a.csr -CA ca.pem -CAkey ca.key -out a.pem -days 30");
        let completed = store.complete("gateway", &read(&folder, "a.pem"), None, &meta).unwrap();
        assert_eq!((completed.0, completed.1), (number, active));
        let bundle = store.get_generation("gateway", number).unwrap();
        assert!(bundle.key().is_some());
        assert!(matches!(
            store.complete("gateway", &read(&folder, "a.pem"), None, &meta),
            Err(StoreError::State(StateError::NoRequest { .. }))
        ));
    }
    store.activate("gateway", Some(4), now).unwrap();
    assert_eq!(store.get("gateway").unwrap().generation, 4);
}

fn path(folder: &TempDir, name: &str) -> std::path::PathBuf {
    Path::join(folder.path(), name)
}
