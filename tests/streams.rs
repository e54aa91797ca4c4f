//! Standard output and standard error that are closed, full, stalled, bounded or slow: no request, reload or drain
//! notices, lines are dropped and counted, and commands end with a code of their table.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::http::OK;
use crate::support::*;

/// An instance with two workers, `/bad` to a closed port, and an address that need not be read from its log.
struct Scene {
    dir: tempfile::TempDir,
    address: SocketAddr,
    _backend: Backend,
}

impl Scene {
    fn new(log: &str) -> Self {
        let (dir, backend, address) = (tempfile::tempdir().unwrap(), Backend::replying(OK), free_address());
        let text = Setup::to(backend.address())
            .workers(2)
            .runtime("drain = \"2s\"")
            .section(&format!("[admin]\n[log]\n{log}"))
            .routes(
                "[[route]]\nupstream = \"app\"\n[[route]]\npath = \"/bad\"\nupstream = \"bad\"\n\
                 [upstream.bad]\nendpoints = [\"127.0.0.1:1\"]",
            )
            .text()
            .replace("127.0.0.1:0", &address.to_string());
        fs::write(dir.path().join("ringate.toml"), text).unwrap();
        Self { dir, address, _backend: backend }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Ringate::command();
        command.current_dir(self.dir.path()).args(args).args(["-c", "ringate.toml"]);
        command
    }

    fn start(&self, stderr: Stdio) -> Bare {
        let child = Bare::start(self.command(&["run"]).stdout(Stdio::null()).stderr(stderr));
        eventually("the listener", || TcpStream::connect(self.address).ok());
        eventually("the admin socket", || self.dir.path().join("run/admin.sock").exists().then_some(()));
        child
    }

    fn status(&self, path: &str) -> u16 {
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        Client::connect(self.address).send(request).response().status
    }

    fn admin(&self, path: &str) -> String {
        let mut admin =
            std::os::unix::net::UnixStream::connect(self.dir.path().join("run/admin.sock")).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
        admin.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        admin.read_to_string(&mut text).unwrap();
        text
    }

