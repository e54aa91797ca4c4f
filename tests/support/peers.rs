//! Other people's programs, as backends and as clients.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::{Files, Pki, Process, eventually, free_address, run};

/// Whether a program is installed. Tests do not pass over a missing one: `scripts/test` installs them.
pub fn have(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// nginx with one server block, or several.
pub struct Nginx {
    process: Option<Process>,
    addresses: Vec<SocketAddr>,
    dir: TempDir,
}

impl Nginx {
    /// Plain HTTP; `server` holds the lines of the server block.
    pub fn plain(server: &str) -> Self {
        Self::start("", server)
    }

    /// TLS with the server identity of `pki`.
    pub fn tls(pki: &Pki, server: &str) -> Self {
        Self::with(&Files { cert: pki.file("server.pem"), key: pki.file("server.key") }, server)
    }

    /// TLS with any server identity.
    pub fn with(identity: &Files, server: &str) -> Self {
        let (cert, key) = (identity.cert.display(), identity.key.display());
        Self::start(" ssl", &format!("ssl_certificate {cert};\nssl_certificate_key {key};\n{server}"))
    }

    /// TLS that demands a client certificate of `pki`'s CA.
    pub fn mutual(pki: &Pki, server: &str) -> Self {
        let ca = pki.file("ca.pem");
        let verify = format!("ssl_client_certificate {};\nssl_verify_client on;", ca.display());
        Self::tls(pki, &format!("{verify}\n{server}"))
    }

    fn start(flags: &str, server: &str) -> Self {
        Self::several(flags, &[server.to_owned()])
    }

    /// A server block for each of these, at an address of its own; `flags` are those of `listen`.
    pub fn several(flags: &str, servers: &[String]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        let at = dir.path().display();
        let addresses: Vec<SocketAddr> = servers.iter().map(|_| free_address()).collect();
        let root = root.display();
        let blocks = servers.iter().zip(&addresses).map(|(server, address)| {
            format!("server {{\n listen {address}{flags} backlog=4096;\n root {root};\n{server}\n}}\n")
        });
        let blocks: String = blocks.collect();
        // As root, nginx would else read its files as `nobody`.
        let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
        let config = format!(
            "{user}\ndaemon off;\nmaster_process off;\npid {at}/pid;\nerror_log stderr info;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n access_log off;\n keepalive_requests 1000000;\n client_max_body_size 0;\n\
             client_body_temp_path {at}/body;\n proxy_temp_path {at}/proxy;\n fastcgi_temp_path {at}/f;\n\
             uwsgi_temp_path {at}/u;\n scgi_temp_path {at}/s;\n default_type text/plain;\n\
             {blocks}}}\n"
        );
        fs::write(dir.path().join("nginx.conf"), config).unwrap();
        let mut nginx = Self { process: None, addresses, dir };
        nginx.resume();
        nginx
    }

    /// A server block that relays TCP.
    pub fn stream(server: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        let (at, address) = (dir.path().display(), free_address());
        let config = format!(
            "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\ndaemon off;\nmaster_process off;\n\
             pid {at}/pid;\nerror_log stderr info;\nevents {{ worker_connections 512; }}\n\
             stream {{\n server {{\n listen {address};\n{server}\n}}\n}}\n"
        );
        fs::write(dir.path().join("nginx.conf"), config).unwrap();
        let mut nginx = Self { process: None, addresses: vec![address], dir };
        nginx.resume();
        nginx
    }

    /// Stops it, with all of its connections.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it again at the same address.
    pub fn resume(&mut self) {
        let mut command = Command::new("nginx");
        command.arg("-p").arg(self.dir.path()).arg("-e").arg("stderr");
        command.arg("-c").arg(self.dir.path().join("nginx.conf"));
        let mut process = Process::start(&mut command);
        // It listens everywhere before it takes connections anywhere.
        listening(&mut process, self.addresses[0]);
        self.process = Some(process);
    }

    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Those of all server blocks, in their order.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The folder that it serves files from.
    pub fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("root")
    }
}

/// HAProxy.
pub struct HaProxy {
    _process: Process,
    addresses: Vec<SocketAddr>,
    _dir: TempDir,
}

impl HaProxy {
    /// A server that answers every request itself and closes. An address for each of `binds`, which hold the options behind `bind ADDRESS ssl`; the answer is `format` by
    /// HAProxy's log-format rules.
    pub fn answering(format: &str, binds: &[String]) -> Self {
        Self::run(binds.len(), |addresses| {
            let lines =
                binds.iter().zip(addresses).map(|(bind, address)| format!(" bind {address} ssl {bind}\n"));
            let lines: String = lines.collect();
            format!(
                "defaults\n mode http\n option httpclose\nfrontend all\n{lines} http-request return status 200 \
                 content-type text/plain lf-string \"{format}\"\n"
            )
        })
    }

