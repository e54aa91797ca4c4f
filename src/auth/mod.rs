//! The identity of a client by a password or a token: the rules of both, without I/O or a clock.
//!
//! | module | does |
//! | --- | --- |
//! | [`basic`] | `Authorization: Basic` (RFC 7617) |
//! | [`htpasswd`] | files of users, and whether a password is the one that a hash was made of |
//! | [`jwks`] | keys that tokens are verified by (RFC 7517) |
//! | [`jwt`] | signed tokens (RFC 7519, RFC 7515) |
//! | [`verified`] | what was verified before: a bounded table without locks |

pub(crate) mod basic;
pub(crate) mod htpasswd;
mod json;
pub(crate) mod jwks;
pub(crate) mod jwt;
pub(crate) mod verified;
