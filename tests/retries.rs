//! A request that failed at one backend is tried at the next, as the config says: never twice where it may not be,
//! never beyond its time, and never so often that the retries are a load of their own.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::http::{OK, ok};
use crate::support::*;

const ADMIN: &str = "[admin]\nlisten = \"unix:run/admin.sock\"";
const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy";

/// A backend that does this with each request.
fn failing(how: fn(&mut Connection) -> io::Result<()>) -> Backend {
    Backend::start(move |connection| {
        while connection.request()?.is_some() {
            how(connection)?;
        }
        Ok(())
    })
}

fn closes(_: &mut Connection) -> io::Result<()> {
    Err(io::ErrorKind::ConnectionAborted.into())
}

fn resets(connection: &mut Connection) -> io::Result<()> {
    connection.reset()?;
    closes(connection)
}

fn hangs(connection: &mut Connection) -> io::Result<()> {
    connection.rest().map(drop)
}

fn is_busy(connection: &mut Connection) -> io::Result<()> {
    connection.send(BUSY)
}

fn setup(endpoints: &[&Backend], upstream: &str) -> Setup {
    Setup::to_all(endpoints.iter().map(|backend| backend.address())).section(ADMIN).upstream(upstream)
}

/// An address that refuses connections.
fn nobody() -> SocketAddr {
    free_address()
}

#[test]
fn a_request_that_one_endpoint_fails_is_answered_by_the_next() {
    for (how, on) in [
        (closes as fn(&mut Connection) -> _, "reset"),
        (resets, "reset"),
        (is_busy, "503"),
        (hangs, "timeout"),
    ] {
        let (bad, good) = (failing(how), Backend::serving(|request| ok(request.line())));
        let upstream = format!(
            "retries = {{ attempts = 2, on = [\"{on}\"], budget = 100 }}\ntimeouts.response = \"2s\""
        );
        let ringate = setup(&[&bad, &good], &upstream).start();
        let mut client = ringate.client();
        for method in ["GET", "PUT", "DELETE"] {
            for _ in 0..2 {
                let body = if method == "PUT" { "Content-Length: 5\r\n\r\nhello" } else { "\r\n" };
                client.send(format!("{method} /a HTTP/1.1\r\nHost: h\r\n{body}"));
                let response = client.response();
                assert_eq!((response.status, response.text()), (200, &*format!("{method} /a")), "{on}");
            }
        }
        assert_eq!((bad.requests(), good.requests()), (3, 6), "{on}: every other one went to the bad one");
        assert_eq!(ringate.metric("retries_total"), 3);
        assert!(ringate.admin("/metrics").contains("ringate_upstream_retries_total{upstream=\"app\"} 3"));
        let put = std::iter::from_fn(|| Some(good.request())).find(|it| it.line() == "PUT /a").unwrap();
        assert_eq!(put.body, b"hello", "{on}");
    }
}

#[test]
fn what_is_not_listed_is_not_tried_again() {
    for (how, on, status) in [
        (closes as fn(&mut Connection) -> _, "503", 502),
        (is_busy, "502", 503),
        (is_busy, "reset", 503),
        (hangs, "reset", 504),
    ] {
        let bad = failing(how);
        let upstream =
            format!("retries = {{ attempts = 3, on = [\"{on}\"] }}\ntimeouts.response = \"500ms\"");
        let ringate = setup(&[&bad], &upstream).start();
        assert_eq!(ringate.client().send(GET).response().status, status, "{on}");
        assert_eq!(bad.requests(), 1, "{on}");
    }
    // Without `retries` nothing is.
    let bad = failing(is_busy);
    let ringate = setup(&[&bad], "").start();
    assert_eq!(ringate.client().send(GET).response().text(), "busy");
    assert_eq!(bad.requests(), 1);
}

#[test]
fn the_last_attempts_answer_is_the_clients() {
    let bad = failing(is_busy);
    let log = "[log]\naccess = \"access.log\"\naccess_format = \"{response.status} {tries} {failure}\"";
    let upstream = "retries = { attempts = 3, on = [\"503\", \"connect\"] }";
    let ringate = setup(&[&bad], upstream).section(log).start();
    let response = ringate.client().send(GET).response();
    assert_eq!((response.status, response.text()), (503, "busy"));
    assert_eq!(bad.requests(), 3);
    let line = eventually("a line", || {
        std::fs::read_to_string(ringate.dir().join("access.log")).ok().filter(|text| text.ends_with('\n'))
    });
    assert_eq!(line, "503 3 -\n");
}

