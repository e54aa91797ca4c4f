//! The content of a form: `multipart/form-data` (RFC 7578) or `application/x-www-form-urlencoded`. All of it is at hand, within
//! the bounds that the worker keeps.

use bytes::Bytes;
use futures_util::{FutureExt as _, stream};
use multer::{Constraints, Multipart, SizeLimit};

use crate::base::limits::MAX_PORTAL_FORM_BYTES;

/// Most fields.
const MAX_FIELDS: usize = 32;

/// The fields of a form, in their order.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads a form. `None`: it is none.
    pub(super) fn read(media_type: &str, content: Vec<u8>) -> Option<Self> {
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            let pairs = form_urlencoded::parse(&content).take(MAX_FIELDS);
            return Some(Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect()));
        }
        let boundary = multer::parse_boundary(media_type).ok()?;
        // Nothing is waited for: the content is here.
        multipart(boundary, content).now_or_never()?
    }

    /// The text of a field, without spaces around it; empty where it is missing.
    pub(super) fn text(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(known, value)| known == name && !value.trim().is_empty());
        found.map_or("", |(_, value)| value.trim())
    }
}

async fn multipart(boundary: String, content: Vec<u8>) -> Option<Fields> {
    let limit = SizeLimit::new().whole_stream(MAX_PORTAL_FORM_BYTES as u64);
    let whole = stream::iter([Ok::<_, std::io::Error>(Bytes::from(content))]);
    let mut parts = Multipart::with_constraints(whole, boundary, Constraints::new().size_limit(limit));
    let mut fields = Vec::new();
    while let Some(part) = parts.next_field().await.ok()? {
        let name = part.name()?.to_owned();
        // A file may be anything: what is no text is none of what is asked for.
        let value = String::from_utf8_lossy(&part.bytes().await.ok()?).into_owned();
        fields.push((name, value));
        if fields.len() > MAX_FIELDS {
            return None;
        }
    }
    Some(Fields(fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_encodings_are_read_and_what_is_neither_is_refused() {
        let plain =
            Fields::read("application/x-www-form-urlencoded", b"name=a+b%3C&code=&code=x".to_vec()).unwrap();
        assert_eq!((plain.text("name"), plain.text("code"), plain.text("other")), ("a b<", "x", ""));
        let part = |name: &str, value: &str| {
            format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let file = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.pem\"\r\n\
                    Content-Type: application/octet-stream\r\n\r\n-----BEGIN\r\n\r\n--B--\r\n";
        let text = part("name", " Ann ") + &part("pem", "") + file;
        let multipart = Fields::read("multipart/form-data; boundary=B", text.into_bytes()).unwrap();
        assert_eq!((multipart.text("name"), multipart.text("file")), ("Ann", "-----BEGIN"));
        let cut = part("name", "Ann").into_bytes();
        let many = (0..=MAX_FIELDS).map(|_| part("a", "b")).collect::<String>() + "--B--\r\n";
        for (media_type, content) in [
            ("text/plain", b"name=a".to_vec()),
            ("multipart/form-data", b"--B--".to_vec()),
            ("multipart/form-data; boundary=B", cut),
            ("multipart/form-data; boundary=B", b"\xff\x00".to_vec()),
            ("multipart/form-data; boundary=B", many.into_bytes()),
        ] {
            assert!(Fields::read(media_type, content).is_none(), "{media_type}");
        }
    }
}
