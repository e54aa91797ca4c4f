//! Passive health of an upstream, as one worker judges it by its exchanges: which outcomes eject an endpoint.
//!
//! What comes of that is shared by all workers: [`outlier`](super::outlier).

use std::time::Duration;

use super::outlier::Verdict;
use super::pool::Pool;
use super::request_key::Repeat;
use super::stream::UpstreamStream;
use crate::base::clock;
use crate::base::limits::{ERROR_RATE_RESPONSES, STALLED};
use crate::config::plan::AllDown;
use crate::io::deadline::ticks;
use crate::proxy::failure::Failure;

/// How an endpoint failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It closed a new connection without a response.
    Reset,
    /// Its response broke the rules of HTTP.
    Invalid,
    /// No response within the time for it.
    Timeout,
    /// No response within `outliers.slow_after`.
    Slow,
}

impl Fault {
    fn text(self) -> &'static str {
        match self {
            Self::Reset => "connections closed without a response",
            Self::Invalid => "invalid responses",
            Self::Timeout => "no response in time",
            Self::Slow => "no response within `outliers.slow_after`, while other endpoints respond",
        }
    }
}

impl Pool {
    /// Whether such a request may go to the endpoint at will.
    pub(crate) fn is_usable(&self, endpoint: usize, repeat: Repeat) -> bool {
        self.upstream.endpoints[endpoint].is_usable(repeat)
    }

    /// Whether so few endpoints are usable that all of them are used.
    pub(crate) fn panics(&self) -> bool {
        let least = self.upstream.outliers.panic_threshold as usize;
        let endpoints = || self.upstream.endpoints.iter().filter(|endpoint| !endpoint.drain);
        // Backup endpoints are there for this: as long as one is usable, those that are not need not be used.
        let usable = |backup: bool| {
            endpoints()
                .filter(|endpoint| endpoint.backup == backup && endpoint.is_usable(Repeat::Held))
                .count()
        };
        let primary = || endpoints().filter(|endpoint| !endpoint.backup).count();
        least > 0 && usable(false) * 100 < least * primary() && usable(true) == 0
    }

    /// Whether a request that may not be repeated goes to the endpoint on a new connection.
    pub(crate) fn is_careful(&self, endpoint: usize) -> bool {
        self.endpoints[endpoint].idle_limit.is_careful(self.wheel.now())
    }

    /// Whether requests are refused, as the checks of every endpoint fail.
    pub(crate) fn refuses(&self) -> bool {
        let refuses = self.upstream.health.as_ref().is_some_and(|health| health.all_down == AllDown::Refuse);
        let mut used = self.upstream.endpoints.iter().filter(|endpoint| !endpoint.drain);
        refuses && used.all(|endpoint| endpoint.state.check.is_down())
    }

    /// A request goes to the endpoint: if its time is over for which it was tried last, one finds out whether it is back,
    /// and others keep off meanwhile.
    pub(crate) fn begin_trial(&self, endpoint: usize) {
        let state = &self.upstream.endpoints[endpoint].state.outlier;
        if !state.is_held() {
            return;
        }
        let mut time = self.upstream.connect_timeout;
        if state.is_ejected() {
            time += self.slow_after().unwrap_or(self.upstream.response_timeout);
        }
        state.begin_trial(clock::millis(), time);
    }

    fn slow_after(&self) -> Option<Duration> {
        let policy = &self.upstream.outliers;
        Some(policy.slow_after).filter(|time| policy.passive && !time.is_zero())
    }

    /// The head of a final response is here, for which the exchange waits since the tick `since`. `counted`: it was
    /// slow, and is counted as that.
    pub(crate) fn responded(&self, endpoint: usize, status: u16, since: u64, counted: bool) {
        let policy = &self.upstream.outliers;
        let state = &self.upstream.endpoints[endpoint].state.outlier;
        if !policy.passive {
            state.answered(clock::millis);
            return;
        }
        let now = self.wheel.now();
        let recent = &self.endpoints[endpoint].recent;
        let is_error = matches!(status, 502..=504);
        recent.count(now, is_error);
        if counted || self.slow_after().is_some_and(|time| now.saturating_sub(since) > ticks(time)) {
            if !counted {
                self.slow(endpoint, since);
            }
            return;
        }
        recent.quick.set(now + 1);
        let in_a_row = status >= 500 && policy.consecutive_5xx > 0;
        if in_a_row || (is_error && state.is_ejected()) {
            if state.erred(clock::millis(), policy.consecutive_5xx) == Verdict::Due {
                self.eject(
                    endpoint,
                    &format!("{status} again, or `outliers.consecutive_5xx` times in a row"),
                );
            }
        } else if is_error && self.is_outlier(endpoint) {
            let rate = recent.rate().unwrap_or_default();
            self.eject(endpoint, &format!("{rate}% of its responses are errors, and fewer of the others"));
        } else if state.answered(clock::millis) {
            self.upstream.endpoints[endpoint].state.begin_warm_up();
            let (upstream, endpoint) = (&self.upstream.name, &self.upstream.endpoints[endpoint].label);
            tracing::info!(upstream, endpoint, "a trial request was answered: the endpoint is used again");
        }
    }

