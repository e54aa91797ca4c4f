//! `sticky` of an upstream.

use std::path::Path;

use crate::config::file::Value;
use crate::config::names;
use crate::config::plan::{At, Sticky, StickyBy};
use crate::config::suggest::quoted;
use crate::config::units::Wrong;

use super::{edits, path};

/// What a client's session is kept by.
pub(super) fn sticky(value: &Value<'_>, dir: &Path) -> Option<At<Sticky>> {
    let mut section = value.section()?;
    let cookie = section.get("cookie").map(|value| {
        value.parse("\"ringate\"", |text| match names::token(text) {
            true => Ok(text.to_owned()),
            false => Err(Wrong::new(format!("{} is not the name of a cookie", quoted(text)))),
        })
    });
    let header = section.get("header").map(|value| {
        let name = value.text("\"X-Session\"")?;
        edits::field(&value, name.value)
    });
    let max_age = section.get("max_age").map(|value| value.duration(false));
    let secret_file = section.get("secret_file").map(|value| path(&value, dir, "\"session.secret\""));
    section.finish();
    let by = match (cookie, header) {
        (Some(cookie), None) => StickyBy::Cookie(cookie?.value),
        (None, Some(header)) => StickyBy::Header(header?),
        (Some(_), Some(_)) => {
            value
                .error("`cookie` and `header` contradict each other: a session is kept by one of them", None);
            return None;
        }
        (None, None) => {
            let help = "add `cookie = \"ringate\"` for browsers, or `header = \"X-Session\"` for API clients";
            value.error("what a session is kept by is missing", Some(help.into()));
            return None;
        }
    };
    let max_age = max_age.map_or(Some(None), |age| age.map(Some))?;
    let secret_file = secret_file.map_or(Some(None), |file| file.map(Some))?;
    Some(At { value: Sticky { by, max_age, secret_file }, span: value.span() })
}
