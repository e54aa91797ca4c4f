//! Datagrams: a server that sends them back, and clients that keep a number of them under way.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{failure, histogram, percentiles};

/// After so long a silence, what a client has under way counts as lost.
const LOST: Duration = Duration::from_millis(200);
/// Bytes of a datagram that say which one it is: its number, and when it was sent.
const MARK: usize = 16;

/// Sends each datagram back, until it is killed.
pub(super) fn echo(address: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::bind(address)?;
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 4 << 20)?;
    let mut bytes = vec![0; 65_536];
    loop {
        // An error is a client's that is gone.
        if let Ok((count, from)) = socket.recv_from(&mut bytes) {
            let _ = socket.send_to(&bytes[..count], from);
        }
    }
}

/// What is sent.
pub(super) struct Load {
    pub(super) address: SocketAddr,
    pub(super) time: Duration,
    pub(super) clients: usize,
    pub(super) size: usize,
    /// Datagrams that each client has under way.
    pub(super) window: usize,
}

struct Client {
    socket: UdpSocket,
    sent: u64,
    under_way: usize,
    heard: Instant,
}

impl Client {
    /// Sends until `window` datagrams are under way.
    fn fill(&mut self, load: &Load, start: Instant, bytes: &mut [u8]) -> io::Result<()> {
        while self.under_way < load.window {
            bytes[..8].copy_from_slice(&self.sent.to_ne_bytes());
            bytes[8..MARK].copy_from_slice(&(start.elapsed().as_nanos() as u64).to_ne_bytes());
            match self.socket.send(bytes) {
                Ok(_) => (self.sent, self.under_way) = (self.sent + 1, self.under_way + 1),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Sends for a time and prints what came back. More than one lost datagram in a hundred is an error.
pub(super) fn load(load: &Load) -> io::Result<()> {
    if load.size < MARK {
        return Err(failure(format!("a datagram has {MARK} bytes at least")));
    }
    let start = Instant::now();
    let client = |_| {
        let local = if load.address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(local)?;
        socket.connect(load.address)?;
        socket.set_nonblocking(true)?;
        Ok(Client { socket, sent: 0, under_way: 0, heard: Instant::now() })
    };
    let mut clients = (0..load.clients).map(client).collect::<io::Result<Vec<_>>>()?;
    let (mut out, mut bytes) = (vec![b'x'; load.size], vec![0; 65_536]);
    let (mut done, mut lost, mut latency) = (0u64, 0, histogram());
    while start.elapsed() < load.time {
        for client in &mut clients {
            if client.under_way > 0 && client.heard.elapsed() > LOST {
                lost += client.under_way as u64;
                client.under_way = 0;
            }
            if client.under_way == 0 {
                client.heard = Instant::now();
            }
            client.fill(load, start, &mut out)?;
        }
        let mut polled: Vec<_> =
            clients.iter().map(|client| PollFd::new(&client.socket, PollFlags::IN)).collect();
        poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 50_000_000 }))?;
        let ready: Vec<bool> = polled.iter().map(|entry| !entry.revents().is_empty()).collect();
        for (client, _) in clients.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            while let Ok(count) = client.socket.recv(&mut bytes) {
                let number = |at: usize| bytes[at..at + 8].try_into().map_or(u64::MAX, u64::from_ne_bytes);
                if count != load.size || number(0) >= client.sent || bytes[MARK..count] != out[MARK..] {
                    return Err(failure("a datagram came back changed"));
                }
                latency.saturating_record((start.elapsed().as_nanos() as u64).saturating_sub(number(8)));
                client.under_way = client.under_way.saturating_sub(1);
                client.heard = Instant::now();
                done += 1;
            }
        }
    }
    let sent: u64 = clients.iter().map(|client| client.sent).sum();
    if lost * 100 > sent {
        return Err(failure(format!("{lost} of {sent} datagrams were lost")));
    }
    let rate = done as f64 / start.elapsed().as_secs_f64();
    #[allow(clippy::print_stdout)]
    {
        println!(r#"{{"requests":{done},"rate":{rate:.1},"lost":{lost},{}}}"#, percentiles(&latency));
    }
    Ok(())
}
