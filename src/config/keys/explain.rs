//! What the table says of one key: `ringate check --explain KEY`.

use serde::Serialize;

use super::{Key, Kind, Preset, ROOT, markdown};
use crate::config::suggest::nearest;
use crate::config::units;

/// A key as the table describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Explained {
    /// With its section: `upstream.NAME.health.interval`.
    pub(crate) key: String,
    /// What its value is, in words.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Its default as TOML.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) default: Option<String>,
    /// What holds without it, where no value says that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) left_out: Option<String>,
    pub(crate) required: bool,
    /// The least and the greatest value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) range: Option<String>,
    /// The words that it may have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) values: Vec<String>,
    pub(crate) meaning: String,
    /// The listeners that it is for: `http`, `tcp`, `udp`; of all where it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) only: Option<String>,
    /// TOML with its section.
    pub(crate) example: String,
    /// The keys of a table.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) keys: Vec<String>,
}

/// A key with its place.
struct Found {
    /// Names with placeholders, each with whether it stands for an entry of a list of tables.
    path: Vec<(&'static str, bool)>,
    key: &'static Key,
}

impl Found {
    fn name(&self) -> String {
        self.path.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(".")
    }

    /// The name without placeholders.
    fn short(&self) -> String {
        let kept = self.path.iter().map(|(name, _)| *name).filter(|name| !is_placeholder(name));
        kept.collect::<Vec<_>>().join(".")
    }
}

fn is_placeholder(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// All keys but those of overlays, which repeat others.
fn all(kind: &'static Kind, path: &[(&'static str, bool)], found: &mut Vec<Found>) {
    for form in kind.forms() {
        if let Kind::List { of, .. } = form {
            let mut path = path.to_vec();
            if let Some(last) = path.last_mut() {
                last.1 = matches!(of, Kind::Table(_));
            }
            all(of, &path, found);
        }
        if matches!(form, Kind::Overlay { .. }) {
            continue;
        }
        let any = match form {
            Kind::Map { any, .. } => Some(*any),
            _ => None,
        };
        for key in form.keys().chain(any) {
            let mut path = path.to_vec();
            path.push((key.name, false));
            all(&key.kind, &path, found);
            found.push(Found { path, key });
        }
    }
}

/// What is known of a key: `upstream.health.interval`, `upstream.NAME.health.interval`, or the end of such a name where only one
/// key ends so.
///
/// # Errors
/// There is no such key; with the nearest ones.
pub(in crate::config) fn explain(wanted: &str) -> Result<Explained, Vec<String>> {
    let mut known = Vec::new();
    all(&ROOT, &[], &mut known);
    let wanted = wanted.trim().trim_matches(['[', ']']).trim();
    let exact = known.iter().find(|found| found.short() == wanted || found.name() == wanted);
    let end = format!(".{wanted}");
    // A table and the keys of its own names are called alike, and so are a table and a list of such: the table is meant.
    let mut ending: Vec<&Found> = known.iter().filter(|found| found.short().ends_with(&end)).collect();
    ending.sort_by_key(|found| (found.short().len(), found.short(), found.path.len()));
    ending.dedup_by_key(|found| found.short());
    match (exact.or_else(|| known.iter().find(|found| fits(found, wanted))), &ending[..]) {
        (Some(found), _) => Ok(explained(found)),
        (None, [found]) => Ok(explained(found)),
        (None, []) => {
            let names: Vec<String> = known.iter().map(Found::short).collect();
            let last = wanted.rsplit('.').next().unwrap_or_default();
            let parts = known.iter().filter(|found| found.short().rsplit('.').next() == Some(last));
            let mut near: Vec<String> =
                nearest(wanted, names.iter().map(String::as_str)).map(str::to_owned).into_iter().collect();
            near.extend(parts.map(Found::short).take(5));
            if near.is_empty() {
                let lasts: Vec<&str> = names.iter().filter_map(|name| name.rsplit('.').next()).collect();
                let word = nearest(last, lasts.iter().copied());
                near.extend(
                    names
                        .iter()
                        .filter(|name| word.is_some() && name.rsplit('.').next() == word)
                        .take(5)
                        .cloned(),
                );
            }
            near.dedup();
            Err(near)
        }
        // The shortest are the likeliest.
        (None, several) => Err(several.iter().map(|found| found.short()).take(8).collect()),
    }
}

