//! The files of a config: the one that is named, and those that `include` names.
//!
//! ```text
//! named file ─► include ─► Outside::expand, Outside::read ─► Sources ─► merge (one table) ─► check
//! ```
//!
//! The texts stand one behind the other in one space of places: a span is a range of that space, and so
//! belongs to one file. The first file begins at 0.

use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::normalize_untrusted_str;
use toml::de::{DeTable, DeValue};

use super::references;
use super::suggest::quoted;
use crate::base::limits::{MAX_CONFIG_BYTES, MAX_INCLUDE_DEPTH, MAX_INCLUDED_FILES};

/// What a config takes from outside its files.
pub(crate) trait Outside {
    /// The files that a pattern names, in order. A pattern without `*`, `?` and `[` names one file, which must be there.
    ///
    /// # Errors
    /// The folder or the file is not there, or may not be read; in words.
    fn expand(&self, pattern: &Path) -> Result<Vec<PathBuf>, String>;

    /// The text of a config file.
    ///
    /// # Errors
    /// It can't be read; in words.
    fn read(&self, path: &Path) -> Result<String, String>;

    /// The path by which two names of one file are the same.
    fn identity(&self, path: &Path) -> PathBuf;

    /// The value of an environment variable. `None`: it is not set.
    ///
    /// # Errors
    /// It is not valid Unicode; in words.
    fn variable(&self, name: &str) -> Result<Option<String>, String>;

    /// The content of the file that `${file:PATH}` names, without the line feed at its end.
    ///
    /// # Errors
    /// It can't be read; in words.
    fn value(&self, path: &Path) -> Result<String, String>;
}

/// A config that stands alone: it includes no files and has no references.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alone;

impl Outside for Alone {
    fn expand(&self, _: &Path) -> Result<Vec<PathBuf>, String> {
        Err("no file is read here".to_owned())
    }

    fn read(&self, _: &Path) -> Result<String, String> {
        Err("no file is read here".to_owned())
    }

    fn identity(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }

    fn variable(&self, _: &str) -> Result<Option<String>, String> {
        Err("no environment variable is read here".to_owned())
    }

    fn value(&self, _: &Path) -> Result<String, String> {
        Err("no file is read here".to_owned())
    }
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// Its path as messages show it.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its content.
    pub(crate) text: String,
    /// The place of its first byte.
    pub(super) start: usize,
    /// The file that includes it.
    parent: Option<usize>,
}

/// An `include` that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) span: Range<usize>,
    pub(super) title: String,
    pub(super) help: Option<String>,
}

/// See the module. There is always a first file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sources {
    files: Vec<Source>,
    failures: Vec<Failure>,
}

impl Sources {
    /// A text without other files.
    pub(crate) fn single(name: &str, path: &Path, text: impl Into<String>) -> Self {
        let name = normalize_untrusted_str(name);
        let first = Source { name, path: path.to_owned(), text: text.into(), start: 0, parent: None };
        Self { files: vec![first], failures: Vec::new() }
    }

    /// The text of the file at `path`, with the files that it includes. What fails is reported by the parser.
    pub(crate) fn gather(name: &str, path: &Path, text: impl Into<String>, outside: &dyn Outside) -> Self {
        let mut sources = Self::single(name, path, text);
        let mut next = 0;
        let mut seen = vec![(outside.identity(path), 0)];
        // A file's own includes follow those of the files before it.
        while next < sources.files.len() {
            sources.include(next, &mut seen, outside);
            next += 1;
        }
        sources
    }

    /// The files, the named one first.
    pub(crate) fn files(&self) -> &[Source] {
        &self.files
    }

    /// The text of the named file.
    pub(crate) fn first(&self) -> &Source {
        &self.files[0]
    }

    pub(super) fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// The file that has a place.
    pub(super) fn at(&self, place: usize) -> &Source {
        let after = self.files.partition_point(|file| file.start <= place);
        &self.files[after.saturating_sub(1)]
    }

    /// The same files with another text of one of them.
    pub(crate) fn with(&self, file: usize, text: String) -> Self {
        let mut changed = self.clone();
        changed.files[file].text = text;
        changed.number();
        changed
    }

    /// The same files, each with another text.
    pub(crate) fn map(&self, text: impl Fn(&str) -> String) -> Self {
        let mut changed = self.clone();
        changed.files.iter_mut().for_each(|file| file.text = text(&file.text));
        changed.number();
        changed
    }

    fn number(&mut self) {
        let mut start = 0;
        for file in &mut self.files {
            file.start = start;
            start += file.text.len() + 1;
        }
    }

