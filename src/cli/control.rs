//! `ringate status`, `plan`, `reload`, `upgrade`, `drain`: requests to a running instance at its admin address.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use super::client::{CallError, Instance};
use super::{ConfigFile, load, output, printable};
use crate::admin::{Outcome, Upgrade};
use crate::base::limits::{MAX_UPGRADE_PATIENCE, UPGRADE_PATIENCE};
use crate::server::changes::Names;
use crate::server::upgrade::Upgraded;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    file: ConfigFile,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct StatusOptions {
    #[command(flatten)]
    file: ConfigFile,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    /// Only whether it serves, as `/readyz` has it: exit code 1 while it drains, while a worker is stuck, and where none runs
    #[arg(long, conflicts_with = "json")]
    ready: bool,
}

#[derive(Debug, Args)]
pub(super) struct UpgradeOptions {
    #[command(flatten)]
    file: ConfigFile,
    /// How long the new process may take until it serves, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = UPGRADE_PATIENCE.as_secs(),
        value_parser = clap::value_parser!(u64).range(1..=MAX_UPGRADE_PATIENCE.as_secs()))]
    timeout: u64,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

const NOTHING: Option<&Value> = None;

pub(super) fn status(options: &StatusOptions) -> Result<(), String> {
    let instance = Instance::of(&options.file.config)?;
    if options.ready {
        let answer = instance.bytes(Method::GET, "/readyz", NOTHING)?;
        return output::print(&String::from_utf8_lossy(&answer));
    }
    let status: Value = instance.call(Method::GET, "/v1/status", NOTHING)?;
    if options.json {
        return output::print(&output::json(&status)?);
    }
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let list = |value: &Value| -> String {
        let texts: Vec<String> = value.as_array().into_iter().flatten().map(text).collect();
        texts.join(", ")
    };
    let mut out = String::new();
    let _ = writeln!(
        out,
        "ringate {} on {}, {} workers, up {} s, config version {}{}",
        text(&status["version"]),
        text(&status["driver"]),
        status["workers"].as_array().map_or(0, Vec::len),
        status["uptime_seconds"],
        status["config"]["version"],
        if status["draining"] == true { ", draining" } else { "" }
    );
    let _ = writeln!(
        out,
        "{} connections open, {} requests",
        status["totals"]["connections_open"], status["totals"]["requests"]
    );
    let refused = &status["config"]["last_refused"];
    if refused.is_object() {
        let reason = text(&refused["reason"]);
        let reason: String = reason.lines().map(|line| format!("    {}\n", printable(line))).collect();
        let at = text(&refused["at"]);
        let _ = write!(out, "the last reload was refused ({at}), what ran before runs on:\n{reason}");
    }
    for listener in status["listeners"].as_array().into_iter().flatten() {
        let tls = if listener["tls"] == true { " over TLS" } else { "" };
        let _ = writeln!(out, "listener {}: {}{tls}", text(&listener["name"]), list(&listener["addresses"]));
        out.push_str(&failures_line(&listener["tls_failures"]));
    }
    for upstream in status["upstreams"].as_array().into_iter().flatten() {
        let tls = match (&upstream["tls"], &upstream["client_certificate"]) {
            (Value::Bool(true), Value::String(certificate)) => format!(", mutual TLS as {certificate}"),
            (Value::Bool(true), _) => ", TLS".to_owned(),
            _ => String::new(),
        };
        let tls = match upstream["backend_tls"]["verified"] {
            Value::Bool(false) => tls + ", NOT VERIFIED (insecure_skip_verify)",
            _ => tls,
        };
        let addresses = upstream["addresses"].as_array().map_or(&[][..], Vec::as_slice);
        let dead = !addresses.is_empty() && addresses.iter().all(|address| address["state"] == "down");
        let dead = if dead { ", ALL ENDPOINTS DOWN" } else { "" };
        let names = list(&upstream["endpoints"]);
        let _ = writeln!(out, "upstream {}: {names}{tls}{dead}", text(&upstream["name"]));
        for source in upstream["discovery"].as_array().into_iter().flatten() {
            out.push_str(&discovery_line(source));
        }
        for address in addresses {
            out.push_str(&health_line(address));
        }
        for endpoint in upstream["verification"]["endpoints"].as_array().into_iter().flatten() {
            out.push_str(&verification_line(endpoint));
        }
        for endpoint in upstream["backend_tls"]["endpoints"].as_array().into_iter().flatten() {
            out.push_str(&endpoint_lines(endpoint));
        }
    }
    for certificate in status["certificates"].as_array().into_iter().flatten() {
        let _ = writeln!(out, "{}", certificate_line(certificate));
    }
    for warning in status["warnings"].as_array().into_iter().flatten() {
        let _ = writeln!(out, "warning: {}", text(warning));
    }
    output::print(&out)
}

