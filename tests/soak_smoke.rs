//! Under load nothing is lost: not with keep-alive nor without, not when backends close as they please.
//!
//! A few seconds each; `scripts/soak` is the long version.

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::support::*;

const CONNECTIONS: usize = 256;
const SECONDS: u32 = 3;

/// On a busy machine 256 handshakes at once may take longer than the default.
const PATIENT: &str = "timeouts = { connect = \"15s\" }\n";

/// Runs wrk and asserts that every answer was a good one. Returns how many there were.
fn load(url: &str, header: &str) -> u64 {
    let said = wrk(url, CONNECTIONS, SECONDS, &["-H", header, "--timeout", "30s"], None);
    for bad in ["Socket errors", "Non-2xx"] {
        assert!(!said.contains(bad), "{said}");
    }
    let requests = said.lines().find_map(|line| line.split_once(" requests in ")?.0.trim().parse().ok());
    requests.unwrap_or_else(|| panic!("no count in:\n{said}"))
}

/// With keep-alive and without, on two workers; then every request was answered by the backend.
fn both_ways(backend: std::net::SocketAddr, upstream: &str) {
    let upstream = format!("{PATIENT}{upstream}");
    let ringate = Setup::to(backend).workers(2).upstream(&upstream).start();
    for header in ["Connection: keep-alive", "Connection: close"] {
        // On a busy machine as many times as it takes, but not for ever.
        let mut requests = 0;
        for _ in 0..5 {
            requests += load(&ringate.url(), header);
            if requests > 500 {
                break;
            }
        }
        assert!(requests > 500, "only {requests} requests with {header}");
    }
    let log = ringate.log();
    assert!(!log.contains("upstream=") && !log.contains(" ERROR "), "{log}");
    assert_eq!(ringate.terminate().code(), Some(0));
}

const ANSWER: &str =
    "error_log stderr warn;\nlocation / { return 200 \"an answer of some length, the same each time\"; }";

#[test]
fn a_plain_backend() {
    let nginx = Nginx::plain(ANSWER);
    both_ways(nginx.address(), "");
}

#[test]
fn a_tls_backend_that_demands_our_certificate() {
    let pki = Pki::new();
    let nginx = Nginx::mutual(&pki, ANSWER);
    both_ways(nginx.address(), &pki.upstream_mutual_tls());
}

#[test]
fn a_backend_that_closes_after_a_few_requests_and_after_short_silences() {
    let pki = Pki::new();
    let restless = format!("keepalive_requests 7;\nkeepalive_timeout 2ms;\n{ANSWER}");
    let plain = Nginx::plain(&restless);
    both_ways(plain.address(), "");
    let tls = Nginx::mutual(&pki, &restless);
    both_ways(tls.address(), &pki.upstream_mutual_tls());
}

#[test]
fn a_backend_that_closes_idle_connections_at_any_moment_without_a_word() {
    let closed = Arc::new(AtomicU32::new(0));
    let closing = Arc::clone(&closed);
    // Its answers promise a connection that stays. It goes right after an answer, or a moment later, in which
    // the next request may already be on its way; sometimes with a reset.
    let server = Server::start(None, move |stream| {
        let mut state = 2_463_534_242 ^ closing.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9);
        let mut random = move |below: u32| {
            // xorshift32
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state % below
        };
        for _ in 0..=random(20) {
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                if line == "\r\n" {
                    break;
                }
            }
            stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        }
        std::thread::sleep(Duration::from_micros(u64::from(random(2_000))));
        if random(4) == 0 {
            socket2::SockRef::from(stream.get_ref().tcp()).set_linger(Some(Duration::ZERO))?;
        }
        Ok(())
    });
    both_ways(server.address(), "");
    assert!(closed.load(Ordering::Relaxed) > 100, "connections came and went");
}

#[test]
fn tls_clients_that_reconnect_for_each_request() {
    let pki = Pki::new();
    let nginx = Nginx::mutual(&pki, ANSWER);
    let listener = pki.listener_tls();
    let ringate = Setup::to(nginx.address())
        .workers(2)
        .listener(&listener)
        .upstream(&format!("{PATIENT}{}", pki.upstream_mutual_tls()))
        .start();
    let url = format!("https://localhost:{}/", ringate.address().port());
    for header in ["Connection: keep-alive", "Connection: close"] {
        load(&url, header);
    }
}
