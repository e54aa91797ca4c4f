//! What we send: heads, content, trailers, resets.

use super::super::config::Role;
use super::super::error::{ErrorCode, SendError};
use super::super::event::StreamId;
use super::super::field_lines::FieldSource;
use super::super::frame::{self, END_STREAM, FRAME_HEADER_BYTES, Kind, MAX_STREAM_ID};
use super::super::hpack::PseudoField;
use super::super::message::RequestLine;
use super::super::stream::{Part, State};
use super::super::streams::{Slot, Stream};
use super::{Connection, Reading, Shutdown};
use crate::base::limits::HTTP2_FIRST_STREAMS;

/// Largest DATA frame that we send, however much the peer takes, in bytes: so that others get their turn.
const LARGEST_DATA: usize = 16_384;

impl Connection {
    /// Streams that may be opened now: what the peer's limit leaves, or 0 once either side is going away. Clients only.
    pub fn capacity(&self) -> usize {
        let going_away = self.goaway.is_some() || self.shutdown != Shutdown::No || self.is_failed();
        if self.role == Role::Server || going_away || self.next_id().is_none() {
            return 0;
        }
        let first = if self.has_settings { u32::MAX } else { HTTP2_FIRST_STREAMS };
        let limit = self.peer.max_concurrent_streams.unwrap_or(first);
        (limit as usize).saturating_sub(self.streams.len())
    }

    fn is_failed(&self) -> bool {
        matches!(self.reading, Reading::Failed(_))
    }

    fn next_id(&self) -> Option<u32> {
        let next = self.history.last() + if self.history.last() == 0 { 1 } else { 2 };
        (next <= MAX_STREAM_ID).then_some(next)
    }

