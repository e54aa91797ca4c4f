//! `ringate endpoint`: the endpoints of an upstream of a running instance, and changes of one.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::client::{Instance, segment};
use super::control::health_line;
use super::{ConfigFile, output};
use crate::admin::Outcome;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the endpoints with weight, health and use
    #[command(after_help = "Example: ringate endpoint list orders -c config/ringate.toml")]
    List(Upstream),
    /// Add an endpoint
    #[command(
        after_help = "Example: ringate endpoint add orders 10.0.0.3:8443 --weight 2 -c config/ringate.toml"
    )]
    Add {
        #[command(flatten)]
        which: Which,
        /// Its share of the traffic, from 1 to 1000 [default: 1]
        #[arg(long)]
        weight: Option<u32>,
        /// It is used only where no other endpoint can be
        #[arg(long)]
        backup: bool,
    },
    /// Remove an endpoint: requests under way end, idle connections close
    #[command(after_help = "Example: ringate endpoint remove orders 10.0.0.3:8443 -c config/ringate.toml")]
    Remove(Which),
    /// Send no new requests to an endpoint, but those of sticky sessions at it; requests under way end
    #[command(after_help = "Example: ringate endpoint drain orders 10.0.0.1:8443 -c config/ringate.toml")]
    Drain(Which),
    /// Use a drained endpoint again
    #[command(after_help = "Example: ringate endpoint enable orders 10.0.0.1:8443 -c config/ringate.toml")]
    Enable(Which),
    /// Change an endpoint's share of the traffic
    #[command(after_help = "Example: ringate endpoint weight orders 10.0.0.1:8443 3 -c config/ringate.toml")]
    Weight {
        #[command(flatten)]
        which: Which,
        /// From 1 to 1000
        weight: u32,
    },
}

#[derive(Debug, Args)]
struct Upstream {
    /// The upstream's name
    upstream: String,
    #[command(flatten)]
    file: ConfigFile,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Which {
    #[command(flatten)]
    of: Upstream,
    /// The endpoint as in the config file: HOST:PORT, unix:PATH, dns:NAME:PORT, srv:NAME or file:PATH
    address: String,
}

impl Upstream {
    fn path(&self) -> String {
        format!("/v1/upstreams/{}/endpoints", segment(&self.upstream))
    }
}

pub(super) fn run(options: &Options) -> Result<(), String> {
    match &options.action {
        Action::List(upstream) => list(upstream),
        Action::Add { which, weight, backup } => {
            let mut body = json!({ "address": which.address });
            if let Some(weight) = weight {
                body["weight"] = json!(weight);
            }
            if *backup {
                body["backup"] = json!(true);
            }
            call(
                &which.of,
                Method::POST,
                &which.of.path(),
                Some(&body),
                &format!("{} is added", which.address),
            )
        }
        Action::Remove(which) => change(which, Method::DELETE, None, "is removed"),
        Action::Drain(which) => change(
            which,
            Method::PATCH,
            Some(&json!({ "drain": true })),
            "is drained: it gets no new requests",
        ),
        Action::Enable(which) => change(which, Method::PATCH, Some(&json!({ "drain": false })), "is enabled"),
        Action::Weight { which, weight } => {
            let done = format!("has the weight {weight}");
            change(which, Method::PATCH, Some(&json!({ "weight": weight })), &done)
        }
    }
}

fn list(upstream: &Upstream) -> Result<(), String> {
    let instance = Instance::of(&upstream.file.config)?;
    let endpoints: Vec<Value> = instance.call(Method::GET, &upstream.path(), None::<&Value>)?;
    if upstream.json {
        return output::print(&output::json(&endpoints)?);
    }
    let line =
        |endpoint: &Value| format!("{}, weight {}\n", health_line(endpoint).trim_end(), endpoint["weight"]);
    output::print(&endpoints.iter().map(line).collect::<String>())
}

/// Changes one endpoint.
fn change(which: &Which, method: Method, body: Option<&Value>, done: &str) -> Result<(), String> {
    let path = format!("{}/{}", which.of.path(), segment(&which.address));
    call(&which.of, method, &path, body, &format!("{} {done}", which.address))
}

fn call(of: &Upstream, method: Method, path: &str, body: Option<&Value>, done: &str) -> Result<(), String> {
    let outcome: Outcome = Instance::of(&of.file.config)?.call(method, path, body)?;
    if of.json {
        return output::print_done(&output::json(&outcome)?);
    }
    for warning in &outcome.warnings {
        output::note(&format!("warning: {}:{}: {}", warning.file, warning.line, warning.message));
    }
    output::print_done(&format!("{}: {done} (config version {})\n", of.upstream, outcome.version))
}
