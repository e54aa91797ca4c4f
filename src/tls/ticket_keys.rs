//! The keys of stateless tickets (RFC 5077 §4, RFC 8446 §4.6.1). They change every six hours, those of before open tickets for
//! as long again, and a process hands them to its successor.
//!
//! A ticket is `name (16) ‖ nonce (12) ‖ AES-256-GCM-SIV(content)`: random nonces may repeat without harm (RFC 8452).

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use data_encoding::BASE64;
use rustls::pki_types::UnixTime;
use rustls::server::ProducesTickets;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::config::ConfigError;
use crate::base::published::Published;

/// Seconds for which a key seals new tickets, and then opens them.
const LIFETIME: u64 = 6 * 60 * 60;
const NAME_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;

/// See the module.
pub struct TicketKeys {
    keys: Published<Keys>,
    /// Held by the worker that makes the next key.
    changing: AtomicBool,
}

struct Keys {
    current: Key,
    previous: Option<Key>,
}

#[derive(Clone)]
struct Key {
    name: [u8; NAME_BYTES],
    secret: Zeroizing<[u8; SECRET_BYTES]>,
    /// Seconds since 1970.
    made: u64,
}

/// A key as a successor gets it.
#[derive(Serialize, Deserialize)]
pub(crate) struct TicketKey {
    name: String,
    secret: String,
    made: u64,
}

impl Drop for TicketKey {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl TicketKeys {
    /// With a new key.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub(super) fn new() -> Result<Self, ConfigError> {
        let current = Key::new(now()).ok_or(ConfigError::Rustls(rustls::Error::FailedToGetRandomBytes))?;
        let keys = Published::new(Keys { current, previous: None });
        Ok(Self { keys, changing: AtomicBool::new(false) })
    }

    /// The keys that open tickets, the current one first.
    pub(crate) fn export(&self) -> Vec<TicketKey> {
        let keys = self.keys.load();
        let all = std::iter::once(&keys.current).chain(&keys.previous);
        all.map(Key::export).collect()
    }

    /// Goes on with the keys of a predecessor. What is no key is left out, as is one whose time is over.
    pub(crate) fn adopt(&self, keys: &[TicketKey]) {
        let mut known = keys.iter().filter_map(Key::import).filter(|key| key.opens(now()));
        if let Some(current) = known.next() {
            self.keys.store(Keys { current, previous: known.next() }.into());
        }
    }

    /// Makes the next key where the current one has sealed tickets for long enough. One worker does, the others go on.
    fn change(&self, now: u64) {
        if self.changing.swap(true, Ordering::Acquire) {
            return;
        }
        let keys = self.keys.load();
        if let Some(current) = Key::new(now).filter(|_| !keys.current.seals(now)) {
            self.keys.store(Keys { current, previous: Some(keys.current.clone()) }.into());
        }
        self.changing.store(false, Ordering::Release);
    }
}

impl Key {
    fn new(now: u64) -> Option<Self> {
        let (mut name, mut secret) = ([0; NAME_BYTES], Zeroizing::new([0; SECRET_BYTES]));
        rand::fill(&mut name).ok()?;
        rand::fill(&mut *secret).ok()?;
        Some(Self { name, secret, made: now })
    }

    fn seals(&self, now: u64) -> bool {
        now < self.made.saturating_add(LIFETIME)
    }

    fn opens(&self, now: u64) -> bool {
        now < self.made.saturating_add(2 * LIFETIME)
    }

    fn sealing(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&AES_256_GCM_SIV, &*self.secret).ok().map(LessSafeKey::new)
    }

    fn export(&self) -> TicketKey {
        TicketKey { name: BASE64.encode(&self.name), secret: BASE64.encode(&*self.secret), made: self.made }
    }

    fn import(key: &TicketKey) -> Option<Self> {
        let name = BASE64.decode(key.name.as_bytes()).ok()?.try_into().ok()?;
        let secret = Zeroizing::new(BASE64.decode(key.secret.as_bytes()).ok()?);
        let secret = Zeroizing::new(secret.as_slice().try_into().ok()?);
        Some(Self { name, secret, made: key.made })
    }
}

impl ProducesTickets for TicketKeys {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let now = now();
        if self.keys.with(|keys| !keys.current.seals(now)) {
            self.change(now);
        }
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        self.keys.with(|keys| {
            let key = &keys.current;
            let mut ticket = Vec::with_capacity(NAME_BYTES + NONCE_LEN + plain.len() + 16);
            ticket.extend_from_slice(&key.name);
            ticket.extend_from_slice(&nonce);
            let mut sealed = plain.to_vec();
            let (aad, nonce) = (Aad::from(key.name), Nonce::assume_unique_for_key(nonce));
            key.sealing()?.seal_in_place_append_tag(nonce, aad, &mut sealed).ok()?;
            ticket.extend_from_slice(&sealed);
            Some(ticket)
        })
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME_BYTES)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        self.keys.with(|keys| {
            let all = std::iter::once(&keys.current).chain(&keys.previous);
            let key = all.into_iter().find(|key| key.name == name && key.opens(now()))?;
            let mut content = sealed.to_vec();
            let length = key.sealing()?.open_in_place(nonce, Aad::from(key.name), &mut content).ok()?.len();
            content.truncate(length);
            Some(content)
        })
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKeys")
    }
}

fn now() -> u64 {
    UnixTime::now().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_opened_by_its_key_and_by_a_successor_with_it() {
        let keys = TicketKeys::new().unwrap();
        let ticket = keys.encrypt(b"session").unwrap();
        assert_eq!(keys.decrypt(&ticket).unwrap(), b"session");
        let successor = TicketKeys::new().unwrap();
        assert!(successor.decrypt(&ticket).is_none());
        successor.adopt(&keys.export());
        assert_eq!(successor.decrypt(&ticket).unwrap(), b"session");
        assert!(keys.decrypt(&successor.encrypt(b"back").unwrap()).is_some());
        for at in 0..ticket.len() {
            let mut forged = ticket.clone();
            forged[at] ^= 1;
            assert!(keys.decrypt(&forged).is_none(), "byte {at}");
        }
        assert!((0..ticket.len()).all(|end| keys.decrypt(&ticket[..end]).is_none()));
    }

    #[test]
    fn a_key_that_sealed_for_long_enough_opens_for_as_long_again() {
        let keys = TicketKeys::new().unwrap();
        let ticket = keys.encrypt(b"session").unwrap();
        let aged = |age: u64| {
            let key = Key { made: now() - age, ..keys.keys.load().current.clone() };
            keys.keys.store(Keys { current: key, previous: None }.into());
        };
        aged(LIFETIME);
        let next = keys.encrypt(b"next").unwrap();
        assert_ne!(next[..NAME_BYTES], ticket[..NAME_BYTES]);
        assert!(keys.decrypt(&ticket).is_some() && keys.decrypt(&next).is_some());
        aged(2 * LIFETIME);
        assert!(keys.decrypt(&next).is_none());
    }
}
