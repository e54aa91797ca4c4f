//! Other programs as backends of HTTP/2, and ALPN.

use std::process::Command;

use crate::support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Node's HTTP/2 server over TLS. `options`: further ones of its own.
pub fn node(pki: &Pki, options: &str) -> Node {
    let read = |name: &str| format!("fs.readFileSync({:?})", pki.file(name));
    Node::start(&format!(
        "const fs = require('fs'), http2 = require('http2');\n\
         const options = {{ cert: {}, key: {}, ca: {}, {options} }};\n\
         const server = http2.createSecureServer(options, (req, res) => {{\n\
             let size = 0;\n\
             req.on('data', (data) => size += data.length);\n\
             req.on('end', () => res.end(req.httpVersion + ' ' + req.method + ' ' + size + ' '\n\
                 + (req.socket.getPeerCertificate().subject || {{}}).CN));\n\
         }});\n\
         server.listen(0, '127.0.0.1', () => console.log('listening ' + server.address().port));\n",
        read("server.pem"),
        read("server.key"),
        read("ca.pem"),
    ))
}

fn before_tls(address: std::net::SocketAddr, http: &str, tls: &str) -> Ringate {
    Setup::to(address).section("[admin]").upstream(&format!("http = \"{http}\"\n{tls}")).start()
}

#[test]
fn node_over_tls_and_mutual_tls() {
    let pki = Pki::new();
    let mutual = node(&pki, "requestCert: true, rejectUnauthorized: true");
    for http in ["2", "auto"] {
        let ringate = before_tls(mutual.address(), http, &pki.upstream_mutual_tls());
        let text = ringate.client().send(GET).response().text().to_owned();
        assert!(text.starts_with("2.0 GET 0 ") && !text.ends_with("undefined"), "{text}");
        let post = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000000\r\n\r\n";
        let response = ringate.client().send(post).send(vec![b'x'; 3_000_000]).response();
        assert!(response.text().starts_with("2.0 POST 3000000 "), "{}", response.text());
        assert_eq!(ringate.metric("backend_http2_connections_total"), 1);
    }
}

#[test]
fn alpn_decides_with_auto_and_a_backend_without_http2_is_a_clear_failure_with_2() {
    let pki = Pki::new();
    let old = Nginx::tls(&pki, "location / { return 200 $server_protocol; }");
    let auto = before_tls(old.address(), "auto", &pki.upstream_tls());
    for _ in 0..3 {
        assert_eq!(auto.client().send(GET).response().text(), "HTTP/1.1");
    }
    assert_eq!(auto.metric("backend_http2_connections_total"), 0);
    assert!(auto.metric("backend_reuses_total") > 0, "connections of HTTP/1.1 are kept as ever");
    let strict = before_tls(old.address(), "2", &pki.upstream_tls());
    assert_eq!(strict.client().send(GET).response().status, 502);
    assert!(strict.metric("backend_http2_refusals_total") > 0);
}

#[test]
fn plain_auto_is_http1() {
    let backend = Backend::replying(crate::http::OK);
    let ringate = Setup::to(backend.address()).upstream("http = \"auto\"").start();
    assert_eq!(ringate.client().send(GET).response().text(), "ok");
    assert_eq!(backend.request().line(), "GET /");
}

#[test]
fn nghttpd_serves_a_long_body_and_many_at_a_time() {
    let dir = tempfile::TempDir::new().unwrap();
    std::fs::write(dir.path().join("long"), vec![b'a'; 5_000_000]).unwrap();
    std::fs::write(dir.path().join("short"), "short").unwrap();
    let address = free_address();
    let _server = Process::start(
        Command::new("nghttpd")
            .args(["--no-tls", "-a", "127.0.0.1", "-d"])
            .arg(dir.path())
            .arg(address.port().to_string()),
    );
    eventually("nghttpd", || std::net::TcpStream::connect(address).ok());
    let ringate = Setup::to(address).section("[admin]").upstream("http = \"2\"").start();
    let ringate = &ringate;
    std::thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(move || {
                let mut client = ringate.client();
                for _ in 0..3 {
                    let long = client.send("GET /long HTTP/1.1\r\nHost: h\r\n\r\n").response();
                    assert_eq!(long.body.len(), 5_000_000);
                    assert_eq!(
                        client.send("GET /short HTTP/1.1\r\nHost: h\r\n\r\n").response().text(),
                        "short"
                    );
                }
            });
        }
    });
    assert_eq!(ringate.metric("backend_http2_connections_total"), 1);
}
