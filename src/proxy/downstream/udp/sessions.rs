//! The sessions of one listening socket: found by the client's address, ordered by how long they have been silent.
//!
//! There are two orders. A session is confirmed once its client has sent after a reply, which a client with a forged
//! address does not. Where one has to make room, it is one of those that are not.

use std::collections::HashMap;
use std::hash::RandomState;
use std::net::{IpAddr, SocketAddr};

const NONE: u32 = u32::MAX;

/// What tells sessions apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The client.
    pub(super) client: SocketAddr,
    /// The address that it sends to, where the socket has several.
    pub(super) local: Option<IpAddr>,
}

/// Which order a session is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Unconfirmed,
    Confirmed,
}

#[derive(Debug)]
struct Entry<T> {
    key: Key,
    /// Whether the client's next datagram belongs to it.
    bound: bool,
    /// The tick of its last datagram, in either direction.
    active: u64,
    order: Order,
    before: u32,
    after: u32,
    value: T,
}

/// Entries from the longest silent one to the one that was active last.
#[derive(Clone, Copy, Debug)]
struct Ends {
    oldest: u32,
    newest: u32,
}

/// See the module. Indices stay as they are until the session is removed.
#[derive(Debug)]
pub(super) struct Sessions<T> {
    entries: Vec<Option<Entry<T>>>,
    free: Vec<u32>,
    /// Clients choose their addresses: the hash has a random key.
    by_key: HashMap<Key, u32, RandomState>,
    ends: [Ends; 2],
}

impl<T> Default for Sessions<T> {
    fn default() -> Self {
        let ends = [Ends { oldest: NONE, newest: NONE }; 2];
        Self { entries: Vec::new(), free: Vec::new(), by_key: HashMap::default(), ends }
    }
}

