//! What an upstream's backends are checked against.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::Builder;
use crate::certs::Timestamp;
use crate::certs::store::{Files, load_crls, load_trust};
use crate::config::plan::{At, CertificateRef, TrustRef, UpstreamTls};
use crate::tls::{
    BackendVerifier, RsaBits, TrustAnchors, TrustConcern, revocation_list_fault, trust_concern,
};

impl Builder<'_> {
    /// `name` is the upstream's place in the file.
    pub(super) fn verifier(
        &mut self,
        name: &Range<usize>,
        tls: &UpstreamTls,
    ) -> Option<Arc<BackendVerifier>> {
        let least = RsaBits::ALL.into_iter().find(|least| least.bits() == tls.min_rsa_bits);
        let least = least.unwrap_or_default();
        if let Some(at) = &tls.insecure_skip_verify {
            if !self.refreshes {
                self.problems.warning(
                    at.span.clone(),
                    "backends are not verified: whoever answers in their place gets the traffic",
                    Some("name the backend's own certificate or its CA in `trust` instead".to_owned()),
                );
            }
            return Some(BackendVerifier::unchecked(least));
        }
        let anchors = self.anchors(&tls.trust);
        let lists: Vec<_> = tls.crl.iter().map(|at| self.revocation_lists(at)).collect();
        let lists = lists.into_iter().collect::<Option<Vec<_>>>()?.concat();
        let pins = tls.pins.iter().map(|pin| pin.value);
        let span = tls.trust.first().map_or(name, |at| &at.span);
        self.good(span, BackendVerifier::new(anchors?, lists, pins, least))
    }

    fn anchors(&mut self, trust: &[At<TrustRef>]) -> Option<TrustAnchors> {
        let mut anchors = TrustAnchors::new();
        let mut whole = true;
        for at in trust {
            let certificates = match &at.value {
                TrustRef::System => self.system_roots(&at.span),
                TrustRef::Certificate(CertificateRef::File(path)) => self.good(&at.span, load_trust(path)),
                TrustRef::Certificate(CertificateRef::Locked { cert, passphrase_file, .. }) => {
                    let files = Files { passphrase_file: Some(passphrase_file), ..Files::one(cert) };
                    self.good(&at.span, files.load_trust())
                }
                TrustRef::Certificate(named) => {
                    let at = At { value: named.clone(), span: at.span.clone() };
                    self.bundle(&at).map(|bundle| bundle.chain().to_vec())
                }
            };
            let Some(certificates) = certificates else {
                whole = false;
                continue;
            };
            for certificate in certificates {
                self.note(&certificate);
                if at.value != TrustRef::System {
                    whole &= self.concern(&at.span, &certificate);
                }
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

    /// Warns of a trusted certificate that has no effect now; false: it never has any, which is an error.
    pub(super) fn concern(&mut self, span: &Range<usize>, certificate: &CertificateDer<'_>) -> bool {
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

    /// The lists of a file. A list that has ended is a warning: a newer one may stand beside it.
    pub(super) fn revocation_lists(
        &mut self,
        at: &At<std::path::PathBuf>,
    ) -> Option<Vec<CertificateRevocationListDer<'static>>> {
        let lists = self.good(&at.span, load_crls(at))?;
        let now = Timestamp::from(self.now);
        for list in &lists {
            self.note(list);
            if let Ok(Some(why)) = revocation_list_fault(list) {
                self.wrong(&at.span, format!("{}: {why}", at.display()), None);
                return None;
            }
            let Ok((_, parsed)) = CertificateRevocationList::from_der(list) else {
                let title = format!("{} holds no revocation list that can be read", at.display());
                self.wrong(&at.span, title, Some("it must be a CRL in PEM or DER"));
                return None;
            };
            let next = parsed.next_update().map(|time| Timestamp::from_unix(time.timestamp()));
            if let Some(next) = next.filter(|next| *next < now) {
                self.problems.warning(
                    at.span.clone(),
                    format!("the revocation list of {} was due to be replaced at {next}", parsed.issuer()),
                    Some(
                        "it has ended: without a newer list, certificates of this issuer are refused"
                            .to_owned(),
                    ),
                );
            }
        }
        Some(lists)
    }
}
