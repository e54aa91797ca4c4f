//! File → plan: what the values mean, and whether they fit together.
//!
//! Every function answers something usable even where the file is wrong; the plan is
//! thrown away then, and the errors are what counts.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::base::limits::MAX_WORKERS;
use crate::tls::Versions;

use super::file::{Section, Value};
use super::names;
use super::plan::{Admin, AdminAddress, At, CertificateRef, DriverSetting, Plan, Renew, Rotation, Runtime};
use super::suggest::{nearest, quoted};
use super::units::{self, Wrong};

mod addresses;
mod algorithms;
mod auth;
mod backend_tls;
mod balance;
mod clients;
mod compression;
mod conditions;
mod credentials;
mod destination;
mod edits;
mod files;
mod forward_auth;
mod health;
mod http;
mod limits;
mod log;
mod maps;
mod mirror;
mod ocsp;
mod outliers;
mod pages;
mod process;
mod resolver;
mod retries;
mod route;
mod rules;
mod sticky;
mod telemetry;
mod traffic;
mod upstream;

/// Checks the whole file. Relative paths are resolved against `dir`.
pub(super) fn plan(mut root: Section<'_>, dir: &Path) -> Plan {
    // The files have been read by then.
    let _include = root.get("include");
    let runtime = runtime(root.section("runtime"));
    let process = process::process(root.section("process"));
    let admin = root.section("admin").map(|section| admin(section, dir));
    let (store, rotation) = store(root.section("store"), dir);
    let resolver = resolver::resolver(root.section("resolver"));
    let log = log::log(root.section("log"), dir);
    let otlp = telemetry::telemetry(root.section("telemetry"), dir);
    let limits = limits::process(root.section("limits"));
    let mut listeners = traffic::listeners(&mut root, dir, &limits);
    let (upstreams, overlays) = upstream::upstreams(&mut root, dir).unzip();
    let overlays = overlays.unwrap_or_default();
    let folders = rules::Folders { config: dir, keys: &store.join("api-keys") };
    let maps = maps::maps(&mut root, dir);
    let routes = route::routes(&mut root, &listeners, upstreams.as_deref(), folders);
    let credentials = credentials::definitions(&mut root);
    let errors = root.errors();
    root.finish();
    credentials::bind(&credentials, &mut listeners, &routes, errors);
    let mut upstreams = upstreams.unwrap_or_default();
    // Routes name upstreams alone: overlays stand behind them.
    upstreams.extend(overlays);
    mirror::resolve(&mut upstreams, errors);
    let secrets = errors.borrow().secrets().map(str::to_owned).collect();
    let old_keys = errors.borrow().warnings();
    let plan = Plan {
        runtime,
        process,
        admin,
        store,
        rotation,
        resolver,
        log,
        otlp,
        limits,
        listeners,
        routes,
        maps,
        credentials,
        upstreams,
        secrets,
        old_keys,
    };
    maps::resolve(&plan, errors);
    log::resolve(&plan, errors);
    upstream::names_of_tcp(&plan, errors);
    upstream::http_alone(&plan, errors);
    plan
}

/// `[admin]` alone.
pub(super) fn admin_of(mut root: Section<'_>, dir: &Path) -> Option<Admin> {
    root.section("admin").map(|section| admin(section, dir))
}

fn runtime(section: Option<Section<'_>>) -> Runtime {
    let mut runtime = Runtime {
        workers: None,
        cpus: None,
        driver: DriverSetting::Auto,
        drain: std::time::Duration::from_secs(30),
        splice: true,
    };
    let Some(mut section) = section else { return runtime };
    if let Some(value) = section.get("workers") {
        match value.as_text() {
            Some(At { value: "auto", .. }) => {}
            Some(text) if text.parse::<usize>().is_err() => {
                let title = format!("{} is neither \"auto\" nor a number", quoted(text.value));
                value.error(
                    &title,
                    nearest(text.value, ["auto"]).map(|word| format!("did you mean \"{word}\"?")),
                );
            }
            _ => runtime.workers = value.number(1..=MAX_WORKERS),
        }
    }
    if let Some(value) = section.get("cpus") {
        runtime.cpus = value.parse("\"0-3,8\"", units::cpus);
    }
    if let Some(value) = section.get("driver") {
        let words = [
            ("auto", DriverSetting::Auto),
            ("io_uring", DriverSetting::IoUring),
            ("epoll", DriverSetting::Epoll),
        ];
        runtime.driver = value.choice(&words).unwrap_or(runtime.driver);
    }
    if let Some(value) = section.get("drain") {
        runtime.drain = value.duration(true).unwrap_or(runtime.drain);
    }
    if let Some(value) = section.get("splice") {
        runtime.splice = value.boolean().unwrap_or(runtime.splice);
    }
    section.finish();
    runtime
}

