//! OCSP responses of files and of a predecessor, which are stapled from the first handshake on; and what is wrong with what a
//! listener staples.

use std::time::SystemTime;

use super::{Builder, describe};
use crate::certs::ocsp;
use crate::config::plan::{self, Ocsp};
use crate::server::stapling;
use crate::tls::Identity;

impl Builder<'_> {
    /// Of every listener, once all certificates have been read.
    pub(super) fn staple(&mut self) {
        if self.refreshes {
            return;
        }
        let plan = self.plan;
        for tls in plan.listeners.iter().filter_map(|listener| listener.tls.as_ref()) {
            for at in &tls.certificates {
                if let Some(identity) = self.next_identity(&at.value) {
                    self.staple_to(&identity, at, tls.ocsp.as_ref());
                }
            }
        }
    }

    fn staple_to(&mut self, identity: &Identity, at: &plan::At<plan::CertificateRef>, ocsp: Option<&Ocsp>) {
        let chain = identity.chain();
        let name = format!("{}, generation {}", describe(&at.value), identity.generation());
        let (span, why) = match ocsp {
            None if chain.first().is_some_and(ocsp::must_staple) => {
                let title = format!(
                    "{name} demands a stapled OCSP response (must-staple, RFC 7633), and its listener staples none: clients \
                     that hold to it refuse it"
                );
                let help = "add `ocsp = { fetch = true }` or `ocsp = { file = \"web.ocsp\" }` to the listener's `tls`";
                self.problems.warning(at.span.clone(), title, Some(help.to_owned()));
                return;
            }
            None => return,
            Some(Ocsp::Files(files)) => {
                let read = files.iter().map(|file| (&*file.value, stapling::read(file)));
                let span = files.first().map_or(0..0, |file| file.span.clone());
                match stapling::best(chain, read, SystemTime::now()) {
                    Ok(response) => return stapling::staple(identity, response),
                    Err(why) => (span, why),
                }
            }
            Some(Ocsp::Fetch { url }) => match ocsp::Subject::of(chain) {
                Err(error) => (at.span.clone(), error.to_string()),
                Ok(subject) if url.is_none() && subject.url().is_none() => {
                    let why = "it names no OCSP responder (its CA may have ended OCSP)".to_owned();
                    (at.span.clone(), why)
                }
                Ok(subject) => {
                    let handed = self.heritage.and_then(|heritage| heritage.staple(identity));
                    let judged = handed.and_then(|bytes| subject.judge(&bytes, SystemTime::now()).ok());
                    return judged.into_iter().for_each(|response| stapling::staple(identity, response));
                }
            },
        };
        let help = match chain.first().is_some_and(ocsp::must_staple) {
            true => "the certificate demands a response (must-staple): clients may refuse it without one",
            false => "handshakes go on without one",
        };
        let title = format!("{name}: no OCSP response can be stapled: {why}");
        self.problems.warning(span, title, Some(help.to_owned()));
    }
}
