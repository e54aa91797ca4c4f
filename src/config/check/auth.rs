//! `route.auth`: passwords and tokens, and what else is asked.

use std::path::Path;
use std::time::Duration;

use crate::auth::jwks::Algorithm;
use crate::auth::jwt::{TokenPolicy, TokenSource};
use crate::config::access;
use crate::config::backend_url::BackendUrl;
use crate::config::file::Value;
use crate::config::names;
use crate::config::plan::{At, Auth, BasicAuth, KeyLocation, KeySource, TokenAuth, Upstream};
use crate::config::suggest::quoted;
use crate::config::units::Wrong;

use super::forward_auth::forward_auth;
use super::resolve;
use super::rules::forwarded_header;

/// The whole of `auth`. `dir`: what relative paths are relative to.
pub(super) fn auth(value: &Value<'_>, dir: &Path, upstreams: Option<&[Upstream]>) -> Auth {
    let Some(mut section) = value.section() else { return Auth::default() };
    let (basic, jwt, forward) = (section.get("basic"), section.get("jwt"), section.get("forward"));
    section.finish();
    let auth = Auth {
        basic: basic.as_ref().and_then(|value| basic_auth(value, dir)),
        jwt: jwt.as_ref().and_then(|value| token_auth(value, dir)),
        forward: forward.as_ref().and_then(|value| forward_auth(value, upstreams)),
    };
    if let (Some(basic), Some(TokenAuth { source: TokenSource::Bearer, .. })) = (&basic, &auth.jwt) {
        basic.key_error(
            format!("`{}`: a request has one Authorization, which has the token already", basic.name),
            "take one of the two out, or name a cookie or field by `jwt.token`",
        );
    }
    auth
}

fn basic_auth(value: &Value<'_>, dir: &Path) -> Option<BasicAuth> {
    let mut section = value.section()?;
    let file = section.require("file", "\"users.htpasswd\"").and_then(|value| path(&value, dir));
    let realm = section.get("realm").and_then(|value| value.parse("\"Orders\"", names::field_value));
    let forward = section.get("forward").and_then(|value| value.parse("\"X-User\"", forwarded_header));
    let forward_authorization = section.get("forward_authorization").and_then(|value| value.boolean());
    section.finish();
    Some(BasicAuth {
        file: file?,
        realm: realm.map_or("Restricted", |at| at.value).to_owned(),
        forward: forward.map(|at| at.value.to_owned()),
        forward_authorization: forward_authorization.unwrap_or(false),
    })
}

fn path(value: &Value<'_>, dir: &Path) -> Option<At<std::path::PathBuf>> {
    super::path(value, dir, "\"users.htpasswd\"")
}

fn token_auth(value: &Value<'_>, dir: &Path) -> Option<TokenAuth> {
    let mut section = value.section()?;
    let issuer = section.require("issuer", "\"https://login.example\"");
    let issuer = issuer.and_then(|value| value.parse("\"https://login.example\"", filled));
    let audience = section.get("audience").map(|value| texts(&value, "\"orders\"")).unwrap_or_default();
    let keys = section.require("jwks", "\"https://login.example/keys\"");
    let trust = section.get("trust");
    let trusted = trust.as_ref().map(|value| trust_of(value, dir)).unwrap_or_default();
    let refresh = section.get("refresh");
    let every = refresh.as_ref().and_then(|value| value.duration(false)).unwrap_or(Duration::from_secs(300));
    let algorithms = section.get("algorithms").and_then(|value| algorithms_of(&value));
    let algorithms = algorithms.unwrap_or_else(Algorithm::asymmetric);
    let secrets = algorithms.iter().any(|it| it.is_symmetric());
    let leeway = section.get("leeway").and_then(|value| value.duration(true));
    let source = section.get("token").and_then(|value| value.parse("\"cookie:session\"", token_source));
    let claims = section.section("claims").map(|section| section.all()).unwrap_or_default();
    let claims = claims.iter().map(|(name, value)| (name.value.to_owned(), texts(value, "\"orders\"")));
    let claims = claims.collect();
    let forward = section.section("forward").map(|section| section.all()).unwrap_or_default();
    let forward = forward.iter().filter_map(forwarded).collect();
    let forward_token = section.get("forward_token").and_then(|value| value.boolean());
    section.finish();
    let keys = keys?;
    let at = keys.parse("\"https://login.example/keys\"", |text| location(text, dir, trusted, every))?;
    if let KeyLocation::File(_) = at.value {
        for value in trust.iter().chain(&refresh) {
            value.key_error(format!("`{}` is for a URL, and `jwks` is a file", value.name), "leave it out");
        }
    } else if secrets {
        keys.error(
            "shared secrets (HS256, HS384, HS512) are taken from a file alone",
            Some("take them out of `algorithms`, or write the keys into a file".into()),
        );
    }
    let issuer = issuer?.value.to_owned();
    let leeway = leeway.map_or(60, |it| i64::try_from(it.as_secs()).unwrap_or(i64::MAX));
    Some(TokenAuth {
        keys: At { value: KeySource { at: at.value, secrets }, span: at.span },
        policy: TokenPolicy { issuer, audience, algorithms, leeway, claims },
        source: source.map_or(TokenSource::Bearer, |at| at.value),
        forward,
        forward_token: forward_token.unwrap_or(false),
    })
}

