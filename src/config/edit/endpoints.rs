//! Changes of one endpoint in the list of an upstream. The other entries, the comments and the layout stay.

use std::path::Path;

use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::{EditError, insert, lines, nearest, replace};
use crate::config::names;

/// Keys of an endpoint. `None`: the key stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EndpointKeys {
    /// `weight`
    pub weight: Option<u32>,
    /// `backup`; false takes the key out.
    pub backup: Option<bool>,
    /// `drain`; false takes the key out.
    pub drain: Option<bool>,
}

/// What is done with an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndpointChange {
    /// It is added behind the others.
    Add(EndpointKeys),
    /// It gets other keys.
    Set(EndpointKeys),
    /// It is removed.
    Remove,
}

/// An endpoint, as the text has it or not.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    address: &'a str,
    /// What relative paths are resolved against.
    folder: &'a Path,
}

impl Wanted<'_> {
    /// Whether an address in the text is that of the endpoint: `unix:a.sock` and `unix:/folder/a.sock` may be the same.
    fn is(self, address: &str) -> bool {
        let plain = |address: &str| names::endpoint(address, self.folder).ok();
        address == self.address || plain(address).is_some_and(|address| Some(address) == plain(self.address))
    }
}

/// Changes an endpoint of `[upstream.NAME]`, or of its overlay for an environment (`NAME@ENVIRONMENT`). Paths are resolved
/// against `folder`. Read back, the result has the changed list, and everything else as before.
///
/// # Errors
/// See [`EditError`]. Whether the result is valid as a config is decided by [`parse`](crate::config::parse).
pub(super) fn endpoint(
    text: &str,
    folder: &Path,
    upstream: &str,
    address: &str,
    change: EndpointChange,
) -> Result<String, EditError> {
    let syntax = |error: toml_edit::TomlError| EditError::Syntax(error.to_string());
    let mut document: DocumentMut = lines::plain(text).parse().map_err(syntax)?;
    let wanted = Wanted { address, folder };
    let (name, environment) = match upstream.split_once('@') {
        Some((name, environment)) => (name, Some(environment)),
        None => (upstream, None),
    };
    let upstreams = document.get_mut("upstream").and_then(Item::as_table_like_mut);
    let known: Vec<String> =
        upstreams.iter().flat_map(|table| table.iter()).map(|(key, _)| key.to_owned()).collect();
    let found = upstreams.and_then(|table| table.get_mut(name)).filter(|item| item.is_table_like());
    let Some(mut section) = found else {
        let near = nearest(upstream, known.iter().map(String::as_str)).map(str::to_owned);
        return Err(EditError::NoUpstream { name: upstream.to_owned(), near });
    };
    let mut path = vec!["upstream", name];
    if let Some(environment) = environment {
        let overlay = section.get_mut("environment").and_then(|all| all.get_mut(environment));
        section = overlay.filter(|overlay| overlay.get("endpoints").is_some()).ok_or_else(|| {
            EditError::NoOwnEndpoints { upstream: name.to_owned(), environment: environment.to_owned() }
        })?;
        path.extend(["environment", environment]);
    }
    match section.get_mut("endpoints") {
        Some(Item::Value(Value::Array(list))) => in_array(list, wanted, change)?,
        Some(Item::ArrayOfTables(list)) => in_tables(list, wanted, change)?,
        _ => return Err(EditError::Inexact),
    }
    let edited = lines::like(text, &document.to_string());
    if is_exact(text, &edited, &path, wanted, change) { Ok(edited) } else { Err(EditError::Inexact) }
}

/// Where the change is made in a list of these addresses: at its end for a new endpoint.
fn place(addresses: &[&str], wanted: Wanted<'_>, change: EndpointChange) -> Result<usize, EditError> {
    let address = wanted.address.to_owned();
    match (change, addresses.iter().position(|address| wanted.is(address))) {
        (EndpointChange::Add(_), Some(_)) => Err(EditError::EndpointExists { address }),
        (EndpointChange::Add(_), None) => Ok(addresses.len()),
        (EndpointChange::Remove, Some(0)) if addresses.len() == 1 => Err(EditError::LastEndpoint { address }),
        (_, Some(at)) => Ok(at),
        (_, None) => {
            let known = addresses.iter().map(|known| format!("`{known}`")).collect();
            Err(EditError::NoEndpoint { address, known })
        }
    }
}

