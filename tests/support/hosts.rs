//! Names of the test's own: a library loaded before the C library answers getaddrinfo from a file.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

/// Lines of the file are a name and its addresses, as text. A name without addresses does not resolve; names that the file
/// does not have are the system's. The file is read for each look-up.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef int lookup(const char *, const char *, const struct addrinfo *, struct addrinfo **);
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    lookup *real = (lookup *)dlsym(RTLD_NEXT, "getaddrinfo");
    const char *path = getenv("TEST_HOSTS");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file || !name) { if (file) fclose(file); return real(name, service, hints, found); }
    char line[4096];
    int known = 0;
    struct addrinfo **end = found;
    *found = NULL;
    while (!known && fgets(line, sizeof line, file)) {
        char *rest = NULL;
        char *word = strtok_r(line, " \n", &rest);
        if (!word || strcmp(word, name)) continue;
        known = 1;
        while ((word = strtok_r(NULL, " \n", &rest))) {
            if (real(word, service, hints, end)) continue;
            while (*end) end = &(*end)->ai_next;
        }
    }
    fclose(file);
    if (!known) return real(name, service, hints, found);
    return *found ? 0 : EAI_NONAME;
}
"#;

/// A hosts file for programs that are started with it.
pub struct Hosts {
    dir: TempDir,
}

impl Hosts {
    /// With these lines.
    pub fn new(lines: &str) -> Self {
        let hosts = Self { dir: tempfile::tempdir().unwrap() };
        hosts.set(lines);
        hosts
    }

    /// Other lines from now on.
    pub fn set(&self, lines: &str) {
        let next = self.dir.path().join("next");
        std::fs::write(&next, lines).unwrap();
        std::fs::rename(next, self.file()).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("hosts")
    }

    /// Lets `command` resolve its names by this file.
    pub fn of(&self, command: &mut Command) {
        command.env("LD_PRELOAD", library()).env("TEST_HOSTS", self.file());
    }
}

/// The library, compiled once.
fn library() -> &'static Path {
    static BUILT: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, library) = BUILT.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let (source, library) = (dir.path().join("hosts.c"), dir.path().join("hosts.so"));
        std::fs::write(&source, SHIM).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl");
        let built = super::run(&mut compiler);
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        (dir, library)
    });
    library
}