fn filled(text: &str) -> Result<&str, Wrong> {
    if text.is_empty() { Err(Wrong::new("it is empty")) } else { Ok(text) }
}

/// One text, or several.
fn texts(value: &Value<'_>, example: &str) -> Vec<String> {
    let entries = value.one_or_more(example).unwrap_or_default();
    entries.iter().filter_map(|entry| entry.parse(example, filled)).map(|at| at.value.to_owned()).collect()
}

/// A field and the claim that is its value.
fn forwarded((name, value): &(At<&str>, Value<'_>)) -> Option<(String, String)> {
    if let Err(Wrong { title, help }) = forwarded_header(name.value) {
        value.error(&title, help);
        return None;
    }
    Some((name.value.to_owned(), value.parse("\"sub\"", filled)?.value.to_owned()))
}

fn algorithms_of(value: &Value<'_>) -> Option<Vec<Algorithm>> {
    let entries = value.list("[\"RS256\", \"ES256\"]")?;
    Some(entries.iter().filter_map(|entry| entry.choice(&Algorithm::ALL)).collect())
}

/// Entries as an upstream's `trust` has them, with files found.
fn trust_of(value: &Value<'_>, dir: &Path) -> Vec<String> {
    let entries = value.list("[\"system\"]").unwrap_or_default();
    let read = entries.iter().filter_map(|entry| entry.text("\"system\""));
    let located = read.map(|at| match names::is_certificate_file(at.value) {
        true => resolve(dir, at.value).display().to_string(),
        false => at.value.to_owned(),
    });
    located.collect()
}

fn location(text: &str, dir: &Path, trust: Vec<String>, refresh: Duration) -> Result<KeyLocation, Wrong> {
    if !text.contains("://") {
        return filled(text).map(|text| KeyLocation::File(resolve(dir, text)));
    }
    let (url, _) = text.split_once('?').unwrap_or((text, ""));
    let parsed = BackendUrl::parse(url).map_err(Wrong::new)?;
    if !parsed.https {
        let wrong = Wrong::new(format!("{} is not https: its keys could be anyone's", quoted(text)));
        return Err(wrong.help("write an https URL, or a file"));
    }
    Ok(KeyLocation::Url { url: text.to_owned(), trust, refresh })
}

/// `bearer`, `header:NAME`, `cookie:NAME`, `query:NAME`
fn token_source(text: &str) -> Result<TokenSource, Wrong> {
    let form = "write \"bearer\", \"header:X-Token\", \"cookie:session\" or \"query:token\"";
    if text == "bearer" {
        return Ok(TokenSource::Bearer);
    }
    let (kind, name) = text.split_once(':').unwrap_or((text, ""));
    match kind {
        "header" => match access::header(name)? {
            name if name == "authorization" => {
                Err(Wrong::new("a token in Authorization is a bearer token").help("write \"bearer\""))
            }
            name => Ok(TokenSource::Header(name)),
        },
        "cookie" if access::header(name).is_ok() => Ok(TokenSource::Cookie(name.to_owned())),
        "query" if !name.is_empty() && !name.contains(['&', '=', '#', ' ']) => {
            Ok(TokenSource::Query(name.to_owned()))
        }
        _ => Err(Wrong::new(format!("{} is no place of a token", quoted(text))).help(form)),
    }
}
