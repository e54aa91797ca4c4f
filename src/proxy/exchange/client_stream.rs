//! The client's side of one exchange: its request, and the way back to it.

use super::body::{Frame, Part, Piece};
use super::body_reader::{BodyReader, Content as ReceivedContent};
use super::body_writer::BodyWriter;
use super::head_lines;
use super::tunnel_end::TunnelEnd;
use crate::base::limits::Limits;
use crate::http::{
    BodyLength, Content, HeadEdit, RequestHead, ResponseHead, Trailers, Version, grpc, put_line,
};
use crate::http1::{
    self, Body, BodyError, Envelope, Framing, HeadLimits, Parsed, RequestError, ResponseContext,
};
use crate::http2::{ErrorCode, FieldLines, FieldList, Unserved};
use crate::io::stream::Keep;
use crate::io::{Buffer, PeerHandle, Stream, StreamError, Writer};
use crate::proxy::http2;
use crate::proxy::stream_peer::StreamPeer;

/// A request whose head was read, and its response. An exchange has no other way to its client.
#[derive(Debug)]
pub(crate) enum ClientStream<'c> {
    /// HTTP/1: all of a connection, for as long as the request lasts.
    H1 {
        /// The connection.
        stream: &'c mut Stream,
        /// The head in the client's buffer, and the framing of the body behind it.
        envelope: Envelope,
        /// What is left of the body.
        body: Body,
    },
    /// HTTP/2: a stream of a connection.
    H2 {
        /// The stream.
        stream: &'c http2::Stream,
        /// What is known of the end of its content.
        content: ReceivedContent,
        /// The connection.
        connection: &'c PeerHandle,
    },
}

/// Where the response is written.
#[derive(Debug)]
pub(crate) enum ResponseWriter<'s> {
    /// See [`ClientStream::H1`].
    H1(&'s mut Writer),
    /// See [`ClientStream::H2`].
    H2 {
        /// The stream.
        stream: &'s http2::Stream,
        /// The connection.
        connection: &'s PeerHandle,
    },
}

/// A whole response of Ringate's own, encoded for its client.
#[derive(Debug)]
pub(crate) struct EncodedReply {
    status: u16,
    bytes: Vec<u8>,
    /// Of these, so many are the head.
    head: usize,
}

/// The end that Ringate gives a response of gRPC which began: its client would read nothing else as one.
#[derive(Debug)]
pub(crate) struct CallEnd {
    /// How the client learns of it.
    pub(crate) call: grpc::Call,
    /// The trailers that it gets, as lines.
    pub(crate) lines: Vec<u8>,
}

impl EncodedReply {
    /// A response of which so many bytes are the head.
    pub(crate) fn of(status: u16, bytes: Vec<u8>, head: usize) -> Self {
        Self { status, bytes, head }
    }

    /// Its bytes, and how many of them are the head.
    pub(crate) fn into_parts(self) -> (Vec<u8>, usize) {
        (self.bytes, self.head)
    }

    /// Bytes of head and body.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

impl<'c> ClientStream<'c> {
    /// Hands `understood` the head of the HTTP/1 request at the front of `bytes`. `None`: it is not whole yet.
    ///
    /// # Errors
    /// The client broke the rules of its version.
    pub(crate) fn read_head<R>(
        bytes: &[u8],
        limits: &Limits,
        understood: impl FnOnce(&RequestHead<'_, '_>, Envelope) -> R,
    ) -> Result<Option<R>, RequestError> {
        let mut slots = http1::header_slots();
        match http1::parse_request(bytes, &mut slots, &HeadLimits::from(limits))? {
            Parsed::Complete(head) => Ok(Some(understood(&head, head.envelope()))),
            Parsed::Partial => Ok(None),
        }
    }

