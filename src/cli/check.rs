//! `ringate check`

use clap::Args;
use serde::Serialize;

use super::{ConfigFile, output};

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
        output::note(&super::render(&loaded.problems));
    }
    if options.json {
        return output::print(&output::json(&summary)?);
    }
    output::print(&format!(
        "{}: ok ({} listeners, {} routes, {} upstreams)\n",
        summary.file, summary.listeners, summary.routes, summary.upstreams
    ))
}
