//! The addresses of the admin server, and which clients are admitted.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use super::caller::Tokens;
use super::{Control, figures};
use crate::config::plan::{Admin, AdminAddress};
use crate::server::sockets::{AGAIN, PATIENCE};
use crate::server::unix_socket::{self, SocketFile};

/// Fewest characters of a token: what is shorter can be guessed.
const MIN_TOKEN: usize = 16;
/// Most bytes of a token's file.
const MAX_TOKEN_BYTES: u64 = 4096;

/// A bound admin address.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    pub(super) listener: Listener,
    pub(super) tokens: Option<Arc<Tokens>>,
    /// Held for its end.
    _file: Option<SocketFile>,
}

#[derive(Debug)]
pub(super) enum Listener {
    Unix(tokio::net::UnixListener),
    Tcp(tokio::net::TcpListener),
}

/// All bound admin addresses.
#[derive(Debug)]
pub(crate) struct AdminSockets(Vec<AdminSocket>);

impl AdminSockets {
    /// Serves for as long as it is polled. Ends when one of them does, with its panic if that was one.
    pub(crate) async fn serve(self, control: Control) {
        let mut serving = JoinSet::new();
        serving.spawn(figures::run(Arc::clone(&control.deployment)));
        for socket in self.0 {
            serving.spawn(socket.serve(control.clone()));
        }
        if let Some(Err(error)) = serving.join_next().await
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Binds the admin addresses. Call it on the control thread's runtime.
///
/// # Errors
/// An address can't be bound, or the token file can't be read, is readable by others or too short; in words, with a remedy.
pub(crate) async fn bind(admin: &Admin) -> Result<AdminSockets, String> {
    let mut sockets = Vec::new();
    for address in admin.addresses() {
        sockets.push(bind_one(&address.value, admin.read_only_token_file.as_deref()).await?);
    }
    Ok(AdminSockets(sockets))
}

async fn bind_one(address: &AdminAddress, read_only: Option<&Path>) -> Result<AdminSocket, String> {
    let (listener, tokens, file) = match address {
        AdminAddress::Unix(path) => {
            let bound = bind_unix(path).map_err(|error| format!("{}: {error}", path.display()));
            let (listener, file) = bound?;
            (Listener::Unix(listener), None, file)
        }
        AdminAddress::Tcp { address, token_file } => {
            let tokens = read_tokens(token_file, read_only)?;
            let listener = bind_tcp(*address).await.map_err(|error| format!("{address}: {error}"))?;
            (Listener::Tcp(listener), Some(Arc::new(tokens)), None)
        }
    };
    Ok(AdminSocket { listener, tokens, _file: file })
}

/// Binds a TCP address. One that is in use is tried for as long as listeners' addresses are: a process that has just ended
/// may hold it a moment longer.
async fn bind_tcp(address: SocketAddr) -> io::Result<tokio::net::TcpListener> {
    let until = Instant::now() + PATIENCE;
    loop {
        match tokio::net::TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                tokio::time::sleep(AGAIN).await;
            }
            result => return result,
        }
    }
}

/// Whether a start could read the token of a TCP address.
///
/// # Errors
/// As of [`bind`].
pub(crate) fn check(admin: &Admin) -> Result<(), String> {
    for address in admin.addresses() {
        if let AdminAddress::Tcp { token_file, .. } = &address.value {
            read_tokens(token_file, admin.read_only_token_file.as_deref())?;
        }
    }
    Ok(())
}

/// Only the process's user may connect, from the first moment on.
fn bind_unix(path: &Path) -> io::Result<(tokio::net::UnixListener, Option<SocketFile>)> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let (listener, file) = unix_socket::bind(path, 0o600)?;
    listener.set_nonblocking(true)?;
    Ok((tokio::net::UnixListener::from_std(listener)?, file))
}

fn read_tokens(full: &Path, read_only: Option<&Path>) -> Result<Tokens, String> {
    let (full, read_only) = (read_token(full)?, read_only.map(read_token).transpose()?);
    Tokens::new(&full, read_only.as_deref())
}

fn read_token(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let failed = |error: io::Error| {
        format!("{shown}: {error}; make one with `(umask 077; openssl rand -hex 32 > {shown})`")
    };
    // Not to hang on a pipe: the file's kind is checked before it is read.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(format!("{shown}: this is not a file"));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(format!(
            "{shown}: other users can read this token; run `chmod 600 {shown}`, or make a new one"
        ));
    }
    let mut text = String::new();
    (&mut file).take(MAX_TOKEN_BYTES).read_to_string(&mut text).map_err(failed)?;
    let token = text.trim();
    if token.len() < MIN_TOKEN {
        return Err(format!("{shown}: the token has fewer than {MIN_TOKEN} characters"));
    }
    Ok(token.to_owned())
}
