//! Changes to a config's text that leave the rest of it as it is: comments, order, spacing, line ends.
//!
//! ```text
//! text ─► document ─► merge (RFC 7396) ─► text ─► read back: exactly the merged value, or the change is refused
//! ```

use std::fmt;

use serde_json::{Map, Number};
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::suggest::nearest;

mod comments;
mod endpoints;
mod files;
mod lines;
mod section;
mod tables;

use comments::{Comments, first_header};
pub(crate) use endpoints::{EndpointChange, EndpointKeys};
pub(crate) use files::{endpoint, is_registered, own_routes, section, table, upstream};
pub(crate) use section::Place;
pub(crate) use tables::TableChange;

/// Why a text can't be changed so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditError {
    /// The text is no TOML.
    Syntax(String),
    /// There is no such upstream.
    NoUpstream {
        /// The name in the request.
        name: String,
        /// One that is there and nearly the same.
        near: Option<String>,
    },
    /// There is no such listener or route.
    Missing {
        /// Which, in words.
        what: String,
    },
    /// There is one of this name already.
    Exists {
        /// Which, in words.
        what: String,
    },
    /// The overlay of the environment has no endpoints of its own.
    NoOwnEndpoints {
        /// The upstream's name.
        upstream: String,
        /// The environment.
        environment: String,
    },
    /// The upstream has no such endpoint in the file.
    NoEndpoint {
        /// The address in the request.
        address: String,
        /// Those that it has.
        known: Vec<String>,
    },
    /// The upstream has this endpoint already.
    EndpointExists {
        /// Its address.
        address: String,
    },
    /// The upstream would be left without an endpoint.
    LastEndpoint {
        /// Its address.
        address: String,
    },
    /// The API, or a route of it, was not registered as such.
    ByHand {
        /// The upstream's name.
        upstream: String,
        /// Routes that lead to it and were written by hand; all of them where the upstream itself was.
        routes: usize,
        /// Whether the upstream was registered.
        registered: bool,
    },
    /// A value that TOML can't hold.
    Value {
        /// Its key.
        key: String,
        /// Why not.
        reason: &'static str,
    },
    /// The changed text would not have exactly the requested meaning.
    Inexact,
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(error) => write!(f, "the config file is no TOML: {error}"),
            Self::NoUpstream { name, near: None } => write!(f, "there is no upstream called `{name}`"),
            Self::NoUpstream { name, near: Some(near) } => {
                write!(f, "there is no upstream called `{name}`; did you mean `{near}`?")
            }
            Self::Missing { what } => write!(f, "there is no such thing as {what} in the config file"),
            Self::Exists { what } => {
                write!(f, "{what} is in the config file already: change it, or choose another name")
            }
            Self::NoOwnEndpoints { upstream, environment } => write!(
                f,
                "`{environment}` has no endpoints of its own: change those of the upstream `{upstream}`, or write \
                 `endpoints` into [upstream.{upstream}.environment.{environment}]"
            ),
            Self::NoEndpoint { address, known } => {
                write!(
                    f,
                    "the upstream has no endpoint `{address}` in the config file; there is {}",
                    known.join(", ")
                )
            }
            Self::EndpointExists { address } => {
                write!(
                    f,
                    "the upstream has the endpoint `{address}` already: change its weight, or enable it"
                )
            }
            Self::LastEndpoint { address } => write!(
                f,
                "`{address}` is the last endpoint of the upstream, which needs one: add another one first, or drain this one"
            ),
            Self::ByHand { upstream, routes, registered: false } => write!(
                f,
                "the upstream `{upstream}` is no API that was registered: remove the routes that lead to it ({routes}) and then \
                 the upstream, or repeat it with force"
            ),
            Self::ByHand { upstream, routes, registered: true } => write!(
                f,
                "routes that lead to `{upstream}` were written by hand ({routes}): remove them first or lead them elsewhere, \
                 or repeat it with force"
            ),
            Self::Value { key, reason } => write!(f, "`{key}`: {reason}"),
            Self::Inexact => f.write_str(
                "this change can't be written into the config file as it is laid out: write sections under \
                 headers of their own, as `[upstream.NAME]` and `[[route]]`, and ask again",
            ),
        }
    }
}

impl std::error::Error for EditError {}

type Patch = Map<String, serde_json::Value>;

