//! HPACK, the compression of header lists (RFC 7541).
//!
//! Both sides keep a dynamic table for each direction. A table takes no memory until an entry is put into it.

mod decoder;
mod encoder;
mod huffman;
mod integer;
mod known_lines;
mod pseudo_field;
mod static_table;
mod table;

#[allow(unreachable_pub)] // for internals
pub use decoder::Decoder;
#[allow(unreachable_pub)] // for internals
pub use encoder::Encoder;

pub(super) use known_lines::KnownLine;
pub(super) use pseudo_field::PseudoField;
pub(super) use static_table::StaticName;

/// Dynamic table size of both sides until SETTINGS change it, in bytes as RFC 7541 §4.1 counts them (RFC 9113 §6.5.2).
pub(super) const DEFAULT_TABLE_BYTES: u32 = 4096;
/// What an entry costs beside its name and value, in bytes (RFC 7541 §4.1).
pub(super) const ENTRY_OVERHEAD: usize = 32;
/// Largest dynamic table, in bytes: lengths of its entries are kept in 16 bits.
pub(super) const MAX_TABLE_BYTES: u32 = 65_535;
