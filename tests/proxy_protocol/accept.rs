//! Listeners that take a header: whose address counts, and what is no header.

use std::io::Write as _;
use std::time::{Duration, Instant};

use super::*;
use crate::http::OK;

/// A listener with `proxy_protocol`, and what follows it.
fn listener(takes: &str, more: &str) -> String {
    format!("protocol = \"http\"\nproxy_protocol = \"{takes}\"\n{more}")
}

#[test]
fn the_address_in_a_header_is_the_clients_everywhere() {
    let backend = echo();
    let ringate = Setup::to(backend.address())
        .listener(&listener("any", ""))
        .section("[log]\naccess = \"access.log\"\naccess_format = \"{client.address} {response.status}\"")
        .routes(
            "[[route]]\nupstream = \"app\"\nrate_limit = { rate = \"1/h\", burst = 2 }\n\
             headers.request.set = { X-Client = \"{client.address}\" }",
        )
        .start();
    for (number, header) in [LINE.as_bytes(), &binary()].into_iter().enumerate() {
        // The request is in the same piece as the header.
        let said = ringate.client().send([header, GET.as_bytes()].concat()).response();
        for field in ["X-Forwarded-For: 192.0.2.7\r\n", "X-Client: 192.0.2.7\r\n"] {
            assert!(said.text().contains(field), "{number}: {field} not in {}", said.text());
        }
    }
    let asks = |header: &str| ringate.client().send(format!("{header}{GET}")).response().status;
    assert_eq!(asks(LINE), 429, "the client of both");
    assert_eq!(asks(&LINE.replace("192.0.2.7", "192.0.2.8")), 200, "another one");
    assert_eq!(asks("PROXY TCP6 2001:db8::7 2001:db8::9 1 2\r\n"), 200);
    let lines = eventually("the log", || {
        let text = std::fs::read_to_string(ringate.dir().join("access.log")).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        (lines.len() == 5 && text.ends_with('\n')).then_some(lines)
    });
    assert_eq!(
        lines,
        ["192.0.2.7 200", "192.0.2.7 200", "192.0.2.7 429", "192.0.2.8 200", "2001:db8::7 200"]
    );
}

#[test]
fn a_header_may_come_in_any_pieces() {
    let backend = echo();
    for driver in ["io_uring", "epoll"] {
        let ringate = Setup::to(backend.address()).driver(driver).listener(&listener("any", "")).start();
        for header in [LINE.as_bytes(), &binary()] {
            for cut in [0, 1, 5, 6, 12, 15, 16, 27, header.len() - 1, header.len()] {
                let mut client = ringate.client();
                client.send(&header[..cut]);
                client.send([&header[cut..], GET.as_bytes()].concat());
                let said = client.response();
                assert!(said.text().contains("X-Forwarded-For: 192.0.2.7\r\n"), "{driver}, {cut}");
            }
            let mut client = ringate.client();
            for byte in [header, GET.as_bytes()].concat() {
                client.send([byte]);
            }
            assert!(client.response().text().contains("X-Forwarded-For: 192.0.2.7\r\n"), "{driver}");
            // The connection goes on as any other.
            assert!(client.send(GET).response().text().contains("X-Forwarded-For: 192.0.2.7\r\n"));
        }
    }
}

#[test]
fn local_and_unknown_connections_keep_their_own_addresses() {
    let backend = echo();
    let ringate = Setup::to(backend.address()).listener(&listener("any", "")).start();
    let local = [&SIGNATURE[..], &binary()[12..]].concat();
    let local = [&local[..12], &[0x20], &local[13..]].concat();
    let unspecified = [&SIGNATURE[..], &[0x21, 0x00, 0, 0]].concat();
    for header in [b"PROXY UNKNOWN\r\n", &b"PROXY UNKNOWN 192.0.2.7 x\r\n"[..], &local, &unspecified] {
        let said = ringate.client().send([header, GET.as_bytes()].concat()).response();
        assert!(said.text().contains("X-Forwarded-For: 127.0.0.1\r\n"), "{}", header.escape_ascii());
    }
}

