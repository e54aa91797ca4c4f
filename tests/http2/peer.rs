//! A client that sends frames as a test has them.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use ringate::internals::http2::{Decoder, FieldLimits, FieldList};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const PRIORITY_UPDATE: u8 = 16;

/// END_STREAM; of SETTINGS and PING, ACK.
pub const ES: u8 = 1;
/// END_HEADERS
pub const EH: u8 = 4;
pub const PADDED: u8 = 8;
pub const PRIO: u8 = 32;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Error codes.
pub const PROTOCOL_ERROR: u32 = 1;
pub const FLOW_CONTROL_ERROR: u32 = 3;
pub const STREAM_CLOSED: u32 = 5;
pub const FRAME_SIZE_ERROR: u32 = 6;
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;
pub const COMPRESSION_ERROR: u32 = 9;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame as bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A header block of literals that enter no table.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            let length = text.len();
            if length < 127 {
                bytes.push(length as u8);
            } else {
                bytes.push(127);
                let mut rest = length - 127;
                while rest >= 128 {
                    bytes.push((rest % 128 + 128) as u8);
                    rest /= 128;
                }
                bytes.push(rest as u8);
            }
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes
}

/// The fields of a request for `/`, with others behind them.
pub fn request(method: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut fields =
        vec![(":method", method), (":scheme", "http"), (":path", "/"), (":authority", "localhost")];
    fields.extend_from_slice(more);
    block(&fields)
}

/// HEADERS of a GET, whole.
pub fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, ES | EH, stream, request("GET", &[]))
}

/// HEADERS of a POST whose content follows.
pub fn post(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, EH, stream, request("POST", more))
}

/// A frame that was received.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The number at the payload's end, of RST_STREAM and GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    pub fn ends(&self) -> bool {
        self.flags & ES != 0 && matches!(self.kind, DATA | HEADERS)
    }
}

