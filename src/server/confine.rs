//! What this process may do, cut down to what it needs (`[process]`), in two steps:
//!
//! ```text
//! the config is loaded ─► files: Landlock, on the one thread that starts all others
//! addresses are bound, nothing is served ─► the user, on all threads ─► system calls: seccomp, on all threads
//! ```
//!
//! A successor of an upgrade has all of it from its predecessor, and adds nothing: each layer counts for ever.

use std::env;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus,
    path_beneath_rules,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter_all_threads};

use super::outside::Disk;
use super::syscalls::ALLOWED;
use crate::base::address::{Address, UNIX};
use crate::config::plan::{self, Admin, AdminAddress, Process, SeccompMode};
use crate::config::sources::replaced;
use crate::config::{Plan, Sources};
use crate::io::privileges::{self, User};

/// What a successor finds in its environment that is confined already.
pub(crate) const MARK: &str = "RINGATE_CONFINED";

const LANDLOCK: &str = "landlock";
const SECCOMP: &str = "seccomp";

/// What the system needs of its own files: name services, CA certificates, the C library of a successor.
const SYSTEM: [&str; 10] = [
    "/etc",
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
    "/usr/share",
    "/usr/local/share",
    "/proc",
    "/sys",
    "/run/systemd",
];
/// Devices that are written to.
const DEVICES: [&str; 3] = ["/dev/null", "/dev/urandom", "/dev/random"];

/// What is to be cut down.
#[derive(Debug)]
pub(crate) struct Confinement {
    process: Process,
    user: Option<User>,
    /// The files of Unix sockets, which the user must be able to remove.
    sockets: Vec<PathBuf>,
    files: Files,
    /// What the predecessor has done of it.
    done: Vec<String>,
}

#[derive(Debug, Default)]
struct Files {
    read: Vec<PathBuf>,
    written: Vec<PathBuf>,
}

impl Confinement {
    /// As the config in these files has it.
    ///
    /// # Errors
    /// There is no such user, or this process cannot become it; in words.
    pub(crate) fn of(plan: &Plan, sources: &Sources) -> Result<Self, String> {
        let process = plan.process.clone();
        let group = process.group.as_ref().map(|group| group.as_str());
        let user = process.user.as_ref().map(|user| User::find(user, group)).transpose()?;
        let user = user.filter(|user| !user.is_current());
        if let Some(user) = user.as_ref().filter(|_| !rustix::process::geteuid().is_root()) {
            return Err(format!(
                "process.user: only root can become {}: start as root, or as {} without this key",
                user.name(),
                user.name()
            ));
        }
        let admin = plan.admin.iter().flat_map(Admin::addresses).filter_map(|at| match &at.value {
            AdminAddress::Unix(path) => Some(path.clone()),
            AdminAddress::Tcp { .. } => None,
        });
        let addresses = plan.listeners.iter().flat_map(|listener| &listener.addresses);
        let listeners = addresses.filter_map(|at| match &at.value {
            Address::Unix(path) => Some(path.to_path_buf()),
            Address::Ip(_) => None,
        });
        let sockets: Vec<PathBuf> = admin.chain(listeners).filter(|path| !path.starts_with("@")).collect();
        let files = Files::of(plan, sources, &sockets);
        let done = env::var(MARK).unwrap_or_default().split(',').map(str::to_owned).collect();
        Ok(Self { process, user, sockets, files, done })
    }

    /// Whether anything is to be cut down.
    pub(crate) fn is_some(&self) -> bool {
        self.user.is_some() || self.process.landlock || self.process.seccomp != SeccompMode::Off
    }

    /// What a successor has from this process, in words that it knows.
    pub(crate) fn mark(&self) -> Option<String> {
        let seccomp = self.process.seccomp != SeccompMode::Off;
        let done = [(self.process.landlock, LANDLOCK), (seccomp, SECCOMP)];
        let words = done.iter().filter(|(done, word)| *done || self.is_done(word)).map(|(_, word)| *word);
        Some(words.collect::<Vec<_>>().join(",")).filter(|words| !words.is_empty())
    }

    fn is_done(&self, what: &str) -> bool {
        self.done.iter().any(|done| done == what)
    }

