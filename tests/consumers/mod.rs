//! Consumers and their credentials, through the real binary: what requests are checked by, and the commands.

mod commands;
mod containers;
mod crash;
mod portal;
mod traffic;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::support::*;

/// A running instance whose routes want credentials, with the CA of its listener and of its consumers.
pub struct Office {
    pub ringate: Ringate,
    _backend: Backend,
    pub authority: Authority,
}

/// Each kind of definition. The CA `consumers-ca` is in the store.
pub const DEFINITIONS: &str = "[credentials.key]\napi_key = true\njavascript_origins = true\napproval = \"automatic\"\n\
    [credentials.short]\napi_key = true\nexpiry = \"2s\"\napproval = \"automatic\"\n\
    [credentials.firm]\napi_key = true\nsuspendable = false\napproval = \"automatic\"\n\
    [credentials.both]\ntitle = \"API Key and mTLS\"\napi_key = true\nmtls = true\nexpiry = \"60d\"\nissuer = \"consumers-ca\"\n\
    [credentials.cert]\nmtls = true\nexpiry = \"60d\"\nissuer = \"consumers-ca\"\napproval = \"automatic\"\n";

const PROVEN: &str = "[[route]]\npath = \"/proven\"\nupstream = \"app\"\nrequire_client_certificate = true\n";

/// The names that a backend got, then the value of fields that are the client's or Ringate's.
fn names(request: &Request) -> Vec<u8> {
    let of = |name: &str| request.headers(name).join("+");
    let body = format!(
        "{}|{}|key={}|auth={}|xfcc={}",
        of("X-Consumer-Name"),
        of("X-Credential-Name"),
        of("X-Api-Key"),
        of("Authorization"),
        of("X-Forwarded-Client-Cert"),
    );
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

impl Office {
    pub fn new() -> Self {
        Self::with("", 1)
    }

    /// `tls`: further lines of `[listener.tls]`.
    pub fn with(tls: &str, workers: usize) -> Self {
        let authority = Authority::new();
        let server = authority.issue("server", &Leaf::default());
        let backend = Backend::serving(names);
        let route = |path: &str, names: &str| {
            format!("[[route]]\npath = \"{path}\"\nupstream = \"app\"\ncredentials = [{names}]\n")
        };
        let config = Setup::to(backend.address())
            .workers(workers)
            .section("[admin]\naudit = \"audit.log\"\n[log]\naccess = \"stdout\"\naccess_format = \"json\"")
            .section(DEFINITIONS)
            .listener(&format!(
                "protocol = \"http\"\n[listener.tls]\ncertificates = [{}]\n{tls}",
                server.toml()
            ))
            .routes(&format!(
                "{}{}{}[[route]]\npath = \"/portal\"\nportal = {{ title = \"Our <APIs>\" }}\n\
                 [[route]]\npath = \"/ask\"\nportal = {{ title = \"Ask <us>\", requests = true, gateway_keys = true, hourly = 30, pending = 8 }}\n\
                 [[route]]\npath = \"/open\"\nupstream = \"app\"\n{}",
                route("/", "\"key\", \"short\", \"firm\""),
                route("/both", "\"both\""),
                route("/cert", "\"cert\""),
                if tls.is_empty() { "" } else { PROVEN },
            ))
            .text();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ringate.toml"), config).unwrap();
        done(dir.path(), "cert generate consumers-ca --ca --common-name Consumers");
        let ringate = Ringate::start_in(dir, 1);
        Self { ringate, _backend: backend, authority }
    }

    /// A command that succeeds; what it prints as JSON.
    pub fn json(&self, command: &str) -> Value {
        json(self.ringate.dir(), command)
    }

    /// A command that fails with code 1; what it says.
    pub fn refused(&self, command: &str) -> String {
        let output = run_in(self.ringate.dir(), command);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{command}: {said}");
        said
    }

    /// The key of a new credential of a new consumer.
    pub fn key(&self, consumer: &str, definition: &str, more: &str) -> String {
        self.json(&format!("consumer add {consumer}"));
        let issued = self.json(&format!("credential request {consumer} {definition} {more}"));
        issued["key"].as_str().unwrap().to_owned()
    }

    /// A connection, with a client certificate or without.
    pub fn client(&self, files: Option<&Files>) -> Client {
        let config = match files {
            Some(files) => self.authority.client_config_as(files),
            None => self.authority.client_config(),
        };
        self.ringate.tls_client(config)
    }
}

/// A request with these further lines.
pub fn get(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n")
}

/// The end of a problem's type.
pub fn kind(response: &Response) -> String {
    assert_eq!(response.header("Content-Type"), Some("application/problem+json"), "{}", response.head);
    let problem: Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(problem["status"], response.status);
    problem["type"].as_str().unwrap().strip_prefix("urn:ringate:problem:").unwrap().to_owned()
}

pub fn run_in(dir: &Path, command: &str) -> Output {
    let words = command.split_whitespace();
    run(Ringate::command().current_dir(dir).args(words).args(["-c", "ringate.toml"]))
}

pub fn done(dir: &Path, command: &str) -> String {
    let output = run_in(dir, command);
    assert_eq!(output.status.code(), Some(0), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub fn json(dir: &Path, command: &str) -> Value {
    serde_json::from_str(&done(dir, &format!("{command} --json"))).unwrap()
}

/// A key and a CSR of openssl's, or a key and a self-signed certificate: `NAME.key`, `NAME.pem`.
pub fn openssl(dir: &Path, name: &str, args: &str) -> Files {
    let files = Files { cert: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) };
    let output = run(std::process::Command::new("openssl")
        .args("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -batch".split(' '))
        .args(args.split_whitespace())
        .args(["-subj", "/CN=whatever/O=Evil", "-keyout"])
        .arg(&files.key)
        .arg("-out")
        .arg(&files.cert));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
    files
}
