//! A page for consumers: the APIs of its listener, how to make and install a client certificate, and whether the one that the
//! client has presented is accepted.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::base::published::Published;
use crate::certs::Timestamp;
use crate::certs::consumers::index::{Index, NotInForce};
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
        }
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
