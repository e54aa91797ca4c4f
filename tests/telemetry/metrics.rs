//! Each request is counted once at its route, its upstream and its endpoint, with its class, its bytes and how long it took.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::exposition::OPENMETRICS;
use super::{scrape, scrape_as};
use crate::http::ok;
use crate::support::*;

const ROUTES: &str = "[[route]]\nhost = \"shop.example\"\npath = \"/orders\"\nupstream = \"app\"\n\
                      [[route]]\nmethods = [\"POST\"]\npath = \"/posts\"\nupstream = \"app\"\n\
                      [[route]]\npath = \"=/fixed\"\nrespond = { status = 204 }";

fn request(method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nHost: shop.example\r\nContent-Length: {length}\r\n\r\n{body}")
}

#[test]
fn requests_are_counted_by_route_upstream_and_endpoint() {
    let backend = Backend::serving(|request| match request.line() {
        "GET /orders/none" => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
        _ => ok("0123456789"),
    });
    let setup = Setup::to(backend.address()).workers(2).section("[admin]").routes(ROUTES);
    let ringate = setup.start();
    let (mut sent, mut received) = (0, 0);
    for (method, path, body, status) in [
        ("GET", "/orders/1", "", 200),
        ("GET", "/orders/none", "", 404),
        ("POST", "/posts", "some text", 200),
        ("GET", "/fixed", "", 204),
        ("GET", "/unknown", "", 404),
    ] {
        let text = request(method, path, body);
        let length = text.len();
        let response = ringate.client().send(text).response();
        assert_eq!(response.status, status, "{path}");
        if path.starts_with("/orders") {
            sent += length;
            received += response.head.len() + response.wire.len();
        }
    }
    let orders = [("listener", "web"), ("route", "shop.example/orders")];
    let found = eventually("both requests", || {
        let found = scrape(&ringate);
        (found.value("ringate_route_requests_total", &orders) == 2.0).then_some(found)
    });
    let class =
        |labels: &[(&'static str, &'static str)], class: &'static str| [labels, &[("class", class)]].concat();
    assert_eq!(found.value("ringate_route_responses_total", &class(&orders, "2xx")), 1.0);
    assert_eq!(found.value("ringate_route_responses_total", &class(&orders, "4xx")), 1.0);
    assert_eq!(found.value("ringate_route_request_bytes_total", &orders), sent as f64);
    assert_eq!(found.value("ringate_route_response_bytes_total", &orders), received as f64);
    for histogram in ["request_duration", "first_byte_duration"] {
        assert_eq!(found.value(&format!("ringate_route_{histogram}_seconds_count"), &orders), 2.0);
        let sum = found.value(&format!("ringate_route_{histogram}_seconds_sum"), &orders);
        assert!(sum > 0.0 && sum < 20.0, "{sum}");
    }
    let of = |route: &'static str| [("listener", "web"), ("route", route)];
    assert_eq!(found.value("ringate_route_responses_total", &class(&of("POST /posts"), "2xx")), 1.0);
    assert_eq!(found.value("ringate_route_responses_total", &class(&of("=/fixed"), "2xx")), 1.0);
    assert_eq!(found.value("ringate_route_responses_total", &class(&of("none"), "4xx")), 1.0);
    let app = [("upstream", "app")];
    assert_eq!(found.value("ringate_upstream_requests_total", &app), 3.0);
    assert_eq!(found.value("ringate_upstream_responses_total", &class(&app, "2xx")), 2.0);
    assert_eq!(found.value("ringate_endpoint_responses_total", &class(&app, "4xx")), 1.0);
    assert!(found.value("ringate_endpoint_request_bytes_total", &app) > sent as f64 + 9.0);
    let made = found.value("ringate_upstream_connections_total", &[("state", "new"), app[0]]);
    let reused = found.value("ringate_upstream_connections_total", &[("state", "reused"), app[0]]);
    assert_eq!(made + reused, 3.0);
    assert_eq!(found.value("ringate_upstream_connect_duration_seconds_count", &app), made);
    assert_eq!(found.value("ringate_upstream_request_duration_seconds_count", &app), 3.0);

    // A reload goes on counting, and a route that is gone is not shown any more.
    let text = setup.text().replace("path = \"=/fixed\"", "path = \"=/other\"");
    std::fs::write(ringate.dir().join("ringate.toml"), text).unwrap();
    ringate.signal(rustix::process::Signal::HUP);
    ringate.await_metric("config_version", 2);
    assert_eq!(ringate.client().send(request("GET", "/orders/1", "")).response().status, 200);
    let found = eventually("the third request", || {
        let found = scrape(&ringate);
        (found.value("ringate_route_requests_total", &orders) == 3.0).then_some(found)
    });
    assert!(found.all("ringate_route_requests_total", &of("=/fixed")).is_empty());
    assert_eq!(found.value("ringate_upstream_requests_total", &app), 4.0);
}

