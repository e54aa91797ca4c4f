//! The route table: built once from a config, searched once for each request.

use std::fmt;

use rustc_hash::FxHashMap;

use super::clause::Clause;
use super::condition::{Candidates, RouteQuery};
use super::pattern::{HostPattern, PathPattern, name_of};
use super::regex::Pattern;
use crate::base::limits::MAX_PATTERN_ROUTES;

/// Longest host name that is searched for; a table has no longer one.
const MAX_HOST_BYTES: usize = 255;

/// A route as the table is built from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSpec {
    /// `None`: any host, or none.
    pub host: Option<HostPattern>,
    /// The paths.
    pub path: PathPattern,
    /// `None`: any method. HEAD is not implied by GET.
    pub methods: Option<Vec<String>>,
    /// What else must hold, all of it.
    pub conditions: Vec<Clause>,
    /// What [`Match::Route`] gives.
    pub id: usize,
}

/// What a request matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// The route of this id.
    Route(usize),
    /// Routes match host and path, but none the method: 405.
    MethodNotAllowed {
        /// The methods that would have matched, for the Allow field.
        allow: String,
    },
    /// Nothing matches: 404.
    NotFound,
}

/// Why a table cannot be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// Two routes match the same requests with the same priority, and no third one has what meets both.
    Conflict {
        /// The earlier one's id.
        first: usize,
        /// The later one's id.
        second: usize,
    },
    /// A route that no request can match: its path is not as [`normalise_path`](super::normalise_path) would
    /// have it, or it lists no method.
    NeverMatches {
        /// Its id.
        id: usize,
    },
    /// There are too many suffixes and regular expressions for one host.
    TooManyPatterns {
        /// The id of the first one that is too much.
        id: usize,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict { first, second } => {
                write!(f, "routes {first} and {second} match the same requests")
            }
            Self::NeverMatches { id } => write!(f, "route {id} matches no request"),
            Self::TooManyPatterns { id } => write!(f, "route {id} is one pattern too many"),
        }
    }
}

impl std::error::Error for BuildError {}

/// Routes, found by hash lookups alone: the cost of a lookup grows with the labels of a host and the segments of
/// a path, not with the number of routes.
///
/// The order in which routes were written does not matter. Host, path and method must all match; of the
/// routes that do, the first by this order is found:
///
/// 1. by host: the exact name, then the longest wildcard, then any host;
/// 2. by path: the exact path, then the longest prefix but `/`, the longest suffix, the regular expressions in the order in
///    which they were added, and `/`;
/// 3. by method: a route that lists it, then one that takes any;
/// 4. by conditions on header fields: the most, then fewer; by those on the query in the same way.
///
/// So a request falls back to a less specific host, or path, if the more specific ones have no route for it.
#[derive(Debug, Default)]
pub struct Table {
    exact: FxHashMap<Box<str>, Paths>,
    wildcard: FxHashMap<Box<str>, Paths>,
    any: Paths,
}

impl Table {
    /// Builds a table.
    ///
    /// # Errors
    /// The first route that conflicts with an earlier one, or can never match.
    pub fn build(specs: impl IntoIterator<Item = RouteSpec>) -> Result<Self, BuildError> {
        let mut table = Self::default();
        for spec in specs {
            let paths = match &spec.host {
                None => &mut table.any,
                Some(HostPattern::Exact(name)) => table.exact.entry(host_key(name)).or_default(),
                Some(HostPattern::Wildcard(name)) => table.wildcard.entry(host_key(name)).or_default(),
            };
            paths.add(&spec)?;
        }
        let all = table.exact.values().chain(table.wildcard.values()).chain([&table.any]);
        let conflicts = all.flat_map(Paths::methods).filter_map(Methods::conflict);
        match conflicts.min_by_key(|(_, second)| *second) {
            Some((first, second)) => Err(BuildError::Conflict { first, second }),
            None => Ok(table),
        }
    }

    /// The route for a request.
    ///
    /// Allocates only to list the allowed methods.
    pub fn find(&self, asked: &RouteQuery<'_>) -> Match {
        let mut lower = [0; MAX_HOST_BYTES];
        let hosts_matter = !self.exact.is_empty() || !self.wildcard.is_empty();
        let host = asked.host.filter(|_| hosts_matter).and_then(|host| normal_host(host, &mut lower));
        match self.visit(host, &mut |paths| paths.find(asked)) {
            Some(id) => Match::Route(id),
            None => self.refuse(host, asked),
        }
    }

