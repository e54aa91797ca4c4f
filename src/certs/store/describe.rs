//! A certificate with its generations, for output. No keys in here.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::disk::read_file;
use super::record::{GenerationRecord, GenerationState, Record, TrialRecord};
use super::{MAX_IDENTITY_BYTES, Origin, REQUEST_FILE, Store, StoreError};
use crate::certs::inspect::Facts;
use crate::certs::time::Timestamp;

/// All that is known of a certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// What it is for; perhaps empty.
    pub description: String,
    /// When the name was first put into the store.
    pub created: Timestamp,
    /// The generation in use.
    pub active: Option<u32>,
    /// The generation that waits to be activated.
    pub staged: Option<u32>,
    /// The generation that a rollback brings back.
    pub previous: Option<u32>,
    /// A request that waits for its certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestInfo>,
    /// The result of the last trial of the staged generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialRecord>,
    /// The newest first. Those that are retired have no more facts than these entries.
    pub generations: Vec<GenerationInfo>,
}

impl Description {
    /// The generation of that number.
    pub fn generation(&self, number: u32) -> Option<&GenerationInfo> {
        self.generations.iter().find(|generation| generation.number == number)
    }

    /// The one in use, or the one that will be first.
    pub fn main(&self) -> Option<&GenerationInfo> {
        self.active.or(self.staged).and_then(|number| self.generation(number))
    }
}

/// A request that waits for its certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RequestInfo {
    /// The number that its certificate's folder has until then.
    pub number: u32,
    /// When it was made.
    pub created: Timestamp,
    /// Its subject.
    pub subject: String,
    /// The request (PKCS#10) for the CA.
    pub pem: String,
}

/// One generation of a certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GenerationInfo {
    /// Its number.
    pub number: u32,
    /// What it is for.
    pub state: GenerationState,
    /// When it was put into the store.
    pub created: Timestamp,
    /// When it first became active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated: Option<Timestamp>,
    /// Where it came from.
    pub origin: Origin,
    /// Its content.
    #[serde(flatten)]
    pub content: Content,
}

/// What is known of a generation's certificates.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// Its files are there and good.
    Whole {
        /// The leaf's.
        #[serde(flatten)]
        facts: Box<Facts>,
        /// Whole days of validity left; negative once expired.
        days_left: i64,
        /// How many certificates the chain has.
        chain_length: usize,
        /// Whether its key is there.
        has_key: bool,
    },
    /// Its files are gone, or cannot be used.
    Remembered {
        /// The leaf's subject.
        subject: String,
        /// The last second the leaf is valid.
        not_after: Timestamp,
        /// The leaf's fingerprint.
        sha256: String,
        /// Why its files cannot be used. None: it is retired.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        problem: Option<String>,
    },
}

impl GenerationInfo {
    /// The leaf's facts, if its files are there and good.
    pub fn facts(&self) -> Option<&Facts> {
        match &self.content {
            Content::Whole { facts, .. } => Some(facts),
            Content::Remembered { .. } => None,
        }
    }

    /// The leaf's subject.
    pub fn subject(&self) -> &str {
        match &self.content {
            Content::Whole { facts, .. } => &facts.subject,
            Content::Remembered { subject, .. } => subject,
        }
    }

    /// Whole days of validity left; negative once expired. None if its files are gone.
    pub fn days_left(&self) -> Option<i64> {
        match &self.content {
            Content::Whole { days_left, .. } => Some(*days_left),
            Content::Remembered { .. } => None,
        }
    }

    /// How many certificates its chain has, if its files are there and good.
    pub fn chain_length(&self) -> Option<usize> {
        match &self.content {
            Content::Whole { chain_length, .. } => Some(*chain_length),
            Content::Remembered { .. } => None,
        }
    }

    /// Whether its private key is there.
    pub fn has_key(&self) -> bool {
        matches!(self.content, Content::Whole { has_key: true, .. })
    }

    /// Why its files cannot be used, though they should be there.
    pub fn problem(&self) -> Option<&str> {
        match &self.content {
            Content::Whole { .. } => None,
            Content::Remembered { problem, .. } => problem.as_deref(),
        }
    }

    /// The last second the leaf is valid.
    pub fn not_after(&self) -> Timestamp {
        match &self.content {
            Content::Whole { facts, .. } => facts.not_after,
            Content::Remembered { not_after, .. } => *not_after,
        }
    }
}

impl Store {
    /// All that is known of `name`, with the days left at `now`. A generation whose files cannot be used does not
    /// hide the others.
    pub fn describe(&self, name: &str, now: SystemTime) -> Result<Description, StoreError> {
        self.consistent(name, |record| self.describe_record(record, now))
    }

    fn describe_record(&self, record: &Record, now: SystemTime) -> Result<Description, StoreError> {
        let mut generations = Vec::new();
        for generation in record.generation.iter().rev() {
            generations.push(self.describe_generation(record, generation, now)?);
        }
        let request = match &record.request {
            None => None,
            Some(request) => {
                let path = self.generation_folder(&record.name, request.number).join(REQUEST_FILE);
                let content = read_file(&path, MAX_IDENTITY_BYTES)?;
                Some(RequestInfo {
                    number: request.number,
                    created: request.created,
                    subject: request.subject.clone(),
                    pem: String::from_utf8_lossy(&content.bytes).into_owned(),
                })
            }
        };
        Ok(Description {
            name: record.name.clone(),
            description: record.description.clone(),
            created: record.created,
            active: record.active,
            staged: record.staged,
            previous: record.previous,
            request,
            trial: record.trial,
            generations,
        })
    }

    fn describe_generation(
        &self,
        record: &Record,
        generation: &GenerationRecord,
        now: SystemTime,
    ) -> Result<GenerationInfo, StoreError> {
        let state = record.state(generation.number);
        let remembered = |problem| Content::Remembered {
            subject: generation.subject.clone(),
            not_after: generation.not_after,
            sha256: generation.sha256.clone(),
            problem,
        };
        let content = match state {
            GenerationState::Retired => remembered(None),
            _ => match self.load_generation(record, generation.number) {
                Ok(bundle) => Content::Whole {
                    days_left: bundle.facts().days_left(now),
                    chain_length: bundle.chain().len(),
                    has_key: bundle.key().is_some(),
                    facts: Box::new(bundle.facts().clone()),
                },
                // Perhaps a writer was faster: `consistent` finds out.
                Err(error @ StoreError::Io { .. }) => return Err(error),
                Err(error) => remembered(Some(error.to_string())),
            },
        };
        Ok(GenerationInfo {
            number: generation.number,
            state,
            created: generation.created,
            activated: generation.activated,
            origin: generation.origin,
            content,
        })
    }
}