    /// Whether the endpoint's rate of errors is too high, and at least twice as high as that of the others together.
    fn is_outlier(&self, endpoint: usize) -> bool {
        let recent = &self.endpoints[endpoint].recent;
        let most = self.upstream.outliers.error_rate;
        let rate = recent.rate().filter(|_| recent.responses.get() >= ERROR_RATE_RESPONSES);
        let Some(rate) = rate.filter(|rate| most > 0 && *rate >= most) else { return false };
        let others = self.endpoints.iter().enumerate().filter(|(other, _)| *other != endpoint);
        let (errors, responses) = others.fold((0, 0), |(errors, responses), (_, other)| {
            (errors + other.recent.errors.get(), responses + other.recent.responses.get())
        });
        responses > 0 && u64::from(errors) * 200 < u64::from(rate) * u64::from(responses)
    }

    /// A request got no byte of a response. If the backend has ended its pooled connection under it, non-idempotent requests to
    /// the endpoint are [careful](Self::is_careful) for a while. A connection of HTTP/2 that ends takes its streams with it, and no
    /// later request meets it: a new one would carry one request alone.
    pub(crate) fn note_unanswered(&self, stream: &UpstreamStream, failure: &Failure) {
        let is_lone = matches!(stream, UpstreamStream::H1(_));
        if is_lone && stream.is_reused() && matches!(failure, Failure::BackendGone(_)) {
            self.endpoints[stream.endpoint()].idle_limit.lost(self.wheel.now());
        }
    }

    /// An exchange has failed at the endpoint, for which it waited since the tick `since`.
    pub(crate) fn failed(&self, endpoint: usize, fault: Fault, since: u64) {
        let policy = &self.upstream.outliers;
        if !policy.passive {
            return;
        }
        let long = self.wheel.now().saturating_sub(since) >= ticks(STALLED);
        let at_once = fault == Fault::Timeout && long && self.only_others_answer(endpoint, since);
        let threshold = if at_once { 1 } else { policy.consecutive_failures };
        let state = &self.upstream.endpoints[endpoint].state.outlier;
        if policy.consecutive_failures > 0 && state.failed(clock::millis(), threshold) == Verdict::Due {
            self.eject(endpoint, fault.text());
        }
    }

    /// A request waits at the endpoint since the tick `since`. If that is too long, and others respond meanwhile, it
    /// counts as a failure. Whether it did.
    pub(crate) fn slow(&self, endpoint: usize, since: u64) -> bool {
        let Some(time) = self.slow_after() else { return false };
        let is_slow = self.wheel.now().saturating_sub(since) >= ticks(time);
        let counts = is_slow && self.only_others_answer(endpoint, since);
        if counts {
            self.failed(endpoint, Fault::Slow, since);
        }
        counts
    }

    /// Whether this worker had a quick response of another endpoint since then, and none of this one.
    fn only_others_answer(&self, endpoint: usize, since: u64) -> bool {
        let quick = |of: usize| self.endpoints[of].recent.quick.get();
        let others = (0..self.endpoints.len()).filter(|other| *other != endpoint);
        quick(endpoint) <= since + 1 && others.map(quick).any(|last| last > since)
    }

    /// Whether an exchange at the endpoint does better elsewhere: it is ejected, and another one is usable.
    pub(crate) fn is_better_elsewhere(&self, endpoint: usize, tried: &[usize]) -> bool {
        let endpoints = &self.upstream.endpoints;
        let is_free = |other: usize| {
            other != endpoint && !tried.contains(&other) && endpoints[other].is_usable(Repeat::Held)
        };
        endpoints[endpoint].state.outlier.is_ejected() && (0..endpoints.len()).any(is_free)
    }

    /// Ejects the endpoint, unless too many are.
    fn eject(&self, endpoint: usize, reason: &str) {
        let policy = &self.upstream.outliers;
        let endpoints = &self.upstream.endpoints;
        let others = endpoints.iter().enumerate().filter(|(other, _)| *other != endpoint);
        let ejected = others.filter(|(_, other)| other.state.outlier.is_ejected()).count();
        // One of several may always be: of two, a share below 50 % would mean none.
        let most =
            (endpoints.len() * policy.max_ejected as usize / 100).max(usize::from(policy.max_ejected > 0));
        if endpoints.len() < 2 || ejected >= most {
            return;
        }
        let at = &endpoints[endpoint];
        let (base, longest) = (policy.base_ejection, policy.max_ejection);
        if let Some(time) = at.state.outlier.eject(clock::millis(), base, longest, reason.to_owned()) {
            let (upstream, endpoint) = (&self.upstream.name, &at.label);
            tracing::warn!(upstream, endpoint, "ejected for {time:?}: {reason}");
        }
    }
}
