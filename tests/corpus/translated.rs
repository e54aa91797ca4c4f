//! The corpus through the translation between HTTP/1.1 and HTTP/2: its messages as fields and DATA of a stream to backends of
//! HTTP/1.1, as they are to backends of HTTP/2, and its responses as fields of a backend's stream to clients of HTTP/1.1.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use super::{Verdict, assert_none, requests, responses, shown};
use crate::http::OK;
use crate::http2::peer::{self, Peer};
use crate::http2_backend::kit;
use crate::support::*;

/// Fields that Ringate sets.
const OWN: [&str; 4] = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id"];
/// Fields that a version writes by itself.
const FRAMING: [&str; 4] = ["host", "content-length", "transfer-encoding", "connection"];

type Bytes = Vec<u8>;
/// Names and values.
type Fields = Vec<(Bytes, Bytes)>;

/// A message taken apart as loosely as may be: its first line, its fields with their names in lower case, and the rest.
fn parts(message: &[u8]) -> Option<(Bytes, Fields, Bytes)> {
    let end = message.windows(4).position(|end| end == b"\r\n\r\n")?;
    let head: Vec<Bytes> = split(&message[..end], b"\r\n");
    let fields = head[1..].iter().map(|line| {
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        (line[..colon].to_ascii_lowercase(), value.strip_prefix(b" ").unwrap_or(value).to_vec())
    });
    Some((head[0].clone(), fields.collect(), message[end + 4..].to_vec()))
}

fn split(bytes: &[u8], at: &[u8]) -> Vec<Bytes> {
    let (mut rest, mut all) = (bytes, Vec::new());
    while let Some(end) = rest.windows(at.len()).position(|part| part == at) {
        all.push(rest[..end].to_vec());
        rest = &rest[end + at.len()..];
    }
    all.push(rest.to_vec());
    all
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A header block of literals, whatever is in them.
fn block(fields: &[(Bytes, Bytes)]) -> Bytes {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            let mut length = text.len();
            if length < 127 {
                bytes.push(length as u8);
            } else {
                bytes.push(127);
                length -= 127;
                while length >= 128 {
                    bytes.push((length % 128 + 128) as u8);
                    length /= 128;
                }
                bytes.push(length as u8);
            }
            bytes.extend_from_slice(text);
        }
    }
    bytes
}

/// Frames of a message on a stream.
fn frames(stream: u32, fields: &[(Bytes, Bytes)], content: &[u8]) -> Bytes {
    const MOST: usize = 16_000;
    let block = block(fields);
    let mut pieces = block.chunks(MOST).peekable();
    let mut bytes = Vec::new();
    let end = if content.is_empty() { peer::ES } else { 0 };
    let mut kind = (peer::HEADERS, end);
    while let Some(piece) = pieces.next() {
        let last = if pieces.peek().is_none() { peer::EH } else { 0 };
        bytes.extend(peer::frame(kind.0, kind.1 | last, stream, piece));
        kind = (9, 0);
    }
    let mut pieces = content.chunks(MOST).peekable();
    while let Some(piece) = pieces.next() {
        let last = if pieces.peek().is_none() { peer::ES } else { 0 };
        bytes.extend(peer::frame(peer::DATA, last, stream, piece));
    }
    bytes
}

/// The status of a stream's response, or 0 where it was reset or its connection ended.
fn status(client: &mut Peer, stream: u32) -> u16 {
    let mut status = 0;
    while let Some(frame) = client.frame() {
        match frame.kind {
            peer::HEADERS => {
                let fields = client.fields(&frame.payload);
                let found = fields.iter().find(|(name, _)| name == ":status").unwrap();
                status = found.1.parse().unwrap();
            }
            peer::RST_STREAM | peer::GOAWAY => return status,
            _ => {}
        }
        if frame.stream == stream && frame.ends() {
            break;
        }
    }
    status
}

