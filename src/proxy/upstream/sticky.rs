//! Sticky sessions: a signed token names the endpoint that a client's requests go to. The client brings it back in a cookie
//! or a field.
//!
//! ```text
//! token = BASE64URL( endpoint (8) ‖ issued (4) ‖ MAC (16) )
//! endpoint = HMAC-SHA256(secret, "endpoint" ‖ upstream ‖ label), cut
//! MAC      = HMAC-SHA256(secret, "token" ‖ upstream ‖ endpoint ‖ issued), cut
//! ```
//!
//! The same secret and names give the same tokens after reloads and restarts, and in every Ringate that has the secret. A
//! token says nothing of the endpoint's address without it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use data_encoding::BASE64URL_NOPAD;

use super::request_key::Session;
use crate::config::plan::StickyBy;

const TAG: usize = 8;
const ISSUED: usize = 4;
const MAC: usize = 16;
const TOKEN: usize = TAG + ISSUED + MAC;
/// Characters of a token.
const TEXT: usize = (TOKEN * 8).div_ceil(6);
/// How far the clocks of several Ringates may differ, in seconds.
const SKEW: u32 = 300;

/// The sessions of an upstream.
#[derive(Debug)]
pub(crate) struct Sticky {
    by: StickyBy,
    max_age: Option<u32>,
    key: hmac::Key,
    upstream: String,
    /// What names each endpoint in a token.
    tags: Vec<[u8; TAG]>,
}

impl Sticky {
    /// The sessions of the upstream of this name, whose `endpoints` have these labels. Tokens are signed with `secret`, and
    /// good for `max_age`, or for ever.
    pub(crate) fn new(
        by: StickyBy,
        max_age: Option<Duration>,
        secret: &[u8],
        upstream: &str,
        endpoints: &[&str],
    ) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let tag =
            |label: &&str| cut(&mac(&key, [b"endpoint\0", upstream.as_bytes(), b"\0", label.as_bytes()]));
        let tags = endpoints.iter().map(tag);
        let tags = tags.collect();
        let max_age = max_age.map(|age| u32::try_from(age.as_secs()).unwrap_or(u32::MAX));
        Self { by, max_age, key, upstream: upstream.to_owned(), tags }
    }

    /// Where a client keeps its token.
    pub(crate) fn by(&self) -> &StickyBy {
        &self.by
    }

    /// The session that a token proves; `None`: it is forged, or stale, or its endpoint is gone.
    pub(crate) fn session(&self, token: &[u8]) -> Option<Session> {
        self.session_at(token, now())
    }

    fn session_at(&self, token: &[u8], now: u32) -> Option<Session> {
        let mut bytes = [0; TOKEN];
        let text = Some(token).filter(|token| token.len() == TEXT)?;
        BASE64URL_NOPAD.decode_mut(text, &mut bytes).ok()?;
        let (signed, given) = bytes.split_at(TAG + ISSUED);
        let (tag, issued) = signed.split_at(TAG);
        let endpoint = self.tags.iter().position(|known| known == tag)?;
        verify_slices_are_equal(&self.signature(signed), given).ok()?;
        let issued = issued.try_into().map(u32::from_be_bytes).ok()?;
        if issued > now.saturating_add(SKEW) {
            return None;
        }
        let age = now.saturating_sub(issued);
        if self.max_age.is_some_and(|most| age >= most) {
            return None;
        }
        let ages = self.max_age.is_some_and(|most| age > most / 2);
        Some(Session { endpoint: u32::try_from(endpoint).ok()?, ages })
    }

    /// A new token for an endpoint.
    fn token_at(&self, endpoint: usize, now: u32) -> [u8; TEXT] {
        let mut bytes = [0; TOKEN];
        bytes[..TAG].copy_from_slice(&self.tags[endpoint]);
        bytes[TAG..TAG + ISSUED].copy_from_slice(&now.to_be_bytes());
        let signature = self.signature(&bytes[..TAG + ISSUED]);
        bytes[TAG + ISSUED..].copy_from_slice(&signature);
        let mut text = [0; TEXT];
        BASE64URL_NOPAD.encode_mut(&bytes, &mut text);
        text
    }

    fn signature(&self, signed: &[u8]) -> [u8; MAC] {
        cut(&mac(&self.key, [b"token\0", self.upstream.as_bytes(), b"\0", signed]))
    }

    /// Whether a response's field of this name is ours alone to write.
    pub(crate) fn owns(&self, name: &[u8]) -> bool {
        matches!(&self.by, StickyBy::Header(own) if name.eq_ignore_ascii_case(own.as_bytes()))
    }

    /// Puts the field line of a response that tells the client that `endpoint` has its session: a cookie if the client has
    /// none that says so for long enough, a field always. `secure`: the client uses TLS.
    pub(crate) fn put_line(
        &self,
        session: Option<Session>,
        endpoint: usize,
        secure: bool,
        lines: &mut Vec<u8>,
    ) {
        if endpoint >= self.tags.len() {
            return;
        }
        let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| lines.extend_from_slice(part));
        let token = || self.token_at(endpoint, now());
        match &self.by {
            StickyBy::Header(name) => put(&[name.as_bytes(), b": ", &token(), b"\r\n"]),
            StickyBy::Cookie(name) => {
                let known = session.filter(|session| !session.ages).map(|session| session.endpoint as usize);
                if known == Some(endpoint) {
                    return;
                }
                let mut number = [0; 10];
                let (age, seconds): (&[u8], &[u8]) = match self.max_age {
                    Some(seconds) => (b"; Max-Age=", digits(seconds, &mut number)),
                    None => (b"", b""),
                };
                let secure: &[u8] = if secure { b"; Secure" } else { b"" };
                put(&[b"Set-Cookie: ", name.as_bytes(), b"=", &token()]);
                put(&[b"; Path=/; HttpOnly; SameSite=Lax", secure, age, seconds, b"\r\n"]);
            }
        }
    }
}

