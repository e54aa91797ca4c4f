//! A Ringate config while it is written, where each key knows the line that it comes from.
//!
//! ```text
//! lines of the other proxy ─► Draft ─► text ─► the check of Ringate ─► a key that is refused is taken out and listed
//! ```

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::report::{Line, Report};
use crate::config;

/// The value of a key, as TOML.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    One(String),
    List(Vec<String>),
    /// Tables, each with the line that it comes from: one that the check refuses is taken out alone.
    Tables(Vec<(String, Line)>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    name: String,
    value: Value,
    line: Line,
    /// Without it the section would mean something else, such as more traffic.
    essential: bool,
}

/// A table of the config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    header: String,
    keys: Vec<Key>,
    /// What it comes from.
    line: Line,
    comment: Option<String>,
}

impl Section {
    /// `header` is what stands between the brackets, with its own: `[route]` for `[[route]]`.
    pub(super) fn new(header: impl Into<String>, line: Line) -> Self {
        Self { header: header.into(), keys: Vec::new(), line, comment: None }
    }

    /// Sets a key to a TOML value.
    pub(super) fn set(&mut self, name: &str, value: impl Into<String>, line: Line) {
        self.put(name, Value::One(value.into()), line, false);
    }

    /// Sets a key to a text.
    pub(super) fn text(&mut self, name: &str, text: &str, line: Line) {
        self.set(name, quoted(text), line);
    }

    /// Sets a key without which the section must not be used.
    pub(super) fn essential(&mut self, name: &str, value: impl Into<String>, line: Line) {
        self.put(name, Value::One(value.into()), line, true);
    }

    /// Adds a TOML value to a list.
    pub(super) fn push(&mut self, name: &str, value: impl Into<String>, line: Line) {
        let value = value.into();
        match self.keys.iter_mut().find(|key| key.name == name) {
            Some(Key { value: Value::List(list), .. }) => {
                if !list.contains(&value) {
                    list.push(value);
                }
            }
            _ => self.put(name, Value::List(vec![value]), line, false),
        }
    }

    /// The same for a key without which the section must not be used.
    pub(super) fn push_essential(&mut self, name: &str, value: impl Into<String>, line: Line) {
        self.push(name, value, line);
        self.keys.iter_mut().filter(|key| key.name == name).for_each(|key| key.essential = true);
    }

    /// Adds a table to a list of such, which stands in its order.
    pub(super) fn push_table(&mut self, name: &str, table: String, line: Line) {
        match self.keys.iter_mut().find(|key| key.name == name) {
            Some(Key { value: Value::Tables(tables), .. }) => tables.push((table, line)),
            _ => self.put(name, Value::Tables(vec![(table, line)]), line, false),
        }
    }

    fn put(&mut self, name: &str, value: Value, line: Line, essential: bool) {
        let key = Key { name: name.to_owned(), value, line, essential };
        match self.keys.iter_mut().find(|key| key.name == name) {
            Some(known) => *known = key,
            None => self.keys.push(key),
        }
    }

    /// Whether a key, or one below it, is set.
    pub(super) fn has(&self, name: &str) -> bool {
        self.keys.iter().any(|key| {
            key.name == name || key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
        })
    }

    /// The value of a key that is no list, as TOML.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.keys.iter().find(|key| key.name == name).and_then(|key| match &key.value {
            Value::One(value) => Some(value.as_str()),
            Value::List(_) | Value::Tables(_) => None,
        })
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.keys.retain(|key| {
            key.name != name && !key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
        });
    }

    /// The line that it comes from.
    pub(super) fn line(&self) -> Line {
        self.line
    }

    /// A route is not for these listeners.
    pub(super) fn keep_from(&mut self, listeners: &[&str]) {
        let mut kept = self.get("except").map(|kept| kept.trim_matches('"').to_owned()).unwrap_or_default();
        for listener in listeners {
            kept = format!("{kept} {listener}").trim_start().to_owned();
        }
        self.set("except", quoted(&kept), self.line);
    }

    /// Takes over the keys of another section, but for these.
    pub(super) fn take(&mut self, other: &Self, except: &[&str]) {
        for key in other.keys.iter().filter(|key| !except.contains(&key.name.as_str())) {
            self.put(&key.name, key.value.clone(), key.line, key.essential);
        }
        self.comment.clone_from(&other.comment);
    }

    /// A remark above its header.
    pub(super) fn comment(&mut self, text: impl Into<String>) {
        self.comment = Some(text.into());
    }

    /// What its keys say, wherever they come from.
    fn content(&self) -> Vec<(&str, &Value)> {
        self.keys.iter().map(|key| (key.name.as_str(), &key.value)).collect()
    }

    /// A route that keeps what it matches, and refuses it.
    fn refuse(&mut self, place: &str) {
        const MATCHING: [&str; 6] = ["listener", "host", "path", "methods", "match", "sni"];
        let root = |key: &Key| key.name.split('.').next().is_some_and(|root| MATCHING.contains(&root));
        self.keys.retain(root);
        let body = quoted(&format!("not translated: {place}\n"));
        self.set("respond", format!("{{ status = 503, body = {body} }}"), self.line);
    }
}

