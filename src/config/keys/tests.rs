//! The table of keys, what is written from it, and the check agree.

use std::path::Path;

use serde_json::{Value, json};

use super::{Key, Kind, Preset, ROOT, markdown, reference, schema};
use crate::config::parse;

/// What is wrong with a value by a schema: the part of draft 7 that `schema` writes. Any other keyword panics.
fn violations(schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    for (keyword, rule) in schema.as_object().expect("a schema is an object") {
        let holds = match keyword.as_str() {
            "$schema" | "$id" | "title" | "description" | "default" => true,
            "type" => match rule.as_str().expect("a type") {
                "boolean" => value.is_boolean(),
                "integer" => value.is_i64() || value.is_u64(),
                "number" => value.is_number(),
                "string" => value.is_string(),
                "array" => value.is_array(),
                "object" => value.is_object(),
                other => panic!("type {other}"),
            },
            "enum" => rule.as_array().expect("values").contains(value),
            "minimum" => value.as_f64().is_some_and(|value| value >= rule.as_f64().expect("a bound")),
            "maximum" => value.as_f64().is_some_and(|value| value <= rule.as_f64().expect("a bound")),
            "pattern" => value.as_str().is_none_or(|text| matches(rule.as_str().expect("a pattern"), text)),
            "minItems" => {
                value.as_array().is_none_or(|list| list.len() as u64 >= rule.as_u64().expect("a length"))
            }
            "items" => {
                for (index, entry) in value.as_array().into_iter().flatten().enumerate() {
                    violations(rule, entry, &format!("{place}[{index}]"), found);
                }
                true
            }
            "required" => rule.as_array().expect("names").iter().all(|name| {
                value.as_object().is_none_or(|table| table.contains_key(name.as_str().expect("a name")))
            }),
            "additionalProperties" => {
                assert_eq!(*rule, json!(false));
                members(schema, value, place, found)
            }
            "properties" | "patternProperties" => true, // with `additionalProperties`, which is always there
            "anyOf" => rule.as_array().expect("schemas").iter().any(|form| is_valid(form, value)),
            "oneOf" => {
                let forms = rule.as_array().expect("schemas");
                forms.iter().filter(|form| is_valid(form, value)).count() == 1
            }
            other => panic!("keyword {other}"),
        };
        if !holds {
            found.push(format!("{place}: {keyword} {rule} of {value}"));
        }
    }
}

/// `properties`, `patternProperties` and `additionalProperties`: whether each member is one of the schema's.
fn members(schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) -> bool {
    let mut known = true;
    for (name, member) in value.as_object().into_iter().flatten() {
        let named = schema["properties"].get(name);
        let patterns = schema.get("patternProperties").and_then(Value::as_object);
        let matched = patterns.into_iter().flatten().find(|(pattern, _)| matches(pattern, name));
        match named.or(matched.map(|(_, schema)| schema)) {
            Some(schema) => violations(schema, member, &format!("{place}.{name}"), found),
            None => known = false,
        }
    }
    known
}

fn matches(pattern: &str, text: &str) -> bool {
    regex::Regex::new(pattern).expect("a pattern").is_match(text)
}

fn is_valid(schema: &Value, value: &Value) -> bool {
    let mut found = Vec::new();
    violations(schema, value, "", &mut found);
    found.is_empty()
}

/// What is wrong with a config by its schema.
#[track_caller]
pub(in crate::config) fn schema_errors(text: &str) -> Vec<String> {
    let config: toml::Table = toml::from_str(text).expect("TOML");
    let config = serde_json::to_value(config).expect("a value of JSON");
    let mut found = Vec::new();
    violations(&schema::schema(), &config, "", &mut found);
    found
}

/// A file of the repository is what the table writes; with `UPDATE=1` it becomes that.
fn is_written(path: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, text).expect("the file can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = found.lines().zip(text.lines()).find(|(found, text)| found != text);
    assert!(
        found == text,
        "{} is not what the table of keys says: `UPDATE=1 cargo test --lib config::keys` writes it; {differs:#?}",
        path.display()
    );
}

#[test]
fn the_reference_and_the_page_are_written_from_the_table() {
    is_written("config/reference.toml", &reference::reference());
    is_written("docs/configuration.md", &markdown::page());
}

/// Where a key stands: names, and `None` for an entry of a list.
type Place = Vec<Option<&'static str>>;