/// Merges `patch` (RFC 7396: null takes a key out) into `[upstream.NAME]`, or into its overlay for an environment,
/// which is made if there is none. Read back, the result holds exactly the merged value, and everything else as before.
///
/// # Errors
/// See [`EditError`]. Whether the result is valid as a config is decided by [`parse`](super::parse).
#[allow(unreachable_pub)] // for internals
pub fn upstream_in(
    text: &str,
    name: &str,
    environment: Option<&str>,
    patch: &Patch,
) -> Result<String, EditError> {
    let syntax = |error: toml_edit::TomlError| EditError::Syntax(error.to_string());
    let mut document: DocumentMut = lines::plain(text).parse().map_err(syntax)?;
    let upstreams = document.get_mut("upstream").and_then(Item::as_table_like_mut);
    let known: Vec<String> =
        upstreams.iter().flat_map(|table| table.iter()).map(|(key, _)| key.to_owned()).collect();
    let found = upstreams.and_then(|table| table.get_mut(name)).filter(|item| item.is_table_like());
    let Some(upstream) = found else {
        let near = nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
        return Err(EditError::NoUpstream { name: name.to_owned(), near });
    };
    let mut comments = Comments::default();
    match environment {
        None => merge(upstream, patch, &mut comments)?,
        Some(environment) => {
            overlay(upstream, environment);
            let inner = serde_json::json!({ "environment": { environment: patch } });
            merge(upstream, inner.as_object().unwrap_or(patch), &mut comments)?;
        }
    }
    comments.place(&mut document);
    let edited = lines::like(text, &document.to_string());
    let path: Vec<&str> = match environment {
        None => vec!["upstream", name],
        Some(environment) => vec!["upstream", name, "environment", environment],
    };
    if exact(text, &edited, &path, patch) { Ok(edited) } else { Err(EditError::Inexact) }
}

/// Whether `edited`, read back, is `text` with `patch` merged in at `path`.
fn exact(text: &str, edited: &str, path: &[&str], patch: &Patch) -> bool {
    let (Ok(mut expected), Ok(found)) = (text.parse::<toml::Table>(), edited.parse::<toml::Table>()) else {
        return false;
    };
    let mut section = &mut expected;
    for key in path {
        let item = section.entry(*key).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        match item {
            toml::Value::Table(inner) => section = inner,
            _ => return false,
        }
    }
    merge_values(section, patch);
    // Not a number is not equal to itself, but written in the same way.
    expected == found || format!("{expected:?}") == format!("{found:?}")
}

fn merge_values(target: &mut toml::Table, patch: &Patch) {
    for (key, value) in patch {
        match value {
            serde_json::Value::Null => {
                target.remove(key);
            }
            serde_json::Value::Object(inner) => {
                let section =
                    target.entry(key.clone()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
                if !section.is_table() {
                    *section = toml::Value::Table(toml::Table::new());
                }
                if let toml::Value::Table(section) = section {
                    merge_values(section, inner);
                }
            }
            plain => {
                if let Ok(value) = toml::Value::try_from(plain) {
                    target.insert(key.clone(), value);
                }
            }
        }
    }
}

/// Makes `[upstream.NAME.environment.E]` where the upstream has a header of its own; elsewhere the merge makes it.
fn overlay(upstream: &mut Item, environment: &str) {
    let Some(upstream) = upstream.as_table_mut().filter(|table| !table.is_dotted()) else { return };
    let environments = upstream.entry("environment").or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true); // no header of its own
        Item::Table(table)
    });
    let Some(environments) = environments.as_table_mut().filter(|table| !table.is_dotted()) else { return };
    environments.entry(environment).or_insert_with(|| Item::Table(Table::new()));
}

/// Merges `patch` into a table of any form: under a header, of dotted keys, or inline.
fn merge(section: &mut Item, patch: &Patch, comments: &mut Comments) -> Result<(), EditError> {
    if let Some(position) = section.as_table().and_then(Table::position) {
        comments.enter(position);
    }
    let inline = section.is_inline_table();
    let Some(table) = section.as_table_like_mut() else { return Ok(()) };
    for (key, value) in patch {
        match value {
            serde_json::Value::Null => {
                comments.remove(table, key);
            }
            serde_json::Value::Object(inner) => match table.get_mut(key) {
                Some(item) if item.is_table_like() => merge(item, inner, comments)?,
                Some(Item::Value(old)) => replace(old, Value::InlineTable(object(inner)?)),
                _ => {
                    comments.remove(table, key); // an array of tables
                    insert(table, inline, key, created(inner, inline)?);
                }
            },
            plain => {
                let value = convert(key, plain)?;
                match table.get_mut(key) {
                    Some(Item::Value(old)) => replace(old, value),
                    _ => {
                        comments.remove(table, key); // tables
                        insert(table, inline, key, Item::Value(value));
                    }
                }
            }
        }
    }
    if table.is_empty() {
        show_empty(section);
    }
    place_header(section);
    Ok(())
}

