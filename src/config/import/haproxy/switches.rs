//! `use_backend` and `default_backend`; names of backends that a request says, perhaps by a map.

use std::cmp::Reverse;

use super::conditions::{Acls, Conjunction, Like, Literal, Of, Test};
use super::frontend::Whole;
use super::maps::{from_of, looked_up};
use super::parse::Item;
use super::rules::{Rule, Target, escaped};
use super::{HaProxy, Proxy, quoted};

/// Most entries of a file that become a route each.
const MAX_ENTRIES: usize = 500;

/// A name of a backend with one sample in it.
struct Name<'w> {
    before: &'w str,
    sample: &'w str,
    after: &'w str,
}

impl<'w> Name<'w> {
    fn of(format: &'w str) -> Option<Self> {
        let (before, rest) = format.split_once("%[")?;
        let (sample, after) = rest.rsplit_once(']')?;
        let is_plain = |text: &str| !text.contains(['%', '[', ']']);
        (is_plain(before) && is_plain(after) && !sample.contains(['[', ']'])).then_some(Self {
            before,
            sample,
            after,
        })
    }

    /// The backend for a value of the sample.
    fn with(&self, value: &str) -> String {
        format!("{}{value}{}", self.before, self.after)
    }

    /// The value of the sample for a backend.
    fn value<'n>(&self, name: &'n str) -> Option<&'n str> {
        let value = name.strip_prefix(self.before)?.strip_suffix(self.after)?;
        Some(value).filter(|value| !value.is_empty())
    }
}

/// Requests, and the name of their backend. `None`: there is no such backend, and they go to the default one.
type Chosen = Vec<(Conjunction, Option<String>)>;

