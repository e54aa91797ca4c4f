//! The floor under a body's speed: a client that is slower than `limits.body_rate` for longer than
//! `limits.body_grace` is not waited for.
//!
//! Looked at now and then, and only where a body is relayed, by what the kernel counts: the way of the bytes
//! themselves pays nothing. Only time in which bytes of a response are held up, or none of a request are there,
//! counts against the client; a backend that is silent does not.

use std::cell::Cell;
use std::pin::pin;
use std::time::Duration;

use crate::base::limits::Limits;
use crate::io::deadline::TICK;
use crate::io::peer::Flow;
use crate::io::{Deadline, Wheel};
use crate::proxy::exchange::stage::{BodyStage, Phase, ResponseStage};
use crate::proxy::stream_peer::StreamPeer;

/// How often a body that is under way is checked, and at least four times within what a write may take.
const LOOK: Duration = Duration::from_secs(1);

/// What the client does with the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// It sends it.
    Sends,
    /// It takes it.
    Takes,
}

/// The client fell too far behind.
#[derive(Debug)]
pub(crate) struct TooSlow;

/// A body's pace.
#[derive(Debug)]
pub(crate) struct Pace<'a> {
    pub wheel: &'a Wheel,
    pub limits: &'a Limits,
    /// The client's end of its connection.
    pub peer: &'a StreamPeer,
    pub client: Client,
    /// Where the body goes to: the client's connection, or the backend's.
    pub to: StreamPeer,
    /// Phase and patience of its writes.
    pub writing: (Phase, Duration),
    /// The exchange's deadline, and the stage of this body.
    pub deadline: &'a Deadline,
    pub stage: BodyStage<'a>,
    /// How far the response is.
    pub response: &'a Cell<ResponseStage>,
}

impl Pace<'_> {
    /// Runs `work`, which relays the body, for as long as the client keeps up.
    pub(crate) async fn keep<T>(&self, work: impl Future<Output = T>) -> Result<T, TooSlow> {
        let mut work = pin!(work);
        let glance = self.wheel.deadline();
        let mut floor = Floor::new(self.limits);
        let mut last: Option<(u64, Flow)> = None;
        let mut taken = u64::MAX;
        let (writing, patience) = self.writing;
        let look = LOOK.min(patience / 4);
        loop {
            glance.set(look);
            if let Ok(done) = glance.race(work.as_mut()).await {
                return Ok(done);
            }
            if self.stage.phase() == writing
                && let Some(to) = self.to.flow()
            {
                // A slow reader that still takes bytes does not time out: its time begins anew.
                if to.taken > taken {
                    self.deadline.set(patience);
                }
                taken = to.taken;
            }
            let Some(flow) = self.peer.flow() else {
                continue;
            };
            let now = self.wheel.now();
            if let Some((then, before)) = last.replace((now, flow)) {
                let elapsed = TICK.saturating_mul(u32::try_from(now - then).unwrap_or(u32::MAX));
                let (moved, waiting) = match self.client {
                    // While its 100 or what it sent is with the backend, the client owes nothing; nor once the response has begun.
                    Client::Sends => {
                        let begun = matches!(self.response.get(), ResponseStage::Begun { .. });
                        let owes = self.stage.phase() == Phase::ClientBody && !begun;
                        (flow.received - before.received, owes && self.peer.is_drained())
                    }
                    Client::Takes => (flow.taken - before.taken, flow.held_up),
                };
                if !floor.holds(elapsed, waiting, moved) {
                    return Err(TooSlow);
                }
            }
        }
    }
}

/// How far a client is behind, as time: waiting adds to it, bytes make up for it. Being fast is not saved up.
#[derive(Debug)]
struct Floor {
    rate: u64,
    grace: Duration,
    behind: Duration,
}

impl Floor {
    fn new(limits: &Limits) -> Self {
        Self { rate: limits.body_rate, grace: limits.body_grace, behind: Duration::ZERO }
    }

    /// Takes in a stretch of time. False: the client is further behind than it may be.
    fn holds(&mut self, elapsed: Duration, waiting: bool, moved: u64) -> bool {
        if self.rate == 0 {
            return true;
        }
        if waiting {
            self.behind = self.behind.saturating_add(elapsed);
        }
        let millis = u128::from(moved) * 1000 / u128::from(self.rate);
        self.behind =
            self.behind.saturating_sub(Duration::from_millis(millis.try_into().unwrap_or(u64::MAX)));
        self.behind <= self.grace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn floor() -> Floor {
        Floor { rate: 240, grace: 20 * SECOND, behind: Duration::ZERO }
    }

    /// Seconds until a client that moves `bytes` in each is given up; `None` if it is not within an hour.
    fn lasts(mut floor: Floor, bytes: u64, waiting: bool) -> Option<u32> {
        (1..3600).find(|_| !floor.holds(SECOND, waiting, bytes))
    }

    #[test]
    fn a_slow_client_is_given_up_after_the_grace() {
        assert_eq!(lasts(floor(), 0, true), Some(21));
        assert_eq!(lasts(floor(), 120, true), Some(41), "half the rate: half the debt a second");
        assert_eq!(lasts(floor(), 240, true), None);
        assert_eq!(lasts(floor(), 0, false), None, "nobody waits for it");
        assert_eq!(lasts(Floor { rate: 0, ..floor() }, 0, true), None);
    }

    #[test]
    fn a_fast_beginning_is_not_saved_up() {
        let mut floor = floor();
        assert!(floor.holds(SECOND, true, 1 << 40));
        assert_eq!(lasts(floor, 1, true), Some(21));
    }

    #[test]
    fn a_pause_that_is_made_up_for_is_forgiven() {
        let mut floor = floor();
        for _ in 0..100 {
            for _ in 0..19 {
                assert!(floor.holds(SECOND, true, 0));
            }
            assert!(floor.holds(SECOND, true, 240 * 20));
        }
    }
}
