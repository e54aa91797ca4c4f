//! The addresses that are bound: once a worker each, kept over reloads for as long as the config names them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::inherited::{Inherited, InheritedSocket, Wanted};
use super::machine;
use super::supervisor::StartError;
use super::unix_socket::{self, SocketFile};
use super::worker::{ClientSocket, Socket};
use crate::base::address::Address;
use crate::config::plan::{Listener, Plan, Protocol};
use crate::io::inherit::Kind;
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
    /// What another process has bound for this one, until the first plan is adopted.
    inherited: Arc<Inherited>,
    /// The positions of what was bound for this process and is not used.
    unused: Vec<usize>,
}

/// A socket that this process can pass on.
#[derive(Clone, Debug)]
pub(crate) struct Passable {
    /// Its listener's name.
    pub(crate) listener: String,
    /// Its address, as the config has it.
    pub(crate) address: Address,
    /// Whether this process removes its file in the end.
    pub(crate) owns_file: bool,
    /// Tells sockets of this process apart.
    pub(crate) id: u64,
    /// The socket.
    pub(crate) fd: Arc<OwnedFd>,
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
    /// The name of its listener.
    listener: String,
    /// The sockets of all workers, beside those that the workers have: they are passed on. A worker's socket is closed once
    /// both are.
    handles: Vec<Arc<OwnedFd>>,
    /// Another process serves what waits in them.
    left: bool,
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
    /// Nothing is bound yet but what another process has bound for this one.
    pub(crate) fn inheriting(inherited: Inherited) -> Self {
        Self { inherited: Arc::new(inherited), ..Self::default() }
    }

    /// All that can be passed on.
    pub(crate) fn handles(&self) -> Vec<Passable> {
        let of = |bound: &Bound| {
            let (listener, address) = (bound.listener.clone(), bound.key.address.clone());
            let owns_file = bound.file.is_some();
            let id = u64::from(bound.id) << 32;
            let handle =
                Passable { listener, address, owns_file, id, fd: Arc::clone(bound.handles.first()?) };
            let all = bound.handles.iter().enumerate();
            let all = all.map(|(index, fd)| Passable {
                id: id | index as u64,
                fd: Arc::clone(fd),
                ..handle.clone()
            });
            Some(all.collect::<Vec<_>>())
        };
        self.bound.iter().filter_map(of).flatten().collect()
    }

    /// The positions of what another process has bound for this one and no listener uses.
    pub(crate) fn unused(&self) -> &[usize] {
        &self.unused
    }

    /// Nothing is passed on any more: what workers close is closed. Returns what another process serves.
    pub(crate) fn let_go(&mut self) -> Arc<[SocketId]> {
        self.bound.iter_mut().for_each(|bound| bound.handles.clear());
        self.bound.iter().filter(|bound| bound.left).map(|bound| bound.id).collect()
    }

    /// Another process has the sockets but for those in `unused`, by [`Passable::id`].
    pub(crate) fn leave(&mut self, unused: &[u64]) {
        for bound in &mut self.bound {
            bound.left = !unused.iter().any(|id| id >> 32 == u64::from(bound.id));
            bound.file.iter().filter(|_| bound.left).for_each(|file| file.leave());
        }
    }

