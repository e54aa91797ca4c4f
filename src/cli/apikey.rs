//! `ringate apikey`

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::{Args, Subcommand};

use super::output;
use crate::certs::Timestamp;
use crate::certs::store::{KEYS_FOLDER, change_keys, load_keys};
use crate::server::load;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Command,
    /// The config file, which names the store
    #[arg(short, long, value_name = "FILE", default_value_os_t = super::default_config(), hide_default_value = true, global = true)]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key and show it, once
    #[command(after_help = "Example: ringate apikey generate partners mobile-app -c config/ringate.toml\n\n\
        Routes with `api_keys = \"partners\"` take it after a reload.")]
    Generate {
        /// The file of keys, as `route.api_keys` names it
        file: String,
        /// The owner of the key: backends and the access log get this name
        name: String,
    },
    /// The names of the keys in a file
    #[command(after_help = "Example: ringate apikey list partners")]
    List {
        /// The file of keys
        file: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a key out
    #[command(after_help = "Example: ringate apikey delete partners mobile-app")]
    Delete {
        /// The file of keys
        file: String,
        /// Whose key
        name: String,
    },
}

pub(super) fn run(options: &Options) -> Result<(), String> {
    match &options.command {
        Command::Generate { file, name } => {
            let path = resolve(&options.config, file)?;
            let now = Timestamp::from(SystemTime::now());
            let key =
                change_keys(&path, |keys| keys.generate(name, now)).map_err(|error| error.to_string())?;
            if let Err(error) = output::deliver(format!("{key}\n").as_bytes()) {
                // A key that was never shown is of no use, and nothing shows it again.
                change_keys(&path, |keys| keys.delete(name)).map_err(|undeleted| {
                    format!("{error}; the key that was made stays unknown, delete it: {undeleted}")
                })?;
                return Err(format!("{error}; the key of {name} was not kept: generate it again"));
            }
            output::note(&format!(
                "The key of {name}, shown this once; {} keeps its SHA-256. A running instance takes it after a reload.",
                path.display()
            ));
        }
        Command::List { file, json } => {
            let keys = load_keys(&resolve(&options.config, file)?).map_err(|error| error.to_string())?;
            if *json {
                let list: Vec<_> = keys
                    .list()
                    .map(
                        |(name, created)| serde_json::json!({ "name": name, "created": created.to_string() }),
                    )
                    .collect();
                return output::print(&format!("{}\n", serde_json::Value::from(list)));
            }
            let lines = keys.list().map(|(name, created)| format!("{name}  since {created}\n"));
            output::print(&lines.collect::<String>())?;
        }
        Command::Delete { file, name } => {
            let path = resolve(&options.config, file)?;
            change_keys(&path, |keys| keys.delete(name)).map_err(|error| error.to_string())?;
            output::note(&format!(
                "{name} is out of {}. A running instance takes its key until a reload.",
                path.display()
            ));
        }
    }
    Ok(())
}

/// Where a file of keys is: in the store, or at a path relative to the config file.
fn resolve(config: &Path, file: &str) -> Result<PathBuf, String> {
    let sources =
        load::read(config).map_err(|error| format!("{error}\nname your config file with -c FILE"))?;
    if file.contains('/') {
        return Ok(load::folder(config).join(file));
    }
    let plan = load::parse(&sources).map_err(|error| super::explain(&error))?;
    Ok(plan.store.join(KEYS_FOLDER).join(format!("{file}.toml")))
}
