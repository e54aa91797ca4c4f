//! The certificates that a config presents, each in a cell of its own.

use std::sync::Arc;

use super::{Builder, describe};
use crate::base::published::Published;
use crate::certs::command::Role;
use crate::certs::concern::{Concern, anchor_concerns, concerns};
use crate::certs::{Bundle, BundleError, StoreError};
use crate::config::plan::{self, CertificateRef};
use crate::tls::Identity;

/// A certificate as a place of the config presents it.
#[derive(Debug)]
pub(super) struct Presented {
    at: plan::At<CertificateRef>,
    role: Role,
    /// The place, in words.
    by: String,
}

impl Builder<'_> {
    /// The same as [`identity`](Self::identity) for a place that presents it in this role, which its warnings name.
    pub(super) fn presented(
        &mut self,
        at: &plan::At<CertificateRef>,
        role: Role,
        by: String,
    ) -> Option<Published<Identity>> {
        let cell = self.identity(at)?;
        if !self.refreshes {
            self.presented.push(Presented { at: at.clone(), role, by });
        }
        Some(cell)
    }

    /// Warns of what peers will object to, once all that is trusted has been read, too.
    pub(super) fn warn_of_concerns(&mut self) {
        for Presented { at, role, by } in std::mem::take(&mut self.presented) {
            let Some(identity) = self.next_identity(&at.value) else { continue };
            let renew_before = match at.value {
                CertificateRef::Store(_) => self.plan.rotation.written_renew_before(),
                _ => None,
            };
            let chain = identity.chain();
            let mut found = concerns(chain, Some(role), renew_before, self.now);
            found.extend(anchor_concerns(chain, self.trusted.values().flatten(), self.now));
            // An authority below the root that has ended was found with the certificate's own time.
            found.retain(|concern| !matches!(concern, Concern::AuthorityEnded { is_root: false, .. }));
            for concern in found {
                let (name, number) = (describe(&at.value), identity.generation());
                let title = format!("{name}, generation {number}, presented by {by}: {concern}");
                self.problems.warning(at.span.clone(), title, Some(concern.help()));
            }
        }
    }

    /// What a certificate's cell will hold once this is published.
    pub(super) fn next_identity(&self, named: &CertificateRef) -> Option<Arc<Identity>> {
        let current = self.identities.get(named)?.as_ref()?.load();
        let mut renewed = self.renewed.iter().map(|(_, next)| next);
        let next = renewed.rfind(|next| next.name() == current.name());
        Some(next.map_or(current, Arc::clone))
    }

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
