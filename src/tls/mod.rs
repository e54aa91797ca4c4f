//! TLS without I/O: bytes in, bytes out.
//!
//! rustls makes the handshake, because that is where the protocol's dangers are. Once it is done, its
//! keys move to a record layer of our own, which seals and opens in the caller's buffers and holds
//! none itself: rustls' would copy each record into a fresh allocation.
//!
//! ```text
//!            Handshake::client / server
//!                      │  advance(incoming, out) ─► NeedsInput: send `out`, read, call again
//!                      │                            Err: send `out` (it holds our alert), close
//!                      ▼  Done: send `out`
//!                  finish()
//!                      │
//!          ┌───────────┴───────────┐
//!       Opener                  Sealer            one for the reading half, one for the writing half,
//!          │ open(buf)             │ seal_…       both on the thread that made them
//!          │                       │
//!          └── a KeyUpdate, a HelloRequest ──► has_pending(): write pending(out) before more data
//! ```
//!
//! | file | holds |
//! | --- | --- |
//! | `handshake` | the driver around rustls, and the facts of a finished handshake |
//! | `guard` | what a listener refuses before rustls sees it, and the alerts that rustls leaves out |
//! | `watched` | a listener's cipher suites, which note what rustls' record layer does |
//! | `hello` | the server name in a ClientHello that is only relayed |
//! | `record` | [`Opener`] and [`Sealer`] |
//! | `cipher` | one direction's key: nonces, additional data, layout of a record |
//! | `identity` | certificates with keys, and the choice of the one that is presented |
//! | `trust` | what a backend's certificate is checked against |
//! | `algorithms` | which signatures count, and how large RSA keys must be |
//! | `revocation`, `succession` | revocation lists, and which of them are in force after a change |
//! | `sessions` | one worker's tickets for one endpoint, by name, policy and identity |
//! | `tickets`, `ticket_keys` | listeners' tickets, which end with the client certificate in them; their keys |
//! | `clients` | what a client's certificate is checked against |
//! | `presented` | what a client's certificate says, in the forms that it is asked for |
//! | `config` | policies in, rustls' configs out |
//! | `groups` | key exchange groups |
//! | `explain` | which certificate of a chain is why it is refused |
//! | `error` | which side is at fault, in words |
//! | `reason` | the same for counters, with what to do |

mod algorithms;
pub(crate) mod backend_verifier;
mod certificate_facts;
mod chain;
mod cipher;
pub(crate) mod client_certificate;
pub(crate) mod client_verifier;
pub mod config;
pub(crate) mod error;
mod explain;
mod groups;
mod guard;
pub(crate) mod handshake;
pub(crate) mod hello;
pub(crate) mod identity;
pub(crate) mod reason;
pub(crate) mod record;
pub(crate) mod revocation;
mod sessions;
pub(crate) mod succession;
mod ticket_keys;
mod tickets;
mod watched;

#[cfg(test)]
mod tests;

#[allow(unreachable_pub)] // for internals
pub use algorithms::RsaBits;
#[allow(unreachable_pub)] // for internals
pub use backend_verifier::{BackendVerifier, TrustAnchors};
pub(crate) use backend_verifier::{TrustConcern, TrustError, trust_concern};
#[allow(unreachable_pub)] // for internals
pub use client_certificate::ClientCertificate;
pub(crate) use client_certificate::SanName;
pub(crate) use client_verifier::{AnyClient, ClientUsage, ClientVerifier, Demand};
pub(crate) use config::{CIPHER_SUITES, bind, cipher_suite_by_name, cipher_suite_name};
#[allow(unreachable_pub)] // for internals
pub use config::{CipherOrder, ClientPolicy, ServerPolicy, Versions, client_config, server_config, ticketer};
#[allow(unreachable_pub)] // for internals
pub use error::HandshakeError;
pub(crate) use error::{RecordError, client_help};
pub(crate) use groups::Group;
pub(crate) use guard::Offered;
pub(crate) use handshake::{Established, Facts};
#[allow(unreachable_pub)] // for internals
pub use handshake::{Handshake, State};
#[allow(unreachable_pub)] // for internals
pub use hello::{Hello, HelloReader, read_hello};
pub(crate) use identity::IdentityError;
#[allow(unreachable_pub)] // for internals
pub use identity::{Identity, ServerResolver, Staple};
pub(crate) use reason::{Reason, Tally, alert_name};
pub(crate) use record::Opened;
#[allow(unreachable_pub)] // for internals
pub use record::{Opener, Sealer};
pub(crate) use revocation::{List as RevocationList, RevocationLists};
pub(crate) use sessions::{SessionPool, Sessions};
pub(crate) use ticket_keys::{TicketKey, TicketKeys};
