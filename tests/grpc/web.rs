//! gRPC-Web, both media types, from clients of HTTP/1.1 and HTTP/2 to a backend of gRPC.

use std::io;

use data_encoding::BASE64;

use super::*;
use crate::http2::peer::{self, Peer};
use crate::http2_backend::kit::*;

/// Three frames of gRPC.
const MESSAGES: [&[u8]; 3] = [b"\0\0\0\0\x05first", b"\0\0\0\0\0", b"\0\0\0\0\x03end"];
const OK_TRAILERS: &[u8] = b"\x80\0\0\0\x22grpc-status:0\r\ngrpc-message:fine\r\n";

/// Answers a call with what it got: its fields in the response's, and its messages.
fn service() -> Backend {
    backend(&[], |frames, head| {
        let (body, _) = frames.body(&head)?;
        let get = |name: &str| head.get(name).unwrap_or("-").to_owned();
        let (kind, te, length) = (get("content-type"), get("te"), get("content-length"));
        let stream = head.stream;
        match head.get(":path") {
            Some("/trailers-only") => {
                let fields = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "7")];
                return frames.send(headers(stream, END_STREAM, &fields));
            }
            Some("/no-grpc") => {
                let fields = [(":status", "503"), ("content-type", "text/plain")];
                frames.send(headers(stream, 0, &fields))?;
                return frames.send(frame(DATA, END_STREAM, stream, b"busy"));
            }
            Some("/dies") => return Err(io::ErrorKind::ConnectionReset.into()),
            _ => {}
        }
        let response_type = kind.clone();
        let fields = [
            (":status", "200"),
            ("content-type", response_type.as_str()),
            ("x-type", kind.as_str()),
            ("x-te", te.as_str()),
            ("x-length", length.as_str()),
        ];
        frames.send(headers(stream, 0, &fields))?;
        frames.send(frame(DATA, 0, stream, &body))?;
        frames.send(headers(stream, END_STREAM, &[("grpc-status", "0"), ("grpc-message", "fine")]))
    })
}

fn before_service(backend: &Backend, route: &str) -> Ringate {
    Setup::to(backend.address())
        .section("[admin]\n[log]\naccess = \"access.log\"\naccess_format = \"{request.path} {response.status} {grpc.status}\"")
        .routes(&format!("[[route]]\nupstream = \"app\"\ngrpc_web = true\n{route}"))
        .upstream("http = \"2\"")
        .start()
}

fn post(path: &str, kind: &str, more: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{more}\r\n"
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

#[test]
fn a_binary_call_by_http1_is_one_of_grpc_to_the_backend() {
    let service = service();
    let ringate = before_service(&service, "");
    let mut client = ringate.client();
    for (kind, grpc) in [
        ("application/grpc-web+proto", "application/grpc+proto"),
        ("application/grpc-web", "application/grpc"),
        ("application/grpc-web+json; charset=utf-8", "application/grpc+json"),
    ] {
        let response = client.send(post("/a.B/C", kind, "", &MESSAGES.concat())).response();
        assert_eq!(response.status, 200, "{}", response.head);
        assert_eq!(response.header("x-type"), Some(grpc));
        assert_eq!(response.header("x-te"), Some("trailers"));
        assert_eq!(response.header("x-length"), Some("23"));
        let coding = if grpc.ends_with("json") { "json" } else { "proto" };
        assert_eq!(response.header("content-type"), Some(&*format!("application/grpc-web+{coding}")));
        assert_eq!(response.body, [&MESSAGES.concat(), OK_TRAILERS].concat());
    }
}

/// Decodes what may be padded within.
fn decoded(text: &[u8]) -> Vec<u8> {
    BASE64.decode(text).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(text)))
}

