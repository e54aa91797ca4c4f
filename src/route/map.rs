//! Maps: a value for what a request has, by a table of keys (`[map.NAME]`).
//!
//! A whole key is found by one look-up, a prefix or suffix by one for each length that there is, a network by one for each
//! number of bits. Only regular expressions are tried one after the other.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::condition::{RouteQuery, all_cookies, all_parameters, cookie, is_similar, parameter};
use super::regex::Pattern;
use super::table::lower_host;
use crate::base::limits::{MAX_MAP_ENTRIES, MAX_MAP_REGEXES, MAX_MAP_VALUE_BYTES};
use crate::base::network::Network;
use crate::base::published::Published;

/// What of a request a map looks up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The host without its port, in lower case.
    Host,
    /// The normalised path.
    Path,
    /// The same, and `?` with the query where there is one.
    Target,
    /// The method.
    Method,
    /// The client's address.
    Client,
    /// The first field of this name.
    Header(Box<str>),
    /// The first cookie of this name.
    Cookie(Box<str>),
    /// The first query parameter of this name, decoded.
    Parameter(Box<str>),
}

/// The keys of a map with their values.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct MapTable {
    exact: FxHashMap<Box<[u8]>, Box<str>>,
    prefixes: Affixes,
    suffixes: Affixes,
    networks: FxHashMap<Network, Box<str>>,
    /// The numbers of bits of the networks, the most first.
    bits: Vec<u8>,
    patterns: Vec<(Pattern, Box<str>)>,
    any_case: bool,
    of_addresses: bool,
    len: usize,
}

/// Beginnings or ends of values, of which the longest counts.
#[derive(Debug, Default, PartialEq, Eq)]
struct Affixes {
    known: FxHashMap<Box<[u8]>, Box<str>>,
    /// Their lengths, the longest first.
    lengths: Vec<usize>,
}

impl Affixes {
    fn add(&mut self, key: Box<[u8]>, value: Box<str>) -> bool {
        if let Err(at) = self.lengths.binary_search_by(|known| key.len().cmp(known)) {
            self.lengths.insert(at, key.len());
        }
        self.known.insert(key, value).is_none()
    }

    fn find<'k>(&self, part: impl Fn(usize) -> Option<&'k [u8]>) -> Option<&str> {
        self.lengths.iter().find_map(|length| self.known.get(part(*length)?)).map(|value| &**value)
    }
}

impl MapTable {
    /// An empty one. `any_case`: keys and values of requests are compared without regard to case.
    pub(crate) fn new(input: &Input, any_case: bool) -> Self {
        Self { any_case, of_addresses: *input == Input::Client, ..Self::default() }
    }

    /// How many keys it has.
    #[allow(clippy::len_without_is_empty)] // unused
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a key: a text, `prefix*`, `*suffix`, `~ REGEX` or `~* REGEX`; of addresses a network.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn add(&mut self, key: &str, value: &str) -> Result<(), String> {
        if value.len() > MAX_MAP_VALUE_BYTES {
            return Err(format!("the value has more than {MAX_MAP_VALUE_BYTES} bytes"));
        }
        if let Some(bad) = value.chars().find(|c| !matches!(c, '\t' | ' '..='~')) {
            return Err(format!("the value has {bad:?}, and it must be printable ASCII"));
        }
        self.len += 1;
        if self.len > MAX_MAP_ENTRIES {
            return Err(format!("a map has {MAX_MAP_ENTRIES} entries at most"));
        }
        let value: Box<str> = value.into();
        let is_new = if self.of_addresses {
            let network: Network = key.parse().map_err(|_| "it is no address or network".to_owned())?;
            if let Err(at) = self.bits.binary_search_by(|known| network.bits().cmp(known)) {
                self.bits.insert(at, network.bits());
            }
            self.networks.insert(network, value).is_none()
        } else if let Some(rest) = key.strip_prefix('~') {
            let (rest, any_case) = rest.strip_prefix('*').map_or((rest, false), |rest| (rest, true));
            if self.patterns.len() >= MAX_MAP_REGEXES {
                return Err(format!("a map has {MAX_MAP_REGEXES} regular expressions at most"));
            }
            let pattern = Pattern::new(rest.trim_start(), any_case || self.any_case)
                .map_err(|why| format!("it is no regular expression: {why}"))?;
            let is_new = !self.patterns.iter().any(|(known, _)| *known == pattern);
            self.patterns.push((pattern, value));
            is_new
        } else {
            let folded = |text: &str| -> Box<[u8]> {
                let text = if self.any_case { text.to_ascii_lowercase() } else { text.to_owned() };
                text.into_bytes().into()
            };
            match (key.strip_prefix('*'), key.strip_suffix('*')) {
                (Some(""), _) => return Err("`*` is every value: write it as `default`".to_owned()),
                (Some(_), Some(_)) => {
                    return Err("a `*` is at one end; write `~ REGEX` for what is in the middle".to_owned());
                }
                (Some(end), None) => {
                    let end = folded(end);
                    self.suffixes.add(end, value)
                }
                (None, Some(start)) => {
                    let start = folded(start);
                    self.prefixes.add(start, value)
                }
                (None, None) => {
                    let key = folded(key);
                    self.exact.insert(key, value).is_none()
                }
            }
        };
        is_new.then_some(()).ok_or_else(|| "it is there twice".to_owned())
    }

