//! `ringate credential`

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::Value;

use super::consumer::print;
use super::office::{Common, ask, read_text};
use super::output;
use crate::certs::consumers::axway;
use crate::certs::consumers::credential::CertificateNames;
use crate::certs::consumers::order::{
    CredentialInfo, DefinitionInfo, Filter, Issue, Issued, Reason, Renew, Request,
};
use crate::certs::consumers::{Order, Standing};
use crate::config::units;
use crate::server::{load, write};

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Request a credential for a consumer. With `approval = "automatic"` it is issued at once
    #[command(
        after_help = "Examples: ringate credential request acme api-key --origin https://app.acme.example\n          \
        ringate credential request acme api-key-mtls --csr acme.csr"
    )]
    Request(RequestOptions),
    /// Approve a request
    #[command(after_help = "Example: ringate credential approve acme-api-key")]
    Approve(Named),
    /// Refuse a request
    #[command(after_help = "Example: ringate credential deny acme-api-key --reason \"no contract\"")]
    Deny(WithReason),
    /// Issue what was approved: the key is shown, once, and the certificate
    #[command(after_help = "Example: ringate credential issue acme-api-key-mtls --csr acme.csr")]
    Issue(IssueOptions),
    /// List credentials
    #[command(after_help = "Example: ringate credential list --state requested")]
    List(ListOptions),
    /// Show a credential. Its key is never shown again
    #[command(after_help = "Example: ringate credential show acme-api-key")]
    Show(Named),
    /// Put a credential out of force for a while
    #[command(after_help = "Example: ringate credential suspend acme-api-key --reason \"invoice 7\"")]
    Suspend(WithReason),
    /// Put a suspended credential in force again
    #[command(after_help = "Example: ringate credential resume acme-api-key")]
    Resume(Named),
    /// Give a credential a later end, and perhaps a new key or certificate
    #[command(after_help = "Example: ringate credential renew acme-api-key --new-key --overlap 7d")]
    Renew(RenewOptions),
    /// End a credential for good
    #[command(after_help = "Example: ringate credential revoke acme-api-key --reason \"key was leaked\"")]
    Revoke(WithReason),
    /// Delete the record of a credential that is not in force
    #[command(after_help = "Example: ringate credential delete acme-api-key")]
    Delete(Named),
    /// List the definitions of the config
    #[command(after_help = "Example: ringate credential definitions")]
    Definitions(Common),
    /// Read an Axway CredentialRequestDefinition (JSON or YAML), and print the section for the config file
    #[command(after_help = "Example: ringate credential import-definition api-key-mtls.yaml --write\n\n\
        What of the file has no meaning here is listed on standard error.")]
    ImportDefinition {
        /// The file
        file: PathBuf,
        /// Append the section to the config file
        #[arg(long)]
        write: bool,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Args)]
