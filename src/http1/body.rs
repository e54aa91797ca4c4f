//! A body as it is read, however it is framed.

use std::fmt;
use std::ops::Range;

use super::{ChunkError, ChunkedDecoder, Framing};
use crate::http::Trailers;

/// What is left of a message's body.
#[derive(Debug)]
pub enum Body {
    /// Nothing.
    Done,
    /// So many bytes, more than none.
    Length {
        /// How many.
        left: u64,
    },
    /// What the decoder has not seen the end of yet. Stays when it has, for the trailers.
    Chunked(ChunkedDecoder),
    /// All until the connection closes.
    UntilClose,
}

/// What one call of [`Body::take`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Where the body's bytes are, within `..consumed`.
    pub data: Range<usize>,
    /// How many bytes of the buffer belong to this body, its framing included.
    pub consumed: usize,
    /// The body has ended; the bytes after `consumed` belong to the next message.
    pub done: bool,
}

/// Why a body cannot be read to its end: its sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// The chunked coding is broken.
    Chunked(ChunkError),
    /// The connection ended before the body did.
    Truncated,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chunked(error) => error.fmt(f),
            Self::Truncated => f.write_str("connection closed within a body"),
        }
    }
}

impl std::error::Error for BodyError {}

impl Body {
    /// A body of which nothing has been read.
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Self::Done,
            Framing::Length(left) => Self::Length { left },
            Framing::Chunked => Self::Chunked(ChunkedDecoder::new()),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Whether it has ended.
    pub fn is_done(&self) -> bool {
        match self {
            Self::Done => true,
            Self::Length { .. } | Self::UntilClose => false,
            Self::Chunked(decoder) => decoder.is_done(),
        }
    }

    /// Takes from the front of `buf` what belongs to the body.
    ///
    /// # Errors
    /// A broken chunked coding. Nothing of `buf` may be passed on then, and the connection is lost.
    pub fn take(&mut self, buf: &mut [u8]) -> Result<Taken, BodyError> {
        let here = match self {
            Self::Done => 0,
            Self::UntilClose => buf.len(),
            Self::Length { left } => usize::try_from(*left).unwrap_or(usize::MAX).min(buf.len()),
            Self::Chunked(decoder) => {
                let decoded = decoder.decode(buf).map_err(BodyError::Chunked)?;
                return Ok(Taken { data: decoded.data, consumed: decoded.consumed, done: decoded.done });
            }
        };
        self.pass(here as u64);
        Ok(Taken { data: 0..here, consumed: here, done: self.is_done() })
    }

    /// Takes note that `n` bytes have passed, no more than are left: not of a chunked body.
    pub fn pass(&mut self, n: u64) {
        debug_assert!(
            n == 0 || matches!(self, Self::Length { .. } | Self::UntilClose),
            "they are of no such body"
        );
        if let Self::Length { left } = self {
            *left = left.saturating_sub(n);
            if *left == 0 {
                *self = Self::Done;
            }
        }
    }

    /// Takes note that the connection has ended.
    ///
    /// # Errors
    /// The body had not: what was passed on of it must not seem complete.
    pub fn eof(&mut self) -> Result<(), BodyError> {
        match self {
            Self::UntilClose => *self = Self::Done,
            _ if self.is_done() => {}
            _ => return Err(BodyError::Truncated),
        }
        Ok(())
    }

    /// The trailer fields to pass on, once the body has ended.
    pub fn trailers(&self) -> Trailers<'_> {
        match self {
            Self::Chunked(decoder) => decoder.trailers(),
            _ => Trailers::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_body_takes_nothing() {
        for framing in [Framing::None, Framing::Length(0)] {
            let mut body = Body::new(framing);
            assert!(body.is_done());
            assert_eq!(body.take(&mut b"GET".to_vec()), Ok(Taken { data: 0..0, consumed: 0, done: true }));
            assert_eq!(body.eof(), Ok(()));
        }
    }

    #[test]
    fn a_length_is_taken_to_the_byte() {
        let mut body = Body::new(Framing::Length(5));
        assert_eq!(body.take(&mut b"abc".to_vec()), Ok(Taken { data: 0..3, consumed: 3, done: false }));
        assert_eq!(body.eof(), Err(BodyError::Truncated));
        assert_eq!(body.take(&mut b"deGET".to_vec()), Ok(Taken { data: 0..2, consumed: 2, done: true }));
        assert_eq!(body.take(&mut b"GET".to_vec()), Ok(Taken { data: 0..0, consumed: 0, done: true }));
        assert_eq!(body.eof(), Ok(()));
    }

    #[test]
    fn bytes_that_pass_unseen_count() {
        let mut body = Body::new(Framing::Length(5));
        body.pass(4);
        assert!(matches!(body, Body::Length { left: 1 }));
        body.pass(1);
        assert!(body.is_done());
        let mut body = Body::new(Framing::UntilClose);
        body.pass(4);
        assert!(!body.is_done());
    }

    #[test]
    fn chunks_end_with_the_last_one_and_keep_their_trailers() {
        let mut body = Body::new(Framing::Chunked);
        let begun = body.take(&mut b"3\r\nabc\r\n".to_vec());
        assert_eq!(begun, Ok(Taken { data: 3..6, consumed: 8, done: false }));
        assert_eq!(body.eof(), Err(BodyError::Truncated));
        let ended = body.take(&mut b"0\r\na:b\r\n\r\nGET".to_vec());
        assert_eq!(ended, Ok(Taken { data: 0..0, consumed: 10, done: true }));
        assert_eq!(body.trailers().lines(), b"a: b\r\n");
        assert_eq!(body.eof(), Ok(()));
        let mut body = Body::new(Framing::Chunked);
        assert_eq!(body.take(&mut b"x".to_vec()), Err(BodyError::Chunked(ChunkError::Size)));
        assert_eq!(body.eof(), Err(BodyError::Truncated));
    }

    #[test]
    fn only_an_unframed_body_may_end_with_its_connection() {
        let mut body = Body::new(Framing::UntilClose);
        assert_eq!(body.take(&mut b"abc".to_vec()), Ok(Taken { data: 0..3, consumed: 3, done: false }));
        assert_eq!((body.eof(), body.is_done()), (Ok(()), true));
    }
}
