//! One request by HTTP/2 over a blocking connection: what checks need, and no more.

use std::sync::Arc;
use std::time::Instant;

use super::wire::{Connection, Event as Wire, MOST, WireError};
use crate::http2::{self, Config, Event, Field, FieldList, HeadKind, RequestLine, SendError, StreamId};

/// A request: its pseudo-fields, its fields, and its content.
pub(super) struct Request<'a> {
    pub(super) line: RequestLine<'a>,
    pub(super) fields: Vec<(String, String)>,
    pub(super) content: &'a [u8],
}

/// A response, as far as it is read.
#[derive(Debug, Default)]
pub(super) struct Response {
    /// 0: there is no final response yet.
    pub(super) status: u16,
    /// The fields of its final head.
    pub(super) fields: Vec<(String, String)>,
    /// At most [`MOST`] bytes of it.
    pub(super) content: Vec<u8>,
    /// `grpc-status` of the trailers, or else of the head.
    pub(super) grpc_status: Option<String>,
    /// It has ended, or enough of it was read.
    pub(super) is_over: bool,
}

/// Why there is no response.
pub(super) enum Fault {
    /// The connection's.
    Wire(WireError),
    /// The peer's use of HTTP/2, in words.
    Http2(String),
}

/// Makes a request, and reads its response until it is over or `enough` of it is there.
pub(super) fn ask(
    connection: &mut Connection,
    request: &Request<'_>,
    enough: impl Fn(&Response) -> bool,
    until: Instant,
) -> Result<Response, Fault> {
    let mut codec = http2::Connection::client(Arc::new(Config::default()));
    let (mut out, mut list) = (Vec::new(), FieldList::new());
    codec.start(&mut out);
    let unsent = |error: SendError| Fault::Http2(error.to_string());
    let stream = send(&mut codec, request, &mut out).map_err(unsent)?;
    let mut content = request.content;
    let mut response = Response::default();
    let begun = Instant::now();
    loop {
        if !content.is_empty() {
            // As much as the windows have room for.
            let length = codec.send_data(stream, content, true, &mut out).map_err(unsent)?;
            content = &content[length..];
        }
        let sent = connection.send(&out);
        out.clear();
        loop {
            let now = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            let received =
                codec.receive(&connection.plaintext, now, &mut list, &mut out).map_err(|violation| {
                    Fault::Http2(format!("the backend broke the rules of HTTP/2: {violation}"))
                })?;
            if let Some(event) = &received.event {
                note(event, &list, &connection.plaintext, &mut response)?;
            }
            connection.plaintext.drain(..received.consumed);
            match received.event {
                Some(Event::Data { data, .. }) => codec.consume(stream, data.len(), &mut out),
                Some(_) => {}
                None => break,
            }
        }
        if response.is_over || enough(&response) {
            codec.shut_down(&mut out);
            let _ = connection.send(&out);
            return Ok(response);
        }
        match connection.next(until).map_err(Fault::Wire)? {
            Wire::Data | Wire::Control => {}
            Wire::End => return Err(Fault::Wire(sent.err().unwrap_or(WireError::Closed))),
        }
    }
}

fn send(
    codec: &mut http2::Connection,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<StreamId, SendError> {
    let field = |(name, value): &'_ (String, String)| (name.clone(), value.clone());
    let fields: Vec<_> = request.fields.iter().map(field).collect();
    let fields = fields.iter().map(|(name, value)| Field {
        name: name.as_bytes(),
        value: value.as_bytes(),
        never_indexed: false,
    });
    codec.send_request(&request.line, fields, request.content.is_empty(), out)
}

/// Takes note of what was received.
fn note(event: &Event, list: &FieldList, input: &[u8], response: &mut Response) -> Result<(), Fault> {
    let grpc_status = || list.get(b"grpc-status").map(|code| String::from_utf8_lossy(code).into_owned());
    match event {
        Event::Head { kind: HeadKind::Response, end_stream, .. } => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            response.status = list.status().unwrap_or(0);
            response.fields = list.iter().map(|field| (text(field.name), text(field.value))).collect();
            response.grpc_status = grpc_status();
            response.is_over = *end_stream;
        }
        Event::Data { data, end_stream, .. } => {
            response.content.extend_from_slice(&input[data.clone()]);
            response.is_over = *end_stream || response.content.len() >= MOST;
        }
        Event::Trailers { .. } => {
            response.grpc_status = grpc_status();
            response.is_over = true;
        }
        Event::Reset { cause, .. } => {
            return Err(Fault::Http2(format!("the backend did not answer: {cause:?}")));
        }
        Event::Head { .. }
        | Event::HeadTooLarge { .. }
        | Event::Refused { .. }
        | Event::WindowAvailable { .. }
        | Event::Settings
        | Event::Priority { .. }
        | Event::Pong { .. }
        | Event::GoAway { .. } => {}
    }
    Ok(())
}
