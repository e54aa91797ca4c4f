//! `ringate promote`: an environment of an upstream gets the TLS settings of another one.

use clap::Args;
use hyper::Method;

use super::cert::associated;
use super::client::{Instance, segment};
use super::{ChangeOptions, output};
use crate::admin::{Associated, Promote};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The upstream's name
    upstream: String,
    /// The environment whose settings are taken over
    #[arg(long, value_name = "ENVIRONMENT")]
    from: String,
    /// The environment that gets them
    #[arg(long, value_name = "ENVIRONMENT")]
    to: String,
    /// The certificate of the store that is presented there [default: the same]
    #[arg(long, value_name = "NAME")]
    certificate: Option<String>,
    #[command(flatten)]
    common: ChangeOptions,
}

pub(super) fn run(options: &Options) -> Result<(), String> {
    let Options { upstream, from, to, certificate, common } = options;
    let path = format!("/v1/upstreams/{}/promote{}", segment(upstream), common.query());
    let body = Promote { from: from.clone(), to: to.clone(), certificate: certificate.clone() };
    let done: Associated = Instance::of(&common.file.config)?.call(Method::POST, &path, Some(&body))?;
    if common.json {
        return output::print_done(&output::json(&done)?);
    }
    let verb = if common.dry_run { "would be promoted" } else { "is promoted" };
    let head = format!("{upstream}: {verb} from {from} to {to} (config version {})\n", done.outcome.version);
    output::print_done(&(head + &associated(&done, Some(to))))
}
