//! Real peers get along with Ringate: nginx, OpenSSL and Node behind it, curl and wrk before it, over TLS of both
//! versions, mutual or not.

use crate::http::OK;
use crate::support::*;

#[test]
fn nginx_serves_files_of_every_size_over_plain_and_mutual_tls() {
    let pki = Pki::new();
    for (nginx, tls) in [
        (Nginx::plain(""), String::new()),
        (Nginx::tls(&pki, ""), pki.upstream_tls()),
        (Nginx::mutual(&pki, ""), pki.upstream_mutual_tls()),
    ] {
        let ringate = Setup::to(nginx.address()).upstream(&tls).listener(&pki.listener_tls()).start();
        let mut client = ringate.tls_client(pki.client_config());
        for size in [0, 1, 16_384, 100_000, 10_000_001] {
            let body = crate::http::noise(size);
            std::fs::write(nginx.root().join("file"), &body).unwrap();
            let response = client.send("GET /file HTTP/1.1\r\nHost: localhost\r\n\r\n").response();
            assert_eq!(response.status, 200);
            assert!(response.body == body, "{size} bytes");
        }
    }
}

#[test]
fn nginx_sees_the_client_identity() {
    let pki = Pki::new();
    let nginx = Nginx::mutual(&pki, "location / { return 200 $ssl_client_s_dn; }");
    let ringate = Setup::to(nginx.address()).upstream(&pki.upstream_mutual_tls()).start();
    assert_eq!(ringate.get("/").text(), "CN=ringate-client,O=Ringate quickstart");
}

#[test]
fn s_server_of_each_version_verifies_the_client() {
    let pki = Pki::new();
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let server = SServer::start(&pki, &["-www", "-Verify", "1", "-verify_return_error", version]);
        let ringate = Setup::to(server.address()).upstream(&pki.upstream_mutual_tls()).start();
        let response = ringate.get("/");
        assert!(
            response.text().contains("CN=ringate-client") || response.text().contains("CN = ringate-client")
        );
        assert!(response.text().contains(name), "{}", response.text());
    }
}

#[test]
fn node_takes_our_certificate_and_refuses_to_talk_without_one() {
    let pki = Pki::new();
    let node = Node::mutual(&pki, "res.end(req.socket.getPeerCertificate().subject.CN)");
    let ringate = Setup::to(node.address()).upstream(&pki.upstream_mutual_tls()).start();
    assert_eq!(ringate.get("/").text(), "ringate-client");
    let ringate = Setup::to(node.address()).upstream(&pki.upstream_tls()).start();
    assert_eq!(ringate.get("/").status, 502);
}

#[test]
fn node_streams_an_upload_back() {
    let pki = Pki::new();
    let node = Node::mutual(&pki, "req.pipe(res)");
    let ringate = Setup::to(node.address()).upstream(&pki.upstream_mutual_tls()).start();
    let file = ringate.dir().join("upload");
    std::fs::write(&file, crate::http::noise(5_000_000)).unwrap();
    let (upload, back) = (format!("@{}", file.display()), ringate.dir().join("back"));
    let back = back.to_str().unwrap();
    curl(&["--data-binary", &upload, "-H", "Transfer-Encoding: chunked", "-o", back, &ringate.url()]);
    assert!(std::fs::read(&file).unwrap() == std::fs::read(back).unwrap());
}

#[test]
fn a_backend_that_is_not_who_it_should_be_is_never_sent_a_request() {
    let (pki, stranger) = (Pki::new(), Pki::new());
    let nginx = Nginx::tls(&pki, "location / { return 200 secret; }");
    let wrong_name = pki.upstream_tls().replace("\"localhost\"", "\"other.example\"");
    for (tls, why) in [(stranger.upstream_tls(), "another CA"), (wrong_name, "another name")] {
        let ringate = Setup::to(nginx.address()).upstream(&tls).start();
        assert_eq!(ringate.get("/").status, 502, "{why}");
        ringate.await_log("TLS: ");
    }
    let plain = Backend::start(|connection| {
        connection.bytes(1)?;
        connection.send(OK)
    });
    assert_eq!(Setup::to(plain.address()).upstream(&pki.upstream_tls()).start().get("/").status, 502);
    assert!(!plain.received(0).starts_with(b"GET"), "a backend without TLS");
}

#[test]
fn without_a_server_name_the_requests_host_is_verified() {
    let pki = Pki::with_names(&["good.example"]);
    let nginx = Nginx::tls(&pki, "location / { return 200 $ssl_server_name; }");
    let tls = pki.upstream_tls().replace("server_name = \"localhost\"\n", "");
    let ringate = Setup::to(nginx.address()).upstream(&tls).start();
    let ask =
        |host: &str| ringate.client().send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).response();
    assert_eq!(ask("good.example:8443").text(), "good.example");
    assert_eq!(ask("bad.example").status, 502);
}

#[test]
fn curl_speaks_each_version_and_wrk_sees_no_error() {
    let pki = Pki::new();
    let nginx = Nginx::plain("location / { return 200 plain; }");
    let ringate = Setup::to(nginx.address()).workers(2).listener(&pki.listener_tls()).start();
    let url = format!("https://localhost:{}/", ringate.address().port());
    let ca = pki.file("ca.pem");
    let ca = ca.to_str().unwrap();
    for version in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
        assert_eq!(curl(&[&["--cacert", ca, "--http1.1", &url], version].concat()), "plain");
    }
    for connection in ["keep-alive", "close"] {
        let said = wrk(&url, 64, 2, &["-H", &format!("Connection: {connection}")], None);
        assert!(said.contains("requests in"), "{said}");
        assert!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
    }
}

#[test]
fn wrk_over_256_connections_sees_no_error() {
    let nginx = Nginx::plain("location / { return 200 plain; }");
    let ringate = Setup::to(nginx.address()).workers(2).start();
    for connection in ["keep-alive", "close"] {
        let said = wrk(&ringate.url(), 256, 3, &["-H", &format!("Connection: {connection}")], None);
        assert!(said.contains("requests in"), "{said}");
        assert!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
    }
}

/// A relay of bytes to `backend`.
fn relay(backend: &Backend, listener: &str) -> Ringate {
    Setup::to(backend.address()).listener(&format!("protocol = \"tcp\"\n{listener}")).start()
}

#[test]
fn a_tcp_listener_relays_bytes_both_ways_to_each_sides_end() {
    let pki = Pki::new();
    let backend = Backend::start(|connection| {
        connection.send("hello ")?;
        let all = connection.rest()?;
        connection.send(all)
    });
    let body = crate::http::noise(3_000_000);
    let ringate = relay(&backend, "");
    let mut client = ringate.client();
    assert_eq!(client.bytes(6), b"hello ", "the backend may speak first");
    client.send(&body).finish_sending();
    assert!(client.rest() == body);

    let ringate = relay(&backend, &pki.listener_tls());
    let mut client = ringate.tls_client(pki.client_config());
    client.send("x");
    assert_eq!(client.bytes(6), b"hello ");
}

#[test]
fn a_tcp_client_whose_backend_is_away_is_closed() {
    let ringate = Setup::to(free_address()).listener("protocol = \"tcp\"").start();
    ringate.client().ends();
}
