//! Upstreams that are sent a header: each connection belongs to one client and never serves another.

use rustix::process::Signal;

use super::*;
use crate::rotation::kit::call;

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// A backend that reads a line, and answers every request behind it with the line.
fn lines() -> Backend {
    Backend::start(|connection| {
        let line = connection.line()?;
        while connection.request()?.is_some() {
            connection.send(ok(&line))?;
        }
        Ok(())
    })
}

/// The header of version 1 for a client of an instance.
fn line_of(client: &Client, ringate: &Ringate) -> String {
    let (from, to) = (client.local_address(), ringate.address());
    format!("PROXY TCP4 {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port())
}

fn ask(client: &mut Client) -> String {
    client.send(REQUEST).response().text().to_owned()
}

#[test]
fn a_connection_serves_its_client_and_nobody_else() {
    for driver in ["io_uring", "epoll"] {
        let backend = lines();
        let ringate = Setup::to(backend.address()).driver(driver).upstream("proxy_protocol = \"v1\"").start();
        let (mut a, mut b) = (ringate.client(), ringate.client());
        let (of_a, of_b) = (line_of(&a, &ringate), line_of(&b, &ringate));
        for _ in 0..3 {
            assert_eq!(ask(&mut a), of_a);
            assert_eq!(ask(&mut b), of_b);
        }
        assert_eq!(backend.connections(), 2, "each client's is used again");
        drop(a);
        backend.await_ended(1);
        assert_eq!(ask(&mut b), of_b);
        let mut c = ringate.client();
        assert_eq!(ask(&mut c), line_of(&c, &ringate));
        assert_eq!(backend.connections(), 3);
        drop((b, c));
        backend.await_ended(3);
    }
}

#[test]
fn a_crowd_of_clients_that_come_and_go_is_never_mixed_up() {
    let backend = Backend::start(|connection| {
        let line = connection.line()?;
        // Some connections end after an answer or two, so that others are made in the middle of everything.
        for _ in 0..=connection.number % 5 {
            if connection.request()?.is_none() {
                break;
            }
            connection.send(ok(&line))?;
        }
        Ok(())
    });
    let ringate = Setup::to(backend.address()).workers(2).upstream("proxy_protocol = \"v1\"").start();
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                for round in 0..10 {
                    let mut client = ringate.client();
                    let expected = line_of(&client, &ringate);
                    for _ in 0..round % 4 + 1 {
                        assert_eq!(ask(&mut client), expected);
                    }
                }
            });
        }
    });
    eventually("the end of what was kept", || {
        let ended = backend.connections();
        (backend.ended() == ended).then_some(())
    });
}

#[test]
fn what_is_kept_has_the_pools_bound_and_may_be_nothing() {
    let backend = lines();
    let upstream = "proxy_protocol = \"v1\"\npool = { idle_per_worker = 0 }";
    let ringate = Setup::to(backend.address()).upstream(upstream).start();
    let mut client = ringate.client();
    for count in 1..=3 {
        assert_eq!(ask(&mut client), line_of(&client, &ringate));
        backend.await_ended(count);
    }
    let upstream = "proxy_protocol = \"v1\"\npool = { idle_per_worker = 2 }";
    let backend = lines();
    let ringate = Setup::to(backend.address()).upstream(upstream).start();
    let mut clients: Vec<Client> = (0..4).map(|_| ringate.client()).collect();
    for client in &mut clients {
        ask(client);
    }
    backend.await_ended(2);
    assert_eq!(backend.connections(), 4);
}

