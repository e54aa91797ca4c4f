//! `ringate probe`

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use toml::Value;

use super::{Loaded, load, output, printable, render};
use crate::config::plan::{At, CertificateRef};
use crate::config::{self, Plan};
use crate::server::probe::{Report, Resumption, Target, Verdict, probe_all};
use crate::server::{build, identity};

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    resolve: super::Resolve,
    /// What to probe: https://HOST:PORT/PATH (port and path may be left out), http://…, or tls://HOST:PORT and tcp://HOST:PORT for other protocols
    #[arg(required_unless_present = "upstream", conflicts_with = "upstream")]
    url: Option<String>,
    /// Probe every endpoint of this upstream of the config
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// Probe the upstream as traffic of this environment finds it
    #[arg(long, value_name = "NAME", conflicts_with = "url")]
    environment: Option<String>,
    /// The certificate to present in place of the upstream's own: a name in the store, or a file with its key
    #[arg(long, value_name = "NAME")]
    certificate: Option<String>,
    /// The file with the passphrase of the --certificate's locked key or container
    #[arg(long, value_name = "FILE", requires = "certificate")]
    passphrase_file: Option<PathBuf>,
    /// What a URL's certificate is checked against: "system", a name in the store, or a file
    #[arg(long, value_name = "NAME", conflicts_with = "upstream")]
    trust: Vec<String>,
    /// The name that is sent and verified in place of the URL's host
    #[arg(long, value_name = "NAME", conflicts_with = "upstream")]
    server_name: Option<String>,
    /// The config file: upstreams, and the store that certificates are named in
    #[arg(short, long, value_name = "FILE", default_value_os_t = super::default_config(), hide_default_value = true)]
    config: PathBuf,
    /// Print what was found as JSON
    #[arg(long)]
    json: bool,
}

/// `Ok(false)`: it was done, and traffic would not flow.
pub(super) fn run(options: &Options) -> Result<(), String> {
    options.resolve.take()?;
    let targets = match (&options.upstream, &options.url) {
        (Some(name), _) => of_upstream(name, options)?,
        (None, Some(url)) => of_url(&Url::parse(url)?, options)?,
        (None, None) => return Err("name a URL, or an upstream with --upstream".to_owned()),
    };
    let reports = probe_all(&targets);
    if options.json {
        output::print(&output::json(&reports)?)?;
    } else {
        output::print(&reports.iter().map(text).collect::<String>())?;
    }
    match reports.iter().filter(|report| !report.ok).count() {
        0 => Ok(()),
        bad if reports.len() == 1 => Err(format!("{bad} endpoint probed: traffic would not flow")),
        bad => Err(format!("{bad} of {} endpoints: traffic would not flow", reports.len())),
    }
}

fn of_upstream(name: &str, options: &Options) -> Result<Vec<Target>, String> {
    let Loaded { plan, assembly, .. } = load(&options.config)?;
    let upstreams = &assembly.running.upstreams;
    let unknown = |kind: &str, name: &str, known: Vec<&str>| {
        let known = if known.is_empty() { "none at all".to_owned() } else { known.join(", ") };
        Err(format!("{}: there is no {kind} `{name}`; there is {known}", options.config.display()))
    };
    let Some(index) = upstreams.iter().position(|upstream| upstream.name == name) else {
        return unknown("upstream", name, upstreams.iter().map(|upstream| &*upstream.name).collect());
    };
    // Without an overlay of the upstream, an environment's traffic is sent to the upstream as it is.
    let environment = options.environment.as_deref();
    if let Some(environment) = environment.filter(|name| !plan.environments().contains(name)) {
        return unknown("environment", environment, plan.environments());
    }
    let index = plan.in_environment(index, environment);
    let upstream = &upstreams[index];
    let identity = match &options.certificate {
        None => None,
        Some(_) if upstream.tls.is_none() => {
            return Err(format!("the upstream `{name}` does not speak TLS: it has no `tls` table"));
        }
        Some(named) => Some(chosen(named, options.passphrase_file.as_deref(), &plan, &options.config)?),
    };
    let targets = Target::of_upstream(upstream, plan.speaks_http(index), identity.as_ref());
    Ok(if plan.speaks_udp(index) { targets.into_iter().map(Target::over_udp).collect() } else { targets })
}

