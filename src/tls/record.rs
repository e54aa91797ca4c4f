//! The record layer of an established connection (RFC 8446 §5, RFC 5246 §6.2).
//!
//! [`Opener`] and [`Sealer`] work in the caller's buffers, allocate nothing per record and hold no
//! buffer while idle. They may be used by two tasks of one thread at the same time; what passes
//! between them (an answer that is due) goes through a shared cell.
//!
//! The order of calls:
//!
//! - reading: `open` the front of what was received, again and again, dropping `consumed` each time.
//!   After each `Control`, check the sealer's `has_pending`, and if the connection is otherwise silent, send `pending`.
//! - writing: while `has_pending`, write `pending` first; then seal. `seal_into` does both.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;

use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{AlertDescription, ExtractedSecrets, Side};

use super::cipher::{Direction, HEADER, Layout, RECORD_VERSION};
use super::error::{RecordError, alert_for};

mod detached;

pub(crate) use detached::{Detached, detach};

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;

const HELLO_REQUEST: u8 = 0;
const CLIENT_HELLO: u8 = 1;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

const WARNING: u8 = 1;
const FATAL: u8 = 2;

/// Most records and messages in a row that carry no data: tickets, key updates, warnings, empty records.
const MAX_BARREN: u8 = 32;
/// Longest handshake message after the handshake. A ticket may hold a client's whole chain.
const MAX_MESSAGE: usize = 32 * 1024;

/// What rustls keeps of the connection: the secrets of the next keys, and where tickets go.
pub(super) enum Kernel {
    /// TLS 1.2 has neither.
    None,
    Client(KernelConnection<ClientConnectionData>),
    Server(KernelConnection<ServerConnectionData>),
}

/// What the two halves share.
struct Shared {
    side: Side,
    kernel: RefCell<Kernel>,
    /// The peer requested a KeyUpdate in return (RFC 8446 §4.6.3).
    key_update_due: Cell<bool>,
    /// A HelloRequest is to be declined (RFC 5246 §7.2.2).
    no_renegotiation_due: Cell<bool>,
}

/// Makes the two halves of an established connection.
pub(super) fn halves(
    side: Side,
    tls13: bool,
    limit: u64,
    secrets: ExtractedSecrets,
    kernel: Kernel,
) -> Result<(Opener, Sealer), RecordError> {
    let shared = Rc::new(Shared {
        side,
        kernel: RefCell::new(kernel),
        key_update_due: Cell::new(false),
        no_renegotiation_due: Cell::new(false),
    });
    let ExtractedSecrets { tx: (tx_seq, tx), rx: (rx_seq, rx) } = secrets;
    let opener = Opener {
        direction: Direction::new(Layout::of(tls13, &rx), rx_seq, rx)?,
        shared: Rc::clone(&shared),
        message: Vec::new(),
        barren: 0,
        state: ReadState::Open,
        renegotiation: false,
    };
    let direction = Direction::new(Layout::of(tls13, &tx), tx_seq, tx)?;
    let sealer = Sealer { direction, shared, limit, closed: false };
    Ok((opener, sealer))
}

/// What [`Opener::open`] found at the front of the buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Not a whole record yet.
    Incomplete {
        /// Bytes that the buffer must hold for the next answer, at least 5 and at most
        /// [`MAX_TLS_RECORD_BYTES`](crate::base::limits::MAX_TLS_RECORD_BYTES).
        need: usize,
    },
    /// Application data.
    Data {
        /// The position of the plaintext in the buffer; never empty.
        plaintext: Range<usize>,
        /// Bytes of the record.
        consumed: usize,
    },
    /// A record that carries no data: a ticket, a key update, a warning, an empty record.
    Control {
        /// Bytes of the record.
        consumed: usize,
    },
    /// The peer's `close_notify`: no data follows.
    Closed {
        /// Bytes to drop: the record, or on later calls everything (RFC 8446 §6.1).
        consumed: usize,
    },
}

enum ReadState {
    Open,
    Closed,
    Failed(RecordError),
}

/// The reading half.
pub struct Opener {
    direction: Direction,
    shared: Rc<Shared>,
    /// The start of a handshake message that continues in the next record; nearly always empty.
    message: Vec<u8>,
    barren: u8,
    state: ReadState,
    /// The peer has begun a new handshake.
    renegotiation: bool,
}

