//! What packages are made of fits together: the files that Cargo.toml names, the unit, the maintainer scripts, the configs
//! that packages begin with, the container's seccomp profile. `scripts/package-test` shows that the packages work.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::*;

/// What `scripts/package` makes, and no repository has.
const MADE: &str = "target/package/parts/";
/// Folders that the unit lets the service write, by the directive that makes them.
const FOLDERS: [(&str, &str); 3] =
    [("StateDirectory=", "/var/lib/"), ("LogsDirectory=", "/var/log/"), ("RuntimeDirectory=", "/run/")];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// `[package.metadata.deb]`.
fn package() -> toml::Table {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    manifest["package"]["metadata"]["deb"].as_table().unwrap().clone()
}

/// The package's files: where each comes from, and where it is installed.
fn assets() -> Vec<(String, String)> {
    let text = |value: &toml::Value| value.as_str().unwrap().to_owned();
    let assets = package()["assets"].as_array().unwrap().clone();
    let assets = assets.iter().map(|asset| asset.as_array().unwrap());
    let assets: Vec<_> = assets.map(|asset| (text(&asset[0]), text(&asset[1]))).collect();
    assert!(assets.len() > 10);
    assets
}

/// The values of a directive of the unit.
fn unit(directive: &str) -> Vec<String> {
    let unit = read("config/ringate.service");
    let values = unit.lines().filter_map(|line| line.strip_prefix(directive)).map(str::to_owned);
    values.collect()
}

#[test]
fn every_file_of_the_package_exists_or_is_made_by_its_script() {
    let script = read("scripts/package");
    for (source, _) in assets() {
        if let Some(made) = source.strip_prefix(MADE) {
            let first = made.split('/').next().unwrap();
            assert!(script.contains(&format!("$parts/{first}")), "scripts/package makes no {source}");
            continue;
        }
        let (folder, pattern) = source.rsplit_once('/').unwrap_or(("", &source));
        let Some((start, end)) = pattern.split_once('*') else {
            assert!(root().join(&source).is_file(), "there is no {source}");
            continue;
        };
        let mut names = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().file_name());
        let fits = |name: &str| name.starts_with(start) && name.ends_with(end);
        assert!(names.any(|name| fits(&name.to_string_lossy())), "nothing fits {source}");
    }
    for key in ["license-file", "maintainer-scripts"] {
        let value = package()[key].clone();
        let path = value.as_str().or_else(|| value.as_array()?[0].as_str()).unwrap().to_owned();
        assert!(root().join(&path).exists(), "{key}: {path}");
    }
}

#[test]
fn the_unit_uses_the_paths_of_the_package() {
    let installed: BTreeSet<String> = assets().into_iter().map(|(_, path)| format!("/{path}")).collect();
    for directive in ["ExecStart=", "ExecReload="] {
        let commands = unit(directive);
        let [command] = &commands[..] else { panic!("{directive} {commands:?}") };
        let words: Vec<_> = command.split_whitespace().collect();
        assert!(installed.contains(words[0]), "{command}");
        assert!(installed.contains(*words.last().unwrap()), "{command}");
    }
    for file in package()["conf-files"].as_array().unwrap() {
        assert!(installed.contains(file.as_str().unwrap()), "{file}");
    }
    // It would find the addresses in use at a restart: systemd keeps the sockets.
    assert!(unit("ExecStartPre=").is_empty());
    // Debian 12 has systemd 252, which does not know `notify-reload` and would take the service for a simple one.
    assert_eq!(unit("Type="), ["notify"]);
    let scripts = ["postinst", "prerm", "postrm"].map(|name| read(&format!("config/package/debian/{name}")));
    let scripts = scripts.concat();
    for user in [unit("User="), unit("Group=")].concat() {
        assert!(scripts.contains(&format!("--no-create-home {user}\n")), "no script makes {user}");
    }
    // The modes of folders are those of the unit, which would change them at the start.
    for (directive, mode) in [("StateDirectory", "0700"), ("LogsDirectory", "0750")] {
        assert_eq!(unit(&format!("{directive}Mode=")), [mode]);
        let (_, parent) = FOLDERS.iter().find(|(name, _)| name.starts_with(directive)).unwrap();
        let name = unit(&format!("{directive}="));
        assert!(scripts.contains(&format!("folder {parent}{} {mode}\n", name[0])), "{directive}");
    }
}

