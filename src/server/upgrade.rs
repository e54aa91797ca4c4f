//! Another process takes this one's place, without a connection lost: the same command is started anew, perhaps from a newer file,
//! and gets the listening sockets and what this process knows over a socket pair that is its standard input.
//!
//! ```text
//! this process                                            the successor
//!   start it ──────────────────────────────────────────────► (RINGATE_UPGRADE is set)
//!                                               Begun ◄──── it is a ringate: no other program gets descriptors
//!   Hello { sockets, heritage } with descriptors ──────────► loads the config, makes its rings
//!                                Ready { pid, unused } ◄──── all is there, nothing is served
//!   Serve ─────────────────────────────────────────────────► its workers accept
//!                                              Serving ◄────
//!   Done, then it drains ──────────────────────────────────► it is the service
//! ```
//!
//! A successor that fails, or takes too long, before it serves is ended, and nothing has changed. Both have the same sockets with
//! the same accept queues, so a connection that waits in one is not lost: the successor accepts it, or this process does where the
//! successor has no use for the socket.

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::build::heritage::Heritage;
use super::confine;
use super::deployment::Deployment;
use super::inherited::SocketName;
use super::unix_socket::SocketFile;
use crate::io::inherit::{self, Channel};

pub(crate) use predecessor::Predecessor;
pub(crate) use program::Program;

mod guardian;
mod predecessor;
mod program;

/// What a process finds in its environment that is to take the place of its parent.
const MARK: &str = "RINGATE_UPGRADE";
/// The form of the messages.
const FORMAT: u32 = 1;
/// How long a process that has closed its end may take to end.
const EXIT: Duration = Duration::from_secs(2);

/// From the process that runs to its successor.
#[derive(Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case")]
enum FromPredecessor {
    /// With a descriptor for each socket.
    Hello {
        /// See [`FORMAT`].
        format: u32,
        pid: u32,
        sockets: Vec<SocketName>,
        heritage: serde_json::Value,
    },
    Serve,
    Done,
}

/// The other way.
#[derive(Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case")]
enum FromSuccessor {
    Begun,
    Ready {
        pid: u32,
        /// The positions of sockets that it does not use: they are closed.
        unused: Vec<usize>,
    },
    Failed {
        reason: String,
    },
    Serving,
}

/// A socket of the admin server, to be passed on.
#[derive(Debug)]
pub(crate) struct AdminHandle {
    /// Its name.
    pub(crate) name: SocketName,
    /// The socket.
    pub(crate) fd: std::os::fd::OwnedFd,
    /// Its file, if it has one.
    pub(crate) file: Option<Arc<SocketFile>>,
}

/// Starts successors of this process, one at a time.
#[derive(Debug)]
pub(crate) struct Upgrader {
    program: Program,
    admin: Mutex<Vec<AdminHandle>>,
    under_way: Mutex<()>,
}

/// What has taken the place of this process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Upgraded {
    /// The process that serves.
    pub(crate) pid: u32,
    /// This one, which drains.
    pub(crate) previous_pid: u32,
    /// From the start of the new process until it served, in milliseconds.
    pub(crate) took_ms: u64,
    /// Connections of clients that this process finishes.
    pub(crate) connections_open: u64,
}

/// Why this process serves on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UpgradeError {
    /// It drains already.
    Draining,
    /// Another upgrade is under way.
    UnderWay,
    /// It was started in a way that can't be repeated.
    Unsupported,
    /// The new process did not come to serve; in words.
    Failed(String),
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Draining => {
                f.write_str("this process is draining: its successor, if it has one, can be upgraded")
            }
            Self::UnderWay => f.write_str("another upgrade is under way: wait for its end"),
            Self::Unsupported => {
                f.write_str("only `ringate run` can be upgraded: stop this process, and start it anew")
            }
            Self::Failed(reason) => f.write_str(reason),
        }
    }
}

impl Upgrader {
    /// `admin` are the sockets of the admin server.
    pub(crate) fn new(program: Program, admin: Vec<AdminHandle>) -> Self {
        Self { program, admin: Mutex::new(admin), under_way: Mutex::new(()) }
    }

    /// Passes this socket of the admin server on, and not the one that it takes the place of.
    pub(crate) fn renew_admin(&self, handle: AdminHandle) {
        let mut admin = self.admin.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = admin.iter_mut().find(|known| known.name.address == handle.name.address) {
            *known = handle;
        }
    }

