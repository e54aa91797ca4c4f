//! A CA of the test's own that issues whatever certificate a test needs: other names, other keys, other times.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ringate::certs::generate::{ca_signed, self_signed};
use ringate::certs::{CaMaterial, GenerateRequest, Generated, KeyType, Meta, Origin, San, Store};
use tempfile::TempDir;

/// A CA, and the files of what it issued.
pub struct Authority {
    ca: Generated,
    dir: TempDir,
}

/// A certificate with its key, on disk.
#[derive(Clone, Debug)]
pub struct Files {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// What is unusual about a certificate.
#[derive(Clone, Debug)]
pub struct Leaf<'a> {
    pub common_name: &'a str,
    pub names: &'a [&'a str],
    pub key_type: KeyType,
    /// Made so many days ago, for 30 days.
    pub days_ago: u64,
}

impl Default for Leaf<'_> {
    fn default() -> Self {
        Self { common_name: "leaf", names: &["localhost"], key_type: KeyType::EcdsaP256, days_ago: 0 }
    }
}

impl Leaf<'_> {
    fn request(&self) -> GenerateRequest {
        GenerateRequest {
            common_name: self.common_name.to_owned(),
            sans: self.names.iter().map(|name| San::Dns((*name).to_owned())).collect(),
            key_type: self.key_type,
            days: 30,
            ..GenerateRequest::default()
        }
    }

    fn made(&self) -> SystemTime {
        SystemTime::now() - days(self.days_ago)
    }
}

impl Authority {
    /// A CA that has existed for a year.
    pub fn new() -> Self {
        Self::named("An authority of the tests")
    }

    /// The same under another name.
    pub fn named(name: &str) -> Self {
        let request = GenerateRequest { is_ca: true, days: 3650, ..GenerateRequest::new(name) };
        let ca = self_signed(&request, SystemTime::now() - days(365)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.pem"), &ca.chain_pem).unwrap();
        Self { ca, dir }
    }

    /// Its certificate.
    pub fn file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Issues a certificate and writes it to files of that name.
    pub fn issue(&self, name: &str, leaf: &Leaf<'_>) -> Files {
        let issuer = CaMaterial::from_bundle(&self.ca.bundle).unwrap();
        self.write(name, &ca_signed(&leaf.request(), &issuer, leaf.made()).unwrap())
    }

    /// Makes a certificate that nobody else signed, in the same folder.
    pub fn self_signed(&self, name: &str, leaf: &Leaf<'_>) -> Files {
        self.write(name, &self_signed(&leaf.request(), leaf.made()).unwrap())
    }

    /// Issues a certificate into a store.
    pub fn issue_into(&self, store: &Path, name: &str, leaf: &Leaf<'_>) {
        let issuer = CaMaterial::from_bundle(&self.ca.bundle).unwrap();
        let made = ca_signed(&leaf.request(), &issuer, leaf.made()).unwrap();
        let meta = Meta { description: None, origin: Origin::Generated, now: SystemTime::now() };
        Store::open(store).unwrap().put(name, &made.bundle, &meta).unwrap();
    }

    /// Issues a certificate as the next generation of one in a store. Returns its number.
    pub fn stage_into(&self, store: &Path, name: &str, leaf: &Leaf<'_>) -> u32 {
        let issuer = CaMaterial::from_bundle(&self.ca.bundle).unwrap();
        let made = ca_signed(&leaf.request(), &issuer, leaf.made()).unwrap();
        let meta = Meta { description: None, origin: Origin::Generated, now: SystemTime::now() };
        Store::open(store).unwrap().stage(name, &made.bundle, &meta).unwrap().generation
    }

    fn write(&self, name: &str, made: &Generated) -> Files {
        let at = |kind: &str| self.dir.path().join(format!("{name}.{kind}"));
        let files = Files { cert: at("pem"), key: at("key") };
        fs::write(&files.cert, &made.chain_pem).unwrap();
        fs::write(&files.key, made.key_pem.as_bytes()).unwrap();
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
        files
    }
}

impl Files {
    /// As the config names a pair.
    pub fn toml(&self) -> String {
        format!("{{ cert = {:?}, key = {:?} }}", self.cert, self.key)
    }
}

fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}
