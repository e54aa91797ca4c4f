//! Input that is repeated in messages. It may be a private key or a passphrase that was pasted into the wrong place.

use std::borrow::Cow;

/// Longest input that is repeated, in characters. No private key is as short.
const MAX_SHOWN: usize = 32;

/// Input in quotes, or a description of it where it may be a secret.
pub(crate) fn shown(input: &str) -> String {
    let characters = input.chars().count();
    match characters <= MAX_SHOWN && !input.contains(['\n', '\r']) && !input.contains("-----") {
        true => format!("{input:?}"),
        false => format!("a text of {characters} characters (not repeated: it may be a secret)"),
    }
}

/// A message without the PEM sections of private keys that it repeats.
pub(crate) fn without_keys(message: &str) -> Cow<'_, str> {
    const MARK: &str = "PRIVATE KEY-----";
    const END: &str = "-----END ";
    if !message.contains(MARK) {
        return Cow::Borrowed(message);
    }
    let mut kept = String::new();
    let mut rest = message;
    while let Some(mark) = rest.find(MARK) {
        let begin = rest[..mark].rfind("-----").unwrap_or(mark);
        kept.push_str(&rest[..begin]);
        kept.push_str("(a private key, not repeated)");
        let after = &rest[mark + MARK.len()..];
        // Without its end, all that follows may be the key.
        rest = match after.find(END).and_then(|end| Some(end + after[end..].find(MARK)? + MARK.len())) {
            Some(end) => &after[end..],
            None => "",
        };
    }
    kept.push_str(rest);
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_described() {
        assert_eq!(shown("My Cert"), "\"My Cert\"");
        for secret in ["-----BEGIN PRIVATE KEY-----", "a\nb", &"MIIEvQIBADANBgkqhkiG9w0BAQEFAASC".repeat(2)] {
            let said = shown(secret);
            assert!(said.starts_with("a text of ") && !said.contains(secret), "{said}");
        }
    }

    #[test]
    fn keys_are_taken_out_of_a_message() {
        let key = "-----BEGIN EC PRIVATE KEY-----\\ns3cret\\n-----END EC PRIVATE KEY-----";
        for (message, left) in [
            ("nothing", "nothing".to_owned()),
            (&*format!("before {key} after"), "before (a private key, not repeated) after".to_owned()),
            (&key[..40], "(a private key, not repeated)".to_owned()),
            (
                &format!("{key}{key}!"),
                "(a private key, not repeated)(a private key, not repeated)!".to_owned(),
            ),
        ] {
            assert_eq!(without_keys(message), left);
        }
    }
}
