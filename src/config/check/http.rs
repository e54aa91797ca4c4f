//! `listener.http`

use super::traffic;
use crate::base::limits::{MAX_HTTP2_HEADER_LIST_BYTES, MAX_HTTP2_STREAMS, MIN_HTTP2_HEADER_LIST_BYTES};
use crate::config::file::Section;
use crate::config::plan::{ListenerHttp, Protocol};
use crate::config::suggest::quoted;
use crate::config::units::Wrong;

/// The versions of HTTP.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Http1,
    Http2,
}

/// Which versions a listener serves, and the bounds of HTTP/2.
pub(super) fn http(section: &mut Section<'_>, protocol: Protocol) -> ListenerHttp {
    let mut http = ListenerHttp::default();
    let Some(value) = section.get("http") else { return http };
    traffic::needs_http(&value, protocol);
    let Some(mut section) = value.section() else { return http };
    if let Some(list) = section.get("versions").and_then(|value| value.list("[\"1.1\", \"2\"]")) {
        let versions: Vec<_> = list.iter().filter_map(|entry| entry.parse("\"2\"", version)).collect();
        http.http1 = versions.iter().any(|at| at.value == Version::Http1);
        http.http2 = versions.iter().any(|at| at.value == Version::Http2);
    }
    let streams = section.get("max_concurrent_streams");
    if let Some(most) = streams.and_then(|value| value.number(1..=MAX_HTTP2_STREAMS)) {
        http.max_concurrent_streams = most as u32;
    }
    let range = MIN_HTTP2_HEADER_LIST_BYTES as u64..=MAX_HTTP2_HEADER_LIST_BYTES as u64;
    if let Some(bytes) = section.get("header_list_bytes").and_then(|value| value.size(range)) {
        http.header_list_bytes = bytes as usize;
    }
    section.finish();
    http
}

fn version(text: &str) -> Result<Version, Wrong> {
    match text {
        "1.1" => Ok(Version::Http1),
        "2" => Ok(Version::Http2),
        "3" => Err(Wrong::new("\"3\" is not supported yet".to_owned()).help("leave it out".to_owned())),
        other => {
            let wrong = Wrong::new(format!("{} is not a version of HTTP that Ringate has", quoted(other)));
            let known = match other.trim_start_matches(|c: char| !c.is_ascii_digit()) {
                "1.1" | "1" | "1.0" => "1.1",
                "2" | "2.0" => "2",
                _ => return Err(wrong.help("write \"1.1\" or \"2\"".to_owned())),
            };
            Err(wrong.help(format!("did you mean \"{known}\"?")))
        }
    }
}