    /// Shows the paths of each host that matches, the most specific first, until one is what is sought.
    #[inline]
    fn visit<'t, T>(
        &'t self,
        host: Option<&str>,
        seek: &mut impl FnMut(&'t Paths) -> Option<T>,
    ) -> Option<T> {
        if let Some(host) = host {
            if !self.exact.is_empty()
                && let found @ Some(_) = self.exact.get(host).and_then(&mut *seek)
            {
                return found;
            }
            if !self.wildcard.is_empty() {
                let mut rest = host;
                while let Some((_, parent)) = rest.split_once('.') {
                    if let found @ Some(_) = self.wildcard.get(parent).and_then(&mut *seek) {
                        return found;
                    }
                    rest = parent;
                }
            }
        }
        seek(&self.any)
    }

    #[cold]
    fn refuse(&self, host: Option<&str>, asked: &RouteQuery<'_>) -> Match {
        let mut methods: Vec<&str> = Vec::new();
        self.visit(host, &mut |paths| {
            paths.visit(asked.path, &mut |found| {
                let holds = found.listed.iter().filter(|(_, routes)| routes.find(asked).is_some());
                methods.extend(holds.map(|(name, _)| &**name));
                None::<()>
            })
        });
        methods.sort_unstable();
        methods.dedup();
        if methods.is_empty() {
            Match::NotFound
        } else {
            Match::MethodNotAllowed { allow: methods.join(", ") }
        }
    }
}

/// The routes of one host. Only suffixes and regular expressions are compared one by one, and only where nothing else matches.
#[derive(Debug, Default)]
struct Paths {
    exact: FxHashMap<Box<str>, Methods>,
    /// Without the slash at their end, so that `/` is the empty one.
    prefixes: FxHashMap<Box<str>, Methods>,
    /// Bytes of the longest prefix: no longer one is searched for.
    longest: usize,
    /// The longest first.
    suffixes: Vec<(Box<str>, Methods)>,
    patterns: Vec<(Pattern, Methods)>,
}

impl Paths {
    fn add(&mut self, spec: &RouteSpec) -> Result<(), BuildError> {
        let path = match &spec.path {
            PathPattern::Exact(path) | PathPattern::Prefix(path) => path,
            PathPattern::Suffix(end) => return self.suffix(spec, end)?.add(spec),
            PathPattern::Regex(pattern) => return self.pattern(spec, pattern)?.add(spec),
        };
        let reachable = path.starts_with('/') || (path == "*" && matches!(spec.path, PathPattern::Exact(_)));
        let normal = super::normalise_path(path).is_ok_and(|normal| normal == *path);
        if !reachable || !normal || path.contains('?') {
            return Err(BuildError::NeverMatches { id: spec.id });
        }
        let methods = match spec.path {
            PathPattern::Exact(_) => self.exact.entry(path.as_str().into()).or_default(),
            _ => {
                let prefix = path.strip_suffix('/').unwrap_or(path);
                self.longest = self.longest.max(prefix.len());
                self.prefixes.entry(prefix.into()).or_default()
            }
        };
        methods.add(spec)
    }

    /// The routes of a suffix, which keeps its place by its length.
    fn suffix(&mut self, spec: &RouteSpec, end: &str) -> Result<&mut Methods, BuildError> {
        let at = match self.suffixes.iter().position(|(known, _)| **known == *end) {
            Some(at) => at,
            None => {
                self.has_room(spec)?;
                let at = self.suffixes.partition_point(|(known, _)| known.len() >= end.len());
                self.suffixes.insert(at, (end.into(), Methods::default()));
                at
            }
        };
        Ok(&mut self.suffixes[at].1)
    }

    fn pattern(&mut self, spec: &RouteSpec, pattern: &Pattern) -> Result<&mut Methods, BuildError> {
        let at = match self.patterns.iter().position(|(known, _)| known == pattern) {
            Some(at) => at,
            None => {
                self.has_room(spec)?;
                self.patterns.push((pattern.clone(), Methods::default()));
                self.patterns.len() - 1
            }
        };
        Ok(&mut self.patterns[at].1)
    }

    fn has_room(&self, spec: &RouteSpec) -> Result<(), BuildError> {
        let room = self.suffixes.len() + self.patterns.len() < MAX_PATTERN_ROUTES;
        room.then_some(()).ok_or(BuildError::TooManyPatterns { id: spec.id })
    }

    fn methods(&self) -> impl Iterator<Item = &Methods> {
        let listed = self.suffixes.iter().map(|(_, methods)| methods);
        let patterns = self.patterns.iter().map(|(_, methods)| methods);
        self.exact.values().chain(self.prefixes.values()).chain(listed).chain(patterns)
    }

    fn find(&self, asked: &RouteQuery<'_>) -> Option<usize> {
        self.visit(asked.path, &mut |methods| methods.find(asked))
    }

