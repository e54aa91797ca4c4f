//! `upstream.health`

use std::time::Duration;

/// How each endpoint of an upstream is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// `type`
    pub kind: CheckKind,
    /// From the start of one check to the start of the next, with a tenth more or less by chance. Default 5 s.
    pub interval: Duration,
    /// For the whole of a check. Default 2 s.
    pub timeout: Duration,
    /// Failed checks in a row after which an endpoint is down. Default 3.
    pub fall: u32,
    /// Passed checks in a row after which it is up again. Default 2.
    pub rise: u32,
    /// `all_down`: what happens while every endpoint is down.
    pub all_down: AllDown,
}

/// `upstream.health.type`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// A connection is made.
    Tcp,
    /// A TLS handshake is made, as for traffic.
    Tls,
    /// A request is made.
    Http(HttpCheck),
    /// `grpc.health.v1.Health/Check` is called.
    Grpc(GrpcCheck),
}

/// The call of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcCheck {
    /// `service`; empty: the server as a whole.
    pub service: String,
}

/// The request of a check, and which response passes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCheck {
    /// Default GET.
    pub method: String,
    /// The request-target. Default `/`.
    pub path: String,
    /// `None`: the endpoint's, as the config names it.
    pub host: Option<String>,
    /// Further fields.
    pub headers: Vec<(String, String)>,
    /// First and last status of each range that passes. Default 200 to 399.
    pub expect: Vec<(u16, u16)>,
    /// What the first 16 KiB of the body must contain.
    pub body: Option<String>,
}

/// `upstream.health.all_down`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllDown {
    /// All endpoints are used.
    Use,
    /// Requests are refused with 503.
    Refuse,
}
