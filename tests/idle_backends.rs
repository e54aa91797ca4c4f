//! Backends that close idle connections: their idle time is learned, and requests that may not be repeated are not lost.

use std::time::Duration;

use crate::http::ok;
use crate::support::*;

const ADMIN: &str = "[admin]\nlisten = \"unix:run/admin.sock\"";
const POST: &str = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab";

/// Sends POSTs with these pauses before them; how many had a new connection to the backend.
fn connections(ringate: &Ringate, pauses: &[u64]) -> u64 {
    let before = ringate.metric("backend_connections_total");
    let mut client = ringate.client();
    for pause in pauses {
        std::thread::sleep(Duration::from_millis(*pause));
        assert_eq!(client.send(POST).response().status, 200);
    }
    ringate.metric("backend_connections_total") - before
}

#[test]
fn a_real_backend_closes_no_connection_under_a_post() {
    if !have("node") {
        return;
    }
    let address = free_address();
    let script = format!(
        "const server = require('http').createServer((request, response) => {{
           request.resume(); request.on('end', () => response.end('ok')); }});
         server.keepAliveTimeout = 1000;
         server.listen({}, '127.0.0.1', () => console.log('listening'));",
        address.port()
    );
    let node = Process::start(std::process::Command::new("node").arg("-e").arg(&script));
    node.await_line("that it listens", |line| line.contains("listening").then_some(()));
    let ringate = Setup::to(address).section(ADMIN).start();
    assert_eq!(connections(&ringate, &[0, 50, 50]), 1, "one connection serves them");
    assert_eq!(connections(&ringate, &[800, 50, 900, 950]), 3, "it is not used towards its end");
}

#[test]
fn a_declared_idle_time_bounds_the_age_of_a_connection() {
    let declaring = |field: &'static str| {
        Backend::serving(move |_| {
            format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{field}\r\nok").into_bytes()
        })
    };
    for (field, count) in [("Keep-Alive: timeout=1, max=9\r\n", 2), ("Keep-Alive: max=9\r\n", 1), ("", 1)] {
        let backend = declaring(field);
        let ringate = Setup::to(backend.address()).section(ADMIN).start();
        assert_eq!(connections(&ringate, &[0, 100, 750]), count, "{field}");
    }
}

#[test]
fn after_a_lost_request_those_that_may_not_be_repeated_have_new_connections() {
    // Answers one request on each connection, and closes when the next one has arrived.
    let closing = Backend::start(|connection| {
        connection.request()?;
        connection.send(ok("once"))?;
        connection.request().map(drop)
    });
    let ringate = Setup::to(closing.address()).section(ADMIN).start();
    let statuses: Vec<_> = (0..10).map(|_| ringate.client().send(POST).response().status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 502).count(), 1, "{statuses:?}");
    assert_eq!(statuses[1], 502);
}
