//! Upgrades under clients of HTTP/2: each request is answered, or its client knows that it was not processed.

use std::collections::BTreeSet;
use std::thread::JoinHandle;

use super::*;
use crate::http2::peer::{self, Peer};
use crate::http2_backend::kit::{self, Frames};

/// Streams that a client has open at a time.
const STREAMS: usize = 6;

/// Clients that ask without pause, each on a connection that it makes anew once a GOAWAY has ended the one before.
struct Http2Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Http2Load {
    fn start(connect: &[Arc<dyn Fn() -> Peer + Send + Sync>]) -> Self {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let clients = connect.iter().map(|connect| {
            let (stop, done, connect) = (Arc::clone(&stop), Arc::clone(&done), Arc::clone(connect));
            std::thread::spawn(move || {
                let mut faults = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    faults.extend(connection(connect(), &stop, &done));
                }
                faults
            })
        });
        Self { clients: clients.collect(), stop, done }
    }

    fn go_on(&self, requests: usize) {
        let until = self.done.load(Ordering::SeqCst) + requests;
        eventually("further requests", || (self.done.load(Ordering::SeqCst) >= until).then_some(()));
    }

    fn end(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        let faults: Vec<String> =
            self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        assert!(faults.is_empty(), "{} faults: {:?}", faults.len(), &faults[..faults.len().min(5)]);
        self.done.load(Ordering::SeqCst)
    }
}

/// Asks on one connection, until it takes no requests any more. Returns what went wrong. A request that was not processed
/// (RFC 9113 §8.7) is none of that: its client sends it again.
fn connection(mut peer: Peer, stop: &AtomicBool, done: &AtomicUsize) -> Option<String> {
    peer.name = "a client under an upgrade";
    peer.greet(&[]);
    let (mut next, mut last, mut open) = (1, None, BTreeSet::new());
    loop {
        let may_ask = last.is_none() && !stop.load(Ordering::SeqCst);
        while may_ask && open.len() < STREAMS {
            peer.send(peer::get(next));
            open.insert(next);
            next += 2;
        }
        if open.is_empty() {
            return None;
        }
        let Some(frame) = peer.frame() else {
            return Some(format!("closed with {open:?} open, after a GOAWAY for {last:?}"));
        };
        match frame.kind {
            peer::GOAWAY if frame.code() != 0 => return Some(format!("GOAWAY with code {}", frame.code())),
            peer::GOAWAY => {
                let named = u32::from_be_bytes(frame.payload[..4].try_into().unwrap());
                last = Some(named);
                open.retain(|stream| *stream <= named);
            }
            peer::PING if frame.flags & peer::ES == 0 => {
                peer.send(peer::frame(peer::PING, peer::ES, 0, &frame.payload));
            }
            peer::RST_STREAM if frame.code() == peer::REFUSED_STREAM => drop(open.remove(&frame.stream)),
            peer::RST_STREAM => {
                return Some(format!("stream {} was reset with {}", frame.stream, frame.code()));
            }
            peer::HEADERS => {
                let fields = peer.fields(&frame.payload);
                if !fields.contains(&(":status".to_owned(), "200".to_owned())) {
                    return Some(format!("{fields:?}"));
                }
            }
            peer::DATA if !frame.payload.is_empty() => {
                let grant = (frame.payload.len() as u32).to_be_bytes();
                peer.send(peer::frame(peer::WINDOW_UPDATE, 0, 0, grant));
            }
            _ => {}
        }
        if frame.ends() && open.remove(&frame.stream) {
            done.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[test]
fn no_request_is_lost_plain_or_over_tls_whatever_the_backend_speaks() {
    let pki = Pki::new();
    let backend = Backend::replying(OK);
    let streams = kit::backend(&[], |frames, head| frames.send(kit::ok(head.stream, "ok")));
    let config = Setup::to(backend.address())
        .workers(2)
        .section("[admin]\n[[listener]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"")
        .listener(&pki.listener_tls())
        .routes(&format!(
            "[[route]]\nlistener = \"web\"\nupstream = \"app\"\n[[route]]\nlistener = \"plain\"\nupstream = \"streams\"\n\
             [upstream.streams]\nhttp = \"2\"\nendpoints = [\"{}\"]",
            streams.address()
        ))
        .text();
    let mut upgradable = Upgradable::start(&config);
    let (web, plain) = (upgradable.ringate.address_of("web"), upgradable.ringate.address_of("plain"));
    let tls = pki.client_config();
    let over_tls: Arc<dyn Fn() -> Peer + Send + Sync> =
        Arc::new(move || Peer::try_tls(web, &tls).expect("a connection"));
    let bare: Arc<dyn Fn() -> Peer + Send + Sync> = Arc::new(move || Peer::silent(plain));
    let load = Http2Load::start(&[over_tls.clone(), over_tls, bare.clone(), bare]);
    load.go_on(100);
    let mut last = None;
    for _ in 0..3 {
        let pid = upgradable.upgrade();
        load.go_on(100);
        if let Some(before) = last.replace(pid) {
            await_end(before);
        }
    }
    let requests = load.end();
    upgradable.first_ends();
    println!("{requests} requests by HTTP/2");
}

#[test]
fn streams_live_on_in_the_old_process_until_its_drain_ends() {
    // It sends what it gets, for as long as its client does.
    let echo = Backend::start(|connection| {
        let mut frames = Frames::accept(connection, &[])?;
        loop {
            let next = frames.next()?;
            match next.kind {
                kit::HEADERS => {
                    let head = frames.decode(next)?;
                    frames.send(kit::headers(head.stream, 0, &[(":status", "200")]))?;
                }
                kit::DATA => frames.send(kit::frame(kit::DATA, 0, next.stream, &next.payload))?,
                _ => {}
            }
        }
    });
    let config = Setup::to(echo.address())
        .runtime("drain = \"4s\"")
        .section("[admin]")
        .upstream("http = \"2\"")
        .text();
    let mut upgradable = Upgradable::start(&config);
    let address = upgradable.ringate.address();
    let open = || {
        let mut client = Peer::connect(address);
        client.send(peer::post(1, &[]));
        client
    };
    let say = |client: &mut Peer, text: &str| {
        client.send(peer::frame(peer::DATA, 0, 1, text));
        loop {
            let frame = client.frame().expect("the connection was closed");
            match frame.kind {
                peer::DATA => return assert_eq!(frame.payload, text.as_bytes()),
                peer::PING if frame.flags == 0 => {
                    client.send(peer::frame(peer::PING, peer::ES, 0, &frame.payload));
                }
                peer::GOAWAY => assert_eq!(frame.code(), 0),
                peer::RST_STREAM => panic!("{text}: the stream was reset"),
                _ => {}
            }
        }
    };
    let mut old = open();
    say(&mut old, "before");
    upgradable.upgrade();
    let begun = Instant::now();
    for number in 0..10 {
        say(&mut old, &format!("during {number}"));
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut new = open();
    say(&mut new, "next");
    upgradable.first_ends();
    assert!(begun.elapsed() > Duration::from_secs(2), "the stream had its time");
    while old.frame().is_some() {}
    say(&mut new, "on");
}