/// `endpoints = ["…", { address = "…" }]`
fn in_array(list: &mut Array, wanted: Wanted<'_>, change: EndpointChange) -> Result<(), EditError> {
    let addresses: Vec<&str> = list.iter().map(address_of).collect();
    let at = place(&addresses, wanted, change)?;
    match change {
        EndpointChange::Add(keys) => {
            let mut entry = Value::from(wanted.address);
            set_value(&mut entry, keys);
            add(list, entry);
        }
        EndpointChange::Set(keys) => {
            if let Some(entry) = list.get_mut(at) {
                set_value(entry, keys);
            }
        }
        EndpointChange::Remove => remove(list, at),
    }
    Ok(())
}

/// `[[upstream.NAME.endpoints]]`
fn in_tables(list: &mut ArrayOfTables, wanted: Wanted<'_>, change: EndpointChange) -> Result<(), EditError> {
    let address = |entry: &Table| entry.get("address").and_then(Item::as_str).unwrap_or_default().to_owned();
    let addresses: Vec<String> = list.iter().map(address).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let at = place(&addresses, wanted, change)?;
    match change {
        EndpointChange::Add(keys) => {
            let mut entry = Table::new();
            entry.insert("address", Item::Value(Value::from(wanted.address)));
            set(&mut entry, false, keys);
            list.push(entry);
        }
        EndpointChange::Set(keys) => {
            if let Some(entry) = list.get_mut(at) {
                set(entry, false, keys);
            }
        }
        EndpointChange::Remove => {
            list.remove(at);
        }
    }
    Ok(())
}

/// The address of an entry; empty for one without.
fn address_of(entry: &Value) -> &str {
    let in_table = || entry.as_inline_table()?.get("address")?.as_str();
    entry.as_str().or_else(in_table).unwrap_or_default()
}

/// Gives an entry other keys. It is a plain text where it has no key but its address.
fn set_value(entry: &mut Value, keys: EndpointKeys) {
    let mut table = entry.as_inline_table().cloned().unwrap_or_else(|| {
        let mut table = InlineTable::new();
        table.insert("address", Value::from(address_of(entry)));
        table
    });
    set(&mut table, true, keys);
    let was_plain = !entry.is_inline_table();
    let shrunk = entry.as_inline_table().is_some_and(|before| before.len() > table.len());
    let mut changed = match table.get("address") {
        Some(address) if table.len() == 1 && (was_plain || shrunk) => {
            let mut address = address.clone();
            address.decor_mut().clear();
            address
        }
        _ => Value::InlineTable(table),
    };
    *changed.decor_mut() = entry.decor().clone();
    *entry = changed;
}

fn set(table: &mut dyn TableLike, inline: bool, keys: EndpointKeys) {
    if let Some(weight) = keys.weight {
        put(table, inline, "weight", Value::from(i64::from(weight)));
    }
    for (key, value) in [("backup", keys.backup), ("drain", keys.drain)] {
        match value {
            Some(true) => put(table, inline, key, Value::from(true)),
            Some(false) => take(table, inline, key),
            None => {}
        }
    }
}

fn put(table: &mut dyn TableLike, inline: bool, key: &str, value: Value) {
    match table.get_mut(key) {
        Some(Item::Value(old)) => replace(old, value),
        _ => insert(table, inline, key, Item::Value(value)),
    }
}

/// Takes a key out. The space before a closing brace stays.
fn take(table: &mut dyn TableLike, inline: bool, key: &str) {
    let is_last = inline && table.iter().last().is_some_and(|(last, _)| last == key);
    let removed = table.remove(key).and_then(|item| item.into_value().ok());
    let last = table.iter_mut().last().and_then(|(_, item)| item.as_value_mut());
    if let (true, Some(removed), Some(last)) = (is_last, removed, last)
        && let Some(suffix) = removed.decor().suffix()
    {
        last.decor_mut().set_suffix(suffix.clone());
    }
}

