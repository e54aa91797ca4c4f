//! What a passphrase opens: files as OpenSSL and Java make them.

use std::process::Command;

use proptest::prelude::*;
use tempfile::TempDir;

use super::openssl::{openssl, read};
use crate::certs::bundle::{Bundle, BundleError, LockError};
use crate::certs::passphrase::Passphrase;
use crate::certs::store::{Files, StoreError};
use crate::certs::{parse, pkcs12};

const SECRET: &str = "s3cret p\u{e4}ss\u{20ac}";

fn secret() -> Passphrase {
    Passphrase::from(SECRET.to_owned())
}

/// A folder with `key.pem`, `cert.pem`, and the passphrase in `secret`.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    openssl(
        &folder,
        "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=peer -days 9",
    );
    std::fs::write(folder.path().join("secret"), format!("{SECRET}\n")).unwrap();
    folder
}

fn files<'a>(cert: &'a std::path::Path, passphrase: &'a std::path::Path) -> Files<'a> {
    Files { passphrase_file: Some(passphrase), ..Files::one(cert) }
}

#[test]
fn keys_in_the_old_pem_encryption_are_opened() {
    let folder = folder();
    openssl(&folder, "ecparam -name prime256v1 -genkey -noout -out ec.pem");
    openssl(&folder, "req -x509 -key ec.pem -out ec-cert.pem -subj /CN=peer -days 9");
    for (kind, key, cert) in [("rsa", "key.pem", "cert.pem"), ("ec", "ec.pem", "ec-cert.pem")] {
        let plain = Bundle::from_parts(&read(&folder, cert), Some(&read(&folder, key))).unwrap();
        let traditional = if kind == "rsa" { " -traditional" } else { "" };
        for cipher in ["aes128", "aes192", "aes256", "des3"] {
            let command = format!("{kind} -in {key}{traditional} -{cipher} -out locked -passout file:secret");
            openssl(&folder, &command);
            let locked = read(&folder, "locked");
            assert!(String::from_utf8_lossy(&locked).contains("Proc-Type: 4,ENCRYPTED"), "{cipher}");
            let windows = String::from_utf8_lossy(&locked).replace('\n', "\r\n").into_bytes();
            for locked in [locked, windows, [&read(&folder, cert)[..], &read(&folder, "locked")].concat()] {
                let open = |passphrase: Option<&Passphrase>| {
                    Bundle::from_locked_parts(&read(&folder, cert), Some(&locked), passphrase)
                };
                let opened = open(Some(&secret())).unwrap_or_else(|error| panic!("{kind} {cipher}: {error}"));
                assert_eq!(opened.facts(), plain.facts());
                let wrong = open(Some(&Passphrase::from("wrong".to_owned()))).unwrap_err();
                assert_eq!(wrong, BundleError::Locked(LockError::WrongPassphrase), "{kind} {cipher}");
                let none = open(None).unwrap_err();
                assert_eq!(
                    none,
                    BundleError::Locked(LockError::KeyEncrypted { der: false }),
                    "{kind} {cipher}"
                );
            }
        }
    }
    let damaged = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n\
                   -----END RSA PRIVATE KEY-----\n";
    let foreign = damaged.replace("AES-128-CBC,00", "CAMELLIA-128-CBC,0011223344556677");
    for (text, reason) in [(damaged, "neither PEM"), (&foreign, "which is not read here")] {
        let refused =
            Bundle::from_locked_parts(&read(&folder, "cert.pem"), Some(text.as_bytes()), Some(&secret()));
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(reason), "{refused}");
    }
}

#[test]
fn pkcs7_containers_are_read_in_any_order() {
    let folder = folder();
    openssl(&folder, "req -newkey rsa:2048 -nodes -keyout leaf.key -out leaf.csr -subj /CN=leaf");
    openssl(
        &folder,
        "x509 -req -in leaf.csr -CA cert.pem -CAkey key.pem -CAcreateserial -out leaf.pem -days 3",
    );
    let both = ["cert.pem", "leaf.pem"].map(|name| String::from_utf8(read(&folder, name)).unwrap()).concat();
    std::fs::write(folder.path().join("both.pem"), both).unwrap();
    for form in ["PEM", "DER"] {
        openssl(&folder, &format!("crl2pkcs7 -nocrl -certfile both.pem -outform {form} -out all.p7b"));
        let container = read(&folder, "all.p7b");
        let bundle = Bundle::from_parts(&container, Some(&read(&folder, "leaf.key"))).unwrap();
        assert_eq!((bundle.chain().len(), &*bundle.facts().subject), (2, "CN=leaf"), "{form}");
        assert_eq!(bundle.notes(), []);
        assert_eq!(parse::certificates(&container, None).unwrap().len(), 2);
        openssl(&folder, &format!("crl2pkcs7 -nocrl -outform {form} -out none.p7b"));
        let none = Bundle::from_pem(&read(&folder, "none.p7b")).unwrap_err().to_string();
        assert!(none.contains("holds no certificate"), "{none}");
        if form == "DER" {
            let cut = Bundle::from_pem(&container[..container.len() - 9]).unwrap_err();
            assert_eq!(cut, BundleError::NotPemNorDer);
        }
    }
}