impl<'b> HaProxy<'_, 'b> {
    /// `use_backend` and `default_backend`, behind all other rules.
    pub(super) fn switches(&mut self, proxy: &Proxy<'b>, acls: &Acls, whole: &mut Whole, is_http: bool) {
        let own = proxy.block.kind == "listen"
            && proxy.block.items.iter().any(|item| item.word(0).starts_with("server"));
        let default = match proxy.one(&["default_backend"]) {
            Some(item) => Some((Target::Backend(item.word(1).to_owned()), item.line)),
            None if own => Some((Target::Backend(proxy.name().to_owned()), proxy.block.line)),
            None if is_http => {
                Some((Target::Answer("respond", "{ status = 503 }".to_owned()), proxy.block.line))
            }
            None => None,
        };
        let mut is_over = false;
        for item in proxy.block.items.iter().filter(|item| item.word(0) == "use_backend") {
            if is_over {
                self.report.note(item.line, "no request reaches it: an earlier rule has them all");
                continue;
            }
            if item.word(1).contains('%') {
                let default = default.as_ref().map(|(target, _)| target);
                is_over = self.dynamic(item, acls, whole, default, is_http);
                continue;
            }
            let target = Target::Backend(item.word(1).to_owned());
            self.answered(item, target, (&item.from(2), &[]), acls, whole);
        }
        if let Some(item) = proxy.one(&["default_backend"]) {
            self.report.done(item.line);
        }
        if let Some((target, line)) = default {
            whole.rules.push(Rule { tests: Vec::new(), target, guards: Vec::new(), refuses: false, line });
        }
    }

    /// `use_backend` of a name that has parts of the request. Its requests that name no backend go to the default one. True: it has
    /// all requests that are left.
    fn dynamic(
        &mut self,
        item: &Item,
        acls: &Acls,
        whole: &mut Whole,
        default: Option<&Target>,
        is_http: bool,
    ) -> bool {
        let condition = item.from(2);
        let own = match self.condition(acls, &condition, item.line) {
            Ok(own) => own,
            Err(why) => {
                self.report.missing(item.line, why, Some("route.match"));
                return false;
            }
        };
        let is_last = own.iter().any(Vec::is_empty);
        let mut targets: Vec<(Conjunction, Target)> = Vec::new();
        match self.chosen(item, is_http) {
            Ok(found) => {
                self.report.done(item.line);
                let target = |name: Option<String>| name.map(Target::Backend).or_else(|| default.cloned());
                let with = |(tests, name)| Some((tests, target(name)?));
                targets.extend(found.into_iter().filter_map(with));
                // Where it has all requests, the rule of the default backend has the rest.
                let rest = default.filter(|_| !is_last).cloned();
                targets.extend(rest.map(|target| (Conjunction::new(), target)));
            }
            Err(why) => {
                let why = if is_http { format!("{why}: its requests get 503") } else { why };
                self.report.missing(item.line, why, Some("route.upstream"));
                if !is_http {
                    return false;
                }
                let closed = Target::Answer("respond", "{ status = 503 }".to_owned());
                targets.push((Conjunction::new(), closed));
            }
        }
        self.used(acls, &condition, item.line);
        for (tests, target) in targets {
            for one in &own {
                let tests = one.iter().chain(&tests).cloned().collect();
                let target = target.clone();
                whole.rules.push(Rule { tests, target, guards: Vec::new(), refuses: false, line: item.line });
            }
        }
        is_last
    }

    /// The requests that a name leads to each backend.
    ///
    /// # Errors
    /// It can't be written; why.
    fn chosen(&mut self, item: &Item, is_http: bool) -> Result<Chosen, String> {
        let name = Name::of(item.word(1)).ok_or("the backend's name has parts of the request")?;
        if let Some(place) = Place::of(name.sample, is_http) {
            return self.by_entries(item, &name, &place);
        }
        let Some(sample) = looked_up(name.sample).filter(|_| is_http) else {
            return self.by_names(&name, is_http);
        };
        let mut values: Vec<String> = Vec::new();
        let entries = self.entries_of(&sample.file)?;
        for value in entries.into_iter().map(|(_, value)| value).chain([sample.default.clone()]) {
            if !value.is_empty() && !values.contains(&value) {
                values.push(value);
            }
        }
        let test = |value: &str| Test::LookedUp(sample.clone(), format!("{{ value = {} }}", quoted(value)));
        let chosen = values.iter().filter(|value| self.backends.contains_key(&*name.with(value)));
        let chosen: Vec<(Literal, String)> =
            chosen.map(|value| (Literal { test: test(value), negated: false }, name.with(value))).collect();
        let mut found = Chosen::new();
        for (literal, backend) in chosen {
            // By the map of Ringate's.
            if let Some(test) = self.by_map(&literal.test, item.line)? {
                found.push((vec![Literal { test, ..literal }], Some(backend)));
            }
        }
        Ok(found)
    }

    /// A route for each entry of a file, of the host and path together, or of a server name.
    fn by_entries(&mut self, item: &Item, name: &Name<'_>, place: &Place<'_>) -> Result<Chosen, String> {
        let mut entries = self.entries_of(place.file)?;
        if entries.len() > MAX_ENTRIES {
            return Err(format!("{} has {} entries, more than {MAX_ENTRIES}", place.file, entries.len()));
        }
        if place.of != Part::NameBelow {
            // The longest beginning counts.
            entries.sort_by_key(|(key, _)| Reverse(key.len()));
        }
        let mut found = Chosen::new();
        for (key, value) in &entries {
            let tests =
                place.tests(key).ok_or_else(|| format!("{}: {key} can't be asked by a route", place.file))?;
            let backend = Some(name.with(value)).filter(|name| self.backends.contains_key(&**name));
            found.extend(tests.into_iter().map(|tests| (tests, backend.clone())));
            if place.of == Part::Begin && !key.contains('/') {
                self.report.note(item.line, format!("{key} is a whole host: longer ones do not match"));
            }
        }
        let backend = Some(name.with(place.default)).filter(|name| self.backends.contains_key(&**name));
        if !place.default.is_empty() && backend.is_some() {
            found.push((Conjunction::new(), backend));
        }
        Ok(found)
    }

    /// A route for each backend whose name a request may say.
    fn by_names(&mut self, name: &Name<'_>, is_http: bool) -> Result<Chosen, String> {
        let unknown = || Err(format!("%[{}] is nothing that a route can ask", name.sample));
        let (sample, lower) = match name.sample.strip_suffix(",lower") {
            Some(sample) => (sample, true),
            None => (name.sample, false),
        };
        let sample =
            sample.strip_suffix(",field(1,:)").or(sample.strip_suffix(",host_only")).unwrap_or(sample);
        let variable = from_of(sample).filter(|_| is_http);
        let part = match variable.as_deref().map(|name| name.trim_matches(['{', '}'])) {
            Some("request.host") => None,
            Some(other) => match other.split_once('.').and_then(|(_, rest)| rest.split_once('.')) {
                Some(("header", field)) => Some((Of::Header, field.to_owned())),
                Some(("cookie", cookie)) => Some((Of::Cookie, cookie.to_owned())),
                Some(("query", parameter)) => Some((Of::Query, parameter.to_owned())),
                _ => return unknown(),
            },
            None if !is_http && is_server_name(sample) => None,
            None => return unknown(),
        };
        let mut names: Vec<&str> = self.backends.keys().copied().collect();
        names.sort_unstable();
        let mut found = Chosen::new();
        for (backend, value) in names.into_iter().filter_map(|backend| Some((backend, name.value(backend)?)))
        {
            // What is in lower case has no capitals.
            if lower && value.bytes().any(|byte| byte.is_ascii_uppercase()) {
                continue;
            }
            let test = match &part {
                Some((of, field)) if lower => {
                    Test::Value(*of, field.clone(), Like::By("regex", format!("(?i)^{}$", escaped(value))))
                }
                Some((of, field)) => Test::Value(*of, field.clone(), Like::Is(value.to_owned())),
                None if is_http => Test::Host(value.to_ascii_lowercase()),
                None => Test::Sni(value.to_ascii_lowercase()),
            };
            found.push((vec![Literal { test, negated: false }], Some(backend.to_owned())));
        }
        Ok(found)
    }
}

