//! Health checks of backends that speak HTTP/2: by requests, and by gRPC's own service.

use super::kit::*;
use crate::support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const CHECK: &str = "interval = \"100ms\", fall = 1, rise = 1";

/// Answers requests with its name, and checks as told.
fn checked(
    name: &'static str,
    answer: impl Fn(u32, &Head, &[u8]) -> Vec<u8> + Send + Sync + 'static,
) -> Backend {
    backend(&[], move |frames, head| {
        let (body, _) = frames.body(&head)?;
        match head.get(":path") {
            Some("/") => frames.send(ok(head.stream, name)),
            _ => frames.send(answer(head.stream, &head, &body)),
        }
    })
}

fn only_good(ringate: &Ringate) {
    ringate.await_log("the health check fails");
    for _ in 0..6 {
        assert_eq!(ringate.client().send(GET).response().text(), "good");
    }
}

#[test]
fn a_grpc_check_passes_by_the_services_status() {
    // A HealthCheckResponse in a frame of gRPC.
    let reply = |stream, status: u8| {
        let mut bytes = headers(stream, 0, &[(":status", "200"), ("content-type", "application/grpc")]);
        bytes.extend(frame(DATA, 0, stream, &[0, 0, 0, 0, 2, 8, status]));
        bytes.extend(headers(stream, END_STREAM, &[("grpc-status", "0")]));
        bytes
    };
    let good = checked("good", move |stream, head, body| {
        assert_eq!(head.get(":path"), Some("/grpc.health.v1.Health/Check"));
        assert_eq!((head.get("content-type"), head.get("te")), (Some("application/grpc"), Some("trailers")));
        assert_eq!(body, b"\0\0\0\0\x08\x0a\x06orders");
        reply(stream, 1)
    });
    let down = checked("down", move |stream, _, _| reply(stream, 2));
    let unknown = checked("unknown", |stream, _, _| {
        let fields = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "5")];
        headers(stream, END_STREAM, &fields)
    });
    let check = format!("health = {{ type = \"grpc\", service = \"orders\", {CHECK} }}");
    for bad in [&down, &unknown] {
        only_good(&before_with(&[bad, &good], &check).start());
    }
}

#[test]
fn an_http_check_follows_the_upstreams_version() {
    let good = checked("good", |stream, head, _| {
        assert_eq!((head.get(":method"), head.get(":path")), (Some("GET"), Some("/healthz")));
        ok(stream, "all is well")
    });
    let bad = checked("bad", |stream, _, _| empty(stream, "503"));
    let other = checked("other", |stream, _, _| ok(stream, "all is lost"));
    let check = format!("health = {{ type = \"http\", path = \"/healthz\", body = \"well\", {CHECK} }}");
    for bad in [&bad, &other] {
        only_good(&before_with(&[bad, &good], &check).start());
    }
}