    fn dropped(&self) -> u64 {
        let text = self.admin("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix("ringate_log_lines_dropped_total "));
        line.unwrap().parse().unwrap()
    }

    /// Requests, a reload and a drain go on as if nothing were amiss.
    fn holds(&self, child: &mut Bare, what: &str) {
        // Each logs at least a line, on every worker.
        for _ in 0..20 {
            assert_eq!(self.status("/bad"), 502, "{what}");
            assert_eq!(self.status("/"), 200, "{what}");
        }
        let reload = run(&mut self.command(&["reload"]));
        assert!(reload.status.success(), "{what}: {reload:?}");
        assert!(self.admin("/readyz").ends_with("ready\n"), "{what}");
        child.signal(Signal::TERM);
        assert_eq!(child.wait().code(), Some(0), "{what}");
    }
}

#[test]
fn a_standard_error_that_takes_nothing_costs_lines_and_no_request() {
    for (sink, log) in
        Sink::ALL.into_iter().zip(["", "format = \"json\"", "level = \"warn\"", "", "level = \"debug\""])
    {
        let what = format!("{sink:?} {log}");
        let scene = Scene::new(log);
        let (stderr, kept) = sink.open();
        let mut child = scene.start(stderr);
        for _ in 0..3 {
            scene.status("/bad");
        }
        if Sink::FAILING.contains(&sink) {
            eventually("lines that are counted", || (scene.dropped() > 0).then_some(()));
            assert!(scene.admin("/v1/status").contains("\"log_lines_dropped\":"), "{what}");
        }
        scene.holds(&mut child, &what);
        drop(kept);
    }
}

#[test]
fn a_reader_that_leaves_later_costs_lines_and_no_request() {
    let scene = Scene::new("");
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let mut child = scene.start(writer.into());
    drop(reader);
    scene.holds(&mut child, "gone after the start");
}

#[test]
fn a_log_file_at_its_bound_costs_lines_and_no_request() {
    let scene = Scene::new("");
    let binary = env!("CARGO_BIN_EXE_ringate");
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -f 1; exec {binary} run -c ringate.toml 2>log")]);
    command.env("RUST_LOG", "debug").current_dir(scene.dir.path()).stdout(Stdio::null());
    let mut child = Bare::start(&mut command);
    eventually("the listener", || TcpStream::connect(scene.address).ok());
    eventually("lines that are counted", || {
        scene.status("/bad");
        (scene.dropped() > 0).then_some(())
    });
    scene.holds(&mut child, "RLIMIT_FSIZE");
}

#[test]
fn a_stalled_reader_fills_the_queue_and_what_is_beyond_is_counted() {
    let scene = Scene::new("level = \"debug\"");
    let (stderr, reader) = Sink::Stalled.open();
    let mut child = scene.start(stderr);
    eventually("lines that are dropped", || {
        for _ in 0..200 {
            assert_eq!(scene.status("/bad"), 502);
        }
        (scene.dropped() > 0).then_some(())
    });
    // The reader goes on: the lines that waited are whole, and the loss is in the log.
    let reading = std::thread::spawn(move || {
        let mut text = Vec::new();
        fs::File::from(reader.unwrap()).read_to_end(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    });
    scene.holds(&mut child, "stalled");
    let text = reading.join().unwrap();
    assert!(text.contains(" log lines were dropped: "), "{}", &text[text.len().saturating_sub(500)..]);
    let log = text.trim_start_matches('.');
    assert!(
        log.lines()
            .all(|line| line.contains(" DEBUG ") || line.contains(" WARN ") || line.contains(" INFO "))
    );
    assert!(log.ends_with("drained\n"));
}

#[test]
fn a_slow_reader_misses_nothing() {
    for nonblocking in [false, true] {
        let scene = Scene::new("level = \"debug\"");
        let (stderr, text) = slow(nonblocking);
        let mut child = scene.start(stderr);
        for _ in 0..100 {
            scene.status("/bad");
        }
        assert_eq!(scene.dropped(), 0);
        let read = || String::from_utf8(text.lock().unwrap().clone()).unwrap();
        eventually("every line", || (read().matches("Connection refused").count() >= 100).then_some(()));
        child.signal(Signal::TERM);
        assert_eq!(child.wait().code(), Some(0));
        eventually("the last line", || read().ends_with("drained\n").then_some(()));
    }
}

#[test]
fn a_start_that_fails_ends_with_code_1_whatever_standard_error_is() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("bad.toml"), "nonsense").unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text =
        Setup::to(free_address()).text().replace("127.0.0.1:0", &taken.local_addr().unwrap().to_string());
    fs::write(dir.path().join("taken.toml"), text).unwrap();
    for (file, reason) in
        [("bad.toml", "bad.toml:1"), ("taken.toml", "in use by another process"), ("none.toml", "none.toml")]
    {
        let output = run(Ringate::command().current_dir(dir.path()).args(["run", "-c", file]));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && said.contains(reason), "{file}: {said}");
        for sink in Sink::ALL {
            let (stderr, _kept) = sink.open();
            let mut command = Ringate::command();
            command.current_dir(dir.path()).args(["run", "-c", file]).stderr(stderr);
            assert_eq!(Bare::start(&mut command).wait().code(), Some(1), "{file} {sink:?}");
        }
    }
}

/// Runs a command of `dir` with this standard output. Returns its code and what is on standard error.
fn with_stdout(dir: &Path, args: &[&str], sink: Sink) -> (Option<i32>, String) {
    let (stdout, _kept) = sink.open();
    let said = dir.join("stderr");
    let mut command = Ringate::command();
    command.current_dir(dir).args(args).stdout(stdout).stderr(fs::File::create(&said).unwrap());
    let code = Bare::start(&mut command).wait().code();
    (code, fs::read_to_string(said).unwrap())
}

/// Commands that print an answer, for which an instance runs.
const SHOWING: &[&str] = &[
    "status",
    "status --json",
    "plan",
    "plan --json",
    "check",
    "check --json",
    "reload",
    "reload --json",
    "cert list",
    "cert list --json",
    "cert show own",
    "cert show own --json",
    "cert describe own text",
    "apikey list partners",
    "apikey list partners --json",
];

