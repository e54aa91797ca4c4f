//! From staged to active, and back; and the end of what was.

use serde::{Deserialize, Serialize};

use super::{Activated, CommandError, Context, Request, Retired, Role, RolledBack, Use};
use crate::certs::store::{StateError, Store, StoreError};

/// Makes the staged generation the active one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Activate {
    /// The certificate's name, beside the body.
    #[serde(skip)]
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
        let mut forced = false;
        if !used_by.is_empty() {
            let known = store.describe(&name, context.now)?;
            // From here on that one is meant, whatever is staged meanwhile.
            generation = generation.or(known.staged);
            let trial = known.trial.filter(|trial| Some(trial.generation) == generation);
            if let Some(generation) = generation
                && !trial.is_some_and(|trial| trial.passed)
            {
                if !force {
                    return Err(CommandError::TrialNeeded {
                        name,
                        generation,
                        failed: trial.is_some(),
                        used_by,
                    });
                }
                forced = true;
            }
        }
        let activation = store.activate(&name, generation, context.now)?;
        Ok(Activated { name, activation, forced, live: false })
    }
}

/// Makes the previous generation the active one again.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rollback {
    /// The certificate's name, beside the body.
    #[serde(skip)]
    pub name: String,
}

impl Request for Rollback {
    type Answer = RolledBack;

    fn run(self, store: &Store, context: &Context<'_>) -> Result<RolledBack, CommandError> {
        let rollback = store.rollback(&self.name, context.now)?;
        Ok(RolledBack { name: self.name, rollback, live: false })
    }
}

/// Ends the previous generation: its key is deleted for good.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retire {
    /// The certificate's name, beside the body.
    #[serde(skip)]
    pub name: String,
    /// Although it is still needed. Only a running instance knows whether it is.
    #[serde(default)]
    pub force: bool,
}

impl Request for Retire {
    type Answer = Retired;

    fn run(self, store: &Store, context: &Context<'_>) -> Result<Retired, CommandError> {
        let Some(number) = store.describe(&self.name, context.now)?.previous else {
            return Err(StoreError::State(StateError::NothingToRetire { name: self.name }).into());
        };
        store.retire(&self.name, number)?;
        Ok(Retired { name: self.name, retired: number })
    }
}
