//! Floor 4: the admin server, on the control thread. JSON over HTTP, Prometheus text, and a status page.
//!
//! A Unix socket is guarded by its file's permissions (0600); TCP by a bearer token, compared in
//! constant time. `/healthz`, `/readyz` and the page itself are open: they give nothing away.

mod api;

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Notify;

use crate::config::plan::{Admin, AdminAddress};
use crate::server::Server;

/// Fewest characters of a token: what is shorter can be guessed.
const MIN_TOKEN: usize = 16;

/// What the admin server works on.
#[derive(Clone, Debug)]
pub struct Control {
    /// The workers.
    pub server: Arc<Server>,
    /// Notified when a drain is asked for.
    pub drain: Arc<Notify>,
    token: Option<Arc<str>>,
}

/// A bound admin server.
#[derive(Debug)]
pub struct AdminServer {
    listener: Listener,
    control: Control,
}

#[derive(Debug)]
enum Listener {
    Unix(tokio::net::UnixListener, PathBuf),
    Tcp(tokio::net::TcpListener),
}

/// Binds the admin address. Call it on the control thread's runtime.
///
/// # Errors
/// The address can't be bound, or the token file can't be read or is too short; in words, with a mend.
pub async fn bind(admin: &Admin, server: Arc<Server>, drain: Arc<Notify>) -> Result<AdminServer, String> {
    let (listener, token) = match &admin.listen.value {
        AdminAddress::Unix(path) => {
            let listener = bind_unix(path).map_err(|error| format!("{}: {error}", path.display()))?;
            (Listener::Unix(listener, path.clone()), None)
        }
        AdminAddress::Tcp { address, token_file } => {
            let token = read_token(token_file)?;
            let listener = tokio::net::TcpListener::bind(address)
                .await
                .map_err(|error| format!("{address}: {error}"))?;
            (Listener::Tcp(listener), Some(Arc::from(token)))
        }
    };
    Ok(AdminServer { listener, control: Control { server, drain, token } })
}

fn bind_unix(path: &Path) -> io::Result<tokio::net::UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "this is not a socket: it stays"));
        }
        // Left behind by a process that was killed; one that still answers keeps its place.
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another ringate answers on this socket"));
        }
        std::fs::remove_file(path)?;
    }
    // Private from the first moment: nobody can connect before the mode is set.
    let mask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let listener = tokio::net::UnixListener::bind(path);
    rustix::process::umask(mask);
    let listener = listener?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn read_token(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        format!("{}: {error}; make one with `openssl rand -hex 32 > {}`", path.display(), path.display())
    })?;
    let token = text.trim();
    if token.len() < MIN_TOKEN {
        return Err(format!("{}: the token has fewer than {MIN_TOKEN} characters", path.display()));
    }
    Ok(token.to_owned())
}

impl AdminServer {
    /// Serves for as long as it is polled.
    pub async fn serve(self) -> io::Result<()> {
        let control = self.control;
        let guarded = Router::new()
            .route("/v1/status", get(api::status))
            .route("/v1/drain", axum::routing::post(api::drain))
            .route("/metrics", get(api::metrics))
            .layer(axum::middleware::from_fn_with_state(control.clone(), guard));
        let app = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .route("/", get(api::page))
            .merge(guarded)
            .with_state(control);
        match self.listener {
            Listener::Unix(listener, path) => {
                let result = axum::serve(listener, app).await;
                let _ = std::fs::remove_file(path);
                result
            }
            Listener::Tcp(listener) => axum::serve(listener, app).await,
        }
    }
}

async fn ready(State(control): State<Control>) -> Response {
    if control.server.ready.load(Ordering::Relaxed) {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response()
    }
}

/// Lets a request through if it has the token, where there is one.
async fn guard(State(control): State<Control>, request: Request, next: Next) -> Response {
    let Some(token) = &control.token else {
        return next.run(request).await;
    };
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if aws_lc_rs::constant_time::verify_slices_are_equal(given.as_bytes(), token.as_bytes()).is_ok() {
        return next.run(request).await;
    }
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    (StatusCode::UNAUTHORIZED, challenge, "a bearer token is needed: see admin.token_file\n").into_response()
}
