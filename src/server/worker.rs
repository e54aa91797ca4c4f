//! A worker: one thread, one CPU, one ring.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::base::address::Peer;
use crate::base::counters::Counters;
use crate::base::published::Published;
use crate::base::sample::sampled;
use crate::base::tally::Tally;
use crate::io::notify::Notified;
use crate::io::runtime;
use crate::io::socket::{self, BoundListener, Listener};
use crate::io::{Canceller, Fired, Pipe, TcpStream, descriptors, sleep};
use crate::io::{fault, vital};
use crate::proxy::access;
use crate::proxy::connection_permit::ConnectionPermit;
use crate::proxy::downstream::accept;
use crate::proxy::downstream::connection_limits::{self, Admission};
use crate::proxy::downstream::frontend::Frontend;
use crate::proxy::downstream::listener::ListenerSocket;
use crate::proxy::downstream::udp;
use crate::proxy::snapshot::{RuntimeConfig, SocketId};
use crate::proxy::trace;
use crate::proxy::worker::Worker;
use crate::server::heartbeat::{BEAT, BEATS_PER_SECOND, Heartbeat};
use crate::server::machine;
use crate::server::roll::Seat;

/// How long a draining worker still takes what is in its accept queues.
const LAST_CALL: Duration = Duration::from_millis(50);

/// Most connections that are taken from an accept queue before its socket is closed: as many as it has room for.
const MAX_QUEUED: u32 = 4096;

/// How long a listener with as many connections as it may have waits before it checks again.
const HELD_UP: Duration = Duration::from_millis(5);

/// A command to a worker.
#[derive(Debug)]
pub(crate) enum WorkerCommand {
    /// A new snapshot was published: take it up, and accept on these sockets of it too.
    Apply(Vec<Socket>),
    /// Check the backend connections: a rotation has ended some.
    Sweep,
    /// Stop accepting, finish what is under way, end. Another process serves what waits in these sockets.
    Drain(Arc<[SocketId]>),
}

/// A socket of one worker for clients.
pub(crate) type Socket = (SocketId, ClientSocket);

/// Where clients come in.
#[derive(Debug)]
pub(crate) enum ClientSocket {
    /// It accepts connections.
    Listener(BoundListener),
    /// It receives datagrams.
    Udp(std::net::UdpSocket),
}

impl ClientSocket {
    /// Where it is bound.
    ///
    /// # Errors
    /// It is a Unix socket.
    pub(crate) fn local_addr(&self) -> std::io::Result<std::net::SocketAddr> {
        match self {
            Self::Listener(BoundListener::Tcp(socket)) => socket.local_addr(),
            Self::Listener(BoundListener::Unix(_)) => Err(std::io::ErrorKind::Unsupported.into()),
            Self::Udp(socket) => socket.local_addr(),
        }
    }
}

impl AsFd for ClientSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Listener(BoundListener::Tcp(socket)) => socket.as_fd(),
            Self::Listener(BoundListener::Unix(socket)) => socket.as_fd(),
            Self::Udp(socket) => socket.as_fd(),
        }
    }
}

/// What a worker starts with.
#[derive(Debug)]
pub(crate) struct WorkerThread {
    /// Its number, from 0.
    pub number: usize,
    /// Its CPU.
    pub cpu: usize,
    /// Whether bodies may be moved without a copy: `runtime.splice`.
    pub splice: bool,
    /// Its listening sockets.
    pub sockets: Vec<Socket>,
    /// The version of the snapshot that it serves, for threads that wait for it.
    pub applied: Arc<AtomicU64>,
    /// Where it writes down its turns.
    pub heartbeat: Arc<Heartbeat>,
    /// What it serves.
    pub snapshot: Published<RuntimeConfig>,
    /// Its counters.
    pub counters: Arc<Counters>,
    /// Its end of the access log.
    pub access: Option<access::Seed>,
    /// Its end of the way of traces.
    pub traces: Option<trace::Seed>,
    /// What is open, counted with all other workers.
    pub tally: Arc<Tally>,
    /// What its request ids begin with.
    pub ids: u64,
    /// Commands, and the notification that there are any.
    pub orders: Receiver<WorkerCommand>,
    /// See `orders`.
    pub receiver: std::os::unix::net::UnixStream,
}

impl WorkerThread {
    /// Runs to the end of its drain, on the runtime that it makes at its seat.
    ///
    /// # Errors
    /// The wire of its orders broke.
    pub(crate) fn run(self, seat: Seat) -> std::io::Result<()> {
        self.heartbeat.begin();
        if let Err(error) = machine::pin(self.cpu) {
            tracing::warn!("worker can't be pinned to CPU {}: {error}", self.cpu);
        }
        // Without a runtime nothing has started.
        let Some(runtime) = seat.wait() else { return Ok(()) };
        runtime.block_on(self.serve())
    }

