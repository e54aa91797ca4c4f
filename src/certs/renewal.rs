//! When a certificate needs a successor, and who has to make it. Pure: facts and the time in, a decision out.

use std::time::{Duration, SystemTime};

use super::store::{Description, GenerationState, Origin};
use super::time::Timestamp;

/// What is to be done about a certificate's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Nothing before this time.
    NotBefore(Timestamp),
    /// A successor can be generated and staged now.
    Stage,
    /// A successor is staged, and ends later than what is active: it waits to be activated.
    Staged(u32),
    /// A successor is needed now, and has to be brought.
    Bring(Reason),
    /// There is nothing to renew: nothing is active, or its files cannot be used.
    Nothing,
}

/// Why a successor cannot be generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The certificate was imported.
    Imported,
    /// A CA signed it, and must sign its successor.
    SignedByCa,
}

/// What is to be done about `certificate` at `now`, if successors are wanted `before` the end. That is a third of its
/// validity at most, or a certificate for a day would have a successor every minute.
pub fn renewal(certificate: &Description, now: SystemTime, before: Duration) -> Renewal {
    let generation = |number: Option<u32>| number.and_then(|number| certificate.generation(number));
    let Some(active) = generation(certificate.active) else { return Renewal::Nothing };
    let Some(facts) = active.facts() else { return Renewal::Nothing };
    if let Some(staged) = generation(certificate.staged)
        && staged.state == GenerationState::Staged
        && staged.not_after() > facts.not_after
    {
        return Renewal::Staged(staged.number);
    }
    let validity = facts.not_after.unix().saturating_sub(facts.not_before.unix());
    let before = i64::try_from(before.as_secs()).unwrap_or(i64::MAX).min(validity / 3);
    let from = facts.not_after.plus(-before);
    if Timestamp::from(now) < from {
        return Renewal::NotBefore(from);
    }
    match active.origin {
        Origin::Imported => Renewal::Bring(Reason::Imported),
        Origin::Generated if !facts.self_signed => Renewal::Bring(Reason::SignedByCa),
        Origin::Generated => Renewal::Stage,
    }
}
