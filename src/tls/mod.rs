//! Floor module: tls.
