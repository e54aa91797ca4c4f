//! What routes ask for, made ready for the data path.

use std::sync::Arc;

use crate::config::plan;
use crate::proxy::reply::{Reply, ReplyBody};
use crate::proxy::rules::Rules;
use crate::proxy::running::Destination;

/// Where a route's requests go.
pub(super) fn destination(to: &plan::Destination) -> Destination {
    match to {
        plan::Destination::Upstreams(shares) => Destination::Upstream(shares[0].upstream),
        plan::Destination::Respond(respond) => Destination::Reply(Box::new(fixed(respond))),
    }
}

/// What a route asks for beyond that, if anything.
pub(super) fn rules(_route: &plan::Route) -> Option<Arc<Rules>> {
    let rules = Rules::default();
    (!rules.is_empty()).then(|| Arc::new(rules))
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
