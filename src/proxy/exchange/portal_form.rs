//! A form of the page for consumers: its content is read, within bounds, and handed to what carries it out.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::client_stream::ClientStream;
use crate::base::limits::{MAX_PORTAL_FORM_BYTES, PORTAL_PATIENCE};
use crate::io::{Buffer, Deadline};
use crate::proxy::destination::portal::{Clerk, Form, answer_slot};
use crate::proxy::reply::Reply;

/// A form whose content is to be read.
#[derive(Debug)]
pub(crate) struct PortalForm {
    clerk: Arc<dyn Clerk>,
    form: Form,
    /// The client may wait for a 100 before it sends the content.
    expects: bool,
}

/// The answer, with the client's buffer.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) reply: Reply,
    pub(crate) buffer: Buffer,
    /// All of the request was read, and is no longer in the buffer.
    pub(crate) whole: bool,
}

impl PortalForm {
    pub(crate) fn new(clerk: Arc<dyn Clerk>, form: Form, expects: bool) -> Self {
        Self { clerk, form, expects }
    }

    /// Reads the content, for `patience` at most, and waits for the answer.
    pub(crate) async fn answer(
        mut self,
        client: &mut ClientStream<'_>,
        deadline: &Deadline,
        patience: Duration,
        buffer: Buffer,
    ) -> Answered {
        // Once for all of it: a byte now and then does not move it.
        deadline.set(patience);
        let (read, buffer) = self.read(client, deadline, buffer).await;
        match read {
            Ok(()) => Answered { reply: self.carried_out(deadline).await, buffer, whole: true },
            Err((status, cause)) => Answered { reply: Reply::refusal(status, cause), buffer, whole: false },
        }
    }

    async fn read(
        &mut self,
        client: &mut ClientStream<'_>,
        deadline: &Deadline,
        mut buffer: Buffer,
    ) -> (Result<(), (u16, &'static str)>, Buffer) {
        const BROKEN: (u16, &str) = (400, "a form's content broke the rules of its framing");
        const CUT: (u16, &str) = (400, "a form's content ended before its end");
        const SLOW: (u16, &str) = (408, "a form's content did not come in time");
        let mut next = client.take_first(&mut buffer);
        loop {
            let Ok(part) = next else { return (Err(BROKEN), buffer) };
            let data = buffer.part(part.range());
            if self.form.content.len() + data.len() > MAX_PORTAL_FORM_BYTES {
                return (Err((413, "a form is longer than a CSR and a few lines need")), buffer);
            }
            self.form.content.extend_from_slice(data);
            buffer.consume(part.consumed);
            if part.done {
                return (Ok(()), buffer);
            }
            let (mut reader, mut writer) = client.split();
            if std::mem::take(&mut self.expects) && self.form.content.is_empty() {
                let sent = deadline.race(pin!(writer.write_continue())).await;
                if !matches!(sent, Ok(Ok(()))) {
                    return (Err(CUT), buffer);
                }
            }
            let filled = {
                let filling = pin!(reader.fill(buffer));
                deadline.race(filling).await
            };
            match filled {
                Ok((Ok(1..), filled)) => buffer = filled,
                Ok((_, filled)) => {
                    let whole = reader.eof().is_ok() && reader.is_done();
                    return (if whole { Ok(()) } else { Err(CUT) }, filled);
                }
                Err(_) => return (Err(SLOW), Buffer::small()),
            }
            next = reader.take(&mut buffer, 0);
        }
    }

    async fn carried_out(self, deadline: &Deadline) -> Reply {
        let busy = |cause| {
            let mut reply = Reply::refusal(503, cause);
            reply.fields.extend_from_slice(b"Retry-After: 5\r\n");
            reply
        };
        let Ok((slot, mut pending)) = answer_slot() else { return busy("no descriptors are left") };
        if let Err(reply) = self.clerk.submit(self.form, slot) {
            return reply;
        }
        deadline.set(PORTAL_PATIENCE);
        let answered = deadline.race(pin!(pending.wait())).await;
        answered
            .ok()
            .flatten()
            .unwrap_or_else(|| busy("a form of the page for consumers was not carried out in time"))
    }
}
