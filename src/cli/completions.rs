//! `ringate completions` and `ringate man`: from the description of the command line.

use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;

use super::output;

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct Man {
    /// The folder that the pages are written into; it is made if it is not there
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(super) fn completions(options: &Completions, mut command: Command) -> Result<(), String> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut command, "ringate", &mut script);
    output::deliver(&script)
}

/// One page for each command: `ringate.1`, `ringate-cert.1`, `ringate-cert-generate.1` …
pub(super) fn man(options: &Man, command: Command) -> Result<(), String> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| format!("error: {path}: {error}")
    };
    std::fs::create_dir_all(&options.folder).map_err(failed(&options.folder))?;
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut count = 0;
    page(&command, "ringate", &options.folder, &mut count).map_err(|(path, error)| failed(&path)(error))?;
    output::print(&format!("{count} pages in {}\n", options.folder.display()))
}

fn page(
    command: &Command,
    name: &str,
    folder: &Path,
    count: &mut usize,
) -> Result<(), (PathBuf, std::io::Error)> {
    let path = folder.join(format!("{name}.1"));
    let mut text = Vec::new();
    let written = clap_mangen::Man::new(command.clone())
        .title(name)
        .render(&mut text)
        .and_then(|()| std::fs::write(&path, &text));
    written.map_err(|error| (path, error))?;
    *count += 1;
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help")
    {
        page(inner, &format!("{name}-{}", inner.get_name()), folder, count)?;
    }
    Ok(())
}
