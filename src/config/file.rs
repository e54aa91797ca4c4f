//! The file as written: sections and values that know their key and their place.
//!
//! Every reader returns `None` for a wrong value, after it has recorded why; the check then continues with a default, so
//! that one run reports everything. The valid keys of each section with their types are in the table of keys (`keys`): a
//! debug build stops if the check reads a key or a type that is not in the table, or does not read one that is.

mod own_forms;

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::diagnostics::Diagnostics;
use super::foreign::{self, Meaning};
use super::keys::{self, Kind, Scope};
use super::plan::At;
use super::suggest::{either, nearest, quoted};
use super::units::{self, Wrong};

/// Where errors go while several sections are being read.
pub(super) type Errors = RefCell<Diagnostics>;

/// A table of the file.
pub(super) struct Section<'a> {
    /// Its name: `upstream.orders.tls`; empty for the file itself.
    path: String,
    /// Its header, or its whole for an inline table.
    pub span: Range<usize>,
    table: &'a DeTable<'a>,
    /// Its keys.
    kind: &'static Kind,
    /// The section that this one is laid over: a key that this one lacks is searched for there.
    under: Option<Under<'a>>,
    /// The keys that were requested: in the end all of them.
    asked: Vec<&'static str>,
    errors: &'a Errors,
}

/// A section that another one is laid over.
#[derive(Clone)]
struct Under<'a> {
    path: String,
    table: &'a DeTable<'a>,
}

impl<'a> Section<'a> {
    /// The file itself.
    pub(super) fn root(table: &'a DeTable<'a>, errors: &'a Errors) -> Self {
        Self {
            path: String::new(),
            span: 0..0,
            table,
            kind: &keys::ROOT,
            under: None,
            asked: Vec::new(),
            errors,
        }
    }

    /// Lays this section over `base`: its keys go before those of the same name there, tables are laid over tables.
    pub(super) fn over(mut self, base: &Section<'a>) -> Self {
        self.under = Some(Under { path: base.path.clone(), table: base.table });
        self
    }

