//! `ringate check`

use std::io::IsTerminal;

use clap::Args;
use serde::Serialize;

use super::ConfigFile;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    file: ConfigFile,
    /// Print what was found as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Summary {
    file: String,
    ok: bool,
    listeners: usize,
    routes: usize,
    upstreams: usize,
    warnings: usize,
}

pub(super) fn run(options: &Options) -> Result<(), String> {
    let loaded = super::load(&options.file.config)?;
    let summary = Summary {
        file: options.file.config.display().to_string(),
        ok: true,
        listeners: loaded.plan.listeners.len(),
        routes: loaded.plan.routes.len(),
        upstreams: loaded.plan.upstreams.iter().filter(|upstream| upstream.environment.is_none()).count(),
        warnings: loaded.problems.len(),
    };
    if !loaded.problems.is_empty() {
        eprintln!("{}", loaded.problems.render(std::io::stderr().is_terminal()));
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&summary).map_err(|error| error.to_string())?);
    } else {
        println!(
            "{}: ok ({} listeners, {} routes, {} upstreams)",
            summary.file, summary.listeners, summary.routes, summary.upstreams
        );
    }
    Ok(())
}