#[test]
fn keys_of_curves_that_are_written_out_or_points_that_are_compressed() {
    let folder = tempfile::tempdir().unwrap();
    let made = |key: &str| {
        openssl(&folder, &format!("req -x509 -key {key} -out cert.pem -subj /CN=peer -days 9"));
        Bundle::from_parts(&read(&folder, "cert.pem"), Some(&read(&folder, key)))
    };
    openssl(&folder, "ecparam -name prime256v1 -genkey -noout -out named.pem");
    openssl(&folder, "ec -in named.pem -conv_form compressed -out compressed.pem");
    openssl(&folder, "ec -in named.pem -conv_form hybrid -out hybrid.pem");
    openssl(&folder, "ec -in named.pem -param_enc explicit -out explicit.pem");
    for key in ["named.pem", "compressed.pem", "hybrid.pem"] {
        let bundle = made(key).unwrap_or_else(|error| panic!("{key}: {error}"));
        let named =
            Bundle::from_parts(&read(&folder, "cert.pem"), Some(&read(&folder, "named.pem"))).unwrap();
        assert_eq!(bundle.facts(), named.facts());
    }
    for key in ["explicit.pem", "named.pem"] {
        openssl(&folder, "req -x509 -key explicit.pem -out cert.pem -subj /CN=peer -days 9");
        let refused = Bundle::from_parts(&read(&folder, "cert.pem"), Some(&read(&folder, key))).unwrap_err();
        assert_eq!(refused, BundleError::ExplicitParameters { subject: "CN=peer".to_owned() });
        assert!(refused.to_string().contains("-param_enc named_curve"), "{refused}");
    }
    openssl(&folder, "req -x509 -key named.pem -out cert-named.pem -subj /CN=peer -days 9");
    match Bundle::from_parts(&read(&folder, "cert-named.pem"), Some(&read(&folder, "explicit.pem"))) {
        Ok(bundle) => assert_eq!(bundle.facts().key_type, "ECDSA P-256"),
        Err(refused) => assert!(refused.to_string().contains("-param_enc named_curve"), "{refused}"),
    }
    // A key of another point is another key, however its curve is written.
    openssl(&folder, "ecparam -name prime256v1 -genkey -noout -out other.pem");
    let other =
        Bundle::from_parts(&read(&folder, "cert.pem"), Some(&read(&folder, "other.pem"))).unwrap_err();
    assert!(matches!(other, BundleError::KeyMismatch { .. }), "{other}");
    // Kinds of keys that are not supported are named.
    openssl(&folder, "genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -out pss.pem");
    openssl(&folder, "genpkey -algorithm ED448 -out ed448.pem");
    openssl(&folder, "ecparam -name secp256k1 -genkey -noout -out k1.pem");
    for (key, kind) in
        [("pss.pem", "RSA for PSS alone"), ("ed448.pem", "Ed448"), ("k1.pem", "ECDSA on curve")]
    {
        let refused = made(key).unwrap_err().to_string();
        assert!(refused.contains(kind) && refused.contains("not supported here"), "{key}: {refused}");
    }
}

#[test]
fn a_passphrase_of_a_windows_editor_is_the_line_alone() {
    for text in ["s3cret", "s3cret\n", "s3cret\r\n", "\u{FEFF}s3cret", "\u{FEFF}s3cret\r\n"] {
        let read = Passphrase::from_file_content(text.as_bytes()).unwrap();
        assert_eq!(read.as_str(), "s3cret", "{text:?}");
    }
    for text in ["a\nb", "a\r\nb\r\n", "a\0"] {
        assert_eq!(Passphrase::from_file_content(text.as_bytes()), None, "{text:?}");
    }
    let utf16: Vec<u8> = "\u{FEFF}s3cret".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(Passphrase::from_file_content(&utf16), None);
}

