//! Requests for files: the path below the root, the preconditions, the ranges. A plain reader judges what they come to.

use std::ops::Range;

use ringate::internals::http::conditional::{Validators, Verdict, evaluate};
use ringate::internals::http::range::{Multipart, Selection, select};
use ringate::internals::route::files::{FilePath, Pattern, decode_path};
use ringate::internals::route::normalise_path;

const TAG: &[u8] = b"\"t\"";
/// 1994-11-06 08:49:37 UTC.
const MODIFIED: u64 = 784_111_777;
const LENGTH: u64 = 26;

/// A pattern of `try_files` (a line), a path (a line), and field lines.
pub fn file(input: &[u8]) {
    let mut lines = input.splitn(3, |&byte| byte == b'\n');
    let (Some(pattern), Some(path), Some(fields)) = (lines.next(), lines.next(), lines.next()) else {
        return;
    };
    if let (Ok(pattern), Ok(path)) = (std::str::from_utf8(pattern), std::str::from_utf8(path)) {
        below_the_root(pattern, path);
    }
    let fields: Vec<(&[u8], &[u8])> = fields
        .split(|&byte| byte == b'\n')
        .filter_map(|line| {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let colon = line.iter().position(|&byte| byte == b':')?;
            Some((&line[..colon], line[colon + 1..].trim_ascii()))
        })
        .collect();
    conditions(&fields);
}

/// A path that is opened is below the root, and has no name that is hidden.
fn below_the_root(pattern: &str, path: &str) {
    let Ok(pattern) = Pattern::parse(pattern) else { return };
    let Ok(path) = normalise_path(path) else { return };
    let mut decoded = b"kept".to_vec();
    if decode_path(&path, false, &mut decoded).is_none() {
        return;
    }
    let own = decoded.strip_prefix(b"kept").expect("it is appended");
    for (at, name) in own.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).enumerate() {
        assert!(!name.starts_with(b".") || at == 0 && name == b".well-known", "{}", own.escape_ascii());
    }
    let mut file = FilePath::root(b"of another".to_vec());
    if !pattern.expand(own, &mut file) {
        return;
    }
    let names = file.as_bytes();
    assert!(!names.contains(&0) && names.len() <= 4096, "{}", names.escape_ascii());
    if names != b"." {
        for name in names.split(|&byte| byte == b'/') {
            assert!(!matches!(name, b"" | b"." | b"..") && name.len() <= 255, "{}", names.escape_ascii());
        }
    }
    let before = names.to_vec();
    let cut = file.push_name("index.html");
    assert!(file.as_bytes().ends_with(b"index.html"));
    file.cut(cut);
    let cut = file.push_suffix(".br");
    file.cut(cut);
    assert_eq!(file.as_bytes(), before);
}

fn conditions(fields: &[(&[u8], &[u8])]) {
    let of = |name: &str| -> Vec<&[u8]> {
        let named = fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name.as_bytes()));
        named.map(|(_, value)| *value).collect()
    };
    let validators = Validators { tag: TAG, modified: MODIFIED };
    let names =
        |name: &str| of(name).iter().any(|value| value.windows(3).any(|it| it == TAG) || *value == b"*");
    match evaluate(fields.iter().copied(), validators) {
        Verdict::Failed => {
            assert!(!of("if-match").is_empty() || of("if-unmodified-since").len() == 1, "{fields:?}");
            assert!(!of("if-match").iter().any(|value| *value == TAG || *value == b"*"), "{fields:?}");
        }
        Verdict::NotModified if of("if-none-match").is_empty() => {
            assert_eq!(of("if-modified-since").len(), 1, "{fields:?}");
        }
        Verdict::NotModified => assert!(names("if-none-match"), "{fields:?}"),
        Verdict::Send(range) => {
            assert!(!of("if-none-match").iter().any(|value| *value == TAG || *value == b"*"), "{fields:?}");
            assert!(of("if-match").is_empty() || names("if-match"), "{fields:?}");
            let Some(range) = range else { return };
            assert_eq!(of("range"), [range]);
            assert!(of("if-range").len() <= 1, "{fields:?}");
            selected(range);
        }
    }
}

/// The parts of a range, each as its positions; `None`: the field has no meaning.
fn plain(value: &[u8]) -> Option<Vec<Range<u64>>> {
    let value = std::str::from_utf8(value).ok()?;
    let set = value.get(..6).filter(|unit| unit.eq_ignore_ascii_case("bytes=")).map(|_| &value[6..])?;
    let specs = set.split(',').map(|spec| spec.trim_matches([' ', '\t', '\r', '\u{c}', '\n']));
    let specs: Vec<&str> = specs.filter(|spec| !spec.is_empty()).collect();
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let part = |spec: &&str| {
        let (first, last) = spec.split_once('-')?;
        let positions: Vec<u64> = match (first, last) {
            ("", last) => (0..LENGTH).rev().take(number(last)?.min(LENGTH) as usize).collect(),
            (first, "") => (number(first)?..LENGTH).collect(),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then(|| (0..LENGTH).filter(|at| (first..=last).contains(at)).collect())?
            }
        };
        let first = positions.iter().min().copied().unwrap_or(0);
        Some(first..first + positions.len() as u64)
    };
    specs.iter().map(part).collect::<Option<Vec<_>>>().filter(|parts| !parts.is_empty())
}

fn selected(value: &[u8]) {
    let expected = plain(value).map(|mut parts| {
        let count = parts.len();
        parts.retain(|part| !part.is_empty());
        (count, parts)
    });
    let total = |parts: &[Range<u64>]| parts.iter().map(|part| part.end - part.start).sum::<u64>();
    match select(value, LENGTH) {
        Selection::Whole => {
            let may_be_whole =
                |(count, parts): &(usize, Vec<Range<u64>>)| *count > 32 || total(parts) > LENGTH;
            assert!(expected.as_ref().is_none_or(may_be_whole), "{expected:?} {}", value.escape_ascii());
        }
        Selection::Unsatisfiable => assert_eq!(expected.map(|(_, parts)| parts), Some(Vec::new())),
        Selection::One(part) => assert_eq!(expected.map(|(_, parts)| parts), Some(vec![part])),
        Selection::Several(parts) => {
            assert_eq!(expected.map(|(_, parts)| parts), Some(parts.clone()));
            assert!(parts.len() >= 2 && total(&parts) <= LENGTH);
            let body = Multipart::new(parts.clone(), LENGTH, "text/plain", 7);
            let length = body.length();
            let (text, placed) = body.into_parts();
            assert_eq!(length, text.len() as u64 + total(&parts));
            assert!(placed.windows(2).all(|pair| pair[0].0 < pair[1].0));
            assert!(placed.last().is_some_and(|(end, _)| *end < text.len()));
            assert!(placed.into_iter().map(|(_, part)| part).eq(parts));
        }
    }
}
