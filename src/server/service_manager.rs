//! Messages to a service manager (sd_notify(3)): datagrams to the socket that `$NOTIFY_SOCKET` names. Without one, nothing is sent.

use std::env;
use std::os::fd::AsFd as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::inherited::file_name;
use super::sockets::Passable;
use crate::io::inherit::{self, DATAGRAM_DESCRIPTORS};

/// The service manager of this process.
#[derive(Debug, Default)]
pub(crate) struct ServiceManager {
    socket: Option<String>,
    /// Half of what it waits for a sign of life.
    watchdog: Option<Duration>,
    /// When the last sign was sent.
    alive: Mutex<Option<Instant>>,
    /// What it keeps: names of listeners, with their sockets' numbers.
    kept: Mutex<Vec<(String, Vec<u64>)>>,
}

impl ServiceManager {
    /// As the environment has it. `took_over`: this process has taken the place of its parent, which WATCHDOG_PID names. It may
    /// keep sockets of these names.
    pub(crate) fn find(took_over: bool, names: Vec<String>) -> Self {
        let socket = env::var("NOTIFY_SOCKET").ok().filter(|path| path.starts_with(['/', '@']));
        let own = std::process::id().to_string();
        let is_ours = took_over || env::var("WATCHDOG_PID").is_ok_and(|pid| pid == own);
        let micros = env::var("WATCHDOG_USEC").ok().and_then(|micros| micros.parse().ok());
        let watchdog = micros.filter(|micros| is_ours && *micros > 0).map(Duration::from_micros);
        let kept = Mutex::new(names.into_iter().map(|name| (file_name(&name), Vec::new())).collect());
        let alive = Mutex::new(None);
        Self { socket, watchdog: watchdog.map(|time| time / 2), alive, kept }
    }

    /// This process serves.
    pub(crate) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", line(status)));
    }

    /// A reload or an upgrade begins; [`ready`](Self::ready) ends it.
    pub(crate) fn reloading(&self, status: &str) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS={}", line(status)));
    }

    /// A drain begins.
    pub(crate) fn stopping(&self, status: &str) {
        self.send(&format!("STOPPING=1\nSTATUS={}", line(status)));
    }

    /// Another process is the service now.
    pub(crate) fn main_process(&self, pid: u32) {
        self.send(&format!("MAINPID={pid}"));
    }

    /// The workers turn. To be called several times in [`WATCHDOG_USEC`](Self::find).
    pub(crate) fn alive(&self) {
        let Some(every) = self.watchdog else { return };
        let mut last = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= every) {
            *last = Some(Instant::now());
            self.send("WATCHDOG=1");
        }
    }

    /// Has it keep the listening sockets for the next start, by the names of their listeners, and those alone. Returns whether
    /// there is one that may.
    pub(crate) fn keep(&self, handles: &[Passable]) -> bool {
        if self.socket.is_none() {
            return false;
        }
        let mut now: Vec<(String, Vec<u64>)> = Vec::new();
        for handle in handles {
            let name = file_name(&handle.listener);
            match now.iter_mut().find(|(known, _)| *known == name) {
                Some((_, ids)) => ids.push(handle.id),
                None => now.push((name, vec![handle.id])),
            }
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, _) in kept.iter().filter(|known| !now.contains(known)) {
            self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"));
        }
        for (name, _) in now.iter().filter(|new| !kept.contains(new)) {
            let of_name: Vec<&Passable> =
                handles.iter().filter(|handle| file_name(&handle.listener) == *name).collect();
            for some in of_name.chunks(DATAGRAM_DESCRIPTORS) {
                let fds: Vec<_> = some.iter().map(|handle| handle.fd.as_fd()).collect();
                self.send_with(&format!("FDSTORE=1\nFDPOLL=0\nFDNAME={name}"), &fds);
            }
        }
        *kept = now;
        true
    }

    fn send(&self, text: &str) {
        self.send_with(text, &[]);
    }

    fn send_with(&self, text: &str, fds: &[std::os::fd::BorrowedFd<'_>]) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = inherit::send_datagram(socket, text.as_bytes(), fds) {
            tracing::debug!("the service manager at {socket} takes no message: {error}");
        }
    }
}

/// As one line.
fn line(status: &str) -> String {
    status.lines().next().unwrap_or_default().to_owned()
}
