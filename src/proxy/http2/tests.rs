//! Two sessions against each other over a socket.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::net::{TcpListener, TcpStream};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use super::*;
use crate::base::counters::Counters;
use crate::http2::{Config, Connection, ErrorCode, Field, HeadKind, RequestLine, ResetCause, StreamEnd};
use crate::io::runtime::{self, block_on};
use crate::io::{Buffer, Deadline, FutureSet, Jobs, StreamError, Wheel};

type Exchange = Pin<Box<dyn Future<Output = ()>>>;
type Exchanges = Pin<Box<dyn Future<Output = Infallible>>>;

struct Side<M> {
    exchanges: FutureSet<Stream, Exchanges, M>,
    ending: Rc<Cell<bool>>,
    timeouts: Timeouts,
}

async fn serve_all(jobs: Jobs<Stream>, serve: Option<fn(Stream) -> Exchange>) -> Infallible {
    loop {
        let stream = jobs.next().await;
        serve.unwrap()(stream).await;
    }
}

impl<M: Fn(Jobs<Stream>) -> Exchanges> Serve for Side<M> {
    fn begin_turn(&mut self, cx: &Context<'_>) {
        self.exchanges.begin_turn(cx);
    }

    fn end_turn(&mut self) {
        self.exchanges.end_turn();
    }

    fn request(&mut self, stream: Stream, cx: &Context<'_>) {
        self.exchanges.insert(stream, cx);
    }

    fn run(&mut self) {
        self.exchanges.poll_woken();
    }

    fn is_woken(&self) -> bool {
        self.exchanges.is_woken()
    }

    fn running(&self) -> usize {
        self.exchanges.len()
    }

    fn is_ending(&self) -> bool {
        self.ending.get()
    }

    fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    fn rest(&mut self) {
        self.exchanges.shrink();
    }
}

const SECOND: Duration = Duration::from_secs(1);
const TIMEOUTS: Timeouts = Timeouts {
    head: SECOND.saturating_mul(5),
    write: SECOND.saturating_mul(5),
    idle: SECOND.saturating_mul(5),
    ping: None,
};

/// Both ends of a connection that run on this thread.
struct Pair {
    client: Rc<Session>,
    server: Rc<Session>,
    ending: Rc<Cell<bool>>,
    ends: Rc<RefCell<Vec<(&'static str, SessionEnd)>>>,
}

fn pair(wheel: &Wheel, timeouts: Timeouts, serve: fn(Stream) -> Exchange) -> Pair {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, _) = listener.accept().unwrap();
    let counters = Arc::new(Counters::default());
    let config = Arc::new(Config::default());
    let client = Session::new(Connection::client(Arc::clone(&config)), wheel, &counters);
    let server = Session::new(Connection::server(config), wheel, &counters);
    let (ending, ends) = (Rc::new(Cell::new(false)), Rc::new(RefCell::new(Vec::new())));
    let run = |name, tcp: TcpStream, session: &Rc<Session>, serve: Option<fn(Stream) -> Exchange>, ending| {
        tcp.set_nonblocking(true).unwrap();
        let mut stream = crate::io::Stream::plain(crate::io::TcpStream::from_std(tcp).unwrap());
        let (session, ends, deadline) = (Rc::clone(session), Rc::clone(&ends), wheel.deadline());
        let make = move |jobs: Jobs<Stream>| -> Exchanges { Box::pin(serve_all(jobs, serve)) };
        let mut side = Side { exchanges: FutureSet::new(make), ending, timeouts };
        runtime::spawn(async move {
            let end = drive(&session, &mut stream, None, &deadline, &mut side).await;
            ends.borrow_mut().push((name, end));
        });
    };
    run("client", one, &client, None, Rc::new(Cell::new(false)));
    run("server", other, &server, Some(serve), Rc::clone(&ending));
    Pair { client, server, ending, ends }
}

fn within<F: Future>(work: impl FnOnce(Wheel) -> F) -> F::Output {
    let backend = runtime::detect().unwrap_or(runtime::Driver::Epoll);
    block_on(backend, async {
        let wheel = Wheel::new();
        runtime::spawn(wheel.clone().run());
        let deadline = wheel.deadline();
        deadline.set(20 * SECOND);
        deadline.race(std::pin::pin!(work(wheel))).await.expect("it takes too long")
    })
    .unwrap()
}

/// Runs work beside the caller's. What it returns is waited for.
fn task<T: 'static>(work: impl Future<Output = T> + 'static) -> impl Future<Output = T> {
    let result = Rc::new(RefCell::new(None));
    let place = Rc::clone(&result);
    runtime::spawn(async move {
        let value = work.await;
        *place.borrow_mut() = Some(value);
    });
    async move {
        loop {
            let value = result.borrow_mut().take();
            if let Some(value) = value {
                return value;
            }
            crate::io::sleep(SECOND / 100).await;
        }
    }
}