    fn depth(&self, mut file: usize) -> usize {
        let mut depth = 0;
        while let Some(parent) = self.files[file].parent {
            (file, depth) = (parent, depth + 1);
        }
        depth
    }

    /// Whether `file` is `other`, or includes it by whatever way.
    fn is_above(&self, file: usize, mut other: usize) -> bool {
        loop {
            if file == other {
                return true;
            }
            let Some(parent) = self.files[other].parent else { return false };
            other = parent;
        }
    }

    /// Reads what a file includes.
    fn include(&mut self, file: usize, seen: &mut Vec<(PathBuf, usize)>, outside: &dyn Outside) {
        let start = self.files[file].start;
        let folder = self.files[file].path.parent().unwrap_or(Path::new("")).to_owned();
        for (span, pattern) in patterns(&self.files[file].text) {
            let span = span.start + start..span.end + start;
            let help = "a pattern is relative to the folder of the file that has it; one that matches no file is fine";
            let found = pattern
                .and_then(|pattern| {
                    references::expand(&pattern, &folder, outside).map_err(|wrong| wrong.title)
                })
                .and_then(|pattern| {
                    let found = outside.expand(&folder.join(&pattern.text));
                    found.map_err(|reason| format!("{} can't be included: {reason}", quoted(&pattern.text)))
                });
            match found {
                Ok(found) => {
                    for path in found {
                        self.take(&path, file, &span, seen, outside);
                    }
                }
                Err(title) => self.failures.push(Failure {
                    span,
                    title: format!("`include`: {title}"),
                    help: Some(help.to_owned()),
                }),
            }
        }
    }

    /// Reads one file that `parent` includes.
    fn take(
        &mut self,
        path: &Path,
        parent: usize,
        span: &Range<usize>,
        seen: &mut Vec<(PathBuf, usize)>,
        outside: &dyn Outside,
    ) {
        let shown = path.display();
        let identity = outside.identity(path);
        let known = seen.iter().find(|(known, _)| *known == identity).map(|(_, index)| *index);
        let title = match known {
            Some(known) if self.is_above(known, parent) => {
                format!("`{shown}` includes itself, by way of `{}`", self.files[parent].name)
            }
            // Two patterns of one list may name the same file.
            Some(known) if self.files[known].parent == Some(parent) => return,
            Some(known) => {
                let other = self.files[known].parent.map_or("", |parent| &self.files[parent].name);
                format!("`{shown}` is included by `{other}` already")
            }
            None if self.depth(parent) >= MAX_INCLUDE_DEPTH => {
                format!("`{shown}` is included at a depth of more than {MAX_INCLUDE_DEPTH} files")
            }
            None if self.files.len() > MAX_INCLUDED_FILES => {
                format!("more than {MAX_INCLUDED_FILES} files are included")
            }
            None => match outside.read(path) {
                Err(reason) => format!("`{shown}` can't be read: {reason}"),
                Ok(text) => {
                    let start = self.files.last().map_or(0, |last| last.start + last.text.len() + 1);
                    if start + text.len() > MAX_CONFIG_BYTES {
                        format!("the files have more than {MAX_CONFIG_BYTES} bytes together")
                    } else {
                        seen.push((identity, self.files.len()));
                        let name = normalize_untrusted_str(&shown.to_string());
                        let parent = Some(parent);
                        self.files.push(Source { name, path: path.to_owned(), text, start, parent });
                        return;
                    }
                }
            },
        };
        self.failures.push(Failure { span: span.clone(), title: format!("`include`: {title}"), help: None });
    }
}

/// A text with its references replaced; `None`: one of them stands for nothing.
pub(crate) fn replaced(text: &str, folder: &Path, outside: &dyn Outside) -> Option<String> {
    references::expand(text, folder, outside).ok().map(|expanded| expanded.text)
}

/// The patterns of a text's `include`, each with its place in the text. What is no text is an error.
fn patterns(text: &str) -> Vec<(Range<usize>, Result<String, String>)> {
    let (document, syntax) = DeTable::parse_recoverable(text);
    // Otherwise the parser reports them.
    let include = document.get_ref().get("include").filter(|_| syntax.is_empty());
    let Some(include) = include else { return Vec::new() };
    let wrong = || Err("it must be a list of patterns, such as [\"conf.d/*.toml\"]".to_owned());
    match include.get_ref() {
        DeValue::Array(list) => list
            .iter()
            .map(|entry| match entry.get_ref() {
                DeValue::String(pattern) if !pattern.is_empty() => (entry.span(), Ok(pattern.to_string())),
                _ => (entry.span(), wrong()),
            })
            .collect(),
        _ => vec![(include.span(), wrong())],
    }
}
