//! No look-alike of a field passes where Ringate sets, removes or guards the field, neither in a head nor in trailers.

use std::fs;

use super::rules::generate;
use crate::support::*;

/// What a token may hold beside letters and digits (RFC 9110 §5.6.2).
const SEPARATORS: &[u8] = b"!#$%&'*+-.^_`|~";

/// What rules of the config below set or remove of requests; the second list is Ringate's own in any case.
const BY_RULE: [&str; 6] =
    ["x-set-one", "x-gone-one", "x-api-key-name", "x-api-key", "traceparent", "tracestate"];
const ALWAYS: [&str; 14] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-client-cert",
    "x-real-ip",
    "x-request-id",
    "forwarded",
    "proxy-authorization",
    "proxy-authenticate",
    "proxy-connection",
    "keep-alive",
    "http2-settings",
    "x-named-one",
    "te",
];
/// Of responses.
const OF_RESPONSES: [&str; 5] =
    ["x-back-set", "x-back-gone", "access-control-allow-origin", "x-named-two", "proxy-authenticate"];

/// The names with this separator in place of their hyphens. Those without one are left out but for the hyphen.
fn alike(names: &[&str], separator: u8) -> Vec<String> {
    let names = names.iter().filter(|name| separator == b'-' || name.contains('-'));
    let name = |name: &&str| name.replace('-', &char::from(separator).to_string()).to_uppercase();
    names.map(name).collect()
}

fn lines(names: &[String]) -> String {
    names.iter().map(|name| format!("{name}: smuggled\r\n")).collect()
}

fn setup() -> (Backend, Ringate, String) {
    let dir = tempfile::tempdir().unwrap();
    // The request says which trailers and fields the response has.
    let backend = Backend::serving(|request| {
        let separator = request.header("Separator").unwrap_or("-").as_bytes()[0];
        let names = lines(&alike(&OF_RESPONSES, separator));
        let named = "Connection: X-Named-Two\r\n";
        format!(
            "HTTP/1.1 200 OK\r\n{named}X-Kept-One: 1\r\n{names}Transfer-Encoding: chunked\r\n\r\n\
             2\r\nok\r\n0\r\nX-Kept-Two: 2\r\n{names}\r\n"
        )
        .into_bytes()
    });
    let rules = "api_keys = { from = \"partners\", forward = FORWARD }\ntrace = \"off\"\n\
         cors = { origins = [\"https://a.example\"] }\n\
         headers.request = { set = { X-Set-One = \"ours\" }, remove = [\"X-Gone-One\"] }\n\
         headers.response = { set = { X-Back-Set = \"ours\" }, remove = [\"X-Back-Gone\"] }\n";
    let config = Setup::to(backend.address())
        .routes(&format!(
            "[[route]]\nupstream = \"app\"\n{}\n[[route]]\npath = \"/forward\"\nupstream = \"app\"\n{}\n\
             [[route]]\npath = \"/plain\"\nupstream = \"app\"",
            rules.replace("FORWARD", "false"),
            rules.replace("FORWARD", "true"),
        ))
        .text();
    fs::write(dir.path().join("ringate.toml"), config).unwrap();
    let key = generate(dir.path(), "mobile");
    (backend, Ringate::start_in(dir, 1), key)
}

/// A request whose head and trailers have these fields.
fn request(path: &str, separator: u8, key: &str, head: &str, trailers: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: h\r\nSeparator: {}\r\nX-Api-Key: {key}\r\nConnection: X-Named-One\r\n\
         X-Kept-One: 1\r\n{head}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Kept-Two: 2\r\n{trailers}\r\n",
        char::from(separator)
    )
}

