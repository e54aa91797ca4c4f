//! One request to a backend, as an operator has written it, and its whole response: connect, handshake with a chosen identity,
//! request, response within bounds.

use std::time::Instant;

use data_encoding::BASE64;
use serde::Serialize;

use super::http1::final_response;
use super::http2::{self, Fault};
use super::report::Report;
use super::wire::{Connection, Event, MOST, WireError};
use super::{Target, answer, open};
use crate::http::{KnownField, reason_phrase};
use crate::http1::Body;
use crate::http2::RequestLine;

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// A method, in capitals.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// The Host field.
    pub(crate) host: String,
    /// Further fields. None of them has a line end in it.
    pub(crate) fields: Vec<(String, String)>,
    /// The content.
    pub(crate) body: Vec<u8>,
}

/// What came back.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Invoked {
    /// Of the connection: `ok`, `tls`, `chain`, `client_certificate`, `milliseconds`, `problem`.
    #[serde(flatten)]
    pub(crate) report: Report,
    /// The response, if there was one.
    pub(crate) response: Option<Response>,
}

/// A response.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Response {
    pub(crate) status: u16,
    reason: String,
    headers: Vec<(String, String)>,
    /// Text, or base64 where it is none.
    pub(crate) body: String,
    body_is_base64: bool,
    /// There is more of it than is shown.
    pub(crate) truncated: bool,
}

impl Response {
    /// The content, as it was sent.
    pub(crate) fn content(&self) -> Vec<u8> {
        match self.body_is_base64 {
            true => BASE64.decode(self.body.as_bytes()).unwrap_or_default(),
            false => self.body.clone().into_bytes(),
        }
    }
}

/// Makes a request, for the target's timeout at most. What went wrong is in the report.
pub(crate) fn invoke(target: &Target, call: &Call) -> Invoked {
    let begun = Instant::now();
    let until = begun + target.timeout;
    let mut report = Report::new(target);
    let result = open(target, until, &mut report).and_then(|mut connection| {
        let alpn = report.tls.as_ref().and_then(|tls| tls.alpn.as_deref());
        let response = match target.takes_http2(alpn) {
            true => exchange_http2(&mut connection, target, call, &mut report, until),
            false => exchange(&mut connection, call, &mut report, until),
        };
        connection.close();
        response
    });
    report.milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let response = match result {
        Ok(response) => Some(response),
        Err(problem) => {
            report.problem = Some(problem);
            None
        }
    };
    report.ok = response.is_some();
    Invoked { report, response }
}

fn exchange(
    connection: &mut Connection,
    call: &Call,
    report: &mut Report,
    until: Instant,
) -> Result<Response, String> {
    let Call { method, target, host, fields, body } = call;
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    fields.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
    if !body.is_empty() || matches!(&**method, "POST" | "PUT" | "PATCH") {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    request.push_str("\r\n");
    // A server that has refused us may have closed already: its reason is still there to read.
    let sent = connection.send(&[request.as_bytes(), body].concat());
    let mut is_over = false;
    loop {
        if let Some(response) = parse(&connection.plaintext, method, is_over)? {
            return Ok(response);
        }
        if is_over {
            return Err(answer::ended(report, sent.as_ref().err().unwrap_or(&WireError::Closed)));
        }
        match connection.next(until) {
            Ok(Event::Data | Event::Control) => is_over = connection.plaintext.len() >= MOST,
            Ok(Event::End) => is_over = true,
            Err(WireError::Timeout) if !connection.plaintext.is_empty() => is_over = true,
            Err(WireError::Timeout) => return Err(format!("no answer to {method} {target} in time")),
            Err(error) => return Err(answer::ended(report, &error)),
        }
    }
}

/// The same by HTTP/2.
fn exchange_http2(
    connection: &mut Connection,
    target: &Target,
    call: &Call,
    report: &mut Report,
    until: Instant,
) -> Result<Response, String> {
    let request = http2::Request {
        line: RequestLine {
            method: &call.method,
            scheme: Some(target.scheme()),
            authority: &call.host,
            path: Some(&call.target),
            protocol: None,
        },
        fields: call.fields.iter().filter(|(name, _)| is_of_streams(name)).cloned().collect(),
        content: &call.body,
    };
    match http2::ask(connection, &request, |_| false, until) {
        Ok(http2::Response { status, fields, content, .. }) => {
            let truncated = content.len() >= MOST;
            let (body, body_is_base64) = text_or_base64(content);
            let reason = reason_phrase(status).to_owned();
            Ok(Response { status, reason, headers: fields, body, body_is_base64, truncated })
        }
        Err(Fault::Wire(WireError::Timeout)) => {
            Err(format!("no answer to {} {} in time", call.method, call.target))
        }
        Err(Fault::Wire(error)) => Err(answer::ended(report, &error)),
        Err(Fault::Http2(reason)) => Err(reason),
    }
}

/// Whether a field is about the request, and not about an HTTP/1.1 connection or its framing (RFC 9113 §8.2.2).
fn is_of_streams(name: &str) -> bool {
    matches!(KnownField::of(name), KnownField::Other | KnownField::Expect | KnownField::MaxForwards)
}

/// Text, or base64 where it is none; and which of them.
fn text_or_base64(content: Vec<u8>) -> (String, bool) {
    match String::from_utf8(content) {
        Ok(text) => (text, false),
        Err(error) => (BASE64.encode(error.as_bytes()), true),
    }
}

/// The response, once it is whole, or `is_over`: then as much of it as there is.
///
/// # Errors
/// It is no response of HTTP/1.1.
fn parse(bytes: &[u8], method: &str, is_over: bool) -> Result<Option<Response>, String> {
    let response = final_response(bytes, method, |head, rest| {
        let mut content = Vec::new();
        let (mut rest, mut body) = (rest.to_vec(), Body::new(head.framing));
        let mut done = method == "HEAD";
        while !done {
            let taken = body.take(&mut rest).map_err(|error| format!("response body: {error}"))?;
            content.extend_from_slice(&rest[taken.data.clone()]);
            done = taken.done;
            if taken.consumed == 0 {
                break;
            }
            rest.drain(..taken.consumed);
        }
        // A body that ends with the connection is whole by that.
        let truncated = !done && bytes.len() >= MOST;
        if !done && !is_over {
            return Ok(None);
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = head.fields.iter().map(|field| (field.name.to_owned(), text(field.value))).collect();
        let (body, body_is_base64) = text_or_base64(content);
        let reason = head.reason.to_owned();
        Ok(Some(Response { status: head.status, reason, headers, body, body_is_base64, truncated }))
    })?;
    response.unwrap_or(Ok(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_read_whole_whatever_its_framing() {
        let whole = |text: &str, over| {
            parse(text.as_bytes(), "GET", over).unwrap().map(|it| (it.status, it.body, it.truncated))
        };
        let ok = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n";
        assert_eq!(
            whole(&format!("{ok}Content-Length: 2\r\n\r\nab"), false),
            Some((200, "ab".into(), false))
        );
        assert_eq!(whole(&format!("{ok}Content-Length: 3\r\n\r\nab"), false), None);
        let chunked = format!("{ok}Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n");
        assert_eq!(whole(&chunked, false), Some((200, "abc".into(), false)));
        assert_eq!(whole(&format!("{ok}\r\nto the end"), false), None);
        assert_eq!(whole(&format!("{ok}\r\nto the end"), true), Some((200, "to the end".into(), false)));
        let long = format!("{ok}\r\n{}", "x".repeat(MOST));
        assert!(whole(&long, true).unwrap().2);
        assert!(parse(b"220 smtp\r\n", "GET", false).is_err());
    }
}
