//! Content codings (RFC 9110 §8.4.1): which one a client takes, and encoders that hold no more than they must.

use std::io::{self, Write};

use flate2::write::GzEncoder;

/// Levels that cost about as much as TLS does, a byte; windows small enough for many responses at once.
const GZIP_LEVEL: u32 = 5;
const ZSTD_LEVEL: i32 = 3;
const ZSTD_WINDOW_LOG: u32 = 18;
const BROTLI_QUALITY: i32 = 4;
const BROTLI_WINDOW_LOG: i32 = 18;
/// Brotli's own buffer between calls, in bytes.
const BROTLI_BUFFER: usize = 4096;

/// A coding that Ringate can apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 8878
    Zstd,
    /// RFC 7932
    Brotli,
    /// RFC 1952
    Gzip,
}

impl Coding {
    /// As it is written in a message.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// What the name of a file ends with that is encoded so.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Zstd => ".zst",
            Self::Brotli => ".br",
            Self::Gzip => ".gz",
        }
    }

    fn is_named(self, name: &[u8]) -> bool {
        name.eq_ignore_ascii_case(self.name().as_bytes())
            || self == Self::Gzip && name.eq_ignore_ascii_case(b"x-gzip")
    }
}

/// The one of `ours` that a client with these `Accept-Encoding` values likes best; of several that it likes as
/// much, our first. `None`: none of them, or no coding at all better than any (RFC 9110 §12.5.3).
pub(crate) fn negotiate<'a>(accept: impl Iterator<Item = &'a [u8]>, ours: &[Coding]) -> Option<Coding> {
    let [best, ..] = rank(accept, ours);
    best
}

/// Those of `ours`, three at most, that such a client likes at least as much as no coding at all, best first.
pub(crate) fn rank<'a>(accept: impl Iterator<Item = &'a [u8]>, ours: &[Coding]) -> [Option<Coding>; 3] {
    let mut weights: [Option<u32>; 3] = [None; 3];
    let (mut any, mut identity) = (None, None);
    for element in accept.flat_map(|value| value.split(|&byte| byte == b',')) {
        let mut parts = element.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(quality).unwrap_or(1000);
        if name == b"*" {
            any = Some(weight);
        } else if name.eq_ignore_ascii_case(b"identity") {
            identity = Some(weight);
        } else if let Some(at) = ours.iter().take(3).position(|coding| coding.is_named(name)) {
            weights[at] = Some(weight);
        }
    }
    let least = identity.unwrap_or(0).max(1);
    let mut liked: [Option<(u32, Coding)>; 3] = [None; 3];
    for (place, (coding, weight)) in liked.iter_mut().zip(ours.iter().zip(weights)) {
        let weight = weight.or(any).unwrap_or(0);
        *place = (weight >= least).then_some((weight, *coding));
    }
    // Stable: of those that are liked as much our first stays first.
    liked.sort_by_key(|place| std::cmp::Reverse(place.map(|(weight, _)| weight)));
    liked.map(|place| place.map(|(_, coding)| coding))
}

/// `q=0.5` in thousandths (RFC 9110 §12.4.2); what is malformed is not wanted.
pub(crate) fn quality(parameter: &[u8]) -> Option<u32> {
    let value = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="))?;
    let value = std::str::from_utf8(value).ok().and_then(|value| value.parse::<f32>().ok());
    Some((value.filter(|value| (0.0..=1.0).contains(value)).unwrap_or(0.0) * 1000.0) as u32)
}

/// A body being encoded. What it has taken is held for no longer than a call: each one gives out all that a
/// decoder needs to show the bytes so far.
pub(crate) struct Encoder(Inner);

enum Inner {
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Gzip(GzEncoder<Vec<u8>>),
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.0 {
            Inner::Zstd(_) => "Encoder(zstd)",
            Inner::Brotli(_) => "Encoder(br)",
            Inner::Gzip(_) => "Encoder(gzip)",
        })
    }
}