/// Text in TOML's quotes.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // What would be a reference is none.
            '$' => out.push('$'),
            control if control.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(control));
            }
            plain => out.push(plain),
        }
    }
    out.push('"');
    out.replace("${", "$${")
}

/// Part of a dotted key.
pub(super) fn part(name: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !name.is_empty() && name.bytes().all(is_bare) { name.to_owned() } else { quoted(name) }
}

/// A list of TOML values.
pub(super) fn list<S: AsRef<str>>(values: &[S]) -> String {
    let values: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
    format!("[{}]", values.join(", "))
}

/// A list of texts.
pub(super) fn texts<S: AsRef<str>>(values: &[S]) -> String {
    list(&values.iter().map(|value| quoted(value.as_ref())).collect::<Vec<_>>())
}

/// The number of a section, and of its key unless it is the header, with the number of the key's table where it has such.
type Written = (usize, Option<(usize, Option<usize>)>);

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    /// `[runtime]`, `[log]` … in this order, then listeners, routes, upstreams.
    process: Vec<Section>,
    pub(super) listeners: Vec<Section>,
    pub(super) routes: Vec<Section>,
    upstreams: Vec<(String, Section)>,
    /// Lines of the head of the file.
    pub(super) head: Vec<String>,
    /// Files that the config names, and that stand beside it.
    pub(super) files: Vec<Beside>,
}

/// A file beside the config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Beside {
    /// Its name, without a folder.
    pub(crate) name: String,
    pub(crate) text: String,
}

impl Draft {
    /// A section of the process, which is there once.
    pub(super) fn process(&mut self, name: &str, line: Line) -> &mut Section {
        let at = self.process.iter().position(|section| section.header == name).unwrap_or_else(|| {
            self.process.push(Section::new(name, line));
            self.process.len() - 1
        });
        &mut self.process[at]
    }

    /// Adds a route, unless one with the same match is there.
    pub(super) fn route(&mut self, route: Section) -> bool {
        const MATCHING: [&str; 5] = ["listener", "host", "path", "methods", "sni"];
        let of = |section: &Section| -> Vec<(String, Value)> {
            let is_match =
                |key: &&Key| MATCHING.contains(&key.name.as_str()) || key.name.starts_with("match.");
            let mut keys: Vec<(String, Value)> = section
                .keys
                .iter()
                .filter(is_match)
                .map(|key| (key.name.clone(), key.value.clone()))
                .collect();
            keys.sort_by(|one, other| one.0.cmp(&other.0));
            keys
        };
        let is_new = !self.routes.iter().any(|known| of(known) == of(&route));
        if is_new {
            self.routes.push(route);
        }
        is_new
    }

    /// Adds an upstream under its name, or another one where that is in use for other content. Returns the name.
    pub(super) fn upstream(&mut self, name: &str, upstream: Section) -> String {
        let base = name_of(name);
        for number in 1_usize.. {
            let name = if number == 1 { base.clone() } else { format!("{base}-{number}") };
            match self.upstreams.iter().find(|(known, _)| *known == name) {
                Some((_, known)) if known.content() == upstream.content() => return name,
                Some(_) => {}
                None => {
                    let header = format!("upstream.{}", part(&name));
                    self.upstreams.push((name.clone(), Section { header, ..upstream }));
                    return name;
                }
            }
        }
        base
    }

    fn sections(&mut self) -> Vec<&mut Section> {
        let upstreams = self.upstreams.iter_mut().map(|(_, section)| section);
        self.process.iter_mut().chain(&mut self.listeners).chain(&mut self.routes).chain(upstreams).collect()
    }

