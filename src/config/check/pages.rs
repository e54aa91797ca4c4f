//! `[error_pages]`

use std::path::Path;

use crate::config::file::{Section, Value};
use crate::config::plan::{ErrorPage, ErrorPages, PageSource, PageStatus};
use crate::config::suggest::quoted;
use crate::config::units::Wrong;
use crate::config::{map_text, names};

use super::path;

pub(super) fn error_pages(section: Section<'_>, dir: &Path) -> ErrorPages {
    let mut found = ErrorPages::default();
    for (key, value) in section.all() {
        if key.value == "json" {
            found.json = value.boolean();
            continue;
        }
        if key.value == "intercept" {
            found.intercept = intercept(&value);
            continue;
        }
        let Some(status) = status(key.value) else {
            let title = format!("{} is not a status that has a page", quoted(key.value));
            let help =
                "the keys here are a status between 400 and 599, \"4xx\", \"5xx\", `json` and `intercept`";
            value.error(&title, Some(help.to_owned()));
            continue;
        };
        found.pages.extend(page(&value, dir).map(|(source, media_type)| ErrorPage {
            status,
            source,
            media_type,
        }));
    }
    found
}

/// Statuses of backends' responses, as ranges.
fn intercept(value: &Value<'_>) -> Option<Vec<(u16, u16)>> {
    let entries = value.any_list("[\"404\", \"502-504\"]")?;
    Some(entries.iter().filter_map(|entry| Some(entry.parse("\"502-504\"", statuses)?.value)).collect())
}

fn statuses(text: &str) -> Result<(u16, u16), Wrong> {
    status_range(text, 400).ok_or_else(|| {
        Wrong::new(format!("{} is no status of an error, and no range of them", quoted(text)))
            .help("write \"404\", \"502-504\", \"4xx\" or \"5xx\"")
    })
}

/// `404`, `502-504`, `4xx`: from `least`, the first status of a class, to 599.
pub(super) fn status_range(text: &str, least: u16) -> Option<(u16, u16)> {
    let fits =
        |first: u16, last: u16| (least <= first && first <= last && last <= 599).then_some((first, last));
    let status = |text: &str| text.parse::<u16>().ok().filter(|_| text.len() == 3);
    if let Some(class) = text.strip_suffix("xx") {
        let first = status(&format!("{class}00"))?;
        return fits(first, first + 99);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    fits(status(first)?, status(last)?)
}

fn status(key: &str) -> Option<PageStatus> {
    match key {
        "4xx" => Some(PageStatus::Class(4)),
        "5xx" => Some(PageStatus::Class(5)),
        _ => key.parse().ok().filter(|status| (400..=599).contains(status)).map(PageStatus::Exact),
    }
}

/// A file's path, or a table with `file` or `text`.
fn page(value: &Value<'_>, dir: &Path) -> Option<(PageSource, String)> {
    const EXAMPLE: &str = "\"pages/404.html\"";
    if !value.is_table() {
        let text = value.text(EXAMPLE)?;
        if text.value.contains(['<', '\n', '{']) {
            let help = "a text is written in a table: { text = \"…\", content_type = \"text/html\" }";
            value.error("this is no file's path", Some(help.to_owned()));
            return None;
        }
        let file = path(value, dir, EXAMPLE)?;
        let media_type = media_type(&file.value);
        return Some((PageSource::File(file), media_type));
    }
    let mut section = value.section()?;
    let file = section.get("file");
    let text = section.get("text");
    let elsewhere = section.get("redirect");
    let status = section.get("status");
    let written =
        section.get("content_type").and_then(|value| value.parse("\"text/html\"", names::field_value));
    section.finish();
    if let Some(status) = status.as_ref().filter(|_| elsewhere.is_none()) {
        status.key_error(
            format!("`{}` is the status of a redirect", status.name),
            "add `redirect`, or leave it out",
        );
    }
    let (source, default) = match (file, text, elsewhere) {
        (None, None, Some(elsewhere)) => {
            let location = elsewhere.parse("\"https://www.example.com/sorry\"", map_text::plain_location)?;
            let status = status.map_or(Some(302), |status| redirect_status(&status))?;
            (PageSource::Redirect(status, location.value.to_owned()), String::new())
        }
        (Some(file), None, None) => {
            let file = path(&file, dir, EXAMPLE)?;
            let media_type = media_type(&file.value);
            (PageSource::File(file), media_type)
        }
        (None, Some(text), None) => (
            PageSource::Text(text.text("\"sorry\"")?.value.to_owned()),
            "text/plain; charset=utf-8".to_owned(),
        ),
        _ => {
            value.error("it has either a `file`, a `text` or a `redirect`", None);
            return None;
        }
    };
    Some((source, written.map_or(default, |written| written.value.to_owned())))
}

/// The status of a redirect.
pub(super) fn redirect_status(value: &Value<'_>) -> Option<u16> {
    match value.number(300..=399)? {
        status @ (301 | 302 | 303 | 307 | 308) => u16::try_from(status).ok(),
        _ => {
            value.error("it is not one of 301, 302, 303, 307 and 308", None);
            None
        }
    }
}

/// By the file's name.
fn media_type(path: &Path) -> String {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "json" => "application/json",
        "xml" => "application/xml",
        _ => "text/plain; charset=utf-8",
    }
    .to_owned()
}
