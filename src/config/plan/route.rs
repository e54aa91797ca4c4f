//! `[[route]]`: what is matched, and what is done with it.

use std::ops::Range;

use super::{At, RouteRules};

/// `[[route]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Indices into [`Plan::listeners`](super::Plan::listeners); at least one, all of one protocol.
    pub listeners: Vec<usize>,
    /// `None`: any host. Lower case.
    pub host: Option<At<HostPattern>>,
    /// Which paths; `Prefix("/")` when left out.
    pub path: At<PathPattern>,
    /// `None`: any method. Never empty.
    pub methods: Option<Vec<String>>,
    /// What is done with its requests.
    pub to: Destination,
    /// Whether the matched prefix is taken off before the request goes on.
    pub strip_prefix: bool,
    /// What it asks of its requests.
    pub rules: RouteRules,
    /// The whole `[[route]]` in the file.
    pub span: Range<usize>,
}

impl Route {
    /// The upstreams that it sends requests to, as indices into [`Plan::upstreams`](super::Plan::upstreams).
    pub fn upstreams(&self) -> impl Iterator<Item = usize> + '_ {
        let shares = match &self.to {
            Destination::Upstreams(shares) => shares.as_slice(),
            Destination::Respond(_) => &[],
        };
        shares.iter().map(|share| share.upstream)
    }
}

/// What is done with a request that a route matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// `upstream`, or `upstreams` by weight: it goes to one of these. Never empty.
    Upstreams(Vec<Share>),
    /// `respond`: it is answered here.
    Respond(Respond),
}

/// An upstream's share of a route's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Index into [`Plan::upstreams`](super::Plan::upstreams).
    pub upstream: usize,
    /// 1 to 1000.
    pub weight: u32,
}

/// `route.respond`: a fixed response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Respond {
    /// `status`: 200 to 599. Default 200.
    pub status: u16,
    /// `body`; empty where left out.
    pub body: String,
    /// `content_type`. Default `text/plain; charset=utf-8`.
    pub content_type: String,
}

/// `route.host`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// One name.
    Exact(String),
    /// `*.example.com` is held as `example.com`: any name with one or more labels before it.
    Wildcard(String),
}

/// `route.path`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// `/orders`: that path and what lies below it, at a segment boundary.
    Prefix(String),
    /// `=/orders`: that path alone.
    Exact(String),
}
