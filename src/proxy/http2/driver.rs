//! The loop of one connection: what arrives is handed to streams, and what streams have to send is gathered and sent.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::session::Session;
use super::state::SessionEnd;
use super::stream::Stream;
use super::timers::{LOOK, Overdue, Timeouts};
use crate::http2::{ErrorCode, Violation};
use crate::io::{self, Buffer, Deadline, Fired, PeerHandle, ReadCancel, Reader, StreamError, Writer};
use crate::proxy::idle::{self, Woken};

/// Rounds of one turn, after which the worker's other tasks have theirs.
const ROUNDS: usize = 16;

/// What a connection's owner does beside the driver.
pub(crate) trait Serve {
    /// The driver's turn begins or ends.
    fn begin_turn(&mut self, cx: &Context<'_>);
    /// See [`begin_turn`](Self::begin_turn).
    fn end_turn(&mut self);
    /// A request. Servers only.
    fn request(&mut self, stream: Stream, cx: &Context<'_>);
    /// Runs what was woken, once each.
    fn run(&mut self);
    /// Whether something was woken and has not run since.
    fn is_woken(&self) -> bool;
    /// Requests that are not over.
    fn running(&self) -> usize;
    /// Whether the connection is to end in order.
    fn is_ending(&self) -> bool;
    /// How long the peer may take.
    fn timeouts(&self) -> Timeouts;
    /// The connection is quiet: memory may be given back.
    fn rest(&mut self);
    /// The connection has ended, but for what its peer may still read.
    fn ended(&mut self, _end: SessionEnd) {}
}

/// Drives a connection to its end, and closes it. `early` is what was received before.
///
/// A connection without streams holds no buffer, and little of a task: the rest is boxed while it is needed.
pub(crate) async fn drive<S: Serve>(
    session: &Rc<Session>,
    stream: &mut io::Stream,
    early: Option<Box<Buffer>>,
    deadline: &Deadline,
    serve: &mut S,
) -> SessionEnd {
    let mut early = early;
    let end = loop {
        let first = early.take();
        if let Some(end) = Box::pin(busy(session, stream, first, deadline, serve)).await {
            break end;
        }
        session.release_memory();
        serve.rest();
        let woken = quiet(session, stream, deadline, serve.timeouts()).await;
        match woken {
            // What has arrived meanwhile is served, whatever ended the wait.
            Wait::Awake => {}
            Wait::Over => session.shut_down_at_once(),
        }
    };
    serve.ended(end);
    if !matches!(end, SessionEnd::Closed | SessionEnd::Lost) {
        // The peer may read what was sent last, before what it still sends resets the connection.
        Box::pin(idle::linger(stream, deadline)).await;
    }
    end
}

/// How a quiet connection's wait ended.
enum Wait {
    /// There is something to do.
    Awake,
    /// It was quiet for too long, or its descriptor is needed.
    Over,
}

/// Waits while nothing is under way.
async fn quiet(session: &Session, stream: &mut io::Stream, deadline: &Deadline, timeouts: Timeouts) -> Wait {
    deadline.set(timeouts.idle.saturating_sub(idle::HOT));
    deadline.interruptible(true);
    let woken = {
        let mut readable = pin!(stream.reader.readable());
        let mut changed = pin!(session.changed());
        let either = pin!(poll_fn(|cx| {
            let ready = readable.as_mut().poll(cx).is_ready() || changed.as_mut().poll(cx).is_ready();
            if ready { Poll::Ready(()) } else { Poll::Pending }
        }));
        deadline.race(either).await
    };
    deadline.interruptible(false);
    match woken {
        Ok(()) | Err(Fired::Interrupted) => Wait::Awake,
        Err(Fired::Displaced | Fired::Expired) => Wait::Over,
    }
}

/// What ended the reception.
enum Heard {
    /// Nothing arrived for a moment, and nothing is under way.
    Quiet,
    Closed,
    Lost,
    Violation(Violation),
}

/// Drives a connection with something under way. `None`: nothing is any more.
async fn busy<S: Serve>(
    session: &Rc<Session>,
    stream: &mut io::Stream,
    early: Option<Box<Buffer>>,
    deadline: &Deadline,
    serve: &mut S,
) -> Option<SessionEnd> {
    let lull = deadline.beside();
    let peer = stream.reader.peer();
    let io::Stream { reader, writer } = stream;
    let buffer = early.map_or_else(Buffer::small, |early| *early);
    let mut receiving = pin!(receive(session, reader, buffer, &lull));
    let mut sending = pin!(send(session, writer));
    let (mut heard, mut taken, mut closing, mut broken) = (None, None, None, false);
    deadline.set(LOOK);
    deadline.interruptible(true);
    let end = poll_fn(|cx| {
        let mut ended = Poll::Pending;
        session.begin_turn(cx);
        serve.begin_turn(cx);
        for round in 0.. {
            session.take_changed();
            if heard.is_none() && closing.is_none() {
                heard = ready(receiving.as_mut().poll(cx));
            }
            while let Some(request) = session.next_request() {
                serve.request(request, cx);
            }
            serve.run();
            if serve.is_ending() && !session.is_ending() {
                session.shut_down();
            }
            session.gather();
            broken = broken || sending.as_mut().poll(cx).is_ready();
            if let Some(Heard::Quiet) = heard {
                ended = Poll::Ready(None);
                break;
            }
            let mut end = if broken { Some(SessionEnd::Lost) } else { over(session, heard.as_ref()) };
            let fired = ready(deadline.poll_fired(cx));
            if fired.is_some() {
                deadline.set(LOOK);
                // The next one has to wake this task, too.
                let _ = deadline.poll_fired(cx);
                let late = (fired == Some(Fired::Expired))
                    .then(|| overdue(session, &serve.timeouts(), &peer, &mut taken))
                    .flatten();
                end = end.or(late.map(SessionEnd::Overdue));
            }
            if let Some(end) = end.filter(|_| closing.is_none()) {
                close(session, end);
                deadline.set(idle::LINGER);
                closing = Some(end);
                continue;
            }
            if let Some(end) = closing {
                let gone = broken || matches!(end, SessionEnd::Closed | SessionEnd::Lost);
                let done = serve.running() == 0 && (gone || session.is_flushed());
                if done || fired == Some(Fired::Expired) {
                    ended = Poll::Ready(Some(end));
                    break;
                }
            }
            if !session.take_changed() && !serve.is_woken() {
                break;
            }
            if round == ROUNDS {
                cx.waker().wake_by_ref();
                break;
            }
        }
        serve.end_turn();
        session.end_turn();
        ended
    })
    .await;
    deadline.interruptible(false);
    end
}

fn ready<T>(poll: Poll<T>) -> Option<T> {
    match poll {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// How the connection ends, if it does.
fn over(session: &Session, heard: Option<&Heard>) -> Option<SessionEnd> {
    if let Some(end) = session.end() {
        return Some(end);
    }
    match heard {
        Some(Heard::Closed) if session.is_ending() && session.stream_count() == 0 => {
            Some(SessionEnd::Finished)
        }
        Some(Heard::Closed) => Some(SessionEnd::Closed),
        Some(Heard::Lost) => Some(SessionEnd::Lost),
        Some(Heard::Violation(violation)) => Some(SessionEnd::Violation(*violation)),
        Some(Heard::Quiet) | None => session.is_finished().then_some(SessionEnd::Finished),
    }
}

/// Streams learn of the end, and the peer its reason.
fn close(session: &Session, end: SessionEnd) {
    match end {
        SessionEnd::Overdue(Overdue::Settings) => session.give_up(ErrorCode::SETTINGS_TIMEOUT),
        SessionEnd::Overdue(Overdue::Head) => session.give_up(ErrorCode::ENHANCE_YOUR_CALM),
        SessionEnd::Overdue(_) => session.give_up(ErrorCode::NO_ERROR),
        SessionEnd::Finished | SessionEnd::Closed | SessionEnd::Lost | SessionEnd::Violation(_) => {}
    }
    session.fail(end);
}

fn overdue(
    session: &Session,
    timeouts: &Timeouts,
    peer: &PeerHandle,
    taken: &mut Option<u64>,
) -> Option<Overdue> {
    let now = peer.flow().map(|flow| flow.taken);
    let moved = now != std::mem::replace(taken, now);
    session.overdue(timeouts, moved)
}

/// Reads, and hands what arrives to the session.
async fn receive(session: &Session, reader: &mut Reader, mut buffer: Buffer, lull: &Deadline) -> Heard {
    let mut off = ReadCancel::default();
    loop {
        loop {
            session.may_receive().await;
            match session.receive(&mut buffer) {
                Ok(true) => {}
                Ok(false) => break,
                Err(violation) => return Heard::Violation(violation),
            }
        }
        // Pinned where it is made: an await moves a large future, and what is moved is copied.
        let woken = pin!(idle::hot(reader, lull, &mut off, buffer)).await;
        buffer = match woken {
            Woken::Data(buffer) => buffer,
            Woken::Lull | Woken::Interrupted => {
                if session.is_quiet() {
                    return Heard::Quiet;
                }
                // Streams that last hold no buffer of the connection's.
                if reader.readable().await.is_err() {
                    session.set_alert(reader.peer_alert());
                    return Heard::Lost;
                }
                Buffer::small()
            }
            Woken::End => return Heard::Closed,
            Woken::Failed => {
                session.set_alert(reader.peer_alert());
                return Heard::Lost;
            }
        };
    }
}

/// Sends the output whenever there is some.
async fn send(session: &Session, writer: &mut Writer) -> StreamError {
    let mut spare = Vec::new();
    loop {
        let output = poll_fn(|_| match session.take_output(&mut spare) {
            Some(output) => Poll::Ready(output),
            None => Poll::Pending,
        })
        .await;
        let (result, memory) = pin!(writer.write_gathered(output)).await;
        session.sent(memory, &mut spare);
        if let Err(error) = result {
            return error;
        }
    }
}
