//! A page for consumers: the APIs of its listener, how to make and install a client certificate, and whether the one that the
//! client has presented is accepted. Its forms ([`Form`]) are carried out by a [`Clerk`], beside the workers.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::base::published::Published;
use crate::certs::Timestamp;
use crate::certs::consumers::index::{Index, NotInForce};
use crate::http::{Method, RequestHead};
use crate::io::notify::{self, Notified, Notifier};
use crate::proxy::client::ClientFacts;
use crate::proxy::reply::{Reply, ReplyBody};

/// A page, all of it written but for the check of the client's certificate.
#[derive(Debug)]
pub struct Portal {
    /// Field lines, among them the content security policy.
    pub fields: Vec<u8>,
    /// What stands before the check.
    pub before: String,
    /// What stands behind it.
    pub after: String,
    /// All credentials of the store.
    pub index: Published<Index>,
    /// The APIs that accept credentials.
    pub apis: Vec<Api>,
    /// Carries out its forms, if it has some.
    pub clerk: Option<Arc<dyn Clerk>>,
}

/// What a form asks for, by the query that it is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A credential is requested.
    Request,
    /// What has become of a request?
    State,
    /// What was approved is collected.
    Collect,
}

/// A form, as it was sent.
pub struct Form {
    /// What it asks for.
    pub action: Action,
    /// The client's address.
    pub address: String,
    /// `Content-Type`
    pub media_type: String,
    /// Its content, which may have secrets.
    pub content: Vec<u8>,
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Form").field("action", &self.action).finish_non_exhaustive()
    }
}

/// A form that a client may send, and what carries it out.
pub(crate) type Sent = (Arc<dyn Clerk>, Form);

/// Carries out forms. Nothing of it waits for a disk.
pub trait Clerk: fmt::Debug + Send + Sync {
    /// Whether a client may send such a form now.
    ///
    /// # Errors
    /// It has sent too many.
    fn admit(&self, action: Action, address: &str) -> Result<(), Reply>;

    /// Takes a form over.
    ///
    /// # Errors
    /// Too many are waiting.
    fn submit(&self, form: Form, answer: AnswerSlot) -> Result<(), Reply>;
}

/// Where the answer to a form is put, by another thread.
#[derive(Debug)]
pub struct AnswerSlot {
    reply: SyncSender<Reply>,
    notifier: Notifier,
}

/// Where it arrives.
#[derive(Debug)]
pub(crate) struct PendingAnswer {
    reply: Receiver<Reply>,
    notified: Notified,
}

/// Both ends; on a worker.
pub(crate) fn answer_slot() -> std::io::Result<(AnswerSlot, PendingAnswer)> {
    let (sender, reply) = sync_channel(1);
    let (notifier, receiver) = notify::pair()?;
    let notified = Notified::adopt(receiver)?;
    Ok((AnswerSlot { reply: sender, notifier }, PendingAnswer { reply, notified }))
}

impl AnswerSlot {
    /// Puts it there. A client that has left does not get it.
    pub(crate) fn give(self, reply: Reply) {
        let _ = self.reply.try_send(reply);
        self.notifier.notify();
    }
}

impl PendingAnswer {
    /// Waits for it. `None`: there will be none.
    pub(crate) async fn wait(&mut self) -> Option<Reply> {
        self.notified.notified().await;
        self.reply.try_recv().ok()
    }
}

/// An API of the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// Host and path.
    pub place: String,
    /// The definitions whose credentials it accepts.
    pub definitions: Vec<String>,
}

impl Portal {
    /// The page for this client.
    pub(crate) fn reply(&self, client: &ClientFacts) -> Reply {
        let mut page = String::with_capacity(self.before.len() + self.after.len() + 1024);
        page.push_str(&self.before);
        self.check(client, &mut page);
        page.push_str(&self.after);
        Reply {
            status: 200,
            fields: self.fields.clone(),
            body: ReplyBody::Own {
                media_type: "text/html; charset=utf-8".into(),
                bytes: page.into_bytes().into(),
            },
            cause: None,
            counter: None,
            error: None,
        }
    }

