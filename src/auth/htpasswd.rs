//! Files of users as Apache's `htpasswd` writes them, and whether a password is the one that a hash was made of.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use data_encoding::BASE64;
use md5::{Digest as _, Md5};
use sha_crypt::{PasswordVerifier as _, ShaCrypt};

use crate::base::limits::{MAX_BCRYPT_COST, MAX_PASSWORD_USERS, MAX_SHA_CRYPT_ROUNDS};
use crate::base::text::shown;

/// The longest name of a user: it is sent in a header field.
const MAX_NAME_BYTES: usize = 128;

/// The users of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Users(BTreeMap<Box<str>, PasswordHash>);

/// The cost of hashes that are made here.
const COST: u32 = 10;
/// The longest password that bcrypt takes whole.
const MAX_BCRYPT_BYTES: usize = 71;

/// A hash of a password, by bcrypt. `None`: it is longer than bcrypt takes, or has a NUL, or the system gives no random numbers.
pub(crate) fn hash(password: &str) -> Option<String> {
    let mut salt = [0; 16];
    aws_lc_rs::rand::fill(&mut salt).ok()?;
    let is_whole = password.len() <= MAX_BCRYPT_BYTES && !password.contains('\0');
    let made = is_whole.then(|| bcrypt::hash_with_salt(password, COST, salt))?;
    made.ok().map(|made| made.to_string())
}

/// What is kept of a password.
#[derive(Clone, PartialEq, Eq)]
enum PasswordHash {
    /// `$2y$…`
    Bcrypt(Box<str>),
    /// `$apr1$SALT$HASH`, or `$1$…`: MD5 a thousand times.
    Md5 { magic: &'static str, salt: Box<str>, hash: Box<str> },
    /// `{SHA}BASE64`: SHA-1, once.
    Sha1(Box<[u8]>),
    /// `$5$…`, `$6$…`: SHA-256 or SHA-512, some thousand times.
    ShaCrypt(Box<str>),
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bcrypt(_) => "bcrypt",
            Self::Md5 { .. } => "md5",
            Self::Sha1(_) => "sha1",
            Self::ShaCrypt(_) => "sha-crypt",
        })
    }
}

/// Why a file is refused. The line counts from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileError {
    /// A line without a colon.
    NoColon(usize),
    /// A name that no header field could carry.
    Name(usize),
    /// A name that was there before.
    Repeated(usize, String),
    /// A hash of another kind, or a password in plain text.
    Hash(usize, String),
    /// A hash that takes too long.
    Costly(usize, String),
    /// There are too many users.
    TooMany,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoColon(line) => write!(f, "line {line} is not `user:hash`"),
            Self::Name(line) => write!(
                f,
                "the user's name in line {line} is none: use up to {MAX_NAME_BYTES} bytes without control characters"
            ),
            Self::Repeated(line, name) => write!(f, "line {line}: there is a user {} already", shown(name)),
            Self::Hash(line, name) => write!(
                f,
                "line {line}: the hash of {} is none of bcrypt, apr1, {{SHA}}, SHA-256 and SHA-512 crypt; make it with \
                 `htpasswd -B`",
                shown(name)
            ),
            Self::Costly(line, name) => write!(
                f,
                "line {line}: the hash of {} takes too long; make it with a cost of {MAX_BCRYPT_COST} or less",
                shown(name)
            ),
            Self::TooMany => write!(f, "there are more than {MAX_PASSWORD_USERS} users in it"),
        }
    }
}

