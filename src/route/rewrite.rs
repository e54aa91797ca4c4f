//! How a route changes the path of a request, and where it redirects to.

use std::borrow::Cow;

use super::path::{normalise_path, strip_prefix};
use super::regex::Pattern;

/// How a route changes the path of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// The path stays.
    Keep,
    /// `rewrite_prefix`, `strip_prefix`: the part that the route matched is replaced.
    Prefix {
        /// The route's path.
        matched: String,
        /// The new prefix without a slash at its end. Empty: the matched part is removed.
        with: String,
    },
    /// `rewrite`: the whole path is replaced.
    Path(String),
    /// `rewrite` of a route with a regular expression: by this, in which `$1` is what its first group captured.
    Captures(Pattern, String),
}

impl Rewrite {
    /// Replaces `matched`, the route's path, by `with`.
    pub fn prefix(matched: &str, with: &str) -> Self {
        Self::Prefix { matched: matched.to_owned(), with: with.trim_end_matches('/').to_owned() }
    }

    /// The new path for a normalised one. It begins with a slash, unless it is `*` or the empty rest of a prefix.
    pub fn apply<'p>(&'p self, path: &'p str) -> Cow<'p, str> {
        match self {
            Self::Keep => path.into(),
            // `OPTIONS *` names the server and no path (RFC 9110 §7.1).
            _ if path == "*" => path.into(),
            Self::Path(path) => (&**path).into(),
            Self::Captures(pattern, template) => {
                // What is put together may be no path: the parts are from a path, and the rest is not.
                let expanded = pattern
                    .expand(path, template)
                    .filter(|new| new.starts_with('/') && !new.contains(['?', '#']));
                match expanded.as_deref().map(normalise_path) {
                    Some(Ok(new)) => new.into_owned().into(),
                    _ => path.into(),
                }
            }
            Self::Prefix { matched, with } => match strip_prefix(path, matched) {
                rest if with.is_empty() => rest.into(),
                rest => format!("{with}{rest}").into(),
            },
        }
    }
}

/// `route.redirect`: which parts of a request's URL the redirect changes (RFC 9110 §15.4). At least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// `status`: 301, 302, 303, 307 or 308. Default 307.
    pub status: u16,
    /// `scheme`: `http` or `https`. `None`: the request's.
    pub scheme: Option<&'static str>,
    /// `host`, without port. `None`: the request's.
    pub host: Option<String>,
    /// `port`. `None`: the request's if the scheme stays, otherwise the scheme's default port.
    pub port: Option<u16>,
    /// `path`, `rewrite_prefix`. The query stays.
    pub path: Rewrite,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_path_begins_with_one_slash() {
        let prefix = Rewrite::prefix;
        for (rewrite, path, new) in [
            (Rewrite::Keep, "/a", "/a"),
            (Rewrite::Path("/x".into()), "/a/b", "/x"),
            (prefix("/a", "/x"), "/a/b", "/x/b"),
            (prefix("/a", "/x"), "/a", "/x"),
            (prefix("/a/", "/x"), "/a/", "/x/"),
            (prefix("/", "/x"), "/a", "/x/a"),
            (prefix("/", "/x"), "/", "/x/"),
            (prefix("/a", ""), "/a/b", "/b"),
            (prefix("/a", ""), "/a", ""),
            (prefix("/", "/x"), "*", "*"),
            (Rewrite::Path("/x".into()), "*", "*"),
        ] {
            assert_eq!(rewrite.apply(path), new, "{rewrite:?} {path}");
        }
    }
}
