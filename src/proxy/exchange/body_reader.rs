//! Where a body is read, whatever version carries it.

use super::body::Part;
use crate::http::{Trailers, may_trail, put_line};
use crate::http1::{Body, BodyError, Framing};
use crate::http2::FieldList;
use crate::io::file::{FileBody, Filled};
use crate::io::stream::{Closed, More};
use crate::io::{Buffer, Reader, StreamError, Writer};
use crate::proxy::http2::{self, SpareBytes};

/// One direction of a stream, behind the head.
#[derive(Debug)]
pub(crate) enum BodyReader<'a> {
    /// Of an HTTP/1 connection.
    H1 {
        /// The connection.
        reader: &'a mut Reader,
        /// What is left of the body.
        body: &'a mut Body,
    },
    /// Of a stream of an HTTP/2 connection.
    H2 {
        /// The stream.
        stream: &'a http2::Stream,
        /// What is known of the end of its content.
        content: &'a mut Content,
    },
    /// Of a file.
    File(&'a mut FileBody),
}

/// What is known of the end of an HTTP/2 message's content.
#[derive(Debug, Default)]
pub(crate) struct Content {
    /// All of it was taken.
    over: bool,
    /// The trailers that may be passed on, as lines.
    trailers: SpareBytes,
}

impl Content {
    /// Of a message without content or trailers.
    pub(crate) fn none() -> Self {
        Self { over: true, trailers: SpareBytes::default() }
    }

    /// Whether all of it was taken.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// The trailers that may be passed on.
    pub(crate) fn trailers(&self) -> Trailers<'_> {
        Trailers::of(self.trailers.as_slice())
    }

    /// Takes note of what `stream` has received so far.
    fn note(&mut self, stream: &http2::Stream) {
        if self.over || !stream.is_over() {
            return;
        }
        self.over = true;
        if let Some(list) = stream.take_trailers() {
            put_trailers(&list, self.trailers.appendable());
            http2::Stream::give_fields(list);
        }
    }
}

/// Appends those fields of a trailer section that may be passed on. Their names are tokens.
fn put_trailers(list: &FieldList, out: &mut Vec<u8>) {
    for field in list.iter() {
        let name = std::str::from_utf8(field.name).unwrap_or_default();
        if may_trail(name) {
            put_line(name, field.value, out);
        }
    }
}

/// What is left of the body of a response, of either version.
#[derive(Debug)]
pub(crate) struct BodyState {
    pub(crate) body: Body,
    pub(crate) content: Content,
}

impl BodyState {
    /// A body of which nothing has been read.
    pub(crate) fn new(framing: Framing) -> Self {
        let content = if framing == Framing::None { Content::none() } else { Content::default() };
        Self { body: Body::new(framing), content }
    }

    /// The trailers that may be passed on, once it was read whole.
    pub(crate) fn trailers(&self) -> Trailers<'_> {
        let of_stream = self.content.trailers();
        if of_stream.is_empty() { self.body.trailers() } else { of_stream }
    }
}

