//! Texts in which values of maps stand: `https://www.example.com{map.NAME}`. Where a redirect leads to, and new paths.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::condition::RouteQuery;
use super::map::{Map, MapRef};
use super::path::normalise_path;
use crate::http::{host_name, parse_authority};

/// A text with `{map.NAME}` in it, or a plain one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapText(Vec<MapPiece>);

/// Part of a [`MapText`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MapPiece {
    /// Written as it is.
    Literal(Box<str>),
    /// The value that a map has for the request.
    Map(MapRef),
}

/// Why a text is not used for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MapFault {
    /// A map has no value for the request, or an empty one.
    NoValue,
    /// With its values the text is not what must stand there, which is this.
    IsNo(&'static str),
}

impl MapText {
    /// Of these pieces, in their order.
    pub(crate) fn new(pieces: Vec<MapPiece>) -> Self {
        Self(pieces)
    }

    /// The text, if it has no map in it.
    pub(crate) fn plain(&self) -> Option<Cow<'_, str>> {
        match &self.0[..] {
            [] => Some(Cow::Borrowed("")),
            [MapPiece::Literal(text)] => Some(Cow::Borrowed(text)),
            _ => None,
        }
    }

    /// The maps in it.
    pub(crate) fn maps(&self) -> impl Iterator<Item = &MapRef> {
        self.0.iter().filter_map(|piece| match piece {
            MapPiece::Map(map) => Some(map),
            MapPiece::Literal(_) => None,
        })
    }

    /// Binds the maps in it.
    pub(crate) fn bind(&mut self, maps: &[Arc<Map>]) {
        for piece in &mut self.0 {
            if let MapPiece::Map(map) = piece {
                map.bind(maps);
            }
        }
    }

    /// The text for a request.
    fn fill(&self, asked: &RouteQuery<'_>) -> Result<String, MapFault> {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                MapPiece::Literal(text) => out.push_str(text),
                MapPiece::Map(map) => {
                    let before = out.len();
                    map.with(asked, |value| out.push_str(value));
                    if out.len() == before {
                        return Err(MapFault::NoValue);
                    }
                }
            }
        }
        Ok(out)
    }

    /// What a Location field may have: a URL, or a path with or without a query.
    ///
    /// # Errors
    /// There is no value, or one with which it is neither.
    pub(crate) fn location(&self, asked: &RouteQuery<'_>) -> Result<String, MapFault> {
        let text = self.fill(asked)?;
        if is_location(&text) { Ok(text) } else { Err(MapFault::IsNo("URL or path")) }
    }

    /// A path without a query.
    ///
    /// # Errors
    /// There is no value, or one with which it is no path.
    pub(crate) fn path(&self, asked: &RouteQuery<'_>) -> Result<String, MapFault> {
        let text = self.fill(asked)?;
        if is_path(&text) { Ok(text) } else { Err(MapFault::IsNo("path")) }
    }

    /// The same in the normalised form, as backends get it.
    ///
    /// # Errors
    /// There is no value, or one with which it is no path that has such a form.
    pub(crate) fn normal_path(&self, asked: &RouteQuery<'_>) -> Result<String, MapFault> {
        let text = self.path(asked)?;
        normalise_path(&text).map(Cow::into_owned).map_err(|_| MapFault::IsNo("path"))
    }

    /// A host without a port.
    ///
    /// # Errors
    /// There is no value, or one with which it is no host.
    pub(crate) fn host(&self, asked: &RouteQuery<'_>) -> Result<String, MapFault> {
        let text = self.fill(asked)?;
        let is_host = parse_authority(text.as_bytes()).is_some() && host_name(&text) == text;
        if is_host { Ok(text) } else { Err(MapFault::IsNo("host")) }
    }
}

impl fmt::Display for MapText {
    /// As it is written in the config.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            MapPiece::Literal(text) => f.write_str(text),
            MapPiece::Map(map) => write!(f, "{{{map}}}"),
        })
    }
}

