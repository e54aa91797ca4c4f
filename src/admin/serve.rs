//! Connections to the admin server, all of them bounded: how many, how long a head may take, how much it may be. None waits
//! for another one: a new connection takes the place of the oldest idle one of those that have not shown the token.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Sleep;

use super::caller::Peer;
use super::socket::{AdminSocket, Listener};
use super::{Control, router};
use crate::base::limits::{
    ADMIN_CONNECTIONS, ADMIN_HEAD_BYTES, ADMIN_HEAD_TIMEOUT, ADMIN_STRANGER_IDLE, ADMIN_STRANGERS,
    ADMIN_WRITE_TIMEOUT,
};
use crate::base::sample::sampled;
use crate::io::fault;

impl AdminSocket {
    /// Serves for as long as it is polled.
    pub(crate) async fn serve(mut self, control: Control) {
        let lifecycle = Arc::clone(&control.lifecycle);
        let mut lost = lifecycle.lost_sockets.subscribe();
        let app = router(Control { tokens: self.tokens.clone(), ..control });
        let seats = Seats::default();
        loop {
            let accepted = tokio::select! {
                accepted = self.accept(app.clone(), &seats) => accepted,
                Ok(()) = lost.changed() => {
                    self.renew(&lifecycle);
                    continue;
                }
            };
            fault::point("admin");
            if let Err(error) = accepted {
                sampled!(warn, Accept of "admin", {}, "admin: accept: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Serves the next connection, beside this task.
    async fn accept(&self, app: Router, seats: &Seats) -> io::Result<()> {
        match &self.listener {
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let peer = peer_of(&stream);
                tokio::spawn(connection(stream, peer, app, seats.enter()));
            }
            Listener::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                tokio::spawn(connection(stream, Peer::Tcp(address), app, seats.enter()));
            }
        }
        Ok(())
    }
}

/// The process at the other end of a Unix socket.
fn peer_of(stream: &tokio::net::UnixStream) -> Peer {
    let known = stream.peer_cred().ok();
    Peer::Unix { uid: known.map(|known| known.uid()), pid: known.and_then(|known| known.pid()) }
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send, peer: Peer, app: Router, seat: Seat) {
    let seated = Seated { app: TowerToHyperService::new(app), seat: Arc::clone(&seat.0), peer };
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ADMIN_HEAD_TIMEOUT)
        .max_buf_size(ADMIN_HEAD_BYTES)
        .serve_connection(TokioIo::new(Impatient::new(stream, ADMIN_WRITE_TIMEOUT)), seated);
    let mut serving = pin!(serving);
    loop {
        let begun = seat.0.requests.load(Relaxed);
        tokio::select! {
            // A failure here concerns only the client.
            _ = serving.as_mut() => return,
            () = seat.0.ended.notified() => return,
            () = tokio::time::sleep(ADMIN_STRANGER_IDLE) => {
                let silent = seat.0.requests.load(Relaxed) == begun && seat.0.is_idle();
                if silent && !seat.0.proven.load(Relaxed) {
                    return;
                }
            }
        }
    }
}

/// All connections of the admin server, in the order they came.
#[derive(Clone, Default)]
struct Seats(Arc<Mutex<Vec<Arc<Place>>>>);

/// The place of one connection.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// Requests so far.
    requests: AtomicU64,
    /// Requests under way: none or one.
    under_way: AtomicU64,
    /// A request had the token, or none is demanded.
    proven: AtomicBool,
    /// Another connection has taken its place.
    ended: Notify,
}

/// A connection's place, given up when it is dropped.
struct Seat(Arc<Place>, Seats);

impl Seats {
    /// A place for a new connection. If strangers have all of theirs, the oldest idle one of them ends.
    fn enter(&self) -> Seat {
        let place = Arc::<Place>::default();
        let mut places = self.places();
        places.push(Arc::clone(&place));
        // The first of those that have shown the token keep their places, further ones are like strangers.
        let proven = places.iter().filter(|place| place.proven.load(Relaxed));
        let members: Vec<_> = proven.take(ADMIN_CONNECTIONS).map(Arc::as_ptr).collect();
        let is_stranger = |place: &Arc<Place>| !members.contains(&Arc::as_ptr(place));
        if places.iter().filter(|place| is_stranger(place)).count() > ADMIN_STRANGERS {
            let oldest = places.iter().position(|place| is_stranger(place) && place.is_idle());
            let ended = places.remove(oldest.unwrap_or(0));
            ended.ended.notify_one();
        }
        drop(places);
        Seat(place, self.clone())
    }

    fn places(&self) -> MutexGuard<'_, Vec<Arc<Place>>> {
        // A panic can't leave the list half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.1.places().retain(|place| !Arc::ptr_eq(place, &self.0));
    }
}

impl Place {
    /// A request begins; it ends when what is returned is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        self.requests.fetch_add(1, Relaxed);
        self.under_way.fetch_add(1, Relaxed);
        UnderWay(Arc::clone(self))
    }

    /// A request had the token.
    pub(super) fn prove(&self) {
        self.proven.store(true, Relaxed);
    }

    fn is_idle(&self) -> bool {
        self.under_way.load(Relaxed) == 0
    }
}

/// A request that is worked on.
pub(super) struct UnderWay(Arc<Place>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Relaxed);
    }
}

/// The calls, each with the place of its connection.
struct Seated {
    app: TowerToHyperService<Router>,
    seat: Arc<Place>,
    peer: Peer,
}

impl Service<Request<Incoming>> for Seated {
    type Response = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(Arc::clone(&self.seat));
        request.extensions_mut().insert(self.peer);
        self.app.call(request)
    }
}

/// A stream whose peer must take what is written to it: one that reads nothing for so long has it ended.
struct Impatient<S> {
    stream: S,
    patience: Duration,
    /// Since a write could not go on.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, stalled: None }
    }

    fn judge<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        stalled.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.judge(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, bytes);
        this.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(context);
        this.judge(context, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let ended = Pin::new(&mut this.stream).poll_shutdown(context);
        this.judge(context, ended)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::net::UnixStream;

    use super::*;

    #[test]
    fn who_has_shown_the_token_or_is_served_keeps_its_place() {
        let seats = Seats::default();
        let member = seats.enter();
        member.0.prove();
        let busy = seats.enter();
        let under_way = busy.0.begin();
        let oldest = seats.enter();
        let mut others: Vec<_> = (0..ADMIN_STRANGERS - 1).map(|_| seats.enter()).collect();
        let is_seated = |seat: &Seat| seats.places().iter().any(|place| Arc::ptr_eq(place, &seat.0));
        assert!(is_seated(&member) && is_seated(&busy) && !is_seated(&oldest) && is_seated(&others[0]));
        drop(under_way);
        others.push(seats.enter());
        assert!(is_seated(&member) && !is_seated(&busy));
        drop(others);
        assert_eq!(seats.places().len(), 1);
    }

    #[test]
    fn a_peer_that_reads_nothing_is_given_up() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (ours, _theirs) = UnixStream::pair().unwrap();
            let mut ours = Impatient::new(ours, Duration::from_millis(20));
            let piece = [0; 64 * 1024];
            let stalled = loop {
                if let Err(error) = poll_fn(|context| Pin::new(&mut ours).poll_write(context, &piece)).await {
                    break error;
                }
            };
            assert_eq!(stalled.kind(), io::ErrorKind::TimedOut);
        });
    }
}
