//! `certificate.toml`: which generations a certificate has and what each is for. Pure: text in, text out.
//!
//! ```text
//!            stage              activate             activate of the next one
//! (nothing) ───────► staged ──────────────► active ──────────────► previous ────► retired
//!                      ▲                       │                      │    (or by hand)
//!                      └──────── rollback ─────┘◄───── rollback ──────┘
//! ```
//!
//! A certificate has at most one generation in each of the first three states, and those have files. A
//! retired one is kept as an entry only: its key has been deleted.

use serde::{Deserialize, Serialize};

use super::{Meta, Origin};
use crate::certs::bundle::Bundle;
use crate::certs::time::Timestamp;

/// Six digits, so that folders sort as numbers do.
const MAX_NUMBER: u32 = 999_999;
/// Most retired generations that are remembered.
const MAX_RETIRED: usize = 16;

/// What a generation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GenerationState {
    /// In use.
    Active,
    /// Waits to be tried and activated.
    Staged,
    /// Was in use before the active one; a rollback brings it back.
    Previous,
    /// No longer kept: only its facts are remembered.
    Retired,
}

/// The file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    pub created: Timestamp,
    /// Absent while nothing was activated yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staged: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<u32>,
    /// The highest number ever given. Never given again, since sessions and reports are keyed by it.
    pub last: u32,
    /// A request for a CA to sign, whose key waits for the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestRecord>,
    /// The last trial of the staged generation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialRecord>,
    #[serde(default)]
    pub generation: Vec<GenerationRecord>,
}

/// One generation. All but `number`, `created` and `origin` is there for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GenerationRecord {
    pub number: u32,
    pub created: Timestamp,
    pub origin: Origin,
    pub subject: String,
    pub not_after: Timestamp,
    pub sha256: String,
    /// When it first became active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated: Option<Timestamp>,
}

/// A request that waits for its certificate. Its folder is numbered as generations are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestRecord {
    pub number: u32,
    pub created: Timestamp,
    pub subject: String,
}

/// The result of the last trial of the staged generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialRecord {
    /// The generation that was tried.
    pub generation: u32,
    /// When.
    pub at: Timestamp,
    /// Whether every endpoint that it is presented to would carry traffic.
    pub passed: bool,
}

/// The numbers of generations are used up.
pub(super) struct NoMoreNumbers;

/// There is no generation in the state that a transition needs.
pub(super) struct Nothing;

impl Record {
    pub(super) fn new(name: &str, now: Timestamp) -> Self {
        Self {
            name: name.to_owned(),
            description: String::new(),
            created: now,
            active: None,
            staged: None,
            previous: None,
            last: 0,
            request: None,
            trial: None,
            generation: Vec::new(),
        }
    }

    /// The record in `text`, in the folder `name`; or what is wrong with it.
    pub(super) fn parse(text: &str, name: &str) -> Result<Self, String> {
        let record: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if record.name != name {
            return Err(format!(
                "it names the certificate {:?}; its folder must have the same name",
                record.name
            ));
        }
        for number in record.living() {
            if record.generation(number).is_none() {
                return Err(format!("there is no [[generation]] with number {number}"));
            }
        }
        let numbers: Vec<u32> = record.living().chain(record.request.iter().map(|it| it.number)).collect();
        if let Some(number) =
            numbers.iter().enumerate().find_map(|(at, n)| numbers[..at].contains(n).then_some(n))
        {
            return Err(format!("generation {number} cannot be in two states"));
        }
        Ok(record)
    }

    pub(super) fn to_text(&self) -> Result<String, String> {
        let text = toml::to_string(self).map_err(|error| error.to_string())?;
        Ok(format!("# Written by ringate; change it with `ringate cert`.\n\n{text}"))
    }

    /// The generations that have files.
    fn living(&self) -> impl Iterator<Item = u32> {
        self.active.into_iter().chain(self.staged).chain(self.previous)
    }

    /// Whether a folder of this number belongs to the certificate.
    pub(super) fn has_folder(&self, number: u32) -> bool {
        self.living().any(|living| living == number)
            || self.request.as_ref().is_some_and(|request| request.number == number)
    }

    pub(super) fn generation(&self, number: u32) -> Option<&GenerationRecord> {
        self.generation.iter().find(|generation| generation.number == number)
    }

