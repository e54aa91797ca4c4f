//! `[process]`: the process becomes another user before it serves, and can open no other files and make no other system calls than
//! it needs. What needs root is left out where the tests do not run as root.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::http::OK;
use crate::support::*;

/// The user of the tests: it is on every Debian, and has no rights.
const NOBODY: u32 = 65534;

/// A folder that any user may enter, with the config, its store and its socket's folder.
fn folder(config: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let open = |path: &Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    open(dir.path());
    std::fs::write(dir.path().join("ringate.toml"), config).unwrap();
    for inside in ["run", "certs"] {
        std::fs::create_dir(dir.path().join(inside)).unwrap();
        chown(dir.path().join(inside), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    dir
}

/// A line of the status of each thread of a process.
fn of_threads(pid: u32, name: &str) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let line = |entry: std::fs::DirEntry| {
        let text = std::fs::read_to_string(entry.path().join("status")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    threads.filter_map(|entry| line(entry.unwrap())).collect()
}

fn command(dir: &Path, args: &[&str]) -> std::process::Output {
    let mut command = Ringate::command();
    run(command.args(args).arg("-c").arg(dir.join("ringate.toml")))
}

#[test]
fn all_threads_are_another_user_without_ways_back_and_everything_works() {
    if !geteuid().is_root() {
        return;
    }
    let backend = Backend::replying(OK);
    let setup = Setup::to(backend.address()).workers(2);
    let all = "[process]\nuser = \"nobody\"\nlandlock = \"on\"\nseccomp = \"on\"\n[admin]\n[log]\naccess = \"./run/access.log\"";
    let config = setup.section(all).text();
    let dir = folder(&config);
    let ringate = Ringate::start_in(dir, 1);
    let check = |pid: u32| {
        for (name, value) in [("Uid", "65534 65534 65534 65534"), ("Groups", "65534"), ("Seccomp", "2")] {
            let threads = of_threads(pid, name);
            assert!(threads.len() > 4 && threads.iter().all(|thread| thread == value), "{name}: {threads:?}");
        }
        assert!(of_threads(pid, "NoNewPrivs").iter().all(|set| set == "1"));
        assert!(
            of_threads(pid, "Seccomp_filters").iter().all(|count| count == "1"),
            "one layer, also after upgrades"
        );
        assert!(of_threads(pid, "CapEff").iter().all(|set| set == "0000000000000000"));
    };
    check(ringate.pid());
    assert_eq!(ringate.get("/").status, 200);
    assert_eq!(ringate.metric("requests_total"), 1);
    let reload = command(ringate.dir(), &["reload"]);
    assert!(reload.status.success(), "{reload:?}");
    std::fs::rename(ringate.dir().join("run/access.log"), ringate.dir().join("run/old.log")).unwrap();
    ringate.signal(Signal::USR1);
    eventually("the log that is opened anew", || ringate.dir().join("run/access.log").exists().then_some(()));
    let generated =
        command(ringate.dir(), &["cert", "generate", "gateway", "--common-name", "gateway.example"]);
    assert!(generated.status.success(), "{generated:?}");
    let mut last = ringate.pid();
    for _ in 0..2 {
        let output = command(ringate.dir(), &["upgrade", "--json"]);
        assert!(output.status.success(), "{output:?}\n{}", ringate.log());
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        last = answer["pid"].as_u64().unwrap() as u32;
        check(last);
        assert_eq!(ringate.get("/").status, 200);
    }
    let log = ringate.log();
    kill_process(Pid::from_raw(last as i32).unwrap(), Signal::TERM).unwrap();
    assert!(!log.contains("panicked") && !log.contains("refused ("), "{log}");
    assert!(!log.contains("every worker runs on epoll"), "{log}");
}

#[test]
fn files_in_other_places_are_out_of_reach() {
    let (backend, pki) = (Backend::replying(OK), Pki::new());
    let config = Setup::to(backend.address()).section("[process]\nlandlock = \"on\"\n[admin]").text();
    let ringate = Ringate::start(&config);
    ringate.await_log("process.landlock");
    if ringate.log().contains("has no Landlock") {
        return;
    }
    assert_eq!(ringate.get("/").status, 200);
    assert!(command(ringate.dir(), &["reload"]).status.success());
    let other = format!(
        "{config}\n[[listener]]\nname = \"more\"\naddress = \"127.0.0.1:0\"\n{}\n",
        pki.listener_tls()
    );
    let other = other.replace("[[route]]\n", "[[route]]\nlistener = [\"web\", \"more\"]\n");
    let folder = tempfile::tempdir().unwrap();
    let root = format!("{config}\n[[route]]\npath = \"/files\"\nroot = \"{}\"\n", folder.path().display());
    for config in [other, root] {
        std::fs::write(ringate.dir().join("ringate.toml"), config).unwrap();
        let refused = command(ringate.dir(), &["reload"]);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && said.contains("Permission denied"), "{refused:?}");
    }
}

#[test]
fn files_that_references_name_are_within_reach() {
    let backend = Backend::replying(OK);
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let users = "auth.basic = { file = \"${file:place}/users\" }";
    let route = format!("[[route]]\nlistener = \"web\"\nupstream = \"app\"\n{users}");
    let config = Setup::to(backend.address())
        .section("[process]\nlandlock = \"on\"\n[admin]")
        .routes("[[route]]\nlistener = \"web\"\npath = \"/plain\"\nupstream = \"app\"")
        .text();
    std::fs::write(dir.path().join("place"), other.path().to_str().unwrap()).unwrap();
    std::fs::write(
        dir.path().join("ringate.toml"),
        format!("include = [\"${{file:place}}/*.toml\"]\n{config}"),
    )
    .unwrap();
    std::fs::write(other.path().join("route.toml"), route).unwrap();
    std::fs::write(other.path().join("users"), "alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n").unwrap();
    let ringate = Ringate::start_in(dir, 1);
    assert_eq!(ringate.get("/").status, 401);
    std::fs::rename(other.path().join("route.toml"), other.path().join("renamed.toml")).unwrap();
    let reloaded = command(ringate.dir(), &["reload"]);
    assert!(reloaded.status.success(), "{reloaded:?}");
}

#[test]
fn a_user_that_cannot_be_is_refused_with_what_to_do() {
    let backend = Backend::replying(OK);
    let text = |process: &str| Setup::to(backend.address()).section(&format!("[process]\n{process}")).text();
    let fails = |config: &str, uid: Option<u32>, expected: &str| {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(dir.path().join("ringate.toml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringate"));
        command.arg("run").arg("-c").arg(dir.path().join("ringate.toml")).env("NO_COLOR", "1");
        uid.map(|uid| command.uid(uid));
        let output = run(&mut command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains(expected), "{expected}: {output:?}");
    };
    fails(&text("user = \"no-such-user\""), None, "there is no user no-such-user");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ringate.toml"), text("user = \"no-such-user\"")).unwrap();
    let checked = command(dir.path(), &["check"]);
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(
        checked.status.code() == Some(1) && said.contains("there is no user no-such-user"),
        "{checked:?}"
    );
    fails(&text("group = \"daemon\""), None, "has no effect without `process.user`");
    if geteuid().is_root() && runs_as(NOBODY) {
        fails(&text("user = \"daemon\""), Some(NOBODY), "only root can become daemon");
    }
}

/// Whether that user can start the binary: its folder may be closed to it.
fn runs_as(uid: u32) -> bool {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringate"));
    command.arg("--version").uid(uid).output().is_ok_and(|output| output.status.success())
}
