//! Tickets that end with the client certificate in them.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ProducesTickets;

use super::backend_verifier::check_validity;

/// A ticketer whose tickets are of no use once the client certificate in them has ended: the handshake is a full one
/// then, in which the client may present another certificate.
#[derive(Debug)]
pub(super) struct Tickets(pub(super) Arc<dyn ProducesTickets>);

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        self.0.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.0.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let plain = self.0.decrypt(cipher)?;
        let leaf = client_certificate(&plain).map(CertificateDer::from);
        let is_good = leaf.is_none_or(|leaf| check_validity(&leaf, UnixTime::now()).is_ok());
        is_good.then_some(plain)
    }
}

/// The first client certificate in a session as rustls writes it: server name, version, suite, secret, a flag, chain.
fn client_certificate(session: &[u8]) -> Option<&[u8]> {
    let mut at = Bytes(session);
    if at.take(1)? == [1] {
        at.vector(1)?;
    }
    at.take(4)?;
    at.vector(1)?;
    at.take(1)?;
    if at.take(1)? != [1] {
        return None;
    }
    Bytes(at.vector(3)?).vector(3)
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    /// Bytes behind their length, which has so many bytes itself.
    fn vector(&mut self, width: usize) -> Option<&'a [u8]> {
        let len = self.take(width)?.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
        self.take(len)
    }
}
