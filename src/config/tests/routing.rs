//! What routes may ask for.

use super::*;
use crate::route::{Clause, Condition, Expected, Part, Redirect};

#[test]
#[rustfmt::skip] // a table: one line a case
fn a_fixed_response_is_checked() {
    refused(
        "[[route]]",
        &[
            ("respond = {}\nupstream = 'app'", "3:1", "the route already has `route.respond`"),
            ("respond = 'ok'", "2:11", "expected a table"),
            ("respond = { status = 199 }", "2:22", "199 is not between 200 and 599"),
            ("respond = { status = 204, body = 'x' }", "2:34", "a response of status 204 has no body"),
            ("respond = { body = 1 }", "2:20", "expected a string"),
            ("respond = { contents = 'x' }", "2:13", "unknown key `contents`"),
            ("respond = { content_type = \"text/html\\r\\nA: b\" }", "2:28", "it has a line end"),
            ("respond = { content_type = 'text/html ' }", "2:28", "did you mean \"text/html\"?"),
        ],
    );
    let route = plan(&with("[[route]]", "respond = { status = 503, body = 'later' }")).routes.remove(0);
    let expected = Respond {
        status: 503,
        body: "later".into(),
        content_type: "text/plain; charset=utf-8".into(),
    };
    assert_eq!(route.to, Destination::Respond(expected));
    assert_eq!(route.upstreams().count(), 0);
}

#[test]
#[rustfmt::skip] // a table: one line a case
fn clients_certificates_are_checked() {
    let listener = "name = 'a'\naddress = '[::]:80'\n[listener.tls]\ncertificates = ['w']\n";
    let cases = [
        ("client_auth = 'on'", "6:15", "\"none\", \"optional\" or \"required\""),
        ("client_auth = 'requird'\nclient_trust = ['p']", "6:15", "did you mean \"required\"?"),
        ("client_auth = 'none'\nclient_crl = 'p.crl'", "7:1", "has no effect while no certificate is requested"),
        ("forward_certificate = true", "6:1", "has no effect while no certificate is requested"),
        ("client_auth = 'optional'\nclient_trust = 'p'", "7:16", "did you mean [\"p\"]?"),
        ("client_auth = 'optional'\nclient_trust = []", "7:16", "the list is empty"),
        ("client_auth = 'optional'\nclient_trust = ['system']", "7:17", "cannot identify your clients"),
        ("client_auth = 'optional'\nclient_trust = ['p']\nclient_crl = ['']", "8:15", "the path is empty"),
    ];
    let cases = cases.map(|(body, place, said)| (format!("{listener}{body}"), place, said));
    let cases: Vec<_> = cases.iter().map(|(body, place, said)| (body.as_str(), *place, *said)).collect();
    refused("[[listener]]", &cases);
    refused(
        "[[route]]",
        &[
            ("upstream = 'app'\nrequire_client_certificate = 1", "3:30", "expected true or false"),
            ("upstream = 'app'\nrequire_client_certificate = true", "3:30", "`web` does not request certificates"),
        ],
    );
    let asking = "[[listener]]\nname = 'a'\naddress = '[::]:80'\n[listener.tls]\ncertificates = ['w']\n\
                  client_auth = 'optional'\nclient_trust = ['p', './q.pem']\nclient_crl = 'c.crl'\n";
    for (body, said) in [
        ("client_certificate = {}", "has no condition"),
        ("client_certificate = { subject = '/O=Example/CN=a' }", "did you mean \"CN=a,O=Example\"?"),
        ("client_certificate = { subject = 'CN=a, O=Example' }", "did you mean \"CN=a,O=Example\"?"),
        ("client_certificate = { subject = 'a' }", "did you mean \"CN=a\"?"),
        ("client_certificate = { san = 'a b' }", "is not a host"),
        ("client_certificate = { san = 'a.*.b' }", "is not a host"),
        ("client_certificate = { san = \"spiffe://a\\n\" }", "line end"),
        ("client_certificate = { subjects = 'CN=a', san = 'b' }", "did you mean `subject`?"),
        ("client_certificate = { san = 'b' }\nrequire_client_certificate = false", "take one of the two out"),
    ] {
        let errors = read(&format!("{asking}{ROUTE}{body}\n{UPSTREAM}")).unwrap_err();
        assert!(errors.render(false).contains(said), "{body}: {errors}");
    }
    let body = "client_certificate = { subject = 'CN=*', san = ['*.A.example', 'spiffe://x/*', 'a@b', '::1'] }";
    let plan = plan(&format!("{asking}{ROUTE}{body}\n{UPSTREAM}"));
    let rule = plan.routes[0].client_certificate.as_ref().expect("a rule");
    assert_eq!(rule.subject, ["CN=*"]);
    assert_eq!(rule.san, [
        SanPattern::Dns(HostPattern::Wildcard("a.example".into())),
        SanPattern::Uri("spiffe://x/*".into()),
        SanPattern::Email("a@b".into()),
        SanPattern::Ip("::1".parse().expect("an address")),
    ]);
    let clients = plan.listeners[0].tls.as_ref().and_then(|tls| tls.clients.as_ref()).expect("clients");
    assert!(!*clients.required && !clients.forward_certificate);
    assert_eq!((clients.trust.len(), &*clients.crl[0]), (2, &PathBuf::from("/etc/ringate/c.crl")));
}

