//! Which file a successor is started from, and with which arguments.

use std::env;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The command that this process was started by. Its file is looked up anew at each upgrade, so that one which has been
/// replaced, or a link that points elsewhere by now, is followed.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// As the command names it, from the root on.
    named: PathBuf,
    /// Where the system found it at the start.
    found: Option<PathBuf>,
    arguments: Vec<OsString>,
    /// How this process is confined, which its successor has from it.
    confined: Option<String>,
}

impl Program {
    /// The command of this process. To be called at its start, while its file is in place.
    pub(crate) fn of_this_process() -> Self {
        let mut arguments = env::args_os();
        let first = arguments.next().unwrap_or_default();
        let found = env::current_exe().ok();
        let named = search(Path::new(&first)).filter(|path| is_same(path, Path::new("/proc/self/exe")));
        let named = named.or_else(|| found.clone()).unwrap_or_else(|| first.into());
        Self { named, found, arguments: arguments.collect(), confined: None }
    }

    /// The same of a process that is confined so.
    pub(crate) fn confined(self, how: Option<String>) -> Self {
        Self { confined: how, ..self }
    }

    pub(super) fn how_confined(&self) -> Option<&str> {
        self.confined.as_deref()
    }

    /// The file to start now.
    pub(super) fn resolve(&self) -> PathBuf {
        let gone = !self.named.exists();
        self.found.as_ref().filter(|_| gone).unwrap_or(&self.named).clone()
    }

    pub(super) fn arguments(&self) -> &[OsString] {
        &self.arguments
    }
}

/// The file that a command's first word names (execvp(3)).
fn search(word: &Path) -> Option<PathBuf> {
    if word.components().count() > 1 {
        return std::path::absolute(word).ok();
    }
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join(word)).find(|path| path.is_file())
}

fn is_same(one: &Path, other: &Path) -> bool {
    let file = |path: &Path| path.metadata().ok().map(|facts| (facts.dev(), facts.ino()));
    file(one).is_some() && file(one) == file(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_again() {
        let program = Program::of_this_process();
        assert!(is_same(&program.resolve(), Path::new("/proc/self/exe")), "{program:?}");
        let moved = Program { named: "/nowhere/ringate".into(), ..program.clone() };
        assert_eq!(moved.resolve(), program.found.unwrap());
    }
}
