//! A line for each exchange reaches the log, says what it was asked to say, and never costs a request.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use super::metric;
use crate::http::OK;
use crate::support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

pub(super) fn log_file(ringate: &Ringate) -> PathBuf {
    ringate.dir().join("access.log")
}

pub(super) fn await_lines(path: &PathBuf, count: usize) -> Vec<String> {
    eventually("lines in the access log", || {
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        (lines.len() >= count && text.ends_with('\n')).then_some(lines)
    })
}

#[test]
fn a_line_says_what_its_form_asks_for_and_nothing_that_is_redacted() {
    let backend = Backend::replying(
        "HTTP/1.1 200 OK\r\nSet-Cookie: id=1\r\nX-Kind: a b\r\nContent-Length: 2\r\n\r\nok",
    );
    let form = "{client.address} {listener} \"{request.method} {request.target}\" {request.header.authorization} \
        {request.header.user-agent} {response.header.x-kind} {response.header.set-cookie} {response.status} \
        {upstream} {endpoint}|";
    let log = format!(
        "[log]\naccess = \"access.log\"\naccess_format = '{form}'\n\
         redact = {{ headers = [\"Authorization\", \"Set-Cookie\"], query = [\"token\"] }}"
    );
    let ringate = Setup::to(backend.address()).section(&log).start();
    let mut client = ringate.client();
    client.send(
        "GET /a?b=1&token=secret HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer secret\r\n\
         User-Agent: x\" 200\\\u{ff}\r\n\r\n"
            .chars()
            .map(|c| c as u8)
            .collect::<Vec<_>>(),
    );
    client.response();
    client.send("GET /b HTTP/1.1\r\nHost: h\r\n\r\n").response();
    let lines = await_lines(&log_file(&ringate), 2);
    let endpoint = backend.address();
    assert_eq!(
        lines,
        [
            format!(
                "127.0.0.1 web \"GET /a?b=1&token=[redacted]\" [redacted] x\\x22 200\\x5c\\xff a b \
                 [redacted] 200 app {endpoint}|"
            ),
            format!("127.0.0.1 web \"GET /b\" - - a b [redacted] 200 app {endpoint}|"),
        ]
    );
}

#[test]
fn a_table_of_fields_makes_json_objects_in_its_order() {
    let backend = Backend::replying(OK);
    let log = "[log]\naccess = \"access.log\"\n[log.access_format]\nwhen = \"time\"\nagent = \"request.header.user-agent\"\n\
        ms = \"duration\"\nfirst = \"first_byte.us\"\nbytes = \"response.bytes\"";
    let ringate = Setup::to(backend.address()).section(log).start();
    ringate.client().send("GET / HTTP/1.1\r\nHost: h\r\nUser-Agent: \"a\"\r\n\r\n").response();
    let line = await_lines(&log_file(&ringate), 1).remove(0);
    assert!(line.starts_with("{\"when\":\""), "{line}");
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(json["agent"], "\"a\"");
    let (duration, first) = (json["ms"].as_f64().unwrap(), json["first"].as_u64().unwrap());
    assert!(first > 0 && duration * 1000.0 >= first as f64, "{line}");
    assert!(json["bytes"].as_u64().unwrap() >= 40, "{line}");
}

#[test]
fn refused_requests_have_a_line_with_what_was_understood_of_them() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address())
        .routes("[[route]]\npath = \"/a\"\nupstream = \"app\"")
        .section(
            "[log]\naccess = \"access.log\"\naccess_format = '{request.target} {response.status} {failure}'",
        )
        .start();
    ringate.get("/b?\"");
    ringate.client().send("GET /\x07 HTTP/1.1\r\nHost: h\r\n\r\n").response();
    let lines = await_lines(&log_file(&ringate), 2);
    assert_eq!(lines[0], "/b?\\x22 404 no route matches");
    assert!(lines[1].starts_with("- 400 "), "{}", lines[1]);
}

