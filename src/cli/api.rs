//! `ringate api`: an API is registered with a running instance, or removed: its upstream and its routes in one step.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Map, Value, json};

use super::client::{Instance, segment};
use super::{ChangeOptions, output, printable};
use crate::admin::{Api, Outcome, Registered};
use crate::config::openapi::{self, Imported};
use crate::server::probe::Report;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Register an API: its backend is reached and verified, then it is written to the config file and served
    #[command(
        after_help = "Examples: ringate api add orders --backend https://orders.internal:8443 --host api.example.com --path /orders\n          \
        ringate api add pets --openapi pets.yaml --trust ca.pem"
    )]
    Add(Box<Add>),
    /// Remove an API that was registered: its upstream, and the routes that lead to it
    #[command(after_help = "Example: ringate api remove orders\n\n\
        An upstream or a route that was written by hand is removed with --force alone.")]
    Remove {
        /// The upstream's name
        name: String,
        #[command(flatten)]
        common: ChangeOptions,
    },
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("where").required(true).multiple(true).args(["backend", "openapi"]))]
struct Add {
    /// The name of its upstream
    name: String,
    #[command(flatten)]
    common: ChangeOptions,
    /// Its backend: `https://HOST[:PORT][/PATH]`; may be given several times
    #[arg(long, value_name = "URL")]
    backend: Vec<String>,
    /// An OpenAPI document, JSON or YAML: its server is the backend, its paths are routes
    #[arg(long, value_name = "FILE")]
    openapi: Option<PathBuf>,
    /// The host that clients ask for
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// The path that clients ask for, and all below it; may be given several times
    #[arg(long, value_name = "PATH", conflicts_with = "openapi")]
    path: Vec<String>,
    /// The listener; may be given several times [default: the only one that can be meant]
    #[arg(long, value_name = "NAME")]
    listener: Vec<String>,
    /// What its certificate is checked against: `system`, a file, or a certificate of the store; may be given several times
    #[arg(long, value_name = "TRUST")]
    trust: Vec<String>,
    /// The name that its certificate must have, if that is another one than the host
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// The certificate of the store that is presented to it
    #[arg(long, value_name = "NAME")]
    certificate: Option<String>,
}

pub(super) fn run(options: &Options) -> Result<(), String> {
    match &options.action {
        Action::Add(add) => self::add(add),
        Action::Remove { name, common } => {
            let path = format!("/v1/apis/{}{}", segment(name), common.query());
            let instance = Instance::of(&common.file.config)?;
            let outcome: Outcome = instance.call(Method::DELETE, &path, None::<&Value>)?;
            if common.json {
                return output::print_done(&output::json(&outcome)?);
            }
            let done = if common.dry_run { "would be removed" } else { "is removed" };
            output::print_done(&format!(
                "{name}: {done} (config version {})\n{}",
                outcome.version,
                changes(&outcome)
            ))
        }
    }
}

fn add(add: &Add) -> Result<(), String> {
    let common = &add.common;
    let api = api(add)?;
    let instance = Instance::of(&common.file.config)?;
    let registered: Registered =
        instance.call(Method::POST, &format!("/v1/apis{}", common.query()), Some(&api))?;
    if common.json {
        return output::print_done(&output::json(&registered)?);
    }
    for warning in &registered.outcome.warnings {
        output::note(&format!("warning: {}:{}: {}", warning.file, warning.line, warning.message));
    }
    let done = if common.dry_run { "would be registered" } else { "is registered" };
    let mut out = format!("{}: {done} (config version {})\n", add.name, registered.outcome.version);
    registered.endpoints.iter().for_each(|report| out.push_str(&endpoint_lines(report)));
    out.push_str(&changes(&registered.outcome));
    output::print_done(&out)
}

/// The request.
fn api(add: &Add) -> Result<Api, String> {
    let imported = add.openapi.as_deref().map(read).transpose()?;
    let mut backends = add.backend.clone();
    if let Some(imported) = &imported {
        for other in &imported.others {
            output::note(&format!("note: the server {} is left out", printable(other)));
        }
        match &imported.backend {
            Some(backend) if backends.is_empty() => backends.push(backend.clone()),
            None if backends.is_empty() => {
                return Err("error: the document has no server with a host: give --backend URL".to_owned());
            }
            _ => {}
        }
    }
    let mut tls = Map::new();
    if !add.trust.is_empty() {
        tls.insert("trust".to_owned(), json!(add.trust));
    }
    for (key, value) in [("server_name", &add.server_name), ("certificate", &add.certificate)] {
        if let Some(value) = value {
            tls.insert(key.to_owned(), json!(value));
        }
    }
    let upstream = if tls.is_empty() { Map::new() } else { Map::from_iter([("tls".to_owned(), tls.into())]) };
    let mut routes: Vec<Map<String, Value>> = match &imported {
        Some(imported) => {
            let of = |(path, methods): &(String, Vec<String>)| {
                Map::from_iter([("path".to_owned(), json!(path)), ("methods".to_owned(), json!(methods))])
            };
            imported.routes.iter().map(of).collect()
        }
        None => add.path.iter().map(|path| Map::from_iter([("path".to_owned(), json!(path))])).collect(),
    };
    if routes.is_empty() {
        routes.push(Map::new());
    }
    for route in &mut routes {
        if let Some(host) = &add.host {
            route.insert("host".to_owned(), json!(host));
        }
        match &*add.listener {
            [] => {}
            [one] => drop(route.insert("listener".to_owned(), json!(one))),
            several => drop(route.insert("listener".to_owned(), json!(several))),
        }
    }
    Ok(Api { name: add.name.clone(), backends, upstream, routes })
}

fn read(path: &Path) -> Result<Imported, String> {
    let failed = |error: &dyn std::fmt::Display| format!("error: {}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    let document: Value = match serde_json::from_str(&text) {
        Ok(document) => document,
        Err(_) => serde_yaml_ng::from_str(&text).map_err(|error| failed(&error))?,
    };
    openapi::import(&document).map_err(|error| failed(&error))
}

/// What a backend presented.
fn endpoint_lines(report: &Report) -> String {
    let mut out = String::new();
    let label = printable(&report.label());
    let _ = match (&report.tls, &report.problem) {
        (Some(tls), _) if tls.verified => writeln!(out, "  ✓ {label}: {}, verified", tls.version),
        (Some(tls), _) => writeln!(out, "  ! {label}: {}, NOT VERIFIED", tls.version),
        (None, None) => writeln!(out, "  ✓ {label}: reached, without TLS"),
        (None, Some(why)) => writeln!(out, "  ✗ {label}: {}", printable(why)),
    };
    if let Some(leaf) = report.chain.first() {
        let subject = printable(&leaf.facts.subject);
        let _ = writeln!(
            out,
            "      {subject}, valid until {} ({} days left)",
            leaf.facts.not_after, leaf.days_left
        );
    }
    if report.tls.is_some()
        && let Some(problem) = &report.problem
    {
        let _ = writeln!(out, "      but: {}", printable(problem));
    }
    out
}

/// The routes that are new or gone.
fn changes(outcome: &Outcome) -> String {
    let routes = &outcome.changes.routes;
    let lines =
        routes.added.iter().map(|route| ("+", route)).chain(routes.removed.iter().map(|route| ("-", route)));
    lines.map(|(sign, route)| format!("  {sign} route {}\n", printable(route))).collect()
}
