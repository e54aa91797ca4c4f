//! Changes of a config of several files: each is made in the file that has the section, new sections in the first one.

use std::path::Path;

use super::section::{self, Place, Texts};
use super::{EditError, EndpointChange, Patch, TableChange, nearest};
use crate::config::sources::Sources;

/// The sections of one kind in all files: of lists those of the named file first.
///
/// The number of a route counts over all files, in their order.
pub(crate) fn section(sources: &Sources, place: &Place) -> Option<toml::Value> {
    match place {
        Place::Upstreams => {
            let mut all = toml::Table::new();
            for text in texts(sources) {
                if let Some(toml::Value::Table(more)) = section::section(text, place) {
                    all.extend(more);
                }
            }
            (!all.is_empty()).then_some(toml::Value::Table(all))
        }
        Place::Listeners | Place::Routes => {
            let lists = texts(sources).filter_map(|text| section::section(text, place));
            let all: Vec<toml::Value> = lists.flat_map(entries).collect();
            (!all.is_empty()).then_some(toml::Value::Array(all))
        }
        one => {
            let (file, place) = find(sources, one)?;
            section::section(&sources.files()[file].text, &place)
        }
    }
}

/// Makes a change at `place`, see [`table`](super::tables::table).
///
/// # Errors
/// See [`EditError`].
pub(crate) fn table(sources: &Sources, place: &Place, change: TableChange<'_>) -> Result<Sources, EditError> {
    let found = find(sources, place);
    let (file, place) = match (change, found) {
        // Refused there, unless routes have no names.
        (TableChange::Add(_) | TableChange::Register(_), Some((file, known)))
            if !matches!(place, Place::Route(_)) =>
        {
            (file, known)
        }
        (TableChange::Add(_) | TableChange::Register(_), _) => (0, place.clone()),
        (_, Some(found)) => found,
        (_, None) => match place {
            Place::Upstream(name) => return Err(no_upstream(sources, name)),
            other => return Err(super::tables::missing(other)),
        },
    };
    let text = super::tables::table(&sources.files()[file].text, &place, change)?;
    Ok(sources.with(file, text))
}

/// Whether the upstream or route at `place` was registered with an API, see [`TableChange::Register`].
pub(crate) fn is_registered(sources: &Sources, place: &Place) -> bool {
    find(sources, place).is_some_and(|(file, place)| {
        let text = &sources.files()[file].text;
        super::tables::is_registered(text, &place)
    })
}

/// Merges keys into an upstream, see [`upstream_in`](super::upstream_in).
///
/// # Errors
/// See [`EditError`].
pub(crate) fn upstream(
    sources: &Sources,
    name: &str,
    environment: Option<&str>,
    patch: &Patch,
) -> Result<Sources, EditError> {
    let file = of_upstream(sources, name)?;
    let text = super::upstream_in(&sources.files()[file].text, name, environment, patch)?;
    Ok(sources.with(file, text))
}

/// Changes an endpoint, see [`endpoint`](super::endpoints::endpoint).
///
/// # Errors
/// See [`EditError`].
pub(crate) fn endpoint(
    sources: &Sources,
    folder: &Path,
    upstream: &str,
    address: &str,
    change: EndpointChange,
) -> Result<Sources, EditError> {
    let file = of_upstream(sources, upstream.split('@').next().unwrap_or_default())?;
    let text = super::endpoints::endpoint(&sources.files()[file].text, folder, upstream, address, change)?;
    Ok(sources.with(file, text))
}

/// How many routes the first file has: a new one stands behind them, before those of other files.
pub(crate) fn own_routes(sources: &Sources) -> usize {
    section::section(&sources.first().text, &Place::Routes).map_or(0, |list| entries(list).count())
}

fn texts(sources: &Sources) -> impl Iterator<Item = &str> {
    sources.files().iter().map(|file| file.text.as_str())
}

fn entries(list: toml::Value) -> impl Iterator<Item = toml::Value> {
    match list {
        toml::Value::Array(entries) => entries,
        _ => Vec::new(),
    }
    .into_iter()
}

/// The file that has a section, and its place there.
fn find(sources: &Sources, place: &Place) -> Option<(usize, Place)> {
    match place {
        Place::Upstream(name) => of_upstream(sources, name).ok().map(|file| (file, place.clone())),
        Place::Listener(name) => {
            let each = texts(sources).enumerate().flat_map(|(file, text)| {
                let list = section::section(text, &Place::Listeners).into_iter().flat_map(entries);
                list.map(move |listener| (file, section::of_listener(&listener))).collect::<Vec<_>>()
            });
            let all: Vec<(usize, Texts)> = each.collect();
            let at = section::listener_at(all.iter().map(|(_, names)| names.clone()), name)?;
            Some((all[at].0, place.clone()))
        }
        Place::Route(at) => {
            let mut left = *at;
            for (file, text) in texts(sources).enumerate() {
                let own = section::section(text, &Place::Routes).map_or(0, |list| entries(list).count());
                if left < own {
                    return Some((file, Place::Route(left)));
                }
                left -= own;
            }
            None
        }
        Place::Upstreams | Place::Listeners | Place::Routes => Some((0, place.clone())),
    }
}

fn of_upstream(sources: &Sources, name: &str) -> Result<usize, EditError> {
    let place = Place::Upstream(name.to_owned());
    // A text that is no TOML is reported by the change itself.
    let is_broken = |text: &&str| text.parse::<toml::Table>().is_err();
    if let Some(broken) = texts(sources).position(|text| is_broken(&text)) {
        return Ok(broken);
    }
    let mut all = texts(sources);
    all.position(|text| section::section(text, &place).is_some()).ok_or_else(|| no_upstream(sources, name))
}

fn no_upstream(sources: &Sources, name: &str) -> EditError {
    let known = section(sources, &Place::Upstreams);
    let names: Vec<&str> = known
        .iter()
        .filter_map(toml::Value::as_table)
        .flat_map(|all| all.keys())
        .map(String::as_str)
        .collect();
    EditError::NoUpstream { name: name.to_owned(), near: nearest(name, names).map(str::to_owned) }
}
