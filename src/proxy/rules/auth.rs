//! `auth`: the client's identity, by a password or a signed token, and what a service says of the request. Requests without
//! get 401.
//!
//! A check that takes time is not made here: [`Stop::Wait`] has it, and the request is decided anew with its verdict.

mod forward;
mod password;
mod token;

use std::sync::Arc;
use std::time::Duration;

use super::RequestView;
use crate::http::{is_same_name, put_line};
use crate::proxy::reply::Reply;
pub(crate) use forward::{AskedFields, ForwardAnswer, ForwardCheck, ForwardRule, ForwardVerdict, OnFailure};
pub(crate) use password::{Job, PasswordCheck, PasswordChecks, PasswordRule, PasswordVerdict, UserFile};
pub(crate) use token::TokenRule;

/// What a route asks of its clients. All of it must hold.
#[derive(Debug, Default)]
pub struct Auth {
    /// `auth.basic`
    pub password: Option<PasswordRule>,
    /// `auth.jwt`
    pub token: Option<TokenRule>,
    /// `auth.forward`
    pub forward: Option<Arc<ForwardRule>>,
}

/// Why a request goes no further for now.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It is refused.
    Refused(Reply),
    /// Something must be found out first.
    Wait(Check),
}

/// What a request waits for.
#[derive(Debug)]
pub(crate) enum Check {
    /// Whether a password is the user's.
    Password(Box<PasswordCheck>),
    /// What a service says of the request.
    Forward(Box<ForwardCheck>),
}

impl From<Reply> for Stop {
    fn from(reply: Reply) -> Self {
        Self::Refused(reply)
    }
}

/// What was found out about a request that waited.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    /// Whether its password is the user's, if that was asked.
    pub(crate) password: Option<PasswordVerdict>,
    /// What a service said of it, if it was asked.
    pub(crate) forward: Option<ForwardVerdict>,
    /// How long it has waited.
    pub(crate) waited: Duration,
}

/// The identity that a client has proven.
#[derive(Debug, Default)]
pub(crate) struct Identity {
    /// The user of `auth.basic`, or else the `sub` of the token.
    pub(crate) user: Box<str>,
    /// Field lines that say so to the backend.
    lines: Vec<u8>,
    /// Field lines for the client.
    response_lines: Vec<u8>,
    /// How long the request has waited for checks.
    pub(crate) waited: Duration,
    /// Authorization was for Ringate alone.
    drops_authorization: bool,
    /// The field that had the token, if it was for Ringate alone.
    token_field: Option<Box<str>>,
}

impl Auth {
    /// Whether nothing is asked.
    pub(crate) fn is_empty(&self) -> bool {
        self.password.is_none() && self.token.is_none() && self.forward.is_none()
    }

    /// The user that sent this request.
    ///
    /// # Errors
    /// It does not say so, or falsely; or it is not known yet.
    pub(super) fn ask(
        &self,
        asked: &RequestView<'_, '_, '_>,
        verdicts: Option<&Verdicts>,
    ) -> Result<Box<Identity>, Stop> {
        let mut identity = Box::<Identity>::default();
        if let Some(rule) = &self.token {
            rule.ask(asked, &mut identity)?;
        }
        if let Some(rule) = &self.password {
            rule.ask(asked, verdicts.and_then(|it| it.password), &mut identity)?;
        }
        // Last: a service is asked about what has passed everything else.
        if let Some(rule) = &self.forward {
            rule.ask(asked, verdicts.and_then(|it| it.forward.as_ref()), &mut identity)?;
        }
        identity.waited = verdicts.map_or(Duration::ZERO, |it| it.waited);
        Ok(identity)
    }

    /// Whether a field has the name of one that Ringate gives the backend, also where it is only like one of them.
    pub(super) fn owns(&self, name: &[u8]) -> bool {
        let password = self.password.iter().filter_map(|rule| rule.user_field.as_deref());
        let token = self.token.iter().flat_map(|rule| rule.forward.iter().map(|(field, _)| &**field));
        password.chain(token).any(|own| is_same_name(own.as_bytes(), name))
            || self.forward.as_ref().is_some_and(|rule| rule.owns(name))
    }
}

impl Identity {
    /// Whether a field of the request does not go to the backend.
    pub(super) fn removes(&self, name: &[u8]) -> bool {
        self.drops_authorization && is_same_name(name, b"authorization")
            || self.token_field.as_ref().is_some_and(|field| is_same_name(field.as_bytes(), name))
    }

    /// Field lines for the backend.
    pub(super) fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// Field lines for the client.
    pub(super) fn response_lines(&self) -> &[u8] {
        &self.response_lines
    }

    fn put(&mut self, name: &str, value: &str) {
        put_line(name, value.as_bytes(), &mut self.lines);
    }
}
