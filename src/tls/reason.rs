//! A failed handshake as a word for counters, with what the operator can do, and which side ended it how.

use std::fmt;

use rustls::{AlertDescription, CertificateError, PeerIncompatible, PeerMisbehaved};

use super::backend_verifier::Unacceptable;
use super::error::{HandshakeError, alert_text, concerns_our_certificate};

/// Why a handshake failed, or was undone right after it. What is said of the backend holds for a client of a listener, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The backend's certificate, or one above it, has expired.
    Expired,
    /// It is not valid yet.
    NotYetValid,
    /// Nothing that is trusted issued it.
    UnknownIssuer,
    /// It is for other names.
    WrongName,
    /// It is revoked.
    Revoked,
    /// No revocation list covers it, or the list is out of date.
    RevocationUnknown,
    /// It is not meant for servers.
    WrongUsage,
    /// An authority may not issue for its name, or not at this depth.
    Constraints,
    /// An RSA key is smaller than `min_rsa_bits`.
    WeakKey,
    /// It is signed in a way that is not accepted any more, as with SHA-1.
    WeakSignature,
    /// A signature does not verify.
    BadSignature,
    /// Its key is not among the pinned ones.
    Pin,
    /// Something else is wrong with it.
    BadCertificate,
    /// A client presented no certificate where one is required.
    NoCertificate,
    /// `require_client_auth`: the backend did not request our certificate.
    NotAsked,
    /// The backend does not speak TLS.
    PlainText,
    /// No TLS version in common.
    Version,
    /// No suite, group or signature scheme in common.
    Cipher,
    /// The backend broke the protocol.
    Protocol,
    /// The backend closed without an alert.
    Closed,
    /// The connection was reset.
    Reset,
    /// The backend closed before any answer, right after it had got our certificate, or heard that there is none.
    ClosedAfterCertificate,
    /// The backend began a new handshake within the connection, which is declined, and ended it (TLS 1.2).
    Renegotiation,
    /// It took too long.
    Timeout,
    /// Anything else, which is ours.
    Other,
    /// The backend refused our certificate, or its lack, with this alert.
    CertificateRefused(AlertDescription),
    /// The backend ended it with another alert.
    Alert(AlertDescription),
}

impl Reason {
    /// Those without an alert.
    pub const PLAIN: [Self; 25] = [
        Self::Expired,
        Self::NotYetValid,
        Self::UnknownIssuer,
        Self::WrongName,
        Self::Revoked,
        Self::RevocationUnknown,
        Self::WrongUsage,
        Self::Constraints,
        Self::WeakKey,
        Self::WeakSignature,
        Self::BadSignature,
        Self::Pin,
        Self::BadCertificate,
        Self::NoCertificate,
        Self::NotAsked,
        Self::PlainText,
        Self::Version,
        Self::Cipher,
        Self::Protocol,
        Self::Closed,
        Self::Reset,
        Self::ClosedAfterCertificate,
        Self::Renegotiation,
        Self::Timeout,
        Self::Other,
    ];

    /// That of an alert which the backend sent.
    pub fn of_alert(alert: AlertDescription) -> Self {
        if concerns_our_certificate(alert) { Self::CertificateRefused(alert) } else { Self::Alert(alert) }
    }

    /// The same, knowing whether the backend had requested our certificate and not accepted the answer yet. It chooses version
    /// and suite before it requests one: an alert after that is about the certificate, or its lack.
    pub fn after(self, asked: bool) -> Self {
        match self {
            Self::Alert(alert @ AlertDescription::HandshakeFailure) if asked => {
                Self::CertificateRefused(alert)
            }
            Self::Closed | Self::Reset if asked => Self::ClosedAfterCertificate,
            other => other,
        }
    }

    /// The alert, if it is one of the backend's.
    pub fn alert(self) -> Option<AlertDescription> {
        match self {
            Self::CertificateRefused(alert) | Self::Alert(alert) => Some(alert),
            _ => None,
        }
    }

