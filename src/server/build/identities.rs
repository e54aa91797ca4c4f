//! The certificates that a config presents, each in a cell of its own.

use std::sync::Arc;

use super::{Builder, describe};
use crate::base::published::Published;
use crate::certs::{Bundle, BundleError, StoreError};
use crate::config::plan::{self, CertificateRef};
use crate::tls::Identity;

impl Builder<'_> {
    pub(super) fn identity(&mut self, at: &plan::At<CertificateRef>) -> Option<Published<Identity>> {
        if let Some(known) = self.identities.get(&at.value) {
            return known.clone();
        }
        let made = self.make_identity(at);
        self.identities.insert(at.value.clone(), made.clone());
        made
    }

    /// The cell of a certificate: the one that runs already, if there is one. New content is stored in it when the snapshot is
    /// published.
    pub(super) fn make_identity(&mut self, at: &plan::At<CertificateRef>) -> Option<Published<Identity>> {
        if self.refreshes {
            return self.previous.and_then(|previous| previous.made.identity(&at.value)).cloned();
        }
        let (bundle, stored) = self.loaded(at)?;
        let Some(key) = bundle.key() else {
            self.wrong(
                &at.span,
                format!(
                    "the certificate of {} has no private key, which is needed to present it",
                    bundle.facts().subject
                ),
                Some("put the key into the same PEM file, or write { cert = \"FILE\", key = \"FILE\" }"),
            );
            return None;
        };
        let known = self.previous.and_then(|previous| previous.made.identity(&at.value)).cloned();
        let held = known.as_ref().map(Published::load);
        let last = held.as_ref().map_or(0, |held| held.generation());
        let running = held.as_deref().or(self.current);
        let runs = running.is_some_and(|running| running.chain() == bundle.chain());
        self.in_its_time(at, &bundle, runs)?;
        if let (Some(cell), Some(held)) = (&known, &held)
            && runs
            && stored.is_none_or(|generation| generation == last)
        {
            let stands_in = held.previous().is_some();
            if stored.is_some() && stands_in && matches!(self.stand_in(at, last, Some(held)), Ok(None)) {
                self.without_fallback.push(Arc::clone(held));
            }
            return Some(cell.clone());
        }
        // The store's number, even if it is the last one's again, of a certificate that was made anew or is in another
        // store: connections and sessions are distinguished by more than that.
        let generation = stored.unwrap_or(last + 1);
        let identity =
            Identity::new(describe(&at.value), generation, bundle.chain().to_vec(), key.clone_key());
        let identity = self.good(&at.span, identity)?;
        identity.set_previous(match stored {
            Some(_) => self.stand_in(at, generation, held.as_ref()).unwrap_or_default(),
            None => held,
        });
        Some(match known {
            None => Published::new(identity),
            Some(cell) => {
                self.renewed.push((cell.clone(), Arc::new(identity)));
                cell
            }
        })
    }

    /// Refuses what is not valid yet or not any more. One that `runs`, or ran when this machine was last started, has
    /// ended without a successor, or the clock is behind: it must not take everything else down with it.
    fn in_its_time(&mut self, at: &plan::At<CertificateRef>, bundle: &Bundle, runs: bool) -> Option<()> {
        match bundle.check_validity(self.now) {
            Err(error @ BundleError::Expired { .. }) if runs || self.starts => {
                let title = format!(
                    "{error}; where it runs, and at a start, it is presented all the same, but peers will refuse it, and no reload brings it"
                );
                self.problems.warning(at.span.clone(), title, None);
                Some(())
            }
            Err(error @ BundleError::NotYetValid { .. }) if runs || self.starts => {
                let title = format!(
                    "{error}; where it runs, and at a start, it is presented all the same, but peers whose clock is right may refuse it"
                );
                self.problems.warning(at.span.clone(), title, None);
                Some(())
            }
            valid => self.good(&at.span, valid),
        }
    }

    /// The generation before the `active` one in the store: its fallback. A later one, which was rolled back from, is none.
    /// `held` is the process's identity of the certificate so far. If no generation can be used, that is no error.
    fn stand_in(
        &mut self,
        at: &plan::At<CertificateRef>,
        active: u64,
        held: Option<&Arc<Identity>>,
    ) -> Result<Option<Arc<Identity>>, StoreError> {
        let CertificateRef::Store(name) = &at.value else {
            return Ok(None);
        };
        let Some((number, bundle)) = self.store(&at.span)?.get_previous(name)? else {
            return Ok(None);
        };
        let number = u64::from(number);
        if number >= active {
            return Ok(None);
        }
        let known = held.into_iter().cloned().chain(held.and_then(|held| held.previous()));
        let is_it = |it: &Arc<Identity>| it.generation() == number && it.chain() == bundle.chain();
        if let Some(known) = known.into_iter().find(is_it) {
            return Ok(Some(known));
        }
        let Some(key) = bundle.key() else { return Ok(None) };
        let identity = Identity::new(name.clone(), number, bundle.chain().to_vec(), key.clone_key());
        Ok(identity.ok().map(Arc::new))
    }
}
