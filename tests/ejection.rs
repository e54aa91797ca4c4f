//! Endpoints that accept connections and fail: they are ejected without any config, and brought back by a trial.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::http::ok;
use crate::support::*;

const ADMIN: &str = "[admin]\nlisten = \"unix:run/admin.sock\"";
const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab";

fn good() -> Backend {
    Backend::serving(|request| ok(request.line()))
}

/// Answers 503 as long as it is set.
fn failing(fails: &Arc<AtomicBool>) -> Backend {
    let fails = Arc::clone(fails);
    Backend::serving(move |request| match fails.load(SeqCst) {
        true => b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy".to_vec(),
        false => ok(request.line()),
    })
}

fn endpoint(ringate: &Ringate, backend: &Backend) -> serde_json::Value {
    let status: serde_json::Value = serde_json::from_str(&ringate.admin("/v1/status")).unwrap();
    let address = backend.address().to_string();
    let all = status["upstreams"][0]["addresses"].as_array().unwrap().clone();
    all.into_iter().find(|it| it["address"] == *address).unwrap()
}

/// Statuses of so many requests on connections of their own.
fn statuses(ringate: &Ringate, request: &str, count: usize) -> Vec<u16> {
    (0..count).map(|_| ringate.client().send(request).response().status).collect()
}

#[test]
fn a_stopped_endpoint_delays_requests_that_may_be_repeated_and_loses_none() {
    let config = "[runtime]\nworkers = 1\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
                  [[route]]\nrespond = { status = 200, body = \"ok\" }\n";
    let processes: Vec<_> = (0..2).map(|_| Ringate::start(config)).collect();
    let ringate = Setup::to_all(processes.iter().map(Ringate::address)).section(ADMIN).workers(2).start();
    let (over, longest) = (AtomicBool::new(false), AtomicUsize::new(0));
    let served = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = ringate.client();
                    while !over.load(SeqCst) {
                        let begun = Instant::now();
                        assert_eq!(client.send(GET).response().status, 200);
                        longest.fetch_max(begun.elapsed().as_millis() as usize, SeqCst);
                        served.fetch_add(1, SeqCst);
                    }
                })
            })
            .collect();
        eventually("traffic", || (served.load(SeqCst) > 500).then_some(()));
        processes[0].signal(Signal::STOP);
        ringate.await_log("ejected for 30s: no response within `outliers.slow_after`");
        let before = served.load(SeqCst);
        eventually("traffic after it", || (served.load(SeqCst) > before + 500).then_some(()));
        over.store(true, SeqCst);
        asking.into_iter().for_each(|thread| thread.join().unwrap());
    });
    let longest = longest.load(SeqCst);
    assert!((1_500..8_000).contains(&longest), "{longest} ms");
    processes[0].signal(Signal::CONT);
}

#[test]
fn an_endpoint_that_resets_is_ejected_and_brought_back_by_a_trial() {
    let resets = Arc::new(AtomicBool::new(true));
    let is_resetting = Arc::clone(&resets);
    let bad = Backend::start(move |connection| {
        while let Some(request) = connection.request()? {
            if is_resetting.load(SeqCst) {
                return connection.reset();
            }
            connection.send(ok(request.line()))?;
        }
        Ok(())
    });
    let good = good();
    let ringate = Setup::to_all([bad.address(), good.address()])
        .section(ADMIN)
        .upstream("outliers.base_ejection = \"1s\"")
        .start();
    assert_eq!(statuses(&ringate, GET, 20), [200; 20]);
    assert_eq!(bad.requests(), 5, "no more after five failures");
    assert_eq!(statuses(&ringate, POST, 4), [200; 4], "a POST does not meet it either");
    let state = endpoint(&ringate, &bad);
    assert_eq!((&*state["state"].to_string(), &state["ejections"]), ("\"ejected\"", &1.into()));
    assert!(state["reason"].as_str().unwrap().contains("closed without a response"), "{state}");
    let metrics = ringate.admin("/metrics");
    assert!(metrics.contains("ringate_upstream_endpoints{upstream=\"app\",state=\"ejected\"} 1\n"));
    // The first trial fails, which costs no request; the second one, twice as long after it, does not.
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(statuses(&ringate, GET, 10), [200; 10]);
    assert_eq!(bad.requests(), 6, "one trial");
    ringate.await_log("ejected for 2s");
    resets.store(false, SeqCst);
    std::thread::sleep(Duration::from_millis(2100));
    assert_eq!(statuses(&ringate, GET, 10), [200; 10]);
    ringate.await_log("the endpoint is used again");
    assert!(bad.requests() >= 6 + 4, "it has its share again");
    assert_eq!(endpoint(&ringate, &bad)["state"], "up");
}

#[test]
fn an_endpoint_that_answers_errors_is_ejected_if_it_is_the_only_one() {
    let fails = Arc::new(AtomicBool::new(true));
    let (bad, good) = (failing(&fails), good());
    // Two connections to each: a response is waited for before the next request.
    let ringate = Setup::to_all([bad.address(), good.address()]).section(ADMIN).start();
    let mut client = ringate.client();
    let failed = (0..300).filter(|_| client.send(GET).response().status == 503).count();
    assert_eq!(failed, 100, "as soon as there are a hundred responses");
    assert!(ringate.log().contains("100% of its responses are errors"), "{}", ringate.log());

    let (worse, bad) = (failing(&fails), bad);
    let ringate = Setup::to_all([bad.address(), worse.address()]).section(ADMIN).start();
    let mut client = ringate.client();
    assert_eq!((0..300).filter(|_| client.send(GET).response().status == 503).count(), 300);
    assert_eq!(bad.requests(), 100 + 150, "it is like the other one");
    assert_eq!(endpoint(&ringate, &bad)["ejections"], 0);
}

