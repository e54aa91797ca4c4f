//! Clients that never stop, a gateway whose certificate is in a store, and the admin API.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use serde_json::Value;

use crate::support::*;

/// The name of the rotated certificate.
pub const NAME: &str = "gateway";
/// The two versions of TLS that backends speak.
pub const VERSIONS: [&rustls::SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];

/// Two authorities, a store with the first generation (of `old`), and Ringate before its backends.
pub struct Kit {
    pub pki: Pki,
    /// Issued the first generation.
    pub ours: Authority,
    /// Another one, which backends come to trust or don't.
    pub other: Authority,
    dir: tempfile::TempDir,
}

impl Kit {
    pub fn new() -> Self {
        let kit = Self {
            pki: Pki::new(),
            ours: Authority::new(),
            other: Authority::named("Another authority of the tests"),
            dir: tempfile::tempdir().unwrap(),
        };
        kit.ours.issue_into(&kit.store(), NAME, &leaf("old"));
        kit
    }

    pub fn store(&self) -> PathBuf {
        self.dir.path().join("certs")
    }

    /// A backend that trusts our authority.
    pub fn judge(&self, version: &'static rustls::SupportedProtocolVersion) -> Judge {
        Judge::start(&self.pki, version, &[&self.ours.file()])
    }

    /// The certificate is presented to all of these.
    pub fn setup(&self, endpoints: &[SocketAddr]) -> Setup {
        self.setup_with(endpoints, "")
    }

    /// The same with further lines for the upstream.
    pub fn setup_with(&self, endpoints: &[SocketAddr], lines: &str) -> Setup {
        let store = format!("[admin]\n[store]\npath = {:?}", self.store());
        let tls = format!(
            "{lines}timeouts = {{ connect = \"15s\" }}\n{}certificate = {NAME:?}\n",
            self.pki.upstream_tls()
        );
        Setup::to_all(endpoints.iter().copied()).workers(2).section(&store).upstream(&tls)
    }

    /// The next generation, with this common name, of our authority.
    pub fn stage(&self, name: &str) -> u32 {
        self.ours.stage_into(&self.store(), NAME, &leaf(name))
    }

    /// The next generation of an authority that only has the name of ours.
    pub fn stage_impostor(&self, name: &str) -> u32 {
        Authority::new().stage_into(&self.store(), NAME, &leaf(name))
    }

    /// The next generation, with this common name, of the other authority.
    pub fn stage_strange(&self, name: &str) -> u32 {
        self.other.stage_into(&self.store(), NAME, &leaf(name))
    }
}

/// How many rotations a test makes, unless scripts/rotation-soak asks for more.
pub fn rounds(usual: u32) -> u32 {
    std::env::var("RINGATE_TEST_ROTATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

pub fn leaf(name: &str) -> Leaf<'_> {
    Leaf { common_name: name, names: &[], ..Leaf::default() }
}

/// One call of the admin API. Returns the status and the answer.
pub fn call(ringate: &Ringate, method: &str, path: &str, body: &str) -> (u16, Value) {
    let socket = ringate.dir().join("run/admin.sock");
    // A socket's path is short; that of a test's folder may not be.
    let mut stream =
        UnixStream::connect(&socket).unwrap_or_else(|error| panic!("{}: {error}", socket.display()));
    // Full load on both CPUs leaves the control thread little, and a store's fsync may take a while.
    stream.set_read_timeout(Some(3 * PATIENCE)).unwrap();
    let json = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: ringate\r\nConnection: close\r\n{json}Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head[9..12].parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::String(body.to_owned())))
}

/// An order for the certificate, which must be obeyed.
pub fn order(ringate: &Ringate, what: &str, body: &str) -> Value {
    let (status, answer) = call(ringate, "POST", &format!("/v1/certificates/{NAME}/{what}"), body);
    assert_eq!(status, 200, "{what}: {answer:#}\n{}", ringate.log());
    answer
}

pub const FORCE: &str = "{\"force\": true}";

/// Where the generations are used.
pub fn report(ringate: &Ringate) -> Value {
    call(ringate, "GET", &format!("/v1/certificates/{NAME}/rotation"), "").1
}

/// Waits until the report says that the old generation is safe to revoke.
pub fn await_safe(ringate: &Ringate) -> Value {
    eventually("the old generation being safe to revoke", || {
        let report = report(ringate);
        (report["safe_to_revoke"]["safe"] == true).then_some(report)
    })
}

pub fn metric(ringate: &Ringate, name: &str) -> u64 {
    let (_, text) = call(ringate, "GET", "/metrics", "");
    let text = text.as_str().unwrap().to_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("ringate_{name}_total ")));
    line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
}

/// Clients that send one request after the other, GET and POST in turn, and count what is not answered with 200.
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    pub fn start(ringate: &Ringate, clients: usize) -> Self {
        Self::with(clients, ringate.address(), Client::connect, true)
    }

    /// `dial` makes a connection; a new one for each request unless they are kept.
    pub fn with(
        clients: usize,
        address: SocketAddr,
        dial: impl Fn(SocketAddr) -> Client + Clone + Send + 'static,
        kept: bool,
    ) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = (0..clients).map(|number| {
            let (stop, done, dial) = (Arc::clone(&stop), Arc::clone(&done), dial.clone());
            std::thread::spawn(move || {
                let mut failed = Vec::new();
                let mut client = dial(address);
                let mut round = number;
                while !stop.load(Ordering::Relaxed) {
                    round += 1;
                    let now = millis();
                    let request = match round % 2 {
                        0 => format!("GET / HTTP/1.1\r\nHost: h\r\n{STARTED}: {now}\r\n\r\n"),
                        _ => format!(
                            "POST / HTTP/1.1\r\nHost: h\r\n{STARTED}: {now}\r\nContent-Length: 5\r\n\r\nhello"
                        ),
                    };
                    let sent = client.try_send(request);
                    match sent.and_then(|()| client.try_response()) {
                        Ok(response) if response.status == 200 => {
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(response) => failed.push(response.head),
                        Err(error) => failed.push(error.to_string()),
                    }
                    if !kept || failed.len() > 3 {
                        client = dial(address);
                    }
                }
                failed
            })
        });
        let clients = clients.collect();
        Self { stop, done, clients }
    }

    /// Waits until so many more requests were answered.
    pub fn await_more(&self, count: u64) {
        let goal = self.done.load(Ordering::Relaxed) + count;
        eventually("requests under way", || (self.done.load(Ordering::Relaxed) >= goal).then_some(()));
    }

    /// Stops. Every request must have been answered. Returns how many there were.
    pub fn finish(self, ringate: &Ringate) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let failed: Vec<String> =
            self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        let done = self.done.load(Ordering::Relaxed);
        assert!(
            failed.is_empty(),
            "{} of {done} failed: {:?}\n{}",
            failed.len(),
            &failed[..failed.len().min(5)],
            ringate.log()
        );
        done
    }
}

/// Open descriptors and resident KiB of a process.
pub fn weight(pid: u32) -> (usize, u64) {
    let descriptors = std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd")).unwrap().count();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (descriptors, line.trim().split(' ').next().unwrap().parse().unwrap())
}
