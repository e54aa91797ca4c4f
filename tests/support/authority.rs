//! A CA of the test's own that issues whatever certificate a test needs: other names, other keys, other times.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ringate::internals::certs::generate::{ca_signed, self_signed};
use ringate::internals::certs::{CaMaterial, GenerateRequest, Generated, KeyType, Meta, Origin, San, Store};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
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

/// What is unusual about a certificate. Names with `://` are URIs.
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
            sans: self.names.iter().map(|name| san(name)).collect(),
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
        fs::write(dir.path().join("ca.key"), ca.key_pem.as_bytes()).unwrap();
        Self { ca, dir }
    }

    /// Its certificate.
    pub fn file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A list of these certificates as revoked ones, in PEM, by OpenSSL.
    pub fn revoke(&self, certificates: &[&Files]) -> PathBuf {
        let dir = tempfile::tempdir_in(self.dir.path()).unwrap().keep();
        let config = dir.join("config");
        let index = dir.join("index");
        fs::write(&index, "").unwrap();
        let number = dir.join("number");
        fs::write(&number, "01").unwrap();
        let text = "[ca]\ndefault_ca = d\n[e]\nauthorityKeyIdentifier = keyid\n[d]\ncrl_extensions = e\n\
                    default_md = sha256\ndefault_crl_days = 30\n";
        let (index, number) = (index.display(), number.display());
        fs::write(&config, format!("{text}database = {index}\ncrlnumber = {number}\n")).unwrap();
        let list = dir.join("crl.pem");
        let openssl = |args: &[&std::ffi::OsStr]| {
            let mut command = std::process::Command::new("openssl");
            command.arg("ca").arg("-config").arg(&config).arg("-keyfile").arg(self.dir.path().join("ca.key"));
            let output = super::run(command.arg("-cert").arg(self.file()).args(args));
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        for files in certificates {
            openssl(&["-revoke".as_ref(), files.cert.as_os_str()]);
        }
        openssl(&["-gencrl".as_ref(), "-out".as_ref(), list.as_os_str()]);
        list
    }

    /// What a TLS client needs that trusts it and has no certificate.
    pub fn client_config(&self) -> std::sync::Arc<rustls::ClientConfig> {
        std::sync::Arc::new(self.clients().with_no_client_auth())
    }

    /// The same for one that presents this certificate.
    pub fn client_config_as(&self, files: &Files) -> std::sync::Arc<rustls::ClientConfig> {
        let chain = CertificateDer::pem_file_iter(&files.cert).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
        std::sync::Arc::new(self.clients().with_client_auth_cert(chain, key).unwrap())
    }

    fn clients(&self) -> rustls::ConfigBuilder<rustls::ClientConfig, rustls::client::WantsClientCert> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.ca.bundle.chain()[0].clone()).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        config.unwrap().with_root_certificates(roots)
    }

    /// Issues a certificate and writes it to files of that name.
    pub fn issue(&self, name: &str, leaf: &Leaf<'_>) -> Files {
        let issuer = CaMaterial::from_bundle(&self.ca.bundle).unwrap();
        self.write(name, &ca_signed(&leaf.request(), &issuer, leaf.made()).unwrap())
    }

    /// Makes a self-signed certificate, in the same folder.
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

    /// Puts the CA's own certificate into a store.
    pub fn store_itself(&self, store: &Path, name: &str) {
        let meta = Meta { description: None, origin: Origin::Generated, now: SystemTime::now() };
        Store::open(store).unwrap().put(name, &self.ca.bundle, &meta).unwrap();
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

fn san(name: &str) -> San {
    if name.contains("://") { San::Uri(name.to_owned()) } else { San::Dns(name.to_owned()) }
}

fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}
