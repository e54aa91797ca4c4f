//! Floor 0: used by every other floor, and uses none.

pub(crate) mod address;
pub(crate) mod clock;
pub(crate) mod count;
pub(crate) mod counters;
pub(crate) mod failures;
pub(crate) mod histogram;
pub(crate) mod latency;
pub(crate) mod limits;
pub(crate) mod meter;
pub(crate) mod network;
pub(crate) mod percent;
pub(crate) mod published;
pub(crate) mod sample;
pub(crate) mod spki;
pub(crate) mod tally;
pub(crate) mod text;
pub(crate) mod uses;
