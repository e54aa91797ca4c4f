//! From staged to active, and back.

use serde::Deserialize;

use super::{Activated, CommandError, Context, Request, Role, RolledBack, Use};
use crate::certs::store::Store;

/// Makes the staged generation the active one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Activate {
    /// The certificate's name.
    #[serde(default)]
    pub name: String,
    /// The generation that is meant. None: whichever is staged.
    pub generation: Option<u32>,
    /// Without a trial that it passed.
    #[serde(default)]
    pub force: bool,
}

impl Request for Activate {
    type Answer = Activated;

    /// What no backend is shown needs no trial.
    fn run(self, store: &Store, context: &Context<'_>) -> Result<Activated, CommandError> {
        let Self { name, mut generation, force } = self;
        let mut used_by: Vec<Use> = (context.uses)(&name);
        used_by.retain(|place| place.role == Role::Client);
        if !force && !used_by.is_empty() {
            let known = store.describe(&name, context.now)?;
            // From here on that one is meant, whatever is staged meanwhile.
            generation = generation.or(known.staged);
            let trial = known.trial.filter(|trial| Some(trial.generation) == generation);
            if let Some(generation) = generation
                && !trial.is_some_and(|trial| trial.passed)
            {
                return Err(CommandError::TrialNeeded { name, generation, failed: trial.is_some(), used_by });
            }
        }
        let activation = store.activate(&name, generation, context.now)?;
        Ok(Activated { name, activation })
    }
}

/// Makes the previous generation the active one again.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// The certificate's name.
    #[serde(default)]
    pub name: String,
}

impl Request for Rollback {
    type Answer = RolledBack;

    fn run(self, store: &Store, context: &Context<'_>) -> Result<RolledBack, CommandError> {
        let rollback = store.rollback(&self.name, context.now)?;
        Ok(RolledBack { name: self.name, rollback })
    }
}