    /// The admin server's sockets are not passed on any more: what the admin server closes is closed.
    pub(crate) fn forget_admin(&self) {
        self.admin.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Starts a successor and waits until it serves, for `patience` at most. Then `introduce` is called with its process id, and
    /// this process is to drain. Blocks. Meanwhile the config and certificates do not change, as the successor has read them.
    ///
    /// # Errors
    /// See [`UpgradeError`]: nothing has changed.
    pub(crate) fn run(
        &self,
        deployment: &Deployment,
        patience: Duration,
        introduce: impl FnOnce(u32),
    ) -> Result<Upgraded, UpgradeError> {
        let _under_way = match self.under_way.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(UpgradeError::UnderWay),
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(guard)) => guard.into_inner(),
        };
        let _frozen = deployment.freeze();
        if !deployment.server.is_accepting() {
            return Err(UpgradeError::Draining);
        }
        let begun = Instant::now();
        let mut successor = Successor::start(&self.program, begun + patience)?;
        let (pid, unused) = match self.hand_over(deployment, &successor) {
            Ok(serves) => serves,
            Err(problem) => return Err(UpgradeError::Failed(successor.end(problem))),
        };
        deployment.server.leave_sockets(&unused);
        for handle in self.admin.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            handle.file.iter().for_each(|file| file.leave());
        }
        // A guardian has ended by now.
        let _ = successor.child.try_wait();
        introduce(pid);
        // It serves: whether it learns so makes no difference.
        let _ = successor.send(&FromPredecessor::Done, &[]);
        Ok(Upgraded {
            pid,
            previous_pid: std::process::id(),
            took_ms: begun.elapsed().as_millis() as u64,
            connections_open: deployment.server.connections_open(),
        })
    }

    /// Until the successor serves. Returns its process id, and the sockets that it does not use.
    fn hand_over(&self, deployment: &Deployment, successor: &Successor) -> Result<(u32, Vec<u64>), Problem> {
        // Descriptors that no process takes keep their sockets open for as long as the other end is.
        match successor.receive()? {
            FromSuccessor::Begun => {}
            FromSuccessor::Failed { reason } => return Err(Problem::Refused(reason)),
            _ => return Err(Problem::Other("it serves before it was to".to_owned())),
        }
        let current = deployment.current();
        let heritage = Heritage::of(&current.plan, &current.running, &current.made);
        let heritage = serde_json::to_value(&heritage).map_err(|error| Problem::Other(error.to_string()))?;
        let admin = self.admin.lock().unwrap_or_else(PoisonError::into_inner);
        let handles = deployment.server.handles();
        let of_listeners = handles.iter().map(|handle| SocketName {
            listener: handle.listener.clone(),
            address: handle.address.to_string(),
            owns_file: handle.owns_file,
            admin: false,
        });
        let sockets = of_listeners.chain(admin.iter().map(|handle| handle.name.clone())).collect();
        let fds = handles.iter().map(|handle| handle.fd.as_fd());
        let fds: Vec<_> = fds.chain(admin.iter().map(|handle| handle.fd.as_fd())).collect();
        let pid = std::process::id();
        successor.send(&FromPredecessor::Hello { format: FORMAT, pid, sockets, heritage }, &fds)?;
        drop(admin);
        let (pid, unused) = match successor.receive()? {
            FromSuccessor::Ready { pid, unused } => {
                successor.pid.set(Some(pid));
                (pid, unused)
            }
            FromSuccessor::Failed { reason } => return Err(Problem::Refused(reason)),
            _ => return Err(Problem::Other("it serves before it was to".to_owned())),
        };
        successor.send(&FromPredecessor::Serve, &[])?;
        match successor.receive()? {
            FromSuccessor::Serving => {
                let unused = unused.iter().filter_map(|position| handles.get(*position));
                Ok((pid, unused.map(|handle| handle.id).collect()))
            }
            FromSuccessor::Failed { reason } => Err(Problem::Refused(reason)),
            _ => Err(Problem::Other("it was ready before".to_owned())),
        }
    }
}

/// A process that is to take this one's place.
struct Successor {
    /// It, or its [guardian].
    child: Child,
    /// Its own number, once it is ready.
    pid: Cell<Option<u32>>,
    channel: Channel,
    path: String,
    deadline: Instant,
}

