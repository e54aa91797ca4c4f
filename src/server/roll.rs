//! The choice of the workers' driver: each worker makes the runtime that it will use, all hold theirs at the same time, and
//! only then does the first one serve.
//!
//! ```text
//! Make(io_uring) ─► each worker: made and tried, or why not ─► all made ────────────────────► Go
//!                                        └─► one was refused ─► `auto`: Make(epoll) ─► all made ─┘
//!                                                              otherwise an error, and the workers end
//! ```
//!
//! A small ring proves little: what refuses the large one or the n-th one (RLIMIT_MEMLOCK, a memory control group,
//! descriptors) would be met after the start.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use crate::config::plan::DriverSetting;
use crate::io::runtime::{self, Driver, LOCKED_BYTES, Runtime};

/// The longest that all workers together take to make their runtimes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a worker is to do.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Make a runtime, and report whether it works.
    Make(Driver),
    /// Serve on it.
    Go,
}

/// The side of the supervisor.
#[derive(Debug)]
pub(crate) struct Roll {
    workers: Vec<Sender<Step>>,
    answers: (Sender<io::Result<()>>, Receiver<io::Result<()>>),
}

/// The side of a worker.
#[derive(Debug)]
pub(crate) struct Seat {
    steps: Receiver<Step>,
    answers: Sender<io::Result<()>>,
}

/// Why a backend is not used.
struct Refused {
    error: io::Error,
    /// How many of the workers could make a runtime, if they came to that.
    made: Option<usize>,
}

impl Default for Roll {
    fn default() -> Self {
        Self { workers: Vec::new(), answers: channel() }
    }
}

impl Seat {
    /// On the worker's thread: its runtime, once every worker has one. `None`: nothing is started.
    pub(crate) fn wait(self) -> Option<Runtime> {
        let mut made = None;
        for step in self.steps {
            let backend = match step {
                Step::Go => return made,
                Step::Make(backend) => backend,
            };
            // The one before holds memory that this one may need.
            drop(made.take());
            let answer = Runtime::new(backend).map(|runtime| made = Some(runtime));
            let _ = self.answers.send(answer);
        }
        None
    }
}

impl Roll {
    /// A place for one worker more.
    pub(crate) fn seat(&mut self) -> Seat {
        let (sender, steps) = channel();
        self.workers.push(sender);
        Seat { steps, answers: self.answers.0.clone() }
    }

    /// Has all workers make their runtimes. Returns what they run on.
    ///
    /// # Errors
    /// No runtime can be made as `wanted`, in words, with what to do.
    pub(crate) fn call(&self, wanted: DriverSetting) -> Result<Driver, String> {
        let uring = match wanted {
            DriverSetting::Epoll => None,
            _ => Some(self.uring()),
        };
        let backend = match uring {
            Some(Ok(backend)) => backend,
            Some(Err(refused)) if wanted != DriverSetting::Auto => {
                return Err(format!("{}, or set `driver = \"auto\"`", self.words(&refused)));
            }
            refused => {
                if let Some(Err(refused)) = refused {
                    tracing::warn!("{}; every worker runs on epoll", self.words(&refused));
                }
                self.make(Driver::Epoll).map_err(|refused| {
                    format!(
                        "epoll can't be used by every worker: {}; {}",
                        refused.error,
                        advice(&refused.error, 0)
                    )
                })?;
                Driver::Epoll
            }
        };
        Ok(backend)
    }

    /// Has all workers serve, on the runtimes that they have made. Dropped without it, they end.
    pub(crate) fn go(self) {
        for worker in &self.workers {
            let _ = worker.send(Step::Go);
        }
    }

    fn uring(&self) -> Result<Driver, Refused> {
        let backend = runtime::detect().map_err(|error| Refused { error, made: None })?;
        self.make(backend).map(|()| backend)
    }

