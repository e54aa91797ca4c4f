//! Another process takes the place of the one that runs: by `ringate upgrade`, SIGUSR2 or the API, and by a plain restart. No
//! request is lost, and what cannot start changes nothing.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::http::OK;
use crate::support::*;

mod http2;
mod lookups;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// An instance that was started by a link to the binary, which can be pointed elsewhere, and its successors.
struct Upgradable {
    ringate: Ringate,
    program: PathBuf,
    _folder: tempfile::TempDir,
}

impl Upgradable {
    fn start(config: &str) -> Self {
        Self::start_and_await(config, config.matches("[[listener]]").count())
    }

    /// Starts it, and waits until so many of its listeners listen on IP addresses.
    fn start_and_await(config: &str, listeners: usize) -> Self {
        Self::start_adjusted(config, listeners, |_| {})
    }

    fn start_adjusted(config: &str, listeners: usize, adjust: impl FnOnce(&mut Command)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("ringate");
        symlink(env!("CARGO_BIN_EXE_ringate"), &program).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ringate.toml"), config).unwrap();
        let ringate = Ringate::start_by(&program, dir, listeners, adjust);
        Self { ringate, program, _folder: folder }
    }

    fn dir(&self) -> &Path {
        self.ringate.dir()
    }

    /// From now on the command starts this script.
    fn replace_by(&self, script: &str) {
        let path = self.program.with_extension("sh");
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        self.point_at(&path);
    }

    fn point_at(&self, target: &Path) {
        std::fs::remove_file(&self.program).unwrap();
        symlink(target, &self.program).unwrap();
    }

    fn command(&self, args: &[&str]) -> Output {
        let mut command = Ringate::command();
        run(command.args(args).arg("-c").arg(self.dir().join("ringate.toml")))
    }

    /// Upgrades. Returns the new process's id.
    fn upgrade(&self) -> u32 {
        let output = self.command(&["upgrade", "--json"]);
        assert!(output.status.success(), "{output:?}\n{}", self.ringate.log());
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        u32::try_from(answer["pid"].as_u64().unwrap()).unwrap()
    }

    /// A call of the admin API: status and body.
    fn call(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        call(self.dir(), method, path, body)
    }

    /// Waits for the end of the first process. Its successors still have its standard streams.
    fn first_ends(&mut self) {
        let status = eventually("the end of the first process", || self.ringate.process().ended());
        assert!(status.success(), "{status}");
    }

