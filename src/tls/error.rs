//! What can go wrong in TLS, which side is at fault, and the message for the operator.

use std::fmt;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ExtendedKeyPurpose, OtherError, PeerIncompatible};

use super::backend_verifier::Unacceptable;
use crate::base::text::printable;

/// Which side broke the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The peer, or a middlebox.
    Peer,
    /// We, by config or by a bug.
    Ours,
    /// Neither alone: the two share no version, cipher or name.
    Both,
}

/// Why a handshake failed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The peer refused us with a fatal alert.
    PeerAlert(AlertDescription),
    /// The peer's certificate is not acceptable to our trust.
    BadCertificate(CertificateError),
    /// A revocation list of ours could not be used.
    BadRevocationList(rustls::CertRevocationListError),
    /// The peer presented no certificate where one is required.
    NoCertificate,
    /// The peer broke the protocol.
    PeerMisbehaved(rustls::Error),
    /// The peer sent something that the protocol forbids, and was sent this alert.
    Refused {
        /// What it sent, for a sentence.
        what: &'static str,
        /// The alert.
        alert: AlertDescription,
    },
    /// The first bytes are no TLS; here they are.
    NotTls(Preview),
    /// No TLS version in common.
    NoCommonVersion(PeerIncompatible),
    /// No cipher suite, group or signature scheme in common.
    NoCommonCipher(PeerIncompatible),
    /// No application protocol (ALPN) in common.
    NoCommonProtocol,
    /// The peer lacks something else that we require.
    Incompatible(PeerIncompatible),
    /// The handshake is longer than [`MAX_HANDSHAKE_BYTES`](crate::base::limits::MAX_HANDSHAKE_BYTES).
    TooLarge,
    /// `finish` before `Done`, or `advance` after an error: a bug of ours.
    OutOfOrder,
    /// Anything else, which is ours: no time, no randomness, an unusable config.
    Other(rustls::Error),
}

/// The first bytes of something that is not TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preview {
    bytes: [u8; 16],
    len: u8,
}

impl Preview {
    pub(super) fn new(start: &[u8]) -> Self {
        let mut bytes = [0; 16];
        let len = start.len().min(bytes.len());
        bytes[..len].copy_from_slice(&start[..len]);
        Self { bytes, len: len as u8 }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Whether this seems to be the start of an HTTP/1 request or response.
    pub fn looks_like_http(&self) -> bool {
        let bytes = self.as_bytes();
        let word = bytes.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
        let target = bytes.get(word + 1);
        let is_request = match bytes.get(word) {
            None => true,
            Some(b' ') => target.is_none_or(|byte| b"/*hH".contains(byte)) || bytes.starts_with(b"CONNECT "),
            Some(_) => false,
        };
        word > 0 && is_request || bytes.starts_with(b"HTTP/")
    }
}

impl HandshakeError {
    /// The side at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::OutOfOrder | Self::Other(_) | Self::BadRevocationList(_) => Fault::Ours,
            Self::NoCommonVersion(_)
            | Self::NoCommonCipher(_)
            | Self::NoCommonProtocol
            | Self::Incompatible(_)
            | Self::PeerAlert(_) => Fault::Both,
            _ => Fault::Peer,
        }
    }

    /// The alert that the peer sent, if that is what ended the handshake.
    pub fn peer_alert(&self) -> Option<AlertDescription> {
        match self {
            Self::PeerAlert(alert) => Some(*alert),
            _ => None,
        }
    }
}

impl From<rustls::Error> for HandshakeError {
    fn from(error: rustls::Error) -> Self {
        use rustls::Error as E;
        match error {
            E::AlertReceived(alert) => Self::PeerAlert(alert),
            E::InvalidCertificate(error) => Self::BadCertificate(error),
            E::InvalidCertRevocationList(error) => Self::BadRevocationList(error),
            E::NoCertificatesPresented => Self::NoCertificate,
            E::NoApplicationProtocol => Self::NoCommonProtocol,
            E::PeerIncompatible(what) => incompatible(what),
            // In TLS 1.2: the key of the certificate signs with none of the client's schemes.
            E::General(text) if text == "incompatible signing key" => {
                Self::NoCommonCipher(PeerIncompatible::NoSignatureSchemesInCommon)
            }
            E::InappropriateMessage { .. }
            | E::InappropriateHandshakeMessage { .. }
            | E::InvalidEncryptedClientHello(_)
            | E::InvalidMessage(_)
            | E::DecryptError
            | E::PeerMisbehaved(_)
            | E::PeerSentOversizedRecord => Self::PeerMisbehaved(error),
            other => Self::Other(other),
        }
    }
}