    /// Sends a request's head on a new stream. Fields that belong to HTTP/1 connections are left out (§8.2.2), and so is
    /// Host: `:authority` has it. Names are sent in lower case.
    ///
    /// # Errors
    /// The peer takes no stream now, or not this request. Nothing was written.
    pub fn send_request<'a>(
        &mut self,
        line: &RequestLine<'_>,
        fields: impl FieldSource<'a>,
        end_stream: bool,
        out: &mut Vec<u8>,
    ) -> Result<StreamId, SendError> {
        if self.role == Role::Server {
            return Err(SendError::State);
        }
        if self.is_failed() {
            return Err(SendError::Closed);
        }
        if self.goaway.is_some() || self.shutdown != Shutdown::No {
            return Err(SendError::GoingAway);
        }
        let id = self.next_id().ok_or(SendError::StreamIds)?;
        if self.capacity() == 0 {
            return Err(SendError::StreamLimit);
        }
        if line.protocol.is_some() && !self.peer.connect_protocol {
            return Err(SendError::ConnectProtocol);
        }
        let pseudo = [
            (PseudoField::Method, Some(line.method)),
            (PseudoField::Scheme, line.scheme),
            (PseudoField::Authority, Some(line.authority)),
            (PseudoField::Path, line.path),
            (PseudoField::Protocol, line.protocol),
        ];
        let pseudo = pseudo.into_iter().filter_map(|(name, value)| Some((name, value?.as_bytes())));
        self.write_block(id, pseudo, fields, end_stream, out)?;
        let state = State::Open { local: Part::Head, remote: Part::Head }.send_head(false, end_stream)?;
        let mut stream = Stream::new(id, state, self.peer.initial_window, self.receive_initial);
        stream.is_head_request = line.method == "HEAD";
        self.history.open(id);
        self.streams.insert(stream);
        self.guard.useful();
        Ok(StreamId(id))
    }

    /// Sends an interim response's head: status 1xx, but for 101.
    ///
    /// # Errors
    /// The stream's state or a field does not allow it. Nothing was written.
    pub fn send_interim<'a>(
        &mut self,
        stream: StreamId,
        status: u16,
        fields: impl FieldSource<'a>,
        out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        if !(100..200).contains(&status) || status == 101 {
            return Err(SendError::Field);
        }
        self.send_head(stream, status, fields, false, out)
    }

    /// Sends the final response's head: status 200 to 999.
    ///
    /// # Errors
    /// The stream's state or a field does not allow it. Nothing was written.
    pub fn send_response<'a>(
        &mut self,
        stream: StreamId,
        status: u16,
        fields: impl FieldSource<'a>,
        end_stream: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        if !(200..1000).contains(&status) {
            return Err(SendError::Field);
        }
        self.send_head(stream, status, fields, end_stream, out)
    }

    fn send_head<'a>(
        &mut self,
        stream: StreamId,
        status: u16,
        fields: impl FieldSource<'a>,
        end_stream: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        if self.role == Role::Client {
            return Err(SendError::State);
        }
        let slot = self.slot(stream)?;
        let state = self.streams.get(slot).state.send_head(status < 200, end_stream)?;
        let digits = [status / 100, status / 10 % 10, status % 10].map(|digit| b'0' + digit as u8);
        let pseudo = [(PseudoField::Status, &digits[..])].into_iter();
        self.write_block(stream.0, pseudo, fields, end_stream, out)?;
        self.guard.useful();
        self.sent(slot, state, end_stream);
        Ok(())
    }

    /// Sends trailers, which end the message.
    ///
    /// # Errors
    /// The stream's state or a field does not allow it. Nothing was written.
    pub fn send_trailers<'a>(
        &mut self,
        stream: StreamId,
        fields: impl FieldSource<'a>,
        out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        let slot = self.slot(stream)?;
        let state = self.streams.get(slot).state.send_body(true)?;
        self.write_block(stream.0, std::iter::empty(), fields, true, out)?;
        self.sent(slot, state, true);
        Ok(())
    }

    fn slot(&self, stream: StreamId) -> Result<Slot, SendError> {
        self.streams.find(stream.0).filter(|_| !self.is_failed()).ok_or(SendError::Closed)
    }

    /// Takes a state in that something sent led to.
    fn sent(&mut self, slot: Slot, state: State, end_stream: bool) {
        let stream = self.streams.get_mut(slot);
        stream.state = state;
        if end_stream {
            stream.wants_to_send = false;
            self.streams.unready(slot);
            self.guard.response();
            self.forget_if_closed(slot);
        }
    }

    /// Bytes of content that one DATA frame on this stream may have now.
    pub fn sendable(&self, stream: StreamId) -> usize {
        let Ok(slot) = self.slot(stream) else { return 0 };
        let window = self.streams.get(slot).send.available().min(self.send_window.available());
        window.min(LARGEST_DATA).min(self.peer.max_frame_bytes as usize)
    }

    /// The header of a DATA frame with `length` bytes of content, for a caller that has the content in its output already,
    /// behind [`FRAME_HEADER_BYTES`] free bytes. The frame counts as sent.
    ///
    /// # Errors
    /// The stream's state does not allow it, or `length` is beyond [`sendable`](Self::sendable). Nothing changed.
    pub fn data_header(
        &mut self,
        stream: StreamId,
        length: usize,
        end_stream: bool,
    ) -> Result<[u8; FRAME_HEADER_BYTES], SendError> {
        let slot = self.slot(stream)?;
        let state = self.streams.get(slot).state.send_body(end_stream)?;
        if length > self.sendable(stream) {
            return Err(SendError::State);
        }
        if length > 0 {
            self.guard.useful();
            self.send_window.take(length);
            self.streams.get_mut(slot).send.take(length);
            if self.send_window.available() == 0 {
                self.blocked_since.get_or_insert(self.now);
            }
            self.window_changed(slot);
        }
        self.sent(slot, state, end_stream);
        let flags = if end_stream { END_STREAM } else { 0 };
        Ok(frame::header(Kind::Data, flags, stream.0, length))
    }

    /// Sends content, as much as windows allow, in frames: returns how much. END_STREAM is set on the last byte, so it is
    /// not sent unless all of `data` is.
    ///
    /// # Errors
    /// The stream's state does not allow it. Nothing was written.
    pub fn send_data(
        &mut self,
        stream: StreamId,
        data: &[u8],
        end_stream: bool,
        out: &mut Vec<u8>,
    ) -> Result<usize, SendError> {
        let slot = self.slot(stream)?;
        self.streams.get(slot).state.send_body(end_stream)?;
        let mut sent = 0;
        loop {
            let length = self.sendable(stream).min(data.len() - sent);
            let ends = end_stream && sent + length == data.len();
            if length == 0 && !ends {
                return Ok(sent);
            }
            let start = out.len();
            out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
            out.extend_from_slice(&data[sent..sent + length]);
            // Cannot fail: the state and the length were checked.
            let header = self.data_header(stream, length, ends)?;
            out[start..start + FRAME_HEADER_BYTES].copy_from_slice(&header);
            sent += length;
            if sent == data.len() {
                return Ok(sent);
            }
        }
    }

    /// Notes whether a stream has content to send. [`next_ready`](Self::next_ready) names it then while windows let it.
    pub fn want_to_send(&mut self, stream: StreamId, wants: bool) {
        let Some(slot) = self.streams.find(stream.0) else { return };
        let state = self.streams.get_mut(slot);
        if state.state.is_local_ended() {
            return;
        }
        state.wants_to_send = wants;
        match wants {
            true => self.window_changed(slot),
            false => self.streams.unready(slot),
        }
    }

    /// The stream whose turn it is to send, by urgency and then in turns (RFC 9218 §10). `None`: no stream has something to
    /// send, or windows are shut.
    pub fn next_ready(&mut self) -> Option<StreamId> {
        if self.send_window.available() == 0 || self.is_failed() {
            return None;
        }
        let slot = self.streams.next_ready()?;
        Some(StreamId(self.streams.get(slot).id))
    }

    /// Resets a stream. Content of it that was not consumed is given back. No event follows.
    pub fn reset(&mut self, stream: StreamId, code: ErrorCode, out: &mut Vec<u8>) {
        let Some(slot) = self.streams.find(stream.0) else { return };
        let state = self.streams.get(slot).state;
        if state != State::Closed {
            frame::write_reset(stream.0, code, out);
            self.history.reset(stream.0);
        }
        self.forget(slot, out);
    }

    /// Sends a PING: [`Event::Pong`](super::super::Event::Pong) follows if the peer is alive.
    pub fn ping(&mut self, payload: [u8; 8], out: &mut Vec<u8>) {
        frame::write_ping(0, payload, out);
    }

    /// Sets a response's priority (RFC 9218 §7.1). `value`: as in a `priority` field. Clients only.
    pub fn send_priority_update(&mut self, stream: StreamId, value: &[u8], out: &mut Vec<u8>) {
        if self.role == Role::Client && self.streams.find(stream.0).is_some() {
            frame::write_priority_update(stream.0, value, out);
        }
    }
}