    /// Has every worker make a runtime, and waits for all answers.
    fn make(&self, backend: Driver) -> Result<(), Refused> {
        let until = Instant::now() + PATIENCE;
        for worker in &self.workers {
            let ended = |_| Refused { error: io::Error::other("a worker's thread has ended"), made: None };
            worker.send(Step::Make(backend)).map_err(ended)?;
        }
        let (mut made, mut refused) = (0, None);
        for _ in &self.workers {
            let left = until.saturating_duration_since(Instant::now());
            let late = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "a worker does not answer"));
            match self.answers.1.recv_timeout(left).unwrap_or_else(late) {
                Ok(()) => made += 1,
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        refused.map_or(Ok(()), |error| Err(Refused { error, made: Some(made) }))
    }

    /// What was refused, why, and what to do.
    fn words(&self, refused: &Refused) -> String {
        let Refused { error, made } = refused;
        let workers = self.workers.len();
        let of = match made {
            Some(made) => format!(" to {} of {workers} workers", workers - made),
            None => String::new(),
        };
        format!("io_uring is refused{of} ({error}): {}", advice(error, workers as u64))
    }
}

/// What allows it.
fn advice(error: &io::Error, rings: u64) -> String {
    let number = error.raw_os_error().map(Errno::from_raw_os_error);
    match number {
        Some(Errno::NOMEM) if rings > 0 => memory(rings * LOCKED_BYTES, getrlimit(Resource::Memlock).current),
        Some(Errno::MFILE | Errno::NFILE) => {
            "raise the limit of file descriptors (`LimitNOFILE=` in the systemd unit, `ulimit -n`)".to_owned()
        }
        _ => UNLOCK.to_owned(),
    }
}

/// What allows so many bytes of rings where `limit` is set.
fn memory(needed: u64, limit: Option<u64>) -> String {
    let group = "raise the memory bound of the control group or container (`MemoryMax=` in the systemd unit)";
    match limit {
        None => group.to_owned(),
        Some(limit) if limit < needed => format!(
            "RLIMIT_MEMLOCK is {limit} bytes, and {needed} are needed beside those of this user's other processes: \
             raise it (`LimitMEMLOCK=infinity` in the systemd unit, `--ulimit memlock=-1` for a container, `ulimit -l`)"
        ),
        Some(limit) => format!(
            "RLIMIT_MEMLOCK is {limit} bytes, of which {needed} are needed, and this user's other processes have the \
             rest: raise it (`LimitMEMLOCK=infinity` in the systemd unit, `ulimit -l`), or {group}"
        ),
    }
}

const UNLOCK: &str =
    "check `sysctl kernel.io_uring_disabled` (0 allows it) and the seccomp profile of the container or unit";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_workers_have_a_runtime_before_the_first_one_serves() {
        for wanted in [DriverSetting::Auto, DriverSetting::Epoll] {
            let mut roll = Roll::default();
            let seats: Vec<Seat> = (0..3).map(|_| roll.seat()).collect();
            let workers: Vec<_> = seats
                .into_iter()
                .map(|seat| std::thread::spawn(|| seat.wait().map(|runtime| runtime.block_on(async { 1 }))))
                .collect();
            let backend = roll.call(wanted).unwrap();
            roll.go();
            assert!(wanted != DriverSetting::Epoll || backend == Driver::Epoll);
            let served: Vec<_> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
            assert_eq!(served, [Some(1); 3]);
        }
    }

    #[test]
    fn a_worker_that_is_gone_is_no_start() {
        let mut roll = Roll::default();
        drop(roll.seat());
        assert!(roll.call(DriverSetting::Epoll).unwrap_err().contains("epoll can't be used"));
        let mut roll = Roll::default();
        let seat = roll.seat();
        drop(roll);
        assert!(seat.wait().is_none());
    }

    #[test]
    fn the_advice_names_the_limit_to_raise() {
        let said = |number: Errno| advice(&io::Error::from_raw_os_error(number.raw_os_error()), 4);
        assert!(said(Errno::MFILE).contains("LimitNOFILE"));
        assert!(said(Errno::PERM).contains("kernel.io_uring_disabled"));
        let needed = 4 * LOCKED_BYTES;
        for (limit, words) in
            [(None, "MemoryMax"), (Some(65_536), "LimitMEMLOCK"), (Some(needed), "MemoryMax")]
        {
            assert!(memory(needed, limit).contains(words), "{limit:?}");
        }
        assert!(memory(needed, Some(65_536)).contains(&needed.to_string()));
    }
}
