//! What became of each line of the other proxy's config.

use std::collections::BTreeMap;

use serde::Serialize;

/// A line of the other proxy's config, by its number in the order of reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Line(pub(super) usize);

/// What became of a line. What is listed later in this enum outweighs what is listed before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// Ringate does the same without it; why.
    Needless(String),
    /// It is in the result.
    Done,
    /// It is in the result, or not needed, with a difference that the operator should know.
    Noted(String),
    /// It is not in the result: why, and the nearest key.
    Missing(String, Option<String>),
}

#[derive(Clone, Debug)]
struct Entry {
    file: String,
    line: usize,
    text: String,
    fates: Vec<Fate>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    entries: Vec<Entry>,
    /// The number of a line with the same place and words.
    known: BTreeMap<(String, usize, String), usize>,
}

/// A line for people and machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Listed {
    /// The file, as it was named.
    pub(crate) file: String,
    /// The line, from 1.
    pub(crate) line: usize,
    /// What stands there.
    pub(crate) directive: String,
    /// Why it is not in the result, or what differs.
    pub(crate) reason: String,
    /// The key of Ringate that is nearest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nearest: Option<String>,
}

impl Report {
    /// A line that was read.
    pub(super) fn line(&mut self, file: &str, line: usize, text: &str) -> Line {
        let next = self.entries.len();
        let key = (file.to_owned(), line, text.to_owned());
        let index = *self.known.entry(key).or_insert(next);
        if index == next {
            self.entries.push(Entry {
                file: file.to_owned(),
                line,
                text: text.to_owned(),
                fates: Vec::new(),
            });
        }
        Line(index)
    }

    /// It is in the result.
    pub(super) fn done(&mut self, line: Line) {
        self.add(line, Fate::Done);
    }

    /// Ringate does the same without it.
    pub(super) fn needless(&mut self, line: Line, why: &str) {
        self.add(line, Fate::Needless(why.to_owned()));
    }

    /// It is in the result, with a difference.
    pub(super) fn note(&mut self, line: Line, what: impl Into<String>) {
        self.add(line, Fate::Noted(what.into()));
    }

    /// It is not in the result.
    pub(super) fn missing(&mut self, line: Line, why: impl Into<String>, nearest: Option<&str>) {
        self.add(line, Fate::Missing(why.into(), nearest.map(str::to_owned)));
    }

    /// Whether nothing has been said of a line.
    pub(super) fn is_open(&self, line: Line) -> bool {
        self.entries[line.0].fates.is_empty()
    }

    /// `FILE:LINE` of a line.
    pub(super) fn place(&self, line: Line) -> String {
        let entry = &self.entries[line.0];
        format!("{}:{}", entry.file, entry.line)
    }

    fn add(&mut self, line: Line, fate: Fate) {
        let fates = &mut self.entries[line.0].fates;
        if !fates.contains(&fate) {
            fates.push(fate);
        }
    }

    /// How many lines are in the result, wholly or with a note.
    pub(crate) fn translated(&self) -> usize {
        let in_result = |fate: Option<&Fate>| matches!(fate, Some(Fate::Done | Fate::Noted(_)));
        self.entries.iter().filter(|entry| in_result(entry.fates.iter().max())).count()
    }

    /// Lines that are in no part of the result as they should be, in the order of reading.
    pub(crate) fn untranslated(&self) -> Vec<Listed> {
        let mut found = Vec::new();
        for entry in &self.entries {
            let unknown = Fate::Missing("Ringate has no counterpart".to_owned(), None);
            let fates = if entry.fates.is_empty() { std::slice::from_ref(&unknown) } else { &entry.fates };
            for fate in fates {
                if let Fate::Missing(reason, nearest) = fate {
                    found.push(listed(entry, reason, nearest.clone()));
                }
            }
        }
        found
    }

    /// Lines with a difference, in the order of reading.
    pub(crate) fn notes(&self) -> Vec<Listed> {
        self.of(|fate| match fate {
            Fate::Noted(what) => Some(what.as_str()),
            _ => None,
        })
    }

    /// Lines that are not needed, in the order of reading.
    pub(crate) fn needless_lines(&self) -> Vec<Listed> {
        self.of(|fate| match fate {
            Fate::Needless(why) => Some(why.as_str()),
            _ => None,
        })
    }

    fn of(&self, pick: impl Fn(&Fate) -> Option<&str>) -> Vec<Listed> {
        let each = self.entries.iter().flat_map(|entry| entry.fates.iter().map(move |fate| (entry, fate)));
        each.filter_map(|(entry, fate)| Some(listed(entry, pick(fate)?, None))).collect()
    }
}

fn listed(entry: &Entry, reason: &str, nearest: Option<String>) -> Listed {
    Listed {
        file: entry.file.clone(),
        line: entry.line,
        directive: entry.text.clone(),
        reason: reason.to_owned(),
        nearest,
    }
}
