//! Whose a request is behind trusted proxies, and which clients may come.

use super::access_log::{await_lines, log_file};
use crate::http::{OK, exchange, ok};
use crate::support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n";

/// An answer to this request, over a connection from an address of the loopback network.
fn from(ringate: &Ringate, address: &str, request: &str) -> String {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let address: std::net::SocketAddr = format!("{address}:0").parse().unwrap();
    socket.bind(&address.into()).unwrap();
    socket.connect(&ringate.address().into()).unwrap();
    let mut stream = std::net::TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let mut answer = String::new();
    let _ = std::io::Read::read_to_string(&mut stream, &mut answer);
    answer
}

#[test]
fn the_client_behind_a_trusted_proxy_is_the_one_that_counts() {
    let backend = Backend::serving(|request| ok(request.header("X-Forwarded-For").unwrap_or("none")));
    let ringate = Setup::to(backend.address())
        .listener("client_address = { header = \"X-Forwarded-For\", trusted = [\"127.0.0.1\", \"10.0.0.0/8\"] }\ndeny = [\"192.0.2.66\"]")
        .routes(
            "[[route]]\nupstream = \"app\"\nheaders.request.set = { X-Client = \"{client.address}\" }\n\
             [[route]]\npath = \"/limited\"\nupstream = \"app\"\nrate_limit = \"1/h\"\n\
             [[route]]\npath = \"/inside\"\nupstream = \"app\"\nallow = [\"10.0.0.0/8\"]",
        )
        .section("[log]\naccess = \"access.log\"\naccess_format = '{client.address} {response.status}'")
        .start();
    let mut logged = Vec::new();
    let ask = |peer: &str, path: &str, said: &str| {
        let fields = if said.is_empty() { String::new() } else { format!("X-Forwarded-For: {said}\r\n") };
        let request = GET.replace("GET /", &format!("GET {path}"));
        let answer = from(&ringate, peer, &format!("{request}{fields}\r\n"));
        (answer[9..12].to_owned(), answer.rsplit("\r\n").next().unwrap().to_owned())
    };
    for (peer, said, client) in [
        ("127.0.0.1", "1.2.3.4, 192.0.2.1, 10.0.0.9", "192.0.2.1"),
        ("127.0.0.1", "1.2.3.4\r\nX-Forwarded-For: [2001:db8::1]:99", "2001:db8::1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "1.2.3.4, what", "127.0.0.1"),
        // This one is not trusted: what it says is its own invention.
        ("127.0.0.2", "1.2.3.4", "127.0.0.2"),
    ] {
        assert_eq!(ask(peer, "/", said), ("200".to_owned(), client.to_owned()), "{peer}: {said}");
        assert_eq!(backend.request().headers("X-Client"), [client]);
        logged.push(format!("{client} 200"));
    }
    for (peer, path, said, status) in [
        ("127.0.0.1", "/limited", "192.0.2.1", "200"),
        ("127.0.0.1", "/limited", "192.0.2.2", "200"),
        ("127.0.0.1", "/limited", "9.9.9.9, 192.0.2.1", "429"),
        ("127.0.0.1", "/inside", "192.0.2.1", "403"),
        ("127.0.0.1", "/inside", "10.1.1.1", "200"),
        ("127.0.0.2", "/inside", "10.1.1.1", "403"),
        ("127.0.0.1", "/", "192.0.2.66", "403"),
        ("127.0.0.1", "/nowhere", "192.0.2.66", "403"),
        ("127.0.0.2", "/", "192.0.2.66", "200"),
    ] {
        assert_eq!(ask(peer, path, said).0, status, "{peer} {path}: {said}");
    }
    assert_eq!(&await_lines(&log_file(&ringate), 14)[..5], logged);
}

#[test]
fn a_listener_refuses_addresses_before_it_looks_for_a_route() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address())
        .listener("allow = [\"127.0.0.0/30\"]\ndeny = [\"127.0.0.2\"]")
        .routes("[[route]]\nupstream = \"app\"\n[[route]]\nhost = \"h\"\nupstream = \"app\"")
        .start();
    let get = format!("{GET}\r\n");
    for (peer, status) in
        [("127.0.0.1", "200"), ("127.0.0.2", "403"), ("127.0.0.3", "200"), ("127.0.0.4", "403")]
    {
        assert_eq!(&from(&ringate, peer, &get)[9..12], status, "{peer}");
    }
    assert_eq!(backend.requests(), 2);

    // A tcp connection has no 403.
    let echo = Backend::start(|connection| {
        connection.request()?;
        connection.send("hello")
    });
    let ringate = Setup::to(echo.address()).listener("protocol = \"tcp\"\ndeny = [\"127.0.0.2\"]").start();
    assert_eq!(from(&ringate, "127.0.0.1", &get), "hello");
    assert_eq!(from(&ringate, "127.0.0.2", &get), "");
    assert_eq!(echo.connections(), 1);
}