/// The identity that `--certificate` names.
fn chosen(
    named: &str,
    passphrase_file: Option<&Path>,
    plan: &Plan,
    config: &Path,
) -> Result<std::sync::Arc<crate::tls::Identity>, String> {
    let value = if is_file(named) {
        let cert = PathBuf::from(named);
        match passphrase_file {
            Some(file) => CertificateRef::Locked { cert, key: None, passphrase_file: file.to_owned() },
            None => CertificateRef::File(cert),
        }
    } else if passphrase_file.is_some() {
        return Err("--passphrase-file is for a file: keys in the store are not locked".to_owned());
    } else {
        CertificateRef::Store(named.to_owned())
    };
    let mut problems = config::Diagnostics::new(config.display().to_string(), "");
    let at = At { value, span: 0..0 };
    identity(plan, &at, &mut problems).ok_or_else(|| {
        let said: Vec<String> = problems.iter().map(|problem| problem.message.to_string()).collect();
        format!("--certificate {named}: {}", said.join("; "))
    })
}

/// As in the config: a value with a slash, or with the ending of a certificate file.
fn is_file(named: &str) -> bool {
    named.contains('/')
        || [".pem", ".crt", ".cer", ".der", ".p12", ".pfx"].iter().any(|ending| named.ends_with(ending))
}

/// A URL becomes an upstream of a config that has nothing else: it is built and checked as any other.
fn of_url(url: &Url, options: &Options) -> Result<Vec<Target>, String> {
    let text = |value: &str| Value::from(value).to_string();
    let mut config = format!(
        "[[listener]]\nname = \"probe\"\naddress = \"127.0.0.1:0\"\n[[route]]\nupstream = \"url\"\n\
         [upstream.url]\nendpoints = [{}]\n",
        text(&url.endpoint())
    );
    if url.tls {
        let name = options.server_name.as_deref().unwrap_or(&url.host);
        let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        let _ = writeln!(config, "[upstream.url.tls]\nserver_name = {}", text(name));
        if !options.trust.is_empty() {
            let trust: Vec<String> = options.trust.iter().map(|named| text(&located(named))).collect();
            let _ = writeln!(config, "trust = [{}]", trust.join(", "));
        }
        if let Some(named) = &options.certificate {
            let cert = text(&located(named));
            let _ = match &options.passphrase_file {
                None => writeln!(config, "certificate = {cert}"),
                Some(file) => writeln!(
                    config,
                    "certificate = {{ cert = {cert}, passphrase_file = {} }}",
                    text(&file.display().to_string())
                ),
            };
        }
    } else if options.certificate.is_some() || !options.trust.is_empty() {
        return Err(format!(
            "{}:// is not TLS: neither --certificate nor --trust have a meaning",
            url.scheme
        ));
    }
    let from_store = options.certificate.iter().chain(&options.trust);
    if from_store.into_iter().any(|named| !is_file(named) && named != "system") {
        let store = load(&options.config)?.plan.store;
        let _ = writeln!(config, "[store]\npath = {}", text(&store.display().to_string()));
    }
    let named = "the probe's arguments, as a config";
    let here = Path::new(".");
    let plan = config::parse(named, &config, here).map_err(|problems| render(&problems))?;
    let mut problems = config::warnings(named, &config, &plan);
    let assembly = build(&plan, None, &mut problems).ok_or_else(|| render(&problems))?;
    let mut targets = Target::of_upstream(&assembly.running.upstreams[0], url.http, None);
    for target in &mut targets {
        target.upstream.clear();
        if let Some(http) = &mut target.http {
            http.host.clone_from(&url.authority);
            http.path.clone_from(&url.path);
        }
    }
    Ok(targets)
}

/// A file as the config must write it to be taken for one.
fn located(named: &str) -> String {
    if is_file(named) && !named.contains('/') { format!("./{named}") } else { named.to_owned() }
}

/// The parts of a URL that matter here (RFC 3986 §3).
#[derive(Debug, PartialEq, Eq)]
struct Url {
    scheme: String,
    tls: bool,
    http: bool,
    /// As in the Host header: without a default port.
    authority: String,
    /// With the brackets of an IPv6 address.
    host: String,
    port: u16,
    path: String,
}

