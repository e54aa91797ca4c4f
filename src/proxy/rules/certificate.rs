//! Whether a client's certificate matches the rule of a route.

use crate::config::plan::{CertificateRule, SanPattern};
use crate::route::HostPattern;
use crate::tls::{ClientCertificate, SanName};

/// Why not, if it is not.
pub(crate) fn check(
    rule: &CertificateRule,
    certificate: Option<&ClientCertificate>,
) -> Result<(), &'static str> {
    let Some(certificate) = certificate else {
        return Err("the client has no certificate");
    };
    let subject = |pattern: &String| glob(pattern, &certificate.subject, subject_unit);
    if !rule.subject.is_empty() && !rule.subject.iter().any(subject) {
        return Err("the subject of the client's certificate is not one of the route's");
    }
    let named = |pattern: &SanPattern| certificate.names.iter().any(|name| is_named(pattern, name));
    if !rule.san.is_empty() && !rule.san.iter().any(named) {
        return Err("no alternative name of the client's certificate is one of the route's");
    }
    Ok(())
}

fn is_named(pattern: &SanPattern, name: &SanName) -> bool {
    match (pattern, name) {
        (SanPattern::Dns(HostPattern::Exact(pattern)), SanName::Dns(name)) => **name == **pattern,
        (SanPattern::Dns(HostPattern::Wildcard(parent)), SanName::Dns(name)) => name
            .strip_suffix(parent.as_str())
            .and_then(|labels| labels.strip_suffix('.'))
            .is_some_and(|labels| !labels.is_empty()),
        (SanPattern::Uri(pattern), SanName::Uri(name)) => glob(pattern, name, uri_unit),
        (SanPattern::Email(pattern), SanName::Email(name)) => pattern.eq_ignore_ascii_case(name),
        (SanPattern::Ip(pattern), SanName::Ip(name)) => pattern == name,
        _ => false,
    }
}

/// Whether `text` is `pattern`, where `*` stands for any number of units; `unit` says how long the one at a text's
/// front is, and that there is none where `*` must end.
///
/// Linear but for the stars: after the last one that fitted it tries again one unit further, as a fixed part that was
/// found early is as good as one found late.
fn glob(pattern: &str, text: &str, unit: fn(&str) -> Option<usize>) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    let mut star: Option<(&str, &str)> = None;
    loop {
        if let Some(rest) = pattern.strip_prefix('*') {
            star = Some((rest, text));
            pattern = rest;
            continue;
        }
        match (pattern.chars().next(), text.chars().next()) {
            (None, None) => return true,
            (Some(ours), Some(theirs)) if ours == theirs => {
                pattern = &pattern[ours.len_utf8()..];
                text = &text[theirs.len_utf8()..];
                continue;
            }
            _ => {}
        }
        // One unit more for the last star, if it may take it.
        let Some((rest, from)) = star else { return false };
        let Some(len) = unit(from) else { return false };
        text = &from[len..];
        pattern = rest;
        star = Some((rest, text));
    }
}

/// A character of an attribute's value: escaped or not, but no separator of attributes.
fn subject_unit(text: &str) -> Option<usize> {
    match text.as_bytes() {
        [] | [b',' | b'+', ..] => None,
        [b'\\', _, ..] => Some(2),
        _ => text.chars().next().map(char::len_utf8),
    }
}

/// A character of a URI's segment.
fn uri_unit(text: &str) -> Option<usize> {
    text.chars().next().filter(|&character| character != '/').map(char::len_utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_in_a_subject_stays_within_its_value() {
        for (pattern, subject, matches) in [
            ("CN=a,O=Example", "CN=a,O=Example", true),
            ("CN=a", "CN=a,O=Example", false),
            ("CN=*,O=Example", "CN=a b,O=Example", true),
            ("CN=*,O=Example", "CN=a,OU=x,O=Example", false),
            ("CN=*,O=Example", "CN=a\\,O=Evil,O=Example", true),
            ("CN=*,O=Example", "CN=a\\,O=Example,O=Evil", false),
            ("CN=*", "CN=a\\,O=Example", true),
            ("CN=*", "CN=a\\\\,O=Example", false),
            ("CN=*", "CN=a+OU=b", false),
            ("CN=a*b*c", "CN=axbxbc", true),
            ("CN=a*b*c", "CN=axbx", false),
            ("CN=*b,O=*", "CN=bbbb,O=c", true),
            ("*", "CN=a,O=b", false),
            ("CN=", "CN=", true),
        ] {
            assert_eq!(glob(pattern, subject, subject_unit), matches, "{pattern} {subject}");
        }
    }

    #[test]
    fn a_star_in_a_uri_stays_within_its_segment() {
        for (pattern, uri, matches) in [
            ("spiffe://a/b", "spiffe://a/b", true),
            ("spiffe://a/*", "spiffe://a/b", true),
            ("spiffe://a/*", "spiffe://a/b/c", false),
            ("spiffe://a/*/c", "spiffe://a/b/c", true),
            ("spiffe://*/c", "spiffe://evil/a/c", false),
            ("spiffe://a/*", "spiffe://a/", true),
            ("spiffe://A/b", "spiffe://a/b", false),
        ] {
            assert_eq!(glob(pattern, uri, uri_unit), matches, "{pattern} {uri}");
        }
    }

    #[test]
    fn a_wildcard_is_for_names_below() {
        let pattern = SanPattern::Dns(HostPattern::Wildcard("partners.example".into()));
        for (name, matches) in [
            ("a.partners.example", true),
            ("a.b.partners.example", true),
            ("partners.example", false),
            (".partners.example", false),
            ("evilpartners.example", false),
        ] {
            assert_eq!(is_named(&pattern, &SanName::Dns(name.into())), matches, "{name}");
        }
    }
}