#[test]
fn five_hundreds_in_a_row_eject_where_the_config_says_so() {
    let fails = Arc::new(AtomicBool::new(true));
    let (bad, good) = (failing(&fails), good());
    let ringate = Setup::to_all([bad.address(), good.address()])
        .section(ADMIN)
        .upstream("outliers = { consecutive_5xx = 3, base_ejection = \"1s\" }")
        .start();
    let failed = statuses(&ringate, GET, 20).into_iter().filter(|status| *status == 503).count();
    assert_eq!(failed, 3);
    fails.store(false, SeqCst);
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(statuses(&ringate, GET, 10), [200; 10]);
    assert_eq!(endpoint(&ringate, &bad)["state"], "up");
}

#[test]
fn a_single_endpoint_and_more_than_the_share_are_never_ejected() {
    let resetting = || {
        Backend::start(|connection| {
            connection.request()?;
            connection.reset()
        })
    };
    let (first, second) = (resetting(), resetting());
    let ringate = Setup::to(first.address()).section(ADMIN).start();
    assert_eq!(statuses(&ringate, GET, 10), [502; 10]);
    assert_eq!((first.requests(), &endpoint(&ringate, &first)["ejections"]), (10, &0.into()));
    let ringate = Setup::to_all([first.address(), second.address()]).section(ADMIN).start();
    assert_eq!(statuses(&ringate, GET, 20), [502; 20]);
    let ejections: Vec<_> = [&first, &second].map(|it| endpoint(&ringate, it)["ejections"].clone()).into();
    assert!(ejections.contains(&0.into()), "{ejections:?}");
    let ringate = Setup::to_all([first.address(), second.address()])
        .section(ADMIN)
        .upstream("health.passive = false")
        .start();
    assert_eq!(statuses(&ringate, GET, 20), [502; 20]);
    assert_eq!(endpoint(&ringate, &first)["ejections"], 0);
}

/// A trial is Ringate's wish, not the client's: what the config says of retries does not bind it.
#[test]
fn a_trial_that_cannot_connect_costs_no_request() {
    let (nobody, good) = (free_address(), good());
    let ringate = Setup::to_all([nobody, good.address()])
        .section(ADMIN)
        .upstream("retries = { attempts = 2, on = [\"503\"] }")
        .start();
    let lost = statuses(&ringate, GET, 4).into_iter().filter(|status| *status == 502).count();
    assert_eq!(lost, 1, "the first one: `on` has no \"connect\"");
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(statuses(&ringate, GET, 6), [200; 6]);
    assert_eq!(ringate.metric("backend_connect_failures_total"), 2, "there was a trial");
}

/// Resets each connection with a request as long as `fails` is set, and notes the method.
fn resetting(fails: &Arc<AtomicBool>) -> (Backend, Arc<Mutex<Vec<String>>>) {
    let (fails, methods) = (Arc::clone(fails), Arc::<Mutex<Vec<String>>>::default());
    let seen = Arc::clone(&methods);
    let backend = Backend::start(move |connection| {
        while let Some(request) = connection.request()? {
            let method = request.line().split(' ').next().unwrap_or_default().to_owned();
            seen.lock().unwrap().push(method);
            if fails.load(SeqCst) {
                return connection.reset();
            }
            connection.send(ok(request.line()))?;
        }
        Ok(())
    });
    (backend, methods)
}

#[test]
fn no_trial_costs_a_request_that_cannot_be_sent_again() {
    let fails = Arc::new(AtomicBool::new(true));
    let ((bad, methods), good) = (resetting(&fails), good());
    let ringate = Setup::to_all([bad.address(), good.address()])
        .section(ADMIN)
        .upstream("outliers = { base_ejection = \"1s\", max_ejection = \"1s\" }")
        .start();
    assert_eq!(statuses(&ringate, GET, 20), [200; 20]);
    assert_eq!(bad.requests(), 5);
    eventually("three trials", || {
        assert_eq!(statuses(&ringate, POST, 10), [200; 10]);
        assert_eq!(statuses(&ringate, GET, 2), [200; 2]);
        (bad.requests() >= 8).then_some(())
    });
    assert!(methods.lock().unwrap().iter().all(|method| method == "GET"), "{:?}", methods.lock());
}

#[test]
fn an_endpoint_comes_back_though_no_request_can_be_sent_again() {
    let fails = Arc::new(AtomicBool::new(true));
    let ((bad, methods), good) = (resetting(&fails), good());
    let ringate = Setup::to_all([bad.address(), good.address()])
        .section(ADMIN)
        .upstream("outliers.base_ejection = \"1s\"")
        .start();
    assert_eq!(statuses(&ringate, GET, 20), [200; 20]);
    let ejected = Instant::now();
    fails.store(false, SeqCst);
    eventually("the trial", || {
        assert_eq!(statuses(&ringate, POST, 4), [200; 4]);
        methods.lock().unwrap().contains(&"POST".to_owned()).then_some(())
    });
    assert!(ejected.elapsed() >= Duration::from_millis(1900), "{:?}", ejected.elapsed());
    ringate.await_log("the endpoint is used again");
    assert_eq!(endpoint(&ringate, &bad)["state"], "up");
}
