//! `userlist` and the rules that ask for a login of one: `auth.basic` of routes, with files of users beside the config.

use std::collections::BTreeMap;

use super::super::MADE;
use super::super::draft::{Beside, Section, name_of, quoted};
use super::super::report::Line;
use super::conditions::{Acls, Conjunction, Literal, Test};
use super::deny::is_writable;
use super::frontend::Whole;
use super::parse::{Block, Item};
use super::rules::{self, Rule, Target};
use super::samples::Samples;
use super::{HaProxy, Proxy};
use crate::auth::htpasswd::{Users, hash};

/// The key of routes that ask for a login. The value of its guards is the number of a [`Login`].
pub(super) const KEY: &str = "auth.basic";

/// A login that requests need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Login {
    list: String,
    /// The user is in one of these, unless there are none.
    groups: Vec<String>,
    realm: String,
}

/// What a user has in a `userlist`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Secret<'b> {
    Hash(&'b str),
    Plain(&'b str),
}

/// A user of a `userlist`.
#[derive(Clone, Debug)]
struct User<'b> {
    secret: Secret<'b>,
    groups: Vec<&'b str>,
    line: Line,
}

/// The users of a `userlist` by their names.
fn users(block: &Block) -> BTreeMap<&str, User<'_>> {
    let mut found = BTreeMap::new();
    for item in block.items.iter().filter(|item| item.word(0) == "user") {
        let secret = match (item.after("password"), item.after("insecure-password")) {
            (Some(hash), _) => Secret::Hash(hash),
            (None, Some(plain)) => Secret::Plain(plain),
            (None, None) => continue,
        };
        let groups = item.after("groups").unwrap_or_default().split(',').collect();
        found.entry(item.word(1)).or_insert(User { secret, groups, line: item.line });
    }
    for item in block.items.iter().filter(|item| item.word(0) == "group") {
        for name in item.after("users").unwrap_or_default().split(',') {
            if let Some(user) = found.get_mut(name) {
                user.groups.push(item.word(1));
            }
        }
    }
    found
}

