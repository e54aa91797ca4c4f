//! New generations: generated here, or brought.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::answer::Standing;
use super::{Blob, CommandError, Context, Made, Request, bundle, check_description, meta};
use crate::certs::bundle::Bundle;
use crate::certs::generate::{GenerateRequest, csr, self_signed};
use crate::certs::passphrase::Passphrase;
use crate::certs::store::{Origin, StateError, Store, StoreError};
use crate::certs::time::Timestamp;

/// A new certificate, self-signed and in use at once; or a request for a CA, whose key waits in the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, Value>")]
pub struct Generate {
    /// Its name. Must be free, but for a request.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// What it shall say.
    #[serde(flatten)]
    pub subject: GenerateRequest,
    /// A request for a CA to sign, instead of a certificate.
    pub csr: bool,
    /// Give up a request that waits already, with its key.
    pub force: bool,
}

impl TryFrom<BTreeMap<String, Value>> for Generate {
    type Error = serde_json::Error;

    /// The subject's keys stand beside the request's own, and unknown ones are errors.
    fn try_from(mut fields: BTreeMap<String, Value>) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Own {
            name: String,
            description: Option<String>,
            #[serde(default)]
            csr: bool,
            #[serde(default)]
            force: bool,
        }
        let own = ["name", "description", "csr", "force"];
        let own = own.iter().filter_map(|key| Some(((*key).to_owned(), fields.remove(*key)?))).collect();
        let own: Own = serde_json::from_value(Value::Object(own))?;
        let subject = serde_json::from_value(Value::Object(fields.into_iter().collect()))?;
        Ok(Self { name: own.name, description: own.description, subject, csr: own.csr, force: own.force })
    }
}

impl Request for Generate {
    type Answer = Made;

    fn run(self, store: &Store, context: &Context<'_>) -> Result<Made, CommandError> {
        check_description(self.description.as_ref())?;
        let meta = meta(self.description, Origin::Generated, context.now);
        if self.csr {
            let made = csr(&self.subject)?;
            let subject = format!("CN={}", self.subject.common_name);
            let generation = store.request(&self.name, &made, &subject, &meta, self.force)?;
            return Ok(Made {
                id: self.name,
                generation,
                state: Standing::Requested,
                subject,
                created: Timestamp::from(context.now),
                expires: None,
                replaced: None,
                pem: made.csr_pem,
            });
        }
        // Before the key is made, which takes a while for RSA.
        if !matches!(store.describe(&self.name, context.now), Err(StoreError::NotFound { .. })) {
            crate::certs::store::check_name(&self.name)?;
            return Err(StoreError::State(StateError::Exists { name: self.name }).into());
        }
        let bundle = self_signed(&self.subject, context.now)?.bundle;
        let generation = store.create(&self.name, &bundle, &meta)?;
        Ok(made(self.name, generation, Standing::Active, None, &bundle, context))
    }
}

/// A certificate that somebody brings: a new one, in use at once, or the one that a request waits for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// The chain, perhaps with the key; or a PKCS#12 container.
    pub certificate: Blob,
    /// The key, if it is not beside the chain. None for the one that a request waits for.
    pub key: Option<Blob>,
    /// What opens the key or the container.
    pub passphrase: Option<Passphrase>,
}

impl Request for Import {
    type Answer = Made;

    fn run(self, store: &Store, context: &Context<'_>) -> Result<Made, CommandError> {
        check_description(self.description.as_ref())?;
        let bundle = bundle(&self.certificate, self.key.as_ref(), self.passphrase.as_ref())?;
        let meta = meta(self.description, Origin::Imported, context.now);
        let waits = store.describe(&self.name, context.now).is_ok_and(|found| found.request.is_some());
        if waits && bundle.key().is_none() {
            let (generation, active) = store.complete(&self.name, bundle.chain_pem().as_bytes(), &meta)?;
            let state = if active { Standing::Active } else { Standing::Staged };
            return Ok(made(self.name, generation, state, None, &bundle, context));
        }
        let generation = store.create(&self.name, &bundle, &meta)?;
        Ok(made(self.name, generation, Standing::Active, None, &bundle, context))
    }
}

/// The next generation of a certificate, not used yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Stage {
    /// Its name, which stands beside the body.
    #[serde(skip)]
    pub name: String,
    /// Where the generation comes from.
    #[serde(flatten)]
    pub source: StageSource,
}

/// Where a staged generation comes from.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum StageSource {
    /// Brought.
    Import {
        /// The chain, perhaps with the key; or a PKCS#12 container.
        certificate: Blob,
        /// The key, if it is not beside the chain.
        key: Option<Blob>,
        /// What opens the key or the container.
        passphrase: Option<Passphrase>,
    },
    /// Generated.
    Generate {
        /// What it shall say. None: the same as the active one, with a new key, for as long.
        generate: Option<GenerateRequest>,
    },
}

/// A [`Stage`] as it is written: a typo must not become a generated successor.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    certificate: Option<Blob>,
    key: Option<Blob>,
    passphrase: Option<Passphrase>,
    #[serde(default, deserialize_with = "present")]
    generate: Option<Option<GenerateRequest>>,
}

/// `null` is something else than nothing.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

impl TryFrom<Written> for Stage {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let Written { certificate, key, passphrase, generate } = written;
        let source = match (certificate, generate) {
            (Some(certificate), None) => StageSource::Import { certificate, key, passphrase },
            (None, Some(generate)) if key.is_none() && passphrase.is_none() => {
                StageSource::Generate { generate }
            }
            _ => {
                return Err(
                    "give either `certificate`, perhaps with `key`, or `generate` (null: as the active one)",
                );
            }
        };
        Ok(Self { name: String::new(), source })
    }
}

impl Request for Stage {
    type Answer = Made;

    fn run(self, store: &Store, context: &Context<'_>) -> Result<Made, CommandError> {
        let (bundle, origin) = match self.source {
            StageSource::Import { certificate, key, passphrase } => {
                (bundle(&certificate, key.as_ref(), passphrase.as_ref())?, Origin::Imported)
            }
            StageSource::Generate { generate } => {
                let request = match generate {
                    Some(request) => request,
                    None => successor(store, &self.name)?,
                };
                (self_signed(&request, context.now)?.bundle, Origin::Generated)
            }
        };
        let staged = store.stage(&self.name, &bundle, &meta(None, origin, context.now))?;
        Ok(made(self.name, staged.generation, Standing::Staged, staged.replaced, &bundle, context))
    }
}

fn successor(store: &Store, name: &str) -> Result<GenerateRequest, CommandError> {
    let active = store.get(name)?.bundle;
    if !active.facts().self_signed {
        let issuer = active.facts().issuer.clone();
        return Err(CommandError::NoSuccessor { name: name.to_owned(), issuer });
    }
    Ok(GenerateRequest::like(&active)?)
}

fn made(
    id: String,
    generation: u32,
    state: Standing,
    replaced: Option<u32>,
    bundle: &Bundle,
    context: &Context<'_>,
) -> Made {
    Made {
        id,
        generation,
        state,
        subject: bundle.facts().subject.clone(),
        created: Timestamp::from(context.now),
        expires: Some(bundle.facts().not_after),
        replaced,
        pem: bundle.chain_pem(),
    }
}
