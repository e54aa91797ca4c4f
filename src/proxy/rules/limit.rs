//! Rate limits: a token bucket a key, shared by all workers.
//!
//! A bucket is one atomic: the time at which it will be full again (the generic cell rate algorithm's
//! theoretical arrival time). A request moves it on by the time of one token with one compare-and-swap, or is
//! refused without writing; nothing is locked and nothing is divided between workers, so the rate is exact
//! however the kernel spreads connections. One word that all workers write takes some hundred nanoseconds
//! where they all meet on it, and only requests that pass write it.
//!
//! Buckets of clients and header values live in a table of fixed size, in sets of eight. A key that finds no
//! bucket takes over the one of its set that is nearest to full, *with what is missing in it*. So a bucket that is full, and
//! not needed, is the first to be replaced; a key that is being refused is the last; and however many keys clients invent,
//! what passes through a bucket never exceeds the rate. Keys are hashed with a random key, so that a client cannot choose
//! keys of one set.

use std::hash::{BuildHasher as _, Hash, Hasher as _, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use super::RequestView;
use crate::base::limits::RATE_LIMIT_KEYS;
use crate::base::network::ipv6_prefix;
use crate::config::plan::{LimitBy, RateLimit};
use crate::proxy::reply::Reply;

/// Buckets that a key may be in.
const WAYS: usize = 8;

/// The rate limit of a route or a listener.
#[derive(Debug)]
pub struct Limit {
    /// Nanoseconds until a token is available again.
    token: u64,
    /// Nanoseconds that a whole bucket takes.
    bucket: u64,
    start: Instant,
    keys: Keys,
    /// The cause of its refusals, for the logs.
    cause: &'static str,
}

#[derive(Debug)]
enum Keys {
    All(AtomicU64),
    Client(Table),
    Header(String, Table),
}

/// What a limit has counted, as a successor gets it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct LimitRecord {
    /// What its keys are hashed with.
    seeds: [u64; 2],
    /// Of each key's hash that has used tokens: nanoseconds until its bucket is full.
    buckets: Vec<(u64, u64)>,
}

impl LimitRecord {
    /// How many keys it has.
    pub(crate) fn len(&self) -> usize {
        self.buckets.len()
    }
}

/// How long until a token is there, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wait(u64);

impl Limit {
    /// The limit as the config has it. `cause` is the cause of its refusals.
    pub fn new(limit: &RateLimit, cause: &'static str) -> Self {
        let token = (limit.period.as_nanos() as u64 / u64::from(limit.count)).max(1);
        let keys = match &limit.by {
            LimitBy::All => Keys::All(AtomicU64::new(0)),
            LimitBy::Client => Keys::Client(Table::new(RATE_LIMIT_KEYS)),
            LimitBy::Header(name) => Keys::Header(name.clone(), Table::new(RATE_LIMIT_KEYS)),
        };
        let bucket = token.saturating_mul(u64::from(limit.burst));
        Self { token, bucket, start: Instant::now(), keys, cause }
    }

    /// Takes a token for this request.
    ///
    /// # Errors
    /// There is none; the error has the time to wait.
    pub(crate) fn take(&self, asked: &RequestView<'_, '_, '_>) -> Result<(), Reply> {
        let bucket = match &self.keys {
            Keys::All(bucket) => bucket,
            Keys::Client(table) => table.bucket(client(asked.address)),
            Keys::Header(name, table) => match asked.head.fields.get(name) {
                Some(value) => table.bucket((1u8, value)),
                // A request without it is identified by its address.
                None => table.bucket((2u8, client(asked.address))),
            },
        };
        self.take_now(bucket)
    }

    /// Takes a token for a client of this address, of a limit by client or of all.
    ///
    /// # Errors
    /// See [`take`](Self::take).
    pub(crate) fn take_for(&self, address: &str) -> Result<(), Reply> {
        self.take_now(match &self.keys {
            Keys::All(bucket) => bucket,
            Keys::Client(table) | Keys::Header(_, table) => table.bucket(client(address)),
        })
    }