impl Opener {
    /// Opens the record at the front of `buf`, in place.
    ///
    /// After an error, which every later call gives again, the connection is dead: send the alert that
    /// [`alert_due`](Self::alert_due) names, and close.
    pub fn open(&mut self, buf: &mut [u8]) -> Result<Opened, RecordError> {
        match &self.state {
            ReadState::Open => {}
            ReadState::Closed => return Ok(Opened::Closed { consumed: buf.len() }),
            ReadState::Failed(error) => return Err(error.clone()),
        }
        let opened = self.open_record(buf);
        match &opened {
            Ok(Opened::Closed { .. }) => self.state = ReadState::Closed,
            Err(error) => self.state = ReadState::Failed(error.clone()),
            Ok(_) => {}
        }
        opened
    }

    /// The alert that the peer is to be sent, if a record of its could not be opened.
    pub fn alert_due(&self) -> Option<AlertDescription> {
        match &self.state {
            ReadState::Failed(error) => alert_for(error),
            ReadState::Open | ReadState::Closed => None,
        }
    }

    /// The alert with which the peer ended the connection, if it did.
    pub fn peer_alert(&self) -> Option<AlertDescription> {
        match &self.state {
            ReadState::Failed(RecordError::PeerAlert(alert)) => Some(*alert),
            _ => None,
        }
    }

    /// Whether the peer has begun a new handshake within the connection, which is declined (RFC 5246 §7.4.1.1).
    pub fn asked_renegotiation(&self) -> bool {
        self.renegotiation
    }

    fn open_record(&mut self, buf: &mut [u8]) -> Result<Opened, RecordError> {
        let Some(&[outer, v1, v2, l1, l2]) = buf.first_chunk::<HEADER>() else {
            return Ok(Opened::Incomplete { need: HEADER });
        };
        let body = usize::from(u16::from_be_bytes([l1, l2]));
        self.check_header(outer, u16::from_be_bytes([v1, v2]), body)?;
        let consumed = HEADER + body;
        let Some(record) = buf.get_mut(..consumed) else {
            return Ok(Opened::Incomplete { need: consumed });
        };
        let mut inner = self.direction.open(record)?;
        let content_type = match self.direction.layout {
            Layout::Tls13 => unpad(record, &mut inner)?,
            Layout::Tls12Gcm | Layout::Tls12ChaCha => outer,
        };
        if inner.len() > Sealer::MAX_FRAGMENT {
            return Err(RecordError::Overflow);
        }
        if content_type != HANDSHAKE && !self.message.is_empty() {
            // RFC 8446 §5.1: nothing may stand between the fragments of a message.
            return Err(RecordError::Unexpected("a record within a handshake message"));
        }
        match content_type {
            APPLICATION_DATA if inner.is_empty() => {
                self.count_barren()?;
                Ok(Opened::Control { consumed })
            }
            APPLICATION_DATA => {
                self.barren = 0;
                Ok(Opened::Data { plaintext: inner, consumed })
            }
            ALERT => self.alert(&record[inner], consumed),
            HANDSHAKE => {
                self.handshake(&record[inner])?;
                Ok(Opened::Control { consumed })
            }
            CHANGE_CIPHER_SPEC => Err(RecordError::Unexpected("change_cipher_spec")),
            _ => Err(RecordError::Unexpected("an unknown content type")),
        }
    }

    /// Refuses what cannot become a record before waiting for the rest of it.
    fn check_header(&self, outer: u8, version: u16, body: usize) -> Result<(), RecordError> {
        match (self.direction.layout, outer) {
            (_, APPLICATION_DATA) => {}
            (Layout::Tls12Gcm | Layout::Tls12ChaCha, ALERT | HANDSHAKE) => {}
            (_, CHANGE_CIPHER_SPEC) => return Err(RecordError::Unexpected("change_cipher_spec")),
            (_, ALERT | HANDSHAKE) => return Err(RecordError::Unexpected("an unprotected record")),
            _ => return Err(RecordError::Unexpected("an unknown content type")),
        }
        if version != RECORD_VERSION {
            return Err(RecordError::BadVersion(version));
        }
        if body > self.direction.layout.max_body() {
            return Err(RecordError::Overflow);
        }
        Ok(())
    }

    fn count_barren(&mut self) -> Result<(), RecordError> {
        self.barren += 1;
        if self.barren > MAX_BARREN { Err(RecordError::Flood) } else { Ok(()) }
    }

