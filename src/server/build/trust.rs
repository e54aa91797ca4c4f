//! What an upstream's backends are checked against.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::{CertificateDer, UnixTime};

use super::Builder;
use crate::certs::Timestamp;
use crate::certs::store::{Files, load_crls, load_trust};
use crate::config::plan::{At, CertificateRef, TrustRef, UpstreamTls};
use crate::tls::succession::{ListFault, succeed};
use crate::tls::{
    BackendVerifier, RevocationList, RevocationLists, TrustAnchors, TrustConcern, trust_concern,
};

impl Builder<'_> {
    /// `name` is the upstream's.
    pub(super) fn verifier(&mut self, name: &At<String>, tls: &UpstreamTls) -> Option<Arc<BackendVerifier>> {
        let least = tls.min_rsa_bits;
        if let Some(at) = &tls.insecure_skip_verify {
            if !self.refreshes {
                self.problems.warning(
                    at.span.clone(),
                    "backends are not verified: any server that answers in their place gets the traffic",
                    Some("name the backend's own certificate or its CA in `trust` instead".to_owned()),
                );
            }
            return Some(BackendVerifier::unchecked(least));
        }
        let anchors = self.anchors(&tls.trust);
        let pins = tls.pins.iter().map(|pin| pin.value);
        let span = tls.trust.first().map_or(&name.span, |at| &at.span);
        let anchors = anchors?;
        let lists = self.lists(&format!("upstream {}", name.value), &tls.crl, &anchors)?;
        self.good(span, BackendVerifier::with_lists(anchors, lists, pins, least))
    }

    pub(super) fn anchors(&mut self, trust: &[At<TrustRef>]) -> Option<TrustAnchors> {
        let mut anchors = TrustAnchors::new();
        let mut whole = true;
        for at in trust {
            let certificates = match &at.value {
                TrustRef::System => self.system_roots(&at.span),
                TrustRef::Certificate(named) => self.trusted(named, &at.span),
            };
            let Some(certificates) = certificates else {
                whole = false;
                continue;
            };
            for certificate in certificates {
                self.note(&certificate);
                // One bad root among the system's hundred is passed over, one that was named is not.
                if let Err(error) = anchors.add(certificate)
                    && at.value != TrustRef::System
                {
                    self.wrong(&at.span, error.to_string(), None);
                    whole = false;
                }
            }
        }
        whole.then_some(anchors)
    }

    /// The certificates of one entry of a trust list. A refresh keeps those in force if they can't be read.
    pub(super) fn trusted(
        &mut self,
        named: &CertificateRef,
        span: &Range<usize>,
    ) -> Option<Vec<CertificateDer<'static>>> {
        let certificates = match named {
            CertificateRef::File(path) => self.good(span, load_trust(path)),
            CertificateRef::Locked { cert, passphrase_file, .. } => {
                let files = Files { passphrase_file: Some(passphrase_file), ..Files::one(cert) };
                self.good(span, files.load_trust())
            }
            named => {
                let at = At { value: named.clone(), span: span.clone() };
                self.bundle(&at).map(|bundle| bundle.chain().to_vec())
            }
        };
        let mut certificates = certificates.filter(|certificates| {
            // Not `all`: each is warned of.
            certificates.iter().fold(true, |whole, certificate| whole & self.concern(span, certificate))
        });
        if certificates.is_none() && self.refreshes {
            certificates = self.previous.and_then(|previous| previous.made.trusted.get(named).cloned());
        }
        if let Some(certificates) = &certificates {
            self.trusted.insert(named.clone(), certificates.clone());
        }
        certificates
    }

    /// Warns of a trusted certificate that has no effect now; false: it never has any, which is an error.
    fn concern(&mut self, span: &Range<usize>, certificate: &CertificateDer<'_>) -> bool {
        let since = self.now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        match trust_concern(certificate, UnixTime::since_unix_epoch(since)) {
            None => true,
            Some(TrustConcern::Idle(what)) => {
                if !self.refreshes {
                    let help = "certificates that it issued are refused: replace it".to_owned();
                    self.problems.warning(span.clone(), what, Some(help));
                }
                true
            }
            Some(TrustConcern::Never(what)) => {
                let help = "name the CA that issued it, or have it issued anew (X.509 version 3)";
                self.wrong(span, what, Some(help));
                false
            }
        }
    }

    fn system_roots(&mut self, span: &Range<usize>) -> Option<Vec<CertificateDer<'static>>> {
        let found = rustls_native_certs::load_native_certs();
        if found.certs.is_empty() {
            self.wrong(
                span,
                "this system has no root certificates".to_owned(),
                Some("install the package `ca-certificates`, or name a CA file in `trust`"),
            );
            return None;
        }
        Some(found.certs)
    }

    /// The revocation lists in force at `place`, a listener or an upstream: those that its files hold, and those in force
    /// that no better ones replace. Whatever a file lacks is among the faults.
    pub(super) fn lists(
        &mut self,
        place: &str,
        files: &[At<PathBuf>],
        anchors: &TrustAnchors,
    ) -> Option<Arc<RevocationLists>> {
        let before = self.previous.and_then(|previous| previous.made.lists.get(place).cloned());
        let (mut read, mut of, mut whole) = (Vec::new(), Vec::new(), true);
        for at in files {
            let (lists, good) = self.read_lists(place, at);
            whole &= good;
            of.resize(of.len() + lists.len(), at);
            read.extend(lists);
        }
        if !whole && (!self.refreshes || before.is_none()) {
            return None;
        }
        let now = Timestamp::from(self.now).unix().try_into().unwrap_or(0);
        let before = before.filter(|_| !files.is_empty()).unwrap_or_default();
        let next = succeed(&before, &read, anchors, now, self.refreshes);
        for (index, fault) in &next.faults {
            self.list_fault(place, of[*index], &read[*index], fault);
        }
        for list in next.absent.iter().filter(|_| whole) {
            self.faults.push(format!(
                "{place}: no file holds a revocation list of {} any more: the one in force stays until {}; put a newer one \
                 there, or drop it by `ringate reload`",
                list.issuer_name(),
                time(list.next_update())
            ));
        }
        next.lists.iter().for_each(|list| self.note(list.der()));
        let lists = Arc::new(RevocationLists::of(next.lists));
        self.lists.insert(place.to_owned(), Arc::clone(&lists));
        Some(lists)
    }

    /// The lists of a file that can be used, and whether that is all of them.
    fn read_lists(&mut self, place: &str, at: &At<PathBuf>) -> (Vec<Arc<RevocationList>>, bool) {
        let found = match load_crls(at) {
            Ok(found) => found,
            Err(error) => {
                self.bad_list(place, at, error.to_string(), None);
                return (Vec::new(), false);
            }
        };
        let (mut lists, mut whole) = (Vec::new(), true);
        for der in found {
            match RevocationList::read(der) {
                Ok(list) => lists.push(Arc::new(list)),
                Err(why) => {
                    let help = Some("it must be a complete CRL in PEM or DER");
                    self.bad_list(place, at, format!("{}: {why}", at.display()), help);
                    whole = false;
                }
            }
        }
        (lists, whole)
    }

    fn bad_list(&mut self, place: &str, at: &At<PathBuf>, title: String, help: Option<&str>) {
        if self.refreshes {
            self.faults.push(format!(
                "{place}: {title}: the revocation lists in force stay; put a complete CRL in PEM or DER there"
            ));
        } else {
            self.wrong(&at.span, title, help);
        }
    }

    fn list_fault(&mut self, place: &str, at: &At<PathBuf>, list: &RevocationList, fault: &ListFault) {
        let (file, issuer) = (at.display(), list.issuer_name());
        let end = time(list.next_update());
        let stays = |stays: &RevocationList| {
            format!(
                "the one in force, of {}, stays until {}",
                time(stays.this_update()),
                time(stays.next_update())
            )
        };
        let (title, help) = match fault {
            ListFault::Ended => (
                format!("{file}: the revocation list of {issuer} was due to be replaced at {end}"),
                "it has ended: without a newer list, certificates of this issuer are refused",
            ),
            ListFault::EndedStays(old) => (
                format!(
                    "{file}: the revocation list of {issuer} was due to be replaced at {end}: {}",
                    stays(old)
                ),
                "put a newer list of this issuer there",
            ),
            ListFault::OlderStays(old) => (
                format!(
                    "{file}: the revocation list of {issuer} is an older one, of {}: {}",
                    time(list.this_update()),
                    stays(old)
                ),
                "put a newer list of this issuer there; only a restart goes back to an older one",
            ),
            ListFault::Future(old) => (
                format!(
                    "{file}: the revocation list of {issuer} is in force only from {}: {}",
                    time(list.this_update()),
                    old.as_ref().map_or_else(
                        || "until then, certificates of this issuer are refused".to_owned(),
                        |old| stays(old)
                    )
                ),
                "compare the clocks of this machine and of the CA",
            ),
        };
        self.faults.push(format!("{place}: {title}; {help}"));
        if !self.refreshes {
            self.problems.warning(at.span.clone(), title, Some(help.to_owned()));
        }
    }
}

/// Of seconds since 1970.
fn time(secs: u64) -> Timestamp {
    Timestamp::from_unix(i64::try_from(secs).unwrap_or(i64::MAX))
}