fn incompatible(what: PeerIncompatible) -> HandshakeError {
    use PeerIncompatible as P;
    match what {
        P::ServerDoesNotSupportTls12Or13
        | P::ServerTlsVersionIsDisabledByOurConfig
        | P::SupportedVersionsExtensionRequired
        | P::Tls12NotOffered
        | P::Tls12NotOfferedOrEnabled
        | P::Tls13RequiredForQuic => HandshakeError::NoCommonVersion(what),
        P::NoCipherSuitesInCommon
        | P::NoKxGroupsInCommon
        | P::NoSignatureSchemesInCommon
        | P::NoCertificateRequestSignatureSchemesInCommon
        | P::NoEcPointFormatsInCommon => HandshakeError::NoCommonCipher(what),
        other => HandshakeError::Incompatible(other),
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerAlert(alert) => write!(f, "the peer refused the handshake: {}", alert_text(*alert)),
            Self::BadCertificate(error) => certificate_text(error, f),
            Self::BadRevocationList(rustls::CertRevocationListError::IssuerInvalidForCrl) => f.write_str(
                "the authority that issued the peer's certificate may not sign revocation lists: \
                 its keyUsage has no cRLSign",
            ),
            Self::BadRevocationList(error) => write!(f, "a revocation list cannot be used: {}", Words(error)),
            Self::NoCertificate => f.write_str("the peer presented no certificate"),
            Self::PeerMisbehaved(rustls::Error::PeerMisbehaved(what)) => {
                write!(f, "the peer broke the TLS protocol: {}", Words(what))
            }
            Self::PeerMisbehaved(rustls::Error::InvalidMessage(what)) => {
                write!(f, "the peer broke the TLS protocol: a message cannot be parsed ({})", Words(what))
            }
            Self::PeerMisbehaved(error) => write!(f, "the peer broke the TLS protocol: {error}"),
            Self::Refused { what, .. } => write!(f, "the peer broke the TLS protocol: it sent {what}"),
            Self::NotTls(start) if start.looks_like_http() => {
                f.write_str("the peer speaks plain HTTP on a TLS port")
            }
            Self::NotTls(start) => {
                write!(f, "the peer does not speak TLS: it sent \"{}\"", start.as_bytes().escape_ascii())
            }
            Self::NoCommonVersion(what) => {
                write!(f, "no TLS version in common with the peer ({})", Words(what))
            }
            Self::NoCommonCipher(what) => {
                write!(f, "no cipher, group or signature scheme in common with the peer ({})", Words(what))
            }
            Self::NoCommonProtocol => f.write_str("no application protocol (ALPN) in common with the peer"),
            Self::Incompatible(what) => write!(f, "the peer lacks what we require ({})", Words(what)),
            Self::TooLarge => f.write_str("the peer's handshake is longer than we accept"),
            Self::OutOfOrder => f.write_str("the handshake was used out of order"),
            Self::Other(error) => write!(f, "the handshake cannot be made: {error}"),
        }
    }
}

impl std::error::Error for HandshakeError {}

/// Why an established connection cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordError {
    /// The peer sent a fatal alert. In TLS 1.3 a refused client certificate shows here.
    PeerAlert(AlertDescription),
    /// A record that was not made with the connection's keys, or was changed on its way.
    BadMac,
    /// A record longer than the protocol allows.
    Overflow,
    /// A record or message that has no place in an established connection.
    Unexpected(&'static str),
    /// A record of another protocol version than the negotiated one.
    BadVersion(u16),
    /// A message that cannot be parsed.
    Malformed(&'static str),
    /// A field with a value that the protocol forbids.
    IllegalParameter(&'static str),
    /// Too many records in a row that carry no data.
    Flood,
    /// A TLS 1.2 client wants to renegotiate.
    Renegotiation,
    /// The connection has used its keys up and cannot get new ones (TLS 1.2): close it.
    KeysExhausted,
    /// Data while [`Sealer::has_pending`](super::record::Sealer::has_pending): write that first.
    ControlPending,
    /// Data after `close_notify` or a fatal alert of our own.
    Closed,
    /// The caller's block has no room for a record's header or tag.
    NoRoom,
    /// rustls or the cryptography failed where it cannot.
    Internal,
}

impl RecordError {
    /// The side at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::KeysExhausted | Self::ControlPending | Self::Closed | Self::NoRoom | Self::Internal => {
                Fault::Ours
            }
            Self::PeerAlert(_) => Fault::Both,
            _ => Fault::Peer,
        }
    }
}

