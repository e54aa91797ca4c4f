//! A `CredentialRequestDefinition` of Axway's Amplify (`group: management`, `apiVersion: v1alpha1`), JSON or YAML, as a
//! `[credentials.NAME]`. What has no meaning here is named.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::definition::{Approval, Definition};

/// The longest document.
pub(crate) const MAX_BYTES: usize = 1 << 20;
const DAY: Duration = Duration::from_secs(86_400);

/// A definition that was read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Imported {
    /// Its name.
    pub name: String,
    /// The section for the config file.
    pub toml: String,
    /// What of the document has no meaning here, each as a path in it with a word why.
    pub ignored: Vec<String>,
    /// What it leaves open.
    pub notes: Vec<String>,
}

/// Reads a document.
///
/// # Errors
/// It is neither JSON nor YAML, or no such definition.
pub(crate) fn import(text: &str) -> Result<Imported, String> {
    if text.len() > MAX_BYTES {
        return Err(format!("it is longer than {MAX_BYTES} bytes"));
    }
    let document: Value = match serde_json::from_str(text) {
        Ok(document) => document,
        Err(json) if text.trim_start().starts_with(['{', '[']) => return Err(format!("not JSON: {json}")),
        Err(_) => serde_yaml_ng::from_str(text).map_err(|error| format!("neither JSON nor YAML: {error}"))?,
    };
    // `amplify central get … -o json` prints a list, of one.
    let document = match document {
        Value::Array(mut list) if list.len() == 1 => list.remove(0),
        Value::Array(_) => return Err("it is a list: give one CredentialRequestDefinition".to_owned()),
        other => other,
    };
    let mut reader = Reader { document: &document, used: BTreeSet::new() };
    let definition = reader.definition()?;
    let mut ignored = Vec::new();
    reader.unused("", &document, &mut ignored);
    let mut notes = Vec::new();
    if definition.mtls {
        notes.push(
            "its certificates: add `issuer = \"NAME\"`, a CA of the store, to sign CSRs; without it consumers bring their own"
                .to_owned(),
        );
    }
    notes.push(
        "its approval is not part of the document: `approval = \"manual\"`, or \"automatic\"".to_owned(),
    );
    Ok(Imported { name: definition.name.clone(), toml: section(&definition), ignored, notes })
}

/// A document, and what of it was understood: paths with `.` between their parts.
struct Reader<'a> {
    document: &'a Value,
    used: BTreeSet<String>,
}

