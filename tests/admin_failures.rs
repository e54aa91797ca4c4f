//! `/v1/failures`: a record for each request or tcp connection that failed, of every worker, without what is secret of it.

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

/// A record of each: an endpoint that refuses, no endpoint that is up, bounds of the upstream and of the listener, an address that is
/// not permitted, a server name without a route, a backend that resets a connection in use.
#[test]
fn failed_connections_of_tcp_listeners_have_a_record_each() {
    let (backend, dead) = (Backend::start(|connection| connection.rest().map(drop)), free_address());
    let broken = Backend::start(|connection| {
        connection.bytes(1)?;
        connection.reset()
    });
    let dir = tempfile::tempdir().unwrap();
    let mut config = "[runtime]\nworkers = 1\n[admin]\n".to_owned();
    let live = backend.address();
    let listeners = [
        ("dead", dead, "", ""),
        (
            "sick",
            dead,
            "",
            "health = { type = \"tcp\", interval = \"10s\", fall = 1, all_down = \"refuse\" }",
        ),
        ("full", live, "", "limits.requests = 1"),
        ("one", live, "limits.connections_per_client = 1", ""),
        ("denied", live, "deny = [\"127.0.0.1\"]", ""),
        ("live", live, "", ""),
        ("broken", broken.address(), "", ""),
    ];
    for (name, endpoint, listener, upstream) in listeners {
        config += &format!(
            "[[listener]]\nname = {name:?}\naddress = \"127.0.0.1:0\"\nprotocol = \"tcp\"\n{listener}\n\
             [[route]]\nlistener = [{name:?}]\nupstream = {name:?}\n\
             [upstream.{name}]\nendpoints = [\"{endpoint}\"]\n{upstream}\n"
        );
    }
    config += "[[listener]]\nname = \"named\"\naddress = \"127.0.0.1:0\"\nprotocol = \"tcp\"\n\
               [[route]]\nlistener = [\"named\"]\nsni = \"db.example\"\nupstream = \"live\"\n";
    std::fs::write(dir.path().join("ringate.toml"), config).unwrap();
    let ringate = Ringate::start_in(dir, listeners.len() + 1);
    let connect = |name: &str| Client::connect(ringate.address_of(name));
    let (held, holding) = (connect("full"), connect("one"));
    backend.await_connections(2);
    eventually("the endpoint to be down", || {
        let status: Value = serde_json::from_str(&ringate.admin("/v1/upstreams")).unwrap();
        status.to_string().contains("\"down\"").then_some(())
    });
    for name in ["dead", "sick", "full", "one", "denied"] {
        connect(name).ends();
    }
    connect("named").send("no TLS").ends();
    // What is relayed is no failure.
    connect("live").finish_sending();
    connect("broken").send("x").ends();
    drop((held, holding));
    let all = eventually("the failures", || Some(failures(&ringate)).filter(|all| all.len() >= 7));
    assert_eq!(all.len(), 7, "{all:?}");
    for (name, upstream, endpoint, kind, fault, reason) in [
        ("dead", "dead", Some(dead), "connection_refused", "backend", "refused"),
        ("sick", "sick", None, "destination_unavailable", "backend", "health.all_down"),
        ("full", "full", None, "connection_limit_reached", "backend", "limits.requests"),
        ("one", "", None, "connection_limit_reached", "client", "limits.connections_per_client"),
        ("denied", "", None, "http_request_denied", "client", "does not permit"),
        ("named", "", None, "destination_not_found", "client", "no route"),
        ("broken", "broken", Some(broken.address()), "connection_terminated", "backend", "broke"),
    ] {
        let mut of = all.iter().filter(|it| it["listener"] == name);
        let (Some(it), None) = (of.next(), of.next()) else { panic!("{name}: {all:?}") };
        let upstream = Some(upstream).filter(|upstream| !upstream.is_empty());
        let endpoint = endpoint.map(|endpoint| endpoint.to_string());
        assert_eq!((&it["upstream"], &it["endpoint"]), (&json!(upstream), &json!(endpoint)), "{it}");
        assert_eq!((&it["type"], &it["fault"]), (&json!(kind), &json!(fault)), "{it}");
        assert!(it["reason"].as_str().unwrap().contains(reason), "{it}");
        assert_eq!(
            (&it["status"], &it["route"], &it["request_id"]),
            (&Value::Null, &Value::Null, &Value::Null)
        );
    }
}

/// A file that is cut has a record with its listener and its route; one that is not there is no failure.
#[test]
fn a_response_that_is_cut_has_its_listener_and_route() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("large");
    std::fs::write(&file, vec![b'x'; 24 << 20]).unwrap();
    let ringate = Setup::to(free_address())
        .section("[admin]")
        .routes(&format!("[[route]]\nroot = \"{}\"", dir.path().display()))
        .start();
    assert_eq!(ringate.get("/none").status, 404);
    let mut client = ringate.client();
    client.send("GET /large HTTP/1.1\r\nHost: h\r\n\r\n").until("\r\n\r\n");
    std::thread::sleep(std::time::Duration::from_millis(200));
    std::fs::File::options().write(true).open(&file).unwrap().set_len(20 << 20).unwrap();
    let _ = client.try_rest();
    let all = eventually("the failure", || Some(failures(&ringate)).filter(|all| !all.is_empty()));
    assert_eq!(all.len(), 1, "{all:?}");
    let route = unix(ringate.dir(), "GET", "/v1/routes", &[], None).text;
    assert_eq!((&all[0]["status"], &all[0]["listener"]), (&json!(200), &json!("web")), "{all:?}");
    assert!(route.contains(all[0]["route"].as_str().unwrap()), "{all:?} {route}");
    assert_eq!(all[0]["request_id"].as_str().unwrap().len(), 32);
}
