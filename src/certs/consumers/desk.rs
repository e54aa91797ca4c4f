//! Carries orders out: on the store, which has the truth, and in the book, which is the store's content as it was read last.
//!
//! A change takes the writers' lock, reads the credential's file again, moves its state, and replaces the file by one rename.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::credential::{Consumer, Credential, later};
use super::definition::{Approval, Definition};
use super::error::ConsumerError;
use super::issue::{self, Material};
use super::order::{
    AddConsumer, Answer, ChangeConsumer, ConsumerInfo, CredentialInfo, DefinitionInfo, Filter, Issue, Issued,
    Order, Reason, Renew, Request,
};
use super::origin;
use super::state::{NotFrom, Standing, State};
use crate::base::limits::{
    MAX_CONSUMERS, MAX_CREDENTIAL_ORIGINS, MAX_CREDENTIAL_TEXT_BYTES, MAX_CREDENTIALS,
};
use crate::base::text::without_keys;
use crate::certs::store::{Store, StoreError, check_name};
use crate::certs::time::Timestamp;

/// All consumers and credentials of a store.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// By name.
    pub consumers: BTreeMap<String, Consumer>,
    /// By name. Those of consumers that do not exist are left out.
    pub credentials: BTreeMap<String, Credential>,
    /// Files that can't be read, and why. Others are not hidden by them.
    pub broken: Vec<StoreError>,
}

impl Book {
    /// The content of a store.
    ///
    /// # Errors
    /// Its folders can't be read.
    pub(crate) fn load(store: &Store) -> Result<Self, StoreError> {
        let mut book = Self::default();
        for read in store.consumers()? {
            match read {
                Ok(consumer) => drop(book.consumers.insert(consumer.name.clone(), consumer)),
                Err(error) => book.broken.push(error),
            }
        }
        for read in store.credentials()? {
            match read {
                // Left behind when the deletion of its consumer was interrupted.
                Ok(credential) if !book.consumers.contains_key(&credential.consumer) => {}
                Ok(credential) => drop(book.credentials.insert(credential.name.clone(), credential)),
                Err(error) => book.broken.push(error),
            }
        }
        Ok(book)
    }

    fn of<'b>(&'b self, consumer: &'b str) -> impl Iterator<Item = &'b Credential> {
        self.credentials.values().filter(move |credential| credential.consumer == consumer)
    }
}

/// Where orders are carried out.
#[derive(Debug)]
pub(crate) struct Desk<'a> {
    /// The truth.
    pub store: &'a Store,
    /// What was read of it; kept up to date.
    pub book: &'a mut Book,
    /// Those of the config.
    pub definitions: &'a [Definition],
    /// The time.
    pub now: SystemTime,
}

