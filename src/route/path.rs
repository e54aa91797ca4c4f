//! Paths that a router and a backend cannot read differently (RFC 3986 §6.2.2).

use std::borrow::Cow;
use std::fmt;

/// Why a path is refused: a backend might take it for another one. The reply is 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// A `%` without two hexadecimal digits.
    BadEncoding,
    /// An encoded slash, or a backslash, encoded or not: a separator to some.
    HiddenSeparator,
    /// An encoded NUL: the end of the path to some.
    Nul,
    /// A character in more bytes of UTF-8 than it needs: a slash or a dot to careless decoders.
    Overlong,
    /// Dot segments that climb above the root.
    AboveRoot,
    /// A dot segment with parameters (`..;x`), which Java servers take for a plain one.
    DotParameters,
}

impl PathError {
    /// The violation in words, for logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::BadEncoding => "invalid percent-encoding in the path",
            Self::HiddenSeparator => "encoded slash or backslash in the path",
            Self::Nul => "NUL in the path",
            Self::Overlong => "overlong UTF-8 in the path",
            Self::AboveRoot => "path climbs above the root",
            Self::DotParameters => "dot segment with parameters in the path",
        }
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for PathError {}

/// The one form of a path, by which it is routed **and in which it must be forwarded**.
///
/// `path` has no query and begins with `/`, or is `*`. Dot segments are resolved, slashes in a row
/// become one, encoded unreserved characters are decoded, and the hexadecimal digits of what stays
/// encoded are upper case. Borrowed if nothing had to change: most paths have no `%`, `//` or dot
/// segment and cost one comparison for each byte.
///
/// # Errors
/// The path has no one form that every backend agrees on.
pub fn normalise_path(path: &str) -> Result<Cow<'_, str>, PathError> {
    if is_plain(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let normal = rewrite(path)?;
    Ok(if normal == path { Cow::Borrowed(path) } else { Cow::Owned(normal) })
}

/// The two forms of a path with encoded slashes, for routes that let them pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slashed {
    /// As it is forwarded: normal but for its `%2F`.
    pub kept: String,
    /// As a backend sees it that takes them for slashes.
    pub decoded: String,
}

/// Both forms of a path that [`normalise_path`] refuses for its encoded slashes alone.
///
/// # Errors
/// It is to be refused in any case; also where its parts between encoded slashes are empty or dot segments, so that
/// the two forms would differ in more than these slashes.
#[cold]
pub fn keep_slashes(path: &str) -> Result<Slashed, PathError> {
    const MARK: &str = "\u{1}"; // no path has control characters
    let with = |slash: &str| path.replace("%2F", slash).replace("%2f", slash);
    if path.contains(MARK) {
        return Err(PathError::HiddenSeparator);
    }
    let marked = normalise_path(&with(MARK))?.into_owned();
    let decoded = normalise_path(&with("/"))?.into_owned();
    if marked.replace(MARK, "/") != decoded {
        return Err(PathError::HiddenSeparator);
    }
    Ok(Slashed { kept: marked.replace(MARK, "%2F"), decoded })
}

/// The normal form of `path` but for its slashes in a row, which stay: for backends that take `/a//b` for another path than
/// `/a/b`. `merged` is the form that it was routed by. `None`: it has no slashes in a row, or differs from `merged` in more
/// than those, as with a dot segment behind them.
#[cold]
pub(crate) fn keep_empty_parts(path: &str, merged: &str) -> Option<String> {
    const MARK: &str = "\u{1}"; // no path has control characters
    if !path.contains("//") || path.contains(MARK) {
        return None;
    }
    let marked = path.replace("%2F", MARK).replace("%2f", MARK);
    let mut kept = String::with_capacity(path.len());
    let mut segments = marked.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let start = kept.len();
        kept.push('/');
        decode(segment, &mut kept).ok()?;
        match &kept[start + 1..] {
            "." => kept.truncate(start + usize::from(segments.peek().is_none())),
            ".." => return None,
            _ => {}
        }
    }
    let kept = kept.replace(MARK, "%2F");
    let mut single = kept.clone();
    while single.contains("//") {
        single = single.replace("//", "/");
    }
    (single == merged).then_some(kept)
}

/// `path` without the prefix that a route matched it by, always with its leading slash or empty for the prefix itself.
///
/// `path` is normalised and the route's prefix matches it; otherwise it is given back whole.
pub(crate) fn strip_prefix<'p>(path: &'p str, prefix: &str) -> &'p str {
    match path.strip_prefix(prefix.trim_end_matches('/')) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        _ => path,
    }
}

