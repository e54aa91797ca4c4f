//! Answers of Ringate's own to requests that were understood: fixed responses, and what rules refuse.
//!
//! The client's connection lives on where all of the request is there already; otherwise its end follows, as
//! the rest of the body is worth reading to nobody.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::Local;
use super::access::{self, Record, Sink};
use super::client::ClientFacts;
use super::door::Door;
use super::l7::Next;
use super::pages::{self, Pages, Wish};
use super::rules::Pending;
use crate::http1::{self, Body, Content, Framing, RequestHead, Version};
use crate::io::{Buffer, Deadline, Stream, peer};

/// What a client is told instead of a backend's response.
#[derive(Clone, Debug)]
pub struct Reply {
    /// 200 to 599.
    pub status: u16,
    /// Further field lines, each ended by CRLF. Whoever makes them has checked their bytes.
    pub fields: Vec<u8>,
    /// The body.
    pub body: ReplyBody,
    /// Why, for the logs; `None` where it is just what the route is for.
    pub cause: Option<Cow<'static, str>>,
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
    /// A refusal in plain words. `cause` is for the logs, the client is told the status alone.
    pub fn refusal(status: u16, cause: impl Into<Cow<'static, str>>) -> Self {
        Self { status, fields: Vec::new(), body: ReplyBody::Standard, cause: Some(cause.into()) }
    }
}

/// A reply with what must be known of its request.
#[derive(Debug)]
pub struct Answer {
    /// What is said.
    pub reply: Reply,
    /// What the route's rules do with it.
    pub pending: Option<Box<Pending>>,
    head_len: usize,
    framing: Framing,
    head_only: bool,
    /// Whether the connection may live on, as far as its client and its bounds go.
    pub(super) keep_alive: bool,
    logged: Option<Box<Record>>,
    pages: Option<(Arc<Pages>, Wish)>,
}

impl Answer {
    /// The answer to this request.
    pub fn new(
        reply: Reply,
        pending: Option<Box<Pending>>,
        head: &RequestHead<'_, '_>,
        access: Option<&Sink>,
    ) -> Self {
        Self {
            reply,
            pending,
            head_len: head.len,
            framing: head.framing,
            head_only: head.method == http1::Method::Head,
            keep_alive: head.keep_alive && head.version == Version::Http11,
            logged: access.and_then(Sink::take),
            pages: None,
        }
    }

    /// The same with the pages of its listener, for what is said in standard words.
    pub(super) fn told_by(mut self, pages: Option<&Arc<Pages>>, wish: Option<Wish>) -> Self {
        self.pages = pages.cloned().zip(wish);
        self
    }

    /// Sends it, and says what the client's connection does next. `buffer` holds the request, and comes back
    /// without it.
    pub(super) async fn send(
        mut self,
        (local, door, client): (&Local, &Door, &ClientFacts),
        stream: &mut Stream,
        deadline: &Deadline,
        patience: Duration,
        mut buffer: Buffer,
    ) -> (Next, Buffer) {
        let whole = Body::new(self.framing)
            .take(&mut buffer.data_mut()[self.head_len..])
            .ok()
            .and_then(|taken| taken.done.then_some(self.head_len + taken.consumed));
        let keep = self.keep_alive
            && whole.is_some_and(|whole| {
                let ahead = || buffer.len() > whole || peer::has_arrived(stream.reader.fd());
                !door.is_last(local, client, ahead)
            });
        let wire = self.encode(!keep);
        local.counters.requests_answered.add(1);
        local.count_status(self.reply.status);
        if let Some(cause) = &self.reply.cause {
            match self.reply.status {
                401 => local.counters.requests_unauthorized.add(1),
                429 => local.counters.requests_limited.add(1),
                _ => {}
            }
            tracing::debug!(client = %client.address, status = self.reply.status, "{cause}");
        }
        self.log(local, wire.len());
        deadline.set(patience);
        let sent = deadline.race(pin!(stream.writer.write_bytes(&wire))).await;
        match (sent, whole) {
            (Ok(Ok(())), Some(whole)) if keep => {
                buffer.consume(whole);
                (Next::Idle, buffer)
            }
            (Ok(Ok(())), _) => (Next::Linger, buffer),
            _ => (Next::Abort, buffer),
        }
    }

    /// Head and body as they go out.
    fn encode(&self, close: bool) -> Vec<u8> {
        let status = self.reply.status;
        let told;
        let mut fields = Cow::Borrowed(&self.reply.fields[..]);
        let content = match &self.reply.body {
            ReplyBody::None => None,
            ReplyBody::Standard => {
                let (pages, wish) = self.pages.as_ref().map(|(pages, wish)| (&**pages, *wish)).unzip();
                told = pages::tell(status, pages, wish);
                fields.to_mut().extend_from_slice(told.fields.as_bytes());
                Some(Content { media_type: &told.media_type, bytes: told.body.as_bytes() })
            }
            ReplyBody::Own { media_type, bytes } => Some(Content { media_type, bytes }),
        };
        let mut wire = Vec::new();
        http1::encode_answer(status, &fields, content, close, &mut wire);
        if let Some(pending) = &self.pending {
            pending.edit_response(&mut wire);
        }
        if let Some(content) = content.filter(|_| !self.head_only) {
            wire.extend_from_slice(content.bytes);
        }
        wire
    }

    fn log(&mut self, local: &Local, bytes: usize) {
        let (Some(sink), Some(record)) = (&local.access, self.logged.take()) else {
            return;
        };
        let outcome = access::Outcome {
            status: self.reply.status,
            bytes: bytes as u64,
            duration: Duration::ZERO,
            first_byte: Some(Duration::ZERO),
            upstream: None,
            endpoint: None,
            tries: 0,
            relay: None,
            failure: self.reply.cause.as_ref().map(|cause| cause as &dyn std::fmt::Display),
        };
        sink.end(record, &outcome);
    }
}
