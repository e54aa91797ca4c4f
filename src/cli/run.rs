//! `ringate run`

use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{explain, logging};
use crate::admin;
use crate::base::limits::UPGRADE_PATIENCE;
use crate::base::sample;
use crate::io::{descriptors, fault, vital};
use crate::server::build::heritage::Heritage;
use crate::server::confine::Confinement;
use crate::server::discovery::watch;
use crate::server::heartbeat::{BEAT, Watch};
use crate::server::inherited::Inherited;
use crate::server::lifecycle::Lifecycle;
use crate::server::portal::office;
use crate::server::service_manager::ServiceManager;
use crate::server::supervisor::DRAIN_POLL;
use crate::server::upgrade::{Predecessor, Program, Upgrader};
use crate::server::{
    Deployment, Loaded, Server, auth, health, load, machine, renewal, stapling, verification,
};

pub(super) fn run(path: &Path) -> Result<(), String> {
    logging::start()?;
    let program = Program::of_this_process();
    let predecessor = Predecessor::find()?;
    let (control, deployment) = match begin(path, program, predecessor.as_ref()) {
        Ok(started) => started,
        Err(reason) => {
            predecessor.iter().for_each(|predecessor| predecessor.failed(&reason));
            return Err(reason);
        }
    };
    banner(&deployment);
    if let Some(predecessor) = predecessor {
        predecessor.serving();
    }
    control.run(deployment, std::future::pending::<()>())
}

/// Starts what the config file has, with what the predecessor hands over.
fn begin(
    path: &Path,
    program: Program,
    predecessor: Option<&Predecessor>,
) -> Result<(Control, Deployment), String> {
    let (inherited, heritage) = match predecessor {
        Some(predecessor) => predecessor.receive()?,
        None => (Inherited::of_service_manager(), Heritage::default()),
    };
    let loaded = load::load_after(path, &heritage).map_err(|error| explain(&error))?;
    logging::init(&loaded.plan.log)?;
    for warning in loaded.problems.iter() {
        tracing::warn!("{}:{}: {}", warning.file, warning.line, warning.message);
    }
    let sources = load::read(path).map_err(|error| explain(&error))?;
    let confinement = Confinement::of(&loaded.plan, &sources).map_err(|error| format!("error: {error}"))?;
    // Threads that are started from here on are confined with this one.
    confinement.restrict_files().map_err(|error| format!("error: {error}"))?;
    let mut control = Control::new()?;
    control.manager = ServiceManager::find(predecessor.is_some(), inherited.names());
    control.program = Some(program.confined(confinement.mark()));
    let gate = |unused: &[usize]| {
        confinement.restrict_all()?;
        predecessor.map_or(Ok(()), |predecessor| predecessor.ready(unused))
    };
    let deployment = control.start_with(path, loaded, inherited, gate)?;
    Ok((control, deployment))
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
    manager: ServiceManager,
    /// How this process was started; `None`: it can't be started so again.
    program: Option<Program>,
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
        Ok(Self { runtime, signals, admin: None, manager: ServiceManager::default(), program: None })
    }

    /// Binds the admin address and starts what was loaded.
    pub(super) fn start(&mut self, path: &Path, loaded: Loaded) -> Result<Deployment, String> {
        self.start_with(path, loaded, Inherited::default(), |_| Ok(()))
    }

    /// The same with sockets that another process has bound; see [`Server::start_with`] for `gate`.
    fn start_with(
        &mut self,
        path: &Path,
        loaded: Loaded,
        inherited: Inherited,
        gate: impl FnOnce(&[usize]) -> Result<(), String>,
    ) -> Result<Deployment, String> {
        let limit = machine::raise_descriptor_limit();
        tracing::debug!("file-descriptor limit: {limit}");
        if let Some(settings) = &loaded.plan.admin {
            let bound = self.runtime.block_on(admin::bind(settings, &inherited));
            self.admin = Some(bound.map_err(|error| format!("error: admin: {error}"))?);
        }
        let deployment = Deployment::start(path, loaded, inherited, gate).map_err(|error| explain(&error))?;
        descriptors::divide(limit);
        Ok(deployment)
    }

    /// Runs until the drain's end. `until` requests a drain too.
    pub(super) fn run(self, deployment: Deployment, until: impl Future) -> Result<(), String> {
        let Self { runtime, signals, admin, manager, program } = self;
        let handles = admin.as_ref().map_or(Ok(Vec::new()), admin::AdminSockets::handles);
        let handles = handles.map_err(|error| format!("error: admin: {error}"))?;
        let upgrader = program.map(|program| Upgrader::new(program, handles));
        let lifecycle = Arc::new(Lifecycle::new(manager, upgrader));
        let result = runtime.block_on(serve(Arc::new(deployment), lifecycle, signals, admin, until));
        // A reload that waits for a name server must not hold up the end.
        runtime.shutdown_background();
        result
    }
}