#[test]
fn bytes_of_http2_uploads_and_tunnels_are_counted_too() {
    let switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    let backend = Backend::start(move |connection| {
        while let Some(request) = connection.request()? {
            if request.header("Upgrade").is_some() {
                connection.send(switching)?;
                connection.send([b'x'; 1000])?;
                return Ok(());
            }
            connection.send(ok("done"))?;
        }
        Ok(())
    });
    let ringate = Setup::to(backend.address()).section("[admin]").start();
    let mut client = ringate.client();
    client.send(request("PUT", "/", &"x".repeat(300_000)));
    assert_eq!(client.response().status, 200);
    let upgrade = "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    client.send(upgrade);
    client.until("\r\n\r\n");
    assert_eq!(client.rest().len(), 1000);
    drop(client);
    let route = [("route", "/")];
    let found = eventually("both requests", || {
        let found = scrape(&ringate);
        (found.value("ringate_route_requests_total", &route) == 2.0).then_some(found)
    });
    let received = found.value("ringate_route_request_bytes_total", &route);
    assert!((300_000.0..301_000.0).contains(&received), "{received}");
    let sent = found.value("ringate_route_response_bytes_total", &route);
    assert!((1000.0..2000.0).contains(&sent), "{sent}");
    assert_eq!(found.value("ringate_route_responses_total", &[("class", "1xx"), route[0]]), 1.0);
}

#[test]
fn tcp_connections_and_waits_are_counted_at_their_upstream() {
    let (backend, go) = Backend::held_back();
    let ringate = Setup::to(backend.address())
        .section("[admin]")
        .upstream(
            "[upstream.app.pool]\nmax_per_endpoint = 1\n[upstream.app.queue]\nlength = 5\ntimeout = \"15s\"",
        )
        .start();
    let (mut first, mut second) = (ringate.client(), ringate.client());
    first.send(request("GET", "/", ""));
    backend.request();
    second.send(request("GET", "/", ""));
    ringate.await_metric("queue_open", 1);
    go.send(()).unwrap();
    go.send(()).unwrap();
    assert_eq!((first.response().status, second.response().status), (200, 200));
    let app = [("upstream", "app")];
    eventually("the wait", || {
        let found = scrape(&ringate);
        let waits = found.value("ringate_upstream_queue_duration_seconds_count", &app);
        (waits == 1.0 && found.value("ringate_upstream_queue_duration_seconds_sum", &app) > 0.0).then_some(())
    });

    let echo = Backend::start(|connection| {
        let bytes = connection.bytes(5)?;
        connection.send(bytes)
    });
    let tcp = Setup::to(echo.address()).section("[admin]").listener("protocol = \"tcp\"").start();
    let mut client = tcp.client();
    client.send("12345");
    assert_eq!(client.rest(), b"12345");
    drop(client);
    eventually("the connection's bytes", || {
        let found = scrape(&tcp);
        let bytes = found.value("ringate_upstream_response_bytes_total", &app);
        (bytes == 5.0 && found.value("ringate_endpoint_request_bytes_total", &app) == 5.0).then_some(())
    });
}

