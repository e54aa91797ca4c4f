//! Which hosts and paths a route matches.

use std::fmt;

use super::regex::Pattern;

/// `route.host`: which hosts a route matches. Names are in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// One name.
    Exact(String),
    /// `*.example.com`, stored as `example.com`: any name with one or more labels before it.
    Wildcard(String),
}

impl HostPattern {
    /// Whether it matches a request's host, `name[:port]`, without regard to case and a final dot.
    pub(super) fn matches(&self, host: Option<&str>) -> bool {
        let Some(name) = host.map(name_of) else { return false };
        match self {
            Self::Exact(own) => name.eq_ignore_ascii_case(own),
            Self::Wildcard(own) => {
                let split = name.len().checked_sub(own.len() + 1).and_then(|at| name.split_at_checked(at));
                split.is_some_and(|(labels, rest)| {
                    !labels.is_empty() && rest.starts_with('.') && rest[1..].eq_ignore_ascii_case(own)
                })
            }
        }
    }
}

/// The name or address of an authority, without its port and a final dot.
pub(super) fn name_of(host: &str) -> &str {
    let end = match host.strip_prefix('[') {
        Some(address) => address.find(']').map(|bracket| bracket + 2),
        None => host.find(':'),
    };
    let name = &host[..end.unwrap_or(host.len())];
    name.strip_suffix('.').unwrap_or(name)
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(name) => write!(f, "*.{name}"),
        }
    }
}

/// `route.path`: which paths a route matches. Paths are compared byte for byte, in their normalised form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// `/orders`: that path and the paths below it, at a segment boundary. A slash at its end makes no difference.
    Prefix(String),
    /// `=/orders`: that path only.
    Exact(String),
    /// `*.png`: all paths that end so.
    Suffix(String),
    /// `~ ^/v[0-9]+/`: all paths of which it matches a part. `~*`: without regard to case.
    Regex(Pattern),
}

impl PathPattern {
    /// The path that it begins with, without its kind; `/` where it may begin with anything.
    pub fn path(&self) -> &str {
        match self {
            Self::Prefix(path) | Self::Exact(path) => path,
            Self::Suffix(_) | Self::Regex(_) => "/",
        }
    }
}

impl PathPattern {
    /// Whether it matches a path in its normalised form.
    pub(super) fn matches(&self, path: &str) -> bool {
        match self {
            Self::Prefix(prefix) => {
                let rest = path.strip_prefix(prefix.trim_end_matches('/'));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Exact(own) => path == own,
            Self::Suffix(end) => path.ends_with(&**end),
            Self::Regex(pattern) => pattern.matches(path.as_bytes()),
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(path) => f.write_str(path),
            Self::Exact(path) => write!(f, "={path}"),
            Self::Suffix(end) => write!(f, "*{end}"),
            Self::Regex(pattern) => pattern.fmt(f),
        }
    }
}
