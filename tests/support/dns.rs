//! A name server whose answers a test sets.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const A: u16 = 1;
pub const AAAA: u16 = 28;
pub const SRV: u16 = 33;

/// What is answered to the questions for one name and type.
#[derive(Clone)]
pub enum Zone {
    /// Records' data, and their TTL in seconds.
    Records(Vec<Vec<u8>>, u32),
    /// SERVFAIL.
    Fails,
    /// REFUSED.
    Refuses,
    /// No answer at all.
    Silent,
}

type Zones = Arc<Mutex<HashMap<(String, u16), Zone>>>;

/// It answers over UDP on loopback until it is dropped. What it does not know is NXDOMAIN; a known name without records of
/// a type is an empty answer.
pub struct NameServer {
    address: SocketAddr,
    zones: Zones,
    questions: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
}

impl NameServer {
    pub fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let address = socket.local_addr().unwrap();
        let (zones, questions, stopped) = (Zones::default(), Arc::<AtomicUsize>::default(), Arc::default());
        let server = Self { address, zones, questions, stopped };
        let (zones, questions, stopped) =
            (Arc::clone(&server.zones), Arc::clone(&server.questions), Arc::clone(&server.stopped));
        std::thread::spawn(move || {
            let mut message = [0; 1500];
            while !stopped.load(Ordering::SeqCst) {
                let Ok((length, from)) = socket.recv_from(&mut message) else { continue };
                questions.fetch_add(1, Ordering::SeqCst);
                if let Some(answer) = answer(&message[..length], &zones.lock().unwrap()) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        server
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Questions so far.
    pub fn questions(&self) -> usize {
        self.questions.load(Ordering::SeqCst)
    }

    pub fn set(&self, name: &str, kind: u16, zone: Zone) {
        self.zones.lock().unwrap().insert((name.to_owned(), kind), zone);
    }

    /// `127.0.0.LAST` for each of these.
    pub fn addresses(&self, name: &str, last: &[u8], ttl: u32) {
        let data = last.iter().map(|last| vec![127, 0, 0, *last]).collect();
        self.set(name, A, Zone::Records(data, ttl));
    }

    /// SRV records: priority, weight, port, target.
    pub fn services(&self, name: &str, records: &[(u16, u16, u16, &str)], ttl: u32) {
        let data = records.iter().map(|(priority, weight, port, target)| {
            let mut data: Vec<u8> =
                [priority, weight, port].iter().flat_map(|number| number.to_be_bytes()).collect();
            for label in target.split('.') {
                data.push(label.len() as u8);
                data.extend_from_slice(label.as_bytes());
            }
            data.push(0);
            data
        });
        self.set(name, SRV, Zone::Records(data.collect(), ttl));
    }

    /// From now on the name does not exist.
    pub fn forget(&self, name: &str) {
        self.zones.lock().unwrap().retain(|(known, _), _| known != name);
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
    }
}

/// A response (RFC 1035 §4.1) to a query with one question.
fn answer(query: &[u8], zones: &HashMap<(String, u16), Zone>) -> Option<Vec<u8>> {
    let (mut at, mut labels) = (12, Vec::new());
    while *query.get(at)? != 0 {
        let length = usize::from(query[at]);
        labels.push(String::from_utf8_lossy(query.get(at + 1..at + 1 + length)?).to_lowercase());
        at += 1 + length;
    }
    let question = query.get(12..at + 5)?;
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let name = labels.join(".");
    let zone = zones.get(&(name.clone(), kind));
    let (code, records, ttl): (u8, &[Vec<u8>], u32) = match zone {
        Some(Zone::Silent) => return None,
        Some(Zone::Fails) => (2, &[], 0),
        Some(Zone::Refuses) => (5, &[], 0),
        Some(Zone::Records(records, ttl)) => (0, records, *ttl),
        None if zones.keys().any(|(known, _)| *known == name) => (0, &[], 0),
        None => (3, &[], 0),
    };
    let mut out = query[..2].to_vec();
    out.extend_from_slice(&[0x81, 0x80 | code, 0, 1]);
    out.extend_from_slice(&(records.len() as u16).to_be_bytes());
    out.extend_from_slice(&[0, 0, 0, 0]);
    out.extend_from_slice(question);
    for data in records {
        out.extend_from_slice(&[0xc0, 12]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 1]);
        out.extend_from_slice(&ttl.to_be_bytes());
        out.extend_from_slice(&(data.len() as u16).to_be_bytes());
        out.extend_from_slice(data);
    }
    Some(out)
}
