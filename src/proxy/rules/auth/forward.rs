//! `auth.forward`: a service that is asked about each request.
//!
//! ```text
//! request, all other rules passed ─► ForwardCheck ─► the service ─► ForwardAnswer ─► 2xx: it passes, with fields of the service
//!                                                                        ├─► 3xx, 4xx: the client's response
//!                                                                        └─► anything else, or nothing: `on_failure`
//! ```

use std::sync::Arc;
use std::time::Duration;

use super::{Identity, RequestView, Stop};
use crate::base::limits::MAX_AUTHORIZATION_FIELDS;
pub(crate) use crate::config::plan::OnFailure;
use crate::http::{
    ASKED_FIELDS, Field, KnownField, ResponseHead, is_same_name, is_value_byte, put_line, says_client,
};
use crate::proxy::reply::{Reply, ReplyBody};

/// `auth.forward`
#[derive(Debug)]
pub struct ForwardRule {
    /// The service, as an index into the snapshot's upstreams.
    pub upstream: usize,
    /// Its method: GET, HEAD or POST.
    pub method: &'static str,
    /// Its path, perhaps with a query.
    pub target: Box<str>,
    /// Which of the client's fields it gets.
    pub asked: AskedFields,
    /// Which of its fields the backend gets.
    pub given: Vec<Box<str>>,
    /// Which of its fields the client gets with a refusal.
    pub refusal: Vec<Box<str>>,
    /// Which of its fields the client gets with the backend's response.
    pub success: Vec<Box<str>>,
    /// Time for the whole answer.
    pub timeout: Duration,
    /// Longest body of a refusal, in bytes.
    pub body_bytes: usize,
    /// What becomes of a request without an answer.
    pub on_failure: OnFailure,
}

/// Which of a client's fields a service gets.
#[derive(Debug)]
pub enum AskedFields {
    /// All but those of the connection and of the body.
    Any,
    /// Those of these names.
    These(Vec<Box<str>>),
}

/// A request that the service is to be asked about.
#[derive(Debug)]
pub(crate) struct ForwardCheck {
    pub(crate) rule: Arc<ForwardRule>,
    /// The field lines of the request to the service.
    pub(crate) lines: Vec<u8>,
}

/// What becomes of a request that the service was asked about.
#[derive(Clone, Debug)]
pub(crate) enum ForwardVerdict {
    /// It passes, with these field lines for the backend, and these for the client.
    Passes { request: Vec<u8>, response: Vec<u8> },
    /// It is refused.
    Refused(Reply),
}

/// The service's answer as it arrives.
#[derive(Debug)]
pub(crate) struct ForwardAnswer<'r> {
    rule: &'r ForwardRule,
    /// 0: there is none yet.
    pub(crate) status: u16,
    /// Field lines for the backend.
    request: Vec<u8>,
    /// Field lines for the client.
    response: Vec<u8>,
    media_type: Option<Arc<str>>,
    body: Vec<u8>,
    /// Bytes of its body so far.
    pub(crate) received: usize,
    /// A field could not be passed on, or there were too many bytes of them.
    is_broken: bool,
}

impl ForwardRule {
    /// What the service said of a request.
    pub(super) fn ask(
        self: &Arc<Self>,
        asked: &RequestView<'_, '_, '_>,
        verdict: Option<&ForwardVerdict>,
        identity: &mut Identity,
    ) -> Result<(), Stop> {
        match verdict {
            Some(ForwardVerdict::Passes { request, response }) => {
                identity.lines.extend_from_slice(request);
                identity.response_lines.extend_from_slice(response);
                Ok(())
            }
            Some(ForwardVerdict::Refused(reply)) => Err(reply.clone().into()),
            None => {
                let check = ForwardCheck { rule: Arc::clone(self), lines: self.lines(asked) };
                Err(Stop::Wait(super::Check::Forward(Box::new(check))))
            }
        }
    }

    /// The field lines of the request to the service.
    fn lines(&self, asked: &RequestView<'_, '_, '_>) -> Vec<u8> {
        let RequestView { head, client, .. } = asked;
        let mut lines = Vec::with_capacity(1024);
        for field in head.fields.iter() {
            if self.asked.has(field) && !head.fields.end_here(field.name) {
                put_line(field.name, field.value, &mut lines);
            }
        }
        let (method, proto) = (head.method.as_str(), client.proto());
        let uri = match head.target.query {
            Some(query) => format!("{}?{query}", asked.path),
            None => asked.path.to_owned(),
        };
        let url = head.host.map(|host| format!("{proto}://{host}{uri}"));
        let certificate = client.certificate().map(|certificate| &*certificate.forwarded);
        for (name, value) in [
            ("X-Forwarded-For", Some(asked.address)),
            ("X-Forwarded-Proto", Some(proto)),
            ("X-Forwarded-Host", head.host),
            ("X-Forwarded-Method", Some(method)),
            ("X-Forwarded-Uri", Some(&uri)),
            ("X-Forwarded-Client-Cert", certificate),
            ("X-Original-Method", Some(method)),
            ("X-Original-URI", Some(&uri)),
            ("X-Original-URL", url.as_deref()),
            ("X-Real-IP", Some(asked.address)),
            ("X-Request-Id", Some(asked.id)),
        ] {
            if let Some(value) = value {
                put_line(name, value.as_bytes(), &mut lines);
            }
        }
        lines
    }

