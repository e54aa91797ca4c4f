//! What all workers share of one endpoint: its id, the exchanges at it, whether it could be used, and what is known of its
//! TLS.
//!
//! A reload keeps it for as long as the upstream has the same address of the same name. Workers write what is known of
//! TLS at handshakes, never per request; the control plane reads it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::{Duration, SystemTime};

use rustls::AlertDescription;
use rustls::pki_types::{CertificateDer, ServerName};
use serde::{Deserialize, Serialize};

use super::check::{CheckRecord, CheckState};
use super::circuit::CircuitCounts;
use super::load::EndpointUse;
use super::outlier::{OutlierRecord, OutlierState};
use super::shared_idle::SharedIdle;
use super::warm_up::WarmUp;
use crate::base::clock;
use crate::base::published::Published;
use crate::tls::handshake::ClientAuth;
use crate::tls::{Facts, Reason, Tally};

/// What all workers share of one endpoint.
#[derive(Debug)]
pub(crate) struct EndpointState {
    id: u64,
    /// Exchanges at it. They are counted only where `pool.max_per_endpoint` bounds them.
    in_flight: AtomicU64,
    /// What is known of its TLS.
    pub(crate) tls: EndpointTls,
    /// Whether it could be used last.
    pub(crate) health: EndpointHealth,
    /// What active checks have found.
    pub(crate) check: CheckState,
    /// Whether it is tried last, and why.
    pub(crate) outlier: OutlierState,
    /// What circuit bounds count of it.
    pub(crate) circuit: Arc<CircuitCounts>,
    /// Its exchanges and requests, counted always.
    pub(crate) used: Arc<EndpointUse>,
    /// Its idle connections that any worker may take.
    pub(crate) shared_idle: SharedIdle,
    warm_up: WarmUp,
}

/// What is known of an endpoint, as a successor gets it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EndpointRecord {
    up: Option<bool>,
    change: Option<HealthChange>,
    check: CheckRecord,
    outlier: OutlierRecord,
}

/// Counts changes of what all endpoints' weights depend on, so that workers need not look at each for each request.
static CHANGES: AtomicU64 = AtomicU64::new(1);

/// Another number than before once the weight of an endpoint may have changed. Never 0.
#[inline]
pub(crate) fn changes() -> u64 {
    CHANGES.load(Relaxed)
}

impl Default for EndpointState {
    fn default() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let id = LAST.fetch_add(1, Relaxed) + 1;
        Self {
            id,
            in_flight: AtomicU64::new(0),
            tls: EndpointTls::default(),
            health: EndpointHealth::default(),
            check: CheckState::default(),
            outlier: OutlierState::default(),
            circuit: Arc::default(),
            used: Arc::default(),
            shared_idle: SharedIdle::default(),
            warm_up: WarmUp::default(),
        }
    }
}

impl EndpointState {
    /// Tells endpoints apart. Never given twice in a process.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// What is known of it, but for its TLS.
    pub(crate) fn record(&self) -> EndpointRecord {
        let up = match self.health.state() {
            Health::Unknown => None,
            Health::Up => Some(true),
            Health::Down => Some(false),
        };
        let change = self.health.change().as_ref().clone();
        EndpointRecord {
            up,
            change,
            check: self.check.record(),
            outlier: self.outlier.record(clock::millis()),
        }
    }

    /// Goes on from what another process knew. `checked`: its upstream has active checks.
    pub(crate) fn restore(&self, record: &EndpointRecord, checked: bool) {
        if let Some(up) = record.up {
            self.health.change.store(record.change.clone().into());
            self.health.state.store(if up { UP } else { DOWN }, Relaxed);
        }
        if checked {
            self.check.restore(&record.check);
        }
        self.outlier.restore(&record.outlier, clock::millis());
        CHANGES.fetch_add(1, Relaxed);
    }

    /// A connection was made, or a response was read whole: it is up. If it was down, its weight rises slowly now.
    pub(crate) fn answered(&self) {
        if self.health.up() {
            self.begin_warm_up();
        }
    }

    /// It is new, or back: its weight rises over `slow_start` from now on.
    pub(crate) fn begin_warm_up(&self) {
        self.warm_up.begin();
        CHANGES.fetch_add(1, Relaxed);
    }

    /// Its share of `weight` by now, in parts of [`WHOLE`](super::warm_up::WHOLE), and whether it rises.
    pub(crate) fn weight(&self, weight: u32, slow_start: Duration) -> (u32, bool) {
        self.warm_up.share(weight, slow_start)
    }

    /// Counts one more exchange, unless there are `max` of them.
    pub(crate) fn begin_exchange(&self, max: u64) -> bool {
        let more = |count| (count < max).then_some(count + 1);
        self.in_flight.fetch_update(SeqCst, SeqCst, more).is_ok()
    }

    /// An exchange that was counted has ended.
    pub(crate) fn end_exchange(&self) {
        self.in_flight.fetch_sub(1, SeqCst);
    }

