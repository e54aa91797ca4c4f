//! Retries before backends that speak TLS and demand certificates: what fails before the request has left goes to the
//! next endpoint whatever the method, what fails later only as the config says; and bounds hold meanwhile.

use std::io::{self, BufReader, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ringate::internals::certs::store::{load_pair, load_trust};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::http::ok;
use crate::support::*;

const ADMIN: &str = "[admin]\nlisten = \"unix:run/admin.sock\"";
const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const PUT: &str = "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab";
const POST: &str = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab";
const VERIFIED: &str = "location / { return 200 \"$ssl_client_verify $request_method\"; }";

/// Demands a client certificate of the CA.
fn demanding(pki: &Pki) -> Arc<ServerConfig> {
    let mut roots = RootCertStore::empty();
    load_trust(&pki.file("ca.pem")).unwrap().into_iter().for_each(|one| roots.add(one).unwrap());
    let provider = Arc::new(default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let bundle = load_pair(&pki.file("server.pem"), &pki.file("server.key")).unwrap().bundle;
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.unwrap().with_client_cert_verifier(verifier.build().unwrap());
    let (chain, key) = (bundle.chain().to_vec(), bundle.key().unwrap().clone_key());
    Arc::new(builder.with_single_cert(chain, key).unwrap())
}

/// A backend that demands a certificate, and does this with each request; it counts them.
fn backend(
    pki: &Pki,
    how: impl Fn(&mut Stream, &Request) -> io::Result<()> + Send + Sync + 'static,
) -> (Server, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    let server = Server::start(Some(demanding(pki)), move |stream: &mut BufReader<Stream>| {
        let mut ahead = Ahead::default();
        while let Some(request) = ahead.request(stream)? {
            counted.fetch_add(1, Ordering::SeqCst);
            how(stream.get_mut(), &request)?;
        }
        Ok(())
    });
    (server, seen)
}

fn closes(_: &mut Stream, _: &Request) -> io::Result<()> {
    Err(io::ErrorKind::ConnectionAborted.into())
}

fn hangs(_: &mut Stream, _: &Request) -> io::Result<()> {
    std::thread::sleep(PATIENCE);
    Ok(())
}

fn is_busy(stream: &mut Stream, _: &Request) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy")
}

fn answers(stream: &mut Stream, request: &Request) -> io::Result<()> {
    stream.write_all(&ok(format!("{} {}", request.line(), request.body.len())))
}

fn setup(pki: &Pki, endpoints: &[SocketAddr], upstream: &str) -> Setup {
    let upstream = format!("{upstream}\n{}", pki.upstream_mutual_tls());
    Setup::to_all(endpoints.iter().copied()).section(ADMIN).upstream(&upstream)
}

#[test]
fn what_fails_in_the_handshake_goes_to_the_next_endpoint_whatever_the_method() {
    let (pki, others) = (Pki::new(), Pki::new());
    let good = Nginx::mutual(&pki, VERIFIED);
    let resets = Backend::start(|connection| {
        connection.bytes(5)?;
        connection.reset()?;
        Err(io::ErrorKind::ConnectionAborted.into())
    });
    let closes = Backend::start(|connection| connection.bytes(5).map(drop));
    let speaks_no_tls = Backend::start(|connection| {
        connection.bytes(5)?;
        connection.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    });
    let another = Nginx::tls(&others, VERIFIED);
    let refuses = Judge::start(&pki, &rustls::version::TLS12, &[&others.file("ca.pem")]);
    for (what, bad) in [
        ("nobody", free_address()),
        ("resets", resets.address()),
        ("closes", closes.address()),
        ("speaks no TLS", speaks_no_tls.address()),
        ("another's certificate", another.address()),
        ("refuses ours", refuses.address()),
    ] {
        for upstream in ["", "retries = { attempts = 3, on = [\"connect\", \"503\"] }"] {
            // No idle connections: each request makes one.
            let upstream = format!("pool.idle_per_worker = 0\n{upstream}");
            let ringate = setup(&pki, &[bad, good.address()], &upstream).workers(1).start();
            let mut client = ringate.client();
            for (request, method) in [(GET, "GET"), (POST, "POST"), (PUT, "PUT")] {
                let response = client.send(request).response();
                let text = format!("SUCCESS {method}");
                assert_eq!((response.status, response.text()), (200, &*text), "{what}: {upstream}");
            }
            assert_eq!(ringate.metric("retries_total"), 0, "{what}");
            assert!(ringate.metric("backend_connect_failures_total") > 0, "{what}");
        }
    }
    assert_eq!(refuses.asked("ringate-client").requests, 0);
}

#[test]
fn what_fails_later_goes_to_the_next_endpoint_if_it_may_be_repeated() {
    let pki = Pki::new();
    for (how, on, status) in [
        (closes as fn(&mut Stream, &Request) -> _, "reset", 502),
        (is_busy, "503", 503),
        (hangs, "timeout", 504),
    ] {
        let (bad, good) = (backend(&pki, how), backend(&pki, answers));
        let upstream = format!(
            "retries = {{ attempts = 2, on = [\"{on}\"], budget = 100 }}\ntimeouts.response = \"1s\""
        );
        let ringate = setup(&pki, &[bad.0.address(), good.0.address()], &upstream).workers(1).start();
        for request in [GET, PUT] {
            // One of the two begins at the bad one.
            for _ in 0..2 {
                let response = ringate.client().send(request).response();
                let body = if request == GET { "GET / 0" } else { "PUT / 2" };
                assert_eq!((response.status, response.text()), (200, body), "{on}");
            }
        }
        let retries = ringate.metric("retries_total");
        assert_eq!((bad.1.load(Ordering::SeqCst), retries), (2, 2), "{on}");
        let mut statuses: Vec<u16> = (0..2).map(|_| ringate.client().send(POST).response().status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, status], "{on}: a POST is not repeated");
        assert_eq!(ringate.metric("retries_total"), retries);
    }
}

