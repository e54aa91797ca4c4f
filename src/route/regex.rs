//! Regular expressions over paths and values: no look-around, no back references, time linear in what is searched.

use std::fmt;
use std::hash::{Hash, Hasher};

use regex::bytes::{Regex, RegexBuilder};

use crate::base::limits::{MAX_REGEX_BYTES, MAX_REGEX_PROGRAM_BYTES};

/// A regular expression. It matches any part of what is searched, unless it has `^` and `$`.
#[derive(Clone)]
pub struct Pattern {
    text: Box<str>,
    any_case: bool,
    regex: Regex,
}

impl Pattern {
    /// Compiles `text`. Classes such as `\w` are of ASCII: paths are percent-encoded.
    ///
    /// # Errors
    /// It is none, or too large; in words.
    pub fn new(text: &str, any_case: bool) -> Result<Self, String> {
        if text.len() > MAX_REGEX_BYTES {
            return Err(format!("it has more than {MAX_REGEX_BYTES} bytes"));
        }
        let mut builder = RegexBuilder::new(text);
        builder.unicode(false).case_insensitive(any_case).size_limit(MAX_REGEX_PROGRAM_BYTES);
        let regex = builder.build().map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "it becomes too large".to_owned(),
            // Its last line says what is wrong; those before show where.
            other => {
                other.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
            }
        })?;
        Ok(Self { text: text.into(), any_case, regex })
    }

    /// How many parts it captures.
    pub(crate) fn groups(&self) -> usize {
        self.regex.captures_len() - 1
    }

    /// Whether it matches a part of `searched`.
    #[inline]
    pub fn matches(&self, searched: &[u8]) -> bool {
        self.regex.is_match(searched)
    }

    /// `template` with `$1`, `${1}` and `${name}` as they were captured in `searched`; `None`: it does not match.
    pub(crate) fn expand(&self, searched: &str, template: &str) -> Option<String> {
        let captures = self.regex.captures(searched.as_bytes())?;
        let mut out = Vec::new();
        captures.expand(template.as_bytes(), &mut out);
        String::from_utf8(out).ok()
    }
}

impl fmt::Display for Pattern {
    /// As it is written in the config: `~ ^/v[0-9]+/`, `~* \.png$`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", if self.any_case { "~*" } else { "~" }, self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.any_case == other.any_case
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.text, self.any_case).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_bounded_and_linear() {
        assert!(Pattern::new("(", false).is_err_and(|why| why.contains("unclosed group")));
        assert!(Pattern::new(r"(a{1000}){1000}", false).is_err_and(|why| why.contains("too large")));
        assert!(Pattern::new(r"(a)\1", false).is_err() && Pattern::new("(?=a)", false).is_err());
        assert!(Pattern::new(&"a".repeat(MAX_REGEX_BYTES + 1), false).is_err());
        let evil = Pattern::new(r"^(a+)+$", false).expect("a pattern");
        let begun = std::time::Instant::now();
        assert!(!evil.matches(format!("{}b", "a".repeat(100_000)).as_bytes()));
        assert!(begun.elapsed().as_secs() < 5);
    }

    #[test]
    fn captures_fill_a_template() {
        let pattern = Pattern::new(r"^/users/(\d+)/(?<rest>.*)$", false).expect("a pattern");
        assert_eq!(pattern.expand("/users/7/a/b", "/u$1/${rest}").as_deref(), Some("/u7/a/b"));
        assert_eq!(pattern.expand("/users/x/a", "/u$1"), None);
        assert!(Pattern::new(r"\.PNG$", true).expect("a pattern").matches(b"/a.png"));
    }
}