    fn alert(&mut self, alert: &[u8], consumed: usize) -> Result<Opened, RecordError> {
        if alert.is_empty() {
            // RFC 8446 §5.4.
            return Err(RecordError::Unexpected("an empty alert record"));
        }
        let &[level, description] = alert else {
            return Err(RecordError::Malformed("an alert"));
        };
        let description = AlertDescription::from(description);
        let tls13 = self.direction.layout == Layout::Tls13;
        match (level, description) {
            (_, AlertDescription::CloseNotify) => return Ok(Opened::Closed { consumed }),
            // TLS 1.3 ignores the level: every other alert is fatal (RFC 8446 §6).
            (_, AlertDescription::UserCanceled) if tls13 => {}
            (_, description) if tls13 => return Err(RecordError::PeerAlert(description)),
            (WARNING, _) => {}
            (FATAL, description) => return Err(RecordError::PeerAlert(description)),
            _ => return Err(RecordError::IllegalParameter("alert level")),
        }
        self.count_barren()?;
        Ok(Opened::Control { consumed })
    }

    /// One record's worth of handshake messages, the last perhaps in part.
    fn handshake(&mut self, fragment: &[u8]) -> Result<(), RecordError> {
        if fragment.is_empty() {
            return Err(RecordError::Unexpected("an empty handshake record"));
        }
        if self.message.is_empty() {
            let rest = self.messages(fragment)?;
            self.message.extend_from_slice(rest);
        } else {
            self.count_barren()?;
            let mut joined = std::mem::take(&mut self.message);
            joined.extend_from_slice(fragment);
            let left = self.messages(&joined)?.len();
            if left > 0 {
                joined.drain(..joined.len() - left);
                self.message = joined;
            }
        }
        Ok(())
    }

    /// Handles each whole message; answers what is left.
    fn messages<'a>(&mut self, mut rest: &'a [u8]) -> Result<&'a [u8], RecordError> {
        while let Some(&[kind, a, b, c]) = rest.first_chunk::<4>() {
            let len = u32::from_be_bytes([0, a, b, c]) as usize;
            if len > MAX_MESSAGE {
                return Err(RecordError::Malformed("a handshake message too long"));
            }
            let Some(body) = rest[4..].get(..len) else { break };
            rest = &rest[4 + len..];
            self.count_barren()?;
            self.message(kind, body, rest.is_empty())?;
        }
        Ok(rest)
    }

    fn message(&mut self, kind: u8, body: &[u8], aligned: bool) -> Result<(), RecordError> {
        let tls13 = self.direction.layout == Layout::Tls13;
        match (kind, self.shared.side) {
            (NEW_SESSION_TICKET, Side::Client) if tls13 => self.ticket(body),
            (KEY_UPDATE, _) if tls13 => self.key_update(body, aligned),
            (HELLO_REQUEST, Side::Client) if !tls13 => {
                if !body.is_empty() {
                    return Err(RecordError::Malformed("a HelloRequest"));
                }
                self.shared.no_renegotiation_due.set(true);
                self.renegotiation = true;
                Ok(())
            }
            (CLIENT_HELLO, Side::Server) if !tls13 => Err(RecordError::Renegotiation),
            _ => Err(RecordError::Unexpected("a handshake message")),
        }
    }

    fn ticket(&mut self, body: &[u8]) -> Result<(), RecordError> {
        match &mut *self.shared.kernel.borrow_mut() {
            Kernel::Client(kernel) => kernel.handle_new_session_ticket(body).map_err(|error| match error {
                rustls::Error::InvalidMessage(_) => RecordError::Malformed("a session ticket"),
                rustls::Error::PeerMisbehaved(_) => RecordError::IllegalParameter("session ticket"),
                _ => RecordError::Internal,
            }),
            Kernel::Server(_) | Kernel::None => Err(RecordError::Internal),
        }
    }

    /// RFC 8446 §4.6.3. The message must end its record, since the next one has another key (§5.1).
    fn key_update(&mut self, body: &[u8], aligned: bool) -> Result<(), RecordError> {
        let answer = match body {
            [0] => false,
            [1] => true,
            [_] => return Err(RecordError::IllegalParameter("KeyUpdate request")),
            _ => return Err(RecordError::Malformed("a KeyUpdate")),
        };
        if !aligned {
            return Err(RecordError::Unexpected("a message after a KeyUpdate in one record"));
        }
        let next = match &mut *self.shared.kernel.borrow_mut() {
            Kernel::Client(kernel) => kernel.update_rx_secret(),
            Kernel::Server(kernel) => kernel.update_rx_secret(),
            Kernel::None => return Err(RecordError::Internal),
        };
        self.direction.replace(next.map_err(|_| RecordError::Internal)?)?;
        if answer {
            self.shared.key_update_due.set(true);
        }
        Ok(())
    }
}

