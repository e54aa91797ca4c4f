//! HTTP/2 on both sides under load: rotations, reloads, drained endpoints and the end of the process cost no request.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;

use super::http2::node;
use super::kit::*;
use crate::http2::peer::{self, Peer};
use crate::reload::{edit, reload};
use crate::support::*;

/// Requests of one connection at a time.
const AT_ONCE: u32 = 10;

/// Clients of HTTP/2 over TLS that never stop. Each opens several streams at a time, GET and POST in turn.
struct Streams {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    /// Connections that ended by a GOAWAY.
    left: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

/// What a batch of requests on one connection came to.
struct Batch {
    /// Streams that are not in a GOAWAY's range: they go elsewhere.
    again: u64,
    failed: Vec<String>,
    /// The connection takes no more.
    is_over: bool,
}

fn batch(client: &mut Peer, first: u32) -> Batch {
    // A connection that was accepted by the kernel alone is not a connection yet.
    let mut is_served = first > 1;
    let mut open = BTreeSet::new();
    let mut out = Vec::new();
    for number in 0..AT_ONCE {
        let stream = first + 2 * number;
        open.insert(stream);
        if number % 2 == 0 {
            out.extend(peer::get(stream));
        } else {
            out.extend(peer::post(stream, &[]));
            out.extend(peer::frame(peer::DATA, peer::ES, stream, b"hello"));
        }
    }
    let mut batch = Batch { again: 0, failed: Vec::new(), is_over: false };
    // Where the connection has ended meanwhile, what is read of it says so.
    let _ = client.try_send(out);
    while !open.is_empty() {
        let Some(frame) = client.frame() else {
            match is_served {
                true => batch.failed.push(format!("the connection was closed with {open:?} open")),
                false => batch.again += open.len() as u64,
            }
            batch.is_over = true;
            break;
        };
        is_served = true;
        match frame.kind {
            peer::HEADERS => {
                let fields = client.fields(&frame.payload);
                let status = fields.iter().find(|(name, _)| name == ":status");
                if status.is_some_and(|(_, status)| status != "200") {
                    batch.failed.push(format!("{fields:?}"));
                }
            }
            peer::DATA if !frame.payload.is_empty() => {
                let grant = (frame.payload.len() as u32).to_be_bytes();
                client.send(peer::frame(peer::WINDOW_UPDATE, 0, 0, grant));
            }
            peer::RST_STREAM if open.remove(&frame.stream) => match frame.code() {
                peer::REFUSED_STREAM => batch.again += 1,
                code => batch.failed.push(format!("reset with {code}")),
            },
            peer::GOAWAY => {
                if frame.code() != 0 {
                    batch.failed.push(format!("GOAWAY with {}", frame.code()));
                }
                batch.is_over = true;
                let last = u32::from_be_bytes(frame.payload[..4].try_into().unwrap());
                let before = open.len();
                open.retain(|stream| *stream <= last);
                batch.again += (before - open.len()) as u64;
            }
            peer::PING if frame.flags == 0 => {
                client.send(peer::frame(peer::PING, peer::ES, 0, &frame.payload));
            }
            _ => {}
        }
        if frame.ends() {
            open.remove(&frame.stream);
        }
    }
    batch
}

impl Streams {
    fn start(ringate: &Ringate, pki: &Pki, clients: usize) -> Self {
        let (stop, done, left) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::default());
        let (address, config) = (ringate.address(), pki.client_config());
        let one = |_| {
            let (stop, done, left) = (Arc::clone(&stop), Arc::clone(&done), Arc::<AtomicU64>::clone(&left));
            let config = Arc::clone(&config);
            std::thread::spawn(move || {
                let mut failed = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    // Once the process drains there is nobody to connect to.
                    let Some(mut client) = Peer::try_tls(address, &config) else { break };
                    client.name = "a client that never stops";
                    client.greet(&[]);
                    let mut first = 1;
                    while !stop.load(Ordering::Relaxed) {
                        let batch = batch(&mut client, first);
                        first += 2 * AT_ONCE;
                        done.fetch_add(
                            u64::from(AT_ONCE) - batch.again - batch.failed.len() as u64,
                            Ordering::Relaxed,
                        );
                        failed.extend(batch.failed);
                        if batch.is_over {
                            left.fetch_add(1, Ordering::Relaxed);
                            break;
                        }
                    }
                }
                failed
            })
        };
        let clients = (0..clients).map(one).collect();
        Self { stop, done, left, clients }
    }

    fn await_more(&self, count: u64) {
        let goal = self.done.load(Ordering::Relaxed) + count;
        eventually("requests under way", || (self.done.load(Ordering::Relaxed) >= goal).then_some(()));
    }

    fn finish(self) -> (u64, u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let failed = self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        (self.done.load(Ordering::Relaxed), self.left.load(Ordering::Relaxed), failed)
    }
}

#[test]
fn nothing_is_lost_on_either_side_whatever_changes() {
    let kit = Kit::new();
    let nodes = [node(&kit), node(&kit)];
    let addresses = nodes.each_ref().map(Node::address);
    let setup = kit
        .setup_with(&addresses, "http = \"2\"\n")
        .listener(&format!("limits = {{ requests_per_connection = 150 }}\n{}", kit.pki.listener_tls()));
    let mut ringate = setup.start();
    let load = Streams::start(&ringate, &kit.pki, 4);
    load.await_more(100);
    // Generations of our certificate.
    for name in ["second", "third"] {
        kit.stage(name);
        order(&ringate, "trial", "");
        order(&ringate, "activate", "");
        load.await_more(100);
        await_safe(&ringate);
        order(&ringate, "retire", "");
    }
    // Another route, another policy of the listener, other endpoints.
    let more = "[[route]]\npath = \"/other\"\nrespond = { status = 204 }\n[upstream.app]";
    reload(&ringate, &edit(&ringate, "[upstream.app]", more));
    load.await_more(100);
    reload(&ringate, &edit(&ringate, "[listener.tls]", "[listener.tls]\nversions = [\"1.3\"]"));
    load.await_more(100);
    let one = format!("\"{}\"", addresses[0]);
    reload(&ringate, &edit(&ringate, &one, &format!("{{ address = {one}, drain = true }}")));
    load.await_more(100);
    reload(&ringate, &edit(&ringate, ", drain = true", ""));
    load.await_more(100);
    assert!(load.left.load(Ordering::Relaxed) > 0, "each connection carries 150 requests");
    // The end of the process, with all clients at work.
    ringate.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(300));
    let log = ringate.log();
    let (done, _, failed) = load.finish();
    assert!(failed.is_empty(), "{} of {done}: {:?}\n{log}", failed.len(), &failed[..failed.len().min(5)]);
    assert_eq!(ringate.wait().code(), Some(0));
}