    /// The first step. On the main thread, before it starts those that are to be confined with it.
    ///
    /// # Errors
    /// The system refuses, in words. A kernel without Landlock is no error.
    pub(crate) fn restrict_files(&self) -> Result<(), String> {
        if !self.is_some() {
            return Ok(());
        }
        privileges::forbid_new_privileges().map_err(|error| format!("process: no_new_privs: {error}"))?;
        if !self.process.landlock || self.is_done(LANDLOCK) {
            return Ok(());
        }
        let (read, written) = (&self.files.read, &self.files.written);
        let all = AccessFs::from_all(ABI::V3);
        let rules = |ruleset: Ruleset| {
            ruleset
                .handle_access(all)?
                .create()?
                .add_rules(path_beneath_rules(read, AccessFs::from_read(ABI::V3)))?
                .add_rules(path_beneath_rules(written, all))?
                .restrict_self()
        };
        match rules(Ruleset::default()).map_err(|error| format!("process.landlock: {error}"))?.ruleset {
            RulesetStatus::NotEnforced => tracing::warn!(
                "process.landlock: this kernel has no Landlock, or it is not in its list (`lsm=`): files are not confined"
            ),
            _ => tracing::info!(
                "process.landlock: {} places can be read and {} written, as the config names them; others cannot, until a \
                 restart",
                read.len() + written.len(),
                written.len()
            ),
        }
        Ok(())
    }

    /// The second step. Addresses are bound, and nothing is served.
    ///
    /// # Errors
    /// The system refuses, in words.
    pub(crate) fn restrict_all(&self) -> Result<(), String> {
        if let Some(user) = &self.user {
            for socket in self.sockets.iter().filter(|path| path.exists()) {
                user.give(socket).map_err(|error| format!("{}: {error}", socket.display()))?;
            }
            user.assume().map_err(|error| format!("process.user: {}: {error}", user.name()))?;
            tracing::info!("process.user: all threads run as {}", user.name());
            self.warn_of_files(user);
        }
        if self.process.seccomp == SeccompMode::Off || self.is_done(SECCOMP) {
            return Ok(());
        }
        let failed = |error: &dyn std::fmt::Display| format!("process.seccomp: {error}");
        let program = filter(self.process.seccomp).map_err(|error| failed(&error))?;
        apply_filter_all_threads(&program).map_err(|error| failed(&error))?;
        tracing::info!(
            "process.seccomp: {} system calls are allowed ({})",
            ALLOWED.len(),
            self.process.seccomp.word()
        );
        Ok(())
    }

    /// A reload reads as the user what was read as root.
    fn warn_of_files(&self, user: &User) {
        use rustix::fs::{Access, access};
        for path in
            self.files.read.iter().filter(|path| !SYSTEM.iter().any(|system| path.starts_with(system)))
        {
            if path.exists() && access(path, Access::READ_OK).is_err() {
                tracing::warn!(
                    "{}: {} can't read it, so that a reload will fail",
                    path.display(),
                    user.name()
                );
            }
        }
    }
}

