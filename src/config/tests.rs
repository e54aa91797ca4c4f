//! What a config means, and what is said about one that means nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

mod environments;
mod routing;
mod rules;
mod tls;

use super::plan::*;
use super::{Diagnostics, parse, warnings};
use crate::base::limits::Limits;
use crate::proxy_protocol::{Accept, Version};
use crate::route::{HostPattern, PathPattern, Rewrite};
use crate::tls::{RsaBits, Versions, cipher_suite_name};

const LISTENER: &str = "[[listener]]\nname = 'web'\naddress = '127.0.0.1:8080'\n";
const ROUTE: &str = "[[route]]\nupstream = 'app'\n";
const UPSTREAM: &str = "[upstream.app]\nendpoints = ['127.0.0.1:9000']\n";

fn read(text: &str) -> Result<Plan, Diagnostics> {
    parse("ringate.toml", text, Path::new("/etc/ringate"))
}

/// The plan of a text that must be right.
fn plan(text: &str) -> Plan {
    read(text).unwrap_or_else(|errors| panic!("{errors}"))
}

fn upstreams_of(route: &Route) -> Vec<usize> {
    route.upstreams().collect()
}

/// A config that is right but for `body`, which follows `header`.
fn with(header: &str, body: &str) -> String {
    let rest = [(LISTENER, "[[listener]]"), (ROUTE, "[[route]]"), (UPSTREAM, "[upstream.app]")];
    let rest: String = rest.iter().filter(|(_, own)| *own != header).map(|(text, _)| *text).collect();
    format!("{header}\n{body}\n{rest}")
}

/// Each body under `header` has exactly one error, at `line:column`, with this in its message or help.
#[track_caller]
fn refused(header: &str, cases: &[(&str, &str, &str)]) {
    for (body, place, fragment) in cases {
        let text = with(header, body);
        let errors = match read(&text) {
            Ok(_) => panic!("accepted:\n{text}"),
            Err(errors) => errors,
        };
        let all: Vec<_> = errors.iter().collect();
        assert_eq!(all.len(), 1, "one error for {body:?}:\n{errors}");
        let found = format!("{}:{}", all[0].line, all[0].column);
        assert_eq!(found, *place, "place for {body:?}:\n{errors}");
        let said = format!("{} / {}", all[0].message, all[0].help.unwrap_or_default());
        assert!(said.contains(fragment), "{fragment:?} for {body:?}:\n{errors}");
        let shown = errors.render(false);
        assert!(shown.contains(&format!("ringate.toml:{place}\n")), "{shown}");
    }
}

#[test]
fn runtime_admin_store_and_log_are_checked() {
    refused(
        "[runtime]",
        &[
            ("workers = 0", "2:11", "0 is not between 1 and 1024"),
            ("workers = 1025", "2:11", "1025 is not between 1 and 1024"),
            ("workers = -1", "2:11", "-1 is not between"),
            ("workers = 99999999999999999999999999999999999999999999", "2:11", "is not between"),
            ("workers = 'atuo'", "2:11", "did you mean \"auto\"?"),
            ("workers = '4'", "2:11", "write it without quotes: 4"),
            ("workers = true", "2:11", "`runtime.workers`: expected a number"),
            ("worker = 4", "2:1", "did you mean `workers`?"),
            ("cpus = '3-0'", "2:8", "the range 3-0 runs backwards"),
            ("cpus = '0,,1'", "2:8", "\"\" is not a CPU number"),
            ("cpus = 0", "2:8", "did you mean \"0\"?"),
            ("cpus = '9000'", "2:8", "there is no CPU 9000"),
            ("driver = 'uring'", "2:10", "\"uring\" is not \"auto\", \"io_uring\" or \"epoll\""),
            ("driver = 'epol'", "2:10", "did you mean \"epoll\"?"),
            ("drain = 30", "2:9", "did you mean \"30s\"?"),
            ("drain = '30'", "2:9", "the unit is missing"),
            ("drain = '1.5s'", "2:9", "a whole number and one unit"),
            ("drain = '400d'", "2:9", "longer than 365 days"),
        ],
    );
    refused(
        "[admin]",
        &[
            ("listen = '127.0.0.1:9901'", "2:10", "add `token_file"),
            (
                "listen = 'run/admin.sock'",
                "2:10",
                "did you mean \"unix:run/admin.sock\"? write \"unix:PATH\"",
            ),
            ("listen = 'localhost:9901'", "2:10", "not an address to listen on"),
            ("listen = 'unix:'", "2:10", "the path is missing"),
            (
                "listen = 9901",
                "2:10",
                "expected a string such as \"unix:run/admin.sock\" or a list of strings, found an integer",
            ),
            ("token_file = ''", "2:14", "the path is empty"),
            ("token = 'x'", "2:1", "unknown key `token` in `[admin]`"),
        ],
    );
    refused(
        "[store]",
        &[
            ("path = ''", "2:8", "empty"),
            ("dir = 'c'", "2:1", "unknown key"),
            ("renew = 'auto'", "2:9", "is not"),
            ("grace = 5", "2:9", "duration"),
            ("renew_before = '0s'", "2:16", "longer than zero"),
        ],
    );
    refused(
        "[log]",
        &[
            ("level = 'warning'", "2:9", "\"error\", \"warn\", \"info\", \"debug\" or \"trace\""),
            ("level = 'inf'", "2:9", "did you mean \"info\"?"),
            ("format = 'xml'", "2:10", "\"text\" or \"json\""),
            ("access = 'stdot'", "2:10", "did you mean \"stdout\"?"),
            ("access = true", "2:10", "found a boolean"),
            ("tcp_format = '{request.method}'", "2:14", "`request.method` is of HTTP alone"),
            ("tcp_format = '{relay.upp}'", "2:14", "did you mean {relay.up}?"),
        ],
    );
    refused(
        "[limits]",
        &[
            ("head_bytes = '64KiB'", "2:14", "between 1KiB and 32KiB"),
            ("head_bytes = 512", "2:14", "between 1KiB and 32KiB"),
            ("head_bytes = '16KB'", "2:14", "did you mean \"16KiB\"?"),
            (
                "head_bytes = []",
                "2:14",
                "expected a size such as \"16KiB\" or a number of bytes, found a list",
            ),
            ("headers = 0", "2:11", "between 1 and 256"),
            ("headers = 257", "2:11", "between 1 and 256"),
            ("target_bytes = '20KiB'", "2:16", "`head_bytes` is 16KiB"),
            ("body_bytes = -1", "2:14", "-1 is not a size"),
            ("idle_timeout = '0s'", "2:16", "longer than zero"),
            ("head_timeout = 'soon'", "2:16", "does not begin with a number"),
            ("connections_per_worker = 1.5", "2:26", "found a float"),
            ("buffer_memory = '1MiB'", "2:17", "write \"4MiB\" or more"),
            ("buffer_memory = 'lots'", "2:17", "does not begin with a number"),
            ("body_rate = 240", "2:13", "did you mean \"240B/s\"?"),
            ("body_rate = '1KiB'", "2:13", "did you mean \"1KiB/s\"?"),
            ("body_grace = '0s'", "2:14", "longer than zero"),
            ("connections = -1", "2:15", "between 0 and"),
            ("connections_per_clint = 1", "2:1", "did you mean `connections_per_client`?"),
        ],
    );
}

