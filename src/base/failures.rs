//! The last failed requests of one worker, kept without a lock: its worker overwrites the oldest, and readers notice when a record
//! has changed under them.
//!
//! A record has a fixed size, so that nothing is allocated; texts that are too long for it are cut. What clients do wrong has a
//! ring of its own: it can't push out what backends do.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::count::Count;
use super::limits::FAILURES;

/// Words of a record: time, duration, lengths, then text.
const WORDS: usize = 44;
const HEAD: usize = 4;
const TEXT: usize = (WORDS - HEAD) * 8;
/// The longest part of each text, in bytes, in the order of [`Failed::texts`]; the reason has what is left.
const LONGEST: [usize; 6] = [40, 24, 48, 56, 32, 40];

/// A request that failed, or a connection that has no requests.
#[derive(Clone, Copy)]
pub(crate) struct Failed<'a> {
    /// Whether the client is at fault.
    pub clients: bool,
    /// The listener.
    pub listener: &'a str,
    /// The route's id; empty where none was found.
    pub route: &'a str,
    /// Where it went, if anywhere.
    pub upstream: &'a str,
    pub endpoint: &'a str,
    /// The type of the failure, as of RFC 9209 §2.3 where there is one.
    pub kind: &'a str,
    /// The request's id, if it had one.
    pub id: &'a str,
    /// In words.
    pub reason: &'a dyn fmt::Display,
    /// The answer's status; 0: there was none.
    pub status: u16,
    /// From the request's head on, or from the connection's begin.
    pub duration: Duration,
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FailureRecord {
    /// When the request ended.
    pub at: SystemTime,
    pub clients: bool,
    pub listener: String,
    pub route: String,
    pub upstream: String,
    pub endpoint: String,
    pub kind: String,
    pub id: String,
    pub reason: String,
    pub status: u16,
    pub duration: Duration,
}

/// See the module.
#[derive(Debug)]
pub struct Failures {
    clients: Ring,
    others: Ring,
}

#[derive(Debug)]
struct Ring {
    slots: Box<[Slot]>,
    /// How many records were written.
    written: Count,
}

#[derive(Debug)]
struct Slot {
    /// Odd while it is written; 0: never.
    version: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl Default for Failures {
    fn default() -> Self {
        Self { clients: Ring::new(), others: Ring::new() }
    }
}

impl Failures {
    /// Keeps a record. Called by the owning worker only.
    #[cold]
    pub(crate) fn note(&self, failed: &Failed<'_>) {
        let ring = if failed.clients { &self.clients } else { &self.others };
        ring.push(&failed.words());
    }

    /// The records that are kept, the oldest of each ring first.
    pub(crate) fn read(&self) -> Vec<FailureRecord> {
        let of = |ring: &Ring, clients| {
            ring.read().into_iter().map(move |words| record(&words, clients)).collect()
        };
        let [mut all, others]: [Vec<_>; 2] = [of(&self.clients, true), of(&self.others, false)];
        all.extend(others);
        all
    }
}

impl Ring {
    fn new() -> Self {
        let slot = |_| Slot { version: AtomicU64::new(0), words: std::array::from_fn(|_| AtomicU64::new(0)) };
        Self { slots: (0..FAILURES).map(slot).collect(), written: Count::default() }
    }

    fn push(&self, words: &[u64; WORDS]) {
        let slot = &self.slots[self.written.get() as usize % self.slots.len()];
        self.written.add(1);
        let version = slot.version.load(Ordering::Relaxed);
        slot.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        for (word, value) in slot.words.iter().zip(words) {
            word.store(*value, Ordering::Relaxed);
        }
        slot.version.store(version + 2, Ordering::Release);
    }

    fn read(&self) -> Vec<[u64; WORDS]> {
        let (written, length) = (self.written.get() as usize, self.slots.len());
        let newest = written.saturating_sub(length)..written;
        newest.filter_map(|number| self.slots[number % length].read()).collect()
    }
}

impl Slot {
    /// `None`: it is being written.
    fn read(&self) -> Option<[u64; WORDS]> {
        let before = self.version.load(Ordering::Acquire);
        let words = std::array::from_fn(|at| self.words[at].load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let after = self.version.load(Ordering::Relaxed);
        (before == after && before.is_multiple_of(2) && before > 0).then_some(words)
    }
}

impl<'a> Failed<'a> {
    /// A failure at this listener, of which no more is known.
    pub(crate) fn at(listener: &'a str, kind: &'a str, reason: &'a dyn fmt::Display) -> Self {
        Self {
            clients: false,
            listener,
            route: "",
            upstream: "",
            endpoint: "",
            kind,
            id: "",
            reason,
            status: 0,
            duration: Duration::ZERO,
        }
    }

