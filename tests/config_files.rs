//! A config of several files, with values from the environment and from files: start, check, reload and changes take all of it.

use std::fs;
use std::path::Path;
use std::process::Output;

use rustix::process::Signal;
use serde_json::json;

use crate::admin::{call, text};
use crate::http::OK;
use crate::support::*;

fn check(dir: &Path, adjust: impl FnOnce(&mut std::process::Command)) -> Output {
    let mut command = Ringate::command();
    command.current_dir(dir).args(["check", "-c", "ringate.toml"]);
    adjust(&mut command);
    run(&mut command)
}

/// Waits until a signal has led to one more reload.
fn reload(ringate: &Ringate) {
    let before = ringate.log().matches("reloaded (SIGHUP)").count();
    ringate.signal(Signal::HUP);
    eventually("the reload", || (ringate.log().matches("reloaded (SIGHUP)").count() > before).then_some(()));
}

fn app(name: &str, backend: &Backend) -> String {
    format!(
        "[[route]]\npath = \"/{name}\"\nupstream = \"{name}\"\n\n[upstream.{name}]   # of {name}\nendpoints = [\"{}\"]\n",
        backend.address()
    )
}

const MAIN: &str = "include = [\"conf.d/*.toml\"]\n[admin]\naudit = \"audit.log\"\n[[listener]]\nname = \"web\"\n\
                    address = \"127.0.0.1:0\"\n";

#[test]
fn included_files_are_run_reloaded_and_changed_where_their_sections_stand() {
    let (one, two) = (Backend::replying(OK), Backend::replying(OK));
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("conf.d");
    fs::create_dir(&folder).unwrap();
    fs::write(dir.path().join("ringate.toml"), MAIN).unwrap();
    fs::write(folder.join("a.toml"), app("a", &one)).unwrap();
    let ringate = Ringate::start_in(dir, 1);
    let folder = ringate.dir().join("conf.d");
    assert_eq!((ringate.get("/a").status, ringate.get("/b").status), (200, 404));
    fs::write(folder.join("b.toml"), app("b", &two)).unwrap();
    let planned = run(Ringate::command().arg("plan").arg("-c").arg(ringate.dir().join("ringate.toml")));
    assert!(text(&planned.stdout).contains('b'), "{}", text(&planned.stdout));
    reload(&ringate);
    assert_eq!(ringate.get("/b").status, 200);
    // The change is written into the file that has the upstream, with its comments.
    let (status, answer) =
        call(&ringate, "PATCH", "/v1/upstreams/b", Some(json!({ "timeouts": { "response": "7s" } })));
    assert_eq!(status, 200, "{answer}");
    let (a, b) = (
        fs::read_to_string(folder.join("a.toml")).unwrap(),
        fs::read_to_string(folder.join("b.toml")).unwrap(),
    );
    assert_eq!(a, app("a", &one));
    assert!(b.contains("[upstream.b]   # of b") && b.contains("timeouts.response = \"7s\""), "{b}");
    assert_eq!(fs::read_to_string(ringate.dir().join("ringate.toml")).unwrap(), MAIN);
    // A mistake names the file that has it, and nothing changes.
    fs::write(folder.join("c.toml"), app("a", &two).replace("/a", "/c")).unwrap();
    ringate.signal(Signal::HUP);
    ringate.await_log("[upstream.a] stands in two files");
    assert_eq!(ringate.get("/a").status, 200);
    let (status, answer) = call(&ringate, "POST", "/v1/plan", Some(json!({})));
    assert_eq!(status, 422, "{answer}");
    assert!(answer["errors"][0]["file"].as_str().unwrap().ends_with("conf.d/c.toml"), "{answer}");
    let output = check(ringate.dir(), |_| {});
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("--> conf.d/c.toml:5:") && said.contains("conf.d/a.toml:5"), "{said}");
}

