//! `auth.jwt`: a signed token of an issuer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use super::super::keys::bearer_token;
use super::{Identity, RequestView, Stop};
use crate::auth::jwks::KeySet;
use crate::auth::jwt::{TokenError, TokenPolicy, TokenSource};
use crate::base::published::Published;
use crate::http::Fields;
use crate::proxy::reply::Reply;

/// `auth.jwt`
#[derive(Debug)]
pub struct TokenRule {
    /// The issuer's keys, as they were read last; `None`: they could not be had yet.
    pub keys: Published<Option<KeySet>>,
    /// Set when a token names a key that is not there: the keys are fetched sooner.
    pub wanted: Arc<AtomicBool>,
    /// What a token must be.
    pub policy: TokenPolicy,
    /// Where it is.
    pub source: TokenSource,
    /// Fields for the backend, each with the claim that is its value.
    pub forward: Vec<(Box<str>, String)>,
    /// Whether the token itself goes on to the backend.
    pub forward_token: bool,
}

/// The token of a request; an error if there are several.
fn find<'b>(source: &TokenSource, asked: &RequestView<'_, '_, 'b>) -> Result<Option<&'b [u8]>, ()> {
    let fields = &asked.head.fields;
    match source {
        // A backend that gets the token, too, must not read another one of another field.
        TokenSource::Bearer => Ok(only(fields.all("authorization"))?.and_then(bearer_token)),
        TokenSource::Header(name) => only(fields.all(name)),
        TokenSource::Cookie(name) => only(cookies(fields, name)),
        TokenSource::Query(name) => {
            let pairs = asked.head.target.query.unwrap_or_default().split('&');
            let named = pairs.filter_map(|pair| pair.split_once('=')).filter(|(key, _)| key == name);
            only(named.map(|(_, value)| value.as_bytes()))
        }
    }
}

fn only<'b>(mut found: impl Iterator<Item = &'b [u8]>) -> Result<Option<&'b [u8]>, ()> {
    let first = found.next();
    if found.next().is_some() { Err(()) } else { Ok(first) }
}

/// The values of a cookie (RFC 6265 §5.4).
fn cookies<'b>(fields: &Fields<'_, 'b>, name: &str) -> impl Iterator<Item = &'b [u8]> {
    let pairs = fields.all("cookie").flat_map(|line| line.split(|&byte| byte == b';'));
    pairs.filter_map(move |pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

impl TokenRule {
    /// The claims of a request's token, as fields for the backend.
    pub(super) fn ask(&self, asked: &RequestView<'_, '_, '_>, identity: &mut Identity) -> Result<(), Stop> {
        let token = match find(&self.source, asked) {
            Ok(Some(token)) => token,
            Ok(None) => return Err(refusal(401, "no token", "Bearer").into()),
            Err(()) => {
                return Err(refusal(401, "more than one token", "Bearer error=\"invalid_request\"").into());
            }
        };
        let claims = self.keys.with(|keys| match keys {
            Some(keys) => self.policy.check(keys, token, now()).map_err(|error| self.refuse(error)),
            None => Err(without_keys()),
        })?;
        let texts = self.forward.iter().map(|(field, claim)| Ok((field, claims.text(claim)?)));
        let texts: Vec<_> = texts.collect::<Result<_, TokenError>>().map_err(|error| self.refuse(error))?;
        for (field, text) in texts {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                identity.put(field, &text);
            }
        }
        identity.user = claims.text("sub").ok().flatten().unwrap_or_default().into();
        match &self.source {
            _ if self.forward_token => {}
            TokenSource::Bearer => identity.drops_authorization = true,
            TokenSource::Header(name) => identity.token_field = Some(name.as_str().into()),
            // What is left of Cookie and of the query is the application's.
            TokenSource::Cookie(_) | TokenSource::Query(_) => {}
        }
        Ok(())
    }

    #[cold]
    fn refuse(&self, error: TokenError) -> Reply {
        if error == TokenError::UnknownKey {
            self.wanted.store(true, Relaxed);
        }
        let mut reply = match error {
            TokenError::Claim => refusal(403, error.reason(), "Bearer error=\"insufficient_scope\""),
            _ => refusal(401, error.reason(), "Bearer error=\"invalid_token\""),
        };
        reply.counter = Some(match error {
            TokenError::Claim => |it| &it.auth_tokens_insufficient,
            TokenError::Expired => |it| &it.auth_tokens_expired,
            _ => |it| &it.auth_tokens_invalid,
        });
        reply
    }
}

fn without_keys() -> Reply {
    let mut reply = Reply::refusal(503, "the keys that verify tokens are not known yet");
    reply.fields.extend_from_slice(b"Retry-After: 5\r\n");
    reply.counter = Some(|it| &it.auth_keys_missing);
    reply
}

/// RFC 6750 §3.1
fn refusal(status: u16, cause: &'static str, challenge: &str) -> Reply {
    let mut reply = Reply::refusal(status, cause);
    reply.fields.extend_from_slice(format!("WWW-Authenticate: {challenge}\r\n").as_bytes());
    reply
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
