//! A service manager is followed as sd_notify(3) and sd_listen_fds(3) have it. The one here is a socket in the test.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, Signal, kill_process};

use crate::http::OK;
use crate::support::*;

/// The service manager.
struct Manager {
    socket: UnixDatagram,
    dir: tempfile::TempDir,
    stored: Vec<(String, OwnedFd)>,
}

impl Manager {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, dir, stored: Vec::new() }
    }

    /// The next message that `is_it`. Sockets that come before are stored.
    fn until(&mut self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
            let text = self.next();
            if is_it(&text) {
                return text;
            }
        }
    }

    fn next(&mut self) -> String {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received =
            recvmsg(&self.socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC);
        let count = received.expect("a message to the service manager").bytes;
        let text = String::from_utf8(bytes[..count].to_vec()).unwrap();
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = message {
                fds.extend(some);
            }
        }
        let name = || text.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap().to_owned();
        if text.contains("FDSTOREREMOVE=1") {
            self.stored.retain(|(known, _)| *known != name());
        } else if text.contains("FDSTORE=1") {
            assert!(!fds.is_empty());
            self.stored.extend(fds.into_iter().map(|fd| (name(), fd)));
        }
        text
    }

    /// Starts the service as a service manager does, with these sockets.
    fn start(&self, dir: &Path, sockets: &[(&str, &dyn AsFd)]) -> Process {
        self.start_with(dir, sockets, |_| ())
    }

    fn start_with(
        &self,
        dir: &Path,
        sockets: &[(&str, &dyn AsFd)],
        change: impl FnOnce(&mut Command),
    ) -> Process {
        let held: Vec<OwnedFd> =
            sockets.iter().map(|(_, fd)| fcntl_dupfd_cloexec(fd.as_fd(), 100).unwrap()).collect();
        for fd in &held {
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).unwrap();
        }
        let moves = held.iter().enumerate().map(|(index, fd)| format!("{}<&{} ", index + 3, fd.as_raw_fd()));
        let closes = held.iter().map(|fd| format!("{}<&- ", fd.as_raw_fd()));
        let moves: String = moves.chain(closes).collect();
        let mut command = Command::new("bash");
        command
            .arg("-c")
            .arg(format!("exec {moves}; export LISTEN_PID=$$ WATCHDOG_PID=$$; exec \"$0\" \"$@\""))
            .arg(env!("CARGO_BIN_EXE_ringate"))
            .args(["run", "-c"])
            .arg(dir.join("ringate.toml"))
            .env_remove("RUST_LOG")
            .env("NO_COLOR", "1")
            .env("NOTIFY_SOCKET", self.dir.path().join("notify"))
            .env("WATCHDOG_USEC", "400000")
            .env("LISTEN_FDS", sockets.len().to_string())
            .env("LISTEN_FDNAMES", sockets.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(":"));
        change(&mut command);
        Process::start(&mut command)
    }
}

fn config(backend: &Backend, address: SocketAddr) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let text = Setup::to(backend.address()).workers(2).section("[admin]").text();
    std::fs::write(dir.path().join("ringate.toml"), text.replace("127.0.0.1:0", &address.to_string()))
        .unwrap();
    dir
}

fn value(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}

/// The parent of a process.
fn parent(pid: u64) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok()).unwrap()
}

fn get(address: SocketAddr) -> u16 {
    let mut client = Client::connect(address);
    client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").response().status
}

#[test]
fn start_reload_upgrade_and_stop_are_announced() {
    let (mut manager, backend) = (Manager::new(), Backend::replying(OK));
    let dir = config(&backend, free_address());
    let mut first = manager.start(dir.path(), &[]);
    let ready = manager.until("READY", |text| text.contains("READY=1"));
    assert!(ready.contains("STATUS=serving 1 listeners with 2 workers"), "{ready}");
    assert_eq!(manager.stored.iter().filter(|(name, _)| name == "web").count(), 2, "a socket a worker");
    manager.until("a sign of life", |text| text == "WATCHDOG=1");
    manager.until("another", |text| text == "WATCHDOG=1");
    first.signal(Signal::HUP);
    let reloading = manager.until("RELOADING", |text| text.contains("RELOADING=1"));
    assert!(value(&reloading, "MONOTONIC_USEC").is_some_and(|micros| micros > 0), "{reloading}");
    manager.until("READY after a reload", |text| text.contains("READY=1"));
    std::fs::write(dir.path().join("ringate.toml"), "what").unwrap();
    first.signal(Signal::HUP);
    manager.until("RELOADING", |text| text.contains("RELOADING=1"));
    let refused = manager.until("READY after a refused reload", |text| text.contains("READY=1"));
    assert!(refused.contains("refused"), "{refused}");
    // What can't be read is no upgrade either.
    first.signal(Signal::USR2);
    manager.until("RELOADING", |text| text.contains("RELOADING=1"));
    let failed = manager.until("READY after a failed upgrade", |text| text.contains("READY=1"));
    assert!(failed.contains("upgrade failed"), "{failed}");
    let address = free_address();
    let text = Setup::to(backend.address()).workers(1).text().replace("\"web\"", "\"other\"");
    let text = text.replace("127.0.0.1:0", &address.to_string());
    std::fs::write(dir.path().join("ringate.toml"), text).unwrap();
    first.signal(Signal::USR2);
    manager.until("RELOADING", |text| text.contains("RELOADING=1"));
    let main = manager.until("MAINPID", |text| text.contains("MAINPID="));
    let pid = value(&main, "MAINPID").unwrap();
    assert_ne!(pid, u64::from(first.pid()));
    // systemd takes a main process that is not its own child for one whose end it will not see.
    assert_ne!(parent(pid), u64::from(first.pid()), "the service manager's child, not the predecessor's");
    manager.until("READY of the new process", |text| text.contains("READY=1"));
    let names: Vec<&str> = manager.stored.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["other"], "those of the listener that has gone are not kept");
    assert!(eventually("its end", || first.ended()).success());
    manager.until("a sign of the new process's life", |text| text == "WATCHDOG=1");
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::TERM).unwrap();
    manager.until("STOPPING", |text| text.contains("STOPPING=1"));
    eventually("its end", || {
        (!Path::new(&format!("/proc/{pid}/fd")).exists() || get_refused(address)).then_some(())
    });
}

