//! Circuit bounds of upstreams, and the Proxy-Status of Ringate's own responses.

use std::time::Duration;

use crate::http::ok;
use crate::support::*;

const ADMIN: &str = "[admin]\nlisten = \"unix:run/admin.sock\"";
const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

fn slow() -> Backend {
    Backend::serving(|request| {
        std::thread::sleep(Duration::from_millis(600));
        ok(request.line())
    })
}

#[test]
fn requests_beyond_a_bound_are_refused_with_the_reason() {
    let backend = slow();
    for limit in ["requests", "connections"] {
        let ringate = Setup::to(backend.address())
            .workers(2)
            .section(ADMIN)
            .section("[log]\naccess = \"access.log\"\naccess_format = \"{response.status} {failure.type}\"")
            .upstream(&format!("limits.{limit} = 2"))
            .start();
        let mut waiting: Vec<_> = (0..2).map(|_| ringate.client()).collect();
        let before = backend.requests();
        for client in &mut waiting {
            client.send(GET);
        }
        eventually("both being under way", || (backend.requests() == before + 2).then_some(()));
        let refused = ringate.client().send(GET).response();
        assert_eq!((refused.status, refused.header("Retry-After")), (503, Some("1")));
        assert_eq!(refused.header("Proxy-Status"), Some("ringate; error=connection_limit_reached"));
        assert_eq!(ringate.metric(&format!("limit_upstream_{limit}_total")), 1);
        let sample =
            format!("ringate_upstream_limit_refused_total{{upstream=\"app\",limit=\"{limit}\"}} 1\n");
        assert!(ringate.admin("/metrics").contains(&sample));
        for client in &mut waiting {
            assert_eq!(client.response().status, 200);
        }
        if limit == "requests" {
            assert_eq!(ringate.client().send(GET).response().status, 200, "there is room again");
        } else {
            // An idle connection serves the next request.
            assert_eq!(waiting[0].send(GET).response().status, 200);
        }
        let log = ringate.dir().join("access.log");
        eventually("the refusal in the access log", || {
            std::fs::read_to_string(&log).unwrap().contains("503 connection_limit_reached\n").then_some(())
        });
    }
}

#[test]
fn connections_that_are_being_made_are_bounded() {
    let pki = Pki::new();
    // Accepts, and is silent in the handshake.
    let silent = Backend::start(|connection| connection.rest().map(drop));
    let ringate = Setup::to(silent.address())
        .section(ADMIN)
        .upstream(&format!("limits.pending = 1\ntimeouts.connect = \"1s\"\n{}", pki.upstream_tls()))
        .start();
    let mut first = ringate.client();
    first.send(GET);
    silent.await_connections(1);
    let refused = ringate.client().send(GET).response();
    assert_eq!((refused.status, ringate.metric("limit_upstream_pending_total")), (503, 1));
    let late = first.response();
    assert_eq!((late.status, late.header("Proxy-Status")), (504, Some("ringate; error=connection_timeout")));
}

#[test]
fn each_failure_has_its_type_unless_the_listener_leaves_it_out() {
    let (pki, others) = (Pki::new(), Pki::new());
    let nginx = Nginx::tls(&others, "location / { return 200 ok; }");
    let resets = Backend::start(|connection| {
        connection.request()?;
        connection.reset()
    });
    let garbage = Backend::replying("no HTTP at all\r\n\r\n");
    let silent = Backend::start(|connection| connection.rest().map(drop));
    let timeout = "timeouts.response = \"300ms\"";
    for (endpoint, upstream, error) in [
        (free_address(), String::new(), "connection_refused"),
        (resets.address(), String::new(), "connection_terminated"),
        (garbage.address(), String::new(), "http_protocol_error"),
        (silent.address(), timeout.to_owned(), "http_response_timeout"),
        (nginx.address(), pki.upstream_tls(), "tls_certificate_error"),
    ] {
        let ringate = Setup::to(endpoint).upstream(&upstream).start();
        let response = ringate.client().send(GET).response();
        assert!(response.status >= 502, "{error}");
        assert_eq!(response.header("Proxy-Status"), Some(&*format!("ringate; error={error}")));
    }
    let routes = "[[route]]\npath = \"/a\"\nupstream = \"app\"";
    let ringate = Setup::to(free_address()).routes(routes).start();
    let response = ringate.client().send(GET).response();
    assert_eq!(response.header("Proxy-Status"), Some("ringate; error=destination_not_found"));
    let ringate = Setup::to(free_address()).listener("proxy_status = false").start();
    assert_eq!(ringate.client().send(GET).response().header("Proxy-Status"), None);
}

#[test]
fn bounds_of_each_endpoint_send_requests_elsewhere_before_they_refuse() {
    let backends = [slow(), slow()];
    for limit in ["requests", "connections"] {
        // The same endpoint for all of them, if the bound does not say otherwise.
        let lines = format!("balance = \"hash\"\nhash.by = \"path\"\nlimits.per_endpoint.{limit} = 1");
        let ringate = Setup::to_all(backends.iter().map(Backend::address))
            .workers(2)
            .section(ADMIN)
            .section("[log]\naccess = \"access.log\"\naccess_format = \"{response.status} {failure}\"")
            .upstream(&lines)
            .start();
        let mut waiting: Vec<_> = (0..2).map(|_| ringate.client()).collect();
        let before: Vec<_> = backends.iter().map(Backend::requests).collect();
        for client in &mut waiting {
            client.send(GET);
        }
        eventually("one at each endpoint", || {
            backends.iter().zip(&before).all(|(at, before)| at.requests() == before + 1).then_some(())
        });
        let refused = ringate.client().send(GET).response();
        assert_eq!((refused.status, refused.header("Retry-After")), (503, Some("1")));
        assert_eq!(refused.header("Proxy-Status"), Some("ringate; error=connection_limit_reached"));
        assert_eq!(ringate.metric(&format!("limit_endpoint_{limit}_total")), 1);
        let sample = format!(
            "ringate_upstream_limit_refused_total{{upstream=\"app\",limit=\"per_endpoint.{limit}\"}} 1\n"
        );
        assert!(ringate.admin("/metrics").contains(&sample));
        let status = ringate.admin("/v1/status");
        assert!(
            status.contains(&format!("{{\"limit\":\"per_endpoint.{limit}\",\"now\":1,\"refused\":1}}")),
            "{status}"
        );
        for client in &mut waiting {
            assert_eq!(client.response().status, 200);
        }
        assert_eq!(waiting[0].send(GET).response().status, 200, "there is room again");
        let log = ringate.dir().join("access.log");
        let reason =
            format!("503 every endpoint that could be used is at its bound limits.per_endpoint.{limit}");
        eventually("the refusal in the access log", || {
            std::fs::read_to_string(&log).unwrap().contains(&reason).then_some(())
        });
    }
}

#[test]
fn connections_that_are_being_made_to_an_endpoint_are_bounded() {
    let pki = Pki::new();
    // Accepts, and is silent in the handshake.
    let silent = Backend::start(|connection| connection.rest().map(drop));
    let ringate = Setup::to(silent.address())
        .section(ADMIN)
        .upstream(&format!("limits.per_endpoint.pending = 1\n{}", pki.upstream_mutual_tls()))
        .start();
    let mut waiting = ringate.client();
    waiting.send(GET);
    silent.await_connections(1);
    assert_eq!(ringate.client().send(GET).response().status, 503);
    assert_eq!(ringate.metric("limit_endpoint_pending_total"), 1);
    assert_eq!(waiting.response().status, 504);
}
