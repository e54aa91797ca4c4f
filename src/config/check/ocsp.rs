//! `ocsp` of `[listener.tls]`

use std::path::Path;

use crate::config::backend_url::BackendUrl;
use crate::config::file::Value;
use crate::config::plan::{At, Ocsp};
use crate::config::suggest::quoted;
use crate::config::units::Wrong;

use super::path;

pub(super) fn ocsp(value: &Value<'_>, dir: &Path) -> Option<Ocsp> {
    let mut section = value.section()?;
    let (file, fetch, url) = (section.get("file"), section.get("fetch"), section.get("url"));
    section.finish();
    let is_fetched = fetch.as_ref().and_then(Value::boolean).unwrap_or(false);
    if let Some(url) = url.as_ref().filter(|_| !is_fetched) {
        url.error("it is where responses are fetched from, and none are", Some("add `fetch = true`".into()));
    }
    match (file, is_fetched) {
        (Some(file), true) => {
            let help = "leave out one of `file` and `fetch`";
            file.error("the response is from a file, or fetched", Some(help.into()));
            None
        }
        (Some(file), false) => {
            let files = file.one_or_more("\"web.ocsp\"")?;
            let files: Vec<_> = files.iter().filter_map(|file| path(file, dir, "\"web.ocsp\"")).collect();
            (!files.is_empty()).then_some(Ocsp::Files(files))
        }
        (None, true) => Some(Ocsp::Fetch {
            url: url
                .and_then(|url| url.parse("\"http://ocsp.example\"", responder))
                .map(|at| At { value: at.value.to_owned(), span: at.span }),
        }),
        (None, false) => {
            if fetch.is_none() {
                let help = "write `{ file = \"web.ocsp\" }` or `{ fetch = true }`";
                value.error("it says not where responses are from", Some(help.into()));
            }
            None
        }
    }
}

fn responder(text: &str) -> Result<&str, Wrong> {
    let parsed = BackendUrl::parse(text).map_err(Wrong::new)?;
    match parsed.https {
        false => Ok(text),
        true => Err(Wrong::new(format!("{} is https", quoted(text)))
            .help("responses are signed: responders answer over http (RFC 6960 §A.1), as verifying TLS might need OCSP itself")),
    }
}
