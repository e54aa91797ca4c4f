//! How the endpoint of a request is chosen.

use std::path::PathBuf;
use std::time::Duration;

use super::At;

/// `upstream.balance`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// In turn, by weight.
    #[default]
    RoundRobin,
    /// The endpoint with the fewest exchanges for its weight.
    LeastRequests,
    /// The one with fewer exchanges of two that are drawn by weight.
    TwoChoices,
    /// Drawn by weight.
    Random,
    /// By a part of the request.
    Hash(Hash),
}

/// `upstream.hash`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hash {
    /// `by`
    pub by: At<HashBy>,
    /// `load`, in percent: how much of the exchanges that would be its share an endpoint may have, before its keys go to
    /// others; 0: no bound. Default 125.
    pub load: u32,
}

/// `upstream.hash.by`: what of a request is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashBy {
    /// The first field of this name.
    Header(String),
    /// The cookie of this name.
    Cookie(String),
    /// The first query parameter of this name, as it is written.
    Query(String),
    /// The client's address, which may come from a trusted proxy.
    ClientAddress,
    /// The normalised path, without the query.
    Path,
}

/// `upstream.sticky`
#[derive(Clone, Debug, PartialEq)]
pub struct Sticky {
    /// `cookie` or `header`
    pub by: StickyBy,
    /// `max_age`: how long a token is good. `None`: for ever, and the cookie ends with the browser's session.
    pub max_age: Option<Duration>,
    /// `secret_file`: what tokens are signed with. `None`: a secret that is kept in the store.
    pub secret_file: Option<At<PathBuf>>,
}

/// Where a client keeps the token of its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StickyBy {
    /// In the cookie of this name.
    Cookie(String),
    /// In the field of this name.
    Header(String),
}