impl BodyReader<'_> {
    /// Takes what the buffer holds of the body, behind `skip` bytes that are given up.
    ///
    /// # Errors
    /// The body broke the rules of its framing.
    pub(crate) fn take(&mut self, buffer: &mut Buffer, skip: usize) -> Result<Part, BodyError> {
        match self {
            Self::H1 { body, .. } => super::body::take(buffer, skip, body),
            Self::H2 { stream, content } => {
                content.note(stream);
                Ok(Part::all(buffer, skip, content.over))
            }
            Self::File(file) => Ok(Part::all(buffer, skip, file.is_over())),
        }
    }

    /// Takes what has arrived of a short body of which a part came with its head. Most senders send the rest in a record or
    /// a segment of its own, close behind: one send less for us.
    pub(crate) fn take_arrived(&mut self, buffer: &mut Buffer, head_len: usize, framing: Framing) {
        match self {
            Self::H1 { reader, .. } => super::body::take_rest(reader, buffer, head_len, framing),
            Self::H2 { stream, .. } => {
                stream.take_arrived(buffer);
            }
            Self::File(_) => {}
        }
    }

    /// Adds at least a byte; 0 means the sender's end.
    pub(crate) async fn fill(&mut self, buffer: Buffer) -> (Result<usize, StreamError>, Buffer) {
        match self {
            Self::H1 { reader, .. } => reader.fill(buffer).await,
            Self::H2 { stream, .. } => stream.read(buffer).await,
            Self::File(file) => {
                let (result, buffer) = file.fill(buffer).await;
                (result.map_err(StreamError::from), buffer)
            }
        }
    }

    /// The same within a long body. Up to `unseen` bytes may come in a pipe: see [`Reader::read_on`].
    pub(crate) async fn read_on(
        &mut self,
        buffer: Buffer,
        unseen: u64,
    ) -> (Result<More, StreamError>, Buffer) {
        match self {
            Self::H1 { reader, body } => {
                let due = due(body);
                reader.read_on(buffer, due, unseen).await
            }
            Self::H2 { stream, .. } => {
                let (result, buffer) = stream.read(buffer).await;
                (result.map(More::Read), buffer)
            }
            Self::File(file) => {
                let (result, buffer) = file.fill_on(buffer, unseen).await;
                let more = result.map(|filled| match filled {
                    Filled::Read(n) => More::Read(n),
                    Filled::Unseen(pipe) => More::Unseen(pipe),
                });
                (more.map_err(StreamError::from), buffer)
            }
        }
    }

    /// How many bytes of the body the kernel may move to `writer`: those of a body that is not in chunks, on plain streams.
    /// `None`: none.
    pub(crate) fn may_pass_unseen(&self, writer: &Writer) -> Option<u64> {
        match self {
            Self::H1 { reader, body: Body::Length { left } } if reader.is_as_plain_as(writer) => Some(*left),
            Self::H1 { reader, body: Body::UntilClose } if reader.is_as_plain_as(writer) => Some(u64::MAX),
            Self::File(file) if writer.is_plain() => Some(file.due()),
            _ => None,
        }
    }

    /// Takes note that `n` bytes have passed unseen.
    pub(crate) fn pass(&mut self, n: u64) {
        if let Self::H1 { body, .. } = self {
            body.pass(n);
        }
    }

    /// Whether all of the body was taken.
    pub(crate) fn is_done(&self) -> bool {
        match self {
            Self::H1 { body, .. } => body.is_done(),
            Self::H2 { content, .. } => content.over,
            Self::File(file) => file.is_over(),
        }
    }

    /// Takes note of the sender's end.
    ///
    /// # Errors
    /// The body had not ended: what was passed on of it must not seem complete.
    pub(crate) fn eof(&mut self) -> Result<(), BodyError> {
        match self {
            Self::H1 { reader, body } => {
                if reader.closed() == Closed::Truncated && matches!(body, Body::UntilClose) {
                    // Without close_notify it is unknown whether this was all (RFC 9112 §9.8).
                    return Err(BodyError::Truncated);
                }
                body.eof()
            }
            Self::H2 { stream, content } => {
                content.note(stream);
                if content.over { Ok(()) } else { Err(BodyError::Truncated) }
            }
            // It has become shorter than it was.
            Self::File(file) if !file.is_over() => Err(BodyError::Truncated),
            Self::File(_) => Ok(()),
        }
    }

    /// The trailer fields to pass on, once the body has ended.
    pub(crate) fn trailers(&self) -> Trailers<'_> {
        match self {
            Self::H1 { body, .. } => body.trailers(),
            Self::H2 { content, .. } => content.trailers(),
            Self::File(_) => Trailers::default(),
        }
    }
}

/// How many bytes are certain to arrive.
fn due(body: &Body) -> Option<u64> {
    match *body {
        Body::Length { left } => Some(left),
        _ => None,
    }
}
