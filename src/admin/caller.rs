//! The client of a request: how it has proven itself, and what it may do.

use std::net::SocketAddr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use serde::Serialize;

use super::{Control, session};

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Role {
    /// Everything.
    Full,
    /// Read.
    ReadOnly,
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// A process of this machine, as the kernel names it.
    Unix {
        /// Its user; none where the kernel does not say.
        uid: Option<u32>,
        /// Its number.
        pid: Option<i32>,
    },
    /// A TCP client.
    Tcp(SocketAddr),
}

/// How a client has proven itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Proof {
    /// By the permissions of the Unix socket.
    UnixSocket,
    /// By a bearer token.
    Token,
    /// By the cookie of a session, which a token began.
    Session,
}

/// The client of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) role: Role,
    pub(super) proof: Proof,
    pub(super) peer: Peer,
    /// Whether it is the command line of Ringate, by its own word.
    pub(super) is_cli: bool,
}

/// The tokens of a TCP address, as digests: a comparison takes as long whatever is compared.
#[derive(Clone, Debug)]
pub(super) struct Tokens {
    full: [u8; 32],
    read_only: Option<[u8; 32]>,
}

impl Tokens {
    /// # Errors
    /// Both are the same token; in words.
    pub(super) fn new(full: &str, read_only: Option<&str>) -> Result<Self, String> {
        let tokens = Self { full: hash(full), read_only: read_only.map(hash) };
        if tokens.read_only == Some(tokens.full) {
            return Err("`read_only_token_file` has the token of `token_file`: make another one".to_owned());
        }
        Ok(tokens)
    }

    /// What a token permits, if it is one of these.
    pub(super) fn role_of(&self, token: &str) -> Option<Role> {
        let given = hash(token.trim());
        let is = |known: &[u8; 32]| verify_slices_are_equal(&given, known).is_ok();
        let (full, read_only) = (is(&self.full), self.read_only.as_ref().is_some_and(is));
        match (full, read_only) {
            (true, _) => Some(Role::Full),
            (false, true) => Some(Role::ReadOnly),
            (false, false) => None,
        }
    }
}

/// The SHA-256 of a secret.
pub(super) fn hash(secret: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
    out
}

impl Caller {
    /// The client of a request, if it has proven itself.
    pub(super) fn of(control: &Control, request: &Request, peer: Peer) -> Option<Self> {
        let fields = request.headers();
        let agent = fields.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let is_cli = agent.starts_with("ringate/");
        let by = |role, proof| Some(Self { role, proof, peer, is_cli });
        let Some(tokens) = &control.tokens else { return by(Role::Full, Proof::UnixSocket) };
        if let Some(role) = bearer(fields).and_then(|token| tokens.role_of(token)) {
            return by(role, Proof::Token);
        }
        let role = control.sessions.role_of(session::cookie(fields)?)?;
        by(role, Proof::Session)
    }

    /// For the audit log.
    pub(super) fn describe(&self) -> serde_json::Value {
        let mut who = serde_json::json!({ "by": self.proof, "role": self.role });
        match self.peer {
            Peer::Unix { uid, pid } => {
                who["uid"] = uid.into();
                who["pid"] = pid.into();
            }
            Peer::Tcp(address) => who["address"] = address.to_string().into(),
        }
        if self.is_cli {
            who["client"] = "ringate command line".into();
        }
        who
    }
}

/// The token of a request (RFC 6750 §2.1).
fn bearer(fields: &HeaderMap) -> Option<&str> {
    let given = fields.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = given.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_has_its_role() {
        let tokens = Tokens::new("a-token-of-the-tests", Some("another-token-of-them")).unwrap();
        assert_eq!(tokens.role_of(" a-token-of-the-tests"), Some(Role::Full));
        assert_eq!(tokens.role_of("another-token-of-them"), Some(Role::ReadOnly));
        assert_eq!(tokens.role_of("a-token-of-the-test"), None);
        assert_eq!(tokens.role_of(""), None);
        assert!(Tokens::new("a-token-of-the-tests", Some("a-token-of-the-tests")).is_err());
    }
}
