//! What the machine gives: CPUs, file descriptors, receive queues.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::memory;
use crate::base::limits::{Limits, MIN_BUFFER_MEMORY};
use crate::config::plan::Runtime;

/// The CPUs that workers are pinned to, one a worker.
///
/// # Errors
/// A CPU of the config that this process must not use, in words.
pub(crate) fn place_workers(runtime: &Runtime) -> Result<Vec<usize>, String> {
    let mask =
        sched_getaffinity(None).map_err(|error| format!("the CPU affinity mask can't be read: {error}"))?;
    let allowed: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| mask.is_set(cpu)).collect();
    let cpus = match &runtime.cpus {
        None => allowed,
        Some(wanted) => {
            if let Some(missing) = wanted.iter().find(|cpu| !allowed.contains(cpu)) {
                return Err(format!("CPU {missing} is not among those this process may use ({allowed:?})"));
            }
            wanted.value.clone()
        }
    };
    let workers = runtime.workers.unwrap_or(cpus.len());
    Ok((0..workers).map(|worker| cpus[worker % cpus.len()]).collect())
}

/// Pins the calling thread.
pub(crate) fn pin(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

/// Private keys are in this process's memory: no core dump is written of it, and only root can read it. To be called before
/// any key is read.
///
/// Both, since a limit of zero does not stop a core that goes to a program (`kernel.core_pattern` with a pipe), and the
/// kernel writes none of a process that is not dumpable, for whichever of its pages. `MADV_DONTDUMP` would mark the
/// pages of keys alone, which live where libraries put them (aws-lc-rs, rustls); here there is nothing left to mark. Our
/// own copies of keys, as text and as DER, are wiped once they have been read. Buffers in which the HTTP library received
/// a key by the admin API are not.
///
/// # Errors
/// The system's, in words. Nothing else depends on it.
pub(crate) fn keep_memory_private() -> Result<(), String> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let limited = setrlimit(Resource::Core, none);
    let private = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    limited
        .and(private)
        .map_err(|error| format!("core dumps can't be turned off, they would hold private keys: {error}"))
}

/// Raises the file-descriptor limit to what this process may have at most. Returns it.
pub(crate) fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if setrlimit(Resource::Nofile, raised).is_err() {
        return limit.current.unwrap_or(u64::MAX);
    }
    limit.maximum.unwrap_or(u64::MAX)
}

/// Whether the kernel's hint of the receiving CPU spreads connections well: only where a network card
/// has at least a queue a worker. On loopback, or with one queue, all of them would go to one worker.
pub(crate) fn steering_helps(cpus: &[usize]) -> bool {
    let mut distinct = cpus.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    cpus.len() > 1 && distinct.len() == cpus.len() && most_receive_queues() >= cpus.len()
}

fn most_receive_queues() -> usize {
    let Ok(interfaces) = std::fs::read_dir("/sys/class/net") else {
        return 0;
    };
    let queues = interfaces.filter_map(|interface| {
        let path = interface.ok()?.path();
        // Without a device behind it (loopback, bridges) there is no card that spreads.
        path.join("device").exists().then_some(())?;
        let queues = std::fs::read_dir(path.join("queues")).ok()?;
        Some(
            queues
                .filter(|queue| {
                    queue.as_ref().is_ok_and(|q| q.file_name().to_string_lossy().starts_with("rx-"))
                })
                .count(),
        )
    });
    queues.max().unwrap_or(0)
}

/// The limits with `buffer_memory` in bytes: `"auto"` is half of what this process may use.
pub(crate) fn resolve(mut limits: Limits) -> Limits {
    let half = || (memory::available() / 2).max(MIN_BUFFER_MEMORY);
    limits.buffer_memory = Some(limits.buffer_memory.unwrap_or_else(half));
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_have_a_bound_by_default() {
        let bytes = |written| resolve(Limits { buffer_memory: written, ..Limits::default() }).buffer_memory;
        assert_eq!((bytes(Some(0)), bytes(Some(7))), (Some(0), Some(7)));
        assert!((MIN_BUFFER_MEMORY..1 << 50).contains(&bytes(None).unwrap_or_default()));
    }
}