impl Url {
    fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
        let (tls, http, default) = match scheme {
            "https" => (true, true, Some(443)),
            "http" => (false, true, Some(80)),
            "tls" => (true, false, None),
            "tcp" => (false, false, None),
            other => return Err(format!("`{other}://`: write https, http, tls or tcp before `://`")),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = path.split('#').next().unwrap_or_default();
        if authority.contains('@') {
            return Err(format!("`{text}`: a URL with a user name is not probed"));
        }
        let host = crate::http::host_name(authority);
        let port = match authority[host.len()..].strip_prefix(':') {
            Some(port) => port.parse().map_err(|_| format!("`{text}`: {port:?} is no port")),
            None => default.ok_or_else(|| format!("`{text}`: write the port: {scheme}://{host}:PORT")),
        };
        if host.is_empty() || text.bytes().any(|byte| byte <= b' ' || byte == 127) {
            return Err(format!("`{text}` is no URL: write https://HOST[:PORT][/PATH]"));
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let (authority, host) = (authority.to_owned(), host.to_owned());
        Ok(Self { scheme: scheme.to_owned(), tls, http, authority, host, port: port?, path })
    }

    fn endpoint(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// A report for people.
fn text(report: &Report) -> String {
    let mut out = String::new();
    let mark = if report.ok { '✓' } else { '✗' };
    let of = if report.upstream.is_empty() { String::new() } else { format!("{} ", report.upstream) };
    let took = report.milliseconds;
    let _ = match &report.problem {
        None => writeln!(out, "{mark} {of}{}  ({took} ms)", report.endpoint),
        Some(problem) => writeln!(out, "{mark} {of}{}  {}", report.endpoint, printable(problem)),
    };
    let mut line = |what: &str, text: &str| {
        let _ = writeln!(out, "    {what:20} {}", printable(text));
    };
    if let Some(address) = report.address.as_ref().filter(|address| **address != report.endpoint) {
        line("address", address);
    }
    if let Some(found) = &report.udp {
        line("udp", found);
    }
    if let Some(tls) = &report.tls {
        let group = tls.key_exchange.as_deref().unwrap_or("no key exchange");
        let alpn = tls.alpn.as_ref().map_or(String::new(), |name| format!(", ALPN {name}"));
        line("negotiated", &format!("{}, {}, {group}{alpn}", tls.version, tls.cipher));
        if !tls.verified {
            line("verified", "no: insecure_skip_verify is set, so this may be any server");
        }
        let resumption = match tls.resumption {
            Resumption::Resumed => "yes, by a second handshake",
            Resumption::Full => "no: the second handshake was a full one",
            Resumption::NotTried => "not tried",
        };
        line("resumed", resumption);
    }
    if let Some(name) = &report.server_name {
        line("server name", name);
    }
    for (index, link) in report.chain.iter().enumerate() {
        let facts = &link.facts;
        line(if index == 0 { "certificate" } else { "issued by" }, &facts.subject);
        if index == 0 {
            line("  names", &facts.sans.join(", "));
            line("  issuer", &facts.issuer);
            line("  key", &facts.key_type);
        }
        line("  valid until", &format!("{} ({} days left)", facts.not_after, link.days_left));
    }
    let identity = report.identity.as_deref().unwrap_or("none");
    match &report.client_certificate {
        Verdict::Unknown => {}
        Verdict::NotAsked => line("client certificate", "never requested"),
        Verdict::NothingPresented => line("client certificate", "requested, and not required"),
        Verdict::Accepted => {
            line("client certificate", &format!("{identity}: requested, presented, accepted"))
        }
        Verdict::Refused { alert, .. } => {
            let alert = alert.as_deref().unwrap_or("without an alert");
            line("client certificate", &format!("{identity}: refused, {alert}"));
        }
    }
    if let Some(http) = &report.http {
        line("answer", &format!("{} to {}", http.status, http.request));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_what_they_leave_out() {
        let url = Url::parse("https://a.example/x?y#z").unwrap();
        assert_eq!((&*url.endpoint(), &*url.path, &*url.authority), ("a.example:443", "/x?y", "a.example"));
        let url = Url::parse("[::1]:8443").unwrap();
        assert_eq!((&*url.endpoint(), &*url.path, url.tls, url.http), ("[::1]:8443", "/", true, true));
        let url = Url::parse("tls://db.internal:5432").unwrap();
        assert_eq!((&*url.endpoint(), url.tls, url.http), ("db.internal:5432", true, false));
        for bad in ["ftp://a/", "tls://a", "https://", "https://a:b/", "https://u@a/", "https://a b/"] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }
}
