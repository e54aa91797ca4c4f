//! Certificates: their content, whether chain and key belong together, how they are made, where they are kept.
//!
//! | module | does |
//! | --- | --- |
//! | [`apikeys`] | keys of API clients, kept as digests |
//! | [`bundle`] | bytes (PEM, DER, PKCS#12, PKCS#7; perhaps locked) → [`Bundle`]: a chain, perhaps its key, checked against each other |
//! | [`inspect`] | the content of a certificate |
//! | [`generate`] | new keys, self-signed and CA-signed certificates, requests for a CA |
//! | [`command`] | the requests to the store, for the command line and the admin API alike |
//! | [`consumers`] | consumers of APIs, and the credentials that they call them with |
//! | [`renewal`] | when a successor is due, and which side makes it |
//! | [`store`] | the folder on disk, generations and their states; the only part here that touches it |
//!
//! All but `store` (and `command`, which works on it) is pure: no clock (`now` is an argument), no disk, no socket.

pub(crate) mod apikeys;
mod ber;
pub(crate) mod bundle;
pub(crate) mod command;
pub(crate) mod concern;
pub(crate) mod consumers;
mod encode;
mod encrypted;
pub(crate) mod generate;
pub(crate) mod inspect;
mod legacy;
pub(crate) mod ocsp;
mod parse;
mod passphrase;
pub(crate) mod pkcs12;
mod pkcs7;
pub(crate) mod renewal;
pub(crate) mod store;
pub(crate) mod time;

#[cfg(test)]
mod tests;

#[allow(unreachable_pub)] // for internals
pub use bundle::Bundle;
pub(crate) use bundle::{BundleError, LockError};
pub(crate) use encode::pem;
pub(crate) use generate::Usage;
#[allow(unreachable_pub)] // for internals
pub use generate::{CaMaterial, GenerateRequest, Generated, KeyType, San};
#[allow(unreachable_pub)] // for internals
pub use inspect::Facts;
#[allow(unreachable_pub)] // for internals
pub use passphrase::Passphrase;
pub(crate) use store::{GenerationState, Rollback, StateError, StoreError};
#[allow(unreachable_pub)] // for internals
pub use store::{Meta, Origin, Store};
pub(crate) use time::Timestamp;
