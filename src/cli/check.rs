//! `ringate check`

use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::{ConfigFile, explain, output, render};
use crate::admin;
use crate::config::{self, Diagnostic, Diagnostics, Level, Plan};
use crate::server::{self, LoadError, Loaded, preflight};

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    resolve: super::Resolve,
    /// Describe this key instead, such as `upstream.health.interval`
    #[arg(long, value_name = "KEY", conflicts_with = "given")]
    explain: Option<String>,
    /// Print what was found as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Summary<'a> {
    file: String,
    ok: bool,
    listeners: Option<usize>,
    routes: Option<usize>,
    upstreams: Option<usize>,
    errors: Vec<Entry<'a>>,
    warnings: Vec<Entry<'a>>,
}

/// One thing that was found. Without a place it concerns the whole file.
#[derive(Serialize)]
struct Entry<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    message: &'a str,
    help: Option<&'a str>,
}

impl<'a> Entry<'a> {
    fn all(problems: &'a Diagnostics, level: Level) -> Vec<Self> {
        let of_level = problems.iter().filter(|found| found.level == level);
        let entry = |found: Diagnostic<'a>| Self {
            file: found.file,
            line: found.line,
            column: found.column,
            message: found.message,
            help: found.help,
        };
        of_level.map(entry).collect()
    }
}

pub(super) fn run(options: &Options) -> Result<(), String> {
    if let Some(key) = &options.explain {
        return explain_key(key, options.json);
    }
    options.resolve.take()?;
    let file = options.file.config.display().to_string();
    let (plan, problems) = match examine(&options.file.config) {
        Ok(found) => found,
        Err(error) => {
            let said = error.to_string();
            let errors = vec![Entry { file: &file, line: 0, column: 0, message: &said, help: None }];
            let (listeners, routes, upstreams, warnings) = (None, None, None, Vec::new());
            if options.json {
                let summary =
                    Summary { file: file.clone(), ok: false, listeners, routes, upstreams, errors, warnings };
                output::print(&output::json(&summary)?)?;
            }
            return Err(explain(&error));
        }
    };
    let ok = problems.clone().into_result().is_ok();
    let plan = plan.as_ref().filter(|_| ok);
    let upstreams =
        |plan: &Plan| plan.upstreams.iter().filter(|upstream| upstream.environment.is_none()).count();
    let summary = Summary {
        file,
        ok,
        listeners: plan.map(|plan| plan.listeners.len()),
        routes: plan.map(|plan| plan.routes.len()),
        upstreams: plan.map(upstreams),
        errors: Entry::all(&problems, Level::Error),
        warnings: Entry::all(&problems, Level::Warning),
    };
    if options.json {
        output::print(&output::json(&summary)?)?;
    }
    if !ok {
        return Err(render(&problems));
    }
    if !problems.is_empty() {
        output::note(&render(&problems));
    }
    let (Some(listeners), Some(routes), Some(upstreams), false) =
        (summary.listeners, summary.routes, summary.upstreams, options.json)
    else {
        return Ok(());
    };
    output::print(&format!(
        "{}: ok ({listeners} listeners, {routes} routes, {upstreams} upstreams)\n",
        summary.file
    ))
}

/// `--explain`
fn explain_key(key: &str, json: bool) -> Result<(), String> {
    let explained = config::explain(key).map_err(|near| {
        let near: Vec<String> = near.iter().map(|key| format!("`{key}`")).collect();
        let help = match near.is_empty() {
            true => "docs/configuration.md and `ringate schema` have all keys".to_owned(),
            false => format!("did you mean {}?", near.join(", ")),
        };
        format!("error: there is no key `{}`\n{help}", super::printable(key))
    })?;
    if json {
        return output::print(&output::json(&explained)?);
    }
    let mut lines =
        vec![explained.key, format!("    {}", explained.meaning), format!("type:     {}", explained.kind)];
    lines.extend(explained.range.map(|range| format!("range:    {range}")));
    if !explained.values.is_empty() {
        lines.push(format!("values:   {}", explained.values.join(", ")));
    }
    lines.extend(explained.default.map(|default| format!("default:  {default}")));
    lines.extend(explained.left_out.map(|means| format!("left out: {means}")));
    if explained.required {
        lines.push("required".to_owned());
    }
    lines.extend(explained.only.map(|only| format!("only:     {only} listeners")));
    if !explained.keys.is_empty() {
        lines.push(format!("keys:     {}", explained.keys.join(", ")));
    }
    lines.push("example:".to_owned());
    lines.extend(explained.example.lines().map(|line| format!("    {line}")));
    output::print(&format!("{}\n", lines.join("\n")))
}

/// A config with all that a start would find wrong.
///
/// # Errors
/// The file can't be read.
fn examine(path: &Path) -> Result<(Option<Plan>, Diagnostics), LoadError> {
    let (plan, mut problems) = match server::load(path, None) {
        Ok(Loaded { plan, problems, .. }) => (plan, problems),
        Err(LoadError::Wrong(problems)) => return Ok((None, problems)),
        Err(error) => return Err(error),
    };
    preflight::preflight(&plan, &mut problems);
    if let Some(settings) = &plan.admin
        && let Err(at) = admin::check(settings)
    {
        problems.error(at.span, format!("admin: {}", at.value), None);
    }
    Ok((Some(plan), problems))
}

/// Whether a start would succeed.
///
/// # Errors
/// All that keeps it from that, rendered.
pub(super) fn startable(path: &Path) -> Result<(), String> {
    let (_, problems) = examine(path).map_err(|error| explain(&error))?;
    problems.into_result().map_err(|problems| render(&problems))
}
