//! One HTTP/2 connection as its streams and its driver share it.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rustls::AlertDescription;

use super::fields;
use super::slots::{Head, register};
use super::state::{KEPT_OUT, OUT_FULL, SessionEnd, State};
use super::timers::{Overdue, PING_PAUSE, Timeouts, Timers, is_over};
use crate::base::counters::Counters;
use crate::http2::{
    Connection, ErrorCode, Event, FieldList, HeadKind, ResetCause, StreamEnd, StreamId, Violation,
};
use crate::io::buffer::{self, Use};
use crate::io::deadline::TICK;
use crate::io::{Buffer, Wheel};

/// See the module.
#[derive(Debug)]
pub(crate) struct Session {
    state: RefCell<State>,
    wheel: Wheel,
    counters: Arc<Counters>,
    /// The driver's task.
    driver: RefCell<Option<Waker>>,
    /// The driver will look at what has changed: it is in its turn, or was woken since.
    noticed: Cell<bool>,
    pub(super) changed: Cell<bool>,
    /// The TLS alert that the peer ended the connection with.
    alert: Cell<Option<AlertDescription>>,
}

impl Session {
    /// A connection that has just been made. What has to be sent first is in its output.
    pub(crate) fn new(codec: Connection, wheel: &Wheel, counters: &Arc<Counters>) -> Rc<Self> {
        let mut state = State::new(codec);
        state.codec.start(&mut state.out);
        let session = Self {
            state: RefCell::new(state),
            wheel: wheel.clone(),
            counters: Arc::clone(counters),
            driver: RefCell::new(None),
            noticed: Cell::new(false),
            changed: Cell::new(true),
            alert: Cell::new(None),
        };
        let now = session.now();
        session.state().timers = Timers { started: now, heard: now, ..Timers::default() };
        Rc::new(session)
    }

