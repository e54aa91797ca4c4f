//! `root` of a route, and the keys beside it: files that are served.

use std::path::Path;

use crate::config::file::{Section, Value};
use crate::config::names;
use crate::config::plan::At;
use crate::config::suggest::quoted;
use crate::config::units::Wrong;
use crate::http::Coding;
use crate::route::{Attempt, FilePattern, Files, Links};

/// Most names of `index`, and most paths of `try_files`: each may be looked up for a request.
const MOST: usize = 16;
const CODINGS: [(&str, Coding); 3] = [("br", Coding::Brotli), ("zstd", Coding::Zstd), ("gzip", Coding::Gzip)];
const LINKS: [(&str, Links); 2] = [("inside", Links::Inside), ("none", Links::None)];

/// The keys as they are written.
pub(super) struct FileKeys<'a> {
    root: Option<Value<'a>>,
    /// `index`, `try_files`, `precompressed`, `cache_control`, `symlinks`, `dot_files`, `charset`
    beside: [Option<Value<'a>>; 7],
}

impl<'a> FileKeys<'a> {
    pub(super) fn of(section: &mut Section<'a>) -> Self {
        let beside =
            ["index", "try_files", "precompressed", "cache_control", "symlinks", "dot_files", "charset"];
        Self { root: section.get("root"), beside: beside.map(|key| section.get(key)) }
    }

    /// `root`, if it is there.
    pub(super) fn root(&self) -> Option<&Value<'a>> {
        self.root.as_ref()
    }

    /// The others that are there.
    pub(super) fn beside(&self) -> impl Iterator<Item = &Value<'a>> {
        self.beside.iter().flatten()
    }

    /// Reads them. `dir`: what relative paths are relative to. `None`: there is no `root`, or it is wrong.
    pub(super) fn read(&self, dir: &Path) -> Option<At<Files>> {
        let Some(root) = &self.root else {
            for value in self.beside.iter().flatten() {
                let title = format!("`{}`: the route serves no files", value.name);
                value.key_error(title, "add `root = \"FOLDER\"`, or leave it out");
            }
            return None;
        };
        let [index, attempts, codings, cache_control, links, dot_files, charset] =
            self.beside.each_ref().map(Option::as_ref);
        let own = |slash| Attempt::Path(FilePattern::own(slash));
        let files = Files {
            root: super::path(root, dir, "\"public\"").map(|at| at.value).unwrap_or_default(),
            index: index.and_then(names_of).unwrap_or_else(|| vec!["index.html".to_owned()]),
            attempts: attempts.and_then(attempts_of).unwrap_or_else(|| vec![own(""), own("/")]),
            precompressed: codings.and_then(codings_of).unwrap_or_default(),
            cache_control: cache_control.and_then(|value| {
                Some(value.parse("\"max-age=3600\"", names::field_value)?.value.to_owned())
            }),
            charset: match charset.and_then(|value| value.parse("\"utf-8\"", token)) {
                Some(at) if at.value.eq_ignore_ascii_case("none") => None,
                Some(at) => Some(at.value.to_owned()),
                None => Some("utf-8".to_owned()),
            },
            links: links.and_then(|value| value.choice(&LINKS)).unwrap_or_default(),
            dot_files: dot_files.and_then(Value::boolean).unwrap_or(false),
        };
        Some(At { value: files, span: root.span() })
    }
}

/// The name of a charset (RFC 9110 §8.3.2).
fn token(text: &str) -> Result<&str, Wrong> {
    if names::token(text) {
        return Ok(text);
    }
    Err(Wrong::new(format!("{} is no name of a charset", quoted(text)))
        .help("write \"utf-8\", or \"none\" for no charset"))
}

fn bounded<'a>(value: &Value<'a>, example: &str) -> Option<Vec<Value<'a>>> {
    let list = value.list(example)?;
    if list.len() > MOST {
        value.error(&format!("it has {} entries, and at most {MOST} are looked up", list.len()), None);
    }
    Some(list)
}

fn names_of(value: &Value<'_>) -> Option<Vec<String>> {
    const EXAMPLE: &str = "[\"index.html\"]";
    let name =
        |text: &str| match text {
            "" | "." | ".." => Err(Wrong::new(format!("{} is no name of a file", quoted(text)))),
            text if text.contains(['/', '\0']) => Err(Wrong::new(format!("{} is a path", quoted(text)))
                .help("write the name of a file in the folder")),
            text => Ok(text.to_owned()),
        };
    let list = bounded(value, EXAMPLE)?;
    Some(list.iter().filter_map(|entry| Some(entry.parse("\"index.html\"", name)?.value)).collect())
}

fn attempts_of(value: &Value<'_>) -> Option<Vec<Attempt>> {
    const EXAMPLE: &str = "[\"{path}\", \"{path}/\", \"/index.html\"]";
    let list = bounded(value, EXAMPLE)?;
    if list.is_empty() {
        value.error("nothing would be served", Some(format!("write {EXAMPLE}, or leave it out")));
        return None;
    }
    let last = list.len() - 1;
    let read = |(at, entry): (usize, &Value<'_>)| {
        let attempt = entry.parse("\"{path}\"", attempt)?;
        if matches!(attempt.value, Attempt::Status(_)) && at < last {
            entry.error("nothing behind it would be tried", Some("write it as the last one".to_owned()));
        }
        Some(attempt.value)
    };
    Some(list.iter().enumerate().filter_map(read).collect())
}

fn attempt(text: &str) -> Result<Attempt, Wrong> {
    if let Some(status) = text.strip_prefix('=') {
        let status = status.parse().ok().filter(|status| (400..=599).contains(status));
        let wrong = || Wrong::new(format!("{} is no status of an error", quoted(text)));
        return status
            .map(Attempt::Status)
            .ok_or_else(|| wrong().help("write one from \"=400\" to \"=599\""));
    }
    let pattern = FilePattern::parse(text).map_err(|why| Wrong::new(format!("{}: {why}", quoted(text))));
    pattern
        .map(Attempt::Path)
        .map_err(|wrong| wrong.help("such as \"{path}\", \"{path}.html\", \"/index.html\" or \"=404\""))
}

fn codings_of(value: &Value<'_>) -> Option<Vec<Coding>> {
    let mut found = Vec::new();
    for entry in &value.list("[\"br\", \"gzip\"]")? {
        match entry.choice(&CODINGS) {
            Some(coding) if found.contains(&coding) => entry.error("it is named twice", None),
            Some(coding) => found.push(coding),
            None => {}
        }
    }
    Some(found)
}
