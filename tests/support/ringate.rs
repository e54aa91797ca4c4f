//! The real binary with a config of the test's own.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use rustix::process::Signal;
use rustls::ClientConfig;
use tempfile::TempDir;

use super::{Client, Process, eventually};

/// A config in the making: one HTTP listener named `web`, one route, one upstream named `app`, one worker,
/// by default.
pub struct Setup {
    workers: usize,
    driver: &'static str,
    runtime: String,
    sections: String,
    listener: String,
    routes: String,
    endpoints: Vec<SocketAddr>,
    upstream: String,
}

impl Setup {
    /// Everything goes to one endpoint.
    pub fn to(endpoint: SocketAddr) -> Self {
        Self::to_all([endpoint])
    }

    /// Everything goes to these endpoints in turn.
    pub fn to_all(endpoints: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self {
            workers: 1,
            driver: "auto",
            runtime: String::new(),
            sections: String::new(),
            listener: "protocol = \"http\"".to_owned(),
            routes: "[[route]]\nupstream = \"app\"".to_owned(),
            endpoints: endpoints.into_iter().collect(),
            upstream: String::new(),
        }
    }

    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    pub fn driver(mut self, driver: &'static str) -> Self {
        self.driver = driver;
        self
    }

    /// Lines for `[runtime]`.
    pub fn runtime(mut self, lines: &str) -> Self {
        self.runtime = lines.to_owned();
        self
    }

    /// Lines for `[limits]`.
    pub fn limits(self, lines: &str) -> Self {
        self.section(&format!("[limits]\n{lines}"))
    }

    /// Whole sections: `[admin]`, `[store]`, `[log]`, further listeners and upstreams.
    pub fn section(mut self, lines: &str) -> Self {
        let _ = writeln!(self.sections, "{lines}");
        self
    }

    /// Lines for the listener, tables such as `[listener.tls]` last.
    pub fn listener(mut self, lines: &str) -> Self {
        self.listener = lines.to_owned();
        self
    }

    /// All `[[route]]` sections.
    pub fn routes(mut self, lines: &str) -> Self {
        self.routes = lines.to_owned();
        self
    }

    /// Lines for `[upstream.app]`, tables such as `[upstream.app.tls]` last.
    pub fn upstream(mut self, lines: &str) -> Self {
        self.upstream = lines.to_owned();
        self
    }

    /// The config file.
    pub fn text(&self) -> String {
        let Self { workers, driver, runtime, sections, listener, routes, upstream, .. } = self;
        let endpoints: Vec<String> = self.endpoints.iter().map(|address| format!("\"{address}\"")).collect();
        let endpoints = match &*endpoints {
            [] => String::new(), // the lines for the upstream say
            some => format!("endpoints = [{}]", some.join(", ")),
        };
        format!(
            "[runtime]\nworkers = {workers}\ndriver = \"{driver}\"\n{runtime}\n{sections}\n\
             [[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n{listener}\n\
             {routes}\n[upstream.app]\n{endpoints}\n{upstream}\n"
        )
    }

    /// Starts it, and waits until it listens.
    pub fn start(&self) -> Ringate {
        Ringate::start(&self.text())
    }
}

/// A running instance, killed when it is dropped.
pub struct Ringate {
    process: Process,
    dir: TempDir,
    listeners: Vec<(String, SocketAddr)>,
}

impl Ringate {
    /// Starts the binary with a config file, and waits until every listener in it listens.
    pub fn start(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ringate.toml"), config).unwrap();
        Self::start_in(dir, config.matches("[[listener]]").count())
    }

    /// Starts the binary with `ringate.toml` in `dir`, which names so many listeners.
    pub fn start_in(dir: TempDir, listeners: usize) -> Self {
        Self::start_as(dir, listeners, |_| {})
    }

    /// Starts the binary with a config file that names one listener, as a command that `adjust` may change.
    pub fn start_with(config: &str, adjust: impl FnOnce(&mut Command)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ringate.toml"), config).unwrap();
        Self::start_as(dir, 1, adjust)
    }

