//! Files below a root: which ones a route serves, and which of them a request's path names. No I/O.
//!
//! A path is decoded once (RFC 3986 §2.1), after it was normalised, and what is decoded holds no name that leaves the root. The
//! kernel keeps what is opened within the root as well.

use std::path::PathBuf;

use crate::base::limits::{MAX_FILE_NAME_BYTES, MAX_FILE_PATH_BYTES};
use crate::http::Coding;

/// `route.root` and the keys beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// `root`: the folder, relative to where the process runs or absolute.
    pub root: PathBuf,
    /// `index`: the file of a folder, the first of these that is there. Names, no paths.
    pub index: Vec<String>,
    /// `try_files`: what is tried, one after the other. Never empty.
    pub attempts: Vec<Attempt>,
    /// `precompressed`: encoded files that may stand beside a file, best first. Each once.
    pub precompressed: Vec<Coding>,
    /// `cache_control`: the value of Cache-Control, where a file is sent or is not modified.
    pub cache_control: Option<String>,
    /// `charset`: what text is said to be written in; `None`: nothing is said.
    pub charset: Option<String>,
    /// `symlinks`
    pub links: Links,
    /// `dot_files`: names that begin with a dot are served too.
    pub dot_files: bool,
}

/// `route.symlinks`: what becomes of symbolic links below a root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// Those that lead to what is below the root are followed.
    #[default]
    Inside,
    /// None is followed.
    None,
}

/// One of `route.try_files`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The file or folder of this path, if it is there.
    Path(Pattern),
    /// `=404`: the end, with this status.
    Status(u16),
}

/// A path in which `{path}` stands for the request's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// What is before the first `{path}`, between each two of them, and behind the last one.
    texts: Vec<String>,
}

impl Pattern {
    const PATH: &str = "{path}";

    /// The pattern of this text.
    ///
    /// # Errors
    /// It does not begin with `/` or `{path}`, has another variable or a dot segment; in words.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if !text.starts_with('/') && !text.starts_with(Self::PATH) {
            return Err("a path begins with `/` or `{path}`");
        }
        let texts: Vec<String> = text.split(Self::PATH).map(str::to_owned).collect();
        if texts.iter().any(|text| text.contains(['{', '}'])) {
            return Err("the only variable here is `{path}`");
        }
        if texts.iter().any(|text| text.contains(['\0', '\\'])) {
            return Err("there are characters in it that no path of a URL has");
        }
        if text.split('/').any(|name| matches!(name, "." | "..")) {
            return Err("a path here has no `.` or `..`");
        }
        Ok(Self { texts })
    }

    /// `{path}` alone, or with a slash behind it.
    pub fn own(slash: &str) -> Self {
        Self { texts: vec![String::new(), slash.to_owned()] }
    }

    /// Whether it is the request's own path, perhaps with a slash behind it.
    pub(crate) fn is_own(&self) -> bool {
        matches!(&self.texts[..], [before, after] if before.is_empty() && matches!(&**after, "" | "/"))
    }

    /// Makes `named` the path that it names for a request's decoded path. False: there can be no such file.
    pub fn expand(&self, path: &[u8], named: &mut FilePath) -> bool {
        named.names.clear();
        for (at, text) in self.texts.iter().enumerate() {
            if at > 0 {
                named.names.extend_from_slice(path);
            }
            named.names.extend_from_slice(text.as_bytes());
        }
        named.normalise()
    }
}

/// A path below a root: names with a slash between each two of them, none of which is `.` or `..`. One is made after the other in
/// the same memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePath {
    names: Vec<u8>,
    is_folder: bool,
}

impl FilePath {
    /// The root itself, with memory for other paths.
    pub fn root(mut memory: Vec<u8>) -> Self {
        memory.clear();
        Self { names: memory, is_folder: true }
    }

    /// The memory, for other uses.
    pub(crate) fn into_memory(self) -> Vec<u8> {
        self.names
    }

