//! Responses are encoded as their clients like it, while they flow, and never where that would change their meaning.

use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use super::metric;
use crate::support::*;

fn start(backend: &Backend, setting: &str) -> Ringate {
    Setup::to(backend.address())
        .section("[admin]")
        .routes(&format!("[[route]]\nupstream = \"app\"\ncompression = {setting}"))
        .start()
}

fn text() -> String {
    (0..4000).map(|n| format!("line {n}\n")).collect()
}

fn json(fields: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn decode(coding: &str, body: &[u8]) -> String {
    use std::io::Read;
    let mut text = String::new();
    let read = match coding {
        "zstd" => zstd::stream::read::Decoder::new(body).unwrap().read_to_string(&mut text),
        "br" => brotli::Decompressor::new(body, 4096).read_to_string(&mut text),
        _ => flate2::read::GzDecoder::new(body).read_to_string(&mut text),
    };
    read.unwrap();
    text
}

#[test]
fn the_client_chooses_and_gets_the_same_bytes_back() {
    let body = text();
    let response = json("ETag: \"x\"\r\nAccept-Ranges: bytes\r\nVary: Origin\r\n", &body);
    let backend = Backend::replying(response);
    let ringate = start(&backend, "true");
    let mut client = ringate.client();
    for (accept, coding) in
        [("gzip, deflate, br, zstd", "zstd"), ("gzip, deflate, br", "br"), ("gzip;q=0.3, *;q=0", "gzip")]
    {
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: {accept}\r\n\r\n");
        let response = client.send(request).response();
        assert_eq!(response.header("Content-Encoding"), Some(coding));
        assert_eq!(decode(coding, &response.body), body);
        assert!(response.body.len() < body.len() / 3, "{coding}: {}", response.body.len());
        assert_eq!(response.header("ETag"), Some("W/\"x\""));
        assert_eq!((response.header("Content-Length"), response.header("Accept-Ranges")), (None, None));
        assert_eq!(response.headers("Vary"), ["Origin", "Accept-Encoding"]);
    }
    let plain = client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response();
    assert_eq!((plain.text(), plain.header("ETag")), (body.as_str(), Some("\"x\"")));
    assert_eq!(plain.headers("Vary"), ["Origin", "Accept-Encoding"]);
    assert_eq!(metric(&ringate, "responses_encoded"), 3);
    assert_eq!(metric(&ringate, "encodings_open"), 0);
}

#[test]
fn what_must_stay_as_it_is_does() {
    let long = text();
    let cases = [
        ("gzip already", json("Content-Encoding: gzip\r\n", &long)),
        ("on two lines", json("Content-Encoding: identity\r\nContent-Encoding: gzip\r\n", &long)),
        ("not to be changed", json("Cache-Control: public, no-transform\r\n", &long)),
        ("too short", json("", "{}")),
        (
            "an image",
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: {}\r\n\r\n{long}",
                long.len()
            ),
        ),
        (
            "a part",
            format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-{}/100000\r\nContent-Length: {}\r\n\r\n{long}",
                long.len() - 1,
                long.len()
            ),
        ),
    ];
    for (what, wire) in cases {
        let backend = Backend::replying(wire.clone());
        let ringate = start(&backend, "true");
        let response =
            ringate.client().send("GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n").response();
        let body = wire.split_once("\r\n\r\n").unwrap().1;
        assert_eq!(response.text(), body, "{what}");
        assert_eq!(response.header("Content-Length"), Some(body.len().to_string().as_str()), "{what}");
    }
    // HTTP/1.0 has no chunks.
    let backend = Backend::replying(json("", &long));
    let ringate = start(&backend, "true");
    let response = ringate.client().send("GET / HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n").response();
    assert_eq!((response.text(), response.header("Content-Encoding")), (long.as_str(), None));
}

#[test]
fn a_coding_of_identity_gives_way() {
    let backend = Backend::replying(json("Content-Encoding: identity\r\n", &text()));
    let request = "GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n";
    let response = start(&backend, "true").client().send(request).response();
    assert_eq!(response.headers("Content-Encoding"), ["gzip"]);
    assert_eq!(decode("gzip", &response.body), text());
}

