//! The whole story of a cloud gateway that makes its own client certificates, by its commands: generate, export, trust
//! it at the backend, try, activate, remove the old one at the backend, delete the old one. Production and development
//! are environments of one upstream, and hold different certificates.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::kit::*;
use crate::support::*;

/// `ringate cert` with these words, on the config in `dir`. Under full load it may take a while.
fn cert(dir: &Path, words: &str) -> Output {
    let config = dir.join("ringate.toml");
    let words: Vec<&str> = words.split(' ').collect();
    Ringate::command().current_dir(dir).arg("cert").args(words).arg("-c").arg(config).output().unwrap()
}

/// The same; it must succeed. Returns what it printed.
#[track_caller]
fn did(dir: &Path, words: &str) -> String {
    let output = cert(dir, words);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{words}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The same; it must fail. Returns all that it printed.
#[track_caller]
fn refused(dir: &Path, words: &str) -> String {
    let output = cert(dir, words);
    assert_eq!(output.status.code(), Some(1), "{words}");
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

fn export(dir: &Path, name: &str, part: &str, file: &str) -> PathBuf {
    did(dir, &format!("export {name} --part {part} --out {file}"));
    dir.join(file)
}

fn config(pki: &Pki, production: &Judge, development: &Judge) -> String {
    let listener = |name: &str| {
        format!("[[listener]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\nenvironment = \"{name}\"\n")
    };
    let overlay = |name: &str, judge: &Judge| {
        format!(
            "[upstream.app.environment.{name}]\nendpoints = [\"{}\"]\ntls.certificate = \"gateway-{name}\"\n",
            judge.address()
        )
    };
    format!(
        "[runtime]\nworkers = 2\n[admin]\n{}{}[[route]]\nlistener = [\"production\", \"development\"]\nupstream = \"app\"\n\
         [upstream.app]\nendpoints = [\"127.0.0.1:9\"]\ntimeouts = {{ connect = \"15s\" }}\n[upstream.app.tls]\n\
         server_name = \"localhost\"\ntrust = [{:?}]\n{}{}",
        listener("production"),
        listener("development"),
        pki.file("ca.pem"),
        overlay("production", production),
        overlay("development", development),
    )
}

fn get(ringate: &Ringate, listener: &str) -> Response {
    let mut client = Client::connect(ringate.address_of(listener));
    client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").response()
}

fn status(ringate: &Ringate) -> String {
    let config = ringate.dir().join("ringate.toml");
    let output = Ringate::command().args(["status", "-c"]).arg(config).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// wrk on 64 connections until it is over. Each request says when it was begun.
fn load(ringate: &Ringate, over: &Arc<AtomicBool>) -> std::thread::JoinHandle<String> {
    let script = ringate.dir().join("started.lua");
    let text = format!(
        "local ffi = require(\"ffi\")\n\
         ffi.cdef[[ typedef struct {{ long s; long us; }} when; int gettimeofday(when *now, void *zone); ]]\n\
         local now = ffi.new(\"when\")\n\
         function request()\n\
         ffi.C.gettimeofday(now, nil)\n\
         local millis = tonumber(now.s) * 1000 + math.floor(tonumber(now.us) / 1000)\n\
         return wrk.format(nil, nil, {{ [\"{STARTED}\"] = string.format(\"%.0f\", millis) }})\n\
         end\n"
    );
    std::fs::write(&script, text).unwrap();
    let url = format!("http://{}", ringate.address_of("production"));
    let over = Arc::clone(over);
    std::thread::spawn(move || {
        let mut said = String::new();
        while !over.load(Ordering::Acquire) {
            said += &wrk(&url, 64, 2, &["--timeout", "10s"], Some(&script));
        }
        said
    })
}

#[test]
fn generate_export_trust_try_activate_and_let_the_old_one_go() {
    for version in VERSIONS {
        let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
        let at = dir.path();
        // Before anything runs, on the store itself.
        let judges = [(); 2].map(|()| Judge::start(&pki, version, &[&pki.file("ca.pem")]));
        let [production, development] = &judges;
        std::fs::write(at.join("ringate.toml"), config(&pki, production, development)).unwrap();
        for name in ["production", "development"] {
            did(at, &format!("generate gateway-{name} --common-name {name}-1 --organization Example"));
        }
        let production_1 = export(at, "gateway-production", "active", "production-1.pem");
        production.trust(&[&production_1]);
        development.trust(&[&export(at, "gateway-development", "active", "development-1.pem")]);
        let ringate = Ringate::start_in(dir, 2);
        told(&ringate, &production_1, production);
        assert_eq!(get(&ringate, "development").text(), "development-1", "which never noticed");
        assert_eq!(development.asked("production-2").requests, 0);
        let used = refused(ringate.dir(), "delete gateway-production");
        assert!(used.contains("environment \"production\" of upstream \"app\" (client identity)"), "{used}");
    }
}

/// The rotation of production, while it is asked all the time.
fn told(ringate: &Ringate, production_1: &Path, production: &Judge) {
    let dir = ringate.dir();
    assert_eq!(get(ringate, "production").text(), "production-1");
    assert_eq!(get(ringate, "development").text(), "development-1");
    let over = Arc::new(AtomicBool::new(false));
    let load = load(ringate, &over);
    eventually("full load", || (production.asked("production-1").requests > 500).then_some(()));

    let staged = did(dir, "stage gateway-production --generate --common-name production-2");
    assert!(staged.contains("generation 2 is staged"), "{staged}");
    let production_2 = export(dir, "gateway-production", "staged", "production-2.pem");
    // The backend does not know it yet: the trial says so, and nothing changes.
    let trial = refused(dir, "trial gateway-production");
    assert!(trial.contains("not passed") && trial.contains(": REFUSED (alert "), "{trial}");
    assert!(trial.contains("app@production") && !trial.contains("app@development"), "{trial}");
    let activate = refused(dir, "activate gateway-production");
    assert!(activate.contains("did not pass its trial"), "{activate}");
    // Trust it there, try, activate.
    production.trust(&[production_1, &production_2]);
    let trial: Value = serde_json::from_str(&did(dir, "trial gateway-production --json")).unwrap();
    assert_eq!((&trial["passed"], &trial["endpoints"][0]["outcome"]), (&true.into(), &"accepted".into()));
    let activated: Value = serde_json::from_str(&did(dir, "activate gateway-production --json")).unwrap();
    let since = millis();
    assert_eq!(
        (&activated["active"], &activated["live"], &activated["forced"]),
        (&2.into(), &true.into(), &false.into())
    );
    eventually("requests on the new one", || (production.asked("production-2").requests > 500).then_some(()));
    eventually("the old one being safe to revoke", || {
        status(ringate).contains("generation 1 is safe to revoke").then_some(())
    });
    // Remove the old one there, delete it here.
    production.trust(&[&production_2]);
    assert!(did(dir, "retire gateway-production").contains("generation 1 is retired"));
    over.store(true, Ordering::Release);
    let said = load.join().unwrap();
    for bad in ["Socket errors", "Non-2xx"] {
        assert!(!said.contains(bad), "{said}\n{}", ringate.log());
    }
    let (old, new) = (production.asked("production-1"), production.asked("production-2"));
    println!("{old:?} {new:?}, activated at {since}\n{said}");
    let late = old.started.saturating_sub(since);
    assert!(late <= 100, "a request that began {late} ms after the activation went out on the old one");
    assert!(new.started > since);
    assert!(!dir.join("certs/gateway-production/000001/key.pem").exists(), "its key is gone");
    assert!(refused(dir, "rollback gateway-production").contains("no previous generation"));
    assert_eq!(get(ringate, "production").text(), "production-2");
}