    /// As metrics and status name it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::UnknownIssuer => "unknown_issuer",
            Self::WrongName => "wrong_name",
            Self::Revoked => "revoked",
            Self::RevocationUnknown => "revocation_unknown",
            Self::WrongUsage => "wrong_usage",
            Self::Constraints => "constraints",
            Self::WeakKey => "weak_key",
            Self::WeakSignature => "weak_signature",
            Self::BadSignature => "bad_signature",
            Self::Pin => "pin",
            Self::BadCertificate => "bad_certificate",
            Self::NoCertificate => "certificate_missing",
            Self::NotAsked => "certificate_not_requested",
            Self::PlainText => "plain_text",
            Self::Version => "no_common_version",
            Self::Cipher => "no_common_cipher",
            Self::Protocol => "protocol",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::ClosedAfterCertificate => "closed_after_certificate",
            Self::Renegotiation => "renegotiation",
            Self::Timeout => "timeout",
            Self::Other => "other",
            Self::CertificateRefused(_) => "certificate_refused",
            Self::Alert(_) => "alert",
        }
    }

    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        use AlertDescription as A;
        match self {
            Self::Expired => "renew the backend's certificate",
            Self::NotYetValid => "compare the clocks of the two machines",
            Self::UnknownIssuer => {
                "add the CA that issued it, or the certificate itself, to `tls.trust`; \
                 if an intermediate is missing, let the backend send it"
            }
            Self::WrongName => "set `tls.server_name` to a name that the certificate is for",
            Self::Revoked => "give the backend a new certificate",
            Self::RevocationUnknown => "put a current list of each issuer in its chain into `tls.crl`",
            Self::WrongUsage => {
                "have it issued for servers (extendedKeyUsage serverAuth, keyUsage digitalSignature)"
            }
            Self::Constraints => "have it issued by a CA that may",
            Self::WeakKey => "have it issued with a larger key, or lower `tls.min_rsa_bits`",
            Self::WeakSignature => "have it issued anew, with SHA-256",
            Self::Pin => "if the key was changed on purpose, add its pin to `tls.pins`",
            Self::NoCertificate => {
                "give the client a certificate that is trusted, or set `client_auth = \"optional\"`"
            }
            Self::NotAsked => {
                "configure the backend to request client certificates, or drop `tls.require_client_auth`"
            }
            Self::PlainText => "use the backend's TLS port, or drop the upstream's `tls` table",
            Self::Version => "see `tls.versions`, and what the backend allows",
            Self::Cipher => "see `tls.cipher_suites`, and what the backend allows",
            Self::Closed | Self::Reset => "the backend's own log may have the reason",
            Self::ClosedAfterCertificate => {
                "it may have refused our certificate, or its lack (Node does so without an alert): its own log may have the reason"
            }
            Self::Renegotiation => {
                "it may require a client certificate for this path: configure it to request one at the start of each connection (Apache: \
                 SSLVerifyClient for the whole host; IIS: negotiateclientcertificate), and name one in `tls.certificate`"
            }
            Self::Timeout => "see whether the backend is overloaded, or raise `timeouts.connect`",
            Self::CertificateRefused(A::UnknownCA) => {
                "let the backend trust the CA of our certificate, or name another one in `tls.certificate`"
            }
            Self::CertificateRefused(A::CertificateRequired | A::NoCertificate) => {
                "name one that it trusts in `tls.certificate`, with a kind of key that it takes"
            }
            Self::CertificateRefused(A::HandshakeFailure) => {
                "it requested a client certificate: name one that it trusts in `tls.certificate`, with a kind of key that it takes"
            }
            Self::CertificateRefused(A::CertificateExpired) => "renew our certificate, or compare the clocks",
            Self::CertificateRefused(_) => {
                "name a certificate that the backend accepts in `tls.certificate`; its own log has the reason why it refused this one"
            }
            Self::Alert(A::ProtocolVersion) => "see `tls.versions`, and what the backend allows",
            Self::Alert(A::UnrecognisedName) => "set `tls.server_name` to a name that the backend serves",
            Self::Alert(A::HandshakeFailure | A::InsufficientSecurity) => {
                "see `tls.versions` and `tls.cipher_suites`, and what the backend allows (it did not request a client certificate)"
            }
            Self::BadSignature | Self::BadCertificate | Self::Protocol | Self::Other | Self::Alert(_) => {
                "`openssl s_client -connect` shows what the backend presents"
            }
        }
    }
}

/// The name and, where it has one, the alert: `certificate_refused unknown_ca`.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())?;
        self.alert().map_or(Ok(()), |alert| write!(f, " {}", alert_name(alert)))
    }
}