    async fn serve(self) -> std::io::Result<()> {
        Pipe::allow(self.splice);
        let worker =
            Worker::new(self.number, self.counters, (self.access, self.traces), self.tally, self.ids);
        let frontend = Rc::new(Frontend::new(worker, &self.snapshot, self.ids as usize));
        let worker = Rc::clone(&frontend.worker);
        runtime::spawn(vital::task("a worker's wheel", worker.wheel.clone().run()));
        let accepting = Rc::new(Cell::new(0));
        for socket in self.sockets {
            listen(&frontend, &accepting, socket)?;
        }
        self.applied.store(frontend.apply(), Ordering::Release);
        runtime::spawn(vital::task("a worker's sweep", turn(Rc::clone(&frontend), self.heartbeat)));
        let mut notified = Notified::adopt(self.receiver)?;
        let left = 'serving: loop {
            let is_notified = notified.notified().await;
            while let Ok(order) = self.orders.try_recv() {
                let sockets = match order {
                    WorkerCommand::Apply(sockets) => sockets,
                    WorkerCommand::Sweep => {
                        frontend.sweep();
                        continue;
                    }
                    WorkerCommand::Drain(left) => break 'serving left,
                };
                for socket in sockets {
                    if let Err(error) = listen(&frontend, &accepting, socket) {
                        tracing::error!("a new address is not served by this worker: {error}");
                    }
                }
                self.applied.store(frontend.apply(), Ordering::Release);
            }
            if !is_notified {
                // Without a control thread no drain can be requested any more.
                match self.orders.try_recv() {
                    Err(TryRecvError::Disconnected) => break Arc::default(),
                    _ => {
                        return Err(std::io::Error::other(
                            "the control thread's notifications ended before its commands did",
                        ));
                    }
                }
            }
        };
        frontend.drain(&left);
        fault::point("drain");
        while accepting.get() > 0 || worker.counters.connections_open.get() > 0 {
            // A connection may turn idle between two checks: interrupt it again.
            sleep(Duration::from_millis(10)).await;
            worker.wheel.interrupt();
        }
        frontend.sweep();
        Ok(())
    }
}

/// Beats, and checks the backend connections every second.
async fn turn(frontend: Rc<Frontend>, heartbeat: Arc<Heartbeat>) {
    loop {
        for _ in 0..BEATS_PER_SECOND {
            heartbeat.beat();
            let due = Instant::now() + BEAT;
            sleep(BEAT).await;
            frontend.worker.counters.delay.add(due.elapsed());
            frontend.free_descriptors();
            fault::point("beat");
        }
        fault::point("sweep");
        frontend.sweep();
    }
}

/// Begins to accept on a socket. `accepting` counts those that do.
fn listen(frontend: &Rc<Frontend>, accepting: &Rc<Cell<usize>>, (id, socket): Socket) -> std::io::Result<()> {
    // A snapshot that came right after has taken it away again.
    let Some(listening) = frontend.open(id) else {
        return Ok(());
    };
    match socket {
        ClientSocket::Listener(socket) => {
            let accept = accept(Rc::clone(frontend), listening, socket::adopt(socket)?);
            serve(accepting, vital::task("accepting", accept));
        }
        ClientSocket::Udp(socket) => {
            let relay = udp::Relay::new(Rc::clone(&frontend.worker), listening, socket)?;
            serve(accepting, vital::task("a udp listener", relay.serve()));
        }
    }
    Ok(())
}

/// Runs what serves a socket to its end.
fn serve(accepting: &Rc<Cell<usize>>, work: impl Future<Output = ()> + 'static) {
    let accepting = Rc::clone(accepting);
    accepting.set(accepting.get() + 1);
    runtime::spawn(async move {
        work.await;
        accepting.set(accepting.get() - 1);
    });
}

