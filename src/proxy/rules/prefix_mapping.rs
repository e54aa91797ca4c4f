//! `strip_prefix`, `rewrite_prefix`, and another Host for the backend: what that says of its own paths and of its own name,
//! changed back into those that its clients use.
//!
//! Location and Refresh (of the same origin alone), and Path and Domain of cookies.

use crate::http::{ResponseHead, put_line};

/// The path's prefix on either side, without a slash at its end. Both are empty where only the host differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixMapping {
    /// As clients see it: `/app`.
    outer: String,
    /// As the backend sees it; empty: it has none.
    inner: String,
}

/// The fields that are changed.
const FIELDS: [&str; 3] = ["location", "refresh", "set-cookie"];

/// What is changed of a response.
#[derive(Debug)]
pub(super) struct MappedFields {
    names: [bool; 3],
    /// The fields in their new form: whole lines.
    pub(super) lines: Vec<u8>,
}

impl MappedFields {
    /// Whether the backend's own fields of this name are left out.
    pub(super) fn removes(&self, name: &[u8]) -> bool {
        FIELDS
            .iter()
            .zip(self.names)
            .any(|(known, changed)| changed && name.eq_ignore_ascii_case(known.as_bytes()))
    }
}

impl PrefixMapping {
    /// `outer` is the route's path, `inner` what stands in its place.
    pub(crate) fn new(outer: &str, inner: &str) -> Self {
        Self { outer: outer.trim_end_matches('/').to_owned(), inner: inner.trim_end_matches('/').to_owned() }
    }

    /// What is changed of a response to a request for one of `hosts`; `None`: nothing.
    pub(super) fn change(&self, head: &ResponseHead<'_, '_>, hosts: &[&str]) -> Option<MappedFields> {
        let mut changed = MappedFields { names: [false; 3], lines: Vec::new() };
        for (at, name) in FIELDS.into_iter().enumerate() {
            let values = head.fields.all(name);
            let new: Vec<(&[u8], Option<Vec<u8>>)> =
                values.map(|value| (value, self.field(at, value, hosts))).collect();
            if new.iter().all(|(_, new)| new.is_none()) {
                continue;
            }
            changed.names[at] = true;
            let spelled = ["Location", "Refresh", "Set-Cookie"][at];
            for (old, new) in &new {
                put_line(spelled, new.as_deref().unwrap_or(old), &mut changed.lines);
            }
        }
        changed.names.contains(&true).then_some(changed)
    }

    fn field(&self, at: usize, value: &[u8], hosts: &[&str]) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(value).ok()?;
        let new = match at {
            0 => self.reference(text, hosts)?,
            1 => {
                let (start, reference) = text.split_at(text.to_ascii_lowercase().find("url=")? + 4);
                format!("{start}{}", self.reference(reference, hosts)?)
            }
            _ => self.cookie(text, hosts)?,
        };
        Some(new.into_bytes())
    }

    /// A reference of the same origin (RFC 3986 §4.2) in its new form; `None`: it stays. The first of `hosts` is the client's,
    /// the others are the backend's.
    fn reference(&self, text: &str, hosts: &[&str]) -> Option<String> {
        // Only what stands in front of a path or query can be a scheme (RFC 3986 §3.1): a query may have a URL in it.
        let absolute = text.split_once("://").filter(|(scheme, _)| !scheme.contains(['/', '?', '#']));
        let Some((scheme, rest)) = absolute else { return self.path(text) };
        let is_https = scheme.eq_ignore_ascii_case("https");
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let is_http = is_https || scheme.eq_ignore_ascii_case("http");
        let place = hosts.iter().position(|host| host.eq_ignore_ascii_case(authority));
        let place = place.filter(|_| is_http && !authority.is_empty())?;
        let (base, path) = text.split_at(scheme.len() + 3 + authority.len());
        if path.starts_with("//") {
            return None; // alone it would name a host
        }
        match place {
            // Its scheme may be what the client is sent to. Of http it is the backend's, which knows no other.
            0 if is_https => Some(format!("{base}{}", self.path(path)?)),
            0 => self.path(path),
            _ if path.starts_with('/') => Some(self.path(path).unwrap_or_else(|| path.to_owned())),
            _ => {
                let root = self.path("/").unwrap_or_else(|| "/".to_owned());
                Some(format!("{root}{path}"))
            }
        }
    }

    /// A path that the backend has, as clients see it. One that has their prefix already stays.
    fn path(&self, path: &str) -> Option<String> {
        if self.outer == self.inner || !path.starts_with('/') || path.starts_with("//") {
            return None;
        }
        if below(path, &self.outer).is_some() && !self.outer.is_empty() {
            return None;
        }
        let rest = below(path, &self.inner)?;
        let new = format!("{}{rest}", self.outer);
        Some(if new.is_empty() { "/".to_owned() } else { new })
    }

    /// A cookie (RFC 6265 §4.1): its Path is changed, and a Domain that is one of `hosts` is left out, so that the cookie is
    /// that of the client's host.
    fn cookie(&self, text: &str, hosts: &[&str]) -> Option<String> {
        let mut changed = false;
        let mut parts: Vec<String> = Vec::new();
        for (at, part) in text.split(';').enumerate() {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (name, value) = (name.trim(), value.trim());
            if at > 0 && name.eq_ignore_ascii_case("path") && value.starts_with('/') {
                if let Some(new) = self.path(value) {
                    changed = true;
                    parts.push(format!(" {name}={new}"));
                    continue;
                }
            } else if at > 0 && name.eq_ignore_ascii_case("domain") {
                let domain = value.trim_start_matches('.');
                let is_domain = |host: &str| host_of(host).eq_ignore_ascii_case(domain);
                let (own, others) = hosts.split_first().map_or(("", &[][..]), |(own, others)| (*own, others));
                // Of the client's own host it may stay.
                if !is_domain(own) && others.iter().any(|host| host_of(host).eq_ignore_ascii_case(domain)) {
                    changed = true;
                    continue;
                }
            }
            parts.push(part.to_owned());
        }
        changed.then(|| parts.join(";"))
    }
}