impl Desk<'_> {
    /// Carries an order out.
    ///
    /// # Errors
    /// See [`ConsumerError`]; then nothing has changed.
    pub(crate) fn run(&mut self, order: Order) -> Result<Answer, ConsumerError> {
        match order {
            Order::AddConsumer(order) => self.add_consumer(order),
            Order::ChangeConsumer(name, order) => self.change_consumer(&name, order),
            Order::ListConsumers => {
                let all = self.book.consumers.values();
                let mut of: BTreeMap<&str, Vec<&Credential>> = BTreeMap::new();
                for credential in self.book.credentials.values() {
                    of.entry(&credential.consumer).or_default().push(credential);
                }
                let consumers = all.map(|consumer| {
                    let credentials = of.remove(consumer.name.as_str()).unwrap_or_default();
                    ConsumerInfo::of(consumer, credentials.into_iter(), self.time())
                });
                Ok(Answer::Consumers { consumers: consumers.collect() })
            }
            Order::ShowConsumer(name) => self.show_consumer(&name),
            Order::DeleteConsumer { name, force } => self.delete_consumer(&name, force),
            Order::ListDefinitions => {
                let definitions = self.definitions.iter().map(DefinitionInfo::of).collect();
                Ok(Answer::Definitions { definitions })
            }
            Order::Request(order) => self.request(order),
            Order::List(filter) => Ok(self.list(&filter)),
            Order::Show(name) => Ok(Answer::Credential(Box::new(self.info(self.known(&name)?)))),
            Order::Approve(name) => self.turn(&name, "approved", |state, now| state.approve(now)),
            Order::Deny(name, Reason { reason }) => {
                check_text("the reason", &reason)?;
                self.turn(&name, "denied", |state, now| state.deny(reason, now))
            }
            Order::Issue(name, order) => self.issue(&name, order),
            Order::Suspend(name, Reason { reason }) => self.suspend(&name, reason),
            Order::Resume(name) => self.turn(&name, "resumed", State::resume),
            Order::Renew(name, order) => self.renew(&name, order),
            Order::Revoke(name, Reason { reason }) => {
                check_text("the reason", &reason)?;
                self.turn(&name, "revoked", |state, now| state.revoke(reason, now))
            }
            Order::Delete(name) => self.delete(&name),
        }
    }

    pub(super) fn time(&self) -> Timestamp {
        Timestamp::from(self.now)
    }

    // Consumers

    fn add_consumer(&mut self, order: AddConsumer) -> Result<Answer, ConsumerError> {
        let AddConsumer { name, title, contact } = order;
        named(&name)?;
        check_text("the title", &title)?;
        check_text("the contact", &contact)?;
        let lock = self.store.lock_consumers()?;
        if self.book.consumers.len() >= MAX_CONSUMERS {
            return Err(ConsumerError::TooMany { kind: "consumers", most: MAX_CONSUMERS });
        }
        if self.store.consumer(&name)?.is_some() {
            return Err(ConsumerError::Exists { kind: "consumer", name });
        }
        // What an interrupted deletion of a consumer of this name has left behind must not be this one's.
        let orphans: Vec<String> = self
            .store
            .credentials()?
            .into_iter()
            .filter_map(Result::ok)
            .filter(|credential| credential.consumer == name)
            .map(|credential| credential.name)
            .collect();
        for orphan in orphans {
            self.store.delete_credential(&orphan, &lock)?;
        }
        let consumer = Consumer { name: name.clone(), title, contact, created: self.time(), portal: false };
        self.store.put_consumer(&consumer, &lock)?;
        drop(lock);
        self.book.consumers.insert(name.clone(), consumer);
        self.show_consumer(&name)
    }

    fn change_consumer(&mut self, name: &str, order: ChangeConsumer) -> Result<Answer, ConsumerError> {
        check_text("the title", order.title.as_deref().unwrap_or_default())?;
        check_text("the contact", order.contact.as_deref().unwrap_or_default())?;
        let lock = self.store.lock_consumers()?;
        let mut consumer = self.store.consumer(name)?.ok_or_else(|| self.no_consumer(name))?;
        consumer.title = order.title.unwrap_or(consumer.title);
        consumer.contact = order.contact.unwrap_or(consumer.contact);
        self.store.put_consumer(&consumer, &lock)?;
        drop(lock);
        self.book.consumers.insert(name.to_owned(), consumer);
        self.show_consumer(name)
    }

    fn show_consumer(&self, name: &str) -> Result<Answer, ConsumerError> {
        let consumer = self.book.consumers.get(name).ok_or_else(|| self.no_consumer(name))?;
        Ok(Answer::Consumer(ConsumerInfo::of(consumer, self.book.of(name), self.time())))
    }

    fn delete_consumer(&mut self, name: &str, force: bool) -> Result<Answer, ConsumerError> {
        if !self.book.consumers.contains_key(name) {
            return Err(self.no_consumer(name));
        }
        let now = self.time();
        let in_force = |credential: &&Credential| {
            matches!(credential.state.standing(now), Standing::Active | Standing::Suspended)
        };
        let live: Vec<String> = self.book.of(name).filter(in_force).map(|it| it.name.clone()).collect();
        if !live.is_empty() && !force {
            return Err(ConsumerError::InUse { name: name.to_owned(), credentials: live });
        }
        let credentials: Vec<String> = self.book.of(name).map(|it| it.name.clone()).collect();
        let lock = self.store.lock_consumers()?;
        // This is the commit: a credential without its consumer counts for nothing.
        self.store.delete_consumer(name, &lock)?;
        self.book.consumers.remove(name);
        for credential in &credentials {
            self.book.credentials.remove(credential);
            self.store.delete_credential(credential, &lock)?;
        }
        Ok(Answer::Deleted { deleted: name.to_owned(), credentials })
    }

    // Credentials

    fn request(&mut self, order: Request) -> Result<Answer, ConsumerError> {
        if !self.book.consumers.contains_key(&order.consumer) {
            return Err(self.no_consumer(&order.consumer));
        }
        let definition = self.definition(&order.definition)?.clone();
        check_text("the description", &order.description)?;
        let origins = origins(&definition, order.origins)?;
        let given = Issue { csr: order.csr, certificate: order.certificate };
        let material = issue::check(&definition, given, order.names.as_ref(), self.now)?;
        let lock = self.store.lock_consumers()?;
        if self.book.credentials.len() >= MAX_CREDENTIALS {
            return Err(ConsumerError::TooMany { kind: "credentials", most: MAX_CREDENTIALS });
        }
        let name = match order.name {
            Some(name) => {
                named(&name)?;
                if self.is_taken(&name)? {
                    return Err(ConsumerError::Exists { kind: "credential", name });
                }
                name
            }
            None => self.free_name(&order.consumer, &definition.name)?,
        };
        let now = self.time();
        let mut credential = Credential {
            name,
            consumer: order.consumer,
            definition: definition.name.clone(),
            description: order.description,
            created: now,
            origins,
            csr: None,
            names: order.names,
            claim: None,
            state: State::Requested { since: now },
            key: Vec::new(),
            certificate: Vec::new(),
        };
        let mut warnings = Vec::new();
        if let Some(material) = material {
            warnings = material.note(&mut credential, now);
        }
        if definition.approval == Approval::Automatic {
            credential.state = State::Approved { since: now };
            let issued = issue::issue(self.store, &definition, credential, self.now)?;
            return self.keep(issued, warnings, &lock).map(|issued| Answer::Issued(Box::new(issued)));
        }
        self.store.put_credential(&credential, &lock)?;
        let issued = Issued { credential: self.info(&credential), key: None, certificate: None, warnings };
        self.book.credentials.insert(credential.name.clone(), credential);
        Ok(Answer::Issued(Box::new(issued)))
    }

    fn issue(&mut self, name: &str, order: Issue) -> Result<Answer, ConsumerError> {
        let definition = self.definition(&self.known(name)?.definition)?.clone();
        let lock = self.store.lock_consumers()?;
        let mut credential = self.fresh(name)?;
        let material = issue::check(&definition, order, credential.names.as_ref(), self.now)?;
        let warnings =
            material.map(|material| material.note(&mut credential, self.time())).unwrap_or_default();
        let issued = issue::issue(self.store, &definition, credential, self.now)?;
        self.keep(issued, warnings, &lock).map(|issued| Answer::Issued(Box::new(issued)))
    }

    fn renew(&mut self, name: &str, order: Renew) -> Result<Answer, ConsumerError> {
        let definition = self.definition(&self.known(name)?.definition)?.clone();
        let lock = self.store.lock_consumers()?;
        let mut credential = self.fresh(name)?;
        let now = self.time();
        let expires = definition.expiry.map(|expiry| later(now, expiry));
        credential.state = moved(name, "renewed", credential.state.renew(expires, now))?;
        let overlap = Duration::from_secs(order.overlap_seconds);
        let given = Issue { csr: order.csr, certificate: order.certificate };
        let material = issue::check(&definition, given, credential.names.as_ref(), self.now)?;
        let mut warnings = Vec::new();
        match material {
            Some(Material::Own(certificate)) => {
                credential.put_certificate(certificate, now, overlap);
                credential.csr = None;
            }
            Some(request @ Material::Request(_)) => warnings = request.note(&mut credential, now),
            None => {}
        }
        let renewed = issue::renew(self.store, &definition, credential, order.new_key, overlap, self.now)?;
        self.keep(renewed, warnings, &lock).map(|issued| Answer::Issued(Box::new(issued)))
    }

    /// Writes what was issued, and answers with what was made for it.
    pub(super) fn keep(
        &mut self,
        made: issue::Made,
        mut warnings: Vec<String>,
        lock: &crate::certs::store::ConsumersLock,
    ) -> Result<Issued, ConsumerError> {
        let issue::Made { credential, key, certificate, warnings: more } = made;
        warnings.extend(more);
        self.store.put_credential(&credential, lock)?;
        let issued = Issued { credential: self.info(&credential), key, certificate, warnings };
        self.book.credentials.insert(credential.name.clone(), credential);
        Ok(issued)
    }

    fn suspend(&mut self, name: &str, reason: String) -> Result<Answer, ConsumerError> {
        check_text("the reason", &reason)?;
        let definition = &self.known(name)?.definition;
        if self.definitions.iter().any(|it| it.name == *definition && !it.suspendable) {
            let (name, definition) = (name.to_owned(), definition.clone());
            return Err(ConsumerError::NotSuspendable { name, definition });
        }
        self.turn(name, "suspended", |state, now| state.suspend(reason, now))
    }

    /// Moves the state of a credential.
    fn turn(
        &mut self,
        name: &str,
        wanted: &'static str,
        change: impl FnOnce(State, Timestamp) -> Result<State, NotFrom>,
    ) -> Result<Answer, ConsumerError> {
        self.known(name)?;
        let lock = self.store.lock_consumers()?;
        let mut credential = self.fresh(name)?;
        credential.state = moved(name, wanted, change(credential.state, self.time()))?;
        self.store.put_credential(&credential, &lock)?;
        drop(lock);
        let info = self.info(&credential);
        self.book.credentials.insert(name.to_owned(), credential);
        Ok(Answer::Credential(Box::new(info)))
    }

    fn delete(&mut self, name: &str) -> Result<Answer, ConsumerError> {
        let is = self.known(name)?.state.standing(self.time());
        if matches!(is, Standing::Active | Standing::Suspended) {
            return Err(ConsumerError::Invalid(format!(
                "{name} is {is}; revoke it first: `ringate credential revoke {name}`"
            )));
        }
        let lock = self.store.lock_consumers()?;
        self.store.delete_credential(name, &lock)?;
        self.book.credentials.remove(name);
        Ok(Answer::Deleted { deleted: name.to_owned(), credentials: Vec::new() })
    }

    fn list(&self, filter: &Filter) -> Answer {
        let now = self.time();
        let passes = |credential: &&Credential| {
            filter.consumer.as_ref().is_none_or(|consumer| *consumer == credential.consumer)
                && filter.definition.as_ref().is_none_or(|name| *name == credential.definition)
                && filter.state.is_none_or(|state| state == credential.state.standing(now))
        };
        let found = self.book.credentials.values().filter(passes);
        Answer::Credentials { credentials: found.map(|credential| self.info(credential)).collect() }
    }

    // Steps

    pub(super) fn info(&self, credential: &Credential) -> CredentialInfo {
        let definition = self.definitions.iter().find(|it| it.name == credential.definition);
        CredentialInfo::of(credential, definition, self.time())
    }

    fn known(&self, name: &str) -> Result<&Credential, ConsumerError> {
        self.book.credentials.get(name).ok_or_else(|| ConsumerError::NotFound {
            kind: "credential",
            name: name.to_owned(),
            similar: similar(name, self.book.credentials.keys()),
        })
    }

    /// The credential as its file has it now.
    fn fresh(&self, name: &str) -> Result<Credential, ConsumerError> {
        let gone =
            || ConsumerError::NotFound { kind: "credential", name: name.to_owned(), similar: Vec::new() };
        self.store.credential(name)?.ok_or_else(gone)
    }

    pub(super) fn definition(&self, name: &str) -> Result<&Definition, ConsumerError> {
        self.definitions.iter().find(|it| it.name == name).ok_or_else(|| ConsumerError::NotFound {
            kind: "definition",
            name: name.to_owned(),
            similar: similar(name, self.definitions.iter().map(|it| &it.name)),
        })
    }

    fn no_consumer(&self, name: &str) -> ConsumerError {
        let similar = similar(name, self.book.consumers.keys());
        ConsumerError::NotFound { kind: "consumer", name: name.to_owned(), similar }
    }

    fn is_taken(&self, name: &str) -> Result<bool, ConsumerError> {
        Ok(self.book.credentials.contains_key(name) || self.store.credential(name)?.is_some())
    }

    /// `acme-mobile`, or with the first number behind it that makes it free.
    pub(super) fn free_name(&self, consumer: &str, definition: &str) -> Result<String, ConsumerError> {
        let definition: String = definition.to_ascii_lowercase().chars().take(64).collect();
        let mut base = format!("{consumer}-{definition}");
        base.truncate(58);
        let numbered = (2..=MAX_CREDENTIALS).map(|number| format!("{base}-{number}"));
        for name in std::iter::once(base.clone()).chain(numbered) {
            if check_name(&name).is_ok() && !self.is_taken(&name)? {
                return Ok(name);
            }
        }
        Err(ConsumerError::TooMany { kind: "credentials", most: MAX_CREDENTIALS })
    }
}

