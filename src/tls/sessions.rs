//! One worker's TLS sessions with one endpoint.
//!
//! A session carries what was verified when it began: the backend's certificate, the trust, and our own identity. So it is
//! resumed only where all of that would be the same. [`SessionPool`] has a store of its
//! own for each server name, policy (trust, versions, ALPN) and identity generation, and is itself an endpoint's.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustc_hash::FxHasher;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, NamedGroup};

use super::config::bind;
use super::identity::Identity;
use crate::base::limits::{MAX_SESSION_AGE, MAX_SESSION_NAMES, MAX_TICKETS_GROWTH};

/// Names that are remembered after their removal: one that is used again is used more than once.
const GONE_NAMES: usize = 2 * MAX_SESSION_NAMES;

/// What is remembered of a name. Two names of one mark are taken for one, which harms neither.
fn mark(name: &ServerName<'_>) -> u64 {
    let mut hasher = FxHasher::default();
    name.hash(&mut hasher);
    hasher.finish()
}

/// The session stores of one endpoint on one worker.
///
/// The order of calls: [`config`](Self::config) before each handshake, [`forget`](Self::forget) after one that
/// failed, [`sweep`](Self::sweep) now and then.
#[derive(Debug, Default)]
pub(crate) struct SessionPool {
    /// Ordered by use: the last is the one used most recently.
    entries: Vec<Entry>,
    /// Marks of the names that gave way last, the newest at the end.
    gone: VecDeque<u64>,
}

#[derive(Debug)]
struct Entry {
    name: ServerName<'static>,
    /// The policy: held, so that no other can take its place in memory.
    base: Arc<ClientConfig>,
    identity: Option<Arc<Identity>>,
    sessions: Arc<Sessions>,
    config: Arc<ClientConfig>,
    born: Duration,
    /// The name was used more than once.
    again: bool,
}

impl Entry {
    fn presents(&self, identity: Option<&Arc<Identity>>) -> bool {
        match (&self.identity, identity) {
            (None, None) => true,
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            _ => false,
        }
    }

    fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.born) > MAX_SESSION_AGE
    }
}

impl SessionPool {
    /// The config for a handshake with the endpoint under `name`: `base`, presenting `identity`, with the
    /// sessions of exactly these three. `tickets` TLS 1.3 tickets are kept (see [`Sessions`]), with 0 no session at all.
    /// `now` is the time since any fixed moment.
    ///
    /// The handshake presents this very generation, whatever is published meanwhile. Sessions that `name` had with
    /// another identity or policy, or that are as old as [`MAX_SESSION_AGE`], end here.
    pub(crate) fn config(
        &mut self,
        base: &Arc<ClientConfig>,
        name: &ServerName<'static>,
        identity: Option<&Arc<Identity>>,
        tickets: usize,
        now: Duration,
    ) -> Arc<ClientConfig> {
        let known = self.entries.iter().position(|entry| entry.name == *name);
        let again = known.is_some() || self.gone.contains(&mark(name));
        if let Some(at) = known {
            let mut entry = self.entries.remove(at);
            entry.again = true;
            if Arc::ptr_eq(&entry.base, base) && entry.presents(identity) && !entry.is_over(now) {
                let config = Arc::clone(&entry.config);
                self.entries.push(entry);
                return config;
            }
            entry.sessions.retire();
        }
        if self.entries.len() >= MAX_SESSION_NAMES {
            self.make_room();
        }
        let sessions = Arc::new(Sessions::new(name.clone(), tickets));
        let config = bind(base, identity.cloned(), Arc::clone(&sessions));
        self.entries.push(Entry {
            name: name.clone(),
            base: Arc::clone(base),
            identity: identity.cloned(),
            sessions,
            config: Arc::clone(&config),
            born: now,
            again,
        });
        config
    }

    /// Ends the sessions of one name. Clients may choose names: those that were used once, as made-up ones are, have what
    /// the others leave, but a quarter at least, so that a new name finds room too.
    fn make_room(&mut self) {
        let once = self.entries.iter().filter(|entry| !entry.again).count();
        let among_once = once >= MAX_SESSION_NAMES.div_ceil(4);
        let oldest = self.entries.iter().position(|entry| entry.again != among_once);
        let entry = self.entries.remove(oldest.unwrap_or(0));
        entry.sessions.retire();
        if self.gone.len() >= GONE_NAMES {
            self.gone.pop_front();
        }
        self.gone.push_back(mark(&entry.name));
    }