    /// With sections that get so many addresses to listen on.
    pub fn run(addresses: usize, sections: impl FnOnce(&[SocketAddr]) -> String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let addresses: Vec<SocketAddr> = (0..addresses).map(|_| free_address()).collect();
        let config = format!(
            "global\n maxconn 1000\ndefaults\n timeout client 20s\n timeout server 20s\n timeout connect 20s\n{}",
            sections(&addresses)
        );
        fs::write(dir.path().join("haproxy.cfg"), config).unwrap();
        // It loads certificates by the library's own rules, before it reads `ciphers`: those rules refuse RSA-1024.
        let rules = "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nCipherString = DEFAULT:@SECLEVEL=0\n";
        fs::write(dir.path().join("openssl.cnf"), rules).unwrap();
        let mut command = Command::new("haproxy");
        command.env("OPENSSL_CONF", dir.path().join("openssl.cnf"));
        let mut process = Process::start(command.arg("-db").arg("-f").arg(dir.path().join("haproxy.cfg")));
        listening(&mut process, addresses[addresses.len() - 1]);
        Self { _process: process, addresses, _dir: dir }
    }

    /// In the order of its sections.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

/// OpenSSL's `s_server`.
pub struct SServer {
    process: Process,
    address: SocketAddr,
}

impl SServer {
    /// With the server identity of `pki`, and `args` besides: `-www`, `-tls1_2`, `-Verify 1` …
    pub fn start(pki: &Pki, args: &[&str]) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_server", "-accept", "127.0.0.1:0", "-cert"]).arg(pki.file("server.pem"));
        command.arg("-key").arg(pki.file("server.key")).arg("-CAfile").arg(pki.file("ca.pem")).args(args);
        Self::run(&mut command)
    }

    /// With `args` alone, `-cert` and `-key` among them.
    pub fn bare(args: &[&str]) -> Self {
        Self::run(Command::new("openssl").args(["s_server", "-accept", "127.0.0.1:0"]).args(args))
    }

    fn run(command: &mut Command) -> Self {
        let process = Process::start(command);
        let address = process.await_line("its port", |line| line.strip_prefix("ACCEPT ")?.parse().ok());
        Self { process, address }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn log(&self) -> String {
        self.process.log()
    }
}

/// A Node program that prints `listening PORT`.
pub struct Node {
    process: Process,
    address: SocketAddr,
}

impl Node {
    /// Node's https server, as cloud gateways document their backends: `requestCert` and `rejectUnauthorized`.
    /// `handler` is the body of `(req, res) => { … }`.
    pub fn mutual(pki: &Pki, handler: &str) -> Self {
        let read = |name: &str| format!("fs.readFileSync({:?})", pki.file(name));
        let program = format!(
            "const fs = require('fs'), https = require('https');\n\
             const options = {{ cert: {}, key: {}, ca: {}, requestCert: true, rejectUnauthorized: true }};\n\
             const server = https.createServer(options, (req, res) => {{ {handler} }});\n\
             server.listen(0, '127.0.0.1', () => console.log('listening ' + server.address().port));\n",
            read("server.pem"),
            read("server.key"),
            read("ca.pem")
        );
        Self::start(&program)
    }

    /// Any program.
    pub fn start(program: &str) -> Self {
        let process = Process::start(Command::new("node").arg("-e").arg(program));
        let port: u16 =
            process.await_line("its port", |line| line.strip_prefix("listening ")?.trim().parse().ok());
        Self { process, address: ([127, 0, 0, 1], port).into() }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn log(&self) -> String {
        self.process.log()
    }
}

/// Runs curl, quietly and with a bound, and returns what it prints. It must succeed.
pub fn curl<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> String {
    let output = run(Command::new("curl").args(["-sS", "--fail", "--max-time", "15"]).args(args));
    assert!(output.status.success(), "curl: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs wrk with a script in Lua, or none, and returns what it prints.
pub fn wrk(url: &str, connections: usize, seconds: u32, args: &[&str], script: Option<&Path>) -> String {
    let mut command = Command::new("wrk");
    command.args(["-t", "2", "-c", &connections.to_string(), "-d", &format!("{seconds}s")]).args(args);
    if let Some(script) = script {
        command.arg("-s").arg(script);
    }
    let output = run(command.arg(url));
    assert!(output.status.success(), "wrk: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Waits until a program that does not say when takes connections.
fn listening(process: &mut Process, address: SocketAddr) {
    eventually(&format!("a program listening on {address}"), || {
        if let Some(status) = process.ended() {
            panic!("ended with {status}:\n{}", process.log());
        }
        TcpStream::connect(address).ok()
    });
}
