//! What ends this process or puts another one in its place, and how a service manager follows it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::audit::Entry;
use super::deployment::Deployment;
use super::service_manager::ServiceManager;
use super::upgrade::{AdminHandle, UpgradeError, Upgraded, Upgrader};

/// See the module.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    /// Notified when a drain is requested.
    pub(crate) drain: Notify,
    /// Notified when the admin server is to close its addresses.
    pub(crate) release: Notify,
    /// Changed when the admin server is to make sockets anew whose files have been removed.
    pub(crate) lost_sockets: watch::Sender<()>,
    /// The service manager.
    pub(crate) manager: ServiceManager,
    /// `None`: this process can't be started anew.
    upgrader: Option<Upgrader>,
    /// The process that has taken the place of this one; 0: none.
    successor: AtomicU32,
}

impl Lifecycle {
    /// Of a process that begins to serve.
    pub(crate) fn new(manager: ServiceManager, upgrader: Option<Upgrader>) -> Self {
        let (drain, release) = (Notify::new(), Notify::new());
        let (lost_sockets, successor) = (watch::Sender::new(()), AtomicU32::new(0));
        Self { drain, release, lost_sockets, manager, upgrader, successor }
    }

    /// The process that has taken the place of this one.
    pub(crate) fn successor(&self) -> Option<u32> {
        Some(self.successor.load(Ordering::Acquire)).filter(|pid| *pid != 0)
    }

    /// Has another process take the place of this one, which then drains. Blocks; logs what came of it. `by` is what requested it.
    ///
    /// # Errors
    /// See [`UpgradeError`]: this process serves on.
    pub(crate) fn upgrade(
        &self,
        deployment: &Deployment,
        patience: Duration,
        by: &str,
    ) -> Result<Upgraded, UpgradeError> {
        let result = self.try_upgrade(deployment, patience);
        if let Some(audit) = deployment.audit.as_ref().filter(|_| by == "SIGUSR2") {
            let mut entry = Entry::new(serde_json::json!({ "by": "signal" }), by, "process");
            match &result {
                Ok(upgraded) => entry.after = serde_json::json!({ "pid": upgraded.pid }),
                Err(error) => (entry.outcome, entry.reason) = ("refused", Some(error.to_string())),
            }
            drop(audit.note(entry));
        }
        match &result {
            Ok(upgraded) => tracing::info!(
                "upgraded ({by}): process {} serves after {} ms, this one finishes {} connections",
                upgraded.pid,
                upgraded.took_ms,
                upgraded.connections_open
            ),
            Err(error) => tracing::error!("upgrade ({by}) failed, this process serves on: {error}"),
        }
        result
    }

    fn try_upgrade(&self, deployment: &Deployment, patience: Duration) -> Result<Upgraded, UpgradeError> {
        let upgrader = self.upgrader.as_ref().ok_or(UpgradeError::Unsupported)?;
        if self.successor().is_some() {
            return Err(UpgradeError::Draining);
        }
        self.manager.reloading("upgrading: the new process starts");
        let upgraded = upgrader.run(deployment, patience, |pid| {
            self.successor.store(pid, Ordering::Release);
            self.manager.main_process(pid);
        });
        match &upgraded {
            Ok(_) => {
                self.release.notify_one();
                self.drain.notify_one();
            }
            Err(UpgradeError::UnderWay) => {}
            Err(error) => self.manager.ready(&format!("serving; the last upgrade failed: {error}")),
        }
        upgraded
    }

    /// The admin server has made this socket anew: a successor gets it instead of the one before.
    pub(crate) fn renew_admin(&self, handle: AdminHandle) {
        if let Some(upgrader) = &self.upgrader {
            upgrader.renew_admin(handle);
        }
    }

    /// The admin server closes its addresses: a process that is started anew binds them while this one drains.
    pub(crate) fn release_admin(&self) {
        self.upgrader.iter().for_each(Upgrader::forget_admin);
        self.release.notify_one();
    }
}
