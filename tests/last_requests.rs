//! A connection that is to end is not cut under its client: requests that arrive before the client can know are answered,
//! and the last answer says that it is the last.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use rustix::process::Signal;

use crate::http::{OK, ok};
use crate::support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// Clients that ask again and again, on a new connection after each `Connection: close`, until `until` is set or nothing
/// accepts them any more. What got no answer on a connection that had not been said to end.
fn ask(
    clients: usize,
    until: &AtomicBool,
    answered: &AtomicUsize,
    connect: impl Fn() -> Option<Client> + Sync,
) -> Vec<String> {
    let ask = || {
        let mut lost = Vec::new();
        while let (false, Some(mut client)) = (until.load(SeqCst), connect()) {
            // A new connection may find the listen queue closed behind it: what counts is one that had an answer.
            let mut served = false;
            loop {
                let response = client.try_send(GET).and_then(|()| client.try_response());
                match response {
                    Ok(response) if response.status == 200 => {
                        served = true;
                        answered.fetch_add(1, SeqCst);
                        if response.header("Connection") == Some("close") || until.load(SeqCst) {
                            break;
                        }
                    }
                    other => {
                        if served {
                            lost.push(format!("{other:?}"));
                        }
                        break;
                    }
                }
            }
        }
        lost
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn a_drain_loses_no_request_of_busy_clients() {
    for driver in ["io_uring", "epoll"] {
        for slow in [false, true] {
            let backend = Backend::serving(move |_| {
                if slow {
                    std::thread::sleep(Duration::from_millis(3));
                }
                OK.to_vec()
            });
            let mut ringate = Setup::to(backend.address()).workers(2).driver(driver).start();
            let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
            let address = ringate.address();
            std::thread::scope(|scope| {
                let asking = scope.spawn(|| ask(16, &over, &answered, || Client::try_connect(address).ok()));
                eventually("some traffic", || (answered.load(SeqCst) > 300).then_some(()));
                ringate.signal(Signal::TERM);
                assert_eq!(asking.join().unwrap(), Vec::<String>::new(), "{driver}");
            });
            assert_eq!(ringate.wait().code(), Some(0));
        }
    }
}

#[test]
fn pipelined_requests_are_all_answered_and_only_the_last_says_close() {
    for routes in ["[[route]]\nupstream = \"app\"", "[[route]]\nrespond = { status = 200, body = \"own\" }"] {
        let backend = Backend::serving(|request| ok(request.line()));
        let mut ringate = Setup::to(backend.address()).routes(routes).start();
        let mut client = ringate.client();
        client.send(GET).response();
        // Stopped, so that all of it has arrived when the signal is taken up: far more than one buffer takes.
        ringate.signal(Signal::STOP);
        client.send(GET.repeat(3_000));
        ringate.signal(Signal::TERM);
        ringate.signal(Signal::CONT);
        let closing: Vec<bool> =
            (0..3_000).map(|_| client.response().header("Connection") == Some("close")).collect();
        assert_eq!(closing.iter().position(|last| *last), Some(2_999));
        client.closes();
        assert_eq!(ringate.wait().code(), Some(0));
    }
}

#[test]
fn a_request_that_arrived_on_a_silent_connection_is_answered() {
    for silence in [100, 900] {
        let backend = Backend::replying(OK);
        let mut ringate = Setup::to(backend.address()).start();
        let mut clients: Vec<_> = (0..8).map(|_| ringate.client()).collect();
        clients.iter_mut().for_each(|client| drop(client.send(GET).response()));
        std::thread::sleep(Duration::from_millis(silence));
        ringate.signal(Signal::STOP);
        for client in &mut clients {
            client.send(GET);
        }
        ringate.signal(Signal::TERM);
        ringate.signal(Signal::CONT);
        for client in &mut clients {
            // The worker may have seen the request before the signal.
            assert_eq!(client.response().status, 200, "{silence}");
            client.closes();
        }
        assert_eq!(ringate.wait().code(), Some(0));
    }
}

#[test]
fn a_client_that_never_stops_sending_is_served_for_two_seconds_more() {
    let backend = Backend::replying(OK);
    let mut ringate = Setup::to(backend.address()).runtime("drain = \"5s\"").start();
    let client = ringate.client();
    let mut sending = client.tcp().try_clone().unwrap();
    let mut reading = client.tcp().try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        use std::io::Write;
        while sending.write_all(GET.repeat(100).as_bytes()).is_ok() {}
    });
    let reader = std::thread::spawn(move || std::io::copy(&mut reading, &mut std::io::sink()));
    eventually("traffic", || (backend.requests() > 100).then_some(()));
    ringate.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(3_500));
    let served = backend.requests();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(backend.requests(), served, "what it sends is read, and not served any more");
    assert_eq!(ringate.wait().code(), Some(0));
    sender.join().unwrap();
    drop(reader.join().unwrap());
}

#[test]
fn a_refresh_of_trust_loses_no_request_of_busy_clients() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = authority.issue("server", &Leaf { names: &["localhost"], ..Leaf::default() });
    let files = authority.issue("client", &Leaf { common_name: "client", ..Leaf::default() });
    let backend = Backend::replying(OK);
    let trust = |files: &[std::path::PathBuf]| {
        Setup::to(backend.address())
            .workers(2)
            .section("[admin]\nlisten = \"unix:run/admin.sock\"")
            .listener(&format!(
                "[listener.tls]\ncertificates = [{}]\nclient_auth = \"required\"\nclient_trust = {files:?}",
                server.toml()
            ))
            .text()
    };
    let texts = [trust(&[authority.file()]), trust(&[authority.file(), other.file()])];
    let ringate = Ringate::start(&texts[0]);
    let config: Arc<rustls::ClientConfig> = authority.client_config_as(&files);
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let address = ringate.address();
    let connect = &|| Some(Client::tls(address, Arc::clone(&config), "localhost"));
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask(12, &over, &answered, connect));
        for round in 0..6 {
            let before = answered.load(SeqCst);
            eventually("some traffic", || (answered.load(SeqCst) > before + 150).then_some(()));
            std::fs::write(ringate.dir().join("ringate.toml"), &texts[(round + 1) % 2]).unwrap();
            ringate.signal(Signal::HUP);
            ringate.await_metric("config_version", round as u64 + 2);
        }
        over.store(true, SeqCst);
        assert_eq!(asking.join().unwrap(), Vec::<String>::new());
    });
    assert!(ringate.metric("client_handshakes_total") >= 12 * 2, "connections were made anew");
}

#[test]
fn two_signals_at_once_are_one() {
    let backend = Backend::serving(|_| {
        std::thread::sleep(Duration::from_millis(400));
        OK.to_vec()
    });
    for signals in [[Signal::TERM, Signal::TERM], [Signal::TERM, Signal::INT]] {
        let mut ringate = Setup::to(backend.address()).start();
        let mut client = ringate.client();
        client.send(GET);
        backend.request();
        ringate.signal(signals[0]);
        ringate.await_log("draining");
        ringate.signal(signals[1]);
        assert_eq!(client.response().status, 200);
        assert_eq!(ringate.wait().code(), Some(0));
    }
}
