//! Whole sections of a config's text: an upstream, a listener or a route is added, changed or removed. The rest stays.

use toml_edit::{ArrayOfTables, DocumentMut, Item, Table};

use super::section::listener_at;
use super::{Comments, EditError, Patch, Place, convert, created, lines, merge, merge_values, nearest};

/// What is done with a section.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TableChange<'a> {
    /// It is added behind the others of its kind.
    Add(&'a Patch),
    /// The same as a part of an API, with a comment that says so.
    Register(&'a Patch),
    /// Keys are merged into it (RFC 7396).
    Merge(&'a Patch),
    /// It is removed.
    Remove,
}

/// Makes a change at `place`, which is one section: for a new route, its number is passed over. Read back, the result has
/// the change, and everything else as before.
///
/// # Errors
/// See [`EditError`]. Whether the result is valid as a config is decided by [`parse`](crate::config::parse).
pub(super) fn table(text: &str, place: &Place, change: TableChange<'_>) -> Result<String, EditError> {
    let syntax = |error: toml_edit::TomlError| EditError::Syntax(error.to_string());
    let mut document: DocumentMut = lines::plain(text).parse().map_err(syntax)?;
    let mut comments = Comments::default();
    match place {
        Place::Upstream(name) => in_upstreams(&mut document, name, change, &mut comments)?,
        Place::Listener(_) | Place::Route(_) => in_list(&mut document, place, change, &mut comments)?,
        Place::Upstreams | Place::Listeners | Place::Routes => return Err(EditError::Inexact),
    }
    comments.place(&mut document);
    let edited = lines::like(text, &document.to_string());
    if is_exact(text, &edited, place, change) { Ok(edited) } else { Err(EditError::Inexact) }
}

fn in_upstreams(
    document: &mut DocumentMut,
    name: &str,
    change: TableChange<'_>,
    comments: &mut Comments,
) -> Result<(), EditError> {
    let parent = document.entry("upstream").or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true); // no header of its own
        Item::Table(table)
    });
    let Some(all) = parent.as_table_like_mut() else { return Err(EditError::Inexact) };
    let known = all.contains_key(name);
    match change {
        TableChange::Add(_) | TableChange::Register(_) if known => {
            Err(EditError::Exists { what: format!("the upstream `{name}`") })
        }
        TableChange::Add(keys) => {
            all.insert(name, Item::Table(fresh(keys)?));
            Ok(())
        }
        TableChange::Register(keys) => {
            all.insert(name, Item::Table(registered(fresh(keys)?)));
            Ok(())
        }
        _ if !known => {
            let near = nearest(name, all.iter().map(|(key, _)| key)).map(str::to_owned);
            Err(EditError::NoUpstream { name: name.to_owned(), near })
        }
        TableChange::Merge(keys) => all.get_mut(name).map_or(Ok(()), |item| merge(item, keys, comments)),
        TableChange::Remove => {
            comments.remove(all, name);
            Ok(())
        }
    }
}

fn in_list(
    document: &mut DocumentMut,
    place: &Place,
    change: TableChange<'_>,
    comments: &mut Comments,
) -> Result<(), EditError> {
    let key = kind(place);
    let parent = document.entry(key).or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    let Some(list) = parent.as_array_of_tables_mut() else { return Err(EditError::Inexact) };
    let at = match place {
        Place::Listener(name) => listener_at(list.iter().map(listener), name),
        Place::Route(at) => (*at < list.len()).then_some(*at),
        _ => None,
    };
    match (change, at) {
        (TableChange::Add(_) | TableChange::Register(_), Some(_)) if matches!(place, Place::Listener(_)) => {
            Err(EditError::Exists { what: words(place) })
        }
        (TableChange::Add(keys), _) => {
            list.push(fresh(keys)?);
            Ok(())
        }
        (TableChange::Register(keys), _) => {
            list.push(registered(fresh(keys)?));
            Ok(())
        }
        (_, None) => Err(EditError::Missing { what: words(place) }),
        (TableChange::Merge(keys), Some(at)) => {
            let Some(table) = list.get_mut(at) else { return Ok(()) };
            let mut item = Item::Table(std::mem::take(table));
            merge(&mut item, keys, comments)?;
            if let Ok(merged) = item.into_table() {
                *table = merged;
            }
            Ok(())
        }
        (TableChange::Remove, Some(at)) => {
            comments.remove_entry(list, at);
            Ok(())
        }
    }
}

/// Keys that a new section begins with: they say which one it is.
const FIRST: [&str; 5] = ["name", "address", "listener", "host", "path"];

/// A section with these keys.
fn fresh(keys: &Patch) -> Result<Table, EditError> {
    let mut table = Table::new();
    let given = || keys.iter().filter(|(_, value)| !value.is_null());
    let leads = |key: &str| FIRST.contains(&key);
    let first = FIRST.iter().filter_map(|first| given().find(|(key, _)| key == first));
    for (key, value) in first.chain(given().filter(|(key, _)| !leads(key))) {
        let item = match value {
            serde_json::Value::Object(inner) => created(inner, false)?,
            plain => Item::Value(convert(key, plain)?),
        };
        table.insert(key, item);
    }
    Ok(table)
}

