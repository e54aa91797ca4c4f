//! Whether a file that is looked at again and again has been written, or has gone.

use std::path::Path;

use super::renewal::{FileStamp, stamp_of};

/// A file as it was at the last look, and as it was read.
#[derive(Debug, Default)]
pub(crate) struct FileWatch {
    last: Option<Look>,
    read: Option<Look>,
}

/// What one look at a file came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    There(FileStamp),
    /// There is no such file, or it can't be looked at.
    Gone,
}

impl FileWatch {
    /// Whether the file has changed or gone since it was read here, and not since the last look: it may be written or replaced
    /// at this moment. To read one that has gone says why it can't be read. The first time it has, as it may have changed
    /// since the config was read.
    pub(crate) fn settled(&mut self, path: &Path) -> bool {
        let look = stamp_of(path).map_or(Look::Gone, Look::There);
        let settled = self.last.replace(look) == Some(look);
        let changed = settled && self.read != Some(look);
        if changed {
            self.read = Some(look);
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::FileWatch;

    #[test]
    fn a_file_that_goes_and_comes_has_changed_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("entries");
        let mut watch = FileWatch::default();
        std::fs::write(&path, "a").unwrap();
        assert_eq!([(); 3].map(|()| watch.settled(&path)), [false, true, false]);
        std::fs::remove_file(&path).unwrap();
        assert_eq!([(); 3].map(|()| watch.settled(&path)), [false, true, false]);
        std::fs::write(&path, "a").unwrap();
        assert_eq!([(); 3].map(|()| watch.settled(&path)), [false, true, false]);
        // One that is replaced is away for a look at most.
        std::fs::remove_file(&path).unwrap();
        assert!(!watch.settled(&path));
        std::fs::write(&path, "other").unwrap();
        assert_eq!([(); 3].map(|()| watch.settled(&path)), [false, true, false]);
    }
}
