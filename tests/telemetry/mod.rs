//! Metrics, records of failed handshakes and traces: what an operator's tools see.

mod dashboards;
mod exposition;
mod failures;
mod metrics;
mod traces;

pub(crate) use exposition::{Exposition, scrape, scrape_as};