impl Files {
    /// Every path that the config names, and those of the process itself. A value that is a path is known by what it names: the
    /// folder of a file is read, so that a file which is replaced by another one is found.
    fn of(plan: &Plan, sources: &Sources, sockets: &[PathBuf]) -> Self {
        let folder = super::load::folder(&sources.first().path);
        let mut files = Self::default();
        for source in sources.files() {
            let beside = super::load::folder(&source.path);
            let patterns = included(&source.text).into_iter();
            let patterns = patterns.map(|pattern| replaced(&pattern, beside, &Disk).unwrap_or(pattern));
            // Files may be added later that a pattern of `include` matches.
            let folders = patterns.map(|pattern| parent(&beside.join(before_wildcard(&pattern))));
            files.read.extend(folders.filter(|folder| folder.is_dir()));
            files.written.push(beside.to_owned());
        }
        let words = sources.files().iter().flat_map(|source| strings(&source.text));
        let references = words.clone().flat_map(|word| referred(&word));
        let named = words.map(|word| replaced(&word, folder, &Disk).unwrap_or(word));
        for word in named.chain(references).collect::<Vec<_>>() {
            let word = ["file:", UNIX, "syslog:unix:", "journald:"]
                .iter()
                .find_map(|kind| word.strip_prefix(kind))
                .unwrap_or(&word);
            let path = folder.join(word);
            if word.len() > 1 && path.exists() {
                files.read.push(parent(&path));
            }
        }
        for route in &plan.routes {
            let plan::Destination::Files(served) = &route.to else { continue };
            files.read.push(served.root.clone());
            // A deployment changes where a link leads to: the folders beside its target are found, too.
            let target = served.root.canonicalize().ok().filter(|_| served.root.is_symlink());
            files.read.extend(target.as_deref().and_then(Path::parent).map(Path::to_owned));
        }
        files.read.extend(SYSTEM.map(PathBuf::from));
        files
            .read
            .extend(["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().filter_map(env::var_os).map(PathBuf::from));
        files.read.extend(env::current_exe().ok().map(|path| parent(&path)));
        files.read.extend(env::args_os().next().map(|path| parent(Path::new(&path))));
        // A change by the admin API replaces the file.
        files.written.push(plan.store.clone());
        files.written.extend(DEVICES.map(PathBuf::from));
        files.written.extend(sockets.iter().map(|path| parent(path)));
        let admin = plan.admin.iter().filter_map(|admin| admin.audit.as_deref());
        let logs = plan.log.access.iter().chain(plan.log.named.iter().map(|named| &named.access));
        let log = logs.filter_map(|access| match access {
            crate::config::plan::AccessLog::File(path) => Some(path.value.as_path()),
            _ => None,
        });
        files.written.extend(admin.chain(log).map(parent));
        for list in [&mut files.read, &mut files.written] {
            list.sort_unstable();
            list.dedup();
        }
        files
    }
}

/// The folder of a file, unless that is the root; of a folder, itself.
fn parent(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder {
        _ if path.is_dir() => path.to_owned(),
        Some(folder) if folder != Path::new("/") => folder.to_owned(),
        Some(_) => path.to_owned(),
        None => PathBuf::from("."),
    }
}

/// The patterns of `include`.
fn included(text: &str) -> Vec<String> {
    let table: toml::Table = text.parse().unwrap_or_default();
    let list = table.get("include").and_then(toml::Value::as_array);
    list.into_iter().flatten().filter_map(|entry| entry.as_str().map(str::to_owned)).collect()
}

/// A pattern up to its first part with a wildcard.
fn before_wildcard(pattern: &str) -> &str {
    let wildcard = pattern.find(['*', '?', '[']).unwrap_or(pattern.len());
    pattern[..wildcard].rfind('/').map_or("", |slash| &pattern[..=slash])
}

/// The files of references, `${file:PATH}`.
fn referred(word: &str) -> Vec<String> {
    let paths = word.split("${file:").skip(1).filter_map(|rest| rest.split_once('}'));
    paths.map(|(path, _)| path.to_owned()).collect()
}

/// Every text in a config.
fn strings(text: &str) -> Vec<String> {
    fn walk(value: &toml::Value, found: &mut Vec<String>) {
        match value {
            toml::Value::String(text) => found.push(text.clone()),
            toml::Value::Array(list) => list.iter().for_each(|value| walk(value, found)),
            toml::Value::Table(table) => table.values().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    if let Ok(table) = text.parse::<toml::Table>() {
        walk(&toml::Value::Table(table), &mut found);
    }
    found
}

/// The program that the kernel runs for each system call. It caches what is allowed whatever the arguments are, so that this costs
/// nothing that can be measured (Linux 5.11).
fn filter(mode: SeccompMode) -> Result<BpfProgram, seccompiler::BackendError> {
    let refused = match mode {
        SeccompMode::On => SeccompAction::Errno(rustix::io::Errno::PERM.raw_os_error() as u32),
        SeccompMode::Off | SeccompMode::Log => SeccompAction::Log,
    };
    let rules = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    SeccompFilter::new(rules, refused, SeccompAction::Allow, env::consts::ARCH.try_into()?)?.try_into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_wherever_the_config_has_them() {
        let text = "a = 'x'\n[t]\nlist = ['y', { deep = 'z' }]\nn = 1";
        let mut found = strings(text);
        found.sort();
        assert_eq!(found, ["x", "y", "z"]);
        assert_eq!(referred("Bearer ${file:a/b} ${X} ${file:c}"), ["a/b", "c"]);
        assert_eq!((before_wildcard("conf.d/*.toml"), before_wildcard("*.toml")), ("conf.d/", ""));
        assert_eq!(parent(Path::new("/etc/passwd")), Path::new("/etc"));
        assert_eq!((parent(Path::new("/etc")), parent(Path::new("/no"))), ("/etc".into(), "/no".into()));
    }

    #[test]
    fn the_filter_is_a_program() {
        for mode in [SeccompMode::Log, SeccompMode::On] {
            assert!(filter(mode).unwrap().len() > ALLOWED.len());
        }
    }
}
