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