/// What is wrong with a request that a backend has received, of which the content was this.
fn wrong_with(request: &Request, content: &[u8]) -> Option<String> {
    let mut framings = 0;
    for line in request.head.strip_suffix("\r\n\r\n")?.split("\r\n").skip(1) {
        let Some((name, value)) = line.split_once(": ") else { return Some(format!("no field: {line:?}")) };
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) || value.contains(['\r', '\n', '\0']) {
            return Some(format!("no field: {line:?}"));
        }
        let name = name.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        framings += usize::from(matches!(&*name, "content-length" | "transfer-encoding"));
    }
    match () {
        () if framings > 1 || framings == 0 && !content.is_empty() => Some(format!("{framings} framings")),
        () if request.body != content => Some(format!("content {:?}", shown(&request.body))),
        () => None,
    }
}

#[test]
fn requests_as_fields_of_a_stream_are_one_request_to_an_http1_backend_or_none() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).start();
    let (mut faults, mut reached, mut refused) = (Vec::new(), 0, 0);
    for case in requests() {
        let Some((line, mut fields, content)) = parts(&case.sent) else { continue };
        let words = split(&line, b" ");
        let path = words.get(1..words.len().saturating_sub(1)).unwrap_or_default().join(&b' ');
        // With Host as a field beside `:authority`, and in its place.
        for keeps_host in [true, false] {
            let host = fields.iter().find(|(name, _)| name == b"host").map(|(_, host)| host.clone());
            if !keeps_host {
                fields.retain(|(name, _)| name != b"host");
            }
            let mut all: Vec<(Bytes, Bytes)> =
                [(":method", words[0].as_slice()), (":scheme", b"http"), (":path", &path)]
                    .map(|(name, value)| (name.into(), value.to_vec()))
                    .into();
            all.extend(host.clone().map(|host| (b":authority".to_vec(), host)));
            all.extend(fields.iter().cloned());
            let mut client = Peer::connect(ringate.address());
            client.name = "a case of the corpus";
            client.send(frames(1, &all, &content));
            let status = status(&mut client, 1);
            let fault = match status {
                200 if backend.requests() > reached => {
                    reached += 1;
                    wrong_with(&backend.request(), &content)
                }
                // 200: of Ringate's own, to OPTIONS that go no further.
                0 | 200 | 400..=431 | 501 => {
                    refused += 1;
                    None
                }
                status => Some(format!("status {status}")),
            };
            // Nothing is left of it for the next request.
            let probe = ringate.get("/probe");
            reached += 1;
            assert_eq!((probe.text(), backend.request().line()), ("ok", "GET /probe"), "{}", case.name);
            let fault = fault.or((backend.requests() != reached).then(|| "another request".to_owned()));
            faults.extend(fault.map(|what| format!("{}: {what}", case.name)));
        }
    }
    assert_none(&faults);
    assert!(reached > 500 && refused > 300, "{reached} {refused}");
}

/// A request's meaning, whatever version carries it.
#[derive(Debug, PartialEq, Eq)]
struct Meaning {
    line: String,
    authority: String,
    fields: BTreeSet<(String, String)>,
    body: Bytes,
    trailers: BTreeSet<(String, String)>,
}

