//! `[resolver]`

use crate::config::file::Section;
use crate::config::names;
use crate::config::plan::Resolver;

pub(super) fn resolver(section: Option<Section<'_>>) -> Resolver {
    let mut resolver = Resolver::default();
    let Some(mut section) = section else { return resolver };
    if let Some(list) = section.get("servers").and_then(|value| value.any_list("[\"127.0.0.1:53\"]")) {
        let servers = list.iter().filter_map(|value| value.parse("\"127.0.0.1:53\"", names::name_server));
        resolver.servers = servers.map(|at| at.value).collect();
    }
    if let Some(mut ttl) = section.section("ttl") {
        if let Some(min) = ttl.get("min").and_then(|value| value.duration(false)) {
            resolver.min = min;
        }
        let max = ttl.get("max");
        if let Some(duration) = max.as_ref().and_then(|value| value.duration(false)) {
            resolver.max = duration;
        }
        if resolver.min > resolver.max {
            let help = "`ttl.min` is at most `ttl.max`, whose default is \"5m\"";
            ttl.error("`resolver.ttl`: the least time is longer than the longest", Some(help.to_owned()));
        }
        ttl.finish();
    }
    section.finish();
    resolver
}
