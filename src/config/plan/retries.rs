//! `upstream.retries`

use std::time::Duration;

/// `upstream.retries`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retries {
    /// `attempts`: most times that a request is sent, the first included. Default 2; 1 without `retries`.
    pub attempts: u32,
    /// `on` has `"connect"`: where an endpoint can't be connected to, the next one is tried. Always without `retries`.
    pub connect: bool,
    /// `on` has `"reset"`: the backend closed before any byte of a response. Without `retries` that is covered by
    /// `failover` alone.
    pub reset: bool,
    /// After such a close a request that may be repeated is sent to each other endpoint once, regardless of `attempts` and
    /// `budget`. This is so without `retries`, and with it where `on` has `"reset"` and `attempts` is left out.
    pub failover: bool,
    /// `on` has `"timeout"`: no head of a response came in time.
    pub timeout: bool,
    /// The statuses that `on` has.
    pub statuses: Vec<u16>,
    /// The codes of gRPC that `on` has.
    pub grpc: Vec<u8>,
    /// `budget`: most retries in percent of the requests. Default 20.
    pub budget: u32,
    /// `attempt_timeout`: from the request's end to the response's head, for each attempt but the last.
    /// `None`: an equal share of `timeouts.response`.
    pub attempt_timeout: Option<Duration>,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 1,
            connect: true,
            reset: false,
            failover: true,
            timeout: false,
            statuses: Vec::new(),
            grpc: Vec::new(),
            budget: 20,
            attempt_timeout: None,
        }
    }
}
