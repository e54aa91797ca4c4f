//! The Huffman code of strings (RFC 7541 §5.2 and Appendix B).
//!
//! The code is canonical: the codes of one length are consecutive in the order of their symbols, and follow those of the
//! shorter lengths. So the lengths alone are kept, and all tables are made from them when this is compiled.

use super::super::error::HpackError;

/// The length of each symbol's code in bits (Appendix B). EOS, the 257th symbol, has 30.
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, //
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, //
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, //
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, //
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, //
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, //
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, //
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, //
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, //
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, //
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, //
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, //
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, //
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, //
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, //
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];
const MAX_LENGTH: usize = 30;
/// EOS: the longest code of ones.
const EOS: u32 = 0x3fff_ffff;
/// Codes of so many bits, and shorter ones, are decoded by one table lookup. Those of all letters and digits are.
const FAST_BITS: u32 = 8;
/// Symbols that are written at a time, and how many eight bytes have at most.
const CHUNK: usize = 64;
const MOST_SYMBOLS: usize = 16;

/// The codes of one length: consecutive numbers from `first` on, of the symbols from `SYMBOLS[offset]` on.
#[derive(Clone, Copy)]
struct Group {
    first: u32,
    count: u32,
    offset: u32,
}

struct Tables {
    /// Codes and their lengths, by symbol.
    codes: [(u32, u8); 256],
    /// All symbols, in the order of their codes.
    symbols: [u8; 256],
    /// By length.
    groups: [Group; MAX_LENGTH + 1],
    /// By the next [`FAST_BITS`] bits: a symbol and its length, which is 0 where the code is longer.
    fast: [(u8, u8); 1 << FAST_BITS],
}

static TABLES: Tables = tables();

