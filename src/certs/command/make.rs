//! New generations: generated here, or brought.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::answer::SignedCertificate;
use super::answer::Standing;
use super::{Blob, CommandError, Context, Made, Request, bundle, check_description, meta};
use crate::certs::bundle::Bundle;
use crate::certs::concern::concerns;
use crate::certs::generate::{
    CaMaterial, GenerateRequest, San, Signing, Usage, ca_signed, check, csr, requested, self_signed, sign,
};
use crate::certs::passphrase::Passphrase;
use crate::certs::store::{Origin, StateError, Store, StoreError};
use crate::certs::time::Timestamp;

/// A new certificate, self-signed and in use at once; or a request for a CA, whose key waits in the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, Value>")]
pub(crate) struct Generate {
    /// Its name. Must be free, but for a request.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Its content.
    #[serde(flatten)]
    pub subject: GenerateRequest,
    /// A request for a CA to sign, instead of a certificate.
    pub csr: bool,
    /// Give up a request that waits already, with its key.
    pub force: bool,
    /// The certificate of the store, a CA with its key, that signs it. None: it signs itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
}

impl TryFrom<BTreeMap<String, Value>> for Generate {
    type Error = serde_json::Error;

    /// The subject's keys stand beside the request's own, and unknown ones are errors.
    fn try_from(mut fields: BTreeMap<String, Value>) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Own {
            #[serde(alias = "id")]
            name: Option<String>,
            description: Option<String>,
            #[serde(default)]
            csr: bool,
            #[serde(default)]
            force: bool,
            issuer: Option<String>,
        }
        let own = ["name", "id", "description", "csr", "force", "issuer"];
        let own = own.iter().filter_map(|key| Some(((*key).to_owned(), fields.remove(*key)?))).collect();
        let own: Own = serde_json::from_value(Value::Object(own))?;
        // Left out it has a default; an empty text is an error, which is found when the certificate is made.
        let is_given = fields.contains_key("common_name");
        let mut subject: GenerateRequest =
            serde_json::from_value(Value::Object(fields.into_iter().collect()))?;
        let given = is_given.then(|| std::mem::take(&mut subject.common_name));
        let (name, common_name) = default_names(own.name, given);
        subject.common_name = common_name;
        let Own { description, csr, force, issuer, .. } = own;
        Ok(Self { name, description, subject, csr, force, issuer })
    }
}

/// The name in the store and the common name of a new certificate: each is made of the other, if that is given.
pub(crate) fn default_names(name: Option<String>, common_name: Option<String>) -> (String, String) {
    const DEFAULT: &str = "gateway";
    let name = name.unwrap_or_else(|| {
        let plain = |character: char| match character.to_ascii_lowercase() {
            plain @ ('a'..='z' | '0'..='9' | '.' | '_' | '-') => plain,
            _ => '-',
        };
        let text: String = common_name.iter().flat_map(|name| name.chars()).map(plain).take(64).collect();
        let text = text.trim_matches(['.', '_', '-']);
        if text.is_empty() { DEFAULT.to_owned() } else { text.to_owned() }
    });
    let common_name = common_name.unwrap_or_else(|| name.clone());
    (name, common_name)
}

/// A request (CSR) is signed by a CA of the store. What is signed is not kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sign {
    /// The CA, with its key.
    #[serde(skip)]
    pub ca: String,
    /// The request, PEM.
    pub csr: String,
    /// Alternative names in the place of the request's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sans: Vec<San>,
    /// The common name in the place of the request's subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    /// Validity in days. Default 365.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// What it may be used as. Default: by clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

impl Request for Sign {
    type Answer = SignedCertificate;

    fn run(self, store: &Store, context: &Context<'_>) -> Result<SignedCertificate, CommandError> {
        let asked = requested(self.csr.as_bytes())?;
        let subject = match self.common_name {
            Some(common_name) => GenerateRequest { common_name, ..GenerateRequest::default() },
            None => GenerateRequest { sans: Vec::new(), ..asked.clone() },
        };
        let request = GenerateRequest {
            sans: if self.sans.is_empty() { asked.sans } else { self.sans },
            days: self.days.unwrap_or(365),
            usage: self.usage.unwrap_or(Usage { server: false, client: true }),
            ..subject
        };
        let ca = CaMaterial::from_bundle(&store.get(&self.ca)?.bundle)?;
        let signing = Signing { request: &request, not_after: None };
        let signed = sign(self.csr.as_bytes(), &signing, &ca, context.now)?;
        let facts = signed.bundle.facts().clone();
        Ok(SignedCertificate { ca: self.ca, facts, pem: signed.chain_pem })
    }
}

impl Request for Generate {
    type Answer = Made;

