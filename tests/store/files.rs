//! Certificates in files: what `import` and the config read, and what they refuse with the reason.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ringate::internals::certs::GenerateRequest;
use ringate::internals::certs::generate::self_signed;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::Shop;
use crate::http::OK;
use crate::support::*;

#[test]
fn every_form_is_imported() {
    let shop = Shop::new();
    shop.write("secret", "s3cret\n");
    shop.openssl("req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.crt -subj /CN=peer");
    shop.openssl("x509 -in cert.crt -outform DER -out cert.cer");
    shop.openssl("rsa -in key.pem -traditional -out pkcs1.key");
    shop.openssl("rsa -in key.pem -outform DER -out der.key");
    shop.openssl("pkcs8 -topk8 -in key.pem -out locked.key -passout file:secret");
    shop.openssl("pkcs8 -topk8 -in key.pem -out locked.der -outform DER -scrypt -passout file:secret");
    shop.openssl("pkcs12 -export -in cert.crt -inkey key.pem -out all.p12 -passout file:secret");
    shop.openssl("pkcs12 -export -legacy -in cert.crt -inkey key.pem -out all.pfx -passout file:secret");
    shop.openssl("pkcs12 -export -in cert.crt -inkey key.pem -out open.p12 -passout pass:");
    shop.openssl("rsa -in key.pem -traditional -aes256 -out old.key -passout file:secret");
    shop.openssl("crl2pkcs7 -nocrl -certfile cert.crt -out all.p7b");
    shop.write("windows", "\u{FEFF}s3cret\r\n");
    shop.write(
        "both.pem",
        &["cert.crt", "key.pem"].map(|name| fs::read_to_string(shop.path(name)).unwrap()).concat(),
    );
    for (index, files) in [
        "--cert both.pem",
        "--cert cert.crt --key key.pem",
        "--cert cert.cer --key pkcs1.key",
        "--cert cert.cer --key der.key",
        "--cert cert.crt --key locked.key --passphrase-file secret",
        "--cert cert.cer --key locked.der --passphrase-file secret",
        "--cert all.p12 --passphrase-file secret",
        "--cert all.pfx --passphrase-file secret",
        "--cert open.p12",
        "--cert all.p7b --key old.key --passphrase-file secret",
        "--cert all.p12 --passphrase-file windows",
    ]
    .into_iter()
    .enumerate()
    {
        let imported = shop.json(&format!("import c{index} {files}"));
        assert_eq!(imported["subject"], "CN=peer", "{files}");
        let shown = shop.json(&format!("show c{index}"));
        assert_eq!(shown["generations"][0]["has_key"], true, "{files}");
    }
    shop.did("import trust --cert cert.crt");
    assert_eq!(shop.json("show trust")["generations"][0]["has_key"], false);
    let taken = shop.refused("import c0 --cert both.pem", 1);
    assert!(taken.contains("ringate cert stage c0"), "{taken}");
}

#[test]
fn what_cannot_be_used_is_refused_with_the_reason() {
    let shop = Shop::new();
    shop.write("secret", "s3cret\n");
    shop.write("wrong", "wrong\n");
    shop.write("empty", "");
    shop.write("junk", "junk\n");
    fs::write(shop.path("huge"), vec![b'x'; (1 << 20) + 1]).unwrap();
    fs::create_dir(shop.path("folder")).unwrap();
    shop.openssl("req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=peer");
    shop.openssl("req -x509 -newkey rsa:2048 -nodes -keyout other.key -out other.pem -subj /CN=other");
    shop.openssl("req -x509 -newkey rsa:1024 -nodes -keyout small.key -out small.pem -subj /CN=small");
    let long_ago = SystemTime::now() - Duration::from_secs(400 * 86_400);
    let ended = self_signed(&GenerateRequest::new("ended"), long_ago).unwrap();
    shop.write("ended.pem", &format!("{}{}", ended.chain_pem, *ended.key_pem));
    shop.openssl("pkcs12 -export -in cert.pem -inkey key.pem -out all.p12 -passout file:secret");
    shop.write(
        "two.pem",
        &["cert.pem", "other.pem"].map(|name| fs::read_to_string(shop.path(name)).unwrap()).concat(),
    );
    for (files, reason) in [
        ("--cert missing.pem", "missing.pem"),
        ("--cert empty", "it is empty"),
        ("--cert junk", "neither PEM"),
        ("--cert huge", "larger than 1024 KiB"),
        ("--cert folder", "this is a folder"),
        ("--cert key.pem", "holds no certificate"),
        ("--cert cert.pem --key cert.pem", "holds no private key"),
        ("--cert cert.pem --key other.key", "does not belong"),
        ("--cert small.pem --key small.key", "an RSA key of 1024 bits"),
        ("--cert ended.pem", "expired"),
        ("--cert all.p12", "passphrase"),
        ("--cert all.p12 --passphrase-file wrong", "does not open it"),
        ("--cert all.p12 --passphrase-file two.pem", "one line"),
    ] {
        let said = shop.refused(&format!("import gateway {files}"), 1);
        assert!(said.contains(reason), "{files}: {said}");
    }
    assert!(!shop.path("certs/gateway").exists());
}

