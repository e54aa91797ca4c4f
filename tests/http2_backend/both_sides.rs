//! HTTP/2 on both sides, between programs that others have made.

use std::process::Command;

use super::peers::node;
use crate::support::*;

fn output(command: &mut Command) -> String {
    let output = run_within(std::time::Duration::from_secs(60), command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Ringate, with TLS to its clients, before a backend.
fn between(pki: &Pki, backend: std::net::SocketAddr, tls: &str) -> Ringate {
    Setup::to(backend)
        .workers(2)
        .section("[admin]")
        .listener(&pki.listener_tls())
        .upstream(&format!("http = \"2\"\ntimeouts = {{ connect = \"15s\" }}\n{tls}"))
        .start()
}

fn loaded(ringate: &Ringate, path: &str, requests: &str) {
    let url = format!("https://{}{path}", ringate.address());
    let report = output(Command::new("h2load").args(["-n", requests, "-c", "4", "-m", "25", &url]));
    assert!(report.contains(&format!("{requests} succeeded, 0 failed, 0 errored, 0 timeout")), "{report}");
    assert!(report.contains(&format!("status codes: {requests} 2xx")), "{report}");
}

#[test]
fn h2load_and_nghttp_to_nghttpd_over_tls_that_asks_for_a_certificate() {
    let pki = Pki::new();
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("long"), vec![b'a'; 3_000_000]).unwrap();
    std::fs::write(root.path().join("short"), "short").unwrap();
    let address = free_address();
    let mut nghttpd = Command::new("nghttpd");
    nghttpd.args(["-a", "127.0.0.1", "--verify-client", "--trailer", "check: sum", "-d"]).arg(root.path());
    nghttpd.arg(address.port().to_string()).arg(pki.file("server.key")).arg(pki.file("server.pem"));
    let _nghttpd = Process::start(&mut nghttpd);
    eventually("nghttpd", || std::net::TcpStream::connect(address).ok());
    let ringate = between(&pki, address, &pki.upstream_mutual_tls());
    loaded(&ringate, "/short", "3000");
    loaded(&ringate, "/long", "40");
    let url = format!("https://{}/long", ringate.address());
    let report = output(Command::new("nghttp").args(["-nv", "--no-verify-peer", &url]));
    assert!(report.contains("check: sum"), "trailers pass: {report}");
    let connections = ringate.metric("backend_http2_connections_total");
    assert!(connections <= 12, "{connections} connections for 3041 requests");
    assert_eq!(ringate.metric("exchanges_aborted_total"), 0);
}

#[test]
fn h2load_curl_and_node_to_node_over_mutual_tls() {
    let pki = Pki::new();
    let node = node(&pki, "requestCert: true, rejectUnauthorized: true");
    let ringate = between(&pki, node.address(), &pki.upstream_mutual_tls());
    loaded(&ringate, "/", "1500");
    let url = format!("https://localhost:{}/", ringate.address().port());
    let upload = ringate.dir().join("upload");
    std::fs::write(&upload, vec![7; 4 << 20]).unwrap();
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "30", "--http2", "-w", " %{http_version} %{http_code}"]);
    curl.arg("--resolve").arg(format!("localhost:{}:127.0.0.1", ringate.address().port()));
    curl.arg("--cacert").arg(pki.file("ca.pem"));
    curl.arg("--data-binary").arg(format!("@{}", upload.display())).arg(&url);
    let text = output(&mut curl);
    assert!(text.starts_with("2.0 POST 4194304 ") && text.ends_with(" 2 200"), "{text}");
    // Node as a client: a stream both ways at the same time, whose parts are answered one by one.
    let script = "const h2 = require('http2');\
        const c = h2.connect(process.argv[1], { rejectUnauthorized: false });\
        let left = 20, sum = 0;\
        for (let i = 0; i < 20; i++) {\
          const r = c.request({ ':path': '/', ':method': 'POST' });\
          let text = ''; r.on('data', (d) => text += d);\
          r.on('end', () => { sum += Number(text.split(' ')[2]); if (--left === 0) { console.log(sum); c.close(); } });\
          r.end(Buffer.alloc(i * 30000));\
        }";
    let sum = output(Command::new("node").args(["-e", script, &url]));
    assert_eq!(sum.trim(), (0..20).map(|i| i * 30_000).sum::<u32>().to_string());
}
