//! Backend connections are kept, shared and checked: a client never pays for one that went stale.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::http::OK;
use crate::support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn one_connection_serves_many_requests_and_many_clients() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).start();
    for _ in 0..10 {
        let mut client = ringate.client();
        for _ in 0..10 {
            assert_eq!(client.send(GET).response().text(), "ok");
        }
    }
    assert_eq!((backend.requests(), backend.connections()), (100, 1));
}

#[test]
fn connections_grow_with_what_is_under_way_and_no_further() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).start();
    let mut clients: Vec<Client> = (0..20).map(|_| ringate.client()).collect();
    for _ in 0..10 {
        for client in &mut clients {
            client.send(GET);
        }
        for client in &mut clients {
            assert_eq!(client.response().text(), "ok");
        }
    }
    assert!(backend.connections() <= 20, "{} connections", backend.connections());
}

#[test]
fn a_pool_of_none_means_a_connection_a_request() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).upstream("pool = { idle_per_worker = 0 }").start();
    let mut client = ringate.client();
    for _ in 0..5 {
        client.send(GET).response();
    }
    assert_eq!(backend.connections(), 5);
    backend.await_ended(5);
}

#[test]
fn idle_and_old_connections_are_let_go() {
    for setting in ["timeouts = { idle = \"1s\" }", "pool = { max_age = \"1s\" }"] {
        let backend = Backend::replying(OK);
        let ringate = Setup::to(backend.address()).upstream(setting).start();
        ringate.client().send(GET).response();
        // The backend sees its end without another request.
        backend.await_ended(1);
        ringate.client().send(GET).response();
        assert_eq!(backend.connections(), 2, "{setting}");
    }
}

#[test]
fn a_connection_that_its_backend_closed_is_not_used() {
    let backend = Backend::start(|connection| {
        connection.request()?;
        connection.send(OK)
    });
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    for number in 1..=20 {
        assert_eq!(client.send(GET).response().text(), "ok");
        backend.await_ended(number);
    }
    assert_eq!(backend.connections(), 20);
}

/// A backend that closes the connection a random while after each answer, sooner or later than the next request.
fn fickle(resets: bool) -> Backend {
    let state = AtomicUsize::new(12_345);
    Backend::start(move |connection| {
        while connection.request()?.is_some() {
            connection.send(OK)?;
            let dice = state.fetch_add(7_919, Ordering::Relaxed).wrapping_mul(2_654_435_761) >> 7;
            if dice.is_multiple_of(3) {
                std::thread::sleep(Duration::from_micros(dice as u64 % 400));
                return if resets { connection.reset() } else { Ok(()) };
            }
        }
        Ok(())
    })
}

#[test]
fn no_client_sees_an_idle_connection_close() {
    for resets in [false, true] {
        let backend = fickle(resets);
        let ringate = Setup::to(backend.address()).start();
        std::thread::scope(|scope| {
            for number in 0..4 {
                let mut client = ringate.client();
                scope.spawn(move || {
                    for round in 0..250 {
                        client.send(GET);
                        let response = client.response();
                        assert_eq!(
                            response.status, 200,
                            "client {number}, request {round}, resets: {resets}"
                        );
                    }
                });
            }
        });
        assert!(backend.connections() > 100, "the backend did close: {}", backend.connections());
    }
}

#[test]
fn a_request_on_a_stale_connection_is_sent_again_where_that_is_safe() {
    // The first connection takes its second request and hangs up without a byte of an answer.
    for (method, body, status) in [
        ("GET", "", 200),
        ("PUT", "hello", 200),
        ("DELETE", "", 200),
        ("POST", "hello", 502),
        ("PATCH", "x", 502),
    ] {
        let backend = Backend::start(|connection| {
            while connection.request()?.is_some() {
                if connection.number == 0 && connection.requests_read() == 2 {
                    return Ok(());
                }
                connection.send(OK)?;
            }
            Ok(())
        });
        let ringate = Setup::to(backend.address()).start();
        ringate.client().send(GET).response();
        let length = body.len();
        let request = format!("{method} / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}");
        let response = ringate.client().send(request).response();
        assert_eq!(response.status, status, "{method}");
        if status == 200 {
            backend.request();
            let (first, second) = (backend.request(), backend.request());
            assert_eq!((&first.head, &first.body), (&second.head, &second.body), "the same again");
            assert_eq!(second.body, body.as_bytes());
        }
    }
}

#[test]
fn a_request_that_fails_on_a_new_connection_is_not_repeated() {
    let backend = Backend::start(|connection| connection.request().map(drop));
    let ringate = Setup::to(backend.address()).start();
    assert_eq!(ringate.get("/").status, 502);
    assert_eq!(backend.requests(), 1);
}

#[test]
fn a_response_that_has_begun_is_never_asked_for_again() {
    let backend = Backend::start(|connection| {
        connection.request()?;
        connection.send(OK)?;
        connection.request()?;
        connection.send("HTTP/1.1 200 OK\r\n")
    });
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    assert_eq!(client.send(GET).response().status, 200);
    assert_eq!(client.send(GET).response().status, 502);
    assert_eq!(backend.requests(), 2);
}