#[test]
fn a_command_whose_output_cannot_be_written_fails_unless_its_reader_has_left() {
    let scene = Scene::new("");
    let dir = scene.dir.path();
    let mut child = scene.start(Stdio::null());
    assert!(run(&mut scene.command(&["cert", "generate", "own", "--common-name", "own"])).status.success());
    assert!(run(&mut scene.command(&["apikey", "generate", "partners", "app"])).status.success());
    let url = format!("http://{}/", scene.address);
    let probes = [format!("probe {url}"), format!("probe {url} --json")];
    let help = ["--help", "--version", "help", "cert --help", "cert help generate", "schema"];
    let showing = SHOWING.iter().copied().chain(probes.iter().map(String::as_str));
    let showing = showing.map(|text| format!("{text} -c ringate.toml"));
    for line in showing.chain(help.map(str::to_owned)) {
        let args: Vec<&str> = line.split(' ').collect();
        for sink in Sink::FAILING {
            let (code, said) = with_stdout(dir, &args, sink);
            let what = format!("{line} to {sink:?}: {code:?} {said}");
            if sink == Sink::Gone {
                // Warnings of `check` have a stream of their own.
                assert!(code == Some(0) && (said.is_empty() || said.starts_with("warning: ")), "{what}");
            } else {
                assert!(code == Some(1) && said.contains("standard output can't be written"), "{what}");
            }
        }
        // Nor does a standard error change the code.
        let (stderr, _kept) = Sink::Full.open();
        let mut command = Ringate::command();
        command.current_dir(dir).args(&args).stdout(Stdio::null()).stderr(stderr);
        assert_eq!(Bare::start(&mut command).wait().code(), Some(0), "{line}");
    }
    let (code, said) = with_stdout(dir, &["drain", "-c", "ringate.toml"], Sink::Full);
    assert!(code == Some(1) && said.contains("the command itself was carried out"), "{said}");
    assert_eq!(child.wait().code(), Some(0));
}

#[test]
fn wrong_usage_is_code_2_and_failure_code_1_whatever_standard_error_is() {
    let dir = tempfile::tempdir().unwrap();
    for (line, expected) in [
        ("nonsense", 2),
        ("check --nonsense", 2),
        ("cert generate a b", 2),
        ("check -c none.toml", 1),
        ("status -c none.toml", 1),
        ("apikey list x -c none.toml", 1),
        ("probe tls://x", 1),
    ] {
        for sink in Sink::FAILING {
            let (stderr, _kept) = sink.open();
            let mut command = Ringate::command();
            command.current_dir(dir.path()).args(line.split(' ')).stdout(Stdio::null()).stderr(stderr);
            assert_eq!(Bare::start(&mut command).wait().code(), Some(expected), "{line} {sink:?}");
        }
    }
}

#[test]
fn no_secret_is_lost_with_the_output_that_was_to_show_it() {
    let scene = Scene::new("");
    let dir = scene.dir.path();
    for (number, sink) in Sink::FAILING.into_iter().enumerate() {
        for json in [false, true] {
            let name = format!("csr-{number}-{json}");
            let mut args =
                vec!["cert", "generate", &name, "--csr", "--common-name", "a", "-c", "ringate.toml"];
            args.extend(json.then_some("--json"));
            let (code, said) = with_stdout(dir, &args, sink);
            let hint = format!("ringate cert export {name} --part request");
            assert!(code == Some(1) && said.contains(&hint), "{sink:?}: {code:?} {said}");
            let found = run(&mut scene.command(&["cert", "export", &name, "--part", "request"]));
            assert!(
                String::from_utf8_lossy(&found.stdout).contains("BEGIN CERTIFICATE REQUEST"),
                "{found:?}"
            );
            let (code, _) =
                with_stdout(dir, &["cert", "export", &name, "--part", "request", "-c", "ringate.toml"], sink);
            assert_eq!(code, Some(1), "{sink:?}");
        }
        let args = ["apikey", "generate", "partners", "app", "-c", "ringate.toml"];
        let (code, said) = with_stdout(dir, &args, sink);
        assert!(code == Some(1) && said.contains("was not kept: generate it again"), "{code:?} {said}");
        let list = run(&mut scene.command(&["apikey", "list", "partners"]));
        assert!(list.status.success() && list.stdout.is_empty(), "{list:?}");
    }
    assert!(run(&mut scene.command(&["apikey", "generate", "partners", "app"])).status.success());
}

#[test]
fn a_stream_that_is_closed_at_the_start_is_no_dev_null() {
    let scene = Scene::new("access = \"stdout\"");
    let closed = |redirect: &str, args: &[&str]| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec \"$0\" \"$@\" {redirect}"), env!("CARGO_BIN_EXE_ringate")]);
        command.env_remove("RUST_LOG").current_dir(scene.dir.path()).args(args).args(["-c", "ringate.toml"]);
        command
    };
    for args in [&["check"][..], &["cert", "list"], &["apikey", "generate", "partners", "app"]] {
        let output = run(&mut closed(">&-", args));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(1) && said.contains("standard output can't be written"),
            "{said}"
        );
        assert_eq!(run(&mut closed("2>&-", args)).status.code(), Some(0), "{args:?}");
    }
    // An instance without any stream works and counts.
    let mut child = Bare::start(&mut closed("<&- >&- 2>&-", &["run"]));
    eventually("the listener", || TcpStream::connect(scene.address).ok());
    eventually("lines that are counted", || {
        assert_eq!(scene.status("/"), 200);
        let metrics = scene.admin("/metrics");
        let none = metrics.contains("ringate_access_lines_dropped_total 0\n");
        (scene.dropped() > 0 && !none).then_some(())
    });
    scene.holds(&mut child, "closed at the start");
}

