//! The handshake: rustls' unbuffered state machine, driven one record at a time.
//!
//! One record at a time, so that rustls never reads beyond the handshake: whatever follows it, a
//! ticket, a key update or data, stays in the caller's buffer for the [`Opener`].

use std::sync::Arc;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedConnectionCommon, UnbufferedStatus};
use rustls::{
    CipherSuite, ClientConfig, CommonState, ExtractedSecrets, HandshakeKind, NamedGroup, ProtocolVersion,
    ServerConfig, Side, SupportedCipherSuite,
};

use super::error::{HandshakeError, Preview, RecordError};
use super::guard::{Guard, Offered, Phase, alert_for};
use super::identity::{Identity, Observed, observe};
use super::record::{Kernel, Opener, Sealer, halves};
use super::watched::{Notes, ends_with_alert, watch};
use crate::base::limits::{MAX_HANDSHAKE_BYTES, MAX_TLS_RECORD_BYTES};

const HEADER: usize = 5;

/// What one call of [`Handshake::advance`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes to drop from the front of `incoming`.
    pub consumed: usize,
    /// The next step.
    pub state: State,
}

/// What a handshake waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Send what is in `out`, then read: what is left of `incoming` is no whole record.
    NeedsInput,
    /// Send what is in `out`, then [`Handshake::finish`]. What is left of `incoming` is for the [`Opener`].
    Done,
}

/// Whether a server requested our certificate, and what it got.
#[derive(Clone, Debug, Default)]
pub enum ClientAuth {
    /// It did not; so it is with resumed sessions.
    #[default]
    NotAsked,
    /// It did, and we had no certificate, or none that suits its signature schemes.
    AskedInVain,
    /// It did and got this identity. In TLS 1.3 its verdict is still open (see [`RecordError::PeerAlert`]).
    Presented(Arc<Identity>),
}

/// What is known of an established connection.
#[derive(Clone, Debug)]
pub struct Facts {
    /// TLS 1.2 or 1.3.
    pub version: ProtocolVersion,
    /// The cipher suite.
    pub suite: CipherSuite,
    /// The key exchange group; none where TLS 1.2 resumed.
    pub group: Option<NamedGroup>,
    /// Whether a session was resumed.
    pub resumed: bool,
    /// The application protocol.
    pub alpn: Option<Vec<u8>>,
    /// On a server: the name that the client sent (SNI), if [`ServerResolver`](super::ServerResolver) is in use.
    pub sni: Option<String>,
    /// The peer's chain, leaf first; in a resumed session, that of the original one.
    pub peer_certificates: Option<Vec<CertificateDer<'static>>>,
    /// On a client: what became of our certificate.
    pub client_auth: ClientAuth,
    /// On a client: the names (in DER) of the authorities in the server's CertificateRequest.
    pub authorities: Vec<Vec<u8>>,
    /// On a server: the identity that was presented, if [`ServerResolver`](super::ServerResolver) is in use.
    pub server_identity: Option<Arc<Identity>>,
}

impl Facts {
    /// `"TLS 1.3"` or `"TLS 1.2"`.
    pub fn version_name(&self) -> &'static str {
        match self.version {
            ProtocolVersion::TLSv1_3 => "TLS 1.3",
            _ => "TLS 1.2",
        }
    }

    /// The cipher suite as rustls and our config name it.
    pub fn suite_name(&self) -> &'static str {
        self.suite.as_str().unwrap_or("unknown")
    }

    /// The key exchange group's name.
    pub fn group_name(&self) -> Option<&'static str> {
        self.group.map(|group| group.as_str().unwrap_or("unknown"))
    }
}

/// An established connection.
#[derive(Debug)]
pub struct Established {
    /// The reading half.
    pub opener: Opener,
    /// The writing half.
    pub sealer: Sealer,
    /// What was negotiated.
    pub facts: Facts,
    /// Data that rustls decrypted itself, before that of the opener. Empty in all known cases.
    pub early_plaintext: Vec<u8>,
}

