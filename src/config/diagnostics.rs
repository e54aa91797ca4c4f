//! What is wrong with a config, where, and how to correct it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use crate::base::text::{masked, without_keys};
use annotate_snippets::{
    AnnotationKind, Level as Severity, Origin, Renderer, Snippet, normalize_untrusted_str,
};

use super::sources::Sources;

/// Errors and warnings about the files of one config, in their order.
///
/// The parser fills one, and any later step that finds an error in a value of the plan adds to it (a
/// certificate that is missing, an endpoint that does not resolve) adds to one with the
/// value's [`At::span`](super::plan::At::span).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    sources: Sources,
    /// Where values with references begin, with what of each came from files: messages do not repeat it.
    references: BTreeMap<usize, Vec<String>>,
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

/// A warning that is kept with the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Its place.
    pub span: Range<usize>,
    /// What may not have the intended effect.
    pub title: String,
    /// How to correct it.
    pub help: Option<String>,
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
    /// The file, as it was named.
    pub file: &'a str,
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
        let name = name.into();
        Self::of(&Sources::single(&name, Path::new(&name), text))
    }

    /// None yet, about these files.
    pub(crate) fn of(sources: &Sources) -> Self {
        Self { sources: sources.clone(), references: BTreeMap::new(), found: Vec::new(), more: [0; 2] }
    }

    /// Notes that the value at `span` has references, and what of it came from files.
    pub(super) fn refers(&mut self, span: &Range<usize>, secrets: Vec<String>) {
        self.references.insert(span.start, secrets);
    }

    /// Whether the value at `span` has references.
    pub(super) fn has_references(&self, span: &Range<usize>) -> bool {
        self.references.contains_key(&span.start)
    }

    /// The secrets of all values: what came from files.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.references.values().flatten().map(String::as_str).filter(|secret| !secret.is_empty())
    }

    /// A place as `FILE:LINE`.
    pub(crate) fn place(&self, place: usize) -> String {
        let file = self.sources.at(place);
        let before = &file.text.as_bytes()[..(place - file.start).min(file.text.len())];
        format!("{}:{}", file.name, before.iter().filter(|byte| **byte == b'\n').count() + 1)
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
        self.without_secrets(&mut found);
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

    /// A message that repeats what came from a file gets other words.
    fn without_secrets(&self, found: &mut Found) {
        let of_value = self.references.get(&found.span.start).filter(|_| found.span != (0..0));
        let own = of_value.into_iter().flatten().map(String::as_str);
        let repeats = |text: &str| {
            own.clone().any(|secret| shares(text, secret, OWN_SHARED))
                || self.secrets().any(|secret| shares(text, secret, SHARED))
        };
        let help = found.help.as_deref().is_some_and(repeats);
        // The key is in the config, whatever its value is.
        let (key, rest) = match found.title.find("`: ") {
            Some(at) => found.title.split_at(at + 3),
            None => ("", found.title.as_str()),
        };
        if repeats(rest) {
            found.title = format!("{key}the value that a reference to a file stands for is not valid here");
        }
        if help {
            found.help = None;
        }
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
        let file = self.sources.at(span.start);
        let (text, first) = (file.text.as_str(), file.start);
        let content = text.trim_end_matches(['\n', '\r']).len();
        let start = text.floor_char_boundary(span.start - first).min(content);
        let end = text.floor_char_boundary(span.end.saturating_sub(first)).max(start);
        let line = text[start..end].find(['\n', '\r']).unwrap_or(end - start);
        first + start..first + start + line
    }

    /// The warnings, as they may be added to others about the same files.
    pub(super) fn warnings(&self) -> Vec<Warning> {
        let all = self.found.iter().filter(|found| found.level == Level::Warning);
        all.map(|found| Warning {
            span: found.span.clone(),
            title: found.title.clone(),
            help: found.help.clone(),
        })
        .collect()
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
            let file = self.sources.at(found.span.start);
            let before = &file.text[..found.span.start - file.start];
            let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
            Diagnostic {
                level: found.level,
                file: &file.name,
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
        let mut shown: BTreeMap<usize, String> = BTreeMap::new();
        let mut entries: Vec<String> = Vec::with_capacity(self.found.len());
        for found in &self.found {
            let file = self.sources.at(found.span.start);
            let source = shown.entry(file.start).or_insert_with(|| masked(&file.text));
            entries.push(self.entry(&renderer, source, found));
        }
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
        let file = self.sources.at(found.span.start);
        let mut group = if found.span == (0..0) {
            title.element(Origin::path(file.name.as_str()))
        } else {
            let span = found.span.start - file.start..found.span.end - file.start;
            let place = AnnotationKind::Primary.span(span);
            title.element(Snippet::source(source).path(file.name.as_str()).fold(true).annotation(place))
        };
        if let Some(help) = &found.help {
            group = group.element(Severity::HELP.message(normalize_untrusted_str(help)));
        }
        renderer.render(&[group])
    }
}

/// Characters in a row that a message may not share with what came from a file into the same value; another value's
/// message may share fewer than so many.
const OWN_SHARED: usize = 3;
const SHARED: usize = 8;

/// Whether a text repeats so many characters of a secret, or all of it.
fn shares(text: &str, secret: &str, most: usize) -> bool {
    let characters: Vec<char> = secret.chars().collect();
    if characters.is_empty() {
        return false;
    }
    if characters.len() <= most {
        return most == OWN_SHARED && text.contains(secret);
    }
    characters.windows(most).any(|window| text.contains(&window.iter().collect::<String>()))
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
