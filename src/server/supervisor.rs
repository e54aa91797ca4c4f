//! Starts the workers, and ends them.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::heartbeat::{Heartbeat, STUCK, Stuck};
use super::inherited::Inherited;
use super::machine;
use super::roll::{Roll, Seat};
use super::sockets::{Passable, Prepared, Sockets};
use super::telemetry::{Export, Exporter};
use super::worker::{WorkerCommand, WorkerThread};
use crate::base::counters::Counters;
use crate::base::published::Published;
use crate::base::tally::Tally;
use crate::config::plan::{AccessLog, Plan};
use crate::io::runtime::{self, Driver};
use crate::io::{notify, vital};
use crate::proxy::access;
use crate::proxy::snapshot::RuntimeConfig;
use crate::proxy::trace;

/// Why nothing was started.
#[derive(Debug)]
pub enum StartError {
    /// An address can't be listened on.
    Listen {
        /// Its listener's index.
        listener: usize,
        /// Its index in the listener's addresses.
        address: usize,
        /// The system's reason.
        error: io::Error,
    },
    /// Something else, in words.
    Other(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { error, .. } if error.kind() == io::ErrorKind::AddrInUse => {
                f.write_str("the address is in use by another process")
            }
            Self::Listen { error, .. } => write!(f, "the address can't be listened on: {error}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// Workers that run.
#[derive(Debug)]
pub struct Server {
    /// What they are driven by.
    pub backend: Driver,
    /// Their CPUs.
    pub cpus: Vec<usize>,
    /// A worker's counters each.
    pub counters: Vec<Arc<Counters>>,
    /// What they serve.
    pub snapshot: Published<RuntimeConfig>,
    /// When they started.
    pub started: Instant,
    /// Whether they accept connections.
    pub ready: AtomicBool,
    /// Another process has the place of this one.
    replaced: AtomicBool,
    workers: Vec<Handle>,
    sockets: Mutex<Sockets>,
    running: Arc<AtomicUsize>,
    access: Vec<access::Writer>,
    /// The way of traces to their collector, if there is one.
    pub(crate) traces: Option<Export>,
}

#[derive(Debug)]
struct Handle {
    orders: Sender<WorkerCommand>,
    applied: Arc<AtomicU64>,
    heartbeat: Arc<Heartbeat>,
    notifier: notify::Notifier,
}

impl Server {
    /// Binds every address and starts the workers.
    ///
    /// # Errors
    /// See [`StartError`]; then nothing runs.
    pub fn start(plan: &Plan, running: RuntimeConfig) -> Result<Self, StartError> {
        Self::start_with(plan, running, Inherited::default(), |_| Ok(()))
    }

    /// The same with sockets that another process has bound. `gate` is called when all is ready and nothing is served yet, with the
    /// positions of those that no listener uses: if it fails, nothing will be.
    ///
    /// # Errors
    /// See [`StartError`]; then nothing runs.
    pub(crate) fn start_with(
        plan: &Plan,
        mut running: RuntimeConfig,
        inherited: Inherited,
        gate: impl FnOnce(&[usize]) -> Result<(), String>,
    ) -> Result<Self, StartError> {
        runtime::restrict_rings(plan.process.restrict_rings);
        let cpus = machine::place_workers(&plan.runtime).map_err(StartError::Other)?;
        let mut log = access_log(plan)?;
        let tls = running.collector_tls.clone();
        let mut exporter = plan.otlp.clone().map(|settings| Exporter::new(settings, tls));
        let mut sockets = Sockets::inheriting(inherited);
        let prepared = sockets.prepare(plan, &cpus)?;
        running.version = 1;
        prepared.describe(&mut running);
        let mut fresh = sockets.adopt(prepared);
        let snapshot = Published::new(running);
        let running = Arc::new(AtomicUsize::new(cpus.len()));
        let tally = Arc::new(Tally::default());
        let mut counters = Vec::new();
        let mut workers = Vec::new();
        let mut roll = Roll::default();
        for (index, &cpu) in cpus.iter().enumerate() {
            let own = Arc::new(Counters::default());
            let (orders, inbox) = channel();
            let (notifier, receiver) =
                notify::pair().map_err(|error| StartError::Other(error.to_string()))?;
            let applied = Arc::new(AtomicU64::new(0));
            let heartbeat = Arc::new(Heartbeat::new());
            let worker = WorkerThread {
                number: index,
                cpu,
                splice: plan.runtime.splice,
                sockets: std::mem::take(&mut fresh[index]),
                applied: Arc::clone(&applied),
                heartbeat: Arc::clone(&heartbeat),
                snapshot: snapshot.clone(),
                traces: traces_of(exporter.as_mut(), &own)?,
                access: log.as_mut().map(|log| log.seed(Arc::clone(&own))),
                counters: Arc::clone(&own),
                tally: Arc::clone(&tally),
                ids: random()?,
                orders: inbox,
                receiver,
            };
            spawn(index, worker, roll.seat(), &running)?;
            counters.push(own);
            workers.push(Handle { orders, applied, heartbeat, notifier });
        }
        let backend = roll.call(plan.runtime.driver).map_err(StartError::Other)?;
        let access = log.map(access::Logs::start).transpose();
        let access = access.map_err(|error| StartError::Other(format!("access log: {error}")))?;
        let access = access.unwrap_or_default();
        let traces = exporter.map(Exporter::start).transpose();
        let traces = traces.map_err(|error| StartError::Other(format!("traces: {error}")))?;
        gate(sockets.unused()).map_err(StartError::Other)?;
        roll.go();
        Ok(Self {
            backend,
            cpus,
            counters,
            snapshot,
            started: Instant::now(),
            ready: AtomicBool::new(true),
            replaced: AtomicBool::new(false),
            workers,
            sockets: Mutex::new(sockets),
            running,
            access,
            traces,
        })
    }

    /// The sum of every worker's counters, by name.
    pub fn totals(&self) -> Vec<(&'static str, u64)> {
        let mut totals: Vec<(&'static str, u64)> = Vec::new();
        for counters in &self.counters {
            for (index, (name, value)) in counters.read().into_iter().enumerate() {
                match totals.get_mut(index) {
                    Some(total) => total.1 += value,
                    None => totals.push((name, value)),
                }
            }
        }
        totals
    }

    /// Binds the addresses of a plan that are not bound yet. No worker accepts on them before the plan is published.
    ///
    /// # Errors
    /// [`StartError::Listen`]: an address can't be listened on; then nothing has changed.
    pub fn prepare(&self, plan: &Plan) -> Result<Prepared, StartError> {
        self.sockets().prepare(plan, &self.cpus)
    }

    /// Why addresses of a plan that are not bound yet can't be bound. Nothing is.
    pub fn try_addresses(&self, plan: &Plan) -> Vec<StartError> {
        let sockets = self.sockets().clone();
        sockets.try_addresses(plan)
    }

    /// Publishes a snapshot with one atomic store, after which every new exchange is served from it, and notifies the workers.
    /// Returns its version. Not to be called twice at once.
    pub fn publish(&self, prepared: Prepared, mut running: RuntimeConfig) -> u64 {
        running.version = self.snapshot.load().version + 1;
        let version = running.version;
        prepared.describe(&mut running);
        let fresh = self.sockets().adopt(prepared);
        self.snapshot.store(Arc::new(running));
        for (worker, sockets) in self.workers.iter().zip(fresh) {
            let _ = worker.orders.send(WorkerCommand::Apply(sockets));
            worker.notifier.notify();
        }
        version
    }

    /// Whether every worker serves the snapshot of this version, or a later one.
    pub fn has_applied(&self, version: u64) -> bool {
        self.workers.iter().all(|worker| worker.applied.load(Ordering::Acquire) >= version)
    }

    fn sockets(&self) -> std::sync::MutexGuard<'_, Sockets> {
        // A panic can't leave the list half changed.
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Client connections that are open now.
    pub fn connections_open(&self) -> u64 {
        self.counters.iter().map(|counters| counters.connections_open.get()).sum()
    }

    /// The listening sockets, to be passed on to another process.
    pub(crate) fn handles(&self) -> Vec<Passable> {
        self.sockets().handles()
    }

    /// Another process keeps the sockets open, perhaps for a later start: the files of Unix sockets stay.
    pub(crate) fn leave_files(&self) {
        self.sockets().leave_files();
    }

    /// Another process serves what waits in the sockets, but for those whose [`Passable::id`] is in `unused`. No config is
    /// published any more.
    pub(crate) fn leave_sockets(&self, unused: &[u64]) {
        self.ready.store(false, Ordering::Relaxed);
        self.replaced.store(true, Ordering::Relaxed);
        self.sockets().leave(unused);
    }

    /// Whether another process has the place of this one. It has read certificates and consumers before: what this one would
    /// change of them, it would not know.
    pub(crate) fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Relaxed)
    }

    /// Whether the process serves, and is not draining.
    pub(crate) fn is_accepting(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Makes every worker drain.
    pub fn begin_drain(&self) {
        self.ready.store(false, Ordering::Relaxed);
        let left = self.sockets().let_go();
        for worker in &self.workers {
            let _ = worker.orders.send(WorkerCommand::Drain(Arc::clone(&left)));
            worker.notifier.notify();
        }
    }

    /// Makes every worker check its backend connections now: those that are over are closed.
    pub fn sweep(&self) {
        for worker in &self.workers {
            let _ = worker.orders.send(WorkerCommand::Sweep);
            worker.notifier.notify();
        }
    }

    /// Workers that have not ended.
    pub fn workers_left(&self) -> usize {
        self.running.load(Ordering::Acquire)
    }

    /// The time since each worker's last turn; `None` for those that have ended.
    pub fn silences(&self) -> impl Iterator<Item = Option<Duration>> {
        self.workers.iter().map(|worker| worker.heartbeat.silence())
    }

    /// The kernel's number of each worker's thread; `None` for those that have ended.
    pub(crate) fn threads(&self) -> impl Iterator<Item = Option<u32>> {
        self.workers.iter().map(|worker| worker.heartbeat.thread())
    }

    /// Workers that make no turn.
    pub fn stuck(&self) -> Vec<Stuck> {
        let silences = self.silences().enumerate();
        let stuck = silences.filter_map(|(worker, silence)| {
            silence.filter(|silence| *silence > STUCK).map(|silence| Stuck { worker, silence })
        });
        stuck.collect()
    }

    /// Whether new connections are served by whichever worker the kernel gives them to.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed) && self.stuck().is_empty()
    }

    /// Opens the access log's file anew, after it was moved away.
    pub fn reopen_access_log(&self) {
        self.access.iter().for_each(access::Writer::reopen);
    }

    /// Waits until the access log is written and the last spans are sent, for a second each at most: by then the disk or the
    /// collector is at fault.
    pub fn finish(&self) {
        let until = Instant::now() + LAST_LINES;
        if self.access.iter().filter(|access| !access.finish(until)).count() > 0 {
            tracing::warn!("access log: its last lines could not be written");
        }
        if let Some(traces) = &self.traces
            && !traces.finish(Instant::now() + LAST_LINES)
        {
            tracing::warn!("traces: the last spans could not be sent");
        }
    }
}

fn spawn(
    index: usize,
    worker: WorkerThread,
    seat: Seat,
    running: &Arc<AtomicUsize>,
) -> Result<(), StartError> {
    let running = Arc::clone(running);
    let heartbeat = Arc::clone(&worker.heartbeat);
    let run = move || {
        if let Err(error) = vital::guard(&format!("worker {index}"), || worker.run(seat)) {
            vital::end(&format!("worker {index}: {error}; check `ulimit -n` and `ulimit -l`"));
        }
        heartbeat.end();
        running.fetch_sub(1, Ordering::Release);
    };
    let thread = std::thread::Builder::new().name(format!("worker-{index}"));
    thread.spawn(run).map(drop).map_err(|error| StartError::Other(error.to_string()))
}

/// The access logs, their files opened. `None`: there is none.
fn access_log(plan: &Plan) -> Result<Option<access::Logs>, StartError> {
    if plan.log.access.is_none() && plan.log.named.is_empty() {
        return Ok(None);
    }
    let failed = |to: Option<&AccessLog>, error: std::io::Error| {
        let to = to.map(ToString::to_string).unwrap_or_default();
        StartError::Other(format!("access log: {to}: {error}"))
    };
    let formats = [&plan.log.access_format, &plan.log.tcp_format, &plan.log.udp_format];
    let main = plan.log.access.as_ref();
    let logs = access::Logs::new(formats.map(Clone::clone), main.map(target));
    let mut logs = logs.map_err(|error| failed(main, error))?;
    for named in &plan.log.named {
        let added = logs.add(named.format.clone(), Some(target(&named.access)));
        added.map_err(|error| failed(Some(&named.access), error))?;
    }
    Ok(Some(logs))
}

fn target(access: &AccessLog) -> access::Target {
    match access {
        AccessLog::Stdout => access::Target::Stdout,
        AccessLog::File(path) => access::Target::File(path.value.clone()),
        AccessLog::SyslogUdp(name) => access::Target::Syslog(access::Receiver::Udp(name.value.clone())),
        AccessLog::SyslogUnix(path) => access::Target::Syslog(access::Receiver::Unix(path.value.clone())),
        AccessLog::Journald(path) => access::Target::Syslog(access::Receiver::Journal(path.value.clone())),
    }
}

/// A worker's end of the way of traces, if there is one.
fn traces_of(
    exporter: Option<&mut Exporter>,
    counters: &Arc<Counters>,
) -> Result<Option<trace::Seed>, StartError> {
    let Some(exporter) = exporter else { return Ok(None) };
    Ok(Some(exporter.seed(Arc::clone(counters), random()?)))
}

/// What a worker's request ids begin with.
fn random() -> Result<u64, StartError> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| StartError::Other("the system gives no random numbers".to_owned()))?;
    Ok(u64::from_ne_bytes(bytes))
}

/// How long the end waits for the access log.
const LAST_LINES: Duration = Duration::from_secs(1);
/// How often the state of a drain is checked.
pub(crate) const DRAIN_POLL: Duration = Duration::from_millis(10);
