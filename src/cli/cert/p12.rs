//! `ringate cert p12`: what a consumer makes of its own key and the certificate that it got. Neither a config nor a store is needed.

use std::fs::OpenOptions;
use std::io::{ErrorKind, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{FilesOptions, prompt};
use crate::certs::store::{StoreError, load_passphrase};
use crate::certs::{Bundle, Passphrase, pkcs12};
use crate::cli::output;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The certificate with its chain: PEM or DER
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// Its key, if it has a file of its own: PEM or DER
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The file with the passphrase of the key, where that is locked; left out, it is read from the terminal
    #[arg(long, value_name = "FILE")]
    key_passphrase_file: Option<PathBuf>,
    /// The file with the passphrase of the container; left out, it is read from the terminal, twice
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// The name that key stores show [default: the subject's common name]
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// The file to write, which must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn run(options: Options) -> Result<(), String> {
    let Options { cert, key, key_passphrase_file, passphrase_file, name, out } = options;
    let files = FilesOptions { cert: Some(cert.clone()), key, passphrase_file: key_passphrase_file };
    let (chain, key, opens) = files.read()?;
    let bundle =
        Bundle::from_locked_parts(chain.bytes(), key.as_ref().map(|key| key.bytes()), opens.as_ref());
    let bundle = bundle.map_err(|error| format!("error: {}: {error}", cert.display()))?;
    let passphrase = match &passphrase_file {
        Some(path) => given(path)?,
        None => asked(&out)?,
    };
    let name = name.or_else(|| bundle.facts().common_name.clone()).unwrap_or_else(|| "client".to_owned());
    let container = pkcs12::write(&bundle, &passphrase, &name).map_err(|error| format!("error: {error}"))?;
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&out).map_err(|error| {
            let remedy = if error.kind() == ErrorKind::AlreadyExists {
                ": choose another name, or remove it"
            } else {
                ""
            };
            format!("error: {}: {error}{remedy}", out.display())
        })?;
    file.write_all(&container).map_err(|error| format!("error: {}: {error}", out.display()))?;
    output::note(&format!(
        "{} holds the key and the certificate of {}",
        out.display(),
        bundle.facts().subject
    ));
    Ok(())
}

fn given(path: &Path) -> Result<Passphrase, String> {
    let (passphrase, exposed) =
        load_passphrase(path).map_err(|error: StoreError| format!("error: {error}"))?;
    if let Some(exposed) = exposed {
        output::note(&format!("warning: {exposed}"));
    }
    if passphrase.is_empty() {
        return Err(format!(
            "error: {}: the passphrase is empty: key stores refuse such a container",
            path.display()
        ));
    }
    Ok(passphrase)
}

/// Asks for it on the terminal, twice.
fn asked(out: &Path) -> Result<Passphrase, String> {
    if !std::io::stdin().is_terminal() {
        return Err(
            "error: there is no terminal to read the passphrase from: give --passphrase-file FILE".to_owned()
        );
    }
    let first = prompt(out)?;
    if first.is_empty() {
        return Err("error: the passphrase is empty: key stores refuse such a container".to_owned());
    }
    if prompt(out)? != first {
        return Err("error: these are two passphrases: try it again".to_owned());
    }
    Ok(first)
}