    /// Whether there are fewer than `max` exchanges.
    pub(crate) fn has_room(&self, max: u64) -> bool {
        self.in_flight.load(SeqCst) < max
    }
}

/// What is known of the TLS of one endpoint: the last handshake, the last failure, and counts by reason.
#[derive(Debug)]
pub(crate) struct EndpointTls {
    last: Published<Option<Handshaked>>,
    failure: Published<Option<Failed>>,
    tally: Tally,
}

/// Whether an endpoint could be used, as a worker found last.
#[derive(Debug)]
pub(crate) struct EndpointHealth {
    state: AtomicU8,
    change: Published<Option<HealthChange>>,
}

/// What is known of an endpoint's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// No worker has tried it.
    Unknown,
    /// A connection was made, or a response was read whole.
    Up,
    /// No connection could be made.
    Down,
}

/// When an endpoint's health last became another one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct HealthChange {
    /// When.
    pub at: SystemTime,
    /// What went wrong, if it went down.
    pub fault: Option<String>,
}

impl Default for EndpointHealth {
    fn default() -> Self {
        Self { state: AtomicU8::new(UNKNOWN), change: Published::new(None) }
    }
}

impl EndpointHealth {
    /// What is known.
    pub(crate) fn state(&self) -> Health {
        match self.state.load(Relaxed) {
            UP => Health::Up,
            DOWN => Health::Down,
            _ => Health::Unknown,
        }
    }

    /// When that became so.
    pub(crate) fn change(&self) -> Arc<Option<HealthChange>> {
        self.change.load()
    }

    /// It could be used. Called for each response: it writes only what is new. True: it could not before.
    fn up(&self) -> bool {
        let last = self.state.load(Relaxed);
        if last != UP {
            self.set(UP, None);
        }
        last == DOWN
    }

    /// It could not.
    pub(crate) fn down(&self, fault: &dyn fmt::Display) {
        if self.state.load(Relaxed) != DOWN {
            self.set(DOWN, Some(fault.to_string()));
        }
    }

    fn set(&self, state: u8, fault: Option<String>) {
        self.change.store(Some(HealthChange { at: SystemTime::now(), fault }).into());
        self.state.store(state, Relaxed);
    }
}

const UNKNOWN: u8 = 0;
const UP: u8 = 1;
const DOWN: u8 = 2;

/// A handshake that was finished.
#[derive(Debug)]
pub(crate) struct Handshaked {
    /// When.
    pub at: SystemTime,
    /// The name that was verified.
    pub server_name: String,
    /// What was negotiated and presented. In a resumed session, what became of our certificate and the authorities
    /// that the backend named are those of the last full handshake.
    pub facts: Facts,
}

/// A handshake that failed, or was undone right after it.
#[derive(Debug)]
pub(crate) struct Failed {
    /// When.
    pub at: SystemTime,
    /// The name that was to be verified.
    pub server_name: String,
    /// Why, in a word.
    pub reason: Reason,
    /// The same in words.
    pub text: String,
    /// The alert that we sent; the one that the backend sent is in `reason`.
    pub alert_sent: Option<AlertDescription>,
    /// What had become of our certificate.
    pub client_auth: ClientAuth,
    /// The names (in DER) of the authorities that the backend had named.
    pub authorities: Vec<Vec<u8>>,
    /// The chain that the backend had presented, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
}

impl Default for EndpointTls {
    fn default() -> Self {
        Self { last: Published::new(None), failure: Published::new(None), tally: Tally::default() }
    }
}

impl EndpointTls {
    /// The last handshake that was finished.
    pub(crate) fn last(&self) -> Arc<Option<Handshaked>> {
        self.last.load()
    }

    /// The last one that failed.
    pub(crate) fn failure(&self) -> Arc<Option<Failed>> {
        self.failure.load()
    }

    /// How many have failed for which reason.
    pub(crate) fn failures(&self) -> Vec<(Reason, u64)> {
        self.tally.read()
    }

    /// Takes down a finished handshake.
    pub(crate) fn record_handshake(&self, name: &ServerName<'_>, mut facts: Facts) {
        if facts.resumed
            && let Some(before) = &*self.last.load()
        {
            facts.client_auth = before.facts.client_auth.clone();
            facts.authorities.clone_from(&before.facts.authorities);
        }
        let server_name = name.to_str().into_owned();
        self.last.store(Some(Handshaked { at: SystemTime::now(), server_name, facts }).into());
    }

    /// Takes down and counts a failed one.
    pub(crate) fn failed(&self, failed: Failed) {
        self.tally.add(failed.reason);
        self.failure.store(Some(failed).into());
    }
}

impl Failed {
    /// A failure of this moment of which nothing more is known.
    pub(crate) fn now(name: &ServerName<'_>, reason: Reason, text: String) -> Self {
        Self {
            at: SystemTime::now(),
            server_name: name.to_str().into_owned(),
            reason,
            text,
            alert_sent: None,
            client_auth: ClientAuth::NotAsked,
            authorities: Vec::new(),
            chain: Vec::new(),
        }
    }
}