/// The alert for the peer (RFC 8446 §6.2); `None` if the peer must not get one, or needs none.
pub(crate) fn alert_for(error: &RecordError) -> Option<AlertDescription> {
    Some(match error {
        RecordError::BadMac => AlertDescription::BadRecordMac,
        RecordError::Overflow => AlertDescription::RecordOverflow,
        RecordError::Unexpected(_) | RecordError::Flood => AlertDescription::UnexpectedMessage,
        RecordError::BadVersion(_) => AlertDescription::ProtocolVersion,
        RecordError::Malformed(_) => AlertDescription::DecodeError,
        RecordError::IllegalParameter(_) => AlertDescription::IllegalParameter,
        RecordError::Renegotiation => AlertDescription::HandshakeFailure,
        RecordError::KeysExhausted => AlertDescription::CloseNotify,
        RecordError::ControlPending | RecordError::NoRoom | RecordError::Internal => {
            AlertDescription::InternalError
        }
        RecordError::PeerAlert(_) | RecordError::Closed => return None,
    })
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerAlert(alert) => write!(f, "the peer ended the connection: {}", alert_text(*alert)),
            Self::BadMac => f.write_str("a record from the peer does not decrypt"),
            Self::Overflow => f.write_str("a record from the peer is longer than TLS allows"),
            Self::Unexpected(what) => write!(f, "the peer sent {what}, which has no place here"),
            Self::BadVersion(version) => write!(f, "a record from the peer has version 0x{version:04x}"),
            Self::Malformed(what) => write!(f, "the peer sent {what} that cannot be parsed"),
            Self::IllegalParameter(what) => write!(f, "the peer sent an illegal {what}"),
            Self::Flood => f.write_str("the peer sends records without data"),
            Self::Renegotiation => f.write_str("the peer wants to renegotiate, which is not done"),
            Self::KeysExhausted => f.write_str("the connection's keys are used up"),
            Self::ControlPending => f.write_str("data was sealed before a due control record"),
            Self::Closed => f.write_str("data was sealed after the close"),
            Self::NoRoom => f.write_str("the buffer has no room for a record"),
            Self::Internal => f.write_str("the record layer failed"),
        }
    }
}

impl std::error::Error for RecordError {}

/// Whether an alert is about the certificate that we presented, or did not present.
///
/// In TLS 1.3 a server's judgement arrives after our Finished: as [`RecordError::PeerAlert`], before
/// any byte of a response, and proves that the server has read no data of ours.
/// `handshake_failure`, which some TLS 1.2 servers send for a missing certificate, can mean other things and is not among them.
pub(crate) fn concerns_our_certificate(alert: AlertDescription) -> bool {
    use AlertDescription as A;
    matches!(
        alert,
        A::NoCertificate
            | A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::UnknownCA
            | A::AccessDenied
            | A::CertificateRequired
    )
}

/// An alert's name in the RFCs and what it usually means.
pub(crate) fn alert_text(alert: AlertDescription) -> &'static str {
    use AlertDescription as A;
    match alert {
        A::CloseNotify => "close_notify (it closed)",
        A::UnexpectedMessage => "unexpected_message (it did not expect what we sent)",
        A::BadRecordMac => "bad_record_mac (it could not decrypt what we sent)",
        A::RecordOverflow => "record_overflow",
        A::HandshakeFailure => {
            "handshake_failure (no parameters in common, or it requires a client certificate)"
        }
        A::NoCertificate => "no_certificate",
        A::BadCertificate => "bad_certificate (it does not accept our certificate)",
        A::UnsupportedCertificate => {
            "unsupported_certificate (our certificate's type or usage does not suit it)"
        }
        A::CertificateRevoked => "certificate_revoked (our certificate is revoked)",
        A::CertificateExpired => "certificate_expired (our certificate is not valid now, by its clock)",
        A::CertificateUnknown => "certificate_unknown (it does not accept our certificate)",
        A::IllegalParameter => "illegal_parameter",
        A::UnknownCA => "unknown_ca (it does not trust the issuer of our certificate)",
        A::AccessDenied => "access_denied (our certificate is valid, but not allowed)",
        A::DecodeError => "decode_error",
        A::DecryptError => "decrypt_error (a signature or Finished of ours did not verify)",
        A::ProtocolVersion => "protocol_version (it supports none of the TLS versions offered)",
        A::InsufficientSecurity => "insufficient_security (it wants stronger ciphers)",
        A::InternalError => "internal_error",
        A::InappropriateFallback => "inappropriate_fallback",
        A::UserCanceled => "user_canceled",
        A::NoRenegotiation => "no_renegotiation",
        A::MissingExtension => "missing_extension",
        A::UnsupportedExtension => "unsupported_extension",
        A::UnrecognisedName => "unrecognized_name (it does not serve the server name that we sent)",
        A::UnknownPSKIdentity => "unknown_psk_identity",
        A::CertificateRequired => "certificate_required (it demands a client certificate)",
        A::NoApplicationProtocol => "no_application_protocol (no ALPN protocol in common)",
        other => other.as_str().unwrap_or("an unknown alert"),
    }
}

