//! Two ends in memory: what one writes, the other reads, in pieces as small as a test wants.

mod alerts;
mod established;
mod failures;
mod garbage;
mod identities;
mod interop;
mod resumption;
mod trusted;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::{Arc, LazyLock};

use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256,
    SignatureAlgorithm,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ServerConfig, SupportedCipherSuite};

use super::config::CIPHER_SUITES;
use super::*;
use crate::base::published::Published;

/// The name that backends of these tests have.
const NAME: &str = "backend.test";

/// An authority of these tests.
struct Authority {
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { der, issuer: Issuer::new(params, key) }
    }

    fn leaf(
        &self,
        algorithm: &'static SignatureAlgorithm,
        params: CertificateParams,
    ) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        (vec![leaf.der().clone()], private_key(&key))
    }

    fn identity(&self, name: &str, generation: u64, names: &[&str]) -> Identity {
        let (chain, key) = self.leaf(&PKCS_ECDSA_P256_SHA256, params(names));
        Identity::new(name, generation, chain, key).unwrap()
    }

    fn trust(&self) -> TrustAnchors {
        TrustAnchors::build([self.der.clone()]).unwrap()
    }
}

fn params(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap()
}

fn private_key(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::try_from(key.serialize_der()).unwrap()
}

/// Made once, since RSA keys take their time.
struct Pki {
    authority: Authority,
    ecdsa: Published<Identity>,
    rsa: Published<Identity>,
    client: Published<Identity>,
}

static PKI: LazyLock<Pki> = LazyLock::new(|| {
    let authority = Authority::new("Test CA");
    let (chain, key) = authority.leaf(&PKCS_RSA_SHA256, params(&[NAME]));
    Pki {
        ecdsa: Published::new(authority.identity("ecdsa", 1, &[NAME])),
        rsa: Published::new(Identity::new("rsa", 1, chain, key).unwrap()),
        client: Published::new(authority.identity("client", 7, &["client.test"])),
        authority,
    }
});

/// A client policy that trusts the test authority and presents nothing.
fn client_policy() -> ClientPolicy {
    ClientPolicy {
        versions: Versions::default(),
        cipher_suites: None,
        groups: None,
        verifier: BackendVerifier::new(PKI.authority.trust(), Vec::new(), [], RsaBits::default()).unwrap(),
        alpn: Vec::new(),
    }
}

fn server_policy() -> ServerPolicy {
    ServerPolicy {
        versions: Versions::default(),
        cipher_suites: None,
        cipher_order: CipherOrder::Server,
        groups: None,
        resolver: Arc::new(ServerResolver::new(vec![PKI.ecdsa.clone(), PKI.rsa.clone()])),
        client_verifier: None,
        alpn: Vec::new(),
        ticketer: ticketer().unwrap(),
    }
}

/// A server policy that demands a client certificate of `authority`.
fn demanding(authority: &Authority) -> ServerPolicy {
    let verifier =
        ClientVerifier::new(authority.trust(), Arc::default(), (Demand::Required, ClientUsage::Client))
            .unwrap();
    ServerPolicy { client_verifier: Some(verifier), ..server_policy() }
}

/// A client that presents `identity` and keeps no sessions.
fn presenting(policy: &ClientPolicy, identity: Option<Arc<Identity>>) -> Arc<ClientConfig> {
    bind(&client_config(policy).unwrap(), identity, Arc::new(Sessions::new(name(NAME), 0)))
}

fn only(suite: SupportedCipherSuite) -> Arc<ClientConfig> {
    client_config(&ClientPolicy { cipher_suites: Some(vec![suite]), ..client_policy() }).unwrap()
}

fn name(name: &str) -> ServerName<'static> {
    ServerName::try_from(name.to_owned()).unwrap()
}

/// A peer that takes bytes and answers with bytes.
trait Party {
    fn take(&mut self, bytes: &[u8]) -> Vec<u8>;
}

/// Our side of a handshake.
struct End {
    handshake: Handshake,
    inbox: Vec<u8>,
    result: Result<State, HandshakeError>,
}

impl End {
    fn client(config: &Arc<ClientConfig>) -> Self {
        Self::new(Handshake::client(Arc::clone(config), name(NAME)).unwrap())
    }

    fn server(config: &Arc<ServerConfig>) -> Self {
        Self::new(Handshake::server(Arc::clone(config)).unwrap())
    }

