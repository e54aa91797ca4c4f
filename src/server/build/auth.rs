//! Rate limits, API keys and `auth` of routes, made ready for the data path.

use std::path::PathBuf;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{Builder, Made};
use crate::base::published::Published;
use crate::certs::apikeys::Keys;
use crate::certs::store::load_keys;
use crate::config::plan::{self, At, KeyLocation, KeySource};
use crate::proxy::rules::auth::{AskedFields, ForwardRule, PasswordRule, TokenRule, UserFile};
use crate::proxy::rules::{Auth, Limit};
use crate::server::auth::{self, TokenKeys};
use crate::server::routing;

impl Made {
    /// What `auth` of routes is checked against: files of users, and keys of tokens.
    pub(crate) fn auth(
        &self,
    ) -> (&FxHashMap<PathBuf, Published<UserFile>>, &FxHashMap<KeySource, TokenKeys>) {
        (&self.users, &self.token_keys)
    }
}

impl Builder<'_> {
    /// The rate limit of a route, or of the listener itself. It is kept for the next reload.
    pub(super) fn limit(
        &mut self,
        listener: &plan::Listener,
        route: Option<&plan::Route>,
    ) -> Option<Arc<Limit>> {
        let before = self.previous.map_or(&[][..], |previous| &previous.made.limits);
        let kept = routing::limit(listener, route, before)?;
        let limit = kept.limit();
        self.limits.push(kept);
        Some(limit)
    }

    /// The keys in a file, which is read once; by a refresh, not at all.
    pub(super) fn keys(&mut self, file: &At<PathBuf>) -> Option<Keys> {
        if let Some(known) = self.keys.get(&file.value) {
            return Some(known.clone());
        }
        let keys = match self.previous.filter(|_| self.refreshes) {
            Some(previous) => previous.made.keys.get(&file.value)?.clone(),
            None => self.good(&file.span, load_keys(file))?.keys(),
        };
        self.keys.insert(file.value.clone(), keys.clone());
        Some(keys)
    }

    /// What a route asks of its clients; `None`: something is wrong with it, which has been reported.
    pub(super) fn auth_rule(&mut self, route: &plan::Route, environment: Option<&str>) -> Option<Auth> {
        let asked = &route.rules.auth;
        let password = match &asked.basic {
            None => None,
            Some(basic) => Some(self.password_rule(basic)?),
        };
        let token = match &asked.jwt {
            None => None,
            Some(jwt) => Some(self.token_rule(jwt)?),
        };
        let forward = asked.forward.as_ref().map(|forward| Arc::new(self.forward_rule(forward, environment)));
        Some(Auth { password, token, forward })
    }

    fn forward_rule(&self, asked: &plan::ForwardAuth, environment: Option<&str>) -> ForwardRule {
        let names = |names: &[String]| names.iter().map(|name| name.as_str().into()).collect();
        ForwardRule {
            upstream: self.plan.in_environment(asked.upstream, environment),
            method: match asked.method {
                plan::AskMethod::Get => "GET",
                plan::AskMethod::Head => "HEAD",
                plan::AskMethod::Post => "POST",
            },
            target: asked.path.as_str().into(),
            asked: match &asked.request_headers {
                plan::AnyOr::Any => AskedFields::Any,
                plan::AnyOr::These(these) => AskedFields::These(names(these)),
            },
            given: names(&asked.response_headers),
            refusal: names(&asked.refusal_headers),
            success: names(&asked.success_headers),
            timeout: asked.timeout,
            body_bytes: asked.body_bytes,
            on_failure: asked.on_failure,
        }
    }

    fn password_rule(&mut self, basic: &plan::BasicAuth) -> Option<PasswordRule> {
        let users = self.user_file(&basic.file)?;
        let checks = self.good(&basic.file.span, auth::password_checks())?;
        let realm = basic.realm.replace('\\', "\\\\").replace('"', "\\\"");
        Some(PasswordRule {
            users,
            challenge: format!("Basic realm=\"{realm}\""),
            user_field: basic.forward.as_deref().map(Into::into),
            forward: basic.forward_authorization,
            checks,
        })
    }

    /// The users of a file, which is read once; by a refresh, not at all. Passwords that were verified stay so if they have
    /// not changed.
    fn user_file(&mut self, file: &At<PathBuf>) -> Option<Published<UserFile>> {
        if let Some(known) = self.users.get(&file.value) {
            return Some(known.clone());
        }
        let before = self.previous.and_then(|previous| previous.made.users.get(&file.value).cloned());
        let cell = match before {
            Some(cell) if self.refreshes => cell,
            before => {
                let read = self.good(&file.span, auth::read_users(file))?;
                if read.len() == 0 {
                    let title =
                        format!("{}: there is no user in it: every request is refused", file.display());
                    let help = format!("add one: `htpasswd -B {} NAME`", file.display());
                    self.problems.warning(file.span.clone(), title, Some(help));
                }
                match before.filter(|cell| cell.with(|file| *file.users() == read)) {
                    Some(same) => same,
                    None => self.good(&file.span, auth::user_cell(read))?,
                }
            }
        };
        self.users.insert(file.value.clone(), cell.clone());
        Some(cell)
    }

    fn token_rule(&mut self, jwt: &plan::TokenAuth) -> Option<TokenRule> {
        let keys = self.token_keys(&jwt.keys)?;
        let forward = jwt.forward.iter().map(|(field, claim)| (field.as_str().into(), claim.clone()));
        Some(TokenRule {
            keys: keys.cell,
            wanted: keys.wanted,
            policy: jwt.policy.clone(),
            source: jwt.source.clone(),
            forward: forward.collect(),
            forward_token: jwt.forward_token,
        })
    }

    /// The keys of an issuer: those that run already, or else they are read. A URL that can't be fetched is no error: it is
    /// fetched again.
    fn token_keys(&mut self, at: &At<KeySource>) -> Option<TokenKeys> {
        if let Some(known) = self.token_keys.get(&at.value) {
            return Some(known.clone());
        }
        let is_file = matches!(at.value.at, KeyLocation::File(_));
        let before = self.previous.and_then(|previous| previous.made.token_keys.get(&at.value).cloned());
        let keys = match before {
            Some(keys) if self.refreshes || !is_file => keys,
            _ => {
                // Those of a predecessor are fetched again when they are due.
                let handed = self.heritage.and_then(|heritage| heritage.token_keys(&at.value));
                let read = match handed {
                    Some(keys) => Ok(keys),
                    None => auth::read_keys(&at.value, &self.plan.store),
                };
                let set = match read {
                    Err(why) if !is_file => {
                        let title = format!("the keys of tokens can't be fetched: {why}");
                        let help = "requests get 503 until they can".to_owned();
                        self.problems.warning(at.span.clone(), title, Some(help));
                        None
                    }
                    read => Some(self.good(&at.span, read)?),
                };
                for skipped in set.iter().flat_map(|set| set.skipped()) {
                    self.problems.warning(at.span.clone(), format!("not used: {skipped}"), None);
                }
                TokenKeys::new(set)
            }
        };
        self.token_keys.insert(at.value.clone(), keys.clone());
        Some(keys)
    }
}
