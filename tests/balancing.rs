//! Which endpoint requests go to: by each algorithm, over workers, reloads and restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};

use crate::http::ok;
use crate::reload::{edit, reload};
use crate::support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// A backend that answers with its name.
fn named(name: &str) -> Backend {
    Backend::replying(ok(name))
}

/// Backends called `a`, `b` and so on.
fn backends(count: u8) -> Vec<Backend> {
    (0..count).map(|at| named(&char::from(b'a' + at).to_string())).collect()
}

/// The line of the upstream with these entries.
fn endpoints(entries: impl IntoIterator<Item = (SocketAddr, &'static str)>) -> String {
    let entries = entries.into_iter().map(|(address, more)| format!("{{ address = \"{address}\"{more} }}"));
    format!("endpoints = [{}]", entries.collect::<Vec<_>>().join(", "))
}

fn plain<'a>(backends: impl IntoIterator<Item = &'a Backend>) -> String {
    endpoints(backends.into_iter().map(|backend| (backend.address(), "")))
}

/// One worker or several, to these endpoints.
fn upstream(workers: usize, lines: &str) -> Setup {
    Setup::to_all([]).workers(workers).section("[admin]").upstream(lines)
}

/// The running config with another `endpoints`.
fn with_endpoints(ringate: &Ringate, line: &str) -> String {
    let text = edit(ringate, "endpoints = [", "endpoints = [");
    let old = text.lines().find(|line| line.starts_with("endpoints = [")).unwrap();
    text.replace(old, line)
}

/// Who answers so many requests, each on the client's connection.
fn answers(client: &mut Client, count: usize) -> String {
    (0..count).map(|_| client.send(GET).response().text().to_owned()).collect()
}

/// Who answers a request with these fields, on a connection of its own.
fn answer(ringate: &Ringate, fields: &str) -> Response {
    ringate.client().send(format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n")).response()
}

fn requests(backends: &[Backend]) -> Vec<usize> {
    backends.iter().map(Backend::requests).collect()
}

#[test]
fn workers_together_spread_requests_by_weight() {
    const CONNECTIONS: usize = 16;
    let backends = backends(3);
    let weights = [", weight = 3", ", weight = 2", ", weight = 1"];
    // What weighs loads leaves the weights where several requests are under way.
    for (balance, threads, each, percent) in [
        ("round-robin", 4, 625, 2),
        ("least-requests", 1, 125, 15),
        ("two-choices", 1, 125, 25),
        ("random", 4, 125, 25),
    ] {
        let before = requests(&backends);
        let line = endpoints(backends.iter().map(Backend::address).zip(weights));
        let ringate = upstream(2, &format!("{line}\nbalance = \"{balance}\"")).start();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut clients: Vec<Client> =
                        (0..CONNECTIONS / threads).map(|_| ringate.client()).collect();
                    for _ in 0..each {
                        clients.iter_mut().for_each(|client| drop(answers(client, 1)));
                    }
                });
            }
        });
        let got: Vec<_> =
            requests(&backends).iter().zip(before).map(|(after, before)| after - before).collect();
        let all = CONNECTIONS * each;
        for (got, share) in got.iter().zip([3, 2, 1]) {
            let ideal = all * share / 6;
            assert!(got.abs_diff(ideal) * 100 <= ideal * percent, "{balance}: {got} of {ideal}");
        }
        let metrics = ringate.admin("/metrics");
        for (backend, got) in backends.iter().zip(&got) {
            let labels = format!("{{upstream=\"app\",endpoint=\"{}\"}}", backend.address());
            let counted = format!("ringate_endpoint_requests_total{labels} {got}\n");
            assert!(metrics.contains(&counted), "{counted}{metrics}");
            // The exchange of the last response may end a moment after its client has read that.
            let none = format!("ringate_endpoint_in_flight{labels} 0\n");
            eventually("no exchange", || ringate.admin("/metrics").contains(&none).then_some(()));
        }
    }
}

/// A backend that answers a request when it is told to.
fn held_back() -> (Backend, Sender<()>) {
    let (go, told) = channel();
    let told = Mutex::new(told);
    let backend = Backend::start(move |connection| {
        while connection.request()?.is_some() {
            let _ = told.lock().unwrap().recv();
            connection.send(ok("slow"))?;
        }
        Ok(())
    });
    (backend, go)
}

