//! `ringate top`: live figures of a running instance, from `/v1/status` and `/metrics` of its admin address.

mod draw;
mod figures;
mod live;
mod scrape;
mod screen;
mod status;
mod table;
mod units;
mod views;
mod window;

use std::io::IsTerminal as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use clap::Args;
use hyper::Method;
use serde_json::Value;

use super::client::Instance;
use super::{ConfigFile, output};
use figures::Figures;
use scrape::Scrape;
use window::{Sample, Window};

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    file: ConfigFile,
    /// The time between two samples, in seconds, from 0.2 to 60
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    interval: Duration,
    /// Print the figures of one interval as text, and end
    #[arg(long)]
    once: bool,
    /// Print the figures of one interval as JSON, and end
    #[arg(long)]
    json: bool,
}

/// Samples that are taken for one interval without a restart in it.
const ATTEMPTS: usize = 5;
/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
const NOTHING: Option<&Value> = None;

fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.2..=60.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "write a number of seconds from 0.2 to 60".to_owned())
}

pub(super) fn run(options: &Options) -> Result<(), String> {
    let config = &options.file.config;
    if options.json || options.once {
        let figures = one_interval(config, options.interval)?;
        return output::print(&if options.json { output::json(&figures)? } else { views::plain(&figures) });
    }
    if !std::io::stdout().is_terminal() {
        return Err("error: standard output is no terminal: add --json for the figures of one interval as JSON, or --once \
                    for the same as text"
            .to_owned());
    }
    let instance = Instance::of(config)?.to_string();
    live::run(config.clone(), instance, options.interval, fetch(config)?)
}

/// The figures of one interval in which the process was not replaced.
fn one_interval(config: &Path, interval: Duration) -> Result<Figures, String> {
    let mut before = fetch(config)?;
    for _ in 0..ATTEMPTS {
        thread::sleep(interval);
        let now = fetch(config)?;
        let figures = Figures::of(Window::new(&now, Some(&before)));
        if figures.seconds.is_some() {
            return Ok(figures);
        }
        before = now;
    }
    Err(format!("error: the process was replaced in each of {ATTEMPTS} intervals; look into its log"))
}

/// What the instance answers now.
///
/// # Errors
/// There is none, or it does not answer as expected; in words.
fn fetch(config: &Path) -> Result<Sample, String> {
    let instance = Instance::of(config)?.waiting(PATIENCE);
    let status = instance.call(Method::GET, "/v1/status", NOTHING)?;
    let text = instance.bytes(Method::GET, "/metrics", NOTHING)?;
    let scrape = Scrape::parse(&String::from_utf8_lossy(&text))?;
    Ok(Sample { at: SystemTime::now(), scrape, status })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_has_its_bounds() {
        assert_eq!(interval("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "0.1", "61", "-1", "nan", "inf", "1s", ""] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
    }
}
