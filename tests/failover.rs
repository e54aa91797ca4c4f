//! A request whose endpoint dies under it goes to another endpoint, as long as it may be repeated and one is left.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::http::ok;
use crate::support::*;

const ADMIN: &str = "[admin]\nlisten = \"unix:run/admin.sock\"";
const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nab";

/// Reads a request on each connection, and resets it.
fn resetting() -> Backend {
    Backend::start(|connection| {
        connection.request()?;
        connection.reset()
    })
}

/// Reads a request on each connection, and ends its side.
fn half_closing() -> Backend {
    Backend::start(|connection| {
        connection.request()?;
        connection.finish_sending()?;
        connection.rest().map(drop)
    })
}

fn good() -> Backend {
    Backend::serving(|request| ok(request.line()))
}

/// An endpoint that is a process of its own, so that it can be killed.
fn process(listener: &str) -> Ringate {
    let config = format!(
        "[runtime]\nworkers = 1\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\nprotocol = \"http\"\n\
         {listener}\n[[route]]\nrespond = {{ status = 200, body = \"ok\" }}\n"
    );
    Ringate::start(&config)
}

/// Clients that ask again and again, until `until` is set; how many requests were answered, and what the others got.
fn ask(ringate: &Ringate, clients: usize, until: &AtomicBool, answered: &AtomicUsize) -> Vec<String> {
    let address = ringate.address();
    std::thread::scope(|scope| {
        let ask = || {
            let mut client = Client::connect(address);
            let mut lost = Vec::new();
            while !until.load(SeqCst) {
                client.send(GET);
                match client.try_response() {
                    Ok(response) if response.status == 200 => drop(answered.fetch_add(1, SeqCst)),
                    other => {
                        lost.push(format!("{other:?}"));
                        client = Client::connect(address);
                    }
                }
            }
            lost
        };
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn no_request_is_lost_when_endpoints_are_killed() {
    let pki = Pki::new();
    let listener = pki.listener_tls();
    for (tls, pool, endpoints, killed) in [
        ("", "", 2, 1),
        ("", "", 3, 1),
        ("", "pool.max_per_endpoint = 4", 3, 2),
        ("retries = { on = [\"connect\", \"reset\"] }", "", 3, 2),
        (&*pki.upstream_tls(), "", 2, 1),
    ] {
        let mut processes: Vec<_> =
            (0..endpoints).map(|_| process(if tls.contains("tls") { &listener } else { "" })).collect();
        let ringate = Setup::to_all(processes.iter().map(Ringate::address))
            .workers(2)
            .upstream(&format!("{pool}\n{tls}"))
            .start();
        let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| ask(&ringate, 8, &over, &answered));
            for victim in &mut processes[..killed] {
                let before = answered.load(SeqCst);
                eventually("some traffic", || (answered.load(SeqCst) > before + 200).then_some(()));
                victim.signal(Signal::KILL);
            }
            let before = answered.load(SeqCst);
            eventually("traffic after it", || (answered.load(SeqCst) > before + 500).then_some(()));
            over.store(true, SeqCst);
            assert_eq!(asking.join().unwrap(), Vec::<String>::new(), "{pool} {tls} {}", ringate.log());
        });
    }
}

#[test]
fn an_endpoint_that_accepts_and_closes_costs_no_request_that_may_be_repeated() {
    for bad in [resetting, half_closing] {
        for bads in 1..=2 {
            let (bad, good): (Vec<_>, _) = ((0..bads).map(|_| bad()).collect(), good());
            let endpoints: Vec<SocketAddr> =
                bad.iter().map(Backend::address).chain([free_address(), good.address()]).collect();
            let ringate = Setup::to_all(endpoints).section(ADMIN).start();
            let mut client = ringate.client();
            for _ in 0..20 {
                assert_eq!(client.send(GET).response().text(), "GET /");
                let put = "PUT /p HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab";
                assert_eq!(client.send(put).response().text(), "PUT /p");
            }
            assert_eq!(good.requests(), 40);
            let failovers = bad.iter().map(Backend::requests).sum::<usize>() as u64;
            assert!(failovers >= 5, "{failovers}");
            assert_eq!(ringate.metric("failovers_total"), failovers);
            assert_eq!(ringate.metric("retries_total"), 0);
        }
    }
}

