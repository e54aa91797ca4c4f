//! How a route changes the path of a request, and where it redirects to.

use std::borrow::Cow;
use std::sync::Arc;

use super::condition::RouteQuery;
use super::map::{Map, MapRef};
use super::map_text::{MapFault, MapText};
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
    /// `rewrite` with `{map.NAME}` in it: by this, which [`Rewrite::by_map`] gives for a request.
    Mapped(MapText),
}

impl Rewrite {
    /// Replaces `matched`, the route's path, by `with`.
    pub fn prefix(matched: &str, with: &str) -> Self {
        Self::Prefix { matched: matched.to_owned(), with: with.trim_end_matches('/').to_owned() }
    }

    /// Replaces the whole path, by the value of a map where one stands in it.
    pub(crate) fn whole(path: MapText) -> Self {
        let plain = path.plain().map(Cow::into_owned);
        plain.map_or_else(|| Self::Mapped(path), Self::Path)
    }

    /// The new path for a normalised one. It begins with a slash, unless it is `*` or the empty rest of a prefix.
    pub fn apply<'p>(&'p self, path: &'p str) -> Cow<'p, str> {
        match self {
            // Without a request there is no value.
            Self::Keep | Self::Mapped(_) => path.into(),
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

    /// The new path by the value of a map, in the normalised form. `None`: the path is changed by no map, or the map has no value
    /// for the request.
    ///
    /// # Errors
    /// With the value it is no path.
    pub(crate) fn by_map(&self, asked: &RouteQuery<'_>) -> Result<Option<String>, MapFault> {
        let Self::Mapped(text) = self else { return Ok(None) };
        match text.normal_path(asked) {
            Ok(path) => Ok(Some(path)),
            Err(MapFault::NoValue) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// The maps that it asks.
    pub(crate) fn maps(&self) -> impl Iterator<Item = &MapRef> {
        let text = if let Self::Mapped(text) = self { Some(text) } else { None };
        text.into_iter().flat_map(MapText::maps)
    }

    /// Binds them.
    pub(crate) fn bind(&mut self, maps: &[Arc<Map>]) {
        if let Self::Mapped(text) = self {
            text.bind(maps);
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
    pub host: Option<MapText>,
    /// `port`. `None`: the request's if the scheme stays, otherwise the scheme's default port.
    pub port: Option<u16>,
    /// `path`, `rewrite_prefix`. The query stays.
    pub path: Rewrite,
    /// `location`: all of it, in the place of the others.
    pub location: Option<MapText>,
}

impl Redirect {
    /// The maps that it asks.
    pub(crate) fn maps(&self) -> impl Iterator<Item = &MapRef> {
        let texts = self.host.iter().chain(&self.location);
        texts.flat_map(MapText::maps).chain(self.path.maps())
    }

    /// Binds them.
    pub(crate) fn bind(&mut self, maps: &[Arc<Map>]) {
        self.host.iter_mut().chain(&mut self.location).for_each(|text| text.bind(maps));
        self.path.bind(maps);
    }
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
