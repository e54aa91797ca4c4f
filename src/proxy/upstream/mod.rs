//! The backend's side: endpoints, their connections, and which of them a request takes.

pub(crate) mod admission;
pub(crate) mod certificate_verdict;
pub(crate) mod check;
pub(crate) mod circuit;
pub(crate) mod concurrency;
pub(crate) mod config;
pub(crate) mod connect;
pub(crate) mod connection;
pub(crate) mod datagram;
pub(crate) mod dedicated;
pub(crate) mod endpoint;
pub(crate) mod endpoint_pool;
pub(crate) mod establish;
pub(crate) mod identity;
pub(crate) mod idle_limit;
pub(crate) mod load;
pub(crate) mod outlier;
pub(crate) mod outlier_detection;
pub(crate) mod pool;
pub(crate) mod recent_responses;
pub(crate) mod request_key;
pub(crate) mod retry_budget;
pub(crate) mod select;
pub(crate) mod sticky;
pub(crate) mod stream;
pub(crate) mod warm_up;
