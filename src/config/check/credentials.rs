//! `[credentials.NAME]`, and what routes and listeners make of them.

use crate::certs::consumers::{Approval, Definition};
use crate::config::file::{Errors, Section};
use crate::config::names;
use crate::config::plan::{At, Listener, OriginPattern, Route};
use crate::config::suggest::nearest;
use crate::config::units::Wrong;

/// The longest title.
const MAX_TITLE_BYTES: usize = 256;

/// The definitions, by name.
pub(super) fn definitions(root: &mut Section<'_>) -> Vec<At<Definition>> {
    let Some(value) = root.get("credentials") else { return Vec::new() };
    if !value.is_table() {
        value.wrong_type("tables", Some("a definition has a name: write [credentials.NAME]".into()));
        return Vec::new();
    }
    let Some(section) = value.section() else { return Vec::new() };
    let mut found = Vec::new();
    for (key, value) in section.all() {
        if let Err(Wrong { title, help }) = names::name(key.value) {
            root.errors().borrow_mut().error(key.span.clone(), format!("`credentials`: {title}"), help);
        }
        if !value.is_table() {
            let help = format!("a definition has a name: write [credentials.NAME] above `{}`", key.value);
            value.wrong_type("a table", Some(help));
        } else if let Some(section) = value.section() {
            found.push(At { value: definition(key.value, section), span: key.span });
        }
    }
    found
}

fn definition(name: &str, mut section: Section<'_>) -> Definition {
    let title = section.get("title");
    let [api_key, mtls, javascript_origins] = ["api_key", "mtls", "javascript_origins"]
        .map(|key| section.get(key).and_then(|value| value.boolean()).unwrap_or(false));
    let suspendable = section.get("suspendable").and_then(|value| value.boolean()).unwrap_or(true);
    let expiry = section.get("expiry").and_then(|value| value.validity());
    let words = [("manual", Approval::Manual), ("automatic", Approval::Automatic)];
    let approval = section.get("approval").and_then(|value| value.choice(&words)).unwrap_or_default();
    let issuer = section.get("issuer");
    if !api_key && !mtls && !section.misspells(&["api_key", "mtls"]) {
        let help = "add `api_key = true`, `mtls = true`, or both";
        section.error("neither a key nor a client certificate is issued", Some(help.into()));
    }
    if let Some(value) = issuer.as_ref().filter(|_| !mtls) {
        value.key_error(
            "`issuer` signs client certificates, and this definition has none".to_owned(),
            "add `mtls = true`, or leave it out",
        );
    }
    let title = title.and_then(|value| {
        value.parse("\"API Key and mTLS\"", |text| {
            let wrong = |reason: &str| Err(Wrong::new(reason.to_owned()));
            match text {
                "" => wrong("the title is empty"),
                text if text.len() > MAX_TITLE_BYTES => wrong("the title has more than 256 bytes"),
                text if text.chars().any(char::is_control) => wrong("the title has control characters"),
                text => Ok(text.to_owned()),
            }
        })
    });
    let issuer = issuer.and_then(|value| value.parse("\"consumers-ca\"", names::name));
    section.finish();
    Definition {
        name: name.to_owned(),
        title: title.map_or_else(|| name.to_owned(), |at| at.value),
        api_key,
        mtls,
        javascript_origins,
        expiry,
        suspendable,
        approval,
        issuer: issuer.map(|at| at.value.to_owned()),
    }
}

/// What routes name is there, and the listeners of routes whose credentials have certificates request them.
pub(super) fn bind(
    definitions: &[At<Definition>],
    listeners: &mut [Listener],
    routes: &[Route],
    errors: &Errors,
) {
    for route in routes {
        let named = &route.rules.credentials;
        for (index, at) in named.iter().enumerate() {
            let error = |title: String, help: Option<String>| {
                errors.borrow_mut().error(at.span.clone(), format!("`route.credentials`: {title}"), help);
            };
            let Some(definition) = definitions.iter().find(|it| it.name == at.value) else {
                let near = nearest(&at.value, definitions.iter().map(|it| it.name.as_str()));
                let help = near.map_or_else(
                    || format!("add [credentials.{}]", at.value),
                    |near| format!("did you mean \"{near}\"?"),
                );
                error(format!("there is no definition called `{}`", at.value), Some(help));
                continue;
            };
            if named[..index].contains(at) {
                error(format!("`{}` is named twice", at.value), None);
            }
            let any = |cors: &crate::config::plan::Cors| cors.origins.contains(&OriginPattern::Any);
            if definition.javascript_origins && route.rules.cors.as_ref().is_some_and(any) {
                let help = "leave `cors.origins = [\"*\"]` out, or `javascript_origins`";
                error(
                    format!(
                        "`cors` lets the pages of every origin in, so those of `{}` would not count",
                        at.value
                    ),
                    Some(help.into()),
                );
            }
            if definition.mtls {
                request_certificates(at, route, listeners, &error);
            }
        }
    }
    for listener in listeners.iter() {
        let Some(tls) = &listener.tls else { continue };
        if let Some(clients) = tls.clients.as_ref().filter(|it| !tls.credentials && it.trust.is_empty()) {
            let span = clients.required.span.clone();
            let title = "`listener.tls.client_auth`: nothing is said of what a client's certificate is checked against";
            let help = "add `client_trust` with the CAs that issue your clients' certificates: names in the store or PEM files";
            // Where it was written and could not be read, that is an error already.
            if !clients.wrote_trust {
                errors.borrow_mut().error(span, title.to_owned(), Some(help.into()));
            }
        }
    }
}

/// The listeners of a route with such a definition request certificates.
fn request_certificates(
    at: &At<String>,
    route: &Route,
    listeners: &mut [Listener],
    error: &impl Fn(String, Option<String>),
) {
    let mut heard = false;
    for index in &route.listeners {
        let Some(listener) = listeners.get_mut(*index) else { continue };
        let Some(tls) = &mut listener.tls else { continue };
        if tls.client_auth_off {
            let name = listener.name.as_str();
            let title = format!(
                "`{}` needs client certificates, and `client_auth` of the listener `{name}` is \"none\"",
                at.value
            );
            error(title, Some("set `client_auth = \"optional\"` there, or leave it out".to_owned()));
        }
        tls.credentials = true;
        heard = true;
    }
    // Beside a listener with TLS, one without it is for all other clients: 403 is intended there.
    if let Some(listener) = route.listeners.first().and_then(|index| listeners.get(*index)).filter(|_| !heard)
    {
        let name = listener.name.as_str();
        let title = format!(
            "`{}` needs client certificates, and `{name}` is without TLS, so no request would be served",
            at.value
        );
        error(title, Some(format!("add [listener.tls] to `{name}`")));
    }
}
