//! What was verified before, so that slow or costly work is done once: a bounded table that all workers share without a lock.
//!
//! Secrets are not kept: a slot has 63 bits of a keyed hash (HMAC-SHA-256 with a key of this process) and the verdict. The hash
//! says which slot; a new entry replaces what is there.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use aws_lc_rs::hmac;

/// See the module.
#[derive(Debug)]
pub(crate) struct Verified {
    key: hmac::Key,
    slots: Box<[AtomicU64]>,
}

/// What is looked up: the keyed hash of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    tag: u64,
    place: u64,
}

impl Verified {
    /// A table of so many slots, which is a power of two, with a random key.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub(crate) fn new(slots: usize) -> Result<Self, aws_lc_rs::error::Unspecified> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &aws_lc_rs::rand::SystemRandom::new())?;
        debug_assert!(slots.is_power_of_two());
        Ok(Self { key, slots: (0..slots).map(|_| AtomicU64::new(0)).collect() })
    }

    /// The fingerprint of `parts`, each with its length.
    pub(crate) fn fingerprint(&self, parts: &[&[u8]]) -> Fingerprint {
        let mut hash = hmac::Context::with_key(&self.key);
        for part in parts {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let hash = hash.sign();
        let word = |at: usize| {
            let bytes = hash.as_ref()[at..].first_chunk::<8>().copied().unwrap_or_default();
            u64::from_le_bytes(bytes)
        };
        // Never 0, which is a slot that is free: the highest bit is always set.
        Fingerprint { tag: (word(0) | 1 << 63) & !1, place: word(8) }
    }

    /// What was found before, if that is still known.
    pub(crate) fn get(&self, of: Fingerprint) -> Option<bool> {
        let found = self.slot(of).load(Relaxed);
        (found & !1 == of.tag).then_some(found & 1 == 1)
    }

    /// Notes what was found.
    pub(crate) fn note(&self, of: Fingerprint, good: bool) {
        self.slot(of).store(of.tag | u64::from(good), Relaxed);
    }

    fn slot(&self, of: Fingerprint) -> &AtomicU64 {
        &self.slots[of.place as usize & (self.slots.len() - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_of_its_secret_alone_and_of_its_table() {
        let (one, other) = (Verified::new(64).expect("a key"), Verified::new(64).expect("a key"));
        let good = one.fingerprint(&[b"alice", b"secret"]);
        assert_eq!(one.get(good), None);
        one.note(good, true);
        assert_eq!(one.get(good), Some(true));
        assert_eq!(one.get(one.fingerprint(&[b"alices", b"ecret"])), None, "parts are told apart");
        assert_eq!(other.get(other.fingerprint(&[b"alice", b"secret"])), None);
        assert_ne!(other.fingerprint(&[b"alice", b"secret"]), good, "keys differ");
        one.note(good, false);
        assert_eq!(one.get(good), Some(false));
    }

    #[test]
    fn it_keeps_as_many_as_it_has_slots() {
        let table = Verified::new(16).expect("a key");
        let of = |n: u32| table.fingerprint(&[&n.to_le_bytes()]);
        (0..1000).for_each(|n| table.note(of(n), true));
        assert!((0..1000).filter(|n| table.get(of(*n)).is_some()).count() <= 16);
    }
}
