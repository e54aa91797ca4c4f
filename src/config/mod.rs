//! The config: file (as written) → plan (checked).
//!
//! This floor is pure: text in, [`Plan`] or [`Diagnostics`] out. What needs the
//! disk (certificates) or the machine (addresses, CPUs) is looked at by `server`
//! when it builds a snapshot; the plan keeps each value's place in the file, so
//! that those errors point at the line as well.

pub mod plan;
