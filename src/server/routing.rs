//! What routes ask for, made ready for the data path.

use std::ops::Range;
use std::sync::Arc;

use crate::certs::store::load_keys;
use crate::config::plan;
use crate::proxy::reply::{Reply, ReplyBody};
use crate::proxy::rules::{Cors, KeyRule, Limit, Rules};
use crate::proxy::running::Destination;

/// Where a route's requests go.
pub(super) fn destination(to: &plan::Destination) -> Destination {
    match to {
        plan::Destination::Upstreams(shares) => Destination::Upstream(shares[0].upstream),
        plan::Destination::Respond(respond) => Destination::Reply(Box::new(fixed(respond))),
    }
}

/// What a route asks for beyond that, if anything.
///
/// # Errors
/// A file of API keys can't be read; with its place in the config.
pub(super) fn rules(
    route: &plan::Route,
    methods: Option<&[String]>,
) -> Result<Option<Arc<Rules>>, (Range<usize>, String)> {
    let asked = &route.rules;
    let keys = match &asked.api_keys {
        None => None,
        Some(keys) => Some(KeyRule {
            keys: load_keys(&keys.file).map_err(|error| (keys.file.span.clone(), error.to_string()))?.keys(),
            header: keys.header.clone(),
            name_header: keys.name_header.clone(),
            forward: keys.forward,
        }),
    };
    // OPTIONS that the route did not ask for is there for preflights alone.
    let allow = match (&route.methods, methods) {
        (Some(asked), Some(methods)) if asked.len() < methods.len() => Some(asked.join(", ")),
        _ => None,
    };
    let rules = Rules {
        limit: asked.rate_limit.as_ref().map(Limit::new),
        cors: asked.cors.as_ref().map(|cors| Cors::new(cors, allow)),
        keys,
        trace: asked.trace,
    };
    Ok((!rules.is_empty()).then(|| Arc::new(rules)))
}

/// The methods that a route is looked up by. Where pages of other origins may use it, preflights come to it as
/// well, unless another route of its listener takes OPTIONS for the same host and path.
pub(super) fn methods(route: &plan::Route, all: &[&plan::Route]) -> Option<Vec<String>> {
    let mut methods = route.methods.clone()?;
    let place =
        |route: &plan::Route| (route.host.as_ref().map(|host| host.value.clone()), route.path.value.clone());
    let taken = |other: &plan::Route| {
        let first = std::ptr::eq(other, route);
        let takes = match &other.methods {
            None => !first,
            Some(methods) => methods.iter().any(|method| method == "OPTIONS"),
        };
        place(other) == place(route) && takes
    };
    // Of several that could take them, the first does.
    let earlier = all.iter().take_while(|other| !std::ptr::eq(**other, route));
    let given = earlier.into_iter().any(|other| other.rules.cors.is_some() && place(other) == place(route));
    if route.rules.cors.is_some() && !given && !all.iter().any(|other| taken(other)) {
        methods.push("OPTIONS".to_owned());
    }
    Some(methods)
}

fn fixed(respond: &plan::Respond) -> Reply {
    let body = match respond.status {
        204 | 304 => ReplyBody::None,
        _ => ReplyBody::Own {
            media_type: respond.content_type.as_str().into(),
            bytes: respond.body.as_bytes().into(),
        },
    };
    Reply { status: respond.status, fields: Vec::new(), body, cause: None }
}