    fn texts(&self) -> [&str; 6] {
        [self.listener, self.route, self.upstream, self.endpoint, self.kind, self.id]
    }

    fn words(&self) -> [u64; WORDS] {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut text = Text { bytes: [0; TEXT], length: 0, bound: 0 };
        let mut lengths = 0u64;
        for (at, (part, longest)) in self.texts().into_iter().zip(LONGEST).enumerate() {
            lengths |= (text.put(part, longest) as u64) << (8 * at);
        }
        let before = text.length;
        text.bound = TEXT;
        let _ = write!(text, "{}", self.reason);
        let reason = (text.length - before) as u64;
        let mut words = [0; WORDS];
        words[0] = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        words[1] = u64::try_from(self.duration.as_micros()).unwrap_or(u64::MAX);
        words[2] = lengths;
        words[3] = u64::from(self.status) | reason << 16;
        for (word, bytes) in words[HEAD..].iter_mut().zip(text.bytes.chunks_exact(8)) {
            *word = bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        }
        words
    }
}

fn record(words: &[u64; WORDS], clients: bool) -> FailureRecord {
    let bytes: Vec<u8> = words[HEAD..].iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut rest = &bytes[..];
    let mut take = |length: u64| {
        let (part, after) = rest.split_at((length as usize).min(rest.len()));
        rest = after;
        String::from_utf8_lossy(part).into_owned()
    };
    let [listener, route, upstream, endpoint, kind, id] =
        std::array::from_fn(|at| take(words[2] >> (8 * at) & 0xff));
    FailureRecord {
        at: UNIX_EPOCH + Duration::from_millis(words[0]),
        clients,
        listener,
        route,
        upstream,
        endpoint,
        kind,
        id,
        reason: take(words[3] >> 16),
        status: words[3] as u16,
        duration: Duration::from_micros(words[1]),
    }
}

/// The texts of a record, one behind the other.
struct Text {
    bytes: [u8; TEXT],
    length: usize,
    /// Up to here it may grow.
    bound: usize,
}

impl Text {
    /// Appends as much of a text as fits, and returns how much that is.
    fn put(&mut self, text: &str, longest: usize) -> usize {
        let before = self.length;
        self.bound = (before + longest).min(TEXT);
        let _ = self.write_str(text);
        self.length - before
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fits = text.floor_char_boundary(self.bound - self.length);
        self.bytes[self.length..self.length + fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.length += fits;
        if fits == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed<'a>(reason: &'a dyn fmt::Display, id: &'a str) -> Failed<'a> {
        Failed {
            clients: false,
            listener: "web",
            route: "r12345678",
            upstream: "orders",
            endpoint: "10.0.0.1:80",
            kind: "connection_refused",
            id,
            reason,
            status: 502,
            duration: Duration::from_micros(1500),
        }
    }

    #[test]
    fn the_last_records_are_kept_and_texts_that_are_too_long_are_cut() {
        let failures = Failures::default();
        for number in 0..FAILURES + 5 {
            failures.note(&failed(&number, &number.to_string()));
        }
        let long = "ü".repeat(400);
        failures.note(&Failed { clients: true, upstream: &long, ..failed(&long, "last") });
        let all = failures.read();
        assert_eq!(all.len(), FAILURES + 1);
        let (cut, others) = all.split_first().unwrap();
        assert_eq!(
            (others[0].id.as_str(), others.last().unwrap().id.as_str()),
            ("5", &*(FAILURES + 4).to_string())
        );
        let one = &others[0];
        assert_eq!(
            (one.listener.as_str(), one.route.as_str(), one.upstream.as_str(), one.endpoint.as_str()),
            ("web", "r12345678", "orders", "10.0.0.1:80")
        );
        assert_eq!(
            (one.kind.as_str(), one.reason.as_str(), one.status, one.duration),
            ("connection_refused", "5", 502, Duration::from_micros(1500))
        );
        assert_eq!((cut.upstream.len(), cut.endpoint.as_str(), cut.id.as_str()), (48, "10.0.0.1:80", "last"));
        assert!(cut.clients && cut.reason.len() > 150 && cut.reason.chars().all(|it| it == 'ü'), "{cut:?}");
    }

    #[test]
    fn no_reader_sees_half_a_record() {
        let failures = Failures::default();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for number in 0..20_000 {
                    let id = format!("{number:040}");
                    failures.note(&failed(&id, &id));
                }
            });
            while !writer.is_finished() {
                for record in failures.read() {
                    assert_eq!(record.id, record.reason);
                }
            }
        });
    }
}