#[test]
fn the_service_may_write_what_its_first_config_has_it_write() {
    for config in ["config/package/ringate.toml", "config/container/ringate.toml"] {
        let text = read(config);
        let table: toml::Table = text.parse().unwrap();
        let listen = table["admin"]["listen"].as_str().unwrap();
        let mut written =
            vec![listen.strip_prefix("unix:").unwrap(), table["store"]["path"].as_str().unwrap()];
        written.extend(table["log"]["access"].as_str().filter(|path| path.starts_with('/')));
        for path in written {
            let folder = FOLDERS.iter().map(|(directive, parent)| format!("{parent}{}/", unit(directive)[0]));
            assert!(folder.into_iter().any(|folder| path.starts_with(&folder)), "{config}: {path}");
        }
        // Whatever listens on the port of the file where the tests run, and whoever runs them.
        let dir = tempfile::tempdir().unwrap();
        for folder in ["run", "lib", "log"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let text = FOLDERS.iter().fold(text.replace(":8080\"", ":0\""), |text, (_, parent)| {
            let short = parent.trim_end_matches('/').rsplit('/').next().unwrap();
            text.replace(&format!("{parent}ringate/"), &format!("{}/", dir.path().join(short).display()))
        });
        assert!(text.contains(":0\"") && !text.contains("\"/var/"), "{text}");
        fs::write(dir.path().join("ringate.toml"), text).unwrap();
        let output = run(Ringate::command().args(["check", "-c"]).arg(dir.path().join("ringate.toml")));
        assert_eq!(output.status.code(), Some(0), "{config}: {output:?}");
        let ringate = Ringate::start_in(dir, 1);
        assert_eq!(ringate.get("/").status, 200, "{config}");
        let ready =
            run(Ringate::command().args(["status", "--ready", "-c"]).arg(ringate.dir().join("ringate.toml")));
        assert_eq!(ready.stdout, b"ready\n", "{config}: {ready:?}");
    }
}

#[test]
fn a_package_of_the_default_config_listens_on_loopback_alone() {
    let table: toml::Table = read("config/package/ringate.toml").parse().unwrap();
    for listener in table["listener"].as_array().unwrap() {
        assert!(listener["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{listener}");
    }
}

#[test]
fn scripts_of_packages_are_whole() {
    for name in ["postinst", "prerm", "postrm"] {
        let path = root().join("config/package/debian").join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("#!/bin/sh\n") && text.contains("\nset -e\n"), "{name}");
        assert_eq!(
            text.matches("\n#DEBHELPER#\n").count(),
            1,
            "{name}: cargo-deb puts the unit's part there"
        );
        let output = run(Command::new("sh").arg("-n").arg(&path));
        assert!(output.status.success(), "{name}: {output:?}");
    }
    for name in ["package", "package-test"] {
        let output = run(Command::new("bash").arg("-n").arg(root().join("scripts").join(name)));
        assert!(output.status.success(), "{name}: {output:?}");
    }
}

/// The names behind `libc::SYS_`, those of x86-64 alone apart.
fn allowed_calls() -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut everywhere, mut older) = (BTreeSet::new(), BTreeSet::new());
    let mut before = "";
    let text = read("src/server/syscalls.rs");
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("libc::SYS_") {
            let of = if before.starts_with("#[cfg(target_arch") { &mut older } else { &mut everywhere };
            of.insert(name.trim_end_matches(',').to_owned());
        }
        before = line;
    }
    assert!(everywhere.len() > 100 && older.len() > 10);
    (everywhere, older)
}

