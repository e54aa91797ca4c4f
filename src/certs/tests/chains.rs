//! Which chain a file's certificates make: every order, repeats, strangers, cross-signed authorities.

use super::{Family, days, identity, now};
use crate::certs::bundle::{Bundle, BundleError, ChainNote};
use crate::certs::generate::{CaMaterial, GenerateRequest, Generated, KeyType, ca_signed, self_signed};

/// Every order of `items`.
fn permutations<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for at in 0..items.len() {
        let mut rest = items.to_vec();
        let first = rest.remove(at);
        for mut order in permutations(&rest) {
            order.insert(0, first.clone());
            all.push(order);
        }
    }
    all
}

fn names(bundle: &Bundle) -> Vec<String> {
    let facts = bundle.chain().iter().map(|der| crate::certs::Facts::from_der(der).unwrap());
    facts.map(|facts| facts.common_name.unwrap()).collect()
}

fn said(bundle: &Bundle) -> String {
    bundle.notes().iter().map(|note| format!("{note}\n")).collect()
}

#[test]
fn every_order_of_a_chain_with_repeats_and_strangers_is_presented_as_one_chain() {
    let family = Family::new();
    let stranger = identity("stranger");
    let other = Family::new();
    let (leaf, intermediate, root) =
        (family.leaf_pem(), &family.intermediate.chain_pem, &family.root.chain_pem);
    // Roots and intermediates of another family have the same names, and another key.
    let sets: [(&[&str], &[&str]); 7] = [
        (&[&leaf, intermediate], &["leaf.example", "intermediate"]),
        (&[&leaf, intermediate, root], &["leaf.example", "intermediate", "root"]),
        (&[&leaf, intermediate, &leaf, intermediate], &["leaf.example", "intermediate"]),
        (&[&leaf, root, root, intermediate], &["leaf.example", "intermediate", "root"]),
        (&[&leaf, intermediate, &stranger.chain_pem], &["leaf.example", "intermediate"]),
        (
            &[&leaf, intermediate, &other.intermediate.chain_pem, root],
            &["leaf.example", "intermediate", "root"],
        ),
        (&[&leaf, root], &["leaf.example"]),
    ];
    for (set, expected) in sets {
        for order in permutations(set) {
            let text = order.concat();
            let bundle = Bundle::from_parts(text.as_bytes(), Some(family.leaf.key_pem.as_bytes())).unwrap();
            assert_eq!(names(&bundle), expected);
            // What is written into the store is read back as it is, without a word.
            let again =
                Bundle::from_parts(bundle.chain_pem().as_bytes(), Some(family.leaf.key_pem.as_bytes()));
            let again = again.unwrap();
            assert_eq!((again.chain(), again.notes()), (bundle.chain(), &[][..]));
            let as_it_is = order.len() == expected.len() && bundle.chain_pem() == text;
            assert_eq!(bundle.notes().is_empty(), as_it_is, "{}", said(&bundle));
        }
    }
}

#[test]
fn what_is_left_out_or_moved_is_said_with_its_place() {
    let family = Family::new();
    let other = Family::new();
    let stranger = identity("stranger").chain_pem;
    let (leaf, intermediate, root) =
        (family.leaf_pem(), &family.intermediate.chain_pem, &family.root.chain_pem);
    let read =
        |text: String| Bundle::from_parts(text.as_bytes(), Some(family.leaf.key_pem.as_bytes())).unwrap();
    let twice = read(format!("{leaf}{leaf}{intermediate}"));
    assert_eq!(
        twice.notes(),
        [ChainNote::Repeated { position: 2, subject: "CN=leaf.example".to_owned(), first: 1 }]
    );
    let moved = said(&read(format!("{root}{intermediate}{leaf}")));
    assert!(
        moved.contains("CN=leaf.example (now 3), then CN=intermediate (now 2), then CN=root (now 1)"),
        "{moved}"
    );
    let gap = said(&read(format!("{leaf}{root}")));
    assert!(gap.contains("certificate 2 (CN=root) issued none of the others"), "{gap}");
    assert!(gap.contains("CN=leaf.example, whose issuer CN=intermediate is not in the file"), "{gap}");
    let foreign = said(&read(format!("{leaf}{intermediate}{root}{stranger}")));
    assert!(
        foreign.contains("certificate 4 (CN=stranger)") && !foreign.contains("not in the file"),
        "{foreign}"
    );
    let rekeyed = said(&read(format!("{leaf}{}", other.intermediate.chain_pem)));
    assert!(rekeyed.contains("its key did not sign"), "{rekeyed}");
    assert!(rekeyed.contains("get the issuer's certificate anew"), "{rekeyed}");
}

#[test]
fn every_certificate_of_a_cross_signed_authority_is_presented_behind_the_first_path() {
    let ca = |name: &str| GenerateRequest { is_ca: true, ..GenerateRequest::new(name) };
    let old_root = self_signed(&ca("old root"), now()).unwrap();
    let root = self_signed(&ca("root"), now()).unwrap();
    // The same name and key as `root`, signed by the old root.
    let cross = cross_sign(&root, &old_root, 365);
    let by_root = CaMaterial::from_bundle(&root.bundle).unwrap();
    let intermediate = ca_signed(&ca("intermediate"), &by_root, now()).unwrap();
    let by_intermediate = CaMaterial::from_bundle(&intermediate.bundle).unwrap();
    let leaf = ca_signed(&GenerateRequest::new("leaf"), &by_intermediate, now()).unwrap();
    let first = |pem: &str| pem.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap().to_owned();
    let parts = [first(&leaf.chain_pem), first(&intermediate.chain_pem), root.chain_pem.clone(), cross];
    for order in permutations(&parts) {
        let bundle = Bundle::from_parts(order.concat().as_bytes(), Some(leaf.key_pem.as_bytes())).unwrap();
        assert_eq!(names(&bundle), ["leaf", "intermediate", "root", "root"]);
        let again = Bundle::from_parts(bundle.chain_pem().as_bytes(), Some(leaf.key_pem.as_bytes())).unwrap();
        assert_eq!((again.chain(), again.notes()), (bundle.chain(), &[][..]));
    }
}

