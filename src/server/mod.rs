//! Floor 4: from a plan to workers that serve it, and to their end.

pub mod assemble;
pub mod machine;
pub mod probe;
mod routing;
pub mod supervisor;
pub mod worker;

pub use assemble::{Assembly, assemble, identity};
pub use supervisor::{Server, StartError};
