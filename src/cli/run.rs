//! `ringate run`

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use super::{Loaded, load, logging, render};
use crate::admin;
use crate::config::plan::Plan;
use crate::server::supervisor::DRAIN_POLL;
use crate::server::{Server, StartError, machine};

pub(super) fn run(path: &Path) -> Result<(), String> {
    let loaded = load(path)?;
    logging::init(&loaded.plan.log);
    for warning in loaded.problems.iter() {
        tracing::warn!("{}:{}: {}", path.display(), warning.line, warning.message);
    }
    let control = Control::new()?;
    let (server, plan) = start(loaded)?;
    banner(&server, &plan);
    control.run(server, &plan, std::future::pending::<()>())
}

/// Starts what was loaded. An address that can't be bound is shown in the config file.
pub(super) fn start(loaded: Loaded) -> Result<(Server, Plan), String> {
    let Loaded { plan, assembly, mut problems } = loaded;
    let descriptors = machine::raise_descriptor_limit();
    tracing::debug!("file-descriptor limit: {descriptors}");
    match Server::start(&plan, assembly) {
        Ok(server) => Ok((server, plan)),
        Err(error) => {
            let StartError::Listen { listener, address, .. } = &error else {
                return Err(format!("error: {error}"));
            };
            let at = &plan.listeners[*listener].addresses[*address];
            let help =
                "choose another address, or stop the process that holds this one (`ss -ltnp` shows it)";
            problems.error(at.span.clone(), format!("{}: {error}", at.value), Some(help.to_owned()));
            Err(render(&problems))
        }
    }
}

/// What started, in a few lines.
pub(super) fn banner(server: &Server, plan: &Plan) {
    let version = env!("CARGO_PKG_VERSION");
    let driver = server.backend.name();
    tracing::info!(
        "ringate {version} started: {} workers on CPUs {:?}, {driver}",
        server.cpus.len(),
        server.cpus
    );
    for ((name, addresses), listener) in server.bound.iter().zip(&plan.listeners) {
        let tls = if listener.tls.is_some() { " over TLS" } else { "" };
        let protocol = match listener.protocol {
            crate::config::plan::Protocol::Http => "http",
            crate::config::plan::Protocol::Tcp => "tcp",
        };
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        tracing::info!("listener {name}: {protocol}{tls} on {}", addresses.join(", "));
    }
}

/// The control thread: signals and the admin server.
pub(super) struct Control {
    runtime: tokio::runtime::Runtime,
    signals: Signals,
}

impl Control {
    /// From here on signals are heard: make it before anything is said to have started.
    pub(super) fn new() -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("control thread: {error}"))?;
        let signals = {
            let _within = runtime.enter();
            Signals::new().map_err(|error| format!("signals: {error}"))?
        };
        Ok(Self { runtime, signals })
    }

    /// Runs until the drain's end. `until` asks for a drain too.
    pub(super) fn run(self, server: Server, plan: &Plan, until: impl Future) -> Result<(), String> {
        let Self { runtime, mut signals } = self;
        runtime.block_on(async {
            let server = Arc::new(server);
            let asked = Arc::new(Notify::new());
            if let Some(settings) = &plan.admin {
                let admin = admin::bind(settings, Arc::clone(&server), Arc::clone(&asked)).await;
                let admin = admin.map_err(|error| format!("error: admin: {error}"))?;
                tokio::spawn(admin.serve());
            }
            tokio::spawn(reopen_on(signals.reopen.take(), Arc::clone(&server)));
            tokio::select! {
                () = signals.next() => {}
                () = asked.notified() => {}
                _ = until => {}
            }
            tracing::info!("draining: {} connections open", open_connections(&server));
            drain(&server, plan.runtime.drain, signals).await
        })
    }
}

/// Ends when all workers have, when the time is over, or at a second signal.
async fn drain(server: &Server, patience: Duration, mut signals: Signals) -> Result<(), String> {
    server.begin_drain();
    let deadline = Instant::now() + patience;
    while server.workers_left() > 0 {
        if Instant::now() >= deadline {
            tracing::warn!("drain is over: {} connections cut", open_connections(server));
            server.finish();
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(DRAIN_POLL) => {}
            () = signals.next() => {
                server.finish();
                return Err(format!("stopped at once: {} connections cut", open_connections(server)));
            }
        }
    }
    server.finish();
    tracing::info!("drained");
    Ok(())
}

fn open_connections(server: &Server) -> u64 {
    server.counters.iter().map(|counters| counters.connections_open.get()).sum()
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
    /// Until it is handed to who listens for it.
    reopen: Option<Signal>,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reopen: Some(signal(SignalKind::user_defined1())?),
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
