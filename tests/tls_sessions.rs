//! Sessions with TLS backends: resumed wherever that is safe, never elsewhere, and never a reason to fail.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::*;

const CLOSING: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";

/// A fatal handshake_failure.
const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];

#[test]
fn a_backend_that_fails_over_a_session_is_asked_without_one() {
    let pki = Pki::new();
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let server = Server::start(Some(pki.server_config()), move |stream| {
        if count.fetch_add(1, Ordering::SeqCst) == 1 {
            let mut tcp = stream.get_ref().tcp();
            let mut hello = [0; 4096];
            let n = tcp.read(&mut hello)?;
            assert!(n > 0);
            return tcp.write_all(&ALERT);
        }
        let mut head = [0; 4096];
        let n = stream.read(&mut head)?;
        assert!(n > 0);
        stream.get_mut().write_all(CLOSING.as_bytes())?;
        stream.get_mut().finish()
    });
    let ringate = Setup::to(server.address()).upstream(&pki.upstream_tls()).start();
    for _ in 0..3 {
        assert_eq!(ringate.get("/").status, 200, "{}", ringate.log());
    }
    assert_eq!(seen.load(Ordering::SeqCst), 4, "one connection a request, and one more for the alert");
    assert!(!ringate.log().contains(" WARN "), "{}", ringate.log());
}

/// A program that closes after each response, and whose answer ends with whether it resumed.
struct Closing {
    what: &'static str,
    _program: Box<dyn std::any::Any>,
    addresses: Vec<std::net::SocketAddr>,
    /// How an answer ends, or what is in it, of a session that was resumed.
    resumed: &'static str,
}

/// Three endpoints of each program, in one version of TLS.
fn closing(pki: &Pki, version: &str, mutual: bool) -> Vec<Closing> {
    let (cert, key, ca) = (pki.file("server.pem"), pki.file("server.key"), pki.file("ca.pem"));
    let (cert, key, ca) = (cert.to_str().unwrap(), key.to_str().unwrap(), ca.to_str().unwrap());
    let mut all = Vec::new();
    // By tickets, and by what the server keeps: ids in TLS 1.2, tickets that are mere handles in 1.3.
    for (what, by) in [
        ("nginx, tickets", ""),
        ("nginx, cache", "ssl_session_tickets off;\nssl_session_cache builtin:1000;"),
    ] {
        let demand = if mutual {
            format!("ssl_client_certificate {ca};\nssl_verify_client on;")
        } else {
            String::new()
        };
        let server = format!(
            "ssl_certificate {cert};\nssl_certificate_key {key};\n{demand}\n{by}\nssl_protocols {version};\n\
             keepalive_timeout 0;\nlocation / {{ return 200 \"$ssl_protocol $ssl_session_reused\"; }}"
        );
        let nginx = Nginx::several(" ssl", &[server.clone(), server.clone(), server]);
        let addresses = nginx.addresses().to_vec();
        all.push(Closing { what, _program: Box::new(nginx), addresses, resumed: " r" });
    }

    let dir = tempfile::tempdir().unwrap();
    let both = dir.path().join("both.pem");
    std::fs::write(&both, [cert, key].map(|file| std::fs::read_to_string(file).unwrap()).concat()).unwrap();
    let demand = if mutual { format!(" ca-file {ca} verify required") } else { String::new() };
    let bind = format!("crt {}{demand} ssl-min-ver {version} ssl-max-ver {version}", both.display());
    let haproxy =
        HaProxy::answering("%[ssl_fc_protocol] %[ssl_fc_is_resumed]", &[bind.clone(), bind.clone(), bind]);
    let addresses = haproxy.addresses().to_vec();
    all.push(Closing { what: "HAProxy", _program: Box::new((haproxy, dir)), addresses, resumed: " 1" });

    let number = if version == "TLSv1.2" { "-tls1_2" } else { "-tls1_3" };
    let mut args = vec!["-www", number];
    if mutual {
        args.extend(["-Verify", "1", "-verify_return_error"]);
    }
    let servers: Vec<SServer> = (0..3).map(|_| SServer::start(pki, &args)).collect();
    let addresses = servers.iter().map(SServer::address).collect();
    all.push(Closing { what: "s_server", _program: Box::new(servers), addresses, resumed: "Reused, " });

    let nodes: Vec<Node> = (0..3)
        .map(|_| {
            Node::start(&format!(
                "const fs = require('fs'), https = require('https');\n\
                 const options = {{ cert: fs.readFileSync({cert:?}), key: fs.readFileSync({key:?}),\n\
                 ca: fs.readFileSync({ca:?}), requestCert: {mutual}, rejectUnauthorized: {mutual},\n\
                 minVersion: '{version}', maxVersion: '{version}' }};\n\
                 const server = https.createServer(options, (req, res) => {{\n\
                 res.setHeader('Connection', 'close');\n\
                 res.end(req.socket.getProtocol() + ' ' + req.socket.isSessionReused());\n\
                 }});\n\
                 server.listen(0, '127.0.0.1', () => console.log('listening ' + server.address().port));\n"
            ))
        })
        .collect();
    let addresses = nodes.iter().map(Node::address).collect();
    all.push(Closing { what: "Node", _program: Box::new(nodes), addresses, resumed: " true" });
    all
}

