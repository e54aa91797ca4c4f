//! The helpers work: a request goes from a raw client through Ringate to each kind of peer.

use crate::support::*;

#[test]
fn a_request_reaches_a_scripted_backend_and_comes_back() {
    let backend = Backend::replying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    client.send(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status, &*response.body), (200, &b"ok"[..]));
    assert!(backend.request().head.starts_with("GET /x HTTP/1.1\r\nHost: h\r\n"));
    drop(client);
    assert_eq!(ringate.terminate().code(), Some(0));
}

#[test]
fn a_request_reaches_nginx_over_plain_and_mutual_tls() {
    let pki = Pki::new();
    let plain = Nginx::plain("location / { return 200 plain; }");
    let mutual = Nginx::mutual(&pki, "location / { return 200 $ssl_client_s_dn; }");
    assert_eq!(Setup::to(plain.address()).start().get("/").text(), "plain");
    let tls = format!(
        "[upstream.app.tls]\nserver_name = \"localhost\"\ntrust = [{:?}]\ncertificate = {{ cert = {:?}, key = {:?} }}",
        pki.file("ca.pem"),
        pki.file("client.pem"),
        pki.file("client.key")
    );
    let response = Setup::to(mutual.address()).upstream(&tls).start().get("/");
    assert_eq!(response.text(), "CN=ringate-client,O=Ringate quickstart");
}

#[test]
fn a_request_reaches_s_server_and_node() {
    let pki = Pki::new();
    let tls = format!(
        "[upstream.app.tls]\nserver_name = \"localhost\"\ntrust = [{:?}]\ncertificate = {{ cert = {:?}, key = {:?} }}",
        pki.file("ca.pem"),
        pki.file("client.pem"),
        pki.file("client.key")
    );
    let s_server = SServer::start(&pki, &["-www", "-Verify", "1"]);
    let response = Setup::to(s_server.address()).upstream(&tls).start().get("/");
    assert!(response.text().contains("CN=ringate-client"), "{}", response.text());
    let node = Node::mutual(&pki, "res.end(req.socket.getPeerCertificate().subject.CN)");
    assert_eq!(Setup::to(node.address()).upstream(&tls).start().get("/").text(), "ringate-client");
}

#[test]
fn curl_and_wrk_come_through_a_tls_listener() {
    let pki = Pki::new();
    let nginx = Nginx::plain("location / { return 200 plain; }");
    let tls = format!(
        "[listener.tls]\ncertificates = [{{ cert = {:?}, key = {:?} }}]",
        pki.file("server.pem"),
        pki.file("server.key")
    );
    let ringate = Setup::to(nginx.address()).listener(&tls).start();
    let url = format!("https://localhost:{}/", ringate.address().port());
    assert_eq!(curl(&["--cacert", pki.file("ca.pem").to_str().unwrap(), &url]), "plain");
    let mut client = ringate.tls_client(pki.client_config());
    assert_eq!(client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").response().text(), "plain");
    assert!(wrk(&url, 8, 1, &[], None).contains("requests in"));
}
