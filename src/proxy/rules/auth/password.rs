//! `auth.basic`: a user and a password of a file.
//!
//! ```text
//! Authorization ─► known from before? ─► yes: at once
//!                      └─► no: a job in the queue ─► a thread of the pool makes the hash ─► the worker goes on
//! ```
//!
//! A hash takes up to a second, so no worker makes one. The queue is short: with wrong passwords in a flood, requests whose
//! password was verified before are served as ever, and others get 503.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::{Identity, RequestView, Stop};
use crate::auth::basic::UserPassword;
use crate::auth::htpasswd::Users;
use crate::auth::verified::{Fingerprint, Verified};
use crate::base::limits::{PASSWORD_QUEUE, VERIFIED_PASSWORDS};
use crate::base::published::Published;
use crate::io::notify::{self, Notified, Notifier};
use crate::proxy::reply::Reply;

/// `auth.basic`
#[derive(Debug)]
pub struct PasswordRule {
    /// The users of the file, as it was read last.
    pub users: Published<UserFile>,
    /// What the client is challenged with: the value of WWW-Authenticate.
    pub challenge: String,
    /// The field that gives the backend the user's name.
    pub user_field: Option<Box<str>>,
    /// Whether Authorization goes on to the backend.
    pub forward: bool,
    /// What makes the hashes.
    pub checks: Arc<PasswordChecks>,
}

/// The users of a file, and the passwords that were verified against it.
#[derive(Debug)]
pub struct UserFile {
    users: Users,
    verified: Verified,
}

impl UserFile {
    /// Nothing was verified yet.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub(crate) fn new(users: Users) -> Result<Self, &'static str> {
        let verified = Verified::new(VERIFIED_PASSWORDS).map_err(|_| "the system gives no random numbers")?;
        Ok(Self { users, verified })
    }

    /// The users.
    pub(crate) fn users(&self) -> &Users {
        &self.users
    }
}

/// What became of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum PasswordVerdict {
    /// There were too many at once.
    Busy = 0,
    /// It is another password.
    Wrong = 1,
    /// It is the user's.
    Good = 2,
}

/// A password that is to be verified.
#[derive(Debug)]
pub(crate) struct PasswordCheck {
    file: Arc<UserFile>,
    given: UserPassword,
    of: Fingerprint,
    checks: Arc<PasswordChecks>,
}

/// The queue of the threads that make hashes.
#[derive(Debug)]
pub struct PasswordChecks(SyncSender<Job>);

/// A check in the queue.
#[derive(Debug)]
pub(crate) struct Job {
    check: PasswordCheck,
    verdict: Arc<AtomicU8>,
    /// Dropped once there is a verdict, which wakes the worker.
    _done: Notifier,
}

impl PasswordRule {
    /// The user of a request.
    pub(super) fn ask(
        &self,
        asked: &RequestView<'_, '_, '_>,
        verdict: Option<PasswordVerdict>,
        identity: &mut Identity,
    ) -> Result<(), Stop> {
        let mut fields = asked.head.fields.all("authorization");
        let given = match (fields.next(), fields.next()) {
            (Some(value), None) => UserPassword::parse(value),
            (None, _) => return Err(self.refuse("no user and password").into()),
            (Some(_), Some(_)) => None,
        };
        let Some(given) = given.filter(|given| given.user().is_some()) else {
            return Err(self.refuse("no user and password of the Basic scheme").into());
        };
        let user = given.user().unwrap_or_default();
        let of = |file: &UserFile| file.verified.fingerprint(&[user.as_bytes(), given.password()]);
        let known = self.users.with(|file| file.verified.get(of(file)));
        match (known, verdict) {
            (Some(true), _) | (None, Some(PasswordVerdict::Good)) => {}
            (Some(false), _) | (None, Some(PasswordVerdict::Wrong)) => {
                let mut reply = self.refuse("a wrong user or password");
                reply.counter = Some(|it| &it.auth_passwords_wrong);
                return Err(reply.into());
            }
            (None, Some(PasswordVerdict::Busy)) => return Err(busy().into()),
            (None, None) => {
                let file = self.users.load();
                let of = of(&file);
                let check = PasswordCheck { file, given, of, checks: Arc::clone(&self.checks) };
                return Err(Stop::Wait(super::Check::Password(Box::new(check))));
            }
        }
        if let Some(field) = &self.user_field {
            identity.put(field, user);
        }
        identity.user = user.into();
        identity.drops_authorization |= !self.forward;
        Ok(())
    }

    fn refuse(&self, cause: &'static str) -> Reply {
        let mut reply = Reply::refusal(401, cause);
        reply.fields.extend_from_slice(format!("WWW-Authenticate: {}\r\n", self.challenge).as_bytes());
        reply
    }
}

fn busy() -> Reply {
    let mut reply = Reply::refusal(503, "too many passwords are being verified");
    reply.fields.extend_from_slice(b"Retry-After: 1\r\n");
    reply.counter = Some(|it| &it.auth_passwords_busy);
    reply
}

impl PasswordCheck {
    /// Waits for the verdict of the pool.
    pub(crate) async fn run(self) -> PasswordVerdict {
        let Ok((done, receiver)) = notify::pair() else { return PasswordVerdict::Busy };
        let Ok(mut notified) = Notified::adopt(receiver) else { return PasswordVerdict::Busy };
        let verdict = Arc::new(AtomicU8::new(PasswordVerdict::Busy as u8));
        let checks = Arc::clone(&self.checks);
        let job = Job { check: self, verdict: Arc::clone(&verdict), _done: done };
        if checks.0.try_send(job).is_err() {
            return PasswordVerdict::Busy;
        }
        notified.notified().await;
        match verdict.load(Ordering::Acquire) {
            2 => PasswordVerdict::Good,
            1 => PasswordVerdict::Wrong,
            _ => PasswordVerdict::Busy,
        }
    }
}

impl PasswordChecks {
    /// The queue, and its other end for the threads.
    pub(crate) fn new() -> (Self, Receiver<Job>) {
        let (sender, receiver) = sync_channel(PASSWORD_QUEUE);
        (Self(sender), receiver)
    }
}

impl Job {
    /// Makes the hash, for as long as that takes, and tells the worker.
    pub(crate) fn run(self) {
        // The client has left: no one waits for it.
        if Arc::strong_count(&self.verdict) == 1 {
            return;
        }
        let PasswordCheck { file, given, of, .. } = &self.check;
        let good = file.users.verify(given.user().unwrap_or_default(), given.password());
        file.verified.note(*of, good);
        let verdict = if good { PasswordVerdict::Good } else { PasswordVerdict::Wrong };
        self.verdict.store(verdict as u8, Ordering::Release);
    }
}