#[test]
#[rustfmt::skip] // a table: one line a case
fn where_requests_go_is_checked() {
    refused(
        "[[route]]",
        &[
            ("upstreams = []", "2:13", "the list is empty"),
            ("upstreams = ['app']", "2:14", "expected a table"),
            ("upstreams = [{ weight = 1 }]", "2:14", "`name` is missing"),
            ("upstreams = [{ name = 'ap' }]", "2:23", "did you mean \"app\"?"),
            ("upstreams = [{ name = 'app', weight = 0 }]", "2:39", "0 is not between 1 and 1000"),
            ("upstreams = [{ name = 'app' }, { name = 'app' }]", "2:32", "listed twice"),
            ("upstreams = [{ name = 'app' }]\nupstream = 'app'", "3:1", "the route already has `route.upstreams`"),
            ("upstreams = [{ name = 'app' }]\nredirect = { port = 1 }", "3:1", "the route already has `route.upstreams`"),
            ("redirect = {}", "2:12", "leads to where it comes from"),
            ("redirect = { status = 304, host = 'a' }", "2:23", "one of 301, 302, 303, 307 and 308"),
            ("redirect = { scheme = 'ftp' }", "2:23", "\"http\" or \"https\""),
            ("redirect = { host = 'a:80' }", "2:21", "the port is the listener's"),
            ("redirect = { host = '*.a' }", "2:21", "has a wildcard"),
            ("redirect = { path = 'a' }", "2:21", "did you mean \"/a\"?"),
            ("redirect = { path = '//a' }", "2:21", "two slashes begin a host"),
            ("redirect = { path = '/a?b' }", "2:21", "it has a query"),
            ("redirect = { path = \"/a\\r\\nX: y\" }", "2:21", "it has \"\\r\" in it"),
            ("redirect = { path = '/a', rewrite_prefix = '/b' }", "2:44", "changed in two ways"),
            ("redirect = { prot = 1, host = 'a' }", "2:14", "did you mean `port`?"),
        ],
    );
    let route = plan(&with("[[route]]", "redirect = { scheme = 'https', status = 308 }")).routes.remove(0);
    let expected =
        Redirect { status: 308, scheme: Some("https"), host: None, port: None, path: Rewrite::Keep, location: None };
    assert_eq!(route.to, Destination::Redirect(expected));
    let route = plan(&with("[[route]]", "upstreams = [{ name = 'app', weight = 3 }]")).routes.remove(0);
    assert_eq!(route.to, Destination::Upstreams(vec![Share { upstream: 0, weight: 3 }]));
}

