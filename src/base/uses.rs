//! Where and when one generation of an identity is used: what a report on it is made of.
//!
//! Written when a connection to a backend is made, judged or ended, never per request; read by the control thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The uses of one generation.
#[derive(Debug, Default)]
pub struct Uses {
    /// Locked when a worker meets an endpoint for the first time, and by reports.
    places: Mutex<Vec<Arc<Place>>>,
    /// When its connections must end, in milliseconds since 1970; 0: never.
    until: AtomicU64,
    /// The same of those that were made with it because a newer generation was refused.
    rescues_until: AtomicU64,
    /// When it was last presented to a client, in milliseconds since 1970; 0: never.
    presented: AtomicU64,
}

/// The uses of one generation at one endpoint, by all workers.
#[derive(Debug)]
pub struct Place {
    /// The upstream.
    pub upstream: String,
    /// The endpoint, as the config names it.
    pub endpoint: String,
    connections: AtomicU64,
    opened: AtomicU64,
    last_used: AtomicU64,
    accepted: AtomicU64,
    refusals: AtomicU64,
    refused: AtomicU64,
    rescues: AtomicU64,
}

/// The counts of a [`Place`] at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The upstream.
    pub upstream: String,
    /// The endpoint.
    pub endpoint: String,
    /// Connections that were made with it and are open.
    pub connections: u64,
    /// Connections ever made with it.
    pub opened: u64,
    /// When a connection with it last was in use.
    pub last_used: Option<SystemTime>,
    /// When the endpoint took it last, as a handshake or an answer proved.
    pub accepted: Option<SystemTime>,
    /// How often the endpoint refused it.
    pub refusals: u64,
    /// When it did so last.
    pub refused: Option<SystemTime>,
    /// How often it stood in for a newer generation that the endpoint refused.
    pub rescues: u64,
}

impl Uses {
    /// Its place at an endpoint.
    pub fn place(&self, upstream: &str, endpoint: &str) -> Arc<Place> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let known = places.iter().find(|place| place.upstream == upstream && place.endpoint == endpoint);
        if let Some(place) = known {
            return Arc::clone(place);
        }
        let place = Arc::new(Place::new(upstream, endpoint));
        places.push(Arc::clone(&place));
        place
    }

    /// The counts of each place now.
    pub fn read(&self) -> Vec<Usage> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.iter().map(|place| place.read()).collect()
    }

    /// Lets its connections live until `when`; `None`: for ever. Not those that stand in for a newer generation.
    pub fn end_at(&self, when: Option<SystemTime>) {
        self.until.store(when.map_or(0, millis), Ordering::Relaxed);
    }

    /// The same of those that stand in for a newer generation: when it does not stand in for any.
    pub fn end_rescues_at(&self, when: Option<SystemTime>) {
        self.rescues_until.store(when.map_or(0, millis), Ordering::Relaxed);
    }

    /// When its connections must end.
    pub fn until(&self) -> Option<SystemTime> {
        time(self.until.load(Ordering::Relaxed))
    }

    /// Notes that it was presented to a client, once for each handshake. The latest call wins.
    pub fn present(&self) {
        self.presented.store(millis(SystemTime::now()), Ordering::Relaxed);
    }

    /// When it was last presented to a client.
    pub fn presented(&self) -> Option<SystemTime> {
        time(self.presented.load(Ordering::Relaxed))
    }

    /// Whether its connections must end now; with `rescue`, those that stand in for a newer generation.
    pub fn is_over(&self, now: SystemTime, rescue: bool) -> bool {
        let until = if rescue { &self.rescues_until } else { &self.until };
        time(until.load(Ordering::Relaxed)).is_some_and(|until| until <= now)
    }
}

impl Place {
    fn new(upstream: &str, endpoint: &str) -> Self {
        Self {
            upstream: upstream.to_owned(),
            endpoint: endpoint.to_owned(),
            connections: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            last_used: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            rescues: AtomicU64::new(0),
        }
    }

    /// A connection was made.
    pub fn open(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.last_used.fetch_max(millis(SystemTime::now()), Ordering::Relaxed);
        // Last and with release: a reader that sees 0 here afterwards also sees the two above.
        self.connections.fetch_add(1, Ordering::Release);
    }

    /// A connection ended, `idle` after its last use.
    pub fn close(&self, idle: Duration) {
        let now = SystemTime::now();
        self.last_used.fetch_max(millis(now.checked_sub(idle).unwrap_or(now)), Ordering::Relaxed);
        self.connections.fetch_sub(1, Ordering::Release);
    }

    /// A connection was seen in use, `idle` ago.
    pub fn used(&self, idle: Duration) {
        let now = SystemTime::now();
        self.last_used.fetch_max(millis(now.checked_sub(idle).unwrap_or(now)), Ordering::Relaxed);
    }

    /// The endpoint took it.
    pub fn accept(&self) {
        self.accepted.store(millis(SystemTime::now()), Ordering::Relaxed);
    }

    /// The endpoint refused it.
    pub fn refuse(&self) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
        self.refused.store(millis(SystemTime::now()), Ordering::Relaxed);
    }

    /// It stood in for a newer generation.
    pub fn rescue(&self) {
        self.rescues.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> Usage {
        Usage {
            connections: self.connections.load(Ordering::Acquire),
            upstream: self.upstream.clone(),
            endpoint: self.endpoint.clone(),
            opened: self.opened.load(Ordering::Relaxed),
            last_used: time(self.last_used.load(Ordering::Relaxed)),
            accepted: time(self.accepted.load(Ordering::Relaxed)),
            refusals: self.refusals.load(Ordering::Relaxed),
            refused: time(self.refused.load(Ordering::Relaxed)),
            rescues: self.rescues.load(Ordering::Relaxed),
        }
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn time(millis: u64) -> Option<SystemTime> {
    (millis > 0).then(|| UNIX_EPOCH + Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_its_connections_and_remembers_its_last_use() {
        let uses = Uses::default();
        let place = uses.place("app", "a:1");
        place.open();
        uses.place("app", "a:1").open();
        uses.place("app", "b:1").refuse();
        place.close(Duration::from_secs(60));
        let [a, b] = &uses.read()[..] else { panic!("two places") };
        assert_eq!((a.connections, a.opened, b.connections, b.refusals), (1, 2, 0, 1));
        assert!(a.last_used.unwrap().elapsed().unwrap() < Duration::from_secs(10), "not an older use");
        assert_eq!((b.last_used, a.accepted), (None, None));
    }

    #[test]
    fn connections_end_when_they_are_told_to() {
        let (uses, now) = (Uses::default(), SystemTime::now());
        let over = |after, rescue| uses.is_over(now + Duration::from_secs(after), rescue);
        assert!(!over(0, false));
        uses.end_at(Some(now + Duration::from_secs(5)));
        assert!(!over(0, false) && over(6, false) && !over(6, true));
        uses.end_rescues_at(Some(now + Duration::from_secs(7)));
        assert!(!over(6, true) && over(8, true));
        uses.end_at(None);
        assert!(!over(6, false) && over(8, true));
    }
}