/// Whether names of the config's own stand for the placeholders: `upstream.orders.health`.
fn fits(found: &Found, wanted: &str) -> bool {
    let parts: Vec<&str> = wanted.split('.').collect();
    parts.len() == found.path.len()
        && parts.iter().zip(&found.path).all(|(part, (name, _))| part == name || is_placeholder(name))
}

fn explained(found: &Found) -> Explained {
    let key = found.key;
    let default = match key.preset {
        Preset::Value(value) => Some(value.to_owned()),
        _ => None,
    };
    let left_out = match key.preset {
        Preset::Off { means, .. } | Preset::Shown { means, .. } => Some(means.to_owned()),
        Preset::Optional | Preset::Absent => Some("none".to_owned()),
        Preset::Section | Preset::Dotted => Some("the defaults of its keys".to_owned()),
        _ => None,
    };
    let only = markdown::scope(key).trim_matches([' ', '(', ')']).strip_suffix(" only");
    Explained {
        key: found.name(),
        kind: words(&key.kind),
        default,
        left_out,
        required: matches!(key.preset, Preset::Required(_) | Preset::AtLeastOne),
        range: key.kind.forms().iter().find_map(range),
        values: key.kind.forms().iter().flat_map(values).collect(),
        meaning: key.meaning.to_owned(),
        only: only.map(str::to_owned),
        example: example(found),
        keys: key
            .kind
            .table()
            .or(key.kind.entry())
            .into_iter()
            .flat_map(Kind::keys)
            .map(|key| key.name.to_owned())
            .collect(),
    }
}

/// What a value is, by its type first.
fn words(kind: &'static Kind) -> String {
    let named = |kind: &Kind| match kind {
        Kind::Integer(..) | Kind::Numbers(_) => "integer".to_owned(),
        Kind::Size(..) => "size".to_owned(),
        Kind::Choice(_) => "text".to_owned(),
        Kind::Table(_) | Kind::Overlay { .. } | Kind::Map { .. } => "table".to_owned(),
        Kind::List { of: Kind::Table(_), .. } => "list of tables".to_owned(),
        Kind::List { of: Kind::Choice(_), .. } => "list of texts".to_owned(),
        other => markdown::kind(other),
    };
    let mut all: Vec<String> = Vec::new();
    for form in kind.forms() {
        let word = named(form);
        if !all.contains(&word) {
            all.push(word);
        }
    }
    all.join(" or ")
}

fn range(kind: &Kind) -> Option<String> {
    Some(match kind {
        Kind::Integer(least, most) => format!("{least}–{most}"),
        Kind::Size(least, most) => format!("{}–{}", units::size_text(*least), units::size_text(*most)),
        Kind::Duration { zero: false } => "longer than \"0s\"".to_owned(),
        Kind::Duration { zero: true } => "\"0s\" or longer".to_owned(),
        Kind::Factor => "0, or 1–100".to_owned(),
        Kind::Percent => "0–100".to_owned(),
        Kind::List { of, .. } => range(of)?,
        _ => return None,
    })
}

fn values(kind: &Kind) -> Vec<String> {
    match kind {
        Kind::Choice(words) => words.iter().map(|word| format!("\"{word}\"")).collect(),
        Kind::Numbers(numbers) => numbers.iter().map(u64::to_string).collect(),
        Kind::Boolean => vec!["true".to_owned(), "false".to_owned()],
        Kind::List { of, .. } => values(of),
        _ => Vec::new(),
    }
}