    /// Reads a file: a key and its value on each line, with white space between; `#` begins a comment.
    ///
    /// # Errors
    /// What is wrong with the first bad line, in words.
    pub(crate) fn read(&mut self, text: &str) -> Result<(), String> {
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |why: String| format!("line {}: {why}", number + 1);
            let split = match line.strip_prefix("~* ").or_else(|| line.strip_prefix("~ ")) {
                // The blank behind `~` is not the one in front of the value.
                Some(rest) => {
                    let start = line.len() - rest.trim_start().len();
                    line[start..].find([' ', '\t']).map(|at| line.split_at(start + at))
                }
                None => line.find([' ', '\t']).map(|at| line.split_at(at)),
            };
            let Some((key, value)) = split else {
                return Err(wrong("there is no value behind the key".to_owned()));
            };
            self.add(key, value.trim()).map_err(|why| wrong(format!("{key}: {why}")))?;
        }
        Ok(())
    }

    fn find(&self, value: &[u8]) -> Option<&str> {
        if self.of_addresses {
            let address: IpAddr = std::str::from_utf8(value).ok()?.parse().ok()?;
            let within = |bits: &u8| self.networks.get(&Network::of(address, *bits)?);
            return self.bits.iter().find_map(within).map(|value| &**value);
        }
        let folded = match self.any_case && value.iter().any(u8::is_ascii_uppercase) {
            true => Cow::Owned(value.to_ascii_lowercase()),
            false => Cow::Borrowed(value),
        };
        let value = &*folded;
        if let Some(found) = self.exact.get(value) {
            return Some(found);
        }
        let end = |length: usize| value.get(value.len().checked_sub(length)?..);
        self.suffixes.find(end).or_else(|| self.prefixes.find(|length| value.get(..length))).or_else(|| {
            let mut patterns = self.patterns.iter();
            patterns.find(|(pattern, _)| pattern.matches(value)).map(|(_, value)| &**value)
        })
    }
}

/// A map in use.
#[derive(Debug)]
pub(crate) struct Map {
    name: Box<str>,
    input: Input,
    default: Box<str>,
    table: Published<MapTable>,
}

impl Map {
    /// The map of this name.
    pub(crate) fn new(name: &str, input: Input, default: &str, table: Published<MapTable>) -> Self {
        Self { name: name.into(), input, default: default.into(), table }
    }

    /// What it is called.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Hands `read` the value for a request.
    pub(crate) fn with<R>(&self, asked: &RouteQuery<'_>, read: impl FnOnce(&str) -> R) -> R {
        self.input
            .with(asked, |value| self.table.with(|table| read(table.find(value).unwrap_or(&self.default))))
    }

    /// Whether one of the values for a request fits, where it has what is looked up several times.
    fn any(&self, asked: &RouteQuery<'_>, fits: &dyn Fn(&str) -> bool) -> bool {
        let fits_for =
            |value: &[u8]| self.table.with(|table| fits(table.find(value).unwrap_or(&self.default)));
        let mut found = None;
        let mut ask = |value: &[u8]| found = Some(found.unwrap_or(false) | fits_for(value));
        match &self.input {
            Input::Header(name) => {
                let named = asked.headers.iter().filter(|field| is_similar(field, name));
                named.for_each(|field| ask(field.value.trim_ascii()));
            }
            Input::Cookie(name) => all_cookies(asked.headers, name).for_each(ask),
            Input::Parameter(name) => {
                all_parameters(asked.query.unwrap_or_default(), name).for_each(|value| ask(&value));
            }
            _ => {}
        }
        found.unwrap_or_else(|| self.with(asked, fits))
    }

    /// Whether the value for a request that a preflight announces is known: what it looks up is.
    fn is_known(&self, asked: &RouteQuery<'_>) -> bool {
        asked.announced.is_none() || !matches!(self.input, Input::Header(_) | Input::Cookie(_))
    }
}

impl Input {
    /// Hands `read` what of the request is looked up; nothing where it is missing.
    fn with<R>(&self, asked: &RouteQuery<'_>, read: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Self::Host => lower_host(asked.host, |host| read(host.as_bytes())),
            Self::Path => read(asked.path.as_bytes()),
            Self::Target => match asked.query {
                Some(query) => read(format!("{}?{query}", asked.path).as_bytes()),
                None => read(asked.path.as_bytes()),
            },
            Self::Method => read(asked.method.as_bytes()),
            Self::Client => read(asked.client.as_bytes()),
            Self::Header(name) => {
                let mut named = asked.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
                read(named.next().map_or(&b""[..], |field| field.value.trim_ascii()))
            }
            Self::Cookie(name) => read(cookie(asked.headers, name).unwrap_or_default()),
            Self::Parameter(name) => read(&parameter(asked.query, name).unwrap_or_default()),
        }
    }
}

