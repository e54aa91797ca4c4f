//! `/v1/failures`: a record for each request that failed, of every worker, without what is secret of it.

use serde_json::{Value, json};

use crate::admin_changes::unix;
use crate::support::*;

fn failures(ringate: &Ringate) -> Vec<Value> {
    let answer = unix(ringate.dir(), "GET", "/v1/failures", &[], None);
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json().as_array().unwrap().clone()
}

#[test]
fn failed_requests_are_listed_with_their_route_and_endpoint() {
    let backend = Backend::serving(|request| {
        let status = if request.line().ends_with("/broken") { "500 Internal Server Error" } else { "200 OK" };
        format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").into_bytes()
    });
    let dead = free_address();
    let ringate = Setup::to(backend.address())
        .workers(2)
        .section("[admin]")
        .routes(
            "[[route]]\npath = \"/\"\nupstream = \"app\"\n[[route]]\npath = \"/dead\"\nupstream = \"dead\"\n\
             [[route]]\npath = \"/never\"\nupstream = \"app\"\nallow = [\"192.0.2.1\"]\n",
        )
        .upstream(&format!("[upstream.dead]\nendpoints = [\"{dead}\"]\n"))
        .start();
    assert_eq!(ringate.get("/").status, 200);
    assert!(failures(&ringate).is_empty(), "{:?}", failures(&ringate));
    let send = |target: &str, lines: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        ringate.client().send(request).response().status
    };
    assert_eq!(send("/dead?token=s3cret", "Authorization: Bearer s3cret\r\nCookie: s3cret\r\n"), 502);
    assert_eq!(send("/broken", ""), 500);
    assert_eq!(send("/never", ""), 403);
    assert_eq!(send("/%2e%2e/", "Bad Field: s3cret\r\n"), 400);
    let all = eventually("the failures", || Some(failures(&ringate)).filter(|all| all.len() == 4));
    let text = serde_json::to_string(&all).unwrap();
    assert!(!text.contains("s3cret"), "{text}");
    let of = |status: u64| {
        all.iter().find(|it| it["status"] == status).unwrap_or_else(|| panic!("{status}: {text}"))
    };
    let routes = unix(ringate.dir(), "GET", "/v1/routes", &[], None).json();
    let id = |place: &str| {
        let all = routes.as_array().or(routes["routes"].as_array()).unwrap();
        all.iter().find(|it| it["matches"].as_str().unwrap().contains(place)).unwrap()["id"].clone()
    };
    let unreachable = of(502);
    assert_eq!(
        (&unreachable["upstream"], &unreachable["endpoint"], &unreachable["type"], &unreachable["fault"]),
        (&json!("dead"), &json!(dead.to_string()), &json!("connection_refused"), &json!("backend"))
    );
    assert_eq!(unreachable["route"], id("/dead"));
    assert_eq!(unreachable["request_id"].as_str().unwrap().len(), 32);
    assert!(unreachable["duration_ms"].is_number() && unreachable["reason"].is_string(), "{unreachable}");
    let broken = of(500);
    assert_eq!((&broken["type"], &broken["upstream"]), (&json!("backend_status"), &json!("app")));
    let never = of(403);
    assert_eq!((&never["fault"], &never["route"]), (&json!("client"), &id("/never")));
    assert_eq!((&of(400)["route"], &of(400)["type"]), (&Value::Null, &json!("http_request_error")));

    // Clients that do wrong again and again push out one another, and not what backends have done.
    let mut client = ringate.client();
    for _ in 0..200 {
        assert_eq!(client.send("GET /never HTTP/1.1\r\nHost: h\r\n\r\n").response().status, 403);
    }
    let all = failures(&ringate);
    assert!(all.len() <= 2 * 2 * 64 && all.iter().any(|it| it["status"] == 502), "{}", all.len());
    let times: Vec<u64> = all.iter().map(|it| it["at_ms"].as_u64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
}
