//! Keys that are no more. For one version they are ignored with a warning; then they are unknown keys.
//!
//! A key that has another name now is no entry here: its own entry has the names that it had (`Key::was`).

/// A key without a successor of the same meaning.
#[derive(Debug)]
pub(in crate::config) struct Removed {
    /// The section as its header is written, with `*` for a name: `upstream.*.tls`; empty for the file itself.
    pub section: &'static str,
    pub name: &'static str,
    /// Why it is gone, and what to write instead.
    pub instead: &'static str,
}

const KEYS: &[Removed] = if cfg!(test) { FOR_TESTS } else { &[] };

/// The rule is tried with this entry.
const FOR_TESTS: &[Removed] = &[Removed {
    section: "upstream.*.pool",
    name: "warm",
    instead: "`pool.min_idle` keeps connections ready",
}];

/// The entry of a key of a section.
pub(in crate::config) fn find(section: &str, name: &str) -> Option<&'static Removed> {
    let is = |pattern: &str| {
        let (mut parts, mut wanted) = (section.split('.'), pattern.split('.'));
        loop {
            match (parts.next(), wanted.next()) {
                (None, None) => return true,
                (Some(part), Some(wanted)) if wanted == "*" || part == wanted => {}
                _ => return false,
            }
        }
    };
    KEYS.iter().find(|removed| removed.name == name && is(removed.section))
}