/// What the keys of a file are about whose entries become a route each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Host and path, whole.
    Whole,
    /// What host and path begin with.
    Begin,
    /// A server name.
    Name,
    /// A name, and all below it, or names below it.
    NameBelow,
}

/// A sample that is looked up in such a file.
struct Place<'w> {
    of: Part,
    any_case: bool,
    file: &'w str,
    default: &'w str,
}

impl<'w> Place<'w> {
    fn of(sample: &'w str, is_http: bool) -> Option<Self> {
        let at = sample.rfind(",map")?;
        let (converter, arguments) = sample[at + 1..].strip_suffix(')')?.split_once('(')?;
        let (file, default) = arguments.split_once(',').unwrap_or((arguments, ""));
        let head = &sample[..at];
        let (head, any_case) = head.strip_suffix(",lower").map_or((head, false), |head| (head, true));
        let of = match (converter.trim_end_matches("_str"), head) {
            ("map", "base") if is_http => Part::Whole,
            ("map_beg", "base") if is_http => Part::Begin,
            ("map", head) if !is_http && is_server_name(head) => Part::Name,
            ("map_end" | "map_dom", head) if !is_http && is_server_name(head) => Part::NameBelow,
            _ => return None,
        };
        Some(Self { of, any_case, file, default })
    }

    /// The requests of a key. `None`: they can't be written.
    fn tests(&self, key: &str) -> Option<Vec<Conjunction>> {
        let literal = |test: Test| Literal { test, negated: false };
        let name = |name: &str| {
            let is_name = !name.is_empty()
                && name.bytes().all(|it| it.is_ascii_alphanumeric() || b".-_*".contains(&it));
            is_name.then(|| name.to_ascii_lowercase())
        };
        match self.of {
            Part::Name => Some(vec![vec![literal(Test::Sni(name(key)?))]]),
            Part::NameBelow => {
                let (key, is_whole) = key.strip_prefix('.').map_or((key, true), |key| (key, false));
                let key = name(key)?;
                let below = vec![literal(Test::Sni(format!("*.{key}")))];
                Some(if is_whole { vec![vec![literal(Test::Sni(key))], below] } else { vec![below] })
            }
            Part::Whole | Part::Begin => {
                let (host, path) = key.find('/').map_or((key, ""), |at| key.split_at(at));
                let host = literal(Test::Host(name(host.split(':').next()?)?));
                let fold = if self.any_case { "(?i)" } else { "" };
                let path = match (self.of, path) {
                    (Part::Begin, "" | "/") => return Some(vec![vec![host]]),
                    (Part::Begin, path) => format!("~ {fold}^{}", escaped(path)),
                    (_, "") => return None,
                    (_, path) if self.any_case => format!("~ (?i)^{}$", escaped(path)),
                    (_, path) => format!("={path}"),
                };
                Some(vec![vec![host, literal(Test::Path(path))]])
            }
        }
    }
}

/// Whether a sample is the server name of a ClientHello.
fn is_server_name(sample: &str) -> bool {
    matches!(sample, "req_ssl_sni" | "req.ssl_sni" | "ssl_fc_sni")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_sample() {
        let name = Name::of("bk_%[req.hdr(host),lower]-web").expect("a name");
        assert_eq!((name.sample, name.with("a")), ("req.hdr(host),lower", "bk_a-web".to_owned()));
        assert_eq!(
            (name.value("bk_b-web"), name.value("bk_-web"), name.value("b-web")),
            (Some("b"), None, None)
        );
        assert!(Name::of("%[src]%[path]").is_none() && Name::of("%ci").is_none());
    }
}
