//! `ringate top` in a real terminal, tmux's: figures of real traffic, keys, an endpoint that dies, an instance that is started
//! again, and a terminal that is left as it was. Without a terminal: JSON and text.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::http::ok;
use crate::support::*;

/// A server of tmux's with one window, which ends when it is dropped.
struct Terminal {
    socket: PathBuf,
}

impl Terminal {
    /// Runs a line of shell in a window of this size.
    fn start(dir: &Path, (width, height): (u16, u16), line: &str) -> Self {
        let terminal = Self { socket: dir.join("tmux.sock") };
        let (width, height) = (width.to_string(), height.to_string());
        let size = ["-x", &width, "-y", &height];
        terminal.tmux(&[&["-f", "/dev/null", "new-session", "-d"][..], &size, &[line]].concat());
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket).args(arguments).env_remove("TMUX");
        let output = run(command.env("LC_ALL", "C.UTF-8").env("TERM", "xterm-256color"));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "tmux {arguments:?}: {text}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until the screen is one from which `pick` takes something.
    fn await_screen<T>(&self, what: &str, pick: impl Fn(&str) -> Option<T>) -> T {
        let last = std::cell::RefCell::new(String::new());
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(what, || {
                let screen = self.screen();
                let found = pick(&screen);
                *last.borrow_mut() = screen;
                found
            })
        }));
        found.unwrap_or_else(|_| panic!("no screen with {what}:\n{}", last.borrow()))
    }

    /// Waits until the screen has a text.
    fn await_text(&self, text: &str) {
        self.await_screen(text, |screen| screen.contains(text).then_some(()));
    }

    /// Whether the window shows the alternate screen, and the cursor.
    fn modes(&self) -> String {
        self.tmux(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]).trim().to_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux").arg("-S").arg(&self.socket).arg("kill-server").status();
    }
}

/// The figures of a row of a table: what stands behind its name.
fn row<'s>(screen: &'s str, name: &str) -> Option<Vec<&'s str>> {
    let line = screen.lines().find(|line| line.trim_start().starts_with(name))?;
    Some(line.trim_start().strip_prefix(name)?.split_whitespace().collect())
}

fn position(screen: &str, text: &str) -> Option<usize> {
    screen.lines().position(|line| line.trim_start().starts_with(text))
}

/// An instance whose config is at a fixed place, with traffic as long as this is there.
struct Scene {
    dir: TempDir,
    address: SocketAddr,
    ends: Arc<AtomicBool>,
}

