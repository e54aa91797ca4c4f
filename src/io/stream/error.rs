//! Why a stream failed.

use std::{fmt, io};

use crate::http2::StreamEnd;
use crate::tls::RecordError;

/// Why a stream failed.
#[derive(Debug)]
pub enum StreamError {
    /// The socket did.
    Io(io::Error),
    /// The record layer did: the peer broke its rules, or reported with an alert that we had.
    Tls(RecordError),
    /// A head or a record did not fit the largest buffer.
    TooLarge,
    /// A stream of an HTTP/2 connection ended before its time.
    Http2(StreamEnd),
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Tls(error) => error.fmt(f),
            Self::TooLarge => f.write_str("more was sent in one piece than fits a buffer"),
            Self::Http2(end) => write!(f, "HTTP/2: {end}"),
        }
    }
}

impl From<io::Error> for StreamError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<StreamEnd> for StreamError {
    fn from(end: StreamEnd) -> Self {
        Self::Http2(end)
    }
}

impl From<RecordError> for StreamError {
    fn from(error: RecordError) -> Self {
        Self::Tls(error)
    }
}