/// Every key below a kind, with its place.
fn each_key(kind: &'static Kind, place: &Place, visit: &mut impl FnMut(&Place, &'static Key)) {
    for form in kind.forms() {
        if let Kind::List { of, .. } = form {
            let mut place = place.clone();
            place.push(None);
            each_key(of, &place, visit);
        }
        let any = match form {
            Kind::Map { any, .. } => Some(*any),
            _ => None,
        };
        for key in form.keys().chain(any) {
            let mut place = place.clone();
            place.push(Some(match key.name {
                "STATUS" => "404",
                "FIELD" | "NAME" | "ENVIRONMENT" => "name",
                name => name,
            }));
            visit(&place, key);
            each_key(&key.kind, &place, visit);
        }
    }
}

/// A value that the table has for a key: its default or its example.
fn value_of(key: &Key) -> Option<toml::Value> {
    let (Preset::Value(text)
    | Preset::Required(text)
    | Preset::Off { example: text, .. }
    | Preset::Shown { example: text, .. }) = key.preset
    else {
        return None;
    };
    let mut table: toml::Table =
        toml::from_str(&format!("value = {text}")).unwrap_or_else(|error| panic!("{}: {error}", key.name));
    table.remove("value")
}

#[test]
fn every_key_is_read_with_its_value() {
    let mut count = 0;
    each_key(&ROOT, &Vec::new(), &mut |place, key| {
        let empty = || match key.kind {
            Kind::List { .. } => toml::Value::Array(Vec::new()),
            _ => toml::Value::Table(toml::Table::new()),
        };
        let value = value_of(key).unwrap_or_else(empty);
        let whole = place.iter().rev().fold(value, |value, name| match name {
            Some(name) => toml::Table::from_iter([((*name).to_owned(), value)]).into(),
            None => toml::Value::Array(vec![value]),
        });
        let text = toml::to_string(&whole).expect("TOML");
        // Whatever else is missing in it, the check knows the key and the type of its value.
        let errors = parse("test.toml", &text, Path::new("/")).expect_err("no whole config");
        for error in errors.iter() {
            let said = &error.message;
            let refused = ["unknown key", "not supported yet", ": expected ", "is not between", "is not a "];
            assert!(!refused.iter().any(|refused| said.contains(refused)), "{text}{said}");
        }
        count += 1;
    });
    assert!(count > 200, "{count}");
}

#[test]
fn every_key_has_one_entry_with_a_valid_value() {
    let reference = reference::reference();
    each_key(&ROOT, &Vec::new(), &mut |place, key| {
        if let Some(value) = value_of(key) {
            let mut found = Vec::new();
            let value = serde_json::to_value(value).expect("JSON");
            violations(&schema::of(&key.kind), &value, key.name, &mut found);
            assert!(found.is_empty(), "{place:?}: {found:?}");
        }
        if let Some(table) = key.kind.table() {
            let mut names: Vec<_> = table.keys().map(|key| key.name).collect();
            names.sort_unstable();
            assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{place:?}: {names:?}");
        }
        assert!(!key.meaning.is_empty() && !key.meaning.ends_with('.'), "{place:?}");
        let is_placeholder = key.name.bytes().all(|byte| byte.is_ascii_uppercase());
        assert!(is_placeholder || reference.contains(key.name), "{place:?} is not in the reference");
    });
}

#[test]
fn every_example_is_valid_by_the_schema() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = std::fs::read_to_string(&path).expect("the example");
            assert_eq!(schema_errors(&text), Vec::<String>::new(), "{}", path.display());
            count += 1;
        }
    }
    assert_eq!(count, 6);
}

const SMALL: &str = "[[listener]]\nname = 'web'\naddress = '127.0.0.1:1'\n[[route]]\nupstream = 'app'\n\
                     [upstream.app]\nendpoints = ['127.0.0.1:2']\n";