/// That of the bytes that an HTTP/1.1 backend would get, with placeholders.
fn meant(bytes: &[u8], backend: &str) -> Meaning {
    let (line, fields, body) = parts(bytes).unwrap();
    let fields: Vec<(String, String)> =
        fields.iter().map(|(name, value)| (text(name), text(value).trim().to_owned())).collect();
    let get = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let (mut content, mut trailers) = (body.clone(), BTreeSet::new());
    if get("transfer-encoding").is_some() {
        // The corpus shows it as one chunk.
        let head = split(&body, b"\r\n")[0].clone();
        let size = usize::from_str_radix(&text(&head), 16).unwrap();
        content = body[head.len() + 2..][..size].to_vec();
        let rest = &body[if size == 0 { 0 } else { head.len() + 2 + size + 2 }..];
        for line in split(rest, b"\r\n").iter().skip(1).filter(|line| !line.is_empty()) {
            let line = text(line);
            let (name, value) = line.split_once(':').unwrap();
            trailers.insert((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let authority = get("host").unwrap_or_default().replace("{backend}", backend);
    let fields = fields.into_iter().filter(|(name, _)| !name.starts_with('{') && !FRAMING.contains(&&**name));
    let line = text(&line).trim_end_matches(" HTTP/1.1").to_owned();
    Meaning { line, authority, fields: fields.collect(), body: content, trailers }
}

fn received(head: &kit::Head, body: Bytes, trailers: &kit::Head) -> Meaning {
    let get = |name: &str| head.get(name).unwrap_or_default().to_owned();
    let is_own = |name: &str| name.starts_with(':') || OWN.contains(&name) || name == "content-length";
    let fields = head.fields.iter().filter(|(name, _)| !is_own(name));
    Meaning {
        line: format!("{} {}", get(":method"), get(":path")),
        authority: get(":authority"),
        fields: fields.cloned().collect(),
        body,
        trailers: trailers.fields.iter().cloned().collect(),
    }
}

#[test]
fn requests_mean_the_same_to_an_http2_backend_as_to_one_of_http1() {
    let got: Arc<Mutex<VecDeque<(kit::Head, Bytes, kit::Head)>>> = Arc::default();
    let keep = Arc::clone(&got);
    let backend = kit::backend(&[], move |frames, head| {
        // A request that its client leaves half sent is reset.
        let Ok((body, trailers)) = frames.body(&head) else { return Ok(()) };
        let stream = head.stream;
        keep.lock().unwrap().push_back((head, body, trailers));
        frames.send(kit::ok(stream, "ok"))
    });
    let ringate =
        Setup::to(backend.address()).listener("http.versions = [\"1.1\"]").upstream("http = \"2\"").start();
    let name = backend.address().to_string();
    let (mut faults, mut passed) = (Vec::new(), 0);
    // What changes the protocol has rules of its own.
    let upgrades = |verdict: &Verdict| match verdict {
        Verdict::Forwarded { bytes, .. } => text(bytes).contains("\r\nUpgrade: "),
        _ => false,
    };
    for case in requests().into_iter().filter(|case| !case.verdicts.iter().any(upgrades)) {
        let mut client = ringate.client();
        let _ = client.try_send(&case.sent);
        let mut fault = |what: String| faults.push(format!("{}: {what}", case.name));
        for verdict in &case.verdicts {
            match verdict {
                Verdict::Forwarded { bytes, .. } => {
                    let response = client.response();
                    let Some((head, body, trailers)) = got.lock().unwrap().pop_front() else {
                        fault(format!("not forwarded: {}", response.head));
                        break;
                    };
                    passed += 1;
                    let length = head.get("content-length").map(|length| length.parse::<usize>().unwrap());
                    if length.is_some_and(|length| length != body.len()) {
                        fault(format!("{length:?} of {} bytes", body.len()));
                    }
                    let (meant, found) = (meant(bytes, &name), received(&head, body, &trailers));
                    if meant != found {
                        fault(format!("expected\n{meant:#?}\nfound\n{found:#?}"));
                    }
                }
                Verdict::Refused { status, .. } => {
                    let response = client.response();
                    if response.status != *status {
                        fault(format!("not refused with {status}: {}", response.head));
                    }
                }
                Verdict::Waits => {
                    client.finish_sending();
                    client.ends();
                }
            }
        }
        assert!(got.lock().unwrap().is_empty(), "{}: another request", case.name);
    }
    assert_none(&faults);
    assert!(passed > 200, "{passed}");
}

/// Reads a head, whatever bytes are in it.
fn head_of(client: &mut Client) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.bytes(1));
    }
    text(&head)
}

/// Reads a body in chunks.
fn chunks_of(client: &mut Client) -> std::io::Result<Bytes> {
    let mut body = Vec::new();
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(client.try_bytes(1)?);
        }
        let size = usize::from_str_radix(text(&line).trim(), 16).unwrap();
        body.extend(client.try_bytes(size)?);
        client.try_bytes(2)?;
        if size == 0 {
            return Ok(body);
        }
    }
}

