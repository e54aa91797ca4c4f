//! What protects the admin server from a browser's other pages: which host a request names, and what an answer forbids.

use std::borrow::Cow;
use std::sync::OnceLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;

use super::Control;
use super::caller::{Caller, Proof, Role};
use super::problem::Problem;

/// The console: `build/console.rs` makes it of the files in `src/admin/console`.
const PAGE: &str = include_str!(concat!(env!("OUT_DIR"), "/console.html"));

/// The mark of a client without a right, in the page's first element.
const NONE: &str = "data-role=\"none\"";

/// The page for a client with this right.
pub(super) fn page(role: Option<Role>) -> Cow<'static, str> {
    match role {
        None => Cow::Borrowed(PAGE),
        Some(Role::Full) => Cow::Owned(PAGE.replacen(NONE, "data-role=\"full\"", 1)),
        Some(Role::ReadOnly) => Cow::Owned(PAGE.replacen(NONE, "data-role=\"read-only\"", 1)),
    }
}

/// Adds to each answer what a browser must not do with it: keep it, frame it, take it for another type, load or run
/// what it does not itself hold.
pub(super) async fn protect(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    let fields = response.headers_mut();
    fields.entry(header::CONTENT_SECURITY_POLICY).or_insert(nothing);
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        fields.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Refuses requests for a host that is not this one, and those that a page of another site makes.
pub(super) async fn check_host(State(control): State<Control>, request: Request, next: Next) -> Response {
    if is_foreign(&request) {
        let detail = "a page of another site has made this request, which only this server's own page may";
        return Problem::new(StatusCode::FORBIDDEN, "origin", "this comes from another site", detail)
            .into_response();
    }
    if is_for_us(&control, &request) {
        return next.run(request).await;
    }
    let detail = "call it by its address or as `localhost`, send the token, or add the name to `admin.hosts`";
    let title = "this is not a name of the admin server";
    Problem::new(StatusCode::MISDIRECTED_REQUEST, "host", title, detail).into_response()
}

/// Whether a browser has made the request for a page of another site: by the page's origin (RFC 6454 §7), or by the browser's
/// word for it (Fetch Metadata). Only the page itself may be opened from elsewhere.
fn is_foreign(request: &Request) -> bool {
    let fields = request.headers();
    let text = |name: &str| fields.get(name).map(|value| value.to_str().unwrap_or_default());
    let opens_page = request.method() == Method::GET
        && request.uri().path() == "/"
        && text("sec-fetch-mode").is_none_or(|mode| mode == "navigate");
    let elsewhere = text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
    let host = text("host").unwrap_or_default();
    let other_origin = text("origin").is_some_and(|origin| {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        authority.is_none_or(|authority| !authority.eq_ignore_ascii_case(host))
    });
    other_origin || (elsewhere && !opens_page)
}

/// Whether a request that could be of a page names this server. A page whose name was made to resolve here (DNS rebinding)
/// sends its own name, and has no token. Health is for load balancers, under any name.
fn is_for_us(control: &Control, request: &Request) -> bool {
    let plan = control.deployment.plan();
    let fields = request.headers();
    let is_browser =
        [header::ORIGIN.as_str(), "sec-fetch-site", "cookie"].iter().any(|name| fields.contains_key(*name));
    let is_open = match request.uri().path() {
        "/" | "/v1/session" => true,
        "/metrics" => plan.admin.as_ref().is_some_and(|admin| admin.open_metrics),
        "/healthz" | "/readyz" => return true,
        _ => is_browser,
    };
    let caller = request.extensions().get::<Caller>();
    let has_token = caller.is_some_and(|caller| caller.proof == Proof::Token);
    // A Unix socket has no token. A browser reaches it through a tunnel alone, and says that it is one.
    if !is_open || has_token || (control.tokens.is_none() && !is_browser) {
        return true;
    }
    let known = plan.admin.as_ref().map(|admin| admin.hosts.as_slice()).unwrap_or_default();
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let target = request.uri().authority().map(|authority| authority.as_str());
    host.to_str().is_ok_and(|host| is_own(host, known)) && target.is_none_or(|target| is_own(target, known))
}

/// Whether `authority` is an address, this machine itself, or one of the names of the config.
fn is_own(authority: &str, known: &[String]) -> bool {
    if let Some(address) = authority.strip_prefix('[') {
        let Some((address, port)) = address.split_once(']') else { return false };
        return address.parse::<std::net::Ipv6Addr>().is_ok() && is_port(port);
    }
    let (host, port) = authority.find(':').map_or((authority, ""), |colon| authority.split_at(colon));
    let is_name = |name: &str| host.eq_ignore_ascii_case(name);
    is_port(port)
        && (host.parse::<std::net::Ipv4Addr>().is_ok()
            || is_name("localhost")
            || known.iter().any(|name| is_name(name)))
}

/// Nothing, or a colon and a number.
fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|number| number.parse::<u16>().is_ok())
}

/// The page's content security policy: its own script and style, by their digests, and calls to where it is from. No
/// text may become markup or script (Trusted Types).
pub(super) fn page_policy() -> HeaderValue {
    static POLICY: OnceLock<HeaderValue> = OnceLock::new();
    let made = POLICY.get_or_init(|| {
        let hash = |open: &str, close: &str| {
            let inner = PAGE.split_once(open).and_then(|(_, rest)| rest.split_once(close));
            BASE64.encode(digest(&SHA256, inner.unwrap_or_default().0.as_bytes()).as_ref())
        };
        let (script, style) = (hash("<script type=\"module\">", "</script>"), hash("<style>", "</style>"));
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types 'none'"
        );
        HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
    });
    made.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_localhost_and_named_hosts_are_ours() {
        let known = ["ringate.internal".to_owned()];
        for host in
            ["127.0.0.1", "10.0.0.1:9901", "[::1]:9901", "[fe80::1]", "LocalHost:1", "Ringate.internal:9901"]
        {
            assert!(is_own(host, &known), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:80",
            "[::1",
            "[::1]x",
            "127.0.0.1:",
            "127.0.0.1:x",
            "a@127.0.0.1",
            "ringate.internal.",
            ":80",
        ] {
            assert!(!is_own(host, &known), "{host}");
        }
    }

    #[test]
    fn the_page_has_one_script_one_style_and_none_within_its_elements() {
        for mark in ["<script", "<style"] {
            assert_eq!(PAGE.matches(mark).count(), 1);
        }
        assert!(!PAGE.contains("style=\"") && !PAGE.contains("onclick"));
        assert!(page(None).contains(NONE) && page(Some(Role::Full)).contains("data-role=\"full\""));
        assert!(page_policy().to_str().unwrap().contains("script-src 'sha256-"));
    }
}