impl Users {
    /// Reads a file's text. Empty lines and comments, which begin with `#`, are passed over.
    ///
    /// # Errors
    /// See [`FileError`].
    pub(crate) fn parse(text: &str) -> Result<Self, FileError> {
        let mut users = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let (number, line) = (index + 1, line.trim_end());
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, hash) = line.split_once(':').ok_or(FileError::NoColon(number))?;
            if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
                return Err(FileError::Name(number));
            }
            // A third field is a comment, as in Apache's.
            let hash = hash.split(':').next().unwrap_or_default();
            let hash = PasswordHash::parse(hash).ok_or_else(|| FileError::Hash(number, name.to_owned()))?;
            if !hash.is_bounded() {
                return Err(FileError::Costly(number, name.to_owned()));
            }
            if users.insert(Box::from(name), hash).is_some() {
                return Err(FileError::Repeated(number, name.to_owned()));
            }
            if users.len() > MAX_PASSWORD_USERS {
                return Err(FileError::TooMany);
            }
        }
        Ok(Self(users))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the password is the user's. Slow by design: from microseconds to seconds. For a user that is not there some
    /// other hash is made, so that the time does not say which users there are.
    pub(crate) fn verify(&self, user: &str, password: &[u8]) -> bool {
        match self.0.get(user) {
            Some(hash) => hash.is_of(password),
            None => {
                if let Some(other) = self.0.values().next() {
                    let _ = other.is_of(password);
                }
                false
            }
        }
    }
}

impl PasswordHash {
    fn parse(text: &str) -> Option<Self> {
        if ["$2a$", "$2b$", "$2y$", "$2x$"].iter().any(|magic| text.starts_with(magic)) {
            return text.parse::<bcrypt::HashParts>().is_ok().then(|| Self::Bcrypt(text.into()));
        }
        for magic in ["$apr1$", "$1$"] {
            if let Some(rest) = text.strip_prefix(magic) {
                let (salt, hash) = rest.split_once('$')?;
                let sound = (1..=8).contains(&salt.len()) && hash.len() == 22 && !hash.contains('$');
                return sound.then(|| Self::Md5 { magic, salt: salt.into(), hash: hash.into() });
            }
        }
        if let Some(encoded) = text.strip_prefix("{SHA}") {
            let hash = BASE64.decode(encoded.as_bytes()).ok()?;
            return (hash.len() == 20).then(|| Self::Sha1(hash.into()));
        }
        let parts = text.split('$').count();
        let is_crypt = ["$5$", "$6$"].iter().any(|magic| text.starts_with(magic)) && (4..=5).contains(&parts);
        is_crypt.then(|| Self::ShaCrypt(text.into()))
    }

    /// Whether it takes no longer to verify than is allowed.
    fn is_bounded(&self) -> bool {
        match self {
            Self::Bcrypt(text) => {
                text.parse::<bcrypt::HashParts>().is_ok_and(|parts| parts.get_cost() <= MAX_BCRYPT_COST)
            }
            Self::ShaCrypt(text) => {
                let rounds = text.split('$').find_map(|part| part.strip_prefix("rounds="));
                rounds.is_none_or(|rounds| rounds.parse::<u32>().is_ok_and(|it| it <= MAX_SHA_CRYPT_ROUNDS))
            }
            Self::Md5 { .. } | Self::Sha1(_) => true,
        }
    }

    fn is_of(&self, password: &[u8]) -> bool {
        match self {
            Self::Bcrypt(text) => bcrypt::verify(password, text).unwrap_or(false),
            Self::Md5 { magic, salt, hash } => {
                let made = md5_crypt(magic, salt, password);
                verify_slices_are_equal(made.as_bytes(), hash.as_bytes()).is_ok()
            }
            Self::Sha1(hash) => {
                verify_slices_are_equal(digest(&SHA1_FOR_LEGACY_USE_ONLY, password).as_ref(), hash).is_ok()
            }
            Self::ShaCrypt(text) => ShaCrypt::SHA512.verify_password(password, &**text).is_ok(),
        }
    }
}

/// The hash of BSD's MD5 crypt, and of Apache's, which differs by its `magic` alone: 22 characters.
fn md5_crypt(magic: &str, salt: &str, password: &[u8]) -> String {
    let (salt, len) = (salt.as_bytes(), password.len());
    let inner = Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize();
    let mut outer = Md5::new().chain_update(password).chain_update(magic).chain_update(salt);
    let mut left = len;
    while left > 0 {
        outer.update(&inner[..left.min(16)]);
        left = left.saturating_sub(16);
    }
    let mut bits = len;
    while bits > 0 {
        match password.first() {
            Some(first) if bits & 1 == 0 => outer.update([*first]),
            _ => outer.update([0]),
        }
        bits >>= 1;
    }
    let mut hash = outer.finalize();
    for round in 0..1000 {
        let mut next = Md5::new();
        if round & 1 == 1 {
            next.update(password)
        } else {
            next.update(hash)
        }
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        if round & 1 == 1 {
            next.update(hash)
        } else {
            next.update(password)
        }
        hash = next.finalize();
    }
    let mut text = String::with_capacity(22);
    for [a, b, c] in [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]] {
        put_base64(u32::from(hash[a]) << 16 | u32::from(hash[b]) << 8 | u32::from(hash[c]), 4, &mut text);
    }
    put_base64(u32::from(hash[11]), 2, &mut text);
    text
}

