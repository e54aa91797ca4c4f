//! Which revocation lists are in force after their files have changed.
//!
//! A refresh that brings a list which has ended, or an older one, must not lock out all clients while a good list is at
//! hand: a list in its time stays in force until a newer one in its time is there for the same issuer, key and scope.

use std::sync::Arc;

use super::backend_verifier::TrustAnchors;
use super::revocation::{Group, List, RevocationLists};

/// The lists in force, and what is wrong with those that were read.
#[derive(Debug, Default)]
pub(crate) struct Succession {
    /// In force from now on.
    pub lists: Vec<Arc<List>>,
    /// By their number among those that were read.
    pub faults: Vec<(usize, ListFault)>,
    /// In force, although no file has a list of their issuer, key and scope any more.
    pub absent: Vec<Arc<List>>,
}

/// Why a list that was read does not do what its issuer's certificates need.
#[derive(Clone, Debug)]
pub(crate) enum ListFault {
    /// It has ended, and nothing covers its issuer's certificates: they are refused.
    Ended,
    /// It has ended: this one stays in force.
    EndedStays(Arc<List>),
    /// It is older than this one, which stays in force.
    OlderStays(Arc<List>),
    /// Its time has not begun: until then this one stays in force, if there is one.
    Future(Option<Arc<List>>),
}

/// What follows on `before` by `read`, at `now` in seconds since 1970. `keeps_absent`: lists in force that no file has
/// any more stay.
pub(crate) fn succeed(
    before: &RevocationLists,
    read: &[Arc<List>],
    anchors: &TrustAnchors,
    now: u64,
    keeps_absent: bool,
) -> Succession {
    let grouped = |list: &Arc<List>| (list.group(anchors), Arc::clone(list));
    let new: Vec<(Group, Arc<List>)> = read.iter().map(grouped).collect();
    let in_time = |(group, list): &(Group, Arc<List>), of: &Group| group == of && list.is_current(now);
    let mut result = Succession::default();
    let mut kept: Vec<(Group, Arc<List>)> = Vec::new();
    for (group, old) in before.all().map(grouped) {
        let mut alike = new.iter().filter(|(of, _)| *of == group).peekable();
        let is_absent = alike.peek().is_none();
        let replaces =
            |list: &Arc<List>| !old.is_current(now) || list.is_current(now) && list.is_as_new_as(&old);
        if is_absent && !keeps_absent || alike.any(|(_, list)| replaces(list)) {
            continue;
        }
        // One of another key under a name that has a list in its time may be of a key that is used no more.
        let is_missed = group.is_trusted()
            || !new.iter().any(|(of, list)| of.is_namesake(&group) && list.is_current(now));
        if is_absent && is_missed && old.is_current(now) {
            result.absent.push(Arc::clone(&old));
        }
        kept.push((group, old));
    }
    for (index, (group, list)) in new.iter().enumerate() {
        let stays = kept.iter().filter(|old| in_time(old, group)).map(|(_, old)| old);
        let stays = stays.max_by_key(|old| old.this_update()).cloned();
        let is_covered = new.iter().any(|other| in_time(other, group));
        let has_ended = list.next_update() < now;
        let fault = match stays {
            Some(stays) if list.is_current(now) => Some(ListFault::OlderStays(stays)),
            Some(stays) if has_ended => Some(ListFault::EndedStays(stays)),
            stays if !has_ended && !is_covered => Some(ListFault::Future(stays)),
            None if has_ended && !is_covered => Some(ListFault::Ended),
            _ => None,
        };
        // What has ended adds nothing to a list in its time.
        if !matches!(fault, Some(ListFault::EndedStays(_))) {
            result.lists.push(Arc::clone(list));
        }
        result.faults.extend(fault.map(|fault| (index, fault)));
    }
    result.lists.extend(kept.into_iter().map(|(_, list)| list));
    result
}