    /// Leaves out empty names. False: it names no file that could be below a root.
    fn normalise(&mut self) -> bool {
        let names = &mut self.names;
        self.is_folder = names.last().is_none_or(|&byte| byte == b'/');
        let (mut read, mut kept) = (0, 0);
        while read < names.len() {
            let end = names[read..].iter().position(|&byte| byte == b'/').map_or(names.len(), |at| read + at);
            let (start, length) = (read, end - read);
            read = end + 1;
            let name = &names[start..end];
            if matches!(name, b"." | b"..") || name.contains(&0) || length > MAX_FILE_NAME_BYTES {
                return false;
            }
            if length == 0 {
                continue;
            }
            // At least one slash was read for each that is kept.
            if kept > 0 {
                names[kept] = b'/';
                kept += 1;
            }
            names.copy_within(start..end, kept);
            kept += length;
        }
        names.truncate(kept);
        kept <= MAX_FILE_PATH_BYTES
    }

    /// The names, `.` for the root itself.
    pub fn as_bytes(&self) -> &[u8] {
        if self.names.is_empty() { b"." } else { &self.names }
    }

    /// Whether a slash follows the last name, or there is none.
    pub(crate) fn is_folder(&self) -> bool {
        self.is_folder
    }

    /// Becomes the file of this name in the folder that it is. Returns what [`FilePath::cut`] makes it that folder again with.
    pub fn push_name(&mut self, name: &str) -> usize {
        let before = self.names.len();
        if before > 0 {
            self.names.push(b'/');
        }
        self.names.extend_from_slice(name.as_bytes());
        before
    }

    /// Becomes the file whose name has this behind it. Returns what [`FilePath::cut`] takes it off with.
    pub fn push_suffix(&mut self, suffix: &str) -> usize {
        let before = self.names.len();
        self.names.extend_from_slice(suffix.as_bytes());
        before
    }

    /// Takes off what was pushed last.
    pub fn cut(&mut self, before: usize) {
        self.names.truncate(before);
    }

    /// What follows the last dot of the last name, if that has letters before it.
    pub(crate) fn extension(&self) -> Option<&str> {
        let name = self.names.rsplit(|&byte| byte == b'/').next()?;
        let dot = name.iter().rposition(|&byte| byte == b'.').filter(|dot| *dot > 0)?;
        std::str::from_utf8(&name[dot + 1..]).ok()
    }
}

