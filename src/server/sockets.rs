//! The addresses that are bound: once a worker each, kept over reloads for as long as the config names them.

use std::io;
use std::net::SocketAddr;

use super::machine;
use super::supervisor::StartError;
use super::worker::Socket;
use crate::config::plan::{Plan, Protocol};
use crate::io::socket;
use crate::proxy::running::{Running, SocketId};

/// What is bound now.
#[derive(Debug, Default)]
pub struct Sockets {
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
    /// Binds what `plan` names and is not bound yet, on every worker.
    ///
    /// # Errors
    /// [`StartError::Listen`]: an address can't be listened on; then nothing new is bound.
    pub fn prepare(&self, plan: &Plan, cpus: &[usize]) -> Result<Prepared, StartError> {
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
                let ephemeral = (address.port() == 0).then(|| listener.name.value.clone());
                let key = Key { address: address.value, protocol: listener.protocol, ephemeral };
                if let Some(kept) = free.iter().position(|bound| bound.key == key) {
                    own.push(free.swap_remove(kept));
                    continue;
                }
                let failed = |error| StartError::Listen { listener: index, address: at, error };
                own.push(self.bind(key, cpus, steer, &mut prepared).map_err(failed)?);
            }
            prepared.listeners.push(own);
        }
        Ok(prepared)
    }

    fn bind(&self, key: Key, cpus: &[usize], steer: bool, prepared: &mut Prepared) -> io::Result<Bound> {
        let mut address = key.address;
        // A socket of our own on this port would look like another process.
        if self.bound.iter().all(|bound| bound.address.port() != address.port()) {
            socket::probe_free(address)?;
        }
        prepared.last += 1;
        let id = prepared.last;
        for (worker, &cpu) in cpus.iter().enumerate() {
            let socket = socket::listen(address)?;
            // Port 0: the first worker's choice is everybody's.
            address = socket.local_addr()?;
            if steer && !address.ip().is_loopback() {
                let _ = socket::prefer_cpu(&socket, cpu);
            }
            prepared.fresh[worker].push((id, socket));
        }
        Ok(Bound { id, key, address })
    }

    /// What was prepared is what is bound now. Returns what is new, for each worker.
    pub fn adopt(&mut self, prepared: Prepared) -> Vec<Vec<Socket>> {
        self.bound = prepared.listeners.into_iter().flatten().collect();
        self.last = prepared.last;
        prepared.fresh
    }
}

impl Prepared {
    /// Tells a snapshot which sockets its listeners have.
    pub fn describe(&self, running: &mut Running) {
        for (listener, bound) in running.listeners.iter_mut().zip(&self.listeners) {
            listener.addresses = bound.iter().map(|bound| bound.address).collect();
            listener.sockets = bound.iter().map(|bound| bound.id).collect();
        }
    }
}