impl<'b> HaProxy<'_, 'b> {
    /// `http-request auth`, or a refusal of all but some users, of a frontend.
    pub(super) fn auth(
        &mut self,
        item: &Item,
        condition: &[&str],
        acls: &Acls,
        proxy: &Proxy<'b>,
        whole: &mut Whole,
    ) {
        let found =
            if proxy.is_http() { self.logins(item, condition, acls, proxy) } else { Err(TCP.to_owned()) };
        match found {
            Ok(guards) => {
                whole.rules.extend(guards);
                self.status(item, item.word(1));
            }
            Err(why) => {
                let why = format!("{why}: requests are refused with 503");
                self.report.missing(item.line, why, Some("route.auth.basic"));
                whole.closed = Some(item.line);
            }
        }
    }

    /// The same of a backend, for the routes that lead to it. One that can't be written closes them: see `backend_rules`.
    pub(super) fn with_logins_of_backends(
        &mut self,
        mut routes: Vec<Rule>,
        frontend: &Proxy<'b>,
        tls: bool,
    ) -> Vec<Rule> {
        let mut names: Vec<String> = Vec::new();
        for rule in &routes {
            if let Target::Backend(name) = &rule.target
                && !names.contains(name)
            {
                names.push(name.clone());
            }
        }
        let samples = Samples::of(&frontend.rules(), &Samples::default());
        for name in names {
            let Some(backend) = self.backends.get(name.as_str()) else { continue };
            let backend = Proxy { block: backend.block, defaults: backend.defaults };
            if std::ptr::eq(backend.block, frontend.block) {
                continue;
            }
            let rules = backend.rules();
            let samples = Samples::of(&rules, &samples);
            let acls = self.acls(&rules, &samples);
            for item in rules {
                let Some((action, condition)) = asking(item) else { continue };
                if let Ok(guards) = self.logins(item, &condition, &acls, &backend) {
                    self.status(item, action);
                    let leads = |rule: &Rule| matches!(&rule.target, Target::Backend(to) if *to == name);
                    for guard in rules::of_listener(&guards, tls, true) {
                        routes = rules::guarded_where(routes, &guard, leads);
                    }
                }
            }
        }
        routes
    }

    /// Whether a rule of a backend asks for a login, and could be written.
    pub(super) fn is_login(&mut self, item: &Item, acls: &Acls, backend: &Proxy<'b>) -> bool {
        asking(item).is_some_and(|(_, condition)| self.logins(item, &condition, acls, backend).is_ok())
    }

    /// A refusal that becomes a question has another status.
    fn status(&mut self, item: &Item, action: &str) {
        if action != "auth" {
            self.report.note(item.line, "a client without a login gets 401");
        }
    }

    /// The rules that a login becomes.
    ///
    /// # Errors
    /// It can't be written; why.
    fn logins(
        &mut self,
        item: &Item,
        condition: &[&str],
        acls: &Acls,
        proxy: &Proxy<'b>,
    ) -> Result<Vec<Rule>, String> {
        let realm = item.after("realm").unwrap_or(proxy.name()).to_owned();
        for tests in acls.known(condition) {
            self.login(tests, &realm)?;
        }
        let found: Vec<Conjunction> = match self.condition_of_refusal(acls, condition, item.line) {
            Ok(found) => found,
            Err(why) => {
                self.report.note(item.line, format!("{why}: more requests need a login"));
                let known = acls.known_part(condition);
                known.iter().map(|tests| self.writable(tests, item.line)).collect()
            }
        };
        let mut guards = Vec::new();
        for tests in found {
            let (login, mut others) = self.login(tests, &realm)?;
            if !is_writable(&others) {
                self.report.note(
                    item.line,
                    "part of its condition can't be asked by a route: more requests need a login",
                );
                others.retain(|literal| is_writable(std::slice::from_ref(literal)));
                others.truncate(1);
            }
            let number = self.asked_logins.iter().position(|known| *known == login).unwrap_or_else(|| {
                self.asked_logins.push(login);
                self.asked_logins.len() - 1
            });
            guards.push(Rule::refusal(others, Target::Guard(KEY, number.to_string()), item.line));
        }
        self.report.done(item.line);
        self.used(acls, condition, item.line);
        Ok(guards)
    }

    /// The login that tests ask for, and what they ask besides.
    fn login(&self, tests: Conjunction, realm: &str) -> Result<(Login, Conjunction), String> {
        let is_login = |literal: &Literal| matches!(literal.test, Test::Login(..));
        let (asked, others): (Vec<Literal>, Vec<Literal>) = tests.into_iter().partition(is_login);
        match &asked[..] {
            [Literal { test: Test::Login(list, groups), negated: true }] => {
                if !self.userlists.contains_key(list.as_str()) {
                    return Err(format!("there is no userlist {list}"));
                }
                Ok((Login { list: list.clone(), groups: groups.clone(), realm: realm.to_owned() }, others))
            }
            _ => Err("it does not ask for one login".to_owned()),
        }
    }

    /// The keys of a route's guards.
    pub(super) fn guards(&mut self, route: &mut Section, rule: &Rule) {
        let (logins, others): (Vec<_>, Vec<_>) = rule.guards.iter().partition(|(key, _)| *key == KEY);
        for (key, value) in others {
            route.essential(key, value.clone(), rule.line);
        }
        let numbers = logins.iter().filter_map(|(_, number)| number.parse::<usize>().ok());
        let mut asked: Vec<Login> = Vec::new();
        for login in numbers.filter_map(|number| self.asked_logins.get(number)) {
            if !asked.contains(login) {
                asked.push(login.clone());
            }
        }
        if let Some(realm) = asked.first().map(|login| login.realm.clone()) {
            let file = self.users_of(&asked);
            let value = format!(
                "{{ file = {}, realm = {}, forward_authorization = true }}",
                quoted(&file),
                quoted(&realm)
            );
            route.essential(KEY, value, rule.line);
        }
    }

    /// The name of the file with the users that have all of these logins. It is made unless it is there.
    fn users_of(&mut self, logins: &[Login]) -> String {
        let stems: Vec<String> = logins
            .iter()
            .map(|it| [std::slice::from_ref(&it.list), &it.groups[..]].concat().join("-"))
            .collect();
        let name = format!("{}.htpasswd", name_of(&stems.join("-and-")));
        let mut text = format!("{MADE} of userlist {}.\n", stems.join(" and of "));
        let mut kept: Option<BTreeMap<&'b str, User<'b>>> = None;
        for login in logins {
            let Some(block) = self.userlists.get(login.list.as_str()).copied() else { continue };
            self.report.done(block.line);
            let is_group = |item: &&Item| item.word(0) == "group";
            block.items.iter().filter(is_group).for_each(|item| self.report.done(item.line));
            let is_in = |user: &User<'_>| {
                login.groups.is_empty() || login.groups.iter().any(|group| user.groups.contains(&&**group))
            };
            let mut these = users(block);
            these.retain(|_, user| is_in(user));
            kept = Some(match kept {
                None => these,
                Some(mut kept) => {
                    kept.retain(|name, user| these.get(name).is_some_and(|it| it.secret == user.secret));
                    kept
                }
            });
        }
        for (user, of) in kept.unwrap_or_default() {
            if let Some(hash) = self.hash_of(user, &of) {
                text.push_str(&format!("{user}:{hash}\n"));
            }
        }
        // The name of another file, whose lists have like names.
        let known = self.draft.files.iter().filter(|file| file.name == name);
        if known.clone().any(|file| file.text == text) {
            return name;
        }
        let name = match known.count() {
            0 => name,
            _ => format!("{}-{}", self.draft.files.len() + 1, name),
        };
        self.draft.files.push(Beside { name: name.clone(), text });
        name
    }

    /// Lines of a list that no file needs: those of one that no rule asks for, and users without a password or in no group that is
    /// asked for.
    pub(super) fn rest(&mut self, block: &Block) {
        if self.report.is_open(block.line) {
            let why = "no rule that was translated asks for its logins";
            self.report.needless(block.line, why);
            return block.items.iter().for_each(|item| self.report.needless(item.line, why));
        }
        for item in block.items.iter().filter(|item| self.report.is_open(item.line)).collect::<Vec<_>>() {
            let has_password = item.has("password") || item.has("insecure-password");
            let why = match has_password {
                true => "it is in no group that is asked for",
                false => "without a password there is no login",
            };
            self.report.needless(item.line, why);
        }
    }

    /// The hash of a user as a file has it. `None`: there is none, and the user can't log in.
    fn hash_of(&mut self, name: &str, user: &User<'_>) -> Option<String> {
        let is_taken = |hash: &str| {
            let text = format!("{name}:{hash}");
            let is_name = !name.contains(':') && !name.starts_with('#');
            is_name && !hash.contains(':') && Users::parse(&text).is_ok_and(|users| users.len() == 1)
        };
        let made = match user.secret {
            Secret::Hash(hash) => Ok(hash.to_owned()),
            Secret::Plain(plain) => {
                let key = format!("{name}:{plain}");
                let has_room = self.hashes.len() < MAX_HASHED;
                let known = self.hashes.get(&key).cloned();
                let made = known.or_else(|| has_room.then(|| hash(plain)).flatten());
                made.inspect(|made| drop(self.hashes.insert(key, made.clone())))
                    .ok_or("its password could not be hashed: add its line, made by `htpasswd -B`")
            }
        };
        let why = "the user can't log in until its line is added: its hash is none of bcrypt, apr1, SHA-256 and SHA-512 crypt";
        match made.and_then(|hash| if is_taken(&hash) { Ok(hash) } else { Err(why) }) {
            Ok(hash) => {
                match user.secret {
                    Secret::Hash(_) => self.report.done(user.line),
                    Secret::Plain(_) => {
                        self.report.note(user.line, "the file of users has a hash of its password")
                    }
                }
                Some(hash)
            }
            Err(why) => {
                self.report.missing(user.line, why, Some("route.auth.basic.file"));
                None
            }
        }
    }
}

/// Most passwords that are hashed: each takes a tenth of a second.
const MAX_HASHED: usize = 200;

const TCP: &str = "a tcp listener reads no passwords";

/// The action of a rule that may ask for a login, and its condition.
fn asking(item: &Item) -> Option<(&str, Vec<&str>)> {
    let words = item.from(0);
    let at = words.iter().position(|word| matches!(*word, "if" | "unless"))?;
    match words[..at] {
        ["http-request", "auth" | "deny" | "reject", ..] => Some((item.word(1), words[at..].to_vec())),
        _ => None,
    }
}
