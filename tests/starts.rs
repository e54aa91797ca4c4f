//! What a start needs of its host: addresses that are free, allowed and there, files that can be read and written. `check`
//! finds what `run` would refuse, and `plan` what `reload` would.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::http::OK;
use crate::support::*;

const ADMIN: &str = "[admin]\nlisten = \"unix:run/admin.sock\"";

fn at(address: SocketAddr, setup: &Setup) -> String {
    setup.text().replace("127.0.0.1:0", &address.to_string())
}

fn command(dir: &Path, name: &str) -> Output {
    run(Ringate::command().current_dir(dir).args([name, "-c", "ringate.toml"]))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Both `check` and `run` refuse the file in this folder, with these words.
fn refused(dir: &Path, words: &str) {
    for name in ["check", "run"] {
        let output = command(dir, name);
        assert_eq!(output.status.code(), Some(1), "{name}: {}", said(&output));
        assert!(said(&output).contains(words), "{name}: {}", said(&output));
    }
}

#[test]
fn check_refuses_what_run_would() {
    let dir = tempfile::tempdir().unwrap();
    let write = |text: &str| fs::write(dir.path().join("ringate.toml"), text).unwrap();
    let backend = free_address();
    let token = "[admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"token\"";
    write(&Setup::to(backend).section(token).text());
    refused(dir.path(), "No such file");
    fs::write(dir.path().join("token"), "0123456789abcdef0123456789abcdef").unwrap();
    fs::set_permissions(dir.path().join("token"), fs::Permissions::from_mode(0o644)).unwrap();
    refused(dir.path(), "other users can read");
    write(&Setup::to(backend).section("[log]\naccess = \"none/access.log\"").text());
    refused(dir.path(), "access log");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    write(&at(taken.local_addr().unwrap(), &Setup::to(backend)));
    refused(dir.path(), "the address is in use by another process");
    write(&at("192.0.2.1:8080".parse().unwrap(), &Setup::to(backend)));
    refused(dir.path(), "this host does not have the address");
}

#[test]
fn a_privileged_port_names_the_capability() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("ringate.toml"),
        at("127.0.0.1:81".parse().unwrap(), &Setup::to(free_address())),
    )
    .unwrap();
    for name in ["check", "run"] {
        let binary = env!("CARGO_BIN_EXE_ringate");
        let drop = ["--bounding-set", "-net_bind_service", "--inh-caps", "-net_bind_service", binary, name];
        let output = run(Command::new("setpriv").args(drop).arg("-c").arg(dir.path().join("ringate.toml")));
        assert_eq!(output.status.code(), Some(1), "{name}: {}", said(&output));
        assert!(said(&output).contains("AmbientCapabilities=CAP_NET_BIND_SERVICE"), "{}", said(&output));
    }
}

#[test]
fn check_as_json_has_errors_and_warnings_with_their_texts() {
    let dir = tempfile::tempdir().unwrap();
    let look = |text: &str| -> Value {
        fs::write(dir.path().join("ringate.toml"), text).unwrap();
        let mut command = Ringate::command();
        let output = run(command.current_dir(dir.path()).args(["check", "--json", "-c", "ringate.toml"]));
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(found["ok"] == true, output.status.success());
        found
    };
    let good = Setup::to(free_address()).text();
    let found = look(&good);
    assert_eq!((&found["ok"], &found["listeners"]), (&true.into(), &1.into()));
    let found = look(&good.replace("endpoints = ", "endpoint = "));
    assert!(found["errors"][0]["help"].as_str().unwrap().contains("endpoints"), "{found:#}");
    assert!(found["errors"][0]["line"].as_u64().unwrap() > 1, "{found:#}");
    let found = look(&good.replace("endpoints = [\"127.0.0.1", "endpoints = [\"nowhere.invalid"));
    let warning = found["warnings"][0]["message"].as_str().unwrap();
    assert!(found["ok"] == true && warning.contains("does not resolve"), "{found:#}");
}

#[test]
fn check_is_content_beside_the_instance_that_is_to_reload() {
    let text = at(free_address(), &Setup::to(free_address()));
    let ringate = Ringate::start(&text);
    let output = command(ringate.dir(), "check");
    assert!(output.status.success() && said(&output).contains("a ringate that runs"), "{}", said(&output));
}

#[test]
fn plan_refuses_what_a_reload_would() {
    let ringate = Setup::to(free_address()).section(ADMIN).start();
    let file = ringate.dir().join("ringate.toml");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _holder = TcpListener::bind(taken).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\"127.0.0.1:0\"", &format!("[\"127.0.0.1:0\", \"{taken}\"]"))).unwrap();
    for name in ["plan", "reload"] {
        let output = command(ringate.dir(), name);
        assert_eq!(output.status.code(), Some(1), "{name}: {}", said(&output));
        assert!(said(&output).contains("in use by another process"), "{name}: {}", said(&output));
    }
}

#[test]
fn an_address_that_is_in_use_for_a_moment_is_waited_for() {
    let address = free_address();
    let backend = Backend::replying(OK);
    let text = at(address, &Setup::to(backend.address()));
    let holder = TcpListener::bind(address).unwrap();
    let release = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(400));
        drop(holder);
    });
    let ringate = Ringate::start(&text);
    release.join().unwrap();
    assert_eq!(ringate.get("/").status, 200);
}

