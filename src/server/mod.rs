//! Floor 4: from a plan to workers that serve it, and to their end.

pub(crate) mod audit;
pub(crate) mod auth;
pub mod build;
pub(crate) mod changes;
pub(crate) mod confine;
pub(crate) mod consumers;
pub(crate) mod deployment;
pub(crate) mod discovery;
pub(crate) mod events;
pub(crate) mod fetch;
mod file_watch;
mod files;
pub(crate) mod health;
pub(crate) mod heartbeat;
pub(crate) mod inherited;
pub(crate) mod lifecycle;
pub(crate) mod load;
pub(crate) mod machine;
pub(crate) mod map_watch;
pub(crate) mod memory;
pub(crate) mod outside;
mod pages;
pub(crate) mod portal;
pub(crate) mod preflight;
pub(crate) mod probe;
mod refused;
mod regular_file;
pub(crate) mod renewal;
pub(crate) mod roll;
pub(crate) mod rotation;
pub(crate) mod routes;
mod routing;
pub(crate) mod service_manager;
pub(crate) mod sockets;
pub(crate) mod stapling;
pub(crate) mod stored;
pub(crate) mod supervisor;
mod syscalls;
pub(crate) mod telemetry;
pub(crate) mod through_route;
pub(crate) mod trust_trial;
pub(crate) mod unix_socket;
pub(crate) mod upgrade;
pub(crate) mod uses;
pub(crate) mod verification;
pub(crate) mod worker;
pub(crate) mod write;

#[allow(unreachable_pub)] // for internals
pub use build::build;
pub(crate) use build::identity;
pub(crate) use changes::Changes;
pub(crate) use deployment::{Deployment, Reloaded};
pub(crate) use load::{LoadError, Loaded, load};
pub(crate) use refused::Refused;
#[allow(unreachable_pub)] // for internals
pub use supervisor::Server;
