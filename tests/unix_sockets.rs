//! Unix sockets carry traffic as TCP does: as endpoints of an upstream and as addresses of a listener.

use std::io::{Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::http::OK;
use crate::support::*;

/// An HTTP backend on a Unix socket that answers every request with `ok`. It notes what each connection began with.
struct Local {
    heads: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Local {
    fn start(listener: UnixListener) -> Self {
        let (heads, connections) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicUsize>::default());
        let (noted, counted) = (Arc::clone(&heads), Arc::clone(&connections));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                counted.fetch_add(1, Ordering::SeqCst);
                let noted = Arc::clone(&noted);
                std::thread::spawn(move || Self::serve(stream, &noted));
            }
        });
        Self { heads, connections }
    }

    fn serve(mut stream: UnixStream, noted: &Mutex<Vec<String>>) {
        let mut held = Vec::new();
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut piece) {
            held.extend_from_slice(&piece[..count]);
            while let Some(end) = held.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = held.drain(..end + 4).collect();
                noted.lock().unwrap().push(String::from_utf8(head).unwrap());
                if stream.write_all(OK).is_err() {
                    return;
                }
            }
        }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn last_head(&self) -> String {
        self.heads.lock().unwrap().last().cloned().unwrap()
    }
}

fn socket(name: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    (dir, path)
}

fn to(path: &Path, lines: &str) -> Setup {
    Setup::to_all([])
        .section("[admin]")
        .upstream(&format!("endpoints = [\"unix:{}\"]\n{lines}", path.display()))
}

const GET: &str = "GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n";

#[test]
fn requests_go_to_a_unix_socket_and_its_connections_are_kept() {
    for driver in ["auto", "epoll"] {
        let (_dir, path) = socket("app.sock");
        let backend = Local::start(UnixListener::bind(&path).unwrap());
        let ringate = to(&path, "").driver(driver).start();
        let mut client = ringate.client();
        for _ in 0..5 {
            assert_eq!(client.send(GET).response().text(), "ok", "{driver}");
        }
        assert_eq!(backend.connections(), 1, "{driver}");
        assert!(backend.last_head().contains("\r\nHost: shop.example\r\n"), "{}", backend.last_head());
        // HTTP/1.0 need not name a host.
        assert_eq!(ringate.client().send("GET / HTTP/1.0\r\n\r\n").response().text(), "ok");
        assert!(
            backend.last_head().to_lowercase().contains("\r\nhost: localhost\r\n"),
            "{}",
            backend.last_head()
        );
        let shown = format!("unix:{}", path.display());
        let status: serde_json::Value = serde_json::from_str(&ringate.admin("/v1/upstreams")).unwrap();
        let address = &status[0]["addresses"][0];
        assert_eq!(
            (&address["endpoint"], &address["state"]),
            (&shown.clone().into(), &"up".into()),
            "{status}"
        );
        assert!(
            ringate
                .admin("/metrics")
                .contains(&format!("ringate_endpoint_up{{upstream=\"app\",endpoint=\"{shown}\"}} 1"))
        );
    }
}

