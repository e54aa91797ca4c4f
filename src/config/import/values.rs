//! Values that both proxies have: durations, sizes, addresses, patterns of paths.

use std::path::Path;

use super::draft::quoted;

/// `30`, `30s`, `5m`, `100ms`, `1h 30m` as a duration of Ringate; plain numbers are in `unit`.
pub(super) fn duration(text: &str, unit: &str) -> Option<String> {
    Some(match milliseconds(text, unit)? {
        0 => "0s".to_owned(),
        total if total.is_multiple_of(86_400_000) => format!("{}d", total / 86_400_000),
        total if total.is_multiple_of(3_600_000) => format!("{}h", total / 3_600_000),
        total if total.is_multiple_of(60_000) => format!("{}m", total / 60_000),
        total if total.is_multiple_of(1000) => format!("{}s", total / 1000),
        total => format!("{total}ms"),
    })
}

/// The same in milliseconds; a time in microseconds is rounded down, to one at least.
pub(super) fn milliseconds(text: &str, unit: &str) -> Option<u64> {
    let (mut total, mut rest) = (0_u64, text.trim());
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let named = if letters == 0 { unit } else { &rest[..letters] };
        let factor = match named {
            "us" => return Some((number / 1000).max(1)),
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            "M" => 30 * 86_400_000,
            "y" => 365 * 86_400_000,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(factor)?)?;
        rest = rest[letters..].trim_start();
    }
    Some(total)
}

/// `10m`, `8k`, `1g`, `512` as bytes.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let factor = match text[digits..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// Bytes as a size of Ringate, in TOML.
pub(super) fn size(bytes: u64) -> String {
    for (unit, factor) in [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= factor && bytes.is_multiple_of(factor) {
            return quoted(&format!("{}{unit}", bytes / factor));
        }
    }
    bytes.to_string()
}

/// Host and port of `host[:port]`.
pub(super) fn host_and_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => (host, Some(port)),
        _ => (text, None),
    }
}

/// A path as the other proxy understands it, in full.
pub(super) fn absolute(folder: &Path, path: &str) -> String {
    folder.join(path).display().to_string()
}

/// What a regular expression for a path matches, where that is a path or all below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Simple {
    /// That path alone.
    Exact(String),
    /// The path and all below.
    Prefix(String),
}

/// The expression's meaning, if it is that simple: `^/a/b`, `^/a/b$`, `^/a/(.*)$`.
pub(super) fn simple(pattern: &str) -> Option<Simple> {
    let rest = pattern.strip_prefix('^')?;
    let (rest, closed) = match rest.strip_suffix('$') {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let open = ["(.*)", ".*", "(.+)", ".+"].iter().find_map(|tail| rest.strip_suffix(tail));
    let (rest, is_prefix) = match open {
        Some(rest) => (rest, true),
        None => (rest, !closed),
    };
    let path = literal(rest)?;
    if !path.starts_with('/') {
        return None;
    }
    Some(if is_prefix { Simple::Prefix(path) } else { Simple::Exact(path) })
}

/// The text that an expression without special characters matches.
pub(super) fn literal(pattern: &str) -> Option<String> {
    let (mut out, mut characters) = (String::new(), pattern.chars());
    while let Some(character) = characters.next() {
        match character {
            '\\' => out.push(characters.next().filter(|next| next.is_ascii_punctuation())?),
            plain if plain.is_ascii_alphanumeric() || "/-_~!@:,;=%&'".contains(plain) => out.push(plain),
            _ => return None,
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_have_ringate_s_units() {
        for (text, unit, expected) in [
            ("30", "s", "30s"),
            ("5000", "ms", "5s"),
            ("1h 30m", "s", "90m"),
            ("250ms", "s", "250ms"),
            ("2d", "s", "2d"),
            ("1w", "s", "7d"),
            ("0", "s", "0s"),
        ] {
            assert_eq!(duration(text, unit).as_deref(), Some(expected), "{text}");
        }
        assert_eq!((duration("x", "s"), duration("", "s"), duration("5q", "s")), (None, None, None));
        assert_eq!((bytes("10m"), bytes("8k"), bytes("1x")), (Some(10 << 20), Some(8192), None));
        assert_eq!(
            (size(10 << 20), size(8192), size(1000)),
            ("\"10MiB\"".into(), "\"8KiB\"".into(), "1000".into())
        );
    }

    #[test]
    fn expressions_that_are_paths_are_found() {
        let (prefix, exact) =
            (|p: &str| Some(Simple::Prefix(p.into())), |p: &str| Some(Simple::Exact(p.into())));
        assert_eq!(simple("^/api/"), prefix("/api/"));
        assert_eq!(simple("^/api/(.*)$"), prefix("/api/"));
        assert_eq!(simple("^/a\\.html$"), exact("/a.html"));
        assert_eq!((simple("\\.php$"), simple("^/a.b$"), simple("^/(a|b)")), (None, None, None));
    }
}
