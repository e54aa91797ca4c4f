//! Certificates: what they say, whether they hold together, how they are made, where they are kept.
//!
//! | module | does |
//! | --- | --- |
//! | [`apikeys`] | keys of API clients, kept as digests |
//! | [`bundle`] | bytes (PEM, DER, PKCS#12, PKCS#7; perhaps locked) → [`Bundle`]: a chain, perhaps its key, checked against each other |
//! | [`facts`] | what a certificate says of itself |
//! | [`generate`] | new keys, self-signed and CA-signed certificates, requests for a CA |
//! | [`command`] | what one can ask of the store, for the command line and the admin API alike |
//! | [`renewal`] | when a successor is due, and who makes it |
//! | [`store`] | the folder on disk, generations and their states; the only part here that touches it |
//!
//! All but `store` (and `command`, which works on it) is pure: no clock (`now` is an argument), no disk, no socket.

pub mod apikeys;
mod ber;
pub mod bundle;
pub mod command;
mod encode;
mod encrypted;
pub mod generate;
pub mod inspect;
mod legacy;
mod parse;
mod passphrase;
mod pkcs12;
mod pkcs7;
pub mod renewal;
pub mod store;
pub mod time;

#[cfg(test)]
mod tests;

pub use bundle::{Bundle, BundleError, ChainNote, LockError, PrivateKey};
pub(crate) use encode::pem;
pub use generate::{CaMaterial, Csr, GenerateError, GenerateRequest, Generated, KeyType, San, Usage};
pub use inspect::Facts;
pub use passphrase::Passphrase;
pub use store::{
    Activation, Description, Exposed, GenerationState, Loaded, Meta, Origin, Rollback, Staged, StateError,
    Store, StoreError, StoredCertificate,
};
pub use time::Timestamp;
