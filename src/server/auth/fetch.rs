//! The content of an https URL, within bounds, by the means of a probe: blocking, with the same TLS as backends have.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::config::backend_url::BackendUrl;
use crate::config::parse;
use crate::server::build;
use crate::server::probe::{Call, Target, invoke};

/// The longest that a fetch takes, for each address of the server.
const PATIENCE: Duration = Duration::from_secs(5);

/// Fetches `url`. `trust`: as an upstream's; `store`: where names in it are found.
///
/// # Errors
/// There is no response of 200 within the bounds; in words.
pub(super) fn fetch(url: &str, trust: &[String], store: &Path) -> Result<Vec<u8>, String> {
    let (base, query) = url.split_once('?').map_or((url, None), |(base, query)| (base, Some(query)));
    let parsed = BackendUrl::parse(base)?;
    // The URL becomes an upstream of a config that has nothing else: it is built and checked as any other.
    let text = |value: &str| Value::from(value).to_string();
    let mut config = format!(
        "[[listener]]\nname = \"fetch\"\naddress = \"127.0.0.1:0\"\n[[route]]\nupstream = \"url\"\n\
         [store]\npath = {}\n[upstream.url]\nendpoints = [{}]\n[upstream.url.tls]\nserver_name = {}\n",
        text(&store.display().to_string()),
        text(&parsed.endpoint),
        text(parsed.host())
    );
    if !trust.is_empty() {
        let trust: Vec<String> = trust.iter().map(|named| text(named)).collect();
        let _ = writeln!(config, "trust = [{}]", trust.join(", "));
    }
    let words = |problems: &crate::config::Diagnostics| {
        let messages: Vec<String> = problems.iter().map(|problem| problem.message.to_string()).collect();
        messages.join("; ")
    };
    let plan = parse(url, &config, Path::new(".")).map_err(|problems| words(&problems))?;
    let mut problems = crate::config::Diagnostics::new(url, &config);
    let assembly = build(&plan, None, &mut problems).ok_or_else(|| words(&problems))?;
    let upstream = assembly.running.upstreams.first().ok_or("there is no address")?;
    let authority = parsed.endpoint.strip_suffix(":443").unwrap_or(&parsed.endpoint);
    let target = query.map_or_else(|| parsed.base.clone(), |query| format!("{}?{query}", parsed.base));
    let call = Call {
        method: "GET".to_owned(),
        target,
        host: authority.to_owned(),
        fields: vec![("Accept".to_owned(), "application/json".to_owned())],
        body: String::new(),
    };
    let mut why = "the name does not resolve".to_owned();
    for target in Target::of_upstream(upstream, true, None) {
        let invoked = invoke(&Target { timeout: PATIENCE, ..target }, &call);
        match invoked.response {
            Some(response) if response.truncated => why = "the response is too long".to_owned(),
            Some(response) if response.status != 200 => why = format!("the response is {}", response.status),
            Some(response) => return Ok(response.body.into_bytes()),
            None => why = invoked.report.problem.unwrap_or_else(|| "no response".to_owned()),
        }
    }
    Err(why)
}
