//! `compression` of a listener or a route.

use crate::config::file::Value;
use crate::config::plan::{Compression, CompressionSetting};
use crate::config::suggest::quoted;
use crate::config::units::Wrong;
use crate::http::Coding;

/// The default media types.
const TYPES: [&str; 12] = [
    "text/*",
    "application/json",
    "application/problem+json",
    "application/ld+json",
    "application/manifest+json",
    "application/javascript",
    "application/xml",
    "application/xhtml+xml",
    "application/rss+xml",
    "application/atom+xml",
    "application/wasm",
    "image/svg+xml",
];
/// Less is not worth a coding's own bytes.
const MIN_SIZE: u64 = 1024;
const ALGORITHMS: [(&str, Coding); 3] =
    [("zstd", Coding::Zstd), ("br", Coding::Brotli), ("gzip", Coding::Gzip)];

/// `true`, `false`, or a table.
pub(super) fn compression(value: &Value<'_>) -> Option<CompressionSetting> {
    let mut found = Compression {
        algorithms: ALGORITHMS.map(|(_, algorithm)| algorithm).to_vec(),
        min_size: MIN_SIZE,
        types: TYPES.map(str::to_owned).to_vec(),
    };
    if !value.is_table() {
        return Some(match value.boolean()? {
            true => CompressionSetting::On(found),
            false => CompressionSetting::Off,
        });
    }
    let mut section = value.section()?;
    if let Some(list) = section.get("algorithms").and_then(|value| value.list("[\"zstd\", \"br\", \"gzip\"]"))
    {
        found.algorithms.clear();
        for entry in &list {
            match entry.choice(&ALGORITHMS) {
                Some(algorithm) if found.algorithms.contains(&algorithm) => {
                    entry.error("it is named twice", None)
                }
                Some(algorithm) => found.algorithms.push(algorithm),
                None => {}
            }
        }
    }
    if let Some(size) = section.get("min_size").and_then(|value| value.size(0..=1 << 40)) {
        found.min_size = size;
    }
    if let Some(list) = section.get("types").and_then(|value| value.list("[\"text/*\"]")) {
        let types = list.iter().filter_map(|entry| Some(entry.parse("\"text/*\"", media_range)?.value));
        found.types = types.collect();
    }
    section.finish();
    Some(CompressionSetting::On(found))
}

/// `text/html` or `text/*`, in lower case.
fn media_range(text: &str) -> Result<String, Wrong> {
    let token = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    match text.split_once('/') {
        Some((kind, sub)) if token(kind) && (token(sub) || sub == "*") => Ok(text.to_ascii_lowercase()),
        _ => Err(Wrong::new(format!("{} is not a media type", quoted(text)))
            .help("write it like \"application/json\" or \"text/*\", without parameters")),
    }
}
