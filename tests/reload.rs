//! A reload changes exactly what differs, and loses no connection and no request.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::http::OK;
use crate::support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// A backend that answers with its name.
fn named(name: &'static str) -> Backend {
    Backend::replying(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()))
}

/// Writes a new config and reloads it by signal; waits for the log to say so.
pub(crate) fn reload(ringate: &Ringate, config: &str) {
    fs::write(ringate.dir().join("ringate.toml"), config).unwrap();
    let before = ringate.log().matches("reloaded (SIGHUP)").count();
    ringate.signal(Signal::HUP);
    eventually("the reload", || (ringate.log().matches("reloaded (SIGHUP)").count() > before).then_some(()));
}

/// The running config, changed.
pub(crate) fn edit(ringate: &Ringate, from: &str, to: &str) -> String {
    let text = fs::read_to_string(ringate.dir().join("ringate.toml")).unwrap();
    assert!(text.contains(from), "{text}");
    text.replace(from, to)
}

#[test]
fn traffic_goes_where_the_new_config_says_on_old_connections_too() {
    let (old, new) = (named("old"), named("new"));
    for driver in ["io_uring", "epoll"] {
        let ringate = Setup::to(old.address()).driver(driver).workers(2).start();
        let mut client = ringate.client();
        assert_eq!(client.send(GET).response().text(), "old");
        reload(&ringate, &edit(&ringate, &old.address().to_string(), &new.address().to_string()));
        assert_eq!(client.send(GET).response().text(), "new", "the same connection");
        assert_eq!(ringate.get("/").text(), "new");
    }
}

#[test]
fn an_exchange_under_way_ends_on_what_it_began_with() {
    let (old, go) = Backend::stepped(|connection, wait| {
        connection.request()?;
        connection.send(HALF)?;
        wait();
        connection.send("half")
    });
    let new = named("new");
    let ringate = Setup::to(old.address()).start();
    let mut client = ringate.client();
    client.send(GET).until("\r\n\r\nhalf");
    reload(&ringate, &edit(&ringate, &old.address().to_string(), &new.address().to_string()));
    go.send(()).unwrap();
    client.until("half");
    assert_eq!(client.send(GET).response().text(), "new");
}

#[test]
fn idle_connections_of_before_end_though_an_exchange_goes_on() {
    let (old, go) = Backend::with_long_exchanges();
    let new = named("new");
    let ringate = Setup::to(old.address()).start();
    let (mut long, mut short) = (ringate.client(), ringate.client());
    long.send("GET /long HTTP/1.1\r\nHost: h\r\n\r\n").until("\r\n\r\nhalf");
    short.send(GET).response();
    assert_eq!((old.connections(), old.ended()), (2, 0));
    reload(&ringate, &edit(&ringate, &old.address().to_string(), &new.address().to_string()));
    assert_eq!(short.send(GET).response().text(), "new");
    old.await_ended(1);
    go.send(()).unwrap();
    long.until("half");
    // The connection that it used is closed, too.
    old.await_ended(2);
}

#[test]
fn a_config_that_does_not_hold_changes_nothing() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    client.send(GET).response();
    let good = fs::read_to_string(ringate.dir().join("ringate.toml")).unwrap();
    let line = good.lines().position(|line| line.starts_with("endpoints = ")).unwrap() + 1;
    for (from, to, said) in [
        ("endpoints = ", "endpoint = ", "unknown key `endpoint`"),
        ("endpoints = [\"127.0.0.1:", "endpoints = [\"nowhere.invalid:", "does not resolve"),
    ] {
        fs::write(ringate.dir().join("ringate.toml"), good.replace(from, to)).unwrap();
        ringate.signal(Signal::HUP);
        ringate.await_log(said);
        ringate.await_log(&format!("ringate.toml:{line}:"));
        assert_eq!(client.send(GET).response().status, 200);
    }
    assert!(!ringate.log().contains("reloaded"));
    // An address of another process.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let holder = std::net::TcpListener::bind(taken).unwrap();
    fs::write(ringate.dir().join("ringate.toml"), good.replace("127.0.0.1:0", &taken.to_string())).unwrap();
    ringate.signal(Signal::HUP);
    ringate.await_log("the address is in use by another process");
    assert_eq!(client.send(GET).response().status, 200);
    drop(holder);
    reload(&ringate, &good);
    assert_eq!(client.send(GET).response().status, 200, "nothing of it stayed behind");
}