#[test]
fn a_listener_presents_what_a_locked_file_holds() {
    let shop = Shop::new();
    shop.openssl(
        "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=localhost \
                  -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE"
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .as_str(),
    );
    shop.write("web", "s3cret\n");
    shop.openssl("pkcs12 -export -legacy -in cert.pem -inkey key.pem -out all.p12 -passout file:web");
    shop.openssl("pkcs8 -topk8 -in key.pem -out locked.key -scrypt -passout file:web");
    let backend = Backend::replying(OK);
    for certificate in [
        format!("{{ cert = {:?}, passphrase_file = {:?} }}", shop.path("all.p12"), shop.path("web")),
        format!(
            "{{ cert = {:?}, key = {:?}, passphrase_file = \"$CREDENTIALS_DIRECTORY/web\" }}",
            shop.path("cert.pem"),
            shop.path("locked.key")
        ),
    ] {
        let config = Setup::to(backend.address())
            .listener(&format!("[listener.tls]\ncertificates = [{certificate}]"))
            .text();
        let ringate = Ringate::start_with(&config, |command| {
            command.env("CREDENTIALS_DIRECTORY", shop.dir.path());
        });
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(shop.path("cert.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let client = Arc::new(client.with_root_certificates(roots).with_no_client_auth());
        let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        assert_eq!(ringate.tls_client(client).send(request).response().status, 200, "{certificate}");
    }
}

#[test]
fn names_have_defaults_and_an_authority_of_the_store_signs() {
    let shop = Shop::new();
    let both = shop.json("generate");
    assert_eq!((&both["id"], &both["subject"]), (&"gateway".into(), &"CN=gateway".into()));
    let named = shop.json("generate web --days 20");
    assert_eq!(named["subject"], "CN=web");
    let derived = shop.json("generate --common-name *.Shop.Example");
    assert_eq!((&derived["id"], &derived["subject"]), (&"shop.example".into(), &"CN=*.Shop.Example".into()));
    shop.did("generate our-ca --ca");
    assert_eq!(shop.json("generate signed --issuer our-ca")["subject"], "CN=signed");
    shop.did("stage signed --generate");
    for generation in 0..2 {
        let shown = shop.json("show signed");
        let generation = &shown["generations"][generation];
        assert_eq!(
            (&generation["issuer"], &generation["subject"]),
            (&"CN=our-ca".into(), &"CN=signed".into())
        );
    }
    let refused = shop.refused("generate other --issuer web", 1);
    assert!(refused.contains("CN=web"), "{refused}");
    let refused = shop.refused("stage web --generate --days 9", 2);
    assert!(refused.contains("--days needs --common-name CN"), "{refused}");
    let made = SystemTime::now() - Duration::from_secs(25 * 86_400);
    let ending = self_signed(&GenerateRequest { days: 30, ..GenerateRequest::new("ending") }, made).unwrap();
    shop.write("ending.pem", &format!("{}{}", ending.chain_pem, *ending.key_pem));
    shop.did("import ending --cert ending.pem");
    let list = shop.did("list");
    assert!(list.contains(" ENDS SOON") && list.contains("1 (staged: 2)"), "{list}");
    shop.did("activate signed");
    assert!(shop.did("list").contains("2 (previous: 1)"), "{list}");
    shop.did("retire signed");
    let nothing = shop.refused("retire signed", 1);
    assert!(nothing.contains("there is nothing to retire"), "{nothing}");
}

#[test]
fn what_an_import_leaves_out_or_cannot_do_is_said() {
    let shop = Shop::new();
    shop.openssl("req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=peer");
    shop.openssl("req -x509 -newkey rsa:2048 -nodes -keyout other.key -out other.pem -subj /CN=other");
    let text = ["cert.pem", "other.pem", "cert.pem"].map(|name| fs::read_to_string(shop.path(name)).unwrap());
    shop.write("three.pem", &text.concat());
    let said = shop.did("import with-key --cert three.pem --key key.pem");
    assert!(said.contains("warning: certificate 2 (CN=other) issued none of the others"), "{said}");
    assert!(said.contains("warning: certificate 3 (CN=peer) is the same as certificate 1"), "{said}");
    let without = shop.json("import trusted --cert cert.pem");
    let warning = without["warnings"][0].as_str().unwrap();
    assert!(warning.contains("no private key") && warning.contains("cannot be presented"), "{without}");
    assert!(shop.did("stage with-key --generate").contains("`ringate cert export with-key --part staged`"));
    let secret = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ";
    let refused = shop.refused(&format!("import {secret} --cert cert.pem"), 1);
    assert!(!refused.contains(secret) && refused.contains("it may be a secret"), "{refused}");
    shop.write("words", "s3cret\n");
    shop.openssl("pkcs12 -export -in cert.pem -inkey key.pem -out all.p12 -passout file:words");
    fs::set_permissions(shop.path("words"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let imported = shop.cert("import locked --cert all.p12 --passphrase-file words");
    let said = String::from_utf8(imported.stderr).unwrap();
    assert!(imported.status.success() && said.contains("others may access this passphrase"), "{said}");
    let probed = run(Ringate::command()
        .current_dir(shop.dir.path())
        .args(["probe", "https://127.0.0.1:9", "--certificate", "all.p12", "--passphrase-file", "words"])
        .args(["-c", "ringate.toml"]));
    let said = String::from_utf8([probed.stdout, probed.stderr].concat()).unwrap();
    assert!(!said.contains("passphrase") && said.contains("would not flow"), "{said}");
}