#[test]
#[rustfmt::skip] // a table: one line a case
fn listeners_are_checked() {
    refused(
        "[[listener]]",
        &[
            ("address = '127.0.0.1:80'", "1:1", "`name` is missing in `[[listener]]`"),
            ("name = 'web'", "1:1", "add `address = \"127.0.0.1:8080\"`"),
            ("name = 'a b'\naddress = '127.0.0.1:80'\n", "2:8", "\"a b\" is not a name"),
            ("name = 'a'\naddress = ':80'", "3:11", "did you mean \"0.0.0.0:80\""),
            ("name = 'a'\naddress = '/run/x.sock'", "3:11", "did you mean \"unix:/run/x.sock\"?"),
            ("name = 'a'\naddress = 'localhost:80'", "3:11", "did you mean \"127.0.0.1:80\"?"),
            ("name = 'a'\naddress = '::1:80'", "3:11", "must be in brackets: \"[::1]:80\""),
            ("name = 'a'\naddress = '10.0.0.1'", "3:11", "the port is missing"),
            ("name = 'a'\naddress = 8080", "3:11", "a string such as \"127.0.0.1:8080\" or a list"),
            ("name = 'a'\naddress = []", "3:11", "the list is empty"),
            ("name = 'a'\naddress = ['[::]:80', 7]", "3:23", "found an integer"),
            ("name = 'a'\naddress = ['[::]:80', '[::]:80']", "3:23", "[::]:80 is already bound by `a`"),
            ("name = 'a'\naddress = '[::]:80'\nprotocol = 'sctp'", "4:12", "\"http\", \"tcp\" or \"udp\""),
            ("name = 'a'\naddress = '[::]:80'\nadress = 1", "4:1", "did you mean `address`?"),
            ("name = 'a'\naddress = '[::]:80'\nproxy_protocol = 'v3'", "4:18", "`listener.proxy_protocol`: \"v3\" is not \"off\", \"v1\", \"v2\" or \"any\""),
            ("name = 'a'\naddress = '[::]:80'\nproxy_protocol = true", "4:18", "expected \"off\", \"v1\", \"v2\" or \"any\", found a boolean"),
            ("name = 'a'\naddress = '[::]:80'\nproxy-protocol = 'v1'", "4:1", "did you mean `proxy_protocol`?"),
            ("name = 'a'\naddress = '[::]:80'\nlimits.headers = 0", "4:18", "`listener.limits.headers`: 0 is not between 1 and 256"),
            ("name = 'a'\naddress = '[::]:80'\n[listener.limits]\nconnections_per_worker = 9", "5:1", "unknown key `connections_per_worker` in `[listener.limits]`"),
            ("name = 'a'\naddress = '[::]:80'\nprotocol = 'tcp'\nlimits = { connections = 3, body_bytes = 1 }", "5:29", "`listener.limits.body_bytes` bounds HTTP, and this listener is tcp"),
            ("name = 'a'\naddress = '[::]:80'\ntls = true", "4:7", "expected a table, `[listener.tls]`"),
            ("name = 'a'\naddress = '[::]:80'\n[listener.tls]", "4:1", "`certificates` is missing in `[listener.tls]`"),
            ("name = 'a'\naddress = '[::]:80'\ntls.certificates = []", "4:20", "the list is empty"),
            ("name = 'a'\naddress = '[::]:80'\ntls.certificates = 'web'", "4:20", "did you mean [\"web\"]?"),
            ("name = 'a'\naddress = '[::]:80'\ntls.certificates = ['we b']", "4:21", "neither a name in the store nor a file"),
            ("name = 'a'\naddress = '[::]:80'\ntls.certificates = [{ cert = 'a' }]", "4:21", "`key` is missing"),
            (
                "name = 'a'\naddress = '[::]:80'\ntls.certificates = [{ cert = 'a.p12', passphrase = 'no' }]",
                "4:39",
                "the keys here are `cert`, `key`, `passphrase_file`",
            ),
            ("name = 'a'\naddress = '[::]:80'\ntls = { certificates = ['w'], versions = [] }", "4:42", "empty"),
            ("name = 'a'\naddress = '[::]:80'\ntls = { certificates = ['w'], versions = ['1.1'] }", "4:43", "\"1.1\" is not a TLS version"),
            ("name = 'a'\naddress = '[::]:80'\ntls = { certificates = ['w'], versions = [1.3] }", "4:43", "did you mean \"1.3\"?"),
            ("name = 'a'\naddress = '[::]:80'\ntls = { certificates = ['w'], client_auth = 'required' }", "4:45", "add `client_trust`"),
            ("name = 'a'\naddress = '[::]:80'\ntls = { certificates = ['w'], client_trust = ['p'] }", "4:31", "`listener.tls.client_trust` has no effect"),
        ],
    );
}

#[test]
#[rustfmt::skip] // a table: one line a case
fn routes_are_checked() {
    refused(
        "[[route]]",
        &[
            ("", "1:1", "`upstream` is missing in `[[route]]`"),
            ("upstream = 'ap'", "2:12", "did you mean \"app\"?"),
            ("upstream = 'orders'", "2:12", "add [upstream.orders] with `endpoints`"),
            ("upstream = 'app'\nlistener = 'wbe'", "3:12", "did you mean \"web\"?"),
            ("upstream = 'app'\nlistener = ['web', 'web']", "3:20", "named twice"),
            ("upstream = 'app'\nlistener = []", "3:12", "the list is empty"),
            ("upstream = 'app'\npath = 'orders'", "3:8", "did you mean \"/orders\"?"),
            ("upstream = 'app'\npath = '=orders'", "3:8", "did you mean \"=/orders\"?"),
            ("upstream = 'app'\npath = '/orders/*'", "3:8", "matches what lies below it too: \"/orders\""),
            ("upstream = 'app'\npath = '/*'", "3:8", "matches what lies below it too: \"/\""),
            ("upstream = 'app'\npath = '/a*b'", "3:8", "it has a wildcard"),
            ("upstream = 'app'\npath = '*a*'", "3:8", "does not begin with"),
            ("upstream = 'app'\npath = '~ ('", "3:8", "unclosed group"),
            ("upstream = 'app'\npath = '~'", "3:8", "the regular expression is missing"),
            ("upstream = 'app'\npath = '~ ^/a'\nstrip_prefix = true", "4:1", "has no prefix"),
            ("upstream = 'app'\nhost = ['a', 'b c']", "3:14", "is not a host"),
            ("upstream = 'app'\npath = '/a?b=c'", "3:8", "does not match the query"),
            ("upstream = 'app'\npath = '/a b'", "3:8", "percent-encoded"),
            ("upstream = 'app'\npath = '/a%2'", "3:8", "two hexadecimal digits"),
            ("upstream = 'app'\npath = '/a/../b'", "3:8", "`..` segment"),
            ("upstream = 'app'\nhost = '*'", "3:8", "leave `host` out"),
            ("upstream = 'app'\nhost = 'a.*.com'", "3:8", "a wildcard is allowed only at the beginning"),
            ("upstream = 'app'\nhost = 'example.com:8080'", "3:8", "did you mean \"example.com\"?"),
            ("upstream = 'app'\nhost = 'https://example.com/'", "3:8", "did you mean \"example.com\"?"),
            ("upstream = 'app'\nhost = 'example..com'", "3:8", "an empty part"),
            ("upstream = 'app'\nhost = 'exämple.com'", "3:8", "the name has \"ä\" in it"),
            ("upstream = 'app'\nhost = ''", "3:8", "is not a host"),
            ("upstream = 'app'\nhost = '::1'", "3:8", "did you mean \"[::1]\"?"),
            ("upstream = 'app'\nmethods = ['get']", "3:12", "did you mean \"GET\"?"),
            ("upstream = 'app'\nmethods = ['*']", "3:12", "leave `methods` out"),
            ("upstream = 'app'\nmethods = ['G T']", "3:12", "\"G T\" is not a method"),
            ("upstream = 'app'\nmethods = []", "3:11", "the list is empty"),
            ("upstream = 'app'\nmethods = 'GET'", "3:11", "did you mean [\"GET\"]?"),
            ("upstream = 'app'\nencoded_slashes = 'pas'", "3:19", "did you mean \"pass\"?"),
            ("upstream = 'app'\nstrip_prefix = 1", "3:16", "expected true or false, found an integer"),
            ("upstream = 'app'\nsni = 'a'", "3:1", "`route.sni` needs a tcp listener"),
            ("upstream = 'app'\npaths = ['/']", "3:1", "did you mean `path`?"),
        ],
    );
}