#[test]
fn what_ringate_itself_says_is_counted_as_it_went_out_and_an_endpoint_that_was_tried_is_named() {
    let broken = Backend::replying("no HTTP at all\r\n\r\n");
    let (dead, name) = {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        (socket.local_addr().unwrap(), socket.local_addr().unwrap().to_string())
    };
    let ringate = Setup::to(broken.address())
        .routes(
            "[[route]]\npath = \"/broken\"\nupstream = \"app\"\n[[route]]\npath = \"/dead\"\nupstream = \"dead\"\n\
             [[route]]\npath = \"/split\"\nupstreams = [{ name = \"dead\" }, { name = \"dead2\" }]\n\
             [[route]]\npath = \"/own\"\nrespond = { status = 403 }",
        )
        .section(&format!("[upstream.dead]\nendpoints = [\"{dead}\"]\n[upstream.dead2]\nendpoints = [\"{dead}\"]"))
        .section("[log]\naccess = \"access.log\"\naccess_format = \"json\"")
        .start();
    let broken = broken.address().to_string();
    for (number, (request, status, endpoint)) in [
        ("GET /broken HTTP/1.1\r\nHost: h\r\n\r\n", 502, Some(&broken)),
        ("GET /dead HTTP/1.1\r\nHost: h\r\n\r\n", 502, Some(&name)),
        ("GET /split HTTP/1.1\r\nHost: h\r\n\r\n", 502, Some(&name)),
        ("GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n", 404, None),
        ("GET / HTTP/1.1\r\nHost: \r\n\r\n", 400, None),
        ("GET /own HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 403, None),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = crate::http::exchange(&ringate, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        let line = await_lines(&log_file(&ringate), number + 1).remove(number);
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&json["status"], &json["bytes"]), (&status.into(), &answer.len().into()), "{line}");
        assert_eq!(json["endpoint"].as_str(), endpoint.map(String::as_str), "{line}");
        assert!(json["first_byte_us"].is_number(), "{line}");
    }
}

#[test]
fn after_sigusr1_lines_go_to_a_new_file() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address())
        .workers(2)
        .section("[log]\naccess = \"access.log\"\naccess_format = '{request.target}'")
        .start();
    let file = log_file(&ringate);
    ringate.get("/1");
    assert_eq!(await_lines(&file, 1), ["/1"]);
    let rotated = ringate.dir().join("access.log.1");
    fs::rename(&file, &rotated).unwrap();
    ringate.get("/2");
    assert_eq!(await_lines(&rotated, 2), ["/1", "/2"]);
    ringate.signal(Signal::USR1);
    ringate.await_log("access log: opened anew");
    ringate.get("/3");
    assert_eq!(await_lines(&file, 1), ["/3"]);
    assert_eq!(fs::read_to_string(&rotated).unwrap(), "/1\n/2\n");
}

#[test]
fn a_reader_that_does_not_read_costs_lines_and_no_request() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let backend = Backend::replying(OK);
    // Lines as long as may be, so that the pipe and the ring are soon full.
    let form = "{request.target}".repeat(16);
    let log = format!("[admin]\n[log]\naccess = \"{}\"\naccess_format = '{form}'", fifo.display());
    let mut ringate = Setup::to(backend.address()).section(&log).start();
    let request = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(7000));
    let mut client = ringate.client();
    for _ in 0..20 {
        assert_eq!(client.send(&request).response().status, 200);
    }
    assert!(metric(&ringate, "access_lines_dropped") > 0);
    // It does not hold up the end either.
    ringate.signal(Signal::TERM);
    assert_eq!(ringate.wait().code(), Some(0));
    assert!(ringate.log().contains("its last lines could not be written"));
}

#[test]
fn a_full_disk_costs_lines_and_no_request() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).section("[admin]\n[log]\naccess = \"/dev/full\"").start();
    let mut client = ringate.client();
    for _ in 0..10 {
        assert_eq!(client.send(GET).response().status, 200);
    }
    ringate.await_log("lines are dropped and counted");
    eventually("the lines being counted", || (metric(&ringate, "access_lines_dropped") == 10).then_some(()));
}

