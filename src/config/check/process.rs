//! `[process]`

use crate::config::file::Section;
use crate::config::plan::{At, Process, SeccompMode};

pub(super) fn process(section: Option<Section<'_>>) -> Process {
    let mut process = Process::default();
    let Some(mut section) = section else { return process };
    let owned = |at: At<&str>| At { value: at.value.to_owned(), span: at.span };
    process.user = section.get("user").and_then(|value| value.text("\"ringate\"")).map(owned);
    let group = section.get("group");
    process.group = group.as_ref().and_then(|value| value.text("\"ringate\"")).map(owned);
    if let Some(group) = group.filter(|_| process.user.is_none()) {
        group.error("`process.group` has no effect without `process.user`", Some("add `user`".to_owned()));
    }
    if let Some(value) = section.get("landlock") {
        process.landlock = value.choice(&[("off", false), ("on", true)]).unwrap_or_default();
    }
    if let Some(value) = section.get("seccomp") {
        let words = [("off", SeccompMode::Off), ("log", SeccompMode::Log), ("on", SeccompMode::On)];
        process.seccomp = value.choice(&words).unwrap_or(process.seccomp);
    }
    if let Some(value) = section.get("restrict_rings") {
        process.restrict_rings = value.boolean().unwrap_or(process.restrict_rings);
    }
    section.finish();
    process
}
