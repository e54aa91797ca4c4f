//! Floor 0: what every other floor may use and what itself knows nobody.

pub mod counters;
pub mod field_name;
pub mod limits;
pub mod network;
pub mod published;
pub mod sample;
pub mod spki;
pub mod tally;
pub mod text;
pub mod uses;