/// The comment above each section of an API, by which it is removed.
const REGISTERED: &str = "# Registered by `ringate api add`; `ringate api remove` removes it.";

fn registered(mut table: Table) -> Table {
    table.decor_mut().set_prefix(format!("\n{REGISTERED}\n"));
    table
}

/// Whether the comment of the section at `place`, an upstream or a route, says that it was registered with an API.
pub(super) fn is_registered(text: &str, place: &Place) -> bool {
    let Ok(document) = lines::plain(text).parse::<DocumentMut>() else { return false };
    let table = match place {
        Place::Upstream(name) => {
            document.get("upstream").and_then(|all| all.get(name.as_str())).and_then(Item::as_table)
        }
        Place::Route(at) => {
            document.get("route").and_then(Item::as_array_of_tables).and_then(|list| list.get(*at))
        }
        _ => None,
    };
    let above = table.and_then(|table| table.decor().prefix()?.as_str()).unwrap_or_default();
    // A blank line parts what is about something else.
    above.rsplit("\n\n").next().is_some_and(|own| own.contains(REGISTERED))
}

fn kind(place: &Place) -> &'static str {
    match place {
        Place::Upstreams | Place::Upstream(_) => "upstream",
        Place::Listeners | Place::Listener(_) => "listener",
        Place::Routes | Place::Route(_) => "route",
    }
}

/// There is nothing at a place.
pub(super) fn missing(place: &Place) -> EditError {
    EditError::Missing { what: words(place) }
}

fn words(place: &Place) -> String {
    match place {
        Place::Listener(name) => format!("the listener `{name}`"),
        Place::Route(at) => format!("the route {at}"),
        other => kind(other).to_owned(),
    }
}

/// The name and the addresses of a listener.
fn listener(table: &Table) -> (Option<String>, Vec<String>) {
    let text = |item: &Item| item.as_str().map(str::to_owned);
    let address = table.get("address");
    let several = address.and_then(Item::as_array).into_iter().flatten();
    let several = several.filter_map(|value| value.as_str().map(str::to_owned));
    (table.get("name").and_then(text), address.and_then(text).into_iter().chain(several).collect())
}

