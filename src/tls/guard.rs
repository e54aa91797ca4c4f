//! What a listener refuses before rustls sees it, with the alert that the RFCs name, and the alerts that rustls leaves out.
//!
//! rustls closes without an alert in some cases, and takes some records and messages that RFC 8446 and RFC 5246 forbid.

use rustls::{AlertDescription, PeerMisbehaved, ProtocolVersion};

use super::cipher::HEADER;
use super::error::HandshakeError;
use super::hello::{Reader, SERVER_NAME, host_name};

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

const CLIENT_HELLO: u8 = 1;
const CLIENT_KEY_EXCHANGE: u8 = 16;

/// Versions of a ClientHello that a record has.
const MOST_VERSIONS: usize = 8;
const SUPPORTED_GROUPS: u16 = 10;
const SIGNATURE_ALGORITHMS: u16 = 13;
const PRE_SHARED_KEY: u16 = 41;
const SUPPORTED_VERSIONS: u16 = 43;
const KEY_SHARE: u16 = 51;
const RENEGOTIATION_INFO: u16 = 0xff01;

/// The first byte of a record's version, the same from SSL 3.0 to TLS 1.3 (RFC 8446 §5.1).
const MAJOR: u8 = 3;
const SSL3: u16 = 0x0300;
const TLS13: [u8; 2] = [3, 4];

/// Longest fragment of a record that is not protected (RFC 8446 §5.1).
const MAX_PLAINTEXT: usize = 16_384;
/// Longest fragment of a protected one (RFC 8446 §5.2).
const MAX_TLS13: usize = MAX_PLAINTEXT + 256;
/// The same in TLS 1.2 (RFC 5246 §6.2.3).
const MAX_TLS12: usize = MAX_PLAINTEXT + 2_048;

/// The state of the handshake when a record arrives.
#[derive(Clone, Copy)]
pub(super) struct Phase {
    /// The version, once it is negotiated.
    pub(super) version: Option<ProtocolVersion>,
    /// Records of ours are protected.
    pub(super) sealing: bool,
    /// A handshake message has arrived in part.
    pub(super) within_message: bool,
}

/// The records of one client, up to the end of its handshake.
#[derive(Default)]
pub(super) struct Guard {
    /// The first message as far as it has arrived, where it takes several records.
    hello: Vec<u8>,
    hello_done: bool,
    /// The client's change_cipher_spec has arrived.
    changed: bool,
    /// What the ClientHello offers, once it has arrived.
    offered: Option<Offered>,
}

/// What a ClientHello offers, for the records of handshakes that fail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offered {
    /// The versions by their numbers in the order of the client: those of supported_versions or, where it has none,
    /// legacy_version. At most eight, and no GREASE (RFC 8701).
    pub(crate) versions: Vec<u16>,
    /// The server name (SNI), in lower case.
    pub(crate) server_name: Option<String>,
}

impl Offered {
    /// The versions by their names.
    pub(crate) fn version_names(&self) -> Vec<String> {
        let name = |version: &u16| match version {
            0x0304 => "TLSv1.3".to_owned(),
            0x0303 => "TLSv1.2".to_owned(),
            0x0302 => "TLSv1.1".to_owned(),
            0x0301 => "TLSv1.0".to_owned(),
            0x0300 => "SSLv3".to_owned(),
            other => format!("0x{other:04x}"),
        };
        self.versions.iter().map(name).collect()
    }
}

fn refused(what: &'static str, alert: AlertDescription) -> Result<(), HandshakeError> {
    Err(HandshakeError::Refused { what, alert })
}

fn unexpected(what: &'static str) -> Result<(), HandshakeError> {
    refused(what, AlertDescription::UnexpectedMessage)
}

impl Guard {
    /// What the ClientHello offers, if it has arrived and can be parsed.
    pub(super) fn offered(&self) -> Option<&Offered> {
        self.offered.as_ref()
    }

