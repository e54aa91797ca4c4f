//! What heads mean and how they are forwarded, as tables of raw bytes.

mod encoding;
mod properties;
mod requests;
mod responses;
mod streams;

use super::*;
use crate::http::{
    ForwardedFor, HeadEdit, OutgoingRequest, PathRewrite, RequestContext, RequestHead, ResponseHead, Upgrade,
    Version, reason_phrase,
};

pub(super) const LIMITS: HeadLimits = HeadLimits { head_bytes: 1024, headers: 20, target_bytes: 100 };

/// What goes to a backend of a request, where no rule changes it.
pub(super) fn encode_request(
    head: &RequestHead<'_, '_>,
    path: PathRewrite<'_>,
    forwarded: &ForwardedFor<'_>,
    host: Option<&str>,
    out: &mut Vec<u8>,
) {
    let request = OutgoingRequest::new(head, path, host, forwarded, &HeadEdit::default(), Vec::new());
    super::encode_request(&request, out);
}

/// What goes to a client of a response, where no rule changes it.
pub(super) fn encode_response(
    head: &ResponseHead<'_, '_>,
    to: &ResponseContext,
    out: &mut Vec<u8>,
) -> Framing {
    super::encode_response(head, &HeadEdit::default(), to, out)
}

/// What was understood of a request, on one line; what is usual (HTTP/1.1, no body, persistent) is left out.
pub(super) fn request(buf: &[u8]) -> Result<String, RequestError> {
    let mut slots = header_slots();
    let head = match parse_request(buf, &mut slots, &LIMITS)? {
        Parsed::Partial => return Ok("partial".into()),
        Parsed::Complete(head) => head,
    };
    let mut line = format!("{} {}", head.method.as_str(), head.target.path);
    if let Some(query) = head.target.query {
        line += &format!(" ?{query}");
    }
    line += &format!(" @{}", head.host.unwrap_or("-"));
    if head.version == Version::Http10 {
        line += " 1.0";
    }
    if head.framing != Framing::None {
        line += &format!(" {:?}", head.framing);
    }
    for (says, word) in [(!head.keep_alive, " close"), (head.expect_continue, " expect")] {
        if says {
            line += word;
        }
    }
    if let Some(protocol) = head.upgrade {
        line += &format!(" upgrade {protocol}");
    }
    if head.len != buf.len() {
        line += &format!(" len {}", head.len);
    }
    Ok(line)
}

/// The same for a response.
pub(super) fn response(buf: &[u8], to: &RequestContext) -> Result<String, ResponseError> {
    let mut slots = header_slots();
    let head = match parse_response(buf, &mut slots, &LIMITS, to)? {
        Parsed::Partial => return Ok("partial".into()),
        Parsed::Complete(head) => head,
    };
    let mut line = format!("{} {}", head.status, head.reason);
    if head.version == Version::Http10 {
        line += " 1.0";
    }
    if head.framing != Framing::None {
        line += &format!(" {:?}", head.framing);
    }
    if let (Framing::None, Some(length)) = (head.framing, head.content_length) {
        line += &format!(" says {length}");
    }
    if !head.keep_alive {
        line += " close";
    }
    if let Some(protocol) = head.upgrade {
        line += &format!(" upgrade {protocol}");
    }
    if head.len != buf.len() {
        line += &format!(" len {}", head.len);
    }
    Ok(line)
}
