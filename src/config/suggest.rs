//! "Did you mean": the nearest of what would have been right, and lists of it in words.

use crate::base::text::without_keys;

/// Words longer than this get no suggestion: comparing costs the product of the lengths.
const LONGEST: usize = 64;

/// The candidate nearest to `word`, if it is near enough to be what was meant: one edit
/// in three characters. Letters' case does not count.
pub(super) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let length = word.chars().count();
    if length > LONGEST {
        return None;
    }
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .filter(|candidate| !candidate.is_empty())
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= (length / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `a`, `a or b`, `a, b or c`.
pub(super) fn either(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

/// `word` in quotes and escaped, as a TOML string would be; shortened where it is long.
pub(super) fn quoted(word: &str) -> String {
    // Before it is shortened: half a key is a secret, too.
    let word = &*without_keys(word);
    match word.char_indices().nth(LONGEST) {
        None => format!("{word:?}"),
        Some((end, _)) => format!("{:?}", format!("{}…", &word[..end])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        let keys = ["endpoints", "balance", "tls", "timeouts"];
        for (word, expected) in [
            ("endpoins", Some("endpoints")),
            ("Endpoints", Some("endpoints")),
            ("endpionts", Some("endpoints")),
            ("tsl", Some("tls")),
            ("timeout", Some("timeouts")),
            ("servers", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, keys), expected, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(10_000), keys), None);
    }

    #[test]
    fn lists_read_as_words() {
        let words = |n: usize| ["a", "b", "c"][..n].iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        assert_eq!(either(&words(1)), "a");
        assert_eq!(either(&words(2)), "a or b");
        assert_eq!(either(&words(3)), "a, b or c");
    }
}
