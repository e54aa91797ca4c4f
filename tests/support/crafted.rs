//! Certificates that are wrong in exactly one way.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationList, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber,
};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

use super::{Files, run};

/// A CA whose certificates a test shapes as it likes.
pub struct Crafted {
    issuer: Issuer<'static, KeyPair>,
    files: Files,
    dir: TempDir,
    name: String,
}

impl Crafted {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// A root that `shape` has changed.
    pub fn with(shape: impl FnOnce(&mut CertificateParams)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("Crafted CA {}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut params = authority(&name);
        shape(&mut params);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let files = write(dir.path(), "ca", &pem, &key.serialize_pem());
        Self { issuer: Issuer::new(params, key), files, dir, name }
    }

    /// The root's common name.
    pub fn name(&self) -> String {
        self.name.clone()
    }

    /// The root's certificate.
    pub fn file(&self) -> PathBuf {
        self.files.cert.clone()
    }

    /// A server certificate for localhost and 127.0.0.1 that `shape` has changed.
    pub fn issue(&self, name: &str, shape: impl FnOnce(&mut CertificateParams)) -> Files {
        let mut params = leaf();
        shape(&mut params);
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        write(self.dir.path(), name, &pem, &key.serialize_pem())
    }

    /// A server certificate of an authority between, which `shape` has changed; both are in the file.
    pub fn issue_below(&self, name: &str, shape: impl FnOnce(&mut CertificateParams)) -> Files {
        let mut params = authority("Between");
        shape(&mut params);
        let key = KeyPair::generate().unwrap();
        let between = params.signed_by(&key, &self.issuer).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let pem = leaf().signed_by(&key, &issuer).unwrap().pem();
        write(self.dir.path(), name, &(pem + &between), &key.serialize_pem())
    }

    /// A client certificate with this serial number, which is its common name too.
    pub fn client(&self, serial: u64) -> Files {
        self.issue(&format!("client-{serial}"), |params| {
            params.serial_number = Some(SerialNumber::from(serial));
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params.distinguished_name.push(DnType::CommonName, serial.to_string());
        })
    }

    /// A revocation list with these serial numbers, replaced in so many days.
    pub fn crl(&self, name: &str, revoked: &[u64], days: i64, der: bool) -> PathBuf {
        let list = self.list(revoked, -30, days);
        let path = self.dir.path().join(name);
        if der {
            fs::write(&path, list.der()).unwrap();
        } else {
            fs::write(&path, list.pem().unwrap()).unwrap();
        }
        path
    }

    /// The same in PEM, from one day to another, counted from today.
    pub fn crl_of(&self, revoked: &[u64], from: i64, until: i64) -> String {
        self.list(revoked, from, until).pem().unwrap()
    }

    fn list(&self, revoked: &[u64], from: i64, until: i64) -> CertificateRevocationList {
        let now = OffsetDateTime::now_utc();
        let revoked_certs = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: now - Duration::days(40),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: now + Duration::days(from),
            next_update: now + Duration::days(until),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap()
    }

    /// A certificate for localhost made by OpenSSL, of this CA: a key as `-newkey` takes it (or `ec:` and `ec384:`), a
    /// digest as `-sha256`.
    pub fn openssl(&self, name: &str, key: &str, digest: &str) -> Files {
        let at = |kind: &str| self.dir.path().join(format!("{name}.{kind}"));
        let extensions = at("ext");
        fs::write(&extensions, "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
        let request = ["req", "-new", "-nodes", "-subj", "/CN=localhost", "-newkey", key, digest];
        openssl(&request, &[("-keyout", &at("key")), ("-out", &at("csr"))]);
        let sign = ["x509", "-req", "-days", "30", "-CAcreateserial", digest];
        let files = [
            ("-in", &at("csr")),
            ("-out", &at("pem")),
            ("-extfile", &extensions),
            ("-CA", &self.files.cert),
            ("-CAkey", &self.files.key),
        ];
        openssl(&sign, &files);
        Files { cert: at("pem"), key: at("key") }
    }

    /// A root of OpenSSL's, and a P-256 certificate for localhost that it issued.
    pub fn openssl_root(name: &str, key: &str) -> (Self, Files) {
        let dir = tempfile::tempdir().unwrap();
        let at = |kind: &str| dir.path().join(format!("{name}.{kind}"));
        let root =
            ["req", "-x509", "-nodes", "-days", "30", "-subj", "/CN=An old root", "-sha256", "-newkey", key];
        openssl(&root, &[("-keyout", &at("key")), ("-out", &at("pem"))]);
        let files = Files { cert: at("pem"), key: at("key") };
        let other = Self::new();
        let crafted = Self { issuer: other.issuer, files, dir, name: "An old root".to_owned() };
        let leaf = crafted.openssl("leaf", "ec:", "-sha256");
        (crafted, leaf)
    }
}

/// Runs openssl with words and then with options that are paths.
fn openssl(words: &[&str], paths: &[(&str, &PathBuf)]) {
    let mut command = Command::new("openssl");
    for word in words {
        match *word {
            "ec:" => command.args(["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]),
            "ec384:" => command.args(["ec", "-pkeyopt", "ec_paramgen_curve:P-384"]),
            word => command.arg(word),
        };
    }
    for (option, path) in paths {
        command.arg(option).arg(path);
    }
    let output = run(&mut command);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn leaf() -> CertificateParams {
    let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "crafted");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn write(dir: &Path, name: &str, cert: &str, key: &str) -> Files {
    let at = |kind: &str| dir.join(format!("{name}.{kind}"));
    let files = Files { cert: at("pem"), key: at("key") };
    fs::write(&files.cert, cert).unwrap();
    fs::write(&files.key, key).unwrap();
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
    files
}
