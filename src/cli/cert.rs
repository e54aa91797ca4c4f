//! `ringate cert`: the certificate store's commands.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::{Args, Subcommand};

use super::client::Instance;
use super::{ConfigFile, output};
use crate::certs::command::{
    Activate, Blob, Context, Delete, Describe, Export, Generate, Import, List, Made, Part, Retire, Rollback,
    Show, Stage, StageSource, default_names,
};
use crate::certs::store::{StoreError, load_passphrase, read_secret};
use crate::certs::{Bundle, BundleError, GenerateRequest, KeyType, LockError, Passphrase, San, Store, Usage};
use crate::config::Plan;
use crate::server::audit::{self, Entry};
use crate::server::{load, uses};

mod associate;
mod p12;
mod print;
mod remote;
mod sign;

pub(super) use associate::associated;
use remote::Ask;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    file: ConfigFile,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key and a self-signed certificate, or a request (CSR) for a CA
    #[command(
        after_help = "Example: ringate cert generate gateway --common-name gateway.example --san DNS:gateway.example\n         \
        ringate cert generate our-ca --ca && ringate cert generate gateway --issuer our-ca\n\n\
        With --csr the request is printed, and its key waits in the store: `ringate cert import gateway --cert FILE` \
        brings the certificate that the CA made of it."
    )]
    Generate(GenerateOptions),
    /// Sign a request (CSR) with a CA of the store. The certificate is printed, and not kept
    #[command(
        after_help = "Example: ringate cert sign --ca consumers-ca --csr partner.csr --days 90 --out partner.pem"
    )]
    Sign(sign::Options),
    /// Bring a certificate with its key, or the certificate that a request waits for
    #[command(
        after_help = "Example: ringate cert import gateway --cert gateway.p12 --passphrase-file secret.txt\n\n\
        Read are PEM, DER, PKCS#12 and PKCS#7 (.p7b) whatever the file is called, and keys in PKCS#1, SEC1 and PKCS#8."
    )]
    Import(ImportOptions),
    /// Put a certificate and its key into a PKCS#12 file, for browsers and operating systems. No store is needed
    #[command(
        after_help = "Example: ringate cert p12 --key client.key --cert client.crt --out client.p12\n\n\
        The passphrase is read from --passphrase-file, or asked for on the terminal. Key and passphrase stay on this machine."
    )]
    P12(p12::Options),
    /// List the store's certificates
    #[command(after_help = "Example: ringate cert list --json")]
    List(Common),
    /// Show all that is known of a certificate, and what uses it
    #[command(after_help = "Example: ringate cert show gateway")]
    Show(Named),
    /// Give the public chain: PEM, or DER of the first certificate. Never the key
    #[command(after_help = "Example: ringate cert export gateway --out gateway.pem")]
    Export(ExportOptions),
    /// Set a certificate's description
    #[command(
        after_help = "Example: ringate cert describe gateway \"client identity for orders, requested by Ann\""
    )]
    Describe(DescribeOptions),
    /// Delete a certificate with its keys. Refused while the config uses it
    #[command(after_help = "Example: ringate cert delete gateway")]
    Delete(Named),
    /// Add the next generation of a certificate, not used yet
    #[command(after_help = "Example: ringate cert stage gateway --generate\n\n\
        With --generate alone the successor has the content of the active generation, with a new key, for as long.")]
    Stage(StageOptions),
    /// Try the staged generation at every endpoint that it would be presented to
    #[command(after_help = "Example: ringate cert trial gateway")]
    Trial(Named),
    /// Put the staged generation to use
    #[command(after_help = "Example: ringate cert activate gateway\n\n\
        What is presented to backends needs a trial that it passed, or --force.")]
    Activate(ActivateOptions),
    /// Present a certificate to upstreams, of all environments or of one
    #[command(
        after_help = "Examples: ringate cert associate gateway --upstream orders --upstream payments\n          \
        ringate cert associate gateway-live --upstream orders --environment production\n\n\
        It is in force at once and written to the config file; what each backend thinks of it is shown."
    )]
    Associate(associate::Options),
    /// Put the previous generation to use again
    #[command(after_help = "Example: ringate cert rollback gateway")]
    Rollback(Named),
    /// End the previous generation: delete its key, end its connections
    #[command(after_help = "Example: ringate cert retire gateway\n\n\
        A running instance refuses while it is still needed, or with --force retires it anyway.")]
    Retire(RetireOptions),
}