impl<'a> Reader<'a> {
    fn get(&mut self, path: &str) -> Option<&'a Value> {
        let found = self.document.pointer(&format!("/{}", path.replace('.', "/")))?;
        self.used.insert(path.to_owned());
        Some(found)
    }

    fn text(&mut self, path: &str) -> Option<&'a str> {
        self.get(path)?.as_str()
    }

    fn definition(&mut self) -> Result<Definition, String> {
        for (key, expected) in
            [("kind", "CredentialRequestDefinition"), ("group", "management"), ("apiVersion", "v1alpha1")]
        {
            match self.text(key) {
                Some(found) if found == expected => {}
                Some(found) => return Err(format!("its `{key}` is {found:?}, and must be {expected:?}")),
                None => return Err(format!("it has no `{key}`: {expected:?} is expected")),
            }
        }
        let written = self.text("name").filter(|name| !name.is_empty());
        let title = self.text("title").map(str::to_owned);
        let name = written.or(title.as_deref()).ok_or("it has neither `name` nor `title`")?;
        let name = plain(name).ok_or_else(|| format!("its name {name:?} has no letter or digit"))?;
        let origins = self.get("spec.schema.properties.cors").is_some();
        // What it is made of is what it always is.
        for part in ["type", "title", "items", "uniqueItems", "description"] {
            let _ = self.get(&format!("spec.schema.properties.cors.{part}"));
        }
        let mtls = [
            "spec.schema.properties.x-axway-mtls",
            "spec.schema.x-axway-mtls",
            "spec.x-axway-mtls",
            "x-axway-mtls",
        ];
        let mtls = mtls.iter().filter(|path| self.mark(path)).count() > 0;
        let api_key = self.key("apiKey");
        for part in [
            "spec.schema.type",
            "spec.schema.$schema",
            "spec.provision.schema.type",
            "spec.provision.schema.$schema",
            "spec.provision.schema.required",
        ] {
            let _ = self.get(part);
        }
        let expiry = match self.get("spec.provision.policies.expiry.period") {
            None => None,
            Some(period) => {
                let days = period.as_u64().filter(|days| (1..=3650).contains(days));
                let days = days.and_then(|days| u32::try_from(days).ok());
                Some(DAY * days.ok_or("`policies.expiry.period` is not a number of days from 1 to 3650")?)
            }
        };
        let suspendable = match self.get("spec.provision.policies.suspendable") {
            None => false,
            Some(value) => value.as_bool().ok_or("`policies.suspendable` is neither true nor false")?,
        };
        if !api_key && !mtls {
            return Err(
                "it provisions neither an `apiKey` nor a client certificate (`x-axway-mtls`): other credentials, such as those \
                 of OAuth, have no meaning here"
                    .to_owned(),
            );
        }
        Ok(Definition {
            title: title.unwrap_or_else(|| name.clone()),
            name,
            api_key,
            mtls,
            javascript_origins: origins,
            expiry,
            suspendable,
            approval: Approval::Manual,
            issuer: None,
        })
    }

    /// Whether something marks it by its presence, whatever is in it.
    fn mark(&mut self, path: &str) -> bool {
        let Some(found) = self.get(path) else { return false };
        if let Value::Object(parts) = found {
            for part in parts.keys() {
                self.used.insert(format!("{path}.{part}"));
            }
        }
        *found != Value::Bool(false)
    }

    /// Whether this property of the provision is a key. `x-axway-encrypted`: shown once, which all keys are here.
    fn key(&mut self, name: &str) -> bool {
        let path = format!("spec.provision.schema.properties.{name}");
        self.mark(&path)
    }

    /// The paths below `value` that were not understood.
    fn unused(&self, path: &str, value: &Value, out: &mut Vec<String>) {
        if self.used.contains(path) {
            // What is below was understood one by one, or has no parts.
            let Value::Object(parts) = value else { return };
            for (name, part) in parts {
                let below = format!("{path}.{name}");
                if !self.used.contains(&below) {
                    out.push(note(&below, part));
                }
            }
            return;
        }
        let prefix = if path.is_empty() { String::new() } else { format!("{path}.") };
        let has_used = path.is_empty() || self.used.iter().any(|used| used.starts_with(&prefix));
        match value {
            Value::Object(parts) if has_used => {
                for (name, part) in parts {
                    self.unused(&format!("{prefix}{name}"), part, out);
                }
            }
            value => out.push(note(path, value)),
        }
    }
}

/// A path that has no meaning here, with the reason where one is known.
fn note(path: &str, value: &Value) -> String {
    let last = path.rsplit('.').next().unwrap_or(path);
    let why = match last {
        _ if path.starts_with("metadata") => "it belongs to the other product's database",
        "attributes" | "tags" | "finalizers" => "labels have no meaning here",
        "x-axway-order" => "the order of a form's fields has no meaning here",
        "description" => "descriptions of forms have no meaning here",
        "x-axway-hidden" | "x-axway-copyable" | "x-axway-widget" | "x-axway-label" => "it describes a form",
        _ if path.starts_with("spec.schema.properties") => "questions of forms have no meaning here",
        _ if path.starts_with("spec.provision.schema.properties") => {
            "credentials of other kinds than API keys and certificates have no meaning here"
        }
        _ => "no meaning here",
    };
    let is_empty = match value {
        Value::Object(parts) => parts.is_empty(),
        Value::Array(parts) => parts.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Null => true,
        _ => false,
    };
    if is_empty { format!("{path} (empty): {why}") } else { format!("{path}: {why}") }
}

/// A name that the config takes.
fn plain(name: &str) -> Option<String> {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = name.chars().map(plain).take(64).collect();
    let name = name.trim_matches(['.', '_', '-']).to_owned();
    (!name.is_empty()).then_some(name)
}

/// The section for a config file.
fn section(definition: &Definition) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let Definition { name, title, api_key, mtls, javascript_origins, expiry, suspendable, approval, .. } =
        definition;
    let mut out = format!("[credentials.{}]\ntitle = {}\n", quoted_key(name), quoted(title));
    out.push_str(&format!("api_key = {api_key}\nmtls = {mtls}\njavascript_origins = {javascript_origins}\n"));
    if let Some(expiry) = expiry {
        out.push_str(&format!("expiry = \"{}d\"\n", expiry.as_secs() / DAY.as_secs()));
    }
    out.push_str(&format!("suspendable = {suspendable}\napproval = \"{}\"\n", approval.word()));
    out
}

/// A key of TOML: in quotes where it has a dot.
fn quoted_key(name: &str) -> String {
    if name.contains('.') { format!("\"{name}\"") } else { name.to_owned() }
}