fn fields<'a>(lines: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = Field<'a>> + Clone {
    let field = |(name, value): &(&'a str, &'a str)| Field {
        name: name.as_bytes(),
        value: value.as_bytes(),
        never_indexed: false,
    };
    lines.iter().map(field)
}

fn post(session: &Rc<Session>, end: bool) -> Stream {
    let line = RequestLine {
        method: "POST",
        scheme: Some("http"),
        authority: "test",
        path: Some("/"),
        protocol: None,
    };
    session.open(&line, fields(&[("x-a", "1")]), end).unwrap()
}

/// Sends back what it receives, and how much that was as a trailer.
fn echo(stream: Stream) -> Exchange {
    Box::pin(async move {
        let head = stream.head().await.unwrap();
        assert_eq!(head.kind, Some(HeadKind::Request));
        stream.send_response(200, fields(&[("x-b", "2")]), false).unwrap();
        let (mut buffer, mut total) = (Buffer::small(), 0);
        loop {
            let (read, filled) = stream.read(buffer).await;
            let Ok(read @ 1..) = read else { break };
            total += read;
            let range = filled.position()..filled.position() + filled.len();
            let (wrote, mut written) = stream.write(filled, range, false).await;
            wrote.unwrap();
            written.consume(written.len());
            buffer = written;
        }
        stream.send_trailers(fields(&[("x-total", &total.to_string())])).unwrap();
    })
}

async fn read_all(stream: &Stream) -> Result<Vec<u8>, StreamError> {
    let mut all = Vec::new();
    loop {
        let (read, filled) = stream.read(Buffer::small()).await;
        if read? == 0 {
            return Ok(all);
        }
        all.extend_from_slice(filled.data());
    }
}

#[test]
fn many_streams_carry_content_both_ways_and_end_in_order() {
    within(|wheel| async move {
        let pair = pair(&wheel, TIMEOUTS, echo);
        let mut tasks = Vec::new();
        for number in 0..20 {
            let stream = Rc::new(post(&pair.client, false));
            let content: Vec<u8> = (0..number * 50_000).map(|at| (at % 251 + number) as u8).collect();
            let (sender, sent) = (Rc::clone(&stream), content.clone());
            let sending = task(async move { sender.write_bytes(&sent, true).await });
            tasks.push(task(async move {
                let head = stream.head().await.unwrap();
                assert_eq!((head.kind, head.end_stream), (Some(HeadKind::Response), false));
                assert!(read_all(&stream).await.unwrap() == content);
                let trailers = stream.take_trailers().unwrap();
                assert_eq!(trailers.get(b"x-total"), Some(content.len().to_string().as_bytes()));
                sending.await.unwrap();
            }));
        }
        for each in tasks {
            each.await;
        }
        assert_eq!((pair.client.stream_count(), pair.server.stream_count()), (0, 0));
        pair.ending.set(true);
        pair.server.wake_driver();
        while pair.ends.borrow().len() < 2 {
            crate::io::sleep(SECOND / 50).await;
        }
        let server = pair.ends.borrow().iter().find(|(name, _)| *name == "server").unwrap().1;
        assert_eq!(server, SessionEnd::Finished);
        assert_eq!(pair.client.capacity(), 0);
    });
}

#[test]
fn a_slow_stream_holds_up_no_other() {
    within(|wheel| async move {
        let pair = pair(&wheel, TIMEOUTS, echo);
        let slow = Rc::new(post(&pair.client, false));
        let sender = Rc::clone(&slow);
        // More than its windows: what comes back is not read.
        let _sending = task(async move { sender.write_bytes(&vec![1; 2 << 20], true).await });
        crate::io::sleep(SECOND / 5).await;
        for _ in 0..50 {
            let stream = post(&pair.client, false);
            stream.write_bytes(&[7; 10_000], true).await.unwrap();
            stream.head().await.unwrap();
            assert_eq!(read_all(&stream).await.unwrap().len(), 10_000);
        }
        assert_eq!(read_all(&slow).await.unwrap().len(), 2 << 20);
    });
}

