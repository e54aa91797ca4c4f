//! Conditions put together: all, any or none of several, and those that are about no field or parameter.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::condition::{Condition, Expected, Mixed, Part, RouteQuery};
use super::map::{Map, MapRef};
use super::pattern::{HostPattern, PathPattern};
use crate::base::network::Network;

/// What must hold of a request beside host, path and method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clause {
    /// One condition on a field, a parameter or a cookie.
    Is(Condition),
    /// The method is one of these.
    Method(Vec<String>),
    /// The host is one of these.
    Host(Vec<HostPattern>),
    /// One of these matches the path.
    Path(Vec<PathPattern>),
    /// The value that a map has for the request is as expected; an empty one counts as absent.
    Map(MapRef, Expected),
    /// The client's address is in one of these networks.
    Client(Vec<Network>),
    /// All of these hold.
    All(Vec<Self>),
    /// One of these holds.
    Any(Vec<Self>),
    /// This does not hold.
    Not(Box<Self>),
}

impl Clause {
    /// Whether a request meets it. A preflight does if the request that it announces may.
    pub(crate) fn holds(&self, asked: &RouteQuery<'_>) -> bool {
        self.can_be(asked, true, Mixed::Unmet)
    }

    /// Whether a request meets it by one of the values that a backend may read, where it gives several of a name.
    pub(crate) fn may_hold(&self, asked: &RouteQuery<'_>) -> bool {
        self.can_be(asked, true, Mixed::Unknown)
    }

    /// Whether it is `wanted`, or may be, where not all is known of the request.
    fn can_be(&self, asked: &RouteQuery<'_>, wanted: bool, mixed: Mixed) -> bool {
        match self {
            Self::Is(condition) => condition.verdict(asked, mixed).is_none_or(|verdict| verdict == wanted),
            Self::Method(methods) => methods.iter().any(|method| method == asked.method) == wanted,
            Self::Map(map, expected) => {
                let is_met = |value: &str| match expected {
                    Expected::Present => !value.is_empty(),
                    Expected::Absent => value.is_empty(),
                    expected => expected.is_met(value.as_bytes()),
                };
                !map.is_known(asked)
                    || match mixed {
                        Mixed::Unmet => map.with(asked, is_met) == wanted,
                        Mixed::Unknown => map.any(asked, |value| is_met(value) == wanted),
                    }
            }
            Self::Host(hosts) => hosts.iter().any(|host| host.matches(asked.host)) == wanted,
            Self::Path(paths) => paths.iter().any(|path| path.matches(asked.path)) == wanted,
            Self::Client(networks) => {
                let address = asked.client.parse::<IpAddr>();
                let is_in = address.is_ok_and(|address| networks.iter().any(|it| it.contains(address)));
                is_in == wanted
            }
            Self::All(clauses) if wanted => clauses.iter().all(|clause| clause.can_be(asked, true, mixed)),
            Self::All(clauses) => clauses.iter().any(|clause| clause.can_be(asked, false, mixed)),
            Self::Any(clauses) if wanted => clauses.iter().any(|clause| clause.can_be(asked, true, mixed)),
            Self::Any(clauses) => clauses.iter().all(|clause| clause.can_be(asked, false, mixed)),
            Self::Not(clause) => clause.can_be(asked, !wanted, mixed),
        }
    }

    /// Binds the maps that it asks, in all of its parts.
    pub(crate) fn bind(&mut self, maps: &[Arc<Map>]) {
        match self {
            Self::Map(map, _) => map.bind(maps),
            Self::All(clauses) | Self::Any(clauses) => {
                clauses.iter_mut().for_each(|clause| clause.bind(maps));
            }
            Self::Not(clause) => clause.bind(maps),
            Self::Is(_) | Self::Method(_) | Self::Host(_) | Self::Path(_) | Self::Client(_) => {}
        }
    }

    /// Shows each map that it asks.
    pub(crate) fn visit_maps<'c>(&'c self, seen: &mut dyn FnMut(&'c MapRef)) {
        match self {
            Self::Map(map, _) => seen(map),
            Self::All(clauses) | Self::Any(clauses) => {
                clauses.iter().for_each(|clause| clause.visit_maps(seen));
            }
            Self::Not(clause) => clause.visit_maps(seen),
            Self::Is(_) | Self::Method(_) | Self::Host(_) | Self::Path(_) | Self::Client(_) => {}
        }
    }

    /// Whether it is on a header field.
    pub(super) fn is_on_header(&self) -> bool {
        matches!(self, Self::Is(condition) if condition.part == Part::Header)
    }

    /// Whether it compares a value whole: of two such it is known whether one request can meet both.
    pub(super) fn is_plain(&self) -> bool {
        let plain = |expected: &Expected| {
            matches!(expected, Expected::Value(_) | Expected::Present | Expected::Absent)
        };
        matches!(self, Self::Is(condition) if plain(&condition.expected))
    }

    /// Whether no request can meet both.
    pub(super) fn excludes(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Is(one), Self::Is(two)) if one.excludes(two))
    }
}

