//! `[upstream.NAME.tls]`

use std::path::Path;

use crate::config::file::{Section, Value};
use crate::config::names;
use crate::config::plan::{At, TrustRef, UpstreamTls};
use crate::tls::RsaBits;

use super::algorithms::{Algorithms, Serves, algorithms};
use super::{certificate, path, versions};

/// Tickets are kept per endpoint and worker, at a few KiB each.
const MAX_TICKETS: usize = 1024;

pub(super) fn tls(mut section: Section<'_>, dir: &Path) -> UpstreamTls {
    let wrote_versions = section.get("versions").is_some();
    let mut tls = UpstreamTls {
        server_name: section
            .get("server_name")
            .and_then(|value| value.parse("\"orders.internal\"", names::server_name)),
        trust: vec![At { value: TrustRef::System, span: 0..0 }],
        pins: Vec::new(),
        crl: Vec::new(),
        min_rsa_bits: RsaBits::default(),
        insecure_skip_verify: None,
        certificate: None,
        require_client_auth: false,
        versions: versions(&mut section),
        cipher_suites: None,
        groups: None,
        tickets_per_endpoint: 8,
    };
    let presented = section.get("certificate");
    let is_off = presented.as_ref().is_some_and(|value| value.is_boolean());
    match &presented {
        Some(value) if is_off => refuse_true(value),
        Some(value) => tls.certificate = certificate(value, dir),
        None => {}
    }
    let (trust, pins, crl) = (section.get("trust"), section.get("pins"), section.get("crl"));
    if let Some(list) = trust.as_ref().and_then(|value| value.list("[\"system\"]")) {
        tls.trust = list.iter().filter_map(|value| trusted(value, dir)).collect();
    }
    if let Some(list) = pins.as_ref().and_then(|value| value.any_list("[\"sha256/BASE64\"]")) {
        tls.pins = list.iter().filter_map(|value| value.parse("\"sha256/BASE64\"", names::pin)).collect();
    }
    if let Some(list) = crl.as_ref().and_then(|value| value.any_list("[\"ca.crl\"]")) {
        tls.crl = list.iter().filter_map(|value| path(value, dir, "\"ca.crl\"")).collect();
    }
    if let Some(value) = section.get("insecure_skip_verify") {
        skip_verify(&value, [("trust", &trust), ("pins", &pins), ("crl", &crl)], &mut tls);
    }
    if let Some(value) = section.get("min_rsa_bits") {
        tls.min_rsa_bits = rsa_bits(&value).unwrap_or(tls.min_rsa_bits);
    }
    if let Some(value) = section.get("require_client_auth") {
        // An overlay that presents nothing takes back what its upstream demands of that.
        let taken_back = is_off && presented.as_ref().is_some_and(|off| !off.is_beside(&value));
        tls.require_client_auth = value.boolean().unwrap_or(false) && !taken_back;
        if tls.require_client_auth && tls.certificate.is_none() {
            value.error(
                "there is no certificate that the backend could request",
                Some("name one with `certificate`, or leave this out".into()),
            );
        }
    }
    // Without `versions`, suites of one version leave that version alone, as they always did.
    let serves = if wrote_versions { Serves::Each } else { Serves::Any };
    let Algorithms { cipher_suites, groups } = algorithms(&mut section, tls.versions, serves);
    (tls.cipher_suites, tls.groups) = (cipher_suites, groups);
    if let Some(mut section) = section.section("resumption") {
        if let Some(count) =
            section.get("tickets_per_endpoint").and_then(|value| value.number(0..=MAX_TICKETS))
        {
            tls.tickets_per_endpoint = count;
        }
        section.finish();
    }
    section.finish();
    tls
}

/// `certificate = false` is a choice; `true` is none.
fn refuse_true(value: &Value<'_>) {
    if value.boolean() == Some(true) {
        let help = "name one of the store, or write `false` for none";
        value.error("`true` names no certificate", Some(help.into()));
    }
}

/// `insecure_skip_verify = true` beside a key that turns verification on is a contradiction, and an error.
fn skip_verify(value: &Value<'_>, asking: [(&str, &Option<Value<'_>>); 3], tls: &mut UpstreamTls) {
    if value.boolean() != Some(true) {
        return;
    }
    tls.insecure_skip_verify = Some(At { value: (), span: value.span() });
    for (key, asked) in asking {
        if let Some(asked) = asked.as_ref().filter(|asked| !asked.is_empty_list()) {
            asked.error(
                &format!("`insecure_skip_verify` turns off what `{key}` requires"),
                Some("leave out one of the two; `trust` may also name a backend's own certificate".into()),
            );
        }
    }
}

fn rsa_bits(value: &Value<'_>) -> Option<RsaBits> {
    let bits = value.number(1024..=4096)?;
    let known = RsaBits::ALL.into_iter().find(|known| known.bits() as usize == bits);
    if known.is_none() {
        value.error(&format!("{bits} is none of 1024, 2048, 3072 and 4096"), None);
    }
    known
}

pub(super) fn trusted(value: &Value<'_>, dir: &Path) -> Option<At<TrustRef>> {
    if let Some(At { value: "system", span }) = value.as_text() {
        return Some(At { value: TrustRef::System, span });
    }
    let At { value, span } = certificate(value, dir)?;
    Some(At { value: TrustRef::Certificate(value), span })
}