    /// Checks a record by its header alone.
    pub(super) fn header(&self, header: [u8; HEADER], phase: Phase) -> Result<(), HandshakeError> {
        let [kind, major, _, high, low] = header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let tls12 = phase.version == Some(ProtocolVersion::TLSv1_2);
        let tls13_keys = phase.version == Some(ProtocolVersion::TLSv1_3) && phase.sealing;
        let is_sealed = kind == APPLICATION_DATA || tls12 && self.changed;
        let longest = match (is_sealed, tls12) {
            (false, _) => MAX_PLAINTEXT,
            (true, false) => MAX_TLS13,
            (true, true) => MAX_TLS12,
        };
        match kind {
            // How far the record has arrived must not count: its length means nothing.
            CHANGE_CIPHER_SPEC..=APPLICATION_DATA if major != MAJOR => {
                refused("a record of a version that is not TLS", AlertDescription::DecodeError)
            }
            CHANGE_CIPHER_SPEC if !self.hello_done => unexpected("change_cipher_spec before a ClientHello"),
            CHANGE_CIPHER_SPEC if length != 1 => unexpected("a change_cipher_spec that is not one byte long"),
            CHANGE_CIPHER_SPEC | ALERT if phase.within_message => {
                unexpected("another record within a handshake message")
            }
            APPLICATION_DATA if phase.within_message && !tls13_keys => {
                unexpected("another record within a handshake message")
            }
            APPLICATION_DATA if !self.hello_done => unexpected("data before a ClientHello"),
            HANDSHAKE if tls13_keys => unexpected("a handshake message that is not protected"),
            CHANGE_CIPHER_SPEC..=APPLICATION_DATA if length > longest => {
                refused("a record that is too long", AlertDescription::RecordOverflow)
            }
            ALERT | HANDSHAKE if length == 0 => unexpected("an empty record"),
            CHANGE_CIPHER_SPEC..=APPLICATION_DATA => Ok(()),
            _ => unexpected("a record of an unknown type"),
        }
    }

    /// Checks a whole record. `tls13`: the listener takes TLS 1.3.
    pub(super) fn record(&mut self, record: &[u8], phase: Phase, tls13: bool) -> Result<(), HandshakeError> {
        let Some((&[kind, ..], fragment)) = record.split_first_chunk::<HEADER>() else { return Ok(()) };
        let tls12 = phase.version == Some(ProtocolVersion::TLSv1_2);
        match kind {
            CHANGE_CIPHER_SPEC if fragment != [1] => unexpected("a change_cipher_spec that is not 1"),
            CHANGE_CIPHER_SPEC => {
                self.changed = true;
                Ok(())
            }
            HANDSHAKE if !self.hello_done => self.first_message(fragment, tls13),
            HANDSHAKE if tls12 && !self.changed && !phase.within_message => check_key_exchange(fragment),
            _ => Ok(()),
        }
    }

    /// Collects the first message, and checks it when it is whole. Longer ones than rustls takes never are.
    fn first_message(&mut self, fragment: &[u8], tls13: bool) -> Result<(), HandshakeError> {
        let mut collected = std::mem::take(&mut self.hello);
        let message = if collected.is_empty() {
            fragment
        } else {
            collected.extend_from_slice(fragment);
            &collected
        };
        let Some((&[kind, a, b, c], body)) = message.split_first_chunk::<4>() else {
            self.hello = message.to_vec();
            return Ok(());
        };
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        match body.get(..length) {
            _ if kind != CLIENT_HELLO => self.hello_done = true,
            Some(body) => {
                self.hello_done = true;
                let Some(mut offer) = Offer::read(body) else { return Ok(()) };
                self.offered = Some(std::mem::take(&mut offer.offered));
                return check_hello(&offer, tls13);
            }
            None => self.hello = message.to_vec(),
        }
        Ok(())
    }
}

/// Checks a ClientHello. What cannot be parsed is for rustls to name.
fn check_hello(offer: &Offer, tls13_allowed: bool) -> Result<(), HandshakeError> {
    if offer.renegotiated {
        // RFC 5746 §3.6: nothing has been negotiated before.
        return refused("a renegotiation as its first message", AlertDescription::HandshakeFailure);
    }
    if offer.versions && offer.legacy_version <= SSL3 {
        // RFC 8446 appendix D.5.
        return refused("a ClientHello of SSL 3.0", AlertDescription::ProtocolVersion);
    }
    // RFC 8446 §9.2.
    let complete = match (offer.groups, offer.shares) {
        (true, true) => offer.signatures || offer.psk,
        (false, false) => offer.psk,
        _ => false,
    };
    if tls13_allowed && offer.tls13 && !complete {
        let what = "a ClientHello of TLS 1.3 without key_share, supported_groups or signature_algorithms";
        return refused(what, AlertDescription::MissingExtension);
    }
    Ok(())
}

