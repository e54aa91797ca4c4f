//! A response that Ringate makes itself, for rules and routes.

use std::borrow::Cow;
use std::sync::Arc;

use crate::base::count::Count;
use crate::base::counters::Counters;

/// A response to the client instead of a backend's.
#[derive(Clone, Debug)]
pub struct Reply {
    /// 200 to 599.
    pub status: u16,
    /// Further field lines, each ended by CRLF. Their bytes are checked before.
    pub fields: Vec<u8>,
    /// The body.
    pub body: ReplyBody,
    /// Why, for the logs; `None` where it is just what the route is for.
    pub cause: Option<Cow<'static, str>>,
    /// What counts it, beside the counters of its status.
    pub counter: Option<fn(&Counters) -> &Count>,
    /// The error type of RFC 9209 §2.3, where the reply is for a failure of Ringate or of what it asks.
    pub error: Option<&'static str>,
}

/// The body of a [`Reply`].
#[derive(Clone, Debug)]
pub enum ReplyBody {
    /// None, and no Content-Length either: for 204 and 304.
    None,
    /// Status and reason in words.
    Standard,
    /// This.
    Own {
        /// `Content-Type`
        media_type: Arc<str>,
        /// The content.
        bytes: Arc<[u8]>,
    },
}

impl Reply {
    /// A refusal with a standard body. `cause` is for the logs, the client gets only the status.
    pub fn refusal(status: u16, cause: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            fields: Vec::new(),
            body: ReplyBody::Standard,
            cause: Some(cause.into()),
            counter: None,
            error: None,
        }
    }
}
