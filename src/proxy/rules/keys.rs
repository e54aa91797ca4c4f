//! API keys: requests without a valid one get 401, and the backend gets the key's name instead of the key.

use std::sync::Arc;

use super::RequestView;
use crate::certs::apikeys::Keys;
use crate::http::is_same_name;
use crate::proxy::reply::Reply;

/// A route's keys.
#[derive(Debug)]
pub struct KeyRule {
    /// The keys that are good.
    pub keys: Keys,
    /// The field with the key, in lower case.
    pub header: String,
    /// The field that gives the backend a key's name.
    pub name_header: String,
    /// Whether the key itself is forwarded to the backend.
    pub forward: bool,
}

/// A key that was good.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) name: Arc<str>,
    /// It came as a bearer token.
    bearer: bool,
}

impl KeyRule {
    /// The key of a request.
    ///
    /// # Errors
    /// It has none, more than one, or one that is not known.
    pub(crate) fn check(&self, asked: &RequestView<'_, '_, '_>) -> Result<Known, Reply> {
        let fields = &asked.head.fields;
        let mut own = fields.all(&self.header).map(|value| (value, false));
        let bearer = fields.all("authorization");
        let mut bearer = bearer.filter_map(|value| Some((bearer_token(value)?, true)));
        // If the key has a field of its own, a bearer token is the application's: it is forwarded.
        let (found, another) = match own.next() {
            Some(key) => (Some(key), own.next()),
            None => (bearer.next(), bearer.next()),
        };
        let Some((key, bearer)) = found else {
            return Err(refusal("no API key", "Bearer"));
        };
        if another.is_some() {
            return Err(refusal("more than one API key", "Bearer error=\"invalid_request\""));
        }
        match self.keys.find(key) {
            Some(name) => Ok(Known { name: Arc::clone(name), bearer }),
            None => Err(refusal("an unknown API key", "Bearer error=\"invalid_token\"")),
        }
    }

    /// Whether a field is the key's or its name's, also where it is only like one of them.
    pub(crate) fn owns(&self, name: &[u8]) -> bool {
        is_same_name(name, self.name_header.as_bytes()) || is_same_name(name, self.header.as_bytes())
    }

    /// Whether a field is not forwarded: the key, unless the rule forwards it, and the client's own field for its name.
    /// Where the key is forwarded, fields whose names a CGI backend would take for the key's are not: they are unchecked.
    pub(crate) fn removes(&self, known: &Known, name: &[u8]) -> bool {
        let stays = self.forward && name.eq_ignore_ascii_case(self.header.as_bytes());
        self.owns(name) && !stays || !self.forward && known.bearer && is_same_name(name, b"authorization")
    }
}

/// RFC 6750 §2.1
pub(super) fn bearer_token(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// RFC 9110 §11.6.1: a 401 names a scheme that would do.
fn refusal(cause: &'static str, challenge: &str) -> Reply {
    let mut reply = Reply::refusal(401, cause);
    reply.fields.extend_from_slice(format!("WWW-Authenticate: {challenge}\r\n").as_bytes());
    reply
}