#[test]
fn responses_as_fields_of_a_stream_are_one_response_to_an_http1_client_or_502() {
    let cases: Vec<_> =
        responses().into_iter().filter_map(|case| Some((case.name, parts(&case.sent)?))).collect();
    let cases = Arc::new(cases);
    let shared = Arc::clone(&cases);
    let backend = kit::backend(&[], move |backend, head| {
        backend.body(&head)?;
        let Ok(number) = head.get(":path").unwrap_or_default()[1..].parse::<usize>() else {
            return backend.send(kit::ok(head.stream, "probe"));
        };
        let (_, (line, fields, content)) = &shared[number];
        let code = split(line, b" ").get(1).cloned().unwrap_or_default();
        let mut all = vec![(b":status".to_vec(), code)];
        all.extend(fields.iter().cloned());
        let content = if head.get(":method") == Some("HEAD") { &[][..] } else { content };
        backend.send(frames(head.stream, &all, content))
    });
    let ringate = Setup::to(backend.address()).upstream("http = \"2\"").start();
    let (mut faults, mut passed, mut refused) = (Vec::new(), 0, 0);
    for (number, (name, (_, _, content))) in cases.iter().enumerate() {
        for method in ["GET", "HEAD"] {
            let mut client = ringate.client();
            client.send(format!("{method} /{number} HTTP/1.1\r\nHost: h\r\n\r\n"));
            let head = head_of(&mut client);
            let mut fault = |what: String| faults.push(format!("{name}: {what}"));
            let status: u16 = head[9..12].parse().unwrap();
            if status == 502 {
                refused += 1;
                continue;
            }
            if status < 200 {
                // The stream has ended with its interim response, or the other response is its content.
                let response = client.try_response();
                assert!(
                    matches!(&response, Ok(it) if it.status == 502),
                    "{name}, {method}: {head} {response:?}"
                );
                continue;
            }
            passed += 1;
            for line in head.strip_suffix("\r\n\r\n").unwrap().split("\r\n").skip(1) {
                if line.split_once(": ").is_none() && !line.ends_with(':')
                    || line.contains(['\r', '\n', '\0'])
                {
                    fault(format!("no field: {line:?}"));
                }
            }
            let none = method == "HEAD" || matches!(status, 204 | 304);
            let lower = head.to_ascii_lowercase();
            let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
            let chunked = lower.contains("\r\ntransfer-encoding: chunked\r\n");
            let body = match (none, length) {
                (true, _) => Ok(Vec::new()),
                (false, Some(length)) => client.try_bytes(length.parse().unwrap()),
                (false, None) if chunked => chunks_of(&mut client),
                (false, None) => client.try_rest(),
            };
            // What breaks its own length is cut, so that it does not pass for whole.
            let Ok(body) = body else { continue };
            // What is behind a length is dropped, and costs the connection.
            let is_all = body == *content || length.is_some() && content.starts_with(&body);
            if !none && !is_all {
                fault(format!("content {:?}", shown(&body)));
            }
            if !none && length.is_none() && !chunked || lower.contains("\r\nconnection: close\r\n") {
                continue;
            }
            // Content where none may be costs the connection; nothing of it may pass for the next response.
            let _ = client.try_send("GET /probe HTTP/1.1\r\nHost: h\r\n\r\n");
            if let Ok(probe) = client.try_response() {
                assert_eq!(probe.text(), "probe", "{name}: out of step");
            }
        }
    }
    assert_none(&faults);
    assert!(passed > 50 && refused > 100, "{passed} {refused}");
}