#[derive(Debug, Args)]
struct Named {
    /// The certificate's name in the store
    name: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct GenerateOptions {
    /// The certificate's name in the store; left out: made of the common name, or `gateway`
    name: Option<String>,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    subject: SubjectOptions,
    /// What the certificate is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Make a request for a CA to sign, instead of a certificate
    #[arg(long)]
    csr: bool,
    /// The CA in the store that signs it (made with --ca, or imported with its key); left out, it signs itself
    #[arg(long, value_name = "NAME", conflicts_with = "csr")]
    issuer: Option<String>,
    /// With --csr: give up a request that waits already, with its key
    #[arg(long, requires = "csr")]
    force: bool,
}

/// The content of a new certificate.
#[derive(Debug, Args)]
struct SubjectOptions {
    /// The subject's common name (CN); `generate` takes the certificate's name where it is left out
    #[arg(long, value_name = "CN", value_parser = some_text)]
    common_name: Option<String>,
    /// Its organization (O); may be given twice
    #[arg(long, value_name = "O", value_parser = some_text)]
    organization: Vec<String>,
    /// Its organizational unit (OU)
    #[arg(long, value_name = "OU", value_parser = some_text)]
    organizational_unit: Option<String>,
    /// Its country (C), two letters
    #[arg(long, value_name = "C", value_parser = some_text)]
    country: Option<String>,
    /// Its state or province (ST)
    #[arg(long, value_name = "ST", value_parser = some_text)]
    state: Option<String>,
    /// Its locality (L)
    #[arg(long, value_name = "L", value_parser = some_text)]
    locality: Option<String>,
    /// Its serial number (serialNumber), such as a device's
    #[arg(long, value_name = "TEXT", value_parser = some_text)]
    serial_number: Option<String>,
    /// Alternative names: DNS:a.example,IP:192.0.2.1,URI:spiffe://…,email:…; may be given again
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    san: Vec<San>,
    /// Days of validity, from now on [default: 365]
    #[arg(long, value_name = "DAYS")]
    days: Option<u32>,
    /// ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072, rsa-4096 or ed25519 [default: ecdsa-p256]
    #[arg(long, value_name = "TYPE")]
    key_type: Option<KeyType>,
    /// What it may be presented as [default: both]
    #[arg(long, value_name = "USAGE", value_enum)]
    usage: Option<UsageOption>,
    /// A CA's certificate, which may sign others (`generate --issuer`) and nothing else
    #[arg(long)]
    ca: bool,
}

/// A part of the subject. Left out it has its default or is not in the certificate; an empty one would be neither.
fn some_text(text: &str) -> Result<String, &'static str> {
    let is_empty = text.trim().is_empty();
    if is_empty { Err("it is empty; give a text, or leave the option out") } else { Ok(text.to_owned()) }
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum UsageOption {
    Both,
    Server,
    Client,
}

impl SubjectOptions {
    /// An option that is not as it is when left out.
    fn given(&self) -> Option<&'static str> {
        let given = [
            ("common-name", self.common_name.is_some()),
            ("organization", !self.organization.is_empty()),
            ("organizational-unit", self.organizational_unit.is_some()),
            ("country", self.country.is_some()),
            ("state", self.state.is_some()),
            ("locality", self.locality.is_some()),
            ("serial-number", self.serial_number.is_some()),
            ("san", !self.san.is_empty()),
            ("days", self.days.is_some()),
            ("key-type", self.key_type.is_some()),
            ("usage", self.usage.is_some()),
            ("ca", self.ca),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
    }

