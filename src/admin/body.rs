//! A request's JSON, or a problem that describes what is wrong with it.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// The body as JSON.
#[derive(Debug)]
pub(super) struct Body<T>(pub T);

/// The same where it may be left out: then it is what `T` is without any key.
#[derive(Debug)]
pub(super) struct Optional<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = read(request, state).await?;
        parse(&bytes).map(Self)
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Optional<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = read(request, state).await?;
        parse(if bytes.is_empty() { b"{}" } else { &bytes }).map(Self)
    }
}

async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    let media_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.and_then(|text| text.split(';').next()).unwrap_or_default().trim();
    let known = ["application/json", "application/merge-patch+json"];
    let known = known.iter().any(|one| media_type.eq_ignore_ascii_case(one));
    let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
        Problem::new(rejection.status(), "body", "the body can't be read", rejection.body_text())
    })?;
    if !bytes.is_empty() && !known {
        let detail = "send JSON, with `Content-Type: application/json`";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Problem::new(status, "body", "the body's media type is not understood", detail));
    }
    Ok(bytes)
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Problem> {
    // serde would take the members of a struct from an array too, by their places.
    if text.trim_ascii_start().first() == Some(&b'[') {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return Err(Problem::new(
            status,
            "body",
            "the body is not what is expected here",
            "send a JSON object, not an array",
        ));
    }
    serde_json::from_slice(text).map_err(|error| {
        let status = if error.is_data() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::BAD_REQUEST };
        Problem::new(status, "body", "the body is not what is expected here", said(&error.to_string()))
    })
}

/// What was wrong, without the value that was: it may be a key or a passphrase in the wrong place.
fn said(error: &str) -> String {
    for kind in ["invalid type: ", "invalid value: "] {
        if let Some(value) = error.strip_prefix(kind)
            && let Some(expected) = value.rfind(", expected ")
        {
            let named = value[..expected].split([' ', '`', '"']).next().unwrap_or_default();
            return format!("{kind}{named}{}", &value[expected..]);
        }
    }
    // The name of a field may be a secret that was pasted in the wrong place, too.
    for kind in ["unknown field `", "unknown variant `"] {
        if let Some(name) = error.strip_prefix(kind) {
            let ends = ["`, expected ", "`, there are no "]
                .iter()
                .filter_map(|end| Some((name.rfind(end)?, &end[3..])));
            let rest = ends.max().map(|(at, _)| &name[at + 1..]).unwrap_or_default();
            return format!("{}{rest}", kind.trim_end_matches(" `"));
        }
    }
    error.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::command::Import;

    #[test]
    fn what_stands_in_the_wrong_place_is_not_repeated() {
        for (body, expected) in [
            (
                "\"-----BEGIN PRIVATE KEY-----, expected s3cret\"",
                "invalid type: string, expected struct Import",
            ),
            (
                r#"{"name": "a", "certificate": "", "passphrase": 53}"#,
                "invalid type: integer, expected a string",
            ),
            (r#"{"s3cret": 1}"#, "unknown field, expected one of `id`, `name`"),
            (r#"{"s3cret`, expected PRIVATE": 1}"#, "unknown field, expected one of `id`, `name`"),
            (r#"{"name": "a", "certificate": ["s3cret"]}"#, "invalid type: sequence, expected a string"),
            (
                r#"{"-----BEGIN PRIVATE KEY-----\ns3cret`, expected \n": 53}"#,
                "unknown field, expected one of `id`, `name`",
            ),
        ] {
            let problem = parse::<Import>(body.as_bytes()).unwrap_err();
            assert!(problem.detail.starts_with(expected), "{}", problem.detail);
            assert!(
                !problem.detail.contains("53") && !problem.detail.contains("PRIVATE"),
                "{}",
                problem.detail
            );
            assert!(!problem.detail.contains("s3cret"), "{}", problem.detail);
        }
    }
}
