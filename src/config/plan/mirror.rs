//! `upstream.mirror`

use super::At;

/// Where copies of an upstream's requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// `upstream`: the name of another upstream, with the environment of the upstream's own overlay where it has that, too.
    pub upstream: At<String>,
    /// `percent`: how many of the requests, in millionths. Default 100 %.
    pub millionths: u32,
}