#[test]
fn a_text_call_by_http1_is_decoded_and_its_response_encoded() {
    let service = service();
    let ringate = before_service(&service, "");
    let mut client = ringate.client();
    let whole = BASE64.encode(&MESSAGES.concat());
    let each: String = MESSAGES.iter().map(|message| BASE64.encode(message)).collect();
    for text in [whole, each.clone()] {
        let request = post("/a.B/C", "application/grpc-web-text", "", text.as_bytes());
        let response = client.send(request).response();
        assert_eq!(response.header("content-type"), Some("application/grpc-web-text+proto"));
        assert_eq!(response.header("x-length"), Some("-"), "its length is another one");
        assert_eq!(decoded(&response.body), [&MESSAGES.concat(), OK_TRAILERS].concat());
    }
    // In parts that end within groups, each of them in a chunk of its own.
    client.send("POST /a.B/C HTTP/1.1\r\nHost: h\r\nContent-Type: application/grpc-web-text\r\nTransfer-Encoding: chunked\r\n\r\n");
    for part in each.as_bytes().chunks(5) {
        client.send(format!("{:x}\r\n", part.len())).send(part).send("\r\n");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let response = client.send("0\r\n\r\n").response();
    assert_eq!(decoded(&response.body), [&MESSAGES.concat(), OK_TRAILERS].concat());
    // A binary call may want text, and the other way round.
    let accept = "Accept: application/grpc-web-text\r\n";
    let response = client.send(post("/a.B/C", "application/grpc-web", accept, MESSAGES[0])).response();
    assert_eq!(decoded(&response.body), [MESSAGES[0], OK_TRAILERS].concat());
    let accept = "Accept: application/grpc-web+proto\r\n";
    let text = BASE64.encode(MESSAGES[0]);
    let response =
        client.send(post("/a.B/C", "application/grpc-web-text+proto", accept, text.as_bytes())).response();
    assert_eq!(response.body, [MESSAGES[0], OK_TRAILERS].concat());
}

#[test]
fn text_that_is_no_base64_reaches_no_service() {
    let service = service();
    let ringate = before_service(&service, "");
    for body in ["AAAAA", "A A=", "====", "AAAA\r\n"] {
        let response =
            ringate.client().send(post("/bad", "application/grpc-web-text", "", body.as_bytes())).response();
        assert_eq!((response.status, response.header("grpc-status")), (200, Some("13")), "{body}");
        assert_eq!(response.header("content-type"), Some("application/grpc-web-text+proto"));
    }
    // Only its later part is wrong: the call has begun.
    let mut client = ringate.client();
    client.send("POST /late HTTP/1.1\r\nHost: h\r\nContent-Type: application/grpc-web-text\r\nContent-Length: 12\r\n\r\nAAAA");
    std::thread::sleep(std::time::Duration::from_millis(50));
    let response = client.send("not base64").response();
    assert_eq!(response.header("grpc-status"), Some("13"));
}

#[test]
fn a_call_by_http2_is_translated_as_well() {
    let service = service();
    let ringate = before_service(&service, "");
    let mut client = Peer::connect(ringate.address());
    for (stream, kind, text) in [(1, "application/grpc-web", false), (3, "application/grpc-web-text", true)] {
        client.send(peer::post(stream, &[("content-type", kind)]));
        let body = MESSAGES.concat();
        let body = if text { BASE64.encode(&body).into_bytes() } else { body };
        let (first, rest) = body.split_at(7);
        client.send(peer::frame(peer::DATA, 0, stream, first));
        client.send(peer::frame(peer::DATA, peer::ES, stream, rest));
        let answer = client.answer(stream);
        assert_eq!((answer.status(), answer.heads.len()), (200, 1), "no trailers: {answer:?}");
        let content = if text { decoded(&answer.body) } else { answer.body.clone() };
        assert_eq!(content, [&MESSAGES.concat(), OK_TRAILERS].concat());
        assert_eq!(answer.field("x-type"), Some("application/grpc"));
    }
}

#[test]
fn messages_of_a_stream_arrive_one_by_one() {
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let service = backend(&[], move |frames, head| {
        frames.body(&head)?;
        let fields = [(":status", "200"), ("content-type", "application/grpc")];
        frames.send(headers(head.stream, 0, &fields))?;
        for message in MESSAGES {
            let _ = gone.lock().unwrap().recv();
            frames.send(frame(DATA, 0, head.stream, message))?;
        }
        let _ = gone.lock().unwrap().recv();
        frames.send(headers(head.stream, END_STREAM, &[("grpc-status", "0")]))
    });
    let ringate = before_service(&service, "");
    for kind in ["application/grpc-web", "application/grpc-web-text"] {
        let mut client = ringate.client();
        client.send(post("/stream", kind, "", b""));
        // The head is there before any message is.
        assert!(client.until("\r\n\r\n").starts_with("HTTP/1.1 200 "));
        let mut content = Vec::new();
        for message in MESSAGES
            .iter()
            .map(|message| message.to_vec())
            .chain([b"\x80\0\0\0\x0fgrpc-status:0\r\n".to_vec()])
        {
            go.send(()).unwrap();
            let size = client.until("\r\n");
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            let chunk = client.bytes(size);
            client.bytes(2);
            content = if kind.ends_with("text") { decoded(&chunk) } else { chunk };
            assert_eq!(content, message);
        }
        assert_eq!(client.until("\r\n\r\n"), "0\r\n\r\n");
        assert!(content.starts_with(&[0x80]));
    }
}

#[test]
fn failures_and_what_is_no_call_have_the_form_that_clients_read() {
    let service = service();
    let ringate = before_service(&service, "[[route]]\npath = \"/plain\"\nupstream = \"app\"");
    let call = |path: &str, kind: &str| {
        let text = kind.contains("text");
        let body = if text { BASE64.encode(MESSAGES[0]).into_bytes() } else { MESSAGES[0].to_vec() };
        ringate.client().send(post(path, kind, "", &body)).response()
    };
    // What the service says without a message is in the head.
    let response = call("/trailers-only", "application/grpc-web-text");
    assert_eq!((response.status, response.header("grpc-status")), (200, Some("7")));
    assert_eq!(response.header("content-type"), Some("application/grpc-web-text+proto"));
    assert_eq!(response.body, b"");
    // What is no response of gRPC passes as it is.
    let response = call("/no-grpc", "application/grpc-web");
    assert_eq!((response.status, response.text()), (503, "busy"));
    // A failure of Ringate's own.
    let response = call("/dies", "application/grpc-web");
    assert_eq!((response.status, response.header("grpc-status")), (200, Some("14")));
    assert_eq!(response.header("content-type"), Some("application/grpc-web+proto"));
    // Other requests, and other routes, are not touched.
    let other = ringate.client().send(post("/a.B/C", "text/plain", "", b"x")).response();
    assert_eq!((other.header("x-type"), other.header("x-te")), (Some("text/plain"), Some("-")));
    let other = call("/plain", "application/grpc-web");
    assert_eq!(other.header("x-type"), Some("application/grpc-web"));
    let lines = eventually("the access log", || {
        let text = std::fs::read_to_string(ringate.dir().join("access.log")).unwrap_or_default();
        (text.lines().count() == 5).then_some(text)
    });
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(
        lines,
        ["/trailers-only 200 7", "/no-grpc 503 -", "/dies 502 14", "/a.B/C 200 -", "/plain 200 -"]
    );
}

#[test]
fn a_page_of_another_origin_may_call_by_the_rules_of_cors() {
    let service = service();
    let cors = "cors = { origins = [\"https://app.example\"], methods = [\"POST\"], headers = [\"content-type\", \"x-grpc-web\"], expose = [\"grpc-status\", \"grpc-message\"] }";
    let ringate = before_service(&service, cors);
    let mut client = ringate.client();
    let preflight = client
        .send(
            "OPTIONS /a.B/C HTTP/1.1\r\nHost: h\r\nOrigin: https://app.example\r\nAccess-Control-Request-Method: POST\r\n\
             Access-Control-Request-Headers: content-type,x-grpc-web\r\n\r\n",
        )
        .response();
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(preflight.header("access-control-allow-headers"), Some("content-type, x-grpc-web"));
    let origin = "Origin: https://app.example\r\nX-Grpc-Web: 1\r\n";
    for path in ["/a.B/C", "/trailers-only", "/dies"] {
        let response = client.send(post(path, "application/grpc-web", origin, MESSAGES[0])).response();
        assert_eq!(response.status, 200, "{path}");
        assert_eq!(response.header("access-control-allow-origin"), Some("https://app.example"), "{path}");
        assert_eq!(response.header("access-control-expose-headers"), Some("grpc-status, grpc-message"));
        if path == "/dies" {
            break;
        }
    }
}

#[test]
fn long_messages_pass_both_ways_in_both_forms() {
    let service = service();
    let ringate = before_service(&service, "");
    let mut message = b"\0\0\x0f\x42\x40".to_vec();
    message.extend((0..1_000_000).map(|at: u32| (at * 7 + at / 251) as u8));
    // The kit sends it in one frame, so the limit of frames is the limit here.
    let message = &message[..16_000];
    for kind in ["application/grpc-web", "application/grpc-web-text"] {
        let text = kind.ends_with("text");
        let body = if text { BASE64.encode(message).into_bytes() } else { message.to_vec() };
        let response = ringate.client().send(post("/a.B/C", kind, "", &body)).response();
        let content = if text { decoded(&response.body) } else { response.body };
        assert!(content == [message, OK_TRAILERS].concat(), "{kind}: {} bytes", content.len());
    }
}

#[test]
fn a_route_without_http2_behind_it_is_a_mistake_in_the_config() {
    let config = Setup::to(free_address()).routes("[[route]]\nupstream = \"app\"\ngrpc_web = true").text();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ringate.toml"), config).unwrap();
    let output = run(Ringate::command().arg("check").arg("-c").arg(dir.path().join("ringate.toml")));
    let text =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && text.contains("write `http = \"2\"` in [upstream.app]"), "{text}");
}
