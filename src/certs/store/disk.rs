//! Files and folders, written so that a crash at any moment leaves the old content or the new one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Gid, OFlags, Uid, fchown};
use zeroize::Zeroizing;

use super::error::Exposed;
use super::{StoreError, TEMPORARY};

/// Writes a file so that, at any moment, its old or its new content is there, whole.
pub(super) fn write_whole(folder: &Path, name: &str, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    let temporary = folder.join(format!("{TEMPORARY}{name}"));
    write_new(&temporary, bytes, mode)?;
    rename(&temporary, &folder.join(name))?;
    sync(folder)
}

/// Writes a file that does not exist yet. Its mode is right from its first moment.
pub(super) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    let written = options.write(true).create_new(true).mode(mode).open(path).and_then(|mut file| {
        give_to_owner(&file, path.parent().unwrap_or(Path::new(".")));
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|error| StoreError::io(path, "write", error))
}

/// Makes a folder for its owner alone.
pub(super) fn make_folder(path: &Path) -> Result<(), StoreError> {
    let made = DirBuilder::new().mode(0o700).create(path);
    made.map_err(|error| StoreError::io(path, "make", error))?;
    let flags = (OFlags::NOFOLLOW | OFlags::DIRECTORY).bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let folder = opened.map_err(|error| StoreError::io(path, "open", error))?;
    give_to_owner(&folder, path.parent().unwrap_or(Path::new(".")));
    Ok(())
}

/// What root makes in another user's store belongs to that user, or `sudo ringate cert` would leave files that
/// the proxy cannot read.
pub(super) fn give_to_owner(made: impl AsFd, folder: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    if let Ok(owner) = fs::metadata(folder)
        && owner.uid() != 0
    {
        // If this is refused, the proxy reports which file it cannot read.
        let _ = fchown(made, Some(Uid::from_raw(owner.uid())), Some(Gid::from_raw(owner.gid())));
    }
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(|error| match error.kind() {
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory => {
            StoreError::InTheWay { path: to.to_owned() }
        }
        _ => StoreError::io(to, "replace", error),
    })
}

/// Makes renames and new files in `folder` survive a power failure.
pub(super) fn sync(folder: &Path) -> Result<(), StoreError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| StoreError::io(folder, "sync", error))
}

pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    let is_folder = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let removed = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(|error| StoreError::io(path, "remove", error))
}

/// The names in a folder; none if it does not exist. Names that are not UTF-8 cannot be ours.
pub(super) fn entries(folder: &Path) -> Result<Vec<String>, StoreError> {
    let read = match fs::read_dir(folder) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io(folder, "read", error)),
    };
    let mut names = Vec::new();
    for entry in read {
        let entry = entry.map_err(|error| StoreError::io(folder, "read", error))?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

/// What identifies a folder, should another one take its place.
pub(super) fn identity(folder: &Path) -> Result<impl PartialEq + use<>, StoreError> {
    let metadata = fs::metadata(folder).map_err(|error| StoreError::io(folder, "read", error))?;
    Ok((metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec()))
}

/// A file's content, which may be secret, and its permission bits.
pub(super) struct Content {
    pub bytes: Zeroizing<Vec<u8>>,
    pub mode: u32,
}

/// Reads a file of at most `limit` bytes. It must be a plain file: reading a pipe waits for its writer, perhaps for ever, and
/// here with locks held.
pub(super) fn read_file(path: &Path, limit: u64) -> Result<Content, StoreError> {
    let failed = |error| StoreError::io(path, "read", error);
    // Opening a pipe would wait, too.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let kind = file.metadata().map_err(failed)?.file_type();
    if !kind.is_file() && !kind.is_dir() {
        return Err(StoreError::NotAFile { path: path.to_owned() });
    }
    read_open(path, file, limit)
}

/// The same of what a user names on the command line, whose own wait it is: `<(…)` of a shell is a pipe.
pub(super) fn read_given(path: &Path, limit: u64) -> Result<Content, StoreError> {
    let file = File::open(path).map_err(|error| StoreError::io(path, "read", error))?;
    read_open(path, file, limit)
}

fn read_open(path: &Path, file: File, limit: u64) -> Result<Content, StoreError> {
    let failed = |error| StoreError::io(path, "read", error);
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(StoreError::IsAFolder { path: path.to_owned() });
    }
    if metadata.len() > limit {
        return Err(StoreError::TooLarge { path: path.to_owned(), limit });
    }
    // Sized at once, so that growing leaves no copies of a key behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(metadata.len() as usize + 1));
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(StoreError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(Content { bytes, mode: metadata.mode() & 0o7777 })
}

/// The permission bits of the group and of others.
const OTHERS: u32 = 0o077;

/// Whether others than the owner of a key may access it.
pub(super) fn exposure(path: &Path, mode: u32) -> Option<Exposed> {
    (mode & OTHERS != 0).then(|| Exposed::Key { path: path.to_owned(), mode })
}

/// The same of a file with a passphrase.
pub(super) fn passphrase_exposure(path: &Path, mode: u32) -> Option<Exposed> {
    (mode & OTHERS != 0).then(|| Exposed::Passphrase { path: path.to_owned(), mode })
}

/// Whether users other than its owner can read a folder of the store, or change it.
pub(super) fn folder_exposure(path: &Path) -> Option<Exposed> {
    let mode = fs::metadata(path).ok()?.mode() & 0o7777;
    (mode & OTHERS != 0).then(|| Exposed::Folder { path: path.to_owned(), mode })
}