    pub(super) fn state(&self) -> RefMut<'_, State> {
        self.state.borrow_mut()
    }

    /// Milliseconds, by the worker's wheel.
    pub(super) fn now(&self) -> u64 {
        self.wheel.now() * TICK.as_millis() as u64
    }

    /// Streams that may be opened now. Clients only.
    pub(crate) fn capacity(&self) -> usize {
        let state = self.state();
        if state.end.is_some() { 0 } else { state.codec.capacity() }
    }

    /// Streams that have a handle.
    pub(crate) fn stream_count(&self) -> usize {
        self.state().slots.len()
    }

    /// Whether the connection takes no new streams, for good.
    pub(crate) fn is_ending(&self) -> bool {
        let state = self.state();
        state.end.is_some() || state.codec.is_going_away()
    }

    /// The TLS alert that the peer ended it with, if it was that.
    pub(crate) fn alert(&self) -> Option<AlertDescription> {
        self.alert.get()
    }

    pub(super) fn set_alert(&self, alert: Option<AlertDescription>) {
        self.alert.set(alert);
    }

    /// How it ended, if it has.
    pub(crate) fn end(&self) -> Option<SessionEnd> {
        self.state().end
    }

    /// Whether the peer's first SETTINGS are known.
    pub(crate) fn is_settled(&self) -> bool {
        self.state().codec.has_settings()
    }

    /// Waits for the peer's first SETTINGS, or for the connection's end.
    pub(crate) async fn settled(&self) {
        poll_fn(|cx| {
            let mut state = self.state();
            if state.codec.has_settings() || state.end.is_some() {
                return Poll::Ready(());
            }
            if !state.unsettled.iter().any(|waker| waker.will_wake(cx.waker())) {
                state.unsettled.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// Begins an orderly end, or its second step.
    pub(crate) fn shut_down(&self) {
        let now = self.now();
        let mut guard = self.state();
        let state = &mut *guard;
        state.codec.shut_down(&mut state.out);
        state.timers.announced.get_or_insert(now);
        drop(guard);
        self.wake_driver();
    }

    /// Ends a connection without streams in order.
    pub(super) fn shut_down_at_once(&self) {
        self.shut_down();
        self.shut_down();
    }

    /// Something has to be sent, or may be.
    pub(super) fn wake_driver(&self) {
        self.changed.set(true);
        if !self.noticed.get()
            && let Some(driver) = &*self.driver.borrow()
        {
            self.noticed.set(true);
            driver.wake_by_ref();
        }
    }

    /// The driver's turn begins.
    pub(super) fn begin_turn(&self, cx: &Context<'_>) {
        self.noticed.set(true);
        register(&mut self.driver.borrow_mut(), cx);
    }

    /// Whether something has changed since this was called last.
    pub(super) fn take_changed(&self) -> bool {
        self.changed.replace(false)
    }

    pub(super) fn end_turn(&self) {
        self.noticed.set(false);
        self.state().account();
    }

    /// Waits for a change, outside of a turn.
    pub(super) async fn changed(&self) {
        poll_fn(|cx| {
            register(&mut self.driver.borrow_mut(), cx);
            self.noticed.set(false);
            if self.changed.get() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Waits until more may be received.
    pub(super) async fn may_receive(&self) {
        poll_fn(|_| if self.state().may_receive() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Takes in what is in the buffer, as far as it goes or may be received. True: there may be more.
    ///
    /// # Errors
    /// The connection has failed; the output has its GOAWAY.
    pub(super) fn receive(&self, buffer: &mut Buffer) -> Result<bool, Violation> {
        let now = self.now();
        let mut list = fields::take();
        let mut guard = self.state();
        let state = &mut *guard;
        let result = loop {
            if !state.may_receive() {
                break Ok(true);
            }
            let received = match state.codec.receive(buffer.data(), now, &mut list, &mut state.out) {
                Ok(received) => received,
                Err(violation) => break Err(violation),
            };
            let Some(event) = received.event else {
                buffer.consume(received.consumed);
                break Ok(false);
            };
            self.act(state, event, buffer.data(), &mut list);
            buffer.consume(received.consumed);
        };
        state.timers.heard = now;
        let partial = matches!(result, Ok(false)) && (!buffer.is_empty() || state.codec.is_within_block());
        state.timers.partial = if partial { state.timers.partial.or(Some(now)) } else { None };
        drop(guard);
        fields::give(list);
        self.changed.set(true);
        result
    }

    fn act(&self, state: &mut State, event: Event, input: &[u8], list: &mut FieldList) {
        let mut lists = || std::mem::replace(list, fields::take());
        if matches!(event, Event::Head { .. } | Event::Data { .. } | Event::Trailers { .. }) {
            state.timers.next_ping = 0;
        }
        match event {
            Event::Head { stream, kind: HeadKind::Request, end_stream } => {
                let head = Head { fields: lists(), kind: Some(HeadKind::Request), end_stream };
                state.request(stream, head);
            }
            Event::HeadTooLarge { stream, end_stream } => {
                state.request(stream, Head { fields: lists(), kind: None, end_stream });
            }
            Event::Head { stream, kind, end_stream } => {
                let Some(slot) = state.slots.find_mut(stream) else { return };
                slot.is_ended |= end_stream;
                slot.push_head(Head { fields: lists(), kind: Some(kind), end_stream });
                slot.wake_reader();
            }
            Event::Data { stream, data, end_stream } => self.content(state, stream, &input[data], end_stream),
            Event::Trailers { stream } => {
                let Some(slot) = state.slots.find_mut(stream) else { return };
                slot.is_ended = true;
                slot.trailers = Some(lists());
                slot.wake_reader();
            }
            Event::Reset { stream, cause } => {
                match cause {
                    ResetCause::Peer(_) => self.counters.http2_resets_received.add(1),
                    ResetCause::Violation(_) => self.counters.http2_stream_errors.add(1),
                    ResetCause::NotProcessed => {}
                }
                state.cut(stream, StreamEnd::Reset(cause));
            }
            Event::Refused { violation, .. } => match violation {
                Violation::StreamLimit => self.counters.limit_http2_streams.add(1),
                _ => self.counters.http2_stream_errors.add(1),
            },
            Event::Pong { .. } => state.timers.pinged = None,
            Event::Settings => state.wake_unsettled(),
            Event::WindowAvailable { .. } | Event::Priority { .. } | Event::GoAway { .. } => {}
        }
    }

    fn content(&self, state: &mut State, stream: StreamId, data: &[u8], end_stream: bool) {
        let Some(slot) = state.slots.find_mut(stream) else {
            state.codec.consume(stream, data.len(), &mut state.out);
            return;
        };
        slot.received += data.len() as u64;
        let taken = slot.inbox.deliver(data);
        slot.is_ended |= end_stream;
        slot.wake_reader();
        let queued = data.len() - taken;
        state.queued += queued;
        state.codec.consume(stream, taken, &mut state.out);
        if queued == 0 {
            return;
        }
        match buffer::in_use() {
            // It holds up no other stream: its own window bounds it.
            Use::Low => state.codec.set_aside(stream, queued, &mut state.out),
            Use::High | Use::Short => {}
            Use::Full => {
                // What its exchange does not take has no room any more.
                self.counters.limit_buffer_memory.add(1);
                state.codec.reset(stream, ErrorCode::ENHANCE_YOUR_CALM, &mut state.out);
                state.cut(stream, StreamEnd::Lost);
            }
        }
    }

    /// Moves what waits to be sent into the output, by urgency and in turns, until that is as long as one send should be.
    pub(super) fn gather(&self) {
        let mut guard = self.state();
        let state = &mut *guard;
        let mut moved = false;
        while state.waiting > 0 && state.out.len() < OUT_FULL {
            let Some(id) = state.codec.next_ready() else { break };
            let Some(slot) = state.slots.find(id) else {
                state.codec.want_to_send(id, false);
                continue;
            };
            if !state.send_turn(slot) {
                break;
            }
            moved = true;
        }
        if moved {
            self.changed.set(true);
        }
    }

    /// Takes the output, to be sent. `None`: there is none.
    pub(super) fn take_output(&self, spare: &mut Vec<u8>) -> Option<Vec<u8>> {
        let now = self.now();
        let mut state = self.state();
        if state.out.is_empty() {
            return None;
        }
        state.sending = true;
        state.timers.sending = Some(now);
        Some(std::mem::replace(&mut state.out, std::mem::take(spare)))
    }

    /// The output was sent: its memory serves again.
    pub(super) fn sent(&self, mut memory: Vec<u8>, spare: &mut Vec<u8>) {
        let mut state = self.state();
        state.sending = false;
        state.timers.sending = None;
        memory.clear();
        if memory.capacity() <= KEPT_OUT {
            *spare = memory;
        }
        drop(state);
        self.changed.set(true);
    }

    /// Whether nothing is under way: no stream, nothing to send, nothing half received, and nothing awaited.
    pub(super) fn is_quiet(&self) -> bool {
        let state = self.state();
        let awaits = !state.codec.settings_acknowledged() || !state.codec.has_settings();
        state.slots.len() == 0
            && state.out.is_empty()
            && !state.sending
            && !awaits
            && state.timers.partial.is_none()
            && state.timers.announced.is_none()
            && state.timers.pinged.is_none()
    }

    /// Gives memory back that a quiet connection does not need.
    pub(super) fn release_memory(&self) {
        let mut state = self.state();
        state.out = Vec::new();
        state.incoming = VecDeque::new();
        state.slots.shrink();
        state.codec.release_memory();
        state.account();
    }

    /// Whether all that ends the connection has been done.
    pub(super) fn is_finished(&self) -> bool {
        let state = self.state();
        state.codec.is_finished() && state.slots.len() == 0 && state.out.is_empty() && !state.sending
    }

    /// Whether the last output was sent.
    pub(super) fn is_flushed(&self) -> bool {
        let state = self.state();
        state.out.is_empty() && !state.sending
    }

    /// Ends the connection at once, its streams with it, after a GOAWAY with this code.
    pub(crate) fn close(&self, code: ErrorCode) {
        self.give_up(code);
        self.fail(SessionEnd::Finished);
        self.wake_driver();
    }

    /// The connection has ended: no stream can be used any more.
    pub(super) fn fail(&self, end: SessionEnd) {
        let mut state = self.state();
        if state.end.is_some() {
            return;
        }
        state.end = Some(end);
        for slot in state.slots.iter() {
            slot.wake();
        }
        state.wake_unsettled();
        drop(state);
        self.changed.set(true);
    }

    /// Writes a GOAWAY with this code.
    pub(super) fn give_up(&self, code: ErrorCode) {
        let mut guard = self.state();
        let state = &mut *guard;
        state.codec.give_up(code, &mut state.out);
    }

    /// What the peer has not done in time. Sends a PING where one is due, and takes the second step of an orderly end that
    /// the peer does not acknowledge.
    pub(super) fn overdue(&self, timeouts: &Timeouts, taken: bool) -> Option<Overdue> {
        let now = self.now();
        let mut guard = self.state();
        let state = &mut *guard;
        let timers = &mut state.timers;
        if !state.codec.has_settings() && is_over(timers.started, timeouts.head, now) {
            return Some(Overdue::Head);
        }
        if !state.codec.settings_acknowledged() && is_over(timers.started, timeouts.head, now) {
            return Some(Overdue::Settings);
        }
        if timers.partial.is_some_and(|since| is_over(since, timeouts.head, now)) {
            return Some(Overdue::Head);
        }
        if taken && timers.sending.is_some() {
            timers.sending = Some(now);
        }
        if timers.sending.is_some_and(|since| is_over(since, timeouts.write, now)) {
            return Some(Overdue::Write);
        }
        if timers.announced.is_some_and(|since| is_over(since, timeouts.head, now)) {
            state.codec.shut_down(&mut state.out);
            timers.announced = Some(u64::MAX);
            self.changed.set(true);
        }
        let (after, patience) = timeouts.ping?;
        match timers.pinged {
            Some(since) if is_over(since, patience, now) => return Some(Overdue::Ping),
            Some(_) => {}
            None if state.slots.len() > 0 && now >= timers.next_ping && is_over(timers.heard, after, now) => {
                timers.pinged = Some(now);
                timers.next_ping = now + PING_PAUSE.as_millis() as u64;
                state.codec.ping(*b"liveness", &mut state.out);
                self.changed.set(true);
            }
            None => {}
        }
        None
    }
}