    fn take_now(&self, bucket: &AtomicU64) -> Result<(), Reply> {
        self.take_from(bucket, self.now()).map_err(|Wait(wait)| {
            let mut reply = Reply::refusal(429, self.cause);
            let seconds = wait.div_ceil(1_000_000_000).max(1);
            reply.fields.extend_from_slice(format!("Retry-After: {seconds}\r\n").as_bytes());
            reply
        })
    }

    /// A bucket that was never used is full from the beginning of time, so time begins late.
    fn now(&self) -> u64 {
        self.bucket + self.start.elapsed().as_nanos() as u64
    }

    /// What it has counted: `most` keys at most, those first that have used most.
    pub(crate) fn record(&self, most: usize) -> LimitRecord {
        let now = self.now();
        let missing = |bucket: &AtomicU64| bucket.load(Ordering::Relaxed).saturating_sub(now);
        let table = match &self.keys {
            Keys::All(bucket) => {
                return LimitRecord { seeds: [0; 2], buckets: vec![(0, missing(bucket))] };
            }
            Keys::Client(table) | Keys::Header(_, table) => table,
        };
        let used = table.slots.iter().map(|slot| (slot.tag.load(Ordering::Relaxed), missing(&slot.bucket)));
        let mut buckets: Vec<(u64, u64)> = used.filter(|(_, missing)| *missing > 0).collect();
        buckets.sort_unstable_by_key(|(_, missing)| u64::MAX - missing);
        buckets.truncate(most);
        LimitRecord { seeds: table.seeds.each_ref().map(|seed| seed.load(Ordering::Relaxed)), buckets }
    }

    /// Goes on from what another process has counted. To be called before the first request.
    pub(crate) fn restore(&self, record: &LimitRecord) {
        let now = self.now();
        let full = |missing: u64| now + missing.min(self.bucket);
        match &self.keys {
            Keys::All(bucket) => {
                let missing = record.buckets.first().map_or(0, |(_, missing)| *missing);
                bucket.store(full(missing), Ordering::Relaxed);
            }
            Keys::Client(table) | Keys::Header(_, table) => {
                for (own, seed) in table.seeds.iter().zip(record.seeds) {
                    own.store(seed, Ordering::Relaxed);
                }
                for (hash, missing) in &record.buckets {
                    table.of_hash(*hash).store(full(*missing), Ordering::Relaxed);
                }
            }
        }
    }

    fn take_from(&self, bucket: &AtomicU64, now: u64) -> Result<(), Wait> {
        let mut full = bucket.load(Ordering::Relaxed);
        loop {
            let next = full.max(now) + self.token;
            if next > now + self.bucket {
                return Err(Wait(next - now - self.bucket));
            }
            match bucket.compare_exchange_weak(full, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(found) => full = found,
            }
        }
    }
}

/// A client as it is counted: its address, or its network of 64 bits, which is the least that a client of IPv6 has.
fn client(address: &str) -> u64 {
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => u64::from(u32::from(address)),
        // No IPv4 address is this large: the networks in use begin with 001.
        Ok(IpAddr::V6(address)) => ipv6_prefix(address) | 1 << 63,
        Err(_) => u64::MAX,
    }
}

#[derive(Debug)]
struct Table {
    /// Random, so that a client cannot choose keys of one set. They change only before the first request.
    seeds: [AtomicU64; 2],
    slots: Box<[Slot]>,
}

#[derive(Debug, Default)]
struct Slot {
    /// The key's hash, never 0; 0: free.
    tag: AtomicU64,
    bucket: AtomicU64,
}

impl Table {
    fn new(keys: usize) -> Self {
        let slots = keys.next_power_of_two().max(WAYS);
        // The standard library's hasher has random keys of its own.
        let random = RandomState::new();
        let seeds = [0, 1].map(|at: u8| AtomicU64::new(random.hash_one(at)));
        Self { seeds, slots: (0..slots).map(|_| Slot::default()).collect() }
    }

    fn bucket(&self, key: impl Hash) -> &AtomicU64 {
        let [first, second] = self.seeds.each_ref().map(|seed| seed.load(Ordering::Relaxed));
        let mut hasher = SipHasher13::new_with_keys(first, second);
        key.hash(&mut hasher);
        self.of_hash(hasher.finish())
    }

