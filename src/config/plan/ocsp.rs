//! `ocsp` of a listener's TLS.

use std::path::PathBuf;

use super::At;

/// Where the OCSP responses come from that a listener staples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ocsp {
    /// `file`: at least one.
    Files(Vec<At<PathBuf>>),
    /// `fetch = true`
    Fetch {
        /// `url`; `None`: the certificate's own.
        url: Option<At<String>>,
    },
}
