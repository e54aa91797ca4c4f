//! One HTTP/2 connection, as either side of it.

mod block;
mod data;
mod frames;
mod headers;
mod send;

use std::sync::Arc;

use super::config::{Config, Role};
use super::error::{ErrorCode, Flood, Scope, Violation};
use super::event::{Event, Received, ResetCause, StreamId};
use super::fields::FieldList;
use super::flood::FloodGuard;
use super::flow::{ReceiveWindow, SendWindow};
use super::frame::{self, FRAME_HEADER_BYTES, FrameHeader, Kind, MAX_STREAM_ID};
use super::hpack::{Decoder, Encoder};
use super::priority::Priority;
use super::settings::{DEFAULT_WINDOW_BYTES, PeerSettings};
use super::stream::State;
use super::streams::{History, Past, Slot, Streams};

/// What a client sends first (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The payload of the PING whose answer proves that the peer has received our first GOAWAY.
const SHUTDOWN_PING: [u8; 8] = *b"shutdown";

/// What the next bytes of the peer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// The client's preface, of which so many bytes are there.
    Preface(u8),
    /// A frame's header, and the payload of all but DATA and unknown types.
    Frame,
    /// Content of a DATA frame, `left` bytes, and padding behind it.
    Content { stream: u32, left: u32, padding: u32, end_stream: bool },
    /// Bytes without meaning.
    Skip(u32),
    /// Nothing: the connection has failed.
    Failed(Violation),
}

/// A header block of which frames are missing (§4.3).
#[derive(Debug)]
struct HeaderBlock {
    stream: u32,
    end_stream: bool,
    depends_on_itself: bool,
    fragments: Vec<u8>,
    frames: u32,
}

/// How far a shutdown of ours is (§6.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shutdown {
    No,
    /// GOAWAY with the highest id was sent: requests in flight are still taken.
    Announced,
    /// GOAWAY with this last id was sent: those above it are refused.
    Final(u32),
}

/// The peer's GOAWAY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct GoAway {
    last: u32,
}

/// What the caller lends for one call.
struct Lent<'a> {
    fields: &'a mut FieldList,
    out: &'a mut Vec<u8>,
}

/// One side of an HTTP/2 connection.
///
/// It owns no buffer: bytes of the peer are read where they are, and bytes for the peer are appended to a `Vec` of the
/// caller. The caller drives it in this order:
///
/// 1. [`server`](Self::server) or [`client`](Self::client), then [`start`](Self::start), which writes the preface and
///    SETTINGS.
/// 2. Whenever bytes were received: [`receive`](Self::receive) until it returns no event, each time with what the calls before
///    left of the input. An event is to be acted upon before the next call, which uses the field list again. The rest of
///    the input is kept, and handed in with what follows it. A buffer of `max_frame_bytes + 9` holds any rest.
/// 3. For each [`Event::Data`], [`consume`](Self::consume) once its bytes are passed on, and [`set_aside`](Self::set_aside)
///    where that takes its time. What is not consumed is not
///    granted to the peer again: so a slow receiver holds its sender back, and no other stream.
/// 4. To send: [`send_request`](Self::send_request), [`send_interim`](Self::send_interim),
///    [`send_response`](Self::send_response), [`send_data`](Self::send_data) and
///    [`send_trailers`](Self::send_trailers), at any time between calls of `receive`. Where several streams have content,
///    [`want_to_send`](Self::want_to_send) notes each, and [`next_ready`](Self::next_ready) names the one whose turn it
///    is, until there is none or the output is full.
/// 5. After any of these: the output is sent. While the peer does not take it, `receive` is not to be called. That bounds
///    what a peer can make us write.
/// 6. An error of `receive` is the end: the output has its GOAWAY, to be sent before the connection closes.
/// 7. To end in order: [`shut_down`](Self::shut_down), then as before until [`is_finished`](Self::is_finished).
///
/// `now` is a counter that never runs backwards, in milliseconds from any beginning. It is used for bounds on rates and to
/// say since when a stream is blocked. Timeouts are the caller's: [`is_within_block`](Self::is_within_block),
/// [`blocked_since`](Self::blocked_since) and [`settings_acknowledged`](Self::settings_acknowledged) are what they need.
///
/// A connection without streams holds no memory but its tables of header compression, once they are in use, after
/// [`release_memory`](Self::release_memory).
#[derive(Debug)]
pub struct Connection {
    config: Arc<Config>,
    role: Role,
    reading: Reading,
    now: u64,
    peer: PeerSettings,
    /// The peer's first SETTINGS were received.
    has_settings: bool,
    /// SETTINGS of ours without an answer.
    unacknowledged: u8,
    /// Window of new streams of the peer: ours once it is acknowledged.
    receive_initial: u32,
    send_window: SendWindow,
    receive_window: ReceiveWindow,
    /// Since when the connection's window keeps streams from sending.
    blocked_since: Option<u64>,
    decoder: Decoder,
    encoder: Encoder,
    streams: Streams,
    history: History,
    block: Option<Box<HeaderBlock>>,
    /// The priority of an idle stream, which its client sent ahead (RFC 9218 §7.1). Of one stream: the last one named.
    early_priority: Option<(u32, Priority)>,
    shutdown: Shutdown,
    goaway: Option<GoAway>,
    guard: FloodGuard,
}