/// The key under the header of its section.
fn example(found: &Found) -> String {
    let value = match found.key.preset {
        Preset::Value(value) | Preset::Required(value) => value,
        Preset::Off { example, .. } | Preset::Shown { example, .. } => example,
        _ => "",
    };
    let of = |name: &'static str| match name {
        "NAME" => "orders",
        "ENVIRONMENT" => "production",
        "STATUS" => "404",
        "FIELD" => "client",
        name => name,
    };
    let (last, above) = match found.path.split_last() {
        Some((last, above)) if !value.is_empty() => (Some(of(last.0)), above),
        _ => (None, &found.path[..]),
    };
    // A table within an entry of a list has dotted keys.
    let list = above.iter().position(|(_, is_list)| *is_list);
    let is_entry = last.is_none() && matches!(found.key.kind, Kind::List { of: Kind::Table(_), .. });
    let (header, dotted) = above.split_at(list.map_or(above.len(), |at| at + 1));
    let join =
        |path: &[(&'static str, bool)]| path.iter().map(|(name, _)| of(name)).collect::<Vec<_>>().join(".");
    let header = match (header.is_empty(), list) {
        (true, _) => String::new(),
        (false, Some(_)) => format!("[[{}]]\n", join(header)),
        (false, None) if is_entry => format!("[[{}]]\n", join(header)),
        (false, None) => format!("[{}]\n", join(header)),
    };
    let mut names = dotted.iter().map(|(name, _)| of(name)).collect::<Vec<_>>();
    names.extend(last);
    match names.is_empty() || value.is_empty() {
        true => header.trim_end().to_owned(),
        false => format!("{header}{} = {value}", names.join(".")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_by_its_name_with_and_without_placeholders() {
        for name in
            ["upstream.health.interval", "upstream.NAME.health.interval", "upstream.orders.health.interval"]
        {
            let found = explain(name).unwrap();
            assert_eq!(
                (found.key.as_str(), found.kind.as_str()),
                ("upstream.NAME.health.interval", "duration"),
                "{name}"
            );
            assert_eq!(found.example, "[upstream.orders.health]\ninterval = \"5s\"");
            assert!(!found.meaning.is_empty() && !found.required);
        }
        assert_eq!(explain("health.fall").unwrap().range.as_deref(), Some("1–100"));
        let listener = explain("listener.http.max_concurrent_streams").unwrap();
        assert_eq!((listener.only.as_deref(), listener.default.as_deref()), (Some("http"), Some("128")));
        assert!(
            listener.example.starts_with("[[listener]]\nhttp.max_concurrent_streams = "),
            "{}",
            listener.example
        );
        assert_eq!(explain("runtime.driver").unwrap().values, ["\"auto\"", "\"io_uring\"", "\"epoll\""]);
        // A section that stands several times has the header of an entry.
        let route = explain("route").unwrap();
        assert_eq!((route.kind.as_str(), route.example.as_str()), ("list of tables", "[[route]]"));
        assert_eq!(explain("listener").unwrap().example, "[[listener]]");
    }

    #[test]
    fn every_key_is_explained_and_its_example_is_toml() {
        let mut known = Vec::new();
        all(&ROOT, &[], &mut known);
        assert!(known.len() > 200, "{}", known.len());
        for found in &known {
            let explained =
                explain(&found.name()).unwrap_or_else(|near| panic!("{}: {near:?}", found.name()));
            assert!(
                explained.example.parse::<toml::Table>().is_ok(),
                "{}: {}",
                found.name(),
                explained.example
            );
        }
    }

    #[test]
    fn another_key_is_answered_with_the_nearest() {
        assert_eq!(explain("upstream.health.intervall").unwrap_err()[0], "upstream.health.interval");
        assert!(explain("bind_adress").unwrap_err().contains(&"upstream.bind_address".to_owned()));
        assert!(explain("xyzzy").unwrap_err().is_empty());
        let near = explain("cookies").unwrap_err();
        let mut once = near.clone();
        once.dedup();
        assert_eq!((near.len(), &near[0]), (8, &"route.match.cookies".to_owned()), "{near:?}");
        assert_eq!(near, once);
    }

    #[test]
    fn the_end_of_a_table_s_name_is_enough() {
        let found = explain("match.maps").expect("a key");
        assert_eq!(found.key, "route.match.maps");
    }
}
