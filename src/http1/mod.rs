//! Floor module: http1.
