//! The addresses that are bound: once a worker each, kept over reloads for as long as the config names them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::machine;
use super::supervisor::StartError;
use super::unix_socket::{self, SocketFile};
use super::worker::{ClientSocket, Socket};
use crate::base::address::Address;
use crate::config::plan::{Listener, Plan, Protocol};
use crate::io::socket::{self, BoundListener};
use crate::io::udp;
use crate::proxy::snapshot::{RuntimeConfig, SocketId};

/// The longest that an address in use is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is tried again.
pub(crate) const AGAIN: Duration = Duration::from_millis(20);

/// What is bound now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sockets {
    bound: Vec<Bound>,
    last: SocketId,
}

/// One address of a listener.
#[derive(Clone, Debug)]
struct Bound {
    id: SocketId,
    key: Key,
    /// Where it is bound; differs from the config's address where that has port 0.
    address: Address,
    /// The permissions of a Unix socket, set once what was prepared is adopted.
    mode: u32,
    /// The file of a Unix socket, removed once nothing has it any more.
    file: Option<Arc<SocketFile>>,
}

/// What makes an address the same one in the next config. Another protocol makes it a new one: connections under
/// way speak the old protocol to their end.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    address: Address,
    protocol: Protocol,
    ipv6_only: bool,
    /// The listener's name where the port is 0: two such addresses are two ports.
    ephemeral: Option<String>,
}

/// Addresses that are bound for a plan, some perhaps anew. Dropped, the new ones are closed again.
#[derive(Debug)]
pub struct Prepared {
    /// For each listener of the plan.
    listeners: Vec<Vec<Bound>>,
    last: SocketId,
    /// What is new, for each worker.
    pub(crate) fresh: Vec<Vec<Socket>>,
}

impl Sockets {
    /// Tries to bind what `plan` names and is not bound yet, and lets it go again. Returns why that fails.
    pub(crate) fn try_addresses(&self, plan: &Plan) -> Vec<StartError> {
        let mut failed = Vec::new();
        let mut own = self.bound.clone();
        for (index, listener) in plan.listeners.iter().enumerate() {
            for (at, address) in listener.addresses.iter().enumerate() {
                let key = Key::of(listener, &address.value);
                if self.bound.iter().any(|bound| bound.key == key) {
                    continue;
                }
                if let Err(error) = wait_free(&own, &key) {
                    failed.push(StartError::Listen { listener: index, address: at, error });
                }
                own.push(Bound { id: 0, address: key.address.clone(), key, mode: 0, file: None });
            }
        }
        failed
    }

    /// Binds what `plan` names and is not bound yet, on every worker.
    ///
    /// # Errors
    /// [`StartError::Listen`]: an address can't be listened on; then nothing new is bound.
    pub(crate) fn prepare(&self, plan: &Plan, cpus: &[usize]) -> Result<Prepared, StartError> {
        let steer = machine::steering_helps(cpus);
        let mut free = self.bound.clone();
        let mut prepared = Prepared {
            listeners: Vec::new(),
            last: self.last,
            fresh: cpus.iter().map(|_| Vec::new()).collect(),
        };
        for (index, listener) in plan.listeners.iter().enumerate() {
            let mut own = Vec::new();
            for (at, address) in listener.addresses.iter().enumerate() {
                let key = Key::of(listener, &address.value);
                if let Some(kept) = free.iter().position(|bound| bound.key == key) {
                    own.push(Bound { mode: listener.socket_mode, ..free.swap_remove(kept) });
                    continue;
                }
                let failed = |error| StartError::Listen { listener: index, address: at, error };
                let taken: Vec<Bound> = self
                    .bound
                    .iter()
                    .chain(prepared.listeners.iter().flatten())
                    .chain(&own)
                    .cloned()
                    .collect();
                wait_free(&taken, &key).map_err(failed)?;
                let failed = |error| StartError::Listen { listener: index, address: at, error };
                own.push(bind(key, listener.socket_mode, cpus, steer, &mut prepared).map_err(failed)?);
            }
            prepared.listeners.push(own);
        }
        Ok(prepared)
    }

    /// What was prepared is what is bound now. Returns what is new, for each worker.
    pub(crate) fn adopt(&mut self, prepared: Prepared) -> Vec<Vec<Socket>> {
        self.bound = prepared.listeners.into_iter().flatten().collect();
        for bound in &self.bound {
            bound.file.iter().for_each(|file| file.set_mode(bound.mode));
        }
        self.last = prepared.last;
        prepared.fresh
    }
}

impl Key {
    fn of(listener: &Listener, address: &Address) -> Self {
        let port = address.ip().map(|address| address.port());
        Self {
            address: address.clone(),
            protocol: listener.protocol,
            ipv6_only: listener.ipv6_only,
            ephemeral: (port == Some(0)).then(|| listener.name.value.clone()),
        }
    }

    fn is_udp(&self) -> bool {
        self.protocol == Protocol::Udp
    }