/// A certificate's fault as a sentence.
fn certificate_text(error: &CertificateError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    use CertificateError as C;
    match error {
        C::BadEncoding => f.write_str("the peer's certificate cannot be parsed"),
        C::UnknownIssuer => f.write_str("the peer's certificate is not issued by anything that is trusted"),
        C::Revoked => f.write_str("the peer's certificate is revoked"),
        C::UnknownRevocationStatus => f.write_str("no revocation list covers the peer's certificate"),
        C::NotValidForName => f.write_str("the peer's certificate is for another name"),
        C::NotValidForNameContext { expected: ServerName::IpAddress(_), presented }
            if presented
                .iter()
                .any(|name| name.starts_with("DnsName") && bare_name(name) == expected_text(error)) =>
        {
            let address = expected_text(error);
            write!(
                f,
                "the peer's certificate is for the DNS name {address}, not for the IP address {address}: its \
                 subjectAltName needs an iPAddress"
            )
        }
        C::NotValidForNameContext { expected, presented } => {
            write!(f, "the peer's certificate is not for {}: ", expected.to_str())?;
            match presented.as_slice() {
                [] => f.write_str("it has no alternative names"),
                names => {
                    let names: Vec<String> =
                        names.iter().map(|name| printable(bare_name(name)).into_owned()).collect();
                    write!(f, "it is for {}", names.join(", "))
                }
            }
        }
        C::Expired => f.write_str("the peer's certificate has expired"),
        C::ExpiredContext { time, not_after } => {
            let ago = time.as_secs().saturating_sub(not_after.as_secs());
            write!(f, "the peer's certificate expired {} ago", Span(ago))
        }
        C::NotValidYet => f.write_str("the peer's certificate is not valid yet"),
        C::NotValidYetContext { time, not_before } => {
            let until = not_before.as_secs().saturating_sub(time.as_secs());
            write!(f, "the peer's certificate is not valid yet: its time begins in {}", Span(until))
        }
        C::InvalidPurposeContext { required: ExtendedKeyPurpose::ServerAuth, .. } => {
            f.write_str("the peer's certificate is not meant for servers")
        }
        C::InvalidPurposeContext { required: ExtendedKeyPurpose::ClientAuth, .. } => {
            f.write_str("the peer's certificate is not meant for clients")
        }
        C::BadSignature => f.write_str("a signature of the peer or in its certificates does not verify"),
        C::UnsupportedSignatureAlgorithmContext { signature_algorithm_id, .. } => {
            let algorithm = signature_algorithm(signature_algorithm_id);
            write!(f, "a certificate of the peer's is signed with {algorithm}, which is not accepted")
        }
        C::UnsupportedSignatureAlgorithmForPublicKeyContext { signature_algorithm_id, .. } => {
            let algorithm = signature_algorithm(signature_algorithm_id);
            write!(
                f,
                "a certificate of the peer's is signed with {algorithm} by a key of a kind or curve that is not accepted"
            )
        }
        C::ExpiredRevocationListContext { time, next_update } => {
            let ago = time.as_secs().saturating_sub(next_update.as_secs());
            write!(f, "the revocation list of the peer's issuer was due to be replaced {} ago", Span(ago))
        }
        C::Other(error) => path_text(error, f),
        other => write!(f, "the peer's certificate is not acceptable: {}", Words(other)),
    }
}

