//! What is wrong with a config, where, and how to correct it.

use std::fmt;
use std::ops::Range;

use crate::base::text::{masked, without_keys};
use annotate_snippets::{
    AnnotationKind, Level as Severity, Origin, Renderer, Snippet, normalize_untrusted_str,
};

/// Errors and warnings about one config file, in the order of the file.
///
/// The parser fills one, and any later step that finds an error in a value of the plan adds to it (a
/// certificate that is missing, an endpoint that does not resolve) adds to one with the
/// value's [`At::span`](super::plan::At::span).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    name: String,
    text: String,
    found: Vec<Found>,
    /// Errors and warnings beyond [`MOST`].
    more: [usize; 2],
}

/// Entries that are kept. Each is shown with its line, and so many are corrected from the first on.
const MOST: usize = 200;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The config can't be used.
    Error,
    /// The config can be used, but may not have the intended effect.
    Warning,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    level: Level,
    span: Range<usize>,
    title: String,
    help: Option<String>,
}

/// One entry of [`Diagnostics`], for machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic<'a> {
    /// How bad it is.
    pub level: Level,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong; names the key.
    pub message: &'a str,
    /// How to correct it.
    pub help: Option<&'a str>,
}

impl Diagnostics {
    /// None yet, about the file called `name` with the content `text`.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            name: normalize_untrusted_str(&name.into()),
            text: text.into(),
            found: Vec::new(),
            more: [0; 2],
        }
    }

    /// Adds an error about the bytes `span` of the text. An empty span at 0 is about the
    /// file as a whole: no line is shown for it.
    pub fn error(&mut self, span: Range<usize>, title: impl Into<String>, help: Option<String>) {
        self.add(Found { level: Level::Error, span, title: title.into(), help });
    }

    /// Adds a warning, otherwise like [`Diagnostics::error`].
    pub fn warning(&mut self, span: Range<usize>, title: impl Into<String>, help: Option<String>) {
        self.add(Found { level: Level::Warning, span, title: title.into(), help });
    }

    fn add(&mut self, mut found: Found) {
        found.title = without_keys(&found.title).into_owned();
        found.help = found.help.map(|help| without_keys(&help).into_owned());
        if self.found.len() == MOST && !self.make_room(&found) {
            self.more[usize::from(found.level == Level::Warning)] += 1;
            return;
        }
        found.span = self.visible(found.span);
        // A value that several environments share is read once for each of them.
        if self.found.contains(&found) {
            return;
        }
        let at = self.found.partition_point(|other| other.span.start <= found.span.start);
        self.found.insert(at, found);
    }

    /// Drops a warning in favour of an error, since an error must be seen to be corrected. False: there is no room.
    fn make_room(&mut self, found: &Found) -> bool {
        let warning = self.found.iter().rposition(|other| other.level == Level::Warning);
        let Some(at) = warning.filter(|_| found.level == Level::Error) else { return false };
        self.found.remove(at);
        self.more[1] += 1;
        true
    }

    /// The span cut to its first line and to what the text has, at character boundaries.
    /// What is missing at the end of the text is shown on its last line with content.
    fn visible(&self, span: Range<usize>) -> Range<usize> {
        let content = self.text.trim_end_matches(['\n', '\r']).len();
        let start = self.text.floor_char_boundary(span.start).min(content);
        let end = self.text.floor_char_boundary(span.end).max(start);
        let line = self.text[start..end].find(['\n', '\r']).unwrap_or(end - start);
        start..start + line
    }

    /// Whether there is neither an error nor a warning.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.found.len() + self.more.iter().sum::<usize>()
    }

    /// `Err` with all of them if there is an error; warnings alone are `Ok`.
    ///
    /// # Errors
    ///
    /// `self`, if an error was added.
    pub fn into_result(self) -> Result<(), Self> {
        let is_error = |found: &Found| found.level == Level::Error;
        if self.more[0] > 0 || self.found.iter().any(is_error) { Err(self) } else { Ok(()) }
    }

    /// The entries, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = Diagnostic<'_>> {
        self.found.iter().map(|found| {
            let before = &self.text[..found.span.start];
            let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
            Diagnostic {
                level: found.level,
                line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
                column: before[line_start..].chars().count() + 1,
                message: &found.title,
                help: found.help.as_deref(),
            }
        })
    }

    /// As text: each entry with its file, line and column, the line itself and the correction.
    /// `color` adds ANSI colors. Ends without a newline; empty if there is no entry.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let source = masked(&self.text);
        let mut entries: Vec<String> =
            self.found.iter().map(|found| self.entry(&renderer, &source, found)).collect();
        let more: usize = self.more.iter().sum();
        if more > 0 {
            entries.push(format!("… and {more} more"));
        }
        entries.join("\n\n")
    }

    fn entry(&self, renderer: &Renderer, source: &str, found: &Found) -> String {
        let severity = match found.level {
            Level::Error => Severity::ERROR,
            Level::Warning => Severity::WARNING,
        };
        let title = severity.primary_title(found.title.as_str());
        let mut group = if found.span == (0..0) {
            title.element(Origin::path(self.name.as_str()))
        } else {
            let place = AnnotationKind::Primary.span(found.span.clone());
            title.element(Snippet::source(source).path(self.name.as_str()).fold(true).annotation(place))
        };
        if let Some(help) = &found.help {
            group = group.element(Severity::HELP.message(normalize_untrusted_str(help)));
        }
        renderer.render(&[group])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_error_shows_its_place_and_its_mend() {
        let mut found = Diagnostics::new("ringate.toml", "[a]\nendpoins = 1\n");
        found.error(4..12, "unknown key `endpoins`", Some("did you mean `endpoints`?".into()));
        let expected = "\
error: unknown key `endpoins`
 --> ringate.toml:2:1
  |
2 | endpoins = 1
  | ^^^^^^^^
  |
  = help: did you mean `endpoints`?";
        assert_eq!(found.to_string(), expected);
        assert!(found.render(true).contains("\u{1b}["));
    }

    #[test]
    fn an_error_about_the_whole_file_shows_no_line() {
        let mut found = Diagnostics::new("ringate.toml", "# a comment\n");
        found.error(0..0, "there is no listener", None);
        assert_eq!(found.to_string(), "error: there is no listener\n--> ringate.toml");
    }

    #[test]
    fn entries_stand_in_the_order_of_the_file() {
        let mut found = Diagnostics::new("f", "ä = 1\nb = 2\n");
        found.error(7..8, "second", None);
        found.warning(5..6, "first", None);
        found.error(7..8, "third", None);
        let places: Vec<_> = found.iter().map(|d| (d.line, d.column, d.message)).collect();
        assert_eq!(places, [(1, 5, "first"), (2, 1, "second"), (2, 1, "third")]);
    }

    #[test]
    fn of_very_many_the_first_are_kept_and_the_others_counted() {
        let mut found = Diagnostics::new("f", "a = 1\n".repeat(20_000));
        (0..10_000).for_each(|at| found.warning(at * 6..at * 6 + 1, "w", None));
        assert!(found.clone().into_result().is_ok());
        found.error(6 * 15_000..6 * 15_000 + 1, "e", None);
        assert_eq!((found.len(), found.iter().count()), (10_001, MOST));
        assert!(found.iter().any(|one| one.level == Level::Error), "what it fails for is shown");
        assert!(found.render(false).ends_with("… and 9801 more"));
        assert!(found.into_result().is_err());
    }

    #[test]
    fn secrets_are_not_repeated() {
        let key = "-----BEGIN PRIVATE KEY-----s3cret-----END PRIVATE KEY-----";
        let text = format!(
            "password = \"s3cret\"\nclient_secret = 's3cret'\nkey = \"{key}\"\nx = \"rgk_s3cret0123\""
        );
        let mut found = Diagnostics::new("f", &*text);
        found.error(0..7, "unknown key", Some(key.into()));
        for line in ["client_secret", "key = ", "x = "] {
            let at = text.find(line).unwrap();
            found.error(at..at + 1, format!("{key} is no file; rgk_s3cret0123 is none"), None);
        }
        let shown = found.render(false);
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(shown.contains("client_secret = '******'") && shown.contains("f:4:1"), "{shown}");
    }

    #[test]
    fn warnings_alone_are_no_error() {
        let mut found = Diagnostics::new("f", "a = 1");
        assert!(found.is_empty() && found.render(false).is_empty());
        found.warning(0..1, "w", None);
        assert!(found.clone().into_result().is_ok());
        found.error(0..1, "e", None);
        assert!(found.into_result().is_err());
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut found = Diagnostics::new("f\u{1b}[2J", "a = \"\u{1b}[2J\"");
        found.error(4..9, "t\u{1b}[2J", Some("h\u{1b}[2J".into()));
        assert!(!found.to_string().contains('\u{1b}'));
    }

    proptest! {
        #[test]
        fn any_span_in_any_text_renders(text in "\\PC*|(.|\\n|\\r|\\t){0,60}", a in 0usize..300, b in 0usize..300) {
            let mut found = Diagnostics::new("f", text);
            found.error(a..b, "t", Some("h".into()));
            found.render(true);
            let shown = found.render(false);
            let place = found.iter().next().map(|entry| format!("--> f:{}:{}\n", entry.line, entry.column));
            prop_assert!(shown.contains(&place.unwrap_or_default()) || found.found[0].span == (0..0), "{}", shown);
        }
    }
}
