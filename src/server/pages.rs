//! Error pages, read from their files.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::regular_file;
use crate::base::limits::MAX_PAGE_BYTES;
use crate::config::plan::{ErrorPages, PageSource, PageStatus};
use crate::proxy::error_pages::{Page, Pages};

/// The pages of a listener or of a route.
///
/// # Errors
/// A file can't be read; with its place in the config.
pub(super) fn pages(pages: Option<&ErrorPages>) -> Result<Option<Arc<Pages>>, (Range<usize>, String)> {
    let Some(written) = pages else { return Ok(None) };
    let mut made = Pages { json: written.json.unwrap_or(true), exact: Vec::new(), classes: Vec::new() };
    for page in &written.pages {
        let read = match &page.source {
            PageSource::Text(text) => Page::new(text, &page.media_type),
            PageSource::File(file) => {
                let wrong = |error| (file.span.clone(), format!("{}: {error}", file.display()));
                Page::new(&read(file).map_err(wrong)?, &page.media_type)
            }
            PageSource::Redirect(status, location) => {
                Page::Elsewhere { status: *status, location: location.clone() }
            }
        };
        match page.status {
            PageStatus::Exact(status) => made.exact.push((status, read)),
            PageStatus::Class(class) => made.classes.push((class, read)),
        }
    }
    Ok(Some(Arc::new(made)))
}

fn read(path: &Path) -> std::io::Result<String> {
    regular_file::read_text(path, MAX_PAGE_BYTES)
}