#[test]
#[rustfmt::skip] // a table: one line a case
fn changes_and_conditions_are_checked() {
    refused(
        "[[route]]",
        &[
            ("upstream = 'app'\nrewrite_prefix = 'a'", "3:18", "did you mean \"/a\"?"),
            ("upstream = 'app'\nrewrite = '/b/$1'", "3:11", "what the first group of the route's regular expression captured"),
            ("upstream = 'app'\nrewrite = '/a b'", "3:11", "percent-encode"),
            ("upstream = 'app'\nrewrite = '/a'\nstrip_prefix = true", "3:11", "changed in two ways"),
            ("upstream = 'app'\ntimeouts = { respond = '1s' }", "3:14", "unknown key `respond`"),
            ("upstream = 'app'\ntimeouts.response = '0s'", "3:21", "longer than zero"),
            ("upstream = 'app'\nheaders.set = { A = 'b' }", "3:9", "unknown key `set` in `[route.headers]`"),
            ("upstream = 'app'\nheaders.request.sett = { A = 'b' }", "3:17", "did you mean `set`?"),
            ("upstream = 'app'\nheaders.request.set = { 'a b' = 'c' }", "3:33", "\"a b\" is not a header name"),
            ("upstream = 'app'\nheaders.request.set.Connection = 'close'", "3:34", "\"Connection\" can't be changed"),
            ("upstream = 'app'\nheaders.request.set.Content_Length = '1'", "3:38", "can't be changed"),
            ("upstream = 'app'\nheaders.request.add.Host = 'a'", "3:28", "only `headers.request.set`"),
            ("upstream = 'app'\nheaders.response.set.Host = 'a'", "3:29", "only `headers.request.set`"),
            ("upstream = 'app'\nheaders.request.remove = ['Transfer-Encoding']", "3:27", "can't be changed"),
            ("upstream = 'app'\nheaders.request.remove = 'A'", "3:26", "did you mean [\"A\"]?"),
            ("upstream = 'app'\nheaders.request.set.Host = '{request.host}'", "3:28", "is not a host"),
            ("upstream = 'app'\nheaders.request.set.A = \"b\\r\\nC: d\"", "3:25", "line end"),
            ("upstream = 'app'\nheaders.request.set.A = '{client.adress}'", "3:25", "did you mean {client.address}?"),
            ("upstream = 'app'\nheaders.request.set.A = '{client.ip}'", "3:25", "did you mean {client.address}?"),
            ("upstream = 'app'\nheaders.request.set.A = '{host}'", "3:25", "did you mean {request.host}?"),
            ("upstream = 'app'\nheaders.response.set.A = '{response.status}'", "3:26", "not known yet"),
            ("upstream = 'app'\nmatch.header.A = 'b'", "3:7", "did you mean `headers`?"),
            ("upstream = 'app'\nmatch.headers.Host = 'b'", "3:22", "`route.host`"),
            ("upstream = 'app'\nmatch.headers.A = 1", "3:19", "expected a string"),
            ("upstream = 'app'\nmatch.headers.A = {}", "3:19", "`present` is missing"),
            ("upstream = 'app'\nmatch.query.a = { value = '1', present = true }", "3:32", "exclude each other"),
            ("upstream = 'app'\nmatch.query.a = { prefix = '1', regex = '2' }", "3:33", "exclude each other"),
            ("upstream = 'app'\nmatch.query.a = { prefix = '' }", "3:28", "would match anything"),
            ("upstream = 'app'\nmatch.query.a = { regex = '[' }", "3:27", "is not a regular expression"),
            ("upstream = 'app'\nmatch.any = [{}]", "3:14", "it has no condition"),
            ("upstream = 'app'\nmatch.client = ['10.0.0.1/8']", "3:17", "did you mean \"10.0.0.0/8\"?"),
            ("upstream = 'app'\nmatch.not = { hosts = 'a' }", "3:15", "did you mean `host`?"),
        ],
    );
    let body = "upstream = 'app'\nmatch = { headers.A = 'b', query.c = { present = false } }\n\
                headers.request = { set = { X = 'a{tls.sni}' }, remove = ['Y'] }\nheaders.response.add.Z = ['1', '2']";
    let route = plan(&with("[[route]]", body)).routes.remove(0);
    assert_eq!(route.conditions, [
        Clause::Is(Condition { part: Part::Header, name: "A".into(), expected: Expected::Value("b".into()) }),
        Clause::Is(Condition { part: Part::Query, name: "c".into(), expected: Expected::Absent }),
    ]);
    assert_eq!((route.request_headers.set.len(), &*route.request_headers.remove), (1, &["Y".to_owned()][..]));
    assert_eq!(route.response_headers.add.len(), 2);
}

