//! The requests to the store: each is a type that knows the type of its answer. The command line and the admin API run the
//! same function, [`Request::run`].
//!
//! Requests are read from JSON (the API's bodies) and made by the command line; answers are written as JSON and read
//! back. No answer holds a private key, and no request is ever shown: see [`Blob`] and [`Passphrase`].

mod answer;
mod blob;
mod error;
mod make;
mod rotate;

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::bundle::Bundle;
use super::passphrase::Passphrase;
use super::store::{Description, Origin, Store, StoreError};

pub(crate) use answer::{
    Activated, Deleted, Exported, Listed, Made, Retired, RolledBack, Shown, SignedCertificate, Standing,
    Summary,
};
pub(crate) use blob::Blob;
pub(crate) use error::{CommandError, ErrorKind};
pub(crate) use make::{Generate, Import, Sign, Stage, StageSource, default_names};
pub(crate) use rotate::{Activate, Retire, Rollback};

/// Something to do with the store.
pub(crate) trait Request {
    /// What is answered.
    type Answer: Serialize;

    /// Does it. Waits for other writers, and for the disk.
    fn run(self, store: &Store, context: &Context<'_>) -> Result<Self::Answer, CommandError>;
}

/// What a request cannot know by itself.
pub(crate) struct Context<'a> {
    /// The time.
    pub now: SystemTime,
    /// What uses a certificate, by the config.
    pub uses: &'a dyn Fn(&str) -> Vec<Use>,
    /// `store.renew_before`, where the config has it.
    pub renew_before: Option<Duration>,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("now", &self.now).finish_non_exhaustive()
    }
}

/// A place in the config that names a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Use {
    /// `listener "web"`, `upstream "orders"`, `environment "production" of upstream "orders"`.
    pub by: String,
    /// What for.
    pub role: Role,
}

/// What a certificate is used as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Presented to clients.
    Server,
    /// Presented to backends.
    Client,
    /// What peers are checked against.
    Trust,
}

impl std::fmt::Display for Use {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let role = match self.role {
            Role::Server => "server identity",
            Role::Client => "client identity",
            Role::Trust => "trust",
        };
        write!(f, "{} ({role})", self.by)
    }
}

/// Every certificate, by name.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct List {}

impl Request for List {
    type Answer = Listed;

    fn run(self, store: &Store, context: &Context<'_>) -> Result<Listed, CommandError> {
        let mut certificates = Vec::new();
        for name in store.names()? {
            match store.describe(&name, context.now) {
                Ok(description) => {
                    certificates.push(Summary::of(&description, (context.uses)(&name), context.now));
                }
                // Deleted since its name was read.
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => certificates.push(Summary::broken(name, &error)),
            }
        }
        Ok(Listed { certificates })
    }
}

/// All that is known of one certificate.
#[derive(Clone, Debug)]
pub(crate) struct Show {
    /// Its name.
    pub name: String,
}

impl Request for Show {
    type Answer = Shown;

    fn run(self, store: &Store, context: &Context<'_>) -> Result<Shown, CommandError> {
        let description = store.describe(&self.name, context.now)?;
        let used_by = (context.uses)(&self.name);
        Ok(Shown { pem: public_chain(store, &description)?, certificate: description, used_by, ocsp: None })
    }
}

/// The active generation's chain, or the staged one's while nothing is active.
fn public_chain(store: &Store, description: &Description) -> Result<Option<String>, CommandError> {
    let Some(main) = description.main().filter(|main| main.facts().is_some()) else { return Ok(None) };
    Ok(Some(store.get_generation(&description.name, main.number)?.chain_pem()))
}

/// What of a certificate is exported. Never its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Part {
    /// The active generation's chain.
    #[default]
    Active,
    /// The staged generation's chain.
    Staged,
    /// The previous generation's chain.
    Previous,
    /// The request that waits for its certificate.
    Request,
}

/// The public part of a certificate.
#[derive(Clone, Debug)]
pub(crate) struct Export {
    /// Its name.
    pub name: String,
    /// Which part of it.
    pub part: Part,
    /// DER instead of PEM: the first certificate alone.
    pub der: bool,
}

impl Request for Export {
    type Answer = Exported;

    fn run(self, store: &Store, context: &Context<'_>) -> Result<Exported, CommandError> {
        let name = &self.name;
        let none = || CommandError::NoSuchPart { name: name.clone(), part: self.part };
        let bundle: Bundle = match self.part {
            Part::Active => store.get(name)?.bundle,
            Part::Staged => store.get_staged(name)?.ok_or_else(none)?.1,
            Part::Previous => store.get_previous(name)?.ok_or_else(none)?.1,
            Part::Request => {
                let request = store.describe(name, context.now)?.request.ok_or_else(none)?;
                let content = if self.der {
                    Blob::from_pem_section(&request.pem).ok_or_else(none)?
                } else {
                    Blob::from(request.pem.into_bytes())
                };
                return Ok(Exported { name: self.name, part: self.part, content });
            }
        };
        let content = if self.der { bundle.chain()[0].to_vec() } else { bundle.chain_pem().into_bytes() };
        Ok(Exported { name: self.name, part: self.part, content: content.into() })
    }
}

/// Sets the description of a certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Describe {
    /// Its name, beside the body.
    #[serde(skip)]
    pub name: String,
    /// What it is for; empty for nothing in particular.
    pub description: String,
}

impl Request for Describe {
    type Answer = Shown;

    fn run(self, store: &Store, context: &Context<'_>) -> Result<Shown, CommandError> {
        check_description(Some(&self.description))?;
        store.set_description(&self.name, &self.description)?;
        Show { name: self.name }.run(store, context)
    }
}

/// Removes a certificate with its keys.
#[derive(Clone, Debug)]
pub(crate) struct Delete {
    /// Its name.
    pub name: String,
}

impl Request for Delete {
    type Answer = Deleted;

    fn run(self, store: &Store, context: &Context<'_>) -> Result<Deleted, CommandError> {
        let used_by = (context.uses)(&self.name);
        if !used_by.is_empty() {
            return Err(CommandError::InUse { name: self.name, used_by });
        }
        store.delete(&self.name)?;
        Ok(Deleted { deleted: self.name })
    }
}

/// A chain with its key, from bytes of a caller.
fn bundle(
    certificate: &Blob,
    key: Option<&Blob>,
    passphrase: Option<&Passphrase>,
) -> Result<Bundle, CommandError> {
    let key = key.map(Blob::bytes);
    Bundle::from_locked_parts(certificate.bytes(), key, passphrase).map_err(CommandError::Bundle)
}

fn check_description(description: Option<&String>) -> Result<(), CommandError> {
    use crate::base::limits::MAX_DESCRIPTION_BYTES;
    match description {
        Some(text) if text.len() > MAX_DESCRIPTION_BYTES => Err(CommandError::LongDescription),
        _ => Ok(()),
    }
}

fn meta(description: Option<String>, origin: Origin, now: SystemTime) -> super::store::Meta {
    super::store::Meta { description, origin, now }
}