/// How many TLS handshakes with a listener's clients failed, and why the last one did.
fn failures_line(failures: &Value) -> String {
    let text = |value: &Value| printable(value.as_str().unwrap_or_default());
    let counts = failures["counts"].as_array().map_or(&[][..], Vec::as_slice);
    let all: u64 = counts.iter().filter_map(|count| count["count"].as_u64()).sum();
    let last = &failures["last"];
    if all == 0 || last.is_null() {
        return String::new();
    }
    let certificate = match last["certificate"]["subject"].as_str() {
        Some(subject) => format!(", certificate {}", printable(subject)),
        None => String::new(),
    };
    let (at, client, why) = (text(&last["at"]), text(&last["client"]), text(&last["text"]));
    format!(
        "  {all} TLS handshakes with clients failed; the last at {at} with {client}{certificate}: {why}\n"
    )
}

/// What is known of a source of endpoints.
fn discovery_line(source: &Value) -> String {
    let text = |value: &Value| printable(value.as_str().unwrap_or_default());
    let (name, endpoints) = (text(&source["source"]), &source["endpoints"]);
    let holds = source["ttl_seconds"].as_u64().map_or(String::new(), |ttl| format!(", TTL {ttl} s"));
    let refreshed = match source["refreshed"].as_str() {
        Some(at) => format!("found at {}{holds}", printable(at)),
        None => "never found".to_owned(),
    };
    match source["problem"]["reason"].as_str() {
        Some(why) => format!("  ✗ {name}: {endpoints} endpoints, {refreshed}; {}\n", printable(why)),
        None => format!("  {name}: {endpoints} endpoints, {refreshed}\n"),
    }
}

/// Whether an endpoint could be used last.
pub(super) fn health_line(endpoint: &Value) -> String {
    let text = |value: &Value| printable(value.as_str().unwrap_or_default());
    let name = crate::server::probe::label(&text(&endpoint["endpoint"]), endpoint["address"].as_str());
    let (since, reason) = (text(&endpoint["since"]), text(&endpoint["reason"]));
    let name = if endpoint["backup"] == true { format!("{name} (backup)") } else { name };
    let name = if endpoint["drain"] == true { format!("{name} (drained)") } else { name };
    let count = |key: &str| endpoint[key].as_u64().unwrap_or(0);
    let used = match (count("requests"), count("in_flight")) {
        (0, 0) => String::new(),
        (requests, in_flight) => format!(", {requests} requests, {in_flight} in flight"),
    };
    match endpoint["state"].as_str() {
        Some("up") => format!("  {name}: up since {since}{used}\n"),
        Some("ejected") => format!("  ✗ {name}: ejected since {since} {reason}\n"),
        Some("down") if since.is_empty() => format!("  ✗ {name}: down: {reason}\n"),
        Some("down") => format!("  ✗ {name}: down since {since}{used}: {reason}\n"),
        _ => format!("  {name}: not used yet\n"),
    }
}

/// Whether a backend is verified, and until when its certificate is valid, where that was found out without traffic.
fn verification_line(endpoint: &Value) -> String {
    let text = |value: &Value| printable(value.as_str().unwrap_or_default());
    let name = crate::server::probe::label(&text(&endpoint["endpoint"]), endpoint["address"].as_str());
    let until = match endpoint["valid_until"].as_str() {
        Some(end) => {
            format!("{}, valid until {end} ({} days left)", text(&endpoint["subject"]), endpoint["days_left"])
        }
        None => String::new(),
    };
    match (&endpoint["by"], &endpoint["verified"]) {
        // The last handshake of traffic has a line of its own.
        (Value::String(by), _) if by == "traffic" => String::new(),
        (_, Value::Bool(true)) => format!("  ✓ {name}: verified, {until}\n"),
        (_, Value::Bool(false)) => format!("  ✗ {name}: not verified: {}\n", text(&endpoint["reason"])),
        _ => String::new(),
    }
}

