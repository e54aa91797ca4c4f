//! Bodies too large to hold: made, sent, received and hashed as they pass.

use std::io::{self, Read, Write};
use std::sync::OnceLock;

use aws_lc_rs::digest::{Context, SHA256};

/// A reproducible body of any size. It repeats itself, but with a prime period: a piece that is lost, doubled or
/// moved shows.
#[derive(Clone, Debug)]
pub struct Pattern {
    left: u64,
    at: usize,
}

const PERIOD: usize = 1_048_573;

fn period() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let mut state: u32 = 0x9E37_79B9;
        let mut next = || {
            // xorshift32
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        };
        (0..PERIOD).map(|_| next()).collect()
    })
}

impl Pattern {
    pub fn new(size: u64) -> Self {
        Self { left: size, at: 0 }
    }

    /// The whole, for sizes that fit.
    pub fn bytes(size: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        Self::new(size).read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// SHA-256 of the whole.
    pub fn hash(size: u64) -> String {
        Hash::of(&mut Self::new(size)).unwrap().1
    }
}

impl Read for Pattern {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let rest = &period()[self.at..];
        let count = into.len().min(rest.len()).min(usize::try_from(self.left).unwrap_or(usize::MAX));
        into[..count].copy_from_slice(&rest[..count]);
        self.left -= count as u64;
        self.at = (self.at + count) % PERIOD;
        Ok(count)
    }
}

/// Hashes what is written to it.
pub struct Hash {
    context: Context,
    count: u64,
}

impl Hash {
    pub fn new() -> Self {
        Self { context: Context::new(&SHA256), count: 0 }
    }

    /// Reads to the end: the number of bytes and their SHA-256.
    pub fn of(from: &mut impl Read) -> io::Result<(u64, String)> {
        let mut hash = Self::new();
        let mut piece = vec![0; 256 * 1024];
        loop {
            match from.read(&mut piece)? {
                0 => return Ok(hash.finish()),
                count => hash.write_all(&piece[..count])?,
            }
        }
    }

    pub fn finish(self) -> (u64, String) {
        let hash = self.context.finish();
        (self.count, hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.context.update(bytes);
        self.count += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