/// Whether each byte may stand in a URI (RFC 3986 §2), and each `%` is followed by two hexadecimal digits.
pub(crate) fn is_uri_text(text: &str) -> bool {
    let of_uri = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte);
    let is_encoded =
        |rest: &str| rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    text.bytes().all(of_uri) && text.split('%').skip(1).all(is_encoded)
}

/// Whether it is a URL with a host, or a path with or without a query.
pub(crate) fn is_location(text: &str) -> bool {
    let has_scheme = || {
        text.split_once("://").is_some_and(|(scheme, rest)| {
            let mut bytes = scheme.bytes();
            let is_further = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
            bytes.next().is_some_and(|first| first.is_ascii_alphabetic())
                && bytes.all(is_further)
                && !rest.is_empty()
                && !rest.starts_with('/')
        })
    };
    is_uri_text(text) && (text.starts_with('/') || has_scheme())
}

/// Whether it is a path that names no host, without a query.
fn is_path(text: &str) -> bool {
    is_uri_text(text)
        && text.starts_with('/')
        && !text.starts_with("//")
        && !text.contains(['?', '#', '[', ']'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::published::Published;
    use crate::route::{Input, MapTable};

    fn asked(path: &str) -> RouteQuery<'_> {
        RouteQuery { host: None, path, query: None, method: "GET", client: "", headers: &[], announced: None }
    }

    /// `before{map.m}after`, of a map that has a value for a path.
    fn text(before: &str, value: &str, after: &str) -> MapText {
        let mut table = MapTable::new(&Input::Path, false);
        table.add("/here", value).expect("an entry");
        let maps = [Arc::new(Map::new("m", Input::Path, "", Published::new(table)))];
        let literal = |text: &str| MapPiece::Literal(text.into());
        let mut text = MapText::new(vec![literal(before), MapPiece::Map(MapRef::new("m")), literal(after)]);
        text.bind(&maps);
        text
    }

    #[test]
    fn a_location_is_a_url_or_a_path() {
        for (before, value, location) in [
            ("", "/new?a=b#c", Some("/new?a=b#c")),
            ("", "https://b.example/x%20y", Some("https://b.example/x%20y")),
            ("https://b.example", "/x", Some("https://b.example/x")),
            ("", "new", None),
            ("", "/a b", None),
            ("", "/a\"", None),
            ("", "/100%", None),
            ("", "https://", None),
            ("", "1x://a", None),
            ("", "javascript:alert(1)", None),
        ] {
            let found = text(before, value, "").location(&asked("/here"));
            assert_eq!(found, location.map(str::to_owned).ok_or(MapFault::IsNo("URL or path")), "{value}");
        }
        assert_eq!(text("/a", "x", "").location(&asked("/there")), Err(MapFault::NoValue));
        assert_eq!(text("/a", "", "").location(&asked("/here")), Err(MapFault::NoValue));
    }

    #[test]
    fn a_path_names_no_host_and_has_no_query() {
        for (value, path) in [
            ("/a/b", Some("/a/b")),
            ("/a/./b//c/%7e", Some("/a/b/c/~")),
            ("a", None),
            ("//a.example", None),
            ("/a?b", None),
            ("/a#b", None),
            ("/../a", None),
            ("/a%2Fb", None),
            ("/a%00", None),
            ("/a\tb", None),
        ] {
            let found = text("", value, "").normal_path(&asked("/here"));
            assert_eq!(found, path.map(str::to_owned).ok_or(MapFault::IsNo("path")), "{value}");
        }
        assert_eq!(text("", "/../a", "").path(&asked("/here")).as_deref(), Ok("/../a"), "a client's matter");
    }

    #[test]
    fn a_host_has_no_port_and_is_a_name_or_an_address() {
        for (value, is_host) in
            [("a.example", true), ("[::1]", true), ("a.example:80", false), ("a/b", false), ("a@b", false)]
        {
            assert_eq!(text("", value, "").host(&asked("/here")).is_ok(), is_host, "{value}");
        }
        assert_eq!(text("x", "a", "z").to_string(), "x{map.m}z");
    }
}