#[test]
#[rustfmt::skip] // a table: one line a case
fn upstreams_are_checked() {
    refused(
        "[upstream.app]",
        &[
            ("", "1:1", "`endpoints` is missing in `[upstream.app]`"),
            ("endpoins = ['a:1']", "2:1", "did you mean `endpoints`?"),
            ("endpoints = []", "2:13", "the list is empty"),
            ("endpoints = 'a:1'", "2:13", "did you mean [\"a:1\"]?"),
            ("endpoints = ['10.0.0.1']", "2:14", "the port is missing"),
            ("endpoints = ['/run/x.sock']", "2:14", "did you mean \"unix:/run/x.sock\"?"),
            ("endpoints = ['9000']", "2:14", "did you mean \"127.0.0.1:9000\"?"),
            ("endpoints = [9000]", "2:14", "found an integer"),
            ("endpoints = [':9000']", "2:14", "the host is missing"),
            ("endpoints = ['a:0']", "2:14", "not between 1 and 65535"),
            ("endpoints = ['a:65536']", "2:14", "not between 1 and 65535"),
            ("endpoints = ['a:http']", "2:14", "the port is not a number"),
            ("endpoints = ['::1']", "2:14", "did you mean \"[::1]:80\"?"),
            ("endpoints = ['fe80::a:b:c:1:900000']", "2:14", "not between 1 and 65535"),
            ("endpoints = ['::1:9000']", "2:14", "did you mean \"[::1]:9000\"?"),
            ("endpoints = ['1:2:3:4:5:6:7:8:80']", "2:14", "did you mean \"[1:2:3:4:5:6:7:8]:80\"?"),
            ("endpoints = ['[::1]']", "2:14", "the port is missing"),
            ("endpoints = ['[::g]:80']", "2:14", "not an IPv6 address"),
            ("endpoints = ['10.0.0.256:80']", "2:14", "neither an IPv4 address nor a name"),
            ("endpoints = ['http://a:80/x']", "2:14", "write host and port, \"a:80\""),
            ("endpoints = ['dns:a']", "2:14", "the port is missing"),
            ("endpoints = ['dns:10.0.0.1:80']", "2:14", "did you mean \"10.0.0.1:80\"?"),
            ("endpoints = ['srv:a.test']", "2:14", "does not begin with a service"),
            ("endpoints = ['srv:_http._tcp.a..test']", "2:14", "an empty part"),
            ("endpoints = ['file:']", "2:14", "the path is missing"),
            ("endpoints = [{ address = 'file:a.toml', weight = 2 }]", "2:50", "has weights of its own"),
            ("endpoints = ['unix:']", "2:14", "the path is missing"),
            ("endpoints = ['unix:@']", "2:14", "the path is missing"),
            (&format!("endpoints = ['unix:/{}']", "x".repeat(107)), "2:14", "the path is too long"),
            ("endpoints = ['a:1', 'a:1']", "2:21", "listed twice"),
            ("endpoints = [{ weight = 2 }]", "2:14", "`address` is missing"),
            ("endpoints = [{ address = 'a:1', weight = 0 }]", "2:42", "0 is not between 1 and 1000"),
            ("endpoints = [{ address = 'a:1', weigth = 2 }]", "2:33", "did you mean `weight`?"),
            ("endpoints = ['a:1']\nbalance = 'hash'", "3:11", "what is to be hashed is missing"),
            ("endpoints = ['a:1']\nbalance = 'leastconn'", "3:11", "did you mean \"least-requests\"?"),
            ("endpoints = ['a:1']\nbalance = 'random'\nhash.by = 'path'", "4:1", "no effect without `balance = \"hash\"`"),
            ("endpoints = ['a:1']\nhash.by = 'path'", "3:1", "no effect without `balance = \"hash\"`"),
            ("endpoints = ['a:1']\nbalance = 'hash'\nhash = { by = 'header:' }", "4:15", "no name behind the colon"),
            ("endpoints = ['a:1']\nbalance = 'hash'\nhash = { by = 'host' }", "4:15", "\"host\" can't be hashed"),
            ("endpoints = ['a:1']\nbalance = 'hash'\nhash = { by = 'path', load = 0.5 }", "4:30", "0.5 is neither 0 nor a number from 1 to 100"),
            ("endpoints = ['a:1']\nbalance = 'hash'\nhash = { by = 'path', load = '2' }", "4:30", "expected a number such as 1.25"),
            ("endpoints = [{ address = 'a:1', backup = 1 }]", "2:42", "expected true or false"),
            ("endpoints = ['a:1']\nsticky = {}", "3:10", "what a session is kept by is missing"),
            ("endpoints = ['a:1']\nsticky = { cookie = 'a', header = 'B' }", "3:10", "contradict each other"),
            ("endpoints = ['a:1']\nsticky = { cookie = 'a b' }", "3:21", "not the name of a cookie"),
            ("endpoints = ['a:1']\nsticky = { header = 'Content-Length' }", "3:21", "can't be changed"),
            ("endpoints = ['a:1']\nsticky = { cookie = 'a', max_age = '0s' }", "3:36", "longer than zero"),
            ("endpoints = ['a:1']\nslow_start = 30", "3:14", "did you mean \"30s\"?"),
            ("endpoints = ['a:1']\nbalance = 'rond-robin'", "3:11", "did you mean \"round-robin\"?"),
            ("endpoints = ['a:1']\ntimeouts = '5s'", "3:12", "expected a table"),
            ("endpoints = ['a:1']\ntimeouts = { conect = '5s' }", "3:14", "did you mean `connect`?"),
            ("endpoints = ['a:1']\ntimeouts.connect = '5'", "3:20", "`upstream.app.timeouts.connect`"),
            ("endpoints = ['a:1']\nqueue = { length = 5 }", "3:9", "add `pool.max_per_endpoint = 100`, or leave the queue out"),
            ("endpoints = ['a:1']\npool.max_per_endpoint = 1\nqueue.timeout = '0s'", "4:17", "longer than zero"),
            ("endpoints = ['a:1']\npool.max_per_endpoint = 1\nqueue.lenght = 3", "4:7", "did you mean `length`?"),
            ("endpoints = ['a:1']\npool.max_per_endpoint = -1", "3:25", "between 0 and"),
            ("endpoints = ['a:1']\npool.idle_per_worker = '256'", "3:24", "write it without quotes: 256"),
            ("endpoints = ['a:1']\nretries = 2", "3:11", "expected a table"),
            ("endpoints = ['a:1']\nretries = { attempts = 0 }", "3:24", "0 is not between 1 and 10"),
            ("endpoints = ['a:1']\nretries = { budget = 101 }", "3:22", "101 is not between 0 and 100"),
            ("endpoints = ['a:1']\nretries = { on = ['rest'] }", "3:19", "did you mean \"reset\"?"),
            ("endpoints = ['a:1']\nretries = { on = ['302'] }", "3:19", "or a status from 400 to 599"),
            ("endpoints = ['a:1']\nretries = { on = [503] }", "3:19", "did you mean \"503\"?"),
            ("endpoints = ['a:1']\nretries = { attempt_timeout = '1s' }", "3:31", "`on` has no \"timeout\""),
            ("endpoints = ['a:1']\nretries = { on = ['timeout'], attempt_timeout = '31s' }", "3:49", "longer than `timeouts.response`"),
            ("endpoints = ['a:1']\nhealth = { path = '/' }", "3:12", "`upstream.app.health.path` has no effect without `type = \"http\"`"),
            ("endpoints = ['a:1']\nhealth = { interval = '1s' }", "3:12", "has no effect without `type`"),
            ("endpoints = ['a:1']\nhealth = { type = 'grpc' }", "3:19", "the upstream speaks HTTP/1.1"),
            ("endpoints = ['a:1']\nhealth = { type = 'tcp', service = 'a' }", "3:26", "has no effect without `type = \"grpc\"`"),
            ("endpoints = ['a:1']\nhealth = { type = 'tls' }", "3:19", "the upstream is plain"),
            ("endpoints = ['a:1']\nhealth = { type = 'http', expect = ['2xx'] }", "3:37", "is no status, and no range of them"),
            ("endpoints = ['a:1']\nhealth = { type = 'http', path = '/a b' }", "3:34", "is no path of a request"),
            ("endpoints = ['a:1']\nhealth = { type = 'http', method = 'HEAD', body = 'ok' }", "3:51", "has no body"),
            ("endpoints = ['a:1']\nhealth = { type = 'http', headers = { Host = 'a' } }", "3:46", "can't be changed"),
            ("endpoints = ['a:1']\noutliers = { max_ejected = '101%' }", "3:28", "it is no share from"),
            ("endpoints = ['a:1']\noutliers = { error_rate = 'half' }", "3:27", "it is no share from"),
            ("endpoints = ['a:1']\nhealth.passive = false\noutliers = {}", "4:12", "has no effect with `health.passive = false`"),
            ("endpoints = ['a:1']\nproxy_protocol = 'any'", "3:18", "`upstream.app.proxy_protocol`: \"any\" is not \"off\", \"v1\" or \"v2\""),
        ],
    );
}

