//! Access logs of routes, and the journal.

use std::os::unix::net::UnixDatagram;

use crate::http::OK;
use crate::http2::peer::*;
use crate::support::*;

const LOGS: &str = r#"
[log]
access = "access.log"
access_format = "main {request.path} {response.status}"
redact = { query = ["token"] }
[log.named.api]
access = "api.log"
access_format = 'api {client.address} {request.target} {response.status} {upstream}'
[log.named.plain]
access = "plain.log"
"#;

const ROUTES: &str = r#"
[[route]]
upstream = "app"
[[route]]
path = "/api"
upstream = "app"
access_log = "api"
[[route]]
path = "/plain"
upstream = "app"
access_log = { log = "plain" }
[[route]]
path = "/quiet"
respond = {}
access_log = "off"
[[route]]
path = "/failures"
upstream = "app"
access_log = { sample = 0 }
[[route]]
path = "/failures/mine"
respond = { status = 404 }
access_log = { log = "api", sample = 0 }
[[route]]
path = "/sampled"
upstream = "app"
access_log = { sample = 0.25 }
"#;

fn lines(ringate: &Ringate, file: &str, count: usize) -> Vec<String> {
    let path = ringate.dir().join(file);
    eventually(file, || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        (lines.len() >= count).then_some(lines)
    })
}

/// Each text twice: by HTTP/1.1 and by HTTP/2.
fn twice<'t>(texts: &[&'t str]) -> Vec<&'t str> {
    texts.iter().flat_map(|text| [*text, *text]).collect()
}

#[test]
fn each_route_has_the_log_that_it_names() {
    let backend = Backend::serving(|request| {
        let fails = request.line().contains("fail=1");
        if fails { b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_vec() } else { OK.to_vec() }
    });
    let ringate = Setup::to(backend.address())
        .section(LOGS)
        .listener("client_address = { header = \"X-Forwarded-For\", trusted = [\"127.0.0.1\"] }")
        .routes(ROUTES)
        .start();
    let mut client = ringate.client();
    let mut peer = Peer::connect(ringate.address());
    let mut stream = 1;
    let paths = [
        "/",
        "/quiet",
        "/api/a?token=x&b=1",
        "/plain",
        "/failures",
        "/failures?fail=1",
        "/failures/mine",
        "/nowhere%2F",
    ];
    for path in paths {
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n");
        client.send(request).response();
        if path.contains("%2F") {
            break;
        }
        let fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "h"),
            (":path", path),
            ("x-forwarded-for", "192.0.2.7"),
        ];
        peer.send(frame(HEADERS, ES | EH, stream, block(&fields)));
        peer.answer(stream);
        stream += 2;
    }
    let mut main = twice(&["main / 200", "main /failures 500"]);
    main.push("main /nowhere%2F 400");
    assert_eq!(lines(&ringate, "access.log", main.len()), main);
    let api =
        twice(&["api 192.0.2.7 /api/a?token=[redacted]&b=1 200 app", "api 192.0.2.7 /failures/mine 404 -"]);
    assert_eq!(lines(&ringate, "api.log", api.len()), api);
    assert_eq!(lines(&ringate, "plain.log", 2), twice(&["main /plain 200"]));
    // Each file is opened anew.
    for file in ["access.log", "api.log"] {
        std::fs::rename(ringate.dir().join(file), ringate.dir().join(format!("{file}.1"))).unwrap();
    }
    ringate.signal(rustix::process::Signal::USR1);
    eventually("both files", || {
        let mut client = ringate.client();
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response();
        client.send("GET /api HTTP/1.1\r\nHost: h\r\n\r\n").response();
        let there = |file: &str| std::fs::metadata(ringate.dir().join(file)).is_ok_and(|it| it.len() > 0);
        (there("access.log") && there("api.log")).then_some(())
    });
}

#[test]
fn a_share_of_the_requests_has_a_line() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).section(LOGS).routes(ROUTES).start();
    let mut client = ringate.client();
    for _ in 0..400 {
        assert_eq!(client.send("GET /sampled HTTP/1.1\r\nHost: h\r\n\r\n").response().status, 200);
    }
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response();
    let all = eventually("the last line", || {
        let all = lines(&ringate, "access.log", 1);
        all.last().is_some_and(|line| line == "main / 200").then_some(all)
    });
    assert!((80..=121).contains(&all.len()), "{}", all.len());
}

#[test]
fn named_logs_are_there_without_a_main_one() {
    let backend = Backend::replying(OK);
    let logs = LOGS.replace("access = \"access.log\"", "access = \"off\"");
    let ringate = Setup::to(backend.address()).section(&logs).routes(ROUTES).start();
    for path in ["/", "/api", "/plain"] {
        ringate.client().send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")).response();
    }
    assert_eq!(lines(&ringate, "plain.log", 1), ["main /plain 200"]);
    assert_eq!(lines(&ringate, "api.log", 1).len(), 1);
    assert!(!ringate.dir().join("access.log").exists());
}

