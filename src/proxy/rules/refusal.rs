//! Refusals: requests that a listener or a route refuses by what they are.

use super::RequestView;
use crate::config::plan::Refusal;
use crate::proxy::reply::Reply;
use crate::route::{PathError, keep_slashes, normalise_path};

/// Asks each refusal in the order of the config. `place`: whose they are, for the logs.
///
/// A path is judged in its normalised form, as routes do. One with encoded slashes may be read in two ways, so it is
/// refused if either of them is. Of a field, parameter or cookie that is there several times, any value counts.
///
/// # Errors
/// The response of the first one whose conditions hold.
pub(super) fn check(
    refusals: &[Refusal],
    asked: &RequestView<'_, '_, '_>,
    place: &'static str,
) -> Result<(), Reply> {
    let path = asked.head.target.path;
    match normalise_path(path) {
        Ok(path) => check_path(refusals, asked, &path, place),
        Err(PathError::HiddenSeparator) => {
            // Other paths that can be read in two ways get 400 from every route.
            let Ok(slashed) = keep_slashes(path) else { return Ok(()) };
            check_path(refusals, asked, &slashed.kept, place)?;
            check_path(refusals, asked, &slashed.decoded, place)
        }
        Err(_) => Ok(()),
    }
}

fn check_path(
    refusals: &[Refusal],
    asked: &RequestView<'_, '_, '_>,
    path: &str,
    place: &'static str,
) -> Result<(), Reply> {
    let query = asked.query(path);
    match refusals.iter().find(|refusal| refusal.when.may_hold(&query)) {
        None => Ok(()),
        Some(refusal) => Err(refused(refusal, place)),
    }
}

#[cold]
fn refused(refusal: &Refusal, place: &'static str) -> Reply {
    let cause = format!("{place} refuses such requests: {}", refusal.when);
    let mut reply = Reply::refusal(refusal.status, cause);
    reply.counter = Some(|counters| &counters.requests_denied);
    reply
}