impl Connection {
    /// The server's side.
    pub fn server(config: Arc<Config>) -> Self {
        Self::new(config, Role::Server)
    }

    /// The client's side.
    pub fn client(config: Arc<Config>) -> Self {
        Self::new(config, Role::Client)
    }

    fn new(config: Arc<Config>, role: Role) -> Self {
        Self {
            role,
            reading: if role == Role::Server { Reading::Preface(0) } else { Reading::Frame },
            now: 0,
            peer: PeerSettings::default(),
            has_settings: false,
            unacknowledged: 0,
            receive_initial: DEFAULT_WINDOW_BYTES,
            send_window: SendWindow::new(DEFAULT_WINDOW_BYTES),
            receive_window: ReceiveWindow::new(DEFAULT_WINDOW_BYTES),
            blocked_since: None,
            decoder: Decoder::default(),
            encoder: Encoder::new(config.encoder_table_bytes),
            streams: Streams::default(),
            history: History::default(),
            block: None,
            early_priority: None,
            shutdown: Shutdown::No,
            goaway: None,
            guard: FloodGuard::default(),
            config,
        }
    }

    /// Writes what has to be sent first: a client's preface, SETTINGS, and the connection's window.
    pub fn start(&mut self, out: &mut Vec<u8>) {
        if self.role == Role::Client {
            out.extend_from_slice(PREFACE);
        }
        frame::write_settings(self.config.settings(self.role), out);
        self.unacknowledged += 1;
        let more = self.config.connection_window() - DEFAULT_WINDOW_BYTES;
        if more > 0 {
            self.receive_window.change(i64::from(more));
            frame::write_window_update(0, more, out);
        }
    }

    /// Takes in bytes of the peer, up to the next event. `fields` gets the fields of heads and trailers, and `out` what the
    /// peer has to be answered.
    ///
    /// # Errors
    /// The connection has failed: `out` has the GOAWAY. Each further call returns the same.
    pub fn receive(
        &mut self,
        input: &[u8],
        now: u64,
        fields: &mut FieldList,
        out: &mut Vec<u8>,
    ) -> Result<Received, Violation> {
        self.now = now;
        self.guard.advance(now, &self.config.floods);
        let mut lent = Lent { fields, out };
        let mut consumed = 0;
        loop {
            if let Some(event) = self.not_processed(&mut lent) {
                return Ok(Received { consumed, event: Some(event) });
            }
            let step = match self.step(&input[consumed..], &mut lent) {
                Ok(step) => step,
                Err(violation) => return Err(self.fail(violation, lent.out)),
            };
            let Some((used, event)) = step else { return Ok(Received { consumed, event: None }) };
            let before = consumed;
            consumed += used;
            match event {
                None => {}
                Some(Event::Data { stream, data, end_stream }) => {
                    let data = before + data.start..before + data.end;
                    return Ok(Received { consumed, event: Some(Event::Data { stream, data, end_stream }) });
                }
                event => return Ok(Received { consumed, event }),
            }
        }
    }

    /// One frame, or a piece of one: the bytes used, and what they brought. `None`: more are needed.
    fn step(
        &mut self,
        input: &[u8],
        lent: &mut Lent<'_>,
    ) -> Result<Option<(usize, Option<Event>)>, Violation> {
        match self.reading {
            Reading::Frame => self.frame(input, lent),
            Reading::Content { .. } => Ok(self.content(input, lent)),
            Reading::Skip(left) => {
                let used = input.len().min(left as usize);
                self.skip(left - used as u32);
                Ok((used > 0).then_some((used, None)))
            }
            Reading::Preface(at) => {
                let rest = &PREFACE[usize::from(at)..];
                let used = input.len().min(rest.len());
                if input[..used] != rest[..used] {
                    return Err(Violation::Preface);
                }
                let whole = used == rest.len();
                self.reading = if whole { Reading::Frame } else { Reading::Preface(at + used as u8) };
                Ok((used > 0).then_some((used, None)))
            }
            Reading::Failed(violation) => Err(violation),
        }
    }

    /// Passes over so many bytes.
    fn skip(&mut self, bytes: u32) {
        self.reading = if bytes == 0 { Reading::Frame } else { Reading::Skip(bytes) };
    }

