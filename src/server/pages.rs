//! Error pages, read from their files.

use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use crate::base::limits::MAX_PAGE_BYTES;
use crate::config::plan::{ErrorPages, PageSource, PageStatus};
use crate::proxy::error_pages::{Page, Pages};

/// The pages of a listener.
///
/// # Errors
/// A file can't be read; with its place in the config.
pub(super) fn pages(pages: Option<&ErrorPages>) -> Result<Option<Arc<Pages>>, (Range<usize>, String)> {
    let Some(written) = pages else { return Ok(None) };
    let mut made = Pages { json: written.json.unwrap_or(true), exact: Vec::new(), classes: Vec::new() };
    for page in &written.pages {
        let text = match &page.source {
            PageSource::Text(text) => text.clone(),
            PageSource::File(file) => {
                read(file).map_err(|error| (file.span.clone(), format!("{}: {error}", file.display())))?
            }
        };
        let read = Page::new(&text, &page.media_type);
        match page.status {
            PageStatus::Exact(status) => made.exact.push((status, read)),
            PageStatus::Class(class) => made.classes.push((class, read)),
        }
    }
    Ok(Some(Arc::new(made)))
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    // Not to hang on a pipe: the file's kind is checked before it is read.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("this is not a file"));
    }
    if file.take(MAX_PAGE_BYTES + 1).read_to_string(&mut text)? as u64 > MAX_PAGE_BYTES {
        let text = format!("it has more than {MAX_PAGE_BYTES} bytes");
        return Err(std::io::Error::other(text));
    }
    Ok(text)
}
