//! Floor module: certs.
