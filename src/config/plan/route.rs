//! `[[route]]`: what is matched, and what is done with it.

use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use super::{At, RouteLog, RouteRules};
use crate::config::access::Piece;
use crate::route::{Clause, Files, HostPattern, PathPattern, Redirect, Rewrite};

/// `[[route]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Indices into [`Plan::listeners`](super::Plan::listeners); at least one, all of one protocol.
    pub listeners: Vec<usize>,
    /// `host`: one of these, in lower case; empty: any.
    pub hosts: Vec<At<HostPattern>>,
    /// Which paths; `Prefix("/")` when left out.
    pub path: At<PathPattern>,
    /// `None`: any method. Never empty.
    pub methods: Option<Vec<String>>,
    /// `sni`, on tcp listeners: the server names of a TLS handshake that is not opened. `None`: any, or no TLS.
    pub sni: Option<At<HostPattern>>,
    /// `match`: what else a request must have.
    pub conditions: Vec<Clause>,
    /// What is done with its requests.
    pub to: Destination,
    /// `headers.request`: changes to the request.
    pub request_headers: HeaderEdits,
    /// `headers.response`: changes to the response.
    pub response_headers: HeaderEdits,
    /// `headers.when`, in their order: changes behind these, under conditions.
    pub conditional_headers: Vec<ConditionalEdits>,
    /// `timeouts.response`, instead of the upstream's.
    pub response_timeout: Option<Duration>,
    /// `timeouts.idle`, instead of the upstream's.
    pub idle_timeout: Option<Duration>,
    /// `require_client_certificate`, `client_certificate`: requests without such a certificate get 403.
    pub client_certificate: Option<CertificateRule>,
    /// How the path of its requests changes.
    pub rewrite: Rewrite,
    /// `rewrite_responses`: Location, Refresh and Set-Cookie are changed back where a prefix of the path was.
    pub rewrite_responses: bool,
    /// `encoded_slashes = "pass"`: `%2F` in a path is forwarded unchanged.
    pub encoded_slashes: bool,
    /// `merge_slashes`: slashes in a row go on as one.
    pub merge_slashes: bool,
    /// `grpc_web`: calls of gRPC-Web are made to the upstream as calls of gRPC.
    pub grpc_web: bool,
    /// `limits`
    pub limits: RouteLimits,
    /// `access_log`; `None`: `log.access` has a line of each request.
    pub access_log: Option<RouteLog>,
    /// Its rules for requests.
    pub rules: RouteRules,
    /// The whole `[[route]]` in the file.
    pub span: Range<usize>,
}

/// `route.limits`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteLimits {
    /// `body_bytes`: longest request body, 0: no bound. `None`: the listener's bound.
    pub body_bytes: Option<u64>,
    /// `response_rate` and `response_burst`: the pace of each response. `None`: as fast as it goes.
    pub response: Option<ResponseRate>,
    /// `requests`: requests at a time. 0: no bound.
    pub requests: u64,
    /// `requests_per_client`: those of one client address. 0: no bound.
    pub requests_per_client: u64,
}

/// The pace at which a response is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseRate {
    /// Bytes a second, at least 1 KiB.
    pub bytes: u64,
    /// Bytes that are sent before that.
    pub burst: u64,
}

impl Route {
    /// Host and path that it matches, as they are written: `*.example.com/orders`, `=/orders`.
    pub fn place(&self) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(|host| host.value.to_string()).collect();
        format!("{}{}", hosts.join(","), self.path.value)
    }

    /// The upstreams that it sends requests to, as indices into [`Plan::upstreams`](super::Plan::upstreams).
    pub fn upstreams(&self) -> impl Iterator<Item = usize> + '_ {
        let shares = match &self.to {
            Destination::Upstreams(shares) => shares.as_slice(),
            Destination::Respond(_)
            | Destination::Redirect(_)
            | Destination::Portal(_)
            | Destination::Files(_) => &[],
        };
        shares.iter().map(|share| share.upstream)
    }
}

/// What is done with a request that a route matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// `upstream`, or `upstreams` by weight: a request is sent to one of these. Never empty.
    Upstreams(Vec<Share>),
    /// `respond`: it is answered here.
    Respond(Respond),
    /// `redirect`: the client is sent elsewhere.
    Redirect(Redirect),
    /// `portal`: a page for consumers.
    Portal(Portal),
    /// `root`: files below a folder.
    Files(At<Files>),
}

/// `route.portal`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portal {
    /// `title`. Default `APIs`.
    pub title: String,
    /// `requests`, with the keys beside it.
    pub requests: Option<PortalRequests>,
}

/// What `route.portal` says of requests for credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortalRequests {
    /// `gateway_keys`: the gateway makes the key of a certificate where its consumer asks for that. Default false.
    pub gateway_keys: bool,
    /// `pending`: most requests that wait. Default 100.
    pub pending: usize,
    /// `hourly`: requests of a client address in an hour; of all together ten times as many. Default 10.
    pub hourly: u32,
}

impl Destination {
    /// The indices of its upstreams.
    pub fn upstreams_mut(&mut self) -> impl Iterator<Item = &mut usize> {
        let shares = match self {
            Self::Upstreams(shares) => shares.as_mut_slice(),
            Self::Respond(_) | Self::Redirect(_) | Self::Portal(_) | Self::Files(_) => &mut [],
        };
        shares.iter_mut().map(|share| &mut share.upstream)
    }
}

/// Changes to the fields of a head. Names are as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// `set`: takes the place of all fields of that name.
    pub set: Vec<(String, Template)>,
    /// `add`: fields beside those of the same name.
    pub add: Vec<(String, Template)>,
    /// `remove`
    pub remove: Vec<String>,
    /// `set.Host` of a request.
    pub host: Option<String>,
}

/// One of `headers.when` of a route or a listener. It has a condition, and changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionalEdits {
    /// What must hold of the request; `None`: the response's status alone is asked.
    pub when: Option<Clause>,
    /// `status`: the ranges of which one has the response's status; empty: any. With some, `request` changes nothing.
    pub statuses: Vec<(u16, u16)>,
    /// `request`: changes to the request.
    pub request: HeaderEdits,
    /// `response`: changes to the response.
    pub response: HeaderEdits,
}

/// A field's value, with variables.
pub(crate) type Template = Vec<Piece>;

/// An upstream's share of a route's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Index into [`Plan::upstreams`](super::Plan::upstreams).
    pub upstream: usize,
    /// 1 to 1000.
    pub weight: u32,
}

/// `route.client_certificate`: the client has a verified certificate that matches this. Without patterns any matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateRule {
    /// `subject`: one of these is its subject by RFC 4514. `*` matches any part of one attribute's value.
    pub subject: Vec<String>,
    /// `san`: one of these is among its alternative names.
    pub san: Vec<SanPattern>,
}

/// Alternative names of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SanPattern {
    /// A DNS name, or all names below one.
    Dns(HostPattern),
    /// A URI; `*` matches any part of it without a slash.
    Uri(String),
    /// An e-mail address.
    Email(String),
    /// An IP address.
    Ip(IpAddr),
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
