//! Texts with `{map.NAME}`: hosts, paths and locations that depend on the request.

use super::access::{self, Piece, Variable};
use super::names;
use super::suggest::quoted;
use super::units::Wrong;
use crate::route::{HostPattern, MapPiece, MapText, is_location, is_uri_text};

/// What a text is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Host,
    Path,
    Location,
}

/// A path, in which maps may stand.
///
/// # Errors
/// What is wrong with it.
pub(super) fn path(text: &str) -> Result<MapText, Wrong> {
    read(text, Role::Path)
}

/// A host without a port, in which maps may stand.
///
/// # Errors
/// What is wrong with it.
pub(super) fn host(text: &str) -> Result<MapText, Wrong> {
    read(text, Role::Host)
}

/// A URL, or a path with or without a query, in which maps may stand.
///
/// # Errors
/// What is wrong with it.
pub(super) fn location(text: &str) -> Result<MapText, Wrong> {
    read(text, Role::Location)
}

/// Whether a text has a map in it.
pub(super) fn has_map(text: &str) -> bool {
    text.contains("{map.")
}

fn read(text: &str, role: Role) -> Result<MapText, Wrong> {
    if !has_map(text) {
        let plain = match role {
            Role::Host => plain_host(text)?,
            Role::Path => names::new_path(text)?.to_owned(),
            Role::Location => plain_location(text)?.to_owned(),
        };
        return Ok(MapText::new(vec![MapPiece::Literal(plain.into())]));
    }
    let mut pieces = Vec::new();
    for (at, piece) in access::pieces_of(text, |it| matches!(it, Variable::Map(_)))?.into_iter().enumerate() {
        pieces.push(match piece {
            Piece::Literal(literal) => {
                check_part(&literal, at == 0, role)?;
                MapPiece::Literal(literal.into())
            }
            Piece::Value(Variable::Map(map)) => MapPiece::Map(map),
            Piece::Value(_) => {
                let wrong = Wrong::new(format!("{} has a variable other than a map's value", quoted(text)));
                return Err(wrong.help("write {map.NAME}, of a [map.NAME] that looks up what you need"));
            }
        });
    }
    Ok(MapText::new(pieces))
}

/// What stands beside a map.
fn check_part(text: &str, is_first: bool, role: Role) -> Result<(), Wrong> {
    let wrong = |reason: &str| Wrong::new(format!("{}: {reason}", quoted(text)));
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    match role {
        Role::Host if !text.bytes().all(is_name) => {
            Err(wrong("a host has letters, digits, `-`, `_` and dots"))
        }
        Role::Host => Ok(()),
        _ if !is_uri_text(text) => Err(wrong("it has characters that are not in a URL")
            .help("percent-encode what is not a letter, a digit or one of -._~!$&'()*+,;=:@/")),
        Role::Path if text.contains(['?', '#', '[', ']']) => {
            Err(wrong("a path has none of `?`, `#`, `[` and `]`").help("the request's own query is kept"))
        }
        Role::Path if is_first && text.starts_with("//") => Err(wrong("two slashes begin a host")),
        Role::Path if is_first && !text.starts_with('/') => Err(wrong("a path begins with a slash")),
        Role::Location if is_first && !text.starts_with('/') && !text.contains("://") => {
            Err(wrong("it is neither the beginning of a URL nor of a path"))
        }
        Role::Path | Role::Location => Ok(()),
    }
}

/// One name or address, without port.
fn plain_host(text: &str) -> Result<String, Wrong> {
    match names::host_pattern(text)? {
        HostPattern::Exact(host) => Ok(host),
        HostPattern::Wildcard(_) => {
            Err(Wrong::new(format!("{} has a wildcard", quoted(text))).help("write one name"))
        }
    }
}

/// A URL, or a path with or without a query.
///
/// # Errors
/// It is neither.
pub(super) fn plain_location(text: &str) -> Result<&str, Wrong> {
    if is_location(text) {
        return Ok(text);
    }
    let help = "such as \"/new\", \"/new?a=b\", \"https://www.example.com/new\" or \"{map.NAME}\"; what is no character of \
                a URL is percent-encoded";
    Err(Wrong::new(format!("{} is neither a URL nor a path", quoted(text))).help(help))
}
