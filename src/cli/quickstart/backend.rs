//! The quickstart's backend: HTTPS that requires a client certificate and replies with the request as it arrived.
//!
//! It is an example of a user's backend. So it shares only the parser with the data path: its sockets block, and
//! each connection has a thread.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::base::limits::Limits;
use crate::certs::Store;
use crate::certs::store::load_trust;
use crate::http;
use crate::http1::{self, Body, Framing, HeadLimits, Parsed};
use crate::io::vital;

/// Most connections at a time; others are closed.
const MAX_CONNECTIONS: usize = 1024;
/// How long a connection may be silent. Longer than an upstream keeps its idle connections.
const IDLE: Duration = Duration::from_secs(120);
/// Bytes of one read.
const PIECE: usize = 16 * 1024;

/// Open connections.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// Starts the backend on a free port of the loopback, with the certificates in `dir`. It serves for as long as the process
/// lives.
pub(super) fn start(dir: &Path) -> Result<SocketAddr, String> {
    let config = Arc::new(config(dir)?);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let serve = move || match vital::guard("the embedded backend", || serve(&listener, &config)) {
        Ok(()) => vital::end("the embedded backend ended"),
        Err(error) => vital::end(&format!("the embedded backend: {error}")),
    };
    spawn(serve).map_err(|error| error.to_string())?;
    Ok(address)
}

/// TLS that requires a certificate of the quickstart's CA.
fn config(dir: &Path) -> Result<ServerConfig, String> {
    let store = Store::open(dir.join("certs")).map_err(|error| error.to_string())?;
    let server = store.get("server").map_err(|error| error.to_string())?.bundle;
    let key = server.key().ok_or("the quickstart's server certificate has no key")?.clone_key();
    let mut roots = rustls::RootCertStore::empty();
    for certificate in load_trust(&dir.join("ca.pem")).map_err(|error| error.to_string())? {
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| error.to_string())?;
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(verifier)
        .with_single_cert(server.chain().to_vec(), key)
        .map_err(|error| error.to_string())
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name("backend".to_owned()).spawn(work).map(drop)
}

fn serve(listener: &TcpListener, config: &Arc<ServerConfig>) -> io::Result<()> {
    loop {
        let (tcp, _) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(error),
        };
        if OPEN.fetch_add(1, Relaxed) >= MAX_CONNECTIONS {
            OPEN.fetch_sub(1, Relaxed);
            continue;
        }
        let config = Arc::clone(config);
        let work = move || {
            if let Err(reason) = connection(config, tcp) {
                tracing::debug!("quickstart backend: {reason}");
            }
            OPEN.fetch_sub(1, Relaxed);
        };
        if let Err(error) = spawn(work) {
            OPEN.fetch_sub(1, Relaxed);
            tracing::debug!("quickstart backend: {error}");
        }
    }
}

fn connection(config: Arc<ServerConfig>, tcp: TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(IDLE))?;
    let tls = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(tls, tcp);
    let mut received: Vec<u8> = Vec::new();
    loop {
        if let Some((reply, consumed, body)) = reply(&received).map_err(io::Error::other)? {
            received.drain(..consumed);
            skip(&mut stream, &mut received, body)?;
            stream.write_all(&reply)?;
            stream.flush()?;
        } else if !read(&mut stream, &mut received)? {
            return Ok(());
        }
    }
}

/// Adds what arrives. False: the peer has ended the connection.
fn read(stream: &mut impl Read, received: &mut Vec<u8>) -> io::Result<bool> {
    let mut piece = [0; PIECE];
    let count = stream.read(&mut piece)?;
    received.extend_from_slice(&piece[..count]);
    Ok(count > 0)
}

/// Reads a request's body to its end.
fn skip(stream: &mut impl Read, received: &mut Vec<u8>, mut body: Body) -> io::Result<()> {
    loop {
        let taken = body.take(received).map_err(|error| io::Error::other(error.to_string()))?;
        received.drain(..taken.consumed);
        if taken.done {
            return Ok(());
        }
        if !read(stream, received)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The reply to the request at the front of `received`, with the length of its head, and its body. `None`: its head has
/// not arrived whole.
fn reply(received: &[u8]) -> Result<Option<(Vec<u8>, usize, Body)>, String> {
    let mut slots = http1::header_slots();
    let limits = HeadLimits::from(&Limits::default());
    let head = match http1::parse_request(received, &mut slots, &limits) {
        Ok(Parsed::Complete(head)) => head,
        Ok(Parsed::Partial) => return Ok(None),
        Err(error) => return Err(error.reason().to_owned()),
    };
    let mut text = format!(
        "Hello from the quickstart backend. You came here through Ringate, over mutual TLS.\n\n{} {}\n",
        head.method.as_str(),
        head.target.path
    );
    for header in head.fields.iter() {
        text.push_str(&format!("{}: {}\n", header.name, String::from_utf8_lossy(header.value)));
    }
    let body = Body::new(if head.framing == Framing::None { Framing::Length(0) } else { head.framing });
    let mut reply = Vec::new();
    let head_only = matches!(head.method, http::Method::Head);
    http1::encode_reply(200, &text, false, head_only, &[], &mut reply);
    Ok(Some((reply, head.len, body)))
}