#[test]
#[rustfmt::skip] // a table: one line a case
fn backend_tls_is_checked() {
    refused(
        "[upstream.app]",
        &[
            ("endpoints = ['a:1']\ntls = 'on'", "3:7", "expected a table, `[upstream.app.tls]`"),
            ("endpoints = ['a:1']\ntls.server_name = '*.a'", "3:19", "it has a wildcard"),
            ("endpoints = ['a:1']\ntls.server_name = 'a:443'", "3:19", "did you mean \"a\"?"),
            ("endpoints = ['a:1']\ntls.trust = []", "3:13", "the list is empty"),
            ("endpoints = ['a:1']\ntls.trust = 'system'", "3:13", "did you mean [\"system\"]?"),
            ("endpoints = ['a:1']\ntls.certificate = ''", "3:19", "neither a name in the store nor a file"),
            ("endpoints = ['a:1']\ntls.certificate = { cert = 'a', kee = 'b', key = 'c' }", "3:33", "did you mean `key`?"),
            ("endpoints = ['a:1']\ntls.versions = ['TLSv1.3']", "3:17", "did you mean \"1.3\"?"),
            ("endpoints = ['a:1']\ntls.cipher_suites = []", "3:21", "the list is empty"),
            ("endpoints = ['a:1']\ntls.cipher_suites = ['TLS13_AES_128_GCM']", "3:22", "the suites are TLS13_AES_128_GCM_SHA256, "),
            ("endpoints = ['a:1']\ntls.cipher_suites = ['ECDHE-RSA-AES128-GCM-SHA256']", "3:22", "did you mean \"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"?"),
            ("endpoints = ['a:1']\ntls.versions = ['1.3']\ntls.cipher_suites = ['TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256']", "4:21", "none of these suites is of TLS 1.3"),
            ("endpoints = ['a:1']\ntls.versions = ['1.2']\ntls.cipher_suites = ['TLS13_AES_128_GCM_SHA256']", "4:21", "none of these suites is of TLS 1.2"),
            ("endpoints = ['a:1']\ntls.resumption = 8", "3:18", "expected a table"),
            ("endpoints = ['a:1']\ntls.resumption.tickets_per_endpoint = 5000", "3:39", "between 0 and 1024"),
            ("endpoints = ['a:1']\ntls.pins = ['sha1/x']", "3:13", "it does not begin with \"sha256/\""),
            ("endpoints = ['a:1']\ntls.pins = ['sha256/x']", "3:13", "what follows is not base64"),
            ("endpoints = ['a:1']\ntls.pins = ['sha256/AAAA']", "3:13", "it has not 32 bytes"),
            ("endpoints = ['a:1']\ntls.require_client_auth = true", "3:27", "name one with `certificate`"),
            ("endpoints = ['a:1']\ntls.min_rsa_bits = 512", "3:20", "is not between 1024 and 4096"),
            ("endpoints = ['a:1']\ntls.min_rsa_bits = 2000", "3:20", "none of 1024, 2048, 3072 and 4096"),
            ("endpoints = ['a:1']\ntls.crl = 'x.crl'", "3:11", "did you mean [\"x.crl\"]?"),
            (
                "endpoints = ['a:1']\ntls.insecure_skip_verify = true\ntls.trust = ['ca']",
                "4:13",
                "`insecure_skip_verify` turns off what `trust` requires",
            ),
            ("endpoints = ['a:1']\n[upstream.app.tls]\ncertifcate = 'x'", "4:1", "unknown key `certifcate` in `[upstream.app.tls]` / did you mean `certificate`?"),
        ],
    );
}

#[test]
fn the_file_as_a_whole_is_checked() {
    let tcp = "[[listener]]\nname = 'db'\naddress = '[::]:1'\nprotocol = 'tcp'\n";
    let on_web = "[[route]]\nlistener = 'web'\nupstream = 'app'\n";
    let other = "[[listener]]\nname = 'alt'\naddress = '[::]:2'\n";
    for (text, place, fragment) in [
        (String::new(), "1:1", "there is no listener"),
        (format!("{ROUTE}{UPSTREAM}"), "1:1", "there is no listener"),
        (format!("listener = []\n{ROUTE}{UPSTREAM}"), "1:12", "there must be at least one"),
        (format!("[listener]\nname = 'web'\n{ROUTE}{UPSTREAM}"), "1:1", "under its own header: [[listener]]"),
        (
            format!("{LISTENER}[route]\nupstream = 'app'\n{UPSTREAM}"),
            "4:1",
            "under its own header: [[route]]",
        ),
        (format!("{LISTENER}{ROUTE}[[upstream]]\nname = 'app'\n"), "6:1", "write [upstream.NAME]"),
        (format!("{LISTENER}{UPSTREAM}"), "2:8", "no route uses the listener `web`"),
        (
            format!("{LISTENER}{other}[[route]]\nlistener = 'web'\nupstream = 'app'\n{UPSTREAM}"),
            "5:8",
            "listener `alt`",
        ),
        (format!("{LISTENER}{ROUTE}"), "5:12", "there is no upstream called `app`"),
        (
            format!("{LISTENER}{ROUTE}[upstream]\nendpoints = ['a:1']\napp.endpoints = ['a:1']"),
            "7:13",
            "write [upstream.NAME]",
        ),
        (
            format!("{LISTENER}{ROUTE}{UPSTREAM}[upstream.'a b']\nendpoints = ['a:1']"),
            "8:11",
            "\"a b\" is not a name",
        ),
        (
            format!("{LISTENER}{ROUTE}{UPSTREAM}[upstreams.b]\nendpoints = ['a:1']"),
            "8:2",
            "did you mean `upstream`?",
        ),
        (format!("{LISTENER}{other}{ROUTE}{UPSTREAM}"), "7:1", "add `listener = [\"web\", \"alt\"]`"),
        (format!("{LISTENER}{tcp}{ROUTE}{UPSTREAM}"), "8:1", "there are several listeners"),
        (
            format!("{tcp}{ROUTE}host = 'a'\n{UPSTREAM}"),
            "7:1",
            "`route.host` needs an http listener, and `db` is tcp",
        ),
        (format!("{tcp}{ROUTE}path = '/'\n{UPSTREAM}"), "7:1", "`route.path` needs an http listener"),
        (
            format!("{tcp}{ROUTE}methods = ['GET']\n{UPSTREAM}"),
            "7:1",
            "`route.methods` needs an http listener",
        ),
        (
            format!("{tcp}{ROUTE}{ROUTE}{UPSTREAM}"),
            "7:1",
            "the tcp listener `db` already has such a route, at ringate.toml:5",
        ),
        (
            format!("{LISTENER}[[listener]]\nname = 'web'\naddress = '[::]:1'\n{on_web}{UPSTREAM}"),
            "5:8",
            "two listeners called `web`",
        ),
        (
            format!(
                "{LISTENER}[[listener]]\nname = 'b'\naddress = '127.0.0.1:8080'\n{ROUTE}listener = ['web', 'b']\n{UPSTREAM}"
            ),
            "6:11",
            "127.0.0.1:8080 is already bound by `web`",
        ),
        (
            format!("{LISTENER}{tcp}[[route]]\nlistener = ['web', 'db']\nupstream = 'app'\n{UPSTREAM}"),
            "9:20",
            "`db` does not speak the same protocol as `web`",
        ),
        ("a = 127.0.0.1:80".to_owned(), "1:10", "strings must be quoted: a = \"127.0.0.1:80\""),
        ("a = auto".to_owned(), "1:5", "strings must be quoted: a = \"auto\""),
        (format!("{LISTENER}name = 'x'\n"), "4:1", "duplicate key"),
        ("[runtime\nx = 1".to_owned(), "1:9", "unclosed table"),
        ("a = \"x".to_owned(), "1:7", "invalid TOML"),
    ] {
        let errors = read(&text).expect_err(&text);
        let first = errors.iter().next().expect("an error");
        let said = format!("{} / {}", first.message, first.help.unwrap_or_default());
        assert!(said.contains(fragment), "{fragment:?} for:\n{text}\n{errors}");
        assert_eq!(format!("{}:{}", first.line, first.column), place, "{text}\n{errors}");
        assert_eq!(errors.len(), 1, "{text}\n{errors}");
    }
}

#[test]
fn one_run_reports_every_error() {
    let text = "
[runtime]
workers = 0
wrokers = 1

[[listener]]
name = 'web'
address = 'localhost:80'
tls = { certificates = [], versions = ['1.0'] }

[[route]]
listener = 'webb'
upstream = 'ap'
path = 'x'

[upstream.app]
endpoints = ['a', 'b', 'c:1']
health_check = {}
";
    let errors = read(text).expect_err("wrong");
    let places: Vec<_> = errors.iter().map(|error| format!("{}:{}", error.line, error.column)).collect();
    let expected =
        ["3:11", "4:1", "8:11", "9:24", "9:40", "12:12", "13:12", "14:8", "17:14", "17:19", "18:1"];
    assert_eq!(places, expected, "{errors}");
    let syntax = read("a = x\nb = y\n").expect_err("wrong");
    assert_eq!(syntax.len(), 2, "{syntax}");
}

#[test]
fn an_error_reads_well() {
    let errors = read(&with("[upstream.app]", "endpoins = ['a:1']")).expect_err("wrong");
    let expected = "\
error: unknown key `endpoins` in `[upstream.app]`
 --> ringate.toml:2:1
  |
2 | endpoins = ['a:1']
  | ^^^^^^^^
  |
  = help: did you mean `endpoints`? the keys here are `balance`, `bind_address`, `endpoints`, `environment`, `hash`, `health`, `http`, `limits`, `mirror`, `outliers`, `pool`, `proxy_protocol`, `queue`, `retries`, `slow_start`, `sticky`, `timeouts`, `tls`";
    assert_eq!(errors.to_string(), expected);
}

#[test]
fn what_is_left_out_has_its_default() {
    let plan = plan(&format!("{LISTENER}{ROUTE}{UPSTREAM}"));
    assert_eq!(
        plan.runtime,
        Runtime {
            workers: None,
            cpus: None,
            driver: DriverSetting::Auto,
            drain: Duration::from_secs(30),
            splice: true
        }
    );
    assert_eq!(plan.process, Process::default());
    assert_eq!(plan.admin, None);
    assert_eq!(plan.store, Path::new("/etc/ringate/certs"));
    assert_eq!(plan.log, Log::default());
    assert_eq!(plan.limits, Limits::default());
    let listener = &plan.listeners[0];
    assert_eq!((listener.protocol, &listener.tls), (Protocol::Http, &None));
    let route = &plan.routes[0];
    assert_eq!((&route.listeners, upstreams_of(route), &route.rewrite), (&vec![0], vec![0], &Rewrite::Keep));
    assert_eq!((&route.hosts, &route.methods), (&Vec::new(), &None));
    assert_eq!(*route.path, PathPattern::Prefix("/".into()));
    let upstream = &plan.upstreams[0];
    assert_eq!(
        upstream.endpoints[0].value,
        Endpoint { address: "127.0.0.1:9000".into(), weight: 1, backup: false, drain: false }
    );
    assert_eq!(upstream.connect_timeout, Duration::from_secs(2));
    assert_eq!(upstream.response_timeout, Duration::from_secs(30));
    assert_eq!(upstream.idle_timeout, Duration::from_secs(60));
    assert_eq!((upstream.idle_per_worker, upstream.max_age), (256, Duration::from_secs(3600)));
    assert_eq!((upstream.max_per_endpoint, &upstream.queue), (0, &Queue::default()));
    assert_eq!(upstream.retries, Retries::default());
    assert_eq!(upstream.tls, None);
}

#[test]
fn what_is_written_is_meant() {
    let text = "
[runtime]
workers = 4
cpus = '8,0-2'
driver = 'io_uring'
drain = '0s'
splice = false
[process]
user = 'ringate'
group = 'proxies'
landlock = 'on'
seccomp = 'log'
restrict_rings = false
[admin]
listen = '127.0.0.1:0'
token_file = 'run/token'
[store]
path = '/var/certs'
[log]
level = 'debug'
format = 'json'
access = 'access.log'
[limits]
head_bytes = '4KiB'
headers = 50
body_bytes = 1_000
head_timeout = '1s'
body_timeout = '2s'
body_rate = '1KiB/s'
body_grace = '4s'
idle_timeout = '3s'
requests_per_connection = 5
connections = 6
connections_per_client = 7
udp_sessions = 8
connections_per_worker = 9
buffer_memory = '64MiB'
[[listener]]
name = 'in'
address = ['0.0.0.0:0', '[::]:0', '0.0.0.0:0']
proxy_protocol = 'off'
tls = { certificates = ['web', './x', 'y.PEM', { cert = 'c', key = '/k' }], client_auth = 'none', client_trust = [] }
[[listener]]
name = 'db'
address = '127.0.0.1:1'
protocol = 'tcp'
proxy_protocol = 'any'
[[route]]
host = '*.Example.com'
path = '=/a/b'
methods = ['GET', 'PROPFIND']
strip_prefix = true
upstream = 'b'
[[route]]
listener = ['db']
upstream = 'a'
[upstream.b]
endpoints = ['[::1]:80', { address = 'b_c.internal:81', weight = 7 }]
balance = 'round-robin'
proxy_protocol = 'v2'
timeouts = { connect = '1ms', response = '2m', idle = '3h' }
pool = { idle_per_worker = 0, max_per_endpoint = 3, max_age = '1d' }
queue = { length = 7, timeout = '4s' }
retries = { attempts = 3, on = ['connect', 'timeout', '503', '429'], budget = 5, attempt_timeout = '2s' }
tls.server_name = '10.0.0.1'
tls.trust = ['system', 'ca', 'dir/ca.pem']
tls.certificate = 'gateway'
tls.versions = ['1.3']
tls.cipher_suites = ['TLS_AES_256_GCM_SHA384', 'TLS13_AES_128_GCM_SHA256']
tls.resumption.tickets_per_endpoint = 0
tls.pins = ['sha256/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=']
tls.require_client_auth = true
tls.min_rsa_bits = 1024
tls.crl = ['ca.crl', '/x']
tls.insecure_skip_verify = false
[upstream.a]
endpoints = ['a:1']
";
    let plan = plan(text);
    let dir = |path: &str| PathBuf::from("/etc/ringate").join(path);
    let runtime = &plan.runtime;
    assert_eq!(
        (runtime.workers, runtime.driver, runtime.drain),
        (Some(4), DriverSetting::IoUring, Duration::ZERO)
    );
    assert!(!runtime.splice);
    let Process { user, group, landlock, seccomp, restrict_rings } = plan.process;
    assert_eq!(
        (user.as_deref(), group.as_deref()),
        (Some(&"ringate".to_owned()), Some(&"proxies".to_owned()))
    );
    assert_eq!((landlock, seccomp, restrict_rings), (true, SeccompMode::Log, false));
    assert_eq!(runtime.cpus.as_deref(), Some(&vec![0, 1, 2, 8]));
    let address = "127.0.0.1:0".parse().expect("an address");
    let admin = plan.admin.expect("an admin server");
    assert_eq!(admin.listen.value, AdminAddress::Tcp { address, token_file: dir("run/token") });
    assert_eq!(&text[admin.listen.span], "'127.0.0.1:0'");
    assert_eq!(plan.store, Path::new("/var/certs"));
    assert_eq!((plan.log.level, plan.log.format), (tracing::Level::DEBUG, LogFormat::Json));
    assert!(matches!(plan.log.access, Some(AccessLog::File(path)) if *path == dir("access.log")));
    let limits = Limits {
        head_bytes: 4096,
        headers: 50,
        target_bytes: 4096,
        body_bytes: 1000,
        head_timeout: Duration::from_secs(1),
        body_timeout: Duration::from_secs(2),
        body_rate: 1024,
        body_grace: Duration::from_secs(4),
        idle_timeout: Duration::from_secs(3),
        requests_per_connection: 5,
        connections: 6,
        connections_per_client: 7,
        udp_sessions: 8,
        connections_per_worker: 9,
        buffer_memory: Some(64 << 20),
    };
    assert_eq!(plan.limits, limits);
    assert_eq!(plan.listeners[0].limits, limits);
    let accepted: Vec<_> = plan.listeners.iter().map(|listener| listener.proxy_protocol).collect();
    assert_eq!(accepted, [None, Some(Accept::Any)]);
    let sent: Vec<_> = plan.upstreams.iter().map(|upstream| upstream.proxy_protocol).collect();
    assert_eq!(sent, [None, Some(Version::V2)]);

    let tls = plan.listeners[0].tls.as_ref().expect("tls");
    let certificates: Vec<_> = tls.certificates.iter().map(|certificate| certificate.value.clone()).collect();
    assert_eq!(
        certificates,
        [
            CertificateRef::Store("web".into()),
            CertificateRef::File(dir("./x")),
            CertificateRef::File(dir("y.PEM")),
            CertificateRef::Pair { cert: dir("c"), key: "/k".into() },
        ]
    );
    assert_eq!(tls.versions, Versions { tls12: true, tls13: true });
    assert_eq!(plan.listeners[0].addresses.len(), 3);

    let names: Vec<_> = plan.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let [http, tcp] = &plan.routes[..] else { panic!("two routes") };
    assert_eq!(
        (&http.listeners, upstreams_of(http), &http.rewrite),
        (&vec![0], vec![1], &Rewrite::prefix("/a/b", ""))
    );
    assert_eq!((&tcp.listeners, upstreams_of(tcp)), (&vec![1], vec![0]));
    assert_eq!(http.hosts[0].value, HostPattern::Wildcard("example.com".into()));
    assert_eq!(*http.path, PathPattern::Exact("/a/b".into()));
    assert_eq!(http.methods, Some(vec!["GET".into(), "PROPFIND".into()]));
    assert_eq!(&text[http.span.clone()], "[[route]]");

    let upstream = &plan.upstreams[1];
    let endpoints: Vec<_> = upstream.endpoints.iter().map(|e| (e.address.as_str(), e.weight)).collect();
    assert_eq!(endpoints, [("[::1]:80", 1), ("b_c.internal:81", 7)]);
    assert_eq!(upstream.connect_timeout, Duration::from_millis(1));
    assert_eq!(upstream.response_timeout, Duration::from_secs(120));
    assert_eq!(upstream.idle_timeout, Duration::from_secs(3 * 3600));
    assert_eq!((upstream.idle_per_worker, upstream.max_age), (0, Duration::from_secs(86_400)));
    assert_eq!((upstream.max_per_endpoint, upstream.queue.length), (3, 7));
    assert_eq!(upstream.queue.timeout, Duration::from_secs(4));
    let retries = Retries {
        attempts: 3,
        failover: false,
        timeout: true,
        statuses: vec![503, 429],
        budget: 5,
        attempt_timeout: Some(Duration::from_secs(2)),
        ..Retries::default()
    };
    assert_eq!(upstream.retries, retries);
    let tls = upstream.tls.as_ref().expect("tls");
    assert_eq!(tls.server_name.as_ref().map(|name| name.as_str()), Some("10.0.0.1"));
    let trust: Vec<_> = tls.trust.iter().map(|trust| trust.value.clone()).collect();
    assert_eq!(
        trust,
        [
            TrustRef::System,
            TrustRef::Certificate(CertificateRef::Store("ca".into())),
            TrustRef::Certificate(CertificateRef::File(dir("dir/ca.pem"))),
        ]
    );
    let certificate = tls.certificate.as_ref().expect("a certificate");
    assert_eq!(certificate.value, CertificateRef::Store("gateway".into()));
    assert_eq!(&text[certificate.span.clone()], "'gateway'");
    assert_eq!(tls.versions, Versions { tls12: false, tls13: true });
    let suites: Vec<_> =
        tls.cipher_suites.iter().flatten().map(|suite| cipher_suite_name(suite.value)).collect();
    assert_eq!(suites, ["TLS13_AES_256_GCM_SHA384", "TLS13_AES_128_GCM_SHA256"]);
    assert_eq!(tls.tickets_per_endpoint, 0);
    let counting = std::array::from_fn(|index| index as u8);
    assert_eq!(tls.pins.iter().map(|pin| pin.value).collect::<Vec<[u8; 32]>>(), [counting]);
    assert_eq!(
        tls.crl.iter().map(|file| file.value.clone()).collect::<Vec<_>>(),
        [dir("ca.crl"), "/x".into()]
    );
    assert_eq!((tls.min_rsa_bits, tls.require_client_auth), (RsaBits::Legacy1024, true));
    assert_eq!(tls.insecure_skip_verify, None);
}

#[test]
fn verification_is_turned_off_by_one_key_alone() {
    let tls = |lines: &str| {
        let text = format!("endpoints = ['a:1']\ntls.insecure_skip_verify = true\n{lines}");
        plan(&with("[upstream.app]", &text)).upstreams[0].tls.clone().expect("tls")
    };
    assert!(tls("").insecure_skip_verify.is_some());
    assert!(tls("tls.pins = []\ntls.crl = []").insecure_skip_verify.is_some());
}

#[test]
fn a_listeners_limits_lie_over_those_of_the_process() {
    let text = with("[limits]", "head_bytes = '8KiB'\nheaders = 50\nconnections = 3");
    let text = text.replace("[[route]]", "[listener.limits]\nheaders = 60\nbody_rate = 0\n[[route]]");
    let plan = plan(&text);
    let own = Limits { headers: 60, body_rate: 0, ..plan.limits.clone() };
    assert_eq!((plan.limits.headers, own.head_bytes, own.connections), (50, 8192, 3));
    assert_eq!(plan.listeners[0].limits, own);
}

#[test]
fn a_unix_admin_socket_may_have_a_token_file_too() {
    let text = with("[admin]", "listen = 'unix:a.sock'\ntoken_file = 't'");
    let admin = plan(&text).admin.expect("an admin server");
    assert_eq!(admin.listen.value, AdminAddress::Unix("/etc/ringate/a.sock".into()));
}

#[test]
fn an_empty_admin_section_means_the_default_socket() {
    let admin = plan(&with("[admin]", "")).admin.expect("an admin server");
    let socket = AdminAddress::Unix("/etc/ringate/run/admin.sock".into());
    assert_eq!(admin.listen, At { value: socket, span: 0..0 });
}

#[test]
fn the_same_is_meant_by_dotted_keys_inline_tables_and_headers() {
    let tls = |text: &str| {
        let tls =
            plan(&with("[upstream.app]", &format!("endpoints = ['a:1']\n{text}"))).upstreams[0].tls.clone();
        let tls = tls.expect("tls");
        (tls.certificate.map(|certificate| certificate.value), tls.tickets_per_endpoint)
    };
    let dotted = tls("tls.certificate = 'x'\ntls.resumption.tickets_per_endpoint = 3");
    assert_eq!(dotted, (Some(CertificateRef::Store("x".into())), 3));
    assert_eq!(dotted, tls("tls = { certificate = 'x', resumption = { tickets_per_endpoint = 3 } }"));
    assert_eq!(dotted, tls("[upstream.app.tls]\ncertificate = 'x'\nresumption.tickets_per_endpoint = 3"));
}

#[test]
fn an_upstream_that_no_route_uses_is_a_warning() {
    let text = format!("{LISTENER}{ROUTE}{UPSTREAM}[upstream.spare]\nendpoints = ['a:1']\n");
    let found = warnings("ringate.toml", &text, &plan(&text));
    let all: Vec<_> = found.iter().collect();
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].line, all[0].message), (8, "no route uses the upstream `spare`"));
    assert!(found.into_result().is_ok());
}