#[test]
fn unchanged_upstreams_keep_their_connections() {
    let kept = named("kept");
    // Its second connection begins with a PROXY header.
    let other = Backend::start(|connection| {
        if connection.number > 0 {
            connection.line()?;
        }
        while connection.request()?.is_some() {
            connection.send(OK)?;
        }
        Ok(())
    });
    let upstream = format!("[upstream.other]\nendpoints = [\"{}\"]", other.address());
    let routes = "[[route]]\nupstream = \"app\"\n[[route]]\npath = \"/other\"\nupstream = \"other\"";
    let ringate = Setup::to(kept.address()).routes(routes).section(&upstream).start();
    let mut client = ringate.client();
    let get_other = "GET /other HTTP/1.1\r\nHost: h\r\n\r\n";
    let base = fs::read_to_string(ringate.dir().join("ringate.toml")).unwrap();
    // Nothing new, other places in the file, a default that is written out.
    let written_out = base.replace("[upstream.other]", "[upstream.other]\npool.max_age = \"1h\"");
    for config in [&base, &format!("# moved\n{base}"), &written_out] {
        client.send(GET).response();
        client.send(get_other).response();
        reload(&ringate, config);
    }
    client.send(GET).response();
    client.send(get_other).response();
    assert_eq!((kept.connections(), other.connections()), (1, 1), "one connection carried all four");
    let longer = edit(&ringate, "max_age = \"1h\"", "max_age = \"2h\"");
    reload(&ringate, &longer);
    client.send(get_other).response();
    client.send(GET).response();
    assert_eq!((kept.connections(), other.connections()), (1, 1), "what has changed does not concern it");
    let with_header = edit(&ringate, "max_age = \"2h\"", "max_age = \"2h\"\nproxy_protocol = \"v1\"");
    reload(&ringate, &with_header);
    client.send(get_other).response();
    client.send(GET).response();
    assert_eq!((kept.connections(), other.connections()), (1, 2), "one made otherwise begins anew");
}

#[test]
fn listeners_come_and_go_and_those_that_stay_keep_their_connections() {
    let backend = Backend::replying(OK);
    for driver in ["io_uring", "epoll"] {
        let ringate = Setup::to(backend.address()).driver(driver).workers(2).start();
        let mut stays = ringate.client();
        stays.send(GET).response();
        let address = free_address();
        let extra = format!(
            "[[listener]]\nname = \"extra\"\naddress = \"{address}\"\n\n[[listener]]\nname = \"web\""
        );
        let one = fs::read_to_string(ringate.dir().join("ringate.toml")).unwrap();
        // In front of the other: indices move.
        let two = one
            .replace("[[listener]]\nname = \"web\"", &extra)
            .replace("[[route]]\n", "[[route]]\nlistener = [\"web\", \"extra\"]\n");
        reload(&ringate, &two);
        let mut idle = Client::connect(address);
        let mut used = Client::connect(address);
        assert_eq!(used.send(GET).response().status, 200);
        assert_eq!(stays.send(GET).response().status, 200);
        let mut begun = Client::connect(address);
        begun.send("GET / HTTP/1.1\r\n");
        // By now its half has been read.
        used.send(GET).response();
        reload(&ringate, &one);
        used.closes();
        idle.closes();
        begun.send("Host: h\r\n\r\n");
        let last = begun.response();
        assert_eq!((last.status, last.header("Connection")), (200, Some("close")), "it had begun");
        begun.closes();
        eventually("new connections being refused", || Client::try_connect(address).err());
        let response = stays.send(GET).response();
        assert_eq!((response.status, response.header("Connection")), (200, None));
        // And once more on the same address.
        reload(&ringate, &two);
        assert_eq!(Client::connect(address).send(GET).response().status, 200);
        assert_eq!(ringate.terminate().code(), Some(0));
    }
}

