//! Floor module: route.
