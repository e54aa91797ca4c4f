//! The peer's frames beside DATA and header blocks (RFC 9113 §6, RFC 9218 §7.1).

use super::super::config::Role;
use super::super::error::{ErrorCode, Flood, Violation};
use super::super::event::{Event, ResetCause, StreamId};
use super::super::flow::Overflow;
use super::super::frame::{self, FrameHeader, Kind, MAX_STREAM_ID, number};
use super::super::priority::Priority;
use super::super::settings::{self, HEADER_TABLE_SIZE};
use super::super::stream::State;
use super::super::streams::Past;
use super::{Connection, GoAway, Lent, SHUTDOWN_PING, Shutdown};

impl Connection {
    /// A frame whose payload is whole.
    pub(super) fn whole_frame(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        lent: &mut Lent<'_>,
    ) -> Result<Option<Event>, Violation> {
        match header.kind {
            Kind::Headers => self.headers(header, payload, lent),
            Kind::Continuation => self.continuation(header, payload, lent),
            Kind::Priority => self.priority_frame(header, payload),
            Kind::RstStream => self.reset_frame(header, payload, lent),
            Kind::Settings => self.settings_frame(header, payload, lent),
            Kind::PushPromise => Err(Violation::PushPromise),
            Kind::Ping => self.ping_frame(header, payload, lent),
            Kind::GoAway => self.goaway_frame(header, payload),
            Kind::WindowUpdate => self.window_frame(header, payload),
            Kind::PriorityUpdate => self.priority_update(header, payload),
            Kind::Data | Kind::Unknown => Ok(None), // not read as a whole
        }
    }

    /// PRIORITY is of no effect (§5.3.2), but has to be well-formed.
    fn priority_frame(&mut self, header: FrameHeader, payload: &[u8]) -> Result<Option<Event>, Violation> {
        if header.stream == 0 {
            return Err(Violation::StreamZero);
        }
        self.count(Flood::Priorities)?;
        let priority = payload.try_into().map_err(|_| Violation::PriorityLength)?;
        match frame::dependency(priority) == header.stream {
            true => Err(Violation::SelfDependency),
            false => Ok(None),
        }
    }

    fn reset_frame(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        lent: &mut Lent<'_>,
    ) -> Result<Option<Event>, Violation> {
        if header.stream == 0 {
            return Err(Violation::StreamZero);
        }
        let code = ErrorCode(number(payload)?);
        let Some(slot) = self.streams.find(header.stream) else {
            if self.past(header.stream) == Past::Idle {
                return Err(Violation::StreamIdle);
            }
            return self.count(Flood::ClosedStreams).map(|()| None);
        };
        let state = self.streams.get(slot).state;
        if state == State::Closed {
            return Ok(None); // its bytes are not consumed yet, but all of them are there
        }
        if self.role == Role::Server && !state.is_local_ended() {
            self.count(Flood::ResetsReceived)?;
        }
        self.forget(slot, lent.out);
        Ok(Some(Event::Reset { stream: StreamId(header.stream), cause: ResetCause::Peer(code) }))
    }

    fn settings_frame(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        lent: &mut Lent<'_>,
    ) -> Result<Option<Event>, Violation> {
        if header.stream != 0 {
            return Err(Violation::StreamNotZero);
        }
        if header.has(frame::ACK) {
            return if payload.is_empty() { self.acknowledged() } else { Err(Violation::FrameLength) };
        }
        self.count(Flood::Settings)?;
        let from_server = self.role == Role::Client;
        let before = self.peer;
        for (id, value) in settings::parse(payload)? {
            self.peer.set(id, value, from_server)?;
            if id == HEADER_TABLE_SIZE {
                self.encoder.set_limit(value); // each: the smallest has to be signalled (RFC 7541 §4.2)
            }
        }
        self.has_settings = true;
        let by = i64::from(self.peer.initial_window) - i64::from(before.initial_window);
        if by != 0 {
            self.change_send_windows(by)?;
        }
        frame::write_settings_ack(lent.out);
        Ok(Some(Event::Settings))
    }

    /// SETTINGS_INITIAL_WINDOW_SIZE changes the windows of all streams, and may make them negative (§6.9.2).
    fn change_send_windows(&mut self, by: i64) -> Result<(), Violation> {
        for at in 0..self.streams.len() {
            let slot = self.streams.at(at);
            let stream = self.streams.get_mut(slot);
            stream.send.change(by).map_err(|Overflow| Violation::SettingsWindowOverflow)?;
            self.window_changed(slot);
        }
        Ok(())
    }

    /// Puts a stream among the ready ones, or takes it out, depending on its window.
    pub(super) fn window_changed(&mut self, slot: u32) {
        let now = self.now;
        let stream = self.streams.get_mut(slot);
        if stream.send.available() > 0 {
            stream.blocked_since = None;
            self.streams.ready(slot);
        } else {
            stream.blocked_since.get_or_insert(now);
            self.streams.unready(slot);
        }
    }