#[test]
fn exchanges_of_all_workers_count_as_load() {
    let ((slow, go), fast) = (held_back(), named("fast"));
    for balance in ["least-requests", "two-choices"] {
        let before = slow.requests();
        let line = plain([&slow, &fast]);
        let ringate = upstream(3, &format!("{line}\nbalance = \"{balance}\"")).start();
        let mut held = None;
        for _ in 0..60 {
            let sent = slow.requests() + fast.requests();
            let mut client = ringate.client();
            client.send(GET);
            eventually("the request", || (slow.requests() + fast.requests() > sent).then_some(()));
            if slow.requests() > before {
                held = Some(client);
                break;
            }
        }
        assert_eq!(slow.requests() - before, 1, "{balance}");
        let in_flight =
            format!("ringate_endpoint_in_flight{{upstream=\"app\",endpoint=\"{}\"}}", slow.address());
        eventually("the count", || {
            let metrics = ringate.admin("/metrics");
            metrics.contains(&format!("{in_flight} 1\n")).then_some(())
        });
        assert!(ringate.admin("/v1/status").contains("\"in_flight\":1"));
        let idle = in_flight.replace(&slow.address().to_string(), &fast.address().to_string());
        for _ in 0..12 {
            // An exchange ends a moment after its client has the response.
            eventually("the last one's end", || {
                ringate.admin("/metrics").contains(&format!("{idle} 0\n")).then_some(())
            });
            assert_eq!(answers(&mut ringate.client(), 1), "fast", "{balance}");
        }
        go.send(()).unwrap();
        assert_eq!(held.unwrap().response().text(), "slow");
        eventually("the end", || {
            let metrics = ringate.admin("/metrics");
            metrics.contains(&format!("{in_flight} 0\n")).then_some(())
        });
    }
}

/// Where each of some keys goes.
fn places(ringate: &Ringate) -> BTreeMap<usize, String> {
    let place = |key| answer(ringate, &format!("X-User: user{key}\r\n")).text().to_owned();
    (0..60).map(|key| (key, place(key))).collect()
}

#[test]
fn a_key_has_the_same_endpoint_in_every_process_and_a_new_endpoint_takes_keys_for_itself_only() {
    let backends = backends(4);
    let hash = "balance = \"hash\"\nhash = { by = \"header:x-user\" }";
    let start = |line: &str| upstream(2, &format!("{line}\n{hash}")).start();
    let one = start(&plain(&backends[..3]));
    let first = places(&one);
    assert_eq!(places(&one), first);
    for name in ["a", "b", "c"] {
        let got = first.values().filter(|place| *place == name).count();
        assert!((8..36).contains(&got), "{name}: {got} of 60");
    }
    let other = start(&plain(backends[..3].iter().rev()));
    assert_eq!(places(&other), first, "another process, in another order");
    drop(other);
    reload(&one, &with_endpoints(&one, &plain([&backends[3], &backends[0], &backends[1], &backends[2]])));
    let more = places(&one);
    let moved: Vec<_> = first.keys().filter(|key| first[key] != more[key]).collect();
    assert!((5..28).contains(&moved.len()), "{moved:?}");
    assert!(moved.iter().all(|key| more[key] == "d"), "{first:?} {more:?}");
    reload(&one, &with_endpoints(&one, &plain(&backends[..3])));
    assert_eq!(places(&one), first);
    // Without a key: in turn.
    let keyless: String = answers(&mut one.client(), 3);
    let mut names: Vec<char> = keyless.chars().collect();
    names.sort_unstable();
    assert_eq!(names, ['a', 'b', 'c']);
}

#[test]
fn backup_endpoints_serve_only_while_no_other_can() {
    let (backup, primary) = (named("backup"), free_address());
    let line = endpoints([(primary, ""), (backup.address(), ", backup = true")]);
    let ringate = upstream(1, &line).start();
    let mut client = ringate.client();
    assert_eq!(answers(&mut client, 3), "backup".repeat(3));
    let _primary = Backend::start_at(primary, |connection| {
        while connection.request()?.is_some() {
            connection.send(ok("primary"))?;
        }
        Ok(())
    });
    eventually("the primary", || (answers(&mut client, 1) == "primary").then_some(()));
    assert_eq!(answers(&mut client, 20), "primary".repeat(20));
}

