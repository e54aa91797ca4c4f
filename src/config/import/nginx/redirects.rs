//! Where a redirect leads to: URLs with nginx's variables.

use super::super::draft::quoted;
use super::super::values;
use super::maps::Maps;
use super::variables::name_in;

/// `location` of a redirect to a place without parts of the request, but for values of maps. `None`: it has such parts.
pub(super) fn location(url: &str, maps: &Maps) -> Option<String> {
    let same = ["$scheme://$host", "$scheme://$http_host"];
    // The same scheme and host, where a path follows.
    let path = same.iter().find_map(|start| url.strip_prefix(start)).filter(|path| {
        path.starts_with('/')
            || path
                .strip_prefix('$')
                .is_some_and(|rest| maps.values(name_in(rest).0).is_some_and(|values| values.are_paths))
    });
    let found = maps.template(path.unwrap_or(url))?;
    let is_begun = ["/", "http://", "https://", "{map."].iter().any(|start| found.starts_with(start));
    is_begun.then_some(found)
}

/// The keys of a redirect to a URL with `$host` and `$request_uri`, each behind a comma.
pub(super) fn redirect(url: &str, is_tls: bool, maps: &Maps) -> Result<String, String> {
    let mut keys = String::new();
    // The query stays behind the path of a map.
    let path = url.strip_prefix("$scheme://$host").unwrap_or(url);
    let path = path.strip_suffix("$is_args$args").unwrap_or(path);
    if let Some((name, values)) = maps.variable(path) {
        return match values.are_paths {
            true => Ok(format!(", path = {}", quoted(&format!("{{map.{name}}}")))),
            false => Err(format!("${name} has values that are no paths, and the query stays")),
        };
    }
    let rest = match url.split_once("://") {
        Some((scheme, rest)) => {
            match scheme {
                "http" | "https" => keys.push_str(&format!(", scheme = \"{scheme}\"")),
                // The scheme of the request stays.
                "$scheme" => {
                    keys.push_str(if is_tls { ", scheme = \"https\"" } else { ", scheme = \"http\"" })
                }
                other => return Err(format!("{other} is no scheme of a redirect")),
            }
            let end =
                rest.find(['/', '?']).or_else(|| rest.find("$request_uri")).or_else(|| rest.find("$uri"));
            let (host, rest) = rest.split_at(end.unwrap_or(rest.len()));
            let (host, port) = values::host_and_port(host);
            match host {
                "$host" | "$http_host" | "$server_name" => {}
                host if host.contains('$') => return Err(format!("{host} has variables")),
                host => keys.push_str(&format!(", host = {}", quoted(host))),
            }
            if let Some(port) = port {
                keys.push_str(&format!(", port = {port}"));
            }
            rest
        }
        None => url,
    };
    match rest {
        "$request_uri" | "$uri$is_args$args" | "$uri" => {}
        "" | "/" if !keys.is_empty() => keys.push_str(", path = \"/\""),
        path if path.contains('$') => {
            let base = path.strip_suffix("$request_uri").unwrap_or(path);
            if base.contains('$') || base.contains('?') || base == path {
                return Err(format!("{path} has variables"));
            }
            keys.push_str(&format!(", rewrite_prefix = {}", quoted(base)));
        }
        path if path.starts_with('/') && !path.contains('?') => {
            keys.push_str(&format!(", path = {}", quoted(path)))
        }
        path => return Err(format!("{path} is no path of a redirect")),
    }
    if keys.is_empty() {
        return Err("it leads back to the same place".to_owned());
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_become_keys_of_a_redirect() {
        let maps = Maps::of(&[("new", &["/a", ""]), ("mixed", &["/a", "https://b.example/"])]);
        for (url, expected) in [
            ("$new$is_args$args", ", path = \"{map.new}\""),
            ("$scheme://$host$new$is_args$args", ", path = \"{map.new}\""),
            ("https://$host$request_uri", ", scheme = \"https\""),
            ("https://b.example$request_uri", ", scheme = \"https\", host = \"b.example\""),
            (
                "https://b.example:8443/x",
                ", scheme = \"https\", host = \"b.example\", port = 8443, path = \"/x\"",
            ),
            ("/new", ", path = \"/new\""),
            (
                "https://b.example/base$request_uri",
                ", scheme = \"https\", host = \"b.example\", rewrite_prefix = \"/base\"",
            ),
        ] {
            assert_eq!(redirect(url, false, &maps).as_deref(), Ok(expected), "{url}");
        }
        for url in ["https://$host/$1", "$request_uri", "$mixed$is_args$args"] {
            assert!(redirect(url, false, &maps).is_err(), "{url}");
        }
        for (url, expected) in [
            ("$new", Some("{map.new}")),
            ("/new?a=b", Some("/new?a=b")),
            ("https://b.example${new}", Some("https://b.example{map.new}")),
            ("$scheme://$host$new", Some("{map.new}")),
            ("$scheme://$host$mixed", None),
            ("$mixed", Some("{map.mixed}")),
            ("$new$is_args$args", None),
            ("https://$host$request_uri", None),
        ] {
            assert_eq!(location(url, &maps).as_deref(), expected, "{url}");
        }
    }
}