    /// Our SETTINGS are in force.
    fn acknowledged(&mut self) -> Result<Option<Event>, Violation> {
        self.unacknowledged = self.unacknowledged.checked_sub(1).ok_or(Violation::SettingsAckUnexpected)?;
        self.decoder.set_limit(self.config.decoder_table_bytes);
        let by = i64::from(self.config.stream_window()) - i64::from(self.receive_initial);
        self.receive_initial = self.config.stream_window();
        for at in 0..self.streams.len() {
            let slot = self.streams.at(at);
            self.streams.get_mut(slot).receive.change(by);
        }
        Ok(None)
    }

    fn ping_frame(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        lent: &mut Lent<'_>,
    ) -> Result<Option<Event>, Violation> {
        if header.stream != 0 {
            return Err(Violation::StreamNotZero);
        }
        let payload: [u8; 8] = payload.try_into().map_err(|_| Violation::FrameLength)?;
        self.count(Flood::Pings)?;
        if !header.has(frame::ACK) {
            frame::write_ping(frame::ACK, payload, lent.out);
            return Ok(None);
        }
        if payload == SHUTDOWN_PING && self.shutdown == Shutdown::Announced {
            self.shut_down(lent.out);
            return Ok(None);
        }
        Ok(Some(Event::Pong { payload }))
    }

    fn goaway_frame(&mut self, header: FrameHeader, payload: &[u8]) -> Result<Option<Event>, Violation> {
        if header.stream != 0 {
            return Err(Violation::StreamNotZero);
        }
        let (numbers, _debug_data) = payload.split_first_chunk::<8>().ok_or(Violation::FrameLength)?;
        let (last, code) = numbers.split_at(4);
        let last = number(last)? & MAX_STREAM_ID;
        if self.goaway.is_some_and(|before| last > before.last) {
            return Err(Violation::GoAwayIncreased);
        }
        self.count(Flood::Settings)?;
        self.goaway = Some(GoAway { last });
        Ok(Some(Event::GoAway { last: StreamId(last), code: ErrorCode(number(code)?) }))
    }

    fn window_frame(&mut self, header: FrameHeader, payload: &[u8]) -> Result<Option<Event>, Violation> {
        let increment = number(payload)? & MAX_STREAM_ID;
        self.count(Flood::WindowUpdates)?;
        if header.stream == 0 {
            return self.connection_window_frame(increment);
        }
        let Some(slot) = self.streams.find(header.stream) else {
            return match self.past(header.stream) {
                Past::Idle => Err(Violation::StreamIdle),
                // Whether its response was whole before must not matter.
                Past::Closed if increment == 0 => Err(Violation::StreamWindowZero),
                _ => Ok(None),
            };
        };
        if increment == 0 {
            return Err(Violation::StreamWindowZero);
        }
        let stream = self.streams.get_mut(slot);
        let was_shut = stream.send.available() == 0;
        stream.send.change(i64::from(increment)).map_err(|Overflow| Violation::StreamWindowOverflow)?;
        let opened = was_shut && stream.send.available() > 0 && !stream.state.is_local_ended();
        self.window_changed(slot);
        Ok(opened.then_some(Event::WindowAvailable { stream: Some(StreamId(header.stream)) }))
    }

    fn connection_window_frame(&mut self, increment: u32) -> Result<Option<Event>, Violation> {
        if increment == 0 {
            return Err(Violation::ConnectionWindowZero);
        }
        let was_shut = self.send_window.available() == 0;
        let changed = self.send_window.change(i64::from(increment));
        changed.map_err(|Overflow| Violation::ConnectionWindowOverflow)?;
        self.blocked_since = None;
        Ok(was_shut.then_some(Event::WindowAvailable { stream: None }))
    }

    fn priority_update(&mut self, header: FrameHeader, payload: &[u8]) -> Result<Option<Event>, Violation> {
        if header.stream != 0 {
            return Err(Violation::StreamNotZero);
        }
        let (id, value) = payload.split_first_chunk::<4>().ok_or(Violation::FrameLength)?;
        let id = u32::from_be_bytes(*id) & MAX_STREAM_ID;
        if self.role == Role::Client || id.is_multiple_of(2) {
            return Err(Violation::PriorityUpdate);
        }
        self.count(Flood::Priorities)?;
        let Some(priority) = Priority::parse(value) else { return Ok(None) };
        if let Some(slot) = self.streams.find(id) {
            self.streams.prioritise(slot, priority);
            return Ok(Some(Event::Priority { stream: StreamId(id) }));
        }
        if self.past(id) == Past::Idle {
            self.early_priority = Some((id, priority));
        }
        Ok(None)
    }
}
