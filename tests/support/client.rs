//! A client that sends exactly the given bytes and shows exactly what it gets.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::PATIENCE;
use super::wire::{Ahead, Response};

trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// A connection to Ringate, or to anything.
pub struct Client {
    tcp: TcpStream,
    stream: Box<dyn Stream>,
    ahead: Ahead,
}

impl Client {
    /// A plain connection.
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap_or_else(|error| panic!("connect to {address}: {error}"))
    }

    /// A plain connection, if it is accepted.
    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let tcp = dial(address)?;
        Ok(Self { stream: Box::new(tcp.try_clone()?), tcp, ahead: Ahead::default() })
    }

    /// A TLS connection. The handshake happens with the first bytes.
    pub fn tls(address: SocketAddr, config: Arc<ClientConfig>, name: &str) -> Self {
        let tcp = dial(address).unwrap_or_else(|error| panic!("connect to {address}: {error}"));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let tls = ClientConnection::new(config, name).unwrap();
        let stream = Box::new(StreamOwned::new(tls, tcp.try_clone().unwrap()));
        Self { tcp, stream, ahead: Ahead::default() }
    }

    /// Sends all of it.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.try_send(bytes).unwrap();
        self
    }

    /// Sends it unless the peer has had enough.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())?;
        self.stream.flush()
    }

    /// The next response, interim ones included.
    pub fn response(&mut self) -> Response {
        self.try_response().unwrap_or_else(|error| panic!("{error}, after {:?}", self.ahead_text()))
    }

    /// The next response, if there is a whole one.
    pub fn try_response(&mut self) -> io::Result<Response> {
        self.ahead.response(&mut self.stream, false)
    }

    /// The next response, to HEAD.
    pub fn response_to_head(&mut self) -> Response {
        self.ahead.response(&mut self.stream, true).unwrap()
    }

    /// The next `count` bytes.
    pub fn try_bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        self.ahead.exactly(&mut self.stream, count)
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let bytes = self.ahead.exactly(&mut self.stream, count);
        bytes.unwrap_or_else(|error| panic!("{error}, after {:?}", self.ahead_text()))
    }

    /// All bytes up to and with `end`.
    pub fn until(&mut self, end: &str) -> String {
        let bytes = self.ahead.until(&mut self.stream, end.as_bytes()).unwrap().unwrap_or_default();
        String::from_utf8(bytes).unwrap()
    }

    /// All bytes until the peer ends its side, in order.
    pub fn rest(&mut self) -> Vec<u8> {
        self.try_rest().unwrap()
    }

    /// All bytes until the peer ends its side; an error if it does so with a reset, or not at all.
    pub fn try_rest(&mut self) -> io::Result<Vec<u8>> {
        self.ahead.rest(&mut self.stream)
    }

    /// Asserts that the peer closes without another byte.
    pub fn closes(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "more bytes: {:?}", String::from_utf8_lossy(&rest));
    }

    /// Asserts that the peer closes without another byte, in order or with a reset.
    pub fn ends(&mut self) {
        match self.try_rest() {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("still open: {error}"),
            Ok(rest) => assert!(rest.is_empty(), "more bytes: {:?}", String::from_utf8_lossy(&rest)),
        }
    }

    /// Ends our side and leaves the other open.
    pub fn finish_sending(&mut self) {
        self.tcp.shutdown(Shutdown::Write).unwrap();
    }

    /// Closes with a reset.
    pub fn reset(self) {
        socket2::SockRef::from(&self.tcp).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }

    pub fn local_address(&self) -> SocketAddr {
        self.tcp.local_addr().unwrap()
    }

    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    fn ahead_text(&self) -> String {
        String::from_utf8_lossy(&self.ahead.0).into_owned()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.tcp).finish()
    }
}

fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect_timeout(&address, PATIENCE)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    tcp.set_write_timeout(Some(PATIENCE))?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}