impl Scene {
    /// `/app` leads to these endpoints, `/idle` to another upstream that gets no request.
    fn new(endpoints: &[SocketAddr]) -> Self {
        let (dir, address) = (tempfile::tempdir().unwrap(), free_address());
        let endpoints: Vec<String> = endpoints.iter().map(|endpoint| format!("\"{endpoint}\"")).collect();
        let config = format!(
            "[admin]\nlisten = \"unix:run/admin.sock\"\n[runtime]\nworkers = 1\n\
             [[listener]]\nname = \"web\"\naddress = \"{address}\"\n\
             [[route]]\npath = \"/app\"\nupstream = \"app\"\n[[route]]\npath = \"/idle\"\nupstream = \"idle\"\n\
             [upstream.app]\nendpoints = [{}]\nhealth = {{ type = \"tcp\", interval = \"200ms\", fall = 2, rise = 1 }}\n\
             [upstream.idle]\nendpoints = [\"{}\"]\n",
            endpoints.join(", "),
            free_address()
        );
        std::fs::write(dir.path().join("ringate.toml"), config).unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&ends);
        std::thread::spawn(move || {
            while !until.load(SeqCst) {
                if let Ok(mut client) = Client::try_connect(address) {
                    let request = "GET /app HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
                    let _ = client.try_send(request).and_then(|()| client.try_response());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self { dir, address, ends }
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("ringate.toml")
    }

    fn start(&self) -> Process {
        let mut command = Ringate::command();
        let process = Process::start(command.arg("run").arg("-c").arg(self.config()));
        eventually("the listener", || Client::try_connect(self.address).ok());
        eventually("the admin socket", || self.dir.path().join("run/admin.sock").exists().then_some(()));
        process
    }

    /// Runs `ringate top` in a terminal; then the shell prints how it ended and the terminal's settings, and waits.
    fn top(&self, size: (u16, u16), arguments: &str) -> Terminal {
        let line = format!(
            "NO_COLOR=1 {} top -c {} {arguments}; code=$?; stty -a; echo \"code $code\"; sleep 600",
            env!("CARGO_BIN_EXE_ringate"),
            self.config().display()
        );
        Terminal::start(self.dir.path(), size, &line)
    }

    /// Runs `ringate top` without a terminal.
    fn piped(&self, arguments: &[&str]) -> std::process::Output {
        run(Ringate::command().arg("top").arg("-c").arg(self.config()).args(arguments))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.ends.store(true, SeqCst);
    }
}

fn backend() -> Backend {
    Backend::serving(|_| ok("hello"))
}

/// Rates of a row that is there and has had requests.
fn busy(screen: &str, name: &str) -> Option<f64> {
    row(screen, name)?.iter().find_map(|word| word.parse::<f64>().ok()).filter(|rate| *rate > 0.0)
}

#[test]
fn rates_sorting_filter_and_an_endpoint_that_dies() {
    let (first, second) = (backend(), backend());
    let scene = Scene::new(&[first.address(), second.address()]);
    let _ringate = scene.start();
    let terminal = scene.top((80, 24), "--interval 0.5");
    terminal.await_text("1 Overview");
    terminal.await_screen("requests a second", |screen| {
        let rate = row(screen, "Requests")?[0].strip_suffix("/s,")?.parse::<f64>().ok();
        rate.filter(|rate| (1.0..200.0).contains(rate))
    });
    let latency = terminal.await_screen("latency", |screen| {
        let p99 = row(screen, "Latency")?.get(5)?.parse::<f64>().ok();
        p99.filter(|p99| *p99 > 0.0)
    });
    assert!(latency < 10_000.0, "{latency}");

    terminal.keys(&["2"]);
    terminal.await_screen("both endpoints with traffic", |screen| {
        let both = [first.address(), second.address()].map(|address| busy(screen, &address.to_string()));
        both.iter().all(Option::is_some).then_some(())
    });
    // By name first, then by REQ/S: the busiest upstream stands above.
    terminal.await_screen("the order of names", |screen| {
        (screen.contains("UPSTREAM^") && position(screen, "app ") < position(screen, "idle ")).then_some(())
    });
    terminal.keys(&["r"]);
    terminal.await_screen("the other direction", |screen| {
        let below = position(screen, "app ") > position(screen, "idle ");
        (screen.contains("UPSTREAMv") && below).then_some(())
    });
    terminal.keys(&["Right", "s"]);
    terminal.await_screen("the order of rates", |screen| {
        (screen.contains("REQ/Sv") && position(screen, "app ") < position(screen, "idle ")).then_some(())
    });

    terminal.keys(&["/", "i", "d", "l", "e", "Enter"]);
    terminal.await_screen("the filtered rows", |screen| {
        let filtered = screen.contains("filter: idle") && position(screen, "app ").is_none();
        (filtered && position(screen, "idle ").is_some()).then_some(())
    });
    terminal.keys(&["/", "Escape"]);
    terminal.await_screen("all rows", |screen| position(screen, "app ").map(|_| ()));

    let dead = second.address().to_string();
    drop(second);
    terminal.await_screen("the dead endpoint", |screen| {
        let is_down = row(screen, &dead)?.first() == Some(&"down");
        (is_down && screen.contains("1/2 up")).then_some(())
    });
    terminal.keys(&["1"]);
    terminal.await_text(&format!("! app {dead}: down"));

    terminal.keys(&["3"]);
    terminal.await_screen("the route with its rate", |screen| busy(screen, "/app"));
    terminal.keys(&["4"]);
    terminal.await_screen("the worker", |screen| (row(screen, "0")?[0] == "ok").then_some(()));
    terminal.keys(&["5"]);
    terminal.await_text("there are none");
    terminal.keys(&["?"]);
    terminal.await_text("a filter: part of a name");
    terminal.keys(&["x", "2"]);

    // Another size, and a pause.
    terminal.tmux(&["resize-window", "-x", "50", "-y", "12"]);
    terminal.await_screen("a narrow table", |screen| {
        let fits = screen.lines().all(|line| line.chars().count() <= 50);
        (fits && screen.contains("REQ/Sv") && busy(screen, "app").is_some()).then_some(())
    });
    terminal.keys(&["Space"]);
    terminal.await_text("PAUSED");
    let (paused, later) = (terminal.screen(), Duration::from_millis(1200));
    std::thread::sleep(later);
    assert_eq!(paused, terminal.screen(), "it is paused");

    terminal.keys(&["q"]);
    terminal.await_text("code 0");
    assert_restored(&terminal);
}

/// The terminal is as the shell had it: the usual screen with its cursor, lines and echo.
fn assert_restored(terminal: &Terminal) {
    terminal.await_screen("the terminal's settings", |screen| {
        let words: Vec<&str> = screen.split([' ', ';', '\n']).collect();
        ["icanon", "echo", "isig", "opost"].iter().all(|word| words.contains(word)).then_some(())
    });
    assert_eq!(terminal.modes(), "0 1");
}

#[test]
fn an_instance_that_is_stopped_and_started_again() {
    let backend = backend();
    let scene = Scene::new(&[backend.address()]);
    let mut ringate = scene.start();
    let terminal = scene.top((100, 30), "--interval 0.3");
    let rate =
        |screen: &str| -> Option<f64> { row(screen, "Requests")?[0].strip_suffix("/s,")?.parse().ok() };
    terminal.await_screen("requests a second", |screen| rate(screen).filter(|rate| *rate > 0.0));
    assert_eq!(terminal.modes().split(' ').next(), Some("1"), "a screen of its own");
    ringate.signal(Signal::TERM);
    ringate.wait();
    terminal.await_text("GONE, trying again");
    terminal.await_text("no instance runs");
    let _ringate = scene.start();
    terminal.await_screen("the figures of the new process", |screen| {
        let is_negative = |word: &str| {
            word.strip_prefix('-').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
        };
        assert!(!screen.split_whitespace().any(is_negative), "{screen}");
        let is_back = !screen.contains("GONE") && rate(screen).is_some_and(|rate| rate > 0.0);
        is_back.then_some(())
    });

    // SIGTERM to the command itself, not to the shell around it.
    let shell = terminal.tmux(&["display-message", "-p", "#{pane_pid}"]).trim().to_owned();
    let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
    let child: i32 = children.split_whitespace().next().unwrap().parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(child).unwrap(), Signal::TERM).unwrap();
    terminal.await_text("code 0");
    assert_restored(&terminal);
}

#[test]
fn without_a_terminal_there_is_json_or_text() {
    let backend = backend();
    let scene = Scene::new(&[backend.address()]);
    let none = scene.piped(&["--json"]);
    let error = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(none.status.code() == Some(1) && error.contains("no instance runs"), "{error}");
    let _ringate = scene.start();

    let refused = scene.piped(&[]);
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && refused.stdout.is_empty(), "{error}");
    assert!(error.contains("no terminal") && error.contains("--json"), "{error}");

    let figures = eventually("figures with traffic", || {
        let output = scene.piped(&["--json", "--interval", "0.5"]);
        let figures: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let busy = figures["upstreams"][0]["endpoints"][0]["mean_ms"].as_f64().is_some();
        (busy && figures["totals"]["latency"]["p50_ms"].as_f64().is_some()).then_some(figures)
    });
    let positive = |value: &serde_json::Value| value.as_f64().is_some_and(|value| value > 0.0);
    let (totals, app) = (&figures["totals"], &figures["upstreams"][0]);
    for value in [
        &figures["seconds"],
        &totals["requests_per_second"],
        &totals["responses_per_second"]["2xx"],
        &totals["response_bytes_per_second"],
        &app["requests_per_second"],
        &app["latency"]["p99_ms"],
        &app["endpoints"][0]["requests_per_second"],
        &app["endpoints"][0]["mean_ms"],
        &figures["workers"][0]["requests_per_second"],
    ] {
        assert!(positive(value), "{figures:#}");
    }
    assert_eq!((&app["name"], &app["endpoints"][0]["state"]), (&"app".into(), &"up".into()));
    assert_eq!(figures["upstreams"][1]["requests_per_second"], 0.0);
    let routes = figures["routes"].as_array().unwrap();
    assert!(routes.iter().any(|route| route["route"] == "/app" && positive(&route["requests_per_second"])));

    let text = scene.piped(&["--once", "--interval", "0.5"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("UPSTREAM") && text.contains("ROUTE") && text.contains("1/1 up"), "{text}");
    let wrong = scene.piped(&["--interval", "0"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", String::from_utf8_lossy(&wrong.stderr));
}