enum Connection {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

impl Connection {
    fn common(&self) -> &CommonState {
        match self {
            Self::Client(connection) => connection,
            Self::Server(connection) => connection,
        }
    }

    fn side(&self) -> Side {
        match self {
            Self::Client(_) => Side::Client,
            Self::Server(_) => Side::Server,
        }
    }

    fn into_kernel(self) -> Result<(ExtractedSecrets, Kernel), rustls::Error> {
        Ok(match self {
            Self::Client(connection) => {
                let (secrets, kernel) = connection.dangerous_into_kernel_connection()?;
                (secrets, Kernel::Client(kernel))
            }
            Self::Server(connection) => {
                let (secrets, kernel) = connection.dangerous_into_kernel_connection()?;
                (secrets, Kernel::Server(kernel))
            }
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    Done,
    Failed,
}

/// A handshake in progress, of either side.
pub struct Handshake {
    connection: Box<Connection>,
    stage: Stage,
    /// Records that hold a handshake message in part, which rustls wants to see again with the rest.
    held: Vec<u8>,
    /// Bytes received so far.
    received: usize,
    early_plaintext: Vec<u8>,
    observed: Observed,
    notes: Notes,
    /// On a server.
    guard: Option<Guard>,
    /// On a server: whether its config takes TLS 1.3.
    tls13: bool,
}

impl Handshake {
    /// A client's handshake; the first [`advance`](Self::advance), with nothing received, writes the ClientHello.
    pub fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, HandshakeError> {
        Ok(Self::new(Connection::Client(UnbufferedClientConnection::new(config, name)?)))
    }

    /// A server's handshake.
    pub fn server(config: Arc<ServerConfig>) -> Result<Self, HandshakeError> {
        let suites = &config.crypto_provider().cipher_suites;
        let tls13 = suites.iter().any(|suite| matches!(suite, SupportedCipherSuite::Tls13(_)));
        let connection = Connection::Server(UnbufferedServerConnection::new(config)?);
        Ok(Self { guard: Some(Guard::default()), tls13, ..Self::new(connection) })
    }

    fn new(connection: Connection) -> Self {
        Self {
            connection: Box::new(connection),
            stage: Stage::Running,
            held: Vec::new(),
            received: 0,
            early_plaintext: Vec::new(),
            observed: Observed::default(),
            notes: Notes::default(),
            guard: None,
            tls13: false,
        }
    }

    /// Takes whole records from the front of `incoming`, which it changes in place, and appends to `out`
    /// what must be sent. The caller drops `consumed` bytes and keeps the rest for the next call; it never
    /// needs to hold more than [`MAX_TLS_RECORD_BYTES`].
    ///
    /// On an error, `out` holds the alert for the peer.
    pub fn advance(&mut self, incoming: &mut [u8], out: &mut Vec<u8>) -> Result<Progress, HandshakeError> {
        if self.stage == Stage::Failed {
            return Err(HandshakeError::OutOfOrder);
        }
        let start = out.len();
        let result = self.advance_records(incoming, out);
        if let Err(error) = &result {
            self.stage = Stage::Failed;
            // The one place that sees to it that a client learns why.
            if self.guard.is_some()
                && !ends_with_alert(&out[start..])
                && let Some(alert) = alert_for(error)
            {
                out.extend_from_slice(&self.notes.alert(alert));
            }
        }
        result
    }

    fn advance_records(
        &mut self,
        incoming: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<Progress, HandshakeError> {
        let mut consumed = 0;
        if self.received == 0 && self.held.is_empty() {
            refuse_plain_text(incoming)?;
            self.process(&mut [], out)?; // a client's ClientHello
        }
        while self.stage == Stage::Running {
            let phase = self.phase();
            if let (Some(guard), Some(header)) = (&self.guard, incoming[consumed..].first_chunk()) {
                guard.header(*header, phase)?;
            }
            let Some(len) = next_record(&incoming[consumed..]) else { break };
            self.received += len;
            if self.received > MAX_HANDSHAKE_BYTES {
                return Err(HandshakeError::TooLarge);
            }
            if let Some(guard) = &mut self.guard {
                guard.record(&incoming[consumed..consumed + len], phase, self.tls13)?;
            }
            self.record(&mut incoming[consumed..consumed + len], out)?;
            consumed += len;
        }
        let state = if self.stage == Stage::Done { State::Done } else { State::NeedsInput };
        Ok(Progress { consumed, state })
    }

    fn phase(&self) -> Phase {
        Phase {
            version: self.connection.common().protocol_version(),
            sealing: self.notes.is_sealing(),
            within_message: !self.held.is_empty(),
        }
    }

    /// Gives rustls one record, and keeps what it wants to see again.
    fn record(&mut self, record: &mut [u8], out: &mut Vec<u8>) -> Result<(), HandshakeError> {
        if self.held.is_empty() {
            let discard = self.process(record, out)?;
            if discard == 0 && self.notes.undecryptable {
                // Rejected early data, which rustls has skipped (RFC 8446 §4.2.10) and counted. It does not report the record as
                // consumed; given once more, it would count against its bound once more.
                return Ok(());
            }
            self.held.extend_from_slice(&record[discard..]);
        } else {
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(record);
            let discard = self.process(&mut held, out)?;
            held.drain(..discard);
            self.held = held;
        }
        Ok(())
    }

    /// Runs rustls until it wants input or is done. Answers how much of `input` it has finished with.
    fn process(&mut self, input: &mut [u8], out: &mut Vec<u8>) -> Result<usize, HandshakeError> {
        let early = &mut self.early_plaintext;
        let connection = &mut *self.connection;
        let step = || match connection {
            Connection::Client(connection) => run(
                connection,
                UnbufferedConnectionCommon::<ClientConnectionData>::process_tls_records,
                input,
                out,
                early,
            ),
            Connection::Server(connection) => run(
                connection,
                UnbufferedConnectionCommon::<ServerConnectionData>::process_tls_records,
                input,
                out,
                early,
            ),
        };
        let (result, observed) = watch(&mut self.notes, || observe(step));
        self.observed.merge(observed);
        let discard = result?;
        if !self.connection.common().is_handshaking() {
            self.stage = Stage::Done;
        }
        Ok(discard)
    }

    /// On a client: the state of our certificate in the handshake.
    pub fn client_auth(&self) -> &ClientAuth {
        &self.observed.client_auth
    }

    /// On a server: what the ClientHello offers, if it has arrived.
    pub(crate) fn offered(&self) -> Option<&Offered> {
        self.guard.as_ref()?.offered()
    }

    /// The chain that the peer presented so far, leaf first, whatever is thought of it. On a client, also the names (in DER)
    /// of the authorities that the server takes certificates of.
    pub fn presented(&mut self) -> (Vec<CertificateDer<'static>>, Vec<Vec<u8>>) {
        (std::mem::take(&mut self.observed.chain), std::mem::take(&mut self.observed.authorities))
    }

    /// Takes the keys over. Call it once, after [`State::Done`].
    pub fn finish(self) -> Result<Established, HandshakeError> {
        if self.stage != Stage::Done || !self.held.is_empty() {
            return Err(HandshakeError::OutOfOrder);
        }
        let Self { connection, observed, early_plaintext, .. } = self;
        let common = connection.common();
        let suite = common.negotiated_cipher_suite().ok_or(HandshakeError::OutOfOrder)?;
        let facts = Facts {
            version: common.protocol_version().ok_or(HandshakeError::OutOfOrder)?,
            suite: suite.suite(),
            group: common.negotiated_key_exchange_group().map(|group| group.name()),
            resumed: common.handshake_kind() == Some(HandshakeKind::Resumed),
            alpn: common.alpn_protocol().map(<[u8]>::to_vec),
            sni: observed.sni,
            peer_certificates: common.peer_certificates().map(<[_]>::to_vec),
            client_auth: observed.client_auth,
            authorities: observed.authorities,
            server_identity: observed.server_identity,
        };
        let side = connection.side();
        let (secrets, kernel) = connection.into_kernel()?;
        let (tls13, limit) = match suite {
            SupportedCipherSuite::Tls13(suite) => (true, suite.common.confidentiality_limit),
            SupportedCipherSuite::Tls12(suite) => (false, suite.common.confidentiality_limit),
        };
        // TLS 1.2 has neither key updates nor late tickets: nothing of rustls is needed any more.
        let kernel = if tls13 { kernel } else { Kernel::None };
        let (opener, sealer) = halves(side, tls13, limit, secrets, kernel).map_err(internal)?;
        Ok(Established { opener, sealer, facts, early_plaintext })
    }
}

impl std::fmt::Debug for Handshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshake").field("received", &self.received).finish_non_exhaustive()
    }
}

fn internal(error: RecordError) -> HandshakeError {
    HandshakeError::Other(rustls::Error::General(error.to_string()))
}

/// The loop around `process_tls_records`, the same for both sides.
fn run<Data, Connection>(
    connection: &mut Connection,
    step: for<'c, 'i> fn(
        &'c mut UnbufferedConnectionCommon<Data>,
        &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Data>,
    input: &mut [u8],
    out: &mut Vec<u8>,
    early: &mut Vec<u8>,
) -> Result<usize, HandshakeError>
where
    Connection: std::ops::DerefMut<Target = UnbufferedConnectionCommon<Data>>,
{
    let mut used = 0;
    loop {
        let UnbufferedStatus { mut discard, state } = step(connection, &mut input[used..]);
        let stop = match state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                append(out, |free| data.encode(free))?;
                false
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                false
            }
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    discard += record.discard;
                    early.extend_from_slice(record.payload);
                }
                false
            }
            Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => true,
            // Early data is never enabled, and a close within the handshake is an alert like any other.
            Ok(_) => return Err(HandshakeError::OutOfOrder),
            Err(error) => {
                flush_alert(connection, step, out);
                return Err(error.into());
            }
        };
        used += discard;
        if stop {
            return Ok(used);
        }
    }
}

