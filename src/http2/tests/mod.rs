//! The codec as a whole, in memory.

mod bounds;
mod conformance;
mod h2_client;
mod h2_server;
mod hpack_vectors;
mod messages;
mod peer;
mod simulation;
mod sizes;
mod splits;
