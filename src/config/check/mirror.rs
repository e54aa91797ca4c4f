//! `upstream.NAME.mirror`

use crate::config::file::{Errors, Section};
use crate::config::plan::{At, Mirror, Upstream};
use crate::config::suggest::nearest;

pub(super) fn mirror(mut section: Section<'_>) -> Option<Mirror> {
    let upstream = section.require("upstream", "\"shadow\"").and_then(|value| value.text("\"shadow\""));
    let millionths = section.get("percent").map_or(Some(1_000_000), |value| value.percent());
    section.finish();
    let At { value, span } = upstream?;
    Some(Mirror { upstream: At { value: value.to_owned(), span }, millionths: millionths? })
}

/// Finds the upstreams that requests are mirrored to: overlays of the same environment go before upstreams without one.
pub(super) fn resolve(upstreams: &mut [Upstream], errors: &Errors) {
    let names: Vec<String> = upstreams.iter().map(|upstream| upstream.name.value.clone()).collect();
    let known = |name: &str| names.iter().any(|known| known == name);
    // An overlay has the values of its upstream, and their places.
    let mut seen = Vec::new();
    for upstream in upstreams {
        let environment = upstream.environment.as_ref().map(|at| at.value.clone());
        let base = upstream.base_name().to_owned();
        let Some(mirror) = &mut upstream.mirror else { continue };
        let target = mirror.upstream.value.clone();
        let mut refuse = |title: String, help: String| {
            if !seen.contains(&mirror.upstream.span) {
                errors.borrow_mut().error(mirror.upstream.span.clone(), title, Some(help));
                seen.push(mirror.upstream.span.clone());
            }
        };
        if target == base {
            let help = "name another upstream, or leave `mirror` out".to_owned();
            refuse(format!("`mirror`: `{target}` is the upstream itself"), help);
        } else if target.contains('@') || !known(&target) {
            let near = nearest(&target, names.iter().map(String::as_str).filter(|name| !name.contains('@')));
            let otherwise = || format!("add [upstream.{target}] with `endpoints`");
            let help = near.map_or_else(otherwise, |near| format!("did you mean \"{near}\"?"));
            refuse(format!("there is no upstream called `{target}`"), help);
        }
        let overlaid = environment.map(|environment| Upstream::overlaid_name(&target, &environment));
        if let Some(overlaid) = overlaid.filter(|name| known(name)) {
            mirror.upstream.value = overlaid;
        }
    }
}
