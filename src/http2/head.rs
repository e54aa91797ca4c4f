//! From field lists to the messages of [`http`](crate::http), without a copy.

use super::fields::FieldList;
use super::message::RequestLine;
use crate::base::limits::MAX_HEADERS;
use crate::http::{
    BodyLength, Field, Fields, Method, RequestHead, ResponseHead, Target, Version, reason_phrase,
};

/// Fields that most heads do not have more of.
const FEW: usize = 24;
const EMPTY: Field<'static> = Field { name: "", value: b"" };

/// Why a well-formed request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unserved {
    /// The list is not a request's.
    NoRequest,
    /// CONNECT to a host or of another protocol than WebSocket, or TRACE, which are not served for any target (RFC 9110 §9.1).
    Method,
    /// Expect holds something other than `100-continue`.
    Expectation,
    /// An OPTIONS whose Max-Forwards is not one number.
    MaxForwards,
    /// More fields than slots.
    TooManyFields,
}

impl Unserved {
    /// The status of the reply.
    pub fn status(self) -> u16 {
        match self {
            Self::NoRequest | Self::MaxForwards => 400,
            Self::Method => 501,
            Self::Expectation => 417,
            Self::TooManyFields => 431,
        }
    }

    /// The reason in words, for logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoRequest => "not a request",
            Self::Method => "CONNECT and TRACE are not served",
            Self::Expectation => "expectation other than 100-continue",
            Self::MaxForwards => "Max-Forwards is not one number",
            Self::TooManyFields => "too many header fields",
        }
    }
}

impl FieldList {
    /// The request of a list that a head event filled. Its fields are put into `slots`: as many as there may be fields.
    /// `end_stream`: as the event has it.
    ///
    /// An extended CONNECT is the GET with an Upgrade to the same protocol that it stands for (RFC 8441 §5).
    ///
    /// # Errors
    /// The request is not served, whatever the configuration. The stream stays open: it may be answered.
    pub fn request_head<'h, 'b>(
        &'b self,
        end_stream: bool,
        slots: &'h mut [Field<'b>],
    ) -> Result<RequestHead<'h, 'b>, Unserved> {
        let line = self.request_line().ok_or(Unserved::NoRequest)?;
        let RequestLine { authority, protocol, path, .. } = line;
        let method = match Method::of(line.method) {
            Method::Connect if protocol.is_some_and(|name| name.eq_ignore_ascii_case("websocket")) => {
                Method::Get
            }
            Method::Connect | Method::Trace => return Err(Unserved::Method),
            method => method,
        };
        let fields = self.fields_in(slots).ok_or(Unserved::TooManyFields)?;
        let body = match fields.get("content-length") {
            _ if protocol.is_some() => BodyLength::None,
            _ if end_stream => BodyLength::None,
            Some(length) => number(length).map_or(BodyLength::Unknown, BodyLength::Known),
            None => BodyLength::Unknown,
        };
        let mut expectations = fields.all("expect");
        let expects = match (expectations.next(), expectations.next()) {
            (None, _) => false,
            (Some(value), None) if value.eq_ignore_ascii_case(b"100-continue") => true,
            _ => return Err(Unserved::Expectation),
        };
        Ok(RequestHead {
            method,
            target: Target::split(path.ok_or(Unserved::NoRequest)?),
            version: Version::Http2,
            host: Some(authority),
            body,
            expect_continue: expects && !matches!(body, BodyLength::None | BodyLength::Known(0)),
            upgrade: protocol,
            max_forwards: max_forwards(method, &fields)?,
            fields,
        })
    }

    /// Hands `read` the request of a list that a head event filled: see [`request_head`](Self::request_head).
    ///
    /// # Errors
    /// The request is not served.
    pub fn with_request<R>(
        &self,
        end_stream: bool,
        read: impl FnOnce(&RequestHead<'_, '_>) -> R,
    ) -> Result<R, Unserved> {
        // To make many slots costs more than to count.
        if self.iter().count() <= FEW {
            let mut slots = [EMPTY; FEW];
            return Ok(read(&self.request_head(end_stream, &mut slots)?));
        }
        let mut slots = [EMPTY; MAX_HEADERS];
        Ok(read(&self.request_head(end_stream, &mut slots)?))
    }

    /// The response of a list that a head event filled, interim or final. `None`: it is not a response's, or there are
    /// fewer slots than fields. `head_request`: it answers a HEAD.
    pub fn response_head<'h, 'b>(
        &'b self,
        end_stream: bool,
        head_request: bool,
        slots: &'h mut [Field<'b>],
    ) -> Option<ResponseHead<'h, 'b>> {
        let status = self.status()?;
        let fields = self.fields_in(slots)?;
        let content_length = fields.get("content-length").and_then(number);
        let none = head_request || status < 200 || matches!(status, 204 | 304);
        let body = match content_length {
            _ if none => BodyLength::None,
            // HTTP/1 has to say so.
            _ if end_stream => BodyLength::Known(0),
            Some(length) => BodyLength::Known(length),
            None => BodyLength::Unknown,
        };
        let version = Version::Http2;
        let reason = reason_phrase(status);
        Some(ResponseHead { version, status, reason, body, content_length, upgrade: None, fields })
    }

    /// Hands `read` the response of a list that a head event filled: see [`response_head`](Self::response_head).
    pub fn with_response<R>(
        &self,
        end_stream: bool,
        head_request: bool,
        read: impl FnOnce(&ResponseHead<'_, '_>) -> R,
    ) -> Option<R> {
        // To make many slots costs more than to count.
        if self.named().count() <= FEW {
            let mut slots = [EMPTY; FEW];
            let head = self.response_head(end_stream, head_request, &mut slots)?;
            return Some(read(&head));
        }
        let mut slots = [EMPTY; MAX_HEADERS];
        let head = self.response_head(end_stream, head_request, &mut slots)?;
        Some(read(&head))
    }

    /// The fields without pseudo-fields; `None` if there are more than slots. Their names are tokens, so they are text.
    fn fields_in<'h, 'b>(&'b self, slots: &'h mut [Field<'b>]) -> Option<Fields<'h, 'b>> {
        let mut count = 0;
        for (field, static_name) in self.named() {
            let name = match static_name.text() {
                Some(name) => name,
                None => std::str::from_utf8(field.name).ok()?,
            };
            *slots.get_mut(count)? = Field { name, value: field.value };
            count += 1;
        }
        // Connection, which would list others, is not in a well-formed message.
        Some(Fields::new(&slots[..count], &self.text, false))
    }
}

/// Max-Forwards of an OPTIONS. As RFC 9110 §7.6.2 allows, a number beyond ours is taken for the largest of ours.
fn max_forwards(method: Method<'_>, fields: &Fields<'_, '_>) -> Result<Option<u32>, Unserved> {
    let mut values = fields.all("max-forwards");
    match (values.next(), values.next()) {
        _ if method != Method::Options => Ok(None),
        (None, _) => Ok(None),
        (Some(value), None) if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
            Ok(Some(number(value).and_then(|count| count.try_into().ok()).unwrap_or(u32::MAX)))
        }
        _ => Err(Unserved::MaxForwards),
    }
}

/// Digits as a number, if it fits.
fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
