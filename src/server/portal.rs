//! The page of `route.portal`, written but for what depends on its client, and what carries its forms out.
//!
//! | module | does |
//! | --- | --- |
//! | [`office`] | takes forms over from the workers, within bounds, and carries them out on a thread of its own |
//! | [`fields`] | the content of a form, read |
//! | [`answers`] | the pages that answer forms |
//!
//! A worker never waits for the store: it hands a form over, and is notified once the answer is there.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64;

use crate::certs::consumers::Definition;
use crate::config::Plan;
use crate::config::plan;
use crate::proxy::destination::portal::{Api, Clerk, Portal, escaped};
use crate::server::consumers::Consumers;

mod answers;
mod fields;
pub(crate) mod office;

use office::{Offer, Office, PageClerk};

const PAGE: &str = include_str!("portal/portal.html");
const FORMS: &str = include_str!("portal/forms.html");
const SCRIPT: &str = include_str!("portal/portal.js");
const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;margin:0;color:#1b1b1b;background:#fff}\
main{max-width:52rem;margin:0 auto;padding:1rem}pre{overflow-x:auto;padding:.75rem;background:#f0f0f0}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.35rem .5rem;border-bottom:1px solid #bbb}\
small{overflow-wrap:anywhere}.yes{color:#0a5c0a;font-weight:600}.no{color:#a00000;font-weight:600}\
label{display:block}label.line{display:flex;gap:.5rem;align-items:baseline}\
input:not([type=checkbox]),select,textarea{font:inherit;box-sizing:border-box;width:100%;padding:.35rem .5rem}\
textarea{font-family:ui-monospace,monospace;min-height:5rem}button{font:inherit;padding:.35rem 1rem}code{overflow-wrap:anywhere}\
@media(prefers-color-scheme:dark){body{color:#eee;background:#161616}pre{background:#262626}.yes{color:#7fd67f}.no{color:#ff9a9a}\
a{color:#8ab4f8}input,select,textarea{color:inherit;background:#262626;border:1px solid #888}}";

/// The page of a route of this listener.
pub(super) fn portal(
    page: &plan::Portal,
    plan: &Plan,
    listener: usize,
    consumers: &Consumers,
    office: &Arc<Office>,
) -> Portal {
    let routes = plan.routes.iter().filter(|route| route.listeners.contains(&listener));
    let with_credentials = routes.filter(|route| !route.rules.credentials.is_empty());
    let apis: Vec<Api> = with_credentials
        .map(|route| Api {
            place: route.place().replacen('=', "", 1),
            definitions: route.rules.credentials.iter().map(|at| at.value.clone()).collect(),
        })
        .collect();
    let title = escaped(&page.title);
    let host = apis.iter().find_map(|api| api.place.split('/').next().filter(|host| !host.is_empty()));
    let text = PAGE.replace("{style}", STYLE).replace("{title}", &title);
    let text =
        text.replace("{apis}", &table(&apis, plan)).replace("{host}", &escaped(host.unwrap_or("HOST")));
    let offered = offered(&apis, plan);
    let requests = page.requests.as_ref().filter(|_| !offered.is_empty());
    let text = text.replace("{forms}", &requests.map(|_| forms(&offered)).unwrap_or_default());
    let (before, after) = text.split_once("{check}").unwrap_or((&text, ""));
    let clerk = requests.map(|requests| {
        let offer = Offer {
            title: page.title.clone(),
            definitions: offered,
            gateway_keys: requests.gateway_keys,
            pending: requests.pending,
            fields: fields_of(true),
        };
        Arc::new(PageClerk::new(office, offer, requests.hourly)) as Arc<dyn Clerk>
    });
    Portal {
        fields: fields_of(clerk.is_some()),
        before: before.to_owned(),
        after: after.to_owned(),
        index: consumers.index(),
        apis,
        clerk,
    }
}

/// The field lines of a page, with forms or without.
fn fields_of(has_forms: bool) -> Vec<u8> {
    let hash = |text: &str| BASE64.encode(digest(&SHA256, text.as_bytes()).as_ref());
    let (script, action) = match has_forms {
        true => (format!("script-src 'sha256-{}'; ", hash(SCRIPT)), "'self'"),
        false => (String::new(), "'none'"),
    };
    let fields = format!(
        "Content-Security-Policy: default-src 'none'; style-src 'sha256-{}'; {script}base-uri 'none'; form-action {action}; \
         frame-ancestors 'none'\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
         Cache-Control: no-store\r\n",
        hash(STYLE)
    );
    fields.into_bytes()
}

/// The definitions whose credentials an API of the page accepts.
fn offered(apis: &[Api], plan: &Plan) -> Vec<Definition> {
    let all = plan.credentials.iter();
    let named = all.filter(|it| apis.iter().any(|api| api.definitions.contains(&it.name)));
    named.map(|at| at.value.clone()).collect()
}

/// The forms for requests.
fn forms(offered: &[Definition]) -> String {
    let option =
        |it: &Definition| format!("<option value=\"{}\">{}</option>", escaped(&it.name), escaped(&it.title));
    let options: String = offered.iter().map(option).collect();
    let origins = if offered.iter().any(|it| it.javascript_origins) {
        "<p><label>Origins of web pages that use it, one a line, where its kind has origins \
         <textarea name=\"origins\" placeholder=\"https://app.example.com\" spellcheck=\"false\"></textarea></label></p>"
    } else {
        ""
    };
    let certificate = if offered.iter().any(|it| it.mtls) { answers::CERTIFICATE_FIELDS } else { "" };
    let forms = FORMS.replace("{options}", &options).replace("{origins}", origins);
    forms.replace("{certificate}", certificate).replace("{script}", SCRIPT)
}

/// Host and path of each API, and what it takes.
fn table(apis: &[Api], plan: &Plan) -> String {
    if apis.is_empty() {
        return "<p>No API of this listener takes credentials yet.</p>".to_owned();
    }
    let mut out =
        "<table><thead><tr><th>API</th><th>Credential</th><th>Needs</th></tr></thead><tbody>".to_owned();
    for api in apis {
        let named = plan.credentials.iter().filter(|it| api.definitions.contains(&it.name));
        for it in named {
            let needs = match (it.api_key, it.mtls) {
                (true, true) => "an API key, on a connection with its client certificate (mutual TLS)",
                (true, false) => "an API key: the field X-Api-Key, or Authorization: Bearer",
                (false, _) => "a client certificate (mutual TLS)",
            };
            out.push_str(&format!(
                "<tr><td><code>{}</code></td><td>{}</td><td>{needs}</td></tr>",
                escaped(&api.place),
                escaped(&it.title)
            ));
        }
    }
    out.push_str("</tbody></table>");
    out
}