const fn tables() -> Tables {
    let mut tables = Tables {
        codes: [(0, 0); 256],
        symbols: [0; 256],
        groups: [Group { first: 0, count: 0, offset: 0 }; MAX_LENGTH + 1],
        fast: [(0, 0); 1 << FAST_BITS],
    };
    let (mut code, mut placed, mut length) = (0u32, 0usize, 1usize);
    while length <= MAX_LENGTH {
        code <<= 1;
        tables.groups[length] = Group { first: code, count: 0, offset: placed as u32 };
        let mut symbol = 0;
        while symbol < 256 {
            if LENGTHS[symbol] as usize == length {
                tables.codes[symbol] = (code, length as u8);
                tables.symbols[placed] = symbol as u8;
                tables.groups[length].count += 1;
                if length as u32 <= FAST_BITS {
                    let free = FAST_BITS - length as u32;
                    let mut rest = 0;
                    while rest < 1 << free {
                        tables.fast[(code << free | rest) as usize] = (symbol as u8, length as u8);
                        rest += 1;
                    }
                }
                code += 1;
                placed += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    assert!(code == EOS); // what is left of the code space is EOS
    tables
}

/// Appends what `encoded` stands for to `out`: 8/5 of its length at most.
///
/// # Errors
/// It holds EOS, or its padding is not the beginning of EOS.
pub(super) fn decode(encoded: &[u8], out: &mut Vec<u8>) -> Result<(), HpackError> {
    // The upper `count` bits of `bits` are the next ones. Those below are 0, or already the ones that follow.
    let (mut bits, mut count, mut rest) = (0u64, 0u32, encoded);
    let (mut symbols, mut len) = ([0u8; CHUNK], 0usize);
    loop {
        let taken = ((63 - count) as usize / 8).min(rest.len());
        bits |= word(rest) >> count;
        count += taken as u32 * 8;
        rest = &rest[taken..];
        if len > CHUNK - MOST_SYMBOLS {
            out.extend_from_slice(&symbols[..len]);
            len = 0;
        }
        let (mut symbol, mut length) = short(bits);
        while length > 0 && count >= FAST_BITS {
            symbols[len % CHUNK] = symbol;
            len += 1;
            bits <<= length;
            count -= length;
            (symbol, length) = short(bits);
        }
        if !rest.is_empty() && count < MAX_LENGTH as u32 {
            continue;
        }
        // A longer code, or one of the last ones.
        if length == 0 {
            let Some(found) = long(bits) else { break };
            (symbol, length) = found;
        }
        if length > count {
            break;
        }
        symbols[len % CHUNK] = symbol;
        len += 1;
        bits <<= length;
        count -= length;
    }
    out.extend_from_slice(&symbols[..len]);
    end(bits, count)
}

/// The first eight bytes as a number; where there are fewer, the others are 0.
#[inline]
fn word(bytes: &[u8]) -> u64 {
    bytes.first_chunk::<8>().map_or_else(
        || {
            bytes
                .iter()
                .zip((0..8).rev())
                .fold(0, |word, (byte, place)| word | u64::from(*byte) << (8 * place))
        },
        |word| u64::from_be_bytes(*word),
    )
}

/// The symbol of a code of up to [`FAST_BITS`], and the code's length, which is 0 where it is longer.
#[inline]
fn short(bits: u64) -> (u8, u32) {
    let (symbol, length) = TABLES.fast[(bits >> (64 - FAST_BITS)) as usize];
    (symbol, u32::from(length))
}

/// The symbol of a code longer than [`FAST_BITS`], and the code's length; `None` for EOS.
#[cold]
fn long(bits: u64) -> Option<(u8, u32)> {
    (FAST_BITS + 1..=MAX_LENGTH as u32).find_map(|length| {
        let group = TABLES.groups[length as usize];
        let place = ((bits >> (64 - length)) as u32).wrapping_sub(group.first);
        (place < group.count).then(|| (TABLES.symbols[(group.offset + place) as usize], length))
    })
}

/// What is left is no whole code: padding of fewer than 8 bits, all of them ones.
fn end(bits: u64, count: u32) -> Result<(), HpackError> {
    if count >= MAX_LENGTH as u32 {
        Err(HpackError::HuffmanEos)
    } else if count < 8 && bits.leading_ones() >= count {
        Ok(())
    } else {
        Err(HpackError::HuffmanPadding)
    }
}

/// The length in bytes of what `encode` makes of this.
#[inline]
pub(super) fn encoded_len(plain: &[u8], fold: fn(u8) -> u8) -> usize {
    let bits: usize = plain.iter().map(|&byte| usize::from(LENGTHS[usize::from(fold(byte))])).sum();
    bits.div_ceil(8)
}

/// Appends the code of each byte, after `fold`.
#[inline]
pub(super) fn encode(plain: &[u8], fold: fn(u8) -> u8, out: &mut Vec<u8>) {
    let (mut bits, mut count) = (0u64, 0u32);
    for &byte in plain {
        let (code, length) = TABLES.codes[usize::from(fold(byte))];
        bits = bits << length | u64::from(code);
        count += u32::from(length);
        if count >= 32 {
            count -= 32;
            out.extend_from_slice(&((bits >> count) as u32).to_be_bytes());
        }
    }
    if count > 0 {
        let filled = count.div_ceil(8);
        let padding = filled * 8 - count;
        let last = (bits << padding | ((1 << padding) - 1)) as u32;
        out.extend_from_slice(&last.to_be_bytes()[4 - filled as usize..]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(plain, |byte| byte, &mut out);
        assert_eq!(out.len(), encoded_len(plain, |byte| byte));
        out
    }

    fn decoded(encoded: &[u8]) -> Result<Vec<u8>, HpackError> {
        let mut out = Vec::new();
        decode(encoded, &mut out).map(|()| out)
    }

    #[test]
    fn codes_are_those_of_the_appendix() {
        // RFC 7541 Appendix B, one of each length.
        for (symbol, code) in [
            (b'0', 0x0),
            (b' ', 0x14),
            (b':', 0x5c),
            (b'&', 0xf8),
            (b'!', 0x3f8),
            (b'\'', 0x7fa),
            (b'#', 0xffa),
            (b'$', 0x1ff9),
            (b'^', 0x3ffc),
            (b'<', 0x7ffc),
            (b'\\', 0x7fff0),
            (128, 0xfffe6),
            (153, 0x1fffdc),
            (129, 0x3fffd2),
            (1, 0x7fffd8),
            (9, 0xffffea),
            (199, 0x1ffffec),
            (192, 0x3ffffe0),
            (203, 0x7ffffde),
            (2, 0xfffffe2),
            (22, 0x3ffffffe),
        ] {
            assert_eq!(TABLES.codes[usize::from(symbol)].0, code, "{symbol}");
        }
    }

    #[test]
    fn strings_are_read_as_they_are_written() {
        let all: Vec<u8> = (0..=u8::MAX).collect();
        for len in 0..all.len() {
            assert_eq!(decoded(&encoded(&all[..len])).as_deref(), Ok(&all[..len]));
            assert_eq!(decoded(&encoded(&all[len..])).as_deref(), Ok(&all[len..]));
        }
        for byte in all {
            for times in 1..10 {
                let plain = vec![byte; times];
                assert_eq!(decoded(&encoded(&plain)), Ok(plain));
            }
        }
    }

    /// A bit at a time.
    fn slowly(encoded: &[u8]) -> Result<Vec<u8>, HpackError> {
        let (mut plain, mut code, mut length) = (Vec::new(), 0, 0);
        for bit in encoded.iter().flat_map(|byte| (0..8).rev().map(move |at| u32::from(byte >> at & 1))) {
            (code, length) = (code << 1 | bit, length + 1);
            if (code, length) == (EOS, MAX_LENGTH as u8) {
                return Err(HpackError::HuffmanEos);
            }
            if let Some(symbol) = TABLES.codes.iter().position(|known| *known == (code, length)) {
                plain.push(symbol as u8);
                (code, length) = (0, 0);
            }
        }
        let is_padding = length < 8 && code == (1 << length) - 1;
        if is_padding { Ok(plain) } else { Err(HpackError::HuffmanPadding) }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_as_their_bits_say(
            encoded in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..100),
                prop::collection::vec(any::<u8>(), 0..200).prop_map(|plain| encoded(&plain)),
                "[ -~]{0,200}".prop_map(|plain| encoded(plain.as_bytes())),
                (prop::collection::vec(any::<u8>(), 0..20), 0..6usize).prop_map(|(plain, ones)| {
                    [encoded(&plain), vec![0xff; ones]].concat()
                }),
            ],
        ) {
            prop_assert_eq!(decoded(&encoded), slowly(&encoded));
        }
    }

    #[test]
    fn wrong_padding_and_eos_are_refused() {
        let padded = encoded(b"a"); // 00011 and three ones
        assert_eq!(padded, [0x1f]);
        assert_eq!(decoded(&[0x1e]), Err(HpackError::HuffmanPadding));
        assert_eq!(decoded(&[0x18]), Err(HpackError::HuffmanPadding));
        assert_eq!(decoded(&[0x1f, 0xff]), Err(HpackError::HuffmanPadding));
        assert_eq!(decoded(&[0xff]), Err(HpackError::HuffmanPadding));
        assert_eq!(decoded(&[0xff; 4]), Err(HpackError::HuffmanEos));
        assert_eq!(decoded(&[0x1f, 0xff, 0xff, 0xff, 0xff]), Err(HpackError::HuffmanEos));
        assert_eq!(decoded(&[]), Ok(vec![]));
    }
}
