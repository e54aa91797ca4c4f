//! A reload that changes some endpoints of an upstream, or how it is used, takes nothing from the endpoints that stay:
//! connections, TLS sessions, what is known of failures, and the exchanges that are counted.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustls::HandshakeKind;

use crate::http::OK;
use crate::reload::{edit, reload};
use crate::support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const ADMIN: &str = "[admin]";

/// The endpoints of the running config, as these.
fn with_endpoints(ringate: &Ringate, endpoints: &[String]) -> String {
    let text = edit(ringate, "endpoints = [", "endpoints = [");
    let line = text.lines().find(|line| line.starts_with("endpoints = [")).unwrap();
    text.replace(line, &format!("endpoints = [{}]", endpoints.join(", ")))
}

fn quoted(backend: &Backend) -> String {
    format!("\"{}\"", backend.address())
}

fn get_often(client: &mut Client, times: usize) {
    for _ in 0..times {
        assert_eq!(client.send(GET).response().text(), "ok");
    }
}

#[test]
fn endpoints_that_stay_keep_their_connections() {
    let backends: Vec<Backend> = (0..4).map(|_| Backend::replying(OK)).collect();
    let at: Vec<String> = backends.iter().map(quoted).collect();
    let ringate = Setup::to_all(backends[..2].iter().map(Backend::address)).start();
    let connections = || backends.iter().map(Backend::connections).collect::<Vec<_>>();
    let mut client = ringate.client();
    get_often(&mut client, 4);
    assert_eq!(connections(), [1, 1, 0, 0]);
    // A third one, before the others.
    reload(&ringate, &with_endpoints(&ringate, &[at[2].clone(), at[0].clone(), at[1].clone()]));
    get_often(&mut client, 6);
    assert_eq!(connections(), [1, 1, 1, 0], "one was added");
    // Another address in the place of one.
    reload(&ringate, &with_endpoints(&ringate, &[at[2].clone(), at[0].clone(), at[3].clone()]));
    get_often(&mut client, 6);
    assert_eq!(connections(), [1, 1, 1, 1], "one was replaced");
    backends[1].await_ended(1);
    // Other weights, in another order.
    let weighted = format!("{{ address = {}, weight = 3 }}", at[0]);
    reload(&ringate, &with_endpoints(&ringate, &[at[3].clone(), weighted]));
    get_often(&mut client, 8);
    assert_eq!(connections(), [1, 1, 1, 1], "a weight was changed");
    backends[2].await_ended(1);
    for lines in ["timeouts.response = \"9s\"", "retries = { attempts = 3 }", "pool.max_age = \"2h\""] {
        reload(&ringate, &edit(&ringate, "[upstream.app]", &format!("[upstream.app]\n{lines}")));
        get_often(&mut client, 8);
        assert_eq!(connections(), [1, 1, 1, 1], "{lines}");
    }
    assert_eq!((backends[0].ended(), backends[3].ended()), (0, 0));
    // The one that was removed comes back: nothing is left of what it was.
    reload(&ringate, &with_endpoints(&ringate, &[at[0].clone(), at[1].clone()]));
    get_often(&mut client, 4);
    assert_eq!(connections(), [1, 2, 1, 1]);
}