#[test]
fn what_is_set_or_removed_can_not_be_smuggled_under_a_name_that_looks_alike() {
    let (backend, ringate, key) = setup();
    let mut client = ringate.client();
    for path in ["/", "/forward"] {
        for &separator in SEPARATORS {
            let all = alike(&[&BY_RULE[..], &ALWAYS].concat(), separator);
            // A second key is refused; and of TE and the like only the trailer is of interest.
            let in_head: Vec<_> = all.iter().filter(|name| *name != "X-API-KEY").cloned().collect();
            let response =
                client.send(request(path, separator, &key, &lines(&in_head), &lines(&all))).response();
            assert_eq!(response.status, 200, "{}", char::from(separator));
            let seen = backend.request();
            let whole = [seen.head.as_bytes(), &seen.wire].concat().escape_ascii().to_string();
            assert!(!whole.contains("smuggled"), "{path} {}: {whole}", char::from(separator));
            assert!(whole.contains("X-Kept-One: 1") && whole.contains("X-Kept-Two: 2"), "{whole}");
            assert_eq!(seen.header("X-Api-Key-Name"), Some("mobile"));
            assert_eq!(seen.header("X-Api-Key"), (path == "/forward").then_some(&*key));
            assert_eq!(seen.header("X-Set-One"), Some("ours"));
            let whole = [response.head.as_bytes(), &response.wire].concat().escape_ascii().to_string();
            assert!(!whole.contains("smuggled"), "{}: {whole}", char::from(separator));
            assert!(whole.contains("X-Kept-One: 1") && whole.contains("X-Kept-Two: 2"), "{whole}");
        }
    }
}

#[test]
fn where_no_rule_is_about_a_name_it_passes_whatever_it_looks_like() {
    let (backend, ringate, key) = setup();
    let mut client = ringate.client();
    for &separator in SEPARATORS {
        let names = alike(&BY_RULE, separator);
        let response =
            client.send(request("/plain", separator, &key, &lines(&names), &lines(&names))).response();
        let seen = backend.request();
        let trailers = String::from_utf8(seen.wire).unwrap();
        for name in &names {
            let line = format!("\r\n{name}: smuggled\r\n");
            assert!(seen.head.contains(&line) && trailers.contains(&line), "{name}");
        }
        let trailers = String::from_utf8(response.wire).unwrap();
        for name in alike(&["x-back-set", "x-back-gone", "access-control-allow-origin"], separator) {
            let line = format!("\r\n{name}: smuggled\r\n");
            assert!(response.head.contains(&line) && trailers.contains(&line), "{name}");
        }
    }
}

#[test]
fn framing_in_disguise_is_refused_in_a_head_and_dropped_from_trailers() {
    let (backend, ringate, key) = setup();
    for &separator in SEPARATORS.iter().filter(|&&separator| separator != b'-') {
        for name in alike(&["content-length", "transfer-encoding"], separator) {
            let head = format!("{name}: 5\r\n");
            let refused = ringate.client().send(request("/plain", separator, &key, &head, "")).response();
            assert_eq!(refused.status, 400, "{name}");
            let passed = ringate.client().send(request("/plain", separator, &key, "", &head)).response();
            assert_eq!(passed.status, 200, "{name}");
            let trailers = String::from_utf8(backend.request().wire).unwrap();
            assert!(trailers.ends_with("\r\n0\r\nX-Kept-Two: 2\r\n\r\n"), "{trailers}");
        }
    }
}

#[test]
fn a_valid_trace_has_no_second_one_in_trailers() {
    let backend = Backend::replying(crate::http::OK);
    let ringate =
        Setup::to(backend.address()).routes("[[route]]\nupstream = \"app\"\ntrace = \"make\"").start();
    let valid = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    for head in [valid, "traceparent: what\r\n", ""] {
        let sent = format!(
            "POST / HTTP/1.1\r\nHost: h\r\n{head}Transfer-Encoding: chunked\r\n\r\n0\r\n\
             TraceParent: smuggled\r\ntracestate: smuggled\r\nx: 1\r\n\r\n"
        );
        assert_eq!(ringate.client().send(sent).response().status, 200);
        let seen = backend.request();
        assert_eq!(seen.wire, b"0\r\nx: 1\r\n\r\n");
        assert_eq!(seen.headers("traceparent").len(), 1);
    }
}

#[test]
fn trailers_in_pieces_obey_the_same_rules() {
    let (backend, ringate, key) = setup();
    let mut client = ringate.client();
    let trailers = lines(&alike(&BY_RULE, b'.'));
    let sent = request("/", b'.', &key, "", &trailers);
    let (head, body) = sent.split_at(sent.find("\r\n\r\n").unwrap() + 4);
    client.send(head);
    for piece in body.as_bytes().chunks(7) {
        client.send(piece);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert_eq!(client.response().status, 200);
    let seen = String::from_utf8(backend.request().wire).unwrap();
    assert!(seen.ends_with("0\r\nX-Kept-Two: 2\r\n\r\n"), "{seen}");
}
