//! How much of what one worker sends to an upstream may be sent again.

use std::cell::Cell;

use crate::base::limits::{RETRY_FLOOR, RETRY_WINDOW};
use crate::io::deadline::TICK;

/// Ticks a slot of the window.
const SLOT: u64 = 1000 / TICK.as_millis() as u64;

/// What one worker has sent to one upstream within the last [`RETRY_WINDOW`] seconds, and how much of it again.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    slots: [Cell<Slot>; RETRY_WINDOW],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// Which second it counts.
    second: u64,
    requests: u32,
    retries: u32,
}

impl Budget {
    /// Counts a request.
    pub(crate) fn count(&self, now: u64) {
        self.change(now, |slot| slot.requests = slot.requests.saturating_add(1));
    }

    /// Counts a retry, if `percent` of the requests leave room for it, or the floor does.
    pub(crate) fn take(&self, percent: u32, now: u64) -> bool {
        let oldest = (now / SLOT).saturating_sub(RETRY_WINDOW as u64 - 1);
        let counted = self.slots.iter().map(Cell::get).filter(|slot| slot.second >= oldest);
        let (requests, retries) = counted.fold((0, 0), |(requests, retries), slot| {
            (requests + u64::from(slot.requests), retries + u64::from(slot.retries))
        });
        let room = retries < RETRY_FLOOR + requests * u64::from(percent) / 100;
        if room {
            self.change(now, |slot| slot.retries += 1);
        }
        room
    }

    fn change(&self, now: u64, change: impl FnOnce(&mut Slot)) {
        let second = now / SLOT;
        let cell = &self.slots[second as usize % RETRY_WINDOW];
        let mut slot = cell.get();
        if slot.second != second {
            slot = Slot { second, ..Slot::default() };
        }
        change(&mut slot);
        cell.set(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_share_of_the_requests_and_is_forgotten_in_time() {
        let budget = Budget::default();
        let taken = |now| (0..10_000).take_while(|_| budget.take(20, now)).count() as u64;
        assert_eq!(taken(0), RETRY_FLOOR, "idle, it may still retry");
        for second in 0..10 {
            (0..100).for_each(|_| budget.count(second * SLOT));
        }
        assert_eq!(taken(9 * SLOT), 200);
        assert_eq!(taken(9 * SLOT), 0);
        // Second 0 is forgotten: a tenth of the requests, and the floor that was taken in it.
        assert_eq!(taken(10 * SLOT), 0, "what was taken in the last second still counts");
        assert_eq!(taken(19 * SLOT), RETRY_FLOOR);
        assert_eq!(taken(1_000_000 * SLOT), RETRY_FLOOR);
    }
}