/// Appends the bytes that a path stands for, each percent-encoded one decoded. `None`: one of its names has a slash, or begins with
/// a dot where `dot_files` is not set; part of it was appended. `.well-known` as its first name may (RFC 8615).
pub fn decode_path(path: &str, dot_files: bool, decoded: &mut Vec<u8>) -> Option<()> {
    let before = decoded.len();
    for (at, segment) in path.split('/').filter(|segment| !segment.is_empty()).enumerate() {
        decoded.push(b'/');
        let start = decoded.len();
        let mut parts = segment.split('%');
        decoded.extend_from_slice(parts.next()?.as_bytes());
        for part in parts {
            let digits =
                part.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
            decoded.push(u8::from_str_radix(digits, 16).ok()?);
            decoded.extend_from_slice(&part.as_bytes()[2..]);
        }
        let name = &decoded[start..];
        let is_well_known = at == 0 && name == b".well-known";
        if name.contains(&b'/') || name.starts_with(b".") && !dot_files && !is_well_known {
            return None;
        }
    }
    if decoded.len() == before || path.ends_with('/') {
        decoded.push(b'/');
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(path: &str, dot_files: bool) -> Option<Vec<u8>> {
        let mut out = b"before".to_vec();
        decode_path(path, dot_files, &mut out)?;
        Some(out.split_off(6))
    }

    fn expanded(pattern: &Pattern, path: &[u8]) -> Option<FilePath> {
        let mut named = FilePath::root(b"of another".to_vec());
        pattern.expand(path, &mut named).then_some(named)
    }

    fn file(pattern: &str, path: &str) -> Option<String> {
        let path = expanded(&Pattern::parse(pattern).unwrap(), &decoded(path, false)?)?;
        let slash = if path.is_folder() { "/" } else { "" };
        Some(format!("{}{slash}", String::from_utf8_lossy(path.as_bytes())))
    }

    #[test]
    fn a_path_names_one_file() {
        for (pattern, path, expected) in [
            ("{path}", "/a/b.html", Some("a/b.html")),
            ("{path}", "/a/", Some("a/")),
            ("{path}/", "/a", Some("a/")),
            ("{path}/", "/a/", Some("a/")),
            ("{path}", "/", Some("./")),
            ("{path}", "", Some("./")),
            ("{path}.html", "/a", Some("a.html")),
            ("/index.html", "/a/b", Some("index.html")),
            ("/old{path}", "/a", Some("old/a")),
            ("{path}", "/a%20b/%C3%A4", Some("a b/ä")),
            ("{path}", "/a//b", Some("a/b")),
            ("{path}", "/%252e%252e/a", Some("%2e%2e/a")),
            ("{path}", "/a%3Fb", Some("a?b")),
            ("{path}", "/.well-known/acme", Some(".well-known/acme")),
            ("{path}", "/...", None),
            ("{path}", "/.git/config", None),
            ("{path}", "/%2Egit", None),
            ("{path}", "/a/.htpasswd", None),
            ("{path}", "/a/.well-known/x", None),
            ("{path}", "/.well-known/.x", None),
            ("{path}", "/a%2Fb", None),
            ("{path}", "/a%2f..%2fb", None),
            ("{path}", "/a%00.html", None),
            ("{path}", "/..", None),
            ("{path}", "/%2e%2e/a", None),
            ("{path}", "/a%", None),
            ("{path}", "/a%zz", None),
            ("{path}", "/a%+1", None),
        ] {
            assert_eq!(file(pattern, path).as_deref(), expected, "{pattern} {path}");
        }
        assert_eq!(file("{path}", &"/a".repeat(2048)).map(|path| path.len()), Some(4095));
        assert_eq!(file("{path}", &"/a".repeat(2049)), None);
        assert_eq!(file("{path}", &format!("/{}", "a".repeat(256))), None);
        assert_eq!(decoded("/.git/x", true).as_deref(), Some(&b"/.git/x"[..]));
    }

    #[test]
    fn a_pattern_stays_below_the_root() {
        for text in ["index.html", "", "{uri}", "/{a}", "/../x", "/a/../b", "{path}/..", "/./a", "/a\0"] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
        assert_eq!(Pattern::parse("{path}/"), Ok(Pattern::own("/")));
        // What only becomes a dot segment with the path is none either.
        assert_eq!(expanded(&Pattern::parse("{path}..").unwrap(), b"/a/"), None);
    }

    #[test]
    fn parts_of_a_name_are_found() {
        let path = |text: &str| expanded(&Pattern::own(""), text.as_bytes()).unwrap();
        for (text, extension) in [
            ("/a/b.tar.gz", Some("gz")),
            ("/a.b/c", None),
            ("/.profile", None),
            ("/a.", Some("")),
            ("/", None),
        ] {
            assert_eq!(path(text).extension(), extension, "{text}");
        }
        for (folder, file) in [("/a/", "a/index.html"), ("/", "index.html")] {
            let (mut named, before) = (path(folder), path(folder));
            let cut = named.push_name("index.html");
            assert_eq!(named.as_bytes(), file.as_bytes());
            named.cut(cut);
            assert_eq!(named, before);
        }
        let mut named = path("/a.js");
        let cut = named.push_suffix(".br");
        assert_eq!(named.as_bytes(), b"a.js.br");
        named.cut(cut);
        assert_eq!(named.as_bytes(), b"a.js");
    }

    proptest! {
        #[test]
        fn no_path_leaves_the_root(
            path in "/([a./]|%2[ef5E]|%00|%c0%ae|\\PC){0,12}",
            pattern in "(/|\\{path\\})[a./]{0,4}(\\{path\\})?[a./]{0,4}",
            dot_files in any::<bool>(),
        ) {
            let Ok(pattern) = Pattern::parse(&pattern) else { return Ok(()) };
            let Some(decoded) = decoded(&path, dot_files) else { return Ok(()) };
            let Some(file) = expanded(&pattern, &decoded) else { return Ok(()) };
            let names = file.as_bytes();
            prop_assert!(!names.starts_with(b"/") && !names.contains(&0));
            if names != b"." {
                prop_assert!(names.split(|&byte| byte == b'/').all(|name| !matches!(name, b"" | b"." | b"..")));
            }
        }

        #[test]
        fn what_is_plain_stays(path in "(/[a-z]{1,5}){1,4}") {
            prop_assert_eq!(decoded(&path, false), Some(path.clone().into_bytes()));
        }
    }
}
