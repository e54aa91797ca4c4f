//! A config file is replaced whole: after a crash it holds the old text or the new one.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::config::Sources;

/// Why a file was not replaced. It holds what it held before.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// It no longer holds what was read from it.
    Changed,
    /// The system's reason.
    Io {
        /// What it is about.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
}

/// Puts `new` in the place of `old`, with the same mode and owner. A symbolic link keeps its target.
///
/// # Errors
/// See [`WriteError`].
pub(crate) fn replace(path: &Path, old: &str, new: &str) -> Result<(), WriteError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| WriteError::Io { path, error }
    };
    let target = fs::canonicalize(path).map_err(failed(path))?;
    let metadata = fs::metadata(&target).map_err(failed(&target))?;
    let folder = target.parent().unwrap_or(Path::new("/"));
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.{}.tmp", std::process::id()));
    let written = fill(&temporary, &metadata, new).map_err(failed(&temporary)).and_then(|()| {
        // As late as possible, so that a change by another process meanwhile is not overwritten.
        match fs::read_to_string(&target) {
            Ok(text) if text == old => fs::rename(&temporary, &target).map_err(failed(&target)),
            Ok(_) => Err(WriteError::Changed),
            Err(error) => Err(failed(&target)(error)),
        }
    });
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
        return written;
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed(folder))
}

/// Puts the texts of `new` in the place of those of `old`, file by file. If one can't be written, those before it get
/// their old text back.
///
/// # Errors
/// See [`WriteError`].
pub(crate) fn replace_all(old: &Sources, new: &Sources) -> Result<(), WriteError> {
    let pairs = old.files().iter().zip(new.files());
    let changed: Vec<_> = pairs.filter(|(old, new)| old.text != new.text).collect();
    for (count, (old, new)) in changed.iter().enumerate() {
        if let Err(error) = replace(&old.path, &old.text, &new.text) {
            for (old, new) in &changed[..count] {
                // What another process has written meanwhile stays.
                let _ = replace(&old.path, &new.text, &old.text);
            }
            return Err(error);
        }
    }
    Ok(())
}

/// Removes the unfinished files that [`replace`] left beside `path` in processes that were killed. Those of a process that
/// still runs stay.
pub(crate) fn clean(path: &Path) {
    let Ok(target) = fs::canonicalize(path) else { return };
    let (Some(folder), Some(name)) = (target.parent(), target.file_name()) else { return };
    let prefix = format!(".{}.", name.to_string_lossy());
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let found = entry.file_name();
        let found = found.to_string_lossy();
        let number = found.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(".tmp")?.parse().ok());
        // This process has just begun: a file of its number is another one's.
        let is_dead = |number: u32| {
            number == std::process::id() || !Path::new("/proc").join(number.to_string()).exists()
        };
        if number.is_some_and(is_dead) && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn fill(path: &Path, like: &fs::Metadata, text: &str) -> io::Result<()> {
    // Left behind by a crash of a process with this number.
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    // Only root can give a file away; for others it is theirs already, or stays their copy.
    let _ = fchown(&file, Some(like.uid()), Some(like.gid()));
    file.set_permissions(Permissions::from_mode(like.mode() & 0o7777))?;
    file.sync_all()?;
    // What is put in the file's place is what was checked.
    let mut found = String::with_capacity(text.len());
    file.rewind()?;
    file.read_to_string(&mut found)?;
    if found == text { Ok(()) } else { Err(io::Error::other("what was written is not what is read back")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_behind_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let touch = |name: &str| fs::write(dir.path().join(name), "x").unwrap();
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        let dead = ended.id();
        ended.wait().unwrap();
        let gone = [format!(".a.toml.{dead}.tmp"), format!(".a.toml.{}.tmp", std::process::id())];
        let kept = ["a.toml", ".b.toml.1.tmp", ".a.toml.x.tmp", ".a.toml.1.tmp", "a.toml.999999999.tmp"];
        gone.iter().for_each(|name| touch(name));
        kept.iter().for_each(|name| touch(name));
        clean(&dir.path().join("a.toml"));
        for name in &gone {
            assert!(!dir.path().join(name).exists(), "{name}");
        }
        for name in kept {
            assert!(dir.path().join(name).exists(), "{name}");
        }
    }

    #[test]
    fn a_file_is_replaced_through_its_link_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("a.toml"), dir.path().join("link.toml"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("a.toml", &link).unwrap();
        replace(&link, "old", "new").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(matches!(replace(&link, "old", "newer"), Err(WriteError::Changed)));
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left behind");
    }
}
