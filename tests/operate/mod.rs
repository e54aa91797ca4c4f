//! What operators ask of a proxy beside passing requests on: a log of them, rules for them, words for failures.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::http::ok;
use crate::support::*;

mod access_log;
mod clients;
mod compression;
mod conditional_headers;
mod intercepted;
mod listener_rules;
mod mapped;
mod maps;
mod names;
mod pages;
mod refusals;
mod route_logs;
mod rules;

/// The value of a counter, summed over workers. The config needs `[admin]`.
fn metric(ringate: &Ringate, name: &str) -> u64 {
    let mut socket = UnixStream::connect(ringate.dir().join("run/admin.sock")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    let value = text.lines().find_map(|line| {
        let (found, value) = line.split_once(' ')?;
        (found.contains(name) && !found.starts_with('#')).then(|| value.trim().parse().unwrap())
    });
    value.unwrap_or_else(|| panic!("no {name} in\n{text}"))
}

/// Each is started as `scripts/bench --features` does it, and asked in the way that it says.
#[test]
fn the_configs_that_features_are_measured_with_do_what_they_say() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/features");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| !file.ends_with("keys.toml"));
    assert!(files.len() > 20);
    let backend = Backend::serving(|request| ok(request.line()));
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let said = |kind| text.lines().filter_map(move |line| line.strip_prefix("#: ")?.strip_prefix(kind));
        let path = said("path ").next().unwrap_or("/1k");
        let begins: String = said("begins ").map(|line| format!("{line}\r\n")).collect();
        let headers: String = said("header ").map(|header| format!("{header}\r\n")).collect();
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(folder.join("keys.toml"), dir.path().join("keys.toml")).unwrap();
        if said("credentials ").next().is_some() {
            fill(dir.path(), &std::fs::read_to_string(folder.join("keys.toml")).unwrap());
        }
        let text = text.replace("127.0.0.1:8080", "127.0.0.1:0");
        let config = text.replace("127.0.0.1:9000", &backend.address().to_string());
        std::fs::write(dir.path().join("ringate.toml"), config).unwrap();
        let ringate = Ringate::start_in(dir, 1);
        for asked in [path, "/echo"] {
            let request = format!("{begins}GET {asked} HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
            assert_eq!(ringate.client().send(request).response().status, 200, "{name}: {asked}");
            let reached = backend.request();
            let query = asked.split_once('?').map_or(String::new(), |(_, query)| format!("?{query}"));
            let meant = if asked == "/echo" { "/echo".to_owned() } else { format!("/1k{query}") };
            assert_eq!(reached.line(), format!("GET {meant}"), "{name}");
        }
    }
}

/// A store with a credential that has the key of `keys`, a file of API keys. The benchmark's has more.
fn fill(dir: &std::path::Path, keys: &str) {
    let digest = &keys.split("sha256 = \"").nth(1).unwrap()[..64];
    let since = "2026-01-01T00:00:00Z";
    let credential = format!(
        "name = \"c\"\nconsumer = \"bench\"\ndefinition = \"api-key\"\ncreated = \"{since}\"\n[state]\nis = \"active\"\n\
         since = \"{since}\"\nissued = \"{since}\"\n[[key]]\nsha256 = \"{digest}\"\ncreated = \"{since}\"\n"
    );
    for (folder, name, text) in [
        ("_consumers", "bench", format!("name = \"bench\"\ncreated = \"{since}\"\n")),
        ("_credentials", "c", credential),
    ] {
        let folder = dir.join("store").join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.toml")), text).unwrap();
    }
}