pub(super) fn moved(
    name: &str,
    wanted: &'static str,
    result: Result<State, NotFrom>,
) -> Result<State, ConsumerError> {
    result.map_err(|NotFrom(is)| ConsumerError::State { name: name.to_owned(), is, wanted })
}

fn named(name: &str) -> Result<(), ConsumerError> {
    check_name(name).map_err(|_| ConsumerError::Name(name.to_owned()))
}

/// Texts for people: bounded, printable, and no key in the wrong place.
pub(super) fn check_text(what: &str, text: &str) -> Result<(), ConsumerError> {
    if text.len() > MAX_CREDENTIAL_TEXT_BYTES {
        return Err(ConsumerError::Invalid(format!(
            "{what} is longer than {MAX_CREDENTIAL_TEXT_BYTES} bytes: shorten it"
        )));
    }
    if text.chars().any(char::is_control) {
        return Err(ConsumerError::Invalid(format!("{what} has control characters: leave them out")));
    }
    if without_keys(text) != text {
        return Err(ConsumerError::Invalid(format!("{what} has a key in it: leave it out")));
    }
    Ok(())
}

/// The origins of a request, in the form that browsers send them, each once.
pub(super) fn origins(definition: &Definition, given: Vec<String>) -> Result<Vec<String>, ConsumerError> {
    let name = &definition.name;
    if !given.is_empty() && !definition.javascript_origins {
        return Err(ConsumerError::Invalid(format!(
            "[credentials.{name}] has no origins: leave them out, or set `javascript_origins = true`"
        )));
    }
    let mut origins: Vec<String> = Vec::new();
    for text in given {
        let origin = origin::parse(&text).map_err(|reason| {
            ConsumerError::Invalid(format!("{} is not an origin: {reason}", crate::base::text::shown(&text)))
        })?;
        if !origins.contains(&origin) {
            origins.push(origin);
        }
    }
    if origins.len() > MAX_CREDENTIAL_ORIGINS {
        return Err(ConsumerError::Invalid(format!(
            "{} origins: a credential has {MAX_CREDENTIAL_ORIGINS} at most",
            origins.len()
        )));
    }
    Ok(origins)
}

/// The names most like `name`.
fn similar<'n>(name: &str, names: impl Iterator<Item = &'n String>) -> Vec<String> {
    let mut names: Vec<(f64, &String)> =
        names.map(|other| (strsim::jaro_winkler(name, other), other)).collect();
    names.sort_by(|one, other| other.0.total_cmp(&one.0));
    names.into_iter().take(5).map(|(_, name)| name.clone()).collect()
}