    /// Where this section's errors go.
    pub(super) fn errors(&self) -> &'a Errors {
        self.errors
    }

    /// The value of `key`, if it is there.
    pub(super) fn get(&mut self, key: &'static str) -> Option<Value<'a>> {
        debug_assert!(
            self.kind.key(key).is_some(),
            "`{key}` of `{}` is not in the table of keys (src/config/keys)",
            self.path
        );
        self.asked.push(key);
        self.value(key)
    }

    fn value(&self, key: &str) -> Option<Value<'a>> {
        let own = self.stored(self.table, key).map(|found| (found, &self.path));
        let under = || {
            let under = self.under.as_ref()?;
            Some((self.stored(under.table, key)?, &under.path))
        };
        let ((key, inner), path) = own.or_else(under)?;
        let current = self.current(key.get_ref());
        let kind = self.kind.key(current.unwrap_or(key.get_ref())).map(|key| &key.kind);
        let name =
            if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
        Some(Value { name, key_span: key.span(), inner, kind, errors: self.errors })
    }

    /// A key of a table with its value, by the name that it has or had.
    fn stored(
        &self,
        table: &'a DeTable<'a>,
        key: &str,
    ) -> Option<(&'a Spanned<toml::de::DeString<'a>>, &'a Spanned<DeValue<'a>>)> {
        let names = self.kind.keys().find(|known| known.name == key).map_or(&[][..], |known| known.was);
        table.get_key_value(key).or_else(|| names.iter().find_map(|old| table.get_key_value(*old)))
    }

    /// What a key is called now that had this name.
    fn current(&self, name: &str) -> Option<&'static str> {
        self.kind.keys().find(|key| key.was.contains(&name)).map(|key| key.name)
    }

    /// The value of `key`, an error if it is missing; `example` is TOML.
    pub(super) fn require(&mut self, key: &'static str, example: &str) -> Option<Value<'a>> {
        let value = self.get(key);
        if value.is_none() && !self.misspells(&[key]) {
            self.error(
                format!("`{key}` is missing in `{}`", self.header()),
                Some(format!("add `{key} = {example}`")),
            );
        }
        value
    }

    /// Whether there is a key that is nearly one of `keys`, or another proxy's word for one. It is reported as unknown,
    /// with the right one: that this is missing, and what follows from that, is no error of its own.
    pub(super) fn misspells(&self, keys: &[&str]) -> bool {
        let under = self.under.iter().flat_map(|under| under.table.keys());
        self.table.keys().chain(under).any(|other| {
            let other = other.get_ref();
            let meant = matches!(foreign::meaning(other), Some(Meaning::Key(key)) if keys.contains(&key));
            meant || nearest(other, keys.iter().copied()).is_some()
        })
    }

    /// Whether `key` is missing because it is misspelt.
    pub(super) fn misspells_missing(&self, key: &str) -> bool {
        !self.has(&[key]) && self.misspells(&[key])
    }

    /// Whether one of `keys` is there.
    pub(super) fn has(&self, keys: &[&str]) -> bool {
        keys.iter().any(|key| self.stored(self.table, key).is_some())
    }

    /// The table of `key`, if it is there.
    pub(super) fn section(&mut self, key: &'static str) -> Option<Section<'a>> {
        let section = self.get(key)?.section()?;
        let Some(under) = self.under.as_ref().filter(|_| self.table.contains_key(key)) else {
            return Some(section);
        };
        Some(match under.table.get(key).and_then(|value| value.get_ref().as_table()) {
            Some(table) => {
                Section { under: Some(Under { path: format!("{}.{key}", under.path), table }), ..section }
            }
            None => section,
        })
    }

    /// Every key of this section with its value, whatever the keys are called.
    pub(super) fn all(&self) -> Vec<(At<&'a str>, Value<'a>)> {
        let keys = self.table.keys().map(|key| At { value: key.get_ref().as_ref(), span: key.span() });
        keys.filter_map(|key| Some((key.clone(), self.value(key.value)?))).collect()
    }

    /// Records an error about the section as a whole.
    pub(super) fn error(&self, title: impl Into<String>, help: Option<String>) {
        self.errors.borrow_mut().error(self.span.clone(), title, help);
    }

    /// Keys of this section that are for listeners of one protocol only.
    pub(super) fn keys_of(&self, scope: Scope) -> impl Iterator<Item = &'static str> + use<> {
        self.kind.keys().filter(move |key| key.scope == scope).map(|key| key.name)
    }

    /// Ends the section: keys that are not in the table are errors.
    pub(super) fn finish(self) {
        let mut valid: Vec<&str> = self.kind.keys().map(|key| key.name).collect();
        debug_assert!(
            valid.iter().all(|key| self.asked.contains(key)),
            "the check does not read, in `{}`, all of {valid:?}",
            self.path
        );
        valid.sort_unstable();
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if valid.contains(&name) || self.is_old(key) {
                continue;
            }
            let meaning = foreign::meaning(name);
            if meaning == Some(Meaning::Planned) {
                let full =
                    if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
                let title = format!("`{full}` is not supported yet");
                self.errors.borrow_mut().error(key.span(), title, Some("leave it out".to_owned()));
                continue;
            }
            let place = if self.path.is_empty() { String::new() } else { format!(" in `{}`", self.header()) };
            let title = format!("unknown key {}{place}", code(name));
            let list: Vec<String> = valid.iter().map(|key| format!("`{key}`")).collect();
            let list = format!("the keys here are {}", list.join(", "));
            // What is a word of another proxy is no slip of the hand.
            let help = match (meaning, nearest(name, valid.iter().copied())) {
                (Some(Meaning::Key(key)), _) if key.contains([' ', ':']) => format!("see {key}"),
                (Some(Meaning::Key(key)), _) | (_, Some(key)) => format!("did you mean `{key}`? {list}"),
                (_, None) => list,
            };
            self.errors.borrow_mut().error(key.span(), title, Some(help));
        }
    }

    /// Whether a key is one of an earlier version: with a warning that has what to write now.
    fn is_old(&self, key: &Spanned<toml::de::DeString<'_>>) -> bool {
        let name = key.get_ref().as_ref();
        let mut errors = self.errors.borrow_mut();
        if let Some(current) = self.current(name) {
            if self.table.contains_key(current) {
                let title = format!("`{name}` is the old name of `{current}`, which is here, too");
                errors.error(key.span(), title, Some(format!("take `{name}` out")));
            } else {
                let title = format!("`{name}` is called `{current}` now");
                errors.warning(
                    key.span(),
                    title,
                    Some(format!("rename it: the next version does not know `{name}`")),
                );
            }
            return true;
        }
        let Some(removed) = keys::removed::find(&self.path, name) else { return false };
        let title = format!("`{name}` has no effect any more: {}", removed.instead);
        errors.warning(key.span(), title, Some("take it out: the next version does not know it".to_owned()));
        true
    }

    /// As the section's header is written.
    fn header(&self) -> String {
        match self.path.as_str() {
            path @ ("listener" | "route") => format!("[[{path}]]"),
            path => format!("[{path}]"),
        }
    }
}

