//! Which upstream a request goes to: host, path, method and conditions, and balancing. No I/O.
//!
//! A request's path is first made unambiguous by [`normalise_path`]. The normalised path is both what
//! [`Table::find`] is asked about and what must be forwarded, so that the backend sees the path that
//! the route was chosen by.

mod balance;
mod condition;
mod path;
mod table;

pub use balance::RoundRobin;
pub use condition::{Condition, Expected, Part, RouteQuery};
pub use path::{PathError, keep_empty_parts, keep_slashes, normalise_path, strip_prefix};
pub use table::{BuildError, HostPattern, Match, PathPattern, RouteSpec, Table};