    /// Shows the methods of each pattern that matches, the most specific first, until one is what is sought.
    #[inline]
    fn visit<'t, T>(&'t self, path: &str, seek: &mut impl FnMut(&'t Methods) -> Option<T>) -> Option<T> {
        if !self.exact.is_empty()
            && let found @ Some(_) = self.exact.get(path).and_then(&mut *seek)
        {
            return found;
        }
        let mut part = if self.prefixes.is_empty() { "" } else { self.longest_part(path) };
        while !part.is_empty() {
            if let found @ Some(_) = self.prefixes.get(part).and_then(&mut *seek) {
                return found;
            }
            part = up_to_last_slash(part);
        }
        if !(self.suffixes.is_empty() && self.patterns.is_empty())
            && let found @ Some(_) = self.visit_patterns(path, seek)
        {
            return found;
        }
        if self.prefixes.is_empty() { None } else { self.prefixes.get("").and_then(seek) }
    }

    fn visit_patterns<'t, T>(
        &'t self,
        path: &str,
        seek: &mut impl FnMut(&'t Methods) -> Option<T>,
    ) -> Option<T> {
        let ending = self.suffixes.iter().filter(|(end, _)| path.ends_with(&**end));
        if let found @ Some(_) = ending.map(|(_, methods)| methods).find_map(&mut *seek) {
            return found;
        }
        let matching = self.patterns.iter().filter(|(pattern, _)| pattern.matches(path.as_bytes()));
        matching.map(|(_, methods)| methods).find_map(seek)
    }

    /// The path whole, or as much of it as ends before a slash and could be a prefix.
    fn longest_part<'p>(&self, path: &'p str) -> &'p str {
        // A slash right after the longest prefix ends that prefix.
        match path.get(..=self.longest) {
            None if path.len() <= self.longest => path,
            Some(part) => up_to_last_slash(part),
            None => up_to_last_slash(path),
        }
    }
}

/// The part before the last slash; empty if there is none.
#[inline]
fn up_to_last_slash(path: &str) -> &str {
    match path.as_bytes().iter().rposition(|&byte| byte == b'/') {
        Some(slash) => &path[..slash],
        None => "",
    }
}

/// The routes of one path.
#[derive(Debug, Default)]
struct Methods {
    listed: Vec<(Box<str>, Candidates)>,
    any: Candidates,
}

impl Methods {
    fn add(&mut self, spec: &RouteSpec) -> Result<(), BuildError> {
        let second = spec.id;
        let conflict = |first| BuildError::Conflict { first, second };
        let Some(methods) = &spec.methods else {
            return self.any.add(&spec.conditions, second).map_err(conflict);
        };
        if methods.is_empty() {
            return Err(BuildError::NeverMatches { id: second });
        }
        for method in methods {
            let at = match self.listed.iter().position(|(name, _)| **name == **method) {
                Some(at) => at,
                None => {
                    self.listed.push((method.as_str().into(), Candidates::default()));
                    self.listed.len() - 1
                }
            };
            self.listed[at].1.add(&spec.conditions, second).map_err(conflict)?;
        }
        Ok(())
    }

    /// The ids of two routes of which one request could meet both; see [`Candidates::conflict`].
    fn conflict(&self) -> Option<(usize, usize)> {
        self.listed.iter().map(|(_, routes)| routes).chain([&self.any]).find_map(Candidates::conflict)
    }

    #[inline]
    fn find(&self, asked: &RouteQuery<'_>) -> Option<usize> {
        let listed = self.listed.iter().find(|(name, _)| **name == *asked.method);
        listed.and_then(|(_, routes)| routes.find(asked)).or_else(|| self.any.find(asked))
    }
}

/// A host as the table has it.
fn host_key(name: &str) -> Box<str> {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase().into_boxed_str()
}

/// Hands `read` a request's host as tables have it; nothing where it names none, or one that is too long for any table.
pub(super) fn lower_host<R>(host: Option<&str>, read: impl FnOnce(&str) -> R) -> R {
    let mut lower = [0; MAX_HOST_BYTES];
    read(host.and_then(|host| normal_host(host, &mut lower)).unwrap_or_default())
}

/// The same of a request's host, in `lower` where it has capitals. `None` for one that is too long for any table.
fn normal_host<'h>(host: &'h str, lower: &'h mut [u8; MAX_HOST_BYTES]) -> Option<&'h str> {
    let name = name_of(host);
    let lower = lower.get_mut(..name.len())?;
    if !name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some(name);
    }
    lower.copy_from_slice(name.as_bytes());
    lower.make_ascii_lowercase();
    std::str::from_utf8(lower).ok()
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
