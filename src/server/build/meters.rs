//! What is counted of listeners and routes: it goes on over reloads.

use std::sync::Arc;

use super::Builder;
use crate::base::limits::MAX_ROUTE_SERIES;
use crate::base::meter::{ListenerCells, PerWorker, RouteCells};
use crate::config::plan;
use crate::proxy::client_failures::ClientFailures;
use crate::proxy::snapshot::{Listener, OTHER, RouteMeter, Traffic};
use crate::route::PathPattern;

/// What is counted of a listener.
pub(super) struct ListenerMeters {
    pub(super) meter: Arc<PerWorker<ListenerCells>>,
    pub(super) failures: Arc<ClientFailures>,
    pub(super) unrouted: Arc<PerWorker<RouteCells>>,
}

impl<'a> Builder<'a> {
    /// That of a listener, which goes on if one of this name runs.
    pub(super) fn listener_meters(&self, listener: &plan::Listener) -> ListenerMeters {
        let before = self.listener_before(listener);
        ListenerMeters {
            meter: before.map(|before| Arc::clone(&before.meter)).unwrap_or_default(),
            failures: before.map(|before| Arc::clone(&before.failures)).unwrap_or_default(),
            unrouted: before.map(|before| Arc::clone(&before.unrouted)).unwrap_or_default(),
        }
    }

    /// That of a route of the listener, which goes on if the listener that runs has one of the same label. Routes with the
    /// same label are counted together, and so are all that are too many. `known`: those of the listener's routes before it.
    pub(super) fn route_meter(
        &mut self,
        listener: &plan::Listener,
        route: &plan::Route,
        known: &[crate::proxy::snapshot::Route],
    ) -> Arc<RouteMeter> {
        let label = label(route);
        let find = |label: &str| known.iter().map(|route| &route.meter).find(|meter| *meter.label == *label);
        if let Some(same) = find(&label) {
            return Arc::clone(same);
        }
        self.route_series += 1;
        let is_over = self.route_series > MAX_ROUTE_SERIES;
        if self.route_series == MAX_ROUTE_SERIES + 1 && !self.refreshes {
            let title = format!(
                "metrics count this route and those after it together, as `route=\"{OTHER}\"`: there are more than {MAX_ROUTE_SERIES}"
            );
            self.problems.warning(route.span.clone(), title, None);
        }
        let label = if is_over { OTHER.to_owned() } else { label };
        if let Some(same) = find(&label) {
            return Arc::clone(same);
        }
        let routes = match self.listener_before(listener).map(|before| &before.traffic) {
            Some(Traffic::Http { routes, .. }) => routes.as_slice(),
            _ => &[],
        };
        let before = routes.iter().map(|route| &route.meter).find(|meter| *meter.label == *label);
        before.map(Arc::clone).unwrap_or_else(|| {
            let path = match &route.path.value {
                PathPattern::Prefix(path) | PathPattern::Exact(path) => path.clone(),
                other => other.to_string(),
            };
            Arc::new(RouteMeter {
                label: label.into(),
                path: path.as_str().into(),
                cells: PerWorker::default(),
            })
        })
    }

    /// The listener of this name that runs.
    fn listener_before(&self, listener: &plan::Listener) -> Option<&'a Listener> {
        let mut before = self.previous.into_iter().flat_map(|previous| &previous.running.listeners);
        before.find(|before| before.name == listener.name.value)
    }
}

/// What metrics call a route: the host and path that it matches, and its methods where it has some.
fn label(route: &plan::Route) -> String {
    match &route.methods {
        None => route.place(),
        Some(methods) => format!("{} {}", methods.join(","), route.place()),
    }
}
