//! When a certificate needs a successor, and which side makes it. Pure: facts and the time in, a decision out.

use std::time::{Duration, SystemTime};

use super::inspect::Facts;
use super::store::{Description, Origin};
use super::time::Timestamp;

/// What is to be done about a certificate's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// Nothing before this time.
    NotBefore(Timestamp),
    /// A successor can be generated and staged now.
    Stage,
    /// A generation is staged: it waits to be activated, and nothing takes its place.
    Staged {
        /// Its number.
        generation: u32,
        /// Whether it may be activated without a person: it is what would be made now, of the same names and kind of key;
        /// it was made here, never was active (what a person rolled back from stays where it is), and ends later.
        unattended: bool,
    },
    /// A successor is needed now, and has to be brought.
    Bring(Reason),
    /// There is nothing to renew: nothing is active, or its files cannot be used.
    Nothing,
}

/// Why a successor cannot be generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The certificate was imported.
    Imported,
    /// A CA signed it, and must sign its successor.
    SignedByCa,
    /// A request for its successor waits for a CA already.
    Requested,
    /// It has no key here, or no common name, so that it was not made here.
    Strange,
}

/// What is to be done about `certificate` at `now`, if successors are wanted `before` the end: see [`window`].
pub(crate) fn renewal(certificate: &Description, now: SystemTime, before: Duration) -> Renewal {
    let generation = |number: Option<u32>| number.and_then(|number| certificate.generation(number));
    let Some(active) = generation(certificate.active) else { return Renewal::Nothing };
    let Some(facts) = active.facts() else { return Renewal::Nothing };
    let from = facts.not_after.plus(-window(before, facts.not_before.unix(), facts.not_after.unix()));
    if Timestamp::from(now) < from {
        return Renewal::NotBefore(from);
    }
    if let Some(staged) = generation(certificate.staged) {
        let ours = active.origin == Origin::Generated && staged.origin == Origin::Generated;
        let alike = staged.facts().is_some_and(|staged| is_successor(staged, facts));
        let unattended = ours && alike && staged.activated.is_none();
        return Renewal::Staged { generation: staged.number, unattended };
    }
    match active.origin {
        _ if certificate.request.is_some() => Renewal::Bring(Reason::Requested),
        Origin::Imported => Renewal::Bring(Reason::Imported),
        Origin::Generated if !facts.self_signed => Renewal::Bring(Reason::SignedByCa),
        Origin::Generated if !active.has_key() || facts.common_name.is_none() => {
            Renewal::Bring(Reason::Strange)
        }
        Origin::Generated => Renewal::Stage,
    }
}

/// Whether a certificate has the same content as another one, until a later day.
fn is_successor(next: &Facts, facts: &Facts) -> bool {
    fn says(of: &Facts) -> (&str, &[String], &[String], &str, bool) {
        (&of.subject, &of.sans, &of.usages, &of.key_type, of.is_ca)
    }
    says(next) == says(facts) && next.not_after > facts.not_after
}

/// How many seconds before its end a certificate is near it: `store.renew_before`, but a third of its validity at most, or a
/// certificate for a day would have a successor every minute. `not_before` and `not_after` in seconds since 1970.
pub(crate) fn window(before: Duration, not_before: i64, not_after: i64) -> i64 {
    let validity = not_after.saturating_sub(not_before);
    i64::try_from(before.as_secs()).unwrap_or(i64::MAX).min(validity / 3)
}
