//! Clients that others have made: curl, nghttp, h2load, Node.

use std::process::Command;

use super::*;

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn tls() -> (Backend, Pki, Ringate) {
    let backend = Backend::serving(|request| {
        if request.line().starts_with("GET /big") {
            ok(vec![7; 3_000_000])
        } else {
            ok(request.body.len().to_string())
        }
    });
    let certs = Pki::new();
    let ringate = setup(backend.address()).listener(&certs.listener_tls()).start();
    (backend, certs, ringate)
}

#[test]
fn curl_negotiates_it_and_carries_content_both_ways() {
    let (_backend, certs, ringate) = tls();
    let url = |path: &str| format!("https://localhost:{}{path}", ringate.address().port());
    let curl = || {
        let mut command = Command::new("curl");
        command.args([
            "-sS",
            "--max-time",
            "20",
            "--http2",
            "-w",
            "\n%{http_version} %{http_code} %{size_download}",
        ]);
        command.arg("--resolve").arg(format!("localhost:{}:127.0.0.1", ringate.address().port()));
        command.arg("--cacert").arg(certs.file("ca.pem"));
        command
    };
    assert_eq!(output(curl().arg(url("/"))), "0\n2 200 1");
    assert_eq!(output(curl().args(["-d", "hello"]).arg(url("/"))), "5\n2 200 1");
    assert!(output(curl().args(["-o", "/dev/null"]).arg(url("/big"))).ends_with("2 200 3000000"));
    assert_eq!(output(curl().args(["--http1.1"]).arg(url("/"))), "0\n1.1 200 1");
}

#[test]
fn curl_gets_a_response_that_is_earlier_than_its_upload_ends() {
    let backend = Backend::start(|connection| {
        connection.head()?;
        connection.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")?;
        connection.rest().map(drop)
    });
    let ringate = setup(backend.address()).start();
    let upload = ringate.dir().join("upload");
    std::fs::write(&upload, vec![7; 2 << 20]).unwrap();
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "20", "--http2-prior-knowledge", "-H", "Expect:", "-w", " %{http_code}"]);
    curl.arg("--data-binary").arg(format!("@{}", upload.display())).arg(ringate.url());
    assert_eq!(output(&mut curl), "no 403");
}

#[test]
fn h2load_loses_no_request_over_many_streams() {
    let (_backend, _certs, ringate) = tls();
    let url = format!("https://127.0.0.1:{}/", ringate.address().port());
    let report = output(Command::new("h2load").args(["-n", "3000", "-c", "3", "-m", "50", &url]));
    assert!(report.contains("3000 succeeded, 0 failed"), "{report}");
}

#[test]
fn nghttp_has_its_requests_answered() {
    let (_backend, _certs, ringate) = tls();
    let url = format!("https://127.0.0.1:{}/big", ringate.address().port());
    let report = output(Command::new("nghttp").args(["-ns", "--no-verify-peer", &url]));
    assert!(report.contains("200") && report.contains("/big"), "{report}");
}

#[test]
fn node_opens_streams_beside_each_other() {
    let (_backend, _certs, ringate) = tls();
    let script = "const h2 = require('http2');\
        const c = h2.connect(process.argv[1], { rejectUnauthorized: false });\
        let left = 20, sum = 0;\
        for (let i = 0; i < 20; i++) {\
          const r = c.request({ ':path': '/', ':method': 'POST' });\
          let text = ''; r.on('data', (d) => text += d);\
          r.on('end', () => { sum += Number(text); if (--left === 0) { console.log(sum); c.close(); } });\
          r.end(Buffer.alloc(i * 10000));\
        }";
    let url = format!("https://127.0.0.1:{}", ringate.address().port());
    let sum = output(Command::new("timeout").args(["30", "node", "-e", script, &url]));
    assert_eq!(sum.trim(), (0..20).map(|i| i * 10_000).sum::<u32>().to_string());
}
