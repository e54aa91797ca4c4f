//! TLS that is not opened goes to the upstream of the name that its client asks for, byte for byte.

use std::time::{Duration, Instant};

use crate::support::*;

/// Two TLS backends by name, and one for all others. nginx says which one it is.
struct Scene {
    authority: Authority,
    _backends: Vec<Nginx>,
    ringate: Ringate,
}

impl Scene {
    fn new(limits: &str, last: bool) -> Self {
        let authority = Authority::new();
        let mut config = format!(
            "[limits]\n{limits}\n[[listener]]\nname = \"in\"\naddress = \"127.0.0.1:0\"\nprotocol = \"tcp\"\n"
        );
        let mut backends = Vec::new();
        let routes = [("exact", "sni = \"db.example\""), ("below", "sni = \"*.db.example\""), ("other", "")];
        for (name, sni) in &routes[..if last { 3 } else { 2 }] {
            let names: &[&str] =
                &["db.example", "a.db.example", "a.b.db.example", "other.example", "localhost"];
            let identity = authority.issue(name, &Leaf { common_name: name, names, ..Leaf::default() });
            let nginx = Nginx::with(&identity, &format!("location / {{ return 200 {name}; }}"));
            config += &format!("[[route]]\nupstream = {name:?}\n{sni}\n");
            config += &format!("[upstream.{name}]\nendpoints = [\"{}\"]\n", nginx.address());
            backends.push(nginx);
        }
        Self { authority, _backends: backends, ringate: Ringate::start(&config) }
    }

    /// The server behind this name; `None`: there is none.
    fn ask(&self, name: &str, args: &[&str]) -> Option<String> {
        let port = self.ringate.address().port();
        let to = format!("{name}:{port}:127.0.0.1");
        let mut command = std::process::Command::new("curl");
        command.args(["-sS", "--fail", "--max-time", "15", "--resolve", &to, "--cacert"]);
        let output =
            run(command.arg(self.authority.file()).args(args).arg(format!("https://{name}:{port}/")));
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }
}

#[test]
fn the_name_chooses_the_backend_and_its_tls_is_end_to_end() {
    let scene = Scene::new("", true);
    for (name, backend) in [
        ("db.example", "exact"),
        ("a.db.example", "below"),
        ("a.b.db.example", "below"),
        ("other.example", "other"),
    ] {
        for version in ["1.2", "1.3"] {
            assert_eq!(scene.ask(name, &["--tls-max", version]).as_deref(), Some(backend), "{name}");
        }
    }
    // What is no TLS has no name: it goes where no name is asked for.
    let mut client = scene.ringate.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let answer = String::from_utf8(client.rest()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[test]
fn a_name_without_a_route_gets_an_alert_that_says_so() {
    let scene = Scene::new("", false);
    assert_eq!(scene.ask("db.example", &[]).as_deref(), Some("exact"));
    assert_eq!(scene.ask("other.example", &[]), None);
    scene.ringate.await_log("no route for the server name asked for: other.example");
    let mut openssl = std::process::Command::new("openssl");
    openssl.args(["s_client", "-servername", "x.example", "-connect", &scene.ringate.address().to_string()]);
    let output = run(&mut openssl);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("unrecognized name"), "{said}");
    let mut client = scene.ringate.client();
    client.send("SSH-2.0-OpenSSH\r\n").ends();
}

#[test]
fn a_hello_in_pieces_is_waited_for_and_a_client_that_sends_none_is_not() {
    let scene = Scene::new("head_timeout = \"400ms\"", true);
    // Small records: the hello comes in several.
    let mut config = (*scene.authority.client_config()).clone();
    config.max_fragment_size = Some(64);
    let mut client = Client::tls(scene.ringate.address(), std::sync::Arc::new(config), "a.db.example");
    client.send("GET / HTTP/1.1\r\nHost: a.db.example\r\n\r\n");
    assert_eq!(client.response().text(), "below");
    for start in [&b""[..], &[22], &[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]] {
        let mut client = scene.ringate.client();
        let begun = Instant::now();
        client.send(start).ends();
        let took = begun.elapsed();
        assert!((Duration::from_millis(300)..Duration::from_secs(5)).contains(&took), "{took:?}");
    }
}