/// Accepts until the worker drains, or a reload takes the socket away.
async fn accept(frontend: Rc<Frontend>, listening: Rc<ListenerSocket>, socket: Listener) {
    let worker = Rc::clone(&frontend.worker);
    let deadline = listening.deadline(&worker.wheel);
    deadline.interruptible(true);
    let mut canceller = Canceller::new();
    let mut held_up = false;
    loop {
        let bound = frontend.view().config.limits.connections_per_worker as u64;
        if bound > 0 && worker.counters.connections_open.get() >= bound && !listening.is_ending(&worker) {
            if !std::mem::replace(&mut held_up, true) {
                worker.counters.limit_connections_per_worker.add(1);
            }
            sleep(HELD_UP).await;
            continue;
        }
        held_up = false;
        let handle = canceller.handle();
        let mut held = Some(canceller);
        let accepting = pin!(socket.accept(handle));
        let accepted = deadline.watch(accepting, || held = held.take().map(Canceller::cancel)).await;
        canceller = held.unwrap_or_default();
        match accepted {
            Ok((stream, peer)) => {
                fault::point("accept");
                let stream = placed(&worker, &listening, stream).await;
                seat(&worker, &listening, stream, peer).await;
            }
            Err(_) if deadline.fired() == Some(Fired::Expired) => {
                return take_the_rest(&worker, &listening, &socket).await;
            }
            // Only connections were meant, of clients that are to be verified anew.
            Err(_) if deadline.fired() == Some(Fired::Interrupted) && !listening.is_ending(&worker) => {
                deadline.clear()
            }
            // A connection wakes one of the processes that wait at a socket: one that came before the cancellation may have
            // woken this one alone.
            Err(_) if deadline.fired() == Some(Fired::Interrupted) && listening.is_left() => {
                return take_the_rest(&worker, &listening, &socket).await;
            }
            Err(_) if deadline.fired() == Some(Fired::Interrupted) => {
                // Connections that the kernel has completed already are served: the last call.
                deadline.interruptible(false);
                deadline.set(LAST_CALL);
            }
            Err(error) => {
                // Out of descriptors, mostly: what waits in the queue is taken when some are free again.
                worker.counters.accept_failures.add(1);
                descriptors::want();
                sampled!(warn, Accept of "listeners", {}, "accept: {error}");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Serves what is in the accept queue still: the kernel resets it when the socket is closed, unless another process has the
/// socket, too. Another process may bind the
/// address while this one drains, and does not get it (but with `net.ipv4.tcp_migrate_req`).
async fn take_the_rest(worker: &Rc<Worker>, listening: &Rc<ListenerSocket>, socket: &Listener) {
    for _ in 0..MAX_QUEUED {
        let Some((stream, peer)) = socket.accept_now() else { return };
        seat(worker, listening, stream, peer).await;
    }
}

/// A connection with a descriptor that clients may have. While they have all of those, no more are accepted, and idle
/// connections end.
async fn placed(worker: &Rc<Worker>, listening: &Rc<ListenerSocket>, stream: TcpStream) -> TcpStream {
    if descriptors::is_for_clients(&stream) {
        return stream;
    }
    worker.counters.descriptor_waits.add(1);
    sampled!(
        warn,
        Accept of "descriptors",
        {},
        "new connections wait, as clients have all file descriptors that they may have; idle ones are closed: raise \
         LimitNOFILE (`ulimit -n`)"
    );
    // What was accepted before a drain is served.
    while !listening.is_ending(worker) {
        if let Some(lower) = descriptors::lower(&stream) {
            return lower;
        }
        descriptors::want();
        sleep(HELD_UP).await;
    }
    stream
}

/// Serves a connection, once its listener has room for it, unless its client has too many.
async fn seat(worker: &Rc<Worker>, listening: &Rc<ListenerSocket>, stream: TcpStream, peer: Peer) {
    let mut waited = false;
    loop {
        let (view, listener) = listening.enter(worker);
        let of = &view.config.listeners[listener];
        match connection_limits::admit(worker, of, peer) {
            Admission::Seated(seats) => return spawn(worker, listening, stream, peer, seats),
            Admission::Refused(bound) => {
                worker.counters.connections_accepted.add(1);
                return connection_limits::refuse(worker, of, &stream, bound);
            }
            // What was accepted before a drain is served.
            Admission::Wait if listening.is_ending(worker) => {
                return spawn(worker, listening, stream, peer, None);
            }
            Admission::Wait => {}
        }
        if !std::mem::replace(&mut waited, true) {
            worker.counters.limit_connections.add(1);
        }
        sleep(HELD_UP).await;
    }
}

/// One task a connection, kept small, as there is one for each idle connection too. A panic ends its own
/// connection and is counted; the worker continues.
fn spawn(
    worker: &Rc<Worker>,
    listening: &Rc<ListenerSocket>,
    stream: TcpStream,
    peer: Peer,
    seats: Option<Box<ConnectionPermit>>,
) {
    let worker = Rc::clone(worker);
    worker.counters.connections_accepted.add(1);
    worker.counters.connections_open.add(1);
    let mut serving = Box::pin(accept::serve(Rc::clone(&worker), Rc::clone(listening), stream, peer));
    runtime::spawn(async move {
        let caught = std::future::poll_fn(|cx| {
            match catch_unwind(AssertUnwindSafe(|| {
                fault::point("connection");
                serving.as_mut().poll(cx)
            })) {
                Ok(poll) => poll.map(Ok),
                Err(panic) => Poll::Ready(Err(panic)),
            }
        })
        .await;
        worker.counters.connections_open.sub(1);
        drop(seats);
        if caught.is_err() {
            worker.counters.panics.add(1);
            sampled!(error, Panic of "connections", {}, "a connection's task panicked and was closed");
        }
    });
}