/// What is known of an endpoint's TLS: its last handshake, and its last failure if that came later.
fn endpoint_lines(endpoint: &Value) -> String {
    let text = |value: &Value| printable(value.as_str().unwrap_or_default());
    let (shaken, failure) = (&endpoint["handshake"], &endpoint["failure"]);
    let address = endpoint["address"].as_str();
    let name = crate::server::probe::label(&text(&endpoint["endpoint"]), address);
    let mut lines = String::new();
    if shaken.is_object() {
        let kind = if shaken["resumed"] == true { "resumed" } else { "full" };
        let facts = [&shaken["version"], &shaken["cipher"], &shaken["key_exchange"]].map(text);
        let facts: Vec<String> = facts.into_iter().filter(|fact| !fact.is_empty()).collect();
        let ours = match &*text(&shaken["client_certificate"]) {
            "presented" => format!("presented {}", text(&shaken["presented"])),
            "asked_in_vain" => "requested a client certificate, and got none".to_owned(),
            _ => "requested no client certificate".to_owned(),
        };
        let leaf = &shaken["chain"][0];
        let _ = writeln!(lines, "  ✓ {name}: {}, {kind}, {ours}", facts.join(", "));
        let end = text(&leaf["not_after"]);
        if !end.is_empty() {
            let (subject, days) = (text(&leaf["subject"]), &leaf["days_left"]);
            let _ = writeln!(lines, "      {subject}, valid until {end} ({days} days left)");
        }
    }
    // Both are RFC 3339 in UTC, of one length.
    if failure.is_object() && text(&failure["at"]) >= text(&shaken["at"]) {
        let (why, remedy) = (text(&failure["text"]), text(&failure["mend"]));
        let _ = writeln!(
            lines,
            "  ✗ {name}: {} at {}: {why}; {remedy}",
            text(&failure["reason"]),
            text(&failure["at"])
        );
    }
    lines
}

/// One in use; of one that was rotated, whether the old generation may be revoked.
fn certificate_line(certificate: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut line = format!(
        "certificate {}: generation {}, valid until {} ({} days left)",
        text(&certificate["name"]),
        certificate["generation"],
        text(&certificate["not_after"]),
        certificate["days_left"]
    );
    let safe = &certificate["rotation"]["safe_to_revoke"];
    if safe["safe"] == true {
        line.push_str(&format!("; generation {} is safe to revoke", safe["generation"]));
    } else if let Some(reasons) = safe["reasons"].as_array() {
        let reasons: Vec<String> = reasons.iter().map(text).collect();
        line.push_str(&format!(
            "; generation {} is still needed: {}",
            safe["generation"],
            reasons.join("; ")
        ));
    }
    line
}

pub(super) fn plan(options: &Options) -> Result<(), String> {
    let path = &options.file.config;
    // Reported for the file as the user named it, and also where nothing runs.
    load(path)?;
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let candidate = crate::admin::Candidate { config: Some(text) };
    match Instance::of(path)?.call::<Outcome>(Method::POST, "/v1/plan", Some(&candidate)) {
        Ok(outcome) if options.json => {
            let mut value = serde_json::to_value(&outcome).map_err(|error| error.to_string())?;
            value["running"] = json!(true);
            output::print(&output::json(&value)?)
        }
        Ok(outcome) => output::print(&changes(&outcome, "a reload would change")),
        Err(CallError::NotRunning(_)) if options.json => {
            super::check::startable(path)?;
            output::print(&output::json(&json!({ "running": false }))?)
        }
        Err(CallError::NotRunning(why)) => {
            super::check::startable(path)?;
            output::print(&format!("{why}; the config holds, and `ringate run` would start all of it\n"))
        }
        Err(error) => Err(error.into()),
    }
}

#[derive(Debug, Args)]
pub(super) struct ReloadOptions {
    #[command(flatten)]
    common: Options,
    /// Do it although a backend is not verified by the trust that the file has now
    #[arg(long)]
    force: bool,
}

