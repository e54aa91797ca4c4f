//! What peers object to in a chain that is presented, now or before its leaf ends. Pure: chains and the time in, concerns out.

use std::fmt;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;

use super::command::Role;
use super::inspect::{self, Facts};
use super::time::Timestamp;

/// One objection: a warning, since what peers accept is their decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Concern {
    /// The leaf restricts what it is for (RFC 5280 §4.2.1.12), and not to the role that it is used in.
    WrongUsage {
        /// What it is used as.
        role: Role,
        /// What it is for.
        usages: Vec<String>,
    },
    /// An authority above it has ended.
    AuthorityEnded {
        /// Its subject.
        subject: String,
        /// The last second that it was valid.
        since: Timestamp,
        /// It is a root: peers use their own copy of it.
        is_root: bool,
    },
    /// An authority above it ends before the leaf does.
    AuthorityEndsFirst {
        /// Its subject.
        subject: String,
        /// The last second that it is valid.
        until: Timestamp,
        /// The same of the leaf.
        leaf: Timestamp,
    },
    /// The whole validity of the leaf is within `store.renew_before`.
    AlwaysNearItsEnd {
        /// The validity, in seconds.
        validity: i64,
        /// `store.renew_before`, in seconds.
        before: i64,
    },
}

impl Concern {
    /// What to do.
    pub(crate) fn help(&self) -> String {
        match self {
            Self::WrongUsage { role: Role::Client, .. } => {
                "have it issued with clientAuth: public CAs do that no longer, a CA of your own does (`ringate cert \
                 generate` makes both usages); or have the backends accept any usage"
                    .to_owned()
            }
            Self::WrongUsage { .. } => "have it issued with serverAuth".to_owned(),
            Self::AuthorityEnded { .. } => {
                "bring the certificate anew, with the chain that its CA has now".to_owned()
            }
            Self::AuthorityEndsFirst { until, .. } => {
                format!("get the chain that its CA has now, and bring it before {until}")
            }
            Self::AlwaysNearItsEnd { validity, .. } => {
                format!("have it issued for longer, or set `store.renew_before` to {} at most", span(validity / 3))
            }
        }
    }
}

impl fmt::Display for Concern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongUsage { role, usages } => {
                let (lacks, as_what) = match role {
                    Role::Client => ("clientAuth", "client's"),
                    _ => ("serverAuth", "server's"),
                };
                let usages: Vec<&str> = usages.iter().map(|usage| usage_name(usage)).collect();
                write!(
                    f,
                    "its extended key usage is {} and not {lacks}: peers that hold to RFC 5280 §4.2.1.12 refuse it as a \
                     {as_what} certificate",
                    usages.join(", ")
                )
            }
            Self::AuthorityEnded { subject, since, is_root: true } => {
                write!(
                    f,
                    "the root above it, {subject}, ended at {since}: peers that trust this root refuse it"
                )
            }
            Self::AuthorityEnded { subject, since, .. } => {
                write!(f, "the authority above it, {subject}, ended at {since}: peers refuse it")
            }
            Self::AuthorityEndsFirst { subject, until, leaf } => write!(
                f,
                "the authority above it, {subject}, ends at {until}, before the certificate itself ({leaf}): from then on \
                 peers refuse it"
            ),
            Self::AlwaysNearItsEnd { validity, before } => write!(
                f,
                "its whole validity, {}, is not longer than `store.renew_before` ({}), so that its successor would be due \
                 at once: it is made in the last third instead",
                span(*validity),
                span(*before)
            ),
        }
    }
}

