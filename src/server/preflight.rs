//! What a start needs besides a config that holds: addresses, CPUs, a driver, the access log's folder. Tried without
//! taking anything.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{Access, access};

use super::machine;
use super::refused::point_at;
use super::sockets::{self, Sockets};
use super::supervisor::StartError;
use crate::base::address::Address;
use crate::config::plan::{AccessLog, Admin, AdminAddress, At, DriverSetting};
use crate::config::{Diagnostics, Plan};
use crate::io::privileges::User;
use crate::io::runtime;

/// Adds what would keep this process from starting `plan`. An address that another ringate has is a warning: that may be
/// the instance that is to take up the config.
pub(crate) fn preflight(plan: &Plan, problems: &mut Diagnostics) {
    if let Err(error) = machine::place_workers(&plan.runtime) {
        problems.error(0..0, error, None);
    }
    if let (DriverSetting::IoUring, Err(error)) = (plan.runtime.driver, runtime::detect()) {
        problems.error(0..0, format!("io_uring is refused by this system: {error}"), None);
    }
    if let Some(user) = &plan.process.user
        && let Err(reason) = User::find(user, plan.process.group.as_ref().map(|group| group.as_str()))
    {
        problems.error(user.span.clone(), reason, None);
    }
    for error in Sockets::default().try_addresses(plan) {
        match &error {
            StartError::Listen { listener, address, error } if error.kind() == io::ErrorKind::AddrInUse => {
                let at = &plan.listeners[*listener].addresses[*address];
                if at.value.ip().is_some_and(is_of_ringate) {
                    let title = format!("{}: a ringate that runs listens there", at.value);
                    let help = "it can take up this config by a reload; a second instance could not start";
                    problems.warning(at.span.clone(), title, Some(help.to_owned()));
                    continue;
                }
            }
            _ => {}
        }
        point_at(&error, plan, problems);
    }
    for address in plan.admin.iter().flat_map(Admin::addresses) {
        try_admin(address, problems);
    }
    let logs = plan.log.access.iter().chain(plan.log.named.iter().map(|named| &named.access));
    for log in logs {
        if let AccessLog::File(path) = log
            && let Err(error) = can_append(path)
        {
            problems.error(path.span.clone(), format!("access log: {}: {error}", path.display()), None);
        }
    }
}

/// Tries one of the admin server's addresses.
fn try_admin(at: &At<AdminAddress>, problems: &mut Diagnostics) {
    let span = || at.span.clone();
    let runs = |shown: String, problems: &mut Diagnostics| {
        let title = format!("admin: {shown}: a ringate that runs answers there");
        let help = "it can take up this config by a reload; a second instance could not start";
        problems.warning(span(), title, Some(help.to_owned()));
    };
    match &at.value {
        AdminAddress::Tcp { address, .. } if address.port() == 0 => {}
        AdminAddress::Tcp { address, .. } => match sockets::try_admin(*address, is_of_ringate) {
            Ok(()) => {}
            Err(None) => runs(address.to_string(), problems),
            Err(Some(error)) => {
                let why = match error.kind() {
                    io::ErrorKind::AddrInUse => "the address is in use by another process".to_owned(),
                    _ => format!("the address can't be listened on: {error}"),
                };
                let help = sockets::advice(&Address::Ip(*address), &error);
                problems.error(span(), format!("admin: {address}: {why}"), Some(help));
            }
        },
        AdminAddress::Unix(path) => match can_bind(path) {
            Ok(true) => {}
            Ok(false) => runs(path.display().to_string(), problems),
            Err(error) => problems.error(span(), format!("admin: {}: {error}", path.display()), None),
        },
    }
}

/// Whether a Unix socket can be bound there; false: a process answers on it.
fn can_bind(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "this is not a socket: it stays"));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => return Ok(false),
        _ => {}
    }
    // Folders that are not there are made, in the nearest one that is.
    let folder = path.ancestors().skip(1).find(|folder| folder.as_os_str().is_empty() || folder.exists());
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        io::Error::other(format!("no socket can be made in {}: {error}", folder.display()))
    })?;
    Ok(true)
}

/// Whether the file can be appended to, or made.
fn can_append(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(facts) if facts.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => Ok(access(path, Access::WRITE_OK)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            Ok(access(folder.unwrap_or(Path::new(".")), Access::WRITE_OK | Access::EXEC_OK)?)
        }
        Err(error) => Err(error),
    }
}

/// Whether a process named ringate listens on this port. Its descriptors are searched or, where they can't be read (a
/// process that holds keys hides them), its user is compared with the socket's.
fn is_of_ringate(address: &SocketAddr) -> bool {
    let sockets = listening(address.port());
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let own = std::process::id().to_string();
    processes.map(|entry| entry.path()).filter(|path| !path.ends_with(&own)).any(|process| {
        let named = fs::read_to_string(process.join("comm")).is_ok_and(|name| name.starts_with("ringate"));
        named && holds(&process, &sockets)
    })
}

fn holds(process: &Path, sockets: &[(u32, String)]) -> bool {
    if let Ok(descriptors) = fs::read_dir(process.join("fd")) {
        return descriptors.flatten().filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| {
            sockets.iter().any(|(_, inode)| target.as_os_str() == &*format!("socket:[{inode}]"))
        });
    }
    let status = fs::read_to_string(process.join("status")).unwrap_or_default();
    let user = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next());
    user.and_then(|user| user.parse::<u32>().ok())
        .is_some_and(|user| sockets.iter().any(|(of, _)| *of == user))
}

/// User and inode of the sockets that listen on a port, or are bound to it for datagrams (proc(5), net/tcp).
fn listening(port: u16) -> Vec<(u32, String)> {
    let files = ["/proc/net/tcp", "/proc/net/tcp6", "/proc/net/udp", "/proc/net/udp6"];
    let text = files.map(|file| fs::read_to_string(file).unwrap_or_default());
    let lines = text.iter().flat_map(|text| text.lines());
    let found = lines.filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, state, _, _, _, user, _, inode, ..] = &fields[..] else { return None };
        let (_, at) = local.rsplit_once(':')?;
        // LISTEN of TCP, and what /proc/net/udp has for a socket that is not connected.
        let listens = matches!(*state, "0A" | "07") && u16::from_str_radix(at, 16) == Ok(port);
        listens.then(|| Some((user.parse().ok()?, (*inode).to_owned()))).flatten()
    });
    found.collect()
}
