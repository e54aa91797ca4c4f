//! Error pages in the place of a backend's: `error_pages.intercept`. And the line of a session, which such a page has as well.

use std::pin::pin;
use std::time::Duration;

use super::body_reader::{BodyReader, BodyState};
use super::client_stream::{EncodedReply, ResponseWriter};
use super::coding::BodyCoding;
use super::decided::Decided;
use super::stage::Phase;
use super::state::{Exchange, Outcome};
use super::upstream_stream::ResponseReader;
use crate::base::limits::MAX_DROPPED_BYTES;
use crate::http::{Content, HeadEdit, ResponseHead, put_line};
use crate::http1::{Envelope, Framing};
use crate::io::{Buffer, Deadline};
use crate::proxy::error_pages;
use crate::proxy::failure::Failure;
use crate::proxy::rules;

/// Fields of a backend's response that its status means nothing without, or little (RFC 9110 §10.2.1, §10.2.3, §11.6.1).
const KEPT: [&str; 4] = ["allow", "proxy-authenticate", "retry-after", "www-authenticate"];
/// How long the rest of a body that is dropped is waited for, so that its connection can be used again.
const PATIENCE: Duration = Duration::from_millis(200);

impl Exchange<'_> {
    /// Whether the client gets an error page instead of this response's body.
    pub(crate) fn intercepts(&self, head: &ResponseHead<'_, '_>) -> bool {
        // A client of gRPC reads no pages.
        if head.status < 400 || self.order.grpc.is_some() {
            return false;
        }
        let (view, listener) = self.view;
        let route = view.config.listeners[listener].route(self.order.route);
        route.is_some_and(|route| route.intercepts(head.status))
    }

    /// The response with the page of its status: head and page, encoded.
    #[cold]
    pub(crate) fn replaced(
        &self,
        writer: &ResponseWriter<'_>,
        (head, envelope): (&ResponseHead<'_, '_>, Envelope),
        keep: bool,
    ) -> Decided {
        let (view, listener) = self.view;
        let pages = view.config.listeners[listener].pages_of(self.order.route).map(|pages| &**pages);
        let body = error_pages::render(head.status, pages, self.order.error_format);
        let mut fields = body.fields.into_owned().into_bytes();
        let kept =
            head.fields.iter().filter(|field| KEPT.iter().any(|kept| field.name.eq_ignore_ascii_case(kept)));
        for field in kept.filter(|field| !head.fields.end_here(field.name)) {
            put_line(field.name, field.value, &mut fields);
        }
        let content = Content { media_type: &body.media_type, bytes: body.body.as_bytes() };
        let how = (!keep, self.order.context.head);
        let reply = rules::edit_reply(self.order.pending.as_deref(), body.status, |edit| {
            self.with_session(head, edit, |edit| {
                writer.encode_local(body.status, (&fields, Some(content)), how, edit)
            })
        });
        self.note(head);
        self.worker.counters.responses_replaced.add(1);
        let (bytes, lines) = reply.into_parts();
        let out = writer.frame(Framing::None);
        let decided = Decided::of((head, envelope), bytes, (Framing::None, out), keep);
        Decided { coding: Some(BodyCoding::Page(lines as u32)), ..decided }
    }

    /// Sends it, and drops what the backend sent: the end of that is waited for a moment, so that the connection lives on.
    pub(crate) async fn send_page(
        &self,
        mut decided: Decided,
        head: usize,
        (reader, mut writer): (ResponseReader<'_>, ResponseWriter<'_>),
        deadline: &Deadline,
        mut buffer: Buffer,
    ) -> Result<Outcome, Failure> {
        let reply = EncodedReply::of(decided.status, std::mem::take(&mut decided.head), head);
        self.answer(true);
        self.wait(deadline, Phase::ClientWrite, self.limits.body_timeout);
        writer.write_local(&reply).await.map_err(|_| Failure::ClientGone)?;
        self.observed.bytes.set(reply.len() as u64);
        buffer.consume(decided.head_len);
        let mut state = BodyState::new(decided.framing);
        let whole = match reader.body(&mut state) {
            Some(body) if decided.backend_keeps && self.is_sent() => {
                self.wait(deadline, Phase::BackendBody, PATIENCE * 10);
                let dropped = self.worker.wheel.deadline();
                dropped.set(PATIENCE);
                let dropping = dropped.race(pin!(drop_body(body, buffer))).await;
                dropping.unwrap_or(false)
            }
            _ => false,
        };
        Ok(Outcome { backend: whole, client: decided.client_keeps, tunnel: None })
    }

    /// Hands `write` what is changed of a final response's head, with the line that tells the client which endpoint has its
    /// session, if the upstream has sessions.
    pub(crate) fn with_session<R>(
        &self,
        head: &ResponseHead<'_, '_>,
        edit: &HeadEdit<'_>,
        write: impl FnOnce(&HeadEdit<'_>) -> R,
    ) -> R {
        let sticky = self.order.pool.upstream.sticky.as_ref().filter(|_| !head.is_interim());
        let (Some(sticky), Some(endpoint)) = (sticky, self.observed.endpoint.get()) else {
            return write(edit);
        };
        let mut added = self.worker.heads.take();
        added.extend_from_slice(edit.added);
        sticky.put_line(self.order.key.session, endpoint, self.client.tls().is_some(), &mut added);
        let removed = |name: &[u8]| edit.removes(name) || sticky.owns(name);
        let result = write(&HeadEdit { removed: Some(&removed), added: &added });
        self.worker.heads.give(added);
        result
    }
}

/// Reads a body to its end, if that is near. Whether it was whole, and nothing is behind it.
async fn drop_body(mut reader: BodyReader<'_>, mut buffer: Buffer) -> bool {
    let mut dropped = 0;
    loop {
        let Ok(part) = reader.take(&mut buffer, 0) else { return false };
        dropped += part.data();
        buffer.consume(part.consumed);
        if part.done {
            return buffer.is_idle();
        }
        if dropped > MAX_DROPPED_BYTES {
            return false;
        }
        let (result, filled) = reader.fill(buffer).await;
        buffer = filled;
        if !matches!(result, Ok(1..)) {
            return false;
        }
    }
}