/// What peers object to in `chain`, leaf first, which is used as `role`; none: its use is not known. `renew_before`: that of
/// the config, where it is written and the certificate is one of the store.
pub(crate) fn concerns(
    chain: &[CertificateDer<'_>],
    role: Option<Role>,
    renew_before: Option<Duration>,
    now: SystemTime,
) -> Vec<Concern> {
    let all: Vec<Facts> = chain.iter().filter_map(|der| Facts::from_der(der).ok()).collect();
    let Some((leaf, above)) = all.split_first() else { return Vec::new() };
    let mut found = Vec::new();
    if let Some(role) = role
        && !allows(leaf, role)
    {
        found.push(Concern::WrongUsage { role, usages: leaf.usages.clone() });
    }
    for authority in above {
        // A cross-signed authority has several certificates: peers take the one that lasts.
        let stands_in = |other: &Facts| {
            other.not_after >= leaf.not_after
                && other.subject == authority.subject
                && other.spki_sha256 == authority.spki_sha256
        };
        if !above.iter().any(stands_in) {
            found.extend(end_of(authority, leaf, now));
        }
    }
    let validity = leaf.not_after.unix().saturating_sub(leaf.not_before.unix());
    let before = renew_before.map(|before| i64::try_from(before.as_secs()).unwrap_or(i64::MAX));
    if let Some(before) = before.filter(|before| validity <= *before) {
        found.push(Concern::AlwaysNearItsEnd { validity, before });
    }
    found
}

/// What `trusted` certificates, of a trust list, have to do with the end of `chain`: one of them issued its last certificate,
/// and ends before the leaf.
pub(crate) fn anchor_concerns<'a>(
    chain: &[CertificateDer<'_>],
    trusted: impl Iterator<Item = &'a CertificateDer<'static>>,
    now: SystemTime,
) -> Vec<Concern> {
    let (Some(leaf), Some(last)) = (chain.first().and_then(|der| Facts::from_der(der).ok()), chain.last())
    else {
        return Vec::new();
    };
    let Ok(last) = inspect::parse(last) else { return Vec::new() };
    if last.subject().as_raw() == last.issuer().as_raw() {
        return Vec::new();
    }
    let issuers: Vec<Facts> = trusted
        .filter_map(|der| inspect::parse(der).ok())
        .filter(|anchor| anchor.subject().as_raw() == last.issuer().as_raw())
        .filter(|anchor| last.verify_signature(Some(anchor.public_key())).is_ok())
        .map(|anchor| Facts::of(&anchor))
        .collect();
    // The newest of one authority's certificates counts.
    let newest = issuers.iter().max_by_key(|issuer| issuer.not_after);
    newest.and_then(|issuer| end_of(issuer, &leaf, now)).into_iter().collect()
}

fn end_of(authority: &Facts, leaf: &Facts, now: SystemTime) -> Option<Concern> {
    let subject = authority.subject.clone();
    if authority.not_after < Timestamp::from(now) {
        let (since, is_root) = (authority.not_after, authority.self_signed);
        return Some(Concern::AuthorityEnded { subject, since, is_root });
    }
    let (until, leaf) = (authority.not_after, leaf.not_after);
    (until < leaf).then_some(Concern::AuthorityEndsFirst { subject, until, leaf })
}

/// Whether a certificate may be used as `role`: it does not restrict its usages, or to that among others.
fn allows(leaf: &Facts, role: Role) -> bool {
    let wanted = match role {
        Role::Server => "server",
        Role::Client => "client",
        Role::Trust => return true,
    };
    leaf.usages.is_empty() || leaf.usages.iter().any(|usage| usage == wanted || usage == "any")
}

/// A usage of [`Facts::usages`] by its name in RFC 5280.
fn usage_name(usage: &str) -> &str {
    match usage {
        "server" => "serverAuth",
        "client" => "clientAuth",
        "1.3.6.1.5.5.7.3.3" => "codeSigning",
        "1.3.6.1.5.5.7.3.4" => "emailProtection",
        "1.3.6.1.5.5.7.3.8" => "timeStamping",
        "1.3.6.1.5.5.7.3.9" => "OCSPSigning",
        other => other,
    }
}

/// A length of time in words.
fn span(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
