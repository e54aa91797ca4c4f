//! `Authorization: Basic` (RFC 7617).

use data_encoding::BASE64;

/// The longest user and password together, in bytes, that is looked at.
const MAX_BYTES: usize = 1024;

/// A user and a password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct UserPassword(Vec<u8>, usize);

impl UserPassword {
    /// Reads the value of an Authorization field; `None`: it is of another scheme, or malformed.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let (scheme, encoded) = value.split_at_checked(6)?;
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            return None;
        }
        let encoded = encoded.trim_ascii();
        if encoded.len() > MAX_BYTES / 3 * 4 {
            return None;
        }
        let pair = BASE64.decode(encoded).ok()?;
        // RFC 7617 §2: control characters are invalid in both.
        if pair.iter().any(u8::is_ascii_control) {
            return None;
        }
        let colon = pair.iter().position(|&byte| byte == b':')?;
        Some(Self(pair, colon))
    }

    /// The user, if the name is text.
    pub(crate) fn user(&self) -> Option<&str> {
        std::str::from_utf8(&self.0[..self.1]).ok()
    }

    /// The password.
    pub(crate) fn password(&self) -> &[u8] {
        &self.0[self.1 + 1..]
    }
}

impl std::fmt::Debug for UserPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserPassword").field("user", &self.user()).finish_non_exhaustive()
    }
}

impl Drop for UserPassword {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_and_a_password_are_read() {
        let parse = |text: &str| {
            UserPassword::parse(text.as_bytes())
                .map(|it| (it.user().map(str::to_owned), it.password().to_vec()))
        };
        let alice = Some((Some("alice".to_owned()), b"a:b".to_vec()));
        assert_eq!(parse("Basic YWxpY2U6YTpi"), alice);
        assert_eq!(parse("basic  YWxpY2U6YTpi"), alice);
        assert_eq!(parse("Basic Og=="), Some((Some(String::new()), Vec::new())));
        for other in
            ["", "Basic", "Basic ", "Basic YWxpY2U", "Basic !!!!", "Bearer YWxpY2U6YTpi", "Basic YWxp"]
        {
            assert_eq!(parse(other), None, "{other}");
        }
        let long = format!("Basic {}", BASE64.encode(&[b':'; 1100]));
        assert_eq!(parse(&long), None);
        assert_eq!(parse(&format!("Basic {}", BASE64.encode(b"a\n:b"))), None);
    }
}
