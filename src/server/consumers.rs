//! Consumers and their credentials in a running instance: the store has the truth, the workers an index of it.
//!
//! An order changes the store, then the index is published by one atomic store: the next request on any worker is checked
//! against it, without a reload.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::base::published::Published;
use crate::certs::consumers::index::Index;
use crate::certs::consumers::order::CredentialInfo;
use crate::certs::consumers::{Answer, Book, ConsumerError, Credential, Definition, Desk, Order, Standing};
use crate::certs::renewal::window;
use crate::certs::{Store, StoreError, Timestamp};
use crate::config::Plan;

use super::deployment::Deployment;
use super::events::{CredentialEvent, Event};

/// How many credentials that end soon are named, in the log and in the status.
const NAMED: usize = 20;

/// Those of a store.
#[derive(Debug)]
pub(crate) struct Consumers {
    store: PathBuf,
    /// Held while an order is carried out. No worker takes it.
    book: Mutex<Book>,
    index: Published<Index>,
}

impl Default for Consumers {
    fn default() -> Self {
        Self { store: PathBuf::new(), book: Mutex::default(), index: Published::new(Index::default()) }
    }
}

/// A credential that ends soon, or has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EndingCredential {
    /// Its name.
    pub name: String,
    /// Whole days until its end, rounded down; negative: it has ended.
    pub days_left: i64,
    /// In words, with what to do.
    pub warning: String,
}

impl Consumers {
    /// Reads the store.
    ///
    /// # Errors
    /// It can't be read.
    pub(crate) fn load(path: &Path) -> Result<Self, StoreError> {
        let book = Book::load(&Store::open(path)?)?;
        let index = Published::new(Index::of(&book));
        Ok(Self { store: path.to_owned(), book: Mutex::new(book), index })
    }

    /// What requests are checked against.
    pub(crate) fn index(&self) -> Published<Index> {
        self.index.clone()
    }

    /// What could not be read, in words.
    pub(crate) fn broken(&self) -> Vec<String> {
        self.book().broken.iter().map(ToString::to_string).collect()
    }

    /// Takes up what was changed in the store while no instance ran that could be asked. What can't be read leaves what is in
    /// force, and is logged.
    pub(crate) fn reread(&self) {
        if self.store.as_os_str().is_empty() {
            return;
        }
        let mut book = self.book();
        match Store::open(&self.store).and_then(|store| Book::load(&store)) {
            Ok(read) => {
                for error in &read.broken {
                    tracing::warn!("a consumer or credential can't be read, and does not count: {error}");
                }
                *book = read;
                self.publish(&book);
            }
            Err(error) => tracing::error!("consumers can't be read again, those before stay: {error}"),
        }
    }

    /// Carries an order out. A change is in force when this returns.
    ///
    /// # Errors
    /// See [`ConsumerError`]; then nothing has changed.
    pub(crate) fn run(&self, order: Order, plan: &Plan) -> Result<Answer, ConsumerError> {
        let changes = order.changes();
        self.at_desk(plan, changes, |desk| desk.run(order))
    }