/// What came of a stream.
#[derive(Debug, Default)]
pub struct Answer {
    /// Of each head, interim ones and trailers too.
    pub heads: Vec<Vec<(String, String)>>,
    pub body: Vec<u8>,
    pub reset: Option<u32>,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.field(":status").map_or(0, |status| status.parse().unwrap())
    }

    /// A field of the final head.
    pub fn field(&self, name: &str) -> Option<&str> {
        let is_final = |head: &&Vec<(String, String)>| {
            head.iter().any(|(name, value)| name == ":status" && !value.starts_with('1'))
        };
        let head = self.heads.iter().find(is_final)?;
        head.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn trailer(&self, name: &str) -> Option<&str> {
        let last = self.heads.last()?.iter();
        last.clone().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// See the module.
pub struct Peer {
    wire: Wire,
    decoder: Decoder,
    /// What it is for, in messages.
    pub name: &'static str,
}

impl Peer {
    /// A connection on which nothing was sent.
    pub fn silent(address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        tcp.set_nodelay(true).unwrap();
        Self { wire: Wire::Plain(tcp), decoder: Decoder::default(), name: "" }
    }

    /// The same over TLS, with this protocol offered.
    pub fn silent_tls(address: SocketAddr, config: &ClientConfig, alpn: &[u8]) -> Self {
        Self::over_tls(TcpStream::connect(address).unwrap(), config, alpn)
    }

    fn over_tls(tcp: TcpStream, config: &ClientConfig, alpn: &[u8]) -> Self {
        tcp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut config = config.clone();
        config.alpn_protocols = vec![alpn.to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        Self {
            wire: Wire::Tls(Box::new(StreamOwned::new(connection, tcp))),
            decoder: Decoder::default(),
            name: "",
        }
    }

    /// The same by HTTP/2. `None`: nothing listens there any more.
    pub fn try_tls(address: SocketAddr, config: &ClientConfig) -> Option<Self> {
        let tcp = TcpStream::connect(address).ok()?;
        Some(Self::over_tls(tcp, config, b"h2"))
    }

    /// A connection whose settings are exchanged.
    pub fn connect(address: SocketAddr) -> Self {
        let mut peer = Self::silent(address);
        peer.greet(&[]);
        peer
    }

    /// Sends the preface and these settings.
    pub fn greet(&mut self, settings: &[(u16, u32)]) {
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend_from_slice(&id.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        self.send([PREFACE, &frame(SETTINGS, 0, 0, payload), &frame(SETTINGS, ES, 0, [])].concat());
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.try_send(bytes);
    }

    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        match &mut self.wire {
            Wire::Plain(tcp) => tcp.write_all(bytes.as_ref()),
            Wire::Tls(tls) => tls.write_all(bytes.as_ref()).and_then(|()| tls.flush()),
        }
    }

    fn read(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count];
        let result = match &mut self.wire {
            Wire::Plain(tcp) => tcp.read_exact(&mut bytes),
            Wire::Tls(tls) => tls.read_exact(&mut bytes),
        };
        match result {
            Ok(()) => Some(bytes),
            Err(error) => {
                let silent = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
                assert!(
                    !silent,
                    "{}: nothing is sent for 10 seconds, and the connection stays open",
                    self.name
                );
                None
            }
        }
    }

    /// The next frame; `None`: the connection was closed.
    pub fn frame(&mut self) -> Option<Frame> {
        let head = self.read(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
        Some(Frame { kind: head[3], flags: head[4], stream, payload: self.read(length)? })
    }

    /// Skips frames up to one of this kind.
    pub fn until(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.frame().expect("the connection was closed");
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// The fields of a header block in one frame.
    pub fn fields(&mut self, payload: &[u8]) -> Vec<(String, String)> {
        let mut list = FieldList::new();
        list.clear(FieldLimits { bytes: 1 << 20, fields: 1000 });
        self.decoder.decode(payload, &mut list).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        list.all().map(|field| (text(field.name), text(field.value))).collect()
    }

    /// Everything of one stream, to its end. Windows are granted as content arrives.
    pub fn answer(&mut self, stream: u32) -> Answer {
        let mut answer = Answer::default();
        loop {
            let Some(frame) = self.frame() else { panic!("the connection was closed: {answer:?}") };
            match frame.kind {
                // All blocks are decoded, for the table's sake.
                HEADERS => {
                    let fields = self.fields(&frame.payload);
                    if frame.stream == stream {
                        answer.heads.push(fields);
                    }
                }
                DATA => {
                    if !frame.payload.is_empty() {
                        let grant = (frame.payload.len() as u32).to_be_bytes();
                        self.send(self::frame(WINDOW_UPDATE, 0, 0, grant));
                        if !frame.ends() {
                            self.send(self::frame(WINDOW_UPDATE, 0, frame.stream, grant));
                        }
                    }
                    if frame.stream == stream {
                        answer.body.extend_from_slice(&frame.payload);
                    }
                }
                RST_STREAM if frame.stream == stream => {
                    answer.reset = Some(frame.code());
                    return answer;
                }
                GOAWAY => assert_eq!(frame.code(), 0, "{answer:?}"),
                _ => {}
            }
            if frame.ends() && frame.stream == stream {
                return answer;
            }
        }
    }

    /// The code of the GOAWAY that ends the connection; `None`: it is just closed.
    pub fn ended(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.frame() {
            if frame.kind == GOAWAY {
                code = Some(frame.code());
            }
        }
        code
    }

    /// Whether the connection is in use: a PING is answered.
    pub fn is_alive(&mut self) -> bool {
        self.send(frame(PING, 0, 0, b"are you?"));
        loop {
            match self.frame() {
                None => return false,
                Some(frame) if frame.kind == PING && frame.payload == b"are you?" => {
                    return frame.flags & ES != 0;
                }
                Some(_) => {}
            }
        }
    }
}
