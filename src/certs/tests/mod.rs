//! The specification of `certs`, and what its parts share.

mod bundle;
mod chains;
mod command;
mod formats;
mod generate;
mod ocsp;
mod openssl;
mod renewal;
mod rotation;
mod store;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::generate::{CaMaterial, GenerateRequest, Generated, ca_signed, self_signed};

/// 2030-01-01T00:00:00Z: the only clock of tests without a real peer.
pub(super) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_893_456_000)
}

pub(super) fn days(days: u64) -> Duration {
    Duration::from_secs(days * 86_400)
}

pub(super) fn identity(common_name: &str) -> Generated {
    self_signed(&GenerateRequest::new(common_name), now()).unwrap()
}

/// A root, an intermediate CA below it, and a leaf below that.
pub(super) struct Family {
    pub root: Generated,
    pub intermediate: Generated,
    pub leaf: Generated,
}

impl Family {
    pub(super) fn new() -> Self {
        let ca = |name: &str| GenerateRequest { is_ca: true, ..GenerateRequest::new(name) };
        let root = self_signed(&ca("root"), now()).unwrap();
        let by_root = CaMaterial::from_bundle(&root.bundle).unwrap();
        let intermediate = ca_signed(&ca("intermediate"), &by_root, now()).unwrap();
        let by_intermediate = CaMaterial::from_bundle(&intermediate.bundle).unwrap();
        let leaf = ca_signed(&GenerateRequest::new("leaf.example"), &by_intermediate, now()).unwrap();
        Self { root, intermediate, leaf }
    }

    /// The leaf's certificate alone, without the intermediate's.
    pub(super) fn leaf_pem(&self) -> String {
        let end = "-----END CERTIFICATE-----\n";
        let length = self.leaf.chain_pem.find(end).unwrap() + end.len();
        self.leaf.chain_pem[..length].to_owned()
    }
}