/// An alert's name in the RFCs.
pub(crate) fn alert_name(alert: AlertDescription) -> &'static str {
    use AlertDescription as A;
    match alert {
        A::DecryptionFailed => "decryption_failed",
        A::DecompressionFailure => "decompression_failure",
        A::ExportRestriction => "export_restriction",
        A::CertificateUnobtainable => "certificate_unobtainable",
        A::BadCertificateStatusResponse => "bad_certificate_status_response",
        A::BadCertificateHashValue => "bad_certificate_hash_value",
        A::EncryptedClientHelloRequired => "ech_required",
        known if known.as_str().is_some() => alert_text(known).split(" (").next().unwrap_or_default(),
        _ => "unknown",
    }
}

impl HandshakeError {
    /// Why, in a word.
    pub fn reason(&self) -> Reason {
        match self {
            Self::PeerAlert(alert) => Reason::of_alert(*alert),
            Self::BadCertificate(error) => certificate_reason(error),
            Self::BadRevocationList(_) => Reason::RevocationUnknown,
            Self::NoCertificate => Reason::NoCertificate,
            Self::NotTls(_) => Reason::PlainText,
            Self::NoCommonVersion(_) => Reason::Version,
            Self::NoCommonCipher(_) => Reason::Cipher,
            Self::PeerMisbehaved(_)
            | Self::Refused { .. }
            | Self::NoCommonProtocol
            | Self::Incompatible(_)
            | Self::TooLarge => Reason::Protocol,
            Self::OutOfOrder | Self::Other(_) => Reason::Other,
        }
    }

    /// The alert that a listener ended the handshake with; `None`: the client ended it, or speaks no TLS.
    pub(crate) fn alert_to_client(&self) -> Option<AlertDescription> {
        match self {
            // By rustls, in both versions.
            Self::NoCertificate => Some(AlertDescription::CertificateRequired),
            error => super::guard::alert_for(error),
        }
    }

    /// The alert that we ended the handshake with, as rustls chooses it; `None`: the peer ended it, or no alert was due.
    pub fn alert_sent(&self) -> Option<AlertDescription> {
        use rustls::Error as E;
        Some(match self {
            Self::BadCertificate(error) => AlertDescription::from(error.clone()),
            Self::BadRevocationList(_) => AlertDescription::BadCertificate,
            Self::NoCommonVersion(_) => AlertDescription::ProtocolVersion,
            Self::NoCommonCipher(_) => AlertDescription::HandshakeFailure,
            Self::NoCommonProtocol => AlertDescription::NoApplicationProtocol,
            Self::Refused { alert, .. } => *alert,
            Self::NoCertificate | Self::Incompatible(PeerIncompatible::EcPointsExtensionRequired) => {
                AlertDescription::HandshakeFailure
            }
            Self::PeerMisbehaved(error) => match error {
                E::DecryptError => AlertDescription::BadRecordMac,
                E::InvalidMessage(_) => AlertDescription::DecodeError,
                E::PeerSentOversizedRecord => AlertDescription::RecordOverflow,
                E::PeerMisbehaved(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme) => {
                    AlertDescription::IllegalParameter
                }
                E::InappropriateMessage { .. } | E::InappropriateHandshakeMessage { .. } => {
                    AlertDescription::UnexpectedMessage
                }
                _ => return None,
            },
            _ => return None,
        })
    }
}

fn certificate_reason(error: &CertificateError) -> Reason {
    use CertificateError as C;
    match error {
        C::Expired | C::ExpiredContext { .. } => Reason::Expired,
        C::NotValidYet | C::NotValidYetContext { .. } => Reason::NotYetValid,
        C::UnknownIssuer => Reason::UnknownIssuer,
        C::NotValidForName | C::NotValidForNameContext { .. } => Reason::WrongName,
        C::Revoked => Reason::Revoked,
        C::UnknownRevocationStatus | C::ExpiredRevocationList | C::ExpiredRevocationListContext { .. } => {
            Reason::RevocationUnknown
        }
        C::InvalidPurpose | C::InvalidPurposeContext { .. } => Reason::WrongUsage,
        C::UnsupportedSignatureAlgorithmContext { .. }
        | C::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => Reason::WeakSignature,
        C::BadSignature => Reason::BadSignature,
        C::Other(error) => match (error.0.downcast_ref(), error.0.downcast_ref()) {
            (Some(Unacceptable::Pin(_)), _) => Reason::Pin,
            (Some(Unacceptable::WeakKey { .. }), _) => Reason::WeakKey,
            (Some(Unacceptable::NotForSigning), _) => Reason::WrongUsage,
            (Some(Unacceptable::NameConstraints { .. }), _) => Reason::Constraints,
            (
                Some(
                    Unacceptable::Namesake { .. }
                    | Unacceptable::SelfIssued { .. }
                    | Unacceptable::AuthorityExpired { .. }
                    | Unacceptable::AuthorityNotYetValid { .. }
                    | Unacceptable::AuthorityUnfit { .. },
                ),
                _,
            ) => Reason::UnknownIssuer,
            (
                None,
                Some(webpki::Error::NameConstraintViolation | webpki::Error::PathLenConstraintViolated),
            ) => Reason::Constraints,
            _ => Reason::BadCertificate,
        },
        _ => Reason::BadCertificate,
    }
}

