//! Floor 4: from a plan to workers that serve it, and to their end.

pub mod build;
pub mod changes;
pub mod deployment;
pub mod heartbeat;
pub mod load;
pub mod machine;
pub mod memory;
mod pages;
pub mod preflight;
pub mod probe;
pub mod renewal;
pub mod roll;
pub mod rotation;
mod routing;
pub mod sockets;
pub mod supervisor;
pub mod uses;
pub mod worker;
pub mod write;

pub use build::{Assembly, build, identity};
pub use changes::Changes;
pub use deployment::{Deployment, Refused, Reloaded};
pub use load::{LoadError, Loaded, load};
pub use supervisor::{Server, StartError};