#[test]
fn line_ends_and_byte_order_marks_of_other_systems_are_fine() {
    let text = format!("\u{feff}{LISTENER}{ROUTE}{UPSTREAM}").replace('\n', "\r\n");
    plan(&text);
    let errors = read(&text.replacen("'app'", "'apq'", 1)).expect_err("wrong");
    let places: Vec<_> = errors.iter().map(|error| (error.line, error.column)).collect();
    assert_eq!(places, [(5, 12)], "{errors}");
    let errors = read("\u{feff}wrokers = 1").expect_err("wrong");
    assert!(errors.iter().any(|error| (error.line, error.column) == (1, 1)), "{errors}");
}

fn example(name: &str) -> Plan {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
    let text = std::fs::read_to_string(&path).expect("the example");
    let plan = parse(name, &text, Path::new("/etc/ringate")).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(warnings(name, &text, &plan).is_empty());
    plan
}

#[test]
fn every_example_is_right() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let names =
        std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").file_name());
    let names: Vec<_> = names.map(|name| name.into_string().expect("a name")).collect();
    let examples: Vec<_> = names.iter().filter(|name| name.ends_with(".toml")).collect();
    assert_eq!(examples.len(), 6, "{examples:?}");
    for name in examples {
        example(name);
    }
    assert_eq!(example("tcp.toml").listeners[0].protocol, Protocol::Tcp);
    let tls = example("tls.toml").upstreams.remove(0).tls.expect("tls");
    assert!(tls.certificate.is_some());
}