#[test]
fn a_drain_that_is_cut_loses_no_line() {
    let backend = Backend::start(|connection| {
        while let Some(request) = connection.request()? {
            if !request.line().ends_with("/stuck") {
                connection.send(OK)?;
            }
        }
        Ok(())
    });
    let mut ringate = Setup::to(backend.address())
        .workers(2)
        .runtime("drain = \"50ms\"")
        .section("[log]\naccess = \"access.log\"\naccess_format = '{request.target}'")
        .start();
    let mut stuck = ringate.client();
    stuck.send("GET /stuck HTTP/1.1\r\nHost: h\r\n\r\n");
    backend.request();
    for number in 0..50 {
        ringate.get(&format!("/{number}"));
    }
    ringate.signal(Signal::TERM);
    assert_eq!(ringate.wait().code(), Some(0));
    assert!(ringate.log().contains("drain is over"));
    assert_eq!(fs::read_to_string(log_file(&ringate)).unwrap().lines().count(), 50);
}

#[test]
fn a_form_with_a_typo_is_shown_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ringate.toml");
    let text = "[log]\naccess = \"stdout\"\naccess_format = \"{request.methd}\"\n\
        redact = { header = [\"Cookie\"] }\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
        [[route]]\nupstream = \"app\"\n[upstream.app]\nendpoints = [\"127.0.0.1:1\"]\n";
    fs::write(&file, text).unwrap();
    let output = run(Ringate::command().arg("check").arg("-c").arg(&file));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("ringate.toml:3:17") && said.contains("did you mean {request.method}?"), "{said}");
    assert!(said.contains("did you mean `headers`?"), "{said}");
}

#[test]
fn a_tcp_connection_has_a_line_with_its_bytes_and_its_end() {
    let backend = Backend::start(|connection| {
        connection.bytes(5)?;
        connection.send("worldwide")?;
        connection.rest().map(drop)
    });
    let pki = Pki::new();
    let config = |form: &str, upstream: &str| {
        format!(
            "[runtime]\nworkers = 1\n[log]\naccess = \"access.log\"\ntcp_format = {form}\n[[listener]]\nname = \"db\"\n\
             address = \"127.0.0.1:0\"\nprotocol = \"tcp\"\n{}\n[[route]]\nupstream = \"app\"\n[upstream.app]\n{upstream}",
            pki.listener_tls().replace("protocol = \"http\"", ""),
        )
    };
    let endpoint = backend.address();
    let ringate = Ringate::start(&config("\"json\"", &format!("endpoints = [\"{endpoint}\"]")));
    let mut client = ringate.tls_client(pki.client_config());
    client.send("hello");
    assert_eq!(client.bytes(9), b"worldwide");
    // The connection's end without that of TLS.
    client.finish_sending();
    let _ = client.try_rest();
    let line = await_lines(&log_file(&ringate), 1).remove(0);
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    for (name, value) in [
        ("listener", "db"),
        ("client", "127.0.0.1"),
        ("upstream", "app"),
        ("endpoint", &*endpoint.to_string()),
        ("tls_version", "TLSv1.3"),
        ("sni", "localhost"),
        ("end", "client_lost"),
    ] {
        assert_eq!(json[name], value, "{line}");
    }
    assert_eq!((&json["bytes_up"], &json["bytes_down"]), (&5.into(), &9.into()), "{line}");
    assert!(json["failure"].is_null() && json["duration_us"].as_u64().unwrap() > 0, "{line}");

    let form = "\"{relay.up} {relay.down} {endpoint} {relay.end} {failure}\"";
    let ringate = Ringate::start(&config(form, &format!("endpoints = [\"{}\"]", free_address())));
    let _ = ringate.tls_client(pki.client_config()).try_rest();
    let line = await_lines(&log_file(&ringate), 1).remove(0);
    assert!(line.starts_with("- - - - connect: "), "{line}");
}

