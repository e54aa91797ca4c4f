//! `--resolve HOST:PORT:ADDRESS`: addresses of names, given on the command line in the place of any lookup.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::OnceLock;

static GIVEN: OnceLock<HashMap<(String, u16), Vec<IpAddr>>> = OnceLock::new();

/// Takes what the command line gives, once.
///
/// # Errors
/// One of them has another form; in words.
pub(crate) fn set(given: &[String]) -> Result<(), String> {
    let mut all: HashMap<(String, u16), Vec<IpAddr>> = HashMap::new();
    for text in given {
        let (name, addresses) = parse(text).ok_or_else(|| {
            format!("--resolve {text}: write HOST:PORT:ADDRESS[,ADDRESS], with an IPv6 address in brackets")
        })?;
        all.entry(name).or_default().extend(addresses);
    }
    let _ = GIVEN.set(all);
    Ok(())
}

fn parse(text: &str) -> Option<((String, u16), Vec<IpAddr>)> {
    let (host, rest) = text.split_once(':')?;
    let (port, addresses) = rest.split_once(':')?;
    let bare = |address: &str| {
        let inner = address.strip_prefix('[').and_then(|address| address.strip_suffix(']'));
        inner.unwrap_or(address).parse().ok()
    };
    let addresses = addresses.split(',').map(bare).collect::<Option<Vec<IpAddr>>>()?;
    (!host.is_empty()).then_some(((host.to_ascii_lowercase(), port.parse().ok()?), addresses))
}

/// The addresses that were given for a name.
pub(crate) fn addresses(host: &str, port: u16) -> Option<Vec<IpAddr>> {
    GIVEN.get()?.get(&(host.to_ascii_lowercase(), port)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_that_of_curl() {
        let name = || ("app.test".to_owned(), 80);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(parse("App.test:80:127.0.0.1"), Some((name(), vec![address("127.0.0.1")])));
        let both = vec![address("::1"), address("127.0.0.2")];
        assert_eq!(parse("app.test:80:[::1],127.0.0.2"), Some((name(), both)));
        for text in
            ["app.test:80", "app.test:127.0.0.1", ":80:127.0.0.1", "app.test:x:127.0.0.1", "app.test:80:"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