/// The lowest six bits first.
fn put_base64(mut value: u32, count: usize, text: &mut String) {
    const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for _ in 0..count {
        text.push(char::from(DIGITS[(value & 63) as usize]));
        value >>= 6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_hash_is_of_its_password_alone() {
        let bcrypt = bcrypt::hash("secret", 4).expect("a hash");
        let apr1 = format!("$apr1$saltsalt${}", md5_crypt("$apr1$", "saltsalt", b"secret"));
        // The example of the SHA-crypt specification.
        let crypt = "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5";
        let text = format!(
            "bcrypt:{bcrypt}\napr1:{apr1}\nsha:{{SHA}}5en6G6MezRroT3XKqkdPOmY/BfQ=\ncrypt:{crypt}:comment\n"
        );
        let users = Users::parse(&text).expect("a file");
        assert_eq!(users.len(), 4);
        for user in ["bcrypt", "apr1", "sha"] {
            assert!(users.verify(user, b"secret"), "{user}");
            for wrong in [&b""[..], b"Secret", b"secret ", b"secre"] {
                assert!(!users.verify(user, wrong), "{user} {wrong:?}");
            }
        }
        assert!(users.verify("crypt", b"Hello world!"));
        assert!(!users.verify("crypt", b"Hello world"));
        assert!(!users.verify("other", b"secret") && !users.verify("", b""));
        assert!(Users::parse("# users\n\n").is_ok_and(|none| none.len() == 0 && !none.verify("a", b"")));
    }

    #[test]
    fn a_hash_that_is_made_here_is_of_its_password() {
        let made = hash("a pass:word").expect("a hash");
        assert_ne!(Some(&made), hash("a pass:word").as_ref(), "it has a salt");
        let users = Users::parse(&format!("alice:{made}")).expect("a file");
        assert!(users.verify("alice", b"a pass:word") && !users.verify("alice", b"a pass"));
        assert_eq!((hash(&"x".repeat(72)), hash("a\0b")), (None, None));
    }

    #[test]
    fn md5_crypt_is_what_other_programs_make() {
        // openssl passwd -apr1 -salt … / -1 -salt …
        for (magic, salt, password, hash) in [
            ("$apr1$", "xxxxxxxx", "password", "dxHfLAsjHkDRmG83UXe8K0"),
            ("$1$", "xxxxxxxx", "password", "UYCIxa628.9qXjpQCjM4a."),
        ] {
            assert_eq!(md5_crypt(magic, salt, password.as_bytes()), hash, "{magic}");
        }
    }

    #[test]
    fn what_is_no_file_of_users_is_refused_by_its_line() {
        for (text, error) in [
            ("alice", FileError::NoColon(1)),
            ("\n:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", FileError::Name(2)),
            ("alice:secret", FileError::Hash(1, "alice".to_owned())),
            ("alice:rqXexS6ZhobKA", FileError::Hash(1, "alice".to_owned())),
            ("alice:", FileError::Hash(1, "alice".to_owned())),
            ("alice:$2y$05$short", FileError::Hash(1, "alice".to_owned())),
            ("alice:$6$rounds=999999999$salt$hash", FileError::Costly(1, "alice".to_owned())),
            (
                "a:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\na:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
                FileError::Repeated(2, "a".to_owned()),
            ),
        ] {
            assert_eq!(Users::parse(text), Err(error), "{text}");
        }
        let message = FileError::Hash(1, "alice".to_owned()).to_string();
        assert!(message.contains("alice") && !message.contains("secret"), "{message}");
    }
}
