//! Comments that stand above what a change removes, but are not about it: a blank line parts them from it.

use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, TableLike};

/// Comments that wait for a place, and where the change is at.
#[derive(Default)]
pub(super) struct Comments {
    /// The number of the header that the change is under, in the order of the file.
    position: isize,
    /// The header that a comment precedes, at least, and the comment.
    waiting: Vec<(isize, String)>,
}

impl Comments {
    /// What follows is under the header of this number.
    pub(super) fn enter(&mut self, position: isize) {
        self.position = position;
    }

    /// Removes a key with its own comment; one that a blank line parts from it stays.
    pub(super) fn remove(&mut self, table: &mut dyn TableLike, key: &str) {
        let keys: Vec<String> = table.iter().map(|(key, _)| key.to_owned()).collect();
        let Some(at) = keys.iter().position(|known| known == key) else { return };
        let above = above(table, key).map(|text| apart(&text).to_owned()).unwrap_or_default();
        let header = table.get(key).is_some_and(|item| header_of(item).is_some());
        let position = table.get(key).and_then(header_of).unwrap_or(self.position);
        table.remove(key);
        if above.is_empty() {
            return;
        }
        let is_value = |key: &&String| table.get(key).is_some_and(Item::is_value);
        let next = keys[at + 1..].iter().find(is_value).filter(|_| !header).cloned();
        match next.and_then(|next| table.key_mut(&next)) {
            Some(mut next) => {
                let decor = next.leaf_decor_mut();
                let own = decor.prefix().and_then(|own| own.as_str()).unwrap_or_default();
                let both = format!("{above}{own}");
                decor.set_prefix(both);
            }
            None => self.waiting.push((position, above)),
        }
    }

    /// Removes an entry of `[[…]]` in the same way.
    pub(super) fn remove_entry(&mut self, list: &mut ArrayOfTables, at: usize) {
        let Some(entry) = list.get(at) else { return };
        let above = entry.decor().prefix().and_then(|text| text.as_str()).map(|text| apart(text).to_owned());
        let position = entry.position().unwrap_or(self.position);
        list.remove(at);
        if let Some(above) = above.filter(|above| !above.is_empty()) {
            self.waiting.push((position, above));
        }
    }

    /// Puts what waits before the next header of the file, or at its end.
    pub(super) fn place(self, document: &mut DocumentMut) {
        for (position, comment) in self.waiting {
            let mut next = None;
            nearest(document.as_table(), position, &mut next);
            let found = next.and_then(|next| header_at(document.as_table_mut(), next));
            match found {
                Some(table) => {
                    let own = table.decor().prefix().and_then(|own| own.as_str()).unwrap_or("\n");
                    let both = format!("{comment}{own}");
                    table.decor_mut().set_prefix(both);
                }
                None => {
                    let own = document.trailing().as_str().unwrap_or_default();
                    let both = format!("{comment}{own}");
                    document.set_trailing(both);
                }
            }
        }
    }
}

/// The text between the line before a key, or its header, and the key.
fn above(table: &dyn TableLike, key: &str) -> Option<String> {
    let item = table.get(key)?;
    let decor = match item {
        Item::Table(inner) if inner.is_dotted() => {
            let (first, _) = inner.iter().next()?;
            return above(inner, first);
        }
        Item::Table(inner) => inner.decor(),
        Item::ArrayOfTables(list) => list.get(0)?.decor(),
        _ => table.key(key)?.leaf_decor(),
    };
    decor.prefix()?.as_str().map(str::to_owned)
}

/// The part up to the last blank line, if it has a comment.
fn apart(above: &str) -> &str {
    let mut end = 0;
    let mut at = 0;
    for line in above.split_inclusive('\n') {
        at += line.len();
        if line.trim().is_empty() && line.ends_with('\n') {
            end = at;
        }
    }
    if above[..end].contains('#') { &above[..end] } else { "" }
}

/// The number of a table's header in the order of the file.
fn header_of(item: &Item) -> Option<isize> {
    match item {
        Item::Table(table) if !table.is_dotted() => table.position(),
        Item::ArrayOfTables(list) => list.get(0)?.position(),
        _ => None,
    }
}

/// The least number of a header within a table.
pub(super) fn first_header(table: &Table) -> Option<isize> {
    let first = |(_, item): (&str, &Item)| match item {
        Item::Table(table) => table.position().into_iter().chain(first_header(table)).min(),
        item => header_of(item),
    };
    table.iter().filter_map(first).min()
}

/// The least number of a visible header beyond `position`.
fn nearest(table: &Table, position: isize, found: &mut Option<isize>) {
    let mut see = |table: &Table| {
        if !table.is_dotted()
            && !table.is_implicit()
            && let Some(at) = table.position().filter(|at| *at > position)
            && found.is_none_or(|found| at < found)
        {
            *found = Some(at);
        }
        nearest(table, position, found);
    };
    for (_, item) in table.iter() {
        match item {
            Item::Table(table) => see(table),
            Item::ArrayOfTables(list) => list.iter().for_each(&mut see),
            _ => {}
        }
    }
}

fn header_at(table: &mut Table, position: isize) -> Option<&mut Table> {
    for (_, item) in table.iter_mut() {
        let found = match item {
            Item::Table(inner) => under(inner, position),
            Item::ArrayOfTables(list) => list.iter_mut().find_map(|inner| under(inner, position)),
            _ => None,
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

fn under(table: &mut Table, position: isize) -> Option<&mut Table> {
    let here = table.position() == Some(position) && !table.is_dotted() && !table.is_implicit();
    if here { Some(table) } else { header_at(table, position) }
}
