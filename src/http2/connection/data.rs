//! DATA of the peer (RFC 9113 §6.1).

use super::super::error::{Flood, Malformed, Violation};
use super::super::event::{Event, StreamId};
use super::super::flow::Exceeded;
use super::super::frame::{self, FRAME_HEADER_BYTES, FrameHeader};
use super::super::streams::{Past, Slot};
use super::{Connection, Lent, Reading};

impl Connection {
    /// A frame's header and, where there is one, its padding's length. Content is handed out as it is received.
    pub(super) fn data(
        &mut self,
        header: FrameHeader,
        rest: &[u8],
        lent: &mut Lent<'_>,
    ) -> Result<Option<(usize, Option<Event>)>, Violation> {
        if header.stream == 0 {
            return Err(Violation::StreamZero);
        }
        let (padding, overhead) = match (header.has(frame::PADDED), rest.first()) {
            (false, _) => (0, 0),
            (true, _) if header.length == 0 => return Err(Violation::Padding),
            (true, None) => return Ok(None),
            (true, Some(&padding)) => (u32::from(padding), 1),
        };
        let content = (header.length - overhead).checked_sub(padding).ok_or(Violation::Padding)?;
        let used = FRAME_HEADER_BYTES + overhead as usize;
        self.receive_window.take(header.length).map_err(|Exceeded| Violation::ConnectionWindowExceeded)?;
        let end_stream = header.has(frame::END_STREAM);
        if content == 0 && !end_stream {
            self.count(Flood::EmptyData)?;
        }
        let slot = match self.accept_data(header, content, end_stream) {
            Ok(Some(slot)) => slot,
            verdict => {
                // What is not handed out counts against no window.
                self.skip(header.length - overhead);
                self.release(header.length, lent.out);
                let Err(violation) = verdict else { return Ok(Some((used, None))) };
                return Ok(Some((used, self.refuse(header.stream, violation, lent.out)?)));
            }
        };
        self.release_padding(slot, header.length - content, end_stream, lent);
        if content > 0 {
            self.guard.useful();
            self.reading = Reading::Content { stream: header.stream, left: content, padding, end_stream };
            return Ok(Some((used, None)));
        }
        self.skip(padding);
        let event = end_stream.then(|| {
            self.end_remote(slot);
            Event::Data { stream: StreamId(header.stream), data: 0..0, end_stream }
        });
        Ok(Some((used, event)))
    }

    /// The stream that DATA is for; `None` if it is for one that we have reset.
    fn accept_data(
        &mut self,
        header: FrameHeader,
        content: u32,
        end_stream: bool,
    ) -> Result<Option<Slot>, Violation> {
        let Some(slot) = self.streams.find(header.stream) else {
            return match self.past(header.stream) {
                Past::Idle => Err(Violation::StreamIdle),
                Past::Unused => Err(Violation::StreamOrder),
                Past::Reset => self.count(Flood::ClosedStreams).map(|()| None),
                Past::Closed | Past::Forgotten => Err(Violation::StreamEnded),
            };
        };
        let stream = self.streams.get_mut(slot);
        stream.state.receive_data()?;
        stream.receive.take(header.length).map_err(|Exceeded| Violation::StreamWindowExceeded)?;
        if let Some(expected) = &mut stream.expected {
            *expected = expected.checked_sub(u64::from(content)).ok_or(Malformed::LengthExceeded)?;
            if end_stream && *expected > 0 {
                return Err(Malformed::LengthShort.into());
            }
        }
        Ok(Some(slot))
    }

    fn release_padding(&mut self, slot: Slot, bytes: u32, end_stream: bool, lent: &mut Lent<'_>) {
        if bytes == 0 {
            return;
        }
        let stream = self.streams.get_mut(slot);
        if !end_stream && let Some(increment) = stream.receive.release(bytes, self.receive_initial) {
            frame::write_window_update(stream.id, increment, lent.out);
        }
        self.release(bytes, lent.out);
    }

    /// A piece of content.
    pub(super) fn content(&mut self, input: &[u8], lent: &mut Lent<'_>) -> Option<(usize, Option<Event>)> {
        let Reading::Content { stream: id, left, padding, end_stream } = self.reading else { return None };
        let used = input.len().min(left as usize);
        if used == 0 {
            return None;
        }
        let left = left - used as u32;
        match left {
            0 => self.skip(padding),
            _ => self.reading = Reading::Content { stream: id, left, padding, end_stream },
        }
        let Some(slot) = self.streams.find(id) else {
            self.release(used as u32, lent.out); // the stream was reset within the frame
            return Some((used, None));
        };
        self.streams.get_mut(slot).unconsumed += used as u32;
        let end_stream = end_stream && left == 0;
        if end_stream {
            self.end_remote(slot);
        }
        Some((used, Some(Event::Data { stream: StreamId(id), data: 0..used, end_stream })))
    }

    /// The peer's END_STREAM.
    pub(super) fn end_remote(&mut self, slot: Slot) {
        let stream = self.streams.get_mut(slot);
        stream.state = stream.state.end_remote();
        self.forget_if_closed(slot);
    }
}