    /// The same of `start_in` by another name of the binary.
    pub fn start_by(
        program: &Path,
        dir: TempDir,
        listeners: usize,
        adjust: impl FnOnce(&mut Command),
    ) -> Self {
        Self::start_command(Command::new(program), dir, listeners, adjust)
    }

    fn start_as(dir: TempDir, listeners: usize, adjust: impl FnOnce(&mut Command)) -> Self {
        Self::start_command(Command::new(env!("CARGO_BIN_EXE_ringate")), dir, listeners, adjust)
    }

    fn start_command(
        mut command: Command,
        dir: TempDir,
        listeners: usize,
        adjust: impl FnOnce(&mut Command),
    ) -> Self {
        plain(&mut command);
        command.arg("run").arg("-c").arg(dir.path().join("ringate.toml"));
        adjust(&mut command);
        let process = Process::start(&mut command);
        let mut found: Vec<(String, SocketAddr)> = Vec::new();
        while found.len() < listeners {
            found.push(process.await_line("where it listens", |line| {
                listener(line).filter(|(name, _)| found.iter().all(|(known, _)| known != name))
            }));
        }
        Self { process, dir, listeners: found }
    }

    /// The binary, with nothing of the test runner's environment that would change what it says.
    pub fn command() -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringate"));
        plain(&mut command);
        command
    }

    /// Where the first listener listens.
    pub fn address(&self) -> SocketAddr {
        self.listeners[0].1
    }

    /// Where the listener of that name listens.
    pub fn address_of(&self, name: &str) -> SocketAddr {
        let found = self.listeners.iter().find(|(known, _)| known == name);
        found.unwrap_or_else(|| panic!("no listener {name}")).1
    }

    /// `http://` and the first listener's address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The folder of its config file.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A new connection to the first listener.
    pub fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// A new TLS connection to the first listener, which must prove to be localhost.
    pub fn tls_client(&self, config: Arc<ClientConfig>) -> Client {
        Client::tls(self.address(), config, "localhost")
    }

    /// One request on a connection of its own.
    pub fn get(&self, path: &str) -> super::Response {
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        self.client().send(request).response()
    }

    /// A metric's value, by its name without `ringate_`. Needs `[admin]` with its default socket.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.admin("/metrics");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("ringate_")?.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no metric {name} in\n{text}")).trim().parse().unwrap()
    }

    /// What the admin server answers to GET. Needs `[admin]` with its default socket.
    pub fn admin(&self, path: &str) -> String {
        let socket = self.dir().join("run/admin.sock");
        // The listeners are there a moment before it.
        let mut admin = eventually("the admin socket", || UnixStream::connect(&socket).ok());
        let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
        admin.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        admin.read_to_string(&mut text).unwrap();
        text.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// Waits until a metric has this value.
    pub fn await_metric(&self, name: &str, value: u64) {
        eventually(&format!("{name} being {value}, not {}", self.metric(name)), || {
            (self.metric(name) == value).then_some(())
        });
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// All it logged so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits for a line of the log with `text` in it.
    pub fn await_log(&self, text: &str) -> String {
        self.process.await_line(text, |line| line.contains(text).then(|| line.to_owned()))
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits until a drain has reached the workers: new connections are refused.
    pub fn await_drain(&self) {
        eventually("new connections being refused", || Client::try_connect(self.address()).err());
    }

    /// Sends SIGTERM, waits for the end, and returns all that was logged.
    pub fn terminate_and_log(mut self) -> String {
        self.signal(Signal::TERM);
        self.wait();
        self.log()
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> ExitStatus {
        self.process.wait()
    }
}

/// Takes what would change the binary's output out of its environment.
fn plain(command: &mut Command) {
    command.env_remove("RUST_LOG").env("NO_COLOR", "1");
}

/// Name and first address from `listener NAME: http on ADDRESS`, in a log of either format.
fn listener(line: &str) -> Option<(String, SocketAddr)> {
    let (name, rest) = line.split_once([' ', '"'])?.1.split_once("listener ")?.1.split_once(": ")?;
    let addresses = rest.split_once(" on ")?.1;
    let first = addresses.split([',', '"']).next()?;
    Some((name.to_owned(), first.trim().parse().ok()?))
}