#[test]
fn connections_in_use_at_a_reload_are_used_on_if_their_endpoint_stays() {
    let ((stays, go_stays), (goes, go_goes)) =
        (Backend::with_long_exchanges(), Backend::with_long_exchanges());
    let other = Backend::replying(OK);
    let ringate = Setup::to_all([stays.address(), goes.address()]).start();
    let mut clients = [ringate.client(), ringate.client()];
    for client in &mut clients {
        client.send("GET /long HTTP/1.1\r\nHost: h\r\n\r\n").until("\r\n\r\nhalf");
    }
    assert_eq!((stays.connections(), goes.connections()), (1, 1));
    reload(&ringate, &with_endpoints(&ringate, &[quoted(&other), quoted(&stays)]));
    // Another snapshot, before any exchange has ended.
    let mut client = ringate.client();
    get_often(&mut client, 2);
    assert_eq!(stays.connections(), 2);
    go_stays.send(()).unwrap();
    go_goes.send(()).unwrap();
    for client in &mut clients {
        client.until("half");
    }
    goes.await_ended(1);
    get_often(&mut client, 4);
    // Two at once: both of its connections are idle, and neither is made anew.
    for client in &mut clients {
        client.send("GET /long HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    go_stays.send(()).unwrap();
    go_stays.send(()).unwrap();
    get_often(&mut client, 4);
    assert_eq!((stays.connections(), stays.ended()), (2, 0));
}

#[test]
fn fewer_idle_connections_are_kept_from_a_reload_on() {
    let (backend, go) = Backend::with_long_exchanges();
    let ringate = Setup::to(backend.address()).upstream("pool.idle_per_worker = 3").start();
    let mut clients: Vec<Client> = (0..3).map(|_| ringate.client()).collect();
    for client in &mut clients {
        client.send("GET /long HTTP/1.1\r\nHost: h\r\n\r\n").until("\r\n\r\nhalf");
    }
    for _ in 0..2 {
        go.send(()).unwrap();
    }
    eventually("two of them", || (backend.connections() == 3).then_some(()));
    reload(&ringate, &edit(&ringate, "idle_per_worker = 3", "idle_per_worker = 1"));
    let mut client = ringate.client();
    get_often(&mut client, 1);
    go.send(()).unwrap();
    for client in &mut clients {
        client.until("half");
    }
    backend.await_ended(2);
    get_often(&mut client, 3);
    assert_eq!((backend.connections(), backend.ended()), (3, 2));
}

/// A TLS server that counts handshakes: full ones, resumed ones. It closes after each response if it `closes`.
fn counting(pki: &Pki, closes: bool) -> (Server, Arc<[AtomicUsize; 2]>) {
    let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let counted = Arc::clone(&counts);
    let server = Server::start(Some(pki.server_config()), move |stream| {
        let mut head = [0; 4096];
        let mut requests = 0;
        while stream.read(&mut head)? > 0 {
            if requests == 0
                && let Stream::Server(tls) = stream.get_ref()
            {
                let resumed = tls.conn.handshake_kind() == Some(HandshakeKind::Resumed);
                counted[usize::from(resumed)].fetch_add(1, Ordering::SeqCst);
            }
            requests += 1;
            if closes {
                stream
                    .get_mut()
                    .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")?;
                return stream.get_mut().finish();
            }
            stream.get_mut().write_all(OK)?;
        }
        Ok(())
    });
    (server, counts)
}

fn of(counts: &Arc<[AtomicUsize; 2]>) -> (usize, usize) {
    (counts[0].load(Ordering::SeqCst), counts[1].load(Ordering::SeqCst))
}

#[test]
fn tls_sessions_of_endpoints_that_stay_are_resumed() {
    let pki = Pki::new();
    let servers: Vec<_> = (0..3).map(|_| counting(&pki, true)).collect();
    let at: Vec<String> = servers.iter().map(|(it, _)| format!("\"{}\"", it.address())).collect();
    let tls = format!("timeouts.response = \"8s\"\n{}", pki.upstream_mutual_tls());
    let ringate = Setup::to_all(servers[..2].iter().map(|(it, _)| it.address())).upstream(&tls).start();
    let mut client = ringate.client();
    get_often(&mut client, 4);
    assert_eq!((of(&servers[0].1), of(&servers[1].1)), ((1, 1), (1, 1)));
    reload(&ringate, &with_endpoints(&ringate, &[at[2].clone(), at[0].clone()]));
    get_often(&mut client, 4);
    assert_eq!((of(&servers[0].1), of(&servers[2].1)), ((1, 3), (1, 1)), "resumed where it stays");
    reload(&ringate, &edit(&ringate, "timeouts.response = \"8s\"", "timeouts.response = \"9s\""));
    get_often(&mut client, 4);
    assert_eq!((of(&servers[0].1), of(&servers[2].1)), ((1, 5), (1, 3)));
}

#[test]
fn other_trust_or_another_certificate_begins_anew() {
    let pki = Pki::new();
    let (server, counts) = counting(&pki, false);
    let ringate = Setup::to(server.address()).upstream(&pki.upstream_tls()).start();
    let mut client = ringate.client();
    get_often(&mut client, 3);
    assert_eq!(of(&counts), (1, 0));
    let server_pem = pki.file("server.pem");
    let trust = edit(&ringate, "trust = [", &format!("trust = [{server_pem:?}, "));
    reload(&ringate, &trust);
    get_often(&mut client, 3);
    assert_eq!(of(&counts), (2, 0), "neither connection nor session outlives the trust that they stand for");
    let (cert, key) = (pki.file("client.pem"), pki.file("client.key"));
    let presents = format!("certificate = {{ cert = {cert:?}, key = {key:?} }}\ntrust = [");
    reload(&ringate, &edit(&ringate, "trust = [", &presents));
    get_often(&mut client, 3);
    assert_eq!(of(&counts), (3, 0), "nor the identity");
    let verified = "min_rsa_bits = 3072\ntrust = [";
    reload(&ringate, &edit(&ringate, "trust = [", verified));
    get_often(&mut client, 3);
    assert_eq!(of(&counts), (4, 0));
}

#[test]
fn a_connection_of_one_client_outlives_the_reload_and_not_the_client() {
    let (backend, other) = (
        Backend::start(|connection| {
            connection.line()?;
            while connection.request()?.is_some() {
                connection.send(OK)?;
            }
            Ok(())
        }),
        Backend::replying(OK),
    );
    let ringate = Setup::to(backend.address()).upstream("proxy_protocol = \"v1\"").start();
    let mut client = ringate.client();
    get_often(&mut client, 2);
    let text = edit(&ringate, "[upstream.app]", "[upstream.app]\ntimeouts.response = \"9s\"");
    reload(&ringate, &text);
    get_often(&mut client, 2);
    assert_eq!((backend.connections(), backend.ended()), (1, 0));
    drop(client);
    backend.await_ended(1);
    // An endpoint that goes takes it along.
    let mut client = ringate.client();
    get_often(&mut client, 2);
    reload(&ringate, &with_endpoints(&ringate, &[quoted(&other)]));
    let _ = client.send(GET).response();
    backend.await_ended(2);
}

fn get(number: usize) -> String {
    format!("GET /{number} HTTP/1.1\r\nHost: h\r\n\r\n")
}

#[test]
fn the_bound_of_an_endpoint_holds_while_others_are_added_and_what_waits_is_served_in_order() {
    let ((one, go_one), (two, go_two)) = (Backend::held_back(), Backend::held_back());
    for workers in [1, 3] {
        let (before_one, before_two) = (one.requests(), two.requests());
        let queue = "pool.max_per_endpoint = 1\nqueue.timeout = \"20s\"";
        let ringate = Setup::to(one.address()).section(ADMIN).upstream(queue).workers(workers).start();
        let mut clients: Vec<Client> = (0..4).map(|_| ringate.client()).collect();
        clients[0].send(get(0));
        assert_eq!(one.request().line(), "GET /0");
        clients[1].send(get(1));
        ringate.await_metric("queue_open", 1);
        reload(&ringate, &with_endpoints(&ringate, &[quoted(&two), quoted(&one)]));
        // It waits for the one endpoint of its snapshot: that does not keep others from the new one.
        clients[2].send(get(2));
        assert_eq!(two.request().line(), "GET /2");
        clients[3].send(get(3));
        ringate.await_metric("queue_open", 2);
        assert_eq!((one.requests() - before_one, two.requests() - before_two), (1, 1), "no room was made");
        for number in [0, 1] {
            let begun = Instant::now();
            go_one.send(()).unwrap();
            assert_eq!(clients[number].response().text(), format!("GET /{number}"));
            assert_eq!(one.request().line(), ["GET /1", "GET /3"][number], "the oldest, old or new");
            assert!(begun.elapsed() < Duration::from_millis(900), "by a wake-up, not by chance");
        }
        go_one.send(()).unwrap();
        assert_eq!(clients[3].response().text(), "GET /3");
        go_two.send(()).unwrap();
        assert_eq!(clients[2].response().text(), "GET /2");
        assert_eq!(ringate.metric("queue_open"), 0);
    }
}

#[test]
fn exchanges_count_on_where_the_bound_itself_changes() {
    let (backend, go) = Backend::held_back();
    let queue = "pool.max_per_endpoint = 1\nqueue.timeout = \"20s\"";
    let ringate = Setup::to(backend.address()).section(ADMIN).upstream(queue).workers(2).start();
    let mut clients: Vec<Client> = (0..4).map(|_| ringate.client()).collect();
    clients[0].send(get(0));
    assert_eq!(backend.request().line(), "GET /0");
    reload(&ringate, &edit(&ringate, "max_per_endpoint = 1", "max_per_endpoint = 2"));
    clients[1].send(get(1));
    assert_eq!(backend.request().line(), "GET /1");
    clients[2].send(get(2));
    ringate.await_metric("queue_open", 1);
    assert_eq!(backend.requests(), 2, "one of before, and one more");
    // Back to one: it takes the end of both until there is room.
    reload(&ringate, &edit(&ringate, "max_per_endpoint = 2", "max_per_endpoint = 1"));
    clients[3].send(get(3));
    ringate.await_metric("queue_open", 2);
    for _ in 0..4 {
        go.send(()).unwrap();
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.response().text(), format!("GET /{number}"));
    }
    assert_eq!((ringate.metric("queue_open"), backend.requests()), (0, 4));
}

#[test]
fn an_endpoint_that_just_refused_is_still_avoided_after_a_reload() {
    let backend = Backend::replying(OK);
    // No free port: another test might listen there by then.
    let dead = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    for _ in 0..5 {
        let ringate = Setup::to_all([dead, backend.address()]).section(ADMIN).start();
        let mut client = ringate.client();
        let begun = Instant::now();
        // Each in turn, whichever a worker begins with.
        get_often(&mut client, 2);
        assert_eq!(ringate.metric("backend_connect_failures_total"), 1);
        reload(&ringate, &edit(&ringate, "[upstream.app]", "[upstream.app]\ntimeouts.response = \"9s\""));
        get_often(&mut client, 4);
        // On a machine that is this slow the endpoint may be due again.
        if begun.elapsed() < Duration::from_millis(1500) {
            assert_eq!(ringate.metric("backend_connect_failures_total"), 1);
            return;
        }
    }
    panic!("a reload took more than a second five times");
}
