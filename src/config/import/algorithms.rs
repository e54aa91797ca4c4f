//! Cipher suites and groups as OpenSSL writes them.

use super::draft;
use crate::config::names;
use crate::tls::{CIPHER_SUITES, Group, cipher_suite_name};

/// Words of cipher strings that stand for many suites, or take some out (ciphers(1)).
const CLASSES: &[&str] = &[
    "ALL",
    "COMPLEMENTOFALL",
    "COMPLEMENTOFDEFAULT",
    "DEFAULT",
    "HIGH",
    "MEDIUM",
    "LOW",
    "ECDH",
    "ECDHE",
    "EECDH",
    "ECDSA",
    "AES",
    "AES128",
    "AES256",
    "AESGCM",
    "CHACHA20",
    "RSA",
    "aRSA",
    "kECDHE",
    "kEECDH",
    "aECDSA",
    "TLSv1.2",
    "FIPS",
    "SSLv3",
];

/// What a list of suites becomes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Suites {
    /// These, by their names here, without those that are not there.
    Named(Vec<&'static str>, Vec<String>),
    /// Classes of suites: the ones that Ringate has are among them.
    Classes,
    /// Words that stand for nothing here.
    Unknown(Vec<String>),
}

/// The suites of TLS 1.2 in a cipher string, `ECDHE-RSA-AES128-GCM-SHA256:…`.
pub(super) fn suites(text: &str) -> Suites {
    let (mut named, mut unknown, mut classes) = (Vec::new(), Vec::new(), false);
    for word in text.split([':', ',', ' ']).filter(|word| !word.is_empty()) {
        let is_class = |word: &str| word.split('+').all(|part| CLASSES.contains(&part));
        match word {
            _ if word.starts_with(['!', '-', '@']) => classes |= word.starts_with('-'),
            _ if is_class(word.trim_start_matches('+')) => classes = true,
            _ => match names::openssl_suite(word).map(cipher_suite_name) {
                Some(name) if !named.contains(&name) => named.push(name),
                Some(_) => {}
                None => unknown.push(word.to_owned()),
            },
        }
    }
    match (named.is_empty(), classes) {
        (false, false) => Suites::Named(named, unknown),
        _ if unknown.is_empty() => Suites::Classes,
        _ => Suites::Unknown(unknown),
    }
}

/// The value of `tls.cipher_suites`, and the suites of theirs that are not there.
pub(super) type Written = (String, Vec<String>);

/// The value of `tls.cipher_suites`: what their keys for TLS 1.2 and for TLS 1.3 say, for versions as `tls.versions` has
/// them. Where one of the two says nothing, it is every suite of that version. `None`: there is nothing to say.
///
/// # Errors
/// Words that stand for nothing here, where no suite of a list is there.
pub(super) fn cipher_suites(
    tls12: Option<&str>,
    tls13: Option<&str>,
    versions: Option<&str>,
) -> Result<Option<Written>, Vec<String>> {
    let enabled = |version: &str| versions.is_none_or(|versions| versions.contains(version));
    let mut found: Vec<&'static str> = Vec::new();
    let (mut unknown, mut left, mut says) = (Vec::new(), Vec::new(), false);
    for (text, version, is_tls13) in [(tls13, "1.3", true), (tls12, "1.2", false)] {
        if !enabled(version) {
            continue;
        }
        match text.map(suites) {
            Some(Suites::Named(named, others)) => {
                says = true;
                found.extend(named);
                left.extend(others);
            }
            Some(Suites::Unknown(words)) => unknown.extend(words),
            _ => {
                let of_version =
                    CIPHER_SUITES.into_iter().filter(|suite| suite.tls13().is_some() == is_tls13);
                found.extend(of_version.map(cipher_suite_name));
            }
        }
    }
    match (unknown.is_empty(), says) {
        (false, _) => Err(unknown),
        (true, true) => Ok(Some((draft::texts(&found), left))),
        (true, false) => Ok(None),
    }
}

/// The value of `tls.groups`: `X25519:prime256v1`. `None`: `auto`.
///
/// # Errors
/// Groups that Ringate does not have.
pub(super) fn groups(text: &str) -> Result<Option<String>, Vec<String>> {
    if text == "auto" {
        return Ok(None);
    }
    let (mut found, mut unknown) = (Vec::new(), Vec::new());
    for word in text.split([':', ',', '/']).filter(|word| !word.is_empty()) {
        match Group::by_alias(word.trim_start_matches(['?', '*'])) {
            Some(group) => found.push(group.name()),
            None => unknown.push(word.to_owned()),
        }
    }
    if unknown.is_empty() { Ok(Some(draft::texts(&found))) } else { Err(unknown) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_suites_become_those_that_are_there() {
        let named = suites("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:!aNULL");
        let expected =
            ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"];
        assert_eq!(named, Suites::Named(expected.to_vec(), Vec::new()));
        assert_eq!(suites("HIGH:!aNULL:!MD5"), Suites::Classes);
        assert_eq!(suites("EECDH+AESGCM:EECDH+CHACHA20"), Suites::Classes);
        let some = suites("ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256");
        let left = vec!["DHE-RSA-AES128-GCM-SHA256".to_owned()];
        assert_eq!(some, Suites::Named(expected[..1].to_vec(), left.clone()));
        assert_eq!(suites("DHE-RSA-AES128-GCM-SHA256"), Suites::Unknown(left));
        let written = cipher_suites(Some("DHE-RSA-AES128-GCM-SHA256"), None, None);
        assert!(written.is_err(), "it would be every suite: {written:?}");
    }

    #[test]
    fn a_version_that_is_not_restricted_keeps_its_suites() {
        let one = Some("ECDHE-RSA-AES256-GCM-SHA384");
        let both = cipher_suites(one, None, None).unwrap().unwrap().0;
        assert!(
            both.contains("TLS13_AES_128_GCM_SHA256") && both.contains("RSA_WITH_AES_256_GCM_SHA384"),
            "{both}"
        );
        assert!(!both.contains("ECDSA"), "{both}");
        let only = cipher_suites(one, Some("TLS_AES_256_GCM_SHA384"), Some("[\"1.2\"]")).unwrap().unwrap().0;
        assert_eq!(only, "[\"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384\"]");
        assert_eq!(cipher_suites(one, None, Some("[\"1.3\"]")), Ok(None));
        assert_eq!(cipher_suites(Some("HIGH:!aNULL"), None, None), Ok(None));
    }

    #[test]
    fn groups_have_their_names_of_the_iana() {
        let all = groups("X25519:prime256v1:P-384").unwrap().unwrap();
        assert_eq!(all, "[\"X25519\", \"secp256r1\", \"secp384r1\"]");
        assert_eq!(groups("auto"), Ok(None));
        assert_eq!(groups("X448:P-521"), Err(vec!["X448".to_owned(), "P-521".to_owned()]));
    }
}