#[test]
fn a_relative_path_is_of_the_config_s_folder_and_an_at_sign_is_abstract() {
    let dir = tempfile::tempdir().unwrap();
    let _file = Local::start(UnixListener::bind(dir.path().join("app.sock")).unwrap());
    let name = format!("ringate-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let hidden = Local::start(UnixListener::bind_addr(&address).unwrap());
    let endpoints = format!("endpoints = [\"unix:app.sock\", \"unix:@{name}\"]");
    std::fs::write(dir.path().join("ringate.toml"), Setup::to_all([]).upstream(&endpoints).text()).unwrap();
    let ringate = Ringate::start_in(dir, 1);
    for _ in 0..4 {
        assert_eq!(ringate.get("/").text(), "ok");
    }
    assert_eq!(hidden.heads.lock().unwrap().len(), 2);
}

#[test]
fn nginx_serves_long_bodies_and_tls_over_a_unix_socket() {
    let pki = Pki::new();
    let (dir, plain) = socket("plain.sock");
    let tls = dir.path().join("tls.sock");
    let (cert, key) = (pki.file("server.pem"), pki.file("server.key"));
    let nginx = Nginx::plain(&format!(
        "listen unix:{};\nlisten unix:{} ssl;\nssl_certificate {};\nssl_certificate_key {};",
        plain.display(),
        tls.display(),
        cert.display(),
        key.display()
    ));
    let body = "0123456789abcdef".repeat(256 * 1024);
    std::fs::write(nginx.root().join("long"), &body).unwrap();
    for (path, lines) in [(&plain, String::new()), (&tls, pki.upstream_tls())] {
        for driver in ["auto", "epoll"] {
            let ringate = to(path, &lines).driver(driver).start();
            for _ in 0..2 {
                let answer = ringate.get("/long");
                assert_eq!(answer.status, 200, "{path:?} {driver}");
                assert!(answer.text() == body, "{path:?} {driver}");
            }
        }
    }
    let ringate = to(&plain, "").start();
    let config = ringate.dir().join("ringate.toml");
    let probed = run(Ringate::command().args(["probe", "--upstream", "app", "-c"]).arg(config));
    let said = String::from_utf8_lossy(&probed.stdout).into_owned();
    assert!(probed.status.success() && said.contains("unix:"), "{said}");
}

#[test]
fn the_proxy_header_names_the_client_and_the_probe_names_none() {
    let (_dir, path) = socket("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let ringate = to(&path, "proxy_protocol = \"v1\"").start();
    let mut client = ringate.client();
    client.send(GET);
    let (mut stream, _) = listener.accept().unwrap();
    let mut seen = [0; 512];
    let count = stream.read(&mut seen).unwrap();
    let text = String::from_utf8_lossy(&seen[..count]).into_owned();
    let own =
        format!("127.0.0.1 127.0.0.1 {} {}\r\n", client.local_address().port(), ringate.address().port());
    assert!(text.starts_with(&format!("PROXY TCP4 {own}")), "{text}");
}

#[test]
fn a_full_accept_queue_is_waited_for_and_a_missing_socket_is_passed_over() {
    let (dir, path) = socket("app.sock");
    let listening = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    listening.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    listening.listen(0).unwrap();
    // One waits in the queue: the next one finds it full.
    let waiting = UnixStream::connect(&path).unwrap();
    let ringate = to(&path, "").start();
    let mut client = ringate.client();
    client.send(GET);
    std::thread::sleep(Duration::from_millis(100));
    let _backend = Local::start(listening.into());
    assert_eq!(client.response().text(), "ok");
    drop(waiting);

    let missing = dir.path().join("missing.sock");
    let other = Backend::replying(OK);
    let endpoints = format!("endpoints = [\"unix:{}\", \"{}\"]", missing.display(), other.address());
    let ringate = Setup::to_all([]).upstream(&endpoints).start();
    for _ in 0..4 {
        assert_eq!(ringate.get("/").text(), "ok");
    }
    let alone = to(&missing, "").start();
    assert_eq!(alone.get("/").status, 502);
    alone.await_log("unix:");
}

#[test]
fn tls_without_a_name_is_refused_where_no_request_names_one() {
    let dir = tempfile::tempdir().unwrap();
    let text = Setup::to_all([])
        .listener("protocol = \"tcp\"")
        .upstream("endpoints = [\"unix:app.sock\"]\n[upstream.app.tls]")
        .text();
    std::fs::write(dir.path().join("ringate.toml"), text).unwrap();
    let checked = run(Ringate::command().arg("check").arg("-c").arg(dir.path().join("ringate.toml")));
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(!checked.status.success() && said.contains("tls.server_name"), "{said}");
}

/// A config whose listener has a Unix socket, too.
fn listening(setup: &Setup, lines: &str) -> String {
    let address = format!("address = [\"127.0.0.1:0\", \"unix:web.sock\"]\n{lines}");
    setup.text().replace("address = \"127.0.0.1:0\"", &address)
}

/// One request over the listener's socket, and all that it got.
fn over(path: &Path, request: &str) -> String {
    let mut client = eventually("the listener's socket", || UnixStream::connect(path).ok());
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    text
}

const LAST: &str = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

fn mode(path: &Path) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions()) & 0o777
}