#[test]
fn a_listener_that_changes_its_protocol_lets_the_old_one_end() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).start();
    let address = free_address();
    let fixed = edit(&ringate, "127.0.0.1:0", &address.to_string());
    reload(&ringate, &fixed);
    let mut http = Client::connect(address);
    http.send(GET).response();
    reload(&ringate, &fixed.replace("protocol = \"http\"", "protocol = \"tcp\""));
    http.closes();
    // Relayed as it is, no field is added; a moment long the old sockets still take what was in their queues.
    let mut tcp = eventually("the tcp listener", || {
        let mut client = Client::connect(address);
        client.try_send("GET /raw HTTP/1.1\r\nHost: h\r\n\r\n").ok()?;
        client.try_response().ok()?;
        let raw =
            eventually("the request", || Some(backend.request()).filter(|raw| raw.line() == "GET /raw"));
        raw.header("X-Forwarded-For").is_none().then_some(client)
    });
    // A tunnel lives on when its listener goes.
    reload(&ringate, &fixed);
    assert_eq!(tcp.send(GET).response().status, 200);
}

#[test]
fn reloads_under_load_lose_no_request() {
    let pki = Pki::new();
    let nginx = Nginx::mutual(&pki, "location / { return 200 \"an answer of some length\"; }");
    // On a busy machine 64 handshakes at once may take longer than the default.
    let upstream = format!("timeouts.connect = \"15s\"\n{}", pki.upstream_mutual_tls());
    let ringate = Setup::to(nginx.address()).workers(2).upstream(&upstream).start();
    let url = ringate.url();
    let base = fs::read_to_string(ringate.dir().join("ringate.toml")).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&over);
    // For 4 seconds, and on until there were enough reloads.
    let load = std::thread::spawn(move || {
        let load = || wrk(&url, 64, 4, &["--timeout", "10s"], None);
        let mut said = load();
        while !ended.load(SeqCst) {
            said.push_str(&load());
        }
        said
    });
    let mut reloads = 0;
    let begun = Instant::now();
    while !load.is_finished() && begun.elapsed() < Duration::from_secs(60) {
        over.store(reloads > 10, SeqCst);
        // Each time another upstream, another listener, another limit.
        let extra = format!(
            "[[listener]]\nname = \"extra\"\naddress = \"{}\"\n[[listener]]\nname = \"web\"",
            free_address()
        );
        let config = match reloads % 3 {
            0 => base.replace(
                "[upstream.app]\n",
                &format!("[upstream.app]\npool.idle_per_worker = {}\n", reloads + 100),
            ),
            1 => base
                .replace("[[listener]]\nname = \"web\"", &extra)
                .replace("[[route]]\n", "[[route]]\nlistener = [\"web\", \"extra\"]\n"),
            _ => base.replace(
                "[[listener]]",
                &format!("[limits]\nheaders = {}\n[[listener]]", 50 + reloads % 100),
            ),
        };
        reload(&ringate, &config);
        reloads += 1;
    }
    over.store(true, SeqCst);
    let said = load.join().unwrap();
    for bad in ["Socket errors", "Non-2xx"] {
        assert!(!said.contains(bad), "{said}");
    }
    assert!(reloads > 10, "only {reloads} reloads");
    let log = ringate.log();
    assert!(!log.contains("upstream=") && !log.contains(" ERROR "), "{log}");
}

#[test]
fn a_certificate_file_that_changed_is_presented_by_the_listener_after_a_reload() {
    let (first, second) = (Pki::new(), Pki::new());
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).listener(&first.listener_tls()).start();
    let mut stays = ringate.tls_client(first.client_config());
    stays.send(GET).response();
    for file in ["server.pem", "server.key"] {
        fs::copy(second.file(file), first.file(file)).unwrap();
    }
    let same = fs::read_to_string(ringate.dir().join("ringate.toml")).unwrap();
    reload(&ringate, &same);
    assert!(ringate.log().contains("certificates: 1 changed"), "{}", ringate.log());
    let mut fresh = ringate.tls_client(second.client_config());
    assert_eq!(fresh.send(GET).response().status, 200);
    assert_eq!(stays.send(GET).response().status, 200, "an open connection is not touched");
}

