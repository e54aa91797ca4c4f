//! Changes to a config's text that leave the rest of it as it is: comments, order, spacing.

use std::fmt;

use serde_json::{Map, Number};
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::suggest::nearest;

/// Why a text can't be changed so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditError {
    /// The text is no TOML.
    Syntax(String),
    /// There is no such upstream.
    NoUpstream {
        /// The name that was asked for.
        name: String,
        /// One that is there and nearly the same.
        near: Option<String>,
    },
    /// A value that TOML can't hold.
    Value {
        /// Its key.
        key: String,
        /// Why not.
        reason: &'static str,
    },
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(error) => write!(f, "the config file is no TOML: {error}"),
            Self::NoUpstream { name, near: None } => write!(f, "there is no upstream called `{name}`"),
            Self::NoUpstream { name, near: Some(near) } => {
                write!(f, "there is no upstream called `{name}`; did you mean `{near}`?")
            }
            Self::Value { key, reason } => write!(f, "`{key}`: {reason}"),
        }
    }
}

impl std::error::Error for EditError {}

/// Merges `patch` (RFC 7396: null takes a key out) into `[upstream.NAME]`, or into its overlay for an environment,
/// which is made if there is none.
///
/// # Errors
/// See [`EditError`]. Whether the result holds as a config is for [`parse`](super::parse) to say.
pub fn upstream(
    text: &str,
    name: &str,
    environment: Option<&str>,
    patch: &Map<String, serde_json::Value>,
) -> Result<String, EditError> {
    let mut document: DocumentMut =
        text.parse().map_err(|error: toml_edit::TomlError| EditError::Syntax(error.to_string()))?;
    let upstreams = document.get_mut("upstream").and_then(Item::as_table_like_mut);
    let known: Vec<String> =
        upstreams.iter().flat_map(|table| table.iter()).map(|(key, _)| key.to_owned()).collect();
    let found = upstreams.and_then(|table| table.get_mut(name)).and_then(Item::as_table_like_mut);
    let Some(upstream) = found else {
        let near = nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
        return Err(EditError::NoUpstream { name: name.to_owned(), near });
    };
    let section = match environment {
        None => upstream,
        Some(environment) => overlay(upstream, environment)?,
    };
    merge(section, patch)?;
    Ok(document.to_string())
}

/// `[upstream.NAME.environment.E]`
fn overlay<'t>(
    upstream: &'t mut dyn TableLike,
    environment: &str,
) -> Result<&'t mut dyn TableLike, EditError> {
    let not_a_table = EditError::Value { key: "environment".to_owned(), reason: "it is not a table" };
    let environments = upstream.entry("environment").or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true); // no header of its own
        Item::Table(table)
    });
    let environments = environments.as_table_like_mut().ok_or_else(|| not_a_table.clone())?;
    let section = environments.entry(environment).or_insert_with(|| Item::Table(Table::new()));
    section.as_table_like_mut().ok_or(not_a_table)
}

fn merge(table: &mut dyn TableLike, patch: &Map<String, serde_json::Value>) -> Result<(), EditError> {
    for (key, value) in patch {
        match value {
            serde_json::Value::Null => {
                table.remove(key);
            }
            serde_json::Value::Object(inner) => {
                if table.get(key).is_none_or(|item| !item.is_table_like()) {
                    let mut dotted = Table::new();
                    dotted.set_dotted(true); // `tls.certificate = "…"`
                    table.insert(key, Item::Table(dotted));
                }
                if let Some(section) = table.get_mut(key).and_then(Item::as_table_like_mut) {
                    merge(section, inner)?;
                }
            }
            plain => {
                let mut value = convert(key, plain)?;
                match table.get_mut(key).and_then(Item::as_value_mut) {
                    Some(old) => {
                        // The comment behind it stays.
                        *value.decor_mut() = old.decor().clone();
                        *old = value;
                    }
                    None => {
                        table.insert(key, Item::Value(value));
                    }
                }
            }
        }
    }
    Ok(())
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
mod tests {
    use super::*;

    const TEXT: &str = "\
# Ours.
[[listener]]
name = \"web\" # the one

# Orders.
[upstream.orders]
endpoints = [\"127.0.0.1:1\"] # one for now
timeouts = { connect = \"2s\" } # short
[upstream.orders.tls]
# presented when asked
certificate = \"old\" # since May
trust = [\"ca\"]

[upstream.other]
endpoints = [\"127.0.0.1:2\"]
";

    fn edit(environment: Option<&str>, patch: serde_json::Value) -> String {
        let serde_json::Value::Object(patch) = patch else { panic!("an object") };
        upstream(TEXT, "orders", environment, &patch).unwrap()
    }

    #[test]
    fn a_value_is_replaced_and_all_else_stays() {
        let edited = edit(
            None,
            serde_json::json!({ "tls": { "certificate": "new" }, "timeouts": { "connect": "3s" } }),
        );
        let expected = TEXT.replace("\"old\"", "\"new\"").replace("\"2s\"", "\"3s\"");
        assert_eq!(edited, expected);
    }

    #[test]
    fn keys_come_and_go() {
        let edited = edit(
            None,
            serde_json::json!({ "tls": { "trust": null }, "pool": { "idle_per_worker": 3 },
                "endpoints": ["127.0.0.1:1", { "address": "127.0.0.1:3", "weight": 2 }] }),
        );
        let expected = TEXT
            .replace("trust = [\"ca\"]\n", "")
            .replace("[\"127.0.0.1:1\"] #", "[\"127.0.0.1:1\", { address = \"127.0.0.1:3\", weight = 2 }] #")
            .replace("# short\n", "# short\npool.idle_per_worker = 3\n");
        assert_eq!(edited, expected);
    }

    #[test]
    fn an_overlay_is_made_and_changed() {
        let edited = edit(Some("production"), serde_json::json!({ "tls": { "certificate": "prod" } }));
        let overlay = "\n[upstream.orders.environment.production]\ntls.certificate = \"prod\"\n";
        assert!(edited.contains(overlay), "{edited}");
        assert!(edited.find(overlay) < edited.find("[upstream.other]"), "{edited}");
        assert_eq!(edited.replace(overlay, ""), TEXT);
        let serde_json::Value::Object(patch) = serde_json::json!({ "tls": { "certificate": "next" } }) else {
            panic!()
        };
        let again = upstream(&edited, "orders", Some("production"), &patch).unwrap();
        assert_eq!(again, edited.replace("\"prod\"", "\"next\""));
    }

    #[test]
    fn what_is_not_there_is_said_with_what_is_near() {
        let error = upstream(TEXT, "order", None, &Map::new()).unwrap_err();
        assert_eq!(error.to_string(), "there is no upstream called `order`; did you mean `orders`?");
        assert!(matches!(upstream("a = = 1", "orders", None, &Map::new()), Err(EditError::Syntax(_))));
    }
}