/// A map by its name, bound to the map itself once that is made.
#[derive(Clone, Debug)]
pub struct MapRef {
    name: Box<str>,
    map: Option<Arc<Map>>,
}

impl MapRef {
    /// The map of this name, not bound yet.
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.into(), map: None }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Binds it to the map of its name.
    pub(crate) fn bind(&mut self, maps: &[Arc<Map>]) {
        self.map = maps.iter().find(|map| map.name == self.name).cloned();
    }

    /// Hands `read` the value for a request; the empty one as long as it is not bound.
    pub(crate) fn with<R>(&self, asked: &RouteQuery<'_>, read: impl FnOnce(&str) -> R) -> R {
        match &self.map {
            Some(map) => map.with(asked, read),
            None => read(""),
        }
    }

    /// Whether one of the values for a request fits, where it has what is looked up several times.
    pub(super) fn any(&self, asked: &RouteQuery<'_>, fits: impl Fn(&str) -> bool) -> bool {
        self.map.as_ref().map_or_else(|| fits(""), |map| map.any(asked, &fits))
    }

    /// Whether the value is known for a request that may be announced only.
    pub(super) fn is_known(&self, asked: &RouteQuery<'_>) -> bool {
        self.map.as_ref().is_none_or(|map| map.is_known(asked))
    }
}

impl PartialEq for MapRef {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for MapRef {}

impl fmt::Display for MapRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "map.{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(input: &Input, any_case: bool, entries: &[(&str, &str)]) -> MapTable {
        let mut table = MapTable::new(input, any_case);
        entries.iter().for_each(|(key, value)| table.add(key, value).expect("an entry"));
        table
    }

    #[test]
    fn the_most_specific_key_counts() {
        let path = Input::Path;
        let table = table(
            &path,
            false,
            &[
                ("~ ^/[0-9]+$", "number"),
                ("/a*", "a"),
                ("/ab*", "ab"),
                ("/abc", "whole"),
                ("*.png", "picture"),
                ("*b.png", "b picture"),
                ("", "none"),
            ],
        );
        for (value, found) in [
            ("/abc", Some("whole")),
            ("/abcd", Some("ab")),
            ("/a", Some("a")),
            ("/x/ab.png", Some("b picture")),
            ("/a.png", Some("picture")),
            ("/7", Some("number")),
            ("/7x", None),
            ("", Some("none")),
            ("/ABC", None),
        ] {
            assert_eq!(table.find(value.as_bytes()), found, "{value}");
        }
    }

    #[test]
    fn networks_are_found_by_their_bits() {
        let table = table(
            &Input::Client,
            false,
            &[
                ("10.0.0.0/8", "wide"),
                ("10.1.0.0/16", "narrow"),
                ("10.1.2.3", "one"),
                ("2001:db8::/32", "six"),
            ],
        );
        for (value, found) in [
            ("10.2.0.1", Some("wide")),
            ("10.1.0.1", Some("narrow")),
            ("10.1.2.3", Some("one")),
            ("::ffff:10.1.2.3", Some("one")),
            ("2001:db8:1::1", Some("six")),
            ("192.0.2.1", None),
            ("unix:", None),
        ] {
            assert_eq!(table.find(value.as_bytes()), found, "{value}");
        }
    }

    #[test]
    fn a_file_has_a_key_and_a_value_on_each_line() {
        let mut table = MapTable::new(&Input::Host, true);
        table
            .read("# hosts\n\na.example  alpha one\n*.b.example\tbeta\n~ ^c[0-9]\\.  gamma\n~*D delta\n")
            .expect("a file");
        assert_eq!(table.len(), 4);
        for (value, found) in [
            ("A.example", Some("alpha one")),
            ("x.b.example", Some("beta")),
            ("c1.example", Some("gamma")),
            ("xd", Some("delta")),
            ("b.example", None),
        ] {
            assert_eq!(table.find(value.as_bytes()), found, "{value}");
        }
        for (text, why) in [
            ("a 1\nb\n", "line 2: there is no value"),
            ("a 1\nA 2\n", "line 2: A: it is there twice"),
            ("* 1\n", "line 1: *: `*` is every value"),
            ("~ ( 1\n", "line 1: ~ (: it is no regular expression"),
            ("a \u{e9}\n", "line 1: a: the value has"),
        ] {
            let wrong = MapTable::new(&Input::Host, true).read(text).expect_err("a mistake");
            assert!(wrong.starts_with(why), "{wrong}");
        }
    }
}
