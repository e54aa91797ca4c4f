//! Access logs: where their lines go, and which requests have one.

use std::fmt;
use std::path::PathBuf;

use super::At;
use crate::config::access::Format;

/// Where access-log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Standard output.
    Stdout,
    /// A file, appended to; resolved against the config file's folder.
    File(At<PathBuf>),
    /// Syslog messages over UDP to `HOST:PORT`.
    SyslogUdp(At<String>),
    /// Syslog messages to a Unix datagram socket.
    SyslogUnix(At<PathBuf>),
    /// Entries of systemd's journal, by the datagram socket of its native protocol.
    Journald(At<PathBuf>),
}

impl fmt::Display for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("standard output"),
            Self::File(path) => path.display().fmt(f),
            Self::SyslogUdp(name) => write!(f, "syslog:{}", name.value),
            Self::SyslogUnix(path) => write!(f, "syslog:unix:{}", path.display()),
            Self::Journald(path) => write!(f, "journald:{}", path.display()),
        }
    }
}

/// `[log.named.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedLog {
    /// Its name.
    pub name: String,
    /// `access`
    pub access: AccessLog,
    /// `access_format`, with `log.redact` in it. Default: as `log.access_format`.
    pub format: Format,
}

/// `route.access_log`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteLog {
    /// Which log has the lines of the route.
    pub log: LogChoice,
    /// `sample`: the share of requests that have a line, in millionths; those that failed have one in any case.
    pub sample: u32,
}

/// A log of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogChoice {
    /// None.
    Off,
    /// `log.access`
    Main,
    /// `[log.named.NAME]`
    Named(At<String>),
}