    /// Hands `understood` the head of an HTTP/2 request.
    ///
    /// # Errors
    /// It is not served, whatever the configuration.
    pub(crate) fn read_fields<R>(
        fields: &FieldList,
        end_stream: bool,
        understood: impl FnOnce(&RequestHead<'_, '_>, Envelope) -> R,
    ) -> Result<R, Unserved> {
        let envelope = Envelope { len: 0, framing: Framing::None, keep_alive: true };
        fields.with_request(end_stream, |head| understood(head, envelope))
    }

    /// Whether the HTTP/1 request at the front of `bytes`, which may be malformed, is HEAD.
    pub(crate) fn is_head(bytes: &[u8]) -> bool {
        http1::is_head_request(bytes)
    }

    /// The stream of an HTTP/1 connection whose request has this head.
    pub(crate) fn http1(stream: &'c mut Stream, envelope: Envelope) -> Self {
        Self::H1 { stream, envelope, body: Body::new(envelope.framing) }
    }

    /// A stream of an HTTP/2 connection whose request's head was read.
    pub(crate) fn http2(stream: &'c http2::Stream, connection: &'c PeerHandle, body: BodyLength) -> Self {
        // What follows an extended CONNECT is of another protocol.
        let content =
            if body == BodyLength::None { ReceivedContent::none() } else { ReceivedContent::default() };
        Self::H2 { stream, content, connection }
    }

    /// The client, to look at it while the stream is in use.
    pub(crate) fn peer(&self) -> StreamPeer {
        match self {
            Self::H1 { stream, .. } => StreamPeer::H1(stream.reader.peer()),
            Self::H2 { stream, connection, .. } => {
                StreamPeer::H2 { connection: (*connection).clone(), stream: stream.watch() }
            }
        }
    }

    /// Takes what has arrived of the body: on HTTP/1 it is in `buffer`, behind the head.
    ///
    /// # Errors
    /// The body broke the rules of its framing.
    pub(crate) fn take_first(&mut self, buffer: &mut Buffer) -> Result<Part, BodyError> {
        match self {
            Self::H1 { envelope, body, .. } => super::body::take(buffer, envelope.len, body),
            Self::H2 { stream, content, .. } => {
                if !content.is_over() {
                    stream.take_arrived(buffer);
                }
                BodyReader::H2 { stream, content }.take(buffer, 0)
            }
        }
    }

    /// Reads on behind what `buffer` has.
    pub(crate) async fn fill(&mut self, buffer: Buffer) -> (Result<usize, StreamError>, Buffer) {
        match self {
            Self::H1 { stream, .. } => stream.reader.fill(buffer).await,
            Self::H2 { stream, .. } => stream.read(buffer).await,
        }
    }

    /// Whether all of the body was read. `None`: a read that was broken off may have lost some of it.
    pub(crate) fn is_body_over(&self) -> Option<bool> {
        match self {
            Self::H1 { .. } => None,
            Self::H2 { content, .. } => Some(content.is_over()),
        }
    }

    /// Whether the client has sent more than was read.
    pub(crate) fn has_arrived(&self) -> bool {
        match self {
            Self::H1 { stream, .. } => stream.reader.peer().has_arrived(),
            Self::H2 { .. } => false,
        }
    }

    /// Ends the response before its end, so that the client does not take it for whole. Of HTTP/1 that ends the connection.
    pub(crate) fn reset(&mut self) {
        match self {
            Self::H1 { stream, .. } => stream.reset(),
            Self::H2 { stream, .. } => stream.set_code(ErrorCode::INTERNAL_ERROR),
        }
    }

