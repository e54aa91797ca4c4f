//! The code of each call in the access log, and the time that a call gives itself.

use std::time::{Duration, Instant};

use super::*;
use crate::http2::peer::{self, Answer, Peer};
use crate::http2_backend::kit::*;

/// Answers by the path: with a code in trailers, in the head, after a while, or never.
fn service() -> Backend {
    backend(&[], |frames, head| {
        let (path, stream) = (head.get(":path").unwrap_or_default().to_owned(), head.stream);
        let begun = [(":status", "200"), ("content-type", "application/grpc")];
        match path.as_str() {
            "/never" => Ok(()),
            "/half" => frames.send(headers(stream, 0, &begun)),
            "/head" => {
                let fields = [begun[0], begun[1], ("grpc-status", "5")];
                frames.send(headers(stream, END_STREAM, &fields))
            }
            code => {
                frames.send(headers(stream, 0, &begun))?;
                frames.send(frame(DATA, 0, stream, b"\0\0\0\0\0"))?;
                frames.send(headers(stream, END_STREAM, &[("grpc-status", &code[1..])]))
            }
        }
    })
}

fn call(client: &mut Peer, stream: u32, path: &str, more: &[(&str, &str)]) -> Answer {
    let mut fields = vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "h"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    fields.extend_from_slice(more);
    client.send(peer::frame(peer::HEADERS, peer::EH | peer::ES, stream, peer::block(&fields)));
    client.answer(stream)
}

fn lines(ringate: &Ringate, count: usize) -> Vec<String> {
    eventually("lines in the access log", || {
        let text = std::fs::read_to_string(ringate.dir().join("access.log")).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        (lines.len() >= count && text.ends_with('\n')).then_some(lines)
    })
}

#[test]
fn the_access_log_has_the_code_of_each_call_in_text_and_json() {
    let service = service();
    let text = "access_format = \"{request.path} {response.status} {grpc.status}\"";
    for format in [text, "access_format = \"json\""] {
        let ringate = Setup::to(service.address())
            .section(&format!("[admin]\n[log]\naccess = \"access.log\"\n{format}"))
            .routes("[[route]]\npath = \"/\"\nupstream = \"app\"\n[[route]]\npath = \"/keys\"\nupstream = \"app\"\nallow = [\"10.0.0.0/8\"]\n[[route]]\npath = \"/dead\"\nupstream = \"dead\"\n[upstream.dead]\nendpoints = [\"127.0.0.1:9\"]\nhttp = \"2\"")
            .listener("")
            .upstream("http = \"2\"")
            .start();
        let mut client = Peer::connect(ringate.address());
        let mut stream = 1;
        for (path, code) in [("/0", "0"), ("/13", "13"), ("/head", "5"), ("/dead", "14"), ("/keys", "7")] {
            let answer = call(&mut client, stream, path, &[]);
            assert_eq!(answer.trailer("grpc-status"), Some(code), "{path}: {answer:?}");
            stream += 2;
        }
        let found = lines(&ringate, 5);
        if format == text {
            assert_eq!(found, ["/0 200 0", "/13 200 13", "/head 200 5", "/dead 502 14", "/keys 403 7"]);
            continue;
        }
        let codes: Vec<_> = found
            .iter()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["grpc_status"].clone())
            .collect();
        assert_eq!(codes, [0, 13, 5, 14, 7].map(serde_json::Value::from));
        // What is no call has none.
        client.send(peer::get(stream));
        client.answer(stream);
        let last: serde_json::Value = serde_json::from_str(&lines(&ringate, 6)[5]).unwrap();
        assert!(last["grpc_status"].is_null());
    }
}

#[test]
fn a_call_lasts_as_long_as_it_gives_itself_and_not_only_to_its_head() {
    let service = service();
    let ringate = Setup::to(service.address())
        .section("[admin]\n[log]\naccess = \"access.log\"\naccess_format = \"{request.path} {response.status} {grpc.status}\"")
        .upstream("http = \"2\"")
        .start();
    let mut client = Peer::connect(ringate.address());
    let begun = Instant::now();
    let answer = call(&mut client, 1, "/never", &[("grpc-timeout", "300m")]);
    assert_eq!((answer.status(), answer.field("grpc-status")), (200, Some("4")));
    let answer = call(&mut client, 3, "/half", &[("grpc-timeout", "300m")]);
    assert_eq!((answer.status(), answer.reset, answer.trailer("grpc-status")), (200, None, Some("4")));
    assert!(begun.elapsed() >= Duration::from_millis(500) && begun.elapsed() < Duration::from_secs(8));
    assert_eq!(lines(&ringate, 2), ["/never 504 4", "/half 200 4"]);
    // One that is over in time is not touched, and a timeout that is none bounds nothing.
    for (stream, timeout) in [(5, "99999999H"), (7, "never")] {
        let answer = call(&mut client, stream, "/0", &[("grpc-timeout", timeout)]);
        assert_eq!(answer.trailer("grpc-status"), Some("0"));
    }
    assert!(client.is_alive());
}