#[test]
fn heads_without_a_body_say_what_their_bodies_would() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nETag: \"x\"\r\nContent-Length: 5000\r\n\r\n";
    let backend = Backend::replying(head);
    let ringate = start(&backend, "true");
    let mut client = ringate.client();
    let response =
        client.send("HEAD / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: br\r\n\r\n").response_to_head();
    assert_eq!((response.header("Content-Encoding"), response.header("ETag")), (Some("br"), Some("W/\"x\"")));
    assert_eq!(response.header("Content-Length"), None);
    let backend = Backend::replying("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n");
    let ringate = start(&backend, "true");
    let mut client = ringate.client();
    let request = "GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: br\r\nIf-None-Match: W/\"x\"\r\n\r\n";
    for _ in 0..2 {
        let response = client.send(request).response();
        assert_eq!((response.status, response.header("ETag")), (304, Some("W/\"x\"")));
        assert_eq!(
            (response.header("Vary"), response.header("Content-Encoding")),
            (Some("Accept-Encoding"), None)
        );
    }
}

#[test]
fn events_arrive_as_they_are_sent() {
    let (go, told) = channel::<()>();
    let told = Mutex::new(told);
    let backend = Backend::start(move |connection| {
        connection.request()?;
        connection.send(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        )?;
        for number in 0..3 {
            connection.send(format!("9\r\ndata: {number}\n\n\r\n"))?;
            let _ = told.lock().unwrap().recv();
        }
        connection.send("0\r\n\r\n")
    });
    let ringate = start(&backend, "{ algorithms = [\"gzip\"], types = [\"text/*\"] }");
    let mut client = ringate.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n");
    let head = client.until("\r\n\r\n");
    assert!(head.contains("Content-Encoding: gzip") && head.contains("Transfer-Encoding: chunked"), "{head}");
    let mut chunk = || {
        let size = client.until("\r\n");
        let chunk = client.bytes(usize::from_str_radix(size.trim(), 16).unwrap());
        assert_eq!(client.bytes(2), b"\r\n");
        chunk
    };
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    for number in 0..3 {
        // The event is readable before the backend says another word.
        while !String::from_utf8_lossy(decoder.get_ref()).contains(&format!("data: {number}\n\n")) {
            std::io::Write::write_all(&mut decoder, &chunk()).unwrap();
            std::io::Write::flush(&mut decoder).unwrap();
        }
        go.send(()).unwrap();
    }
    let mut rest = chunk();
    while !rest.is_empty() {
        std::io::Write::write_all(&mut decoder, &rest).unwrap();
        rest = chunk();
    }
    assert!(decoder.finish().is_ok());
}

#[test]
fn bodies_of_every_framing_pass_through_and_curl_agrees() {
    let long = text().repeat(20);
    let copy = long.clone();
    let backend = Backend::start(move |connection| {
        while let Some(request) = connection.request()? {
            let fields = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
            match request.line() {
                "GET /length" => {
                    connection.send(format!("{fields}Content-Length: {}\r\n\r\n{copy}", copy.len()))?;
                }
                "GET /chunked" => {
                    connection.send(format!("{fields}Transfer-Encoding: chunked\r\n\r\n"))?;
                    for part in copy.as_bytes().chunks(10_001) {
                        connection.send(format!("{:x}\r\n", part.len()))?;
                        connection.send(part)?;
                        connection.send("\r\n")?;
                    }
                    connection.send("0\r\n\r\n")?;
                }
                _ => {
                    connection.send(format!("{fields}Connection: close\r\n\r\n{copy}"))?;
                    return Ok(());
                }
            }
        }
        Ok(())
    });
    let ringate = start(&backend, "true");
    for path in ["/length", "/chunked", "/close"] {
        for coding in ["gzip", "br", "zstd"] {
            let mut client = ringate.client();
            let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nAccept-Encoding: {coding}\r\n\r\n");
            let response = client.send(&request).response();
            assert_eq!(response.header("Content-Encoding"), Some(coding));
            assert!(decode(coding, &response.body) == long, "{path} {coding}");
        }
        let output =
            run(Command::new("curl").args(["-sS", "--compressed"]).arg(format!("{}{path}", ringate.url())));
        assert!(output.stdout == long.as_bytes(), "{path}");
    }
}

#[test]
fn a_body_that_is_cut_does_not_end_in_order() {
    let backend = Backend::start(|connection| {
        connection.request()?;
        connection.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5000\r\n\r\nhalf")
    });
    let ringate = start(&backend, "true");
    let mut client = ringate.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n");
    let rest = client.try_rest().unwrap_or_default();
    assert!(!rest.ends_with(b"0\r\n\r\n"));
}

