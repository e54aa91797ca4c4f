//! The roots of routes that serve files, looked at when a config is loaded.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use rustix::fs::{Access, access};

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
    if is_out_of_reach(&files.root) {
        let help = "`process.landlock` confines the process to the places that the config named at its start: restart it";
        return Err((format!("the root {shown}: Permission denied"), Some(help)));
    }
    root.has_folder(b".", files.links).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOSYS | libc::EPERM) => (
            format!("the root {shown}: this system has no openat2(2): {error}"),
            Some("Linux 5.6 has it; a container's filter of system calls may refuse it"),
        ),
        _ => (format!("the root {shown}: {error}"), None),
    })
}

/// Whether Landlock keeps a folder from this process that its user may read. Landlock has no say in access(2), nor in
/// descriptors that only name a file.
fn is_out_of_reach(folder: &Path) -> bool {
    let is_denied = File::open(folder).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
    is_denied && access(folder, Access::READ_OK | Access::EXEC_OK).is_ok()
}