#[test]
fn slashes_in_a_row_stay_where_a_route_says_so_and_lead_around_no_other_route() {
    let backend = Backend::serving(|request| ok(request.line()));
    let ringate = Setup::to(backend.address())
        .routes(
            "[[route]]\nupstream = \"app\"\nmerge_slashes = false\n\
             [[route]]\npath = \"/s3\"\nupstream = \"app\"\nmerge_slashes = false\nstrip_prefix = true\n\
             [[route]]\npath = \"/both\"\nupstream = \"app\"\nmerge_slashes = false\nencoded_slashes = \"pass\"\n\
             [[route]]\npath = \"/merged\"\nupstream = \"app\"\n\
             [[route]]\npath = \"/admin\"\nrespond = { status = 403 }\n\
             [[route]]\npath = \"/gone\"\nmerge_slashes = false\nredirect = { rewrite_prefix = \"/\" }",
        )
        .start();
    for (path, seen) in [
        ("/img/https://h//x?u=//", "/img/https://h//x?u=//"),
        ("//a///", "//a///"),
        ("/a/%2e//%62", "/a//b"),
        ("/s3//key//x", "//key//x"),
        ("//s3//key", "/key"),
        ("/both//a%2fb", "/both//a%2Fb"),
        ("/merged//a", "/merged/a"),
        ("/a//../b", "/b"),
    ] {
        assert_eq!(ringate.get(path).text(), format!("GET {seen}"), "{path}");
    }
    for path in ["/admin", "//admin", "/admin//x", "/a/..//admin", "///admin//"] {
        assert_eq!(ringate.get(path).status, 403, "{path}");
    }
    let moved = ringate.get("/gone//evil.example/");
    assert_eq!(moved.header("Location"), Some("/evil.example/"));
}

#[test]
fn an_upgrade_comes_behind_the_requests_body() {
    let backend = Backend::start(|connection| {
        let request = connection.request()?.expect("a request");
        assert_eq!((request.header("Upgrade"), &*request.body), (Some("tcp"), &b"{\"Tty\":1}"[..]));
        connection
            .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nfirst ")?;
        while let Ok(bytes) = connection.bytes(1) {
            connection.send(bytes)?;
        }
        Ok(())
    });
    let ringate = Setup::to(backend.address()).start();
    let head = "POST /exec HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n";
    let bodies = [
        ("Content-Length: 9\r\n\r\n", "{\"Tty\":1}"),
        ("Transfer-Encoding: chunked\r\n\r\n", "4\r\n{\"Tt\r\n5\r\ny\":1}\r\n0\r\n\r\n"),
    ];
    for (framing, body) in bodies {
        for cut in [0, 3, body.len()] {
            let mut client = ringate.client();
            client.send(format!("{head}{framing}{}", &body[..cut]));
            if cut < body.len() {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            // The client does not wait for the 101.
            client.send(format!("{}stdin", &body[cut..]));
            assert!(client.until("\r\n\r\n").starts_with("HTTP/1.1 101 "), "{framing} {cut}");
            assert_eq!(client.bytes(11), b"first stdin", "{framing} {cut}");
            client.send("more");
            assert_eq!(client.bytes(4), b"more");
        }
    }
    // One that is declined is an ordinary exchange.
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).start();
    let twice =
        format!("{head}Content-Length: 2\r\n\r\nhiGET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_eq!(exchange(&ringate, twice).matches("HTTP/1.1 200").count(), 2);
}

#[test]
fn a_switch_before_the_body_is_whole_waits_for_the_rest_of_it() {
    let backend = Backend::start(|connection| {
        connection.head()?;
        connection.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")?;
        let whole = connection.bytes(9)?;
        connection.send(&whole)
    });
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 6\r\n\r\nab",
    );
    assert!(client.until("\r\n\r\n").starts_with("HTTP/1.1 101 "));
    std::thread::sleep(std::time::Duration::from_millis(50));
    client.send("cdefxyz");
    assert_eq!(client.bytes(9), b"abcdefxyz");
}
