//! The JSON Schema (draft 7) of the config, for editors.

use serde_json::{Map, Value, json};

use super::{Key, Kind, Preset, ROOT, markdown};

/// Sizes and durations, as `config::units` reads them.
const SIZE: &str = "^[0-9]+(B|KiB|MiB|GiB|TiB)?$";
const RATE: &str = "^[0-9]+(B|KiB|MiB|GiB|TiB)?/s$";
const DURATION: &str = "^[0-9]+(ms|s|m|h|d)$";
const POSITIVE_DURATION: &str = "^0*[1-9][0-9]*(ms|s|m|h|d)$";

/// The whole schema.
pub(in crate::config) fn schema() -> Value {
    let mut schema = of(&ROOT);
    let head = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": concat!("urn:ringate:config:", env!("CARGO_PKG_VERSION")),
        "title": "Ringate config",
        "description": "The config file of Ringate, a high-performance L4/L7 proxy on io_uring.",
    });
    if let (Value::Object(schema), Value::Object(head)) = (&mut schema, head) {
        schema.extend(head);
    }
    schema
}

/// A text with `${NAME}` or `${file:PATH}`, which may stand for any single value.
const REFERENCE: &str = "(^|[^$])[$][{]";

/// What a value must be, as it is written.
pub(super) fn of(kind: &'static Kind) -> Value {
    let is_single = |form: &Kind| {
        !matches!(form, Kind::List { .. } | Kind::Table(_) | Kind::Overlay { .. } | Kind::Map { .. })
    };
    if kind.forms().iter().any(is_single) {
        return json!({ "anyOf": [plain(kind), { "type": "string", "pattern": REFERENCE }] });
    }
    plain(kind)
}

/// What a value must be where references are replaced.
fn plain(kind: &'static Kind) -> Value {
    match kind {
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Integer(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Kind::Numbers(numbers) => json!({ "type": "integer", "enum": numbers }),
        Kind::Duration { zero } => {
            json!({ "type": "string", "pattern": if *zero { DURATION } else { POSITIVE_DURATION } })
        }
        Kind::Size(least, most) => json!({ "oneOf": [
            { "type": "integer", "minimum": least, "maximum": most },
            { "type": "string", "pattern": SIZE },
        ] }),
        Kind::Rate => json!({ "oneOf": [
            { "type": "string", "pattern": RATE },
            { "type": "integer", "enum": [0] },
        ] }),
        Kind::Factor => json!({ "oneOf": [
            { "type": "number", "minimum": 1, "maximum": 100 },
            { "type": "number", "enum": [0] },
        ] }),
        Kind::Percent => json!({ "type": "number", "minimum": 0, "maximum": 100 }),
        Kind::Share => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        Kind::Text(text) => json!({ "type": "string", "pattern": text.pattern }),
        Kind::Choice(words) => json!({ "type": "string", "enum": words }),
        Kind::List { of: entry, empty } => {
            json!({ "type": "array", "items": of(entry), "minItems": u8::from(!empty) })
        }
        Kind::Table(_) => table(kind.keys(), false),
        Kind::Overlay { .. } => table(kind.keys(), true),
        Kind::Map { any, names, .. } => {
            let mut schema = table(kind.keys(), false);
            schema["patternProperties"] = json!({ *names: described(any, false) });
            schema
        }
        Kind::OneOf(forms) => json!({ "oneOf": forms.iter().map(plain).collect::<Vec<_>>() }),
    }
}

/// A table of these keys; none of them is required, and none has a default, where it lies over another one.
fn table(keys: impl Iterator<Item = &'static Key>, over: bool) -> Value {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for key in keys {
        properties.insert(key.name.to_owned(), described(key, over));
        for old in key.was {
            let mut schema = of(&key.kind);
            schema["description"] = json!(format!("Renamed to `{}`.", key.name));
            properties.insert((*old).to_owned(), schema);
        }
        if !over && matches!(key.preset, Preset::Required(_) | Preset::AtLeastOne) {
            required.push(key.name);
        }
    }
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// A key's value with its meaning and its default.
fn described(key: &'static Key, over: bool) -> Value {
    let mut schema = of(&key.kind);
    let scope = markdown::scope(key);
    let otherwise = match key.preset {
        Preset::Off { means, .. } | Preset::Shown { means, .. } if !over => format!(" Left out: {means}."),
        Preset::Required(example) => format!(" Required, such as {example}."),
        _ => String::new(),
    };
    let form = markdown::kind(&key.kind);
    schema["description"] = json!(format!("{}{scope}. Type: {form}.{otherwise}", key.meaning));
    if let (Preset::Value(value), false) = (key.preset, over) {
        schema["default"] = toml_value(value);
    }
    schema
}

/// A TOML value as JSON. The table's are valid: a test reads each.
fn toml_value(text: &str) -> Value {
    let table: Option<toml::Table> = toml::from_str(&format!("value = {text}")).ok();
    let value = table.and_then(|mut table| table.remove("value"));
    value.and_then(|value| serde_json::to_value(value).ok()).unwrap_or_default()
}