    /// Whether a handshake under `name` would offer a session.
    pub(crate) fn holds(&self, name: &ServerName<'_>) -> bool {
        self.entries.iter().any(|entry| entry.name == *name && !entry.sessions.is_empty())
    }

    /// Drops the sessions of `name`: what fails once would fail again.
    pub(crate) fn forget(&mut self, name: &ServerName<'_>) {
        self.entries.retain(|entry| {
            let kept = entry.name != *name;
            if !kept {
                entry.sessions.retire();
            }
            kept
        });
    }

    /// Ends the sessions that are too old, and those of any identity but `current`: a ticket that an old connection still
    /// receives is dropped from now on.
    pub(crate) fn sweep(&mut self, current: Option<&Arc<Identity>>, now: Duration) {
        self.entries.retain(|entry| {
            let kept = entry.presents(current) && !entry.is_over(now);
            if !kept {
                entry.sessions.retire();
            }
            kept
        });
    }
}

impl Drop for SessionPool {
    /// Connections that outlive their pool keep its stores alive, but put nothing into them.
    fn drop(&mut self) {
        for entry in &self.entries {
            entry.sessions.retire();
        }
    }
}

/// What was learned from one endpoint under one name for the next handshake: tickets, a session, its key exchange group.
///
/// When its time ends, [`retire`](Self::retire) empties it for good: a ticket that an old connection still receives is
/// dropped then.
///
/// A ticket serves one handshake, which brings the next one. So where many handshakes are made at once, as many tickets are
/// on their way, and all but `most` of them would be dropped on arrival. Each handshake that finds none therefore makes room
/// for one more, up to [`MAX_TICKETS_GROWTH`] times as many.
pub struct Sessions {
    name: ServerName<'static>,
    most: usize,
    // rustls demands Sync of a store. Only its own worker calls this one, so the lock is never waited for.
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    retired: bool,
    group: Option<NamedGroup>,
    /// Room for tickets beside `most`.
    more: usize,
    tls12: Option<Tls12ClientSessionValue>,
    /// Oldest first; each is used once (RFC 8446 §C.4).
    tickets: VecDeque<Tls13ClientSessionValue>,
}

impl Sessions {
    /// A store for `name` that keeps so many TLS 1.3 tickets; with 0, no session at all is kept.
    pub fn new(name: ServerName<'static>, tickets: usize) -> Self {
        Self { name, most: tickets, inner: Mutex::default() }
    }

    /// Forgets all sessions, and stores none from now on.
    pub fn retire(&self) {
        *self.lock() = Inner { retired: true, ..Inner::default() };
    }

    /// The TLS 1.3 tickets held.
    pub fn tickets(&self) -> usize {
        self.lock().tickets.len()
    }

    /// Whether there is neither a ticket nor a TLS 1.2 session.
    pub fn is_empty(&self) -> bool {
        let inner = self.lock();
        inner.tickets.is_empty() && inner.tls12.is_none()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic can't leave it half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn edit<R>(&self, name: &ServerName<'_>, edit: impl FnOnce(&mut Inner) -> R) -> Option<R> {
        let mut inner = self.lock();
        let open = *name == self.name && !inner.retired;
        open.then(|| edit(&mut inner))
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("tickets", &self.tickets()).finish_non_exhaustive()
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.edit(&name, |inner| inner.group = Some(group));
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.edit(name, |inner| inner.group).flatten()
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        if self.most > 0 {
            self.edit(&name, |inner| inner.tls12 = Some(value));
        }
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.edit(name, |inner| inner.tls12.clone()).flatten()
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.edit(name, |inner| inner.tls12 = None);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        if self.most == 0 {
            return;
        }
        self.edit(&name, |inner| {
            if inner.tickets.len() >= self.most + inner.more {
                inner.tickets.pop_front();
            }
            inner.tickets.push_back(value);
        });
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let take = |inner: &mut Inner| {
            let taken = inner.tickets.pop_back();
            if taken.is_none() {
                inner.more = (inner.more + 1).min(self.most * (MAX_TICKETS_GROWTH - 1));
            }
            taken
        };
        self.edit(name, take).flatten()
    }
}
