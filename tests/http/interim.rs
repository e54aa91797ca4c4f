//! Interim responses pass through, and a final one may come before the request has been sent.

use std::sync::mpsc::channel;
use std::time::Duration;

use super::OK;
use crate::support::*;

const ASKING: &str = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";

#[test]
fn a_client_that_waits_for_100_gets_it_from_the_backend() {
    let backend = Backend::start(|connection| {
        let head = connection.head()?;
        assert!(head.contains("\r\nExpect: 100-continue\r\n"), "{head}");
        connection.send("HTTP/1.1 100 Continue\r\n\r\n")?;
        assert_eq!(connection.bytes(5)?, b"hello");
        connection.send(OK)?;
        connection.request().map(drop)
    });
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    client.send(ASKING);
    assert_eq!(client.response().head, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hello");
    assert_eq!(client.response().text(), "ok");
    // The connection is good for more.
    client.send("GET /next HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(backend.request().line(), "GET /next");
}

#[test]
fn a_final_answer_instead_of_100_reaches_the_client_at_once() {
    for status in ["417 Expectation Failed", "200 OK", "401 Unauthorized"] {
        let backend = Backend::start(move |connection| {
            connection.head()?;
            connection.send(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno"))?;
            connection.rest().map(drop)
        });
        let ringate = Setup::to(backend.address()).start();
        let mut client = ringate.client();
        let response = client.send(ASKING).response();
        assert!(response.head.starts_with(&format!("HTTP/1.1 {status}\r\n")));
        // It is unknown whether the body will follow: the connections are not used again.
        assert_eq!((response.header("Connection"), response.text()), (Some("close"), "no"));
        client.closes();
        backend.await_ended(1);
        assert!(backend.received(0).ends_with(b"\r\n\r\n"), "no byte of a body");
    }
}

#[test]
fn a_client_need_not_wait_for_100() {
    let backend = Backend::start(|connection| {
        connection.request()?;
        connection.send("HTTP/1.1 100 Continue\r\n\r\n")?;
        connection.send(OK)
    });
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    client.send(format!("{ASKING}hello"));
    assert_eq!(client.response().status, 100);
    assert_eq!(client.response().text(), "ok");
    assert_eq!(backend.request().body, b"hello");
}

#[test]
fn a_backend_that_neither_asks_for_the_body_nor_answers_is_to_blame() {
    let backend = Backend::start(|connection| connection.rest().map(drop));
    let ringate = Setup::to(backend.address()).upstream("timeouts = { response = \"300ms\" }").start();
    let response = ringate.client().send(ASKING).response();
    assert_eq!(response.status, 504);
    backend.await_ended(1);
}

#[test]
fn only_the_100_tells_a_client_to_send() {
    let backend = Backend::start(|connection| {
        connection.head()?;
        connection.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")?;
        std::thread::sleep(Duration::from_millis(900));
        connection.send("HTTP/1.1 100 Continue\r\n\r\n")?;
        assert_eq!(connection.bytes(5)?, b"hello");
        connection.send(OK)
    });
    let ringate = Setup::to(backend.address()).listener("limits = { body_timeout = \"300ms\" }").start();
    let mut client = ringate.client();
    assert_eq!(client.send(ASKING).response().status, 103);
    assert_eq!(client.response().status, 100);
    assert_eq!(client.send("hello").response().text(), "ok");
}

#[test]
fn a_client_that_got_its_100_owes_its_body() {
    let backend = Backend::start(|connection| {
        connection.head()?;
        connection.send("HTTP/1.1 100 Continue\r\n\r\n")?;
        connection.rest().map(drop)
    });
    let ringate = Setup::to(backend.address())
        .limits("body_timeout = \"1s\"")
        .upstream("timeouts = { response = \"300ms\" }")
        .start();
    let mut client = ringate.client();
    assert_eq!(client.send(ASKING).response().status, 100);
    assert_eq!(client.response().status, 408);
}

#[test]
fn interim_responses_reach_http_1_1_with_their_fields() {
    let backend = Backend::replying(
        [
            b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: X\r\nX: 1\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n",
            OK,
        ]
        .concat(),
    );
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(client.response().head, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
        assert_eq!(client.response().head, "HTTP/1.1 102 Processing\r\n\r\n");
        assert_eq!(client.response().text(), "ok");
    }
    let answer = super::exchange(&ringate, "GET / HTTP/1.0\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "HTTP/1.0 knows no interim responses: {answer}");
}

#[test]
fn interim_responses_without_end_are_a_bad_gateway() {
    let backend = Backend::start(|connection| {
        connection.request()?;
        loop {
            connection.send("HTTP/1.1 102 Processing\r\n\r\n")?;
        }
    });
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut interim = 0;
    let last = loop {
        match client.response().status {
            102 => interim += 1,
            status => break status,
        }
    };
    assert_eq!((interim, last), (16, 502));
    backend.await_ended(1);
}

#[test]
fn an_answer_in_the_middle_of_an_upload_reaches_the_client() {
    let backend = Backend::start(|connection| {
        connection.head()?;
        connection.bytes(1000)?;
        connection
            .send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nmuch")?;
        connection.finish_sending()?;
        connection.rest().map(drop)
    });
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n").send(vec![b'x'; 5000]);
    let response = client.response();
    assert_eq!((response.status, response.text()), (413, "much"));
    assert_eq!(response.header("Connection"), Some("close"));
}

#[test]
fn a_backend_that_answers_and_hangs_up_on_an_upload_is_heard() {
    let backend = Backend::start(|connection| {
        connection.head()?;
        connection.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
    });
    let ringate = Setup::to(backend.address()).start();
    for _ in 0..20 {
        let mut client = ringate.client();
        client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n");
        let mut writer = client.tcp().try_clone().unwrap();
        let upload = std::thread::spawn(move || {
            use std::io::Write as _;
            // The proxy stops reading at some point; how much it took is its own business.
            let _ = writer.write_all(&vec![b'x'; 3_000_000]);
        });
        let response = client.response();
        assert_eq!((response.status, response.text()), (403, "no"));
        drop(client);
        upload.join().unwrap();
    }
}

#[test]
fn a_response_may_run_beside_its_upload() {
    let (go, told) = channel();
    let told = std::sync::Mutex::new(told);
    let backend = Backend::start(move |connection| {
        connection.head()?;
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")?;
        for part in ["ab", "cd", "ef"] {
            assert_eq!(connection.bytes(2)?, part.as_bytes());
            connection.send(part.to_uppercase())?;
        }
        told.lock().unwrap().recv().map_err(std::io::Error::other)
    });
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n");
    assert_eq!(client.until("\r\n\r\n").lines().next(), Some("HTTP/1.1 200 OK"));
    for part in ["ab", "cd", "ef"] {
        client.send(part);
        assert_eq!(String::from_utf8(client.bytes(2)).unwrap(), part.to_uppercase());
    }
    go.send(()).unwrap();
}

#[test]
fn a_response_that_outlasts_its_upload_keeps_its_own_patience() {
    let backend = Backend::start(|connection| {
        connection.head()?;
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")?;
        assert_eq!(connection.bytes(5)?, b"0\r\n\r\n");
        std::thread::sleep(std::time::Duration::from_millis(1500));
        connection.send("2\r\ncd\r\n0\r\n\r\n")?;
        connection.request().map(drop)
    });
    let timeouts = "timeouts = { response = \"500ms\", idle = \"20s\" }";
    let ringate = Setup::to(backend.address()).upstream(timeouts).start();
    let mut client = ringate.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.until("ab\r\n").lines().next(), Some("HTTP/1.1 200 OK"));
    client.send("0\r\n\r\n");
    assert_eq!(client.until("0\r\n\r\n"), "2\r\ncd\r\n0\r\n\r\n");
}

#[test]
fn a_client_that_reads_late_keeps_its_patience_when_its_upload_ends() {
    const LENGTH: usize = 16 << 20;
    let backend = Backend::start(|connection| {
        connection.head()?;
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"))?;
        connection.send(vec![b'x'; LENGTH])?;
        connection.rest().map(drop)
    });
    let ringate = Setup::to(backend.address()).upstream("timeouts = { idle = \"500ms\" }").start();
    let mut client = ringate.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.until("\r\n\r\n");
    // By now the response waits for its reader.
    std::thread::sleep(std::time::Duration::from_millis(300));
    client.send("0\r\n\r\n");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(client.bytes(LENGTH), vec![b'x'; LENGTH]);
}