    fn at_desk<T>(
        &self,
        plan: &Plan,
        changes: bool,
        work: impl FnOnce(&mut Desk<'_>) -> Result<T, ConsumerError>,
    ) -> Result<T, ConsumerError> {
        let store = Store::open(&plan.store)?;
        let definitions: Vec<Definition> = plan.credentials.iter().map(|at| at.value.clone()).collect();
        let mut book = self.book();
        let mut desk =
            Desk { store: &store, book: &mut book, definitions: &definitions, now: SystemTime::now() };
        let done = work(&mut desk);
        if changes {
            // Also after an error: part of a deletion may be done.
            self.publish(&book);
        }
        done
    }

    fn publish(&self, book: &Book) {
        self.index.store(Index::of(book).into());
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every consumer, or credential, with the time of its last change of state, by which two lists are compared.
    pub(crate) fn states(&self, credentials: bool) -> Vec<(String, String, Timestamp)> {
        let book = self.book();
        if credentials {
            let state = |it: &Credential| (it.name.clone(), it.consumer.clone(), it.state.since());
            return book.credentials.values().map(state).collect();
        }
        book.consumers.values().map(|it| (it.name.clone(), it.title.clone(), it.created)).collect()
    }

    /// How many credentials there are of each definition and state.
    pub(crate) fn counts(&self) -> BTreeMap<(String, Standing), u64> {
        let now = Timestamp::from(SystemTime::now());
        let mut counts = BTreeMap::new();
        for credential in self.book().credentials.values() {
            *counts.entry((credential.definition.clone(), credential.state.standing(now))).or_insert(0) += 1;
        }
        counts
    }

    /// When the first of each definition's credentials that are in force ends.
    pub(crate) fn first_ends(&self) -> BTreeMap<String, Timestamp> {
        let now = Timestamp::from(SystemTime::now());
        let mut ends: BTreeMap<String, Timestamp> = BTreeMap::new();
        for credential in self.book().credentials.values() {
            let Some(end) = end_of(credential).filter(|end| *end > now) else { continue };
            ends.entry(credential.definition.clone())
                .and_modify(|first| *first = end.min(*first))
                .or_insert(end);
        }
        ends
    }

    /// Active and suspended credentials near their end, and those that have just expired: within `renew_before`, or the last
    /// third of a short validity. Those that ended longer ago than that are left out.
    pub(crate) fn endings(&self, plan: &Plan) -> Vec<EndingCredential> {
        let now = SystemTime::now();
        let time = Timestamp::from(now);
        let before = plan.rotation.renew_before;
        let mut found = Vec::new();
        for credential in self.book().credentials.values() {
            let Some(term) = credential.state.term() else { continue };
            let Some(end) = end_of(credential) else { continue };
            let window = window(before, term.issued.unix(), end.unix());
            if (end.unix() - time.unix()).abs() > window {
                continue;
            }
            let (name, consumer) = (&credential.name, &credential.consumer);
            let days_left = end.days_from(now);
            let what = match days_left {
                ..0 => "has expired".to_owned(),
                days => format!("ends in {days} days"),
            };
            let warning = format!(
                "credential {name} of {consumer} {what} ({end}): renew it by `ringate credential renew {name}`, or revoke it"
            );
            found.push(EndingCredential { name: name.clone(), days_left, warning });
        }
        found.sort_by_key(|ending| ending.days_left);
        found
    }
}

/// When a credential in force ends: its own end, or that of its newest certificate.
fn end_of(credential: &Credential) -> Option<Timestamp> {
    let term = credential.state.term()?;
    let last = credential.certificate.last().filter(|it| it.until.is_none()).map(|it| it.not_after);
    match (term.expires, last) {
        (Some(expires), Some(certificate)) => Some(expires.min(certificate)),
        (end, None) | (None, end) => end,
    }
}

impl Deployment {
    /// The consumers with their credentials.
    ///
    /// # Errors
    /// See [`ConsumerError`].
    pub(crate) fn consumers(&self, order: Order) -> Result<Answer, ConsumerError> {
        let _guard = order.changes().then(|| self.may_order()).transpose()?;
        let current = self.current();
        current.made.consumers.run(order, &current.plan)
    }

    /// Does something at the desk for which there is no order. What it changes is in force when this returns.
    ///
    /// # Errors
    /// Those of `work`, or the store can't be opened.
    pub(crate) fn at_desk<T>(
        &self,
        changes: bool,
        work: impl FnOnce(&mut Desk<'_>) -> Result<T, ConsumerError>,
    ) -> Result<T, ConsumerError> {
        let _guard = changes.then(|| self.may_order()).transpose()?;
        let current = self.current();
        current.made.consumers.at_desk(&current.plan, changes, work)
    }

    /// Lets those know that watch: names and the state alone.
    pub(crate) fn tell_credential(&self, it: &CredentialInfo) {
        self.events.send(&Event::Credential(CredentialEvent {
            at: SystemTime::now().into(),
            credential: it.name.clone(),
            consumer: it.consumer.clone(),
            state: it.state,
        }));
    }

    /// Warnings of credentials near their end: the first ones by name, and how many more there are.
    pub(crate) fn credential_warnings(&self) -> Vec<String> {
        let current = self.current();
        let endings = current.made.consumers.endings(&current.plan);
        let more = endings.len().saturating_sub(NAMED);
        let mut warnings: Vec<String> =
            endings.into_iter().take(NAMED).map(|ending| ending.warning).collect();
        if more > 0 {
            warnings.push(format!("{more} more credentials end soon: see `ringate credential list`"));
        }
        warnings
    }
}
