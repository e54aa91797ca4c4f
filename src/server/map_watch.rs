//! Files of maps, read again when they change. What can't be read leaves what is in force.

use std::collections::HashMap;
use std::path::Path;

use super::Deployment;
use super::build::maps::{MadeMap, read};
use super::file_watch::FileWatch;

/// The files that were seen, by the names of their maps.
#[derive(Debug, Default)]
pub(crate) struct MapWatch(HashMap<String, Seen>);

#[derive(Debug, Default)]
struct Seen {
    file: FileWatch,
    fault: Option<String>,
}

impl MapWatch {
    /// Looks at each file of the config that runs.
    pub(crate) fn look(&mut self, deployment: &Deployment) {
        let current = deployment.current();
        self.0.retain(|name, _| current.made.maps().any(|(_, made)| made.plan.name.value == *name));
        for (path, made) in current.made.maps() {
            self.0.entry(made.plan.name.value.clone()).or_default().look(path, made);
        }
    }
}

impl Seen {
    fn look(&mut self, path: &Path, made: &MadeMap) {
        if !self.file.settled(path) {
            return;
        }
        let name = &made.plan.name.value;
        match read(&made.plan) {
            Ok(table) => {
                if made.table.with(|current| *current != table) {
                    tracing::info!("map {name}: {}: {} entries are in force", path.display(), table.len());
                    made.table.store(table.into());
                } else if self.fault.is_some() {
                    tracing::info!("map {name}: the file is in order again");
                }
                self.fault = None;
            }
            Err(why) => {
                if self.fault.as_ref() != Some(&why) {
                    tracing::warn!("map {name}: the entries in force stay, correct the file: {why}");
                }
                self.fault = Some(why);
            }
        }
    }
}