#[test]
fn the_reference_shows_the_defaults() {
    let reference = example("reference.toml");
    let default = plan(&format!("[admin]\n{LISTENER}{ROUTE}{UPSTREAM}tls = {{}}\n"));
    assert_eq!(reference.runtime, default.runtime);
    assert_eq!(
        reference.admin.map(|admin| admin.listen.value),
        default.admin.map(|admin| admin.listen.value)
    );
    let rotation = Rotation { wrote_renew_before: false, ..reference.rotation };
    assert_eq!((&reference.store, rotation), (&default.store, default.rotation));
    assert_eq!(reference.log, default.log);
    assert_eq!(reference.limits, default.limits);
    let (ours, theirs) = (&reference.routes[0], &default.routes[0]);
    assert_eq!((&ours.hosts, &*ours.path, &ours.methods), (&theirs.hosts, &*theirs.path, &theirs.methods));
    let (ours, theirs) = (&reference.upstreams[0], &default.upstreams[0]);
    assert_eq!(
        (ours.connect_timeout, ours.response_timeout, ours.idle_timeout, ours.idle_per_worker, ours.max_age),
        (
            theirs.connect_timeout,
            theirs.response_timeout,
            theirs.idle_timeout,
            theirs.idle_per_worker,
            theirs.max_age
        )
    );
    let (ours, theirs) = (ours.tls.as_ref().expect("tls"), theirs.tls.as_ref().expect("tls"));
    assert_eq!(ours.versions, theirs.versions);
    assert_eq!(ours.trust[0].value, theirs.trust[0].value);
    assert_eq!(ours.tickets_per_endpoint, theirs.tickets_per_endpoint);
    assert_eq!((&ours.pins, &ours.crl, ours.min_rsa_bits), (&theirs.pins, &theirs.crl, theirs.min_rsa_bits));
    assert_eq!((ours.require_client_auth, &ours.insecure_skip_verify), (false, &None));
    assert_eq!(ours.cipher_suites.as_ref().map(Vec::len), Some(crate::tls::CIPHER_SUITES.len()));
}

