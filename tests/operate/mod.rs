//! What operators ask of a proxy beside passing requests on: a log of them, rules for them, words for failures.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::support::*;

mod access_log;
mod compression;
mod pages;
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

#[test]
fn the_configs_that_features_are_measured_with_hold() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/features");
    let configs: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(configs.len() > 5);
    for config in configs {
        let output = run(Ringate::command().arg("check").arg("-c").arg(&config));
        assert!(output.status.success(), "{}: {}", config.display(), String::from_utf8_lossy(&output.stderr));
    }
}