#[test]
#[cfg(debug_assertions)] // which have faults on demand
fn a_worker_that_makes_no_turn_leaves_the_watchdog_without_a_sign_of_life() {
    let (mut manager, backend) = (Manager::new(), Backend::replying(OK));
    let dir = config(&backend, free_address());
    let file = dir.path().join("now");
    let _process = manager.start_with(dir.path(), &[], |command| {
        command.env("RINGATE_TEST_FAULT", format!("beat block=6000 {}", file.display()));
    });
    manager.until("READY", |text| text.contains("READY=1"));
    manager.until("a sign of life", |text| text == "WATCHDOG=1");
    std::fs::write(&file, "").unwrap();
    // The process sends two signs within the manager's 400 ms, until a worker has been stuck for a second.
    let gap = (0..40).find(|_| {
        let since = Instant::now();
        manager.until("a sign of life", |text| text == "WATCHDOG=1");
        since.elapsed() > Duration::from_secs(3)
    });
    assert!(gap.is_some(), "signs of life came although a worker was stuck");
}

fn get_refused(address: SocketAddr) -> bool {
    Client::try_connect(address).is_err()
}

#[test]
fn sockets_that_are_kept_leave_no_gap_in_a_restart() {
    let (mut manager, backend) = (Manager::new(), Backend::replying(OK));
    let address = free_address();
    let dir = config(&backend, address);
    let mut first = manager.start(dir.path(), &[]);
    manager.until("READY", |text| text.contains("READY=1"));
    assert_eq!(get(address), 200);
    first.signal(Signal::TERM);
    assert!(first.wait().success());
    let waiting: Vec<Client> = (0..20)
        .map(|_| {
            let mut client = Client::connect(address);
            client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
            client
        })
        .collect();
    let stored = std::mem::take(&mut manager.stored);
    let sockets: Vec<(&str, &dyn AsFd)> =
        stored.iter().map(|(name, fd)| (&**name, fd as &dyn AsFd)).collect();
    let second = manager.start(dir.path(), &sockets);
    drop(sockets);
    drop(stored);
    for mut client in waiting {
        assert_eq!(client.response().status, 200);
    }
    second.signal(Signal::TERM);
}

#[test]
fn sockets_of_a_socket_unit_are_used_by_address_and_by_name() {
    let (manager, backend) = (Manager::new(), Backend::replying(OK));
    let (by_address, by_name, unknown) = (
        TcpListener::bind("127.0.0.1:0").unwrap(),
        TcpListener::bind("0.0.0.0:0").unwrap(),
        TcpListener::bind("127.0.0.1:0").unwrap(),
    );
    let port = by_name.local_addr().unwrap().port();
    let dir = tempfile::tempdir().unwrap();
    let text = Setup::to(backend.address())
        .workers(3)
        .section(&format!("[[listener]]\nname = \"named\"\naddress = \"127.0.0.1:{port}\""))
        .routes("[[route]]\nlistener = [\"web\", \"named\"]\nupstream = \"app\"")
        .text()
        .replace("127.0.0.1:0", &by_address.local_addr().unwrap().to_string());
    std::fs::write(dir.path().join("ringate.toml"), text).unwrap();
    let process = manager.start(dir.path(), &[("x", &by_address), ("named", &by_name), ("stray", &unknown)]);
    process.await_line("it listens", |line| line.contains("listener named").then_some(()));
    assert!(process.log().contains("belongs to no listener") && process.log().contains("stray"));
    let addresses = [&by_address, &by_name].map(|socket| socket.local_addr().unwrap());
    drop((by_address, by_name));
    for _ in 0..10 {
        assert_eq!(get(addresses[0]), 200);
        assert_eq!(get(SocketAddr::from(([127, 0, 0, 1], port))), 200);
    }
    process.signal(Signal::TERM);
}
