//! A backend that requires client certificates, whose trust changes while it runs, and that counts requests by client.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringate::internals::certs::Facts;
use ringate::internals::certs::store::load_trust;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};

use super::wire::Ahead;
use super::{Pki, Server, Stream};

/// The header in which clients say when they began, in milliseconds since 1970.
pub const STARTED: &str = "X-Started";

/// See the module.
pub struct Judge {
    server: Server,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    trusted: RwLock<Option<Arc<dyn ClientCertVerifier>>>,
    book: Mutex<BTreeMap<String, Asked>>,
}

/// What was asked with one certificate.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// Requests.
    pub requests: u64,
    /// When the last of them was begun by its client, in milliseconds since 1970.
    pub started: u128,
}

impl Judge {
    /// Presents the server identity of `pki`, speaks `version` alone, and trusts these authorities.
    pub fn start(pki: &Pki, version: &'static SupportedProtocolVersion, trusted: &[&Path]) -> Self {
        let shared = Arc::<Shared>::default();
        shared.trust(trusted);
        let identity =
            ringate::internals::certs::store::load_pair(&pki.file("server.pem"), &pki.file("server.key"));
        let bundle = identity.unwrap().bundle;
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(Arc::new(Verifier(Arc::clone(&shared))))
            .with_single_cert(bundle.chain().to_vec(), bundle.key().unwrap().clone_key())
            .unwrap();
        config.max_early_data_size = 0;
        let serving = Arc::clone(&shared);
        let server = Server::start(Some(Arc::new(config)), move |stream| serving.serve(stream));
        Self { server, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Trusts these authorities from now on, in handshakes that are made in full.
    pub fn trust(&self, authorities: &[&Path]) {
        self.shared.trust(authorities);
    }

    /// What was asked with the certificate of this common name.
    pub fn asked(&self, name: &str) -> Asked {
        self.shared.book.lock().unwrap().get(name).copied().unwrap_or_default()
    }

    /// Forgets what was asked.
    pub fn forget(&self) {
        self.shared.book.lock().unwrap().clear();
    }
}

impl Shared {
    fn trust(&self, authorities: &[&Path]) {
        let mut roots = RootCertStore::empty();
        for certificate in authorities.iter().flat_map(|path| load_trust(path).unwrap()) {
            roots.add(certificate).unwrap();
        }
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()));
        *self.trusted.write().unwrap() = Some(verifier.build().unwrap());
    }

    fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(self.trusted.read().unwrap().as_ref().unwrap())
    }

    fn serve(&self, stream: &mut BufReader<Stream>) -> io::Result<()> {
        let mut ahead = Ahead::default();
        while let Some(request) = ahead.request(stream)? {
            let name = match stream.get_ref() {
                Stream::Server(tls) => {
                    let leaf = tls.conn.peer_certificates().map(|chain| &chain[0]);
                    leaf.and_then(|leaf| Facts::from_der(leaf).ok()?.common_name).unwrap_or_default()
                }
                _ => String::new(),
            };
            let started = request.header(STARTED).and_then(|text| text.parse().ok()).unwrap_or(0);
            {
                let mut book = self.book.lock().unwrap();
                let asked = book.entry(name.clone()).or_default();
                asked.requests += 1;
                asked.started = asked.started.max(started);
            }
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
            stream.get_mut().write_all(answer.as_bytes())?;
        }
        Ok(())
    }
}

/// Milliseconds since 1970.
pub fn millis() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis()
}

struct Verifier(Arc<Shared>);

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier")
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0.verifier().verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verifier().verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verifier().verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.verifier().supported_verify_schemes()
    }
}
