//! `/v1/session`: a browser signs in with a token and gets a cookie that its scripts can't read.
//!
//! Sessions are kept in memory, by the digest of what their cookie holds. They end with the process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use super::Control;
use super::body::Optional;
use super::caller::{Caller, Proof, Role, hash};
use super::problem::Problem;
use crate::base::limits::{ADMIN_SESSION_TIME, ADMIN_SESSIONS};
use crate::certs::Timestamp;

/// The cookie's name.
const COOKIE: &str = "ringate_session";

/// Sessions that are open.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions(Arc<Mutex<Vec<Session>>>);

#[derive(Debug)]
struct Session {
    digest: [u8; 32],
    role: Role,
    until: Instant,
}

impl Sessions {
    /// A new one: what its cookie holds. With too many, the oldest ends.
    fn begin(&self, role: Role) -> Result<String, Problem> {
        let mut bytes = [0; 32];
        aws_lc_rs::rand::fill(&mut bytes)
            .map_err(|_| Problem::internal("the system gives no random numbers"))?;
        let secret = BASE64URL_NOPAD.encode(&bytes);
        let mut all = self.open();
        if all.len() >= ADMIN_SESSIONS {
            all.remove(0);
        }
        all.push(Session { digest: hash(&secret), role, until: Instant::now() + ADMIN_SESSION_TIME });
        Ok(secret)
    }

    /// What the session of a cookie permits.
    pub(super) fn role_of(&self, secret: &str) -> Option<Role> {
        let digest = hash(secret);
        self.open().iter().find(|session| session.digest == digest).map(|session| session.role)
    }

    fn end(&self, secret: &str) {
        let digest = hash(secret);
        self.open().retain(|session| session.digest != digest);
    }

    fn open(&self) -> MutexGuard<'_, Vec<Session>> {
        // A panic can't leave the list half changed.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        all.retain(|session| session.until > now);
        all
    }
}

/// What the cookie of a request holds (RFC 6265 §4.2).
pub(super) fn cookie(fields: &HeaderMap) -> Option<&str> {
    let cookies = fields.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value.trim_matches('"'))
}

/// The answer of a sign-in, and of `GET`.
#[derive(Debug, Serialize)]
pub(super) struct Signed {
    role: Role,
    by: Proof,
    /// When the session ends; none where there is no session.
    expires: Option<Timestamp>,
}

/// A sign-in.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignIn {
    token: Option<String>,
}

/// Begins a session. Over a Unix socket none is needed.
pub(super) async fn sign_in(
    State(control): State<Control>,
    fields: HeaderMap,
    Optional(SignIn { token }): Optional<SignIn>,
) -> Result<Response, Problem> {
    let Some(tokens) = &control.tokens else {
        let signed = Signed { role: Role::Full, by: Proof::UnixSocket, expires: None };
        return Ok(Json(signed).into_response());
    };
    let Some(role) = token.as_deref().and_then(|token| tokens.role_of(token)) else {
        let detail = "send `{\"token\": \"…\"}` with the token in the file of `admin.token_file` or \
                      `admin.read_only_token_file`";
        return Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "this is no token of Ringate",
            detail,
        ));
    };
    let secret = control.sessions.begin(role)?;
    tracing::info!(
        "admin API: a session was begun, {}",
        if role == Role::Full { "full" } else { "read-only" }
    );
    let expires = SystemTime::now() + ADMIN_SESSION_TIME;
    let signed = Signed { role, by: Proof::Session, expires: Some(expires.into()) };
    Ok((set_cookie(&fields, &secret, ADMIN_SESSION_TIME)?, Json(signed)).into_response())
}

/// Which session or other right the client has.
pub(super) async fn show(Extension(caller): Extension<Caller>) -> Json<Signed> {
    Json(Signed { role: caller.role, by: caller.proof, expires: None })
}

/// Ends the session of the request's cookie, if there is one.
pub(super) async fn sign_out(State(control): State<Control>, fields: HeaderMap) -> Result<Response, Problem> {
    if let Some(secret) = cookie(&fields) {
        control.sessions.end(secret);
    }
    Ok((StatusCode::NO_CONTENT, set_cookie(&fields, "", Duration::ZERO)?).into_response())
}

/// The field that sets or removes the cookie. Scripts can't read it, other sites' requests don't carry it, and where the page
/// came over TLS it is sent over TLS alone.
fn set_cookie(
    fields: &HeaderMap,
    secret: &str,
    time: Duration,
) -> Result<[(header::HeaderName, HeaderValue); 1], Problem> {
    let origin = fields.get(header::ORIGIN).and_then(|origin| origin.to_str().ok()).unwrap_or_default();
    let secure = if origin.starts_with("https://") { "; Secure" } else { "" };
    let seconds = time.as_secs();
    let cookie = format!("{COOKIE}={secret}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    let mut value =
        HeaderValue::from_str(&cookie).map_err(|_| Problem::internal("the cookie can't be written"))?;
    value.set_sensitive(true);
    Ok([(header::SET_COOKIE, value)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_bounded_and_end() {
        let sessions = Sessions::default();
        let first = sessions.begin(Role::Full).unwrap();
        let all: Vec<String> = (1..ADMIN_SESSIONS).map(|_| sessions.begin(Role::ReadOnly).unwrap()).collect();
        assert_eq!(sessions.role_of(&first), Some(Role::Full));
        sessions.begin(Role::Full).unwrap();
        assert_eq!(sessions.role_of(&first), None, "the oldest gave way");
        assert_eq!(sessions.role_of(&all[0]), Some(Role::ReadOnly));
        sessions.end(&all[0]);
        assert_eq!(sessions.role_of(&all[0]), None);
        assert_eq!(sessions.role_of(""), None);
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut fields = HeaderMap::new();
        fields.append(header::COOKIE, HeaderValue::from_static("a=b; xringate_session=no"));
        assert_eq!(cookie(&fields), None);
        fields.append(header::COOKIE, HeaderValue::from_static("c=d;ringate_session=yes ; e"));
        assert_eq!(cookie(&fields), Some("yes"));
    }
}