#[test]
fn the_process_and_its_workers_are_measured() {
    let pki = Pki::new();
    let backend = Backend::replying(ok("x"));
    let ringate =
        Setup::to(backend.address()).workers(2).section("[admin]").listener(&pki.listener_tls()).start();
    assert_eq!(ringate.tls_client(pki.client_config()).send(request("GET", "/", "")).response().status, 200);
    let found = eventually("each worker's beat", || {
        let found = scrape(&ringate);
        let beats = found.all("ringate_worker_loop_delay_seconds_count", &[]);
        beats.iter().all(|sample| sample.value > 0.0).then_some(found)
    });
    let value = |name: &str| found.value(name, &[]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((now - value("process_start_time_seconds")).abs() < 120.0);
    assert!(value("process_cpu_seconds_total") >= 0.0);
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
    let fds = std::fs::read_dir(format!("/proc/{}/fd", ringate.pid())).unwrap().count() as f64;
    assert!((value("process_open_fds") - fds).abs() < 8.0, "{fds}");
    assert!(value("process_max_fds") > value("process_open_fds"));
    for worker in ["0", "1"] {
        for name in ["worker_cpu_seconds_total", "worker_requests_total", "worker_connections_open"] {
            assert!(found.value(&format!("ringate_{name}"), &[("worker", worker)]) >= 0.0);
        }
    }
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    assert_eq!(found.value("ringate_build_info", &version), 1.0);
    let handshakes = "ringate_listener_tls_handshake_duration_seconds_count";
    assert_eq!(found.value(handshakes, &[("listener", "web")]), 1.0);
}

#[test]
fn bounds_that_were_met_are_one_family() {
    let backend = Backend::replying(ok("x"));
    let ringate = Setup::to(backend.address())
        .section("[admin]")
        .limits("target_bytes = 64")
        .routes("[[route]]\nupstream = \"app\"\nrate_limit = \"1/m\"")
        .start();
    assert_eq!(ringate.get(&format!("/{}", "x".repeat(100))).status, 414);
    assert_eq!([ringate.get("/").status, ringate.get("/").status], [200, 429]);
    let found = scrape(&ringate);
    for (reason, counter) in [("target_bytes", "limit_target_bytes"), ("rate_limit", "requests_limited")] {
        assert_eq!(found.value("ringate_limited_total", &[("reason", reason)]), 1.0, "{reason}");
        assert_eq!(found.value(&format!("ringate_{counter}_total"), &[]), 1.0);
    }
}

#[test]
fn routes_beyond_the_bound_are_counted_together() {
    let backend = Backend::replying(ok("x"));
    let routes = (0..1003).map(|number| format!("[[route]]\npath = \"/r{number}\"\nupstream = \"app\"\n"));
    let ringate = Setup::to(backend.address()).section("[admin]").routes(&routes.collect::<String>()).start();
    ringate.await_log("metrics count this route and those after it together");
    for path in ["/r0", "/r1001", "/r1002"] {
        assert_eq!(ringate.get(path).status, 200);
    }
    let found = eventually("the requests", || {
        let found = scrape(&ringate);
        (found.value("ringate_route_requests_total", &[("route", "other")]) == 2.0).then_some(found)
    });
    assert_eq!(found.value("ringate_route_requests_total", &[("route", "/r0")]), 1.0);
    assert_eq!(found.value("ringate_metrics_merged", &[("of", "routes")]), 3.0);
    assert_eq!(found.all("ringate_route_requests_total", &[]).len(), 1002, "with `none` and `other`");
}

#[test]
fn openmetrics_is_for_those_that_ask_for_it() {
    let backend = Backend::replying(ok("x"));
    let ringate = Setup::to(backend.address()).section("[admin]").start();
    assert_eq!(ringate.get("/").status, 200);
    let open = scrape_as(&ringate, OPENMETRICS);
    assert!(open.text.contains("# TYPE ringate_requests counter\n"), "{}", open.text);
    assert!(open.text.contains("# UNIT ringate_route_request_duration_seconds seconds\n"));
    assert_eq!(open.value("ringate_requests_total", &[]), 1.0);
    let plain = scrape_as(&ringate, "text/plain");
    assert!(plain.text.contains("# TYPE ringate_requests_total counter\n") && !plain.text.contains("# UNIT"));
    let families = |of: &super::Exposition| of.families().count();
    assert_eq!(families(&open), families(&plain));
    promtool(&["check", "metrics"], &plain.text);
}

/// Gives promtool a text, if it is installed: the parser of these tests has its rules too.
pub(super) fn promtool(args: &[&str], input: &str) {
    if !have("promtool") {
        return;
    }
    let mut command = Command::new("promtool");
    let piped = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.trim().is_empty(), "promtool {args:?}: {said}");
}

/// The same with a file.
pub(super) fn promtool_on(args: &[&str], file: &std::path::Path) {
    if have("promtool") {
        let output = Command::new("promtool").args(args).arg(file).output().unwrap();
        assert!(output.status.success(), "promtool {args:?}: {output:?}");
    }
}