#[test]
fn the_journal_gets_entries_with_fields() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let journal = UnixDatagram::bind(&path).unwrap();
    journal.set_read_timeout(Some(PATIENCE)).unwrap();
    let backend = Backend::replying(OK);
    let text = Setup::to(backend.address())
        .section(&format!(
            "[log]\naccess = \"journald:{}\"\naccess_format = \"json\"\n[process]\nlandlock = \"on\"\nseccomp = \"on\"",
            path.display()
        ))
        .text();
    let ringate = Ringate::start(&text);
    let receive = || {
        let mut buffer = vec![0; 1 << 20];
        let length = journal.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    ringate.client().send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n").response();
    let entry = receive();
    let fields: Vec<&str> = entry.lines().collect();
    assert!(fields[0].starts_with("MESSAGE={\"time\":\""), "{entry}");
    for field in [
        "PRIORITY=6",
        "SYSLOG_FACILITY=16",
        "SYSLOG_IDENTIFIER=ringate",
        "RINGATE_STATUS=200",
        "RINGATE_METHOD=GET",
        "RINGATE_TARGET=/a",
        "RINGATE_UPSTREAM=app",
    ] {
        assert!(fields.contains(&field), "{field}: {entry}");
    }
    assert!(!entry.contains("RINGATE_FAILURE"), "{entry}");
    drop(ringate);

    // Text has no fields of its own.
    let text = text.replace("\"json\"", "\"{request.path}\"");
    let ringate = Ringate::start(&text);
    ringate.client().send("GET /b HTTP/1.1\r\nHost: h\r\n\r\n").response();
    let entry = receive();
    assert_eq!(entry, "MESSAGE=/b\nPRIORITY=6\nSYSLOG_FACILITY=16\nSYSLOG_IDENTIFIER=ringate\n");
    drop(ringate);

    // What is longer than a datagram arrives whole, in a file.
    let value = "v".repeat(8000);
    let text = text.replace("{request.path}", &"{request.header.x-long}".repeat(100));
    let ringate = Ringate::start(&text);
    let request = |value: &str| format!("GET / HTTP/1.1\r\nHost: h\r\nX-Long: {value}\r\n\r\n");
    ringate.client().send(request(&value)).response();
    let entry = String::from_utf8(receive_file(&journal)).unwrap();
    assert_eq!(
        entry.len(),
        100 * value.len() + "MESSAGE=\nPRIORITY=6\nSYSLOG_FACILITY=16\nSYSLOG_IDENTIFIER=ringate\n".len()
    );
    let message = entry.lines().next().unwrap().strip_prefix("MESSAGE=").unwrap();
    assert!(message == value.repeat(100), "{} bytes", message.len());
    // Others follow as before.
    ringate.client().send(request("s")).response();
    assert!(receive().starts_with(&format!("MESSAGE={}\n", "s".repeat(100))));
}

/// What is in the file of the next datagram, which has no bytes. The file can't be changed.
fn receive_file(socket: &UnixDatagram) -> Vec<u8> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let slices = &mut [std::io::IoSliceMut::new(&mut byte)];
    let received = recvmsg(socket, slices, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
    assert_eq!(received.bytes, 0);
    let mut files = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => files.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    let (Some(file), None) = (files.next(), files.next()) else { panic!("one file") };
    let seals = rustix::fs::fcntl_get_seals(&file).unwrap();
    assert!(seals.contains(rustix::fs::SealFlags::WRITE | rustix::fs::SealFlags::SEAL), "{seals:?}");
    let mut content = Vec::new();
    let mut file = std::fs::File::from(file);
    std::io::Seek::rewind(&mut file).unwrap();
    std::io::Read::read_to_end(&mut file, &mut content).unwrap();
    content
}

#[test]
fn a_log_that_is_not_there_is_an_error() {
    for (routes, logs, wrong) in [
        ("access_log = \"ap\"", LOGS, "did you mean \"api\"?"),
        ("access_log = \"api\"", "", "there is no log called `api`"),
        ("access_log = { sample = 2 }", LOGS, "sample"),
        ("", "[log.named.off]\naccess = \"a.log\"", "could not be named"),
        ("", "[log.named.a]\naccess = \"off\"", "has no use"),
        ("", "[log]\naccess = \"journald:here\"", "did you mean \"journald\"?"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ringate.toml");
        let routes = format!("[[route]]\nupstream = \"app\"\n{routes}");
        let text = Setup::to(free_address()).section(logs).routes(&routes).text();
        std::fs::write(&file, text).unwrap();
        let checked = run(Ringate::command().arg("check").arg("-c").arg(&file));
        let checked = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.contains(wrong), "{routes}: {checked}");
    }
}
