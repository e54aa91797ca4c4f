//! Rules of routes as they are written.

use super::*;

#[test]
#[rustfmt::skip] // a table: one line a case
fn rules_that_make_no_sense_are_refused() {
    let cases = [
        ("rate_limit = '100'", "2:14", "did you mean \"100/s\"?"),
        ("rate_limit = '10r/s'", "2:14", "did you mean \"10/s\"?"),
        ("rate_limit = '10r/min'", "2:14", "did you mean \"10/m\"?"),
        ("rate_limit = '10rps'", "2:14", "did you mean \"10/s\"?"),
        ("rate_limit = '1.5/s'", "2:14", "it does not begin with a whole number"),
        ("rate_limit = '100/sec'", "2:14", "did you mean \"100/s\"?"),
        ("rate_limit = '0/s'", "2:14", "nothing would pass"),
        ("rate_limit = '-1/s'", "2:14", "it does not begin with a whole number"),
        ("rate_limit = '2000000/s'", "2:14", "it is more than 1000000/s"),
        ("rate_limit = { burst = 1 }", "2:14", "`rate` is missing"),
        ("rate_limit = { rate = '1/s', burst = 0 }", "2:38", "0 is not between 1 and 10000000"),
        ("rate_limit = { rate = '1/h', burst = 900000 }", "2:38", "more than 100 years"),
        ("rate_limit = { rate = '1/s', by = 'clients' }", "2:35", "did you mean \"client\"?"),
        ("rate_limit = { rate = '1/s', by = { header = 'a b' } }", "2:46", "not a header name"),
        ("cors = { origins = ['*'], credentials = true }", "2:20", "would let every site act as its visitor"),
        ("cors = { origins = ['*', 'https://a'] }", "2:20", "\"*\" is every origin already"),
        ("cors = { origins = ['a.example'] }", "2:21", "did you mean \"https://a.example\"?"),
        ("cors = { origins = ['https://a.example/'] }", "2:21", "did you mean \"https://a.example\"?"),
        ("cors = { origins = ['https://a.example:443'] }", "2:21", "browsers leave the usual port out"),
        ("cors = { origins = ['https://a.example:x'] }", "2:21", "the port is none"),
        ("cors = { origins = ['https://a*'] }", "2:21", "a wildcard is allowed only at the beginning"),
        ("cors = { origins = ['null'] }", "2:21", "every sandboxed page"),
        ("cors = { methods = ['GET'] }", "2:8", "`origins` is missing"),
        ("cors = { origins = ['https://a'], expose = ['*'], credentials = true }", "2:8", "means nothing to browsers"),
        ("cors = { origin = ['https://a'] }", "2:10", "did you mean `origins`?"),
        ("api_keys = 'a b'", "2:12", "not a name"),
        ("api_keys = { from = 'a', header = 'Host' }", "2:35", "has a meaning of its own"),
        ("api_keys = { from = 'a', header = 'Authorization' }", "2:35", "is taken in any case"),
        ("api_keys = { from = 'a', header = 'X-A', name_header = 'x-a' }", "2:12", "can't share a field"),
        ("compression = 'gzip'", "2:15", "expected true or false"),
        ("compression = { algorithms = ['gz'] }", "2:31", "is not \"zstd\", \"br\" or \"gzip\""),
        ("compression = { algorithms = ['br', 'br'] }", "2:37", "it is named twice"),
        ("compression = { types = ['text'] }", "2:26", "not a media type"),
        ("compression = { min_size = '1KB' }", "2:28", "did you mean \"1KiB\"?"),
        ("auth.basic = { realm = 'a' }", "2:14", "`file` is missing"),
        ("auth.basic = { file = 'a', forward = 'Host' }", "2:38", "has a meaning of its own"),
        ("auth.basic = { file = 'a', forward = 'X_Forwarded_For' }", "2:38", "has a meaning of its own"),
        ("auth.jwt = { issuer = 'a' }", "2:12", "`jwks` is missing"),
        ("auth.jwt = { jwks = 'a' }", "2:12", "`issuer` is missing"),
        ("auth.jwt = { issuer = 'a', jwks = 'http://a/b' }", "2:35", "is not https"),
        ("auth.jwt = { issuer = 'a', jwks = 'https://a/b', algorithms = ['HS256'] }", "2:35", "are taken from a file alone"),
        ("auth.jwt = { issuer = 'a', jwks = 'a', algorithms = ['none'] }", "2:54", "is not \"RS256\""),
        ("auth.jwt = { issuer = 'a', jwks = 'a', refresh = '1m' }", "2:40", "is for a URL"),
        ("auth.jwt = { issuer = 'a', jwks = 'a', token = 'header:Authorization' }", "2:48", "write \"bearer\""),
        ("auth.jwt = { issuer = 'a', jwks = 'a', token = 'body:a' }", "2:48", "is no place of a token"),
        ("auth = { basic = { file = 'a' }, jwt = { issuer = 'a', jwks = 'a' } }", "2:10", "a request has one Authorization"),
        ("auth.forward = {}", "2:16", "`upstream` is missing"),
        ("auth.forward = { upstream = 'ap' }", "2:29", "did you mean \"app\"?"),
        ("auth.forward = { upstream = 'app', path = 'check' }", "2:43", "did you mean \"/check\"?"),
        ("auth.forward = { upstream = 'app', path = '/a b' }", "2:43", "percent-encode it"),
        ("auth.forward = { upstream = 'app', method = 'PUT' }", "2:45", "is not \"GET\", \"HEAD\" or \"POST\""),
        ("auth.forward = { upstream = 'app', request_headers = ['x-forwarded-uri'] }", "2:55", "is Ringate's to set"),
        ("auth.forward = { upstream = 'app', request_headers = ['Host'] }", "2:55", "can't be changed"),
        ("auth.forward = { upstream = 'app', response_headers = ['X_Forwarded_For'] }", "2:56", "has a meaning of its own"),
        ("auth.forward = { upstream = 'app', response_headers = ['X-A', 'x_a'] }", "2:63", "is named twice"),
        ("auth.forward = { upstream = 'app', refusal_headers = ['Content-Length'] }", "2:55", "can't be changed"),
        ("auth.forward = { upstream = 'app', timeout = '0s' }", "2:46", "longer than zero"),
        ("auth.forward = { upstream = 'app', body_bytes = '2MiB' }", "2:49", "1MiB"),
        ("auth.forward = { upstream = 'app', on_failure = 'pass' }", "2:49", "is not \"deny\" or \"allow\""),
        ("error_pages.intercept = ['302']", "2:26", "is no status of an error"),
        ("error_pages.intercept = ['504-502']", "2:26", "is no status of an error"),
        ("trace = 'mak'", "2:9", "did you mean \"make\"?"),
    ];
    for (text, place, title) in cases {
        refused("[[route]]", &[(&format!("{text}\nupstream = 'app'"), place, title)]);
    }
}