#[test]
fn the_admin_api_reloads_and_says_what_changed() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).section("[admin]").start();
    let call = |path: &str| {
        let socket = ringate.dir().join("run/admin.sock");
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "15", "-X", "POST", "--unix-socket"]).arg(&socket);
        let output = run(command.arg(format!("http://localhost{path}")));
        serde_json::from_slice::<serde_json::Value>(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stdout)))
    };
    let good = fs::read_to_string(ringate.dir().join("ringate.toml")).unwrap();
    let changed = good.replace("workers = 1", "workers = 2").replace(
        "[upstream.app]",
        "[upstream.spare]\nendpoints = [\"127.0.0.1:1\"]\n[upstream.app]\ntimeouts.idle = \"7s\"",
    );
    fs::write(ringate.dir().join("ringate.toml"), &changed).unwrap();
    for (path, version) in [("/v1/plan", 1), ("/v1/reload", 2)] {
        let said = call(path);
        assert_eq!(said["version"], version, "{said}");
        assert_eq!(said["upstreams"]["added"][0], "spare", "{said}");
        assert_eq!(said["upstreams"]["changed"][0], "app", "{said}");
        assert_eq!(said["listeners"]["kept"][0], "web", "{said}");
        assert_eq!(said["needs_restart"][0], "runtime.workers", "{said}");
        assert!(said["warnings"][0]["message"].as_str().unwrap().contains("spare"), "{said}");
    }
    fs::write(ringate.dir().join("ringate.toml"), good.replace("endpoints", "endpoins")).unwrap();
    for path in ["/v1/plan", "/v1/reload"] {
        let said = call(path);
        assert_eq!((&said["status"], &said["errors"][0]["column"]), (&422.into(), &1.into()), "{said}");
        assert!(said["errors"][0]["help"].as_str().unwrap().contains("endpoints"), "{said}");
    }
    assert_eq!(ringate.get("/").status, 200);
}

#[test]
fn a_certificate_that_has_expired_keeps_nothing_from_a_reload_or_a_start() {
    let ca = Crafted::new();
    let now = time::OffsetDateTime::now_utc();
    let ending = ca.issue("ending", |params| params.not_after = now + time::Duration::seconds(2));
    let ended = ca.issue("ended", |params| params.not_after = now - time::Duration::days(1));
    let (old, new) = (named("old"), named("new"));
    let tls = |files: &Files| {
        format!(
            "[[listener]]\nname = \"tls\"\naddress = \"127.0.0.1:0\"\ntls.certificates = [{}]\n",
            files.toml()
        )
    };
    let both = "[[route]]\nlistener = [\"web\", \"tls\"]\nupstream = \"app\"";
    let setup = Setup::to(old.address()).section(&tls(&ending)).routes(both);
    let ringate = setup.start();
    std::thread::sleep(Duration::from_secs(4));
    let warned = "it is presented all the same";
    assert!(!ringate.log().contains(warned));
    reload(&ringate, &edit(&ringate, &old.address().to_string(), &new.address().to_string()));
    assert_eq!(Client::connect(ringate.address_of("web")).send(GET).response().text(), "new");
    ringate.await_log(warned);
    // Another one that has expired is a mistake.
    let mistaken = edit(&ringate, &ending.toml(), &ended.toml());
    fs::write(ringate.dir().join("ringate.toml"), mistaken).unwrap();
    ringate.signal(Signal::HUP);
    ringate.await_log("expired at");
    ringate.await_log("what ran before");
    drop(ringate);
    let ringate = setup.start();
    assert_eq!(Client::connect(ringate.address_of("web")).send(GET).response().text(), "old");
    ringate.await_log(warned);
}

#[test]
fn routes_that_differ_in_what_they_match_are_told_apart() {
    let backend = named("here");
    let ringate = Setup::to(backend.address()).routes("[[route]]\nupstream = \"app\"").start();
    let canary = "[[route]]\nupstream = \"app\"\nmatch.headers.x-canary = \"1\"\n[[route]]";
    reload(&ringate, &edit(&ringate, "[[route]]", canary));
    ringate.await_log("routes: 1 added, 1 kept");
}