#[test]
fn a_body_that_is_broken_from_its_first_byte_is_502() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
    let backend = Backend::replying(format!("{head}zz\r\n"));
    let ringate = start(&backend, "true");
    for coding in ["gzip", "identity"] {
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: {coding}\r\n\r\n");
        assert_eq!(ringate.client().send(request).response().status, 502, "{coding}");
    }
}

#[test]
fn what_can_not_be_made_true_of_encoded_bytes_is_not_encoded() {
    let body = text();
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n", body.len());
    let ask = "GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n";
    let fields = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n";
    // A digest that is announced for after the body.
    for name in ["Content-Digest", "repr-digest", "Digest", "Content-MD5", "ETag"] {
        let backend =
            Backend::replying(format!("{fields}Trailer: X-A, {name}\r\n\r\n{chunked}{name}: \"x\"\r\n\r\n"));
        let response = start(&backend, "true").client().send(ask).response();
        assert_eq!((response.header("Content-Encoding"), response.text()), (None, &*body), "{name}");
        let wire = String::from_utf8(response.wire).unwrap();
        assert!(wire.ends_with(&format!("\r\n0\r\n{name}: \"x\"\r\n\r\n")), "{name}");
    }
    // One that is not announced is known too late: it goes.
    let trailers = "Content-Digest: x\r\nRepr_Digest: x\r\nETag: \"x\"\r\nX-Kept: 1\r\n\r\n";
    let backend = Backend::replying(format!("{fields}\r\n{chunked}{trailers}"));
    let response = start(&backend, "true").client().send(ask).response();
    assert_eq!(response.header("Content-Encoding"), Some("gzip"));
    assert_eq!(decode("gzip", &response.body), body);
    let wire = &response.wire[response.wire.len() - 20..];
    assert!(wire.ends_with(b"\r\n0\r\nX-Kept: 1\r\n\r\n"), "{}", wire.escape_ascii());
    // An ETag that is none, or several.
    for tags in ["\"invalid", "\"a\", \"b\"", "x", "w/\"x\"", "\"a b\"", "", "\"a\"\r\nETag: \"b\""] {
        let backend = Backend::replying(format!("{fields}ETag: {tags}\r\n\r\n{chunked}\r\n"));
        let response = start(&backend, "true").client().send(ask).response();
        assert_eq!((response.header("Content-Encoding"), response.text()), (None, &*body), "{tags}");
        assert_eq!(response.headers("ETag").join("\r\nETag: "), tags);
    }
}

#[test]
fn a_304_has_the_length_of_what_would_have_been_sent_or_none() {
    let ask = |fields: &str, accept: &str| {
        let backend = Backend::replying(format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n"));
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\n{accept}If-None-Match: \"x\"\r\n\r\n");
        let response = start(&backend, "true").client().send(request).response();
        assert_eq!(response.status, 304);
        ["Content-Length", "ETag"].map(|name| response.header(name).map(str::to_owned))
    };
    let (gzip, strong, weak) = ("Accept-Encoding: gzip\r\n", Some("\"x\"".into()), Some("W/\"x\"".into()));
    let length = |length: &str| Some(length.to_owned());
    let tag = "ETag: \"x\"\r\n";
    for (fields, accept, found) in [
        ("Content-Length: 3000\r\n", gzip, [None, weak.clone()]),
        ("Content-Length: 3000\r\nContent-Type: text/html\r\n", gzip, [None, weak.clone()]),
        ("Content-Length: 3000\r\nContent-Type: text/html\r\n", "", [length("3000"), strong.clone()]),
        // These would not have been encoded.
        ("Content-Length: 3000\r\nContent-Type: image/png\r\n", gzip, [length("3000"), strong.clone()]),
        ("Content-Length: 30\r\n", gzip, [length("30"), strong.clone()]),
        ("Content-Length: 3000\r\nContent-Encoding: br\r\n", gzip, [length("3000"), strong.clone()]),
        ("Content-Length: 3000\r\nCache-Control: no-transform\r\n", gzip, [length("3000"), strong]),
        ("", gzip, [None, weak]),
    ] {
        assert_eq!(ask(&format!("{tag}{fields}"), accept), found, "{fields}");
    }
}
