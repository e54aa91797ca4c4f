//! The command line: parse, match, call, map the error to an exit code. One file a command.

mod api;
mod apikey;
mod cert;
mod check;
mod client;
mod completions;
mod consumer;
mod control;
mod credential;
mod endpoint;
mod import;
mod logging;
mod office;
mod output;
mod probe;
mod promote;
mod quickstart;
mod run;
mod schema;
mod top;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::base::text;
use crate::config::Diagnostics;
use crate::io::standard;
use crate::server::discovery::overrides;
use crate::server::{self, LoadError, Loaded};

/// A high-performance L4/L7 proxy on io_uring, with mutual TLS to its backends.
#[derive(Debug, Parser)]
#[command(
    name = "ringate",
    version,
    after_help = "Try it at once: ringate quickstart\nThe commit and features of this build: ringate --version --verbose"
)]
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
        `runtime.drain` at most. A second signal stops at once. SIGHUP reads the config file again: see `ringate reload`. SIGUSR2 \
        replaces the process: see `ringate upgrade`.")]
    Run(RunOptions),
    /// Check a config file and everything it names, and show what is wrong where
    #[command(
        after_help = "Example: ringate check -c config/ringate.toml\n\nExit code 0: it would start; 1: it would not. An address at which a ringate listens is a warning: that instance may be the one that is to reload this file."
    )]
    Check(check::Options),
    /// The certificate store: generate, import, list, show, export, describe, delete; stage, activate, roll back
    #[command(after_help = "Example: ringate cert generate gateway --common-name gateway.example")]
    Cert(Box<cert::Options>),
    /// Show what a reload would change, keep and drop
    #[command(after_help = "Example: ringate plan -c config/ringate.toml\n\n\
        The running instance compares the file with what it runs; nothing is applied. Where none runs, the file is \
        checked. Exit code 0: it could be applied; 1: it could not.")]
    Plan(control::Options),
    /// Show what a running instance does
    #[command(after_help = "Example: ringate status -c config/ringate.toml --json\n\n\
        The health check of a container is `ringate status --ready`.")]
    Status(control::StatusOptions),
    /// Show live figures of a running instance: rates, latency, upstreams, routes, workers, certificates
    #[command(after_help = "Examples: ringate top -c config/ringate.toml\n          \
        ringate top --json --interval 5 -c config/ringate.toml\n\n\
        Keys: 1-5 or Tab for a view, Left and Right or s for the column to sort by, r for the other direction, / for a filter, \
        space for a pause, ? for help, q to quit.")]
    Top(top::Options),
    /// Let a running instance read its config file again
    #[command(after_help = "Example: ringate reload -c config/ringate.toml\n\n\
        A config that does not hold changes nothing: what is wrong is shown, and the exit code is 1. Where the file has other \
        trust for a backend, or turns its TLS on, that is tried first; --force reloads although a backend is not verified so.")]
    Reload(control::ReloadOptions),
    /// Replace the running binary: a new process takes the sockets over, then the old one drains
    #[command(after_help = "Example: ringate upgrade -c config/ringate.toml\n\n\
        The instance starts its own command anew, from the file that is there now, and hands it the listening sockets. Once \
        the new process serves, the old one finishes its connections, for `runtime.drain` at most. A new process that does not \
        start, or is not ready in time, changes nothing: the reason is shown, and the exit code is 1. SIGUSR2 does the same.")]
    Upgrade(control::UpgradeOptions),
    /// Let a running instance finish what is under way, and end
    #[command(after_help = "Example: ringate drain -c config/ringate.toml")]
    Drain(control::Options),
    /// Register an API with its backend and routes, verified at once; remove one
    #[command(
        after_help = "Example: ringate api add orders --backend https://orders.internal:8443 --path /orders"
    )]
    Api(api::Options),
    /// List the endpoints of an upstream; add, remove, drain, enable or weight one: at once, and in the config file
    #[command(after_help = "Example: ringate endpoint drain orders 10.0.0.1:8443 -c config/ringate.toml")]
    Endpoint(endpoint::Options),
    /// Make a handshake with a backend now, and show what it presented and what it thought of our certificate
    #[command(
        after_help = "Examples: ringate probe https://api.example.com --certificate ./client.pem\n          \
        ringate probe --upstream orders --environment production -c config/ringate.toml\n\n\
        Exit code 0: traffic would flow; 1: it would not."
    )]
    Probe(probe::Options),
    /// Give an environment of an upstream the TLS settings of another one, with the same certificate or another
    #[command(
        after_help = "Example: ringate promote orders --from development --to production --certificate gateway-live"
    )]
    Promote(promote::Options),
    /// Make, list and delete the API keys of routes with `api_keys`
    #[command(name = "apikey", after_help = "Example: ringate apikey generate partners mobile-app")]
    ApiKey(apikey::Options),
    /// The consumers of APIs: add, list, show, delete
    #[command(
        after_help = "Example: ringate consumer add acme --title \"Acme Ltd\" --contact api@acme.example"
    )]
    Consumer(consumer::Options),
    /// The credentials that consumers call APIs with: request, approve, deny, issue, list, show, suspend, resume, renew, revoke
    #[command(
        after_help = "Example: ringate credential request acme api-key-mtls --csr acme.csr && ringate credential approve acme-api-key-mtls && ringate credential issue acme-api-key-mtls"
    )]
    Credential(Box<credential::Options>),
    /// Print the JSON Schema of the config, with which editors complete and check it
    #[command(after_help = "Example: ringate schema > ringate.schema.json\n\n\
        A config beside that file which begins with `#:schema ./ringate.schema.json` is completed and checked by editors \
        that use Taplo, such as VS Code with Even Better TOML.")]
    Schema(schema::Options),
    /// Translate a config of nginx or HAProxy, and list each line that could not be translated, with the reason
    #[command(after_help = "Example: ringate import nginx /etc/nginx/nginx.conf --out ringate.toml\n\n\
        The config goes to standard output without --out, the lists to standard error. Exit code 0: the config serves \
        something; 1: nothing could be translated. Where access control could not be translated, a route refuses with 503.")]
    Import(import::Options),
    /// Print the completions of a shell
    #[command(
        after_help = "Example: ringate completions bash > /usr/share/bash-completion/completions/ringate"
    )]
    Completions(completions::Completions),
    /// Write the man pages into a folder, one for each command
    #[command(after_help = "Example: ringate man ./man && man -l man/ringate.1")]
    Man(completions::Man),
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The config file [default: the first that is there of config/ringate.toml, ringate.toml and
    /// /etc/ringate/ringate.toml]
    #[arg(short, long, value_name = "FILE", default_value_os_t = default_config(), hide_default_value = true)]
    config: PathBuf,
}