fn admin(mut section: Section<'_>, dir: &Path) -> Admin {
    let token_file = section.get("token_file").and_then(|value| path(&value, dir, "\"run/admin.token\""));
    let mut listen: Vec<At<AdminAddress>> = Vec::new();
    if let Some(value) = section.get("listen") {
        for entry in value.one_or_more("\"unix:run/admin.sock\"").unwrap_or_default() {
            let Some(address) = admin_address(&entry, dir, token_file.as_ref()) else { continue };
            if listen.contains(&address) {
                entry.error("this address is listed twice", None);
            }
            listen.push(address);
        }
    }
    let unix = || At { value: AdminAddress::Unix(dir.join("run/admin.sock")), span: 0..0 };
    let mut addresses = listen.into_iter();
    let listen = addresses.next().unwrap_or_else(unix);
    let hosts =
        section.get("hosts").and_then(|value| value.list("[\"ringate.internal\"]")).unwrap_or_default();
    let hosts = hosts.iter().filter_map(|value| value.parse("\"ringate.internal\"", names::server_name));
    let words = [("token", false), ("open", true)];
    let is_tcp = |at: &At<AdminAddress>| matches!(at.value, AdminAddress::Tcp { .. });
    let others: Vec<At<AdminAddress>> = addresses.collect();
    let read_only = section.get("read_only_token_file").and_then(|value| {
        if !is_tcp(&listen) && !others.iter().any(is_tcp) {
            let help = "listen on an address and port as well, such as \"127.0.0.1:9901\"; a Unix socket needs no token";
            value.error("without a TCP address there is nothing to use this token at", Some(help.into()));
        }
        path(&value, dir, "\"run/read-only.token\"")
    });
    let audit = section.get("audit").and_then(|value| path(&value, dir, "\"audit.log\""));
    let admin = Admin {
        listen,
        others,
        hosts: hosts.map(|host| host.value).collect(),
        open_metrics: section.get("metrics").and_then(|value| value.choice(&words)).unwrap_or(false),
        token_file,
        read_only_token_file: read_only,
        audit: audit.map(|at| at.value),
    };
    section.finish();
    admin
}

/// `"unix:PATH"` or `"IP:PORT"`.
fn admin_address(
    value: &Value<'_>,
    dir: &Path,
    token_file: Option<&At<PathBuf>>,
) -> Option<At<AdminAddress>> {
    let text = value.text("\"unix:run/admin.sock\"")?;
    let at = |address| Some(At { value: address, span: value.span() });
    match (text.strip_prefix("unix:"), text.parse::<SocketAddr>()) {
        (Some(""), _) => {
            value.error("the path is missing", Some("did you mean \"unix:run/admin.sock\"?".into()));
        }
        (Some(path), _) => return at(AdminAddress::Unix(dir.join(path))),
        (None, Ok(address)) => match token_file {
            Some(token_file) => {
                return at(AdminAddress::Tcp { address, token_file: token_file.value.clone() });
            }
            None => value.error(
                "over TCP the admin API needs a token",
                Some("add `token_file = \"run/admin.token\"`, or listen on \"unix:run/admin.sock\"".into()),
            ),
        },
        (None, Err(_)) => {
            let meant = match text.contains('/') && !text.contains("://") {
                true => format!("did you mean \"unix:{}\"? ", text.value),
                false => String::new(),
            };
            let form = "write \"unix:PATH\" or an IP address and a port, such as \"127.0.0.1:9901\"";
            let title = format!("{} is not an address to listen on", quoted(text.value));
            value.error(&title, Some(format!("{meant}{form}")));
        }
    }
    None
}

