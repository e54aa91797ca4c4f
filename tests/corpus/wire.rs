//! The corpus through the real binary: a raw client before it, a raw backend behind it.

use std::sync::Arc;

use super::{Outcome, ResponseCase, Then, Verdict, assert_none, one_chunk, requests, responses, shown};
use crate::http::OK;
use crate::support::*;

/// Fields that Ringate sets, which vary; others of its own are passed over.
const VARYING: [&str; 4] = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id"];

/// A message's bytes, of its head as text and its body with its framing.
fn message(head: &str, wire: &[u8]) -> Vec<u8> {
    let mut message: Vec<u8> = head.chars().map(|byte| u8::try_from(byte).unwrap()).collect();
    let body = message.len();
    message.extend_from_slice(wire);
    if head.contains("\r\nTransfer-Encoding: chunked\r\n") { one_chunk(&message, body) } else { message }
}

/// What a backend received, with placeholders for what varies.
fn with_placeholders(request: &Request, backend: &str) -> Vec<u8> {
    let mut head = String::new();
    let mut set = [const { Vec::new() }; 4];
    for line in request.head.strip_suffix("\r\n\r\n").unwrap().split("\r\n") {
        let (name, value) = line.split_once(": ").unwrap_or_default();
        let name = name.to_ascii_lowercase();
        match VARYING.iter().position(|known| *known == name) {
            Some(which) => set[which].push(value),
            None if ["forwarded", "traceparent", "tracestate"].contains(&&*name) => {}
            None => head += &format!("{line}\r\n"),
        }
    }
    assert_eq!(set[0], ["127.0.0.1"], "{}", request.head);
    assert_eq!(set[1], ["http"], "{}", request.head);
    assert!(set[2].len() <= 1 && set[3].len() == 1 && set[3][0].len() >= 16, "{}", request.head);
    head = head.replacen(&format!("\r\nHost: {backend}\r\n"), "\r\nHost: {backend}\r\n", 1);
    let placeholder = set[2].first().map_or("{forwarded}".to_owned(), |host| format!("{{forwarded {host}}}"));
    message(&format!("{head}{placeholder}\r\n\r\n"), &request.wire)
}

#[test]
fn each_request_of_the_corpus_reaches_the_backend_as_it_was_meant_or_not_at_all() {
    let backend = Backend::replying(OK);
    // With HTTP/2 on, its preface begins another protocol.
    let ringate = Setup::to(backend.address()).listener("http.versions = [\"1.1\"]").start();
    let name = backend.address().to_string();
    let (mut faults, mut reached) = (Vec::new(), 0);
    for case in requests() {
        let mut client = ringate.client();
        // A refusal may come, and the connection go, before all is sent.
        let _ = client.try_send(&case.sent);
        let mut fault = |what: String| faults.push(format!("{}: {what}", case.name));
        for verdict in &case.verdicts {
            match verdict {
                Verdict::Forwarded { keep, bytes } => {
                    let response = client.response();
                    if response.status != 200 {
                        fault(format!("not forwarded: {}", response.head));
                        break;
                    }
                    reached += 1;
                    let found = with_placeholders(&backend.request(), &name);
                    if found != *bytes {
                        fault(format!("expected\n{}\nfound\n{}", shown(bytes), shown(&found)));
                    }
                    let says = response.header("Connection") != Some("close");
                    if says != *keep {
                        fault(format!("the client's connection is kept: {says}"));
                    }
                    if !keep {
                        client.ends();
                    }
                }
                Verdict::Refused { status, .. } => {
                    let response = client.response();
                    if (response.status, response.header("Connection")) != (*status, Some("close")) {
                        fault(format!("not refused with {status}: {}", response.head));
                    }
                    client.ends();
                }
                Verdict::Waits => {
                    client.finish_sending();
                    client.ends();
                }
            }
        }
        if matches!(case.verdicts.last(), Some(Verdict::Forwarded { keep: true, .. })) {
            client.send("GET /probe HTTP/1.1\r\nHost: h\r\n\r\n").response();
            reached += 1;
            assert_eq!(backend.request().line(), "GET /probe", "{}: out of step", case.name);
        }
        assert_eq!(backend.requests(), reached, "{}: requests at the backend", case.name);
    }
    assert_none(&faults);
}

/// Answers `/NUMBER` with a case's bytes, and all else in order.
fn answering(cases: Arc<Vec<ResponseCase>>) -> Backend {
    Backend::start(move |connection| {
        loop {
            let head = connection.head()?;
            let path = head.split(' ').nth(1).unwrap();
            let Ok(number) = path[1..].parse::<usize>() else {
                connection.send(OK)?;
                continue;
            };
            let case = &cases[number];
            connection.send(&case.sent)?;
            match case.then {
                Then::Waits => {}
                Then::Ends => return Ok(()),
                Then::Resets => return connection.reset(),
            }
        }
    })
}

#[test]
fn each_response_of_the_corpus_reaches_the_client_as_it_was_meant_or_not_at_all() {
    let cases = Arc::new(responses());
    let backend = answering(Arc::clone(&cases));
    let ringate = Setup::to(backend.address()).start();
    let mut faults = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let mut client = ringate.client();
        let asked = String::from_utf8(case.request.clone()).unwrap().replace("{}", &number.to_string());
        client.send(&asked);
        let mut fault = |what: String| faults.push(format!("{}: {what}", case.name));
        if matches!(case.outcome, Outcome::Cut | Outcome::Tunnel) {
            let raw = client.try_rest().unwrap_or_default();
            let body = raw.windows(4).position(|end| end == b"\r\n\r\n").map_or(0, |at| at + 4);
            let found = message(&String::from_utf8_lossy(&raw[..body]), &raw[body..]);
            // What a reset leaves of a response is less, never more.
            if !(case.then == Then::Resets && case.seen.starts_with(&found)) && found != case.seen {
                fault(format!("expected\n{}\nfound\n{}", shown(&case.seen), shown(&found)));
            }
            backend.await_ended(backend.connections());
            continue;
        }
        let mut found = Vec::new();
        let last = loop {
            let response =
                if asked.starts_with("HEAD ") { client.response_to_head() } else { client.response() };
            if response.status >= 200 {
                break response;
            }
            found.extend(message(&response.head, &response.wire));
        };
        let mut ends = false;
        match case.outcome {
            Outcome::Passed { client_keeps, .. } => {
                found.extend(message(&last.head, &last.wire));
                ends = !client_keeps;
            }
            _ if last.status == 502 && last.header("Connection") == Some("close") => ends = true,
            _ => fault(format!("no 502: {}", last.head)),
        }
        if found != case.seen {
            fault(format!("expected\n{}\nfound\n{}", shown(&case.seen), shown(&found)));
        }
        if ends {
            client.ends();
            client = ringate.client();
        }
        let kept = matches!(case.outcome, Outcome::Passed { backend_keeps: true, .. });
        let before = backend.connections();
        if !kept {
            backend.await_ended(before);
        }
        // The next response is the next request's own.
        let probe = client.send("GET /probe HTTP/1.1\r\nHost: h\r\n\r\n").response();
        assert_eq!((probe.status, probe.text()), (200, "ok"), "{}: out of step", case.name);
        if kept != (backend.connections() == before) {
            fault(format!("the backend's connection is kept: {}", !kept));
        }
    }
    assert_none(&faults);
}
