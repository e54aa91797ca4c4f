//! The user that a process runs as, and what it can never gain again.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::path::Path;

use rustix::process::{Gid, Uid, getegid, geteuid};

/// Bytes of the longest entry of the user or group database.
const ENTRY: usize = 64 * 1024;
/// Most groups of a user.
const GROUPS: usize = 1024;

/// A user to run as.
#[derive(Clone, Debug)]
pub(crate) struct User {
    name: String,
    uid: libc::uid_t,
    gid: libc::gid_t,
    groups: Vec<libc::gid_t>,
}

impl User {
    /// The user of this name or number, with `group` in the place of its own. The system may ask a name service.
    ///
    /// # Errors
    /// There is none; in words.
    pub(crate) fn find(name: &str, group: Option<&str>) -> Result<Self, String> {
        let (uid, own) = user(name)?;
        let gid = match group {
            Some(group) => group_of(group)?,
            None => own.ok_or_else(|| {
                format!("the user {name} has no entry, and so no group: set `process.group`")
            })?,
        };
        Ok(Self { name: name.to_owned(), uid, gid, groups: groups(name, gid) })
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether this process runs as it already.
    pub(crate) fn is_current(&self) -> bool {
        geteuid().as_raw() == self.uid && getegid().as_raw() == self.gid
    }

    /// Gives a file to it.
    pub(crate) fn give(&self, path: &Path) -> io::Result<()> {
        std::os::unix::fs::lchown(path, Some(self.uid), Some(self.gid))
    }

    /// Every thread of this process runs as it from now on. There is no way back.
    ///
    /// # Errors
    /// This process is not root, or a way back is left.
    pub(crate) fn assume(&self) -> io::Result<()> {
        let done = |result: libc::c_int| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
        // SAFETY: the list lives for the call. The C library has all threads make the change.
        done(unsafe { libc::setgroups(self.groups.len(), self.groups.as_ptr()) })?;
        // SAFETY: the calls take numbers.
        done(unsafe { libc::setresgid(self.gid, self.gid, self.gid) })?;
        // SAFETY: as above.
        done(unsafe { libc::setresuid(self.uid, self.uid, self.uid) })?;
        // SAFETY: as above.
        let back = self.uid != 0 && unsafe { libc::setresuid(0, 0, 0) } == 0;
        if back || geteuid() != Uid::from_raw(self.uid) || getegid() != Gid::from_raw(self.gid) {
            return Err(io::Error::other("the process could become root again"));
        }
        Ok(())
    }
}

/// Number and group of a user.
fn user(name: &str) -> Result<(libc::uid_t, Option<libc::gid_t>), String> {
    let word = c_name(name)?;
    let mut entry = MaybeUninit::<libc::passwd>::zeroed();
    let (mut space, mut found) = (vec![0; ENTRY], std::ptr::null_mut());
    // SAFETY: the name ends with a zero, and the buffers live for the call and for what is read of the entry.
    let failed = unsafe {
        libc::getpwnam_r(word.as_ptr(), entry.as_mut_ptr(), space.as_mut_ptr(), space.len(), &raw mut found)
    };
    if failed == 0 && !found.is_null() {
        // SAFETY: the call has filled the entry in.
        let entry = unsafe { entry.assume_init() };
        return Ok((entry.pw_uid, Some(entry.pw_gid)));
    }
    let number = name.parse().map(|uid| (uid, None));
    number.map_err(|_| format!("there is no user {name} (`getent passwd {name}` finds none): make one with `useradd --system {name}`"))
}

fn group_of(name: &str) -> Result<libc::gid_t, String> {
    let word = c_name(name)?;
    let mut entry = MaybeUninit::<libc::group>::zeroed();
    let (mut space, mut found) = (vec![0; ENTRY], std::ptr::null_mut());
    // SAFETY: as of a user.
    let failed = unsafe {
        libc::getgrnam_r(word.as_ptr(), entry.as_mut_ptr(), space.as_mut_ptr(), space.len(), &raw mut found)
    };
    if failed == 0 && !found.is_null() {
        // SAFETY: the call has filled the entry in.
        return Ok(unsafe { entry.assume_init() }.gr_gid);
    }
    name.parse().map_err(|_| format!("there is no group {name} (`getent group {name}` finds none)"))
}

/// All groups of a user, `gid` among them.
fn groups(name: &str, gid: libc::gid_t) -> Vec<libc::gid_t> {
    let Ok(word) = c_name(name) else { return vec![gid] };
    let (mut list, mut count) = (vec![gid; GROUPS], GROUPS as libc::c_int);
    // SAFETY: the list has room for as many as `count` says, and both live for the call.
    let found = unsafe { libc::getgrouplist(word.as_ptr(), gid, list.as_mut_ptr(), &raw mut count) };
    list.truncate(if found < 0 { 1 } else { usize::try_from(count).unwrap_or(1) });
    list
}

fn c_name(name: &str) -> Result<CString, String> {
    CString::new(name).map_err(|_| format!("{name:?} is no name"))
}

/// This thread, and those that it starts, never gain a right by a program that they execute.
pub(crate) fn forbid_new_privileges() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_by_number() {
        let root = User::find("root", None).unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert!(root.groups.contains(&0));
        let numbers = User::find("4242", Some("4343")).unwrap();
        assert_eq!((numbers.uid, numbers.gid, numbers.groups), (4242, 4343, vec![4343]));
        assert!(User::find("4242", None).unwrap_err().contains("process.group"));
        assert!(User::find("no such user", None).unwrap_err().contains("useradd"));
        assert!(User::find("root", Some("no such group")).unwrap_err().contains("no group"));
    }
}