#[test]
fn rules_are_read() {
    let text = "rate_limit = { rate = '120/m', by = { header = 'X-Tenant' } }\n\
        cors = { origins = ['https://A.example', 'https://*.b.example:8443', 'http://localhost:3000'], headers = ['*'], max_age = '0s' }\n\
        api_keys = { from = './keys.toml', header = 'X-Key', forward = true }\ntrace = 'make'\nupstream = 'app'";
    let rules = plan(&with("[[route]]", text)).routes.remove(0).rules;
    let limit = rules.rate_limit.unwrap();
    assert_eq!((limit.count, limit.period, limit.burst), (120, Duration::from_secs(60), 2));
    assert_eq!(limit.by, LimitBy::Header("x-tenant".into()));
    let cors = rules.cors.unwrap();
    assert_eq!(
        cors.origins,
        [
            OriginPattern::Exact("https://a.example".into()),
            OriginPattern::Below { scheme: "https://".into(), suffix: ".b.example:8443".into() },
            OriginPattern::Exact("http://localhost:3000".into()),
        ]
    );
    assert_eq!((cors.headers, cors.max_age), (AnyOr::Any, Duration::ZERO));
    let keys = rules.api_keys.unwrap();
    assert_eq!(keys.file.value, Path::new("/etc/ringate/./keys.toml"));
    assert_eq!((keys.header.as_str(), keys.forward), ("x-key", true));
    assert_eq!(rules.trace, Trace::Make);
    let rules = plan(&with("[[route]]", "api_keys = 'partners'\nrate_limit = '10/h'\nupstream = 'app'"))
        .routes
        .remove(0)
        .rules;
    assert_eq!(rules.api_keys.unwrap().file.value, Path::new("/etc/ringate/certs/api-keys/partners.toml"));
    assert_eq!(rules.rate_limit.unwrap().burst, 1);
    assert_eq!(rules.trace, Trace::Pass);
}

