//! Both drivers do the same: the core of HTTP, a TLS listener, a TLS backend and a drain, on each.

use rustix::process::Signal;

use crate::http::{OK, noise, ok};
use crate::support::*;

fn bodies_both_ways(driver: &'static str) {
    let backend = Backend::serving(|request| ok(&request.body));
    let ringate = Setup::to(backend.address()).driver(driver).start();
    let mut client = ringate.client();
    for size in [0, 1, 40_000, 1_000_000] {
        let body = noise(size);
        client.send(format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n")).send(&body);
        assert!(client.response().body == body, "{size} bytes");
    }
    assert_eq!(backend.connections(), 1);
}

fn pipelining_and_chunks(driver: &'static str) {
    let backend = Backend::serving(|request| {
        let line = request.line();
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{line}\r\n0\r\n\r\n",
            line.len()
        )
        .into()
    });
    let ringate = Setup::to(backend.address()).driver(driver).start();
    let requests: String =
        (0..20).map(|number| format!("GET /{number} HTTP/1.1\r\nHost: h\r\n\r\n")).collect();
    let mut client = ringate.client();
    client.send(requests);
    for number in 0..20 {
        assert_eq!(client.response().text(), format!("GET /{number}"));
    }
}

fn refusals_and_timeouts(driver: &'static str) {
    let backend = Backend::start(|connection| connection.rest().map(drop));
    let ringate = Setup::to(backend.address())
        .driver(driver)
        .limits("head_timeout = \"300ms\"")
        .upstream("timeouts = { response = \"300ms\" }")
        .start();
    for (request, status) in
        [("garbage\r\n\r\n", 400), ("GET / HTTP/1.1\r\n", 408), ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", 504)]
    {
        let mut client = ringate.client();
        assert_eq!(client.send(request).response().status, status, "{request}");
        client.closes();
    }
    let nobody = Setup::to(free_address()).driver(driver).start();
    assert_eq!(nobody.get("/").status, 502);
}

fn silence_and_return(driver: &'static str) {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).driver(driver).limits("idle_timeout = \"2s\"").start();
    let mut client = ringate.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response();
    // Longer than a silent connection keeps its buffer.
    std::thread::sleep(std::time::Duration::from_millis(900));
    assert_eq!(client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response().text(), "ok");
    client.closes();
}

fn tls_on_both_sides(driver: &'static str) {
    let pki = Pki::new();
    let nginx =
        Nginx::mutual(&pki, "location / { return 200 \"$ssl_client_verify $http_x_forwarded_proto\"; }");
    let ringate = Setup::to(nginx.address())
        .driver(driver)
        .listener(&pki.listener_tls())
        .upstream(&pki.upstream_mutual_tls())
        .start();
    let mut client = ringate.tls_client(pki.client_config());
    for _ in 0..3 {
        let response = client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").response();
        assert_eq!(response.text(), "SUCCESS https");
    }
}

fn a_drain(driver: &'static str) {
    let backend = Backend::replying(OK);
    let mut ringate = Setup::to(backend.address()).driver(driver).start();
    let mut client = ringate.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response();
    ringate.signal(Signal::TERM);
    client.closes();
    assert_eq!(ringate.wait().code(), Some(0));
}

/// Each of these functions as a test on each driver.
macro_rules! on_each_driver {
    ($($test:ident),* $(,)?) => {
        mod io_uring {
            $(#[test] fn $test() { super::$test("io_uring"); })*
        }
        mod epoll {
            $(#[test] fn $test() { super::$test("epoll"); })*
        }
    };
}

on_each_driver!(
    bodies_both_ways,
    pipelining_and_chunks,
    refusals_and_timeouts,
    silence_and_return,
    tls_on_both_sides,
    a_drain,
);

#[test]
fn the_log_says_which_driver_runs() {
    let backend = Backend::replying(OK);
    for (driver, said) in [("io_uring", ", io_uring ("), ("epoll", ", epoll")] {
        let ringate = Setup::to(backend.address()).driver(driver).start();
        ringate.await_log(said);
    }
}
