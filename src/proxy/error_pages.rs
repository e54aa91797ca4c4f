//! Error pages: the responses that Ringate makes itself when a request fails.
//!
//! Plain words, unless the config has a page for the status. A client that prefers JSON gets a problem
//! document (RFC 9457). What a backend answers gets such a page only where `error_pages.intercept` says so.

use std::borrow::Cow;

use crate::base::limits::MAX_REQUEST_ID_BYTES;
use crate::http::{self, PLAIN_TEXT, grpc, quality};

/// The pages of a listener or of a route.
#[derive(Debug, PartialEq, Eq)]
pub struct Pages {
    /// Whether clients that prefer JSON get it.
    pub json: bool,
    /// By status.
    pub exact: Vec<(u16, Page)>,
    /// By the status' first digit.
    pub classes: Vec<(u16, Page)>,
}

/// What a client gets for a status.
#[derive(Debug, PartialEq, Eq)]
pub enum Page {
    /// A body, taken apart.
    Content {
        /// Its media type.
        media_type: String,
        /// What it is made of.
        parts: Vec<Part>,
    },
    /// A redirect to another place.
    Elsewhere {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// The place.
        location: String,
    },
}

/// Part of a page.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// Written as it is.
    Text(String),
    /// `{status}`
    Status,
    /// `{reason}`
    Reason,
    /// `{request.id}`
    RequestId,
}

const VARIABLES: [(&str, Part); 3] =
    [("{status}", Part::Status), ("{reason}", Part::Reason), ("{request.id}", Part::RequestId)];

/// The client's preferred form of an error response, kept for as long as its exchange lasts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ErrorFormat {
    json: bool,
    id: [u8; MAX_REQUEST_ID_BYTES],
    id_len: usize,
}

/// How a client gets the response to a failure.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ErrorContext {
    /// Its request was HEAD.
    pub(crate) head_only: bool,
    /// What it likes best, where there are pages.
    pub(crate) format: Option<ErrorFormat>,
    /// Its request was a call of gRPC: the response is one, too.
    pub(crate) grpc: Option<grpc::Call>,
    /// Its route by its index, if it has one: that may have pages of its own.
    pub(crate) route: Option<u32>,
}

/// An error response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ErrorBody {
    /// The status, or that of a redirect in its place.
    pub status: u16,
    /// `Content-Type`
    pub media_type: Cow<'static, str>,
    /// The body.
    pub body: String,
    /// Further fields, each ended by CRLF.
    pub fields: Cow<'static, str>,
}

impl Page {
    /// A page of this text. Braces that hold no variable stay: style sheets have them.
    pub fn new(text: &str, media_type: &str) -> Self {
        let mut parts = Vec::new();
        let mut rest = text;
        let next = |rest: &str| {
            let found = VARIABLES.iter().filter_map(|(name, part)| Some((rest.find(name)?, *name, part)));
            found.min_by_key(|(at, ..)| *at)
        };
        while let Some((at, name, part)) = next(rest) {
            parts.push(Part::Text(rest[..at].to_owned()));
            parts.push(match part {
                Part::Status => Part::Status,
                Part::Reason => Part::Reason,
                _ => Part::RequestId,
            });
            rest = &rest[at + name.len()..];
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| *part != Part::Text(String::new()));
        Self::Content { media_type: media_type.to_owned(), parts }
    }

    fn response(&self, status: u16, id: &str, fields: &'static str) -> ErrorBody {
        let (media_type, parts) = match self {
            Self::Content { media_type, parts } => (media_type, parts),
            Self::Elsewhere { status, location } => {
                let fields = format!("{fields}Location: {location}\r\n");
                return ErrorBody { fields: fields.into(), ..ErrorBody::plain(*status, "") };
            }
        };
        let mut body = String::new();
        for part in parts {
            match part {
                Part::Text(text) => body.push_str(text),
                Part::Status => body.push_str(&status.to_string()),
                Part::Reason => body.push_str(http::reason_phrase(status)),
                Part::RequestId => body.push_str(id),
            }
        }
        ErrorBody { status, media_type: media_type.clone().into(), body, fields: fields.into() }
    }
}

impl ErrorBody {
    /// Status and reason in words.
    fn plain(status: u16, fields: &'static str) -> Self {
        let body = format!("{status} {}\n", http::reason_phrase(status));
        Self { status, media_type: PLAIN_TEXT.into(), body, fields: fields.into() }
    }
}