#[test]
fn an_endpoint_that_is_new_or_back_gets_its_share_slowly() {
    let (old, new, late) = (named("o"), named("n"), free_address());
    let ringate = upstream(1, &format!("{}\nslow_start = \"1h\"", plain([&old]))).start();
    let mut client = ringate.client();
    answers(&mut client, 1);
    let line = |late: &str| format!("endpoints = [\"{}\", \"{}\"{late}]", old.address(), new.address());
    let share = |client: &mut Client, name: &str| answers(client, 200).matches(name).count();
    reload(&ringate, &with_endpoints(&ringate, &line("")));
    assert!((1..=6).contains(&share(&mut client, "n")), "a hundredth of its share");
    // One that was down from the start, and is back.
    reload(&ringate, &with_endpoints(&ringate, &line(&format!(", \"{late}\""))));
    answers(&mut client, 120);
    let _late = Backend::start_at(late, |connection| {
        while connection.request()?.is_some() {
            connection.send(ok("l"))?;
        }
        Ok(())
    });
    eventually("the one that is back", || (answers(&mut client, 50).contains('l')).then_some(()));
    assert!(share(&mut client, "l") <= 6);
    let text = edit(&ringate, "slow_start = \"1h\"", "slow_start = \"1ms\"");
    reload(&ringate, &text);
    let counts: Vec<_> = [share(&mut client, "n"), share(&mut client, "l"), share(&mut client, "o")].into();
    assert!(counts.iter().all(|count| (66..=68).contains(count)), "{counts:?}");
}