/// Of a change to the config that a running instance makes.
#[derive(Debug, Args)]
struct ChangeOptions {
    #[command(flatten)]
    file: ConfigFile,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do it although a backend is not verified
    #[arg(long)]
    force: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

impl ChangeOptions {
    /// The same as a query of the admin API.
    fn query(&self) -> String {
        format!("?dry_run={}&force={}", self.dry_run, self.force)
    }
}

#[derive(Debug, Args)]
struct RunOptions {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    resolve: Resolve,
}

#[derive(Debug, Args)]
struct Resolve {
    /// Use these addresses for a name and port, in the place of any lookup, as curl does; may be given several times
    #[arg(long = "resolve", value_name = "HOST:PORT:ADDRESS[,ADDRESS]")]
    given: Vec<String>,
}

impl Resolve {
    /// From now on the names have the addresses that were given.
    ///
    /// # Errors
    /// One of them has another form.
    fn take(&self) -> Result<(), String> {
        overrides::set(&self.given)
    }
}

/// Where a config file is searched for when none is named, in this order.
const CONFIGS: [&str; 3] = ["config/ringate.toml", "ringate.toml", "/etc/ringate/ringate.toml"];

/// The first of [`CONFIGS`] that is there; where none is, the first.
fn default_config() -> PathBuf {
    CONFIGS.iter().map(Path::new).find(|path| path.exists()).unwrap_or(Path::new(CONFIGS[0])).to_owned()
}

/// The config file that was found because none was named, unless it is the first of [`CONFIGS`], which is expected.
fn found_config(mut matches: &ArgMatches) -> Option<&PathBuf> {
    while let Some((_, inner)) = matches.subcommand() {
        matches = inner;
    }
    let by_default = matches.try_contains_id("config").is_ok()
        && matches.value_source("config") == Some(ValueSource::DefaultValue);
    let path = matches.try_get_one::<PathBuf>("config").ok().flatten().filter(|_| by_default)?;
    (path.as_path() != Path::new(CONFIGS[0])).then_some(path)
}

/// `ringate --version --verbose`: what was built, from what and how.
fn version() -> String {
    format!(
        "ringate {}\ncommit: {}\ntarget: {}\nprofile: {}\ncompiler: {}\nfeatures: {}",
        env!("CARGO_PKG_VERSION"),
        env!("RINGATE_COMMIT"),
        env!("RINGATE_TARGET"),
        env!("RINGATE_PROFILE"),
        env!("RINGATE_COMPILER"),
        FEATURES.join(", ")
    )
}

/// What every build has. There are no optional parts so far.
const FEATURES: [&str; 7] = [
    "io_uring",
    "epoll",
    "HTTP/1.1",
    "TLS 1.2 and 1.3 (rustls, AWS-LC)",
    "gzip, brotli, zstd",
    "PROXY protocol v1 and v2",
    "mimalloc",
];

/// Whether the verbose version is requested, and nothing else.
fn asks_for_version(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> bool {
    let (mut version, mut verbose) = (false, false);
    let known = arguments.all(|argument| match argument.to_str() {
        Some("--version" | "-V") => {
            version = true;
            true
        }
        Some("--verbose" | "-v") => {
            verbose = true;
            true
        }
        Some("-vV" | "-Vv") => {
            (version, verbose) = (true, true);
            true
        }
        _ => false,
    });
    known && version && verbose
}

/// Runs the command line. Exit code 0: done, 1: failed, 2: wrong usage.
pub fn main() -> ExitCode {
    standard::ignore_file_size_signal();
    // Most commands read keys: `check` and `probe`, too.
    if let Err(warning) = server::machine::keep_memory_private() {
        output::note(&format!("warning: {warning}"));
    }
    if asks_for_version(std::env::args_os().skip(1)) {
        return shown(output::print(&format!("{}\n", version())));
    }
    let matches = match Cli::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return show(&error),
    };
    if let Some(path) = found_config(&matches) {
        output::note(&format!("config file: {} (choose another one with -c FILE)", path.display()));
    }
    let command = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli.command,
        Err(error) => return show(&error),
    };
    let result = logging::guard(|| dispatch(command));
    if let Err(message) = &result {
        logging::last(message);
    }
    logging::finish();
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn dispatch(command: Command) -> Result<(), String> {
    match command {
        Command::Quickstart(options) => quickstart::run(&options),
        Command::Run(options) => {
            options.resolve.take()?;
            run::run(&options.file.config)
        }
        Command::Check(options) => check::run(&options),
        Command::Cert(options) => cert::run(*options),
        Command::Plan(options) => control::plan(&options),
        Command::Status(options) => control::status(&options),
        Command::Top(options) => top::run(&options),
        Command::Reload(options) => control::reload(&options),
        Command::Upgrade(options) => control::upgrade(&options),
        Command::Drain(options) => control::drain(&options),
        Command::Api(options) => api::run(&options),
        Command::Endpoint(options) => endpoint::run(&options),
        Command::Probe(options) => probe::run(&options),
        Command::Promote(options) => promote::run(&options),
        Command::ApiKey(options) => apikey::run(&options),
        Command::Consumer(options) => consumer::run(options),
        Command::Credential(options) => credential::run(*options),
        Command::Schema(options) => schema::run(&options),
        Command::Import(options) => import::run(&options),
        Command::Completions(options) => completions::completions(&options, Cli::command()),
        Command::Man(options) => completions::man(&options, Cli::command()),
    }
}

/// Help and version to standard output, what is wrong with the usage to standard error.
fn show(error: &clap::Error) -> ExitCode {
    let text = error.render();
    if error.use_stderr() {
        let text = if output::is_colored() { text.ansi().to_string() } else { text.to_string() };
        output::note(text.trim_end_matches('\n'));
        return ExitCode::from(2);
    }
    let colored = output::is_colored_on(&std::io::stdout());
    shown(output::print(&if colored { text.ansi().to_string() } else { text.to_string() }))
}

fn shown(printed: Result<(), String>) -> ExitCode {
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            output::note(&message);
            ExitCode::FAILURE
        }
    }
}

/// Reads and checks a config file.
///
/// # Errors
/// All that is wrong with it, rendered.
fn load(path: &Path) -> Result<Loaded, String> {
    server::load(path, None).map_err(|error| explain(&error))
}

fn explain(error: &LoadError) -> String {
    match error {
        LoadError::Unreadable { error: cause, .. } if cause.kind() == std::io::ErrorKind::NotFound => {
            format!(
                "{error}\nname your config file with -c FILE (without it: the first that is there of {}), or try \
                 `ringate quickstart`, which needs none",
                CONFIGS.join(", ")
            )
        }
        LoadError::Unreadable { .. } => error.to_string(),
        LoadError::Wrong(problems) => render(problems),
    }
}

/// Text from elsewhere, as in certificates.
fn printable(text: &str) -> String {
    text::printable(text).into_owned()
}

fn render(problems: &Diagnostics) -> String {
    problems.render(output::is_colored())
}