/// Takes the content type and the padding off (RFC 8446 §5.4).
fn unpad(record: &[u8], inner: &mut Range<usize>) -> Result<u8, RecordError> {
    if inner.len() > Sealer::MAX_FRAGMENT + 1 {
        return Err(RecordError::Overflow);
    }
    let last = record[inner.clone()]
        .iter()
        .rposition(|byte| *byte != 0)
        .ok_or(RecordError::Unexpected("a record of padding alone"))?;
    inner.end = inner.start + last;
    Ok(record[inner.end])
}

/// The writing half.
pub struct Sealer {
    direction: Direction,
    shared: Rc<Shared>,
    /// Most records for one key (RFC 8446 §5.5).
    limit: u64,
    closed: bool,
}

impl Sealer {
    /// Most data of one record.
    pub const MAX_FRAGMENT: usize = 16_384;
    /// Most bytes that one record adds, whatever was negotiated.
    pub const MAX_OVERHEAD: usize = HEADER + 8 + 17;
    /// Room that [`pending`](Self::pending), [`alert`](Self::alert) or [`close_notify`](Self::close_notify) may need.
    pub const CONTROL_ROOM: usize = 64;

    /// Bytes that a record needs before its data: 5, or 13 for TLS 1.2 AES-GCM.
    #[inline]
    pub fn prefix_len(&self) -> usize {
        self.direction.layout.prefix()
    }

    /// Bytes that a record needs after its data: 17, or 16 in TLS 1.2.
    #[inline]
    pub fn suffix_len(&self) -> usize {
        self.direction.layout.suffix()
    }

    /// Bytes that a record adds to its data.
    #[inline]
    pub fn overhead(&self) -> usize {
        self.prefix_len() + self.suffix_len()
    }

    /// Seals `block[plaintext]` in place: the header is written before it, the tag after it.
    ///
    /// `plaintext` is at most [`MAX_FRAGMENT`](Self::MAX_FRAGMENT) long and has
    /// [`prefix_len`](Self::prefix_len) bytes before and [`suffix_len`](Self::suffix_len) bytes after it in `block`.
    /// Answers the record's range. Refuses while [`has_pending`](Self::has_pending).
    pub fn seal_in_place(
        &mut self,
        block: &mut [u8],
        plaintext: Range<usize>,
    ) -> Result<Range<usize>, RecordError> {
        if plaintext.len() > Self::MAX_FRAGMENT {
            return Err(RecordError::NoRoom);
        }
        let start = plaintext.start.checked_sub(self.prefix_len()).ok_or(RecordError::NoRoom)?;
        let range = start..plaintext.end + self.suffix_len();
        let record = block.get_mut(range.clone()).ok_or(RecordError::NoRoom)?;
        self.check_open()?;
        if self.has_pending() {
            return Err(RecordError::ControlPending);
        }
        self.direction.seal_in_place(APPLICATION_DATA, record, plaintext.len())?;
        Ok(range)
    }

    /// Seals as many records of `plaintext` as fit into `out`, what is pending first.
    ///
    /// Answers the bytes taken from `plaintext` and those written to `out`. Needs [`CONTROL_ROOM`](Self::CONTROL_ROOM) bytes to make progress.
    pub fn seal_into(&mut self, plaintext: &[u8], out: &mut [u8]) -> Result<(usize, usize), RecordError> {
        let (mut taken, mut written) = (0, 0);
        while taken < plaintext.len() {
            self.check_open()?;
            if self.has_pending() {
                match self.pending(&mut out[written..])? {
                    0 => break,
                    n => written += n,
                }
            }
            let room = (out.len() - written).saturating_sub(self.overhead());
            let len = room.min(plaintext.len() - taken).min(Self::MAX_FRAGMENT);
            if len == 0 {
                break;
            }
            let record = &mut out[written..written + len + self.overhead()];
            self.direction.seal_from(APPLICATION_DATA, &plaintext[taken..taken + len], record)?;
            taken += len;
            written += len + self.overhead();
        }
        Ok((taken, written))
    }

    /// Data cannot be sealed now: write [`pending`](Self::pending) first.
    #[inline]
    pub fn has_pending(&self) -> bool {
        self.shared.key_update_due.get() || self.shared.no_renegotiation_due.get() || self.rekey_due()
    }