/// What went wrong with it.
enum Problem {
    /// It says why.
    Refused(String),
    /// Its end of the socket pair is closed.
    Gone,
    /// It says nothing.
    Late,
    /// Something else, in words.
    Other(String),
}

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind::{BrokenPipe, ConnectionReset, TimedOut, UnexpectedEof, WouldBlock};
        match error.kind() {
            BrokenPipe | ConnectionReset | UnexpectedEof => Self::Gone,
            TimedOut | WouldBlock => Self::Late,
            _ => Self::Other(error.to_string()),
        }
    }
}

/// The kernel knows programs by these first bytes. What has neither is not started: execvp(3) would have a shell run it.
const BEGINNINGS: [&[u8]; 2] = [b"\x7fELF", b"#!"];

/// Looks at the beginning of a program. One that can't be read is left to the kernel.
///
/// # Errors
/// It is neither an ELF file nor a script.
fn check_program(path: &Path) -> Result<(), UpgradeError> {
    let Ok(file) = File::open(path) else { return Ok(()) };
    let mut start = Vec::new();
    let is_read = file.take(4).read_to_end(&mut start).is_ok();
    if is_read && !BEGINNINGS.iter().any(|beginning| start.starts_with(beginning)) {
        let path = path.display();
        return Err(UpgradeError::Failed(format!("{path} is no program: neither an ELF file nor a script")));
    }
    Ok(())
}

impl Successor {
    fn start(program: &Program, deadline: Instant) -> Result<Self, UpgradeError> {
        let failed = |what: &str, error: std::io::Error| UpgradeError::Failed(format!("{what}: {error}"));
        let (channel, other) =
            Channel::pair().map_err(|error| failed("no socket pair can be made", error))?;
        let path = program.resolve();
        check_program(&path)?;
        let mut command = Command::new(&path);
        command.args(program.arguments()).env(MARK, "1").stdin(Stdio::from(other));
        if let Some(how) = program.how_confined() {
            command.env(confine::MARK, how);
        }
        // They are meant for this process.
        command.env_remove("LISTEN_PID").env_remove("LISTEN_FDS").env_remove("LISTEN_FDNAMES");
        inherit::keep_descriptors_from(&mut command);
        let path = path.display().to_string();
        let child = command.spawn().map_err(|error| failed(&format!("{path} can't be started"), error))?;
        tracing::info!("upgrade: {path} was started as process {}", child.id());
        Ok(Self { child, pid: Cell::new(None), channel, path, deadline })
    }

    fn send(&self, message: &FromPredecessor, fds: &[std::os::fd::BorrowedFd<'_>]) -> Result<(), Problem> {
        let text = serde_json::to_vec(message).map_err(|error| Problem::Other(error.to_string()))?;
        self.channel.set_patience(self.deadline.saturating_duration_since(Instant::now()))?;
        Ok(self.channel.send(&Zeroizing::new(text), fds)?)
    }

    fn receive(&self) -> Result<FromSuccessor, Problem> {
        self.channel.set_patience(self.deadline.saturating_duration_since(Instant::now()))?;
        let (text, _) = self.channel.receive()?;
        serde_json::from_slice(&text)
            .map_err(|error| Problem::Other(format!("its message can't be read: {error}")))
    }

    /// Ends it. Returns what went wrong, in words.
    fn end(&mut self, problem: Problem) -> String {
        let until = Instant::now() + EXIT;
        let mut status = None;
        while matches!(problem, Problem::Gone | Problem::Refused(_))
            && status.is_none()
            && Instant::now() < until
        {
            status = self.child.try_wait().ok().flatten();
            std::thread::sleep(Duration::from_millis(10));
        }
        if status.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
            // One that has left its guardian already.
            let own = self.pid.get().filter(|pid| *pid != self.child.id());
            if let Some(own) = own.and_then(|pid| Pid::from_raw(pid.cast_signed())) {
                let _ = kill_process(own, Signal::KILL);
            }
        }
        let (path, pid) = (&self.path, self.child.id());
        match problem {
            Problem::Refused(reason) => format!("the new process ({path}) does not start: {reason}"),
            Problem::Late => format!("the new process ({path}, {pid}) was not ready in time, and was ended"),
            Problem::Other(reason) => format!("the new process ({path}, {pid}) was ended: {reason}"),
            Problem::Gone => match status {
                Some(status) => {
                    format!("the new process ({path}, {pid}) ended before it was ready: {status}")
                }
                None => format!(
                    "the new process ({path}, {pid}) closed its standard input before it was ready, and was ended"
                ),
            },
        }
    }
}
