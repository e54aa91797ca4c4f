//! The files of listening Unix sockets: made, tried, removed.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Access, access};

use crate::base::address::MAX_UNIX_PATH;
use crate::io::socket;

/// The kernel's list of Unix sockets in this network namespace, with the paths that they were bound by (proc_net_unix(5)).
const LIST: &str = "/proc/net/unix";
/// The flags and the type of one that listens for streams, as the list has them.
const LISTENING: [&str; 2] = ["00010000", "0001"];

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

    /// Whether it is still there, so that clients reach the socket.
    pub(crate) fn is_ours(&self) -> bool {
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

/// Whether no client reaches a socket of that path, as its file has been removed.
pub(crate) fn is_lost(path: &Path) -> bool {
    !is_abstract(path) && !path.exists()
}

/// The path to bind a socket by whose process is to be found without the file: from the root on and without links, or as it
/// is where that would be too long.
pub(crate) fn listed_path(path: &Path) -> PathBuf {
    if is_abstract(path) {
        return path.to_owned();
    }
    let full = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // The folder may have gone with the file.
    let real = full.ancestors().skip(1).find_map(|folder| {
        let below = full.strip_prefix(folder).ok()?;
        Some(folder.canonicalize().ok()?.join(below))
    });
    real.filter(|real| real.as_os_str().len() <= MAX_UNIX_PATH).unwrap_or_else(|| path.to_owned())
}

/// Whether a process listens on a socket that was bound by the [listed path](listed_path), whatever has become of the file.
pub(crate) fn is_listed(path: &Path) -> bool {
    let list = std::fs::read(LIST).unwrap_or_default();
    has_listener(&String::from_utf8_lossy(&list), &listed_path(path).to_string_lossy())
}

fn has_listener(list: &str, path: &str) -> bool {
    list.lines().any(|line| {
        // What stands before the path is digits.
        let Some((facts, bound)) = line.find('/').map(|start| line.split_at(start)) else { return false };
        let mut facts = facts.split_whitespace().skip(3);
        bound == path && LISTENING.iter().all(|wanted| facts.next() == Some(*wanted))
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_listed_without_its_file_and_folder_for_as_long_as_it_listens() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a run");
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("admin.sock");
        assert!(!is_listed(&path));
        let (listener, file) = bind(&listed_path(&path), 0o600).unwrap();
        assert!(is_listed(&path) && file.as_ref().unwrap().is_ours() && !is_lost(&path));
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(is_listed(&path) && !file.as_ref().unwrap().is_ours() && is_lost(&path));
        assert!(!is_listed(&dir.path().join("a")) && !is_listed(Path::new("@a run")));
        drop(listener);
        assert!(!is_listed(&path));
    }

    #[test]
    fn only_what_listens_counts() {
        let list = "Num       RefCount Protocol Flags    Type St Inode Path\n\
                    00000000a0000000: 00000002 00000000 00010000 0001 01 51902 /run/a.sock\n\
                    00000000a0000001: 00000003 00000000 00000000 0001 03   519 /run/b.sock\n\
                    00000000a0000002: 00000003 00000000 00000000 0001 03 51904\n";
        let found =
            ["/run/a.sock", "/run/b.sock", "/run/a", "a.sock", ""].map(|path| has_listener(list, path));
        assert_eq!(found, [true, false, false, false, false]);
    }
}
