//! The page of `route.portal`, written but for what depends on its client.

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64;

use crate::base::published::Published;
use crate::certs::consumers::index::Index;
use crate::config::Plan;
use crate::config::plan;
use crate::proxy::destination::portal::{Api, Portal, escaped};

const PAGE: &str = include_str!("portal.html");
const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;margin:0;color:#1b1b1b;background:#fff}\
main{max-width:52rem;margin:0 auto;padding:1rem}pre{overflow-x:auto;padding:.75rem;background:#f0f0f0}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.35rem .5rem;border-bottom:1px solid #bbb}\
small{overflow-wrap:anywhere}.yes{color:#0a5c0a;font-weight:600}.no{color:#a00000;font-weight:600}\
@media(prefers-color-scheme:dark){body{color:#eee;background:#161616}pre{background:#262626}.yes{color:#7fd67f}.no{color:#ff9a9a}}";

/// The page of a route of this listener.
pub(super) fn portal(page: &plan::Portal, plan: &Plan, listener: usize, index: Published<Index>) -> Portal {
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
    let (before, after) = text.split_once("{check}").unwrap_or((&text, ""));
    let style = BASE64.encode(digest(&SHA256, STYLE.as_bytes()).as_ref());
    let fields = format!(
        "Content-Security-Policy: default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
         Cache-Control: no-store\r\n"
    );
    Portal { fields: fields.into_bytes(), before: before.to_owned(), after: after.to_owned(), index, apis }
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