/// The form is that of `--security-opt seccomp=`: Docker's documentation, "Seccomp security profiles for Docker".
#[test]
fn the_containers_profile_allows_what_ringate_allows_itself() {
    let profile: Value = serde_json::from_str(&read("config/container/seccomp.json")).unwrap();
    assert_eq!(
        (&profile["defaultAction"], &profile["defaultErrnoRet"]),
        (&"SCMP_ACT_ERRNO".into(), &1.into())
    );
    let architectures: Vec<_> =
        profile["archMap"].as_array().unwrap().iter().map(|entry| entry["architecture"].clone()).collect();
    assert_eq!(architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"]);
    let (mut everywhere, mut older, mut bounded) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for rule in profile["syscalls"].as_array().unwrap() {
        let keys: BTreeSet<&str> = rule.as_object().unwrap().keys().map(String::as_str).collect();
        let known = BTreeSet::from(["action", "args", "comment", "errnoRet", "includes", "names"]);
        assert!(keys.is_subset(&known), "{keys:?}");
        let names = rule["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned());
        match (rule["action"].as_str().unwrap(), rule.get("args"), rule.get("includes")) {
            ("SCMP_ACT_ALLOW", None, None) => everywhere.extend(names),
            ("SCMP_ACT_ALLOW", None, Some(_)) => {
                assert_eq!(rule["includes"]["arches"], serde_json::json!(["amd64"]));
                older.extend(names);
            }
            // Threads and processes, in no new namespace (CLONE_NEW…).
            ("SCMP_ACT_ALLOW", Some(args), None) => {
                assert_eq!(
                    (&args[0]["value"], &args[0]["op"]),
                    (&0x7e02_0000.into(), &"SCMP_CMP_MASKED_EQ".into())
                );
                bounded.extend(names);
            }
            ("SCMP_ACT_ERRNO", None, None) => {
                assert_eq!(rule["errnoRet"], 38, "ENOSYS: the C library takes another call");
                bounded.extend(names);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bounded, ["clone", "clone3"].map(String::from).into());
    for call in ["io_uring_setup", "io_uring_enter", "io_uring_register"] {
        assert!(everywhere.contains(call), "{call}");
    }
    let (own, own_older) = allowed_calls();
    let own: BTreeSet<_> = own.difference(&bounded).cloned().collect();
    assert!(
        own.is_subset(&everywhere),
        "not in the profile: {:?}",
        own.difference(&everywhere).collect::<Vec<_>>()
    );
    assert_eq!(older, own_older);
    let more = ["capget", "capset", "setgid", "setgroups", "setresgid", "setresuid", "setuid"];
    let more: BTreeSet<_> = more.map(String::from).into();
    assert_eq!(everywhere.difference(&own).cloned().collect::<BTreeSet<_>>(), more);
}

#[test]
fn the_image_runs_as_another_user_and_asks_the_binary_for_its_health() {
    let file = read("config/container/Containerfile");
    let lines: Vec<&str> = file.lines().collect();
    let config = lines.iter().find_map(|line| line.strip_prefix("CMD ")).unwrap();
    let config: Vec<String> = serde_json::from_str(config).unwrap();
    assert_eq!(config, ["run", "-c", "/etc/ringate/ringate.toml"]);
    assert!(lines.contains(&"USER 65532:65532") && lines.contains(&"EXPOSE 8080"), "{file}");
    let health = lines.iter().find(|line| line.starts_with("HEALTHCHECK ")).unwrap();
    let health: Vec<String> = serde_json::from_str(health.split_once(" CMD ").unwrap().1).unwrap();
    assert_eq!(health[0], "/usr/bin/ringate");
    let words: Vec<&str> =
        health[1..].iter().map(String::as_str).filter(|word| !word.starts_with('/')).collect();
    assert_eq!(words, ["status", "--ready", "-c"]);
    // What is copied is what `scripts/package` makes.
    let script = read("scripts/package");
    for folder in lines.iter().filter_map(|line| line.strip_prefix("COPY ")) {
        let source = folder.split_whitespace().find(|word| !word.starts_with("--")).unwrap();
        assert!(script.contains(&format!("$image/{}", source.trim_end_matches('/'))), "{source}");
    }
}
