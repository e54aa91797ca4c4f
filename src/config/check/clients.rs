//! Clients' certificates: what a listener requires.

use std::path::Path;

use crate::config::file::{Section, Value};
use crate::config::names;
use crate::config::plan::{At, CertificateRef, CertificateRule, ClientAuth, Listener, SanPattern};
use crate::config::units::Wrong;
use crate::tls::ClientUsage;

use super::{certificate, path};

/// `client_auth`, `client_trust`, `client_crl`, `client_usage` and `forward_certificate` of `[listener.tls]`.
pub(super) fn auth(section: &mut Section<'_>, dir: &Path) -> Option<ClientAuth> {
    let words = [("none", None), ("optional", Some(false)), ("required", Some(true))];
    let asked = section.get("client_auth");
    let required = asked.as_ref().and_then(|value| value.choice(&words));
    let others =
        ["client_trust", "client_crl", "client_usage", "forward_certificate"].map(|key| section.get(key));
    let [trust, crl, usage, forward_certificate] = others.each_ref().map(Option::as_ref);
    let Some(required) = required.unwrap_or_default() else {
        // After a `client_auth` that can't be read it is not clear what the others are there for.
        if asked.is_none() || required.is_some() {
            let useless = others.into_iter().flatten().filter(|value| !value.is_empty_list());
            for value in useless {
                let title =
                    format!("`{}` has no effect while no certificate is requested from clients", value.name);
                let help = "add `client_auth = \"required\"`, or \"optional\"";
                section.errors().borrow_mut().error(value.key_span, title, Some(help.into()));
            }
        }
        return None;
    };
    let required = At { value: required, span: asked.map_or(0..0, |asked| asked.span()) };
    let wrote_trust = trust.is_some();
    let trust = trust.and_then(|value| value.list("[\"partners\"]")).unwrap_or_default();
    let trust = trust.iter().filter_map(|value| trusted(value, dir)).collect();
    let crl = crl.and_then(|value| value.one_or_more("\"./partners.crl\"")).unwrap_or_default();
    let crl = crl.iter().filter_map(|value| path(value, dir, "\"./partners.crl\"")).collect();
    let words = [("client", ClientUsage::Client), ("any", ClientUsage::Any)];
    let usage = usage.and_then(|value| value.choice(&words)).unwrap_or_default();
    let forward_certificate = forward_certificate.and_then(Value::boolean).unwrap_or(false);
    Some(ClientAuth { required, trust, wrote_trust, crl, usage, forward_certificate })
}

fn trusted(value: &Value<'_>, dir: &Path) -> Option<At<CertificateRef>> {
    if value.as_text().is_some_and(|text| text.value == "system") {
        let help =
            "name the CAs that issue certificates to your clients alone: those of the system issue to anyone";
        value.error("the system's roots cannot identify your clients", Some(help.into()));
        return None;
    }
    certificate(value, dir)
}

/// `require_client_certificate` and `client_certificate` of a route.
#[derive(Default)]
pub(super) struct RuleKeys<'a> {
    required: Option<Value<'a>>,
    rule: Option<Value<'a>>,
}

impl<'a> RuleKeys<'a> {
    pub(super) fn of(section: &mut Section<'a>) -> Self {
        let required = section.get("require_client_certificate");
        Self { required, rule: section.get("client_certificate") }
    }

    /// Those that are there.
    pub(super) fn values(&self) -> impl Iterator<Item = &Value<'a>> {
        self.required.iter().chain(&self.rule)
    }

    /// The rule of a route on these listeners.
    pub(super) fn read(&self, listeners: &[(usize, &Listener)]) -> Option<CertificateRule> {
        let required = self.required.as_ref().and_then(Value::boolean);
        if let (Some(rule), Some(false)) = (&self.rule, required) {
            rule.error("the route does not require a certificate", Some("take one of the two out".into()));
        }
        let rule = match &self.rule {
            Some(value) => certificate_rule(value)?,
            None if required == Some(true) => CertificateRule::default(),
            None => return None,
        };
        let deaf = |listener: &Listener| listener.tls.as_ref().is_none_or(|tls| tls.clients.is_none());
        // Beside a listener that requests certificates, one that does not is for all other clients: 403 is intended there.
        if let Some((_, listener)) = listeners.first()
            && listeners.iter().all(|(_, listener)| deaf(listener))
            && let Some(key) = self.values().next()
        {
            let name = listener.name.as_str();
            let title = format!(
                "`{name}` does not request certificates from its clients, so no request would be served"
            );
            let help = format!("set `client_auth` and `client_trust` in [listener.tls] of `{name}`");
            key.error(&title, Some(help));
        }
        Some(rule)
    }
}

fn certificate_rule(value: &Value<'_>) -> Option<CertificateRule> {
    let mut section = value.section()?;
    let (subject, san) = (section.get("subject"), section.get("san"));
    if subject.is_none() && san.is_none() {
        let help = "add `subject` or `san`, or write `require_client_certificate = true`";
        section.error("`client_certificate` has no condition", Some(help.into()));
    }
    let example = "\"CN=orders,O=Example\"";
    let subject = subject.and_then(|value| value.one_or_more(example)).unwrap_or_default();
    let subject = subject.iter().filter_map(|value| value.parse(example, names::subject_pattern));
    let subject = subject.map(|subject| subject.value.to_owned()).collect();
    let example = "\"spiffe://example.com/orders\"";
    let san = san.and_then(|value| value.one_or_more(example)).unwrap_or_default();
    let san = san.iter().filter_map(|value| value.parse(example, san_pattern).map(|san| san.value)).collect();
    section.finish();
    Some(CertificateRule { subject, san })
}

fn san_pattern(text: &str) -> Result<SanPattern, Wrong> {
    if let Ok(address) = text.parse() {
        return Ok(SanPattern::Ip(address));
    }
    if text.contains("://") {
        return names::field_value(text).map(|uri| SanPattern::Uri(uri.to_owned()));
    }
    if text.contains('@') {
        return names::field_value(text).map(|address| SanPattern::Email(address.to_owned()));
    }
    names::host_pattern(text).map(SanPattern::Dns)
}