#[test]
fn a_quickstart_whose_output_stalls_still_ends_at_a_signal() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_address().port();
    let (stdout, _kept) = Sink::Stalled.open();
    let mut command = Ringate::command();
    command.current_dir(dir.path()).args(["quickstart", "--port", &port.to_string()]);
    let mut child = Bare::start(command.stdout(stdout).stderr(Stdio::null()));
    eventually("the listener", || TcpStream::connect(("127.0.0.1", port)).ok());
    child.signal(Signal::TERM);
    assert_eq!(child.wait().code(), Some(0));
}

#[test]
fn quickstart_fails_where_it_can_show_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_address().port().to_string();
    let (code, said) = with_stdout(dir.path(), &["quickstart", "--once", "--port", &port], Sink::Full);
    assert!(code == Some(1) && said.contains("standard output can't be written"), "{code:?} {said}");
}

#[test]
fn colors_follow_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("bad.toml"), "nonsense = 1\n").unwrap();
    let cases: &[(&[(&str, &str)], bool)] = &[
        (&[], false),
        (&[("CLICOLOR_FORCE", "1")], true),
        (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
        (&[("CLICOLOR_FORCE", "0")], false),
    ];
    for (variables, expected) in cases {
        for args in [&["check", "-c", "bad.toml"][..], &["run", "-c", "bad.toml"], &["check", "--nonsense"]] {
            let mut command = Ringate::command();
            command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").current_dir(dir.path()).args(args);
            let output = run(command.envs(variables.iter().copied()));
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(said.contains('\u{1b}'), *expected, "{variables:?} {args:?}: {said}");
        }
    }
}

#[test]
fn a_flood_of_garbage_is_counted_and_a_few_lines() {
    let pki = Pki::new();
    let (cert, key) = (pki.file("server.pem"), pki.file("server.key"));
    let ringate = Setup::to(free_address())
        .section("[admin]")
        .listener(&format!("[listener.tls]\ncertificates = [{{ cert = {cert:?}, key = {key:?} }}]"))
        .start();
    let begun = Instant::now();
    for number in 0..200 {
        let mut stream = TcpStream::connect(ringate.address()).unwrap();
        stream.write_all(format!("SSH-2.0-garbage {number}\r\n").as_bytes()).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
    ringate.await_metric("client_handshake_failures_total", 200);
    let seconds = begun.elapsed().as_secs() as usize;
    ringate.await_log("TLS handshake with a client failed");
    let lines = ringate.log().matches("TLS handshake with a client failed").count();
    assert!((10..=12 + seconds).contains(&lines), "{lines} lines in {seconds} s");
    // Those that were left out are counted, in lines of the flood and in one after its end.
    let said = |line: &str| -> Option<u64> {
        let count = line.split_once("more ")?.0.trim_end().rsplit([' ', '(']).next()?;
        count.parse().ok()
    };
    eventually("the sum of what was logged and left out", || {
        let (log, about) = (ringate.log(), "TLS handshake");
        let lines = log.lines().filter(|line| line.contains(about));
        let of_it = |line: &str| u64::from(line.contains("with a client failed")) + said(line).unwrap_or(0);
        (lines.map(of_it).sum::<u64>() == 200).then_some(())
    });
}

#[test]
fn a_want_of_descriptors_is_counted_and_a_line_a_second() {
    let backend = Backend::replying(OK);
    let scene_limit = |command: &mut Command| {
        let args: Vec<_> = command.get_args().map(|arg| arg.to_str().unwrap().to_owned()).collect();
        let program = command.get_program().to_owned();
        *command = Command::new("sh");
        command.env_remove("RUST_LOG").env("NO_COLOR", "1");
        command.args(["-c", "ulimit -n 48; exec \"$0\" \"$@\""]).arg(program).args(args);
    };
    let ringate = Ringate::start_with(&Setup::to(backend.address()).section("[admin]").text(), scene_limit);
    let held: Vec<_> = (0..60).map(|_| TcpStream::connect(ringate.address()).unwrap()).collect();
    std::thread::sleep(Duration::from_millis(2500));
    assert!(ringate.metric("descriptor_waits_total") > 1);
    drop(held);
    let lines = ringate.log().matches("new connections wait").count();
    assert!((1..=6).contains(&lines), "{lines} lines:\n{}", ringate.log());
    assert_eq!(ringate.get("/").status, 200);
}
