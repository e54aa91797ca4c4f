//! Calls of gRPC: through grpcio on both sides, from clients of gRPC-Web, and how they end in the access log.

use std::time::Duration;

use crate::support::*;

mod browser;
mod ends;
mod python;
mod web;
mod within;

/// For other programs with much to do, on a machine that is busy.
const LONG: Duration = Duration::from_secs(120);