#[test]
fn a_header_that_was_taken_is_what_is_sent() {
    let backend = Backend::start(|connection| {
        let header = connection.bytes(28)?;
        while connection.request()?.is_some() {
            connection.send(ok(&header))?;
        }
        Ok(())
    });
    let ringate = Setup::to(backend.address())
        .listener("protocol = \"http\"\nproxy_protocol = \"v1\"")
        .upstream("proxy_protocol = \"v2\"")
        .start();
    let mut client = ringate.client();
    client.send(LINE);
    let mut expected = binary();
    expected.truncate(28);
    expected[15] = 12;
    for _ in 0..2 {
        assert_eq!(client.send(REQUEST).response().body, expected);
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_relay_is_announced_before_its_first_byte() {
    let backend = Backend::start(|connection| {
        // The client says nothing: the header does not wait for that.
        let line = connection.line()?;
        connection.send(line)?;
        let all = connection.rest()?;
        connection.send(all)
    });
    let ringate = Setup::to(backend.address())
        .listener("protocol = \"tcp\"")
        .upstream("proxy_protocol = \"v1\"")
        .start();
    let mut client = ringate.client();
    let expected = line_of(&client, &ringate);
    assert_eq!(client.until("\r\n"), expected);
    client.send("data").finish_sending();
    assert_eq!(client.rest(), b"data");
    backend.await_ended(1);
}

#[test]
fn the_next_endpoint_and_the_next_try_get_a_header_of_their_own() {
    let backend = Backend::start(|connection| {
        // One answer for each connection, and an end without notice.
        let line = connection.line()?;
        connection.request()?;
        connection.send(ok(&line))
    });
    let ringate =
        Setup::to_all([free_address(), backend.address()]).upstream("proxy_protocol = \"v1\"").start();
    let mut client = ringate.client();
    let expected = line_of(&client, &ringate);
    for count in 1..=4 {
        assert_eq!(ask(&mut client), expected);
        backend.await_ended(count);
    }
    let silent = Backend::start(|connection| {
        let line = connection.line()?;
        connection.request()?;
        if connection.number == 0 { connection.reset() } else { connection.send(ok(&line)) }
    });
    let ringate = Setup::to(silent.address())
        .upstream("proxy_protocol = \"v1\"\nretries = { on = [\"reset\"] }")
        .start();
    let mut client = ringate.client();
    assert_eq!(ask(&mut client), line_of(&client, &ringate));
    assert_eq!(silent.connections(), 2);
}

#[test]
fn environments_differ_in_it() {
    let backend = Backend::serving(|request| ok(request.line()));
    let told = lines();
    let ringate = Setup::to(backend.address())
        .section("[[listener]]\nname = \"live\"\naddress = \"127.0.0.1:0\"\nenvironment = \"production\"")
        .routes("[[route]]\nlistener = [\"web\", \"live\"]\nupstream = \"app\"")
        .upstream(&format!(
            "[upstream.app.environment.production]\nendpoints = [\"{}\"]\nproxy_protocol = \"v1\"",
            told.address()
        ))
        .start();
    assert_eq!(Client::connect(ringate.address_of("web")).send(REQUEST).response().text(), "GET /");
    let mut live = Client::connect(ringate.address_of("live"));
    assert!(live.send(REQUEST).response().text().starts_with("PROXY TCP4 127.0.0.1 "));
}

/// Writes a changed config and reloads it.
fn reload(ringate: &Ringate, from: &str, to: &str) {
    let path = ringate.dir().join("ringate.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replace(from, to)).unwrap();
    let reloads = || ringate.log().matches("reloaded (SIGHUP)").count();
    let before = reloads();
    ringate.signal(Signal::HUP);
    eventually("the reload", || (reloads() > before).then_some(()));
}

#[test]
fn a_reload_that_switches_it_leaves_no_connection_of_the_other_kind() {
    let backend = Backend::start(|connection| {
        let first = connection.line()?;
        if first.starts_with("PROXY ") {
            while connection.request()?.is_some() {
                connection.send(ok(&first))?;
            }
            return Ok(());
        }
        // The rest of the first request's head.
        while connection.line()? != "\r\n" {}
        connection.send(ok("plain"))?;
        while connection.request()?.is_some() {
            connection.send(ok("plain"))?;
        }
        Ok(())
    });
    let ringate = Setup::to(backend.address()).upstream("proxy_protocol = \"off\"").start();
    let (mut a, mut b) = (ringate.client(), ringate.client());
    let told = (line_of(&a, &ringate), line_of(&b, &ringate));
    assert_eq!((ask(&mut a), ask(&mut b)), ("plain".to_owned(), "plain".to_owned()));
    assert_eq!(backend.connections(), 1, "shared");
    for _ in 0..2 {
        reload(&ringate, "\"off\"", "\"v1\"");
        for _ in 0..2 {
            assert_eq!((ask(&mut a), ask(&mut b)), told);
        }
        reload(&ringate, "\"v1\"", "\"off\"");
        for _ in 0..2 {
            assert_eq!((ask(&mut a), ask(&mut b)), ("plain".to_owned(), "plain".to_owned()));
        }
    }
    assert_eq!(backend.connections(), 1 + 2 * 3);
}

#[test]
fn a_reload_that_switches_it_on_a_listener_holds_for_new_connections() {
    let backend = Backend::serving(|request| ok(request.header("X-Forwarded-For").unwrap()));
    let ringate =
        Setup::to(backend.address()).listener("protocol = \"http\"\nproxy_protocol = \"off\"").start();
    let mut plain = ringate.client();
    assert_eq!(ask(&mut plain), "127.0.0.1");
    reload(&ringate, "\"off\"", "\"v1\"");
    assert_eq!(ask(&mut plain), "127.0.0.1", "it has no header to send");
    let mut told = ringate.client();
    told.send(LINE);
    assert_eq!(ask(&mut told), "192.0.2.7");
    reload(&ringate, "\"v1\"", "\"off\"");
    assert_eq!((ask(&mut told), ask(&mut plain)), ("192.0.2.7".to_owned(), "127.0.0.1".to_owned()));
    assert_eq!(ask(&mut ringate.client()), "127.0.0.1");
}

#[test]
fn a_change_through_the_admin_api_holds_at_once_and_is_shown() {
    let backend = lines();
    let ringate = Setup::to(backend.address())
        .section("[admin]")
        .listener("protocol = \"http\"\nproxy_protocol = \"any\"")
        .start();
    eventually("the admin socket", || ringate.dir().join("run/admin.sock").exists().then_some(()));
    let shown = |kind: &str| {
        let all: serde_json::Value = serde_json::from_str(&ringate.admin(&format!("/v1/{kind}"))).unwrap();
        all[0]["proxy_protocol"].as_str().unwrap_or_else(|| panic!("{all:#}")).to_owned()
    };
    assert_eq!((shown("listeners"), shown("upstreams")), ("any".to_owned(), "off".to_owned()));
    let (status, answer) = call(&ringate, "PATCH", "/v1/upstreams/app", "{\"proxy_protocol\": \"v3\"}");
    assert_eq!(status, 422, "{answer:#}");
    let (status, answer) = call(&ringate, "PATCH", "/v1/upstreams/app", "{\"proxy_protocol\": \"v1\"}");
    assert_eq!(status, 200, "{answer:#}");
    assert_eq!(shown("upstreams"), "v1");
    let mut client = ringate.client();
    client.send(LINE);
    assert_eq!(ask(&mut client), LINE);
    let before = backend.connections();
    let (status, answer) = call(&ringate, "POST", "/v1/upstreams/app/probe", "");
    assert_eq!(status, 200, "{answer:#}");
    eventually("the probe's end", || (backend.ended() == before).then_some(()));
    assert!(backend.received(before).starts_with(b"PROXY UNKNOWN\r\nGET "), "{answer:#}");
}

#[test]
fn an_upload_and_a_tunnel_are_told_of_once() {
    let backend = Backend::start(|connection| {
        let line = connection.line()?;
        let request = connection.request()?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        assert_eq!(request.body.len(), 3_000_000);
        connection.send(ok(&line))?;
        connection.request()?;
        connection.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")?;
        let bytes = connection.bytes(4)?;
        connection.send(bytes)
    });
    let ringate = Setup::to(backend.address()).upstream("proxy_protocol = \"v1\"").start();
    let mut client = ringate.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n");
    client.send(vec![b'x'; 3_000_000]);
    assert_eq!(client.response().text(), line_of(&client, &ringate));
    client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    assert!(client.until("\r\n\r\n").starts_with("HTTP/1.1 101 "));
    assert_eq!(client.send("ping").bytes(4), b"ping");
    assert_eq!(backend.connections(), 1);
}