#[test]
fn variables_of_others_and_parts_that_are_not_captured_are_warned_of() {
    for (keys, title, help) in [
        (
            "headers.request.set.A = 'a $remote_addr'",
            "`$remote_addr` is no variable",
            "write {client.address}",
        ),
        ("headers.response.add.A = ['$status']", "`$status` is no variable", "in braces"),
        (
            "redirect.location = 'https://a.example/x$request_uri'",
            "`$request_uri` is no variable",
            "{map.NAME}",
        ),
        ("path = '~ ^/(a)'\nrewrite = '/b/$2'", "`$2` is always empty", "in parentheses"),
    ] {
        let to = if keys.starts_with("redirect") { "" } else { "upstream = 'app'\n" };
        let text = format!(
            "{}[[route]]\npath = '/other'\nupstream = 'app'\n",
            with("[[route]]", &format!("{to}{keys}"))
        );
        let found = crate::config::warnings("f", &text, &plan(&text)).render(false);
        assert!(found.contains(title) && found.contains(help), "{keys}: {found}");
    }
    let text = with("[[route]]", "upstream = 'app'\nheaders.request.set.A = '5 $ {client.address}'");
    let found = crate::config::warnings("f", &text, &plan(&text));
    assert!(found.is_empty(), "{found}");
}

#[test]
fn server_names_are_for_tcp_listeners_that_do_not_open_tls() {
    let tcp = "[[listener]]\nname = 'db'\naddress = '[::]:1'\nprotocol = 'tcp'\n";
    let route = |sni: &str| format!("[[route]]\nupstream = 'app'\nlistener = 'db'\n{sni}\n");
    for (text, said) in [
        (format!("{tcp}[listener.tls]\ncertificates = ['w']\n{}", route("sni = 'a'")), "has a `tls` table"),
        (format!("{tcp}{}", route("sni = '10.0.0.1'")), "which no TLS client sends as a server name"),
        (format!("{tcp}{}{}", route("sni = 'a'"), route("sni = 'A'")), "already has such a route"),
        (format!("{tcp}{}{}", route(""), route("")), "already has such a route"),
        (format!("{tcp}{}", route("sni = 'a'\nupstreams = []")), "needs an http listener"),
    ] {
        let errors = read(&format!("{text}{UPSTREAM}")).unwrap_err();
        assert!(errors.render(false).contains(said), "{text}: {errors}");
    }
    let text = format!("{LISTENER}{ROUTE}path = '/'\n{tcp}{}{}{UPSTREAM}", route("sni = '*.A'"), route(""));
    let plan = plan(&text);
    assert_eq!(plan.routes[1].sni.as_ref().map(|sni| &sni.value), Some(&HostPattern::Wildcard("a".into())));
    // A route with a server name is for the tcp listener.
    let alone =
        format!("{LISTENER}{ROUTE}path = '/'\n{tcp}[[route]]\nupstream = 'app'\nsni = 'a'\n{UPSTREAM}");
    assert_eq!(read(&alone).unwrap_or_else(|errors| panic!("{errors}")).routes[1].listeners, [1]);
}
