//! Credentials of consumers: requests without a valid key get 401; those with a key and without its certificate, 403. The
//! backend gets the names of consumer and credential instead of the key.
//!
//! Each refusal is a problem document (RFC 9457) with a `type` of its own, and has a counter.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::RequestView;
use super::keys::bearer_token;
use crate::base::count::Count;
use crate::base::counters::Counters;
use crate::base::published::Published;
use crate::certs::consumers::index::{Entry, Index, NotInForce, PresentedCertificate};
use crate::http::is_same_name;
use crate::proxy::reply::{Reply, ReplyBody};

/// The field with the key. `Authorization: Bearer` is read where it is missing.
const KEY_FIELD: &str = "x-api-key";
/// The fields that give the backend the names.
const CONSUMER_FIELD: &str = "X-Consumer-Name";
const CREDENTIAL_FIELD: &str = "X-Credential-Name";
/// What problem types begin with.
const PROBLEM: &str = "urn:ringate:problem:";

/// Which credentials a route accepts.
#[derive(Debug)]
pub struct CredentialRule {
    /// All credentials of the store.
    pub index: Published<Index>,
    /// The definitions of those that count; never empty.
    pub accepted: Vec<Accepted>,
}

/// A definition that a route names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its name.
    pub definition: String,
    /// Whether its credentials have keys.
    pub api_key: bool,
    /// Whether they have client certificates.
    pub mtls: bool,
    /// Whether they have origins.
    pub origins: bool,
}

/// A credential that was accepted.
#[derive(Debug)]
pub(crate) struct Accredited {
    pub(crate) consumer: Arc<str>,
    pub(crate) credential: Arc<str>,
    /// Its key came as a bearer token.
    bearer: bool,
    /// Whether the page that the request comes from may use it.
    pub(crate) allows_origin: bool,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Missing,
    Repeated,
    Unknown,
    Suspended,
    Expired,
    Revoked,
    WithoutCertificate,
    OtherCertificate,
}

/// What a refusal says: status, the end of its type, title, detail, challenge, counter.
type Says = (u16, &'static str, &'static str, &'static str, Option<&'static str>, fn(&Counters) -> &Count);

impl Refusal {
    fn says(self) -> Says {
        const NEW_KEY: &str = "ask the API's operator for a new one";
        match self {
            Self::Missing => (
                401,
                "credential-missing",
                "an API key is required",
                "send it as X-Api-Key, or as Authorization: Bearer",
                Some("Bearer"),
                |it| &it.credentials_missing,
            ),
            Self::Repeated => (
                401,
                "credential-repeated",
                "there is more than one API key",
                "send one",
                Some("Bearer error=\"invalid_request\""),
                |it| &it.credentials_unknown,
            ),
            Self::Unknown => (
                401,
                "credential-unknown",
                "the API key is not valid here",
                "check the key, and that it is one of this API",
                Some("Bearer error=\"invalid_token\""),
                |it| &it.credentials_unknown,
            ),
            Self::Expired => (
                401,
                "credential-expired",
                "the credential has expired",
                "ask the API's operator to renew it",
                Some("Bearer error=\"invalid_token\", error_description=\"expired\""),
                |it| &it.credentials_expired,
            ),
            Self::Revoked => (
                401,
                "credential-revoked",
                "the credential was revoked",
                NEW_KEY,
                Some("Bearer error=\"invalid_token\", error_description=\"revoked\""),
                |it| &it.credentials_revoked,
            ),
            Self::Suspended => (
                403,
                "credential-suspended",
                "the credential is suspended",
                "ask the API's operator to resume it",
                None,
                |it| &it.credentials_suspended,
            ),
            Self::WithoutCertificate => (
                403,
                "certificate-required",
                "a client certificate is required",
                "connect with the client certificate of this credential",
                None,
                |it| &it.credentials_without_certificate,
            ),
            Self::OtherCertificate => (
                403,
                "certificate-mismatch",
                "the client certificate is another one",
                "connect with the client certificate of this credential, in its time",
                None,
                |it| &it.credentials_other_certificate,
            ),
        }
    }

    #[cold]
    fn reply(self, has_keys: bool) -> Reply {
        let (status, kind, title, detail, challenge, counter) = self.says();
        let body = format!(
            "{{\"type\":\"{PROBLEM}{kind}\",\"title\":\"{title}\",\"status\":{status},\"detail\":\"{detail}\"}}\n"
        );
        let mut fields = b"Cache-Control: no-store\r\n".to_vec();
        // RFC 9110 §11.6.1: a 401 names a scheme that would do.
        if let Some(challenge) =
            challenge.or((status == 401).then_some("Bearer")).filter(|_| has_keys || status == 401)
        {
            fields.extend_from_slice(format!("WWW-Authenticate: {challenge}\r\n").as_bytes());
        }
        Reply {
            status,
            fields,
            body: ReplyBody::Own {
                media_type: "application/problem+json".into(),
                bytes: body.into_bytes().into(),
            },
            cause: Some(title.into()),
            counter: Some(counter),
            error: None,
        }
    }
}

impl CredentialRule {
    /// The credential of a request.
    ///
    /// # Errors
    /// It has none that is accepted and in force.
    pub(crate) fn check(&self, asked: &RequestView<'_, '_, '_>) -> Result<Accredited, Reply> {
        let now = now();
        let found = self.index.with(|index| self.find(index, asked, now));
        found.map_err(|refusal| refusal.reply(self.accepted.iter().any(|it| it.api_key)))
    }