    fn run(self, store: &Store, context: &Context<'_>) -> Result<Made, CommandError> {
        check_description(self.description.as_ref())?;
        let meta = meta(self.description, Origin::Generated, context.now);
        if self.csr && self.issuer.is_some() {
            return Err(CommandError::IssuerOfRequest);
        }
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
                warnings: Vec::new(),
            });
        }
        // Before the key is made, which takes a while for RSA.
        check(&self.subject, context.now)?;
        if !matches!(store.describe(&self.name, context.now), Err(StoreError::NotFound { .. })) {
            crate::certs::store::check_name(&self.name)?;
            return Err(StoreError::State(StateError::Exists { name: self.name }).into());
        }
        let made_by = match &self.issuer {
            Some(issuer) => {
                ca_signed(&self.subject, &CaMaterial::from_bundle(&store.get(issuer)?.bundle)?, context.now)
            }
            None => self_signed(&self.subject, context.now),
        };
        let bundle = made_by?.bundle;
        let generation = store.create(&self.name, &bundle, &meta)?;
        Ok(made(self.name, generation, Standing::Active, None, &bundle, context))
    }
}

/// A certificate with its key from outside: a new one, in use at once, or the one that a request waits for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Import {
    /// Its name.
    #[serde(alias = "id")]
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
            let (generation, active, bundle) =
                store.complete(&self.name, self.certificate.bytes(), self.passphrase.as_ref(), &meta)?;
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
pub(crate) struct Stage {
    /// Its name, beside the body.
    #[serde(skip)]
    pub name: String,
    /// The origin of the generation.
    #[serde(flatten)]
    pub source: StageSource,
}

/// The origin of a staged generation.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum StageSource {
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
        /// Its content. `None`: that of the active one, with a new key, for as long.
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
                let (request, issuer) = match generate {
                    Some(request) => (request, None),
                    None => successor(store, &self.name)?,
                };
                let made = match issuer {
                    Some(issuer) => ca_signed(&request, &issuer, context.now),
                    None => self_signed(&request, context.now),
                };
                (made?.bundle, Origin::Generated)
            }
        };
        let staged = store.stage(&self.name, &bundle, &meta(None, origin, context.now))?;
        Ok(made(self.name, staged.generation, Standing::Staged, staged.replaced, &bundle, context))
    }
}

/// The content of the successor of an active generation, and the CA of the store that signs it, if one signed the active one.
fn successor(store: &Store, name: &str) -> Result<(GenerateRequest, Option<CaMaterial>), CommandError> {
    let active = store.get(name)?.bundle;
    if active.facts().self_signed {
        return Ok((GenerateRequest::like(&active)?, None));
    }
    let is_issuer = |ca: &Bundle| {
        let together = format!("{}{}", active.chain_pem(), ca.chain_pem());
        let key = active.key_pem();
        let both = Bundle::from_parts(together.as_bytes(), key.as_ref().map(|key| key.as_bytes()));
        ca.facts().subject == active.facts().issuer
            && ca.facts().is_ca
            && both.is_ok_and(|both| both.chain().contains(&ca.chain()[0]))
    };
    let certificates = store.list()?.certificates.into_iter().map(|certificate| certificate.bundle);
    let issuer = certificates.filter(|ca| ca.key().is_some()).find(is_issuer);
    let issuer = issuer.ok_or_else(|| CommandError::NoSuccessor {
        name: name.to_owned(),
        issuer: active.facts().issuer.clone(),
    })?;
    Ok((GenerateRequest::like(&active)?, Some(CaMaterial::from_bundle(&issuer)?)))
}

/// What the certificate cannot be used for, where it is used, and how it differs from what was brought.
fn warnings(bundle: &Bundle, id: &str, generation: u32, context: &Context<'_>) -> Vec<String> {
    let mut warnings: Vec<String> = bundle.notes().iter().map(ToString::to_string).collect();
    let found = |role| concerns(bundle.chain(), role, context.renew_before, context.now);
    let of_any_use = found(None);
    for concern in &of_any_use {
        warnings.push(format!("{id}, generation {generation}: {concern}; {}", concern.help()));
    }
    for place in (context.uses)(id) {
        for concern in found(Some(place.role)).iter().filter(|concern| !of_any_use.contains(concern)) {
            warnings
                .push(format!("{id}, generation {generation}, for {place}: {concern}; {}", concern.help()));
        }
    }
    if bundle.key().is_none() {
        warnings.push(
            "it has no private key: peers can be checked against it (`trust`), but it cannot be presented; to present \
             it, bring it with its key"
                .to_owned(),
        );
    }
    warnings
}

fn made(
    id: String,
    generation: u32,
    state: Standing,
    replaced: Option<u32>,
    bundle: &Bundle,
    context: &Context<'_>,
) -> Made {
    let warnings = warnings(bundle, &id, generation, context);
    Made {
        id,
        generation,
        state,
        subject: bundle.facts().subject.clone(),
        created: Timestamp::from(context.now),
        expires: Some(bundle.facts().not_after),
        replaced,
        pem: bundle.chain_pem(),
        warnings,
    }
}