    pub(super) fn state(&self, number: u32) -> GenerationState {
        match Some(number) {
            n if n == self.active => GenerationState::Active,
            n if n == self.staged => GenerationState::Staged,
            n if n == self.previous => GenerationState::Previous,
            _ => GenerationState::Retired,
        }
    }

    // Transitions

    /// A number that no generation of this name ever had.
    pub(super) fn next_number(&mut self) -> Result<u32, NoMoreNumbers> {
        let listed = self.generation.iter().map(|generation| generation.number);
        let last = listed.fold(self.last, u32::max);
        if last >= MAX_NUMBER {
            return Err(NoMoreNumbers);
        }
        self.last = last + 1;
        Ok(self.last)
    }

    /// Lists a new generation, which is in no state yet.
    fn list(&mut self, number: u32, bundle: &Bundle, meta: &Meta) {
        if let Some(description) = &meta.description {
            self.description.clone_from(description);
        }
        self.generation.push(GenerationRecord {
            number,
            created: Timestamp::from(meta.now),
            origin: meta.origin,
            subject: bundle.facts().subject.clone(),
            not_after: bundle.facts().not_after,
            sha256: bundle.facts().sha256.clone(),
            activated: None,
        });
    }

    /// Adds a generation as staged. Returns the one that was staged before and now is retired.
    pub(super) fn stage(&mut self, number: u32, bundle: &Bundle, meta: &Meta) -> Option<u32> {
        self.list(number, bundle, meta);
        self.trial = None;
        let replaced = self.staged.replace(number);
        self.forget();
        replaced
    }

    /// Adds a generation as active, at once. What is staged stays staged.
    pub(super) fn put(&mut self, number: u32, bundle: &Bundle, meta: &Meta) {
        self.list(number, bundle, meta);
        self.start(number, Timestamp::from(meta.now));
    }

    fn start(&mut self, number: u32, now: Timestamp) -> Activation {
        let retired = self.previous.take();
        self.previous = self.active.replace(number);
        if let Some(generation) = self.generation.iter_mut().find(|it| it.number == number) {
            generation.activated.get_or_insert(now);
        }
        self.forget();
        Activation { active: number, previous: self.previous, retired }
    }

    /// The staged generation becomes the active one, and the active one the previous one.
    pub(super) fn activate(&mut self, now: Timestamp) -> Result<Activation, Nothing> {
        let number = self.staged.take().ok_or(Nothing)?;
        self.trial = None;
        Ok(self.start(number, now))
    }

    /// The previous generation becomes active again. The one that it replaces is staged again, to be tried
    /// later, unless another one is staged already: then it is the previous one.
    pub(super) fn rollback(&mut self) -> Result<Rollback, Nothing> {
        let active = self.previous.take().ok_or(Nothing)?;
        let replaced = self.active.replace(active);
        if self.staged.is_none() {
            self.staged = replaced;
            self.trial = None;
        } else {
            self.previous = replaced;
        }
        Ok(Rollback { active, replaced, staged_again: self.staged == replaced })
    }

    /// Ends a generation that is not active, or gives a request up. False: there is none of that number.
    pub(super) fn retire(&mut self, number: u32) -> bool {
        if self.request.take_if(|request| request.number == number).is_some() {
            return true;
        }
        let found = [&mut self.staged, &mut self.previous].into_iter().find(|it| **it == Some(number));
        let Some(place) = found else { return false };
        *place = None;
        if self.trial.is_some_and(|trial| trial.generation == number) {
            self.trial = None;
        }
        self.forget();
        true
    }

    /// Drops the oldest retired entries.
    fn forget(&mut self) {
        let retired = |record: &Self, number| record.state(number) == GenerationState::Retired;
        let count = self.generation.iter().filter(|it| retired(self, it.number)).count();
        for _ in MAX_RETIRED..count {
            if let Some(oldest) = self.generation.iter().position(|it| retired(self, it.number)) {
                self.generation.remove(oldest);
            }
        }
    }
}

/// What an activation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    /// Now in use.
    pub active: u32,
    /// In use until now; none if this was the first.
    pub previous: Option<u32>,
    /// What a rollback can no longer bring back: its files are gone.
    pub retired: Option<u32>,
}

/// What a rollback did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// In use again.
    pub active: u32,
    /// In use until now.
    pub replaced: Option<u32>,
    /// Whether `replaced` is staged again; else it is the previous one, since another one is staged.
    pub staged_again: bool,
}
