//! What a generated certificate's successor is made of: the same, for as long again, with a new key.

use super::bundle::Bundle;
use super::generate::GenerateRequest;

/// The request for a successor of the bundle's leaf. `None`: we can't make one that peers would take in its place,
/// because another certificate signed it, or it is of a kind that is not made here.
pub fn successor(bundle: &Bundle) -> Option<GenerateRequest> {
    let facts = bundle.facts();
    let ours = facts.self_signed && bundle.key().is_some() && facts.common_name.is_some();
    ours.then(|| GenerateRequest::like(bundle).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::super::generate::{KeyType, Usage, self_signed};
    use super::*;

    #[test]
    fn a_successor_is_the_same_but_for_its_key_and_time() {
        let now = SystemTime::now();
        for key_type in [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Ed25519] {
            let request = GenerateRequest {
                common_name: "gateway".to_owned(),
                organization: vec!["Example".to_owned()],
                organizational_unit: Some("Edge".to_owned()),
                country: Some("DE".to_owned()),
                state: Some("Bavaria".to_owned()),
                locality: Some("Munich".to_owned()),
                sans: vec!["DNS:a.example".parse().unwrap(), "IP:192.0.2.1".parse().unwrap()],
                days: 90,
                key_type,
                usage: Usage { server: false, client: true },
                ..GenerateRequest::default()
            };
            let first = self_signed(&request, now - Duration::from_secs(80 * 86_400)).unwrap();
            let next = successor(&first.bundle).unwrap();
            assert_eq!(next, request);
            let second = self_signed(&next, now).unwrap();
            let (old, new) = (first.bundle.facts(), second.bundle.facts());
            assert_eq!((&old.subject, &old.sans, &old.usages), (&new.subject, &new.sans, &new.usages));
            assert!(new.not_after > old.not_after && old.spki_sha256 != new.spki_sha256);
        }
    }
}