/// Whether a path without changes is normal, by a quick check.
fn is_plain(path: &[u8]) -> bool {
    let mut after_slash = false;
    for (at, &byte) in path.iter().enumerate() {
        match byte {
            b'%' | b'\\' => return false,
            b'/' if after_slash => return false,
            // A name may begin with a dot: only what could be a dot segment is checked closely.
            b'.' if after_slash && matches!(path.get(at + 1), None | Some(b'.' | b'/' | b';')) => {
                return false;
            }
            _ => {}
        }
        after_slash = byte == b'/';
    }
    true
}

#[cold]
fn rewrite(path: &str) -> Result<String, PathError> {
    let mut normal = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        let start = normal.len();
        normal.push('/');
        decode(segment, &mut normal)?;
        if has_overlong(segment) {
            return Err(PathError::Overlong);
        }
        match &normal[start + 1..] {
            // The end of a path keeps its slash: `/a/` and `/a/.` are `/a/`.
            "" | "." => normal.truncate(start + usize::from(last)),
            ".." => {
                let parent = normal[..start].rfind('/').ok_or(PathError::AboveRoot)?;
                normal.truncate(parent + usize::from(last));
            }
            dots if dots.starts_with(".;") || dots.starts_with("..;") => {
                return Err(PathError::DotParameters);
            }
            _ => {}
        }
    }
    Ok(normal)
}

/// Appends a segment with only those characters encoded that must be.
fn decode(segment: &str, normal: &mut String) -> Result<(), PathError> {
    let mut parts = segment.split('%');
    let literal = parts.next().unwrap_or_default();
    push_literal(literal, normal)?;
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let digits = digits.ok_or(PathError::BadEncoding)?;
        match u8::from_str_radix(digits, 16).map_err(|_| PathError::BadEncoding)? {
            0 => return Err(PathError::Nul),
            b'/' | b'\\' => return Err(PathError::HiddenSeparator),
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => normal.push(char::from(byte)),
            _ => {
                normal.push('%');
                normal.extend(digits.chars().map(|digit| digit.to_ascii_uppercase()));
            }
        }
        push_literal(&part[2..], normal)?;
    }
    Ok(())
}

/// Whether a segment, whose percent-encoding is sound, has an encoded character in a longer form than UTF-8
/// allows (RFC 3629 §3). Other bytes that are not UTF-8 may stand: old charsets are of no harm.
fn has_overlong(segment: &str) -> bool {
    let encoded = |at: usize| {
        let digits = segment.get(at..at + 3)?.strip_prefix('%')?;
        u8::from_str_radix(digits, 16).ok()
    };
    segment.match_indices('%').any(|(at, _)| {
        let least = match encoded(at) {
            Some(0xC0 | 0xC1) => 0xC0,
            Some(0xE0) => 0xA0,
            Some(0xF0) => 0x90,
            Some(0xF8) => 0x88,
            Some(0xFC) => 0x84,
            _ => return false,
        };
        encoded(at + 3).is_some_and(|next| (0x80..least).contains(&next))
    })
}