#[test]
fn every_server_name_that_is_accepted_is_one_for_rustls() {
    for name in ["a", "a.b", "a_b.internal", "10.0.0.1", "::1", "A.Example", &"a".repeat(63)] {
        assert!(super::names::server_name(name).is_ok(), "{name}");
        assert!(rustls::pki_types::ServerName::try_from(name.to_owned()).is_ok(), "{name}");
    }
}

/// Text that is nearly a config: lines of one in any order and number, with bits replaced.
fn nearly_a_config() -> impl Strategy<Value = String> {
    let reference = include_str!("../../config/reference.toml");
    let lines: Vec<&str> = reference.lines().map(|line| line.trim_start_matches("# ")).collect();
    let values = vec![
        "0",
        "-1",
        "''",
        "[]",
        "{}",
        "[[]]",
        "{ a = 1 }",
        "['x:1', 2]",
        "1.5",
        "true",
        "1979-05-27",
        "'*'",
    ];
    let line = (prop::sample::select(lines), prop::option::weighted(0.3, prop::sample::select(values)));
    let line = line.prop_map(|(line, value)| match (line.split_once('='), value) {
        (Some((key, _)), Some(value)) => format!("{key}= {value}"),
        _ => line.to_owned(),
    });
    prop::collection::vec(line, 0..20).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_text_is_a_plan_or_errors_that_can_be_shown(text in prop_oneof![".{0,200}", "(\\PC|\n|\r|\t|=|\\[|\\]|'){0,100}", nearly_a_config()]) {
        if let Err(errors) = read(&text) {
            prop_assert!(!errors.is_empty());
            prop_assert!(!errors.render(false).is_empty());
            errors.render(true);
        }
    }

    #[test]
    fn any_value_of_a_key_is_read_or_refused(value in "[\\[{'\"]?\\PC{0,20}[\\]}'\"]?") {
        for (header, key) in [
            ("[runtime]", "cpus"),
            ("[runtime]", "drain"),
            ("[admin]", "listen"),
            ("[log]", "access"),
            ("[[listener]]", "address"),
            ("[[route]]", "host"),
            ("[[route]]", "path"),
            ("[upstream.app]", "endpoints"),
            ("[upstream.app]", "tls"),
        ] {
            let quoted = format!("{key} = {value:?}");
            let list = format!("{key} = [{value:?}]");
            for body in [format!("{key} = {value}"), quoted, list] {
                if let Err(errors) = read(&with(header, &body)) {
                    prop_assert!(!errors.render(false).is_empty());
                }
            }
        }
    }
}

#[test]
fn what_is_locked_names_the_file_of_its_passphrase() {
    let certificate = |text: &str| {
        let plan = plan(&with(
            "[[listener]]",
            &format!("name = 'a'\naddress = '[::]:80'\ntls.certificates = [{text}]"),
        ));
        plan.listeners[0].tls.as_ref().unwrap().certificates[0].value.clone()
    };
    let dir = |name: &str| Path::new("/etc/ringate").join(name);
    let credential = || PathBuf::from("$CREDENTIALS_DIRECTORY/web");
    for (text, expected) in [
        (
            "{ cert = 'a.pem', key = 'a.key', passphrase_file = 'secret' }",
            CertificateRef::Locked {
                cert: dir("a.pem"),
                key: Some(dir("a.key")),
                passphrase_file: dir("secret"),
            },
        ),
        (
            "{ cert = 'a.p12', passphrase_file = '$CREDENTIALS_DIRECTORY/web' }",
            CertificateRef::Locked { cert: dir("a.p12"), key: None, passphrase_file: credential() },
        ),
        ("{ cert = 'a.PFX' }", CertificateRef::File(dir("a.PFX"))),
        ("'a.p12'", CertificateRef::File(dir("a.p12"))),
        ("'$CREDENTIALS_DIRECTORY/web'", CertificateRef::File(credential())),
    ] {
        assert_eq!(certificate(text), expected, "{text}");
    }
}

/// A small config with `from` replaced by `to`: the errors, each with its line, and their helps.
fn mistakes(from: &str, to: &str) -> Vec<(usize, String)> {
    let text = "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:1\"\n[[route]]\nupstream = \"app\"\n\
                [upstream.app]\nendpoints = [\"127.0.0.1:2\"]\npool.max_per_endpoint = 5\nqueue.length = 3\n";
    assert!(text.contains(from), "{from}");
    let errors = read(&text.replacen(from, to, 1)).unwrap_err();
    errors.iter().map(|one| (one.line, format!("{} {}", one.message, one.help.unwrap_or_default()))).collect()
}

#[test]
fn one_mistake_is_one_error() {
    for (from, to, line, said) in [
        ("upstream = \"app\"", "respnd = { status = 200 }", 5, "did you mean `respond`?"),
        ("upstream = \"app\"", "redirct = { scheme = \"https\" }", 5, "did you mean `redirect`?"),
        ("upstream = \"app\"", "redirect = { schem = \"https\" }", 5, "did you mean `scheme`?"),
        (
            "name = \"web\"\naddress = \"127.0.0.1:1\"\n[[route]]",
            "name = 1\naddress = \"127.0.0.1:1\"\n[[route]]\nlistener = \"web\"",
            2,
            "expected a string",
        ),
        ("upstream = \"app\"", "proxy_pass = \"app\"", 5, "did you mean `upstream`?"),
        ("upstream = \"app\"", "fastcgi_pass = \"/var/www\"", 5, "`route.fastcgi_pass` is not supported yet"),
        ("[upstream.app]", "[upstrem.app]", 6, "did you mean `upstream`?"),
        ("[[route]]", "[[rout]]", 4, "did you mean `route`?"),
        ("[[listener]]", "[[listner]]", 1, "did you mean `listener`?"),
        ("address =", "listen =", 3, "did you mean `address`?"),
        ("endpoints =", "servers =", 7, "did you mean `endpoints`?"),
        ("= 5", "= \"5\"", 8, "write it without quotes: 5"),
        ("[[route]]", "protocol = \"tpc\"\n[[route]]\nsni = \"a.b\"", 4, "did you mean \"tcp\"?"),
        // Of a bracket or text that is not closed.
        ("[\"127.0.0.1:2\"]", "[\"127.0.0.1:2\"", 7, "this `[` is not closed"),
        ("[\"127.0.0.1:2\"]", "[{ address = \"127.0.0.1:2\" ]", 7, "this `{` is not closed"),
        ("\"127.0.0.1:1\"", "[\"127.0.0.1:1\",", 3, "this `[` is not closed"),
        ("queue.length = 3", "queue = { length = 3", 9, "this `{` is not closed"),
        ("\"web\"", "\"web", 2, ""),
        ("\"web\"", "\"\"\"web\"", 2, "this `\"\"\"` is not closed"),
        ("[[route]]", "[[route]", 4, ""),
    ] {
        let errors = mistakes(from, to);
        assert_eq!(errors.len(), 1, "{to}: {errors:?}");
        assert!(errors[0].0 == line && errors[0].1.contains(said), "{to}: {errors:?}");
    }
}