#[test]
fn locked_keys_are_opened() {
    let folder = folder();
    let (cert, key) = (read(&folder, "cert.pem"), read(&folder, "key.pem"));
    let plain = Bundle::from_parts(&cert, Some(&key)).unwrap();
    for scheme in [
        "-v2 aes-128-cbc",
        "-v2 aes-192-cbc",
        "-v2 aes-256-cbc -v2prf hmacWithSHA1",
        "-v2 aes-256-cbc -v2prf hmacWithSHA512 -iter 1000",
        "-v2 des3",
        "-scrypt",
        "-v1 PBE-SHA1-3DES",
        "-v1 PBE-SHA1-RC2-128 -provider legacy -provider default",
        "-v1 PBE-SHA1-RC2-40 -provider legacy -provider default",
    ] {
        for form in ["PEM", "DER"] {
            let command =
                format!("pkcs8 -topk8 -in key.pem -out locked -outform {form} -passout file:secret {scheme}");
            openssl(&folder, &command);
            let locked = read(&folder, "locked");
            let opened = Bundle::from_locked_parts(&cert, Some(&locked), Some(&secret()));
            let opened = opened.unwrap_or_else(|error| panic!("{scheme} {form}: {error}"));
            assert_eq!(opened.key().unwrap().secret_der(), plain.key().unwrap().secret_der(), "{scheme}");
            let wrong = Passphrase::from("wrong".to_owned());
            let wrong = Bundle::from_locked_parts(&cert, Some(&locked), Some(&wrong)).unwrap_err();
            assert_eq!(wrong, BundleError::Locked(LockError::WrongPassphrase), "{scheme} {form}");
            let none = Bundle::from_parts(&cert, Some(&locked)).unwrap_err();
            assert!(
                matches!(none, BundleError::Locked(LockError::KeyEncrypted { .. })),
                "{scheme} {form}: {none}"
            );
            assert!(none.to_string().contains("--passphrase-file"), "{none}");
        }
    }
}

#[test]
fn what_cannot_be_opened_names_the_command_that_can() {
    let folder = folder();
    let cert = read(&folder, "cert.pem");
    let legacy = "-provider legacy -provider default";
    openssl(
        &folder,
        &format!("pkcs8 -topk8 -in key.pem -out locked -passout file:secret -v1 PBE-MD5-DES {legacy}"),
    );
    let refused =
        Bundle::from_locked_parts(&cert, Some(&read(&folder, "locked")), Some(&secret())).unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("DES with MD5") && text.contains(legacy), "{text}");
    let command = text.split('`').nth(1).unwrap().strip_prefix("openssl ").unwrap().replace("FILE", "locked");
    openssl(&folder, &format!("{command} -passin file:secret {legacy}"));
    // That wrote key.pem.
    assert!(Bundle::from_parts(&cert, Some(&read(&folder, "key.pem"))).is_ok());
}

#[test]
fn a_file_that_asks_for_too_much_work_is_refused() {
    let folder = folder();
    let cert = read(&folder, "cert.pem");
    openssl(
        &folder,
        "pkcs8 -topk8 -in key.pem -out locked -outform DER -passout file:secret -scrypt -scrypt_N 16384",
    );
    let locked = read(&folder, "locked");
    // The cost is an INTEGER with the bytes 40 00: many times over.
    let at = locked.windows(4).position(|bytes| bytes == [2, 2, 0x40, 0]).unwrap();
    let mut costly = locked.clone();
    costly[at + 4..at + 7].copy_from_slice(&[2, 1, 0x7F]);
    let refused = Bundle::from_locked_parts(&cert, Some(&costly), Some(&secret())).unwrap_err();
    assert!(
        matches!(refused, BundleError::Locked(LockError::TooCostly { .. }))
            || refused == BundleError::Locked(LockError::WrongPassphrase),
        "{refused}"
    );
    openssl(&folder, "pkcs8 -topk8 -in key.pem -out locked -outform DER -passout file:secret -iter 65535");
    let mut costly = read(&folder, "locked");
    let at = costly.windows(5).position(|bytes| bytes == [2, 3, 0, 0xFF, 0xFF]).unwrap();
    costly[at + 2] = 0x7F;
    let refused = Bundle::from_locked_parts(&cert, Some(&costly), Some(&secret())).unwrap_err();
    assert!(matches!(refused, BundleError::Locked(LockError::TooCostly { .. })), "{refused}");
}