/// How many handshakes failed for which reason. Written by all workers, at failures alone.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    plain: [Count; Reason::PLAIN.len()],
    /// By the alert's number; whatever numbers there may be, there are names for these.
    alerts: Box<Alerts>,
    /// The alert handshake_failure where it is about our certificate, see [`Reason::after`].
    unwelcome: Count,
}

const UNWELCOME: Reason = Reason::CertificateRefused(AlertDescription::HandshakeFailure);

type Count = std::sync::atomic::AtomicU64;

#[derive(Debug)]
struct Alerts([Count; 256]);

impl Default for Alerts {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Count::default()))
    }
}

impl Tally {
    /// One more.
    pub(crate) fn add(&self, reason: Reason) {
        use std::sync::atomic::Ordering::Relaxed;
        let count = match reason.alert() {
            _ if reason == UNWELCOME => &self.unwelcome,
            // All that have no name are one.
            Some(alert) if alert.as_str().is_none() => &self.alerts.0[usize::from(u8::MAX)],
            Some(alert) => &self.alerts.0[usize::from(u8::from(alert))],
            None => {
                let at = Reason::PLAIN.iter().position(|plain| *plain == reason);
                &self.plain[at.unwrap_or(Reason::PLAIN.len() - 1)]
            }
        };
        count.fetch_add(1, Relaxed);
    }

    /// The reasons that there were, with their numbers.
    pub(crate) fn read(&self) -> Vec<(Reason, u64)> {
        use std::sync::atomic::Ordering::Relaxed;
        let alerts = (0..=u8::MAX).map(|number| Reason::of_alert(AlertDescription::from(number)));
        let reasons = Reason::PLAIN.into_iter().chain(alerts).chain([UNWELCOME]);
        let counts = self.plain.iter().chain(&self.alerts.0).chain([&self.unwelcome]);
        let counts = counts.map(|count| count.load(Relaxed));
        reasons.zip(counts).filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted_apart_and_every_alert_has_a_name() {
        let tally = Tally::default();
        assert!(tally.read().is_empty());
        let reasons = [
            Reason::Other,
            Reason::of_alert(AlertDescription::UnknownCA),
            Reason::of_alert(AlertDescription::HandshakeFailure),
        ];
        let handshake_failure = Reason::of_alert(AlertDescription::HandshakeFailure);
        let more = [Reason::Expired, Reason::Expired, handshake_failure.after(true)];
        for reason in reasons.into_iter().chain(more) {
            tally.add(reason);
        }
        let seen = tally.read();
        assert_eq!(seen[0], (Reason::Expired, 2));
        let names: Vec<String> = seen.iter().map(|(reason, _)| reason.to_string()).collect();
        let expected = [
            "expired",
            "other",
            "alert handshake_failure",
            "certificate_refused unknown_ca",
            "certificate_refused handshake_failure",
        ];
        assert_eq!(names, expected);
        for number in [200, 201] {
            tally.add(Reason::of_alert(AlertDescription::from(number)));
        }
        assert_eq!(
            tally.read().iter().rev().nth(1).map(|(_, count)| *count),
            Some(2),
            "alerts without a name are counted as one"
        );
        for number in 0..=u8::MAX {
            let name = alert_name(AlertDescription::from(number));
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit()),
                "{name}"
            );
        }
    }

    #[test]
    fn labels_are_unique_and_every_reason_has_a_mend() {
        let labels: std::collections::HashSet<_> =
            Reason::PLAIN.iter().map(|reason| reason.label()).collect();
        assert_eq!(labels.len(), Reason::PLAIN.len());
        assert!(Reason::PLAIN.iter().all(|reason| !reason.remedy().is_empty()));
    }
}
