//! Connections to the admin server, all of them bounded: how many, how long a head may take, how much it may be.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;

use super::socket::{AdminSocket, Listener};
use super::{Control, router};
use crate::base::limits::{ADMIN_CONNECTIONS, ADMIN_HEAD_BYTES, ADMIN_HEAD_TIMEOUT};

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
            if let Err(error) = accepted {
                tracing::warn!("admin: accept: {error}");
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
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app))
        .await;
}