    fn new(handshake: Handshake) -> Self {
        Self { handshake, inbox: Vec::new(), result: Ok(State::NeedsInput) }
    }

    fn finish(self) -> Line {
        assert_eq!(self.result, Ok(State::Done));
        let Established { opener, sealer, facts, early_plaintext } = self.handshake.finish().unwrap();
        assert!(early_plaintext.is_empty());
        Line { opener, sealer, facts, inbox: self.inbox, closed: false }
    }
}

impl Party for End {
    fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.inbox.extend_from_slice(bytes);
        let mut out = Vec::new();
        if self.result == Ok(State::NeedsInput) {
            self.result = self.handshake.advance(&mut self.inbox, &mut out).map(|progress| {
                self.inbox.drain(..progress.consumed);
                progress.state
            });
        }
        out
    }
}

/// rustls' own, buffered connection.
impl Party for rustls::Connection {
    fn take(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        while !bytes.is_empty() {
            self.read_tls(&mut bytes).unwrap();
            self.process_new_packets().unwrap();
        }
        let mut out = Vec::new();
        while self.wants_write() {
            self.write_tls(&mut out).unwrap();
        }
        out
    }
}

/// Lets two parties talk in pieces of `piece` bytes until both are silent.
fn pump(client: &mut dyn Party, server: &mut dyn Party, piece: usize) {
    let mut to_server = VecDeque::from(client.take(&[]));
    let mut to_client = VecDeque::new();
    while !to_server.is_empty() || !to_client.is_empty() {
        let bytes: Vec<u8> = to_server.drain(..piece.min(to_server.len())).collect();
        to_client.extend(server.take(&bytes));
        let bytes: Vec<u8> = to_client.drain(..piece.min(to_client.len())).collect();
        to_server.extend(client.take(&bytes));
    }
}

/// A handshake between two ends of ours.
fn shake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> (Line, Line) {
    let (mut client, mut server) = (End::client(client), End::server(server));
    pump(&mut client, &mut server, usize::MAX);
    (client.finish(), server.finish())
}

/// An established connection and what it has received but not opened.
struct Line {
    opener: Opener,
    sealer: Sealer,
    facts: Facts,
    inbox: Vec<u8>,
    closed: bool,
}

impl Line {
    fn send(&mut self, data: &[u8]) -> Vec<u8> {
        let mut out = vec![0; data.len() + (data.len() / Sealer::MAX_FRAGMENT + 4) * 64];
        let (taken, written) = self.sealer.seal_into(data, &mut out).unwrap();
        assert_eq!(taken, data.len());
        out.truncate(written);
        out
    }

    fn pending(&mut self) -> Vec<u8> {
        let mut out = vec![0; Sealer::CONTROL_ROOM];
        let written = self.sealer.pending(&mut out).unwrap();
        out.truncate(written);
        out
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<Vec<u8>, RecordError> {
        self.inbox.extend_from_slice(bytes);
        let mut data = Vec::new();
        loop {
            let consumed = match self.opener.open(&mut self.inbox)? {
                Opened::Incomplete { need } => {
                    assert!(need > self.inbox.len());
                    return Ok(data);
                }
                Opened::Data { plaintext, consumed } => {
                    assert!(!plaintext.is_empty());
                    data.extend_from_slice(&self.inbox[plaintext]);
                    consumed
                }
                Opened::Control { consumed } => consumed,
                Opened::Closed { .. } => {
                    self.closed = true;
                    return Ok(data);
                }
            };
            self.inbox.drain(..consumed);
        }
    }
}

/// Gives rustls' connection what must need no answer; answers what it decrypts.
fn hear(peer: &mut rustls::Connection, mut wire: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    let mut chunk = [0; 4096];
    while !wire.is_empty() {
        peer.read_tls(&mut wire).unwrap();
        peer.process_new_packets().unwrap();
        while let Ok(n @ 1..) = peer.reader().read(&mut chunk) {
            data.extend_from_slice(&chunk[..n]);
        }
    }
    assert!(!peer.wants_write());
    data
}

fn say(peer: &mut rustls::Connection, data: &[u8]) -> Vec<u8> {
    peer.writer().write_all(data).unwrap();
    peer.take(&[])
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 % 251) as u8).collect()
}
