//! `tls.cipher_suites` and `tls.groups` of listeners and upstreams.

use rustls::SupportedCipherSuite;

use crate::config::file::{Section, Value};
use crate::config::names;
use crate::config::plan::At;
use crate::tls::{CIPHER_SUITES, Group, Versions, cipher_suite_name};

/// Which versions must have a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serves {
    /// Each that is enabled.
    Each,
    /// Any that is enabled.
    Any,
}

/// What may be negotiated; `None`: all that Ringate has.
#[derive(Debug, Default)]
pub(super) struct Algorithms {
    pub(super) cipher_suites: Option<Vec<At<SupportedCipherSuite>>>,
    pub(super) groups: Option<Vec<At<Group>>>,
}

/// Reads both keys of a section.
pub(super) fn algorithms(section: &mut Section<'_>, versions: Versions, serves: Serves) -> Algorithms {
    let suites = section.get("cipher_suites");
    Algorithms {
        cipher_suites: suites.and_then(|value| cipher_suites(&value, versions, serves)),
        groups: section.get("groups").and_then(|value| groups(&value, versions)),
    }
}

fn cipher_suites(
    value: &Value<'_>,
    versions: Versions,
    serves: Serves,
) -> Option<Vec<At<SupportedCipherSuite>>> {
    let list = value.list("[\"TLS13_AES_128_GCM_SHA256\"]")?;
    let count = list.len();
    let suites: Vec<At<SupportedCipherSuite>> = list
        .iter()
        .filter_map(|entry| entry.parse("\"TLS13_AES_128_GCM_SHA256\"", names::cipher_suite))
        .collect();
    // Neither is true only after an error in `versions`.
    if suites.len() != count || !versions.tls12 && !versions.tls13 {
        return Some(suites);
    }
    let has = |tls13: bool| suites.iter().any(|suite| suite.tls13().is_some() == tls13);
    let without = |tls13: bool| (if tls13 { versions.tls13 } else { versions.tls12 }) && !has(tls13);
    let fitting = |tls13: bool| -> String {
        let of_version = CIPHER_SUITES.into_iter().filter(|suite| suite.tls13().is_some() == tls13);
        of_version.map(cipher_suite_name).collect::<Vec<_>>().join(", ")
    };
    match (versions.tls12, versions.tls13) {
        (true, true) if serves == Serves::Any => {}
        (true, true) => {
            for (tls13, name, other) in [(false, "1.2", "1.3"), (true, "1.3", "1.2")] {
                if without(tls13) {
                    let title = format!("none of these suites is of TLS {name}, which is enabled");
                    let help = format!("add one of {}, or write `versions = [\"{other}\"]`", fitting(tls13));
                    value.error(&title, Some(help));
                }
            }
        }
        (_, tls13) if without(tls13) => {
            let version = if tls13 { "1.3" } else { "1.2" };
            let help = format!("add one of {}, or enable the other version", fitting(tls13));
            value.error(
                &format!("none of these suites is of TLS {version}, the only version enabled"),
                Some(help),
            );
        }
        _ => {}
    }
    Some(suites)
}

fn groups(value: &Value<'_>, versions: Versions) -> Option<Vec<At<Group>>> {
    let list = value.list("[\"X25519\"]")?;
    let count = list.len();
    let groups: Vec<At<Group>> =
        list.iter().filter_map(|entry| entry.parse("\"X25519\"", names::group)).collect();
    let known = groups.len() == count;
    if known && versions.tls12 && !groups.iter().any(|group| group.is_of_tls12()) {
        let of_it: Vec<&str> =
            Group::ALL.into_iter().filter(|group| group.is_of_tls12()).map(Group::name).collect();
        let help = format!("add one of {}, or write `versions = [\"1.3\"]`", of_it.join(", "));
        value.error("none of these groups is of TLS 1.2, which is enabled", Some(help));
    }
    Some(groups)
}