#[test]
fn a_stream_that_is_dropped_is_reset_for_its_peer() {
    fn waits(stream: Stream) -> Exchange {
        Box::pin(async move {
            let end = stream.ended().await;
            assert_eq!(end, StreamEnd::Reset(ResetCause::Peer(ErrorCode::CANCEL)));
        })
    }
    fn refuses(stream: Stream) -> Exchange {
        Box::pin(async move { stream.set_code(ErrorCode::REFUSED_STREAM) })
    }
    within(|wheel| async move {
        let first = pair(&wheel, TIMEOUTS, waits);
        drop(post(&first.client, true));
        while first.server.stream_count() > 0 || first.server.state().timers.heard == 0 {
            crate::io::sleep(SECOND / 50).await;
        }
        let second = pair(&wheel, TIMEOUTS, refuses);
        let stream = post(&second.client, true);
        let Err(StreamError::Http2(end)) = stream.head().await else { panic!() };
        assert_eq!(end, StreamEnd::Reset(ResetCause::Peer(ErrorCode::REFUSED_STREAM)));
    });
}

#[test]
fn a_quiet_connection_rests_and_ends_after_its_idle_time() {
    within(|wheel| async move {
        let idle = Timeouts { idle: SECOND, ..TIMEOUTS };
        let pair = pair(&wheel, idle, echo);
        let stream = post(&pair.client, true);
        stream.head().await.unwrap();
        assert!(read_all(&stream).await.unwrap().is_empty());
        drop(stream);
        crate::io::sleep(SECOND * 7 / 10).await;
        assert!(pair.server.is_quiet() && pair.ends.borrow().is_empty());
        assert_eq!(pair.server.state().out.capacity(), 0);
        // It wakes for another stream, and rests anew.
        let stream = post(&pair.client, true);
        stream.head().await.unwrap();
        drop(stream);
        while pair.ends.borrow().len() < 2 {
            crate::io::sleep(SECOND / 20).await;
        }
    });
}

#[test]
fn a_stream_ends_with_its_connection() {
    within(|wheel| async move {
        let pair = pair(&wheel, TIMEOUTS, |stream| {
            Box::pin(async move {
                stream.ended().await;
            })
        });
        let stream = post(&pair.client, true);
        crate::io::sleep(SECOND / 5).await;
        pair.server.close(ErrorCode::INTERNAL_ERROR);
        assert!(stream.head().await.is_err());
    });
}

#[test]
fn a_silent_peer_is_asked_whether_it_is_alive_and_left_if_it_does_not_say() {
    fn waits(stream: Stream) -> Exchange {
        Box::pin(async move {
            stream.ended().await;
        })
    }
    within(|wheel| async move {
        let timeouts = Timeouts { ping: Some((SECOND, SECOND)), ..TIMEOUTS };
        let live = pair(&wheel, timeouts, waits);
        let stream = post(&live.client, true);
        // This one accepts the connection, and says nothing after its SETTINGS.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut dead, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut dead, b"\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0").unwrap();
        tcp.set_nonblocking(true).unwrap();
        let mut tcp = crate::io::Stream::plain(crate::io::TcpStream::from_std(tcp).unwrap());
        let config = Arc::new(Config::default());
        let session = Session::new(Connection::client(config), &wheel, &Arc::new(Counters::default()));
        let lost = post(&session, true);
        let make = |jobs: Jobs<Stream>| -> Exchanges { Box::pin(serve_all(jobs, None)) };
        let mut side = Side { exchanges: FutureSet::new(make), ending: Rc::default(), timeouts };
        let end = drive(&session, &mut tcp, None, &wheel.deadline(), &mut side).await;
        assert_eq!(end, SessionEnd::Overdue(Overdue::Ping));
        assert!(matches!(lost.head().await, Err(StreamError::Http2(StreamEnd::Lost))));
        // A PING came, and the answer to one is enough.
        let mut received = vec![0; 1024];
        let count = std::io::Read::read(&mut dead, &mut received).unwrap();
        let ping = b"\0\0\x08\x06\0\0\0\0\0liveness";
        assert!(received[..count].windows(ping.len()).any(|part| part == ping));
        assert!(live.ends.borrow().is_empty() && live.client.state().timers.next_ping > 0);
        drop(stream);
    });
}

/// What an idle connection holds in this process, beside its tables of header compression.
#[test]
fn a_session_is_small() {
    assert!(size_of::<Session>() <= 768, "{}", size_of::<Session>());
    fn driven<'a>(
        session: &'a Rc<Session>,
        stream: &'a mut crate::io::Stream,
        deadline: &'a Deadline,
        side: &'a mut Side<fn(Jobs<Stream>) -> Exchanges>,
    ) -> impl Future<Output = SessionEnd> + 'a {
        drive(session, stream, None, deadline, side)
    }
    fn answered<'a, A, B, C, D, R>(_: fn(&'a A, &'a mut B, &'a C, &'a mut D) -> R) -> usize {
        size_of::<R>()
    }
    let size = answered(driven);
    assert!(size <= 512, "{size}");
}
