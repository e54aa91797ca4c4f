//! Answers of `ringate cert` for people.

use std::fmt::Write;

use super::super::printable;
use crate::certs::GenerationState;
use crate::certs::command::{
    Activated, Deleted, Listed, Made, Retired, RolledBack, Shown, Standing, Summary, Use,
};
use crate::certs::store::GenerationInfo;
use crate::server::rotation::{Outcome, Trial};

pub(super) fn made(made: &Made) -> String {
    let Made { id, generation, .. } = made;
    let subject = printable(&made.subject);
    let mut out = match made.state {
        Standing::Active => format!("{id}: generation {generation} is active: {subject}\n"),
        Standing::Staged => format!("{id}: generation {generation} is staged: {subject}\n"),
        Standing::Requested => format!("{id}: the request of {subject} waits for its certificate\n"),
    };
    if let Some(replaced) = made.replaced {
        let _ = writeln!(out, "It replaces generation {replaced}, which was staged and never used.");
    }
    if let Some(expires) = made.expires {
        let _ = writeln!(out, "It is valid until {expires}.");
    }
    for warning in &made.warnings {
        let _ = writeln!(out, "warning: {}", printable(warning));
    }
    match made.state {
        Standing::Staged => {
            let _ = writeln!(
                out,
                "Its public part, which backends may have to trust first: `ringate cert export {id} --part staged`.\n\
                 Try it with `ringate cert trial {id}`, use it with `ringate cert activate {id}`."
            );
        }
        _ => {
            let _ = writeln!(out, "Its public part: `ringate cert export {id}`.");
        }
    }
    out
}

pub(super) fn listed(listed: &Listed) -> String {
    if listed.certificates.is_empty() {
        return "The store is empty. Make a certificate with `ringate cert generate NAME --common-name CN`.\n".to_owned();
    }
    let mut rows =
        vec![["NAME", "GENERATION", "SUBJECT", "KEY", "VALID UNTIL", "DAYS", "USED BY"].map(str::to_owned)];
    rows.extend(listed.certificates.iter().map(row));
    table(&rows)
}

fn row(certificate: &Summary) -> [String; 7] {
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let mut generation = certificate.active.map_or_else(|| "-".to_owned(), |number| number.to_string());
    if let Some(staged) = certificate.staged {
        let _ = write!(generation, " (staged: {staged})");
    }
    if let Some(previous) = certificate.previous {
        let _ = write!(generation, " (previous: {previous})");
    }
    if certificate.requested {
        generation.push_str(" (requested)");
    }
    let mut key = text(&certificate.key_type);
    if certificate.key_type.is_some() && !certificate.has_key {
        key.push_str(", not here");
    }
    let days = match certificate.days_left {
        None => "-".to_owned(),
        Some(days) if days < 0 => format!("{days} EXPIRED"),
        Some(days) if certificate.ends_soon => format!("{days} ENDS SOON"),
        Some(days) => days.to_string(),
    };
    let used_by = match &certificate.problem {
        Some(problem) => format!("PROBLEM: {problem}"),
        None if certificate.used_by.is_empty() => "-".to_owned(),
        None => certificate.used_by.iter().map(|place| place.by.clone()).collect::<Vec<_>>().join(", "),
    };
    [
        certificate.name.clone(),
        generation,
        text(&certificate.subject),
        key,
        certificate.not_after.map_or_else(|| "-".to_owned(), |time| time.to_string()),
        days,
        used_by,
    ]
    .map(|cell| printable(&cell))
}

fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

pub(super) fn shown(shown: &Shown) -> String {
    let certificate = &shown.certificate;
    let mut out = format!("{}\n", certificate.name);
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(out, "  {name:<14}{}", printable(value));
        }
    };
    line("description", &certificate.description);
    line("created", &certificate.created.to_string());
    let used_by: Vec<String> = shown.used_by.iter().map(Use::to_string).collect();
    line("used by", if used_by.is_empty() { "nothing" } else { "" });
    used_by.iter().for_each(|place| line("used by", place));
    if let Some(request) = &certificate.request {
        line("request", &format!("{}, made {}, waits for its certificate", request.subject, request.created));
    }
    if let Some(trial) = &certificate.trial {
        let result = if trial.passed { "passed" } else { "not passed" };
        line("trial", &format!("generation {}, {}: {result}", trial.generation, trial.at));
    }
    if let Some(ocsp) = &shown.ocsp {
        let text = |key: &str| ocsp[key].as_str().unwrap_or_default();
        let stapled = match text("next_update") {
            "" => "nothing is stapled".to_owned(),
            until => format!("a response of {} is stapled until {until}", text("this_update")),
        };
        line("OCSP", &format!("{}: {stapled}", text("source")));
        line("", text("problem"));
    }
    for generation in &certificate.generations {
        out.push_str(&generation_text(generation));
    }
    if let Some(pem) = &shown.pem {
        let _ = write!(out, "\n{pem}");
    }
    out
}

