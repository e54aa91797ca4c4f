//! A thread or task that the process needs ends it when it ends, and a worker that makes no turn shows.
#![cfg(debug_assertions)] // which have faults on demand

use std::fs;
use std::time::{Duration, Instant};

use crate::http::OK;
use crate::support::*;

/// An instance with two workers, and the file that brings the fault about.
fn faulty(backend: &Backend, fault: &str) -> (Ringate, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.keep().join("now");
    let text =
        Setup::to(backend.address()).workers(2).section("[admin]\n[log]\naccess = \"access.log\"").text();
    let ringate = Ringate::start_with(&text, |command| {
        command.env("RINGATE_TEST_FAULT", format!("{fault} {}", file.display()));
    });
    ringate.admin("/healthz");
    (ringate, file)
}

#[test]
fn a_panic_in_what_the_process_needs_ends_it_after_a_line() {
    let backend = Backend::replying(OK);
    for (place, named) in [
        ("accept", "accepting"),
        ("beat", "a worker's sweep"),
        ("sweep", "a worker's sweep"),
        ("renewal", "the renewal thread"),
        ("control", "the control thread"),
        ("admin", "the admin server"),
        ("access log", "the access log's thread"),
    ] {
        let (mut ringate, file) = faulty(&backend, &format!("{} panic", place.replace(' ', "-")));
        assert_eq!(ringate.get("/").status, 200);
        fs::write(&file, "").unwrap();
        eventually(&format!("the end after a panic at {place}"), || {
            // What is needed for it to come by.
            let _ = Client::try_connect(ringate.address());
            let _ = std::os::unix::net::UnixStream::connect(ringate.dir().join("run/admin.sock"));
            ringate.process().ended()
        });
        assert_eq!(ringate.wait().code(), Some(1), "{place}: {}", ringate.log());
        let log = ringate.log();
        assert!(log.contains(&format!("{named} panicked: a test injected a fault")), "{place}: {log}");
        assert!(log.contains("the process ends"), "{place}: {log}");
    }
}

#[test]
fn a_panic_ends_the_process_although_standard_error_stalls() {
    let (dir, backend, address) = (tempfile::tempdir().unwrap(), Backend::replying(OK), free_address());
    let (config, file) = (dir.path().join("ringate.toml"), dir.path().join("now"));
    let text = Setup::to(backend.address()).text().replace("127.0.0.1:0", &address.to_string());
    fs::write(&config, text).unwrap();
    for sink in Sink::ALL {
        let (stderr, _kept) = sink.open();
        let mut command = Ringate::command();
        command.env("RINGATE_TEST_FAULT", format!("sweep panic {}", file.display()));
        let mut child = Bare::start(command.args(["run", "-c"]).arg(&config).stderr(stderr));
        eventually("the listener", || Client::try_connect(address).ok());
        fs::write(&file, "").unwrap();
        let since = Instant::now();
        assert_eq!(child.wait().code(), Some(1), "{sink:?}");
        assert!(since.elapsed() < Duration::from_secs(6), "{sink:?}: {:?}", since.elapsed());
    }
}

#[test]
fn the_last_line_is_written_whatever_the_level() {
    let (dir, backend, address) = (tempfile::tempdir().unwrap(), Backend::replying(OK), free_address());
    let (config, file, log) =
        (dir.path().join("ringate.toml"), dir.path().join("now"), dir.path().join("log"));
    fs::write(&config, Setup::to(backend.address()).text().replace("127.0.0.1:0", &address.to_string()))
        .unwrap();
    let mut command = Ringate::command();
    command.env("RINGATE_TEST_FAULT", format!("sweep panic {}", file.display())).env("RUST_LOG", "off");
    let stderr = fs::File::create(&log).unwrap();
    let mut child = Bare::start(command.args(["run", "-c"]).arg(&config).stderr(stderr));
    eventually("the listener", || Client::try_connect(address).ok());
    fs::write(&file, "").unwrap();
    assert_eq!(child.wait().code(), Some(1));
    let log = fs::read_to_string(log).unwrap();
    assert!(log.starts_with("ERROR a worker's sweep panicked: a test injected a fault"), "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");
}

#[test]
fn a_connection_that_panics_ends_alone() {
    let backend = Backend::replying(OK);
    let (ringate, file) = faulty(&backend, "connection panic");
    fs::write(&file, "").unwrap();
    eventually("the panic", || {
        let _ = Client::try_connect(ringate.address());
        (ringate.metric("panics_total") == 1).then_some(())
    });
    ringate.await_log("a connection's task panicked and was closed");
    assert_eq!(ringate.get("/").status, 200);
    assert!(ringate.terminate().success());
}

#[test]
fn a_worker_that_makes_no_turn_shows_until_it_turns_again() {
    let backend = Backend::replying(OK);
    let (ringate, file) = faulty(&backend, "beat block=4000");
    let status =
        || run(Ringate::command().args(["status", "--ready", "-c"]).arg(ringate.dir().join("ringate.toml")));
    assert_eq!(ringate.admin("/readyz"), "ready\n");
    assert_eq!((status().status.code(), status().stdout), (Some(0), b"ready\n".to_vec()));
    assert_eq!(ringate.metric("workers_stuck"), 0);
    fs::write(&file, "").unwrap();
    let said = eventually("a process that is not ready", || {
        Some(ringate.admin("/readyz")).filter(|said| said != "ready\n")
    });
    assert!(said.starts_with("worker ") && said.contains(" has made no turn for "), "{said}");
    assert_eq!((ringate.metric("workers_stuck"), ringate.metric("ready")), (1, 0));
    let unready = status();
    assert_eq!(unready.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unready.stderr).contains(" has made no turn for "), "{unready:?}");
    assert!(ringate.admin("/v1/status").contains("\"stuck\":true"));
    assert!(ringate.admin("/metrics").contains("ringate_worker_last_turn_seconds{worker=\"1\"}"));
    ringate.await_log(" has made no turn for ");
    ringate.await_log(" turns again, after ");
    eventually("a process that is ready", || (ringate.admin("/readyz") == "ready\n").then_some(()));
    assert_eq!((ringate.metric("workers_stuck"), ringate.metric("ready")), (0, 1));
}

#[test]
fn idle_workers_are_not_taken_for_stuck_ones() {
    for driver in ["auto", "epoll"] {
        let ringate = Setup::to(free_address()).workers(2).driver(driver).section("[admin]").start();
        let until = Instant::now() + Duration::from_millis(2500);
        while Instant::now() < until {
            assert_eq!(ringate.admin("/readyz"), "ready\n");
            std::thread::sleep(Duration::from_millis(100));
        }
        assert!(!ringate.log().contains("no turn"), "{}", ringate.log());
    }
}
