//! A CA with a server and a client identity, on disk for programs that read files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use ringate::internals::certs::generate::{QuickstartPki, quickstart_pki};
use ringate::internals::certs::{Meta, Origin, San, Store};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;

/// `ca.pem`, `server.pem` and `server.key` for localhost, `client.pem` and `client.key`; and a store with the same.
pub struct Pki {
    made: QuickstartPki,
    dir: TempDir,
}

impl Pki {
    pub fn new() -> Self {
        Self::with_names(&[])
    }

    /// The server is good for these names, too.
    pub fn with_names(names: &[&str]) -> Self {
        let names: Vec<San> = names.iter().map(|name| San::Dns((*name).to_owned())).collect();
        let made = quickstart_pki(&names, SystemTime::now()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        for (name, identity) in [("ca", &made.ca), ("server", &made.server), ("client", &made.client)] {
            fs::write(dir.path().join(format!("{name}.pem")), &identity.chain_pem).unwrap();
            fs::write(dir.path().join(format!("{name}.key")), identity.key_pem.as_bytes()).unwrap();
        }
        Self { made, dir }
    }

    /// The path of one of its files.
    pub fn file(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        assert!(path.exists(), "{name}");
        path
    }

    /// Lines for a listener that presents the server identity.
    pub fn listener_tls(&self) -> String {
        let (cert, key) = (self.file("server.pem"), self.file("server.key"));
        format!("[listener.tls]\ncertificates = [{{ cert = {cert:?}, key = {key:?} }}]")
    }

    /// Lines for `[upstream.app]` that trusts the CA, and calls its backend localhost.
    pub fn upstream_tls(&self) -> String {
        format!("[upstream.app.tls]\nserver_name = \"localhost\"\ntrust = [{:?}]\n", self.file("ca.pem"))
    }

    /// The same, and presents the client identity.
    pub fn upstream_mutual_tls(&self) -> String {
        let (cert, key) = (self.file("client.pem"), self.file("client.key"));
        format!("{}certificate = {{ cert = {cert:?}, key = {key:?} }}\n", self.upstream_tls())
    }

    /// Its identities in a store, under the names given.
    pub fn store(&self, folder: &Path, server: &str, client: &str) {
        let store = Store::open(folder).unwrap();
        let now = SystemTime::now();
        for (name, identity) in [(server, &self.made.server), (client, &self.made.client)] {
            let meta = Meta { description: None, origin: Origin::Generated, now };
            store.put(name, &identity.bundle, &meta).unwrap();
        }
    }

    /// What a TLS client needs that trusts the CA and has no certificate.
    pub fn client_config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.made.ca.bundle.chain()[0].clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        Arc::new(config.unwrap().with_root_certificates(roots).with_no_client_auth())
    }
}
