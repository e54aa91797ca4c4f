//! `error_pages`: the bodies of Ringate's own error responses, and of those of backends that get one.

use std::path::PathBuf;

use super::At;

/// `[error_pages]`, a listener's own over it, or those of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorPages {
    /// `json`: clients that prefer JSON get `application/problem+json`. Default true.
    pub json: Option<bool>,
    /// Each status once.
    pub pages: Vec<ErrorPage>,
    /// `intercept`: first and last status of each range of backends' responses that get a page; `None`: as elsewhere.
    pub intercept: Option<Vec<(u16, u16)>>,
}

/// The page of a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorPage {
    /// Which.
    pub status: PageStatus,
    /// Its text.
    pub source: PageSource,
    /// Its media type.
    pub media_type: String,
}

/// Which statuses a page is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageStatus {
    /// This one.
    Exact(u16),
    /// All of 4 or 5 hundred that have no page of their own.
    Class(u16),
}

/// Where a page's text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageSource {
    /// In this file, read when the config is loaded.
    File(At<PathBuf>),
    /// In the config.
    Text(String),
    /// `redirect`: none, the client is sent there with this status.
    Redirect(u16, String),
}

impl ErrorPages {
    /// Whether it says more than which responses are intercepted.
    pub fn has_pages(&self) -> bool {
        self.json.is_some() || !self.pages.is_empty()
    }

    /// These, and those of `others` for statuses that have none here.
    #[must_use]
    pub fn over(&self, others: &Self) -> Self {
        let mut pages = self.pages.clone();
        let own = |page: &&ErrorPage| !self.pages.iter().any(|own| own.status == page.status);
        pages.extend(others.pages.iter().filter(own).cloned());
        let intercept = self.intercept.clone().or_else(|| others.intercept.clone());
        Self { json: self.json.or(others.json), pages, intercept }
    }
}