    /// Every process that was started in the place of another one.
    fn successors(&self) -> Vec<u32> {
        let log = self.ringate.log();
        let lines = log.lines().filter(|line| line.contains("was started as process"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect()
    }
}

impl Drop for Upgradable {
    fn drop(&mut self) {
        for pid in self.successors() {
            kill(pid, Signal::KILL);
        }
    }
}

fn kill(pid: u32, signal: Signal) {
    let _ = Pid::from_raw(pid as i32).map(|pid| kill_process(pid, signal));
}

fn call(dir: &Path, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect(dir.join("run/admin.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

/// Whether the process runs. Its state is Z once it has ended and its parent has not waited for it.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

fn await_end(pid: u32) {
    eventually(&format!("the end of process {pid}"), || (!runs(pid)).then_some(()));
}

/// Clients that go on until the end: half of them keep their connections.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    clients: Vec<std::thread::JoinHandle<Vec<String>>>,
}

impl Load {
    fn on(address: SocketAddr, clients: usize) -> Self {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let clients = (0..clients).map(|number| {
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            std::thread::spawn(move || Self::client(address, number % 2 == 0, &stop, &done))
        });
        Self { clients: clients.collect(), stop, done }
    }

    /// Returns what went wrong.
    fn client(address: SocketAddr, keeps: bool, stop: &AtomicBool, done: &AtomicUsize) -> Vec<String> {
        let mut faults = Vec::new();
        let mut kept: Option<Client> = None;
        while !stop.load(Ordering::SeqCst) {
            let request = if keeps { GET } else { "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" };
            let fresh = kept.is_none();
            let mut client = match kept.take().map_or_else(|| Client::try_connect(address), Ok) {
                Ok(client) => client,
                Err(error) => {
                    faults.push(format!("connect: {error}"));
                    continue;
                }
            };
            let response = client.try_send(request).and_then(|()| client.try_response());
            match response {
                Ok(response) if response.status == 200 => {
                    done.fetch_add(1, Ordering::SeqCst);
                    let is_last = response.header("Connection") == Some("close");
                    kept = Some(client).filter(|_| keeps && !is_last);
                }
                Ok(response) => faults.push(format!("status {}", response.status)),
                // A kept connection that was idle for a moment may close under a request (RFC 9112 §9.3.1): the client repeats it.
                Err(error) if !fresh => drop(error),
                Err(error) => faults.push(format!("a new connection: {error}")),
            }
        }
        faults
    }

    /// Waits for so many further requests.
    fn go_on(&self, requests: usize) {
        let until = self.done.load(Ordering::SeqCst) + requests;
        eventually("further requests", || (self.done.load(Ordering::SeqCst) >= until).then_some(()));
    }

    fn end(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        let faults: Vec<String> =
            self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        assert!(faults.is_empty(), "{} faults: {:?}", faults.len(), &faults[..faults.len().min(5)]);
        self.done.load(Ordering::SeqCst)
    }
}

/// Descriptors of a process, and its resident memory in KiB.
fn figures(dir: &Path) -> (u64, u64) {
    let mut stream = UnixStream::connect(dir.join("run/admin.sock")).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let value = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or_default() as u64
    };
    (value("process_open_fds"), value("process_resident_memory_bytes") / 1024)
}

#[test]
fn upgrades_in_a_row_lose_no_request_and_leave_nothing_behind() {
    let backend = Backend::replying(OK);
    let config = Setup::to(backend.address()).workers(2).section("[admin]").text();
    let mut upgradable = Upgradable::start(&config);
    let load = Load::on(upgradable.ringate.address(), 6);
    load.go_on(100);
    let rounds = std::env::var("RINGATE_UPGRADES").ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    let mut last = None;
    for _ in 0..rounds {
        let pid = upgradable.upgrade();
        load.go_on(100);
        if let Some(before) = last.replace(pid) {
            await_end(before);
        }
    }
    let requests = load.end();
    upgradable.first_ends();
    let status = upgradable.call("GET", "/v1/status", "").1;
    assert_eq!(status["draining"], false);
    let (descriptors, memory) = figures(upgradable.dir());
    println!("{requests} requests, {rounds} upgrades, {descriptors} descriptors, {memory} KiB");
    // Descriptors of the first one: no connection of a client is among them that another process has closed.
    let pid = last.unwrap();
    let sockets = std::fs::read_dir(format!("/proc/{pid}/fd")).map(Iterator::count).unwrap_or_default();
    assert!(sockets < 80, "{sockets} descriptors after {rounds} upgrades");
}

/// The kernel wakes one of the processes that accept on a socket. Here it is the one that is about to stop: it has been told
/// to, and has not told the kernel yet.
#[test]
fn a_connection_that_has_woken_the_old_process_is_served() {
    let backend = Backend::replying(OK);
    let config = Setup::to(backend.address()).workers(1).section("[admin]").text();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("now");
    let upgradable = Upgradable::start_adjusted(&config, 1, |command| {
        command.env("RINGATE_TEST_FAULT", format!("drain block=2000 {}", file.display()));
    });
    std::fs::write(&file, "").unwrap();
    upgradable.upgrade();
    eventually("the old worker to be blocked", || (!file.exists()).then_some(()));
    assert_eq!(upgradable.ringate.get("/").status, 200);
}

#[test]
fn what_does_not_start_changes_nothing_and_the_reason_is_shown() {
    let backend = Backend::replying(OK);
    let config = Setup::to(backend.address()).section("[admin]").text();
    let upgradable = Upgradable::start(&config);
    let pid = upgradable.ringate.pid();
    let failed = |timeout: &str, reason: &str| {
        let output = upgradable.command(&["upgrade", "--timeout", timeout]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains(reason), "{reason}: {output:?}");
        assert_eq!(upgradable.ringate.get("/").status, 200);
        assert!(runs(pid));
    };
    upgradable.replace_by("#!/bin/sh\nexit 3\n");
    failed("20", "ended before it was ready: exit status: 3");
    upgradable.replace_by("#!/bin/sh\nexec sleep 600\n");
    let begun = Instant::now();
    failed("1", "was not ready in time");
    assert!(begun.elapsed() < Duration::from_secs(10));
    std::fs::remove_file(&upgradable.program).unwrap();
    std::fs::write(&upgradable.program, "#!/bin/sh\n").unwrap();
    failed("20", "can't be started");
    // A shell would run what is left of a program.
    upgradable.replace_by("exit 3\n");
    failed("20", "is no program");
    upgradable.point_at(Path::new(env!("CARGO_BIN_EXE_ringate")));
    let file = upgradable.dir().join("ringate.toml");
    std::fs::write(&file, config.replace("protocol = \"http\"", "protocol = \"htp\"")).unwrap();
    failed("20", "htp");
    let (status, problem) = upgradable.call("POST", "/v1/upgrade", "");
    assert_eq!((status, &problem["type"]), (422, &json!("/v1/problems/upgrade")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("htp"), "{problem}");
    assert_eq!(upgradable.call("POST", "/v1/upgrade", "{\"timeout_seconds\": 0}").0, 422);
    // Each of them has ended, and the next one that starts takes over.
    for successor in upgradable.successors() {
        await_end(successor);
    }
    std::fs::write(&file, &config).unwrap();
    let next = upgradable.upgrade();
    await_end(pid);
    assert!(runs(next) && upgradable.ringate.get("/").status == 200);
}

#[test]
fn one_upgrade_at_a_time_and_none_of_a_process_that_drains() {
    let (backend, go) = Backend::held_back();
    let config = Setup::to(backend.address()).section("[admin]").text();
    let mut upgradable = Upgradable::start(&config);
    upgradable.replace_by("#!/bin/sh\nexec sleep 600\n");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| upgradable.call("POST", "/v1/upgrade", "{\"timeout_seconds\": 2}"));
        upgradable.ringate.await_log("was started as process");
        let (status, problem) = upgradable.call("POST", "/v1/upgrade", "");
        assert_eq!((status, &problem["type"]), (409, &json!("/v1/problems/upgrading")), "{problem}");
        assert_eq!(first.join().unwrap().0, 422);
    });
    let mut busy = upgradable.ringate.client();
    busy.send(GET);
    backend.request();
    upgradable.ringate.signal(Signal::TERM);
    upgradable.ringate.await_log("draining");
    let (status, problem) = upgradable.call("POST", "/v1/upgrade", "");
    assert_eq!((status, &problem["type"]), (409, &json!("/v1/problems/draining")), "{problem}");
    go.send(()).unwrap();
    assert_eq!(busy.response().status, 200);
    upgradable.first_ends();
}

#[test]
fn what_is_changed_meanwhile_is_in_force_in_the_new_process_or_refused() {
    let backend = Backend::replying(OK);
    let config = Setup::to(backend.address()).section("[admin]").text();
    let upgradable = Upgradable::start(&config);
    let (status, made) = upgradable.call("POST", "/v1/certificates", r#"{"name":"one","common_name":"one"}"#);
    assert_eq!(status, 201, "{made}");
    upgradable.replace_by(&format!("#!/bin/sh\nsleep 1\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_ringate")));
    let post = |path: &'static str, body: &'static str| upgradable.call("POST", path, body);
    std::thread::scope(|scope| {
        let upgrade = scope.spawn(|| post("/v1/upgrade", ""));
        upgradable.ringate.await_log("was started as process");
        scope.spawn(|| assert_draining(&post("/v1/consumers", r#"{"name":"bob"}"#)));
        scope.spawn(|| assert_draining(&post("/v1/certificates/one/activate", "{}")));
        assert_eq!(upgrade.join().unwrap().0, 200);
    });
    assert_eq!(upgradable.call("POST", "/v1/consumers", r#"{"name":"bob"}"#).0, 201);
    assert_eq!(upgradable.call("GET", "/v1/consumers", "").1["consumers"][0]["name"], "bob");
}

fn assert_draining((status, problem): &(u16, Value)) {
    assert_eq!((*status, &problem["type"]), (409, &json!("/v1/problems/draining")), "{problem}");
}

#[test]
fn a_socket_whose_file_is_gone_is_made_anew() {
    let backend = Backend::replying(OK);
    let local = "[[listener]]\nname = \"local\"\naddress = \"unix:web.sock\"\nprotocol = \"http\"";
    let setup = Setup::to(backend.address()).section(&format!("[admin]\n{local}"));
    let config = setup.routes("[[route]]\nlistener = [\"web\", \"local\"]\nupstream = \"app\"").text();
    let mut upgradable = Upgradable::start_and_await(&config, 1);
    for gone in ["run/admin.sock", "web.sock"] {
        std::fs::remove_file(upgradable.dir().join(gone)).unwrap();
    }
    upgradable.ringate.signal(Signal::USR2);
    upgradable.ringate.await_log("upgraded (SIGUSR2)");
    upgradable.first_ends();
    assert_eq!(upgradable.call("GET", "/v1/status", "").0, 200);
    UnixStream::connect(upgradable.dir().join("web.sock")).unwrap();
}

#[test]
fn an_admin_socket_that_was_made_anew_is_handed_over() {
    let backend = Backend::replying(OK);
    let mut upgradable = Upgradable::start(&Setup::to(backend.address()).section("[admin]").text());
    std::fs::remove_file(upgradable.dir().join("run/admin.sock")).unwrap();
    upgradable.ringate.signal(Signal::HUP);
    upgradable.ringate.await_log("it is made anew");
    upgradable.upgrade();
    upgradable.first_ends();
    assert_eq!(upgradable.call("GET", "/v1/status", "").0, 200);
}

#[test]
fn what_is_under_way_lives_on_in_the_old_process_until_its_drain_ends() {
    let (backend, go) = Backend::held_back();
    let echo = Server::start(None, |stream| {
        let mut piece = [0; 64];
        loop {
            let count = stream.read(&mut piece)?;
            if count == 0 {
                return Ok(());
            }
            stream.get_mut().write_all(&piece[..count])?;
        }
    });
    let config = Setup::to(backend.address())
        .runtime("drain = \"4s\"")
        .section(&format!(
            "[admin]\n[[listener]]\nname = \"line\"\naddress = \"127.0.0.1:0\"\nprotocol = \"tcp\"\n[[route]]\nlistener = \
             \"line\"\nupstream = \"echo\"\n[upstream.echo]\nendpoints = [\"{}\"]",
            echo.address()
        ))
        .routes("[[route]]\nlistener = \"web\"\nupstream = \"app\"")
        .text();
    let mut upgradable = Upgradable::start(&config);
    let mut session = Client::connect(upgradable.ringate.address_of("line"));
    assert_eq!(session.send("before").bytes(6), b"before");
    let mut busy = Client::connect(upgradable.ringate.address_of("web"));
    busy.send(GET);
    backend.request();
    upgradable.ringate.signal(Signal::USR2);
    upgradable.ringate.await_log("upgraded (SIGUSR2)");
    upgradable.ringate.await_log("draining for process");
    let begun = Instant::now();
    // For a moment both have accepted.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(session.send("during").bytes(6), b"during");
    go.send(()).unwrap();
    let response = busy.response();
    assert_eq!((response.status, response.header("Connection")), (200, Some("close")));
    // New ones are served meanwhile.
    let mut next = Client::connect(upgradable.ringate.address_of("line"));
    assert_eq!(next.send("next").bytes(4), b"next");
    upgradable.first_ends();
    assert!(begun.elapsed() > Duration::from_secs(2), "the session had its time");
    session.ends();
    assert_eq!(next.send("on").bytes(2), b"on");
}

#[test]
fn listeners_and_workers_may_change_and_every_kind_of_socket_is_passed_on() {
    let backend = Backend::replying(OK);
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.set_read_timeout(Some(PATIENCE)).unwrap();
    let at = udp.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut piece = [0; 64];
        while let Ok((count, from)) = udp.recv_from(&mut piece) {
            let _ = udp.send_to(&piece[..count], from);
        }
    });
    let other = |name: &str, address: &str, protocol: &str| {
        format!("[[listener]]\nname = \"{name}\"\naddress = \"{address}\"\nprotocol = \"{protocol}\"")
    };
    let sections = |listeners: &[String]| {
        format!(
            "[admin]\n{}\n[[route]]\nlistener = \"names\"\nupstream = \"names\"\n[upstream.names]\nendpoints = [\"{at}\"]\n\
             timeouts.idle = \"300ms\"",
            listeners.join("\n")
        )
    };
    let (gone, added) = (free_address(), free_address());
    let routes = "[[route]]\nlistener = [\"web\", \"local\", \"EXTRA\"]\nupstream = \"app\"";
    let config = |workers: usize, extra: &str, address: SocketAddr| {
        let listeners = [
            other("names", "127.0.0.1:0", "udp"),
            other("local", "unix:web.sock", "http"),
            other(extra, &address.to_string(), "http"),
        ];
        let setup = Setup::to(backend.address()).workers(workers).section(&sections(&listeners));
        setup.routes(&routes.replace("EXTRA", extra)).text()
    };
    let upgradable = Upgradable::start_and_await(&config(3, "gone", gone), 3);
    let file = upgradable.dir().join("ringate.toml");
    let (web, names) = (upgradable.ringate.address_of("web"), upgradable.ringate.address_of("names"));
    let local = upgradable.dir().join("web.sock");
    let ask = || {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.connect(names).unwrap();
        client.send(b"who").unwrap();
        let mut piece = [0; 8];
        assert_eq!(client.recv(&mut piece).unwrap(), 3);
    };
    let get = |address: SocketAddr| {
        let mut client = Client::connect(address);
        client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").response().status
    };
    let get_local = || {
        let mut stream = UnixStream::connect(&local).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    };
    let mut last = upgradable.ringate.pid();
    for workers in [1, 4, 2] {
        std::fs::write(&file, config(workers, "added", added)).unwrap();
        let next = upgradable.upgrade();
        await_end(std::mem::replace(&mut last, next));
        for _ in 0..8 {
            assert_eq!((get(web), get(added)), (200, 200), "{workers} workers");
            get_local();
            ask();
        }
        eventually("its listener has left the config", || Client::try_connect(gone).err());
        let status = upgradable.call("GET", "/v1/status", "").1;
        assert_eq!(status["workers"].as_array().unwrap().len(), workers);
    }
    kill(last, Signal::TERM);
    await_end(last);
    assert!(!local.exists() && !upgradable.dir().join("run/admin.sock").exists());
}

#[test]
fn sessions_limits_and_ejections_are_handed_over() {
    let pki = Pki::new();
    let backend = Backend::replying(OK);
    let gone = free_address();
    let config = Setup::to_all([backend.address(), gone])
        .section("[admin]")
        .listener(&format!("rate_limit = {{ rate = \"5/h\", burst = 5 }}\n{}", pki.listener_tls()))
        .upstream("health = { type = \"tcp\", interval = \"1h\", fall = 1 }")
        .text();
    let upgradable = Upgradable::start(&config);
    let failed_checks = || {
        let upstream = upgradable.call("GET", "/v1/upstreams/app", "").1;
        let all = upstream["addresses"].as_array().unwrap().clone();
        let down = all.iter().find(|one| one["state"] == "down")?;
        down["check"]["failed"].as_u64()
    };
    assert_eq!(eventually("the first check", failed_checks), 1);
    let tls = pki.client_config();
    let ask = || {
        let mut client = upgradable.ringate.tls_client(Arc::clone(&tls));
        client.send("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").response().status
    };
    assert_eq!([(); 3].map(|()| ask()), [200; 3]);
    let session = upgradable.dir().join("session");
    let s_client = |args: &[&str]| {
        let mut command = Command::new("openssl");
        let address = upgradable.ringate.address().to_string();
        command.args(["s_client", "-connect", &address, "-tls1_2"]).args(args);
        let output = run(&mut command);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let first = s_client(&["-sess_out", session.to_str().unwrap()]);
    assert!(first.contains("New, "), "{first}");
    upgradable.upgrade();
    let second = s_client(&["-sess_in", session.to_str().unwrap()]);
    assert!(second.contains("Reused, "), "{second}");
    eventually("a check that is counted on", || failed_checks().filter(|count| *count == 2));
    assert_eq!([(); 3].map(|()| ask()), [200, 200, 429]);
}

#[test]
fn a_restart_needs_not_wait_for_the_drain() {
    let (backend, go) = Backend::held_back();
    let dir = tempfile::tempdir().unwrap();
    let address = free_address();
    let token = dir.path().join("token");
    std::fs::write(&token, "0123456789abcdef").unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    let admin = free_address();
    let config = Setup::to(backend.address())
        .section(&format!(
            "[admin]\nlisten = [\"unix:run/admin.sock\", \"{admin}\"]\ntoken_file = \"token\"\n[[listener]]\nname = \"local\"\n\
             address = \"unix:web.sock\""
        ))
        .routes("[[route]]\nlistener = [\"web\", \"local\"]\nupstream = \"app\"")
        .text()
        .replace("127.0.0.1:0", &address.to_string());
    std::fs::write(dir.path().join("ringate.toml"), config).unwrap();
    let start = || {
        let mut command = Ringate::command();
        Process::start(command.arg("run").arg("-c").arg(dir.path().join("ringate.toml")))
    };
    let serves = |process: &Process| {
        process.await_line("that it listens", |line| line.contains("listener web").then_some(()));
    };
    let mut old = start();
    serves(&old);
    let mut busy = Client::connect(address);
    busy.send(GET);
    backend.request();
    old.signal(Signal::TERM);
    let begun = Instant::now();
    let mut new = start();
    serves(&new);
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(old.ended().is_none(), "it drains");
    let mut client = Client::connect(address);
    client.send(GET);
    backend.request();
    let drains = || call(dir.path(), "GET", "/v1/status", "").1["draining"].clone();
    assert_eq!(drains(), false, "the admin socket is the new one's");
    assert!(
        Client::connect(admin).send("GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n").response().status
            == 200
    );
    // The old one takes no file of the new one with it.
    go.send(()).unwrap();
    go.send(()).unwrap();
    assert_eq!((busy.response().status, client.response().status), (200, 200));
    assert!(old.wait().success());
    assert_eq!(drains(), false);
    assert!(UnixStream::connect(dir.path().join("web.sock")).is_ok());
    new.signal(Signal::TERM);
    drop(client);
    assert!(new.wait().success());
}