    /// The form that a request sends, its content not yet read. `None`: it sends none.
    ///
    /// # Errors
    /// It was sent by another page, is none of this page's, or the client has sent too many.
    pub(crate) fn form(
        &self,
        head: &RequestHead<'_, '_>,
        client: &ClientFacts,
        address: &str,
    ) -> Option<Result<Sent, Reply>> {
        let clerk = self.clerk.as_ref().filter(|_| head.method == Method::Post)?;
        let action = match head.target.query {
            Some("request") => Action::Request,
            Some("state") => Action::State,
            Some("collect") => Action::Collect,
            _ => return Some(Err(Reply::refusal(404, "the page for consumers has no such form"))),
        };
        if !is_of_own_page(head, client) {
            return Some(Err(Reply::refusal(
                403,
                "a form of the page for consumers was sent by another page",
            )));
        }
        if let Err(reply) = clerk.admit(action, address) {
            return Some(Err(reply));
        }
        let media_type = head.fields.get("content-type").unwrap_or_default();
        let media_type = String::from_utf8_lossy(media_type).into_owned();
        let form = Form { action, address: address.to_owned(), media_type, content: Vec::new() };
        Some(Ok((Arc::clone(clerk), form)))
    }

    /// What the client has presented, and which API accepts it.
    fn check(&self, client: &ClientFacts, out: &mut String) {
        let Some((certificate, _)) = client.presented() else {
            out.push_str(if client.tls().is_some() {
                "<p class=\"no\">Your client presented no certificate.</p>"
            } else {
                "<p class=\"no\">This connection has no TLS, so no certificate can be presented: use https.</p>"
            });
            return;
        };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        let _ = write!(
            out,
            "<p>Your client presented: <b>{}</b>, valid until {}<br><small>SHA-256 {}</small></p>",
            escaped(&certificate.subject),
            Timestamp::from_unix(certificate.not_after),
            certificate.fingerprint
        );
        if certificate.not_after < now {
            out.push_str("<p class=\"no\">It has expired, so no API accepts it.</p>");
            return;
        }
        let found = client.with_presented(|presented| {
            let Some(presented) = presented else { return String::new() };
            self.index.with(|index| {
                let mut found = String::new();
                for entry in index.by_certificate(presented, now) {
                    let (name, consumer) = (escaped(&entry.name), escaped(&entry.consumer));
                    let _ = write!(found, "<p>It belongs to the credential <b>{name}</b> of {consumer}. ");
                    match entry.standing(now) {
                        Ok(()) => self.accepted(&entry.definition, &mut found),
                        Err(why) => {
                            let word = match why {
                                NotInForce::Suspended => "is suspended",
                                NotInForce::Expired => "has expired",
                                NotInForce::Revoked => "was revoked",
                            };
                            let _ = write!(found, "<span class=\"no\">That credential {word}.</span>");
                        }
                    }
                    found.push_str("</p>");
                }
                found
            })
        });
        if found.is_empty() {
            out.push_str("<p class=\"no\">It belongs to no credential, so no API here accepts it.</p>");
        } else {
            out.push_str(&found);
        }
    }

    fn accepted(&self, definition: &str, out: &mut String) {
        let places = self.apis.iter().filter(|api| api.definitions.iter().any(|it| it == definition));
        let places: Vec<_> = places.map(|api| escaped(&api.place)).collect();
        if places.is_empty() {
            out.push_str("<span class=\"no\">No API here accepts credentials of its kind.</span>");
        } else {
            let _ = write!(out, "<span class=\"yes\">Accepted by {}.</span>", places.join(", "));
        }
    }
}

/// Whether the page itself has sent a form, or something that is no browser: browsers say what a request comes from
/// (Fetch Metadata, `Origin`), and another site's page can't make them say otherwise.
fn is_of_own_page(head: &RequestHead<'_, '_>, client: &ClientFacts) -> bool {
    if let Some(site) = head.fields.get("sec-fetch-site") {
        return site == b"same-origin";
    }
    let Some(origin) = head.fields.get("origin") else { return true };
    let Some(host) = head.host else { return false };
    let is = |scheme: &str| {
        let own = origin.strip_prefix(scheme.as_bytes());
        own.is_some_and(|own| own.eq_ignore_ascii_case(host.as_bytes()))
    };
    // TLS may have been ended by what is in front of a plain listener.
    is("https://") || client.tls().is_none() && is("http://")
}

/// Text as HTML shows it.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // The page's placeholders stand in braces.
            '{' => out.push_str("&#123;"),
            other => out.push(other),
        }
    }
    out
}