#[test]
fn forms_that_the_check_takes_are_valid_by_the_schema() {
    for text in [
        "[runtime]\nworkers = 4\ndrain = '0s'",
        "[limits]\nbody_rate = 0\nbuffer_memory = 0\nbody_bytes = '1MiB'",
        "[limits]\nbuffer_memory = '64MiB'",
        "[log]\naccess = 'syslog:[::1]:514'\naccess_format = { client = 'client.address' }",
        "[log]\naccess = './access.log'",
        "[log]\naccess = 'stdout'",
        "[admin]\nlisten = '[::1]:9901'\ntoken_file = 'token'",
        "[error_pages]\njson = false\n404 = 'a.html'\n5xx = { text = 'sorry' }",
    ] {
        let text = format!("{text}\n{SMALL}");
        assert_eq!(schema_errors(&text), Vec::<String>::new(), "{text}");
        parse("test.toml", &text, Path::new("/")).unwrap_or_else(|errors| panic!("{errors}"));
    }
    for (from, to) in [
        ("upstream = 'app'", "redirect = { scheme = 'https' }\nhost = '*.a.example'"),
        ("upstream = 'app'", "upstream = 'app'\nrate_limit = { rate = '5/m', by = { header = 'X-A' } }"),
        ("upstream = 'app'", "upstream = 'app'\nmatch.headers.x-a = { present = true }\nmatch.query.b = '1'"),
        ("upstream = 'app'", "upstream = 'app'\nheaders.response.add = { A = ['b', 'c'], D = 'e' }"),
        (
            "upstream = 'app'",
            "upstream = 'app'\ncors = { origins = ['*'], methods = ['*'] }\ncompression = true",
        ),
        ("'127.0.0.1:1'", "['127.0.0.1:1', '[::1]:1']\nlimits = { head_bytes = 2048 }"),
        ("'127.0.0.1:1'", "'127.0.0.1:1'\ntls.certificates = [{ cert = 'a.pem', key = 'a.key' }, 'web']"),
        ("['127.0.0.1:2']", "[{ address = 'app.internal:2', weight = 3 }]\nretries.on = ['503', 'reset']"),
        (
            "['127.0.0.1:2']",
            "['127.0.0.1:2']\ntls.certificate = { cert = 'a.p12' }\nenvironment.b.pool.max_age = '1m'",
        ),
    ] {
        let text = SMALL.replacen(from, to, 1);
        assert_eq!(schema_errors(&text), Vec::<String>::new(), "{text}");
        parse("test.toml", &text, Path::new("/")).unwrap_or_else(|errors| panic!("{errors}"));
    }
}

#[test]
fn what_the_check_refuses_is_invalid_by_the_schema() {
    assert_eq!(schema_errors(SMALL), Vec::<String>::new());
    for (from, to) in [
        ("name = 'web'", "name = 5"),                                     // types
        ("name = 'web'", "nane = 'web'"), // an unknown key, and one is missing
        ("name = 'web'\n", ""),           // a missing one
        ("name = 'web'", "name = 'web'\nprotocol = 'htp'"), // a word
        ("name = 'web'", "name = 'web'\nlimits = { buffer_memory = 0 }"), // another section's
        ("name = 'web'", "name = 'web'\nlimits = { headers = 257 }"), // a range
        ("name = 'web'", "name = 'web'\ntls = {}"), // a table without its key
        ("name = 'web'", "name = 'a b'"), // a form
        ("'127.0.0.1:1'", "8080"),
        ("'127.0.0.1:1'", "[]"),
        ("upstream = 'app'", "upstream = 'app'\ntimeouts.idle = '30'"), // a duration without a unit
        ("upstream = 'app'", "upstream = 'app'\ntimeouts.idle = '0s'"),
        ("upstream = 'app'", "upstream = 'app'\ncompression = { min_size = '1KB' }"),
        ("upstream = 'app'", "upstream = 'app'\nbasic_auth = true"),
        ("upstream = 'app'", "upstream = 'app'\nmatch.headers.a = { absent = true }"),
        ("upstream = 'app'", "redirect = { status = 304, path = '/' }"),
        ("['127.0.0.1:2']", "['127.0.0.1']"),
        ("['127.0.0.1:2']", "['127.0.0.1:2']\nenvironment.b.environment.c = {}"),
        ("[upstream.app]", "[error_pages]\n399 = 'a.html'\n[upstream.app]"),
        ("[upstream.app]", "[runtime]\nworkers = 'four'\n[upstream.app]"),
        ("[upstream.app]", "[limits]\nbuffer_memory = 1000\n[upstream.app]"),
    ] {
        assert!(SMALL.contains(from), "{from}");
        let text = SMALL.replacen(from, to, 1);
        assert!(!schema_errors(&text).is_empty(), "{text}");
        assert!(parse("test.toml", &text, Path::new("/")).is_err(), "{text}");
    }
}
