//! What commands print. No failure of a standard stream panics, and none is passed over: see each function.

use std::env;
use std::io::{self, IsTerminal};

use serde::Serialize;

use crate::base::text::{without_controls, without_keys};
use crate::io::standard::Standard;

/// Prints text to standard output. A reader that has left, such as `head`, has what it wanted.
///
/// # Errors
/// It could not be written, in words.
pub(super) fn print(text: &str) -> Result<(), String> {
    match Standard::Output.write_whole(without_controls(text).as_bytes()).1 {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|error| unwritten(&error)),
    }
}

/// Prints what a command did: where that fails, the error does not hide that it was done.
///
/// # Errors
/// It could not be written, in words.
pub(super) fn print_done(text: &str) -> Result<(), String> {
    print(text).map_err(|error| format!("{error}; the command itself was carried out"))
}

/// Writes what the command was run for, such as a key or a request, to standard output: a reader that has left is a
/// failure too.
///
/// # Errors
/// It could not be written, in words.
pub(super) fn deliver(bytes: &[u8]) -> Result<(), String> {
    Standard::Output.write_whole(bytes).1.map_err(|error| unwritten(&error))
}

fn unwritten(error: &io::Error) -> String {
    format!("error: standard output can't be written: {error}")
}

/// Prints a warning or an error to standard error. Where that fails, the exit code has to do.
pub(super) fn note(text: &str) {
    // It may repeat an argument, and that may be a key in the wrong place.
    let text = without_keys(text);
    let text = without_controls(&text);
    let _ = Standard::Error.write_whole(format!("{text}\n").as_bytes());
}

/// A value as JSON, with a line feed.
///
/// # Errors
/// It has no form in JSON, in words.
pub(super) fn json(value: &impl Serialize) -> Result<String, String> {
    let text = serde_json::to_string_pretty(value).map_err(|error| error.to_string())?;
    Ok(text + "\n")
}

/// Whether standard error is colored: on a terminal, unless the environment forbids it
/// (<https://no-color.org>, <https://bixense.com/clicolors>).
pub(super) fn is_colored() -> bool {
    is_colored_on(&io::stderr())
}

/// The same of another stream.
pub(super) fn is_colored_on(stream: &impl IsTerminal) -> bool {
    colored(stream.is_terminal(), |name| env::var_os(name).and_then(|value| value.into_string().ok()))
}

fn colored(terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    if set("NO_COLOR").is_some() {
        return false;
    }
    if set("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
        return true;
    }
    terminal
        && set("CLICOLOR").is_none_or(|value| value != "0")
        && set("TERM").is_none_or(|value| value != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colors_follow_the_conventions() {
        type Case = (bool, &'static [(&'static str, &'static str)], bool);
        let cases: &[Case] = &[
            (true, &[], true),
            (false, &[], false),
            (true, &[("NO_COLOR", "1")], false),
            (true, &[("NO_COLOR", "0")], false),
            (true, &[("NO_COLOR", "")], true),
            (false, &[("CLICOLOR_FORCE", "1")], true),
            (false, &[("CLICOLOR_FORCE", "0")], false),
            (false, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
            (true, &[("CLICOLOR", "0")], false),
            (false, &[("CLICOLOR", "1")], false),
            (true, &[("CLICOLOR", "0"), ("CLICOLOR_FORCE", "1")], true),
            (true, &[("TERM", "dumb")], false),
            (true, &[("TERM", "xterm")], true),
        ];
        for (terminal, variables, expected) in cases {
            let variable = |name: &str| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(colored(*terminal, variable), *expected, "{terminal} {variables:?}");
        }
    }
}
