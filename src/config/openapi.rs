//! An OpenAPI document (3.x, or Swagger 2.0) as an API to be registered: its server is the backend, its paths are routes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What a document says of where an API is, and of its paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Imported {
    /// `https://HOST[:PORT][/BASE]`; none: the document has no absolute one.
    pub(crate) backend: Option<String>,
    /// Servers that were left out.
    pub(crate) others: Vec<String>,
    /// The path that all paths are below; empty for none.
    pub(crate) base: String,
    /// Paths as `path` of a route, below the base, with their methods.
    pub(crate) routes: Vec<(String, Vec<String>)>,
}

/// Methods that a path item may have.
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// # Errors
/// It is no such document, or has no path; in words.
pub(crate) fn import(document: &Value) -> Result<Imported, String> {
    if document["openapi"].as_str().is_none() && document["swagger"].as_str().is_none() {
        return Err(
            "it has neither `openapi` nor `swagger` with a version: it is no OpenAPI document".to_owned()
        );
    }
    let mut servers = servers(document);
    let first = if servers.is_empty() { String::new() } else { servers.remove(0) };
    let is_absolute = first.contains("://");
    let base = match first.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |slash| &rest[slash..]),
        None => &first,
    };
    let base = base.trim_end_matches('/').to_owned();
    let Some(paths) = document["paths"].as_object().filter(|paths| !paths.is_empty()) else {
        return Err("it has no `paths`".to_owned());
    };
    Ok(Imported {
        backend: is_absolute.then_some(first.clone()),
        others: servers,
        routes: routes(paths, &base)?,
        base,
    })
}

/// The URLs of its servers, with the defaults of their variables.
fn servers(document: &Value) -> Vec<String> {
    if let Some(host) = document["host"].as_str() {
        let schemes: Vec<&str> =
            document["schemes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let scheme = if schemes.contains(&"http") && !schemes.contains(&"https") { "http" } else { "https" };
        return vec![format!("{scheme}://{host}{}", document["basePath"].as_str().unwrap_or_default())];
    }
    let of = |server: &Value| {
        let mut url = server["url"].as_str()?.to_owned();
        for (name, variable) in server["variables"].as_object().into_iter().flatten() {
            url = url.replace(&format!("{{{name}}}"), variable["default"].as_str().unwrap_or_default());
        }
        Some(url)
    };
    document["servers"].as_array().into_iter().flatten().filter_map(of).collect()
}

/// A route for each path without a parameter, and one for all below the part in front of the first parameter.
fn routes(paths: &serde_json::Map<String, Value>, base: &str) -> Result<Vec<(String, Vec<String>)>, String> {
    let mut whole: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut below: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, item) in paths {
        if !path.starts_with('/') {
            // `x-…`
            continue;
        }
        let item = item.as_object();
        let has = |method: &&&str| item.is_some_and(|item| item.contains_key(**method));
        let mut methods: BTreeSet<String> = METHODS.iter().filter(has).map(|it| it.to_uppercase()).collect();
        if methods.contains("GET") {
            methods.insert("HEAD".to_owned());
        }
        let fixed = path.split_once('{').map(|(fixed, _)| fixed[..fixed.rfind('/').unwrap_or(0)].to_owned());
        let (all, key) = match fixed {
            Some(fixed) => (&mut below, fixed),
            None => (&mut whole, path.trim_end_matches('/').to_owned()),
        };
        all.entry(format!("{base}{key}")).or_default().extend(methods);
    }
    let is_within = |path: &str, prefix: &str| path == prefix || path.starts_with(&format!("{prefix}/"));
    // What is below a shorter prefix is part of that.
    let prefixes: Vec<String> = below.keys().cloned().collect();
    let covering = |path: &str| prefixes.iter().find(|prefix| is_within(path, prefix)).cloned();
    let mut merged: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, methods) in below {
        merged.entry(covering(&path).unwrap_or(path)).or_default().extend(methods);
    }
    for (path, methods) in whole {
        let key =
            covering(&path).unwrap_or_else(|| format!("={}", if path.is_empty() { "/" } else { &path }));
        merged.entry(key).or_default().extend(methods);
    }
    let routes: Vec<(String, Vec<String>)> = merged
        .into_iter()
        .map(|(path, methods)| {
            (if path.is_empty() { "/".to_owned() } else { path }, methods.into_iter().collect())
        })
        .collect();
    if routes.is_empty() { Err("none of its `paths` begins with a slash".to_owned()) } else { Ok(routes) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn route(path: &str, methods: &[&str]) -> (String, Vec<String>) {
        (path.to_owned(), methods.iter().map(|it| (*it).to_owned()).collect())
    }

    #[test]
    fn paths_become_routes_and_the_server_the_backend() {
        let document = json!({
            "openapi": "3.1.0",
            "servers": [
                { "url": "https://{where}.example.com/v2/", "variables": { "where": { "default": "api" } } },
                { "url": "https://staging.example.com/v2" }
            ],
            "paths": {
                "/pets": { "get": {}, "post": {} },
                "/pets/{id}": { "delete": {}, "parameters": [] },
                "/pets/{id}/photos/{photo}": { "get": {} },
                "/health": { "get": {} },
                "x-note": {}
            }
        });
        let imported = import(&document).unwrap();
        assert_eq!(imported.backend.as_deref(), Some("https://api.example.com/v2/"));
        assert_eq!(imported.others, ["https://staging.example.com/v2"]);
        assert_eq!(imported.base, "/v2");
        let pets = route("/v2/pets", &["DELETE", "GET", "HEAD", "POST"]);
        assert_eq!(imported.routes, [pets, route("=/v2/health", &["GET", "HEAD"])]);
    }

    #[test]
    fn older_and_smaller_documents_are_read_too() {
        let swagger = json!({ "swagger": "2.0", "host": "a:81", "schemes": ["http"], "basePath": "/x", "paths": { "/": { "get": {} } } });
        let imported = import(&swagger).unwrap();
        assert_eq!(imported.backend.as_deref(), Some("http://a:81/x"));
        assert_eq!(imported.routes, [route("=/x", &["GET", "HEAD"])]);
        let relative = json!({ "openapi": "3.0.0", "paths": { "/{all}": { "put": {} } } });
        let imported = import(&relative).unwrap();
        assert_eq!((imported.backend, &*imported.base), (None, ""));
        assert_eq!(imported.routes, [route("/", &["PUT"])]);
        for bad in
            [json!({}), json!([]), json!({ "openapi": "3.0.0" }), json!({ "openapi": "3.0.0", "paths": {} })]
        {
            assert!(import(&bad).is_err(), "{bad}");
        }
    }
}