/// Whether `edited`, read back, is what `text` says with that change.
fn is_exact(text: &str, edited: &str, place: &Place, change: TableChange<'_>) -> bool {
    let (Ok(mut expected), Ok(found)) = (text.parse::<toml::Table>(), edited.parse::<toml::Table>()) else {
        return false;
    };
    let kind = kind(place);
    let with = |mut table: toml::Table, keys: &Patch| {
        merge_values(&mut table, keys);
        toml::Value::Table(table)
    };
    if let Place::Upstream(name) = place {
        let all = expected.entry(kind).or_insert_with(|| toml::Table::new().into());
        let Some(all) = all.as_table_mut() else { return false };
        let old = all.get(name).and_then(toml::Value::as_table).cloned().unwrap_or_default();
        match change {
            TableChange::Add(keys) | TableChange::Register(keys) | TableChange::Merge(keys) => {
                drop(all.insert(name.clone(), with(old, keys)))
            }
            TableChange::Remove => drop(all.remove(name)),
        }
    } else {
        let list = expected.entry(kind).or_insert_with(|| toml::Value::Array(Vec::new()));
        let Some(list) = list.as_array_mut() else { return false };
        let at = match place {
            Place::Route(at) => Some(*at),
            Place::Listener(name) => listener_at(list.iter().map(super::section::of_listener), name),
            _ => None,
        };
        match (change, at) {
            (TableChange::Add(keys) | TableChange::Register(keys), _) => {
                list.push(with(toml::Table::new(), keys))
            }
            (TableChange::Merge(keys), Some(at)) if at < list.len() => {
                list[at] = with(list[at].as_table().cloned().unwrap_or_default(), keys);
            }
            (TableChange::Remove, Some(at)) if at < list.len() => drop(list.remove(at)),
            _ => return false,
        }
    }
    // An empty list is none. Not a number is not equal to itself, but written in the same way.
    let bare = |mut root: toml::Table| {
        root.retain(|key, value| key != kind || !value.as_array().is_some_and(Vec::is_empty));
        root.retain(|key, value| key != kind || !value.as_table().is_some_and(toml::Table::is_empty));
        format!("{root:?}")
    };
    bare(expected) == bare(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEXT: &str = "# top\n[[listener]]\nname = \"web\" # ours\naddress = \"127.0.0.1:80\"\n\n# about routes\n\n# the first\n[[route]]\n\
        upstream = \"a\" # there\n\n# the second\n[[route]]\nhost = \"b\"\nupstream = \"b\"\n\n# an upstream\n[upstream.a]\n\
        endpoints = [\"a:1\"]\n[upstream.b]\nendpoints = [\"b:1\"]\n\n[log]\nlevel = \"info\"\n";

    fn patch(value: serde_json::Value) -> Patch {
        value.as_object().unwrap().clone()
    }

    fn upstream(name: &str) -> Place {
        Place::Upstream(name.to_owned())
    }

    #[test]
    fn what_is_added_stands_behind_its_kind_and_removing_it_restores_the_text() {
        let keys = patch(json!({ "endpoints": ["c:1"], "tls": { "trust": ["ca.pem"] }, "gone": null }));
        let added = table(TEXT, &upstream("c"), TableChange::Add(&keys)).unwrap();
        let section = "\n[upstream.c]\nendpoints = [\"c:1\"]\ntls.trust = [\"ca.pem\"]\n";
        assert_eq!(added, TEXT.replace("[\"b:1\"]\n", &format!("[\"b:1\"]\n{section}")));
        assert_eq!(table(&added, &upstream("c"), TableChange::Remove).unwrap(), TEXT);
        let keys = patch(json!({ "path": "/x", "upstream": "a" }));
        let added = table(TEXT, &Place::Route(0), TableChange::Add(&keys)).unwrap();
        let section = "upstream = \"b\"\n\n[[route]]\npath = \"/x\"\nupstream = \"a\"\n";
        assert_eq!(added, TEXT.replace("upstream = \"b\"\n", section));
        assert_eq!(table(&added, &Place::Route(2), TableChange::Remove).unwrap(), TEXT);
        let listener = Place::Listener("more".to_owned());
        let keys = patch(json!({ "name": "more", "address": ["127.0.0.1:81"] }));
        let added = table(TEXT, &listener, TableChange::Add(&keys)).unwrap();
        assert!(
            added.contains("80\"\n\n[[listener]]\nname = \"more\"\naddress = [\"127.0.0.1:81\"]\n\n# about"),
            "{added}"
        );
        assert_eq!(
            table(&added, &Place::Listener("127.0.0.1:81".to_owned()), TableChange::Remove).unwrap(),
            TEXT
        );
    }

    #[test]
    fn what_is_registered_says_so_until_it_is_removed() {
        let keys = patch(json!({ "endpoints": ["c:1"] }));
        let one = table(TEXT, &upstream("c"), TableChange::Register(&keys)).unwrap();
        let keys = patch(json!({ "path": "/x", "upstream": "c" }));
        let both = table(&one, &Place::Route(0), TableChange::Register(&keys)).unwrap();
        assert!(is_registered(&both, &upstream("c")) && is_registered(&both, &Place::Route(2)), "{both}");
        assert!(!is_registered(&both, &upstream("b")) && !is_registered(&both, &Place::Route(1)));
        // What is changed is still the API's.
        let keys = patch(json!({ "host": "h" }));
        let changed = table(&both, &Place::Route(2), TableChange::Merge(&keys)).unwrap();
        assert!(is_registered(&changed, &Place::Route(2)), "{changed}");
        assert_eq!(table(&both, &Place::Route(2), TableChange::Remove).unwrap(), one);
        assert_eq!(table(&one, &upstream("c"), TableChange::Remove).unwrap(), TEXT);
    }

    #[test]
    fn comments_that_are_about_others_stay() {
        let removed = table(TEXT, &Place::Route(0), TableChange::Remove).unwrap();
        assert_eq!(removed, TEXT.replace("# the first\n[[route]]\nupstream = \"a\" # there\n", ""));
        let keys = patch(json!({ "upstream": "b", "host": "h" }));
        let merged = table(TEXT, &Place::Route(0), TableChange::Merge(&keys)).unwrap();
        assert_eq!(
            merged,
            TEXT.replace("upstream = \"a\" # there\n", "upstream = \"b\" # there\nhost = \"h\"\n")
        );
        let keys = patch(json!({ "address": "127.0.0.1:90" }));
        let merged = table(TEXT, &Place::Listener("web".to_owned()), TableChange::Merge(&keys)).unwrap();
        assert_eq!(merged, TEXT.replace("1:80", "1:90"));
    }

    #[test]
    fn what_is_not_there_or_there_already_is_refused() {
        let keys = patch(json!({ "endpoints": ["c:1"] }));
        let add = |place: &Place| table(TEXT, place, TableChange::Add(&keys));
        assert!(matches!(add(&upstream("a")), Err(EditError::Exists { .. })));
        assert!(matches!(add(&Place::Listener("web".to_owned())), Err(EditError::Exists { .. })));
        let remove = |place: &Place| table(TEXT, place, TableChange::Remove);
        assert!(matches!(remove(&upstream("none")), Err(EditError::NoUpstream { .. })));
        assert!(matches!(remove(&Place::Route(2)), Err(EditError::Missing { .. })));
        assert!(matches!(remove(&Place::Listener("none".to_owned())), Err(EditError::Missing { .. })));
        let inline = "upstream.a.endpoints = [\"a:1\"]\nroute = [{ upstream = \"a\" }]\n";
        assert_eq!(table(inline, &Place::Route(0), TableChange::Remove), Err(EditError::Inexact));
    }
}
