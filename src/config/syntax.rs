//! What the TOML parser refuses, with what was probably meant.

use std::collections::BTreeMap;
use std::ops::Range;

use super::diagnostics::Diagnostics;
use super::suggest::quoted;
use super::unclosed::{self, Unclosed};

/// Records what the TOML parser refused. Of several errors in one line only the first is
/// kept, as the others follow from it, and none behind a bracket that is not closed; for the usual one, a text without
/// quotes, the correction is shown. `first` is the place of the text's first byte.
pub(super) fn errors(errors: &mut Diagnostics, text: &str, first: usize, syntax: &[toml::de::Error]) {
    let placed = |span: Range<usize>| span.start + first..span.end + first;
    let mut lines = BTreeMap::new();
    let starts = || syntax.iter().map(|error| error.span().unwrap_or(0..0).start);
    let unclosed = unclosed::find(text).filter(|unclosed| starts().any(|start| start >= unclosed.at));
    if let Some(Unclosed { at, opening, closing }) = unclosed {
        let title = format!("invalid TOML: this `{opening}` is not closed");
        errors.error(placed(at..at + opening.len()), title, Some(format!("close it with `{closing}`")));
    }
    for error in syntax {
        let span = error.span().unwrap_or(0..0);
        let start = text.floor_char_boundary(span.start);
        if unclosed.is_some_and(|unclosed| start >= unclosed.at) {
            continue;
        }
        let line = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        lines.entry(line).or_insert((start..span.end, error.message()));
    }
    for (line, (span, message)) in lines {
        let written = text[line..].lines().next().unwrap_or_default();
        errors.error(placed(span), format!("invalid TOML: {message}"), syntax_help(written, message));
    }
}

fn syntax_help(line: &str, message: &str) -> Option<String> {
    if message == "duplicate key" {
        return Some("this name is already used above; join the two or rename one".to_owned());
    }
    const UNQUOTED: [&str; 6] = [
        "string values must be quoted",
        "invalid float",
        "invalid boolean",
        "invalid integer",
        "invalid datetime",
        "unexpected leading zero",
    ];
    let (key, value) = line.split_once('=')?;
    let value = value.split('#').next().unwrap_or_default().trim();
    let plain = !value.is_empty() && !value.contains(['"', '\'', '[', ']', '{', '}', ',', '=']);
    (plain && UNQUOTED.iter().any(|prefix| message.starts_with(prefix)))
        .then(|| format!("strings must be quoted: {} = {}", key.trim(), quoted(value)))
}
