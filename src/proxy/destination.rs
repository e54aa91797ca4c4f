//! The destination of a matched request, and its new path.

pub(crate) mod files;
pub(crate) mod portal;

use std::borrow::Cow;
use std::sync::Arc;

use crate::http::host_name;
use crate::proxy::client::ClientFacts;
use crate::proxy::reply::{Reply, ReplyBody};
use crate::route::{Files, MapFault, MapText, Redirect, Rewrite, RouteQuery};

/// The destination of a matched request.
#[derive(Debug)]
pub enum Destination {
    /// Index into [`RuntimeConfig::upstreams`](crate::proxy::snapshot::RuntimeConfig::upstreams).
    Upstream(usize),
    /// One of several.
    Split(Split),
    /// Nowhere: it is answered here.
    Reply(Box<Reply>),
    /// Nowhere: the client is sent elsewhere.
    Redirect(Box<Redirect>),
    /// Nowhere: a page for consumers.
    Portal(Box<portal::Portal>),
    /// Nowhere: files below a root.
    Files(Arc<Files>),
}

/// Upstreams by weight.
#[derive(Debug)]
pub struct Split {
    /// Each upstream's index, behind the sum of the weights up to and with its own.
    shares: Box<[(u64, usize)]>,
    total: u64,
}

impl Split {
    /// Over upstreams and their weights; there is at least one, and no weight is 0.
    pub fn new(shares: impl IntoIterator<Item = (usize, u32)>) -> Self {
        let mut total = 0;
        let sums = shares.into_iter().map(|(upstream, weight)| {
            total += u64::from(weight);
            (total, upstream)
        });
        let shares = sums.collect();
        Self { shares, total }
    }

    /// The upstream at `point`, a fraction of 2⁶⁴. Points that are spread evenly give each its weight.
    pub fn pick(&self, point: u64) -> usize {
        let at = ((u128::from(point) * u128::from(self.total)) >> 64) as u64;
        let found = self.shares.partition_point(|(sum, _)| *sum <= at);
        self.shares[found.min(self.shares.len() - 1)].1
    }

    /// The same among those that are `usable`.
    pub fn pick_where(&self, point: u64, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let starts = std::iter::once(0).chain(self.shares.iter().map(|(sum, _)| *sum));
        let weighed = || {
            self.shares.iter().zip(starts.clone()).map(|((sum, upstream), start)| (*upstream, sum - start))
        };
        let usable = || weighed().filter(|(upstream, _)| usable(*upstream));
        let total: u64 = usable().map(|(_, weight)| weight).sum();
        let mut at = ((u128::from(point) * u128::from(total)) >> 64) as u64;
        for (upstream, weight) in usable() {
            if at < weight {
                return Some(upstream);
            }
            at -= weight;
        }
        None
    }

    /// All of them.
    pub fn upstreams(&self) -> impl Iterator<Item = usize> + '_ {
        self.shares.iter().map(|(_, upstream)| *upstream)
    }
}

impl Redirect {
    /// The answer to this request, or the refusal where a map in its target has no value that can stand there. The request's path
    /// is normalised, so that nothing in it reads as a host.
    pub(crate) fn reply(&self, asked: &RouteQuery<'_>, client: &ClientFacts) -> Result<Reply, Reply> {
        let location = match &self.location {
            Some(location) => location.location(asked),
            None => self.changed(asked, client),
        };
        let location = location.map_err(unmapped)?;
        let fields = format!("Location: {location}\r\n").into_bytes();
        let (status, body) = (self.status, ReplyBody::Standard);
        Ok(Reply { status, fields, body, cause: None, counter: None, error: None })
    }

    /// The request's URL with what changes of it.
    fn changed(&self, asked: &RouteQuery<'_>, client: &ClientFacts) -> Result<String, MapFault> {
        let path = asked.path;
        let mut location = String::new();
        let elsewhere = self.scheme.is_some() || self.host.is_some() || self.port.is_some();
        let own = self.host.as_ref().map(|host| host_of(host, asked)).transpose()?;
        let host = own.as_deref().or(asked.host.map(host_name));
        // Without a host, as HTTP/1.0 may be, the path alone has to do.
        if let Some(host) = host.filter(|_| elsewhere) {
            let scheme = self.scheme.unwrap_or(client.proto());
            location.push_str(scheme);
            location.push_str("://");
            location.push_str(host);
            let kept = asked.host.filter(|_| scheme == client.proto());
            let kept = kept.and_then(|authority| authority[host_name(authority).len()..].strip_prefix(':'));
            let port = self.port.or(kept.and_then(|port| port.parse().ok()));
            let usual = if scheme == "https" { 443 } else { 80 };
            if let Some(port) = port.filter(|port| *port != usual) {
                location.push_str(&format!(":{port}"));
            }
        }
        let path = match &self.path {
            Rewrite::Mapped(text) => Cow::Owned(text.path(asked)?),
            _ if path == "*" => "/".into(),
            rewrite => rewrite.apply(path),
        };
        if !path.starts_with('/') {
            location.push('/');
        }
        location.push_str(&path);
        if let Some(query) = asked.query {
            location.push('?');
            location.push_str(query);
        }
        Ok(location)
    }
}

fn host_of<'t>(host: &'t MapText, asked: &RouteQuery<'_>) -> Result<Cow<'t, str>, MapFault> {
    host.plain().map_or_else(|| host.host(asked).map(Cow::Owned), Ok)
}

/// The refusal of a request for which a map has no value, or none that can be used.
#[cold]
pub(crate) fn unmapped(fault: MapFault) -> Reply {
    match fault {
        MapFault::NoValue => Reply::refusal(404, "no map has a target for the request"),
        MapFault::IsNo(what) => Reply {
            error: Some("proxy_configuration_error"),
            ..Reply::refusal(500, format!("a map's value for the request is no {what}"))
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_that_are_spread_give_each_its_weight() {
        let split = Split::new([(4, 9), (2, 1), (7, 90)]);
        let mut counts = [0; 8];
        for number in 0..1000_u64 {
            counts[split.pick(number.wrapping_mul(0x9E37_79B9_7F4A_7C15))] += 1;
        }
        assert_eq!((counts[4] / 5, counts[2] / 5, counts[7] / 5), (18, 2, 180));
        assert_eq!((split.pick(0), split.pick(u64::MAX)), (4, 7));
        let mut counts = [0; 8];
        for number in 0..1000_u64 {
            let point = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            assert_eq!(split.pick_where(point, |_| true), Some(split.pick(point)));
            counts[split.pick_where(point, |upstream| upstream != 7).unwrap()] += 1;
        }
        assert_eq!(counts, [0, 0, 100, 0, 900, 0, 0, 0], "their shares among themselves");
        assert_eq!(split.pick_where(5, |_| false), None);
    }
}