#[test]
fn what_is_no_header_is_closed_and_counted() {
    let backend = Backend::replying(OK);
    let oversized = [&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff]].concat();
    let endless = format!("PROXY UNKNOWN {}", "x".repeat(200));
    for (takes, wrong) in [
        ("any", GET.as_bytes()),
        ("any", b"PROXY TCP4 192.0.2.7 198.51.100.9 4711 0443\r\n"),
        ("any", b" PROXY UNKNOWN\r\n"),
        ("any", &oversized),
        ("any", endless.as_bytes()),
        ("v1", &binary()),
        ("v2", LINE.as_bytes()),
        ("v2", b"\r\n"),
    ] {
        let listener = listener(takes, "limits.head_timeout = \"700ms\"");
        let ringate = Setup::to(backend.address()).section("[admin]").listener(&listener).start();
        let mut client = ringate.client();
        client.send(wrong);
        client.ends();
        ringate.await_metric("proxy_header_failures_total", 1);
        assert_eq!(ringate.metric("proxy_headers_total"), 0, "{}", wrong.escape_ascii());
        ringate.await_log("connection refused: ");
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_header_must_come_within_the_time_for_a_head() {
    let backend = Backend::replying(OK);
    for driver in ["io_uring", "epoll"] {
        let listener = listener("any", "limits.head_timeout = \"600ms\"\nlimits.idle_timeout = \"60s\"");
        let setup = Setup::to(backend.address()).driver(driver).section("[admin]").listener(&listener);
        let ringate = setup.start();
        let begun = Instant::now();
        let mut clients: Vec<Client> = (0..20).map(|_| ringate.client()).collect();
        // Some say nothing, and some a byte now and then, which moves no deadline.
        let slow = ringate.client();
        for byte in LINE.bytes().take(20) {
            if (&mut slow.tcp()).write_all(&[byte]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        clients.push(slow);
        clients.iter_mut().for_each(Client::ends);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        ringate.await_metric("limit_head_timeout_total", 21);
        ringate.await_metric("proxy_header_failures_total", 21);
        ringate.await_metric("connections_open", 0);
        // One that only looked whether the port is open is no failure; one that left in the middle is.
        drop(ringate.client());
        ringate.client().reset();
        let mut cut = ringate.client();
        cut.send(&LINE[..20]).finish_sending();
        cut.ends();
        ringate.await_metric("proxy_header_failures_total", 22);
    }
}

#[test]
fn off_is_the_default_and_takes_none() {
    let backend = Backend::replying(OK);
    for more in ["", "proxy_protocol = \"off\""] {
        let ringate = Setup::to(backend.address()).listener(&format!("protocol = \"http\"\n{more}")).start();
        assert_eq!(ringate.client().send(format!("{LINE}{GET}")).response().status, 400);
        let mut client = ringate.client();
        assert_eq!(client.send([&binary(), GET.as_bytes()].concat()).response().status, 400);
    }
    assert_eq!(backend.requests(), 0);
}

#[test]
fn a_second_header_is_no_request() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).listener(&listener("any", "")).start();
    assert_eq!(ringate.client().send(format!("{LINE}{LINE}{GET}")).response().status, 400);
    assert_eq!(backend.requests(), 0);
}

#[test]
fn connections_are_counted_by_the_client_that_the_header_names() {
    let backend = Backend::replying(OK);
    let listener = listener("v1", "limits = { connections_per_client = 2, connections = 6 }");
    let ringate = Setup::to(backend.address()).section("[admin]").workers(2).listener(&listener).start();
    let of = |address: &str| {
        let mut client = ringate.client();
        let status = client.send(LINE.replace("192.0.2.7", address) + GET).response().status;
        (status, client)
    };
    let (first, second) = (of("192.0.2.1"), of("192.0.2.1"));
    assert_eq!((first.0, second.0), (200, 200));
    assert_eq!(of("192.0.2.1").0, 503, "a third one");
    assert_eq!(ringate.metric("limit_connections_per_client_total"), 1);
    let others = [of("192.0.2.2"), of("192.0.2.2"), of("192.0.2.3")];
    assert!(others.iter().all(|(status, _)| *status == 200), "from one address, and for others");
    drop(first);
    eventually("the seat of the first", || (of("192.0.2.1").0 == 200).then_some(()));
    // Those that have not said yet whose they are count for the listener: six in all.
    let waiting: Vec<Client> = (0..3).map(|_| ringate.client()).collect();
    ringate.await_metric("limit_connections_total", 1);
    drop((second, others, waiting));
    ringate.await_metric("connections_open", 0);
    assert_eq!(of("192.0.2.1").0, 200);
}

#[test]
fn tls_begins_behind_the_header() {
    let (pki, backend) = (Pki::new(), echo());
    for driver in ["io_uring", "epoll"] {
        let listener = listener("any", &pki.listener_tls());
        let ringate = Setup::to(backend.address()).driver(driver).listener(&listener).start();
        for header in [LINE.as_bytes(), &binary()] {
            let mut client = ringate.tls_client(pki.client_config());
            (&mut client.tcp()).write_all(header).unwrap();
            let said = client.send(GET).response();
            assert!(said.text().contains("X-Forwarded-For: 192.0.2.7\r\n"), "{}", said.text());
            assert!(said.text().contains("X-Forwarded-Proto: https\r\n"));
        }
        // A header within TLS is none.
        let mut client = ringate.tls_client(pki.client_config());
        assert!(client.try_send(LINE).is_err());
    }
}

#[test]
fn what_is_sent_in_the_clear_before_tls_is_never_part_of_a_request() {
    let (pki, backend) = (Pki::new(), echo());
    let listener = listener("v1", &pki.listener_tls());
    let ringate = Setup::to(backend.address()).listener(&listener).start();
    let mut client = ringate.tls_client(pki.client_config());
    (&mut client.tcp())
        .write_all(format!("{LINE}GET /injected HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes())
        .unwrap();
    assert!(client.try_send(GET).is_err());
    assert_eq!(backend.requests(), 0);
}

#[test]
fn tcp_listeners_take_headers_too() {
    let pki = Pki::new();
    let backend = Backend::start(|connection| {
        connection.send("hello ")?;
        let all = connection.rest()?;
        connection.send(all)
    });
    for tls in [false, true] {
        let more = if tls { pki.listener_tls() } else { String::new() };
        let ringate = Setup::to(backend.address())
            .listener(&format!("protocol = \"tcp\"\nproxy_protocol = \"any\"\n{more}"))
            .section("[log]\naccess = \"access.log\"\ntcp_format = \"{client.address} {relay.up}\"")
            .start();
        let mut client = if tls { ringate.tls_client(pki.client_config()) } else { ringate.client() };
        if tls {
            (&mut client.tcp()).write_all(&binary()).unwrap();
            client.send("data");
        } else {
            client.send([&binary(), &b"data"[..]].concat());
        }
        assert_eq!(client.bytes(6), b"hello ");
        client.finish_sending();
        if !tls {
            assert_eq!(client.rest(), b"data");
        }
        drop(client);
        let line = eventually("the log", || {
            let text = std::fs::read_to_string(ringate.dir().join("access.log")).unwrap_or_default();
            text.ends_with('\n').then_some(text)
        });
        assert_eq!(line, "192.0.2.7 4\n");
    }
}

#[test]
fn a_name_in_tls_that_is_not_opened_is_found_behind_the_header() {
    let pki = Pki::new();
    let nginx = Nginx::tls(&pki, "location / { return 200 $ssl_server_name; }");
    let ringate = Setup::to(nginx.address())
        .listener("protocol = \"tcp\"\nproxy_protocol = \"v1\"")
        .routes("[[route]]\nsni = \"localhost\"\nupstream = \"app\"")
        .start();
    let mut client = ringate.tls_client(pki.client_config());
    (&mut client.tcp()).write_all(LINE.as_bytes()).unwrap();
    assert_eq!(client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").response().text(), "localhost");
}

#[test]
fn a_drain_waits_for_headers_no_longer_than_their_time() {
    let backend = Backend::replying(OK);
    let listener = listener("any", "limits.head_timeout = \"700ms\"");
    let ringate = Setup::to(backend.address()).section("[admin]").listener(&listener).start();
    let mut silent = ringate.client();
    let mut half = ringate.client();
    half.send(&LINE[..10]);
    ringate.await_metric("connections_open", 2);
    let begun = Instant::now();
    assert_eq!(ringate.terminate().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    silent.ends();
    half.ends();
}
