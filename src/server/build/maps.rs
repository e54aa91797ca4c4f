//! Maps: their tables, from the config or from files.

use std::path::Path;
use std::sync::Arc;

use super::{Builder, Made};
use crate::base::limits::MAX_MAP_FILE_BYTES;
use crate::base::published::Published;
use crate::config::access::{Piece, Variable};
use crate::config::plan::{self, ConditionalEdits, Entries, HeaderEdits};
use crate::route::{Map, MapTable};
use crate::server::regular_file;

/// The table of a map, and what it was made of.
#[derive(Clone, Debug)]
pub(crate) struct MadeMap {
    pub(crate) plan: plan::Map,
    pub(crate) table: Published<MapTable>,
}

impl Made {
    /// The maps that are made of files.
    pub(crate) fn maps(&self) -> impl Iterator<Item = (&Path, &MadeMap)> {
        self.maps.iter().filter_map(|made| match &made.plan.entries {
            Entries::File(path) => Some((path.as_path(), made)),
            Entries::Here(_) => None,
        })
    }
}

/// Reads the entries of a map.
///
/// # Errors
/// What is wrong with its file, in words.
pub(crate) fn read(map: &plan::Map) -> Result<MapTable, String> {
    let mut table = MapTable::new(&map.input, map.any_case);
    match &map.entries {
        // The check has read them.
        Entries::Here(entries) => entries.iter().try_for_each(|(key, value)| table.add(key, value))?,
        Entries::File(path) => {
            let wrong = |error: String| format!("{}: {error}", path.display());
            let text = regular_file::read_text(path, MAX_MAP_FILE_BYTES);
            let text = text.map_err(|error| wrong(error.to_string()))?;
            table.read(&text).map_err(wrong)?;
        }
    }
    Ok(table)
}

impl Builder<'_> {
    /// Makes the maps. By a refresh, files are not read again: their watch does that.
    pub(super) fn maps(&mut self) -> Option<()> {
        let plan = self.plan;
        for map in &plan.maps {
            let before = self.previous.and_then(|previous| {
                let mut known = previous.made.maps.iter();
                known.find(|made| made.plan == *map).map(|made| made.table.clone())
            });
            let table = match before.filter(|_| self.refreshes || matches!(map.entries, Entries::Here(_))) {
                Some(table) => table,
                None => {
                    let place = match &map.entries {
                        Entries::File(file) => &file.span,
                        Entries::Here(_) => &map.name.span,
                    };
                    Published::new(self.good(place, read(map))?)
                }
            };
            let made = Map::new(&map.name, map.input.clone(), &map.default, table.clone());
            self.maps.push(Arc::new(made));
            self.made_maps.push(MadeMap { plan: map.clone(), table });
        }
        Some(())
    }
}

/// Binds the maps that a route names.
pub(super) fn bind_route(route: &mut plan::Route, maps: &[Arc<Map>]) {
    route.conditions.iter_mut().for_each(|clause| clause.bind(maps));
    route.rules.refusals.iter_mut().for_each(|refusal| refusal.when.bind(maps));
    route.rewrite.bind(maps);
    if let plan::Destination::Redirect(redirect) = &mut route.to {
        redirect.bind(maps);
    }
    bind_edits(&mut route.request_headers, maps);
    bind_edits(&mut route.response_headers, maps);
    bind_conditional(&mut route.conditional_headers, maps);
}

/// The same of a listener.
pub(super) fn bind_listener(listener: &plan::Listener, maps: &[Arc<Map>]) -> plan::Listener {
    let mut bound = listener.clone();
    bound.refusals.iter_mut().for_each(|refusal| refusal.when.bind(maps));
    bind_edits(&mut bound.request_headers, maps);
    bind_edits(&mut bound.response_headers, maps);
    bind_conditional(&mut bound.conditional_headers, maps);
    bound
}

fn bind_conditional(all: &mut [ConditionalEdits], maps: &[Arc<Map>]) {
    for one in all {
        one.when.iter_mut().for_each(|when| when.bind(maps));
        bind_edits(&mut one.request, maps);
        bind_edits(&mut one.response, maps);
    }
}

fn bind_edits(edits: &mut HeaderEdits, maps: &[Arc<Map>]) {
    for piece in edits.set.iter_mut().chain(&mut edits.add).flat_map(|(_, value)| value) {
        if let Piece::Value(Variable::Map(map)) = piece {
            map.bind(maps);
        }
    }
}
