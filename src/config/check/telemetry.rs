//! `[telemetry]`

use std::path::Path;
use std::time::Duration;

use super::backend_tls::trusted;
use super::edits::{field, written};
use crate::config::backend_url::BackendUrl;
use crate::config::file::Section;
use crate::config::plan::{At, Otlp, TrustRef};
use crate::config::units::Wrong;

const EXAMPLE: &str = "\"http://127.0.0.1:4318\"";

/// `telemetry.otlp`, if there is one.
pub(super) fn telemetry(section: Option<Section<'_>>, dir: &Path) -> Option<Otlp> {
    let mut section = section?;
    let otlp = section.section("otlp").and_then(|section| otlp(section, dir));
    section.finish();
    otlp
}

fn otlp(mut section: Section<'_>, dir: &Path) -> Option<Otlp> {
    let parse = |text: &str| BackendUrl::parse(text).map_err(|title| Wrong { title, help: None });
    let endpoint = section.require("endpoint", EXAMPLE).and_then(|value| value.parse(EXAMPLE, parse));
    let sample = section.get("sample").and_then(|value| value.share());
    let mut headers = Vec::new();
    for (name, value) in written(&mut section, "headers") {
        let text = value.text("\"Bearer secret\"");
        headers.extend(field(&value, name.value).zip(text).map(|(name, text)| (name, text.value.to_owned())));
    }
    let trust = section.get("trust");
    let named = trust.as_ref().and_then(|value| value.list("[\"collector-ca\"]"));
    let named: Vec<_> = named.iter().flatten().filter_map(|value| trusted(value, dir)).collect();
    let service = section.get("service").and_then(|value| value.text("\"ringate\""));
    let timeout = section.get("timeout").and_then(|value| value.duration(false));
    section.finish();
    let endpoint = endpoint?;
    if let (false, Some(trust)) = (endpoint.value.https, &trust) {
        let help = "write https in `endpoint`, or leave out `trust`".to_owned();
        trust.error("a collector that is reached by http presents no certificate", Some(help));
    }
    let system = At { value: TrustRef::System, span: endpoint.span.clone() };
    Some(Otlp {
        trust: if trust.is_some() { named } else { vec![system] },
        endpoint,
        millionths: sample.unwrap_or(10_000),
        headers,
        service: service.map_or_else(|| "ringate".to_owned(), |text| text.value.to_owned()),
        timeout: timeout.unwrap_or(Duration::from_secs(10)),
    })
}
