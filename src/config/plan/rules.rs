//! The rules of a route: limits, permissions, CORS, API keys, compression.

use std::path::PathBuf;
use std::time::Duration;

use super::{AddressRule, At, Auth, ErrorPages};
use crate::http::Coding;
use crate::route::Clause;

/// The rules of a `[[route]]`; `None` for those that it does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteRules {
    /// `allow`, `deny`
    pub permitted: AddressRule,
    /// `refuse`
    pub refusals: Vec<Refusal>,
    /// `rate_limit`
    pub rate_limit: Option<RateLimit>,
    /// `cors`
    pub cors: Option<Cors>,
    /// `api_keys`
    pub api_keys: Option<ApiKeys>,
    /// `credentials`: the definitions of which a client needs a credential; empty: none.
    pub credentials: Vec<At<String>>,
    /// `trace`
    pub trace: Trace,
    /// `auth`
    pub auth: Auth,
    /// `error_pages`, over those of the listener; `None`: as the listener.
    pub error_pages: Option<ErrorPages>,
    /// `compression`; `None`: as the listener.
    pub compression: Option<CompressionSetting>,
}

/// One of `refuse` of a route or a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What holds of the requests that are refused.
    pub when: Clause,
    /// `status`: 400 to 599. Default 403.
    pub status: u16,
}

/// `rate_limit` of a route or a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// How many requests in `period`.
    pub count: u32,
    /// 1 s, 1 min or 1 h.
    pub period: Duration,
    /// How many at once. Default: as many as in a second, at least one.
    pub burst: u32,
    /// What is counted apart. Default: each client.
    pub by: LimitBy,
}

/// `rate_limit.by`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitBy {
    /// Each client address; an IPv6 network of 64 bits is one client.
    Client,
    /// All requests of the route, or of the listener, together.
    All,
    /// Each value of this field, named in lower case; without it, each client.
    Header(String),
}

/// `route.cors`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// Never empty.
    pub origins: Vec<OriginPattern>,
    /// The methods in the response to a preflight; default GET, HEAD and POST.
    pub methods: AnyOr<String>,
    /// Request fields beyond those that need no permission. Default: none.
    pub headers: AnyOr<String>,
    /// Whether credentials may be sent.
    pub credentials: bool,
    /// How long a preflight's answer holds. Default: 10 min.
    pub max_age: Duration,
    /// Response fields that scripts may read.
    pub expose: Vec<String>,
}

/// `["*"]`, or a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnyOr<T> {
    /// Any.
    Any,
    /// These.
    These(Vec<T>),
}

/// One of `cors.origins`, in lower case as browsers send it (RFC 6454 §6.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginPattern {
    /// `*`
    Any,
    /// `https://app.example.com`
    Exact(String),
    /// `https://*.example.com:8443`: any name with one or more labels before it.
    Below {
        /// `https://`
        scheme: String,
        /// `.example.com:8443`
        suffix: String,
    },
}

/// `route.api_keys`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeys {
    /// The file of keys.
    pub file: At<PathBuf>,
    /// The field with the key, in lower case. `Authorization: Bearer` is read besides.
    pub header: String,
    /// The field that gives the backend the key's name.
    pub name_header: String,
    /// Whether the key itself is forwarded to the backend.
    pub forward: bool,
}

/// `route.trace`: W3C Trace Context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trace {
    /// Not passed on.
    Off,
    /// As any other field.
    #[default]
    Pass,
    /// Passed on if valid, else made.
    Make,
}

/// `compression` of a route or a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompressionSetting {
    /// `false`
    Off,
    /// `true`, or a table.
    On(Compression),
}

/// Which responses are encoded, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compression {
    /// In our order of preference; never empty.
    pub algorithms: Vec<Coding>,
    /// Bodies that are known to be shorter go as they are. Default 1 KiB.
    pub min_size: u64,
    /// Media types, `text/*` for all of a kind, in lower case.
    pub types: Vec<String>,
}
