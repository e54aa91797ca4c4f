//! `upstream.NAME.retries`

use crate::base::limits::MAX_ATTEMPTS;
use crate::config::file::{Section, Value};
use crate::config::plan::{Retries, Upstream};
use crate::config::suggest::{nearest, quoted};
use crate::http::grpc;

const EXAMPLE: &str = "[\"connect\", \"reset\", \"503\"]";
/// The words of `on`, beside statuses.
const WORDS: [&str; 8] = [
    "connect",
    "reset",
    "timeout",
    "grpc-cancelled",
    "grpc-deadline-exceeded",
    "grpc-internal",
    "grpc-resource-exhausted",
    "grpc-unavailable",
];

pub(super) fn retries(mut section: Section<'_>, upstream: &mut Upstream) {
    let mut retries = Retries { attempts: 2, reset: true, ..Retries::default() };
    let mut number = |key, range| section.get(key).and_then(|value: Value<'_>| value.number(range));
    if let Some(attempts) = number("attempts", 1..=MAX_ATTEMPTS) {
        retries.attempts = attempts as u32;
        retries.failover = false;
    }
    if let Some(budget) = number("budget", 0..=100) {
        retries.budget = budget as u32;
    }
    if let Some(causes) = section.get("on").and_then(|value| value.list(EXAMPLE)) {
        retries.connect = false;
        retries.reset = false;
        causes.iter().for_each(|value| cause(value, &mut retries));
        retries.failover &= retries.reset;
    }
    if let Some(value) = section.get("attempt_timeout") {
        retries.attempt_timeout = value.duration(false);
        if !retries.timeout {
            let help = "add \"timeout\" to `on`, or leave it out";
            value.error("a slow attempt is not given up: `on` has no \"timeout\"", Some(help.into()));
        }
        if retries.attempt_timeout.is_some_and(|timeout| timeout > upstream.response_timeout) {
            let help = "retries have to fit into the time of one attempt: make it shorter";
            value.error("it is longer than `timeouts.response`", Some(help.into()));
        }
    }
    section.finish();
    upstream.retries = retries;
}

/// One of `on`: a word, or a status as text or number.
fn cause(value: &Value<'_>, retries: &mut Retries) {
    let Some(text) = value.text(EXAMPLE) else { return };
    match text.value {
        "connect" => retries.connect = true,
        "reset" => retries.reset = true,
        "timeout" => retries.timeout = true,
        text => match (text.parse::<u16>(), text.strip_prefix("grpc-").and_then(grpc::code_named)) {
            (Ok(status @ 400..=599), _) if text.len() == 3 => retries.statuses.push(status),
            (_, Some(code)) => retries.grpc.push(code),
            _ => {
                let help = match nearest(text, WORDS) {
                    Some(word) => format!("did you mean \"{word}\"?"),
                    None => {
                        "write \"connect\", \"reset\", \"timeout\", \"grpc-unavailable\", or a status from 400 to 599".to_owned()
                    }
                };
                value.error(&format!("{} is no reason to try again", quoted(text)), Some(help));
            }
        },
    }
}