    fn of_hash(&self, hash: u64) -> &AtomicU64 {
        let tag = hash | 1;
        let sets = self.slots.len() / WAYS;
        let set = (hash >> 32) as usize & (sets - 1);
        let set = &self.slots[set * WAYS..(set + 1) * WAYS];
        if let Some(slot) = set.iter().find(|slot| slot.tag.load(Ordering::Relaxed) == tag) {
            return &slot.bucket;
        }
        // The one nearest to full; a free one has never been used. Two workers that do this at once may take
        // the same one, or two for the same key: a token is counted on the wrong bucket, no rate is exceeded
        // by more than a key that moved.
        let victim = set.iter().min_by_key(|slot| slot.bucket.load(Ordering::Relaxed));
        let slot = victim.unwrap_or(&set[0]);
        slot.tag.store(tag, Ordering::Relaxed);
        &slot.bucket
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    fn limit(count: u32, burst: u32) -> Limit {
        let limit = RateLimit { count, period: Duration::from_secs(1), burst, by: LimitBy::Client };
        Limit::new(&limit, "the rate limit")
    }

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let limit = limit(100, 20);
        let bucket = AtomicU64::new(0);
        let start = 5 * SECOND;
        let passed = (0..50).filter(|_| limit.take_from(&bucket, start).is_ok()).count();
        assert_eq!(passed, 20);
        assert_eq!(limit.take_from(&bucket, start), Err(Wait(SECOND / 100)));
        // Ten thousand tries a second for ten seconds.
        let tries = (1..=100_000).map(|n| start + n * SECOND / 10_000);
        assert_eq!(tries.filter(|now| limit.take_from(&bucket, *now).is_ok()).count(), 1000);
        // After a rest the burst is back, and no more.
        let later = start + 60 * SECOND;
        assert_eq!((0..50).filter(|_| limit.take_from(&bucket, later).is_ok()).count(), 20);
    }

    #[test]
    fn workers_share_one_rate_however_requests_are_spread() {
        let limit = Arc::new(limit(1000, 10));
        let bucket = Arc::new(AtomicU64::new(0));
        // Four threads, the first with most of the load, over the same ten seconds.
        let threads: Vec<_> = [40_000u64, 9_000, 900, 100]
            .into_iter()
            .map(|tries| {
                let (limit, bucket) = (Arc::clone(&limit), Arc::clone(&bucket));
                std::thread::spawn(move || {
                    let at = |n: u64| SECOND + n * 10 * SECOND / tries;
                    (0..tries).filter(|n| limit.take_from(&bucket, at(*n)).is_ok()).count()
                })
            })
            .collect();
        let passed: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        // Threads are not in step here: a late one finds the bucket of a time that is over for it.
        assert!(passed <= 10_010, "{passed}");
    }

    #[test]
    fn made_up_keys_do_not_make_it_forget() {
        let limit = limit(10, 10);
        let table = Table::new(64);
        let now = 5 * SECOND;
        while limit.take_from(table.bucket("attacker"), now).is_ok() {}
        // A thousand keys with a request each.
        for key in 0..1000 {
            let _ = limit.take_from(table.bucket(key), now + 1000);
        }
        assert!(limit.take_from(table.bucket("attacker"), now + 2000).is_err());
        // And they get no more together than their buckets hold.
        let passed =
            (0..100_000).filter(|key| limit.take_from(table.bucket(*key), now + 3000).is_ok()).count();
        assert!(passed <= 64 * 10, "{passed}");
    }

    #[test]
    fn a_successor_goes_on_from_what_was_counted() {
        let (before, after) = (limit(10, 10), limit(10, 10));
        let (Keys::Client(old), Keys::Client(new)) = (&before.keys, &after.keys) else { panic!() };
        while before.take_from(old.bucket("busy"), before.now()).is_ok() {}
        assert!(before.take_from(old.bucket("calm"), before.now()).is_ok());
        let record = before.record(10);
        assert_eq!(record.buckets.len(), 2);
        after.restore(&record);
        let rest = |key| (0..20).filter(|_| after.take_from(new.bucket(key), after.now()).is_ok()).count();
        assert!(rest("busy") <= 1 && (9..=10).contains(&rest("calm")) && rest("new") >= 10);
        assert_eq!(before.record(1).buckets[0].0, record.buckets[0].0, "the busiest first");
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:1"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
    }
}