    fn frame(
        &mut self,
        input: &[u8],
        lent: &mut Lent<'_>,
    ) -> Result<Option<(usize, Option<Event>)>, Violation> {
        let Some(header) = FrameHeader::parse(input) else { return Ok(None) };
        if !self.has_settings && (header.kind != Kind::Settings || header.has(frame::ACK)) {
            return Err(Violation::SettingsNotFirst);
        }
        if header.length > self.config.max_frame_bytes() {
            return Err(Violation::FrameTooLong);
        }
        if let Some(block) = &self.block
            && (header.kind != Kind::Continuation || header.stream != block.stream)
        {
            return Err(Violation::BlockInterrupted);
        }
        let rest = &input[FRAME_HEADER_BYTES..];
        match header.kind {
            Kind::Data => return self.data(header, rest, lent),
            Kind::Unknown => {
                self.count(Flood::UnknownFrames)?;
                self.skip(header.length);
                return Ok(Some((FRAME_HEADER_BYTES, None)));
            }
            _ => {}
        }
        let Some(payload) = rest.get(..header.length as usize) else { return Ok(None) };
        let event = match self.whole_frame(header, payload, lent) {
            Ok(event) => event,
            Err(violation) => self.refuse(header.stream, violation, lent.out)?,
        };
        Ok(Some((FRAME_HEADER_BYTES + payload.len(), event)))
    }

    /// Counts a frame of a kind that is bounded.
    fn count(&mut self, flood: Flood) -> Result<(), Violation> {
        self.guard.count(flood, &self.config.floods)
    }