    /// The text, and for each of its lines the section and the key that it has.
    fn render(&mut self) -> (String, Vec<Option<Written>>) {
        let (mut text, mut places) = (String::new(), Vec::new());
        for line in &self.head {
            let _ = writeln!(text, "# {line}");
            places.push(None);
        }
        for (index, section) in self.sections().into_iter().enumerate() {
            text.push('\n');
            places.push(None);
            for line in section.comment.iter().flat_map(|comment| comment.lines()) {
                let _ = writeln!(text, "# {line}");
                places.push(None);
            }
            let _ = writeln!(text, "[{}]", section.header);
            places.push(Some((index, None)));
            for (number, key) in section.keys.iter().enumerate() {
                let value = match &key.value {
                    Value::One(value) => value.clone(),
                    Value::List(values) => list(values),
                    Value::Tables(tables) => {
                        let _ = writeln!(text, "{} = [", key.name);
                        places.push(Some((index, Some((number, None)))));
                        for (at, (table, _)) in tables.iter().enumerate() {
                            let _ = writeln!(text, "  {table},");
                            places.push(Some((index, Some((number, Some(at))))));
                        }
                        text.push_str("]\n");
                        places.push(Some((index, Some((number, None)))));
                        continue;
                    }
                };
                let _ = writeln!(text, "{} = {value}", key.name);
                places.push(Some((index, Some((number, None)))));
            }
        }
        (text, places)
    }

    /// The text, once the check of Ringate finds nothing wrong with it: what it refuses is taken out and listed.
    pub(super) fn settle(&mut self, report: &mut Report) -> String {
        loop {
            let (text, places) = self.render();
            let Err(problems) = config::parse("ringate.toml", &text, Path::new("/")) else { return text };
            let mut touched = BTreeSet::new();
            for problem in problems.iter().filter(|problem| problem.level == config::Level::Error) {
                let place = places.get(problem.line - 1).copied().flatten();
                if let Some(place) = place {
                    touched.insert((place, problem.message.to_owned(), problem.help.map(str::to_owned)));
                }
            }
            if touched.is_empty() || !self.take_out(touched.into_iter().rev(), report) {
                return text;
            }
        }
    }

    /// Takes refused keys and sections out, from the last on. False: there was nothing to take out.
    fn take_out(
        &mut self,
        touched: impl Iterator<Item = (Written, String, Option<String>)>,
        report: &mut Report,
    ) -> bool {
        let (mut gone, mut any) = (BTreeSet::new(), false);
        let mut last = None;
        for ((index, key), message, _) in touched {
            // What is gone is not taken out twice.
            if gone.contains(&index) || last.replace((index, key)) == Some((index, key)) {
                continue;
            }
            let mut sections = self.sections();
            let Some(section) = sections.get_mut(index) else { continue };
            any = true;
            let root =
                section.header.trim_matches(['[', ']']).split('.').next().unwrap_or_default().to_owned();
            let in_tables = key.and_then(|(key, at)| Some((section.keys.get_mut(key)?, at?)));
            if let Some((Key { name, value: Value::Tables(tables), .. }, at)) = in_tables
                && tables.len() > 1
            {
                let (_, line) = tables.remove(at);
                let nearest = format!("{root}.{name}");
                report.missing(line, format!("refused by the check: {message}"), Some(&nearest));
                continue;
            }
            match key.map(|(key, _)| key) {
                Some(key) if key < section.keys.len() => {
                    let key = section.keys.remove(key);
                    let nearest = format!("{root}.{}", key.name);
                    report.missing(key.line, format!("refused by the check: {message}"), Some(&nearest));
                    let is_match = ["listener", "host", "path", "sni"].contains(&key.name.as_str());
                    match root.as_str() {
                        _ if !key.essential && !is_match => {}
                        "route" if !is_match && key.name != "respond" => {
                            let place = report.place(key.line);
                            section.refuse(&place);
                        }
                        _ => drop(gone.insert(index)),
                    }
                }
                _ => {
                    report.missing(section.line, format!("refused by the check: {message}"), Some(&root));
                    gone.insert(index);
                }
            }
        }
        self.remove(&gone);
        any
    }

    fn remove(&mut self, gone: &BTreeSet<usize>) {
        let mut index = 0;
        let mut stays = |_: &Section| {
            index += 1;
            !gone.contains(&(index - 1))
        };
        self.process.retain(&mut stays);
        self.listeners.retain(&mut stays);
        self.routes.retain(&mut stays);
        self.upstreams.retain(|(_, section)| stays(section));
    }

    /// Whether anything would be served.
    pub(super) fn is_empty(&self) -> bool {
        self.listeners.is_empty() || self.routes.is_empty()
    }
}

/// A name of Ringate from a name of the other proxy.
pub(super) fn name_of(name: &str) -> String {
    let kept = name.chars().map(|character| match character {
        plain if plain.is_ascii_alphanumeric() || matches!(plain, '.' | '_' | '-') => plain,
        _ => '-',
    });
    let kept: String = kept.collect();
    let kept = kept.trim_matches(['-', '.', '_']);
    let kept: String = kept.chars().take(90).collect();
    if kept.is_empty() { "app".to_owned() } else { kept }
}
