//! Which upstream a request goes to: host, path, method and conditions, and balancing. No I/O.
//!
//! A request's path is first made unambiguous by [`normalise_path`]. The normalised path is both what
//! [`Table::find`] searches by and what must be forwarded, so that the backend sees the path that
//! the route was chosen by.

mod balance;
mod clause;
mod condition;
pub(crate) mod files;
mod map;
mod map_text;
mod path;
mod pattern;
mod regex;
mod rewrite;
mod table;

pub(crate) use balance::{Algorithm, Balancer, Endpoints, LoadBound, stable_hash};
#[allow(unreachable_pub)] // for internals
pub use clause::Clause;
#[allow(unreachable_pub)] // for internals
pub use condition::RouteQuery;
pub(crate) use condition::{Condition, Expected, Part, cookie, parameter};
pub(crate) use files::{Attempt, FilePath, Files, Links, Pattern as FilePattern, decode_path};
pub(crate) use map::{Input, Map, MapRef, MapTable};
pub(crate) use map_text::{MapFault, MapPiece, MapText, is_location, is_uri_text};
pub(crate) use path::{PathError, keep_empty_parts};
#[allow(unreachable_pub)] // for internals
pub use path::{keep_slashes, normalise_path};
#[allow(unreachable_pub)] // for internals
pub use pattern::{HostPattern, PathPattern};
pub(crate) use regex::Pattern;
pub(crate) use rewrite::{Redirect, Rewrite};
pub(crate) use table::{BuildError, Match};
#[allow(unreachable_pub)] // for internals
pub use table::{RouteSpec, Table};
