//! What happens, for those that watch: a message for each, in a bounded queue for each watcher.
//!
//! ```text
//! Events::send ─► one text ─► the queue of each subscriber ─► GET /v1/events
//!                                └─► full: the subscriber is dropped, and reads why
//! ```
//!
//! No sender waits. Workers send nothing: what they find out is compared by the admin server once a second.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::Serialize;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::rotation::Tried;
use crate::base::limits::{ADMIN_EVENTS, ADMIN_SUBSCRIBERS};
use crate::certs::Timestamp;
use crate::certs::consumers::Standing;

/// One event. The variant is the event's type (`event:` in the stream), its content the JSON behind `data:`.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// Something became of a certificate of the store, or of one in use.
    Certificate(CertificateEvent),
    /// Something became of a consumer's credential.
    Credential(CredentialEvent),
    /// An endpoint is in another state than a second ago.
    Health(HealthEvent),
    /// A config was put in force, or refused.
    Config(ConfigEvent),
    /// Figures of the last second, rendered.
    Figures(serde_json::Value),
}

/// What became of a credential. No key is in it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CredentialEvent {
    /// When.
    pub at: Timestamp,
    /// Its name.
    pub credential: String,
    /// Its consumer's.
    pub consumer: String,
    /// Its state now.
    pub state: Standing,
}

/// What became of a certificate.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CertificateEvent {
    /// When.
    pub at: Timestamp,
    /// Its name in the store, or its file.
    pub certificate: String,
    /// What.
    #[serde(flatten)]
    pub what: CertificateChange,
}

/// What became of it: `change` in the JSON.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub(crate) enum CertificateChange {
    /// It is new in the store.
    Created {
        /// The first generation.
        generation: u32,
    },
    /// It has another description.
    Described,
    /// It is gone from the store.
    Deleted,
    /// A further generation waits.
    Staged {
        /// That one.
        generation: u32,
    },
    /// A trial has begun.
    TrialBegun {
        /// What is tried.
        generation: u64,
        /// How many endpoints are asked.
        endpoints: usize,
    },
    /// One endpoint of a trial has answered.
    Tried {
        /// What is tried.
        generation: u64,
        /// The answer.
        answer: Box<Tried>,
    },
    /// A trial is over.
    Trial {
        /// What was tried.
        generation: u64,
        /// Whether every endpoint accepts it, or requests none.
        passed: bool,
        /// How many endpoints were asked.
        endpoints: usize,
    },
    /// A generation is in use from now on.
    Activated {
        /// That one.
        generation: u64,
        /// The one before.
        previous: Option<u64>,
        /// Whether it was activated without a trial that it passed.
        forced: bool,
    },
    /// The generation before is in use again.
    RolledBack {
        /// That one.
        generation: u64,
        /// The one that was in use.
        replaced: Option<u64>,
    },
    /// A generation was ended.
    Retired {
        /// That one.
        generation: u64,
    },
    /// Ringate has renewed it by itself.
    Renewed {
        /// The generation that is in use now.
        generation: u64,
    },
    /// Its end is near, or past.
    NearEnd {
        /// When.
        not_after: Timestamp,
        /// Whole days until then.
        days_left: i64,
        /// What depends on it.
        affects: String,
    },
}

/// An endpoint in another state than before.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct HealthEvent {
    /// When that was found.
    pub at: Timestamp,
    /// The upstream.
    pub upstream: String,
    /// The endpoint as the config names it.
    pub endpoint: String,
    /// Its address.
    pub address: Option<String>,
    /// `up`, `down`, `ejected`, `drained`, `unknown`; `removed`: no config has it any more.
    pub state: &'static str,
    /// What it was; none: it is new.
    pub was: Option<&'static str>,
    /// Why, where there is a reason.
    pub reason: Option<String>,
}

/// A config that was put in force, or refused.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ConfigEvent {
    /// When.
    pub at: Timestamp,
    /// `applied` or `refused`.
    pub outcome: &'static str,
    /// What asked for it.
    pub by: String,
    /// The version that runs.
    pub version: u64,
    /// What has changed, or why it was refused, in words.
    pub detail: String,
}

impl Event {
    /// A change of a certificate that happens now.
    pub(crate) fn certificate(name: &str, what: CertificateChange) -> Self {
        Self::Certificate(CertificateEvent {
            at: SystemTime::now().into(),
            certificate: name.to_owned(),
            what,
        })
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Certificate(_) => "certificate",
            Self::Credential(_) => "credential",
            Self::Health(_) => "health",
            Self::Config(_) => "config",
            Self::Figures(_) => "figures",
        }
    }

    fn json(&self) -> Option<String> {
        let text = match self {
            Self::Certificate(event) => serde_json::to_string(event),
            Self::Credential(event) => serde_json::to_string(event),
            Self::Health(event) => serde_json::to_string(event),
            Self::Config(event) => serde_json::to_string(event),
            Self::Figures(value) => serde_json::to_string(value),
        };
        text.ok()
    }
}

