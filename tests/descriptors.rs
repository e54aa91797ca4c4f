//! File descriptors: clients take none that backends and the admin server need, and wait where there are too few.

use std::io;
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::http::OK;
use crate::support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// Ringate with so many descriptors and two workers.
fn limited(setup: Setup, descriptors: u32) -> Ringate {
    let text = setup.section("[admin]").workers(2).text();
    Ringate::start_with(&text, |command| {
        let limit = format!("--nofile={descriptors}:{descriptors}");
        let mut outer = Command::new("prlimit");
        outer.arg(limit).arg(command.get_program()).args(command.get_args());
        outer.env_remove("RUST_LOG").env("NO_COLOR", "1");
        *command = outer;
    })
}

/// A client as any is: a connection that was closed while it was idle is made anew, once.
struct Persistent<'r>(&'r Ringate, Option<Client>);

impl Persistent<'_> {
    fn get(&mut self) -> u16 {
        if let Some(client) = &mut self.1 {
            let response = client.try_send(GET).and_then(|()| client.try_response());
            match response {
                Ok(response) => return response.status,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("no answer in time"),
                Err(_) => {}
            }
        }
        self.1.insert(self.0.client()).send(GET).response().status
    }
}

fn answers(ringate: &Ringate) {
    assert_eq!(ringate.admin("/readyz").trim(), "ready");
    assert!(ringate.metric("descriptor_waits_total") > 0);
    let status = run(Ringate::command().current_dir(ringate.dir()).args(["status", "-c", "ringate.toml"]));
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
}

#[test]
fn more_idle_clients_than_descriptors_are_served_in_turn() {
    let backend = Backend::replying(OK);
    let ringate = limited(Setup::to(backend.address()), 256);
    let mut clients: Vec<_> = (0..400).map(|_| Persistent(&ringate, None)).collect();
    for _ in 0..2 {
        for client in &mut clients {
            assert_eq!(client.get(), 200);
        }
        answers(&ringate);
    }
    assert!(ringate.metric("connections_displaced_total") >= 200);
    assert_eq!(ringate.metric("accept_failures_total"), 0);
    let lines = ringate.log().matches("new connections wait").count();
    assert!((1..=20).contains(&lines), "{lines}:\n{}", ringate.log());
}

#[test]
fn more_busy_clients_than_descriptors_wait_for_their_turn() {
    let backend = Backend::serving(|_| {
        std::thread::sleep(Duration::from_millis(100));
        OK.to_vec()
    });
    let ringate = limited(Setup::to(backend.address()), 256);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..400)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Persistent(&ringate, None);
                    (client.get(), client.get())
                })
            })
            .collect();
        for client in clients {
            assert_eq!(client.join().unwrap(), (200, 200));
        }
    });
    answers(&ringate);
}

#[test]
fn silent_clients_keep_neither_requests_nor_the_admin_server_out() {
    let backend = Backend::replying(OK);
    let ringate = limited(Setup::to(backend.address()), 64);
    let _silent: Vec<_> = (0..120).map(|_| TcpStream::connect(ringate.address()).unwrap()).collect();
    eventually("clients that wait", || (ringate.metric("descriptor_waits_total") > 0).then_some(()));
    answers(&ringate);
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(ringate.get("/").status, 200);
    }
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    answers(&ringate);
}

#[test]
fn backends_leave_descriptors_to_the_admin_server() {
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let backend = Backend::serving(move |_| {
        while !gate.load(Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        OK.to_vec()
    });
    let setup = Setup::to(backend.address()).upstream("timeouts.connect = \"500ms\"");
    let ringate = limited(setup, 64);
    let mut clients: Vec<_> = (0..60).map(|_| ringate.client()).collect();
    // So that clients have all that they may have before the first request asks for more.
    eventually("clients that wait", || (ringate.metric("descriptor_waits_total") > 0).then_some(()));
    for client in &mut clients {
        client.send(GET);
    }
    eventually("a request without a descriptor", || {
        ringate.log().contains("no file descriptor was free").then_some(())
    });
    answers(&ringate);
    open.store(true, Relaxed);
    let statuses: Vec<_> = clients.iter_mut().map(|client| client.response()).collect();
    assert!(statuses.iter().all(|response| response.status == 200 || response.status == 503));
    let short = statuses.iter().find(|response| response.status == 503).unwrap();
    assert_eq!(short.header("Retry-After"), Some("1"));
    assert_eq!(ringate.get("/").status, 200, "the endpoint is not at fault");
}

#[test]
fn idle_backend_connections_of_all_workers_end_for_clients() {
    let backend = Backend::serving(|_| {
        std::thread::sleep(Duration::from_millis(400));
        OK.to_vec()
    });
    let ringate = limited(Setup::to(backend.address()), 256);
    std::thread::scope(|scope| {
        for _ in 0..60 {
            scope.spawn(|| assert_eq!(ringate.client().send(GET).response().status, 200));
        }
    });
    let made = backend.connections();
    assert!(made >= 30, "only {made} connections");
    assert!(backend.ended() < made / 4, "they are idle");
    // Clients take what descriptors there are. Nothing is sent, so that no request needs a backend.
    let clients: Vec<_> = (0..300).map(|_| TcpStream::connect(ringate.address()).unwrap()).collect();
    eventually("the end of idle connections", || (backend.ended() >= made - 2).then_some(()));
    drop(clients);
    assert_eq!(ringate.client().send(GET).response().status, 200);
}