/// What stands before an entry, behind the comma of the one before.
fn before(entry: &Value) -> &str {
    entry.decor().prefix().and_then(|text| text.as_str()).unwrap_or_default()
}

/// What stands behind the last entry: its remark, among others.
fn behind(list: &Array) -> String {
    let last = list.iter().last().and_then(|last| last.decor().suffix()).and_then(|text| text.as_str());
    format!("{}{}", last.unwrap_or_default(), list.trailing().as_str().unwrap_or_default())
}

/// Sets what stands behind the last entry.
fn set_behind(list: &mut Array, text: &str) {
    let last = list.len().saturating_sub(1);
    if let Some(last) = list.get_mut(last) {
        last.decor_mut().set_suffix("");
    }
    list.set_trailing(text);
}

/// Adds an entry, laid out as the last one. The remark of that stays behind it.
fn add(list: &mut Array, mut entry: Value) {
    let Some(last) = list.iter().last() else {
        list.push_formatted(entry);
        return;
    };
    let indent = before(last).rfind('\n').map_or(" ", |at| &before(last)[at..]).to_owned();
    let rest = behind(list);
    let (remark, closing) = rest.split_at(rest.rfind('\n').unwrap_or(0));
    entry.decor_mut().set_prefix(format!("{}{indent}", remark.trim_end()));
    entry.decor_mut().set_suffix("");
    set_behind(list, "");
    list.push_formatted(entry);
    set_behind(list, closing);
}

/// Removes an entry and the remark on its line. Comments on lines of their own stay, and so does the remark of the entry
/// before it.
fn remove(list: &mut Array, at: usize) {
    let Some(entry) = list.get(at) else { return };
    let own = before(entry).to_owned();
    let is_last = at + 1 == list.len();
    let next = if is_last { behind(list) } else { list.get(at + 1).map_or("", before).to_owned() };
    list.remove(at);
    let kept = match next.find('\n') {
        // The next one has a line of its own.
        Some(line) => format!("{}{}", own.rfind('\n').map_or("", |at| own[..at].trim_end()), &next[line..]),
        None if is_last => next,
        None => own,
    };
    if is_last {
        set_behind(list, &kept);
    } else if let Some(entry) = list.get_mut(at) {
        entry.decor_mut().set_prefix(kept);
    }
}

/// Whether `edited`, read back, is what `text` says with that change.
fn is_exact(text: &str, edited: &str, path: &[&str], wanted: Wanted<'_>, change: EndpointChange) -> bool {
    let (Ok(mut expected), Ok(found)) = (text.parse::<toml::Table>(), edited.parse::<toml::Table>()) else {
        return false;
    };
    let Some(mut section) = path.first().and_then(|first| expected.get_mut(*first)) else { return false };
    for key in path[1..].iter().chain(&["endpoints"]) {
        let Some(inner) = section.get_mut(*key) else { return false };
        section = inner;
    }
    let Some(list) = section.as_array_mut() else { return false };
    let address = |entry: &toml::Value| {
        let address = entry.as_str().or_else(|| entry.get("address")?.as_str());
        address.is_some_and(|address| wanted.is(address))
    };
    match (change, list.iter().position(address)) {
        (EndpointChange::Remove, Some(at)) => drop(list.remove(at)),
        (EndpointChange::Add(keys), None) => list.push(with(wanted.address.into(), keys)),
        (EndpointChange::Set(keys), Some(at)) => list[at] = with(list[at].clone(), keys),
        _ => return false,
    }
    bare(&mut expected) == bare(&mut found.clone())
}

/// An entry with other keys.
fn with(entry: toml::Value, keys: EndpointKeys) -> toml::Value {
    let mut table = match entry {
        toml::Value::Table(table) => table,
        address => toml::Table::from_iter([("address".to_owned(), address)]),
    };
    if let Some(weight) = keys.weight {
        table.insert("weight".to_owned(), i64::from(weight).into());
    }
    for (key, value) in [("backup", keys.backup), ("drain", keys.drain)] {
        match value {
            Some(true) => drop(table.insert(key.to_owned(), true.into())),
            Some(false) => drop(table.remove(key)),
            None => {}
        }
    }
    table.into()
}