fn mac(key: &hmac::Key, parts: [&[u8]; 4]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    parts.iter().for_each(|part| context.update(part));
    context.sign()
}

fn cut<const N: usize>(tag: &hmac::Tag) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&tag.as_ref()[..N]);
    bytes
}

/// A number in decimal, without memory of its own.
fn digits(mut number: u32, room: &mut [u8; 10]) -> &[u8] {
    let mut at = room.len();
    loop {
        at -= 1;
        room[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &room[at..];
        }
    }
}

/// Seconds since 1970. 32 bits of them last until 2106.
fn now() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(now.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sticky(by: StickyBy, max_age: Option<u64>, secret: &[u8], upstream: &str, names: &[&str]) -> Sticky {
        Sticky::new(by, max_age.map(Duration::from_secs), secret, upstream, names)
    }

    fn cookie() -> StickyBy {
        StickyBy::Cookie("ringate".into())
    }

    const SECRET: &[u8] = &[7; 32];
    const NAMES: &[&str] = &["a:1", "b:1", "c:1"];

    #[test]
    fn a_token_names_its_endpoint_whatever_its_place() {
        let one = sticky(cookie(), Some(3600), SECRET, "app", NAMES);
        for (endpoint, name) in NAMES.iter().enumerate() {
            let token = one.token_at(endpoint, 1_000);
            assert_eq!(
                one.session_at(&token, 1_000),
                Some(Session { endpoint: endpoint as u32, ages: false })
            );
            // After a reload or a restart, or in another Ringate, with other endpoints beside it.
            let other = sticky(StickyBy::Header("X".into()), Some(3600), SECRET, "app", &["z:9", name]);
            assert_eq!(other.session_at(&token, 1_000).map(|it| it.endpoint), Some(1));
            let without = sticky(cookie(), Some(3600), SECRET, "app", &["z:9"]);
            assert_eq!(without.session_at(&token, 1_000), None, "its endpoint is gone");
        }
    }

    #[test]
    fn what_is_forged_or_stale_proves_nothing() {
        let good = sticky(cookie(), Some(3600), SECRET, "app", NAMES);
        let token = good.token_at(1, 10_000);
        for other in [
            sticky(cookie(), Some(3600), &[8; 32], "app", NAMES),
            sticky(cookie(), Some(3600), SECRET, "other", NAMES),
        ] {
            assert_eq!(other.session_at(&token, 10_000), None);
        }
        for at in 0..TEXT {
            let mut forged = token;
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(good.session_at(&forged, 10_000), None, "byte {at}");
        }
        for token in
            [&b""[..], b"b:1", &token[1..], &[&token[..], b"A"].concat(), &[b'='; TEXT], &[0xFF; TEXT]]
        {
            assert_eq!(good.session_at(token, 10_000), None);
        }
        let ages = |now| good.session_at(&token, now).map(|session| session.ages);
        assert_eq!(
            [ages(10_000), ages(11_800), ages(11_801), ages(13_599)],
            [false, false, true, true].map(Some)
        );
        assert_eq!([ages(13_600), ages(u32::MAX)], [None, None]);
        assert_eq!([ages(9_700), ages(9_699)], [Some(false), None], "made by a clock that is ahead");
        let for_ever = sticky(cookie(), None, SECRET, "app", NAMES);
        assert_eq!(for_ever.session_at(&token, u32::MAX).map(|it| it.ages), Some(false));
    }

    #[test]
    fn a_cookie_is_set_if_the_client_has_none_for_the_endpoint_and_a_field_always() {
        let put = |of: &Sticky, session, secure| {
            let mut lines = b"A: 1\r\n".to_vec();
            of.put_line(session, 1, secure, &mut lines);
            String::from_utf8(lines).unwrap().strip_prefix("A: 1\r\n").unwrap().to_owned()
        };
        let session = |endpoint, ages| Some(Session { endpoint, ages });
        let by_cookie = sticky(cookie(), Some(3600), SECRET, "app", NAMES);
        for known in [None, session(0, false), session(1, true)] {
            let line = put(&by_cookie, known, true);
            let (value, attributes) = line.split_once(';').unwrap();
            let token = value.strip_prefix("Set-Cookie: ringate=").unwrap();
            assert_eq!(by_cookie.session(token.as_bytes()).map(|it| it.endpoint), Some(1));
            assert_eq!(attributes, " Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=3600\r\n");
        }
        assert_eq!(put(&by_cookie, session(1, false), true), "");
        let plain = put(&sticky(cookie(), None, SECRET, "app", NAMES), None, false);
        assert!(plain.ends_with("; Path=/; HttpOnly; SameSite=Lax\r\n"), "{plain}");
        assert!(!by_cookie.owns(b"set-cookie"));
        let by_field = sticky(StickyBy::Header("X-Session".into()), None, SECRET, "app", NAMES);
        for known in [None, session(1, false)] {
            let line = put(&by_field, known, true);
            let token = line.strip_prefix("X-Session: ").and_then(|line| line.strip_suffix("\r\n")).unwrap();
            assert_eq!(by_field.session(token.as_bytes()).map(|it| it.endpoint), Some(1));
        }
        assert!(by_field.owns(b"x-session") && !by_field.owns(b"X-Sessions"));
    }

    #[test]
    fn digits_are_written() {
        for number in [0, 7, 10, 3600, u32::MAX] {
            assert_eq!(digits(number, &mut [0; 10]), number.to_string().as_bytes());
        }
    }
}
