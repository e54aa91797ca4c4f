//! Text of others that is repeated in messages. It may be a private key that was pasted into the wrong place, or have
//! characters that a terminal obeys.

use std::borrow::Cow;
use std::ops::Range;

/// Longest input that is repeated, in characters. No private key is as short.
const MAX_SHOWN: usize = 32;
/// What the API keys that Ringate makes begin with.
pub(crate) const API_KEY: &str = "rgk_";
/// Fewest characters behind that of what may be a key.
const MIN_API_KEY: usize = 8;
/// Fewest characters of base64 that may be a key; a SHA-256 in base64 has 44.
const MIN_BASE64: usize = 48;
/// Fewest hexadecimal digits that may be a key or a token.
const MIN_HEX: usize = 64;

/// Input in quotes, or a description of it where it may be a secret.
pub(crate) fn shown(input: &str) -> String {
    let characters = input.chars().count();
    match characters <= MAX_SHOWN
        && !input.contains(['\n', '\r'])
        && without_keys(input) == input
        && !input.contains("-----")
    {
        true => format!("{input:?}"),
        false => format!("a text of {characters} characters (not repeated: it may be a secret)"),
    }
}

/// Text that a peer or a certificate's issuer chose, on one line and without what a terminal would obey or be fooled by:
/// control characters, line separators, zero-width characters, changes of direction.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let is_plain = |character: char| {
        !character.is_control()
            && !matches!(character,
                '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match is_plain(character) {
            true => out.push(character),
            false => out.extend(character.escape_unicode()),
        }
    }
    Cow::Owned(out)
}