#[test]
fn a_post_is_never_sent_twice() {
    for how in [closes as fn(&mut Connection) -> _, resets, is_busy, hangs] {
        let bad = failing(how);
        let upstream = "retries = { attempts = 5, on = [\"connect\", \"reset\", \"timeout\", \"503\"], budget = 100 }\n\
             timeouts.response = \"500ms\"";
        let ringate = setup(&[&bad], upstream).start();
        for body in ["Content-Length: 2\r\n\r\nab", "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"]
        {
            let request = format!("POST / HTTP/1.1\r\nHost: h\r\n{body}");
            assert!(ringate.client().send(request).response().status >= 502);
        }
        assert_eq!(bad.requests(), 2);
        assert_eq!(ringate.metric("retries_total"), 0);
    }
}

#[test]
fn a_post_goes_to_the_next_endpoint_as_long_as_nothing_has_left() {
    let good = Backend::serving(|request| ok(request.line()));
    let ringate = Setup::to_all([nobody(), nobody(), good.address()])
        .section(ADMIN)
        .upstream("retries = { attempts = 2 }")
        .start();
    for _ in 0..6 {
        let request = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab";
        assert_eq!(ringate.client().send(request).response().status, 200);
    }
    assert_eq!((good.requests(), ringate.metric("retries_total")), (6, 0));
    // Not where the config leaves it out.
    let ringate =
        Setup::to_all([nobody(), good.address()]).upstream("retries = { on = [\"reset\"] }").start();
    let statuses: Vec<u16> = (0..2).map(|_| ringate.client().send(GET).response().status).collect();
    assert!(statuses.contains(&502), "{statuses:?}");
}

#[test]
fn a_response_that_has_begun_is_not_asked_for_again() {
    let bad = failing(|connection| {
        connection.send("HTTP/1.1 200 OK\r\nContent-Le")?;
        closes(connection)
    });
    let ringate = setup(&[&bad], "retries = { attempts = 3, on = [\"reset\"] }").start();
    assert_eq!(ringate.client().send(GET).response().status, 502);
    assert_eq!(bad.requests(), 1);
}

#[test]
fn all_attempts_together_have_the_time_of_one() {
    let (one, two) = (failing(hangs), failing(hangs));
    let upstream = "retries = { attempts = 4, on = [\"timeout\"], attempt_timeout = \"150ms\" }\n\
         timeouts.response = \"1s\"";
    let ringate = setup(&[&one, &two], upstream).start();
    let begun = Instant::now();
    assert_eq!(ringate.client().send(GET).response().status, 504);
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_millis(1900), "{took:?}");
    assert_eq!((one.requests(), two.requests()), (2, 2));
}

#[test]
fn a_short_body_that_comes_later_is_waited_for_and_a_long_one_goes_once() {
    let (bad, good) = (failing(is_busy), Backend::serving(|request| ok(request.body.len().to_string())));
    let upstream = "retries = { attempts = 2, on = [\"503\"] }";
    let ringate = setup(&[&bad, &good], upstream).start();
    for (length, statuses) in [(8_000, [200, 200]), (40_000, [503, 200])] {
        let mut seen = Vec::new();
        for _ in 0..2 {
            let mut client = ringate.client();
            client.send(format!("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n"));
            client.send(vec![b'x'; 10]);
            std::thread::sleep(Duration::from_millis(50)); // in another segment
            client.send(vec![b'x'; length - 10]);
            seen.push(client.response().status);
        }
        seen.sort_unstable_by(|left, right| right.cmp(left));
        assert_eq!(seen, statuses, "{length}");
    }
}

/// A worker encodes the heads of all its connections in one place: what one waits for must not cost it its own.
#[test]
fn a_request_that_waits_for_its_body_keeps_its_own_head() {
    let backend = Backend::serving(|request| ok(format!("{} {}", request.line(), request.body.len())));
    let ringate = setup(&[&backend], "retries = { attempts = 2 }").workers(1).start();
    let (mut slow, mut other, mut half) = (ringate.client(), ringate.client(), ringate.client());
    slow.send("PUT /mine HTTP/1.1\r\nHost: h\r\nContent-Length: 8000\r\n\r\n0123456789");
    let answer = other.send("GET /theirs HTTP/1.1\r\nHost: h\r\nAuthorization: secret\r\n\r\n").response();
    assert_eq!(answer.text(), "GET /theirs 0");
    half.send("GET /half HTTP/1.1\r\nHost:");
    std::thread::sleep(Duration::from_millis(50)); // until half a head is read
    assert_eq!(slow.send(vec![b'x'; 7_990]).response().text(), "PUT /mine 8000");
    assert_eq!(other.send("GET /next HTTP/1.1\r\nHost: h\r\n\r\n").response().text(), "GET /next 0");
    let first = backend.request();
    assert_eq!(first.line(), "GET /theirs");
    let mine = backend.request();
    assert!(mine.line() == "PUT /mine" && mine.header("authorization").is_none());
}

