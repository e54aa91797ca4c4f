//! The error pages of listeners and routes.

use std::sync::Arc;

use super::Builder;
use crate::config::plan;
use crate::proxy::error_pages::Pages;
use crate::proxy::snapshot::Traffic;
use crate::server::pages::pages;

impl Builder<'_> {
    /// Pages, read from their files. The outer `None`: one can't be read.
    #[allow(clippy::option_option)]
    pub(super) fn read_pages(&mut self, written: Option<&plan::ErrorPages>) -> Option<Option<Arc<Pages>>> {
        pages(written).map_err(|(span, error)| self.wrong(&span, error, None)).ok()
    }

    /// The pages of a route over those of its listener, which is at `index`; the inner `None`: it has none of its own.
    #[allow(clippy::option_option)]
    pub(super) fn pages_of(
        &mut self,
        index: usize,
        route: &plan::Route,
        id: &str,
    ) -> Option<Option<Arc<Pages>>> {
        let Some(own) = route.rules.error_pages.as_ref().filter(|own| own.has_pages()) else {
            return Some(None);
        };
        if let Some(previous) = self.previous.filter(|_| self.refreshes)
            && let Traffic::Http { routes, .. } = &previous.running.listeners[index].traffic
            && let Some(before) = routes.iter().find(|route| *route.id == *id)
        {
            return Some(before.pages.clone());
        }
        match &self.plan.listeners[index].error_pages {
            Some(listeners) => self.read_pages(Some(&own.over(listeners))),
            None => self.read_pages(Some(own)),
        }
    }
}