#[test]
fn keys_of_others_and_of_later_versions_are_answered_with_what_there_is() {
    for (from, to, said) in [
        (
            "endpoints =",
            "backup = true\nendpoints =",
            "unknown key `backup` in `[upstream.app]` see endpoints = [{ address = \"HOST:PORT\", backup = true }]",
        ),
        ("endpoints =", "health_check = {}\nendpoints =", "did you mean `health`"),
        ("name =", "http2 = true\nname =", "see http.versions of a listener"),
        ("endpoints =", "max_fails = 3\nendpoints =", "did you mean `upstream.outliers`?"),
        ("endpoints =", "address = '127.0.0.1:2'\nendpoints =", "see endpoints of an upstream"),
        ("upstream = \"app\"", "upstream = \"app\"\nbasic_auth = 1", "did you mean `route.auth.basic`?"),
        ("upstream = \"app\"", "upstream = \"app\"\nwaf = 1", "`route.waf` is not supported yet"),
        ("upstream = \"app\"", "upstream = \"app\"\nlocation = \"/a\"", "did you mean `route.path`?"),
        ("[[route]]", "client_max_body_size = 1\n[[route]]", "did you mean `limits.body_bytes`?"),
        ("endpoints =", "balance = \"least-conn\"\nendpoints =", "did you mean \"least-requests\"?"),
        ("endpoints =", "balance = \"fastest\"\nendpoints =", "there are \"round-robin\""),
        ("endpoints =", "balance = \"round_robin\"\nendpoints =", "did you mean \"round-robin\"?"),
    ] {
        let errors = mistakes(from, to);
        assert!(errors.len() == 1 && errors[0].1.contains(said), "{to}: {errors:?}");
    }
}

#[test]
fn the_access_log_has_its_forms_and_no_others() {
    let log = |access: &str| {
        let text = format!(
            "log.access = {access:?}\n[[listener]]\nname = 'a'\naddress = '127.0.0.1:1'\n[[route]]\nupstream = 'b'\n\
             [upstream.b]\nendpoints = ['127.0.0.1:2']"
        );
        let plan = read(&text).map(|plan| plan.log.access.map(|access| format!("{access:?}")));
        plan.map_err(|errors| {
            let one =
                errors.iter().next().map(|one| format!("{} {}", one.message, one.help.unwrap_or_default()));
            one.unwrap_or_default()
        })
    };
    for (access, expected) in [
        ("stdout", "Stdout"),
        ("./a:b.log", "a:b.log"),
        ("logs/access", "File"),
        ("syslog:127.0.0.1:514", "SyslogUdp"),
        ("syslog:[::1]:514", "SyslogUdp"),
        ("syslog:logs.example:5514", "SyslogUdp"),
        ("syslog:unix:/dev/log", "SyslogUnix"),
    ] {
        assert!(log(access).unwrap().unwrap().contains(expected), "{access}");
    }
    for (access, said) in [
        ("syslog:127.0.0.1", "did you mean \"syslog:127.0.0.1:514\"?"),
        ("syslog://127.0.0.1:514", "did you mean \"syslog:127.0.0.1:514\"?"),
        ("syslog:/dev/log", "did you mean \"syslog:unix:/dev/log\"?"),
        ("syslog:unix:", "did you mean \"syslog:unix:/dev/log\"?"),
        ("syslog:", FORMS),
        ("syslog", FORMS),
        ("/dev/log", "did you mean \"syslog:unix:/dev/log\"?"),
        ("journald:", "did you mean \"journald\"?"),
        ("udp:127.0.0.1:514", "did you mean \"syslog:127.0.0.1:514\"?"),
        ("udp://127.0.0.1:514", "did you mean \"syslog:127.0.0.1:514\"?"),
        ("tcp:127.0.0.1:514", FORMS),
        ("file:///var/log/a", "did you mean \"/var/log/a\"?"),
        ("127.0.0.1:514", FORMS),
        ("stderr", FORMS),
        ("stdot", "did you mean \"stdout\"?"),
        ("access", "did you mean \"./access\"?"),
    ] {
        let error = log(access).unwrap_err();
        assert!(error.starts_with("`log.access`: ") && error.contains(said), "{access}: {error}");
    }
}

const FORMS: &str = "write \"off\", \"stdout\", a file such as \"./access.log\", \"syslog:HOST:PORT\" (UDP),";

#[test]
fn the_admin_server_may_have_several_addresses() {
    let admin = |lines: &str| {
        let sources = super::Sources::single("f", Path::new("/etc/ringate/f"), format!("[admin]\n{lines}"));
        super::admin(&sources, Path::new("/etc/ringate"), &super::Alone)
    };
    let found = admin("listen = ['unix:a.sock', '127.0.0.1:1']\ntoken_file = 't'\nmetrics = 'open'")
        .unwrap()
        .unwrap();
    assert_eq!((found.addresses().count(), found.open_metrics), (2, true));
    assert_eq!(found.listen.value, AdminAddress::Unix("/etc/ringate/a.sock".into()));
    for (lines, said) in [
        ("listen = []", "the list is empty"),
        ("listen = ['unix:a', 'unix:a']", "listed twice"),
        ("listen = ['unix:a', '127.0.0.1:1']", "needs a token"),
        ("metrics = 'opne'", "did you mean \"open\"?"),
        ("hosts = ['a b']", "is not a server name"),
    ] {
        let errors = admin(lines).unwrap_err();
        assert!(errors.len() == 1 && errors.to_string().contains(said), "{lines}: {errors}");
    }
}

#[test]
fn each_way_to_balance_is_read() {
    let hash = |by, load| Balance::Hash(Hash { by: At { value: by, span: 0..0 }, load });
    for (lines, balance) in [
        ("", Balance::RoundRobin),
        ("balance = 'round-robin'", Balance::RoundRobin),
        ("balance = 'least-requests'", Balance::LeastRequests),
        ("balance = 'least-connections'", Balance::LeastRequests),
        ("balance = 'two-choices'", Balance::TwoChoices),
        ("balance = 'random'", Balance::Random),
        ("balance = 'hash'\nhash.by = 'client-address'", hash(HashBy::ClientAddress, 125)),
        ("balance = 'hash'\nhash = { by = 'path', load = 2 }", hash(HashBy::Path, 200)),
        (
            "balance = 'hash'\nhash = { by = 'header:X-User', load = 0 }",
            hash(HashBy::Header("X-User".into()), 0),
        ),
        (
            "balance = 'hash'\nhash = { by = 'cookie:id', load = 1.05 }",
            hash(HashBy::Cookie("id".into()), 105),
        ),
        (
            "balance = 'hash'\nhash = { by = 'query:user', load = 1.5 }",
            hash(HashBy::Query("user".into()), 150),
        ),
    ] {
        let text = format!(
            "[[listener]]\nname = 'a'\naddress = '127.0.0.1:0'\n[[route]]\nupstream = 'u'\n[upstream.u]\n\
             endpoints = ['a:1', {{ address = 'b:1', backup = true }}]\nslow_start = '30s'\n{lines}\n"
        );
        let plan = parse("test.toml", &text, Path::new("/")).unwrap();
        let upstream = &plan.upstreams[0];
        assert_eq!(upstream.balance, balance, "{lines}");
        assert_eq!(upstream.slow_start, Duration::from_secs(30));
        assert_eq!(upstream.endpoints.iter().map(|it| it.backup).collect::<Vec<_>>(), [false, true]);
    }
}

#[test]
fn what_is_read_of_requests_is_refused_where_only_tcp_and_udp_listeners_use_it() {
    let text = |first: &str, second: &str, lines: &str| {
        format!(
            "[[listener]]\nname = 'a'\naddress = '127.0.0.1:0'\nprotocol = '{first}'\n\
             [[listener]]\nname = 'b'\naddress = '127.0.0.1:0'\nprotocol = '{second}'\n\
             [[route]]\nlistener = 'a'\nupstream = 'u'\n[[route]]\nlistener = 'b'\nupstream = 'u'\n\
             [upstream.u]\nendpoints = ['a:1']\n{lines}\n[upstream.u.environment.test]\nendpoints = ['b:1']\n"
        )
    };
    let plan = |first, second, lines| parse("test.toml", &text(first, second, lines), Path::new("/"));
    for (lines, key) in [
        ("sticky = { cookie = 'a' }", "`sticky` has no effect"),
        ("balance = 'hash'\nhash.by = 'path'", "`hash.by` has no effect"),
        ("balance = 'hash'\nhash.by = 'header:X-User'", "`hash.by` has no effect"),
    ] {
        for (first, second) in [("tcp", "tcp"), ("udp", "udp"), ("tcp", "udp")] {
            let errors = plan(first, second, lines).unwrap_err();
            assert!(errors.len() == 1 && errors.to_string().contains(key), "{lines}: {errors}");
        }
        plan("http", "tcp", lines).unwrap();
    }
    plan("tcp", "udp", "balance = 'hash'\nhash.by = 'client-address'").unwrap();
}
