//! Ringate as its users meet it: the real binary, started from a config file, between real peers.
//!
//! Each module says in its first sentence what it proves. [`support`] holds the helpers; nothing in them
//! waits longer than [`support::PATIENCE`], and nothing needs a port that is not free.

#![allow(unreachable_pub)]
// modules of one test binary

// clippy.toml allows this in tests, but does not see that helpers of tests are tests.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

// A kit: what one module needs today another needed yesterday.
#[allow(dead_code, unused_imports)]
mod support;

mod addresses;
mod admin;
mod admin_addresses;
mod admin_backends;
mod admin_changes;
mod admin_events;
mod admin_failures;
mod admin_register;
mod auth;
mod balancing;
mod bodies;
mod circuit;
mod cli;
mod config_files;
mod confine;
mod conformance;
mod console;
mod consumers;
mod corpus;
mod descriptors;
mod discovery;
mod documents;
mod drain;
mod drivers;
mod ejection;
mod endpoint_changes;
mod endpoint_sets;
mod failover;
mod faults;
mod files;
mod fuzz_seeds;
mod grpc;
mod health;
mod hostile;
mod http;
mod http2;
mod http2_backend;
mod idle_backends;
mod import;
mod imports;
mod last_requests;
mod limits;
mod mirror;
mod mutual_tls;
mod operate;
mod own_identities;
mod packages;
mod peers;
mod pool;
mod probe;
mod proxy_protocol;
mod recipes;
mod reload;
mod retries;
mod retries_tls;
mod rings;
mod rotation;
mod service_manager;
mod shared_connections;
mod smuggling;
mod sni;
mod soak_smoke;
mod splice;
mod starts;
mod streams;

mod store;
mod tcp;
mod telemetry;
mod tidy;
mod tls_across;
mod tls_alerts;
mod tls_algorithms;
mod tls_backend;
mod tls_listener;
mod tls_matrix;
mod tls_ocsp;
mod tls_refusals;
mod tls_sessions;
mod tls_tcp;
mod tls_trust;
mod tls_usages;
mod top;
mod udp;
mod unix_sockets;
mod upgrade;
mod vendors;
mod vital;
mod websocket;