    /// Whether a field has the name of one that the service gives the backend, also where it is only like one of them.
    pub(super) fn owns(&self, name: &[u8]) -> bool {
        self.given.iter().any(|own| is_same_name(own.as_bytes(), name))
    }

    /// The verdict on a request to which the service gave no answer that decides; why, and the error type of RFC 9209 §2.3.
    pub(crate) fn failed(&self, cause: String, error: &'static str) -> ForwardVerdict {
        match self.on_failure {
            OnFailure::Allow => ForwardVerdict::Passes { request: Vec::new(), response: Vec::new() },
            OnFailure::Deny => {
                let reply = Reply::refusal(503, cause);
                ForwardVerdict::Refused(Reply { error: Some(error), ..reply })
            }
        }
    }

    /// An answer of which nothing has arrived.
    pub(crate) fn answer(&self) -> ForwardAnswer<'_> {
        ForwardAnswer {
            rule: self,
            status: 0,
            request: Vec::new(),
            response: Vec::new(),
            media_type: None,
            body: Vec::new(),
            received: 0,
            is_broken: false,
        }
    }
}

impl AskedFields {
    fn has(&self, field: &Field<'_>) -> bool {
        let name = field.name;
        match self {
            Self::These(names) => names.iter().any(|own| own.eq_ignore_ascii_case(name)),
            Self::Any => {
                // A conditional or partial answer would be none, and an encoded one may not be the client's to decode.
                const OTHER: [&str; 3] = ["content-", "if-", "sec-websocket-"];
                let begins = |start: &&str| {
                    name.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start))
                };
                let is = |other: &str| is_same_name(name.as_bytes(), other.as_bytes());
                KnownField::of(name) == KnownField::Other
                    && !says_client(name)
                    && !OTHER.iter().any(begins)
                    && !["accept-encoding", "range"].iter().any(|other| is(other))
                    && !ASKED_FIELDS.iter().any(|own| is(own))
            }
        }
    }
}

impl ForwardAnswer<'_> {
    /// Takes the head of the answer.
    pub(crate) fn head(&mut self, head: &ResponseHead<'_, '_>) {
        self.status = head.status;
        let rule = self.rule;
        match head.status {
            200..=299 => {
                self.is_broken |= !copy(head, &rule.given, &mut self.request);
                self.is_broken |= !copy(head, &rule.success, &mut self.response);
            }
            300..=499 => {
                self.is_broken |= !copy(head, &rule.refusal, &mut self.response);
                let media_type =
                    head.fields.get("content-type").and_then(|value| std::str::from_utf8(value).ok());
                self.media_type = media_type.map(Into::into);
                if !rule.refusal.iter().any(|name| name.eq_ignore_ascii_case("content-encoding")) {
                    self.is_broken |= !copy(head, &["Content-Encoding".into()], &mut self.response);
                }
            }
            _ => {}
        }
    }

    /// Takes the next part of its body. False: the rest is of no use.
    pub(crate) fn body(&mut self, part: &[u8]) -> bool {
        self.received += part.len();
        if self.received > self.rule.body_bytes {
            self.body.clear();
            return false;
        }
        if self.is_refusal() {
            self.body.extend_from_slice(part);
        }
        true
    }

    fn is_refusal(&self) -> bool {
        (300..500).contains(&self.status)
    }

    /// Whether it answers the question; if not, why, and the error type.
    pub(crate) fn check(&self) -> Result<(), (String, &'static str)> {
        match self.status {
            _ if self.is_broken => Err((
                "its answer has too many or malformed fields".to_owned(),
                "http_response_header_section_size",
            )),
            200..=499 => Ok(()),
            status => Err((format!("it answered {status}"), "proxy_internal_error")),
        }
    }

    /// What becomes of the request.
    pub(crate) fn verdict(self) -> ForwardVerdict {
        if !self.is_refusal() {
            return ForwardVerdict::Passes { request: self.request, response: self.response };
        }
        let mut fields = self.response;
        let whole = !self.body.is_empty() && self.received <= self.rule.body_bytes;
        let body = match self.status {
            304 => ReplyBody::None,
            _ if whole => ReplyBody::Own {
                media_type: self.media_type.unwrap_or_else(|| "application/octet-stream".into()),
                bytes: self.body.into(),
            },
            _ => {
                crate::http::remove_lines(&mut fields, |name| is_same_name(name, b"content-encoding"));
                ReplyBody::Standard
            }
        };
        let refused = Reply::refusal(self.status, "the authorization service refuses the request");
        ForwardVerdict::Refused(Reply { fields, body, ..refused })
    }
}

/// Appends the fields of these names, under the names as they are configured. False: one of them is malformed, or they are
/// too long.
fn copy(head: &ResponseHead<'_, '_>, names: &[Box<str>], out: &mut Vec<u8>) -> bool {
    for name in names {
        for value in head.fields.all(name) {
            if !value.iter().all(|&byte| is_value_byte(byte)) {
                return false;
            }
            put_line(name, value, out);
        }
    }
    out.len() <= MAX_AUTHORIZATION_FIELDS
}