#[test]
fn turns_and_the_budget_for_retries_go_on_after_a_reload() {
    let backends = backends(3);
    let ringate = upstream(1, &plain(&backends)).start();
    let mut client = ringate.client();
    let mut all = answers(&mut client, 1);
    for lines in ["timeouts.response = \"9s\"", "pool.max_age = \"2h\""] {
        reload(&ringate, &edit(&ringate, "[upstream.app]", &format!("[upstream.app]\n{lines}")));
        all += &answers(&mut client, 1);
    }
    assert!(["abc", "bca", "cab"].contains(&&*all), "{all}");
    let busy = Backend::replying("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    let retries = "retries = { on = [\"503\"], attempts = 2, budget = 0 }";
    let ringate = upstream(1, &format!("{}\n{retries}", plain([&busy]))).start();
    let mut client = ringate.client();
    let ask = |client: &mut Client| (0..12).for_each(|_| assert_eq!(client.send(GET).response().status, 503));
    ask(&mut client);
    assert_eq!((ringate.metric("retries_total"), ringate.metric("retries_refused_total")), (10, 2));
    reload(&ringate, &edit(&ringate, "[upstream.app]", "[upstream.app]\ntimeouts.idle = \"9s\""));
    ask(&mut client);
    assert_eq!((ringate.metric("retries_total"), ringate.metric("retries_refused_total")), (10, 14));
}

#[test]
fn tcp_connections_are_balanced_by_their_number_and_by_the_clients_address() {
    let echo = |name: &'static str| {
        Backend::start(move |connection| {
            connection.send(name)?;
            connection.rest().map(drop)
        })
    };
    let (one, two) = (echo("1"), echo("2"));
    let start = |lines: &str| {
        let lines = format!("{}\n{lines}", plain([&one, &two]));
        upstream(2, &lines).listener("protocol = \"tcp\"").start()
    };
    let ringate = start("balance = \"least-connections\"");
    let mut clients: Vec<(u8, Client)> = Vec::new();
    let open = |ringate: &Ringate, clients: &mut Vec<(u8, Client)>| {
        let mut client = ringate.client();
        let name = client.bytes(1)[0];
        // A worker may have seen the others' a tick ago.
        std::thread::sleep(std::time::Duration::from_millis(60));
        clients.push((name, client));
    };
    (0..6).for_each(|_| open(&ringate, &mut clients));
    let count = |clients: &[(u8, Client)], name| clients.iter().filter(|(its, _)| *its == name).count();
    assert_eq!((count(&clients, b'1'), count(&clients, b'2')), (3, 3));
    clients.retain(|(name, _)| *name == b'1');
    std::thread::sleep(std::time::Duration::from_millis(100));
    (0..3).for_each(|_| open(&ringate, &mut clients));
    assert_eq!((count(&clients, b'1'), count(&clients, b'2')), (3, 3), "those that have ended do not count");
    let ringate = start("balance = \"hash\"\nhash.by = \"client-address\"");
    let names: Vec<u8> = (0..6).map(|_| ringate.client().bytes(1)[0]).collect();
    assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
}

/// The value of the session's cookie in a response, if it sets one, with its attributes.
fn cookie(response: &Response) -> Option<(String, String)> {
    let line = response.headers("set-cookie").into_iter().find(|line| line.starts_with("ringate="))?;
    let (pair, attributes) = line.split_once("; ")?;
    Some((pair.to_owned(), attributes.to_owned()))
}

/// How a client with this cookie is served, several times, on connections of its own.
fn with_cookie(ringate: &Ringate, cookie: &str) -> Vec<Response> {
    (0..6).map(|_| answer(ringate, &format!("Cookie: theme=dark; {cookie}\r\n"))).collect()
}

/// A config with a store in this folder, so that another process finds it again.
fn sticky(dir: &std::path::Path, endpoints: &str, sticky: &str) -> Ringate {
    let store = format!("[admin]\n[store]\npath = \"{}\"", dir.join("certs").display());
    Setup::to_all([]).workers(2).section(&store).upstream(&format!("{endpoints}\nsticky = {sticky}")).start()
}

#[test]
fn a_session_stays_at_its_endpoint_over_connections_reloads_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let mut backends = backends(4);
    let keeps = "{ cookie = \"ringate\", max_age = \"1h\" }";
    let ringate = sticky(dir.path(), &plain(&backends[..3]), keeps);
    let first = answer(&ringate, "");
    let (token, attributes) = cookie(&first).unwrap();
    assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax; Max-Age=3600");
    let home = first.text().to_owned();
    let is_at_home = |ringate: &Ringate, why: &str| {
        for response in with_cookie(ringate, &token) {
            assert_eq!((response.text(), cookie(&response)), (&*home, None), "{why}");
        }
    };
    is_at_home(&ringate, "at once");
    let all: BTreeSet<_> = (0..6).map(|_| answer(&ringate, "").text().to_owned()).collect();
    assert_eq!(all.len(), 3, "clients without a session are spread");
    reload(
        &ringate,
        &with_endpoints(&ringate, &plain([&backends[3], &backends[2], &backends[1], &backends[0]])),
    );
    is_at_home(&ringate, "after a reload");
    drop(ringate);
    let ringate = sticky(dir.path(), &plain(backends.iter().rev()), keeps);
    is_at_home(&ringate, "after a restart");
    // Forged: the token of another endpoint's session with its own signature.
    let forged = format!("{}{}", &token[..12], &token[12..].chars().rev().collect::<String>());
    for false_cookie in [&*forged, "ringate=", "ringate=b", &token[..token.len() - 1]] {
        let responses = with_cookie(&ringate, false_cookie);
        assert!(responses.iter().all(|response| cookie(response).is_some()), "{false_cookie}");
    }
    // Its endpoint ends: another one takes over, and says so.
    backends.remove(usize::from(home.as_bytes()[0] - b'a'));
    let response = &with_cookie(&ringate, &token)[0];
    assert_ne!(response.text(), home);
    let (moved, _) = cookie(response).unwrap();
    for later in with_cookie(&ringate, &moved) {
        assert_eq!((later.text(), cookie(&later)), (response.text(), None));
    }
}

#[test]
fn an_api_client_sends_back_the_field_of_its_last_response() {
    let dir = tempfile::tempdir().unwrap();
    let (secret, backends) = (dir.path().join("secret"), backends(3));
    let keeps = format!("{{ header = \"X-Session\", secret_file = \"{}\" }}", secret.display());
    std::fs::write(&secret, "a secret of several Ringates\n").unwrap();
    let [one, other] = [0, 1].map(|_| sticky(tempfile::tempdir().unwrap().path(), &plain(&backends), &keeps));
    let first = answer(&one, "");
    let mut token = first.header("X-Session").unwrap().to_owned();
    for ringate in [&one, &other, &one, &other, &one] {
        let response = answer(ringate, &format!("x-session: {token}\r\n"));
        assert_eq!(response.text(), first.text());
        token = response.header("X-Session").unwrap().to_owned();
    }
    // Another secret ends all sessions.
    std::fs::write(&secret, "another secret of several Ringates\n").unwrap();
    reload(&one, &edit(&one, "header", "header"));
    let places: BTreeSet<_> =
        (0..6).map(|_| answer(&one, &format!("x-session: {token}\r\n")).text().to_owned()).collect();
    assert_eq!(places.len(), 3);
}
