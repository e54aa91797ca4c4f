//! `https://HOST[:PORT][/BASE]`: a backend as people write it.

use super::names;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BackendUrl {
    /// Whether TLS is spoken.
    pub(crate) https: bool,
    /// `HOST:PORT`, as an upstream's endpoint is written.
    pub(crate) endpoint: String,
    /// The path that all of its paths are below; `/` for none. Without a slash at its end.
    pub(crate) base: String,
}

impl BackendUrl {
    /// # Errors
    /// It is no such URL; in words.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let wrong =
            |why: &str| format!("`{url}`: {why}; write https://HOST, https://HOST:PORT or https://HOST/PATH");
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("the scheme is missing"))?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(wrong("the scheme is neither https nor http")),
        };
        if rest.contains(['?', '#', '@', '\\'])
            || rest.contains(|c: char| c.is_whitespace() || c.is_control())
        {
            return Err(wrong("only a host, a port and a path may stand in it"));
        }
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        let has_port = authority.rsplit_once(':').is_some_and(|(host, port)| {
            !port.is_empty()
                && port.bytes().all(|byte| byte.is_ascii_digit())
                && (!host.contains(':') || host.ends_with(']'))
        });
        let endpoint = match (has_port, https) {
            (true, _) => authority.to_owned(),
            (false, true) => format!("{authority}:443"),
            (false, false) => format!("{authority}:80"),
        };
        let checked = names::host_and_port(&endpoint).map_err(|error| wrong(&error.title))?;
        let base = match path.trim_end_matches('/') {
            "" => "/".to_owned(),
            base => base.to_owned(),
        };
        Ok(Self { https, endpoint: checked, base })
    }

    /// Its host, without the brackets of an IPv6 address.
    pub(crate) fn host(&self) -> &str {
        let host = self.endpoint.rsplit_once(':').map_or(&*self.endpoint, |(host, _)| host);
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_has_a_host_a_port_and_a_base() {
        let parsed = |url: &str| BackendUrl::parse(url).map(|it| (it.https, it.endpoint, it.base));
        let expected = |https, endpoint: &str, base: &str| Ok((https, endpoint.to_owned(), base.to_owned()));
        assert_eq!(parsed("https://api.example.com"), expected(true, "api.example.com:443", "/"));
        assert_eq!(parsed("HTTP://10.0.0.1:8080/"), expected(false, "10.0.0.1:8080", "/"));
        assert_eq!(parsed("https://[::1]/v2/"), expected(true, "[::1]:443", "/v2"));
        assert_eq!(parsed("https://[::1]:8443/a/b"), expected(true, "[::1]:8443", "/a/b"));
        for url in [
            "api.example.com",
            "ftp://a",
            "https://",
            "https://a?b",
            "https://u@a",
            "https://a:x",
            "https://a b",
        ] {
            assert!(BackendUrl::parse(url).is_err(), "{url}");
        }
    }
}