#[test]
fn endpoints_take_turns_by_weight() {
    let backends: Vec<Backend> = (0..3).map(|_| Backend::replying(OK)).collect();
    let [a, b, c] = [0, 1, 2].map(|index| backends[index].address());
    let ringate = Setup::to_all([])
        .upstream(&format!("endpoints = [\"{a}\", {{ address = \"{b}\", weight = 2 }}, \"{c}\"]"))
        .start();
    let mut client = ringate.client();
    for _ in 0..40 {
        client.send(GET).response();
    }
    let shares: Vec<usize> = backends.iter().map(Backend::requests).collect();
    assert_eq!(shares, [10, 20, 10]);
}

#[test]
fn an_endpoint_that_refuses_is_passed_over() {
    let alive = Backend::replying(OK);
    let ringate = Setup::to_all([free_address(), alive.address(), free_address()]).start();
    let mut client = ringate.client();
    let begun = Instant::now();
    for _ in 0..30 {
        assert_eq!(client.send(GET).response().text(), "ok");
    }
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(alive.requests(), 30);
}

#[test]
fn a_body_where_none_may_be_is_not_the_next_clients_response() {
    // HEAD with a body, as careless backends send it: late, and here with a body that looks like a response.
    let (sent, told) = std::sync::mpsc::channel();
    let backend = Backend::start(move |connection| {
        while let Some(request) = connection.request()? {
            if request.line().starts_with("HEAD") {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\n")?;
                std::thread::sleep(Duration::from_millis(2));
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")?;
                let _ = sent.send(());
            } else {
                connection.send(OK)?;
            }
        }
        Ok(())
    });
    let ringate = Setup::to(backend.address()).start();
    for round in 0..50 {
        ringate.client().send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n").response_to_head();
        told.recv_timeout(PATIENCE).unwrap();
        assert_eq!(ringate.client().send(GET).response().text(), "ok", "round {round}");
    }
}

#[test]
fn a_connection_that_a_client_authenticated_serves_nobody_else() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).workers(1).start();
    let mut client = ringate.client();
    let mut ask = |field: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\n{field}\r\n");
        assert_eq!(client.send(request).response().status, 200);
        backend.connections()
    };
    assert_eq!([ask(""), ask("Authorization: Basic YTpi\r\n")], [1, 1]);
    assert_eq!([ask("Authorization: NTLM TlRMTVNTUAADAAAA\r\n"), ask("")], [1, 2], "it was closed");
    assert_eq!([ask("authorization: negotiate YIIabc\r\n"), ask("")], [2, 3]);
    assert_eq!([ask("Authorization: Bearer x\r\n"), ask("")], [3, 3]);
}

/// The server name of such an upstream is the request's host, so that clients choose for whom the pool holds connections.
#[test]
fn made_up_names_take_the_pool_from_nobody() {
    let pki = Pki::with_names(&["*.example.test"]);
    let endpoint = Ringate::start(&format!(
        "[runtime]\nworkers = 1\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\nprotocol = \"http\"\n\
         {}\n[[route]]\nrespond = {{ status = 200, body = \"ok\" }}\n",
        pki.listener_tls()
    ));
    let tls = format!("[upstream.app.tls]\ntrust = [{:?}]\n", pki.file("ca.pem"));
    let ringate = Setup::to(endpoint.address())
        .section("[admin]\nlisten = \"unix:run/admin.sock\"")
        .upstream(&format!("pool = {{ idle_per_worker = 8 }}\n{tls}"))
        .start();
    let mut client = ringate.client();
    let mut ask = |name: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: {name}.example.test\r\n\r\n");
        assert_eq!(client.send(request).response().status, 200, "{name}");
        ringate.metric("backend_connections_total")
    };
    // A full pool has room for a newcomer.
    for number in 0..20 {
        ask(&format!("full{number}"));
    }
    let before = ask("newcomer");
    assert_eq!(ask("newcomer"), before);
    // What is used again keeps its place, whatever else comes.
    for round in 0..3 {
        for number in 0..20 {
            ask(&format!("made-up-{round}-{number}"));
        }
        let before = ringate.metric("backend_connections_total");
        assert_eq!(ask("newcomer"), before);
    }
}

#[test]
fn a_pool_kept_by_client_has_room_for_a_newcomer() {
    let backend = Backend::start(|connection| {
        connection.line()?;
        while connection.request()?.is_some() {
            connection.send(OK)?;
        }
        Ok(())
    });
    let ringate = Setup::to(backend.address())
        .upstream("proxy_protocol = \"v1\"\npool = { idle_per_worker = 4 }")
        .start();
    let mut clients: Vec<Client> = (0..6).map(|_| ringate.client()).collect();
    for client in &mut clients {
        client.send(GET).response();
        // Told apart by their ticks.
        std::thread::sleep(Duration::from_millis(60));
    }
    let newcomer = clients.last_mut().unwrap();
    assert_eq!(newcomer.send(GET).response().text(), "ok");
    assert_eq!(backend.connections(), 6, "the newcomer's was kept, the oldest one's was not");
}