#[test]
fn pkcs12_of_openssl_is_opened() {
    let folder = folder();
    let plain = Bundle::from_parts(&read(&folder, "cert.pem"), Some(&read(&folder, "key.pem"))).unwrap();
    for options in [
        "",
        "-legacy",
        "-keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES -macalg sha1",
        "-keypbe AES-128-CBC -certpbe NONE -macalg sha512",
        "-keypbe NONE -certpbe NONE",
        "-nomac",
    ] {
        let export = "pkcs12 -export -in cert.pem -inkey key.pem -out all.p12 -passout file:secret";
        openssl(&folder, format!("{export} {options}").trim_end());
        let (container, passphrase) = (folder.path().join("all.p12"), folder.path().join("secret"));
        let loaded = files(&container, &passphrase).load();
        let loaded = loaded.unwrap_or_else(|error| panic!("{options}: {error}")).bundle;
        assert_eq!(loaded.chain(), plain.chain(), "{options}");
        assert_eq!(loaded.key().unwrap().secret_der(), plain.key().unwrap().secret_der(), "{options}");
        assert_eq!(files(&container, &passphrase).load_trust().unwrap(), plain.chain(), "{options}");
        if !options.contains("NONE") {
            let wrong = Passphrase::from("wrong".to_owned());
            let wrong = Files::one(&container).load_with(Some(&wrong)).unwrap_err();
            let wrong = matches!(
                wrong,
                StoreError::Bundle { source: BundleError::Locked(LockError::WrongPassphrase), .. }
            );
            assert!(wrong, "{options}");
            let none = Files::one(&container).load().unwrap_err().to_string();
            assert!(none.contains("passphrase_file"), "{options}: {none}");
        }
    }
    openssl(&folder, "pkcs12 -export -in cert.pem -inkey key.pem -out all.p12 -passout pass:");
    Files::one(&folder.path().join("all.p12")).load().unwrap();
    // A passphrase where none is needed does no harm.
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let loaded = Files { key: Some(&key), ..Files::one(&cert) };
    assert!(loaded.load_with(Some(&secret())).unwrap().bundle.key().is_some());
}

#[test]
fn the_chain_of_a_container_is_put_in_order() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.ext"), "basicConstraints=critical,CA:TRUE\n").unwrap();
    openssl(&folder, "req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.pem -subj /CN=root");
    openssl(&folder, "req -newkey rsa:2048 -nodes -keyout ca.key -out ca.csr -subj /CN=ca");
    openssl(&folder, "x509 -req -in ca.csr -CA root.pem -CAkey root.key -extfile ca.ext -out ca.pem");
    openssl(&folder, "req -newkey rsa:2048 -nodes -keyout key.pem -out leaf.csr -subj /CN=leaf");
    openssl(&folder, "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -out leaf.pem");
    std::fs::write(
        folder.path().join("above.pem"),
        [read(&folder, "root.pem"), read(&folder, "ca.pem")].concat(),
    )
    .unwrap();
    openssl(
        &folder,
        "pkcs12 -export -in leaf.pem -inkey key.pem -certfile above.pem -out all.p12 -passout pass:secret",
    );
    let passphrase = Passphrase::from("secret".to_owned());
    let all = Files::one(&folder.path().join("all.p12")).load_with(Some(&passphrase)).unwrap().bundle;
    let subjects: Vec<String> =
        all.chain().iter().map(|der| crate::certs::Facts::from_der(der).unwrap().subject).collect();
    assert_eq!(subjects, ["CN=leaf", "CN=ca", "CN=root"]);
}

#[test]
fn pkcs12_of_java_is_opened() {
    let present = Command::new("keytool").arg("-help").output().is_ok();
    if !present {
        return; // A JDK is no part of the tests' machine.
    }
    for legacy in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let keytool = |arguments: &str| {
            let mut command = Command::new("keytool");
            if legacy {
                command.arg("-J-Dkeystore.pkcs12.legacy");
            }
            let output = command.args(arguments.split(' ')).current_dir(&folder).output().unwrap();
            assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stdout));
        };
        let store = "-storetype PKCS12 -storepass secret1 -noprompt";
        keytool(&format!("-genkeypair -alias a -keyalg RSA -dname CN=java -keystore key.p12 {store}"));
        keytool(&format!("-exportcert -rfc -alias a -file cert.pem -keystore key.p12 {store}"));
        keytool(&format!("-importcert -alias b -file cert.pem -keystore trust.p12 {store}"));
        std::fs::write(folder.path().join("secret"), "secret1\r\n").unwrap();
        let passphrase = folder.path().join("secret");
        let identity = files(&folder.path().join("key.p12"), &passphrase).load().unwrap().bundle;
        assert_eq!((identity.facts().subject.as_str(), identity.key().is_some()), ("CN=java", true));
        let trust = files(&folder.path().join("trust.p12"), &passphrase).load_trust().unwrap();
        assert_eq!(trust, identity.chain());
    }
}