    /// Ends a response of gRPC that began, whatever was to follow of it. In gRPC-Web the last part of it was written whole, and
    /// ends with a message.
    ///
    /// # Errors
    /// The stream has ended, or its trailers were sent.
    pub(crate) async fn end_call(&mut self, end: &CallEnd) -> Result<(), StreamError> {
        let mut frame = Vec::new();
        if let grpc::Call::Web(web) = end.call {
            web.put_trailers(Trailers::of(&end.lines), &mut frame);
        }
        match self {
            Self::H1 { stream, .. } => {
                let mut wire = http1::chunk_header(frame.len(), &mut [0; 20]).to_vec();
                wire.extend_from_slice(&frame);
                wire.extend_from_slice(b"\r\n");
                http1::encode_last_chunk(Trailers::default(), &mut wire);
                stream.writer.write_bytes(&wire).await
            }
            Self::H2 { stream, .. } if frame.is_empty() => {
                stream.give_up_unsent();
                stream.send_trailers(FieldLines::of(&end.lines))
            }
            Self::H2 { stream, .. } => stream.write_bytes(&frame, true).await,
        }
    }

    /// All of it, for another protocol.
    pub(crate) fn tunnel_end(&mut self) -> TunnelEnd<'_> {
        match self {
            Self::H1 { stream, .. } => TunnelEnd::H1(stream),
            Self::H2 { stream, connection, .. } => TunnelEnd::H2 { stream, connection },
        }
    }

    /// Both of its directions, which an exchange may use at the same time.
    pub(crate) fn split(&mut self) -> (BodyReader<'_>, ResponseWriter<'_>) {
        match self {
            Self::H1 { stream: Stream { reader, writer, .. }, body, .. } => {
                (BodyReader::H1 { reader, body }, ResponseWriter::H1(writer))
            }
            Self::H2 { stream, content, connection } => {
                (BodyReader::H2 { stream, content }, ResponseWriter::H2 { stream, connection })
            }
        }
    }
}

impl<'s> ResponseWriter<'s> {
    /// Of an HTTP/1 connection whose request was not understood.
    pub(crate) fn http1(stream: &'s mut Stream) -> Self {
        Self::H1(&mut stream.writer)
    }

    /// Of a stream of an HTTP/2 connection.
    pub(crate) fn http2(stream: &'s http2::Stream, connection: &'s PeerHandle) -> Self {
        Self::H2 { stream, connection }
    }

