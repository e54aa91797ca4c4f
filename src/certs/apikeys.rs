//! API keys: made of 256 random bits, kept as their SHA-256 alone.
//!
//! A key has so much entropy that its digest can't be turned back, so a slow password hash would add nothing
//! but load. The file has names and digests, no keys.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};

use super::time::Timestamp;
use crate::base::limits::MAX_API_KEY_BYTES;
use crate::base::text::{API_KEY, shown, without_keys};

/// What each key begins with, so that scanners for leaked secrets know one.
const PREFIX: &str = API_KEY;
/// The longest name of a key: it is sent in a header field.
const MAX_NAME_BYTES: usize = 64;

/// A file of keys: a TOML table a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct KeyFile(BTreeMap<String, KeyRecord>);

/// What is kept of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyRecord {
    sha256: String,
    created: Timestamp,
}

/// Why a file of keys, or a change to it, is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// It is no TOML, or not of this form.
    Syntax(String),
    /// A digest is not one.
    Digest(String),
    /// Names go into a header field: letters, digits, `-`, `_`, `.`.
    Name(String),
    /// There is a key of this name.
    Taken(String),
    /// There is none.
    NotFound(String),
    /// The system gives no random numbers.
    Random,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(text) => write!(f, "not a file of API keys: {text}"),
            Self::Digest(name) => write!(f, "the key `{name}` has no SHA-256 of 64 hexadecimal digits"),
            Self::Name(name) => {
                let name = shown(name);
                write!(
                    f,
                    "{name} is not a name: use up to {MAX_NAME_BYTES} letters, digits, `-`, `_` and `.`"
                )
            }
            Self::Taken(name) => write!(f, "there is a key called `{name}` already: delete it first"),
            Self::NotFound(name) => write!(f, "there is no key called `{name}`"),
            Self::Random => f.write_str("the system gives no random numbers"),
        }
    }
}

impl KeyFile {
    /// Reads a file's text.
    ///
    /// # Errors
    /// It is not one.
    pub(crate) fn parse(text: &str) -> Result<Self, KeyError> {
        let file: Self =
            toml::from_str(text).map_err(|error| KeyError::Syntax(error.message().to_owned()))?;
        for (name, record) in &file.0 {
            check_name(name)?;
            unhex(&record.sha256).ok_or_else(|| KeyError::Digest(name.clone()))?;
        }
        Ok(file)
    }

    /// The file's text.
    pub(crate) fn text(&self) -> String {
        let keys = self.0.iter().map(|(name, record)| {
            let KeyRecord { sha256, created } = record;
            format!("[\"{name}\"]\nsha256 = \"{sha256}\"\ncreated = \"{created}\"\n\n")
        });
        format!(
            "# API keys by name. Made by `ringate apikey`; a key itself is shown once and not kept.\n\n{}",
            keys.collect::<String>()
        )
    }

    /// Makes a key. It is returned to be shown, and can't be found again.
    ///
    /// # Errors
    /// The name is none or taken, or there are no random numbers.
    pub(crate) fn generate(&mut self, name: &str, now: Timestamp) -> Result<String, KeyError> {
        check_name(name)?;
        if self.0.contains_key(name) {
            return Err(KeyError::Taken(name.to_owned()));
        }
        let mut bytes = [0u8; 32];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| KeyError::Random)?;
        let key = format!("{PREFIX}{}", HEXLOWER.encode(&bytes));
        let sha256 = HEXLOWER.encode(digest(&SHA256, key.as_bytes()).as_ref());
        self.0.insert(name.to_owned(), KeyRecord { sha256, created: now });
        Ok(key)
    }

    /// Takes a key out.
    ///
    /// # Errors
    /// There is none of this name.
    pub(crate) fn delete(&mut self, name: &str) -> Result<(), KeyError> {
        self.0.remove(name).map(drop).ok_or_else(|| KeyError::NotFound(name.to_owned()))
    }

    /// Names and when they were made.
    pub(crate) fn list(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        self.0.iter().map(|(name, record)| (name.as_str(), record.created))
    }

    /// The keys, ready for searching.
    pub(crate) fn keys(&self) -> Keys {
        let digests = self
            .0
            .iter()
            .filter_map(|(name, record)| Some((unhex(&record.sha256)?, Arc::from(name.as_str()))));
        let mut digests: Vec<_> = digests.collect();
        digests.sort_unstable();
        Keys { digests }
    }
}

/// Keys by their digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    digests: Vec<([u8; 32], Arc<str>)>,
}

impl Keys {
    /// The name of a key that was presented. Its duration reveals nothing of the keys: the search is by a digest that a client
    /// cannot choose, and the last comparison takes constant time.
    pub fn find(&self, key: &[u8]) -> Option<&Arc<str>> {
        if key.len() > MAX_API_KEY_BYTES {
            return None;
        }
        let presented = digest(&SHA256, key);
        let presented = presented.as_ref();
        let at = self.digests.partition_point(|(known, _)| known.as_slice() < presented);
        let (known, name) = self.digests.get(at)?;
        verify_slices_are_equal(known, presented).ok().map(|()| name)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.digests.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }
}

fn check_name(name: &str) -> Result<(), KeyError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty()
        || name.len() > MAX_NAME_BYTES
        || !name.bytes().all(plain)
        || without_keys(name) != name
    {
        return Err(KeyError::Name(name.to_owned()));
    }
    Ok(())
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_by_its_digest_alone() {
        let now = Timestamp::from(std::time::UNIX_EPOCH);
        let mut file = KeyFile::default();
        let made: Vec<String> =
            (0..20).map(|n| file.generate(&format!("client-{n}"), now).unwrap()).collect();
        assert_eq!(file.generate("client-3", now), Err(KeyError::Taken("client-3".into())));
        assert_eq!(file.generate("a b", now), Err(KeyError::Name("a b".into())));
        let text = file.text();
        assert!(made.iter().all(|key| !text.contains(key.as_str()) && key.len() == 68));
        let file = KeyFile::parse(&text).unwrap();
        let keys = file.keys();
        for (n, key) in made.iter().enumerate() {
            assert_eq!(keys.find(key.as_bytes()).unwrap().as_ref(), format!("client-{n}"));
            assert!(keys.find(&key.as_bytes()[1..]).is_none());
        }
        assert!(keys.find(b"").is_none() && keys.find(&[b'a'; 1000]).is_none());
        let mut file = file;
        file.delete("client-7").unwrap();
        assert!(file.keys().find(made[7].as_bytes()).is_none());
        assert!(file.delete("client-7").is_err());
    }

    #[test]
    fn what_is_no_file_of_keys_is_refused() {
        for text in [
            "a = 1",
            "[a]\nsha256 = 'x'\ncreated = '2026-01-01T00:00:00Z'",
            "[\"a\\nb\"]\nsha256 = ''\ncreated = '2026-01-01T00:00:00Z'",
            "[a]\nsha256 = '00'\nkey = 'x'\ncreated = '2026-01-01T00:00:00Z'",
            "[",
        ] {
            assert!(KeyFile::parse(text).is_err(), "{text}");
        }
        assert!(KeyFile::parse("").unwrap().keys().is_empty());
    }
}
