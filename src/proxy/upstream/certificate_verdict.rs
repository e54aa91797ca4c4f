//! What a backend makes of our client certificate.

/// What is known of a connection's certificate.
///
/// ```text
/// handshake ─┬─► NotAsked
///            ├─► FromSession: resumed
///            ├─► Accepted: within the handshake (TLS 1.2)
///            └─► Pending (TLS 1.3) ──► Accepted: it answered a request, or gave a session
///                   └─► refused: an alert, or the end of the connection
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CertificateVerdict {
    /// The backend did not ask for a certificate, or went on without one. Plain connections have this, too.
    NotAsked,
    /// It has yet to judge the certificate, or the lack of one (TLS 1.3).
    Pending {
        /// Whether there was a certificate to present.
        presented: bool,
        /// Whether the previous generation stands in if this one is refused.
        fallback: bool,
    },
    /// It accepted the certificate.
    Accepted,
    /// The session that was resumed had the certificate.
    FromSession,
}

impl CertificateVerdict {
    /// Whether the backend knows our certificate: it was presented now, or when the session began.
    pub(crate) fn is_presented(self) -> bool {
        match self {
            Self::NotAsked => false,
            Self::Pending { presented, .. } => presented,
            Self::Accepted | Self::FromSession => true,
        }
    }

    /// Whether the backend may still end the connection over the certificate or its lack.
    pub(crate) fn is_pending(self) -> bool {
        matches!(self, Self::Pending { .. })
    }

    /// Whether the previous generation stands in if the backend refuses this one: then a request is kept until its
    /// response begins.
    pub(crate) fn has_fallback(self) -> bool {
        matches!(self, Self::Pending { fallback: true, .. })
    }

    /// What it is once the backend has answered a request. True: a certificate was accepted by that.
    pub(crate) fn settle(&mut self) -> bool {
        let presented = matches!(self, Self::Pending { presented: true, .. });
        match *self {
            Self::Pending { presented: true, .. } => *self = Self::Accepted,
            Self::Pending { presented: false, .. } => *self = Self::NotAsked,
            Self::NotAsked | Self::Accepted | Self::FromSession => {}
        }
        presented
    }
}

#[cfg(test)]
mod tests {
    use super::CertificateVerdict::*;
    use super::*;

    #[test]
    fn an_answer_settles_what_was_pending() {
        let pending = |presented, fallback| Pending { presented, fallback };
        for (before, after, accepted) in [
            (NotAsked, NotAsked, false),
            (FromSession, FromSession, false),
            (Accepted, Accepted, false),
            (pending(true, true), Accepted, true),
            (pending(true, false), Accepted, true),
            (pending(false, false), NotAsked, false),
        ] {
            let mut verdict: CertificateVerdict = before;
            assert_eq!((verdict.settle(), verdict), (accepted, after), "{before:?}");
            assert!(!verdict.is_pending() && !verdict.has_fallback());
            assert_eq!(verdict.is_presented(), before.is_presented());
        }
    }
}