/// What is wrong with the way from the peer's certificate to a trusted one.
fn path_text(error: &OtherError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match error.0.downcast_ref::<webpki::Error>() {
            Some(webpki::Error::NameConstraintViolation) => {
                f.write_str(
                    "an authority in the peer's chain may not issue for its name (name constraints), \
                     or constrains names of a kind that is not supported",
                )
            }
            Some(webpki::Error::PathLenConstraintViolated) => {
                f.write_str("an authority in the peer's chain may not have authorities below it (path length)")
            }
            Some(webpki::Error::CaUsedAsEndEntity) => f.write_str(
                "the peer presents an authority's certificate as its own, which is accepted only if it is in `trust` (of clients: `client_trust`)",
            ),
            Some(webpki::Error::EndEntityUsedAsCa) => {
                f.write_str("the peer's certificate is issued by one that is not an authority's")
            }
            Some(webpki::Error::MaximumPathDepthExceeded) => f.write_str(
                "the peer's chain is longer than is followed (six authorities below the trusted one)",
            ),
            Some(
                webpki::Error::MaximumSignatureChecksExceeded
                | webpki::Error::MaximumPathBuildCallsExceeded
                | webpki::Error::MaximumNameConstraintComparisonsExceeded,
            ) => f.write_str(
                "the peer's chain takes more work to check than is done: it has too many authorities or names",
            ),
            Some(other) => write!(f, "the peer's certificate is not acceptable: {}", Words(other)),
            None => write!(f, "the peer's certificate is not acceptable: {}", error.0),
    }
}

/// A signature algorithm's name, from the content of its AlgorithmIdentifier in DER.
fn signature_algorithm(id: &[u8]) -> &'static str {
    const KNOWN: [(&[u8], &str); 5] = [
        (&[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05], "SHA-1 and RSA"),
        (&[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x04], "MD5 and RSA"),
        (&[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0e], "SHA-224 and RSA"),
        (&[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01], "SHA-1 and ECDSA"),
        (&[0x06, 0x03, 0x2b, 0x65, 0x71], "Ed448"),
    ];
    KNOWN.iter().find(|(prefix, _)| id.starts_with(prefix)).map_or("an unknown algorithm", |(_, name)| name)
}

/// A name as certificates have it, out of webpki's `DnsName("a.example")` and its kin.
fn bare_name(presented: &str) -> &str {
    let inner = presented.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.map_or(presented, |name| name.trim_matches('"'))
}

/// The name that a certificate was to be for.
fn expected_text(error: &CertificateError) -> String {
    match error {
        CertificateError::NotValidForNameContext { expected, .. } => expected.to_str().into_owned(),
        _ => String::new(),
    }
}

/// A variant of the library's as words: `NoKxGroupsInCommon` as "no kx groups in common". What it holds is left out.
struct Words<T>(T);

impl<T: fmt::Debug> fmt::Display for Words<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = format!("{:?}", self.0);
        let end = name.find(|char: char| !char.is_ascii_alphanumeric()).unwrap_or(name.len());
        let mut before = None;
        for char in name[..end].chars() {
            if char.is_ascii_uppercase() && before.is_some_and(|before: char| !before.is_ascii_uppercase()) {
                f.write_str(" ")?;
            }
            write!(f, "{}", char.to_ascii_lowercase())?;
            before = Some(char);
        }
        Ok(())
    }
}

/// What the operator of a listener can do about a client that was refused.
pub(crate) fn client_help(error: &HandshakeError) -> &'static str {
    use CertificateError as C;
    match error {
        HandshakeError::NoCertificate => "; `client_auth` requires one",
        HandshakeError::BadCertificate(
            C::UnknownRevocationStatus | C::ExpiredRevocationListContext { .. },
        ) => "; put a current list of each issuer in its chain into `client_crl`",
        HandshakeError::BadCertificate(C::UnknownIssuer | C::BadSignature) => {
            "; if it should be admitted, add the CA that issued it to `client_trust`"
        }
        HandshakeError::BadCertificate(C::InvalidPurposeContext {
            required: ExtendedKeyPurpose::ClientAuth,
            ..
        }) => "; if it should be admitted all the same, set `client_usage = \"any\"`",
        HandshakeError::BadCertificate(C::Other(why))
            if why.0.downcast_ref().is_some_and(|why| {
                matches!(
                    why,
                    Unacceptable::AuthorityExpired { .. }
                        | Unacceptable::AuthorityNotYetValid { .. }
                        | Unacceptable::AuthorityUnfit { .. }
                )
            }) =>
        {
            "; replace that authority in `client_trust`"
        }
        _ => "",
    }
}

/// A length of time to the precision that a log line needs.
struct Span(u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            secs @ 0..120 => write!(f, "{secs} seconds"),
            secs @ 120..7_200 => write!(f, "{} minutes", secs / 60),
            secs @ 7_200..172_800 => write!(f, "{} hours", secs / 3_600),
            secs => write!(f, "{} days", secs / 86_400),
        }
    }
}