    /// What a violation costs: its stream, or by an error the connection.
    fn refuse(
        &mut self,
        id: u32,
        violation: Violation,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event>, Violation> {
        let (code, scope) = violation.verdict();
        // An idle stream cannot be reset (§6.4).
        if scope == Scope::Connection || self.past(id) == Past::Idle {
            return Err(violation);
        }
        self.count(match violation {
            Violation::StreamLimit | Violation::GoingAway => Flood::StreamsRefused,
            Violation::HeaderListTooLarge => Flood::HeadsTooLarge,
            _ => Flood::ResetsProvoked,
        })?;
        frame::write_reset(id, code, out);
        self.history.reset(id);
        let Some(slot) = self.streams.find(id) else {
            return Ok(Some(Event::Refused { stream: StreamId(id), violation }));
        };
        self.forget(slot, out);
        Ok(Some(Event::Reset { stream: StreamId(id), cause: ResetCause::Violation(violation) }))
    }

    fn past(&self, id: u32) -> Past {
        self.history.past(id, self.role)
    }

    /// The connection's end by an error of the peer.
    fn fail(&mut self, violation: Violation, out: &mut Vec<u8>) -> Violation {
        if !matches!(self.reading, Reading::Failed(_)) {
            frame::write_goaway(self.last_of_peer(), violation.verdict().0, out);
            self.reading = Reading::Failed(violation);
        }
        violation
    }

    /// The highest id of a stream of the peer: what GOAWAY names.
    fn last_of_peer(&self) -> u32 {
        if self.role == Role::Server { self.history.last() } else { 0 }
    }

    /// Takes a stream out: its bytes that were not consumed no longer count against the connection's window.
    fn forget(&mut self, slot: Slot, out: &mut Vec<u8>) {
        let stream = self.streams.get(slot);
        let held = stream.unconsumed - stream.set_aside;
        self.streams.remove(slot);
        self.release(held, out);
    }

    /// Takes a stream out if both sides have ended it and all of it is consumed.
    fn forget_if_closed(&mut self, slot: Slot) {
        let stream = self.streams.get(slot);
        if stream.state == State::Closed && stream.unconsumed == 0 {
            self.streams.remove(slot);
        }
    }

    /// Gives bytes back to the connection's window.
    fn release(&mut self, bytes: u32, out: &mut Vec<u8>) {
        if let Some(increment) = self.receive_window.release(bytes, self.config.connection_window()) {
            frame::write_window_update(0, increment, out);
        }
    }

    /// A stream that was not processed, by the peer's GOAWAY.
    fn not_processed(&mut self, lent: &mut Lent<'_>) -> Option<Event> {
        let goaway = self.goaway.filter(|_| self.role == Role::Client)?;
        let (id, slot) = self.streams.last_above(goaway.last)?;
        self.history.reset(id);
        self.forget(slot, lent.out);
        Some(Event::Reset { stream: StreamId(id), cause: ResetCause::NotProcessed })
    }

    /// Bytes of a stream's content were used up, and are granted to the peer again.
    pub fn consume(&mut self, stream: StreamId, bytes: usize, out: &mut Vec<u8>) {
        let Some(slot) = self.streams.find(stream.0) else { return };
        let state = self.streams.get_mut(slot);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(state.unconsumed);
        state.unconsumed -= bytes;
        let set_aside = bytes.min(state.set_aside);
        state.set_aside -= set_aside;
        if !state.state.is_remote_ended()
            && let Some(increment) = state.receive.release(bytes, self.receive_initial)
        {
            frame::write_window_update(stream.0, increment, out);
        }
        self.release(bytes - set_aside, out);
        self.forget_if_closed(slot);
    }

    /// Bytes of a stream's content wait for their reader: they are granted to the peer's other streams again, so that these do
    /// not wait as well. To this stream they are once they are consumed.
    pub fn set_aside(&mut self, stream: StreamId, bytes: usize, out: &mut Vec<u8>) {
        let Some(slot) = self.streams.find(stream.0) else { return };
        let state = self.streams.get_mut(slot);
        let held = state.unconsumed - state.set_aside;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(held);
        state.set_aside += bytes;
        self.release(bytes, out);
    }

    /// Begins an orderly end (§6.8). A server names the highest id first, so that requests in flight are not lost, and the
    /// real one once the peer has answered a PING, or when this is called again. A client opens no further stream.
    pub fn shut_down(&mut self, out: &mut Vec<u8>) {
        match (self.role, self.shutdown) {
            (_, Shutdown::Final(_)) => {}
            (Role::Server, Shutdown::No) => {
                frame::write_goaway(MAX_STREAM_ID, ErrorCode::NO_ERROR, out);
                frame::write_ping(0, SHUTDOWN_PING, out);
                self.shutdown = Shutdown::Announced;
            }
            _ => {
                let last = self.last_of_peer();
                frame::write_goaway(last, ErrorCode::NO_ERROR, out);
                self.shutdown = Shutdown::Final(last);
            }
        }
    }

    /// Whether the connection may be closed: one side has ended it, and no stream is left.
    pub fn is_finished(&self) -> bool {
        let ended = matches!(self.shutdown, Shutdown::Final(_)) || self.goaway.is_some();
        matches!(self.reading, Reading::Failed(_)) || ended && self.streams.len() == 0
    }

    /// Ends the connection with this code, for a reason that the caller has found: a timeout. `out` gets the GOAWAY.
    pub fn give_up(&mut self, code: ErrorCode, out: &mut Vec<u8>) {
        if !matches!(self.reading, Reading::Failed(_)) {
            let last = self.last_of_peer();
            frame::write_goaway(last, code, out);
            self.shutdown = Shutdown::Final(last);
        }
    }

    /// Whether either side has announced the end, or the connection has failed.
    pub fn is_going_away(&self) -> bool {
        self.shutdown != Shutdown::No || self.goaway.is_some() || matches!(self.reading, Reading::Failed(_))
    }

    /// Whether the peer's first SETTINGS were received.
    pub fn has_settings(&self) -> bool {
        self.has_settings
    }

    /// Gives memory back that a connection without streams does not need.
    pub fn release_memory(&mut self) {
        self.streams.shrink();
        self.encoder.release_memory();
    }

    /// What the peer has set.
    pub fn peer_settings(&self) -> &PeerSettings {
        &self.peer
    }

    /// Whether the peer has acknowledged our SETTINGS (§6.5.3).
    pub fn settings_acknowledged(&self) -> bool {
        self.unacknowledged == 0
    }

    /// Whether the peer is within a header block: no other frame may follow until it ends.
    pub fn is_within_block(&self) -> bool {
        self.block.is_some()
    }

    /// Streams that are not closed, or not consumed.
    pub fn stream_count(&self) -> usize {
        self.streams.len()
    }

    /// Since when a stream that has something to send is kept from it by its window or the connection's: a peer that keeps
    /// windows shut holds what is to be sent. `None`: it is not.
    pub fn blocked_since(&self, stream: StreamId) -> Option<u64> {
        let stream = self.streams.get(self.streams.find(stream.0)?);
        if !stream.wants_to_send {
            return None;
        }
        match (stream.blocked_since, self.blocked_since) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// The streams of the moment, in the order of their ids.
    pub fn stream_ids(&self) -> impl Iterator<Item = StreamId> + '_ {
        self.streams.ids().map(StreamId)
    }

    /// What we may send, what the peer may send, and what was consumed but not announced, of the connection's windows.
    #[cfg(test)]
    pub(super) fn windows(&self) -> (usize, usize, u32) {
        let receive = self.receive_window;
        (self.send_window.available(), receive.available(), receive.released())
    }

    #[cfg(test)]
    pub(super) fn is_between_frames(&self) -> bool {
        self.reading == Reading::Frame && self.block.is_none()
    }

    #[cfg(test)]
    pub(super) fn use_ids_up_to(&mut self, id: u32) {
        self.history.open(id);
    }

    /// A response's priority.
    pub fn priority(&self, stream: StreamId) -> Option<Priority> {
        self.streams.find(stream.0).map(|slot| self.streams.get(slot).priority)
    }
}