/// Lines for a terminal, of which only colors (SGR) and line feeds are obeyed.
pub(crate) fn without_controls(lines: &str) -> Cow<'_, str> {
    let obeyed = |character: char| character.is_control() && character != '\n' && character != '\t';
    if !lines.contains(obeyed) {
        return Cow::Borrowed(lines);
    }
    let (mut out, mut rest) = (String::with_capacity(lines.len()), lines);
    while let Some(at) = rest.find(obeyed) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let color = color(rest);
        match color {
            0 => {
                let character = rest.chars().next().unwrap_or_default();
                out.extend(character.escape_unicode());
                rest = &rest[character.len_utf8()..];
            }
            length => {
                out.push_str(&rest[..length]);
                rest = &rest[length..];
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The length of a sequence that selects a color or its end (ECMA-48 §8.3.117) at the front of `text`; 0: there is none.
fn color(text: &str) -> usize {
    let Some(parameters) = text.strip_prefix("\u{1b}[") else { return 0 };
    let digits = parameters.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
    if parameters[digits..].starts_with('m') { 2 + digits + 1 } else { 0 }
}

/// A message without the private keys and API keys that it repeats.
pub(crate) fn without_keys(message: &str) -> Cow<'_, str> {
    let secrets = secrets(message);
    if secrets.is_empty() {
        return Cow::Borrowed(message);
    }
    let (mut kept, mut from) = (String::new(), 0);
    for (secret, what) in secrets {
        kept.push_str(&message[from..secret.start]);
        kept.push_str(what);
        from = secret.end;
    }
    kept.push_str(&message[from..]);
    Cow::Owned(kept)
}

/// A file's text as it may be shown: its secrets are asterisks, of the same length, so that every other place stays
/// where it is. The values of keys such as `password` are secrets, too.
pub(crate) fn masked(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let found = secrets(text).into_iter().map(|(secret, _)| secret);
    for secret in found.chain(secret_values(text)) {
        bytes[secret].iter_mut().filter(|byte| !matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b'*');
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Where a text has secrets, in order, and what replaces each.
fn secrets(text: &str) -> Vec<(Range<usize>, &'static str)> {
    let (mut found, mut from) = (Vec::new(), 0);
    while let Some(key) = pem_key(text, from) {
        tokens(text, from..key.start, &mut found);
        from = key.end;
        found.push((key, "(a private key, not repeated)"));
    }
    tokens(text, from..text.len(), &mut found);
    found
}

/// The next PEM section of a private key. Without its end, all that follows may be the key.
fn pem_key(text: &str, from: usize) -> Option<Range<usize>> {
    const MARK: &str = "PRIVATE KEY-----";
    const END: &str = "-----END ";
    let mark = from + text[from..].find(MARK)?;
    let begin = text[from..mark].rfind("-----").map_or(mark, |dashes| from + dashes);
    let after = mark + MARK.len();
    let end = text[after..].find(END).map(|end| after + end);
    let end = end.and_then(|end| Some(end + text[end..].find(MARK)? + MARK.len()));
    Some(begin..end.unwrap_or(text.len()))
}

/// API keys, and runs of characters that are as long and mixed as only the base64 or the digits of a key are.
fn tokens(text: &str, within: Range<usize>, found: &mut Vec<(Range<usize>, &'static str)>) {
    let is_token = |character: char| character.is_ascii_alphanumeric() || "+/=_".contains(character);
    let mut at = within.start;
    for word in text[within].split_inclusive(|character| !is_token(character)) {
        let token = word.trim_end_matches(|character| !is_token(character));
        if let Some(key) = token.find(API_KEY).filter(|key| token.len() - key >= API_KEY.len() + MIN_API_KEY)
        {
            found.push((at + key..at + token.len(), "(an API key, not repeated)"));
        } else if is_key_material(token) {
            found.push((at..at + token.len(), "(a key, not repeated)"));
        }
        at += word.len();
    }
}

/// The SHA-256 of a public key, as `tls.pins` has it.
fn is_pin(token: &str) -> bool {
    token.strip_prefix("sha256/").is_some_and(|hash| hash.len() == 44 && hash.ends_with('='))
}

fn is_key_material(token: &str) -> bool {
    if is_pin(token) {
        return false;
    }
    let has = |kind: fn(&u8) -> bool| token.bytes().any(|byte| kind(&byte));
    let is_mixed = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit);
    let is_hex = || token.bytes().all(|byte| byte.is_ascii_hexdigit());
    token.len() >= MIN_BASE64 && is_mixed && !token.starts_with('/') && !token.contains('_')
        || token.len() >= MIN_HEX && is_hex()
}

/// The quoted values behind keys that are named as secrets are.
fn secret_values(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let mut from = 0;
        while let Some(equals) = line[from..].find('=').map(|equals| from + equals) {
            from = equals + 1;
            let key = line[..equals].trim_end().trim_end_matches(['"', '\'']);
            let is_key = |character: char| character.is_ascii_alphanumeric() || "_-".contains(character);
            let key = key.rsplit(|character| !is_key(character)).next().unwrap_or_default();
            let value = line[from..].trim_start();
            if is_named_secret(key) && value.starts_with(['"', '\'']) {
                let start = line.len() - value.len();
                let quote = &value[..1];
                let end = value[1..].find(quote).map_or(line.trim_end().len(), |end| start + 1 + end);
                found.push(at + start + 1..(at + end).max(at + start + 1));
                from = end.max(from);
            }
        }
        at += line.len();
    }
    found
}

fn is_named_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    let has = |part: &&str| key.contains(*part);
    ["password", "passphrase", "passwd", "secret"].iter().any(has) && !key.ends_with("_file")
        || ["token", "private_key", "api_key", "key_pem", "authorization", "proxy_authorization"]
            .contains(&&*key)
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
    fn nothing_that_a_terminal_obeys_is_repeated() {
        for (text, shown) in [
            ("CN=Bücher, O=日本", "CN=Bücher, O=日本"),
            ("a\n2026-01-01 ERROR b", "a\\u{a}2026-01-01 ERROR b"),
            ("\u{1b}]0;title\u{7}\u{9b}2J", "\\u{1b}]0;title\\u{7}\\u{9b}2J"),
            ("\u{202e}gpj.exe\u{200b}\u{feff}\u{2028}", "\\u{202e}gpj.exe\\u{200b}\\u{feff}\\u{2028}"),
            ("\0\r\t\u{7f}", "\\u{0}\\u{d}\\u{9}\\u{7f}"),
        ] {
            assert_eq!(printable(text), shown);
            assert_eq!(printable(shown), shown);
        }
        for (lines, shown) in [
            ("a\n\tb\n", "a\n\tb\n"),
            ("\u{1b}[1;31merror\u{1b}[0m: x\n", "\u{1b}[1;31merror\u{1b}[0m: x\n"),
            ("\u{1b}[2Ja\u{1b}[", "\\u{1b}[2Ja\\u{1b}["),
            ("\u{1b}]8;;http://a\u{7}\rb\u{9b}1m", "\\u{1b}]8;;http://a\\u{7}\\u{d}b\\u{9b}1m"),
        ] {
            assert_eq!(without_controls(lines), shown);
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

    #[test]
    fn api_keys_and_the_base64_of_keys_are_taken_out_too() {
        let key = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg/x+yAbCd";
        let token = "9f".repeat(32);
        for (message, left) in [
            ("rgk_0123456789abcdef: no", "(an API key, not repeated): no"),
            ("no \"rgk_0123456789abcdef\"", "no \"(an API key, not repeated)\""),
            ("rgk_test", "rgk_test"),
            (&*format!("\"{key}\" is not a name"), "\"(a key, not repeated)\" is not a name"),
            (&*format!("say `{token}`"), "say `(a key, not repeated)`"),
            (&*format!("/etc{key}/Is0"), &*format!("/etc{key}/Is0")),
            (
                "its public key is sha256/DfIjGrFq+rF54L6g6aejGKfyzCZ/YDd4v4Tg9va2rgg=, and",
                "its public key is sha256/DfIjGrFq+rF54L6g6aejGKfyzCZ/YDd4v4Tg9va2rgg=, and",
            ),
            (
                "/etc/ringate/certificates/Production/orders/2026/chain.pem",
                "/etc/ringate/certificates/Production/orders/2026/chain.pem",
            ),
        ] {
            assert_eq!(without_keys(message), left);
        }
    }

    #[test]
    fn a_masked_text_has_its_places_and_no_secrets() {
        for (text, shown) in [
            ("a = 1\npassword = \"s3crét\" # x", "a = 1\npassword = \"*******\" # x"),
            ("x = { secret = 's3cret', b = \"c\" }", "x = { secret = '******', b = \"c\" }"),
            ("passphrase_file = \"a\"\napi_keys = \"b\"", "passphrase_file = \"a\"\napi_keys = \"b\""),
            ("\"token\" = \"s3cret", "\"token\" = \"******"),
            ("k = \"rgk_0123456789\"", "k = \"**************\""),
            ("password = \"\nb", "password = \"\nb"),
            ("password =", "password ="),
            ("\u{1a60}=", "\u{1a60}="),
        ] {
            assert_eq!((masked(text).as_str(), masked(text).len()), (shown, text.len()));
        }
        let key = "-----BEGIN PRIVATE KEY-----\ns3cret\n-----END PRIVATE KEY-----";
        let text = format!("c = \"\"\"{key}\"\"\"\nb = 1");
        assert!(!masked(&text).contains("s3cret") && masked(&text).ends_with("\"\"\"\nb = 1"));
        assert_eq!(masked(&text).lines().count(), text.lines().count());
    }
}