    /// Whether a socket here keeps one of another process from the address of `other`, and the other way round.
    fn overlaps(&self, other: &Self) -> bool {
        if self.is_udp() != other.is_udp() {
            return false;
        }
        let (Address::Ip(own), Address::Ip(others)) = (&self.address, &other.address) else {
            return self.address == other.address;
        };
        let covers = |wide: &SocketAddr, wide_only: bool, narrow: &SocketAddr| {
            let both = wide.is_ipv6() && !wide_only;
            wide.ip().is_unspecified() && (both || wide.is_ipv6() == narrow.is_ipv6())
        };
        own.ip() == others.ip() || covers(own, self.ipv6_only, others) || covers(others, other.ipv6_only, own)
    }
}

/// Binds an address on every worker.
fn bind(key: Key, mode: u32, cpus: &[usize], steer: bool, prepared: &mut Prepared) -> io::Result<Bound> {
    prepared.last += 1;
    let id = prepared.last;
    let mut address = match &key.address {
        Address::Ip(address) => *address,
        Address::Unix(path) => {
            // One accept queue, of which each worker takes what it can: a Unix socket has no SO_REUSEPORT.
            let (listener, file) = unix_socket::bind(path, mode)?;
            for fresh in &mut prepared.fresh {
                fresh.push((id, ClientSocket::Listener(BoundListener::Unix(listener.try_clone()?))));
            }
            let address = key.address.clone();
            return Ok(Bound { id, key, address, mode, file: file.map(Arc::new) });
        }
    };
    for (worker, &cpu) in cpus.iter().enumerate() {
        if key.is_udp() {
            // The kernel chooses a socket by the hash of both addresses: a client stays with its worker.
            let socket = udp::listen(address, key.ipv6_only)?;
            address = socket.local_addr()?;
            prepared.fresh[worker].push((id, ClientSocket::Udp(socket)));
            continue;
        }
        let socket = socket::listen(address, key.ipv6_only)?;
        // Port 0: the first worker's choice is that of all.
        address = socket.local_addr()?;
        if steer && !address.ip().is_loopback() {
            let _ = socket::prefer_cpu(&socket, cpu);
        }
        prepared.fresh[worker].push((id, ClientSocket::Listener(BoundListener::Tcp(socket))));
    }
    Ok(Bound { id, key, address: Address::Ip(address), mode, file: None })
}

/// Waits until no other process listens on an address, for [`PATIENCE`] at most: the ring of a process that was killed, or
/// of a worker that has just closed the address, holds it a moment longer. Sockets in `own` cannot be distinguished from another
/// process's.
fn wait_free(own: &[Bound], key: &Key) -> io::Result<()> {
    let address = match &key.address {
        Address::Ip(address) => *address,
        Address::Unix(_) if own.iter().any(|bound| bound.address == key.address) => {
            let advice = "its protocol cannot change while it is bound: choose another path, or restart";
            return Err(io::Error::other(advice));
        }
        Address::Unix(path) => return unix_socket::try_bind(path),
    };
    let is_same_port = |bound: &Bound| bound.address.ip().is_some_and(|bound| bound.port() == address.port());
    if address.port() == 0 || own.iter().any(|bound| is_same_port(bound) && bound.key.overlaps(key)) {
        return Ok(());
    }
    let probe = if key.is_udp() { udp::probe_free } else { socket::probe_free };
    await_free_by(probe, address, key.ipv6_only)
}

/// The same where this process has no socket of that port.
pub(crate) fn await_free(address: SocketAddr, ipv6_only: bool) -> io::Result<()> {
    await_free_by(socket::probe_free, address, ipv6_only)
}

fn await_free_by(
    probe: fn(SocketAddr, bool) -> io::Result<()>,
    address: SocketAddr,
    ipv6_only: bool,
) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        match probe(address, ipv6_only) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                std::thread::sleep(AGAIN);
            }
            result => return result,
        }
    }
}

/// Tries an address of the admin server. `None` as the error: a process listens there that `is_ringate` knows.
pub(crate) fn try_admin(
    address: SocketAddr,
    is_ringate: impl Fn(&SocketAddr) -> bool,
) -> Result<(), Option<io::Error>> {
    if is_ringate(&address) {
        return Err(None);
    }
    await_free(address, false).map_err(Some)
}

/// What to do about an address that can't be listened on.
pub(crate) fn advice(address: &Address, error: &io::Error) -> String {
    let address = match address {
        Address::Ip(address) => address,
        Address::Unix(_) => {
            return "the folder must be there and writable; a socket on which a process answers, or a file that is no \
                    socket, is not replaced"
                .to_owned();
        }
    };
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "port {} needs the capability CAP_NET_BIND_SERVICE: `AmbientCapabilities=CAP_NET_BIND_SERVICE` in the \
             systemd unit, `setcap cap_net_bind_service=+ep` on the binary, or \
             `sysctl net.ipv4.ip_unprivileged_port_start={}`",
            address.port(),
            address.port()
        ),
        io::ErrorKind::AddrNotAvailable => {
            "this host does not have the address: `ip address` shows those that it has".to_owned()
        }
        _ => "choose another address, or stop the process that holds this one (`ss -ltnup` shows it)"
            .to_owned(),
    }
}

impl Prepared {
    /// Gives a snapshot the sockets of its listeners.
    pub fn describe(&self, running: &mut RuntimeConfig) {
        for (listener, bound) in running.listeners.iter_mut().zip(&self.listeners) {
            listener.addresses = bound.iter().map(|bound| bound.address.clone()).collect();
            listener.sockets = bound.iter().map(|bound| bound.id).collect();
        }
    }
}