/// `pfx` with indefinite lengths, and its authSafe in pieces, as Windows writes it.
fn indefinite(pfx: &[u8]) -> Vec<u8> {
    fn split(der: &[u8]) -> (u8, &[u8], &[u8]) {
        let (length, from) = match der[1] {
            short @ 0..=0x7F => (usize::from(short), 2),
            long => {
                let count = usize::from(long & 0x7F);
                (der[2..2 + count].iter().fold(0, |all, byte| all << 8 | usize::from(*byte)), 2 + count)
            }
        };
        (der[0], &der[from..from + length], &der[from + length..])
    }
    let open = |tag: u8, content: &[u8]| [&[tag, 0x80][..], content, &[0, 0]].concat();
    let (_, parts, _) = split(pfx);
    let (_, _, after_version) = split(parts);
    let version = &parts[..parts.len() - after_version.len()];
    let (_, info, mac) = split(after_version);
    let (_, _, explicit) = split(info);
    let oid = &info[..info.len() - explicit.len()];
    let (_, octets, _) = split(explicit);
    let (_, safe, _) = split(octets);
    let piece = |bytes: &[u8]| {
        let [high, low] = u16::try_from(bytes.len()).unwrap().to_be_bytes();
        [&[4, 0x82, high, low][..], bytes].concat()
    };
    let pieces: Vec<u8> = safe.chunks(1000).flat_map(piece).collect();
    let info = [oid, &open(0xA0, &open(0x24, &pieces))].concat();
    open(0x30, &[version, &open(0x30, &info), mac].concat())
}

#[test]
fn pkcs12_with_indefinite_lengths_is_opened() {
    let folder = folder();
    openssl(&folder, "pkcs12 -export -in cert.pem -inkey key.pem -out all.p12 -passout file:secret -legacy");
    let windows = indefinite(&read(&folder, "all.p12"));
    let opened = Bundle::from_locked_parts(&windows, None, Some(&secret())).unwrap();
    assert!(opened.key().is_some());
}

#[test]
fn passphrases_are_one_line() {
    let good = |bytes: &[u8]| Passphrase::from_file_content(bytes);
    assert_eq!(good(b"secret\r\n"), Some(Passphrase::from("secret".to_owned())));
    assert_eq!(good(b" se cret "), Some(Passphrase::from(" se cret ".to_owned())));
    assert_eq!(good(b"two\nlines\n"), None);
    assert_eq!(good(b"\xFF"), None);
    assert_eq!(format!("{:?}", secret()), "Passphrase(…)");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "two\nlines\n").unwrap();
    let path = folder.path().join("secret");
    let refused = files(&path, &path).load().unwrap_err();
    assert!(matches!(refused, StoreError::NotAPassphrase { .. }), "{refused:?}");
}

#[test]
fn damaged_containers_are_errors_and_never_panic() {
    let folder = folder();
    let export = "pkcs12 -export -in cert.pem -inkey key.pem -passout file:secret";
    openssl(&folder, &format!("{export} -out a.p12 -iter 1 -nomac"));
    openssl(&folder, &format!("{export} -out b.p12 -legacy -iter 1 -nomaciter"));
    let containers = ["a.p12", "b.p12"].map(|name| read(&folder, name));
    let containers = [containers[0].clone(), containers[1].clone(), indefinite(&containers[1])];
    let secret = secret();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(2000));
    let damage = (0..containers.len(), any::<prop::sample::Index>(), any::<u8>(), any::<bool>());
    let outcome = runner.run(&damage, |(which, at, byte, cut)| {
        let mut bytes = containers[which].clone();
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] = byte;
        }
        // Damage may pass for other parameters, but one that asks for much work is refused.
        let _ = pkcs12::read(&bytes, Some(&secret), pkcs12::Want::All);
        let _ = parse::read(&bytes, Some(&secret));
        Ok(())
    });
    outcome.unwrap();
}
