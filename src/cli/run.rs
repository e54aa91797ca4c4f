//! `ringate run`

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use super::{explain, load, logging};
use crate::admin;
use crate::base::sample;
use crate::io::{descriptors, fault, vital};
use crate::server::discovery::watch;
use crate::server::heartbeat::{BEAT, Watch};
use crate::server::supervisor::DRAIN_POLL;
use crate::server::{Deployment, Loaded, Server, health, machine, renewal, verification};

pub(super) fn run(path: &Path) -> Result<(), String> {
    logging::start()?;
    let loaded = load(path)?;
    logging::init(&loaded.plan.log)?;
    for warning in loaded.problems.iter() {
        tracing::warn!("{}:{}: {}", path.display(), warning.line, warning.message);
    }
    let mut control = Control::new()?;
    let deployment = control.start(path, loaded)?;
    banner(&deployment);
    control.run(deployment, std::future::pending::<()>())
}

/// What started, in a few lines.
pub(super) fn banner(deployment: &Deployment) {
    let server = &deployment.server;
    let version = env!("CARGO_PKG_VERSION");
    let driver = server.backend.name();
    tracing::info!(
        "ringate {version} started: {} workers on CPUs {:?}, {driver}",
        server.cpus.len(),
        server.cpus
    );
    for (listener, planned) in server.snapshot.load().listeners.iter().zip(&deployment.plan().listeners) {
        let tls = if listener.tls.is_some() { " over TLS" } else { "" };
        let protocol = planned.protocol.word();
        let addresses: Vec<String> = listener.addresses.iter().map(ToString::to_string).collect();
        tracing::info!("listener {}: {protocol}{tls} on {}", listener.name, addresses.join(", "));
    }
}

/// The control thread: signals and the admin server.
pub(super) struct Control {
    runtime: tokio::runtime::Runtime,
    signals: Signals,
    admin: Option<admin::AdminSockets>,
}

impl Control {
    /// From here on signals are caught: make it before a start is reported.
    pub(super) fn new() -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("control thread: {error}"))?;
        let signals = {
            let _within = runtime.enter();
            Signals::new().map_err(|error| format!("signals: {error}"))?
        };
        Ok(Self { runtime, signals, admin: None })
    }

    /// Binds the admin address and starts what was loaded.
    pub(super) fn start(&mut self, path: &Path, loaded: Loaded) -> Result<Deployment, String> {
        let limit = machine::raise_descriptor_limit();
        tracing::debug!("file-descriptor limit: {limit}");
        if let Some(settings) = &loaded.plan.admin {
            let bound = self.runtime.block_on(admin::bind(settings));
            self.admin = Some(bound.map_err(|error| format!("error: admin: {error}"))?);
        }
        let deployment = Deployment::start(path, loaded).map_err(|error| explain(&error))?;
        descriptors::divide(limit);
        Ok(deployment)
    }

    /// Runs until the drain's end. `until` requests a drain too.
    pub(super) fn run(self, deployment: Deployment, until: impl Future) -> Result<(), String> {
        let Self { runtime, signals, admin } = self;
        let result = runtime.block_on(serve(Arc::new(deployment), signals, admin, until));
        // A reload that waits for a name server must not hold up the end.
        runtime.shutdown_background();
        result
    }
}

async fn serve(
    deployment: Arc<Deployment>,
    mut signals: Signals,
    admin: Option<admin::AdminSockets>,
    until: impl Future,
) -> Result<(), String> {
    let watched = Arc::downgrade(&deployment);
    let renewal = std::thread::Builder::new().name("renewal".to_owned());
    let run = move || vital::guard("the renewal thread", || renewal::run(&watched));
    renewal.spawn(run).map_err(|error| format!("renewal thread: {error}"))?;
    let watched = Arc::downgrade(&deployment);
    let discovery = std::thread::Builder::new().name("discovery".to_owned());
    let run = move || vital::guard("the discovery thread", || watch::run(&watched));
    discovery.spawn(run).map_err(|error| format!("discovery thread: {error}"))?;
    let checked = Arc::downgrade(&deployment);
    let run = move || vital::guard("the health checks", || health::run(&checked));
    let checks = std::thread::Builder::new().name("health".to_owned());
    checks.spawn(run).map_err(|error| format!("thread of the health checks: {error}"))?;
    let watched = Arc::downgrade(&deployment);
    let run = move || vital::guard("the verification of backends", || verification::run(&watched));
    let verifies = std::thread::Builder::new().name("verification".to_owned());
    verifies.spawn(run).map_err(|error| format!("thread of the verification: {error}"))?;
    let asked = Arc::new(Notify::new());
    if let Some(admin) = admin {
        let serving = admin.serve(admin::Control::new(Arc::clone(&deployment), Arc::clone(&asked)));
        tokio::spawn(vital::task("the admin server", serving));
    }
    let reopening = reopen_on(signals.reopen.take(), Arc::clone(&deployment.server));
    tokio::spawn(vital::task("the access log's signal", reopening));
    let (mut watch, mut turns) = (Watch::default(), tokio::time::interval(BEAT));
    let mut until = pin!(until);
    loop {
        tokio::select! {
            asked = signals.next() => match asked {
                Asked::End => break,
                Asked::Reload => {
                    let deployment = Arc::clone(&deployment);
                    tokio::task::spawn_blocking(move || admin::reload(&deployment, "SIGHUP").map(drop));
                }
            },
            () = asked.notified() => break,
            _ = turns.tick() => {
                fault::point("control");
                watch.compare(deployment.server.stuck());
                sample::report();
            }
            _ = &mut until => break,
        }
    }
    let server = &deployment.server;
    tracing::info!("draining: {} connections open", server.connections_open());
    deployment.events.close();
    drain(server, deployment.plan().runtime.drain, signals).await
}

/// How long after the drain's begin a further signal is taken for the same one: some supervisors send two at once.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// Ends when all workers have, when the time is over, or at a second signal.
async fn drain(server: &Server, patience: Duration, mut signals: Signals) -> Result<(), String> {
    server.begin_drain();
    let begun = Instant::now();
    let deadline = begun + patience;
    while server.workers_left() > 0 {
        if Instant::now() >= deadline {
            tracing::warn!("drain is over: {} connections cut", server.connections_open());
            server.finish();
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(DRAIN_POLL) => {}
            () = signals.end() => {
                if begun.elapsed() < SAME_SIGNAL {
                    continue;
                }
                server.finish();
                return Err(format!("stopped at once: {} connections cut", server.connections_open()));
            }
        }
    }
    server.finish();
    tracing::info!("drained");
    Ok(())
}

/// The action that a signal requests.
enum Asked {
    End,
    Reload,
}

/// SIGUSR1: the access log was moved away.
async fn reopen_on(signal: Option<Signal>, server: Arc<Server>) {
    let Some(mut signal) = signal else { return };
    while signal.recv().await.is_some() {
        server.reopen_access_log();
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Kept until the listening task takes it.
    reopen: Option<Signal>,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reopen: Some(signal(SignalKind::user_defined1())?),
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::End,
            _ = self.interrupt.recv() => Asked::End,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }

    /// Waits for a signal that ends the process.
    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
