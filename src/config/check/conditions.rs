//! `route.match`: header fields and query parameters that a request must have.

use crate::config::access;
use crate::config::file::{Section, Value};
use crate::config::names;
use crate::config::suggest::quoted;
use crate::config::units::Wrong;
use crate::route::{Condition, Expected, Part};

/// `match.headers` and `match.query`.
pub(super) fn of(value: &Value<'_>) -> Vec<Condition> {
    let Some(mut section) = value.section() else { return Vec::new() };
    let mut conditions = Vec::new();
    for (part, key) in [(Part::Header, "headers"), (Part::Query, "query")] {
        for (name, value) in section.section(key).map(|section| section.all()).unwrap_or_default() {
            if let Err(Wrong { title, help }) = check_name(part, name.value) {
                value.error(&title, help);
            }
            let name = name.value.into();
            conditions.extend(expected(&value).map(|expected| Condition { part, name, expected }));
        }
    }
    section.finish();
    conditions
}

fn check_name(part: Part, name: &str) -> Result<(), Wrong> {
    if part == Part::Query {
        return Ok(());
    }
    if access::header(name)? == "host" {
        return Err(
            Wrong::new("a request's host is matched by `route.host`").help("add `host = \"…\"` instead")
        );
    }
    Ok(())
}

/// A value, or `{ value = "…" }`, `{ present = true }`, `{ present = false }`.
fn expected(value: &Value<'_>) -> Option<Expected> {
    if value.is_table() {
        let mut section: Section<'_> = value.section()?;
        let exact = section.get("value");
        let present = match exact {
            Some(_) => section.get("present"),
            None => section.require("present", "true"),
        };
        section.finish();
        if let Some(exact) = exact {
            if let Some(present) = present {
                present.key_error(
                    format!("`{}` and `{}` exclude each other", exact.name, present.name),
                    "take one of the two out",
                );
            }
            return exact.parse("\"2\"", names::field_value).map(|value| Expected::Value(value.value.into()));
        }
        let present = present.and_then(|value| value.boolean());
        return present.map(|present| if present { Expected::Present } else { Expected::Absent });
    }
    let form = "\"2\" or a table { present = true }";
    let plain = |text| {
        let text = names::field_value(text)?;
        if text.contains('*') {
            let wrong = Wrong::new(format!("{} is no pattern: values are compared whole", quoted(text)));
            let help = format!(
                "write {{ value = {} }} if the `*` is part of the value, or {{ present = true }} for any",
                quoted(text)
            );
            return Err(wrong.help(help));
        }
        Ok(text)
    };
    value.parse(form, plain).map(|value| Expected::Value(value.value.into()))
}
