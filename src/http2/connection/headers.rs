//! HEADERS and CONTINUATION of the peer (RFC 9113 §6.2, §6.10 and §8).

use super::super::config::Role;
use super::super::error::{Flood, Malformed, Violation};
use super::super::event::{Event, HeadKind, StreamId};
use super::super::frame::{self, FrameHeader};
use super::super::message::{check_request, check_response, check_trailers};
use super::super::stream::{Part, Section, State};
use super::super::streams::{Past, Slot, Stream};
use super::{Connection, HeaderBlock, Lent, Shutdown};
use crate::base::limits::{HTTP2_TABLE_EVICTIONS_PER_BLOCK, MAX_INTERIM_RESPONSES};

/// A header block that is whole, but for its bytes.
#[derive(Clone, Copy)]
struct Block {
    stream: u32,
    end_stream: bool,
    depends_on_itself: bool,
}

/// What a header block is for.
enum Target {
    /// A stream that the peer opens by it.
    New,
    Live(Slot),
    /// A stream that we have reset: it is decoded, for the table's sake, and dropped.
    Dropped,
}

impl Connection {
    pub(super) fn headers(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        lent: &mut Lent<'_>,
    ) -> Result<Option<Event>, Violation> {
        if header.stream == 0 {
            return Err(Violation::StreamZero);
        }
        let mut fragment = frame::without_padding(payload, header.flags)?;
        let mut depends_on_itself = false;
        if header.has(frame::PRIORITY) {
            let (priority, rest) = fragment.split_first_chunk::<5>().ok_or(Violation::FrameLength)?;
            depends_on_itself = frame::dependency(priority) == header.stream;
            fragment = rest;
        }
        let end_stream = header.has(frame::END_STREAM);
        if header.has(frame::END_HEADERS) {
            return self.block(
                Block { stream: header.stream, end_stream, depends_on_itself },
                fragment,
                lent,
            );
        }
        let block = HeaderBlock {
            stream: header.stream,
            end_stream,
            depends_on_itself,
            fragments: fragment.to_vec(),
            frames: 0,
        };
        self.block = Some(Box::new(block));
        Ok(None)
    }

    pub(super) fn continuation(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        lent: &mut Lent<'_>,
    ) -> Result<Option<Event>, Violation> {
        let Some(mut open) = self.block.take() else { return Err(Violation::ContinuationUnexpected) };
        open.frames += 1;
        if open.frames > self.config.floods.continuations {
            return Err(Violation::Flood(Flood::Continuations));
        }
        if open.fragments.len() + payload.len() > self.config.max_block_bytes() {
            return Err(Violation::Flood(Flood::HeaderBlock));
        }
        open.fragments.extend_from_slice(payload);
        if !header.has(frame::END_HEADERS) {
            self.block = Some(open);
            return Ok(None);
        }
        let block = Block {
            stream: open.stream,
            end_stream: open.end_stream,
            depends_on_itself: open.depends_on_itself,
        };
        self.block(block, &open.fragments, lent)
    }

    /// A whole header block. It is decoded in any case: the table of the peer's encoder has to be followed (§4.3).
    fn block(
        &mut self,
        block: Block,
        fragment: &[u8],
        lent: &mut Lent<'_>,
    ) -> Result<Option<Event>, Violation> {
        let target = self.target(block.stream)?;
        lent.fields.clear(self.config.fields);
        let churn = self.decoder.decode(fragment, lent.fields)?;
        if churn > HTTP2_TABLE_EVICTIONS_PER_BLOCK {
            let beyond = churn - HTTP2_TABLE_EVICTIONS_PER_BLOCK;
            self.guard.count_all(Flood::Table, beyond, &self.config.floods)?;
        }
        match target {
            Target::Dropped => self.count(Flood::ClosedStreams).map(|()| None),
            Target::New => self.request(block, lent).map(Some),
            Target::Live(slot) => {
                if block.depends_on_itself {
                    return Err(Violation::SelfDependency);
                }
                let section = self.streams.get(slot).state.section(block.end_stream)?;
                if !lent.fields.is_within() {
                    return Err(Violation::HeaderListTooLarge);
                }
                self.guard.useful();
                match section {
                    Section::Head => self.response(block, slot, lent).map(Some),
                    Section::Trailers => self.trailers(slot, lent).map(Some),
                }
            }
        }
    }

