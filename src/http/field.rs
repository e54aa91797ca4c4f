//! Header fields: those of a head, those that an intermediary understands, and the grammar of names and values.

use std::ops::Deref;

use super::is_same_name;

/// A header field as received: its name in the case that it came in, its value without white space around it.
#[allow(unreachable_pub)] // for internals
pub type Field<'b> = httparse::Header<'b>;

/// The fields of a head, in the order in which they came.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'h, 'b> {
    all: &'h [Field<'b>],
    /// What they point into. Where it has whole lines, each as HTTP/1 would write it, they are copied together.
    block: &'b [u8],
    /// Connection lists some of them: they end at this hop.
    listed: bool,
}

impl<'h, 'b> Fields<'h, 'b> {
    /// Fields that point into `block`. `listed`: there is a Connection field that lists others.
    pub(crate) fn new(all: &'h [Field<'b>], block: &'b [u8], listed: bool) -> Self {
        Self { all, block, listed }
    }

    /// The bytes that the fields point into.
    pub(crate) fn block(&self) -> &'b [u8] {
        self.block
    }

    /// The value of the first field of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&'b [u8]> {
        self.all(name).next()
    }

    /// The values of all fields of this name, from the first to the last.
    pub(crate) fn all<'n>(
        &self,
        name: &'n str,
    ) -> impl DoubleEndedIterator<Item = &'b [u8]> + use<'h, 'b, 'n> {
        let named = self.all.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| field.value)
    }

    /// Whether Connection lists the field of this name, which ends at this hop then (RFC 9110 §7.6.1). Not to be asked
    /// of what a codec writes from what it understood: framing, Host, Expect.
    #[inline]
    pub(crate) fn end_here(&self, name: &str) -> bool {
        self.listed && self.connection().any(|value| connection_lists(value, name.as_bytes()))
    }

    /// All that Connection lists, as one value of it; `None` if it lists no field.
    #[cold]
    pub(crate) fn listed(&self) -> Option<Box<[u8]>> {
        self.listed.then(|| self.connection().collect::<Vec<_>>().join(&b',').into())
    }

    fn connection(&self) -> impl Iterator<Item = &'b [u8]> + use<'h, 'b> {
        let named = self.all.iter().filter(|field| KnownField::of(field.name) == KnownField::Connection);
        named.map(|field| field.value)
    }
}

impl<'b> Deref for Fields<'_, 'b> {
    type Target = [Field<'b>];

    fn deref(&self) -> &[Field<'b>] {
        self.all
    }
}

/// The fields that have a meaning to an intermediary, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KnownField {
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    Expect,
    Upgrade,
    Trailer,
    MaxForwards,
    /// Content-Length or Transfer-Encoding with another character in the place of its hyphen.
    LookAlike,
    /// Meant for the next hop alone, and of no interest to it here.
    HopByHop,
    Other,
}

impl KnownField {
    /// Which one a name is, which must be a token. Lengths are compared first, so most names cost one comparison of numbers.
    #[inline]
    pub(crate) fn of(name: &str) -> Self {
        let bytes = name.as_bytes();
        match name.len() {
            2 if is(bytes, b"te") => Self::HopByHop,
            4 if is(bytes, b"host") => Self::Host,
            5 if is(bytes, b"proxy") => Self::HopByHop, // CGI programs would take it for $HTTP_PROXY
            6 if is(bytes, b"expect") => Self::Expect,
            7 if is(bytes, b"upgrade") => Self::Upgrade,
            7 if is(bytes, b"trailer") => Self::Trailer,
            10 if is(bytes, b"connection") => Self::Connection,
            10 if is_same_name(bytes, b"keep-alive") => Self::HopByHop,
            12 if is(bytes, b"max-forwards") => Self::MaxForwards,
            14 if is(bytes, b"content-length") => Self::ContentLength,
            14 if is_same_name(bytes, b"http2-settings") => Self::HopByHop,
            14 if is_same_name(bytes, b"content-length") => Self::LookAlike,
            16 if is_same_name(bytes, b"proxy-connection") => Self::HopByHop,
            17 if is(bytes, b"transfer-encoding") => Self::TransferEncoding,
            17 if is_same_name(bytes, b"transfer-encoding") => Self::LookAlike,
            18 if is_same_name(bytes, b"proxy-authenticate") => Self::HopByHop,
            19 if is_same_name(bytes, b"proxy-authorization") => Self::HopByHop,
            25 if is_same_name(bytes, b"proxy-authentication-info") => Self::HopByHop,
            _ => Self::Other,
        }
    }
}

