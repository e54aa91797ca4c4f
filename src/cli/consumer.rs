//! `ringate consumer`

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::Value;

use super::office::{Common, ask};
use super::output;
use crate::certs::consumers::Order;
use crate::certs::consumers::order::{AddConsumer, ConsumerInfo};

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add a consumer
    #[command(
        after_help = "Example: ringate consumer add acme --title \"Acme Ltd\" --contact api@acme.example"
    )]
    Add {
        /// Its name: lower-case letters, digits, `.`, `_` and `-`. Backends and the access log get it
        name: String,
        /// Its name for people
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        title: String,
        /// An address to write to
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        contact: String,
        #[command(flatten)]
        common: Common,
    },
    /// List the consumers
    #[command(after_help = "Example: ringate consumer list --json")]
    List(Common),
    /// Show a consumer with its credentials
    #[command(after_help = "Example: ringate consumer show acme")]
    Show {
        /// Its name
        name: String,
        #[command(flatten)]
        common: Common,
    },
    /// Delete a consumer with its credentials. Refused while one is in force
    #[command(after_help = "Example: ringate consumer delete acme --force")]
    Delete {
        /// Its name
        name: String,
        /// Although credentials are in force
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        common: Common,
    },
}

pub(super) fn run(options: Options) -> Result<(), String> {
    match options.command {
        Command::Add { name, title, contact, common } => {
            let answer = ask(&common.file, Order::AddConsumer(AddConsumer { name, title, contact }))?;
            print(&common, &answer, true, |consumer: &ConsumerInfo| {
                format!(
                    "{} is added. Next: ringate credential request {} DEFINITION\n",
                    consumer.name, consumer.name
                )
            })
        }
        Command::List(common) => {
            #[derive(Deserialize)]
            struct List {
                consumers: Vec<ConsumerInfo>,
            }
            let answer = ask(&common.file, Order::ListConsumers)?;
            print(&common, &answer, false, |list: &List| {
                let lines = list.consumers.iter().map(|it| {
                    format!(
                        "{}  {} credentials  since {}  {}\n",
                        it.name,
                        it.credentials.len(),
                        it.created,
                        it.title
                    )
                });
                lines.collect()
            })
        }
        Command::Show { name, common } => {
            let answer = ask(&common.file, Order::ShowConsumer(name))?;
            print(&common, &answer, false, shown)
        }
        Command::Delete { name, force, common } => {
            let answer = ask(&common.file, Order::DeleteConsumer { name, force })?;
            print(&common, &answer, true, |deleted: &Deleted| {
                format!("{} is deleted, with {} credentials.\n", deleted.deleted, deleted.credentials.len())
            })
        }
    }
}

#[derive(Deserialize)]
struct Deleted {
    deleted: String,
    credentials: Vec<String>,
}

fn shown(consumer: &ConsumerInfo) -> String {
    let ConsumerInfo { name, title, contact, created, credentials, .. } = consumer;
    let mut out = format!("{name}\n  title    {title}\n  contact  {contact}\n  since    {created}\n");
    for it in credentials {
        let expires = it.expires.map_or_else(|| "no end".to_owned(), |end| format!("until {end}"));
        out.push_str(&format!("  credential {}  {}  {}  {expires}\n", it.name, it.definition, it.state));
    }
    out
}

/// Prints an answer as JSON, or in words.
pub(super) fn print<T: serde::de::DeserializeOwned>(
    common: &Common,
    answer: &Value,
    done: bool,
    words: impl FnOnce(&T) -> String,
) -> Result<(), String> {
    let text = if common.json {
        output::json(answer)?
    } else {
        let read = serde_json::from_value(answer.clone());
        words(&read.map_err(|error| format!("error: the answer can't be read: {error}"))?)
    };
    if done { output::print_done(&text) } else { output::print(&text) }
}
