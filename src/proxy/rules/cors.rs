//! Cross-origin requests (the Fetch standard, §3.2): preflights are answered here, responses get their fields.
//!
//! The backend's own CORS fields are removed, so that a response has one policy.

use std::sync::Arc;

use super::RequestView;
use crate::config::plan::{self, AnyOr, OriginPattern};
use crate::http::{Method, RequestHead, is_same_name, is_token};
use crate::proxy::reply::{Reply, ReplyBody};

/// The fields for a response: whole field lines.
pub(crate) type Grant = Arc<[u8]>;

/// A route's CORS policy, its field lines written once.
#[derive(Debug)]
pub struct Cors {
    origins: Vec<(OriginPattern, Grant)>,
    /// For origins that are not allowed, and requests that have none.
    others: Grant,
    /// Of an allowed origin whose name must be written.
    rest: Vec<u8>,
    methods: AnyOr<String>,
    headers: AnyOr<String>,
    preflight: Vec<u8>,
}

const VARY: &[u8] = b"Vary: Origin\r\n";

impl Cors {
    /// The policy as the config has it.
    pub fn new(cors: &plan::Cors) -> Self {
        let mut rest = Vec::new();
        if cors.credentials {
            rest.extend_from_slice(b"Access-Control-Allow-Credentials: true\r\n");
        }
        if !cors.expose.is_empty() {
            let exposed = format!("Access-Control-Expose-Headers: {}\r\n", cors.expose.join(", "));
            rest.extend_from_slice(exposed.as_bytes());
        }
        let any = cors.origins.contains(&OriginPattern::Any);
        if !any {
            rest.extend_from_slice(VARY);
        }
        let origins = cors.origins.iter().map(|origin| {
            let grant = match origin {
                OriginPattern::Any => grant(b"*", &rest),
                OriginPattern::Exact(name) => grant(name.as_bytes(), &rest),
                OriginPattern::Below { .. } => Arc::from([]),
            };
            (origin.clone(), grant)
        });
        let origins = origins.collect();
        let mut preflight = Vec::new();
        if let AnyOr::These(methods) = &cors.methods {
            let methods = methods.join(", ");
            preflight.extend_from_slice(format!("Access-Control-Allow-Methods: {methods}\r\n").as_bytes());
        }
        if let AnyOr::These(headers) = &cors.headers
            && !headers.is_empty()
        {
            let headers = headers.join(", ");
            preflight.extend_from_slice(format!("Access-Control-Allow-Headers: {headers}\r\n").as_bytes());
        }
        let age = format!("Access-Control-Max-Age: {}\r\n", cors.max_age.as_secs());
        preflight.extend_from_slice(age.as_bytes());
        preflight
            .extend_from_slice(b"Vary: Access-Control-Request-Method, Access-Control-Request-Headers\r\n");
        Self {
            origins,
            others: if any { Arc::from([]) } else { Arc::from(VARY) },
            rest,
            methods: cors.methods.clone(),
            headers: cors.headers.clone(),
            preflight,
        }
    }

    /// The fields for a response to this request. `others`: whether an origin is allowed that is not one of the policy's.
    pub(crate) fn grant(&self, asked: &RequestView<'_, '_, '_>, others: impl Fn(&[u8]) -> bool) -> Grant {
        match asked.head.fields.get("origin").and_then(|origin| self.allowed(origin, others)) {
            Some(grant) => grant,
            None => Arc::clone(&self.others),
        }
    }

    /// Answers a preflight; other requests go on. `others` as of [`grant`](Self::grant).
    ///
    /// # Errors
    /// The answer.
    pub(crate) fn preflight(
        &self,
        asked: &RequestView<'_, '_, '_>,
        others: impl Fn(&[u8]) -> bool,
    ) -> Result<(), Reply> {
        if asked.head.method != Method::Options {
            return Ok(());
        }
        let origin = asked.head.fields.get("origin");
        let method = asked.head.fields.get("access-control-request-method");
        let (Some(origin), Some(method)) = (origin, method) else {
            return Ok(());
        };
        let headers = asked.head.fields.get("access-control-request-headers").unwrap_or_default();
        if self.allowed(origin, others).is_none() {
            return Err(Reply::refusal(403, "CORS: the origin is not allowed"));
        }
        if !is_token(method) || !list(headers).all(is_token) {
            return Err(Reply::refusal(400, "CORS: the preflight is malformed"));
        }
        let mut fields = self.preflight.clone();
        let mut echo = |name: &str, value: &[u8]| {
            fields.extend_from_slice(name.as_bytes());
            fields.extend_from_slice(value);
            fields.extend_from_slice(b"\r\n");
        };
        // What is not allowed is not listed, so that the browser refuses it.
        if self.methods == AnyOr::Any {
            echo("Access-Control-Allow-Methods: ", method);
        }
        if self.headers == AnyOr::Any && !headers.is_empty() {
            echo("Access-Control-Allow-Headers: ", headers);
        }
        Err(Reply { status: 204, fields, body: ReplyBody::None, cause: None, counter: None, error: None })
    }

    fn allowed(&self, origin: &[u8], others: impl Fn(&[u8]) -> bool) -> Option<Grant> {
        let own = self.origins.iter().find_map(|(pattern, lines)| match pattern {
            OriginPattern::Any => Some(Arc::clone(lines)),
            OriginPattern::Exact(name) => {
                origin.eq_ignore_ascii_case(name.as_bytes()).then(|| Arc::clone(lines))
            }
            OriginPattern::Below { scheme, suffix } => {
                let name = strip(origin, scheme.as_bytes(), suffix.as_bytes())?;
                let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
                (!name.is_empty() && name.iter().all(plain)).then(|| grant(origin, &self.rest))
            }
        });
        own.or_else(|| others(origin).then(|| grant(origin, &self.rest)))
    }
}

/// The method and the fields of the request that a preflight announces; `None` if this is none.
pub(crate) fn preflight_of<'b>(head: &RequestHead<'_, 'b>) -> Option<(&'b str, &'b [u8])> {
    head.fields.get("origin")?;
    let method = head.fields.get("access-control-request-method")?;
    let fields = head.fields.get("access-control-request-headers").unwrap_or_default();
    Some((std::str::from_utf8(method).ok()?, fields))
}

/// Whether a field of a response is about CORS, and so ours.
pub(crate) fn is_cors(name: &[u8]) -> bool {
    name.get(..15).is_some_and(|start| is_same_name(start, b"access-control-"))
}

fn grant(origin: &[u8], rest: &[u8]) -> Grant {
    [b"Access-Control-Allow-Origin: ", origin, b"\r\n", rest].concat().into()
}

/// What is between a beginning and an end, in whatever case.
fn strip<'a>(text: &'a [u8], start: &[u8], end: &[u8]) -> Option<&'a [u8]> {
    let (first, rest) = text.split_at_checked(start.len())?;
    let (between, last) = rest.split_at_checked(rest.len().checked_sub(end.len())?)?;
    (first.eq_ignore_ascii_case(start) && last.eq_ignore_ascii_case(end)).then_some(between)
}

fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty())
}