#[test]
fn a_listener_on_a_unix_socket_serves_and_its_file_ends_with_it() {
    for driver in ["auto", "epoll"] {
        let backend = Backend::replying(OK);
        let setup =
            Setup::to(backend.address()).workers(3).driver(driver).section("[log]\naccess = \"access.log\"");
        let ringate = Ringate::start(&listening(&setup, ""));
        let path = ringate.dir().join("web.sock");
        for _ in 0..12 {
            let answer = over(&path, LAST);
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"), "{driver}: {answer}");
        }
        assert_eq!(mode(&path), 0o660, "{driver}");
        let request = backend.request();
        assert_eq!(request.header("x-forwarded-for"), Some("unix:"), "{driver}");
        if have("curl") {
            let said = run(std::process::Command::new("curl").args([
                "-s",
                "--unix-socket",
                path.to_str().unwrap(),
                "http://shop.example/",
            ]));
            assert_eq!(String::from_utf8_lossy(&said.stdout), "ok");
        }
        let access = ringate.dir().join("access.log");
        eventually("a line of the access log", || {
            std::fs::read_to_string(&access).ok().filter(|text| text.contains("unix:"))
        });
        // Reloads keep the socket, and what waits in it; only the mode changes.
        let config = ringate.dir().join("ringate.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap());
        std::fs::write(&config, text.replace("unix:web.sock\"]", "unix:web.sock\"]\nsocket_mode = \"600\""))
            .unwrap();
        ringate.signal(rustix::process::Signal::HUP);
        eventually("the new mode", || (mode(&path) == 0o600).then_some(()));
        assert_eq!(std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap()), inode);
        assert!(over(&path, LAST).ends_with("ok"));
        assert!(ringate.terminate().success());
        assert!(!path.exists(), "{driver}: the file ends with the process");
    }
}

#[test]
fn only_a_socket_that_nobody_answers_on_is_replaced() {
    let backend = Backend::replying(OK);
    let dir = tempfile::tempdir().unwrap();
    let text = listening(&Setup::to(backend.address()), "");
    std::fs::write(dir.path().join("ringate.toml"), &text).unwrap();
    let (path, config) = (dir.path().join("web.sock"), dir.path().join("ringate.toml"));
    let check = || {
        let checked = run(Ringate::command().arg("check").arg("-c").arg(&config));
        (checked.status.success(), String::from_utf8_lossy(&checked.stderr).into_owned())
    };
    let answering = UnixListener::bind(&path).unwrap();
    let (fine, said) = check();
    assert!(!fine && said.contains("in use"), "{said}");
    drop(answering);
    assert!(check().0, "what a process has left behind is replaced");
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    let (fine, said) = check();
    assert!(!fine && said.contains("not a socket"), "{said}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    std::fs::remove_file(&path).unwrap();
    drop(UnixListener::bind(&path).unwrap());
    let ringate = Ringate::start_in(dir, 1);
    assert!(over(&path, LAST).ends_with("ok"));
    drop(ringate);
}

#[test]
fn a_client_of_a_unix_socket_is_in_no_network_and_may_be_trusted() {
    let backend = Backend::replying(OK);
    let rules = "allow = [\"127.0.0.0/8\"]";
    let ringate = Ringate::start(&listening(&Setup::to(backend.address()), rules));
    assert_eq!(ringate.get("/").status, 200);
    assert!(over(&ringate.dir().join("web.sock"), LAST).starts_with("HTTP/1.1 403"));
    let _ = backend.request();

    let rules = "deny = [\"192.0.2.0/24\"]\nlimits.connections_per_client = 1\n\
        client_address = { header = \"X-Forwarded-For\", trusted = [\"unix:\"] }";
    let ringate = Ringate::start(&listening(&Setup::to(backend.address()), rules));
    let path = ringate.dir().join("web.sock");
    let first = UnixStream::connect(&path).unwrap();
    let said = LAST.replace("Host: h", "Host: h\r\nX-Forwarded-For: 198.51.100.7");
    assert!(over(&path, &said).starts_with("HTTP/1.1 200"), "clients of a Unix socket are not told apart");
    assert_eq!(backend.request().header("x-forwarded-for"), Some("198.51.100.7"));
    assert!(over(&path, &said.replace("198.51.100.7", "192.0.2.1")).starts_with("HTTP/1.1 403"));
    drop(first);
}

#[test]
fn a_proxy_header_on_a_unix_socket_names_the_client_and_backends_hear_of_none_without() {
    let (_dir, path) = socket("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let setup = to(&path, "proxy_protocol = \"v1\"");
    let ringate = Ringate::start(&listening(&setup, ""));
    let mut client = UnixStream::connect(ringate.dir().join("web.sock")).unwrap();
    client.write_all(GET.as_bytes()).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut seen = [0; 512];
    let count = stream.read(&mut seen).unwrap();
    assert!(seen[..count].starts_with(b"PROXY UNKNOWN\r\n"), "{}", String::from_utf8_lossy(&seen[..count]));

    let backend = Backend::replying(OK);
    let ringate = Ringate::start(&listening(&Setup::to(backend.address()), "proxy_protocol = \"v1\""));
    let said = format!("PROXY TCP4 192.0.2.9 192.0.2.1 5 6\r\n{LAST}");
    assert!(over(&ringate.dir().join("web.sock"), &said).ends_with("ok"));
    assert_eq!(backend.request().header("x-forwarded-for"), Some("192.0.2.9"));
}
