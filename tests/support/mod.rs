//! What tests are made of: Ringate itself, raw clients, scripted backends, real peers, certificates.

mod authority;
mod backend;
mod body;
mod certs;
mod client;
mod crafted;
mod dns;
mod hosts;
mod judge;
mod peers;
mod process;
mod ringate;
mod stream;
mod streams;
mod wire;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

pub use authority::{Authority, Files, Leaf};
pub use backend::{Backend, Connection, HALF};
pub use body::{Hash, Pattern};
pub use certs::Pki;
pub use client::Client;
pub use crafted::Crafted;
pub use dns::{A, AAAA, NameServer, Zone};
pub use hosts::Hosts;
pub use judge::{Asked, Judge, STARTED, millis};
pub use peers::{HaProxy, Nginx, Node, SServer, curl, have, wrk};
pub use process::{Process, run, run_within};
pub use ringate::{Ringate, Setup};
pub use stream::{Server, Stream};
pub use streams::{Bare, Sink, slow};
pub use wire::{Ahead, Request, Response};

/// The longest that anything is waited for. A test that needs all of it has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` gives a value: for what no event announces, such as another program's port being open.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A loopback address on which nothing listens, for programs that can't be given port 0.
///
/// It lies below the ports that the kernel gives to outgoing connections, so it stays free until it is used.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 18_000;
    // Test processes that run side by side begin in different places.
    let start = (std::process::id() as u16).wrapping_mul(97);
    for _ in 0..COUNT {
        let port = FIRST + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port");
}
