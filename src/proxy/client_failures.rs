//! Failed TLS handshakes with the clients of a listener: counts by reason, and a record of each of the last ones.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::AlertDescription;
use rustls::pki_types::CertificateDer;

use crate::base::address::Peer;
use crate::base::limits::{CLIENT_FAILURE_CERTIFICATE_BYTES, CLIENT_FAILURES};
use crate::certs::Facts;
use crate::tls::{Offered, Reason, Tally, alert_name};

/// See the module. Shared by all workers, and kept over reloads.
#[derive(Debug, Default)]
pub(crate) struct ClientFailures {
    tally: Tally,
    /// The newest at the end. Workers do not wait for it: while it is read, a record is left out.
    recent: Mutex<VecDeque<Arc<ClientFailure>>>,
    left_out: AtomicU64,
}

/// A handshake that failed, or a client that was turned away right after it.
#[derive(Clone, Debug)]
pub(crate) struct ClientFailure {
    /// When.
    pub(crate) at: SystemTime,
    /// The client's address.
    pub(crate) client: Peer,
    /// Why, in a word.
    pub(crate) reason: Reason,
    /// The same in words, with what to do.
    pub(crate) text: String,
    /// The alert that the client was sent; the one that it sent is in `reason`.
    pub(crate) alert_sent: Option<AlertDescription>,
    /// What its ClientHello offered, if that arrived.
    pub(crate) offered: Option<Offered>,
    /// The certificate that it presented.
    pub(crate) certificate: Option<CertificateDer<'static>>,
}

impl ClientFailures {
    /// Counts a failure and keeps its record.
    pub(crate) fn add(&self, failure: ClientFailure) -> Arc<ClientFailure> {
        self.tally.add(failure.reason);
        let failure = Arc::new(failure);
        let Ok(mut recent) = self.recent.try_lock() else {
            self.left_out.fetch_add(1, Relaxed);
            return failure;
        };
        if recent.len() >= CLIENT_FAILURES {
            recent.pop_front();
        }
        recent.push_back(Arc::clone(&failure));
        failure
    }

    /// How many have failed for which reason.
    pub(crate) fn counts(&self) -> Vec<(Reason, u64)> {
        self.tally.read()
    }

    /// The last ones, the newest first.
    pub(crate) fn recent(&self) -> Vec<Arc<ClientFailure>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().cloned().collect()
    }

    /// Records that were left out since they were read at that moment.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out.load(Relaxed)
    }
}

impl ClientFailure {
    /// A failure of this moment of which no more is known.
    pub(crate) fn now(client: Peer, reason: Reason, text: String) -> Self {
        Self {
            at: SystemTime::now(),
            client,
            reason,
            text,
            alert_sent: None,
            offered: None,
            certificate: None,
        }
    }

    /// The same with what was seen of the client until then.
    pub(crate) fn seen(mut self, offered: Option<Offered>, chain: Vec<CertificateDer<'static>>) -> Self {
        self.offered = offered;
        let leaf = chain.into_iter().next();
        self.certificate = leaf.filter(|leaf| leaf.len() <= CLIENT_FAILURE_CERTIFICATE_BYTES);
        self
    }

    /// The facts of the certificate that the client presented, if it can be parsed.
    pub(crate) fn facts(&self) -> Option<Facts> {
        Facts::from_der(self.certificate.as_ref()?).ok()
    }
}

/// What a log line says of the client, behind the reason in words.
pub(crate) struct Details<'f>(pub(crate) &'f ClientFailure);

impl fmt::Display for Details<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(failure) = self;
        write!(f, "reason {}", failure.reason)?;
        if let Some(alert) = failure.alert_sent {
            write!(f, ", alert sent {}", alert_name(alert))?;
        }
        if let Some(offered) = &failure.offered {
            write!(f, ", server name {}", offered.server_name.as_deref().unwrap_or("-"))?;
            write!(f, ", versions {}", offered.version_names().join(" "))?;
        }
        if let Some(facts) = failure.facts() {
            let Facts { subject, serial, sha256, .. } = facts;
            write!(f, ", certificate \"{subject}\" (serial {serial}, SHA-256 {sha256})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_failures_are_kept_and_all_are_counted() {
        let failures = ClientFailures::default();
        let client = Peer::Ip(std::net::SocketAddr::from(([127, 0, 0, 1], 7)));
        for number in 0..CLIENT_FAILURES + 2 {
            failures.add(ClientFailure::now(client, Reason::Closed, number.to_string()));
        }
        let recent = failures.recent();
        assert_eq!(recent.len(), CLIENT_FAILURES);
        assert_eq!(recent[0].text, (CLIENT_FAILURES + 1).to_string());
        assert_eq!(failures.counts(), [(Reason::Closed, CLIENT_FAILURES as u64 + 2)]);
        let held = failures.recent.lock().unwrap();
        failures.add(ClientFailure::now(client, Reason::Reset, String::new()));
        drop(held);
        assert_eq!((failures.recent().len(), failures.left_out()), (CLIENT_FAILURES, 1));
    }
}
