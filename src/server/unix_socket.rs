//! The files of listening Unix sockets: made, tried, removed.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Access, access};

use crate::io::socket;

/// A socket's file, removed with it if it is still the same one.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    made: Option<Made>,
    /// Another process has the socket, too.
    left: AtomicBool,
}

/// Device, number and time of modification: a file system gives the number of a removed file to the next one, which a successor
/// may have made in its place.
type Made = (u64, u64, i64, i64);

impl SocketFile {
    /// The file of a socket that is bound.
    pub(crate) fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), made: Self::made(path), left: AtomicBool::new(false) }
    }

    fn made(path: &Path) -> Option<Made> {
        let found = std::fs::symlink_metadata(path).ok()?;
        Some((found.dev(), found.ino(), found.mtime(), found.mtime_nsec()))
    }

    fn is_ours(&self) -> bool {
        self.made.is_some() && self.made == Self::made(&self.path)
    }

    /// The file stays at the end of this process: another one has the socket.
    pub(crate) fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
    }

    /// Gives the file these permissions, if it is still the same one.
    pub(crate) fn set_mode(&self, mode: u32) {
        if self.is_ours() {
            let set = std::fs::set_permissions(&self.path, std::fs::Permissions::from_mode(mode));
            if let Err(error) = set {
                tracing::warn!(
                    "{}: the socket's mode can't be set to {mode:03o}: {error}",
                    self.path.display()
                );
            }
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.left.load(Ordering::Relaxed) && self.is_ours() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Whether a name is in the abstract namespace, which has no files.
fn is_abstract(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().starts_with(b"@")
}

/// Listens on a Unix socket, in the place of one that a process has left behind.
///
/// # Errors
/// A process answers there, a file that is no socket is there, or the system refuses.
pub(crate) fn bind(path: &Path, mode: u32) -> io::Result<(UnixListener, Option<SocketFile>)> {
    bind_over(path, mode, |_| false)
}

/// The same, also in the place of a socket on which a process answers that `gives_way`.
///
/// # Errors
/// As of [`bind`].
pub(crate) fn bind_over(
    path: &Path,
    mode: u32,
    gives_way: impl Fn(UnixStream) -> bool,
) -> io::Result<(UnixListener, Option<SocketFile>)> {
    if is_abstract(path) {
        return Ok((socket::listen_unix(path, mode)?, None));
    }
    if is_stale(path, gives_way)? {
        std::fs::remove_file(path)?;
    }
    let listener = socket::listen_unix(path, mode)?;
    let file = SocketFile::of(path);
    file.set_mode(mode);
    Ok((listener, Some(file)))
}

/// Whether a socket is there on which no process answers, or one that gives way.
fn is_stale(path: &Path, gives_way: impl Fn(UnixStream) -> bool) -> io::Result<bool> {
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(false) };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "this is not a socket: it stays"));
    }
    match UnixStream::connect(path) {
        Ok(stream) => match gives_way(stream) {
            true => Ok(true),
            false => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process answers on this socket")),
        },
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
        Err(error) => Err(error),
    }
}

/// Whether [`bind`] would succeed, as far as that is known without it.
pub(crate) fn try_bind(path: &Path) -> io::Result<()> {
    if is_abstract(path) {
        return socket::listen_unix(path, 0o600).map(drop);
    }
    is_stale(path, |_| false)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    access(folder, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| io::Error::other(format!("no socket can be made in {}: {error}", folder.display())))
}
