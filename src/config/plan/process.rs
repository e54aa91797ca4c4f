//! `[process]`

use super::At;

/// What the process may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The user that it becomes once its addresses are bound; `None`: it stays what it is.
    pub user: Option<At<String>>,
    /// The group in the place of the user's.
    pub group: Option<At<String>>,
    /// Whether it can open only the files that the config names.
    pub landlock: bool,
    /// Whether system calls are filtered.
    pub seccomp: SeccompMode,
    /// Whether rings are restricted to the operations that are used.
    pub restrict_rings: bool,
}

impl Default for Process {
    fn default() -> Self {
        let seccomp = SeccompMode::Off;
        Self { user: None, group: None, landlock: false, seccomp, restrict_rings: true }
    }
}

/// `process.seccomp`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeccompMode {
    /// All are allowed.
    Off,
    /// Others than those that are used are logged.
    Log,
    /// They are refused.
    On,
}

impl SeccompMode {
    /// As the config has it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Log => "log",
            Self::On => "on",
        }
    }
}
