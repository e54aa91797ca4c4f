//! Clients over TLS: curl and OpenSSL are served by their choice of version and suite, and refused clients harm no other.

use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::*;

fn listener(pki: &Pki, more: &str) -> String {
    format!("{}\n{more}\n", pki.listener_tls())
}

fn hello() -> Backend {
    Backend::replying("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
}

/// `openssl s_client` that makes one request and reads to the end. What it prints, and whether it was content.
fn s_client(ringate: &Ringate, args: &[&str]) -> (String, bool) {
    let dir = tempfile::tempdir().unwrap();
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    std::fs::write(dir.path().join("request"), request).unwrap();
    let address = ringate.address().to_string();
    let mut command = Command::new("sh");
    let script = format!("exec openssl s_client \"$@\" < {:?}", dir.path().join("request"));
    command.args(["-c", &script, "s_client", "-connect", &address, "-ign_eof"]).args(args);
    let output = run(&mut command);
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (said.concat(), output.status.success())
}

#[test]
fn a_listener_of_one_version_serves_that_version_alone() {
    let pki = Pki::new();
    let backend = hello();
    for (versions, takes, refuses) in [("1.2", "-tls1_2", "-tls1_3"), ("1.3", "-tls1_3", "-tls1_2")] {
        let tls = listener(&pki, &format!("versions = [{versions:?}]"));
        let ringate = Setup::to(backend.address()).listener(&tls).start();
        let (said, _) = s_client(&ringate, &[takes]);
        assert!(said.contains(&format!("New, TLSv{versions}")) && said.contains("hello"), "{said}");
        let (said, fine) = s_client(&ringate, &[refuses]);
        assert!(!fine && said.contains("alert protocol version"), "{said}");
        ringate.await_log("no TLS version in common");
        let (said, _) = s_client(&ringate, &[takes]);
        assert!(said.contains("hello"), "{said}");
    }
}

#[test]
fn curl_is_served_over_either_version_and_proves_who_serves_it() {
    let pki = Pki::new();
    let backend = hello();
    let ringate = Setup::to(backend.address()).listener(&listener(&pki, "")).start();
    let ca = pki.file("ca.pem");
    let url = format!("https://localhost:{}/", ringate.address().port());
    for versions in [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3", "--tls-max", "1.3"]] {
        let args = [&["--cacert", ca.to_str().unwrap(), "--http1.1"], &versions[..], &[&url]].concat();
        assert_eq!(curl(&args), "hello");
    }
    let seen = backend.request();
    assert_eq!(seen.header("X-Forwarded-Proto"), Some("https"));
    // curl offers h2 and HTTP/1.1 by ALPN: the best of those that the listener has is chosen.
    let only = format!("http.versions = [\"1.1\"]\n{}", listener(&pki, ""));
    let one = Setup::to(backend.address()).listener(&only).start();
    for (ringate, version) in [(&ringate, "2"), (&one, "1.1")] {
        let url = format!("https://localhost:{}/", ringate.address().port());
        let args = ["--cacert", ca.to_str().unwrap(), "-o", "/dev/null", "-w", "%{http_version}", &url];
        assert_eq!(curl(&args), version);
    }
}

#[test]
fn the_server_name_chooses_the_certificate() {
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("certs");
    let names: [(&str, &[&str]); 3] = [
        ("default", &["default.example"]),
        ("exact", &["a.wild.example"]),
        ("wildcard", &["*.wild.example"]),
    ];
    for (name, names) in names {
        authority.issue_into(&store, name, &Leaf { common_name: name, names, ..Leaf::default() });
    }
    let backend = hello();
    let ringate = Setup::to(backend.address())
        .section(&format!("[store]\npath = {store:?}"))
        .listener("[listener.tls]\ncertificates = [\"default\", \"exact\", \"wildcard\"]")
        .start();
    let ca = authority.file();
    for (asked, presented) in [
        ("default.example", "default"),
        ("a.wild.example", "exact"),
        ("A.Wild.Example", "exact"),
        ("b.wild.example", "wildcard"),
        ("c.b.wild.example", "default"),
        ("wild.example", "default"),
        ("unknown.example", "default"),
    ] {
        for version in ["-tls1_2", "-tls1_3"] {
            let args = ["-servername", asked, "-CAfile", ca.to_str().unwrap(), version];
            let (said, _) = s_client(&ringate, &args);
            assert!(said.contains(&format!("subject=CN = {presented}\n")), "{asked}: {said}");
            assert!(said.contains("Verification: OK"), "{asked}: {said}");
        }
    }
    let (said, _) = s_client(&ringate, &["-noservername"]);
    assert!(said.contains("subject=CN = default\n"), "{said}");
}

#[test]
fn sessions_are_resumed_by_ticket_on_every_worker() {
    let pki = Pki::new();
    let backend = hello();
    let admin = tempfile::tempdir().unwrap();
    let socket = admin.path().join("admin.sock");
    for version in ["-tls1_2", "-tls1_3"] {
        let ringate = Setup::to(backend.address())
            .workers(2)
            .section(&format!("[admin]\nlisten = {:?}", format!("unix:{}", socket.display())))
            .listener(&listener(&pki, ""))
            .start();
        let session = admin.path().join("session");
        let session = session.to_str().unwrap();
        let (said, _) = s_client(&ringate, &[version, "-sess_out", session]);
        assert!(said.contains("New, TLSv1"), "{said}");
        // The kernel chooses the worker: resume until each of them has done it.
        let mut resumed = 0;
        while resumed < 4 || served(&socket).contains(&0) {
            let (said, _) = s_client(&ringate, &[version, "-sess_in", session]);
            assert!(said.contains("Reused, TLSv1") && said.contains("hello"), "{said}");
            resumed += 1;
            assert!(resumed < 200, "one of the workers never got a connection: {:?}", served(&socket));
        }
    }
}

/// Requests of each worker.
fn served(admin: &Path) -> Vec<u64> {
    let status = curl(&["--unix-socket", admin.to_str().unwrap(), "http://ringate/v1/status"]);
    let counts = status.split("\"requests\":").skip(1).take(2);
    counts.map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()).collect()
}

