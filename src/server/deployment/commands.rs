//! Requests to the certificate store, with what runs in view.

use std::sync::PoisonError;
use std::time::SystemTime;

use super::Deployment;
use crate::certs::Store;
use crate::certs::command::{CommandError, Context, Delete, Deleted, Request};
use crate::server::{load, uses};

impl Deployment {
    /// Runs a request to the certificate store.
    ///
    /// # Errors
    /// Those of the request, or the store can't be opened.
    pub(crate) fn command<R: Request>(&self, request: R) -> Result<R::Answer, CommandError> {
        let plan = self.plan();
        let uses = |name: &str| uses::of(&plan, name);
        let renew_before = plan.rotation.written_renew_before();
        let context = Context { now: SystemTime::now(), uses: &uses, renew_before };
        let answer = request.run(&Store::open(&plan.store)?, &context);
        self.stored.look(&plan.store);
        answer
    }

    /// The same for what makes keys or opens locked ones, one after the other: a second of a CPU each, which is wanted
    /// for traffic.
    ///
    /// # Errors
    /// Those of the request, or the store can't be opened.
    pub(crate) fn make<R: Request>(&self, request: R) -> Result<R::Answer, CommandError> {
        let _guard = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        self.command(request)
    }

    /// Deletes a certificate that neither what runs nor the config file uses.
    ///
    /// # Errors
    /// It is used, there is none, or the store fails.
    pub(crate) fn delete(&self, request: Delete) -> Result<Deleted, CommandError> {
        // What is published meanwhile might use it.
        let _guard = self.changing();
        let plan = self.plan();
        let next = load::read(&self.file).and_then(|text| load::parse(&text)).ok();
        let uses = |name: &str| {
            let mut found = uses::of(&plan, name);
            let later = next.iter().flat_map(|next| uses::of(next, name));
            let later: Vec<_> = later.filter(|it| !found.contains(it)).collect();
            found.extend(later);
            found
        };
        let renew_before = plan.rotation.written_renew_before();
        let context = Context { now: SystemTime::now(), uses: &uses, renew_before };
        let deleted = request.run(&Store::open(&plan.store)?, &context)?;
        self.rotations.forget(&deleted.deleted);
        self.stored.look(&plan.store);
        Ok(deleted)
    }
}
