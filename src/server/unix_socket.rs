//! The files of listening Unix sockets: made, tried, removed.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::io::socket;

/// A socket's file, removed with it if it is still the same one.
#[derive(Debug)]
pub(crate) struct SocketFile {
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

    fn is_ours(&self) -> bool {
        self.inode.is_some() && self.inode == Self::inode(&self.path)
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
        if self.is_ours() {
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
    if is_abstract(path) {
        return Ok((socket::listen_unix(path, mode)?, None));
    }
    if is_stale(path)? {
        std::fs::remove_file(path)?;
    }
    let listener = socket::listen_unix(path, mode)?;
    let file = SocketFile::new(path);
    file.set_mode(mode);
    Ok((listener, Some(file)))
}

/// Whether a socket is there on which no process answers.
fn is_stale(path: &Path) -> io::Result<bool> {
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(false) };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "this is not a socket: it stays"));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process answers on this socket")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
        Err(error) => Err(error),
    }
}

/// Whether [`bind`] would succeed, as far as that is known without it.
pub(crate) fn try_bind(path: &Path) -> io::Result<()> {
    if is_abstract(path) {
        return socket::listen_unix(path, 0o600).map(drop);
    }
    is_stale(path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    access(folder, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| io::Error::other(format!("no socket can be made in {}: {error}", folder.display())))
}
