//! `ringate cert sign`

use std::path::PathBuf;

use clap::Args;

use super::{Common, UsageOption, ask, output, some_text};
use crate::certs::command::Sign;
use crate::certs::store::read_secret;
use crate::certs::{San, Usage};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The CA in the store (made with `cert generate --ca`, or imported with its key)
    #[arg(long, value_name = "NAME")]
    ca: String,
    /// The request (PKCS#10): PEM or DER
    #[arg(long, value_name = "FILE")]
    csr: PathBuf,
    /// Write the certificate to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The common name, in the place of the request's subject
    #[arg(long, value_name = "CN", value_parser = some_text)]
    common_name: Option<String>,
    /// Alternative names in the place of the request's: DNS:a.example,IP:192.0.2.1; may be given again
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    san: Vec<San>,
    /// Days of validity, from now on [default: 365]
    #[arg(long, value_name = "DAYS")]
    days: Option<u32>,
    /// What it may be presented as
    #[arg(long, value_name = "USAGE", value_enum, default_value_t = UsageOption::Client)]
    usage: UsageOption,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(options: Options) -> Result<(), String> {
    let Options { ca, csr, out, common_name, san, days, usage, common } = options;
    let csr = read_request(&csr)?;
    let both = matches!(usage, UsageOption::Both);
    let usage = Usage {
        server: both || matches!(usage, UsageOption::Server),
        client: both || matches!(usage, UsageOption::Client),
    };
    let request = Sign { ca, csr, sans: san, common_name, days, usage: Some(usage) };
    let signed = ask(&common.file, request)?;
    if let Some(path) = &out {
        std::fs::write(path, &signed.pem).map_err(|error| format!("error: {}: {error}", path.display()))?;
    }
    if common.json {
        return output::print_done(&output::json(&signed)?);
    }
    output::note(&format!(
        "{} has signed {}, until {}",
        signed.ca, signed.facts.subject, signed.facts.not_after
    ));
    if out.is_some() { Ok(()) } else { output::deliver(signed.pem.as_bytes()) }
}

/// The content of a file with a request, as PEM.
fn read_request(path: &std::path::Path) -> Result<String, String> {
    let bytes = read_secret(path).map_err(|error| format!("error: {error}"))?;
    let pem = crate::certs::generate::check_request(&bytes);
    pem.map_err(|error| format!("error: {}: {error}", path.display()))
}