#[test]
fn rules_of_a_listener_are_read() {
    let lines =
        "rate_limit = { rate = '9/s', by = 'listener' }\nheaders.response.remove = ['Server']\n[[route]]";
    let text = format!("{LISTENER}{ROUTE}{UPSTREAM}").replacen("[[route]]", lines, 1);
    let listener = plan(&text).listeners.remove(0);
    assert_eq!(listener.rate_limit.unwrap().by, LimitBy::All);
    assert_eq!(listener.response_headers.remove, ["Server"]);
    assert_eq!(listener.request_headers, Default::default());
}

#[test]
#[rustfmt::skip] // a table: one line a case
fn error_pages_are_checked() {
    refused(
        "[error_pages]",
        &[
            ("399 = 'a.html'", "2:7", "not a status that has a page"),
            ("4x = 'a.html'", "2:6", "not a status that has a page"),
            ("404 = '<h1>'", "2:7", "a text is written in a table"),
            ("404 = {}", "2:7", "either a `file`, a `text` or a `redirect`"),
            ("404 = { file = 'a', text = 'b' }", "2:7", "either a `file`, a `text` or a `redirect`"),
            ("404 = { text = 'b', txt = 'c' }", "2:21","did you mean `text`?"),
            ("404 = 1", "2:7", "expected a string"),
            ("json = 'yes'", "2:8", "expected true or false"),
        ],
    );
    let text = "[error_pages]\n404 = 'a.html'\n5xx = { text = 'sorry' }\n";
    let plan = plan(&format!("{LISTENER}{ROUTE}{UPSTREAM}{text}"));
    let pages = plan.listeners[0].error_pages.as_ref().unwrap();
    assert_eq!(pages.pages.len(), 2);
    assert_eq!(pages.pages[0].media_type, "text/html; charset=utf-8");
    assert_eq!(pages.pages[1].status, PageStatus::Class(5));
}

#[test]
#[rustfmt::skip] // a table: one line a case
fn addresses_and_patterns_are_checked() {
    refused(
        "[[route]]\nupstream = 'app'",
        &[
            ("allow = []", "3:9", "the list is empty"),
            ("deny = ['10.0.0.1/8']", "3:9", "did you mean \"10.0.0.0/8\"?"),
            ("allow = ['localhost']", "3:10", "there is no IP address"),
            ("deny = ['::/129']", "3:9", "the number of bits is none"),
            ("match.headers = { user-agent = '*bot*' }", "3:32", "write { value = \"*bot*\" }"),
            ("merge_slashes = 'off'", "3:17", "expected true or false"),
        ],
    );
    refused(
        "[[listener]]",
        &[
            ("name = 'b'\naddress = '[::]:81'\nclient_address = { header = 'Forwarded', trusted = ['::1'] }", "4:29", "write \"X-Forwarded-For\" or \"X-Real-IP\""),
            ("name = 'b'\naddress = '[::]:81'\nclient_address = { header = 'X-Real-IP', trusted = [] }", "4:52", "the list is empty"),
            ("name = 'b'\naddress = '[::]:81'\nclient_address = { header = 'X-Real-IP' }", "4:18", "`trusted` is missing"),
            ("name = 'b'\naddress = '[::]:81'\nrate_limit = { rate = '1/s', by = 'route' }", "4:35", "is not \"client\" or \"listener\""),
            ("name = 'b'\naddress = '[::]:81'\nheaders.response.set = { Connection = 'close' }", "4:39", "can't be changed"),
            ("name = 'b'\naddress = '[::]:81'\nheaders.responses.remove = ['A']", "4:9", "did you mean `response`?"),
        ],
    );
    let text = with("[[route]]", "upstream = 'app'\nmatch.headers = { accept = { value = '*/*' } }");
    assert_eq!(plan(&text).routes[0].conditions[0].to_string(), "accept: */*");
}