/// The whole with each endpoint as a table, which means the same as its address alone.
fn bare(root: &mut toml::Table) -> String {
    let plain = |list: &mut toml::Value| {
        for entry in list.as_array_mut().into_iter().flatten().filter(|entry| entry.is_str()) {
            *entry = with(entry.clone(), EndpointKeys::default());
        }
    };
    let upstreams = root.get_mut("upstream").and_then(toml::Value::as_table_mut);
    for (_, upstream) in upstreams.into_iter().flat_map(toml::Table::iter_mut) {
        upstream.get_mut("endpoints").into_iter().for_each(plain);
        let overlays = upstream.get_mut("environment").and_then(toml::Value::as_table_mut);
        for (_, overlay) in overlays.into_iter().flat_map(toml::Table::iter_mut) {
            overlay.get_mut("endpoints").into_iter().for_each(plain);
        }
    }
    // Not a number is not equal to itself, but written in the same way.
    format!("{root:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# top\n[upstream.app]\nendpoints = [\n  # lines\n  \"a:1\", # first\n  { address = \"b:1\", weight = 3 }, # second\n]\n\
        # below\nbalance = \"round-robin\"\n";

    const DRAIN: EndpointKeys = EndpointKeys { weight: None, backup: None, drain: Some(true) };
    const ENABLE: EndpointKeys = EndpointKeys { weight: None, backup: None, drain: Some(false) };
    const NONE: EndpointKeys = EndpointKeys { weight: None, backup: None, drain: None };

    fn weight(weight: u32) -> EndpointKeys {
        EndpointKeys { weight: Some(weight), ..NONE }
    }

    fn edit(text: &str, upstream: &str, address: &str, change: EndpointChange) -> Result<String, EditError> {
        endpoint(text, Path::new("/etc"), upstream, address, change)
    }

    fn edited(text: &str, address: &str, change: EndpointChange) -> String {
        edit(text, "app", address, change).unwrap()
    }

    #[test]
    fn an_endpoint_is_changed_in_its_place_and_back() {
        let drained = edited(TEXT, "a:1", EndpointChange::Set(DRAIN));
        assert_eq!(drained, TEXT.replace("\"a:1\"", "{ address = \"a:1\", drain = true }"));
        assert_eq!(edited(&drained, "a:1", EndpointChange::Set(ENABLE)), TEXT);
        let drained = edited(TEXT, "b:1", EndpointChange::Set(DRAIN));
        assert_eq!(drained, TEXT.replace("weight = 3", "weight = 3, drain = true"));
        assert_eq!(edited(&drained, "b:1", EndpointChange::Set(ENABLE)), TEXT);
        assert_eq!(
            edited(TEXT, "b:1", EndpointChange::Set(weight(7))),
            TEXT.replace("weight = 3", "weight = 7")
        );
        for change in [NONE, ENABLE] {
            assert_eq!(edited(TEXT, "b:1", EndpointChange::Set(change)), TEXT);
            assert_eq!(edited(TEXT, "a:1", EndpointChange::Set(change)), TEXT);
        }
    }

    #[test]
    fn an_endpoint_is_added_behind_the_others_and_removed_with_its_remark() {
        let added = edited(TEXT, "c:1", EndpointChange::Add(NONE));
        assert_eq!(added, TEXT.replace("# second\n", "# second\n  \"c:1\",\n"));
        assert_eq!(edited(&added, "c:1", EndpointChange::Remove), TEXT);
        let removed = edited(TEXT, "b:1", EndpointChange::Remove);
        assert_eq!(removed, TEXT.replace("  { address = \"b:1\", weight = 3 }, # second\n", ""));
        let removed = edited(TEXT, "a:1", EndpointChange::Remove);
        assert_eq!(removed, TEXT.replace("  \"a:1\", # first\n", ""));
        let bare = "[upstream.app]\nendpoints = [\n  \"a:1\", # first\n  \"b:1\" # second\n]\n";
        let added = edited(bare, "c:1", EndpointChange::Add(NONE));
        assert_eq!(added, bare.replace("\"b:1\" # second", "\"b:1\", # second\n  \"c:1\""));
        assert_eq!(
            edited(bare, "b:1", EndpointChange::Remove),
            bare.replace(",", "").replace("  \"b:1\" # second\n", "")
        );
    }

    #[test]
    fn a_list_on_one_line_stays_on_it() {
        let keys = EndpointKeys { weight: Some(2), backup: Some(true), drain: Some(true) };
        for text in [
            "upstream = { app = { endpoints = [\"a:1\"] } }\n",
            "[upstream]\napp.endpoints = [\"a:1\"]\r\n",
            "[upstream.app]\nendpoints = [ \"a:1\" ] # one\n",
        ] {
            let added = edited(text, "c:1", EndpointChange::Add(keys));
            let entry = "{ address = \"c:1\", weight = 2, backup = true, drain = true }";
            assert_eq!(added, text.replace("\"a:1\"", &format!("\"a:1\", {entry}")));
            assert_eq!(edited(&added, "c:1", EndpointChange::Remove), text);
            let third = edited(&added, "d:1", EndpointChange::Add(NONE));
            assert_eq!(
                edited(&third, "c:1", EndpointChange::Remove),
                text.replace("\"a:1\"", "\"a:1\", \"d:1\"")
            );
            assert_eq!(
                edited(&third, "a:1", EndpointChange::Remove),
                text.replace("\"a:1\"", &format!("{entry}, \"d:1\""))
            );
        }
    }

    #[test]
    fn overlays_and_tables_have_endpoints_too() {
        let text = "[[upstream.app.endpoints]]\naddress = \"a:1\" # first\n\n[upstream.app.environment.test]\nendpoints = [\"t:1\"]\n\
            [upstream.app.environment.live]\npool.max_age = \"1m\"\n";
        let drained = edited(text, "a:1", EndpointChange::Set(DRAIN));
        assert_eq!(drained, text.replace("# first\n", "# first\ndrain = true\n"));
        assert_eq!(edited(&drained, "a:1", EndpointChange::Set(ENABLE)), text);
        let added = edited(text, "b:1", EndpointChange::Add(weight(2)));
        assert!(added.contains("[[upstream.app.endpoints]]\naddress = \"b:1\"\nweight = 2\n"), "{added}");
        let tested = edit(text, "app@test", "u:1", EndpointChange::Add(NONE)).unwrap();
        assert_eq!(tested, text.replace("[\"t:1\"]", "[\"t:1\", \"u:1\"]"));
        for environment in ["live", "none"] {
            let refused = edit(text, &format!("app@{environment}"), "u:1", EndpointChange::Add(NONE));
            assert!(matches!(refused, Err(EditError::NoOwnEndpoints { .. })), "{refused:?}");
        }
    }

    #[test]
    fn a_path_is_the_same_however_it_is_written() {
        let text = "[upstream.app]\nendpoints = [\"unix:app.sock\", \"H:1\"]\n";
        let drained = edited(text, "unix:/etc/app.sock", EndpointChange::Set(DRAIN));
        assert_eq!(
            drained,
            text.replace("\"unix:app.sock\"", "{ address = \"unix:app.sock\", drain = true }")
        );
        let again = edit(text, "app", "unix:/etc/app.sock", EndpointChange::Add(NONE));
        assert!(matches!(again, Err(EditError::EndpointExists { .. })), "{again:?}");
    }

    #[test]
    fn what_can_not_be_done_is_an_error() {
        let no = |name: &str, address: &str, change| edit(TEXT, name, address, change).unwrap_err();
        let near = no("ap", "a:1", EndpointChange::Remove);
        assert!(matches!(near, EditError::NoUpstream { near: Some(near), .. } if near == "app"));
        let unknown = no("app", "x:1", EndpointChange::Set(DRAIN)).to_string();
        assert!(unknown.contains("`x:1`") && unknown.contains("there is `a:1`, `b:1`"), "{unknown}");
        let add = EndpointChange::Add(NONE);
        assert_eq!(no("app", "b:1", add), EditError::EndpointExists { address: "b:1".into() });
        let one = edited(TEXT, "b:1", EndpointChange::Remove);
        let last = edit(&one, "app", "a:1", EndpointChange::Remove);
        assert_eq!(last, Err(EditError::LastEndpoint { address: "a:1".into() }));
    }
}