/// Whether a token is `known`, which is in lower case, in any case.
///
/// Of a token's bytes, only a letter becomes a letter, a digit or a hyphen by the bit that tells its cases apart. All are
/// compared, without a branch for each: the compiler makes a few words of them.
#[inline]
fn is<const N: usize>(token: &[u8], known: &[u8; N]) -> bool {
    let Ok(token) = <&[u8; N]>::try_from(token) else { return false };
    token.iter().zip(known).fold(0, |differ, (byte, known)| differ | (byte | 0x20) ^ known) == 0
}

/// Whether a request field of this name identifies the client. Such fields are Ringate's to set, so that a
/// client's is dropped, also where it is only like one: `X_Forwarded_For`.
#[inline]
pub(crate) fn says_client(name: &str) -> bool {
    match name.as_bytes() {
        bytes @ [b'x' | b'X', mark, ..] if !mark.is_ascii_alphanumeric() => {
            is_same_name(bytes, b"x-real-ip")
                || is_same_name(bytes, b"x-request-id")
                || bytes.get(..12).is_some_and(|start| is_same_name(start, b"x-forwarded-"))
        }
        [b'f' | b'F', ..] => name.eq_ignore_ascii_case("forwarded"),
        _ => false,
    }
}

/// Fields that tell an authorization service of the request that it is asked about. They are Ringate's to set: none of them
/// is taken from a client.
pub(crate) const ASKED_FIELDS: [&str; 12] = [
    "Forwarded",
    "X-Forwarded-Client-Cert",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Method",
    "X-Forwarded-Proto",
    "X-Forwarded-Uri",
    "X-Original-Method",
    "X-Original-URI",
    "X-Original-URL",
    "X-Real-IP",
    "X-Request-Id",
];

/// Whether a value of Connection lists the field of this name.
pub fn connection_lists(value: &[u8], name: &[u8]) -> bool {
    list(value).any(|option| is_same_name(option, name))
}

/// The elements of a comma-separated list, without the empty ones (RFC 9110 §5.6.1).
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim).filter(|element| !element.is_empty())
}

/// Without the spaces and tabs around it.
pub(crate) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Whether it is a token (RFC 9110 §5.6.2).
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_tchar(byte))
}

/// RFC 9110 §5.6.2
#[inline]
pub(crate) fn is_tchar(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\''
        | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

/// A byte that a field value may hold (RFC 9110 §5.5).
#[inline]
pub(crate) fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// Whether a field has credentials of a scheme that authenticates connections instead of requests (RFC 4559 §6).
pub(crate) fn authenticates_connection(name: &str, value: &[u8]) -> bool {
    let is = |scheme: &&[u8]| value.get(..scheme.len()).is_some_and(|said| said.eq_ignore_ascii_case(scheme));
    name.eq_ignore_ascii_case("authorization") && [&b"ntlm"[..], b"negotiate"].iter().any(is)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_name_is_known_in_any_case_and_no_other_token_is() {
        let known = b"http2-settings";
        for at in 0..known.len() {
            for byte in (0..=u8::MAX).filter(|&byte| is_tchar(byte)) {
                let mut token = *known;
                token[at] = byte;
                assert_eq!(is(&token, known), token.eq_ignore_ascii_case(known), "{}", token.escape_ascii());
            }
        }
        assert!(!is(b"http2-setting", known) && !is(b"http2-settings-", known));
    }
}
