//! A client certificate is rotated under load: no request is lost, none is sent on the old identity once the new one is
//! active, and an identity that a backend does not trust harms no request.

mod again;
mod http2;
pub mod kit;
mod lists;
mod refused;
mod reload;
mod renewal;
mod story;
mod streams;
mod tcp;
mod told;
mod trusted;
mod watched;
