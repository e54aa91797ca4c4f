//! The content of a URL, within bounds, by the means of a probe: blocking, with the same TLS as backends have.

use std::fmt::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::build;
use super::probe::{Call, Target, invoke};
use crate::config::backend_url::BackendUrl;
use crate::config::parse;

/// The longest that a fetch takes, for each address of the server.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is fetched, and how.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    /// The URL.
    pub(super) url: &'a str,
    /// As an upstream's; empty: the system's roots.
    pub(super) trust: &'a [String],
    /// Where names in `trust` are found.
    pub(super) store: &'a Path,
    /// The method.
    pub(super) method: &'a str,
    /// Fields of the request.
    pub(super) fields: &'a [(&'a str, &'a str)],
    /// The content of the request.
    pub(super) body: &'a [u8],
}

/// Why there is no content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FetchError {
    /// The response has another status than 200.
    Status(u16),
    /// In words.
    Failed(String),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "the response is {status}"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

/// The content of the response.
///
/// # Errors
/// There is no response of 200 within the bounds.
pub(super) fn fetch(wanted: &Wanted<'_>) -> Result<Vec<u8>, FetchError> {
    let Wanted { url, trust, store, method, fields, body } = wanted;
    let (base, query) = url.split_once('?').map_or((*url, None), |(base, query)| (base, Some(query)));
    let parsed = BackendUrl::parse(base).map_err(FetchError::Failed)?;
    // The URL becomes an upstream of a config that has nothing else: it is built and checked as any other.
    let text = |value: &str| Value::from(value).to_string();
    let mut config = format!(
        "[[listener]]\nname = \"fetch\"\naddress = \"127.0.0.1:0\"\n[[route]]\nupstream = \"url\"\n\
         [store]\npath = {}\n[upstream.url]\nendpoints = [{}]\n",
        text(&store.display().to_string()),
        text(&parsed.endpoint),
    );
    if parsed.https {
        let _ = writeln!(config, "[upstream.url.tls]\nserver_name = {}", text(parsed.host()));
        if !trust.is_empty() {
            let trust: Vec<String> = trust.iter().map(|named| text(named)).collect();
            let _ = writeln!(config, "trust = [{}]", trust.join(", "));
        }
    }
    let words = |problems: &crate::config::Diagnostics| {
        let messages: Vec<String> = problems.iter().map(|problem| problem.message.to_string()).collect();
        FetchError::Failed(messages.join("; "))
    };
    let plan = parse(url, &config, Path::new(".")).map_err(|problems| words(&problems))?;
    let mut problems = crate::config::Diagnostics::new(*url, &config);
    let assembly = build(&plan, None, &mut problems).ok_or_else(|| words(&problems))?;
    let nowhere = || FetchError::Failed("there is no address".to_owned());
    let upstream = assembly.running.upstreams.first().ok_or_else(nowhere)?;
    let default = if parsed.https { ":443" } else { ":80" };
    let call = Call {
        method: (*method).to_owned(),
        target: query.map_or_else(|| parsed.base.clone(), |query| format!("{}?{query}", parsed.base)),
        host: parsed.endpoint.strip_suffix(default).unwrap_or(&parsed.endpoint).to_owned(),
        fields: fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        body: body.to_vec(),
    };
    let mut why = FetchError::Failed("the name does not resolve".to_owned());
    for target in Target::of_upstream(upstream, true, None) {
        let invoked = invoke(&Target { timeout: PATIENCE, ..target }, &call);
        why = match invoked.response {
            Some(response) if response.truncated => FetchError::Failed("the response is too long".to_owned()),
            Some(response) if response.status != 200 => FetchError::Status(response.status),
            Some(response) => return Ok(response.content()),
            None => FetchError::Failed(invoked.report.problem.unwrap_or_else(|| "no response".to_owned())),
        };
    }
    Err(why)
}