/// A table that gets its header now, as those of its parts had theirs before: it precedes these, and not what stands
/// anywhere else in the file.
fn place_header(section: &mut Item) {
    if let Item::Table(table) = section
        && table.position().is_none()
        && !table.is_dotted()
    {
        table.set_position(first_header(table));
    }
}

/// A table that holds nothing is written as `KEY = {}` or with its header: its presence may mean something.
fn show_empty(section: &mut Item) {
    match section {
        Item::Table(table) if table.is_dotted() => {
            *section = Item::Value(Value::InlineTable(InlineTable::new()))
        }
        Item::Table(table) => table.set_implicit(false),
        Item::Value(Value::InlineTable(table)) => table.set_dotted(false),
        _ => {}
    }
}

/// Puts `value` in the place of `old`, whose comment stays. What is equal stays as it is written.
fn replace(old: &mut Value, mut value: Value) {
    let plain = |value: &Value| {
        let mut bare = value.clone();
        bare.decor_mut().clear();
        format!("v = {bare}").parse::<toml::Table>().ok()
    };
    let is_dotted = old.as_inline_table().is_some_and(InlineTable::is_dotted);
    if is_dotted || plain(old) != plain(&value) {
        *value.decor_mut() = old.decor().clone();
        *old = value;
    }
}

/// Adds a key that is not there.
fn insert(table: &mut dyn TableLike, inline: bool, key: &str, mut item: Item) {
    if inline {
        // The space before the closing brace is moved behind the new value.
        let last = table.iter_mut().last().and_then(|(_, item)| item.as_value_mut());
        let space = |suffix: &str| !suffix.is_empty() && suffix.trim_matches([' ', '\t']).is_empty();
        if let Some(last) = last
            && let Some(suffix) = last.decor().suffix().and_then(|suffix| suffix.as_str()).map(str::to_owned)
            && space(&suffix)
        {
            last.decor_mut().set_suffix("");
            if let Some(value) = item.as_value_mut() {
                value.decor_mut().set_prefix(" ");
                value.decor_mut().set_suffix(suffix);
            }
        }
    }
    table.insert(key, item);
}

/// A new table: `tls.certificate = "…"`, or in braces where it is empty or within braces.
fn created(patch: &Patch, inline: bool) -> Result<Item, EditError> {
    if inline || patch.values().all(serde_json::Value::is_null) {
        return Ok(Item::Value(Value::InlineTable(object(patch)?)));
    }
    let mut dotted = Table::new();
    dotted.set_dotted(true);
    for (key, value) in patch.iter().filter(|(_, value)| !value.is_null()) {
        let item = match value {
            serde_json::Value::Object(inner) => created(inner, false)?,
            plain => Item::Value(convert(key, plain)?),
        };
        dotted.insert(key, item);
    }
    Ok(Item::Table(dotted))
}

/// A new table in braces. Null in it takes out what is not there (RFC 7396 §2).
fn object(patch: &Patch) -> Result<InlineTable, EditError> {
    let mut table = InlineTable::new();
    for (key, value) in patch.iter().filter(|(_, value)| !value.is_null()) {
        let value = match value {
            serde_json::Value::Object(inner) => Value::InlineTable(object(inner)?),
            plain => convert(key, plain)?,
        };
        table.insert(key, value);
    }
    Ok(table)
}

fn convert(key: &str, value: &serde_json::Value) -> Result<Value, EditError> {
    let wrong = |reason| EditError::Value { key: key.to_owned(), reason };
    Ok(match value {
        serde_json::Value::Null => return Err(wrong("a list can't hold null")),
        serde_json::Value::Bool(value) => Value::from(*value),
        serde_json::Value::Number(number) => {
            self::number(number).ok_or_else(|| wrong("the number is too large"))?
        }
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(entries) => {
            let entries = entries.iter().map(|entry| convert(key, entry)).collect::<Result<Vec<_>, _>>()?;
            Value::Array(entries.into_iter().collect::<Array>())
        }
        serde_json::Value::Object(entries) => {
            let mut table = InlineTable::new();
            for (key, value) in entries {
                table.insert(key, convert(key, value)?);
            }
            Value::InlineTable(table)
        }
    })
}

fn number(number: &Number) -> Option<Value> {
    match number.as_i64() {
        Some(integer) => Some(Value::from(integer)),
        None if number.is_f64() => number.as_f64().map(Value::from),
        None => None,
    }
}

#[cfg(test)]
mod tests;