fn store(section: Option<Section<'_>>, dir: &Path) -> (PathBuf, Rotation) {
    let mut store = dir.join("certs");
    let mut rotation = Rotation::default();
    let Some(mut section) = section else { return (store, rotation) };
    if let Some(written) = section.get("path").and_then(|value| path(&value, dir, "\"certs\"")) {
        store = written.value;
    }
    if let Some(duration) = section.get("grace").and_then(|value| value.duration(true)) {
        rotation.grace = duration;
    }
    if let Some(duration) = section.get("renew_before").and_then(|value| value.duration(false)) {
        (rotation.renew_before, rotation.wrote_renew_before) = (duration, true);
    }
    let words = [("staged", Renew::Staged), ("automatic", Renew::Automatic)];
    if let Some(renew) = section.get("renew").and_then(|value| value.choice(&words)) {
        rotation.renew = renew;
    }
    section.finish();
    (store, rotation)
}

/// A path, resolved against `dir`. `example` is TOML.
fn path(value: &Value<'_>, dir: &Path, example: &str) -> Option<At<PathBuf>> {
    value.parse(example, |text| match text {
        "" => Err(Wrong::new("the path is empty")),
        text => Ok(resolve(dir, text)),
    })
}

/// Paths are relative to the config file, but for those of systemd's, which are known when they are read.
fn resolve(dir: &Path, text: &str) -> PathBuf {
    if text.starts_with("$CREDENTIALS_DIRECTORY/") { text.into() } else { dir.join(text) }
}

/// A certificate: a name in the store, a file, or `{ cert, key, passphrase_file }`.
fn certificate(value: &Value<'_>, dir: &Path) -> Option<At<CertificateRef>> {
    if value.is_table() {
        let mut section = value.section()?;
        let cert = section.require("cert", "\"web.pem\"").and_then(|value| path(&value, dir, "\"web.pem\""));
        let passphrase = section.get("passphrase_file");
        let is_container = |at: &At<PathBuf>| names::is_container(&at.value.to_string_lossy());
        let key = if passphrase.is_some() || cert.as_ref().is_some_and(is_container) {
            section.get("key").map(|value| path(&value, dir, "\"web.key\""))
        } else {
            Some(section.require("key", "\"web.key\"").and_then(|value| path(&value, dir, "\"web.key\"")))
        };
        let passphrase = passphrase.map(|value| path(&value, dir, "\"web.passphrase\""));
        section.finish();
        let (cert, key) = (cert?.value, key.map_or(Some(None), |key| key.map(|key| Some(key.value)))?);
        let named = match (key, passphrase) {
            (key, Some(file)) => CertificateRef::Locked { cert, key, passphrase_file: file?.value },
            (Some(key), None) => CertificateRef::Pair { cert, key },
            (None, None) => CertificateRef::File(cert),
        };
        return Some(At { value: named, span: value.span() });
    }
    value.parse("\"web\" or a table { cert = \"web.pem\", key = \"web.key\" }", |text| {
        if names::is_certificate_file(text) {
            return Ok(CertificateRef::File(resolve(dir, text)));
        }
        names::name(text).map(|name| CertificateRef::Store(name.to_owned())).map_err(|_| {
            Wrong::new(format!("{} is neither a name in the store nor a file", quoted(text))).help(
                "a name is made of letters, digits, `-`, `_` and `.`; \
                 a file has a slash or ends with .pem, .crt, .cer, .der, .p12 or .pfx",
            )
        })
    })
}

/// `tls.versions` of a listener or an upstream.
fn versions(section: &mut Section<'_>) -> Versions {
    let mut versions = Versions { tls12: true, tls13: true };
    let Some(list) = section.get("versions").and_then(|value| value.list("[\"1.2\", \"1.3\"]")) else {
        return versions;
    };
    versions = Versions { tls12: false, tls13: false };
    for entry in list {
        let read = |text: &str| match text {
            "1.2" => Ok(false),
            "1.3" => Ok(true),
            other => {
                let wrong = Wrong::new(format!("{} is not a TLS version that Ringate has", quoted(other)));
                let number = other.trim_start_matches(|c: char| !c.is_ascii_digit());
                Err(wrong.help(match number {
                    "1.2" | "1.3" => format!("did you mean \"{number}\"?"),
                    _ => "the versions are \"1.2\" and \"1.3\"".to_owned(),
                }))
            }
        };
        match entry.parse("\"1.3\"", read) {
            Some(At { value: true, .. }) => versions.tls13 = true,
            Some(At { value: false, .. }) => versions.tls12 = true,
            None => {}
        }
    }
    versions
}
