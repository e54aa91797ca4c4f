//! The tables of all files become one, with the values that references stand for.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use super::diagnostics::Diagnostics;
use super::keys::{self, Kind};
use super::references;
use super::sources::{Outside, Source, Sources};
use super::syntax;
use super::units::Wrong;

/// The one table. `only`: of that key at the top alone references are replaced, and what else fails is no error.
///
/// # Errors
/// A text that is no TOML, an include that fails, a name that stands in two files, a reference that stands for nothing.
pub(super) fn merged<'a>(
    sources: &'a Sources,
    outside: &dyn Outside,
    only: Option<&str>,
) -> Result<(DeTable<'a>, Diagnostics), Diagnostics> {
    let mut errors = Diagnostics::of(sources);
    if only.is_none() {
        for failure in sources.failures() {
            errors.error(failure.span.clone(), failure.title.clone(), failure.help.clone());
        }
    }
    let folder = sources.first().path.parent().unwrap_or(Path::new("")).to_owned();
    let mut root = DeTable::new();
    for (index, source) in sources.files().iter().enumerate() {
        let (document, syntax) = DeTable::parse_recoverable(&source.text);
        if !syntax.is_empty() {
            // A file that another one includes may be of no use for `only`.
            if only.is_none() || index == 0 {
                syntax::errors(&mut errors, &source.text, source.start, &syntax);
            }
            continue;
        }
        let mut table = document.into_inner();
        if index > 0 {
            table.remove("include");
        }
        if let Some(only) = only {
            table = table.into_iter().filter(|(key, _)| key.get_ref() == only).collect();
        }
        let mut reader = Reader { source, folder: &folder, outside, errors: &mut errors };
        let table = reader.table(table, "");
        match index {
            0 => root = table,
            _ => join(&mut root, table, &keys::ROOT, "", &mut errors),
        }
    }
    // What stands in a file that could not be read would be missed everywhere.
    errors.clone().into_result()?;
    Ok((root, errors))
}

/// Moves a file's table to the file's place, and replaces references.
struct Reader<'r> {
    source: &'r Source,
    folder: &'r Path,
    outside: &'r dyn Outside,
    errors: &'r mut Diagnostics,
}

impl Reader<'_> {
    fn table<'a>(&mut self, table: DeTable<'a>, path: &str) -> DeTable<'a> {
        let moved = table.into_iter().map(|(key, value)| {
            let name =
                if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
            let key = Spanned::new(self.place(key.span()), key.into_inner());
            (key, self.value(value, &name))
        });
        moved.collect()
    }

    fn value<'a>(&mut self, value: Spanned<DeValue<'a>>, path: &str) -> Spanned<DeValue<'a>> {
        let span = self.place(value.span());
        let value = match value.into_inner() {
            DeValue::String(text) if text.contains("${") => DeValue::String(self.expanded(text, &span, path)),
            DeValue::Array(list) => {
                DeValue::Array(list.into_iter().map(|entry| self.value(entry, path)).collect::<DeArray<'a>>())
            }
            DeValue::Table(table) => DeValue::Table(self.table(table, path)),
            other => other,
        };
        Spanned::new(span, value)
    }

    fn expanded<'a>(&mut self, text: DeString<'a>, span: &Range<usize>, path: &str) -> DeString<'a> {
        // Patterns of files have been expanded where they were read.
        if path == "include" {
            return text;
        }
        match references::expand(&text, self.folder, self.outside) {
            Ok(expanded) => {
                if expanded.has_references {
                    self.errors.refers(span, expanded.secrets);
                }
                expanded.text.into()
            }
            Err(Wrong { title, help }) => {
                self.errors.error(span.clone(), format!("`{path}`: {title}"), help);
                text
            }
        }
    }

    fn place(&self, span: Range<usize>) -> Range<usize> {
        span.start + self.source.start..span.end + self.source.start
    }
}

/// Puts the keys of one file beside those of the files before it: lists of tables are joined, sections merged.
fn join<'a>(
    into: &mut DeTable<'a>,
    from: DeTable<'a>,
    kind: &'static Kind,
    path: &str,
    errors: &mut Diagnostics,
) {
    let has_names = matches!(kind, Kind::Map { .. });
    for (key, value) in from {
        let Some(first) = into.get_key_value(key.get_ref().as_ref()).map(|(first, _)| first.span()) else {
            into.insert(key, value);
            continue;
        };
        let name = key.get_ref().to_string();
        let full = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let inner = kind.key(&name).map(|key| &key.kind);
        let Some(known) = into.get_mut(key.get_ref().as_ref()) else { continue };
        let span = key.span();
        match (known.get_mut(), value.into_inner()) {
            (DeValue::Array(list), DeValue::Array(more)) if is_tables(list) && is_tables(&more) => {
                more.into_iter().for_each(|entry| list.push(entry));
            }
            (DeValue::Table(table), DeValue::Table(more)) if !has_names && inner.is_some_and(is_section) => {
                let inner = inner.and_then(Kind::table).unwrap_or(&keys::UNKNOWN);
                join(table, more, inner, &full, errors);
            }
            _ => {
                let what = match (path, has_names) {
                    ("", _) | (_, false) => format!("`{full}`"),
                    (kind, true) => format!("[{kind}.{name}]"),
                };
                let title = format!("{what} stands in two files, here and at {}", errors.place(first.start));
                errors.error(span, title, Some("take one of the two out, or rename it".to_owned()));
            }
        }
    }
}

fn is_tables(list: &DeArray<'_>) -> bool {
    list.iter().all(|entry| entry.get_ref().is_table())
}

fn is_section(kind: &'static Kind) -> bool {
    matches!(kind.table(), Some(Kind::Table(_) | Kind::Map { .. }))
}
