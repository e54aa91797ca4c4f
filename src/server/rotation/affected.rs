//! What an expired certificate would take down.

use crate::config::Plan;
use crate::config::plan::{CertificateRef, Route};

/// The listeners that present a certificate, and the routes whose upstreams it is presented to, in words.
pub(crate) fn affected(plan: &Plan, certificate: &CertificateRef) -> Vec<String> {
    let mut found = Vec::new();
    for listener in &plan.listeners {
        let certificates = listener.tls.iter().flat_map(|tls| &tls.certificates);
        if certificates.into_iter().any(|at| at.value == *certificate) {
            found.push(format!("listener {}", listener.name.value));
        }
    }
    for (index, upstream) in plan.upstreams.iter().enumerate() {
        let presented = upstream.tls.as_ref().and_then(|tls| tls.certificate.as_ref());
        if presented.is_none_or(|at| at.value != *certificate) {
            continue;
        }
        found.push(through(plan, index));
    }
    found
}

/// An upstream by its index, with the routes that lead to it, in words. An overlay is reached by those routes to its
/// upstream that have a listener in its environment.
pub(crate) fn through(plan: &Plan, upstream: usize) -> String {
    let leading = plan.routes.iter().filter(|route| leads_to(plan, route, upstream));
    let routes: Vec<String> = leading.map(|route| words(plan, route)).collect();
    let routes = if routes.is_empty() { "no route".to_owned() } else { routes.join(", ") };
    format!("upstream {} (routes: {routes})", plan.upstreams[upstream].name.value)
}

fn leads_to(plan: &Plan, route: &Route, upstream: usize) -> bool {
    let environments = route.listeners.iter().map(|&at| plan.listeners[at].environment.as_ref());
    environments.into_iter().any(|environment| {
        let environment = environment.map(|at| at.value.as_str());
        let asked = route.rules.auth.forward.as_ref().map(|forward| forward.upstream);
        let mut all = route.upstreams().chain(asked);
        all.any(|index| plan.in_environment(index, environment) == upstream)
    })
}

fn words(plan: &Plan, route: &Route) -> String {
    let listeners: Vec<&str> = route.listeners.iter().map(|&at| &*plan.listeners[at].name.value).collect();
    format!("{}: {}", listeners.join("+"), route.place())
}
