//! `ringate cert associate`: which upstreams a certificate is presented to.

use clap::Args;

use super::{Named, remote};
use crate::admin::{Associate, Associated};
use crate::certs::store::check_name;
use crate::cli::client::Instance;
use crate::cli::{output, printable};
use crate::server::probe::Verdict;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    named: Named,
    /// The upstream; may be given several times
    #[arg(long, value_name = "NAME", required = true)]
    upstream: Vec<String>,
    /// The environment whose traffic is meant; left out: all that have no choice of their own
    #[arg(long, value_name = "ENVIRONMENT")]
    environment: Option<String>,
    /// Do not present it there any more
    #[arg(long)]
    remove: bool,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(options: Options) -> Result<(), String> {
    let Options { named: Named { name, common }, upstream, environment, remove, dry_run } = options;
    let instance = Instance::of(&common.file.config)?;
    let body = Associate { upstreams: upstream.clone(), environment: environment.clone() };
    let done = remote::associate(&name, &body, remove, dry_run, &instance)?;
    if common.json {
        return output::print_done(&output::json(&done)?);
    }
    let what = match (remove, dry_run) {
        (false, false) => "is presented to",
        (false, true) => "would be presented to",
        (true, false) => "is not presented any more to",
        (true, true) => "would not be presented any more to",
    };
    let (all, version) = (upstream.join(", "), done.outcome.version);
    let within = environment.as_ref().map(|it| format!(" in {it}")).unwrap_or_default();
    let head = format!("{name} {what} {all}{within} (config version {version})\n");
    output::print_done(&(head + &associated(&done, environment.as_deref())))
}

/// What each endpoint thinks of the certificate, and how the change is undone.
pub(in crate::cli) fn associated(done: &Associated, environment: Option<&str>) -> String {
    let mut out = String::new();
    for report in &done.endpoints {
        let (label, mark) = (printable(&report.label()), if report.ok { "✓" } else { "✗" });
        let said = match (&report.problem, &report.client_certificate) {
            (Some(problem), _) => printable(problem),
            (None, Verdict::Accepted) => "accepts it".to_owned(),
            (None, Verdict::NotAsked) => "requests no certificate".to_owned(),
            (None, _) => "is reached".to_owned(),
        };
        out.push_str(&format!("  {mark} {} {label}: {said}\n", report.upstream));
    }
    let within = environment.map(|it| format!(" --environment {it}")).unwrap_or_default();
    for (upstream, before) in &done.before {
        if let Some(before) = before.as_str().filter(|before| check_name(before).is_ok()) {
            out.push_str(&format!("  undo: ringate cert associate {before} --upstream {upstream}{within}\n"));
        }
    }
    out
}
