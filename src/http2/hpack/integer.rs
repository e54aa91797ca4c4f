//! Integers with a prefix (RFC 7541 §5.1).

use super::super::error::HpackError;

/// Most bytes behind the prefix: five carry 35 bits. More would be padding.
const MAX_BYTES: u32 = 5;

/// Reads an integer with a prefix of `bits` bits at `at`, and moves `at` behind it.
///
/// # Errors
/// The block ends before the integer does, or it does not fit 32 bits.
#[inline]
pub(super) fn decode(block: &[u8], at: &mut usize, bits: u32) -> Result<u32, HpackError> {
    let mask = (1u32 << bits) - 1;
    let first = u32::from(*block.get(*at).ok_or(HpackError::Truncated)?) & mask;
    *at += 1;
    if first < mask { Ok(first) } else { rest(block, at, mask) }
}

fn rest(block: &[u8], at: &mut usize, mask: u32) -> Result<u32, HpackError> {
    let mut value = u64::from(mask);
    for byte in 0..MAX_BYTES {
        let next = *block.get(*at).ok_or(HpackError::Truncated)?;
        *at += 1;
        value += u64::from(next & 0x7f) << (7 * byte);
        if next & 0x80 == 0 {
            return u32::try_from(value).map_err(|_| HpackError::IntegerTooLarge);
        }
    }
    Err(HpackError::IntegerTooLarge)
}

/// Writes `value` with a prefix of `bits` bits; `pattern` fills the bits above it.
#[inline]
pub(super) fn encode(value: usize, bits: u32, pattern: u8, out: &mut Vec<u8>) {
    let mask = (1usize << bits) - 1;
    if value < mask {
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_as_they_are_written() {
        for bits in 4..=7 {
            for value in (0..700).chain([16_383, 16_384, 1 << 20, (1 << 28) + 5, u32::MAX as usize]) {
                let mut out = Vec::new();
                encode(value, bits, 0, &mut out);
                let mut at = 0;
                assert_eq!(decode(&out, &mut at, bits), Ok(value as u32));
                assert_eq!(at, out.len());
                for end in 0..out.len() {
                    assert_eq!(decode(&out[..end], &mut 0, bits), Err(HpackError::Truncated));
                }
            }
        }
    }

    #[test]
    fn the_examples_of_the_rfc() {
        let encoded = |value, bits| {
            let mut out = Vec::new();
            encode(value, bits, 0, &mut out);
            out
        };
        assert_eq!(encoded(10, 5), [0x0a]); // RFC 7541 C.1.1
        assert_eq!(encoded(1337, 5), [0x1f, 0x9a, 0x0a]); // C.1.2
        assert_eq!(encoded(42, 7), [0x2a]); // C.1.3, with the first bit free
    }

    #[test]
    fn integers_beyond_32_bits_or_padded_are_refused() {
        for block in
            [&[0x7f, 0xff, 0xff, 0xff, 0xff, 0x7f][..], &[0x7f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00][..]]
        {
            assert_eq!(decode(block, &mut 0, 7), Err(HpackError::IntegerTooLarge));
        }
    }
}
