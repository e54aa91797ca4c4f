//! Endpoints of sources: what lookups have found, and at the start of a config the first lookups.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Builder;
use crate::config::plan;
use crate::proxy::upstream::config::Endpoint;
use crate::server::discovery::{Source, Target, look_up_all};

impl Builder<'_> {
    /// Learns what is known of the plan's sources. A reload looks up only sources that are new, and reads files again.
    pub(super) fn discover(&mut self) {
        let named = self.plan.upstreams.iter().flat_map(|upstream| &upstream.endpoints);
        let sources: BTreeSet<Source> = named.filter_map(|at| Source::of(&at.address)).collect();
        self.discovered.retain(|source, _| sources.contains(source));
        let mut asked = Vec::new();
        for source in sources {
            if self.discovered.contains_key(&source) {
                continue;
            }
            let known = self.previous.and_then(|previous| previous.made.discovered.get(&source)).cloned();
            match known {
                Some(known) if self.refreshes || source.file().is_none() => {
                    self.discovered.insert(source, known);
                }
                known if !self.refreshes => {
                    let last = known.or_else(|| self.heritage?.found(&source));
                    asked.push((source, last));
                }
                _ => {}
            }
        }
        self.discovered.extend(look_up_all(&self.plan.resolver, asked));
    }

    /// Adds the endpoints of a source; one without an address if it has none.
    pub(super) fn discovered_endpoints(
        &mut self,
        upstream: &plan::Upstream,
        at: &plan::At<plan::Endpoint>,
        source: &Source,
        endpoints: &mut Vec<Endpoint>,
    ) {
        let known = self.discovered.get(source);
        let mut targets: Vec<Target> = known.map(|known| known.targets.clone()).unwrap_or_default();
        let problem = known.and_then(|known| known.problem.as_ref()).map(|(_, why)| why.clone());
        if let Some(bound) = upstream.bind_address.as_ref().map(|at| at.value) {
            let is_reached =
                |target: &Target| target.address.ip().is_none_or(|ip| ip.is_ipv4() == bound.is_ipv4());
            targets.retain(is_reached);
        }
        self.note(format!("{source} {targets:?}").as_bytes());
        if !self.refreshes && (targets.is_empty() || problem.is_some()) {
            let why = problem.unwrap_or_else(|| "it has no address that can be reached".to_owned());
            let help = match targets.len() {
                0 => "the endpoint has no address until a lookup finds one: requests that find no other endpoint are \
                      answered with 502"
                    .to_owned(),
                count => format!("{count} endpoints are used"),
            };
            self.problems.warning(at.span.clone(), format!("`{source}`: {why}"), Some(help));
        }
        let before = endpoints.len();
        for Target { name, address, backup, weight } in targets {
            let differs = name != address.to_string();
            let mut endpoint = Endpoint::new(name, Some(address), weight.unwrap_or(at.weight), differs);
            (endpoint.backup, endpoint.drain) = (at.backup || backup, at.drain);
            if !endpoints.iter().any(|known| known.is_same(&endpoint)) {
                self.add(upstream, endpoint, endpoints);
            }
        }
        if endpoints.len() == before {
            self.add(upstream, Endpoint::new(source.to_string(), None, at.weight, false), endpoints);
        }
    }

    /// Adds an endpoint, with its state if it runs already.
    pub(super) fn add(
        &self,
        upstream: &plan::Upstream,
        mut endpoint: Endpoint,
        endpoints: &mut Vec<Endpoint>,
    ) {
        match self.runs(&upstream.name, &endpoint, endpoints) {
            Some(known) => endpoint.state = Arc::clone(&known.state),
            // At the start all are new, and none of them spares another one.
            None if self.previous.is_some() => endpoint.state.begin_warm_up(),
            None => {}
        }
        endpoints.push(endpoint);
    }
}
