//! Metrics of the process, by the names that all clients of Prometheus use, and of its workers.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use super::exposition::{Text, label};
use crate::base::histogram::HistogramSum;
use crate::server::Server;

/// What the kernel tells of a process or a thread (proc_pid_stat(5)).
struct Stat {
    /// Seconds of CPU time, of the kernel's included.
    cpu: f64,
    threads: f64,
    /// Seconds after the boot.
    started: f64,
    virtual_bytes: f64,
    resident_bytes: f64,
}

#[allow(clippy::cast_precision_loss)] // sizes and times are far below 2^53
impl Stat {
    fn read(path: &str) -> Option<Self> {
        let text = fs::read_to_string(path).ok()?;
        // The name, in parentheses, may have any bytes.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        // The field after the name is the third.
        let number = |place: usize| fields.get(place - 3)?.parse::<f64>().ok();
        let ticks = clock_ticks_per_second() as f64;
        Some(Self {
            cpu: (number(14)? + number(15)?) / ticks,
            threads: number(20)?,
            started: number(22)? / ticks,
            virtual_bytes: number(23)?,
            resident_bytes: number(24)? * page_size() as f64,
        })
    }
}

/// When the machine was booted, in seconds since 1970.
fn boot() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

/// Descriptors that are open. The kernel has it as the folder's size since Linux 6.2; before that the folder is read, which a
/// process without privileges may not do once its memory is private.
#[allow(clippy::cast_precision_loss)] // as above
fn open_descriptors() -> Option<f64> {
    let folder = "/proc/self/fd";
    let size = fs::metadata(folder).ok().map(|facts| facts.size()).filter(|size| *size > 0);
    size.map(|size| size as f64).or_else(|| Some(fs::read_dir(folder).ok()?.count().saturating_sub(1) as f64))
}

/// Adds the metrics of the process. Of what the kernel does not tell there are none.
#[allow(clippy::cast_precision_loss)] // as above
pub(super) fn metrics(server: &Server, text: &mut Text) {
    let mut one = |kind: &str, name: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            text.named(kind, &format!("process_{name}"), help, [(String::new(), value)]);
        }
    };
    let stat = Stat::read("/proc/self/stat");
    let stat = stat.as_ref();
    let help = "CPU time of the process, user and system, in seconds.";
    one("counter", "cpu_seconds_total", help, stat.map(|stat| stat.cpu));
    one("gauge", "resident_memory_bytes", "Resident memory in bytes.", stat.map(|stat| stat.resident_bytes));
    one("gauge", "virtual_memory_bytes", "Virtual memory in bytes.", stat.map(|stat| stat.virtual_bytes));
    one("gauge", "threads", "Threads of the process.", stat.map(|stat| stat.threads));
    let uptime = server.started.elapsed().as_secs_f64();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let started = boot().zip(stat).map(|(boot, stat)| boot + stat.started);
    let help = "When the process started, in seconds since 1970.";
    one("gauge", "start_time_seconds", help, Some(started.unwrap_or(now - uptime)));
    one("gauge", "open_fds", "File descriptors that are open.", open_descriptors());
    let most = getrlimit(Resource::Nofile).current.map(|most| most as f64);
    one("gauge", "max_fds", "Most file descriptors that may be open.", Some(most.unwrap_or(f64::INFINITY)));
}

/// Adds the metrics that each worker has.
#[allow(clippy::cast_precision_loss)] // as above
pub(super) fn workers(server: &Server, text: &mut Text) {
    let worker = |number: usize| label("worker", &number.to_string());
    let each = || server.counters.iter().enumerate().map(|(number, counters)| (worker(number), counters));
    let delays = each().map(|(labels, counters)| {
        let mut sum = HistogramSum::default();
        sum.add(&counters.delay);
        (labels, sum)
    });
    let help = "How much later than due a worker's timer ran, five times a second: the time of one turn of its loop.";
    text.durations("worker_loop_delay_seconds", help, delays);
    let help = "CPU time of each worker's thread, user and system, in seconds.";
    let cpu = server.threads().enumerate().filter_map(|(number, thread)| {
        let stat = Stat::read(&format!("/proc/self/task/{}/stat", thread?))?;
        Some((worker(number), stat.cpu))
    });
    text.family("counter", "worker_cpu_seconds_total", help, cpu);
    let help = "Requests that each worker has served.";
    let requests = each().map(|(labels, counters)| (labels, counters.requests.get() as f64));
    text.family("counter", "worker_requests_total", help, requests);
    let help = "Client connections that each worker has open; each is a task of it.";
    let open = each().map(|(labels, counters)| (labels, counters.connections_open.get() as f64));
    text.family("gauge", "worker_connections_open", help, open);
}
