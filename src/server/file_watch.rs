//! Whether a file that is looked at again and again has been written.

use std::path::Path;

use super::renewal::{FileStamp, stamp_of};

/// A file as it was at the last look, and as it was read.
#[derive(Debug, Default)]
pub(crate) struct FileWatch {
    last: Option<FileStamp>,
    read: Option<FileStamp>,
}

impl FileWatch {
    /// Whether the file has changed since it was read here, and not since the last look: it may be written at this moment.
    /// The first time it has, as it may have changed since the config was read.
    pub(crate) fn settled(&mut self, path: &Path) -> bool {
        let Some(stamp) = stamp_of(path) else { return false };
        let settled = self.last.replace(stamp) == Some(stamp);
        let changed = settled && self.read != Some(stamp);
        if changed {
            self.read = Some(stamp);
        }
        changed
    }
}
