//! The pseudo-fields, whose names need not be looked up (RFC 9113 §8.3, RFC 8441 §4).

use super::static_table::hash;

/// A pseudo-field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum PseudoField {
    Method,
    Scheme,
    Authority,
    Path,
    Protocol,
    Status,
}

impl PseudoField {
    /// Its name, colon included.
    pub(in super::super) const fn name(self) -> &'static [u8] {
        match self {
            Self::Method => b":method",
            Self::Scheme => b":scheme",
            Self::Authority => b":authority",
            Self::Path => b":path",
            Self::Protocol => b":protocol",
            Self::Status => b":status",
        }
    }

    /// Its name, the hash of that, and its first index in the static table.
    #[inline]
    pub(super) fn name_in_tables(self) -> (&'static [u8], u32, Option<usize>) {
        const HASHES: [u32; 6] = [
            hash(PseudoField::Method.name()),
            hash(PseudoField::Scheme.name()),
            hash(PseudoField::Authority.name()),
            hash(PseudoField::Path.name()),
            hash(PseudoField::Protocol.name()),
            hash(PseudoField::Status.name()),
        ];
        let index = match self {
            Self::Authority => Some(1),
            Self::Method => Some(2),
            Self::Path => Some(4),
            Self::Scheme => Some(6),
            Self::Status => Some(8),
            Self::Protocol => None,
        };
        (self.name(), HASHES[self as usize], index)
    }
}

#[cfg(test)]
mod tests {
    use super::super::static_table::find_name;
    use super::*;

    #[test]
    fn names_are_what_a_look_up_finds() {
        use PseudoField::{Authority, Method, Path, Protocol, Scheme, Status};
        for field in [Method, Scheme, Authority, Path, Protocol, Status] {
            let (name, hashed, index) = field.name_in_tables();
            assert_eq!((hashed, index), (hash(name), find_name(name, hash(name))), "{field:?}");
        }
    }
}
