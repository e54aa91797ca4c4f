//! The addresses of the admin server, and which clients are admitted.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use super::caller::Tokens;
use super::{Control, figures, takeover};
use crate::base::address::Address;
use crate::config::plan::{Admin, AdminAddress, At};
use crate::io::inherit::Kind;
use crate::server::inherited::{Inherited, InheritedSocket, SocketName, Wanted};
use crate::server::lifecycle::Lifecycle;
use crate::server::sockets::{AGAIN, PATIENCE};
use crate::server::unix_socket::{self, SocketFile};
use crate::server::upgrade::AdminHandle;

/// Fewest characters of a token: what is shorter can be guessed.
const MIN_TOKEN: usize = 16;
/// Most bytes of a token's file.
const MAX_TOKEN_BYTES: u64 = 4096;
/// The permissions of a Unix socket's file: none but the process's user may connect.
const MODE: u32 = 0o600;

/// A bound admin address.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    pub(super) listener: Listener,
    pub(super) tokens: Option<Arc<Tokens>>,
    /// Its address, as the config has it.
    address: Address,
    /// Held for its end.
    file: Option<Arc<SocketFile>>,
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
    /// The sockets, to be passed on to a successor.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(crate) fn handles(&self) -> io::Result<Vec<AdminHandle>> {
        self.0.iter().map(AdminSocket::handle).collect()
    }

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

impl AdminSocket {
    fn handle(&self) -> io::Result<AdminHandle> {
        let fd = match &self.listener {
            Listener::Unix(listener) => listener.as_fd().try_clone_to_owned(),
            Listener::Tcp(listener) => listener.as_fd().try_clone_to_owned(),
        }?;
        let name = SocketName {
            listener: "admin".to_owned(),
            address: self.address.to_string(),
            owns_file: self.file.is_some(),
            admin: true,
        };
        Ok(AdminHandle { name, fd, file: self.file.clone() })
    }

    /// Makes a Unix socket anew whose file has been removed, so that clients reach it again. Logs what came of it.
    pub(super) fn renew(&mut self, lifecycle: &Lifecycle) {
        let Address::Unix(path) = self.address.clone() else { return };
        let is_reached =
            self.file.as_ref().map_or_else(|| !unix_socket::is_lost(&path), |file| file.is_ours());
        if is_reached || lifecycle.successor().is_some() {
            return;
        }
        match self.bind_anew(&path).and_then(|()| self.handle()) {
            Ok(handle) => {
                lifecycle.renew_admin(handle);
                tracing::info!("admin: {}: the socket's file was removed: it is made anew", path.display());
            }
            Err(error) => tracing::warn!(
                "admin: {}: the socket's file was removed, and can't be made anew: {error}",
                path.display()
            ),
        }
    }

    fn bind_anew(&mut self, path: &Path) -> io::Result<()> {
        make_folder(path)?;
        let (listener, file) = listening(unix_socket::bind(&unix_socket::listed_path(path), MODE)?)?;
        (self.listener, self.file) = (listener, file.map(Arc::new));
        Ok(())
    }
}

/// Binds the admin addresses, but for those that another process has bound for this one. Call it on the control thread's
/// runtime.
///
/// # Errors
/// An address can't be bound, or the token file can't be read, is readable by others or too short; in words, with a remedy.
pub(crate) async fn bind(admin: &Admin, inherited: &Inherited) -> Result<AdminSockets, String> {
    let mut sockets = Vec::new();
    for address in admin.addresses() {
        let read_only = admin.read_only_token_file.as_ref().map(|at| at.value.as_path());
        sockets.push(bind_one(&address.value, read_only, inherited).await?);
    }
    Ok(AdminSockets(sockets))
}