#[test]
fn a_client_that_speaks_no_tls_is_closed_and_harms_nobody() {
    let pki = Pki::new();
    let backend = hello();
    let ringate = Setup::to(backend.address()).listener(&listener(&pki, "")).start();
    let mut other = ringate.tls_client(pki.client_config());
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(other.send(request).response().text(), "hello");
    let garbage: [&[u8]; 8] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        &[0; 64],
        &[0xff; 4096],
        // A handshake record of 65,535 bytes, one of none, an alert, application data.
        &[22, 3, 1, 0xff, 0xff, 1],
        &[22, 3, 1, 0, 0, 22, 3, 1, 0, 0, 22, 3, 1, 0, 1, 0],
        &[21, 3, 1, 0, 2, 2, 40],
        &[23, 3, 3, 0, 5, 1, 2, 3, 4, 5],
    ];
    for bytes in garbage {
        let mut client = ringate.client();
        client.send(bytes);
        let begun = Instant::now();
        // An alert may come before the end; plain HTTP is answered in plain HTTP.
        let rest = client.try_rest().unwrap_or_default();
        let http = bytes.starts_with(b"GET ");
        assert_eq!(rest.starts_with(b"HTTP/1.1 400 "), http, "{bytes:?}: {rest:?}");
        assert!(http || rest.is_empty() || rest[0] == 21, "{bytes:?}: {rest:?}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{bytes:?}");
        assert_eq!(other.send(request).response().text(), "hello");
    }
    ringate.await_log("the peer speaks plain HTTP on a TLS port");
    ringate.await_log("it sent \"SSH-2.0-OpenSSH");
    assert_eq!(ringate.terminate().code(), Some(0));
}