struct Named {
    /// The credential's name
    name: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct WithReason {
    #[command(flatten)]
    named: Named,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

#[derive(Debug, Args)]
struct RequestOptions {
    /// The consumer
    #[arg(value_name = "CONSUMER", required_unless_present = "of")]
    consumer: Option<String>,
    /// The definition: the NAME of a [credentials.NAME]
    #[arg(value_name = "DEFINITION", required_unless_present = "kind")]
    definition: Option<String>,
    /// The consumer, in the place of the first argument
    #[arg(id = "of", long = "consumer", value_name = "CONSUMER", hide = true)]
    of: Option<String>,
    /// The definition, in the place of the second argument
    #[arg(id = "kind", long = "definition", value_name = "DEFINITION", hide = true)]
    kind: Option<String>,
    /// The credential's name [default: CONSUMER-DEFINITION]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    description: String,
    /// An origin whose pages may use it; may be given several times
    #[arg(long = "origin", value_name = "https://HOST[:PORT]", value_delimiter = ',')]
    origins: Vec<String>,
    #[command(flatten)]
    material: Material,
    /// The issuer of the consumer's own certificates, with --san: "CN=Partner CA,O=Partner"
    #[arg(long, value_name = "NAME", requires = "san", conflicts_with_all = ["csr", "certificate"])]
    issuer: Option<String>,
    /// A name in the consumer's own certificates, with --issuer: DNS:…, URI:…, email:… or IP:…
    #[arg(long, value_name = "NAME", requires = "issuer")]
    san: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// What the consumer gives for its certificate.
#[derive(Debug, Args)]
struct Material {
    /// A request (PKCS#10, PEM) that the definition's CA signs
    #[arg(long, value_name = "FILE", conflicts_with = "certificate")]
    csr: Option<PathBuf>,
    /// The consumer's own certificate (PEM), recognised by its SHA-256
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
}

impl Material {
    fn read(&self) -> Result<Issue, String> {
        let read = |path: &Option<PathBuf>| path.as_deref().map(read_text).transpose();
        Ok(Issue { csr: read(&self.csr)?, certificate: read(&self.certificate)? })
    }
}

#[derive(Debug, Args)]
struct IssueOptions {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    material: Material,
}

#[derive(Debug, Args)]
struct RenewOptions {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    material: Material,
    /// Make a new key
    #[arg(long)]
    new_key: bool,
    /// How long the key and the certificate of before count beside the new ones: 12h, 7d
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    overlap: Duration,
}

#[derive(Debug, Args)]
struct ListOptions {
    /// Those of this consumer
    #[arg(long, value_name = "NAME")]
    consumer: Option<String>,
    /// Those of this definition
    #[arg(long, value_name = "NAME")]
    definition: Option<String>,
    /// Those in this state: requested, approved, denied, active, suspended, expired or revoked
    #[arg(long, value_name = "STATE", value_parser = standing)]
    state: Option<Standing>,
    #[command(flatten)]
    common: Common,
}

fn duration(text: &str) -> Result<Duration, String> {
    units::duration(text).map_err(|wrong| wrong.title)
}

fn standing(text: &str) -> Result<Standing, String> {
    let found = Standing::ALL.into_iter().find(|standing| standing.word() == text);
    found.ok_or_else(|| format!("choose one of {}", Standing::ALL.map(Standing::word).join(", ")))
}

pub(super) fn run(options: Options) -> Result<(), String> {
    match options.command {
        Command::Request(options) => request(options),
        Command::Approve(Named { name, common }) => turned(&common, Order::Approve(name)),
        Command::Deny(WithReason { named: Named { name, common }, reason }) => {
            turned(&common, Order::Deny(name, Reason { reason }))
        }
        Command::Issue(IssueOptions { named: Named { name, common }, material }) => {
            issued(&common, Order::Issue(name, material.read()?))
        }
        Command::List(ListOptions { consumer, definition, state, common }) => {
            let answer = ask(&common.file, Order::List(Filter { consumer, definition, state }))?;
            print(&common, &answer, false, listed)
        }
        Command::Show(Named { name, common }) => {
            let answer = ask(&common.file, Order::Show(name))?;
            print(&common, &answer, false, shown)
        }
        Command::Suspend(WithReason { named: Named { name, common }, reason }) => {
            turned(&common, Order::Suspend(name, Reason { reason }))
        }
        Command::Resume(Named { name, common }) => turned(&common, Order::Resume(name)),
        Command::Renew(RenewOptions { named: Named { name, common }, material, new_key, overlap }) => {
            let Issue { csr, certificate } = material.read()?;
            let renew = Renew { new_key, csr, certificate, overlap_seconds: overlap.as_secs() };
            issued(&common, Order::Renew(name, renew))
        }
        Command::Revoke(WithReason { named: Named { name, common }, reason }) => {
            turned(&common, Order::Revoke(name, Reason { reason }))
        }
        Command::Delete(Named { name, common }) => {
            let answer = ask(&common.file, Order::Delete(name))?;
            print(&common, &answer, true, |deleted: &Value| {
                format!("{} is deleted.\n", text(deleted, "deleted"))
            })
        }
        Command::Definitions(common) => {
            let answer = ask(&common.file, Order::ListDefinitions)?;
            print(&common, &answer, false, definitions)
        }
        Command::ImportDefinition { file, write, common } => import(&file, write, &common),
    }
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

fn request(options: RequestOptions) -> Result<(), String> {
    let Issue { csr, certificate } = options.material.read()?;
    // With the consumer as an option, the only argument is the definition.
    let (consumer, definition) = match (options.of, options.kind, options.consumer, options.definition) {
        (Some(of), Some(kind), None, None) => (of, kind),
        (Some(of), None, Some(definition), None) => (of, definition),
        (None, kind, Some(consumer), definition) => (consumer, definition.or(kind).unwrap_or_default()),
        (of, kind, consumer, definition) => {
            (of.or(consumer).unwrap_or_default(), kind.or(definition).unwrap_or_default())
        }
    };
    let names = options.issuer.zip(options.san).map(|(issuer, san)| CertificateNames { issuer, san });
    let request = Request {
        consumer,
        definition,
        name: options.name,
        description: options.description,
        origins: options.origins,
        csr,
        certificate,
        names,
    };
    issued(&options.common, Order::Request(request))
}

/// Has a state moved, and prints what it is now.
fn turned(common: &Common, order: Order) -> Result<(), String> {
    let answer = ask(&common.file, order)?;
    print(common, &answer, true, |it: &CredentialInfo| {
        let next = match it.state {
            Standing::Approved => format!(" Next: ringate credential issue {}", it.name),
            _ => String::new(),
        };
        format!("{} of {} is {}.{next}\n", it.name, it.consumer, it.state)
    })
}

/// Has something made, and delivers it: the key and the certificate to standard output, all else to standard error.
fn issued(common: &Common, order: Order) -> Result<(), String> {
    let answer = ask(&common.file, order)?;
    let read = serde_json::from_value(answer.clone());
    let made: Issued = read.map_err(|error| format!("error: the answer can't be read: {error}"))?;
    let it = &made.credential;
    for warning in &made.warnings {
        output::note(&format!("warning: {warning}"));
    }
    let text = if common.json {
        output::json(&answer)?
    } else {
        let end = it.expires.map_or_else(String::new, |end| format!(", until {end}"));
        output::note(&format!("{} of {} is {}{end}.", it.name, it.consumer, it.state));
        if it.state == Standing::Requested {
            output::note(&format!("Next: ringate credential approve {}", it.name));
        }
        let mut out = String::new();
        if let Some(key) = &made.key {
            output::note("Its key, shown this once; the store keeps its SHA-256:");
            out.push_str(&format!("{key}\n"));
        }
        out.push_str(made.certificate.as_deref().unwrap_or_default());
        out
    };
    output::deliver(text.as_bytes()).map_err(|error| {
        if made.key.is_none() {
            return error;
        }
        format!(
            "{error}; the key of {name} was not shown, and nothing shows it again: `ringate credential renew {name} --new-key` makes another one",
            name = it.name
        )
    })
}

#[derive(Deserialize)]
struct Credentials {
    credentials: Vec<CredentialInfo>,
}

fn listed(list: &Credentials) -> String {
    let lines = list.credentials.iter().map(|it| {
        let end = it.expires.map_or_else(|| "no end".to_owned(), |end| format!("until {end}"));
        format!("{}  {}  {}  {}  {end}\n", it.name, it.consumer, it.definition, it.state)
    });
    lines.collect()
}

fn shown(it: &CredentialInfo) -> String {
    let mut out = format!("{}\n", it.name);
    let mut line = |key: &str, value: &str| {
        if !value.is_empty() {
            out.push_str(&format!("  {key:<12} {value}\n"));
        }
    };
    line("consumer", &it.consumer);
    line("definition", &it.definition);
    line("description", &it.description);
    line("state", &format!("{} since {}", it.state, it.since));
    line("reason", &it.reason);
    line("requested", &it.created.to_string());
    line("issued", &it.issued.map(|at| at.to_string()).unwrap_or_default());
    let days = it.days_left.map(|days| format!(" ({days} days)")).unwrap_or_default();
    line("expires", &it.expires.map(|at| format!("{at}{days}")).unwrap_or_default());
    line("origins", &it.origins.join(", "));
    line("key", &it.api_key.map(|at| format!("made {at}")).unwrap_or_default());
    for certificate in &it.certificates {
        line("certificate", &format!("{}, until {}", certificate.subject, certificate.not_after));
        line("", &format!("SHA-256 {}", certificate.sha256));
    }
    if let Some(names) = &it.names {
        line("certificate", &format!("{} issued by {}", names.san, names.issuer));
    }
    if !it.defined {
        line("warning", "the config has no such definition any more, so no route accepts it");
    }
    out
}

#[derive(Deserialize)]
struct Definitions {
    definitions: Vec<DefinitionInfo>,
}

fn definitions(list: &Definitions) -> String {
    let lines = list.definitions.iter().map(|it| {
        let kind = match (it.api_key, it.mtls) {
            (true, true) => "key with certificate",
            (true, false) => "key",
            (false, _) => "certificate",
        };
        format!("{}  {kind}  approval {}  {}\n", it.name, it.approval, it.title)
    });
    lines.collect()
}

fn import(file: &Path, write: bool, common: &Common) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("error: {}: {error}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| failed(&error))?;
    let imported = axway::import(&text).map_err(|error| failed(&error))?;
    for ignored in &imported.ignored {
        output::note(&format!("not taken: {ignored}"));
    }
    for note in &imported.notes {
        output::note(&format!("note: {note}"));
    }
    if write {
        append(&imported, common)?;
    }
    if common.json {
        output::print_done(&output::json(&imported)?)
    } else {
        output::print_done(&imported.toml)
    }
}

/// Appends the section to the config file, if the whole is valid then.
fn append(imported: &axway::Imported, common: &Common) -> Result<(), String> {
    let path = &common.file.config;
    let old = load::read(path).map_err(|error| format!("error: {error}"))?;
    let text = &old.first().text;
    let gap = if text.ends_with('\n') || text.is_empty() { "\n" } else { "\n\n" };
    let new = old.with(0, format!("{text}{gap}{}", imported.toml));
    load::parse(&new).map_err(|error| super::explain(&error))?;
    write::replace_all(&old, &new).map_err(|error| match error {
        write::WriteError::Changed => "error: the config file is being changed: try again".to_owned(),
        write::WriteError::Io { path, error } => format!("error: {}: {error}", path.display()),
    })?;
    output::note(&format!(
        "[credentials.{}] is in {}. A running instance takes it after `ringate reload`.",
        imported.name,
        path.display()
    ));
    Ok(())
}