/// A host without its port.
fn host_of(authority: &str) -> &str {
    authority.rsplit_once(':').filter(|(host, _)| !host.ends_with(':')).map_or(authority, |(host, _)| host)
}

/// The rest of a path behind a prefix, at a segment's boundary.
fn below<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with(['/', '?', '#'])).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_of_the_same_origin_get_the_prefix() {
        let strip = PrefixMapping::new("/app", "");
        let other = PrefixMapping::new("/app/", "/v2");
        let host = PrefixMapping::new("", "");
        let hosts = ["example.com", "backend.internal:8080"];
        for (mapping, from, to) in [
            (&strip, "/x?y#z", Some("/app/x?y#z")),
            (&strip, "/", Some("/app/")),
            (&strip, "/app/x", None),
            (&strip, "/apple", Some("/app/apple")),
            (&strip, "x/y", None),
            (&strip, "//evil.example/x", None),
            (&strip, "/login?next=http://example.com/x", Some("/app/login?next=http://example.com/x")),
            (&strip, "/a#b://c", Some("/app/a#b://c")),
            (&host, "/login?next=http://backend.internal:8080/x", None),
            (&strip, "http://example.com/x", Some("/app/x")),
            (&strip, "https://EXAMPLE.com", None),
            (&strip, "https://EXAMPLE.com/x", Some("https://EXAMPLE.com/app/x")),
            (&strip, "https://example.com/app/x", None),
            (&strip, "http://backend.internal:8080/x", Some("/app/x")),
            (&strip, "https://backend.internal:8080/app/x", Some("/app/x")),
            (&strip, "http://backend.internal:8080", Some("/app/")),
            (&strip, "http://backend.internal:8080?q", Some("/app/?q")),
            (&strip, "http://backend.internal:8081/x", None),
            (&host, "/x", None),
            (&host, "http://example.com/x", None),
            (&host, "https://example.com/x", None),
            (&host, "http://backend.internal:8080/x?y", Some("/x?y")),
            (&host, "https://backend.internal:8080", Some("/")),
            (&host, "http://backend.internal:8080//evil.example/x", None),
            (&strip, "http://backend.internal:8080//evil.example/x", None),
            (&host, "http://other.example/x", None),
            (&strip, "http://other.example/x", None),
            (&strip, "mailto:a@b", None),
            (&other, "/v2/x", Some("/app/x")),
            (&other, "/v2", Some("/app")),
            (&other, "/v3/x", None),
        ] {
            assert_eq!(mapping.reference(from, &hosts).as_deref(), to, "{from}");
        }
    }

    #[test]
    fn cookies_are_those_of_the_clients_path_and_host() {
        let strip = PrefixMapping::new("/app", "");
        let hosts = ["example.com", "backend.internal:8080"];
        for (from, to) in [
            ("a=b; Path=/; HttpOnly", Some("a=b; Path=/app/; HttpOnly")),
            ("a=b; path=/x", Some("a=b; path=/app/x")),
            ("a=b; Path=/app", None),
            ("a=/; Secure", None),
            ("path=/; Secure", None),
            ("a=b; Domain=backend.internal; Secure", Some("a=b; Secure")),
            ("a=b; Domain=.example.com", None),
            ("a=b; Domain=other.example", None),
        ] {
            assert_eq!(strip.cookie(from, &hosts).as_deref(), to, "{from}");
        }
        let host = PrefixMapping::new("", "");
        assert_eq!(
            host.cookie("a=b; Path=/; Domain=backend.internal", &hosts).as_deref(),
            Some("a=b; Path=/")
        );
        assert_eq!(host.cookie("a=b; Path=/", &hosts), None);
    }
}