impl fmt::Display for Clause {
    /// `x-canary: 1`; `not (a: 1 and b: 2)`; `method GET or POST`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined =
            |f: &mut fmt::Formatter<'_>, parts: &[String], word: &str| f.write_str(&parts.join(word));
        let texts = |clauses: &[Self]| clauses.iter().map(ToString::to_string).collect::<Vec<_>>();
        match self {
            Self::Is(condition) => condition.fmt(f),
            Self::Method(methods) => {
                f.write_str("method ")?;
                joined(f, methods, " or ")
            }
            Self::Map(map, expected) => write!(f, "{map} {expected:?}"),
            Self::Host(hosts) => {
                f.write_str("host ")?;
                joined(f, &hosts.iter().map(ToString::to_string).collect::<Vec<_>>(), " or ")
            }
            Self::Path(paths) => {
                f.write_str("path ")?;
                joined(f, &paths.iter().map(ToString::to_string).collect::<Vec<_>>(), " or ")
            }
            Self::Client(networks) => {
                f.write_str("client ")?;
                joined(f, &networks.iter().map(ToString::to_string).collect::<Vec<_>>(), " or ")
            }
            Self::All(clauses) => joined(f, &texts(clauses), " and "),
            Self::Any(clauses) => write!(f, "({})", texts(clauses).join(" or ")),
            Self::Not(clause) => write!(f, "not ({clause})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Field;

    fn header(name: &str, expected: Expected) -> Clause {
        Clause::Is(Condition { part: Part::Header, name: name.into(), expected })
    }

    fn asked<'r>(headers: &'r [Field<'r>], announced: Option<&'r [u8]>) -> RouteQuery<'r> {
        RouteQuery {
            host: Some("A.example:80"),
            path: "/a/b",
            query: None,
            method: "GET",
            client: "10.1.2.3",
            headers,
            announced,
        }
    }

    #[test]
    fn clauses_are_put_together() {
        let fields = [Field { name: "x-a", value: b"1" }];
        let asked = asked(&fields, None);
        let (yes, no) = (header("x-a", Expected::Value("1".into())), header("x-a", Expected::Absent));
        for (clause, holds) in [
            (yes.clone(), true),
            (no.clone(), false),
            (Clause::Not(Box::new(no.clone())), true),
            (Clause::All(vec![yes.clone(), no.clone()]), false),
            (Clause::Any(vec![no.clone(), yes.clone()]), true),
            (Clause::Not(Box::new(Clause::All(vec![yes.clone(), no.clone()]))), true),
            (Clause::Not(Box::new(Clause::Any(vec![yes, no]))), false),
            (Clause::Method(vec!["PUT".into(), "GET".into()]), true),
            (Clause::Client(vec!["10.0.0.0/8".parse().expect("a network")]), true),
            (Clause::Client(vec!["192.0.2.1".parse().expect("a network")]), false),
            (Clause::Host(vec![HostPattern::Exact("a.example".into())]), true),
            (Clause::Host(vec![HostPattern::Wildcard("example".into())]), true),
            (Clause::Host(vec![HostPattern::Wildcard("a.example".into())]), false),
            (Clause::Path(vec![PathPattern::Prefix("/a".into())]), true),
            (Clause::Path(vec![PathPattern::Prefix("/a/".into())]), true),
            (Clause::Path(vec![PathPattern::Prefix("/".into())]), true),
            (Clause::Path(vec![PathPattern::Prefix("/a/bc".into())]), false),
            (Clause::Path(vec![PathPattern::Prefix("/a/b/".into())]), true),
            (Clause::Path(vec![PathPattern::Exact("/a".into()), PathPattern::Suffix("/b".into())]), true),
        ] {
            assert_eq!(clause.holds(&asked), holds, "{clause}");
        }
    }

    #[test]
    fn a_doubtful_value_may_hold_or_not() {
        let fields = [Field { name: "x-a", value: b"1" }, Field { name: "x-a", value: b"2" }];
        let asked = asked(&fields, None);
        let value = header("x-a", Expected::Value("1".into()));
        let not = Clause::Not(Box::new(value.clone()));
        assert!(!value.holds(&asked) && not.holds(&asked));
        assert!(value.may_hold(&asked) && not.may_hold(&asked));
        assert!(!Clause::All(vec![value, header("x-b", Expected::Present)]).may_hold(&asked));
    }

    #[test]
    fn what_a_preflight_announces_may_hold_or_not() {
        let value = header("x-a", Expected::Value("1".into()));
        let asked = asked(&[], Some(b"x-a"));
        assert!(value.holds(&asked) && Clause::Not(Box::new(value)).holds(&asked));
        let present = header("x-a", Expected::Present);
        assert!(present.holds(&asked) && !Clause::Not(Box::new(present)).holds(&asked));
        let absent = header("x-a", Expected::Absent);
        assert!(!absent.holds(&asked) && Clause::Not(Box::new(absent)).holds(&asked));
    }
}