/// Checks the point of a ClientKeyExchange (RFC 8422 §5.7). One of a right length that is not on its curve is for rustls.
fn check_key_exchange(message: &[u8]) -> Result<(), HandshakeError> {
    let Some((&[CLIENT_KEY_EXCHANGE, _, _, _, length], point)) = message.split_first_chunk::<5>() else {
        return Ok(());
    };
    // The whole message must be here, and nothing behind it.
    if point.len() != usize::from(length) {
        return Ok(());
    }
    let whole = match (point.first(), point.len()) {
        (_, 32) | (Some(4), 65 | 97 | 133) | (Some(2 | 3), 33 | 49 | 67) => true,
        (_, length) => length > 133,
    };
    if whole { Ok(()) } else { refused("a point that is cut short", AlertDescription::DecodeError) }
}

/// What of a ClientHello is checked.
#[derive(Default)]
struct Offer {
    legacy_version: u16,
    versions: bool,
    tls13: bool,
    renegotiated: bool,
    groups: bool,
    shares: bool,
    signatures: bool,
    psk: bool,
    offered: Offered,
}

impl Offer {
    fn read(body: &[u8]) -> Option<Self> {
        let mut body = Reader(body);
        let mut offer = Self { legacy_version: body.number16()?, ..Self::default() };
        offer.offered.versions.push(offer.legacy_version);
        body.take(32)?;
        body.vector8()?;
        body.vector16()?;
        body.vector8()?;
        if body.0.is_empty() {
            return Some(offer);
        }
        let mut extensions = body.vector16()?;
        while !extensions.0.is_empty() {
            let kind = extensions.number16()?;
            let mut content = extensions.vector16()?;
            match kind {
                SUPPORTED_GROUPS => offer.groups = true,
                SIGNATURE_ALGORITHMS => offer.signatures = true,
                PRE_SHARED_KEY => offer.psk = true,
                KEY_SHARE => offer.shares = true,
                RENEGOTIATION_INFO => offer.renegotiated = !content.vector8()?.0.is_empty(),
                SUPPORTED_VERSIONS => {
                    offer.versions = true;
                    let versions = content.vector8()?.0.chunks_exact(2);
                    offer.tls13 = versions.clone().any(|version| version == TLS13);
                    let numbers = versions.map(|it| u16::from_be_bytes([it[0], it[1]]));
                    let known = numbers.filter(|number| number & 0x0f0f != 0x0a0a);
                    offer.offered.versions = known.take(MOST_VERSIONS).collect();
                }
                SERVER_NAME => offer.offered.server_name = host_name(content),
                _ => {}
            }
        }
        Some(offer)
    }
}

/// The alert that a client must be sent where rustls has sent none; `None`: the client ended the handshake, or speaks no TLS.
pub(super) fn alert_for(error: &HandshakeError) -> Option<AlertDescription> {
    use AlertDescription as A;
    use PeerMisbehaved as P;
    if let Some(alert) = error.alert_sent() {
        return Some(alert);
    }
    Some(match error {
        HandshakeError::PeerAlert(_) | HandshakeError::NotTls(_) | HandshakeError::OutOfOrder => return None,
        HandshakeError::TooLarge => A::DecodeError,
        HandshakeError::Incompatible(_) => A::HandshakeFailure,
        HandshakeError::Other(_) => A::InternalError,
        HandshakeError::PeerMisbehaved(rustls::Error::PeerMisbehaved(what)) => match what {
            P::IllegalMiddleboxChangeCipherSpec
            | P::IllegalTlsInnerPlaintext
            | P::KeyEpochWithPendingFragment
            | P::MessageInterleavedWithHandshakeMessage
            | P::RejectedEarlyDataInterleavedWithHandshakeMessage
            | P::TooManyEmptyFragments
            | P::TooManyKeyUpdateRequests
            | P::TooManyRenegotiationRequests
            | P::TooManyWarningAlertsReceived => A::UnexpectedMessage,
            _ => A::IllegalParameter,
        },
        _ => A::HandshakeFailure,
    })
}
