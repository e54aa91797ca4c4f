//! The command line: parse, match, call, map the error to an exit code. One file a command.

mod check;
mod logging;
mod probe;
mod quickstart;
mod run;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Diagnostics, Plan};
use crate::server::{Assembly, assemble};

/// A high-performance L4/L7 proxy on io_uring, with mutual TLS to its backends.
#[derive(Debug, Parser)]
#[command(name = "ringate", version, after_help = "Try it at once: ringate quickstart")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything embedded: certificates, a backend that demands mutual TLS, and the proxy before it
    #[command(after_help = "Example: ringate quickstart --port 8080")]
    Quickstart(quickstart::Options),
    /// Run the proxy in the foreground
    #[command(after_help = "Example: ringate run -c config/ringate.toml\n\n\
        SIGTERM and SIGINT drain: idle connections close at once, requests under way are finished, for \
        `runtime.drain` at most. A second signal stops at once.")]
    Run(ConfigFile),
    /// Check a config file and everything it names, and say what is wrong where
    #[command(
        after_help = "Example: ringate check -c config/ringate.toml\n\nExit code 0: it would start; 1: it would not."
    )]
    Check(check::Options),
    /// Make a handshake with a backend now, and show what it presented and what it thought of our certificate
    #[command(
        after_help = "Examples: ringate probe https://api.example.com --certificate ./client.pem\n          \
        ringate probe --upstream orders -c config/ringate.toml\n\n\
        Exit code 0: traffic would flow; 1: it would not."
    )]
    Probe(probe::Options),
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The config file
    #[arg(short, long, value_name = "FILE", default_value = "config/ringate.toml")]
    config: PathBuf,
}

/// Runs the command line. Exit code 0: done, 1: what was asked for failed, 2: wrong usage.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Quickstart(options) => quickstart::run(&options),
        Command::Run(file) => run::run(&file.config),
        Command::Check(options) => check::run(&options),
        Command::Probe(options) => probe::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// A config file, checked with everything it names.
#[derive(Debug)]
struct Loaded {
    plan: Plan,
    assembly: Assembly,
    /// Errors found from here on are said of the same file. Holds warnings.
    problems: Diagnostics,
}

/// Reads and checks a config file.
///
/// # Errors
/// All that is wrong with it, rendered.
fn load(path: &Path) -> Result<Loaded, String> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        format!("{name}: {error}\nname your config file with -c FILE, or try `ringate quickstart`, which needs none")
    })?;
    // Relative paths in the file are relative to its folder, wherever the command is called from.
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let plan = config::parse(&name, &text, folder).map_err(|problems| render(&problems))?;
    let mut problems = config::warnings(&name, &text, &plan);
    match assemble(&plan, &mut problems) {
        Some(assembly) => Ok(Loaded { plan, assembly, problems }),
        None => Err(render(&problems)),
    }
}

fn render(problems: &Diagnostics) -> String {
    problems.render(std::io::stderr().is_terminal())
}