#[test]
fn an_include_that_fails_is_shown_at_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let backend = Backend::replying(OK);
    let complain = |include: &str| {
        let main = MAIN.replace("[\"conf.d/*.toml\"]", include) + &app("a", &backend);
        fs::write(dir.path().join("ringate.toml"), main).unwrap();
        let output = check(dir.path(), |_| {});
        (output.status.code(), text(&output.stderr).to_owned())
    };
    let (code, said) = complain("[\"none/*.toml\"]");
    assert!(
        code == Some(1) && said.contains("--> ringate.toml:1:12") && said.contains("No such file"),
        "{said}"
    );
    let (code, said) = complain("[\"none.toml\"]");
    assert!(code == Some(1) && said.contains("none.toml"), "{said}");
    let (code, said) = complain("[\"ringate.toml\"]");
    assert!(code == Some(1) && said.contains("includes itself"), "{said}");
    // What is no file is not waited for, and what has no end is not read to it.
    run(std::process::Command::new("mkfifo").arg(dir.path().join("pipe.toml")));
    for other in ["[\"pipe.toml\"]", "[\"/dev/zero\"]"] {
        let (code, said) = complain(other);
        assert!(code == Some(1) && said.contains("this is not a file"), "{said}");
    }
    let pipe = "[\"*.none\"]\n[upstream.b]\nendpoints = [\"${file:pipe.toml}\"]";
    let (code, said) = complain(pipe);
    assert!(code == Some(1) && said.contains("this is not a file"), "{said}");
    for other in ["pipe.toml", "/dev/zero"] {
        let map = format!("[\"*.none\"]\n[map.tenant]\nfrom = \"{{request.host}}\"\nfile = \"{other}\"");
        let (code, said) = complain(&map);
        assert!(code == Some(1) && said.contains("this is not a file"), "{said}");
    }
    // A pattern that matches no file is fine.
    let (code, said) = complain("[\"*.none\"]");
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn references_are_read_again_by_a_reload_and_their_secrets_are_shown_nowhere() {
    let backend = Backend::serving(|request| {
        let got = request.header("authorization").unwrap_or("none").to_owned();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{got}", got.len()).into_bytes()
    });
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("token"), "first-s3cret\n").unwrap();
    let config = format!(
        "[admin]\naudit = \"audit.log\"\n[runtime]\nworkers = \"${{WORKERS}}\"\n[[listener]]\nname = \"web\"\n\
         address = \"127.0.0.1:0\"\n[[route]]\nupstream = \"app\"\n\
         headers.request.set = {{ Authorization = \"Bearer ${{file:token}}\" }}\n\
         [upstream.app]\nendpoints = [\"{}\"]\n",
        backend.address()
    );
    fs::write(dir.path().join("ringate.toml"), &config).unwrap();
    // Unset: the key and its line.
    let output = check(dir.path(), |command| {
        command.env_remove("WORKERS");
    });
    let said = text(&output.stderr);
    assert!(
        output.status.code() == Some(1)
            && said.contains("`runtime.workers`")
            && said.contains("`WORKERS` is not set"),
        "{said}"
    );
    assert!(said.contains("--> ringate.toml:4:11"), "{said}");
    let output = check(dir.path(), |command| {
        command.env("WORKERS", "1");
    });
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));

    let token = dir.path().join("token");
    // The instance has a folder of its own: there the reference has the whole path.
    let referring = format!("${{file:{}}}", token.display());
    let config = config.replace("${file:token}", &referring);
    let ringate = Ringate::start_with(&config, |command| {
        command.env("WORKERS", "1");
    });
    assert_eq!(ringate.get("/").text(), "Bearer first-s3cret");
    fs::write(&token, "second-s3cret").unwrap();
    reload(&ringate);
    assert_eq!(ringate.get("/").text(), "Bearer second-s3cret");
    let (status, answer) = call(&ringate, "PATCH", "/v1/upstreams/app", Some(json!({ "slow_start": "5s" })));
    assert_eq!(status, 200, "{answer}");
    let written = fs::read_to_string(ringate.dir().join("ringate.toml")).unwrap();
    assert!(written.contains(&referring) && written.contains("\"${WORKERS}\""), "{written}");
    // A file whose content is not valid is no reason to show it.
    let wrong = written.replace("slow_start = \"5s\"", &format!("slow_start = \"{referring}\""));
    assert_ne!(wrong, written);
    fs::write(ringate.dir().join("ringate.toml"), wrong).unwrap();
    ringate.signal(Signal::HUP);
    ringate.await_log("upstream.app.slow_start");
    let (status, answer) = call(&ringate, "POST", "/v1/plan", Some(json!({})));
    assert_eq!(status, 422, "{answer}");
    let audit = fs::read_to_string(ringate.dir().join("audit.log")).unwrap();
    for shown in [
        ringate.log(),
        audit,
        answer.to_string(),
        ringate.admin("/v1/routes"),
        ringate.admin("/v1/upstreams"),
    ] {
        assert!(!shown.contains("s3cret"), "{shown}");
    }
    // Commands find the instance by `[admin]` alone, whatever their environment lacks.
    let output = run(Ringate::command()
        .env_remove("WORKERS")
        .arg("status")
        .arg("-c")
        .arg(ringate.dir().join("ringate.toml")));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn a_key_is_explained() {
    let explain = |key: &str, json: bool| {
        let mut command = Ringate::command();
        command.args(["check", "--explain", key]);
        if json {
            command.arg("--json");
        }
        run(&mut command)
    };
    let output = explain("upstream.health.interval", false);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for part in [
        "upstream.NAME.health.interval",
        "type:     duration",
        "[upstream.orders.health]\n    interval = \"5s\"",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let output = explain("listener.http.max_concurrent_streams", true);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&found["default"], &found["range"], &found["type"]),
        (&json!("128"), &json!("1–10000"), &json!("integer"))
    );
    let output = explain("upstream.helth.interval", false);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("did you mean `upstream.health.interval`"),
        "{}",
        text(&output.stderr)
    );
}