/// After an error rustls still has its alert to send, and only then may it be called once more.
fn flush_alert<Data, Connection>(
    connection: &mut Connection,
    step: for<'c, 'i> fn(
        &'c mut UnbufferedConnectionCommon<Data>,
        &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Data>,
    out: &mut Vec<u8>,
) where
    Connection: std::ops::DerefMut<Target = UnbufferedConnectionCommon<Data>>,
{
    while connection.wants_write() {
        let UnbufferedStatus { state: Ok(ConnectionState::EncodeTlsData(mut data)), .. } =
            step(connection, &mut [])
        else {
            return;
        };
        if append(out, |free| data.encode(free)).is_err() {
            return;
        }
    }
}

/// Appends one record, growing `out` as far as rustls requires.
fn append(
    out: &mut Vec<u8>,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<(), HandshakeError> {
    let start = out.len();
    let needed = match encode(&mut []) {
        Ok(_) => 0,
        Err(EncodeError::InsufficientSize(size)) => size.required_size,
        Err(EncodeError::AlreadyEncoded) => return Err(HandshakeError::OutOfOrder),
    };
    out.resize(start + needed, 0);
    encode(&mut out[start..]).map(drop).map_err(|_| HandshakeError::OutOfOrder)
}

/// The length of the whole record at the front; of all bytes if rustls has to report what is wrong with it.
fn next_record(incoming: &[u8]) -> Option<usize> {
    let &[content_type, major, _, l1, l2] = incoming.first_chunk::<HEADER>()?;
    let len = HEADER + usize::from(u16::from_be_bytes([l1, l2]));
    let hopeless = !(20..=24).contains(&content_type) || major != 3 || len >= MAX_TLS_RECORD_BYTES;
    if hopeless {
        return Some(incoming.len().min(MAX_TLS_RECORD_BYTES));
    }
    (len <= incoming.len()).then_some(len)
}

/// A peer's first bytes are a record's.
fn refuse_plain_text(incoming: &[u8]) -> Result<(), HandshakeError> {
    match incoming {
        [] | [20..=24] | [20..=24, 3, ..] => Ok(()),
        _ => Err(HandshakeError::NotTls(Preview::new(incoming))),
    }
}
