//! HTTP/2 to backends: requests as streams, and what becomes of them.

mod both_sides;
mod health;
pub mod kit;
mod peers;
mod resent;
mod responses;
mod streams;