/// Starts the threads that work beside the workers.
fn start_threads(deployment: &Arc<Deployment>) -> Result<(), String> {
    let spawn = |name: &str, what: &'static str, work: fn(&Weak<Deployment>)| {
        let watched = Arc::downgrade(deployment);
        let run = move || vital::guard(what, || work(&watched));
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
        thread.map(drop).map_err(|error| format!("{what}: {error}"))
    };
    spawn("renewal", "the renewal thread", renewal::run)?;
    spawn("discovery", "the discovery thread", watch::run)?;
    spawn("auth", "the watch of users, keys and maps", auth::watch::run)?;
    spawn("stapling", "the thread of OCSP responses", stapling::run)?;
    spawn("health", "the health checks", health::run)?;
    spawn("verification", "the verification of backends", verification::run)?;
    spawn("portal", "the forms of pages for consumers", office::run)
}

async fn serve(
    deployment: Arc<Deployment>,
    lifecycle: Arc<Lifecycle>,
    mut signals: Signals,
    admin: Option<admin::AdminSockets>,
    until: impl Future,
) -> Result<(), String> {
    start_threads(&deployment)?;
    if let Some(admin) = admin {
        let control = admin::Control::new(Arc::clone(&deployment), Arc::clone(&lifecycle));
        let lifecycle = Arc::clone(&lifecycle);
        let serving = async move {
            tokio::select! {
                () = admin.serve(control) => {}
                () = lifecycle.release.notified() => {}
            }
        };
        tokio::spawn(vital::task("the admin server", serving));
    }
    let reopening = reopen_on(signals.reopen.take(), Arc::clone(&deployment.server));
    tokio::spawn(vital::task("the access log's signal", reopening));
    let server = &deployment.server;
    let mut kept = None;
    let (mut watch, mut turns) = (Watch::default(), tokio::time::interval(BEAT));
    let mut until = pin!(until);
    loop {
        tokio::select! {
            asked = signals.next() => match asked {
                Asked::End => break,
                Asked::Reload => reload(&deployment, &lifecycle),
                Asked::Upgrade => upgrade(&deployment, &lifecycle),
            },
            () = lifecycle.drain.notified() => break,
            _ = turns.tick() => {
                fault::point("control");
                let stuck = server.stuck();
                if stuck.is_empty() {
                    lifecycle.manager.alive();
                }
                watch.compare(stuck);
                sample::report();
                let version = server.snapshot.load().version;
                if kept != Some(version) && lifecycle.successor().is_none() {
                    if lifecycle.manager.keep(&server.handles()) {
                        server.leave_files();
                    }
                    if kept.is_none() {
                        lifecycle.manager.ready(&summary(&deployment));
                    }
                    kept = Some(version);
                }
            }
            _ = &mut until => break,
        }
    }
    match lifecycle.successor() {
        Some(pid) => {
            tracing::info!("draining for process {pid}: {} connections open", server.connections_open());
        }
        None => {
            tracing::info!("draining: {} connections open", server.connections_open());
            lifecycle.manager.stopping(&format!("draining: {} connections open", server.connections_open()));
        }
    }
    deployment.events.close();
    let result = drain(server, &lifecycle, deployment.plan().runtime.drain, signals).await;
    if lifecycle.successor().is_some() {
        // The client that has requested the upgrade reads its answer.
        tokio::time::sleep(LAST_ANSWER).await;
    }
    result
}

/// What runs, for the service manager.
fn summary(deployment: &Deployment) -> String {
    let (server, current) = (&deployment.server, deployment.current());
    format!(
        "serving {} listeners with {} workers ({}), config version {}",
        current.running.listeners.len(),
        server.cpus.len(),
        server.backend.name(),
        current.running.version
    )
}

/// SIGHUP.
fn reload(deployment: &Arc<Deployment>, lifecycle: &Arc<Lifecycle>) {
    // Whatever becomes of the config: without them no command is answered.
    lifecycle.lost_sockets.send_replace(());
    let (deployment, lifecycle) = (Arc::clone(deployment), Arc::clone(lifecycle));
    tokio::task::spawn_blocking(move || {
        lifecycle.manager.reloading("reloading the config");
        let refused = !admin::reload_by_signal(&deployment);
        let suffix = if refused { "; the last reload was refused: see the log" } else { "" };
        lifecycle.manager.ready(&format!("{}{suffix}", summary(&deployment)));
    });
}

/// SIGUSR2.
fn upgrade(deployment: &Arc<Deployment>, lifecycle: &Arc<Lifecycle>) {
    let (deployment, lifecycle) = (Arc::clone(deployment), Arc::clone(lifecycle));
    // What came of it is in the log.
    tokio::task::spawn_blocking(move || {
        lifecycle.upgrade(&deployment, UPGRADE_PATIENCE, "SIGUSR2").map(drop)
    });
}

/// How long a process that another one has replaced lives on after its drain.
const LAST_ANSWER: Duration = Duration::from_millis(100);

/// How long after the drain's begin a further signal is taken for the same one: some supervisors send two at once.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// Ends when all workers have, when the time is over, or at a second signal.
async fn drain(
    server: &Server,
    lifecycle: &Lifecycle,
    patience: Duration,
    mut signals: Signals,
) -> Result<(), String> {
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
            () = tokio::time::sleep(DRAIN_POLL) => lifecycle.manager.alive(),
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
    Upgrade,
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
    upgrade: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reopen: Some(signal(SignalKind::user_defined1())?),
            hangup: signal(SignalKind::hangup())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::End,
            _ = self.interrupt.recv() => Asked::End,
            _ = self.hangup.recv() => Asked::Reload,
            _ = self.upgrade.recv() => Asked::Upgrade,
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