    /// Other processes have the sockets: their files stay.
    pub(crate) fn leave_files(&self) {
        self.bound.iter().filter_map(|bound| bound.file.as_ref()).for_each(|file| file.leave());
    }

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
                own.push(Bound::new(0, key, listener, None));
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
                    let name = listener.name.value.clone();
                    let kept = free.swap_remove(kept);
                    own.push(Bound { mode: listener.socket_mode, listener: name, ..kept });
                    continue;
                }
                let taken = || self.bound.iter().chain(prepared.listeners.iter().flatten()).chain(&own);
                let bound = match &self.inherited.find(&key.wanted(listener))[..] {
                    [] => {
                        let taken: Vec<Bound> = taken().cloned().collect();
                        wait_free(&taken, &key).and_then(|()| bind(key, listener, cpus, steer, &mut prepared))
                    }
                    inherited => take_over(key, listener, inherited, (cpus, steer), &mut prepared),
                };
                let failed = |error| StartError::Listen { listener: index, address: at, error };
                own.push(bound.map_err(failed)?);
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
        let inherited = std::mem::take(&mut self.inherited);
        let is_used = |socket: &InheritedSocket| {
            self.bound
                .iter()
                .any(|bound| bound.address == *socket.address() || bound.key.address == *socket.address())
        };
        let unused = inherited.without(is_used);
        let mut names: Vec<String> = unused.iter().map(|socket| socket.to_string()).collect();
        names.dedup();
        for name in names {
            tracing::info!(
                "a socket that was passed to this process belongs to no listener of the config, and is closed: {name}"
            );
        }
        self.unused = unused.iter().map(|socket| socket.position()).collect();
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

    fn wanted<'a>(&'a self, listener: &'a Listener) -> Wanted<'a> {
        Wanted {
            listener: Some(&listener.name.value),
            address: &self.address,
            kind: if self.is_udp() { Kind::Datagram } else { Kind::Stream },
            ipv6_only: self.ipv6_only,
        }
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

impl Bound {
    fn new(id: SocketId, key: Key, listener: &Listener, file: Option<SocketFile>) -> Self {
        Self {
            id,
            address: key.address.clone(),
            key,
            mode: listener.socket_mode,
            file: file.map(Arc::new),
            listener: listener.name.value.clone(),
            handles: Vec::new(),
            left: false,
        }
    }

    /// A worker gets a socket of its own, of which a handle stays here.
    fn give(&mut self, socket: ClientSocket, worker: usize, prepared: &mut Prepared) -> io::Result<()> {
        self.handles.push(Arc::new(socket.as_fd().try_clone_to_owned()?));
        prepared.fresh[worker].push((self.id, socket));
        Ok(())
    }
}

/// Binds an address on every worker.
fn bind(
    key: Key,
    listener: &Listener,
    cpus: &[usize],
    steer: bool,
    prepared: &mut Prepared,
) -> io::Result<Bound> {
    prepared.last += 1;
    let id = prepared.last;
    let mut address = match &key.address {
        Address::Ip(address) => *address,
        Address::Unix(path) => {
            let (socket, file) = unix_socket::bind(path, listener.socket_mode)?;
            let mut bound = Bound::new(id, key, listener, file);
            share(&socket.into(), &mut bound, prepared)?;
            return Ok(bound);
        }
    };
    let mut bound = Bound::new(id, key, listener, None);
    for (worker, &cpu) in cpus.iter().enumerate() {
        let socket = bind_one(&bound.key, address, steer.then_some(cpu))?;
        // Port 0: the first worker's choice is that of all.
        address = socket.local_addr()?;
        bound.give(socket, worker, prepared)?;
    }
    bound.address = Address::Ip(address);
    Ok(bound)
}

/// One worker's socket at an IP address.
fn bind_one(key: &Key, address: SocketAddr, cpu: Option<usize>) -> io::Result<ClientSocket> {
    if key.is_udp() {
        // The kernel chooses a socket by the hash of both addresses: a client stays with its worker.
        return udp::listen(address, key.ipv6_only).map(ClientSocket::Udp);
    }
    let socket = socket::listen(address, key.ipv6_only)?;
    steer(&socket, address, cpu);
    Ok(ClientSocket::Listener(BoundListener::Tcp(socket)))
}

fn steer(socket: &std::net::TcpListener, address: SocketAddr, cpu: Option<usize>) {
    if let Some(cpu) = cpu.filter(|_| !address.ip().is_loopback()) {
        let _ = socket::prefer_cpu(socket, cpu);
    }
}

/// One accept queue, of which each worker takes what it can: a Unix socket has no SO_REUSEPORT.
fn share(socket: &OwnedFd, bound: &mut Bound, prepared: &mut Prepared) -> io::Result<()> {
    bound.handles.push(Arc::new(socket.try_clone()?));
    for fresh in &mut prepared.fresh {
        let own = socket.try_clone()?.into();
        fresh.push((bound.id, ClientSocket::Listener(BoundListener::Unix(own))));
    }
    Ok(())
}

/// Takes over what another process has bound. Each socket has its own accept queue, so each goes to a worker: some workers get
/// several where there were more before, and workers without one bind theirs beside them. Where that is not permitted, as the
/// socket does not share its port or the port is privileged, they accept from the queue of another worker; datagrams are left
/// to those that have a socket, since a client must stay with its worker.
fn take_over(
    key: Key,
    listener: &Listener,
    inherited: &[&InheritedSocket],
    (cpus, steered): (&[usize], bool),
    prepared: &mut Prepared,
) -> io::Result<Bound> {
    prepared.last += 1;
    let first = inherited[0];
    let file = match first.address() {
        Address::Unix(path) => first.owns_file().then(|| SocketFile::of(path)),
        Address::Ip(_) => None,
    };
    let mut bound = Bound::new(prepared.last, key, listener, file);
    let Address::Ip(address) = *first.address() else {
        share(&first.open()?, &mut bound, prepared)?;
        return Ok(bound);
    };
    let open = |at: usize, cpu: usize| {
        let fd = inherited[at % inherited.len()].open()?;
        Ok::<_, io::Error>(if bound.key.is_udp() {
            let socket = std::net::UdpSocket::from(fd);
            udp::prepare(&socket, address)?;
            ClientSocket::Udp(socket)
        } else {
            let socket = std::net::TcpListener::from(fd);
            socket::prepare(&socket)?;
            steer(&socket, address, steered.then_some(cpu));
            ClientSocket::Listener(BoundListener::Tcp(socket))
        })
    };
    let mut sockets = Vec::new();
    for at in 0..inherited.len() {
        let worker = at % cpus.len();
        sockets.push((open(at, cpus[worker])?, worker));
    }
    for (worker, &cpu) in cpus.iter().enumerate().skip(inherited.len()) {
        let own = bind_one(&bound.key, address, steered.then_some(cpu));
        match own.map_err(|error| (error, bound.key.is_udp())) {
            Ok(own) if first.shares_port() => sockets.push((own, worker)),
            Err((_, true)) => {}
            _ => sockets.push((open(worker, cpu)?, worker)),
        }
    }
    bound.address = Address::Ip(address);
    for (socket, worker) in sockets {
        bound.give(socket, worker, prepared)?;
    }
    Ok(bound)
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
        Address::Unix(path) => return await_free_by(|| unix_socket::try_bind(path)),
    };
    let is_same_port = |bound: &Bound| bound.address.ip().is_some_and(|bound| bound.port() == address.port());
    if address.port() == 0 || own.iter().any(|bound| is_same_port(bound) && bound.key.overlaps(key)) {
        return Ok(());
    }
    let probe = if key.is_udp() { udp::probe_free } else { socket::probe_free };
    await_free_by(|| probe(address, key.ipv6_only))
}

/// The same where this process has no socket of that port.
pub(crate) fn await_free(address: SocketAddr, ipv6_only: bool) -> io::Result<()> {
    await_free_by(|| socket::probe_free(address, ipv6_only))
}

fn await_free_by(probe: impl Fn() -> io::Result<()>) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        match probe() {
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