fn generation_text(generation: &GenerationInfo) -> String {
    let state = match generation.state {
        GenerationState::Active => "active",
        GenerationState::Staged => "staged",
        GenerationState::Previous => "previous: a rollback brings it back",
        GenerationState::Retired => "retired: its key is deleted",
    };
    let mut out = format!("\n  generation {} ({state})\n", generation.number);
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(out, "    {name:<12}{}", printable(value));
        }
    };
    line("subject", generation.subject());
    if let Some(facts) = generation.facts() {
        line("issuer", if facts.self_signed { "itself" } else { &facts.issuer });
        line("names", &facts.sans.join(", "));
        line("usages", &facts.usages.join(", "));
        line("serial", &facts.serial);
        let key = if generation.has_key() { "" } else { ", its private key is not here" };
        line("key", &format!("{}{key}", facts.key_type));
        line("valid from", &facts.not_before.to_string());
    }
    let left = generation.days_left().map_or_else(String::new, |days| format!(" ({days} days left)"));
    line("valid until", &format!("{}{left}", generation.not_after()));
    if let Some(facts) = generation.facts() {
        line("sha256", &facts.sha256);
        line("pin", &facts.spki_sha256);
    }
    if let Some(length) = generation.chain_length().filter(|length| *length > 1) {
        line("chain", &format!("{length} certificates"));
    }
    line("created", &generation.created.to_string());
    line("problem", generation.problem().unwrap_or_default());
    out
}

pub(super) fn deleted(deleted: &Deleted) -> String {
    format!("{} is deleted, with its keys\n", deleted.deleted)
}

pub(super) fn activated(activated: &Activated) -> String {
    let Activated { name, activation, forced, live } = activated;
    let mut out = format!("{name}: generation {} is active\n", activation.active);
    if *forced {
        out.push_str(
            "It did not pass a trial: backends that refuse it get the previous one while that is valid.\n",
        );
    }
    out.push_str(since(*live));
    if let Some(previous) = activation.previous {
        let _ = writeln!(
            out,
            "Generation {previous} is the previous one: `ringate cert rollback {name}` brings it back."
        );
    }
    if let Some(retired) = activation.retired {
        let _ = writeln!(out, "Generation {retired} is retired: its key is deleted.");
    }
    out
}

pub(super) fn rolled_back(rolled_back: &RolledBack) -> String {
    let (name, rollback) = (&rolled_back.name, &rolled_back.rollback);
    let mut out = format!("{name}: generation {} is active again\n", rollback.active);
    out.push_str(since(rolled_back.live));
    if let Some(replaced) = rollback.replaced {
        let state = if rollback.staged_again { "staged" } else { "the previous one" };
        let _ = writeln!(out, "Generation {replaced} is {state} now.");
    }
    out
}

fn since(live: bool) -> &'static str {
    if live { "The running instance uses it from now on.\n" } else { "" }
}

pub(super) fn retired(retired: &Retired) -> String {
    format!("{}: generation {} is retired: its key is deleted\n", retired.name, retired.retired)
}

pub(super) fn trial(trial: &Trial) -> String {
    let result = match trial.passed {
        true => "passed",
        false if trial.endpoints.is_empty() => "nothing uses it",
        false => "not passed",
    };
    let mut out = format!("{}: trial of generation {}: {result}\n", trial.certificate, trial.generation);
    if trial.endpoints.is_empty() {
        out.push_str("It is presented to no backend: there is none to try, and its use needs no trial.\n");
    }
    for tried in &trial.endpoints {
        let word = match tried.outcome {
            Outcome::Accepted => "accepted",
            Outcome::Refused => "REFUSED",
            Outcome::Unreachable => "UNREACHABLE",
            Outcome::NeverAsked => "never requested it",
            Outcome::Failed => "FAILED",
        };
        let alert = tried.alert.as_ref().map_or_else(String::new, |alert| format!(" (alert {alert})"));
        let _ = writeln!(out, "  {} {}: {word}{alert}", tried.report.upstream, tried.report.label());
        if let Some(problem) = tried.report.problem.as_ref().filter(|_| !tried.passed()) {
            let _ = writeln!(out, "    {}", printable(problem));
        }
    }
    for warning in &trial.warnings {
        let _ = writeln!(out, "warning: {}", printable(warning));
    }
    let name = &trial.certificate;
    if trial.passed || trial.endpoints.is_empty() {
        let _ = writeln!(out, "Use it with `ringate cert activate {name}`.");
    } else if trial.endpoints.iter().any(|tried| tried.outcome == Outcome::Refused) {
        let _ = writeln!(
            out,
            "A backend that refuses it may have to trust it first: `ringate cert export {name} --part staged` gives its \
             public part. Then try it again."
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_certificate_says_of_itself_does_not_command_the_terminal() {
        let (time, evil) = ("2030-01-01T00:00:00Z", "CN=\u{1b}[2J\u{202e}x\r\n");
        let list = json!({ "certificates": [{ "name": "a", "subject": evil, "problem": evil }] });
        let make = json!({
            "id": "a", "generation": 1, "state": "active", "subject": evil, "created": time, "pem": ""
        });
        let show = json!({
            "name": "a", "description": evil, "created": time, "generations": [], "used_by": [],
            "request": { "number": 1, "created": time, "subject": evil, "pem": "" }
        });
        for text in [
            listed(&serde_json::from_value(list).unwrap()),
            made(&serde_json::from_value(make).unwrap()),
            shown(&serde_json::from_value(show).unwrap()),
        ] {
            assert!(text.contains("CN=\\u{1b}[2J\\u{202e}x\\u{d}\\u{a}"), "{text:?}");
            assert!(!text.contains(['\u{1b}', '\u{202e}', '\r']), "{text:?}");
        }
    }
}
