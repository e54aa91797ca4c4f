//! Origins of web pages (RFC 6454 §6.2), as a credential names them: exact ones alone.

use std::net::{Ipv4Addr, Ipv6Addr};

/// An origin in the form that browsers send it: `https://app.example.com[:8443]`, in lower case.
///
/// # Errors
/// Why it is none, and what to write.
pub(super) fn parse(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text == "*" || text == "null" {
        return Err("any page, or one of unknown origin, may not be named: name each origin".to_owned());
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(format!("the scheme is missing: did you mean \"https://{text}\"?"));
    };
    let scheme = scheme.to_ascii_lowercase();
    let starts = scheme.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if !starts || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) {
        return Err("its scheme is none".to_owned());
    }
    if let Some((authority, _)) = rest.split_once(['/', '?', '#']) {
        return Err(format!("it has a path: did you mean \"{scheme}://{authority}\"?"));
    }
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    let host = host.to_ascii_lowercase();
    if !is_host(&host) {
        return Err("its host is neither a name nor an address; patterns are not supported".to_owned());
    }
    let usual = match scheme.as_str() {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    Ok(match port {
        None => format!("{scheme}://{host}"),
        Some(port) => match port.parse::<u16>() {
            Ok(0) | Err(_) => return Err("its port is none".to_owned()),
            // Browsers leave it out.
            Ok(port) if Some(port) == usual => format!("{scheme}://{host}"),
            Ok(port) => format!("{scheme}://{host}:{port}"),
        },
    })
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    let is_name = !host.is_empty() && host.len() <= 253 && host.bytes().all(plain);
    is_name && host.split('.').all(|label| !label.is_empty() && label.len() <= 63)
        || host.parse::<Ipv4Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn an_origin_has_the_form_that_browsers_send() {
        for (text, origin) in [
            ("https://app.example", "https://app.example"),
            ("HTTPS://App.Example:443", "https://app.example"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("https://[::1]:8443", "https://[::1]:8443"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(origin), "{text}");
        }
        for text in [
            "*",
            "null",
            "app.example",
            "https://",
            "https://a/b",
            "https://*.example",
            "https://a:0",
            "https://a:99999",
            "https://a b",
            "https://a\r\nX: y",
            "://a",
            "https://a..b",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