#[test]
fn a_relays_line_says_who_broke_it_off() {
    let backend = Backend::start(|connection| {
        connection.bytes(1)?;
        connection.reset()
    });
    let config = |idle: &str| {
        format!(
            "[runtime]\nworkers = 1\n[log]\naccess = \"access.log\"\ntcp_format = \"{{relay.end}}\"\n[[listener]]\nname = \"db\"\n\
             address = \"127.0.0.1:0\"\nprotocol = \"tcp\"\n[[route]]\nupstream = \"app\"\n[upstream.app]\n\
             endpoints = [\"{}\"]\ntimeouts.idle = \"{idle}\"",
            backend.address()
        )
    };
    let ringate = Ringate::start(&config("60s"));
    let mut client = ringate.client();
    client.send("x");
    let _ = client.try_rest();
    let leaver = ringate.client();
    backend.await_connections(2);
    leaver.reset();
    await_lines(&log_file(&ringate), 2);
    let mut leaver = ringate.client();
    leaver.finish_sending();
    leaver.ends();
    assert_eq!(await_lines(&log_file(&ringate), 3), ["backend_lost", "client_lost", "client"]);
    let ringate = Ringate::start(&config("300ms"));
    ringate.client().ends();
    assert_eq!(await_lines(&log_file(&ringate), 1), ["idle"]);
}

#[test]
fn a_backends_reset_that_the_upload_is_told_of_is_no_orderly_end() {
    const TIMES: usize = 5;
    let backend = Backend::start(|connection| {
        connection.bytes(1)?;
        connection.send("half")?;
        // Until the upload has filled every buffer on its way and waits.
        std::thread::sleep(Duration::from_millis(300));
        connection.reset()
    });
    let ringate = Ringate::start(&format!(
        "[runtime]\nworkers = 1\n[log]\naccess = \"access.log\"\ntcp_format = \"{{relay.end}} {{relay.down}}\"\n\
         [[listener]]\nname = \"db\"\naddress = \"127.0.0.1:0\"\nprotocol = \"tcp\"\n[[route]]\nupstream = \"app\"\n\
         [upstream.app]\nendpoints = [\"{}\"]",
        backend.address()
    ));
    for _ in 0..TIMES {
        let mut client = ringate.client();
        let mut out = client.tcp().try_clone().unwrap();
        let sending = std::thread::spawn(move || while out.write_all(&[b'x'; 65_536]).is_ok() {});
        assert_eq!(client.bytes(4), b"half");
        let _ = client.try_rest();
        sending.join().unwrap();
    }
    assert_eq!(await_lines(&log_file(&ringate), TIMES), ["backend_lost 4"; TIMES]);
}

#[test]
fn what_went_out_of_a_response_that_was_cut_is_counted() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
    let backend = Backend::start(move |connection| {
        connection.request()?;
        connection.send(format!("{head}Content-Length: 5000\r\n\r\n"))?;
        for _ in 0..2 {
            connection.send([b'x'; 1000])?;
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        Ok(())
    });
    let log = "[log]\naccess = \"access.log\"\naccess_format = '{response.status} {response.bytes}'";
    let routes = "[[route]]\nupstream = \"app\"\ncompression = true";
    let ringate = Setup::to(backend.address()).section(log).routes(routes).start();
    let mut client = ringate.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let got = client.try_rest().unwrap_or_default();
    assert!(got.len() > 2000, "{}", got.len());
    assert_eq!(await_lines(&log_file(&ringate), 1), [format!("200 {}", got.len())]);
    let mut client = ringate.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n");
    let got = client.try_rest().unwrap_or_default();
    assert!(!got.is_empty());
    assert_eq!(await_lines(&log_file(&ringate), 2)[1], format!("200 {}", got.len()));
}

#[test]
fn lines_go_to_syslog_and_a_receiver_that_is_gone_costs_no_request() {
    let backend = Backend::replying(OK);
    let receiver = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let log = format!(
        "[admin]\n[log]\naccess = \"syslog:{}\"\naccess_format = \"{{request.target}}\"",
        receiver.local_addr().unwrap()
    );
    let ringate = Setup::to(backend.address()).section(&log).start();
    assert_eq!(ringate.get("/a").status, 200);
    let mut buffer = [0; 2048];
    let length = receiver.recv(&mut buffer).unwrap();
    let message = std::str::from_utf8(&buffer[..length]).unwrap();
    assert!(message.starts_with("<134>1 2") && message.ends_with(" access - /a"), "{message}");
    assert!(!ringate.dir().join("syslog:127.0.0.1").exists());
    drop(receiver);
    eventually("dropped lines to be counted", || {
        assert_eq!(ringate.get("/b").status, 200);
        (metric(&ringate, "access_lines_dropped_total") > 0).then_some(())
    });
}
