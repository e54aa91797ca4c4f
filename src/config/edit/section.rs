//! One part of a config's text: a section, or all of its kind.

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// All of `[upstream]`.
    Upstreams,
    /// `[upstream.NAME]`
    Upstream(String),
    /// Each `[[listener]]`.
    Listeners,
    /// The one with this name, or with this address.
    Listener(String),
    /// Each `[[route]]`.
    Routes,
    /// The one at this place, from 0.
    Route(usize),
}

/// What the text has at a place. `None`: nothing, or the text is no TOML.
pub(super) fn section(text: &str, place: &Place) -> Option<toml::Value> {
    let root: toml::Table = text.parse().ok()?;
    let all = |key: &str| root.get(key);
    match place {
        Place::Upstreams => all("upstream").cloned(),
        Place::Upstream(name) => all("upstream")?.get(name).cloned(),
        Place::Listeners => all("listener").cloned(),
        Place::Listener(name) => {
            let list = all("listener")?.as_array()?;
            list.get(listener_at(list.iter().map(of_listener), name)?).cloned()
        }
        Place::Routes => all("route").cloned(),
        Place::Route(at) => all("route")?.as_array()?.get(*at).cloned(),
    }
}

/// The name of a listener, and its addresses.
pub(super) type Texts = (Option<String>, Vec<String>);

/// Those of a listener's section.
pub(super) fn of_listener(section: &toml::Value) -> Texts {
    texts(section.get("name"), section.get("address"))
}

fn texts(name: Option<&toml::Value>, address: Option<&toml::Value>) -> Texts {
    let text = |value: &toml::Value| value.as_str().map(str::to_owned);
    let addresses = match address {
        Some(toml::Value::Array(list)) => list.iter().filter_map(text).collect(),
        Some(one) => text(one).into_iter().collect(),
        None => Vec::new(),
    };
    (name.and_then(text), addresses)
}

/// The place of the listener with this name, or else with this address.
pub(super) fn listener_at(listeners: impl Iterator<Item = Texts>, wanted: &str) -> Option<usize> {
    let all: Vec<Texts> = listeners.collect();
    let named = all.iter().position(|(name, _)| name.as_deref() == Some(wanted));
    named.or_else(|| all.iter().position(|(_, addresses)| addresses.iter().any(|address| address == wanted)))
}
