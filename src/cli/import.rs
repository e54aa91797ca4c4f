//! `ringate import`: the config of nginx or HAProxy, as a config of Ringate.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{output, printable};
use crate::config::import::{self, Beside, File, Imported, Listed, MADE};
use crate::server::outside::Disk;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Whose config it is
    #[arg(value_enum)]
    from: From,
    /// Its files, in the order in which it reads them; files that nginx includes are read by themselves
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write the config to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the config and the lists as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum From {
    Nginx,
    Haproxy,
}

#[derive(Serialize)]
struct Summary<'a> {
    from: &'static str,
    files: Vec<&'a str>,
    /// Whether the config is one that `ringate check` takes.
    ok: bool,
    /// Lines that are in the config.
    translated: usize,
    config: &'a str,
    out: Option<String>,
    /// Files that the config names, and that belong beside it. They are written with `--out`.
    beside: &'a [Beside],
    untranslated: Vec<Listed>,
    notes: Vec<Listed>,
    needless: Vec<Listed>,
}

pub(super) fn run(options: &Options) -> Result<(), String> {
    let mut files = Vec::new();
    for path in &options.files {
        let name = path.display().to_string();
        let text = std::fs::read(path).map_err(|error| format!("error: {name}: {error}"))?;
        files.push(File { name, text: String::from_utf8_lossy(&text).into_owned() });
    }
    let first = options.files.first().map_or(Path::new("."), |path| path.as_path());
    let folder =
        std::path::absolute(first).map_err(|error| format!("error: {}: {error}", first.display()))?;
    let folder = folder.parent().unwrap_or(Path::new("/"));
    let origin = match options.from {
        From::Nginx => import::Origin::Nginx,
        From::Haproxy => import::Origin::HaProxy,
    };
    let imported = import::import(origin, &files, folder, &Disk);
    if let Some(out) = &options.out {
        imported.files.iter().try_for_each(|beside| write_beside(beside, out))?;
        std::fs::write(out, &imported.toml).map_err(|error| format!("error: {}: {error}", out.display()))?;
    }
    let translated = imported.report.translated();
    let summary = Summary {
        from: if options.from == From::Nginx { "nginx" } else { "haproxy" },
        files: files.iter().map(|file| file.name.as_str()).collect(),
        ok: imported.ok,
        translated,
        config: &imported.toml,
        beside: &imported.files,
        out: options.out.as_ref().map(|out| out.display().to_string()),
        untranslated: imported.report.untranslated(),
        notes: imported.report.notes(),
        needless: imported.report.needless_lines(),
    };
    if options.json {
        output::print(&output::json(&summary)?)?;
    } else {
        list(&summary, &imported);
        if options.out.is_none() {
            output::print(&imported.toml)?;
        }
    }
    if imported.ok {
        return Ok(());
    }
    Err("error: nothing could be translated that serves requests: see the list".to_owned())
}

/// Writes a file beside the config, which its owner alone may read. One that was not made by an import stays as it is.
fn write_beside(beside: &Beside, config: &Path) -> Result<(), String> {
    let path = config.with_file_name(&beside.name);
    let failed = |error: std::io::Error| format!("error: {}: {error}", path.display());
    match std::fs::read_to_string(&path) {
        Ok(text) if !text.starts_with(MADE) => {
            let at = path.display();
            return Err(format!(
                "error: {at} is there already, and the config needs a file of this name: move it away"
            ));
        }
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path).map_err(failed)?;
    file.write_all(beside.text.as_bytes()).map_err(failed)
}

/// The lists, on standard error: the config may go to standard output.
fn list(summary: &Summary<'_>, imported: &Imported) {
    let entry = |listed: &Listed| {
        let nearest = listed.nearest.as_ref().map(|key| format!(" [nearest: {key}]")).unwrap_or_default();
        let (file, line) = (printable(&listed.file), listed.line);
        format!("{file}:{line}: {}\n    {}{nearest}", printable(&listed.directive), printable(&listed.reason))
    };
    for (title, all) in [("not translated", &summary.untranslated), ("with a difference", &summary.notes)] {
        if !all.is_empty() {
            output::note(&format!("{title}:"));
            all.iter().for_each(|listed| output::note(&entry(listed)));
        }
    }
    for beside in &imported.files {
        match &summary.out {
            Some(out) => {
                let path = Path::new(out).with_file_name(&beside.name);
                output::note(&format!(
                    "written besides: {} (mode 0600)",
                    printable(&path.display().to_string())
                ));
            }
            None => output::note(&format!(
                "save this as {} beside the config, or use --out:\n{}",
                printable(&beside.name),
                beside.text
            )),
        }
    }
    output::note(&format!(
        "{} lines translated, {} of them with a difference; {} not needed; {} not translated",
        imported.report.translated(),
        summary.notes.len(),
        summary.needless.len(),
        summary.untranslated.len()
    ));
    if let (Some(out), true) = (&summary.out, imported.ok) {
        output::note(&format!("next: ringate check -c {out}"));
    }
}
