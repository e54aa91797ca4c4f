//! Lists of endpoints in files of their own: `endpoints = [...]` in TOML, or the same or a bare list in JSON.

use std::path::Path;

use serde::Deserialize;

use super::names;
use crate::base::limits::MAX_ADDRESSES;

/// Most of a weight.
const MAX_WEIGHT: u32 = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    endpoints: Vec<Entry>,
}

/// `"HOST:PORT"` or `{ address = "HOST:PORT", weight = 2 }`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Address(String),
    Weighted(Weighted),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Weighted {
    address: String,
    weight: Option<u32>,
}

/// The endpoints that a list has, each with its weight. Paths are resolved against `dir`. A list without any is none: a
/// file that is being emptied must not take an upstream down.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn endpoint_list(text: &str, dir: &Path) -> Result<Vec<(String, u32)>, String> {
    let start = text.trim_start();
    let entries = if start.starts_with('{') {
        serde_json::from_str::<Listed>(text).map_err(|error| error.to_string())?.endpoints
    } else if start.starts_with('[') {
        serde_json::from_str::<Vec<Entry>>(text).map_err(|error| error.to_string())?
    } else {
        toml::from_str::<Listed>(text).map_err(|error| error.message().to_owned())?.endpoints
    };
    if entries.is_empty() {
        return Err("the list is empty".to_owned());
    }
    if entries.len() > MAX_ADDRESSES {
        return Err(format!("the list has {} endpoints: {MAX_ADDRESSES} are the most", entries.len()));
    }
    let mut endpoints: Vec<(String, u32)> = Vec::new();
    for entry in entries {
        let (address, weight) = match entry {
            Entry::Address(address) => (address, 1),
            Entry::Weighted(Weighted { address, weight }) => (address, weight.unwrap_or(1)),
        };
        if !(1..=MAX_WEIGHT).contains(&weight) {
            return Err(format!("the weight of `{address}` is not between 1 and {MAX_WEIGHT}"));
        }
        let address = names::listed_endpoint(&address, dir).map_err(|wrong| wrong.title)?;
        if endpoints.iter().any(|(known, _)| *known == address) {
            return Err(format!("`{address}` is listed twice"));
        }
        endpoints.push((address, weight));
    }
    Ok(endpoints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_toml_or_json() {
        let expected = vec![("10.0.0.1:80".to_owned(), 1), ("app.test:81".to_owned(), 3)];
        for text in [
            "endpoints = ['10.0.0.1:80', { address = 'app.test:81', weight = 3 }]",
            "# ours\n\nendpoints = [\n  '10.0.0.1:80',\n  { address = 'app.test:81', weight = 3 },\n]\n",
            "{\"endpoints\": [\"10.0.0.1:80\", {\"address\": \"app.test:81\", \"weight\": 3}]}",
            " [\"10.0.0.1:80\", {\"address\": \"app.test:81\", \"weight\": 3}]",
        ] {
            assert_eq!(endpoint_list(text, Path::new("/etc")).as_ref(), Ok(&expected), "{text}");
        }
        let unix = endpoint_list("endpoints = ['unix:app.sock']", Path::new("/run")).unwrap();
        assert_eq!(unix, [("unix:/run/app.sock".to_owned(), 1)]);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in [
            "",
            "endpoints = []",
            "[]",
            "endpoints = ['10.0.0.1']",
            "endpoints = ['10.0.0.1:80', '10.0.0.1:80']",
            "endpoints = [{ address = '10.0.0.1:80', weight = 0 }]",
            "endpoints = [{ address = '10.0.0.1:80', wieght = 1 }]",
            "endpoints = ['dns:app.test:80']",
            "endpoints = ['10.0.0.1:80'",
            "endpoint = ['10.0.0.1:80']",
            "[\"10.0.0.1:80\"",
        ] {
            assert!(endpoint_list(text, Path::new("/")).is_err(), "{text}");
        }
    }
}