/// All that watch.
#[derive(Debug, Default)]
pub(crate) struct Events {
    subscribers: Mutex<Vec<Subscriber>>,
    closed: AtomicBool,
    sent: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Debug)]
struct Subscriber {
    queue: Sender<Arc<str>>,
    fell_behind: Arc<AtomicBool>,
}

/// One that watches.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// Messages in the form of `text/event-stream` (HTML Living Standard §9.2).
    pub(crate) queue: Receiver<Arc<str>>,
    /// Whether it was dropped, as it took its messages too slowly.
    pub(crate) fell_behind: Arc<AtomicBool>,
}

/// Why there is no subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoSubscription {
    /// As many watch as may.
    Full,
    /// The process is on its way out.
    Closed,
}

impl Events {
    /// A further watcher, of what happens from now on.
    ///
    /// # Errors
    /// See [`NoSubscription`].
    pub(crate) fn subscribe(&self) -> Result<Subscription, NoSubscription> {
        let mut all = self.all();
        if self.closed.load(Relaxed) {
            return Err(NoSubscription::Closed);
        }
        all.retain(|subscriber| !subscriber.queue.is_closed());
        if all.len() >= ADMIN_SUBSCRIBERS {
            return Err(NoSubscription::Full);
        }
        let (queue, receiver) = channel(ADMIN_EVENTS);
        let fell_behind = Arc::new(AtomicBool::new(false));
        all.push(Subscriber { queue, fell_behind: Arc::clone(&fell_behind) });
        Ok(Subscription { queue: receiver, fell_behind })
    }

    /// Whether there is one to send to.
    pub(crate) fn is_watched(&self) -> bool {
        self.all().iter().any(|subscriber| !subscriber.queue.is_closed())
    }

    /// Watchers at this moment, and those that were dropped, as they were too slow.
    pub(crate) fn counts(&self) -> (usize, u64) {
        let open = self.all().iter().filter(|subscriber| !subscriber.queue.is_closed()).count();
        (open, self.dropped.load(Relaxed))
    }

    /// Puts an event into each queue. Never waits: a watcher whose queue is full is dropped.
    pub(crate) fn send(&self, event: &Event) {
        let mut all = self.all();
        if all.is_empty() {
            return;
        }
        let Some(json) = event.json() else { return };
        let id = self.sent.fetch_add(1, Relaxed) + 1;
        let text: Arc<str> = format!("id: {id}\nevent: {}\ndata: {json}\n\n", event.name()).into();
        all.retain(|subscriber| {
            let sent = subscriber.queue.try_send(Arc::clone(&text));
            if sent.is_err() && !subscriber.queue.is_closed() {
                subscriber.fell_behind.store(true, Relaxed);
                self.dropped.fetch_add(1, Relaxed);
            }
            sent.is_ok()
        });
    }

    /// Ends all streams, once what is in their queues is sent. There are no further ones.
    pub(crate) fn close(&self) {
        let mut all = self.all();
        self.closed.store(true, Relaxed);
        all.clear();
    }

    /// Whether streams have ended as the process is on its way out.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    fn all(&self) -> MutexGuard<'_, Vec<Subscriber>> {
        // A panic can't leave the list half changed.
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event::certificate("a", CertificateChange::Staged { generation: 2 })
    }

    #[test]
    fn each_watcher_gets_each_event_and_one_that_is_slow_is_dropped() {
        let events = Events::default();
        events.send(&event());
        let (mut quick, mut slow) = (events.subscribe().unwrap(), events.subscribe().unwrap());
        for _ in 0..=ADMIN_EVENTS {
            events.send(&event());
            let text = quick.queue.try_recv().unwrap();
            assert!(text.contains("event: certificate\ndata: {\"at\":"), "{text}");
            assert!(
                text.contains("\"certificate\":\"a\",\"change\":\"staged\",\"generation\":2}\n\n"),
                "{text}"
            );
        }
        assert!(slow.fell_behind.load(Relaxed) && !quick.fell_behind.load(Relaxed));
        for _ in 0..ADMIN_EVENTS {
            slow.queue.try_recv().unwrap();
        }
        assert_eq!(slow.queue.try_recv(), Err(tokio::sync::mpsc::error::TryRecvError::Disconnected));
        assert_eq!(events.counts(), (1, 1));
    }

    #[test]
    fn watchers_are_bounded_and_end_together() {
        let events = Events::default();
        let mut all: Vec<_> = (0..ADMIN_SUBSCRIBERS).map(|_| events.subscribe().unwrap()).collect();
        assert_eq!(events.subscribe().unwrap_err(), NoSubscription::Full);
        all.pop();
        all.push(events.subscribe().unwrap());
        events.close();
        assert!(all.iter_mut().all(|one| one.queue.try_recv().is_err()));
        assert_eq!(events.subscribe().unwrap_err(), NoSubscription::Closed);
        assert!(!events.is_watched());
    }
}