#[test]
fn a_start_right_after_a_kill_succeeds() {
    let address = free_address();
    let backend = Backend::replying(OK);
    let text = at(address, &Setup::to(backend.address()));
    for _ in 0..5 {
        let mut ringate = Ringate::start(&text);
        assert_eq!(ringate.get("/").status, 200);
        ringate.signal(Signal::KILL);
        ringate.wait();
    }
}

#[test]
fn an_address_may_be_removed_and_added_again_at_once() {
    let (first, second) = (free_address(), free_address());
    let backend = Backend::replying(OK);
    let one = at(first, &Setup::to(backend.address()).section(ADMIN));
    let both = one.replace(&format!("\"{first}\""), &format!("[\"{first}\", \"{second}\"]"));
    let ringate = Ringate::start(&both);
    for text in [&one, &both, &one, &both] {
        fs::write(ringate.dir().join("ringate.toml"), text).unwrap();
        let output = command(ringate.dir(), "reload");
        assert!(output.status.success(), "{}", said(&output));
    }
    assert!(Client::try_connect(second).is_ok());
}

#[test]
fn an_address_beside_that_of_all_is_taken_by_a_start_and_a_reload_alike() {
    let port = free_address().port();
    let backend = Backend::replying(OK);
    let own: SocketAddr = ([127, 0, 0, 1], port).into();
    let one = at(own, &Setup::to(backend.address()).section(ADMIN));
    for both in [format!("[\"0.0.0.0:{port}\", \"{own}\"]"), format!("[\"{own}\", \"0.0.0.0:{port}\"]")] {
        let both = one.replace(&format!("\"{own}\""), &both);
        let ringate = Ringate::start(&both);
        let mut client = Client::connect(([127, 0, 0, 2], port).into());
        assert_eq!(client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response().status, 200);
        drop(ringate);
        let ringate = Ringate::start(&one);
        fs::write(ringate.dir().join("ringate.toml"), &both).unwrap();
        let output = command(ringate.dir(), "reload");
        assert!(output.status.success(), "{}", said(&output));
    }
}

#[test]
fn ipv6_is_alone_unless_the_listener_says_otherwise() {
    let Ok(_there) = TcpListener::bind("[::1]:0") else { return };
    let backend = Backend::replying(OK);
    for (line, both) in [("", false), ("ipv6_only = true", false), ("ipv6_only = false", true)] {
        let setup = Setup::to(backend.address()).section("[log]\naccess = \"stdout\"").listener(line);
        let port = free_address().port();
        let ringate = Ringate::start(&setup.text().replace("127.0.0.1:0", &format!("[::]:{port}")));
        assert!(Client::try_connect(format!("[::1]:{port}").parse().unwrap()).is_ok(), "{line}");
        let v4 = Client::try_connect(([127, 0, 0, 1], port).into());
        assert_eq!(v4.is_ok(), both, "{line}");
        if let Ok(mut client) = v4 {
            client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").response();
            assert!(!ringate.await_log("127.0.0.1").contains("::ffff"), "{}", ringate.log());
            let log = ringate.await_log("GET /");
            assert!(log.contains("127.0.0.1") && !log.contains("::ffff"), "{log}");
        }
    }
}

fn with_admin(listen: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("token"), "0123456789abcdef0123456789abcdef").unwrap();
    fs::set_permissions(dir.path().join("token"), fs::Permissions::from_mode(0o600)).unwrap();
    let admin = format!("[admin]\nlisten = \"{listen}\"\ntoken_file = \"token\"");
    let admin = if listen.starts_with("unix") { admin.replace("token_file = \"token\"", "") } else { admin };
    fs::write(dir.path().join("ringate.toml"), Setup::to(free_address()).section(&admin).text()).unwrap();
    dir
}

#[test]
fn an_admin_address_that_can_not_be_had_is_found_before_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = with_admin(&taken.local_addr().unwrap().to_string());
    refused(dir.path(), "in use");
    drop(taken);
    let other = with_admin("192.0.2.1:9000");
    refused(other.path(), "192.0.2.1:9000");
    let file = with_admin("unix:token");
    refused(file.path(), "not a socket");
    // The instance that runs is the one that has it.
    let dir = with_admin(&free_address().to_string());
    let ringate = Ringate::start_in(dir, 1);
    let checked = command(ringate.dir(), "check");
    assert!(checked.status.success() && said(&checked).contains("a ringate that runs"), "{}", said(&checked));
    let dir = with_admin("unix:run/admin.sock");
    let ringate = Ringate::start_in(dir, 1);
    ringate.admin("/readyz");
    let checked = command(ringate.dir(), "check");
    assert!(checked.status.success() && said(&checked).contains("a ringate that runs"), "{}", said(&checked));
}

#[test]
fn an_admin_address_that_is_let_go_of_within_a_moment_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = with_admin(&taken.local_addr().unwrap().to_string());
    let release = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(700));
        drop(taken);
    });
    Ringate::start_in(dir, 1).terminate();
    release.join().unwrap();
}
