//! What `ringate --version --verbose` says of the build: the commit, the target, the compiler. And the console's page.

use std::env;
use std::path::Path;
use std::process::Command;

#[path = "build/console.rs"]
mod console;

fn main() {
    console::assemble();
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=RINGATE_COMMIT");
    println!("cargo:rustc-env=RINGATE_COMMIT={}", commit());
    println!("cargo:rustc-env=RINGATE_TARGET={}", env::var("TARGET").unwrap_or_default());
    println!("cargo:rustc-env=RINGATE_PROFILE={}", profile());
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    println!(
        "cargo:rustc-env=RINGATE_COMPILER={}",
        first_line(Command::new(rustc).arg("--version")).unwrap_or_default()
    );
}

/// Of `RINGATE_COMMIT` where it is set (a packager's), else of git; `unknown` where there is neither, as in an archive
/// of the sources. Builds for development do not ask: each commit would build everything anew.
fn commit() -> String {
    if let Some(given) = env::var("RINGATE_COMMIT").ok().filter(|given| is_word(given)) {
        return given;
    }
    if env::var("PROFILE").as_deref() != Ok("release") {
        return "unknown".to_owned();
    }
    let root = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let git = |arguments: &[&str]| first_line(Command::new("git").arg("-C").arg(&root).args(arguments));
    // Another repository that the sources lie in, unpacked, says nothing of them.
    let tracked = git(&["ls-files", "--error-unmatch", "build.rs"]).is_some();
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]).filter(|commit| tracked && is_word(commit))
    else {
        return "unknown".to_owned();
    };
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file]).map(|path| Path::new(&root).join(path))
            && path.exists()
        {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
    // With any rerun-if line, cargo no longer looks at the sources by itself, which make a build differ from its commit.
    const SOURCES: [&str; 4] = ["src", "build", "Cargo.toml", "Cargo.lock"];
    for source in SOURCES {
        println!("cargo:rerun-if-changed={root}/{source}");
    }
    let changed = git(&[&["status", "--porcelain", "--untracked-files=no", "--"], &SOURCES[..]].concat());
    if changed.is_some() { format!("{commit} with changes") } else { commit }
}

/// The profile's name: the folder that it is built in.
fn profile() -> String {
    let out = env::var("OUT_DIR").unwrap_or_default();
    let folder = Path::new(&out).ancestors().nth(3).and_then(Path::file_name);
    folder.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte))
}

/// The first line of what a program says; `None` if it says nothing or fails.
fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned)
}
