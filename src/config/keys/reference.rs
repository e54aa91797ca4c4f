//! `config/reference.toml`: every key with its default, as a config that is valid.

use super::{Key, Kind, Preset, ROOT, markdown};

const HEAD: &str = "\
# Every key, with its default. What is commented out has no default: it is off, or must be
# written where it is marked as required. Written from the table of keys in src/config/keys by
# `ringate schema --reference`.
#
# Durations are a whole number and a unit: \"250ms\", \"5s\", \"1m\", \"1h\", \"2d\".
# Sizes are a number of bytes, or a text with a unit: 16384, \"16KiB\", \"1MiB\", \"2GiB\".
# Paths are relative to this file. Unknown keys are errors.
";
/// The column in which comments begin.
const COLUMN: usize = 29;
/// The longest line with a comment.
const WIDTH: usize = 140;
/// The names that represent all of a section.
const EXAMPLES: [(&str, &str); 3] =
    [("upstream", "orders"), ("credentials", "api-key-mtls"), ("map", "tenant")];

/// The whole file.
pub(in crate::config) fn reference() -> String {
    let mut out = HEAD.to_owned();
    out.push('\n');
    plain(&mut out, "", &ROOT, false);
    for key in ROOT.keys().filter(|key| has_header(key)) {
        section(&mut out, key.name, key, false);
    }
    out
}

/// A key that has a header, its plain keys, then those below it that have headers, too.
fn section(out: &mut String, path: &str, key: &'static Key, off: bool) {
    let off = off || matches!(key.preset, Preset::Absent);
    let (table, tables) = match (key.kind.entry(), &key.kind) {
        (Some(entry), _) => (entry, true),
        (None, kind) => (kind, false),
    };
    if let Kind::Map { any, .. } = table
        && matches!(any.preset, Preset::Section)
    {
        let example = EXAMPLES.iter().find(|(section, _)| *section == path).map_or("NAME", |(_, name)| name);
        return section(out, &format!("{path}.{example}"), any, off);
    }
    out.push('\n');
    let header = if tables { format!("[[{path}]]") } else { format!("[{path}]") };
    line(out, off, &header, &lead(key));
    plain(out, "", table, off);
    if let Kind::Map { any, .. } = table {
        entry(out, "", any, off);
    }
    for below in table.keys() {
        if has_header(below) {
            section(out, &format!("{path}.{}", below.name), below, off);
        }
    }
}

fn has_header(key: &Key) -> bool {
    matches!(key.preset, Preset::Section | Preset::Optional | Preset::Absent | Preset::AtLeastOne)
}

/// The keys of a table that have a line of their own; `before` is what is written before their names.
fn plain(out: &mut String, before: &str, table: &'static Kind, off: bool) {
    for key in table.keys().filter(|key| !has_header(key)) {
        entry(out, before, key, off);
    }
}

fn entry(out: &mut String, before: &str, key: &'static Key, off: bool) {
    let name = match key.name {
        "STATUS" => "404",
        name => name,
    };
    let name = format!("{before}{name}");
    let (value, off) = match key.preset {
        Preset::Value(value) | Preset::Required(value) | Preset::Shown { example: value, .. } => (value, off),
        Preset::Off { example, .. } => (example, true),
        Preset::Dotted => return plain(out, &format!("{name}."), &key.kind, off),
        Preset::Section | Preset::Optional | Preset::Absent | Preset::AtLeastOne => return,
    };
    let comment = lead(key);
    let text = format!("{name} = {value}");
    match (value.strip_prefix('['), text.len() > WIDTH) {
        // A list too long for a line has one for each entry.
        (Some(list), true) if !off => {
            line(out, off, &format!("{name} = ["), &comment);
            for value in list.trim_end_matches(']').split(", ") {
                out.push_str(&format!("    {value},\n"));
            }
            out.push_str("]\n");
        }
        _ => line(out, off, &text, &comment),
    }
}

/// The comment of a key: whether it is required, its values, its meaning, its default.
fn lead(key: &Key) -> String {
    let mut parts = Vec::new();
    if matches!(key.preset, Preset::Required(_)) {
        parts.push("Required".to_owned());
    }
    let is_plain = match &key.kind {
        Kind::Integer(_, most) => *most < 1 << 20,
        Kind::Choice(words) => words.len() > 1,
        Kind::Numbers(_) | Kind::Size(1.., _) | Kind::Factor | Kind::Percent | Kind::Share => true,
        _ => false,
    };
    if is_plain {
        parts.push(markdown::kind(&key.kind).replace("size, ", ""));
    }
    parts.push(format!("{}{}", key.meaning, markdown::scope(key)));
    match key.preset {
        Preset::Off { means: "none", .. } => {}
        Preset::Off { means, .. } | Preset::Shown { means, .. } => match means.strip_prefix("required") {
            Some(when) => parts.push(format!("Required{when}")),
            None => parts.push(format!("Left out: {means}")),
        },
        _ => {}
    }
    parts.join(". ").replace("`\"", "\"").replace("\"`", "\"")
}

/// A line with its comment, continued in further lines where it is too long.
fn line(out: &mut String, off: bool, text: &str, comment: &str) {
    let start = out.len();
    out.push_str(if off { "# " } else { "" });
    out.push_str(text);
    let mut column = out[start..].chars().count();
    let pad = |out: &mut String, column: usize| out.push_str(&" ".repeat(column));
    let first = comment.split(' ').next().map_or(0, str::len);
    if column + 3 + first.max(COLUMN) > WIDTH {
        out.push('\n');
        pad(out, COLUMN);
        column = COLUMN;
    } else {
        let gap = COLUMN.saturating_sub(column).max(3);
        pad(out, gap);
        column += gap;
    }
    out.push('#');
    column += 1;
    for word in comment.split(' ') {
        let length = word.chars().count() + 1;
        if column + length > WIDTH {
            out.push('\n');
            pad(out, COLUMN);
            out.push('#');
            column = COLUMN + 1;
        }
        out.push(' ');
        out.push_str(word);
        column += length;
    }
    out.push('\n');
}