pub(super) fn reload(ReloadOptions { common: options, force }: &ReloadOptions) -> Result<(), String> {
    let instance = Instance::of(&options.file.config)?;
    let path = if *force { "/v1/reload?force=true" } else { "/v1/reload" };
    let outcome: Outcome = instance.call(Method::POST, path, NOTHING)?;
    if options.json {
        return output::print_done(&output::json(&outcome)?);
    }
    output::print_done(&changes(&outcome, "reloaded: changed"))
}

pub(super) fn upgrade(options: &UpgradeOptions) -> Result<(), String> {
    let instance = Instance::of(&options.file.config)?;
    if std::io::stderr().is_terminal() {
        output::note("the new process starts; this takes as long as the config's names and files do");
    }
    let asked = Upgrade { timeout_seconds: Some(options.timeout) };
    let patience = Duration::from_secs(options.timeout) + MARGIN;
    let upgraded: Upgraded = instance.waiting(patience).call(Method::POST, "/v1/upgrade", Some(&asked))?;
    if options.json {
        return output::print_done(&output::json(&upgraded)?);
    }
    output::print_done(&format!(
        "upgraded: process {} serves since {:.1} s after its start; process {} finishes {} connections and ends\n",
        upgraded.pid,
        upgraded.took_ms as f64 / 1000.0,
        upgraded.previous_pid,
        upgraded.connections_open
    ))
}

/// How much longer than the new process may take an answer is waited for.
const MARGIN: Duration = Duration::from_secs(10);

pub(super) fn drain(options: &Options) -> Result<(), String> {
    let answer: Value = Instance::of(&options.file.config)?.call(Method::POST, "/v1/drain", NOTHING)?;
    if options.json {
        return output::print_done(&output::json(&answer)?);
    }
    output::print_done(&format!("draining: {} connections open\n", answer["connections_open"]))
}

/// What a reload does, in words. Its warnings go to standard error.
fn changes(outcome: &Outcome, what: &str) -> String {
    for warning in &outcome.warnings {
        output::note(&format!("warning: {}:{}: {}", warning.file, warning.line, warning.message));
    }
    let (changes, version) = (&outcome.changes, outcome.version);
    if changes.is_empty() {
        return format!("{what} nothing (config version {version})\n");
    }
    let mut out = format!("{what} (config version {version}):\n");
    let kinds = [
        ("listener", &changes.listeners),
        ("route", &changes.routes),
        ("upstream", &changes.upstreams),
        ("certificate", &changes.certificates),
    ];
    for (kind, names) in kinds {
        list_names(&mut out, kind, names, &changes.details);
    }
    let kept: Vec<String> = kinds.iter().filter_map(|(kind, names)| count(kind, names.kept.len())).collect();
    if !kept.is_empty() {
        let _ = writeln!(out, "  keep    {}", kept.join(", "));
    }
    for key in &changes.settings {
        let _ = writeln!(out, "  change  {key}");
    }
    for key in &changes.needs_restart {
        let _ = writeln!(out, "  change  {key}: not before a restart");
    }
    out
}

/// Names of one kind that are shown for a verb; `--json` has all.
const SHOWN: usize = 20;

fn list_names(out: &mut String, kind: &str, names: &Names, details: &BTreeMap<String, Vec<String>>) {
    for (verb, list) in [("add", &names.added), ("change", &names.changed), ("drop", &names.removed)] {
        for name in list.iter().take(SHOWN) {
            let what = details.get(&format!("{kind} {name}")).filter(|_| verb == "change");
            let what = what.map(|what| format!(": {}", what.join("; "))).unwrap_or_default();
            let _ = writeln!(out, "  {verb:<7} {kind} {name}{what}");
        }
        if let Some(more) = list.len().checked_sub(SHOWN).and_then(|more| count(kind, more)) {
            let _ = writeln!(out, "  {verb:<7} {more} more (--json names them)");
        }
    }
}

/// `1 route`, `3 routes`; `None` of nothing.
fn count(kind: &str, number: usize) -> Option<String> {
    let plural = if number == 1 { "" } else { "s" };
    (number > 0).then(|| format!("{number} {kind}{plural}"))
}
