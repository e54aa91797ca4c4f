//! Connections to the admin server, all of them bounded: how many, how long a head may take, how much it may be.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Semaphore;
use tokio::time::Sleep;

use super::socket::{AdminSocket, Listener};
use super::{Control, router};
use crate::base::limits::{ADMIN_CONNECTIONS, ADMIN_HEAD_BYTES, ADMIN_HEAD_TIMEOUT, ADMIN_WRITE_TIMEOUT};
use crate::base::sample::sampled;
use crate::io::fault;

impl AdminSocket {
    /// Serves for as long as it is polled.
    pub async fn serve(self, control: Control) {
        let app = router(Control { token: self.token.clone(), ..control });
        let seats = Arc::new(Semaphore::new(ADMIN_CONNECTIONS));
        loop {
            let Ok(seat) = Arc::clone(&seats).acquire_owned().await else { return };
            let app = app.clone();
            let accepted = match &self.listener {
                Listener::Unix(listener) => listener.accept().await.map(|(stream, _)| {
                    tokio::spawn(async move {
                        connection(stream, app).await;
                        drop(seat);
                    });
                }),
                Listener::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                    tokio::spawn(async move {
                        connection(stream, app).await;
                        drop(seat);
                    });
                }),
            };
            fault::point("admin");
            if let Err(error) = accepted {
                sampled!(warn, Accept of "admin", {}, "admin: accept: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send, app: Router) {
    // What goes wrong here is the client's business.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ADMIN_HEAD_TIMEOUT)
        .max_buf_size(ADMIN_HEAD_BYTES)
        .serve_connection(
            TokioIo::new(Impatient::new(stream, ADMIN_WRITE_TIMEOUT)),
            TowerToHyperService::new(app),
        )
        .await;
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