    /// Writes the control records that are due, and changes the key after a KeyUpdate. Returns the bytes written, 0 if `out` is
    /// shorter than [`CONTROL_ROOM`](Self::CONTROL_ROOM).
    pub fn pending(&mut self, out: &mut [u8]) -> Result<usize, RecordError> {
        if out.len() < Self::CONTROL_ROOM || self.closed {
            return Ok(0);
        }
        let mut written = 0;
        if self.shared.no_renegotiation_due.replace(false) {
            let alert = [WARNING, u8::from(AlertDescription::NoRenegotiation)];
            written += self.write(ALERT, &alert, out)?;
        }
        if self.shared.key_update_due.get() || self.rekey_due() {
            // update_not_requested: the peer's own key is for the peer to judge.
            written += self.write(HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, 0], &mut out[written..])?;
            let next = match &mut *self.shared.kernel.borrow_mut() {
                Kernel::Client(kernel) => kernel.update_tx_secret(),
                Kernel::Server(kernel) => kernel.update_tx_secret(),
                Kernel::None => return Err(RecordError::Internal),
            };
            self.direction.replace(next.map_err(|_| RecordError::Internal)?)?;
            self.shared.key_update_due.set(false);
        }
        Ok(written)
    }

    /// Writes `close_notify`, the end of our data. Returns the bytes written: 0 if it was written before, or if `out` is shorter
    /// than [`CONTROL_ROOM`](Self::CONTROL_ROOM).
    pub fn close_notify(&mut self, out: &mut [u8]) -> usize {
        self.alert(AlertDescription::CloseNotify, out)
    }

    /// Writes an alert, after which nothing can be sealed. Answers the bytes written, as [`close_notify`](Self::close_notify) does.
    pub fn alert(&mut self, description: AlertDescription, out: &mut [u8]) -> usize {
        if self.closed || out.len() < Self::CONTROL_ROOM {
            return 0;
        }
        let level = if description == AlertDescription::CloseNotify { WARNING } else { FATAL };
        self.closed = true;
        // An alert may still use the last numbers of an exhausted key; only without any number left is it dropped.
        self.write(ALERT, &[level, u8::from(description)], out).unwrap_or(0)
    }

    /// Whether `close_notify` or another alert of ours ended the writing.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// The key's last record but one is spent: a KeyUpdate takes the last one.
    fn rekey_due(&self) -> bool {
        self.direction.layout == Layout::Tls13 && self.direction.seq >= self.limit - 1
    }

    fn check_open(&self) -> Result<(), RecordError> {
        if self.closed {
            return Err(RecordError::Closed);
        }
        if self.direction.layout != Layout::Tls13 && self.direction.seq >= self.limit - 1 {
            return Err(RecordError::KeysExhausted);
        }
        Ok(())
    }

    fn write(&mut self, content_type: u8, plaintext: &[u8], out: &mut [u8]) -> Result<usize, RecordError> {
        let len = plaintext.len() + self.overhead();
        let record = out.get_mut(..len).ok_or(RecordError::NoRoom)?;
        self.direction.seal_from(content_type, plaintext, record)?;
        Ok(len)
    }

    /// For tests: a smaller number of records for one key.
    #[cfg(test)]
    pub(super) fn set_limit(&mut self, records: u64) {
        self.limit = records;
    }

    /// For tests: the next key, without a word to the peer.
    #[cfg(test)]
    pub(super) fn change_key(&mut self) {
        let next = match &mut *self.shared.kernel.borrow_mut() {
            Kernel::Client(kernel) => kernel.update_tx_secret(),
            Kernel::Server(kernel) => kernel.update_tx_secret(),
            Kernel::None => unreachable!(),
        };
        self.direction.replace(next.unwrap()).unwrap();
    }

    /// For tests: a record that a good peer does not send.
    #[cfg(test)]
    pub(super) fn forge(&mut self, content_type: u8, plaintext: &[u8]) -> Vec<u8> {
        let mut out = vec![0; plaintext.len() + self.overhead()];
        self.direction.seal_from(content_type, plaintext, &mut out).unwrap();
        out
    }
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener").field("layout", &self.direction.layout).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("layout", &self.direction.layout).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_is_small() {
        // Inline sizes: under 1 KiB together. On the heap besides: two AEAD contexts of about 600 bytes
        // each, in TLS 1.3 rustls' secrets (about 700 bytes), and for a client the server's chain, which
        // rustls keeps for later tickets.
        assert!(size_of::<Opener>() <= 128, "{}", size_of::<Opener>());
        assert!(size_of::<Sealer>() <= 96, "{}", size_of::<Sealer>());
        assert!(size_of::<Shared>() <= 640, "{}", size_of::<Shared>());
    }
}
