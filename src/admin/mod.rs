//! Floor 4: the admin server, on the control thread. JSON over HTTP, Prometheus text, and a status page.
//!
//! A Unix socket is guarded by its file's permissions (0600); TCP by a bearer token, compared in
//! constant time. `/healthz`, `/readyz` and the page itself are open: they give nothing away.

mod api;
mod certificates;
mod problem;
mod reload;
mod rotation;

pub use reload::reload;

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::Notify;

use crate::config::plan::{Admin, AdminAddress};
use crate::server::{Deployment, Server};

/// Fewest characters of a token: what is shorter can be guessed.
const MIN_TOKEN: usize = 16;

/// What the admin server works on.
#[derive(Clone, Debug)]
pub struct Control {
    /// What runs.
    pub deployment: Arc<Deployment>,
    /// Its workers.
    pub server: Arc<Server>,
    /// Notified when a drain is asked for.
    pub drain: Arc<Notify>,
    token: Option<Arc<str>>,
}

impl Control {
    /// `drain` is notified when a drain is asked for.
    pub fn new(deployment: Arc<Deployment>, drain: Arc<Notify>) -> Self {
        Self { server: Arc::clone(&deployment.server), deployment, drain, token: None }
    }
}

/// A bound admin address.
#[derive(Debug)]
pub struct AdminSocket {
    listener: Listener,
    token: Option<Arc<str>>,
}

#[derive(Debug)]
enum Listener {
    Unix(tokio::net::UnixListener, SocketFile),
    Tcp(tokio::net::TcpListener),
}

/// A socket's file, removed with it if it is still the same one.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: Option<(u64, u64)>,
}

impl SocketFile {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), inode: Self::inode(path) }
    }

    fn inode(path: &Path) -> Option<(u64, u64)> {
        std::fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.inode.is_some() && self.inode == Self::inode(&self.path) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Binds the admin address. Call it on the control thread's runtime.
///
/// # Errors
/// The address can't be bound, or the token file can't be read or is too short; in words, with a mend.
pub async fn bind(admin: &Admin) -> Result<AdminSocket, String> {
    let (listener, token) = match &admin.listen.value {
        AdminAddress::Unix(path) => {
            let listener = bind_unix(path).map_err(|error| format!("{}: {error}", path.display()))?;
            (Listener::Unix(listener, SocketFile::new(path)), None)
        }
        AdminAddress::Tcp { address, token_file } => {
            let token = read_token(token_file)?;
            let listener = tokio::net::TcpListener::bind(address)
                .await
                .map_err(|error| format!("{address}: {error}"))?;
            (Listener::Tcp(listener), Some(Arc::from(token)))
        }
    };
    Ok(AdminSocket { listener, token })
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

impl AdminSocket {
    /// Serves for as long as it is polled.
    pub async fn serve(self, control: Control) -> io::Result<()> {
        let control = Control { token: self.token, ..control };
        let guarded = Router::new()
            .route("/v1/status", get(api::status))
            .route("/v1/drain", post(api::drain))
            .route("/v1/reload", post(reload::post_reload))
            .route("/v1/plan", post(reload::post_plan))
            .route("/v1/certificates/{name}/trial", post(rotation::trial))
            .route("/v1/certificates/{name}/activate", post(rotation::activate))
            .route("/v1/certificates/{name}/rollback", post(rotation::rollback))
            .route("/v1/certificates/{name}/retire", post(rotation::retire))
            .route("/v1/certificates/{name}/rotation", get(rotation::rotation))
            .route("/metrics", get(api::metrics))
            .layer(axum::middleware::from_fn_with_state(control.clone(), guard));
        let app = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .route("/", get(api::page))
            .merge(guarded)
            .with_state(control);
        match self.listener {
            Listener::Unix(listener, _file) => axum::serve(listener, app).await,
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
