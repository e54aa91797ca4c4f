//! The requests of `ringate cert` as calls of the admin API: the answers are the same as of the store itself.

use hyper::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::admin::{Associate, Associated, Ended};
use crate::certs::command::{
    Activate, Activated, Delete, Describe, Export, Exported, Generate, Import, List, Made, Part, Request,
    Retire, Retired, Rollback, RolledBack, Show, Shown, Sign, SignedCertificate, Stage, StageSource,
};
use crate::certs::store::{Activation, check_name};
use crate::cli::client::Instance;
use crate::server::rotation;

/// A request that a running instance can do.
pub(super) trait Ask: Request {
    /// Has it done.
    ///
    /// # Errors
    /// It was not; in words.
    fn ask(self, instance: &Instance) -> Result<Self::Answer, String>;

    /// The command and the name, if it changes something: for the audit log.
    fn change(&self) -> Option<(&'static str, String)> {
        None
    }

    /// Whether a private key is in it.
    fn has_key(&self) -> bool {
        false
    }
}

const NOTHING: Option<&Value> = None;

/// The path of a certificate, whose name may be anything yet.
fn path(name: &str, call: &str) -> Result<String, String> {
    check_name(name).map_err(|error| error.to_string())?;
    Ok(format!("/v1/certificates/{name}{call}"))
}

fn post<T: DeserializeOwned>(instance: &Instance, path: &str, body: &impl Serialize) -> Result<T, String> {
    Ok(instance.call(Method::POST, path, Some(body))?)
}

impl Ask for List {
    fn ask(self, instance: &Instance) -> Result<Self::Answer, String> {
        Ok(instance.call(Method::GET, "/v1/certificates", NOTHING)?)
    }
}

impl Ask for Show {
    fn ask(self, instance: &Instance) -> Result<Shown, String> {
        Ok(instance.call(Method::GET, &path(&self.name, "")?, NOTHING)?)
    }
}

impl Ask for Export {
    fn ask(self, instance: &Instance) -> Result<Exported, String> {
        let part = match self.part {
            Part::Active => "active",
            Part::Staged => "staged",
            Part::Previous => "previous",
            Part::Request => "request",
        };
        let call = format!("/pem?part={part}&der={}", self.der);
        let content = instance.bytes(Method::GET, &path(&self.name, &call)?, NOTHING)?;
        Ok(Exported { name: self.name, part: self.part, content: content.to_vec().into() })
    }
}

impl Ask for Generate {
    fn change(&self) -> Option<(&'static str, String)> {
        Some(("generate", self.name.clone()))
    }

    fn ask(self, instance: &Instance) -> Result<Made, String> {
        post(instance, "/v1/certificates", &self)
    }
}

impl Ask for Sign {
    fn ask(self, instance: &Instance) -> Result<SignedCertificate, String> {
        post(instance, &path(&self.ca, "/sign")?, &self)
    }
}

impl Ask for Import {
    fn change(&self) -> Option<(&'static str, String)> {
        Some(("import", self.name.clone()))
    }

    fn ask(self, instance: &Instance) -> Result<Made, String> {
        post(instance, "/v1/certificates/import", &self)
    }

    fn has_key(&self) -> bool {
        true
    }
}

impl Ask for Describe {
    fn change(&self) -> Option<(&'static str, String)> {
        Some(("describe", self.name.clone()))
    }

    fn ask(self, instance: &Instance) -> Result<Shown, String> {
        Ok(instance.call(Method::PATCH, &path(&self.name, "")?, Some(&self))?)
    }
}

impl Ask for Delete {
    fn change(&self) -> Option<(&'static str, String)> {
        Some(("delete", self.name.clone()))
    }

    fn ask(self, instance: &Instance) -> Result<Self::Answer, String> {
        Ok(instance.call(Method::DELETE, &path(&self.name, "")?, NOTHING)?)
    }
}

impl Ask for Stage {
    fn change(&self) -> Option<(&'static str, String)> {
        Some(("stage", self.name.clone()))
    }

    fn ask(self, instance: &Instance) -> Result<Made, String> {
        post(instance, &path(&self.name, "/stage")?, &self)
    }

    fn has_key(&self) -> bool {
        matches!(self.source, StageSource::Import { .. })
    }
}

impl Ask for Activate {
    fn change(&self) -> Option<(&'static str, String)> {
        Some(("activate", self.name.clone()))
    }

    fn ask(self, instance: &Instance) -> Result<Activated, String> {
        let done: rotation::Activated = post(instance, &path(&self.name, "/activate")?, &self)?;
        let activation = Activation {
            active: number(done.generation),
            previous: done.previous.map(number),
            retired: done.retired.map(number),
        };
        Ok(Activated { name: self.name, activation, forced: done.forced, live: done.live })
    }
}

impl Ask for Rollback {
    fn change(&self) -> Option<(&'static str, String)> {
        Some(("rollback", self.name.clone()))
    }

    fn ask(self, instance: &Instance) -> Result<RolledBack, String> {
        let done: rotation::Activated = post(instance, &path(&self.name, "/rollback")?, &self)?;
        let rollback = crate::certs::Rollback {
            active: number(done.generation),
            replaced: done.previous.map(number),
            staged_again: done.staged_again,
        };
        Ok(RolledBack { name: self.name, rollback, live: done.live })
    }
}

impl Ask for Retire {
    fn change(&self) -> Option<(&'static str, String)> {
        Some(("retire", self.name.clone()))
    }

    fn ask(self, instance: &Instance) -> Result<Retired, String> {
        let done: Ended = post(instance, &path(&self.name, "/retire")?, &self)?;
        Ok(Retired { name: self.name, retired: number(done.retired) })
    }
}

/// Presents the staged generation to each backend that it would be presented to.
pub(super) fn trial(name: &str, instance: &Instance) -> Result<rotation::Trial, String> {
    let path = path(name, "/trial").map_err(|error| format!("error: {error}"))?;
    post(instance, &path, &Value::Object(serde_json::Map::new())).map_err(|error| format!("error: {error}"))
}

/// Has upstreams presented a certificate, or not any more.
pub(super) fn associate(
    name: &str,
    body: &Associate,
    remove: bool,
    dry_run: bool,
    instance: &Instance,
) -> Result<Associated, String> {
    let call = if remove { "dissociate" } else { "associate" };
    let path =
        path(name, &format!("/{call}?dry_run={dry_run}")).map_err(|error| format!("error: {error}"))?;
    post(instance, &path, body).map_err(|error| format!("error: {error}"))
}

/// A generation's number: those of the store have 32 bits.
fn number(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
