//! Streams that are plain or TLS, with both ends in the hands of a test: for bytes in amounts that are not kept.

use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringate::internals::certs::store::load_pair;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned};

use super::{PATIENCE, Pki};

/// One end of a connection.
pub enum Stream {
    Plain(TcpStream),
    Client(Box<StreamOwned<ClientConnection, TcpStream>>),
    Server(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Stream {
    /// Connects, over TLS to localhost if there is a config for it.
    pub fn connect(address: SocketAddr, tls: Option<Arc<ClientConfig>>) -> Self {
        let tcp = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        prepare(&tcp);
        match tls {
            None => Self::Plain(tcp),
            Some(config) => {
                let name = ServerName::try_from("localhost").unwrap();
                let connection = ClientConnection::new(config, name).unwrap();
                Self::Client(Box::new(StreamOwned::new(connection, tcp)))
            }
        }
    }

    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Client(tls) => &tls.sock,
            Self::Server(tls) => &tls.sock,
        }
    }

    /// Ends our side, in order, and leaves the other open.
    pub fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => {}
            Self::Client(tls) => tls.conn.send_close_notify(),
            Self::Server(tls) => tls.conn.send_close_notify(),
        }
        self.flush()?;
        self.tcp().shutdown(Shutdown::Write)
    }

    /// Ends the TCP connection in order, and TLS not at all: as a program does that died.
    pub fn cut(self) {
        let _ = self.tcp().shutdown(Shutdown::Both);
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        socket2::SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// The TLS session's protocol and cipher suite, once there is one.
    pub fn negotiated(&self) -> Option<(rustls::ProtocolVersion, rustls::CipherSuite)> {
        let common: &rustls::CommonState = match self {
            Self::Plain(_) => return None,
            Self::Client(tls) => &tls.conn,
            Self::Server(tls) => &tls.conn,
        };
        Some((common.protocol_version()?, common.negotiated_cipher_suite()?.suite()))
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.read(into),
            Self::Client(tls) => tls.read(into),
            Self::Server(tls) => tls.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.write(bytes),
            Self::Client(tls) => tls.write(bytes),
            Self::Server(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.flush(),
            Self::Client(tls) => tls.flush(),
            Self::Server(tls) => tls.flush(),
        }
    }
}

/// A server that runs a script on each connection's stream. It stops listening when it is dropped.
pub struct Server {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
}

impl Server {
    /// Runs `script` for each connection, in a thread of its own; what it leaves open is closed as it is.
    pub fn start(
        tls: Option<Arc<ServerConfig>>,
        script: impl Fn(&mut BufReader<Stream>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let stopped = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stopped);
        let script = Arc::new(script);
        std::thread::spawn(move || {
            for tcp in listener.incoming().map_while(Result::ok) {
                if stopping.load(Ordering::SeqCst) {
                    return;
                }
                prepare(&tcp);
                let stream = match &tls {
                    None => Stream::Plain(tcp),
                    Some(config) => {
                        let connection = ServerConnection::new(Arc::clone(config)).unwrap();
                        Stream::Server(Box::new(StreamOwned::new(connection, tcp)))
                    }
                };
                let script = Arc::clone(&script);
                // A proxy may hang up on a server at any time: that is no failure of the script.
                std::thread::spawn(move || {
                    let _ = script(&mut BufReader::with_capacity(64 * 1024, stream));
                });
            }
        });
        Self { address, stopped }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then lets go of the port.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

impl Pki {
    /// What a TLS server needs that presents the server identity and asks for nothing.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        let loaded = load_pair(&self.file("server.pem"), &self.file("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let (chain, key) = (loaded.bundle.chain().to_vec(), loaded.bundle.key().unwrap().clone_key());
        Arc::new(builder.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap())
    }
}

fn prepare(tcp: &TcpStream) {
    tcp.set_nodelay(true).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp.set_write_timeout(Some(PATIENCE)).unwrap();
}