async fn bind_one(
    address: &AdminAddress,
    read_only: Option<&Path>,
    inherited: &Inherited,
) -> Result<AdminSocket, String> {
    let (at, tokens) = match address {
        AdminAddress::Unix(path) => (Address::Unix(path.as_path().into()), None),
        AdminAddress::Tcp { address, token_file } => {
            (Address::Ip(*address), Some(Arc::new(read_tokens(token_file, read_only)?)))
        }
    };
    let wanted = Wanted { listener: None, address: &at, kind: Kind::Stream, ipv6_only: false };
    let bound = match (inherited.find(&wanted).first(), address) {
        (Some(socket), _) => adopt(socket, &at),
        (None, AdminAddress::Unix(path)) => bind_unix(path).await,
        (None, AdminAddress::Tcp { address, token_file }) => bind_tcp(*address, token_file).await,
    };
    let (listener, file) = bound.map_err(|error| match &at {
        Address::Unix(path) => format!("{}: {error}", path.display()),
        Address::Ip(address) => format!("{address}: {error}"),
    })?;
    Ok(AdminSocket { listener, tokens, address: at, file: file.map(Arc::new) })
}

/// A socket that another process has bound.
fn adopt(socket: &InheritedSocket, address: &Address) -> io::Result<(Listener, Option<SocketFile>)> {
    let fd = socket.open()?;
    match address {
        Address::Unix(path) => {
            let file = socket.owns_file().then(|| SocketFile::of(path));
            listening((UnixListener::from(fd), file))
        }
        Address::Ip(_) => {
            let listener = std::net::TcpListener::from(fd);
            listener.set_nonblocking(true)?;
            Ok((Listener::Tcp(tokio::net::TcpListener::from_std(listener)?), None))
        }
    }
}

/// Binds a TCP address. One that is in use is tried for as long as listeners' addresses are: a process that has just ended
/// may hold it a moment longer, and one that drains gives it up.
async fn bind_tcp(address: SocketAddr, token_file: &Path) -> io::Result<(Listener, Option<SocketFile>)> {
    let until = Instant::now() + PATIENCE;
    loop {
        match tokio::net::TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                if let Ok(token) = read_token(token_file)
                    && takeover::release(address, &token)
                {
                    tracing::info!("admin: {address} is taken over from a ringate that drains");
                }
                tokio::time::sleep(AGAIN).await;
            }
            result => return result.map(|listener| (Listener::Tcp(listener), None)),
        }
    }
}

/// Whether a start could read the token of a TCP address.
///
/// # Errors
/// As of [`bind`], at the place of the file that is at fault.
pub(crate) fn check(admin: &Admin) -> Result<(), At<String>> {
    for address in admin.addresses() {
        let AdminAddress::Tcp { token_file, .. } = &address.value else { continue };
        let at = |file: &Option<At<PathBuf>>| {
            let span = file.as_ref().map_or(&address.span, |file| &file.span).clone();
            move |value: String| At { value, span }
        };
        let read_only = &admin.read_only_token_file;
        let full = read_token(token_file).map_err(at(&admin.token_file))?;
        let other = read_only.as_ref().map(|file| read_token(file)).transpose().map_err(at(read_only))?;
        Tokens::new(&full, other.as_deref()).map_err(at(read_only))?;
    }
    Ok(())
}

/// Only the process's user may connect, from the first moment on. A process that drains gives its socket up.
async fn bind_unix(path: &Path) -> io::Result<(Listener, Option<SocketFile>)> {
    make_folder(path)?;
    let gives_way = |stream| {
        let draining = takeover::is_draining(stream);
        if draining {
            tracing::info!("admin: {} is taken over from a ringate that drains", path.display());
        }
        draining
    };
    let until = Instant::now() + PATIENCE;
    loop {
        match unix_socket::bind_over(&unix_socket::listed_path(path), MODE, gives_way) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                tokio::time::sleep(AGAIN).await;
            }
            bound => return listening(bound?),
        }
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), std::fs::create_dir_all)
}

/// A bound Unix socket on this thread's runtime.
fn listening(
    (listener, file): (UnixListener, Option<SocketFile>),
) -> io::Result<(Listener, Option<SocketFile>)> {
    listener.set_nonblocking(true)?;
    Ok((Listener::Unix(tokio::net::UnixListener::from_std(listener)?), file))
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
