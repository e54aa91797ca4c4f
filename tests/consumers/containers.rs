//! PKCS#12 that a consumer makes of its key and its certificate: other programs read it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::*;

fn ok(command: &mut Command) -> String {
    let output = run(command);
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

/// What `ringate cert p12` says, and whether it was done.
fn p12(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = run(Ringate::command().current_dir(dir).args(["cert", "p12"]).args(args));
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn openssl_and_key_stores_of_browsers_read_what_the_command_makes() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::write(dir.join("pass.txt"), "correct horse ü\n").unwrap();
    fs::set_permissions(dir.join("pass.txt"), fs::Permissions::from_mode(0o600)).unwrap();
    openssl(dir, "ec", "-x509 -days 30");
    ok(Command::new("openssl").current_dir(dir).args(["ec", "-in", "ec.key", "-out", "sec1.key"]));
    ok(Command::new("openssl").current_dir(dir).args(
        "req -x509 -newkey rsa:2048 -nodes -batch -subj /CN=rsa -keyout rsa8.key -out rsa.pem".split(' '),
    ));
    ok(Command::new("openssl").current_dir(dir).args([
        "rsa",
        "-traditional",
        "-in",
        "rsa8.key",
        "-out",
        "rsa1.key",
    ]));
    ok(Command::new("certutil").current_dir(dir).args(["-N", "--empty-password", "-d", "sql:."]));
    for (cert, key) in [("ec.pem", "ec.key"), ("ec.pem", "sec1.key"), ("rsa.pem", "rsa1.key")] {
        let out = format!("{key}.p12");
        let (code, said) = p12(
            dir,
            &["--key", key, "--cert", cert, "--out", &out, "--passphrase-file", "pass.txt", "--name", key],
        );
        assert_eq!(code, Some(0), "{said}");
        let mode = fs::metadata(dir.join(&out)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let read = ok(Command::new("openssl").current_dir(dir).args([
            "pkcs12",
            "-nodes",
            "-info",
            "-in",
            &out,
            "-passin",
            "file:pass.txt",
        ]));
        assert!(read.contains("BEGIN PRIVATE KEY") && read.contains("BEGIN CERTIFICATE"), "{read}");
        assert!(read.contains("PBES2") && read.contains(&format!("friendlyName: {key}")), "{read}");
        let imported = ok(Command::new("pk12util")
            .current_dir(dir)
            .args(["-i", &out, "-d", "sql:.", "-w", "pass.txt", "-K", ""]));
        assert!(imported.contains("IMPORT SUCCESSFUL"), "{imported}");
    }
    let listed = ok(Command::new("certutil").current_dir(dir).args(["-L", "-d", "sql:."]));
    assert!(listed.contains("u,u,u"), "the keys belong to their certificates: {listed}");

    // Nothing is written over, and what can't be done is said.
    let (code, said) = p12(
        dir,
        &["--key", "ec.key", "--cert", "ec.pem", "--out", "ec.key.p12", "--passphrase-file", "pass.txt"],
    );
    assert_eq!((code, said.contains("remove it")), (Some(1), true), "{said}");
    let (code, said) = p12(dir, &["--cert", "ec.pem", "--out", "x.p12", "--passphrase-file", "pass.txt"]);
    assert_eq!((code, said.contains("no private key")), (Some(1), true), "{said}");
    let (code, said) = p12(dir, &["--key", "ec.key", "--cert", "ec.pem", "--out", "x.p12"]);
    assert_eq!((code, said.contains("--passphrase-file")), (Some(1), true), "{said}");
    let (code, _) = p12(
        dir,
        &["--key", "rsa1.key", "--cert", "ec.pem", "--out", "x.p12", "--passphrase-file", "pass.txt"],
    );
    assert_eq!(code, Some(1));
    assert!(!dir.join("x.p12").exists());
}