    fn find(&self, index: &Index, asked: &RequestView<'_, '_, '_>, now: i64) -> Result<Accredited, Refusal> {
        asked.client.with_presented(|presented| self.find_with(index, presented, asked, now))
    }

    fn find_with(
        &self,
        index: &Index,
        presented: Option<&PresentedCertificate<'_>>,
        asked: &RequestView<'_, '_, '_>,
        now: i64,
    ) -> Result<Accredited, Refusal> {
        let Some((key, bearer)) = key(asked)? else {
            return self.find_by_certificate(index, presented, asked, now);
        };
        let entry = index.by_key(key, now).ok_or(Refusal::Unknown)?;
        let accepted = self.accepted(entry).filter(|it| it.api_key).ok_or(Refusal::Unknown)?;
        in_force(entry, now)?;
        if accepted.mtls {
            let presented = presented.ok_or(Refusal::WithoutCertificate)?;
            if !entry.has(presented, now) {
                return Err(Refusal::OtherCertificate);
            }
        }
        Ok(accredited(entry, accepted, asked, bearer))
    }

    /// The credential of a request without a key: one that has none.
    fn find_by_certificate(
        &self,
        index: &Index,
        presented: Option<&PresentedCertificate<'_>>,
        asked: &RequestView<'_, '_, '_>,
        now: i64,
    ) -> Result<Accredited, Refusal> {
        let without_key = |it: &&Accepted| it.mtls && !it.api_key;
        let otherwise = if self.accepted.iter().any(|it| it.api_key) {
            Refusal::Missing
        } else {
            Refusal::WithoutCertificate
        };
        if !self.accepted.iter().any(|it| without_key(&it)) {
            return Err(Refusal::Missing);
        }
        let Some(presented) = presented else { return Err(otherwise) };
        let mut refusal = if otherwise == Refusal::Missing { otherwise } else { Refusal::OtherCertificate };
        for entry in index.by_certificate(presented, now) {
            let Some(accepted) = self.accepted(entry).filter(without_key) else { continue };
            match in_force(entry, now) {
                Ok(()) => return Ok(accredited(entry, accepted, asked, false)),
                Err(found) => refusal = found,
            }
        }
        Err(refusal)
    }

    fn accepted(&self, entry: &Entry) -> Option<&Accepted> {
        self.accepted.iter().find(|it| *it.definition == *entry.definition)
    }

    /// Whether pages of `origin` may use one of the active credentials: what a preflight is answered by, which has no key.
    pub(crate) fn allows(&self, origin: &[u8]) -> bool {
        let Ok(origin) = std::str::from_utf8(origin) else { return false };
        let now = now();
        let accepted = self.accepted.iter().filter(|it| it.origins);
        self.index.with(|index| accepted.into_iter().any(|it| index.allows(&it.definition, origin, now)))
    }
}

impl Accredited {
    /// Whether a field of the request is the key.
    pub(crate) fn removes(&self, name: &[u8]) -> bool {
        is_same_name(name, KEY_FIELD.as_bytes()) || self.bearer && is_same_name(name, b"authorization")
    }

    /// The names, for the backend.
    pub(crate) fn fields(&self) -> [(&'static str, &str); 2] {
        [(CONSUMER_FIELD, &self.consumer), (CREDENTIAL_FIELD, &self.credential)]
    }
}

/// Whether a field has the name of one of those that Ringate gives the backend, also where it is only like one of them.
pub(crate) fn is_name(name: &[u8]) -> bool {
    [CONSUMER_FIELD, CREDENTIAL_FIELD].iter().any(|own| is_same_name(name, own.as_bytes()))
}

fn accredited(
    entry: &Entry,
    accepted: &Accepted,
    asked: &RequestView<'_, '_, '_>,
    bearer: bool,
) -> Accredited {
    let origin = asked.head.fields.get("origin").filter(|_| accepted.origins);
    let origin = origin.and_then(|origin| std::str::from_utf8(origin).ok());
    Accredited {
        consumer: Arc::clone(&entry.consumer),
        credential: Arc::clone(&entry.name),
        bearer,
        allows_origin: origin.is_some_and(|origin| entry.allows(origin)),
    }
}

fn in_force(entry: &Entry, now: i64) -> Result<(), Refusal> {
    entry.standing(now).map_err(|why| match why {
        NotInForce::Suspended => Refusal::Suspended,
        NotInForce::Expired => Refusal::Expired,
        NotInForce::Revoked => Refusal::Revoked,
    })
}

/// The key of a request, and whether it came as a bearer token. If the key has a field of its own, a bearer token is the
/// application's: it is forwarded.
fn key<'b>(asked: &RequestView<'_, '_, 'b>) -> Result<Option<(&'b [u8], bool)>, Refusal> {
    let fields = &asked.head.fields;
    let mut own = fields.all(KEY_FIELD).map(|value| (value, false));
    let mut bearer = fields.all("authorization").filter_map(|value| Some((bearer_token(value)?, true)));
    let (found, another) = match own.next() {
        Some(key) => (Some(key), own.next()),
        None => (bearer.next(), bearer.next()),
    };
    if another.is_some() { Err(Refusal::Repeated) } else { Ok(found) }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