/// A TLS 1.3 server refuses our certificate when its handshake is long over for us, and a request on its way.
#[test]
fn a_certificate_that_one_backend_refuses_is_taken_to_the_next() {
    let (pki, others) = (Pki::new(), Pki::new());
    let refuses = Judge::start(&pki, &rustls::version::TLS13, &[&others.file("ca.pem")]);
    let takes = Judge::start(&pki, &rustls::version::TLS13, &[&pki.file("ca.pem")]);
    let upstream = "retries = { attempts = 2, budget = 100 }\npool.idle_per_worker = 0";
    let ringate = setup(&pki, &[refuses.address(), takes.address()], upstream).workers(1).start();
    for number in 0..6 {
        let response = ringate.client().send(if number % 2 == 0 { GET } else { PUT }).response();
        assert_eq!((response.status, response.text()), (200, "ringate-client"), "{number}");
    }
    assert_eq!(refuses.asked("ringate-client").requests, 0);
    assert!(ringate.metric("retries_total") >= 2);
    ringate.await_log("after the handshake the peer closed with the alert");
}

#[test]
fn bounds_hold_and_no_place_is_lost_while_requests_are_tried_again() {
    let pki = Pki::new();
    let most = Arc::new(AtomicUsize::new(0));
    let counting = |answer: fn(&mut Stream, &Request) -> io::Result<()>| {
        let (now, most) = (AtomicUsize::new(0), Arc::clone(&most));
        backend(&pki, move |stream, request| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(1));
            now.fetch_sub(1, Ordering::SeqCst);
            answer(stream, request)
        })
    };
    let (busy, breaks, good) = (counting(is_busy), counting(closes), counting(answers));
    let upstream = "retries = { attempts = 3, on = [\"503\", \"reset\"], budget = 100 }\n\
         pool.max_per_endpoint = 1\nqueue = { length = 1000, timeout = \"15s\" }";
    let endpoints = [busy.0.address(), free_address(), breaks.0.address(), good.0.address()];
    let ringate = setup(&pki, &endpoints, upstream).workers(2).start();
    let (address, served) = (ringate.address(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for number in 0..10 {
            let served = &served;
            scope.spawn(move || {
                for round in 0..15 {
                    let mut client = Client::connect(address);
                    client.send(if round % 2 == 0 { GET } else { PUT });
                    if number == 0 && round % 3 == 0 {
                        continue; // gone before its answer
                    }
                    let status = client.response().status;
                    assert!(matches!(status, 200 | 502 | 503), "{status}");
                    served.fetch_add(usize::from(status == 200), Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(most.load(Ordering::SeqCst), 1, "one exchange at an endpoint");
    assert!(ringate.metric("retries_total") > 0 && ringate.metric("queued_total") > 0);
    assert!(served.load(Ordering::SeqCst) > 0);
    ringate.await_metric("queue_open", 0);
    // Every endpoint has its place again: no exchange waits, and all endpoints are used.
    let (queued, before) = (ringate.metric("queued_total"), good.1.load(Ordering::SeqCst));
    let busy_before = busy.1.load(Ordering::SeqCst);
    for _ in 0..8 {
        assert_eq!(ringate.client().send(GET).response().status, 200, "a single request finds the good one");
    }
    assert_eq!(ringate.metric("queued_total"), queued);
    assert!(good.1.load(Ordering::SeqCst) >= before + 8 && busy.1.load(Ordering::SeqCst) > busy_before);
}