#[test]
fn an_upload_that_can_not_be_sent_again_counts_as_no_retry() {
    // Answers once, then closes as soon as the next request's head is there.
    let backend = Backend::start(|connection| {
        connection.request()?;
        connection.send(OK)?;
        connection.head()?;
        Ok(())
    });
    let ringate = setup(&[&backend], "").workers(1).start();
    let mut client = ringate.client();
    assert_eq!(client.send(GET).response().status, 200);
    client.send("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n").send(vec![b'x'; 100]);
    assert_eq!(client.response().status, 502);
    assert_eq!(ringate.metric("stale_retries_total"), 0);
}

#[test]
fn retries_stay_within_their_budget() {
    let bad = failing(is_busy);
    let ringate = setup(&[&bad], "retries = { attempts = 3, on = [\"503\"] }").start();
    let mut client = ringate.client();
    for _ in 0..500 {
        assert_eq!(client.send(GET).response().status, 503);
    }
    let (retries, refused) = (ringate.metric("retries_total"), ringate.metric("retries_refused_total"));
    assert_eq!(bad.requests() as u64, 500 + retries);
    // 20 % and the floor, counted over ten seconds: a second may have passed.
    assert!((100..=125).contains(&retries), "{retries}");
    assert!(refused >= 375, "{refused}");
    let status: serde_json::Value = serde_json::from_str(&ringate.admin("/v1/upstreams")).unwrap();
    assert_eq!(status[0]["retries"], retries);
    assert_eq!(status[0]["retries_refused"], refused);
}

/// A backend that answers one request and dies of the next one: then nothing listens any more.
fn dying() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut head = move || lines.by_ref().take_while(|line| !line.as_ref().unwrap().is_empty()).count();
        head();
        stream.write_all(OK).unwrap();
        head();
        drop((listener, stream));
    });
    address
}

#[test]
fn a_pooled_connection_whose_upstream_has_died_gives_way_to_another_upstream() {
    let good = Backend::serving(|request| ok(request.line()));
    let split = format!(
        "[[route]]\nupstreams = [{{ name = \"dying\", weight = 1000 }}, {{ name = \"app\", weight = 1 }}]\n\
         [upstream.dying]\nendpoints = [\"{}\"]",
        dying()
    );
    let ringate = Setup::to(good.address()).section(ADMIN).routes(&split).start();
    let mut client = ringate.client();
    assert_eq!(client.send(GET).response().text(), "ok");
    assert_eq!(client.send(GET).response().text(), "GET /");
    assert_eq!((ringate.metric("stale_retries_total"), ringate.metric("split_failovers_total")), (1, 1));
}

#[test]
fn of_those_who_come_by_one_finds_out_whether_an_endpoint_is_back() {
    // It takes no connection: its queue of one is full.
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let silent = listener.local_addr().unwrap().as_socket().unwrap();
    let _queued = TcpStream::connect(silent).unwrap();
    let good = Backend::replying(OK);
    let ringate = Setup::to_all([silent, good.address()])
        .upstream("timeouts = { connect = \"700ms\" }\nretries = { on = [\"connect\"] }")
        .start();
    let ringate = &ringate;
    assert_eq!([ringate.get("/").status, ringate.get("/").status], [200, 200]);
    // Its time to be tried again comes a second after its failure.
    std::thread::sleep(Duration::from_millis(1300));
    let slow = std::thread::scope(|scope| {
        let each = || {
            let begun = Instant::now();
            assert_eq!(ringate.get("/").status, 200);
            begun.elapsed() > Duration::from_millis(500)
        };
        let all: Vec<_> = (0..8).map(|_| scope.spawn(each)).collect();
        all.into_iter().filter_map(|one| one.join().ok()).filter(|slow| *slow).count()
    });
    assert_eq!(slow, 1, "of eight at once");
}

#[test]
fn an_upstream_of_a_split_that_is_down_gives_way_to_another() {
    let good = Backend::serving(|request| ok(request.line()));
    let last = Backend::replying(OK);
    let split = |weights: [u32; 3]| {
        let [down, up, rest] = weights;
        format!(
            "[[route]]\nupstreams = [{{ name = \"down\", weight = {down} }}, {{ name = \"app\", weight = {up} }}, \
             {{ name = \"last\", weight = {rest} }}]\n\
             [upstream.down]\nendpoints = [\"{}\", \"{}\"]\n[upstream.last]\nendpoints = [\"{}\"]",
            nobody(),
            nobody(),
            last.address(),
        )
    };
    let ringate = Setup::to(good.address()).section(ADMIN).routes(&split([1000, 1, 1])).start();
    let mut client = ringate.client();
    for number in 0..40 {
        let request = if number % 2 == 0 {
            GET.to_owned()
        } else {
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab".to_owned()
        };
        assert_eq!(client.send(request).response().status, 200, "{number}");
    }
    assert_eq!(good.requests() + last.requests(), 40);
    assert!(good.requests() >= 10 && last.requests() >= 10, "in proportion to their weights");
    let failovers = ringate.metric("split_failovers_total");
    assert!((1..10).contains(&failovers), "those that are down are passed over: {failovers}");
}