    fn target(&self, id: u32) -> Result<Target, Violation> {
        if let Some(slot) = self.streams.find(id) {
            return Ok(Target::Live(slot));
        }
        match (self.past(id), self.role) {
            (Past::Idle, Role::Server) if !id.is_multiple_of(2) => Ok(Target::New),
            (Past::Idle, Role::Server) => Err(Violation::StreamParity),
            (Past::Idle, Role::Client) => Err(Violation::StreamIdle),
            (Past::Unused, _) => Err(Violation::StreamOrder),
            // Of a forgotten one it is not known any more whether we had reset it.
            (Past::Reset | Past::Forgotten, _) => Ok(Target::Dropped),
            (Past::Closed, _) => Err(Violation::StreamClosed),
        }
    }

    /// A request: a new stream. From here on its id is in use, whatever is wrong with it.
    fn request(&mut self, block: Block, lent: &mut Lent<'_>) -> Result<Event, Violation> {
        let id = block.stream;
        self.history.open(id);
        if block.depends_on_itself {
            return Err(Violation::SelfDependency);
        }
        if matches!(self.shutdown, Shutdown::Final(last) if id > last) {
            return Err(Violation::GoingAway);
        }
        if self.streams.len() >= self.config.max_concurrent_streams as usize {
            return Err(Violation::StreamLimit);
        }
        let end_stream = block.end_stream;
        let state = State::Open { local: Part::Head, remote: Part::Head }.receive_head(false, end_stream);
        let mut stream = Stream::new(id, state, self.peer.initial_window, self.receive_initial);
        if !lent.fields.is_within() {
            self.count(Flood::HeadsTooLarge)?;
            self.streams.insert(stream);
            return Ok(Event::HeadTooLarge { stream: StreamId(id), end_stream });
        }
        let facts = check_request(lent.fields, self.config.connect_protocol)?;
        if end_stream && facts.content_length.is_some_and(|length| length > 0) {
            return Err(Malformed::LengthShort.into());
        }
        self.guard.useful();
        stream.expected = facts.content_length;
        let early = self.early_priority.take_if(|(early, _)| *early <= id);
        let early = early.filter(|(early, _)| *early == id).map(|(_, priority)| priority);
        stream.priority = early.or(facts.priority).unwrap_or_default();
        self.streams.insert(stream);
        Ok(Event::Head { stream: StreamId(id), kind: HeadKind::Request, end_stream })
    }

    /// A response, interim or final.
    fn response(&mut self, block: Block, slot: Slot, lent: &mut Lent<'_>) -> Result<Event, Violation> {
        let facts = check_response(lent.fields)?;
        let interim = facts.status < 200;
        let stream = self.streams.get_mut(slot);
        if interim {
            if block.end_stream {
                return Err(Malformed::InterimEnds.into());
            }
            stream.interim = stream.interim.saturating_add(1);
            if usize::from(stream.interim) > MAX_INTERIM_RESPONSES {
                return Err(Malformed::TooManyInterim.into());
            }
        } else {
            // Content-Length is not a length where there can be no content (RFC 9110 §6.4.1).
            let empty = stream.is_head_request || matches!(facts.status, 204 | 304);
            stream.expected = if empty { Some(0) } else { facts.content_length };
            if block.end_stream && stream.expected.is_some_and(|length| length > 0) {
                return Err(Malformed::LengthShort.into());
            }
        }
        stream.state = stream.state.receive_head(interim, block.end_stream);
        self.forget_if_closed(slot);
        let kind = if interim { HeadKind::Interim } else { HeadKind::Response };
        Ok(Event::Head { stream: StreamId(block.stream), kind, end_stream: block.end_stream })
    }

    fn trailers(&mut self, slot: Slot, lent: &mut Lent<'_>) -> Result<Event, Violation> {
        check_trailers(lent.fields)?;
        let stream = self.streams.get(slot);
        if stream.expected.is_some_and(|length| length > 0) {
            return Err(Malformed::LengthShort.into());
        }
        let id = StreamId(stream.id);
        self.end_remote(slot);
        Ok(Event::Trailers { stream: id })
    }
}