impl Encoder {
    /// An encoder at a body's start.
    ///
    /// # Errors
    /// There is no memory for it.
    pub(crate) fn new(coding: Coding) -> io::Result<Self> {
        let out = Vec::new();
        Ok(Self(match coding {
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?;
                encoder.window_log(ZSTD_WINDOW_LOG)?;
                Inner::Zstd(encoder)
            }
            Coding::Brotli => {
                let params = brotli::enc::BrotliEncoderParams {
                    quality: BROTLI_QUALITY,
                    lgwin: BROTLI_WINDOW_LOG,
                    ..Default::default()
                };
                Inner::Brotli(Box::new(brotli::CompressorWriter::with_params(out, BROTLI_BUFFER, &params)))
            }
            Coding::Gzip => Inner::Gzip(GzEncoder::new(out, flate2::Compression::new(GZIP_LEVEL))),
        }))
    }

    /// Takes `data`, and appends to `out` what makes all of it readable.
    ///
    /// # Errors
    /// The library's; the body can't go on.
    pub(crate) fn encode(&mut self, data: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let writer: &mut dyn Write = match &mut self.0 {
            Inner::Zstd(encoder) => encoder,
            Inner::Brotli(encoder) => encoder.as_mut(),
            Inner::Gzip(encoder) => encoder,
        };
        writer.write_all(data)?;
        writer.flush()?;
        let made = made(&mut self.0);
        out.extend_from_slice(made);
        made.clear();
        Ok(())
    }

    /// Ends the body: appends what is missing.
    ///
    /// # Errors
    /// The library's.
    pub(crate) fn finish(self, out: &mut Vec<u8>) -> io::Result<()> {
        let rest = match self.0 {
            Inner::Zstd(encoder) => encoder.finish()?,
            Inner::Brotli(encoder) => encoder.into_inner(),
            Inner::Gzip(encoder) => encoder.finish()?,
        };
        out.extend_from_slice(&rest);
        Ok(())
    }
}

fn made(inner: &mut Inner) -> &mut Vec<u8> {
    match inner {
        Inner::Zstd(encoder) => encoder.get_mut(),
        Inner::Brotli(encoder) => encoder.get_mut(),
        Inner::Gzip(encoder) => encoder.get_mut(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    const ALL: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

    fn decode(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut data = Vec::new();
        // An end that is missing is an error, but what came before it is there.
        let _ = match coding {
            Coding::Zstd => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut data),
            Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut data),
            Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut data),
        };
        data
    }

    #[test]
    fn the_client_chooses_and_we_break_ties() {
        use Coding::*;
        for (accept, ours, chosen) in [
            ("gzip, deflate, br, zstd", &ALL[..], Some(Zstd)),
            ("gzip, deflate, br", &ALL[..], Some(Brotli)),
            ("gzip, br;q=0.5", &ALL[..], Some(Gzip)),
            ("zstd;q=0, *", &ALL[..], Some(Brotli)),
            ("*;q=0.1", &ALL[..2], Some(Zstd)),
            ("*;q=0", &ALL[..], None),
            ("identity, gzip;q=0.9", &ALL[..], None),
            ("identity;q=0.5, gzip;q=0.5", &ALL[..], Some(Gzip)),
            ("identity;q=0", &ALL[..], None),
            ("x-gzip", &ALL[..], Some(Gzip)),
            ("GZIP ; Q=1.0", &ALL[..], Some(Gzip)),
            ("gzip;q=2", &ALL[..], None),
            ("gzip;q=nan", &ALL[..], None),
            ("gzip", &ALL[..2], None),
            ("", &ALL[..], None),
        ] {
            assert_eq!(negotiate([accept.as_bytes()].into_iter(), ours), chosen, "{accept}");
        }
        assert_eq!(negotiate([&b"br"[..], b"gzip"].into_iter(), &[Gzip, Brotli]), Some(Gzip));
    }

    #[test]
    fn codings_are_ranked_by_the_client() {
        use Coding::*;
        for (accept, ranked) in [
            ("gzip, br;q=0.5, zstd;q=0.7", [Some(Gzip), Some(Zstd), Some(Brotli)]),
            ("gzip, br, zstd", [Some(Zstd), Some(Brotli), Some(Gzip)]),
            ("gzip, identity;q=0.5, br;q=0.4", [Some(Gzip), None, None]),
            ("*", [Some(Zstd), Some(Brotli), Some(Gzip)]),
            ("br", [Some(Brotli), None, None]),
            ("", [None; 3]),
        ] {
            assert_eq!(rank([accept.as_bytes()].into_iter(), &ALL), ranked, "{accept}");
        }
    }

    #[test]
    fn each_call_gives_out_all_that_it_took() {
        for coding in ALL {
            let mut encoder = Encoder::new(coding).unwrap();
            let mut wire = Vec::new();
            let mut sent = Vec::new();
            for event in ["data: 1\n\n", "data: 2\n\n", &"x".repeat(100_000), "data: 3\n\n"] {
                sent.extend_from_slice(event.as_bytes());
                encoder.encode(event.as_bytes(), &mut wire).unwrap();
                assert_eq!(decode(coding, &wire), sent, "{coding:?}");
            }
            assert!(wire.len() < 2000, "{coding:?}: {}", wire.len());
            encoder.finish(&mut wire).unwrap();
            assert_eq!(decode(coding, &wire), sent);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_goes_in_comes_out(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..6)) {
            for coding in ALL {
                let mut encoder = Encoder::new(coding).unwrap();
                let mut wire = Vec::new();
                for piece in &pieces {
                    encoder.encode(piece, &mut wire).unwrap();
                }
                encoder.finish(&mut wire).unwrap();
                prop_assert_eq!(decode(coding, &wire), pieces.concat());
            }
        }
    }
}