#[test]
#[rustfmt::skip] // a table: one line a case
fn header_rules_under_conditions_have_a_condition_and_change_something() {
    let entry = |entry: &str| format!("upstream = 'app'\nheaders.when = [{entry}]");
    for (written, part) in [
        ("{ request = { set = { A = 'b' } } }", "has no condition"),
        ("{ path = '/a' }", "changes nothing"),
        ("{ status = ['404'] }", "changes nothing"),
        ("{}", "changes nothing"),
        ("{ path = '/a', request = {} }", "changes nothing"),
        ("{ path = '/a', response = { set = {} } }", "changes nothing"),
        ("{ path = '/a', response = { remove = [] } }", "the list is empty"),
        ("{ status = ['404'], request = { set = { A = 'b' } } }", "exclude each other"),
        ("{ status = ['600'], response = { set = { A = 'b' } } }", "no status of a response"),
        ("{ status = ['1xx'], response = { set = { A = 'b' } } }", "no status of a response"),
        ("{ status = ['504-502'], response = { set = { A = 'b' } } }", "no status of a response"),
        ("{ status = [], response = { set = { A = 'b' } } }", "the list is empty"),
        ("{ path = 'a', response = { set = { A = 'b' } } }", "path"),
        ("{ paths = '/a', response = { set = { A = 'b' } } }", "did you mean `path`?"),
        ("{ maps = { none = 'a' }, response = { set = { A = 'b' } } }", "no map called `none`"),
        ("{ path = '/a', response = { set = { A = '{map.none}' } } }", "no map called `none`"),
        ("{ path = '/a', response = { set = { Host = 'b' } } }", "only `headers.request.set`"),
        ("{ path = '/a', response = { set = { A = '{response.status}' } } }", "not known yet"),
    ] {
        let text = with("[[route]]", &entry(written));
        let error = parse("f", &text, Path::new("/")).expect_err(written).to_string();
        assert!(error.contains(part), "{written}: {error}");
    }
    let text = with("[[route]]", &entry(
        "{ path = '/a', not = { methods = ['GET'] }, request = { set = { A = 'b', Host = 'c' } } }, \
         { status = ['404', '5xx', '300-304'], response = { add = { B = ['1', '2'] }, remove = ['C'] } }",
    ));
    let found = &plan(&text).routes[0].conditional_headers;
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].when.as_ref().map(ToString::to_string).as_deref(), Some("not (method GET) and path /a"));
    assert_eq!((found[0].request.set.len(), found[0].request.host.as_deref()), (1, Some("c")));
    assert_eq!((&found[1].when, &*found[1].statuses), (&None, &[(404, 404), (500, 599), (300, 304)][..]));
    assert_eq!((found[1].response.add.len(), &*found[1].response.remove), (2, &["C".to_owned()][..]));
}

#[test]
fn a_refusal_that_routes_of_hosts_stand_before_is_a_warning() {
    let found = |more: &str| {
        let text = with("[[route]]", &format!("path = '/admin'\nrespond = {{ status = 403 }}\n{more}"));
        crate::config::warnings("f", &text, &plan(&text)).render(false)
    };
    let word = "does not hold for requests that the route";
    for more in ["host = 'h'\nupstream = 'app'", "host = '*.h'\npath = '/admin/x'\nupstream = 'app'"] {
        assert!(found(&format!("[[route]]\n{more}")).contains(word), "{more}");
    }
    for more in [
        "path = '/x'\nhost = 'h'\nupstream = 'app'",
        "upstream = 'app'",
        "host = 'h'\nrespond = { status = 404 }",
        "host = 'h'\nupstream = 'app'\napi_keys = 'partners'",
    ] {
        assert!(!found(&format!("[[route]]\n{more}")).contains(word), "{more}");
    }
}
