//! What the choice of an endpoint takes from a request's head.

use crate::base::address::UNIX;
use crate::config::plan::{HashBy, StickyBy};
use crate::http::RequestHead;
use crate::proxy::rules::RequestView;
use crate::proxy::upstream::config::Upstream;
use crate::proxy::upstream::request_key::RequestKey;
use crate::route::stable_hash;

/// What an `upstream` needs to know of a request.
pub(crate) fn of(upstream: &Upstream, asked: &RequestView<'_, '_, '_>) -> RequestKey {
    let hashed = upstream.hash_by.as_ref().and_then(|by| value(by, asked));
    let session = upstream.sticky.as_ref().and_then(|sticky| match sticky.by() {
        StickyBy::Cookie(name) => {
            cookies(asked.head, name.as_bytes()).find_map(|token| sticky.session(token))
        }
        StickyBy::Header(name) => sticky.session(asked.head.fields.get(name)?),
    });
    let hash = hashed.filter(|value| !value.is_empty()).map(stable_hash);
    RequestKey { hash, session, ..RequestKey::default() }
}

/// What of the request is hashed, if it has that.
fn value<'a>(by: &HashBy, asked: &RequestView<'a, 'a, 'a>) -> Option<&'a [u8]> {
    match by {
        HashBy::Header(name) => asked.head.fields.get(name),
        HashBy::Cookie(name) => cookies(asked.head, name.as_bytes()).next(),
        HashBy::Query(name) => parameter(asked.head.target.query?, name),
        // Clients on a Unix socket have none.
        HashBy::ClientAddress => Some(asked.address.as_bytes()).filter(|_| asked.address != UNIX),
        HashBy::Path => Some(asked.path.as_bytes()),
    }
}

/// The values of the cookies of this name (RFC 6265 §4.2.1), without their quotes. A client may send several Cookie fields
/// over HTTP/2, and several cookies of a name that were set for different paths.
fn cookies<'a, 'b>(head: &'a RequestHead<'_, 'b>, name: &'a [u8]) -> impl Iterator<Item = &'b [u8]> + 'a {
    let fields = head.fields.iter().filter(|field| field.name.eq_ignore_ascii_case("cookie"));
    let pairs = fields.flat_map(|field| field.value.split(|&byte| byte == b';'));
    let values = pairs.map(<[u8]>::trim_ascii).filter_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"="));
    values.map(|value| value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
}

/// The value of the first parameter of this name, as it is written.
fn parameter<'b>(query: &'b str, name: &str) -> Option<&'b [u8]> {
    let found = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    found.map(str::as_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::Limits;
    use crate::http1::{self, HeadLimits, Parsed};
    use crate::proxy::client::ClientFacts;

    fn hashed(by: &HashBy, head: &str) -> Option<String> {
        let mut slots = http1::header_slots();
        let parsed = http1::parse_request(head.as_bytes(), &mut slots, &HeadLimits::from(&Limits::default()));
        let Ok(Parsed::Complete(received)) = parsed else { panic!("{head}") };
        let client = ClientFacts::new("192.0.2.7".into(), None);
        let (address, id, listener) = ("192.0.2.7", "", "web");
        let asked = RequestView {
            head: &received.head,
            path: "/a/b",
            client: &client,
            address,
            id,
            listener,
            sampled: true,
        };
        value(by, &asked).map(|value| String::from_utf8(value.to_vec()).unwrap())
    }

    #[test]
    fn each_part_of_a_request_is_found() {
        let head = "GET /a/b?x=1&user=k%207&user=2 HTTP/1.1\r\nHost: h\r\nX-User:  ada \r\nX-User: eve\r\n\
            Cookie: a=1; id=\"v=2\";b=3\r\nCookie: late=4\r\nx-empty:\r\n\r\n";
        for (by, value) in [
            (HashBy::Header("x-user".into()), Some("ada")),
            (HashBy::Header("x-none".into()), None),
            (HashBy::Header("x-empty".into()), Some("")),
            (HashBy::Cookie("id".into()), Some("v=2")),
            (HashBy::Cookie("late".into()), Some("4")),
            (HashBy::Cookie("d".into()), None),
            (HashBy::Query("user".into()), Some("k%207")),
            (HashBy::Query("use".into()), None),
            (HashBy::ClientAddress, Some("192.0.2.7")),
            (HashBy::Path, Some("/a/b")),
        ] {
            assert_eq!(hashed(&by, head).as_deref(), value, "{by:?}");
        }
    }
}
