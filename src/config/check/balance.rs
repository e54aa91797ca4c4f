//! `balance` and `hash` of an upstream.

use crate::config::file::{Section, Value};
use crate::config::names;
use crate::config::plan::{Balance, Hash, HashBy};
use crate::config::suggest::{nearest, quoted};
use crate::config::units::Wrong;

/// Bound on the load of a hash, in percent, where the config has none.
const LOAD: u32 = 125;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    RoundRobin,
    LeastRequests,
    TwoChoices,
    Random,
    Hash,
}

const WORDS: [(&str, Word); 6] = [
    ("round-robin", Word::RoundRobin),
    ("least-requests", Word::LeastRequests),
    // The same for tcp, where each connection is one.
    ("least-connections", Word::LeastRequests),
    ("two-choices", Word::TwoChoices),
    ("random", Word::Random),
    ("hash", Word::Hash),
];

/// What other proxies call them.
const FOREIGN: [(&str, &str); 14] = [
    ("first", "round-robin"),
    ("ip_hash", "hash"),
    ("ip-hash", "hash"),
    ("least_conn", "least-requests"),
    ("least-conn", "least-requests"),
    ("leastconn", "least-requests"),
    ("least_request", "two-choices"),
    ("maglev", "hash"),
    ("p2c", "two-choices"),
    ("ring_hash", "hash"),
    ("roundrobin", "round-robin"),
    ("source", "hash"),
    ("uri", "hash"),
    ("wrr", "round-robin"),
];

/// How an endpoint is chosen.
pub(super) fn balance(section: &mut Section<'_>) -> Balance {
    let value = section.get("balance");
    let word = value.as_ref().and_then(word);
    let table = section.get("hash");
    let hash = table.as_ref().map(|table| table.section().and_then(hash));
    match (word, hash, value, table) {
        (Some(Word::Hash), Some(hash), ..) => hash.map_or(Balance::RoundRobin, Balance::Hash),
        (Some(Word::Hash), None, Some(value), _) => {
            let help = "add `hash = { by = \"header:X-User\" }`; there are \"header:NAME\", \"cookie:NAME\", \"query:NAME\", \
                        \"client-address\" and \"path\"";
            value.error("what is to be hashed is missing", Some(help.into()));
            Balance::RoundRobin
        }
        (_, Some(_), value, Some(table)) if value.is_none() || word.is_some() => {
            table.error("it has no effect without `balance = \"hash\"`", None);
            Balance::RoundRobin
        }
        (Some(Word::LeastRequests), ..) => Balance::LeastRequests,
        (Some(Word::TwoChoices), ..) => Balance::TwoChoices,
        (Some(Word::Random), ..) => Balance::Random,
        _ => Balance::RoundRobin,
    }
}

fn word(value: &Value<'_>) -> Option<Word> {
    let text = value.text("\"round-robin\"")?;
    let words = || WORDS.iter().map(|(word, _)| *word);
    let known = words().any(|word| word == text.value) || nearest(text.value, words()).is_some();
    let plain = text.value.to_ascii_lowercase();
    if let Some((_, ours)) = FOREIGN.iter().find(|(foreign, _)| *foreign == plain) {
        let title = format!("{} is not a way to balance that Ringate has", quoted(text.value));
        value.error(&title, Some(format!("did you mean \"{ours}\"?")));
        return None;
    }
    if known {
        return value.choice(&WORDS);
    }
    let help = "there are \"round-robin\" (in turn, by weight), the default, \"least-requests\", \"two-choices\", \"random\" and \
                \"hash\"";
    value.error(
        &format!("{} is not a way to balance that Ringate has", quoted(text.value)),
        Some(help.to_owned()),
    );
    None
}

fn hash(mut section: Section<'_>) -> Option<Hash> {
    let example = "\"header:X-User\"";
    let by = section.require("by", example).and_then(|value| value.parse(example, hash_by));
    let load = section.get("load").map_or(Some(LOAD), |value| value.factor());
    section.finish();
    Some(Hash { by: by?, load: load? })
}

fn hash_by(text: &str) -> Result<HashBy, Wrong> {
    let named = |name: &str| match names::token(name) {
        true => Ok(name.to_owned()),
        false => Err(Wrong::new(format!("{} has no name behind the colon", quoted(text)))),
    };
    match text.split_once(':') {
        Some(("header", name)) => named(name).map(HashBy::Header),
        Some(("cookie", name)) => named(name).map(HashBy::Cookie),
        Some(("query", name)) if !name.is_empty() && !name.contains(['&', '=', '#', ' ']) => {
            Ok(HashBy::Query(name.to_owned()))
        }
        Some(("query", _)) => Err(Wrong::new(format!("{} has no name of a parameter", quoted(text)))),
        None if text == "client-address" => Ok(HashBy::ClientAddress),
        None if text == "path" => Ok(HashBy::Path),
        _ => {
            let help =
                "there are \"header:NAME\", \"cookie:NAME\", \"query:NAME\", \"client-address\" and \"path\"";
            Err(Wrong::new(format!("{} can't be hashed", quoted(text))).help(help))
        }
    }
}
