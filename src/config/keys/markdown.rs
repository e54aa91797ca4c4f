//! `docs/configuration.md`: every key in a table, by section.

use super::{Key, Kind, Preset, ROOT, Scope};

const HEAD: &str = "\
# Configuration

Written from the table of keys in `src/config/keys` by `ringate schema --markdown`: change that, not this page.
[config/reference.toml](../config/reference.toml) has the same keys as a config with every default. `ringate schema` prints a JSON Schema, with which
editors complete and check a config: save it as `ringate.schema.json` beside the config, and begin that with `#:schema ./ringate.schema.json`.

A config is TOML. Unknown keys are errors. Paths are relative to the config file; a path may begin with `$CREDENTIALS_DIRECTORY/`, where systemd puts what `LoadCredential=` names.

- **Durations** are a whole number and a unit: `\"250ms\"`, `\"5s\"`, `\"1m\"`, `\"1h\"`, `\"2d\"`; 365 days at most, where nothing else is said.
- **Sizes** are a number of bytes, or a text with a unit: `16384`, `\"16KiB\"`, `\"1MiB\"`, `\"2GiB\"`. **Rates** are a size a second: `\"1KiB/s\"`.
- **A certificate** is a name in the store, a file (a value with a slash, or ending in .pem, .crt, .cer, .der, .p12 or .pfx), or
  `{ cert = \"FILE\", key = \"FILE\", passphrase_file = \"FILE\" }`, of which PKCS#12 needs no `key` and what is not encrypted no `passphrase_file`. See [formats](certificates.md#formats).