/// One endpoint or several under one name, either version, with and without a client certificate: at least 95 % of the
/// handshakes are resumed, and the backends count as many as Ringate does.
#[test]
fn a_backend_that_closes_after_each_response_costs_next_to_no_full_handshakes() {
    const REQUESTS: usize = 30;
    let pki = Pki::new();
    for (version, mutual) in [("TLSv1.2", false), ("TLSv1.2", true), ("TLSv1.3", false), ("TLSv1.3", true)] {
        for program in closing(&pki, version, mutual) {
            for count in [1, 3] {
                let lines = if mutual { pki.upstream_mutual_tls() } else { pki.upstream_tls() };
                let ringate = Setup::to_all(program.addresses.iter().copied().take(count))
                    .section("[admin]")
                    .upstream(&lines)
                    .start();
                let what = format!("{}, {version}, mutual: {mutual}, endpoints: {count}", program.what);
                let requests = REQUESTS * count;
                let answers = (0..requests).map(|_| {
                    let response = ringate.get("/");
                    assert_eq!(response.status, 200, "{what}: {}", ringate.log());
                    response.text().to_owned()
                });
                let theirs = answers.filter(|answer| answer.contains(program.resumed)).count();
                let made = ringate.metric("backend_handshakes_total");
                let ours = ringate.metric("backend_resumptions_total");
                assert_eq!((made, ours), (requests as u64, theirs as u64), "{what}");
                // Node gives two tickets with a full handshake and none with a resumed one, and each serves once.
                let percent = if (program.what, version) == ("Node", "TLSv1.3") { 66 } else { 95 };
                assert!(theirs * 100 >= requests * percent, "{what}: {theirs} of {requests}");
            }
        }
    }
}

/// The same with 32 clients at once: tickets of TLS 1.3 serve one handshake each.
#[test]
fn many_at_once_are_resumed_too() {
    let pki = Pki::new();
    for version in ["TLSv1.2", "TLSv1.3"] {
        let server = "keepalive_timeout 0;\nlocation / { return 200 ok; }";
        let nginx = Nginx::mutual(&pki, &format!("ssl_protocols {version};\n{server}"));
        let ringate =
            Setup::to(nginx.address()).section("[admin]").upstream(&pki.upstream_mutual_tls()).start();
        let said = wrk(&ringate.url(), 32, 2, &[], None);
        assert!(!said.contains("Non-2xx") && !said.contains("Socket errors"), "{said}\n{}", ringate.log());
        // In this order: handshakes of clients that were cut off still go on.
        let resumed = ringate.metric("backend_resumptions_total");
        let made = ringate.metric("backend_handshakes_total");
        assert!(made > 200, "{made}: too few to tell");
        // The first of each client finds nothing to resume.
        let full = made - resumed;
        eprintln!("{version}, 32 clients: {resumed} of {made} resumed");
        assert!(full <= 32 + made / 20, "{version}: {full} of {made} in full");
    }
}
