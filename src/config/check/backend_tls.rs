//! `[upstream.NAME.tls]`

use std::path::Path;

use rustls::SupportedCipherSuite;

use crate::config::file::{Section, Value};
use crate::config::names;
use crate::config::plan::{At, TrustRef, UpstreamTls};
use crate::tls::{CIPHER_SUITES, RsaBits, Versions, cipher_suite_name};

use super::{certificate, path, versions};

/// Tickets are kept per endpoint and worker, at a few KiB each.
const MAX_TICKETS: usize = 1024;

pub(super) fn tls(mut section: Section<'_>, dir: &Path) -> UpstreamTls {
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
    tls.cipher_suites = section.get("cipher_suites").and_then(|value| cipher_suites(&value, tls.versions));
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

fn cipher_suites(value: &Value<'_>, versions: Versions) -> Option<Vec<At<SupportedCipherSuite>>> {
    let list = value.list("[\"TLS13_AES_128_GCM_SHA256\"]")?;
    let count = list.len();
    let suites: Vec<At<SupportedCipherSuite>> = list
        .iter()
        .filter_map(|entry| entry.parse("\"TLS13_AES_128_GCM_SHA256\"", names::cipher_suite))
        .collect();
    let enabled = |suite: &At<SupportedCipherSuite>| match suite.tls13().is_some() {
        true => versions.tls13,
        false => versions.tls12,
    };
    // Neither is true only after an error in `versions`.
    let known = suites.len() == count && (versions.tls12 || versions.tls13);
    if known && !suites.iter().any(enabled) {
        let version = if versions.tls13 { "1.3" } else { "1.2" };
        let fitting: Vec<&str> = CIPHER_SUITES
            .into_iter()
            .filter(|suite| suite.tls13().is_some() == versions.tls13)
            .map(cipher_suite_name)
            .collect();
        let help = format!("add one of {}, or enable the other version", fitting.join(", "));
        value.error(
            &format!("none of these suites is of TLS {version}, the only version enabled"),
            Some(help),
        );
    }
    Some(suites)
}
