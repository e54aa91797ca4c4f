//! `ringate quickstart`: a proxy, its certificates and a backend behind it, from nothing.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Args;

use super::{load, logging, output, run};
use crate::certs::generate::quickstart_pki;
use crate::certs::store::StoreError;
use crate::certs::{Meta, Origin, Store};
use crate::config::plan::Log;
use crate::io::log;

mod backend;

/// HTTPS is this far above the HTTP port.
const TLS_OFFSET: u16 = 363;
/// The admin server is this far above the HTTP port.
const ADMIN_OFFSET: u16 = 1821;
/// A certificate with fewer days left than this is made anew.
const MIN_DAYS: i64 = 7;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Where certificates and config are written
    #[arg(long, value_name = "DIR", default_value = "ringate-quickstart")]
    dir: PathBuf,
    /// The HTTP port; HTTPS is on port + 363, the admin server on port + 1821
    #[arg(long, default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..=(65535 - ADMIN_OFFSET as i64)))]
    port: u16,
    /// Stop after the first request
    #[arg(long)]
    once: bool,
}

pub(super) fn run(options: &Options) -> Result<(), String> {
    logging::init(&Log::default())?;
    let dir = &options.dir;
    let at = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(dir).map_err(|error| at(dir, error))?;
    let file = dir.join("ringate.toml");
    is_own(dir, &file)?;
    certificates(dir)?;
    let token = token(&dir.join("admin.token"))?;
    let backend = backend::start(dir)?;
    let text = config(options.port, backend);
    fs::write(&file, &text).map_err(|error| at(&file, error))?;

    let mut control = run::Control::new()?;
    let deployment = control.start(&file, load(&file)?).map_err(|error| {
        format!("{error}\nquickstart needs the ports {:?}: choose others with --port", ports(options.port))
    })?;
    run::banner(&deployment);
    let answer = first_request(options.port)?;
    let [http, https, admin] = ports(options.port);
    let stop = if options.once { "" } else { "Stop with Ctrl-C.\n" };
    let text = format!(
        "The first request went client -> Ringate -> backend over mutual TLS:\n\n{}\n\
         The config, {}:\n\n{}\n\
         Do it yourself:\n\n    curl http://127.0.0.1:{http}/\n    \
         curl --cacert {} https://localhost:{https}/\n\n\
         The console, and the token to sign in with:\n\n    http://127.0.0.1:{admin}/\n    {token}\n\n{stop}",
        indent(&answer),
        file.display(),
        indent(&text),
        dir.join("ca.pem").display()
    );
    show(text)?;
    if !options.once {
        return control.run(deployment, std::future::pending::<()>());
    }
    control.run(deployment, std::future::ready(()))
}

/// Prints the text. A reader that takes nothing holds up no signal: the proxy runs already.
fn show(text: String) -> Result<(), String> {
    let (sender, printed) = std::sync::mpsc::channel();
    let print = move || drop(sender.send(output::print(&text)));
    std::thread::Builder::new().name("output".to_owned()).spawn(print).map_err(|error| error.to_string())?;
    match printed.recv_timeout(log::LAST_LINES) {
        Ok(result) => result,
        Err(_) => {
            tracing::warn!("standard output takes nothing: what quickstart shows waits for its reader");
            Ok(())
        }
    }
}

/// What its config begins with: a file with it is written over.
const MARK: &str = "# Written anew by `ringate quickstart` at each start";
/// What its certificates are described as.
const MADE: &str = "made by quickstart";