- **A table** such as `{ header, trusted }` is written so, or with dots (`client_address.header = …`), or under a header (`[listener.client_address]`).
- **References** stand for values from outside: `${NAME}` for an environment variable, `${file:PATH}` for the content of a file. See [operations](operations.md#values-from-outside).

`ringate check --explain KEY` describes one key.
";

/// Ends of keys whose tables have the keys of another one's, which their meaning names.
const LIKE_OTHERS: [&str; 6] = [
    "route.match.any",
    "route.match.all",
    "route.match.not",
    "headers.when.any",
    "headers.when.all",
    "headers.when.not",
];

/// The whole page.
pub(in crate::config) fn page() -> String {
    let mut out = HEAD.to_owned();
    out.push_str("\n## The file\n\nKeys that stand before any header.\n\n");
    out.push_str("| key | type | default | meaning |\n| --- | --- | --- | --- |\n");
    let is_single =
        |key: &&'static Key| key.kind.table().is_none() && !matches!(key.kind.entry(), Some(Kind::Table(_)));
    ROOT.keys().filter(is_single).for_each(|key| row(&mut out, "", key));
    for root in ROOT.keys().filter(|key| !is_single(key)) {
        let header = match &root.kind {
            Kind::List { .. } => format!("[[{}]]", root.name),
            Kind::Map { any, .. } if any.name == "NAME" => format!("[{}.NAME]", root.name),
            _ => format!("[{}]", root.name),
        };
        out.push_str(&format!("\n## {header}\n\n{}.\n\n", root.meaning));
        out.push_str("| key | type | default | meaning |\n| --- | --- | --- | --- |\n");
        rows_below(&mut out, root.name, &root.kind);
    }
    out
}

/// The rows of all keys of the tables among a kind's forms, and of those in its lists.
fn rows_below(out: &mut String, path: &str, kind: &'static Kind) {
    if kind.is_certificate() || LIKE_OTHERS.iter().any(|like| path.ends_with(like)) {
        return; // at the head of the page, or in the rows of another key
    }
    for form in kind.forms() {
        match form {
            Kind::List { of, .. } => rows_below(out, path, of),
            Kind::Table(_) => form.keys().for_each(|key| row(out, path, key)),
            Kind::Map { any, .. } => {
                form.keys().for_each(|key| row(out, path, key));
                row(out, path, any);
            }
            _ => {}
        }
    }
}

/// The row of a key, and those below it. `path` is that of its section; of a key before any header it is empty.
fn row(out: &mut String, path: &str, key: &'static Key) {
    let path = if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
    // An upstream has its heading, and a table that is only part of a key's name has no row.
    if path != "upstream.NAME" && !matches!(key.preset, Preset::Dotted) {
        let scope = scope(key);
        let see = if key.page.is_empty() { String::new() } else { format!("; see {}", key.page) };
        let cells =
            [format!("`{path}`"), self::kind(&key.kind), preset(key), format!("{}{see}{scope}", key.meaning)];
        let cells = cells.map(|cell| cell.replace('|', "\\|"));
        out.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    rows_below(out, &path, &key.kind);
}

/// For which listeners a key is, in words that follow its meaning.
pub(super) fn scope(key: &Key) -> &'static str {
    match key.scope {
        Scope::Any => "",
        Scope::Http => " (http only)",
        Scope::Tcp => " (tcp only)",
        Scope::Udp => " (udp only)",
    }
}

fn preset(key: &Key) -> String {
    match key.preset {
        Preset::Value(value) => format!("`{value}`"),
        Preset::Required(_) | Preset::AtLeastOne => "required".to_owned(),
        Preset::Off { means, .. } | Preset::Shown { means, .. } => means.to_owned(),
        Preset::Optional | Preset::Absent => "none".to_owned(),
        Preset::Section | Preset::Dotted => String::new(),
    }
}

/// What a value is, in words.
pub(super) fn kind(kind: &Kind) -> String {
    let join = |words: Vec<String>| words.join(", ");
    match kind {
        Kind::Boolean => "boolean".to_owned(),
        Kind::Integer(least, most) if *most >= 1 << 20 => match least {
            0 => "number".to_owned(),
            least => format!("number from {least}"),
        },
        Kind::Integer(least, most) if least == most => format!("`{least}`"),
        Kind::Integer(least, most) => format!("{least}–{most}"),
        Kind::Numbers(numbers) => join(numbers.iter().map(u64::to_string).collect()),
        Kind::Duration { .. } => "duration".to_owned(),
        Kind::Size(0..=1, most) if *most >= 1 << 30 => "size".to_owned(),
        Kind::Size(least, most) if *most >= 1 << 40 => format!("size, from {}", size(*least)),
        Kind::Size(least, most) => format!("size, {}–{}", size(*least), size(*most)),
        Kind::Rate => "rate".to_owned(),
        Kind::Factor => "0, or a number from 1 to 100".to_owned(),
        Kind::Percent => "a number from 0 to 100".to_owned(),
        Kind::Share => "a number from 0 to 1".to_owned(),
        Kind::Text(text) => text.what.to_owned(),
        Kind::Choice(words) => join(words.iter().map(|word| format!("`\"{word}\"`")).collect()),
        Kind::List { of: Kind::Choice(words), .. } if words.len() > 8 => "list of names".to_owned(),
        Kind::List { of: Kind::Text(text), .. }
            if text.what.bytes().all(|byte| byte == b' ' || byte.is_ascii_lowercase()) =>
        {
            format!("list of {}s", text.what)
        }
        Kind::List { of, .. } if of.is_certificate() => "list of certificates".to_owned(),
        Kind::List { of, .. } => format!("list of {}", self::kind(of)),
        kind if kind.is_certificate() => "certificate".to_owned(),
        Kind::Table(groups) => {
            let names: Vec<&str> = groups.iter().copied().flatten().map(|key| key.name).collect();
            if names.len() > 4 { "table".to_owned() } else { format!("`{{ {} }}`", names.join(", ")) }
        }
        Kind::Overlay { section, .. } => format!("table, as `{section}`"),
        Kind::Map { any, .. } => format!("table of `{}`", any.name),
        Kind::OneOf(forms) => forms.iter().map(self::kind).collect::<Vec<_>>().join(" or "),
    }
}

fn size(bytes: u64) -> String {
    crate::config::units::size_text(bytes)
}