/// A certificate for the name and key of `subject` by `issuer`, which is valid for so many days.
fn cross_sign(subject: &Generated, issuer: &Generated, valid: u64) -> String {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    let named = |of: &Generated| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, of.bundle.facts().common_name.clone().unwrap());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = (now() + days(valid)).into();
        params
    };
    let issuer = Issuer::new(named(issuer), KeyPair::from_pem(&issuer.key_pem).unwrap());
    named(subject).signed_by(&KeyPair::from_pem(&subject.key_pem).unwrap(), &issuer).unwrap().pem()
}

#[test]
fn of_two_certificates_of_one_key_the_first_counts_and_neither_is_the_others_issuer() {
    let old = identity("same");
    let renewed = {
        use rcgen::{CertificateParams, DnType, KeyPair};
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "same");
        params.self_signed(&KeyPair::from_pem(&old.key_pem).unwrap()).unwrap().pem()
    };
    for (text, position) in
        [(format!("{renewed}{}", old.chain_pem), 2), (format!("{}{renewed}", old.chain_pem), 2)]
    {
        let bundle = Bundle::from_parts(text.as_bytes(), Some(old.key_pem.as_bytes())).unwrap();
        assert_eq!(bundle.chain().len(), 1);
        assert!(text.starts_with(&bundle.chain_pem()));
        assert!(matches!(bundle.notes(), [ChainNote::Unrelated { position: at, .. }] if *at == position));
    }
}

#[test]
fn without_a_key_nothing_but_repeats_is_left_out() {
    let family = Family::new();
    let (leaf, intermediate, root) =
        (family.leaf_pem(), &family.intermediate.chain_pem, &family.root.chain_pem);
    let stranger = identity("stranger").chain_pem;
    let read = |text: String| Bundle::from_pem(text.as_bytes()).unwrap();
    assert_eq!(names(&read(format!("{intermediate}{root}{leaf}"))), ["leaf.example", "intermediate", "root"]);
    assert_eq!(names(&read(format!("{leaf}{stranger}"))), ["leaf.example", "stranger"]);
    assert_eq!(names(&read(format!("{stranger}{leaf}"))), ["stranger", "leaf.example"]);
    assert_eq!(names(&read(format!("{root}{intermediate}{root}"))), ["root", "intermediate"]);
}

#[test]
fn an_authority_that_has_ended_matters_only_where_no_other_certificate_of_it_is_there() {
    let ca = |name: &str| {
        self_signed(&GenerateRequest { is_ca: true, ..GenerateRequest::new(name) }, now()).unwrap()
    };
    let (old_root, root) = (ca("old root"), ca("root"));
    let mut intermediate = ca("intermediate");
    let (ending, lasting) = (cross_sign(&intermediate, &old_root, 5), cross_sign(&intermediate, &root, 300));
    let lasting_bundle = Bundle::from_parts(lasting.as_bytes(), Some(intermediate.key_pem.as_bytes()));
    intermediate.bundle = lasting_bundle.unwrap();
    let issuer = CaMaterial::from_bundle(&intermediate.bundle).unwrap();
    let leaf =
        ca_signed(&GenerateRequest { days: 30, ..GenerateRequest::new("leaf") }, &issuer, now()).unwrap();
    let alone = leaf.chain_pem.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap().to_owned();
    let read = |text: String| Bundle::from_parts(text.as_bytes(), Some(leaf.key_pem.as_bytes())).unwrap();
    for both in [format!("{alone}{ending}{lasting}"), format!("{alone}{lasting}{ending}")] {
        let bundle = read(both);
        assert_eq!((bundle.chain().len(), bundle.check_validity(now() + days(10))), (3, Ok(())));
    }
    let late = read(format!("{alone}{ending}")).check_validity(now() + days(10)).unwrap_err();
    assert!(matches!(late, BundleError::Expired { position: 2, .. }), "{late}");
}

#[test]
fn the_key_of_none_of_the_certificates_is_refused_in_every_order() {
    let family = Family::new();
    let other = self_signed(
        &GenerateRequest { key_type: KeyType::EcdsaP384, ..GenerateRequest::new("other") },
        now(),
    )
    .unwrap();
    let parts = [family.leaf_pem(), family.intermediate.chain_pem.clone(), family.root.chain_pem.clone()];
    for order in permutations(&parts) {
        let refused = Bundle::from_parts(order.concat().as_bytes(), Some(other.key_pem.as_bytes()));
        assert!(matches!(refused, Err(BundleError::KeyMismatch { .. })), "{refused:?}");
    }
}

#[test]
fn names_are_printable_and_a_successor_does_not_take_them_over() {
    let name = "a\n\u{1b}[2J\u{202e}b";
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let key = rcgen::KeyPair::generate().unwrap();
    let bundle = crate::certs::Bundle::from_pem(params.self_signed(&key).unwrap().pem().as_bytes()).unwrap();
    let facts = bundle.facts();
    for text in [&facts.subject, &facts.issuer, facts.common_name.as_ref().unwrap()] {
        assert!(text.ends_with("a\\u{a}\\u{1b}[2J\\u{202e}b"), "{text}");
    }
    assert!(crate::certs::GenerateRequest::like(&bundle).is_err());
}
