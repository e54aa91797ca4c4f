//! Consumers of APIs and their credentials: an API key, a client certificate, or a key that counts only on a connection
//! with the credential's certificate.
//!
//! | module | does |
//! | --- | --- |
//! | [`definition`] | what kinds of credentials can be requested, by the config |
//! | [`credential`] | one credential: its keys, certificates and origins, as it is kept |
//! | [`state`] | its life, from request to end |
//! | [`order`] | what can be asked for, by the command line and the admin API alike, and the answers |
//! | [`claim`] | requests of strangers, by the page for consumers |
//! | [`desk`] | carries orders out on the store |
//! | [`index`] | what requests are checked against, published to every worker |
//! | [`axway`] | definitions of another product, read |
//!
//! All but `desk` and `claim`, which work on the store, is pure.

pub(crate) mod axway;
pub(crate) mod claim;
pub(crate) mod credential;
pub(crate) mod definition;
pub(crate) mod desk;
mod error;
pub(crate) mod index;
mod issue;
pub(crate) mod order;
mod origin;
pub(crate) mod state;

#[cfg(test)]
mod tests;

pub(crate) use credential::{Consumer, Credential};
pub(crate) use definition::{Approval, Definition};
pub(crate) use desk::{Book, Desk};
pub(crate) use error::ConsumerError;
#[cfg(test)]
use index::Index;
pub(crate) use order::{Answer, Order};
pub(crate) use state::Standing;