#[test]
fn the_status_shows_an_upstream_without_an_endpoint_that_works() {
    let (first, second) = (free_address(), free_address());
    let ringate = Setup::to_all([first, second]).section(ADMIN).start();
    let told = || {
        let command = ["status", "-c", "ringate.toml"];
        let output = run(Ringate::command().current_dir(ringate.dir()).args(command));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(told().contains(&format!("  {first}: not used yet\n")), "{}", told());
    assert_eq!(ringate.client().send(GET).response().status, 502);
    let said = told();
    assert!(said.contains(", ALL ENDPOINTS DOWN\n"), "{said}");
    for address in [first, second] {
        let line = said.lines().find(|line| line.contains(&format!("{address}: down since "))).unwrap();
        assert!(line.contains("Connection refused"), "{line}");
    }
    let metrics = ringate.admin("/metrics");
    for (state, count) in [("up", 0), ("down", 2), ("unknown", 0)] {
        let sample = format!("ringate_upstream_endpoints{{upstream=\"app\",state=\"{state}\"}} {count}\n");
        assert!(metrics.contains(&sample), "{metrics}");
    }
    let status: serde_json::Value = serde_json::from_str(&ringate.admin("/v1/status")).unwrap();
    assert_eq!(status["upstreams"][0]["addresses"][1]["state"], "down");
    // One comes back.
    let back = Backend::start_at(second, |connection| {
        while connection.request()?.is_some() {
            connection.send(ok("back"))?;
        }
        Ok(())
    });
    assert_eq!(ringate.client().send(GET).response().text(), "back");
    let said = told();
    assert!(said.contains(&format!("  {second}: up since ")) && !said.contains("ALL"), "{said}");
    drop(back);
}

#[test]
fn each_endpoint_gets_a_request_once_and_a_post_goes_out_once() {
    let bad: Vec<_> = (0..3).map(|_| resetting()).collect();
    let ringate = Setup::to_all(bad.iter().map(Backend::address)).start();
    let asked = || bad.iter().map(Backend::requests).collect::<Vec<_>>();
    assert_eq!(ringate.client().send(GET).response().status, 502);
    assert_eq!(asked(), [1, 1, 1]);
    assert_eq!(ringate.client().send(POST).response().status, 502);
    assert_eq!(asked().iter().sum::<usize>(), 4);
}

#[test]
fn a_stale_connection_to_a_dying_endpoint_leads_to_another_one() {
    // Answers one request on its first connection, and resets each other one.
    let first = AtomicBool::new(true);
    let dying = Backend::start(move |connection| {
        if first.swap(false, SeqCst) {
            connection.request()?;
            connection.send(ok("once"))?;
        }
        connection.request()?;
        connection.reset()
    });
    let good = good();
    let ringate = Setup::to_all([dying.address(), good.address()]).section(ADMIN).start();
    let mut client = ringate.client();
    for _ in 0..20 {
        assert_eq!(client.send(GET).response().status, 200);
    }
    assert_eq!(ringate.metric("stale_retries_total"), 1);
    assert!(ringate.metric("failovers_total") >= 5);
}

#[test]
fn a_full_endpoint_is_waited_for_and_a_split_has_other_upstreams() {
    // One exchange at a time, which takes a while: an exchange that fails at the bad one has to wait for the good one.
    let slow = Backend::serving(|request| {
        std::thread::sleep(Duration::from_millis(30));
        ok(request.line())
    });
    let bad = resetting();
    let ringate = Setup::to_all([bad.address(), slow.address()])
        .upstream("pool.max_per_endpoint = 1\nqueue = { length = 100, timeout = \"5s\" }")
        .start();
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let lost = std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&ringate, 4, &over, &answered));
        eventually("traffic", || (answered.load(SeqCst) > 30).then_some(()));
        over.store(true, SeqCst);
        asking.join().unwrap()
    });
    assert_eq!(lost, Vec::<String>::new());

    let (bad, worse, good) = (resetting(), resetting(), good());
    let routes =
        "[[route]]\nupstreams = [{ name = \"app\", weight = 50 }, { name = \"other\", weight = 50 }]";
    let other = format!("[upstream.other]\nendpoints = [\"{}\"]", good.address());
    let ringate = Setup::to_all([bad.address(), worse.address()]).routes(routes).section(&other).start();
    let mut client = ringate.client();
    for _ in 0..20 {
        assert_eq!(client.send(GET).response().text(), "GET /");
    }
    assert!(bad.requests() + worse.requests() >= 10);
    // With nothing good, each endpoint of each upstream is asked once.
    let all: Vec<_> = (0..4).map(|_| resetting()).collect();
    let at = |index: usize| all[index].address();
    let other = format!("[upstream.other]\nendpoints = [\"{}\", \"{}\"]", at(2), at(3));
    let ringate = Setup::to_all([at(0), at(1)]).routes(routes).section(&other).start();
    assert_eq!(ringate.client().send(GET).response().status, 502);
    assert_eq!(all.iter().map(Backend::requests).collect::<Vec<_>>(), [1; 4]);
}

#[test]
fn endpoints_that_take_their_time_to_close_are_bounded_together() {
    let slow = || {
        Backend::start(|connection| {
            connection.request()?;
            std::thread::sleep(Duration::from_millis(600));
            connection.reset()
        })
    };
    let slow: Vec<_> = (0..6).map(|_| slow()).collect();
    let ringate =
        Setup::to_all(slow.iter().map(Backend::address)).upstream("timeouts.response = \"1s\"").start();
    let begun = Instant::now();
    assert!(ringate.client().send(GET).response().status >= 502);
    assert!(begun.elapsed() < Duration::from_millis(2500), "{:?}", begun.elapsed());
    assert!(slow.iter().map(Backend::requests).sum::<usize>() < 6);
}

#[test]
fn what_the_config_says_of_retries_holds() {
    for (retries, requests) in [
        ("retries = { attempts = 1 }", 1),
        ("retries = { attempts = 2 }", 2),
        ("retries = { on = [\"503\"] }", 1),
        ("retries = { on = [\"reset\"] }", 3),
        ("", 3),
    ] {
        let bad: Vec<_> = (0..3).map(|_| resetting()).collect();
        let ringate = Setup::to_all(bad.iter().map(Backend::address)).upstream(retries).start();
        assert_eq!(ringate.client().send(GET).response().status, 502);
        assert_eq!(bad.iter().map(Backend::requests).sum::<usize>(), requests, "{retries}");
    }
}