impl ErrorFormat {
    /// The preference of a request with these fields.
    pub(crate) fn of<'a>(headers: impl IntoIterator<Item = (&'a [u8], &'a [u8])>, id: &str) -> Self {
        let accept = headers.into_iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"accept"));
        let json = prefers_json(accept.map(|(_, value)| value));
        Self { json, id: [0; MAX_REQUEST_ID_BYTES], id_len: 0 }.with_id(id)
    }

    /// The preference in the bytes of a head, which may be malformed. It has no id yet.
    pub(crate) fn in_bytes(head: &[u8]) -> Self {
        let lines = head.split(|&byte| byte == b'\n').skip(1).take_while(|line| line.len() > 1);
        let fields = lines.filter_map(|line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            Some((&line[..colon], &line[colon + 1..]))
        });
        Self::of(fields, "")
    }

    /// The same with the id of its request.
    pub(crate) fn with_id(self, id: &str) -> Self {
        let mut bytes = [0; MAX_REQUEST_ID_BYTES];
        let id_len = id.len().min(bytes.len());
        bytes[..id_len].copy_from_slice(&id.as_bytes()[..id_len]);
        Self { id: bytes, id_len, ..self }
    }
}

/// The response to a client for a status; without pages or a preference, as plain text.
pub(crate) fn render(status: u16, pages: Option<&Pages>, format: Option<ErrorFormat>) -> ErrorBody {
    let (Some(pages), Some(format)) = (pages, format) else { return ErrorBody::plain(status, "") };
    let reason = http::reason_phrase(status);
    let fields = if pages.json { "Vary: Accept\r\n" } else { "" };
    let id = std::str::from_utf8(&format.id[..format.id_len]).unwrap_or_default();
    if pages.json && format.json {
        // Both are ours, and plain ASCII.
        let body = format!(
            "{{\"type\":\"about:blank\",\"title\":\"{reason}\",\"status\":{status},\"request_id\":\"{id}\"}}\n"
        );
        let media_type = "application/problem+json".into();
        return ErrorBody { status, media_type, body, fields: fields.into() };
    }
    let exact = pages.exact.iter().find(|(known, _)| *known == status);
    match exact.or_else(|| pages.classes.iter().find(|(class, _)| *class == status / 100)) {
        Some((_, page)) => page.response(status, id, fields),
        None => ErrorBody::plain(status, fields),
    }
}

/// Whether JSON is named and wanted more than text, or as much and before it (RFC 9110 §12.5.1).
fn prefers_json<'a>(accept: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut json = 0;
    let mut text = 0;
    for range in accept.flat_map(|value| value.split(|&byte| byte == b',')) {
        let mut parts = range.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts.find_map(quality).unwrap_or(1000);
        match &*media {
            b"application/json" | b"application/problem+json" => {
                // Later ones don't get before a text of the same weight.
                json = if weight > text { weight.max(json) } else { json };
            }
            b"text/html" | b"text/plain" | b"text/*" => text = weight.max(text),
            _ => {}
        }
    }
    json > 0 && json >= text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn json_is_for_those_who_prefer_it() {
        for (accept, json) in [
            ("application/json", true),
            ("application/problem+json", true),
            ("application/json, text/plain, */*", true),
            ("text/plain, application/json", false),
            ("text/html;q=0.5, application/json", true),
            ("text/html, application/json;q=0.9", false),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", false),
            ("*/*", false),
            ("application/json;q=0", false),
            ("application/json;q=x", false),
            ("APPLICATION/JSON ; charset=utf-8 ; Q=1.0", true),
            ("", false),
        ] {
            assert_eq!(prefers_json([accept.as_bytes()].into_iter()), json, "{accept}");
        }
        let head = b"GET / HTTP/1.1\r\nHost: h\x01\r\nAccept: application/json\r\n\r\nAccept: text/html";
        assert!(ErrorFormat::in_bytes(head).json);
        assert!(!ErrorFormat::in_bytes(b"\xff").json);
    }

    #[test]
    fn a_page_says_what_happened() {
        let pages = Pages {
            json: true,
            exact: vec![(
                404,
                Page::new("<style>a { b: {c} }</style>{status} {reason} {request.id}{x}", "text/html"),
            )],
            classes: vec![(5, Page::new("{status}", "text/plain"))],
        };
        let location = "/sorry".to_owned();
        let elsewhere = Pages {
            json: false,
            exact: vec![(503, Page::Elsewhere { status: 303, location })],
            classes: vec![],
        };
        let format = |json| Some(ErrorFormat { json, ..ErrorFormat::of([], ID) });
        let body = render(404, Some(&pages), format(false));
        assert_eq!(body.body, "<style>a { b: {c} }</style>404 Not Found 0123456789abcdef0123456789abcdef{x}");
        assert_eq!((&*body.media_type, &*body.fields), ("text/html", "Vary: Accept\r\n"));
        assert_eq!(render(503, Some(&pages), format(false)).body, "503");
        assert_eq!(render(400, Some(&pages), format(false)).body, "400 Bad Request\n");
        let body = render(404, Some(&pages), format(true));
        let json: serde_json::Value = serde_json::from_str(&body.body).unwrap();
        assert_eq!((&json["status"], &json["title"]), (&404.into(), &"Not Found".into()));
        assert_eq!(render(404, None, format(true)).body, "404 Not Found\n");
        let body = render(503, Some(&elsewhere), format(true));
        assert_eq!((body.status, &*body.fields), (303, "Location: /sorry\r\n"));
    }
}
