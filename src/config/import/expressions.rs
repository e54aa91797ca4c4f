//! Regular expressions of the other proxies, which may look around, as Ringate takes them.

use super::values;
use crate::config::names;

/// Most alternatives of what must not follow.
const MAX_WORDS: usize = 16;

/// Whether Ringate takes it as it is.
pub(super) fn is_taken(expression: &str) -> bool {
    names::path_pattern(&format!("~ {expression}")).is_ok()
}

/// An expression that matches the same texts: `/\.(?!well-known)` is written without its look-ahead. `None`: there is none, or it is
/// not known.
pub(super) fn same(expression: &str) -> Option<String> {
    if is_taken(expression) {
        return Some(expression.to_owned());
    }
    let (before, rest) = expression.split_once("(?!")?;
    let (words, after) = rest.split_once(')')?;
    // What follows must match whatever the look-ahead lets pass.
    if !matches!(after, "" | ".*" | ".*$") {
        return None;
    }
    let words: Option<Vec<String>> = words.split('|').map(values::literal).collect();
    let words = words.filter(|words| words.len() <= MAX_WORDS && words.iter().all(|word| word.is_ascii()))?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Some(format!("{before}{}", none_of(&words)?)).filter(|made| is_taken(made))
}

/// An expression that matches at least the same texts: what it looks at around a match no longer counts. `None`: there is none.
pub(super) fn wider(expression: &str) -> Option<String> {
    let mut out = expression.to_owned();
    while let Some(at) = ["(?!", "(?=", "(?<!", "(?<="].iter().filter_map(|start| out.find(start)).min() {
        out.replace_range(at..at + group(&out[at..])?, "");
    }
    Some(out.replace("(?>", "(?:")).filter(|made| is_taken(made))
}

/// What does not begin with any of the words, as an expression. `None`: everything begins with one.
fn none_of(words: &[&str]) -> Option<String> {
    let mut firsts: Vec<char> = Vec::new();
    for word in words {
        let first = word.chars().next()?;
        if !firsts.contains(&first) {
            firsts.push(first);
        }
    }
    let class: String = firsts
        .iter()
        .flat_map(|first| ['\\', *first].into_iter().skip(usize::from(first.is_ascii_alphanumeric())))
        .collect();
    let mut all = vec!["$".to_owned(), format!("[^{class}]")];
    for first in firsts {
        let rests: Vec<&str> = words.iter().filter_map(|word| word.strip_prefix(first)).collect();
        if let Some(rest) = none_of(&rests) {
            all.push(format!("{}{rest}", regex::escape(&first.to_string())));
        }
    }
    Some(format!("(?:{})", all.join("|")))
}

/// The length of the group that a text begins with.
fn group(text: &str) -> Option<usize> {
    let (mut depth, mut is_class, mut is_escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'[' => is_class = true,
            b']' => is_class = false,
            b'(' if !is_class => depth += 1,
            b')' if !is_class => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(expression: &str, text: &str) -> bool {
        regex::Regex::new(expression).expect("an expression").is_match(text)
    }

    #[test]
    fn what_must_not_follow_is_written_out() {
        let made = same(r"/\.(?!well-known)").expect("an expression");
        for (path, expected) in [
            ("/.git/config", true),
            ("/.", true),
            ("/.well", true),
            ("/.well-knowX", true),
            ("/.well-known/acme", false),
            ("/.well-known/.git", true),
            ("/a/b", false),
        ] {
            assert_eq!(matches(&made, path), expected, "{path}: {made}");
        }
        let made = same(r"^/(?!api|app\.js|a-z).*$").expect("an expression");
        for (path, expected) in [
            ("/", true),
            ("/ap", true),
            ("/apx", true),
            ("/api", false),
            ("/app.js", false),
            ("/app-js", true),
            ("/a-zed", false),
        ] {
            assert_eq!(matches(&made, path), expected, "{path}: {made}");
        }
        assert_eq!(same(r"\.php$").as_deref(), Some(r"\.php$"));
        for other in [r"a(?!b)c", r"a(?!b+)", r"(?<!a)b", r"(a)\1", r"a(?!)"] {
            assert_eq!(same(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_looked_at_is_left_out() {
        assert_eq!(wider(r"^(a\(5(?!\.[0-9)]-dev)|Go ).*$").as_deref(), Some(r"^(a\(5|Go ).*$"));
        assert_eq!(wider(r"(?<=a(b))c(?=d)(?>e)").as_deref(), Some("c(?:e)"));
        assert_eq!((wider(r"(a)\1"), wider("(?!a")), (None, None));
    }
}