fn push_literal(literal: &str, normal: &mut String) -> Result<(), PathError> {
    if literal.contains('\\') {
        return Err(PathError::HiddenSeparator);
    }
    normal.push_str(literal);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn empty_parts_are_kept_where_they_are_all_that_differs() {
        for (path, merged, kept) in [
            ("/a//b", "/a/b", Some("/a//b")),
            ("//a///b//", "/a/b/", Some("//a///b//")),
            ("/%41//./b%2fc", "/A/b%2Fc", Some("/A//b%2Fc")),
            ("/https://h/x", "/https:/h/x", Some("/https://h/x")),
            ("/a/b", "/a/b", None),
            ("/a//../b", "/b", None),
            ("/a//b", "/x", None),
        ] {
            assert_eq!(keep_empty_parts(path, merged).as_deref(), kept, "{path}");
        }
    }

    #[test]
    fn encoded_slashes_are_kept_where_they_are_all_that_differs() {
        for (path, kept, decoded) in [
            ("/a%2fb", "/a%2Fb", "/a/b"),
            ("/%41/x%2Fy%2fz/", "/A/x%2Fy%2Fz/", "/A/x/y/z/"),
            ("/a/../b%2F", "/b%2F", "/b/"),
            ("/a%252Fb%2Fc", "/a%252Fb%2Fc", "/a%252Fb/c"),
        ] {
            let slashed = Slashed { kept: kept.into(), decoded: decoded.into() };
            assert_eq!(keep_slashes(path), Ok(slashed), "{path}");
        }
        for path in [
            "/a%2F..%2Fb",
            "/..%2Fa",
            "/a/%2e%2e%2Fb",
            "/a%2F/b",
            "/a%2F%2Fb",
            "/%2Fa",
            "/a%2F.",
            "/a%5Cb%2F",
            "/a%2F\\b",
            "/a%2F%00",
            "/%%2F",
            "/..;%2Fa",
            "/a%2F..;x/b",
            "/%C0%AF%2F",
        ] {
            assert!(keep_slashes(path).is_err(), "{path}: {:?}", keep_slashes(path));
        }
    }

    #[test]
    fn plain_paths_are_borrowed() {
        for path in [
            "/",
            "*",
            "/a/b.c/",
            "/.well-known/x",
            "/a/...",
            "/a;b=c/d",
            "/a/%C3%A4%20",
            "/..a/.b;c",
            "/a.",
            "/a../b",
            "/%2525",
        ] {
            assert!(matches!(normalise_path(path), Ok(Cow::Borrowed(same)) if same == path), "{path}");
        }
    }

    #[test]
    fn one_path_has_one_form() {
        for (path, normal) in [
            ("//", "/"),
            ("///a//b///", "/a/b/"),
            ("/.", "/"),
            ("/./", "/"),
            ("/a/.", "/a/"),
            ("/a/./b", "/a/b"),
            ("/a/..", "/"),
            ("/a/../", "/"),
            ("/a/b/..", "/a/"),
            ("/a/b/../c", "/a/c"),
            ("/a//../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e", "/"),
            ("/%2e/a", "/a"),
            ("/%61%7e%5F%2d", "/a~_-"),
            ("/%c3%a4%3f%23", "/%C3%A4%3F%23"),
            ("/%252e%252e/a", "/%252e%252e/a"),
            ("/%2525%41", "/%2525A"),
            ("/%3b/..%3b", "/%3B/..%3B"),
            ("/%c0/%c0a/%c0%41/%e0%a0%80/%f0%90%80%80", "/%C0/%C0a/%C0A/%E0%A0%80/%F0%90%80%80"),
        ] {
            assert_eq!(normalise_path(path).as_deref(), Ok(normal), "{path}");
        }
    }

    #[test]
    fn what_backends_read_differently_is_refused() {
        use PathError::*;
        for (path, error) in [
            ("/..", AboveRoot),
            ("/../a", AboveRoot),
            ("//..", AboveRoot),
            ("/a/../..", AboveRoot),
            ("/a/../../b", AboveRoot),
            ("/%2e%2e/a", AboveRoot),
            ("/.%2E/a", AboveRoot),
            ("/a%2fb", HiddenSeparator),
            ("/a%2Fb", HiddenSeparator),
            ("/a%5cb", HiddenSeparator),
            ("/a%5C", HiddenSeparator),
            ("/a\\b", HiddenSeparator),
            ("/%61\\b", HiddenSeparator),
            ("/..%2fa", HiddenSeparator),
            ("/a%00", Nul),
            ("/%", BadEncoding),
            ("/%a", BadEncoding),
            ("/%zz", BadEncoding),
            ("/%+1", BadEncoding),
            ("/a%2", BadEncoding),
            ("/%%41", BadEncoding),
            ("/a%ä", BadEncoding),
            ("/a/..;/b", DotParameters),
            ("/a/..;x=y", DotParameters),
            ("/.;/a", DotParameters),
            ("/%2e%2e;/a", DotParameters),
            ("/%c0%af", Overlong),
            ("/%C0%AE%C0%AE/a", Overlong),
            ("/a%c1%9cb", Overlong),
            ("/%e0%80%af", Overlong),
            ("/%f0%80%80%af", Overlong),
            ("/%f8%80%80%80%af", Overlong),
            ("/%fc%80%80%80%80%af", Overlong),
        ] {
            assert_eq!(normalise_path(path), Err(error), "{path}");
        }
    }

    #[test]
    fn a_prefix_is_stripped_at_a_segment() {
        for (path, prefix, rest) in [
            ("/api/x", "/api", "/x"),
            ("/api/", "/api", "/"),
            ("/api", "/api", ""),
            ("/api/x", "/api/", "/x"),
            ("/x", "/", "/x"),
            ("/apix", "/api", "/apix"),
            ("/x", "/api", "/x"),
        ] {
            assert_eq!(strip_prefix(path, prefix), rest, "{path} {prefix}");
        }
    }

    proptest! {
        #[test]
        fn a_normalised_path_is_plain_and_stays_as_it_is(path in "/([a./;]|%2[ef5E]|%4[1-9]|%c3){0,12}") {
            if let Ok(normal) = normalise_path(&path) {
                prop_assert_eq!(normalise_path(&normal), Ok(Cow::Borrowed(&*normal)));
                prop_assert!(normal.starts_with('/') && !normal.contains("//"));
                prop_assert!(normal.split('/').all(|segment| segment != "." && segment != ".."));
            }
        }

        #[test]
        fn no_path_makes_it_panic(path in "/\\PC{0,20}") {
            let _ = normalise_path(&path);
        }
    }
}