/// A value of the file with its key.
#[derive(Clone)]
pub(super) struct Value<'a> {
    /// The key with its section: `upstream.orders.endpoints`.
    pub name: String,
    /// The place of the key.
    pub key_span: Range<usize>,
    inner: &'a Spanned<DeValue<'a>>,
    /// What it should be; `None` for a key that is not in the table.
    kind: Option<&'static Kind>,
    errors: &'a Errors,
}

impl<'a> Value<'a> {
    /// The place of the value.
    pub(super) fn span(&self) -> Range<usize> {
        self.inner.span()
    }

    /// The text of a value with references, which may stand for a number or for true and false.
    fn referred(&self) -> Option<&'a str> {
        let text = self.inner.get_ref().as_str()?.trim();
        self.errors.borrow().has_references(&self.span()).then_some(text)
    }

    /// Records an error about this value. The title is led by the key.
    pub(super) fn error(&self, title: &str, help: Option<String>) {
        self.errors.borrow_mut().error(self.span(), format!("`{}`: {title}", self.name), help);
    }

    /// Records an error about the key: it should not be here.
    pub(super) fn key_error(&self, title: String, help: &str) {
        self.errors.borrow_mut().error(self.key_span.clone(), title, Some(help.into()));
    }

    /// Records that this is not of the type it should be. `example` is TOML.
    pub(super) fn wrong_type(&self, expected: &str, help: Option<String>) {
        let found = match self.inner.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.error(&format!("expected {expected}, found {found}"), help);
    }

    /// The text, if it is one; records nothing.
    pub(super) fn as_text(&self) -> Option<At<&'a str>> {
        let text = self.inner.get_ref().as_str()?;
        Some(At { value: text, span: self.span() })
    }

    /// A text. `example` is TOML.
    pub(super) fn text(&self, example: &str) -> Option<At<&'a str>> {
        if let Some(text) = self.as_text() {
            return Some(text);
        }
        let help = match self.inner.get_ref() {
            DeValue::Integer(number) => Some(format!("did you mean \"{number}\"?")),
            DeValue::Float(number) => Some(format!("did you mean \"{number}\"?")),
            _ => None,
        };
        self.wrong_type(&format!("a string such as {example}"), help);
        None
    }

    /// A text that `read` understands. `example` is TOML.
    pub(super) fn parse<T>(
        &self,
        example: &str,
        read: impl FnOnce(&'a str) -> Result<T, Wrong>,
    ) -> Option<At<T>> {
        let At { value, span } = self.text(example)?;
        match read(value) {
            Ok(value) => Some(At { value, span }),
            Err(Wrong { title, help }) => {
                self.error(&title, help);
                None
            }
        }
    }

    /// One of several words. A misspelt one is an error, and read as the nearest: it brings no other errors along.
    pub(super) fn choice<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        self.assert_form(|kind| match kind {
            Kind::Choice(known) => {
                known.len() == words.len() && words.iter().all(|(word, _)| known.contains(word))
            }
            _ => false,
        });
        let expected = either(&words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>());
        let Some(text) = self.as_text() else {
            self.wrong_type(&expected, None);
            return None;
        };
        let named = |name: &str| words.iter().find(|(word, _)| *word == name).map(|(_, value)| *value);
        let found = named(text.value);
        if found.is_some() {
            return found;
        }
        let near = nearest(text.value, words.iter().map(|(word, _)| *word));
        let help = near.map(|word| format!("did you mean \"{word}\"?"));
        self.error(&format!("{} is not {expected}", quoted(text.value)), help);
        near.and_then(named)
    }

    /// A duration; a zero one only where `zero` allows it.
    pub(super) fn duration(&self, zero: bool) -> Option<Duration> {
        self.duration_by(zero, units::duration)
    }

    fn duration_by(&self, zero: bool, read: fn(&str) -> Result<Duration, Wrong>) -> Option<Duration> {
        self.assert_form(|kind| matches!(kind, Kind::Duration { zero: known } if *known == zero));
        if let Some(number) = self.inner.get_ref().as_integer() {
            self.wrong_type("a duration such as \"30s\"", Some(format!("did you mean \"{number}s\"?")));
            return None;
        }
        let duration = self.parse("\"30s\"", read)?.value;
        if duration.is_zero() && !zero {
            self.error("it must be longer than zero", None);
            return None;
        }
        Some(duration)
    }

    /// A size in bytes: a text with a unit, or a plain number.
    pub(super) fn size(&self, range: RangeInclusive<u64>) -> Option<u64> {
        self.assert_form(|kind| matches!(kind, Kind::Size(_, most) if most == range.end()));
        let size = match self.inner.get_ref() {
            DeValue::Integer(number) => match integer(number).and_then(|number| u64::try_from(number).ok()) {
                Some(size) => size,
                None => {
                    self.error(&format!("{number} is not a size"), None);
                    return None;
                }
            },
            DeValue::String(_) => self.parse("\"16KiB\"", units::size)?.value,
            _ => {
                self.wrong_type("a size such as \"16KiB\" or a number of bytes", None);
                return None;
            }
        };
        if !range.contains(&size) {
            let (least, most) = (units::size_text(*range.start()), units::size_text(*range.end()));
            self.error(&format!("it must be between {least} and {most}"), None);
            return None;
        }
        Some(size)
    }

    /// Bytes a second: a text, or 0.
    pub(super) fn rate(&self) -> Option<u64> {
        self.assert_form(|kind| matches!(kind, Kind::Rate));
        match self.inner.get_ref() {
            DeValue::Integer(number) if integer(number) == Some(0) => Some(0),
            DeValue::String(_) if self.referred() == Some("0") => Some(0),
            DeValue::Integer(number) => {
                let help = format!("did you mean \"{number}B/s\"?");
                self.wrong_type("a rate such as \"240B/s\"", Some(help));
                None
            }
            _ => self.parse("\"240B/s\"", units::rate).map(|rate| rate.value),
        }
    }

    /// A number within `range`.
    pub(super) fn number(&self, range: RangeInclusive<usize>) -> Option<usize> {
        let (least, most) = (range.start(), range.end());
        self.assert_form(|kind| match kind {
            Kind::Integer(first, last) => (*first, *last) == (*least as u64, *most as u64),
            Kind::Numbers(numbers) => numbers.iter().all(|number| range.contains(&(*number as usize))),
            _ => false,
        });
        let referred = self.referred().filter(|text| text.parse::<i128>().is_ok());
        let (value, shown) = match (self.inner.get_ref().as_integer(), referred) {
            (Some(number), _) => (integer(number), number.as_str()),
            (None, Some(text)) => (text.parse().ok(), text),
            (None, None) => {
                let help = self.as_text().filter(|text| text.parse::<u64>().is_ok());
                let help = help.map(|text| format!("write it without quotes: {}", text.value));
                self.wrong_type(&format!("a number between {least} and {most}"), help);
                return None;
            }
        };
        let value = value.and_then(|number| usize::try_from(number).ok());
        let value = value.filter(|value| range.contains(value));
        if value.is_none() {
            self.error(&format!("{shown} is not between {least} and {most}"), None);
        }
        value
    }

    /// A number from 1 to 100 with at most two decimals, or 0: its value in percent.
    pub(super) fn factor(&self) -> Option<u32> {
        self.assert_form(|kind| matches!(kind, Kind::Factor));
        let text = match (self.inner.get_ref(), self.referred()) {
            (DeValue::Integer(number), _) => number.as_str(),
            (DeValue::Float(number), _) => number.as_str(),
            (_, Some(text)) => text,
            _ => {
                self.wrong_type("a number such as 1.25", None);
                return None;
            }
        };
        let percent = units::percent(text);
        if percent.is_none() {
            self.error(&format!("{text} is neither 0 nor a number from 1 to 100"), None);
        }
        percent
    }

    /// A number from 0 to 100 with at most four decimals: a share in millionths.
    pub(super) fn percent(&self) -> Option<u32> {
        self.assert_form(|kind| matches!(kind, Kind::Percent));
        let text = match (self.inner.get_ref(), self.referred()) {
            (DeValue::Integer(number), _) => number.as_str(),
            (DeValue::Float(number), _) => number.as_str(),
            (_, Some(text)) => text,
            _ => {
                self.wrong_type("a number such as 5 or 0.5", None);
                return None;
            }
        };
        let millionths = units::millionths(text);
        if millionths.is_none() {
            let title = format!("{text} is not a number from 0 to 100 with at most four decimals");
            self.error(&title, None);
        }
        millionths
    }

    /// A number from 0 to 1 with at most six decimals: a share in millionths.
    pub(super) fn share(&self) -> Option<u32> {
        self.assert_form(|kind| matches!(kind, Kind::Share));
        let text = match self.inner.get_ref() {
            DeValue::Integer(number) => number.as_str(),
            DeValue::Float(number) => number.as_str(),
            _ => {
                self.wrong_type("a number such as 0.01", None);
                return None;
            }
        };
        let share = units::share(text);
        if share.is_none() {
            self.error(&format!("{text} is not a number from 0 to 1 with at most six decimals"), None);
        }
        share
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self) -> Option<bool> {
        self.assert_form(|kind| matches!(kind, Kind::Boolean));
        let referred = || self.referred().and_then(|text| text.parse().ok());
        let value = self.inner.get_ref().as_bool().or_else(referred);
        if value.is_none() {
            self.wrong_type("true or false", None);
        }
        value
    }

    /// A table.
    pub(super) fn section(&self) -> Option<Section<'a>> {
        let Some(table) = self.inner.get_ref().as_table() else {
            self.wrong_type(&format!("a table, `[{}]`", self.name), None);
            return None;
        };
        let kind = self.kind.map(|kind| {
            let form = kind.table();
            debug_assert!(form.is_some(), "`{}` is no table in the table of keys", self.name);
            form.unwrap_or(&keys::UNKNOWN)
        });
        let (path, span, kind) = (self.name.clone(), self.span(), kind.unwrap_or(&keys::UNKNOWN));
        Some(Section { path, span, table, kind, under: None, asked: Vec::new(), errors: self.errors })
    }

    /// The entries of a list of tables.
    pub(super) fn sections(&self) -> Option<Vec<Section<'a>>> {
        let Some(list) = self.entries() else {
            let help = format!("write each {} under its own header: [[{}]]", self.name, self.name);
            self.wrong_type("a list of tables", Some(help));
            return None;
        };
        Some(list.iter().filter_map(Value::section).collect())
    }

    /// A list that is not empty. `example` is TOML.
    pub(super) fn list(&self, example: &str) -> Option<Vec<Value<'a>>> {
        let Some(list) = self.entries() else {
            let help = self.as_text().map(|text| format!("did you mean [{}]?", quoted(text.value)));
            self.wrong_type(&format!("a list such as {example}"), help);
            return None;
        };
        if list.is_empty() {
            self.error("the list is empty", Some(format!("write a list such as {example}")));
            return None;
        }
        Some(list)
    }

    /// A list that may be empty. `example` is TOML.
    pub(super) fn any_list(&self, example: &str) -> Option<Vec<Value<'a>>> {
        if self.is_empty_list() { Some(Vec::new()) } else { self.list(example) }
    }

    /// One text, or a list that is not empty.
    pub(super) fn one_or_more(&self, example: &str) -> Option<Vec<Value<'a>>> {
        match self.inner.get_ref() {
            DeValue::Array(_) => self.list(example),
            DeValue::String(_) => Some(vec![self.clone()]),
            _ => {
                self.wrong_type(&format!("a string such as {example} or a list of strings"), None);
                None
            }
        }
    }

    /// In a debug build: whether the table of keys has a form of this value that is so.
    fn assert_form(&self, is_so: impl Fn(&Kind) -> bool) {
        debug_assert!(
            self.kind.is_none_or(|kind| kind.forms().iter().any(&is_so)),
            "`{}` is read as a type that it does not have in the table of keys",
            self.name
        );
    }

    fn entries(&self) -> Option<Vec<Value<'a>>> {
        let kind = self.kind.and_then(Kind::entry);
        debug_assert!(
            self.kind.is_none() || kind.is_some(),
            "`{}` is no list in the table of keys",
            self.name
        );
        let list = self.inner.get_ref().as_array()?;
        Some(list.iter().map(|inner| Value { inner, kind, ..self.clone() }).collect())
    }
}

/// A TOML integer's value; `None` if it is too large for any use.
fn integer(number: &DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(number.as_str(), number.radix()).ok()
}

/// A key from the file between backticks, escaped and shortened.
fn code(name: &str) -> String {
    let shown = quoted(name);
    format!("`{}`", shown.trim_matches('"'))
}