/// Refuses a folder with a config, certificates or a CA that another hand made: they would be written over.
fn is_own(dir: &Path, file: &Path) -> Result<(), String> {
    let refused = |what: &str| {
        Err(format!(
            "{what} was not made by quickstart and would be written over: nothing was done; choose another folder \
             with --dir"
        ))
    };
    let own = match fs::read(file) {
        Ok(text) if text.starts_with(MARK.as_bytes()) => true,
        Ok(_) => return refused(&file.display().to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(format!("{}: {error}", file.display())),
    };
    let folder = dir.join("certs");
    if !folder.exists() {
        return if !own && dir.join("ca.pem").exists() {
            refused(&dir.join("ca.pem").display().to_string())
        } else {
            Ok(())
        };
    }
    let store = Store::open(&folder).map_err(|error| error.to_string())?;
    let mut made = own;
    for name in ["server", "client"] {
        match store.describe(name, SystemTime::now()) {
            Ok(found) if found.description == MADE => made = true,
            Err(StoreError::NotFound { .. }) => {}
            Ok(_) => return refused(&format!("the certificate `{name}` in {}", folder.display())),
            Err(error) => return Err(error.to_string()),
        }
    }
    if !made && dir.join("ca.pem").exists() {
        return refused(&dir.join("ca.pem").display().to_string());
    }
    Ok(())
}

fn ports(http: u16) -> [u16; 3] {
    [http, http + TLS_OFFSET, http + ADMIN_OFFSET]
}

fn indent(text: &str) -> String {
    text.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("    {line}\n") }).collect()
}

/// A CA, a server identity and a client identity, made once and kept for as long as they are good.
fn certificates(dir: &Path) -> Result<(), String> {
    let store = Store::open(dir.join("certs")).map_err(|error| error.to_string())?;
    let now = SystemTime::now();
    let good =
        |name: &str| store.get(name).is_ok_and(|stored| stored.bundle.facts().days_left(now) > MIN_DAYS);
    let ca = dir.join("ca.pem");
    if good("server") && good("client") && ca.exists() {
        return Ok(());
    }
    let pki = quickstart_pki(&[], now).map_err(|error| error.to_string())?;
    for (name, made) in [("server", &pki.server), ("client", &pki.client)] {
        let meta = Meta { description: Some(MADE.to_owned()), origin: Origin::Generated, now };
        store.put(name, &made.bundle, &meta).map_err(|error| error.to_string())?;
    }
    fs::write(&ca, &pki.ca.chain_pem).map_err(|error| format!("{}: {error}", ca.display()))
}

/// The admin token, made once.
fn token(path: &Path) -> Result<String, String> {
    if let Ok(text) = fs::read_to_string(path) {
        return Ok(text.trim().to_owned());
    }
    let mut bytes = [0u8; 24];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "the system gives no random numbers".to_owned())?;
    let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let written = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    written
        .and_then(|mut file| file.write_all(token.as_bytes()))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(token)
}

/// The config of the quickstart, as a user would write it.
fn config(port: u16, backend: SocketAddr) -> String {
    let [http, https, admin] = ports(port);
    format!(
        r#"{MARK}: copy it before you change it.
[admin]
listen = "127.0.0.1:{admin}"
token_file = "admin.token"

[[listener]]
name = "http"
address = "127.0.0.1:{http}"

[[listener]]
name = "https"
address = "127.0.0.1:{https}"
[listener.tls]
certificates = ["server"]

[[route]]
listener = ["http", "https"]
upstream = "demo"

[upstream.demo]
endpoints = ["{backend}"]
[upstream.demo.tls]
server_name = "localhost"
trust = ["./ca.pem"]
certificate = "client"
"#
    )
}

/// One request through the proxy, by a client that knows nothing of it.
fn first_request(port: u16) -> Result<String, String> {
    let exchange = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET / HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = exchange().map_err(|error| format!("the first request failed: {error}"))?;
    if answer.starts_with("HTTP/1.1 200 ") {
        Ok(answer)
    } else {
        Err(format!("the first request was answered with:\n{answer}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_is_valid_by_the_schema() {
        let text = config(8080, SocketAddr::from((Ipv4Addr::LOCALHOST, 9000)));
        assert_eq!(crate::config::schema_errors(&text), Vec::<String>::new());
    }
}