    /// Encodes a response of Ringate's own: `fields` are further field lines, checked where they were made. `head_only`: its
    /// content is not sent.
    pub(crate) fn encode_local(
        &self,
        status: u16,
        (fields, content): (&[u8], Option<Content<'_>>),
        (close, head_only): (bool, bool),
        edit: &HeadEdit<'_>,
    ) -> EncodedReply {
        let mut bytes = Vec::new();
        match self {
            Self::H1(_) => http1::encode_answer(status, fields, content, close, edit, &mut bytes),
            Self::H2 { .. } => head_lines::answer_lines(fields, content, edit, &mut bytes),
        }
        let head = bytes.len();
        if let Some(content) = content.filter(|_| !head_only) {
            bytes.extend_from_slice(content.bytes);
        }
        EncodedReply { status, bytes, head }
    }

    /// Encodes a failure for a client of gRPC, which reads no other response: it is in `grpc-status`, and the status is 200
    /// (Trailers-Only). Otherwise as [`encode_local`](Self::encode_local).
    pub(crate) fn encode_grpc(
        &self,
        (status, code): (u16, u8),
        call: grpc::Call,
        fields: &[u8],
        close: bool,
        edit: &HeadEdit<'_>,
    ) -> EncodedReply {
        let mut lines = fields.to_vec();
        head_lines::put_grpc(status, code, &mut lines);
        let media_type = call.response_type();
        let media_type = String::from_utf8_lossy(&media_type);
        let mut bytes = Vec::new();
        match self {
            Self::H1(_) => {
                let content = Some(Content { media_type: &media_type, bytes: b"" });
                http1::encode_answer(200, &lines, content, close, edit, &mut bytes);
            }
            Self::H2 { .. } => {
                put_line("content-type", media_type.as_bytes(), &mut lines);
                head_lines::answer_lines(&lines, None, edit, &mut bytes);
            }
        }
        EncodedReply { status: 200, head: bytes.len(), bytes }
    }

    /// Writes a whole response, head and body in one send.
    pub(crate) async fn write_local(&mut self, reply: &EncodedReply) -> Result<(), StreamError> {
        match self {
            Self::H1(writer) => writer.write_bytes(&reply.bytes).await,
            Self::H2 { stream, .. } => {
                let (head, body) = reply.bytes.split_at(reply.head);
                stream.send_response(reply.status, FieldLines::of(head), body.is_empty())?;
                stream.write_bytes(body, !body.is_empty()).await
            }
        }
    }

    /// Encodes a response's head, changed by `edit`, to a client of `version`. Returns how its body is framed. `close`: the
    /// connection ends after the response.
    pub(crate) fn encode_head(
        &self,
        head: &ResponseHead<'_, '_>,
        edit: &HeadEdit<'_>,
        (version, close): (Version, bool),
        out: &mut Vec<u8>,
    ) -> Framing {
        match self {
            Self::H1(_) => http1::encode_response(head, edit, &ResponseContext { version, close }, out),
            Self::H2 { .. } => head_lines::response_lines(head, edit, head.status == 101, out),
        }
    }

    /// How a body of this framing is sent to the client.
    pub(crate) fn frame(&self, framing: Framing) -> Frame {
        match self {
            Self::H1(_) => Frame::of(framing),
            Self::H2 { .. } => Frame::Stream,
        }
    }

    /// Writes the encoded head of an interim response, or of one that changes the protocol (101).
    pub(crate) async fn write_head(&mut self, status: u16, encoded: &[u8]) -> Result<(), StreamError> {
        match self {
            Self::H1(writer) => writer.write_bytes(encoded).await,
            // The response to an extended CONNECT (RFC 8441 §5).
            Self::H2 { stream, .. } if status == 101 => {
                stream.send_response(200, FieldLines::of(encoded), false)
            }
            Self::H2 { stream, .. } => stream.send_interim(status, FieldLines::of(encoded)),
        }
    }

    /// Tells a client that waits for it to send the content of its request (RFC 9110 §10.1.1).
    pub(crate) async fn write_continue(&mut self) -> Result<(), StreamError> {
        match self {
            Self::H1(_) => self.write_head(100, b"HTTP/1.1 100 Continue\r\n\r\n").await,
            Self::H2 { .. } => self.write_head(100, b"").await,
        }
    }

    /// What goes in front of the first part of a body, in its buffer: on HTTP/1 the encoded head.
    pub(crate) fn lead<'h>(&self, encoded: &'h [u8]) -> &'h [u8] {
        match self {
            Self::H1(_) => encoded,
            Self::H2 { .. } => &[],
        }
    }

    /// Writes the head of a final response that is not the body's [`lead`](Self::lead). `ends`: nothing follows it.
    ///
    /// # Errors
    /// The stream has ended, or cannot carry this head.
    pub(crate) fn begin(&self, status: u16, encoded: &[u8], ends: bool) -> Result<(), StreamError> {
        match self {
            Self::H1(_) => Ok(()),
            Self::H2 { stream, .. } => stream.send_response(status, FieldLines::of(encoded), ends),
        }
    }

    /// Writes part of a body, with the head in front of it where there is one.
    pub(crate) async fn write_piece(
        &mut self,
        piece: &Piece,
        buffer: Buffer,
    ) -> (Result<(), StreamError>, Buffer) {
        match self {
            Self::H1(writer) => piece.write(writer, buffer, Keep::Nothing).await,
            Self::H2 { .. } if piece.is_end() => (Ok(()), buffer),
            Self::H2 { stream, connection } => {
                BodyWriter::H2 { stream, connection }.write_piece(piece, buffer, Keep::Nothing).await
            }
        }
    }

    /// What is written behind the head.
    pub(crate) fn body(self) -> BodyWriter<'s> {
        match self {
            Self::H1(writer) => BodyWriter::H1(writer),
            Self::H2 { stream, connection } => BodyWriter::H2 { stream, connection },
        }
    }
}