    fn request(self, common_name: String) -> GenerateRequest {
        let usage = self.usage.unwrap_or(UsageOption::Both);
        let both = matches!(usage, UsageOption::Both);
        GenerateRequest {
            common_name,
            organization: self.organization,
            organizational_unit: self.organizational_unit,
            country: self.country,
            state: self.state,
            locality: self.locality,
            serial_number: self.serial_number,
            sans: self.san,
            days: self.days.unwrap_or(GenerateRequest::default().days),
            key_type: self.key_type.unwrap_or_default(),
            usage: Usage {
                server: both || matches!(usage, UsageOption::Server),
                client: both || matches!(usage, UsageOption::Client),
            },
            is_ca: self.ca,
        }
    }
}

/// What is brought.
#[derive(Debug, Args)]
struct FilesOptions {
    /// The chain, perhaps with the key: PEM, DER or PKCS#12
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// The key, if it has a file of its own: PEM or DER
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// The file with the passphrase of a locked key or container; left out, it is read from the terminal
    #[arg(long, value_name = "FILE", requires = "cert")]
    passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ImportOptions {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    files: FilesOptions,
    /// What the certificate is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

#[derive(Debug, Args)]
struct ExportOptions {
    #[command(flatten)]
    named: Named,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// DER instead of PEM: the first certificate alone
    #[arg(long)]
    der: bool,
    /// The generation that is staged, or previous, or the request that waits
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = PartOption::Active)]
    part: PartOption,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum PartOption {
    Active,
    Staged,
    Previous,
    Request,
}

#[derive(Debug, Args)]
struct DescribeOptions {
    #[command(flatten)]
    named: Named,
    /// What it is for
    description: String,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("source").required(true).args(["generate", "cert"]))]
struct StageOptions {
    #[command(flatten)]
    named: Named,
    /// Make a new key and a self-signed certificate
    #[arg(long)]
    generate: bool,
    #[command(flatten)]
    files: FilesOptions,
    #[command(flatten)]
    subject: SubjectOptions,
}

#[derive(Debug, Args)]
struct ActivateOptions {
    #[command(flatten)]
    named: Named,
    /// The generation that is meant; left out: whichever is staged
    #[arg(long, value_name = "NUMBER")]
    generation: Option<u32>,
    /// Without a trial that it passed
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct RetireOptions {
    #[command(flatten)]
    named: Named,
    /// Although it is still needed
    #[arg(long)]
    force: bool,
}

pub(super) fn run(options: Options) -> Result<(), String> {
    match options.command {
        Command::Generate(options) => generate(options),
        Command::Sign(options) => sign::run(options),
        Command::P12(options) => p12::run(options),
        Command::Import(options) => {
            let Named { name, common } = options.named;
            let (certificate, key, passphrase) = options.files.read()?;
            let request = Import { name, description: options.description, certificate, key, passphrase };
            answer(&common, request, print::made)
        }
        Command::List(common) => output::print(&asked(&common, List {}, print::listed)?),
        Command::Show(Named { name, common }) => output::print(&asked(&common, Show { name }, print::shown)?),
        Command::Export(options) => export(options),
        Command::Describe(options) => {
            let Named { name, common } = options.named;
            answer(&common, Describe { name, description: options.description }, print::shown)
        }
        Command::Delete(Named { name, common }) => answer(&common, Delete { name }, print::deleted),
        Command::Stage(options) => {
            let Named { name, common } = options.named;
            let source = if options.generate {
                // Without a name, the successor has the content of the active generation.
                let subject = options.subject;
                if subject.common_name.is_none()
                    && let Some(given) = subject.given()
                {
                    wrong_usage(
                        "stage",
                        &format!(
                            "--{given} needs --common-name CN: without it the successor has the content of the active generation"
                        ),
                    );
                }
                let generate = subject.common_name.clone().map(|common_name| subject.request(common_name));
                StageSource::Generate { generate }
            } else {
                if let Some(given) = options.subject.given() {
                    wrong_usage("stage", &format!("--{given} is for --generate: a file has its own names"));
                }
                let (certificate, key, passphrase) = options.files.read()?;
                StageSource::Import { certificate, key, passphrase }
            };
            answer(&common, Stage { name, source }, print::made)
        }
        Command::Trial(Named { name, common }) => trial(&name, &common),
        Command::Activate(options) => {
            let Named { name, common } = options.named;
            let request = Activate { name, generation: options.generation, force: options.force };
            answer(&common, request, print::activated)
        }
        Command::Associate(options) => associate::run(options),
        Command::Rollback(Named { name, common }) => answer(&common, Rollback { name }, print::rolled_back),
        Command::Retire(RetireOptions { named: Named { name, common }, force }) => {
            answer(&common, Retire { name, force }, print::retired)
        }
    }
}

fn generate(options: GenerateOptions) -> Result<(), String> {
    let GenerateOptions { name, common, mut subject, description, csr, issuer, force } = options;
    let (name, common_name) = default_names(name, subject.common_name.take());
    let request = Generate { name, description, subject: subject.request(common_name), csr, force, issuer };
    if !csr {
        return answer(&common, request, print::made);
    }
    let made = ask(&common.file, request)?;
    request_made(&made, common.json)
}

/// Exit code 0: every endpoint accepts the certificate, or there is none to try; 1: an endpoint does not accept it.
fn trial(name: &str, common: &Common) -> Result<(), String> {
    let Some(instance) = Instance::running(&common.file.config)? else {
        return Err(format!(
            "error: a trial of {name:?} is made by a running instance, and none answers; start `ringate run`, and \
             try again"
        ));
    };
    let trial = remote::trial(name, &instance)?;
    if common.json {
        output::print(&output::json(&trial)?)?;
    } else {
        output::print(&print::trial(&trial))?;
    }
    if trial.passed || trial.endpoints.is_empty() {
        Ok(())
    } else {
        Err("error: the trial did not pass".to_owned())
    }
}

/// The request itself is written to standard output, so that it can be sent on as it is.
fn request_made(made: &Made, json: bool) -> Result<(), String> {
    let text = if json {
        output::json(made)?
    } else {
        output::note(&format!(
            "The key of {} waits in the store. Send this request to your CA, and then:\n    \
             ringate cert import {} --cert FILE\n",
            made.subject, made.id
        ));
        made.pem.clone()
    };
    output::deliver(text.as_bytes()).map_err(|error| {
        format!(
            "{error}\nthe request and its key are in the store: `ringate cert export {} --part request` prints the \
             request",
            made.id
        )
    })
}

fn export(options: ExportOptions) -> Result<(), String> {
    let ExportOptions { named: Named { name, common }, out, der, part } = options;
    let part = match part {
        PartOption::Active => Part::Active,
        PartOption::Staged => Part::Staged,
        PartOption::Previous => Part::Previous,
        PartOption::Request => Part::Request,
    };
    let exported = ask(&common.file, Export { name, part, der })?;
    let bytes = exported.content.bytes();
    match out {
        Some(path) => {
            std::fs::write(&path, bytes).map_err(|error| format!("error: {}: {error}", path.display()))?;
            if common.json { output::print_done(&output::json(&exported)?) } else { Ok(()) }
        }
        None if common.json => output::deliver(output::json(&exported)?.as_bytes()),
        None => output::deliver(bytes),
    }
}

/// Does it, and prints the answer.
fn answer<R: Ask>(common: &Common, request: R, print: fn(&R::Answer) -> String) -> Result<(), String> {
    output::print_done(&asked(common, request, print)?)
}

/// Runs the request, and prints the answer in the chosen form.
fn asked<R: Ask>(common: &Common, request: R, print: fn(&R::Answer) -> String) -> Result<String, String> {
    let answer = ask(&common.file, request)?;
    if common.json { output::json(&answer) } else { Ok(print(&answer)) }
}

/// Does it through the running instance, so that it sees it at once; where none runs, on the store that the config names.
fn ask<R: Ask>(file: &ConfigFile, request: R) -> Result<R::Answer, String> {
    if let Some(instance) = Instance::running(&file.config)? {
        if instance.is_private() || !request.has_key() {
            return request.ask(&instance).map_err(|error| format!("error: {error}"));
        }
        // Over TCP a key would be sent in the clear to the process that holds the port. A key is for the store alone, which the
        // instance reads anew when the generation is tried or put to use.
        if !instance.is_local() {
            return Err(format!(
                "error: {instance} is not this machine: a private key is not sent there; do it where the store is"
            ));
        }
    }
    let plan = plan(&file.config)?;
    let store = Store::open(&plan.store).map_err(|error| format!("error: {error}"))?;
    for exposed in store.exposed() {
        output::note(&format!("warning: {exposed}"));
    }
    let uses = |name: &str| uses::of(&plan, name);
    let renew_before = plan.rotation.written_renew_before();
    let context = Context { now: SystemTime::now(), uses: &uses, renew_before };
    let change = request.change();
    let result = request.run(&store, &context).map_err(|error| format!("error: {error}"));
    if let (Some((call, name)), Some(path)) = (change, plan.admin.as_ref().and_then(|it| it.audit.as_deref()))
    {
        let who = serde_json::json!({ "by": "command-line", "uid": rustix::process::getuid().as_raw() });
        let mut entry = Entry::new(who, format!("ringate cert {call}"), format!("certificate {name}"));
        if let Err(error) = &result {
            (entry.outcome, entry.reason) = ("refused", Some(error.clone()));
        }
        if let Err(error) = audit::append(path, entry) {
            output::note(&format!("warning: the audit log {}: {error}", path.display()));
        }
    }
    result
}

/// The config, whose certificates need not be there yet.
fn plan(path: &Path) -> Result<Plan, String> {
    let text = load::read(path).map_err(|error| {
        format!("error: {error}\nname the config file, whose store is meant, with -c FILE")
    })?;
    load::parse(&text).map_err(|error| super::explain(&error))
}

fn wrong_usage(command: &str, message: &str) -> ! {
    let mut cli = <super::Cli as clap::CommandFactory>::command();
    let cert = cli.find_subcommand_mut("cert").and_then(|cert| cert.find_subcommand_mut(command));
    let kind = clap::error::ErrorKind::MissingRequiredArgument;
    let error = match cert {
        Some(cert) => cert.error(kind, message),
        None => clap::Error::raw(kind, message),
    };
    super::show(&error);
    std::process::exit(2)
}

impl FilesOptions {
    fn read(self) -> Result<(Blob, Option<Blob>, Option<Passphrase>), String> {
        let failed = |error: StoreError| format!("error: {error}");
        let Some(cert) = self.cert else {
            wrong_usage("import", "--cert FILE is missing");
        };
        let chain = read_secret(&cert).map_err(failed)?;
        let key = self.key.as_deref().map(read_secret).transpose().map_err(failed)?;
        let given = self.passphrase_file.as_deref().map(load_passphrase).transpose().map_err(failed)?;
        let (mut passphrase, exposed) = given.unzip();
        if let Some(exposed) = exposed.flatten() {
            output::note(&format!("warning: {exposed}"));
        }
        if passphrase.is_none() && std::io::stdin().is_terminal() {
            let locked = self.key.as_deref().unwrap_or(&cert);
            let opened = Bundle::from_locked_parts(&chain, key.as_ref().map(|key| &key[..]), None);
            let asks = matches!(
                opened,
                Err(BundleError::Locked(LockError::KeyEncrypted { .. } | LockError::Pkcs12Locked))
            );
            if asks {
                passphrase = Some(prompt(locked)?);
            }
        }
        Ok((chain.into(), key.map(Blob::from), passphrase))
    }
}

/// Prompts on the terminal, which does not show what is typed.
fn prompt(file: &Path) -> Result<Passphrase, String> {
    let asked = rpassword::prompt_password(format!("Passphrase of {}: ", file.display()));
    asked.map(Passphrase::from).map_err(|error| format!("error: the terminal: {error}"))
}
