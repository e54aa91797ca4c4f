//! The addresses that are bound: once a worker each, kept over reloads for as long as the config names them.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::machine;
use super::supervisor::StartError;
use super::worker::Socket;
use crate::config::plan::{Listener, Plan, Protocol};
use crate::io::socket;
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
    address: SocketAddr,
}

/// What makes an address the same one in the next config. Another protocol makes it a new one: connections under
/// way speak the old protocol to their end.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    address: SocketAddr,
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
    pub fresh: Vec<Vec<Socket>>,
}

impl Sockets {
    /// Tries to bind what `plan` names and is not bound yet, and lets it go again. Returns why that fails.
    pub(crate) fn try_addresses(&self, plan: &Plan) -> Vec<StartError> {
        let mut failed = Vec::new();
        let mut own = self.bound.clone();
        for (index, listener) in plan.listeners.iter().enumerate() {
            for (at, address) in listener.addresses.iter().enumerate() {
                let key = Key::of(listener, address.value);
                if self.bound.iter().any(|bound| bound.key == key) {
                    continue;
                }
                if let Err(error) = wait_free(&own, &key) {
                    failed.push(StartError::Listen { listener: index, address: at, error });
                }
                own.push(Bound { id: 0, address: key.address, key });
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
                let key = Key::of(listener, address.value);
                if let Some(kept) = free.iter().position(|bound| bound.key == key) {
                    own.push(free.swap_remove(kept));
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
                own.push(bind(key, cpus, steer, &mut prepared).map_err(failed)?);
            }
            prepared.listeners.push(own);
        }
        Ok(prepared)
    }

    /// What was prepared is what is bound now. Returns what is new, for each worker.
    pub(crate) fn adopt(&mut self, prepared: Prepared) -> Vec<Vec<Socket>> {
        self.bound = prepared.listeners.into_iter().flatten().collect();
        self.last = prepared.last;
        prepared.fresh
    }
}

impl Key {
    fn of(listener: &Listener, address: SocketAddr) -> Self {
        Self {
            address,
            protocol: listener.protocol,
            ipv6_only: listener.ipv6_only,
            ephemeral: (address.port() == 0).then(|| listener.name.value.clone()),
        }
    }

    /// Whether a socket here keeps one of another process from the address of `other`, and the other way round.
    fn overlaps(&self, other: &Self) -> bool {
        let covers = |wide: &Self, narrow: &Self| {
            let both = wide.address.is_ipv6() && !wide.ipv6_only;
            wide.address.ip().is_unspecified() && (both || wide.address.is_ipv6() == narrow.address.is_ipv6())
        };
        self.address.ip() == other.address.ip() || covers(self, other) || covers(other, self)
    }
}

/// Binds an address on every worker.
fn bind(key: Key, cpus: &[usize], steer: bool, prepared: &mut Prepared) -> io::Result<Bound> {
    let mut address = key.address;
    prepared.last += 1;
    let id = prepared.last;
    for (worker, &cpu) in cpus.iter().enumerate() {
        let socket = socket::listen(address, key.ipv6_only)?;
        // Port 0: the first worker's choice is that of all.
        address = socket.local_addr()?;
        if steer && !address.ip().is_loopback() {
            let _ = socket::prefer_cpu(&socket, cpu);
        }
        prepared.fresh[worker].push((id, socket));
    }
    Ok(Bound { id, key, address })
}

/// Waits until no other process listens on an address, for [`PATIENCE`] at most: the ring of a process that was killed, or
/// of a worker that has just let go of the address, holds it a moment longer. Sockets in `own` look like another
/// process's.
fn wait_free(own: &[Bound], key: &Key) -> io::Result<()> {
    let address = key.address;
    if address.port() == 0
        || own.iter().any(|bound| bound.address.port() == address.port() && bound.key.overlaps(key))
    {
        return Ok(());
    }
    await_free(address, key.ipv6_only)
}

/// The same where this process has no socket of that port.
pub(crate) fn await_free(address: SocketAddr, ipv6_only: bool) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        match socket::probe_free(address, ipv6_only) {
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
pub(crate) fn advice(address: &SocketAddr, error: &io::Error) -> String {
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
        _ => {
            "choose another address, or stop the process that holds this one (`ss -ltnp` shows it)".to_owned()
        }
    }
}

impl Prepared {
    /// Tells a snapshot which sockets its listeners have.
    pub fn describe(&self, running: &mut RuntimeConfig) {
        for (listener, bound) in running.listeners.iter_mut().zip(&self.listeners) {
            listener.addresses = bound.iter().map(|bound| bound.address).collect();
            listener.sockets = bound.iter().map(|bound| bound.id).collect();
        }
    }
}
