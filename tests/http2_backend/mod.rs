//! HTTP/2 to backends: requests as streams, and what becomes of them.

mod health;
mod kit;
mod peers;
mod resent;
mod responses;
mod streams;