#[test]
fn a_client_that_vanishes_in_its_handshake_is_closed_after_the_head_timeout() {
    let pki = Pki::new();
    let backend = hello();
    let ringate =
        Setup::to(backend.address()).limits("head_timeout = \"300ms\"").listener(&listener(&pki, "")).start();
    // The beginning of a ClientHello, and silence.
    for start in [&b""[..], &[22], &[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]] {
        let mut client = ringate.client();
        let begun = Instant::now();
        client.send(start).ends();
        let took = begun.elapsed();
        assert!((Duration::from_millis(250)..Duration::from_secs(3)).contains(&took), "{took:?}");
    }
    ringate.await_log("not finished within `limits.head_timeout`");
    // One that hangs up is noticed at once.
    let mut client = ringate.client();
    client.send([22, 3, 1, 2, 0, 1]);
    drop(client);
    ringate.await_log("closed the connection during the TLS handshake");
    let mut client = ringate.client();
    client.send([22, 3, 1, 2, 0, 1]);
    client.reset();
    let mut other = ringate.tls_client(pki.client_config());
    assert_eq!(other.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").response().text(), "hello");
}

#[test]
fn a_response_ends_with_close_notify() {
    let pki = Pki::new();
    let backend = hello();
    let ringate = Setup::to(backend.address()).listener(&listener(&pki, "")).start();
    let mut client = ringate.tls_client(pki.client_config());
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!(client.response().text(), "hello");
    // rustls calls an end without close_notify an error.
    client.closes();
    // So does a refusal.
    let mut client = ringate.tls_client(pki.client_config());
    client.send("GET / HTTP/1.1\r\nHost: a b\r\n\r\n");
    assert_eq!(client.response().status, 400);
    client.closes();
}

#[test]
fn a_client_that_has_closed_its_half_still_gets_its_answer() {
    let pki = Pki::new();
    let (told, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let backend = Backend::start(move |connection| {
        while connection.request()?.is_some() {
            let _ = wait.lock().unwrap().recv_timeout(PATIENCE);
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")?;
        }
        Ok(())
    });
    let ringate = Setup::to(backend.address()).listener(&listener(&pki, "")).start();
    let mut client = Stream::connect(ringate.address(), Some(pki.client_config()));
    client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    client.finish().unwrap();
    backend.request();
    told.send(()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nhello"), "{answer}");
}

#[test]
fn a_response_cut_by_the_backend_looks_cut_to_the_client() {
    let pki = Pki::new();
    let backend = Backend::start(|connection| {
        connection.request()?;
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
    });
    let ringate = Setup::to(backend.address()).listener(&listener(&pki, "")).start();
    let mut client = ringate.tls_client(pki.client_config());
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = client.until("\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    client.try_rest().expect_err("no close_notify after half a response");
}

#[test]
fn a_request_of_one_byte_a_record_and_a_response_of_many_records_arrive_whole() {
    let pki = Pki::new();
    let backend = Backend::start(|connection| {
        while connection.request()?.is_some() {
            connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            for number in 0..2000 {
                connection.send(format!("4\r\n{number:04}\r\n"))?;
            }
            connection.send("0\r\n\r\n")?;
        }
        Ok(())
    });
    let ringate = Setup::to(backend.address()).listener(&listener(&pki, "")).start();
    let mut client = ringate.tls_client(pki.client_config());
    for byte in "GET /one/byte/at/a/time HTTP/1.1\r\nHost: localhost\r\n\r\n".bytes() {
        client.send([byte]);
    }
    let expected: String = (0..2000).map(|number| format!("{number:04}")).collect();
    assert_eq!(client.response().text(), expected);
    assert_eq!(backend.request().line(), "GET /one/byte/at/a/time");
    // Requests that share a record are two requests.
    client.send("GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.response().text(), expected);
    assert_eq!(client.response().text(), expected);
}

#[test]
fn a_large_file_comes_through_with_the_same_hash() {
    let pki = Pki::new();
    let nginx = Nginx::plain("location / { }");
    let size = 24 << 20;
    std::fs::write(nginx.root().join("file"), Pattern::bytes(size)).unwrap();
    let ringate = Setup::to(nginx.address()).listener(&listener(&pki, "")).start();
    let dir = tempfile::tempdir().unwrap();
    let ca = pki.file("ca.pem");
    let url = format!("https://localhost:{}/file", ringate.address().port());
    for version in ["1.2", "1.3"] {
        let got = dir.path().join(version);
        let args =
            ["--cacert", ca.to_str().unwrap(), "--tls-max", version, "-o", got.to_str().unwrap(), &url];
        curl(&args);
        let hash = Hash::of(&mut std::fs::File::open(&got).unwrap()).unwrap();
        assert_eq!(hash, (size, Pattern::hash(size)), "TLS {version}");
    }
}

#[test]
fn a_client_may_update_its_keys_and_must_not_renegotiate() {
    let pki = Pki::new();
    let backend = hello();
    let ringate = Setup::to(backend.address()).listener(&listener(&pki, "")).start();
    // On a line of its own, `K` makes s_client update its keys and ask for an update of ours, `R` renegotiate.
    for (version, command, done, served) in
        [("-tls1_3", "K\n", "KEYUPDATE", true), ("-tls1_2", "R\n", "RENEGOTIATING", false)]
    {
        let dir = tempfile::tempdir().unwrap();
        let keyboard = dir.path().join("keyboard");
        assert!(run(Command::new("mkfifo").arg(&keyboard)).status.success());
        let mut openssl = Command::new("sh");
        let script = format!("exec openssl s_client \"$@\" < {keyboard:?}");
        let address = ringate.address().to_string();
        openssl.args(["-c", &script, "s_client", "-connect", &address, version]);
        let mut openssl = Process::start(&mut openssl);
        let mut keyboard = std::fs::OpenOptions::new().write(true).open(keyboard).unwrap();
        // Typed ahead of the handshake's end, it would be data.
        openssl.await_line("what was negotiated", |line| line.contains("Verify return code").then_some(()));
        keyboard.write_all(command.as_bytes()).unwrap();
        openssl.await_line(done, |line| line.contains(done).then_some(()));
        let _ = keyboard.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        // It ends when we close, and no sooner: its input stays open.
        openssl.wait();
        assert_eq!(openssl.log().contains("hello"), served, "{}", openssl.log());
    }
    let mut other = ringate.tls_client(pki.client_config());
    assert_eq!(other.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").response().text(), "hello");
}

#[test]
fn a_record_that_does_not_decrypt_is_answered_with_its_alert() {
    let pki = Pki::new();
    let echo = Backend::start(|connection| {
        let got = connection.bytes(4)?;
        connection.send(got)?;
        connection.rest().map(drop)
    });
    let ringate = [
        Setup::to(hello().address()).listener(&listener(&pki, "")).start(),
        Setup::to(echo.address()).listener(&format!("protocol = \"tcp\"\n{}", listener(&pki, ""))).start(),
    ];
    // Within a request of HTTP, and within a relay.
    for (ringate, before) in ringate.iter().zip(["GET ", "ping"]) {
        let mut client = Stream::connect(ringate.address(), Some(pki.client_config()));
        client.write_all(before.as_bytes()).unwrap();
        client.flush().unwrap();
        if before == "ping" {
            client.read_exact(&mut [0; 4]).unwrap();
        }
        let mut record = vec![23, 3, 3, 0, 32];
        record.extend([7; 32]);
        client.tcp().write_all(&record).unwrap();
        let end = client.read(&mut [0; 1]).expect_err("a fatal alert").to_string();
        assert!(end.contains("BadRecordMac"), "{before}: {end}");
    }
}