impl<T> Sessions<T> {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// The session to which the client's next datagram belongs.
    pub(super) fn find(&self, key: &Key) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    /// The keys of all to which their clients' next datagrams belong.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.by_key.keys()
    }

    /// A session.
    pub(super) fn get(&mut self, index: u32) -> Option<(&Key, &mut T)> {
        let entry = self.entries.get_mut(index as usize)?.as_mut()?;
        Some((&entry.key, &mut entry.value))
    }

    /// Adds a session, to which the client's next datagram belongs.
    pub(super) fn insert(&mut self, key: Key, now: u64, value: T) -> u32 {
        let order = Order::Unconfirmed;
        let entry = Entry { key, bound: true, active: now, order, before: NONE, after: NONE, value };
        let index = match self.free.pop() {
            Some(index) => {
                self.entries[index as usize] = Some(entry);
                index
            }
            None => {
                self.entries.push(Some(entry));
                (self.entries.len() - 1) as u32
            }
        };
        self.by_key.insert(key, index);
        self.link(index);
        index
    }

    /// A datagram has passed.
    pub(super) fn touch(&mut self, index: u32, now: u64) {
        // Within a tick the order stays.
        if self.entry(index).is_some_and(|entry| entry.active != now) {
            self.unlink(index);
            if let Some(entry) = self.entry(index) {
                entry.active = now;
            }
            self.link(index);
        }
    }

    /// The client has sent after a reply.
    pub(super) fn confirm(&mut self, index: u32) {
        if self.entry(index).is_some_and(|entry| entry.order == Order::Unconfirmed) {
            self.unlink(index);
            if let Some(entry) = self.entry(index) {
                entry.order = Order::Confirmed;
            }
            self.link(index);
        }
    }

    /// The client's next datagram begins another session.
    pub(super) fn unbind(&mut self, index: u32) {
        if let Some(entry) = self.entry(index)
            && std::mem::replace(&mut entry.bound, false)
        {
            let key = entry.key;
            self.by_key.remove(&key);
        }
    }

    /// Takes a session out.
    pub(super) fn remove(&mut self, index: u32) -> Option<(Key, T)> {
        self.unbind(index);
        self.unlink(index);
        let entry = self.entries.get_mut(index as usize)?.take()?;
        self.free.push(index);
        if self.free.len() == self.entries.len() {
            // What a burst has needed is given back.
            *self = Self::default();
        }
        Some((entry.key, entry.value))
    }

    /// The session that has been silent longest, and the tick of its last datagram.
    pub(super) fn oldest(&self) -> Option<(u32, u64)> {
        let oldest = self.ends.iter().filter_map(|ends| self.active(ends.oldest));
        oldest.min_by_key(|&(_, active)| active)
    }

    /// The session that makes room: of those that are not confirmed the one that has been silent longest or, if there
    /// are none, of all that have been silent since `before`.
    pub(super) fn expendable(&self, before: u64) -> Option<u32> {
        let [unconfirmed, confirmed] = self.ends.map(|ends| self.active(ends.oldest));
        let silent = confirmed.filter(|&(_, active)| active < before);
        unconfirmed.or(silent).map(|(index, _)| index)
    }

    fn active(&self, index: u32) -> Option<(u32, u64)> {
        Some((index, self.entries.get(index as usize)?.as_ref()?.active))
    }

    fn entry(&mut self, index: u32) -> Option<&mut Entry<T>> {
        self.entries.get_mut(index as usize)?.as_mut()
    }

    /// Puts an entry at the end of its order: what is active now was active last.
    fn link(&mut self, index: u32) {
        let Some(order) = self.entry(index).map(|entry| entry.order) else { return };
        let newest = std::mem::replace(&mut self.ends[order as usize].newest, index);
        match self.entry(newest) {
            Some(entry) => entry.after = index,
            None => self.ends[order as usize].oldest = index,
        }
        if let Some(entry) = self.entry(index) {
            (entry.before, entry.after) = (newest, NONE);
        }
    }

    fn unlink(&mut self, index: u32) {
        let Some((order, before, after)) =
            self.entry(index).map(|entry| (entry.order as usize, entry.before, entry.after))
        else {
            return;
        };
        match self.entry(before) {
            Some(entry) => entry.after = after,
            None => self.ends[order].oldest = after,
        }
        match self.entry(after) {
            Some(entry) => entry.before = before,
            None => self.ends[order].newest = before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(port: u16) -> Key {
        Key { client: SocketAddr::from(([192, 0, 2, 1], port)), local: None }
    }

    #[test]
    fn the_longest_silent_session_is_first_and_a_client_is_found_by_both_addresses() {
        let mut sessions = Sessions::default();
        let all: Vec<u32> = (1..4).map(|port| sessions.insert(key(port), u64::from(port), port)).collect();
        assert_eq!(sessions.oldest(), Some((all[0], 1)));
        sessions.touch(all[0], 9);
        assert_eq!(sessions.oldest(), Some((all[1], 2)));
        assert_eq!(sessions.find(&key(3)), Some(all[2]));
        let other = Key { local: Some([192, 0, 2, 9].into()), ..key(3) };
        assert_eq!(sessions.find(&other), None);
        assert_eq!(sessions.remove(all[1]).map(|(_, value)| value), Some(2));
        assert_eq!((sessions.len(), sessions.find(&key(2)), sessions.oldest()), (2, None, Some((all[2], 3))));
        assert_eq!(sessions.insert(key(7), 10, 7), all[1], "its place is used again");
    }

    #[test]
    fn unconfirmed_sessions_make_room_first_and_busy_ones_never() {
        let mut sessions = Sessions::default();
        let [confirmed, other] = [1, 2].map(|port| sessions.insert(key(port), 1, ()));
        sessions.confirm(confirmed);
        sessions.touch(other, 50);
        assert_eq!(sessions.expendable(20), Some(other));
        assert!(sessions.remove(other).is_some());
        assert_eq!((sessions.expendable(1), sessions.expendable(2)), (None, Some(confirmed)));
    }

    #[test]
    fn a_session_that_is_not_bound_stays_until_it_is_removed() {
        let mut sessions = Sessions::default();
        let first = sessions.insert(key(1), 1, "first");
        sessions.unbind(first);
        let second = sessions.insert(key(1), 2, "second");
        assert_eq!((sessions.find(&key(1)), sessions.len()), (Some(second), 2));
        assert!(sessions.remove(first).is_some());
        assert_eq!(sessions.find(&key(1)), Some(second));
        assert!(sessions.remove(second).is_some() && sessions.remove(second).is_none());
        assert_eq!((sessions.len(), sessions.oldest()), (0, None));
    }

    /// Against a plain list, over many random steps.
    #[test]
    fn the_orders_hold_over_any_steps() {
        let mut sessions = Sessions::default();
        let mut model: Vec<(u32, u64)> = Vec::new();
        let mut seed = 7u64;
        for now in 1..5000 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let pick = (seed >> 33) as usize;
            match pick % 4 {
                0 | 1 => model.push((sessions.insert(key(now as u16), now, ()), now)),
                2 if !model.is_empty() => {
                    let at = pick / 4 % model.len();
                    let (index, _) = model.remove(at);
                    sessions.touch(index, now);
                    if pick.is_multiple_of(3) {
                        sessions.confirm(index);
                    }
                    model.push((index, now));
                }
                _ if !model.is_empty() => {
                    let (index, _) = model.remove(pick / 4 % model.len());
                    assert!(sessions.remove(index).is_some());
                }
                _ => {}
            }
            assert_eq!(sessions.len(), model.len());
            let oldest = model.iter().map(|&(_, active)| active).min();
            assert_eq!(sessions.oldest().map(|(_, active)| active), oldest);
        }
    }
}
