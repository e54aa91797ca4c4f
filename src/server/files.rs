//! The roots of routes that serve files, looked at when a config is loaded.

use crate::io::file::Root;
use crate::route::Files;

/// Whether files below the root can be served.
///
/// # Errors
/// The root is not there, is no folder or may not be read, or the system can't keep what is opened within it; in words, with help.
pub(super) fn check(files: &Files) -> Result<(), (String, Option<&'static str>)> {
    let shown = files.root.display();
    let root = Root::open(&files.root).map_err(|error| {
        let help = match error.raw_os_error() {
            Some(libc::ENOENT) => "make the folder; a relative path is relative to the config file's folder",
            Some(libc::ENOTDIR) => {
                "name a folder; for one file, name its folder and write `try_files = [\"/NAME\"]`"
            }
            _ => "the process must be able to search it",
        };
        (format!("the root {shown}: {error}"), Some(help))
    })?;
    root.has_folder(b".", files.links).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOSYS | libc::EPERM) => (
            format!("the root {shown}: this system has no openat2(2): {error}"),
            Some("Linux 5.6 has it; a container's filter of system calls may refuse it"),
        ),
        _ => (format!("the root {shown}: {error}"), None),
    })
}
