//! `ringate schema`: the table of config keys, as a JSON Schema, as a config and as a page of the docs.

use clap::Args;

use super::output;
use crate::config;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Print config/reference.toml instead
    #[arg(long, hide = true)]
    reference: bool,
    /// Print docs/configuration.md instead
    #[arg(long, hide = true, conflicts_with = "reference")]
    markdown: bool,
}

pub(super) fn run(options: &Options) -> Result<(), String> {
    let text = if options.reference {
        config::reference()
    } else if options.markdown {
        config::configuration_page()
    } else {
        output::json(&config::schema())?
    };
    output::print(&text)
}
