//! The memory that this process may use: the machine's, or less by a bound of its control groups (cgroups 2 and 1).

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// Bytes that this process may use.
pub(crate) fn available() -> u64 {
    within(Path::new("/"))
}

/// The same of a system whose files are below `root`.
fn within(root: &Path) -> u64 {
    groups(root).into_iter().chain(of_machine(root)).min().unwrap_or(1 << 30)
}

fn of_machine(root: &Path) -> Option<u64> {
    let text = read_to_string(root.join("proc/meminfo")).ok()?;
    let kilobytes = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    kilobytes.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// All bounds of the groups that this process is in, and of those above them.
fn groups(root: &Path) -> Vec<u64> {
    let text = read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mounts = read_to_string(root.join("proc/self/mountinfo")).unwrap_or_default();
    let mut bounds = Vec::new();
    for line in text.lines() {
        // number ":" controllers ":" path; version 2 has the number 0 and no controllers.
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let version2 = controllers.is_empty();
        if !version2 && controllers.split(',').all(|controller| controller != "memory") {
            continue;
        }
        let mount = Mount::find(&mounts, version2);
        let inside = mount.inside(Path::new(path));
        let files: &[&str] =
            if version2 { &["memory.max", "memory.high"] } else { &["memory.limit_in_bytes"] };
        for folder in inside.ancestors() {
            let folder = below(root, &mount.point).join(folder);
            let found = files.iter().filter_map(|file| read_to_string(folder.join(file)).ok());
            // "max" of version 2 is no number; what version 1 has for it exceeds any machine.
            bounds.extend(found.filter_map(|text| text.trim().parse::<u64>().ok()));
        }
        if !version2 {
            let stat = read_to_string(below(root, &mount.point).join(&inside).join("memory.stat"));
            let stat = stat.unwrap_or_default();
            let above = stat.lines().find_map(|line| line.strip_prefix("hierarchical_memory_limit "));
            bounds.extend(above.and_then(|text| text.trim().parse::<u64>().ok()));
        }
    }
    bounds
}

/// Where a hierarchy of groups can be seen.
struct Mount {
    /// The group that is at `point`.
    group: PathBuf,
    point: PathBuf,
}

impl Mount {
    /// From the lines of proc(5)'s mountinfo: "ID PARENT DEVICE GROUP POINT OPTIONS … - TYPE SOURCE OPTIONS".
    fn find(mounts: &str, version2: bool) -> Self {
        let found = mounts.lines().find_map(|line| {
            let (mount, kind) = line.split_once(" - ")?;
            let mut kind = kind.split(' ');
            let (name, options) = (kind.next()?, kind.nth(1)?);
            let suits = match version2 {
                true => name == "cgroup2",
                false => name == "cgroup" && options.split(',').any(|option| option == "memory"),
            };
            let mut fields = mount.split(' ').skip(3);
            suits.then_some(())?;
            Some(Self { group: plain(fields.next()?), point: plain(fields.next()?) })
        });
        let usual = if version2 { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/memory" };
        found.unwrap_or_else(|| Self { group: "/".into(), point: usual.into() })
    }

    /// The path below the mount's point of a group. A container sees its own group as the mount's point, whatever path
    /// /proc/self/cgroup has.
    fn inside(&self, group: &Path) -> PathBuf {
        let inside = group.strip_prefix(&self.group).unwrap_or(Path::new(""));
        let climbs = inside.components().any(|part| part == std::path::Component::ParentDir);
        if climbs { PathBuf::new() } else { inside.to_owned() }
    }
}

/// A path of mountinfo without its escapes.
fn plain(field: &str) -> PathBuf {
    field.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\").into()
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: u64 = 8_000_000 * 1024;
    const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "31 24 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                      32 24 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

    /// What is available where these files are.
    fn with(files: &[(&str, &str)]) -> u64 {
        let root = tempfile::tempdir().unwrap();
        let always = [("proc/meminfo", "MemFree: 1 kB\nMemTotal:        8000000 kB\n")];
        for (path, text) in always.iter().chain(files) {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        within(root.path())
    }

    #[test]
    fn the_least_bound_of_nested_groups_counts_in_both_versions() {
        let v2 = ("proc/self/cgroup", "0::/system.slice/ringate.service\n");
        let v1 = ("proc/self/cgroup", "5:cpu,cpuacct:/else\n4:memory:/docker/abc\n0::/docker/abc\n");
        let service = "sys/fs/cgroup/system.slice/ringate.service/memory.max";
        let docker = "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes";
        let unlimited = "9223372036854771712\n";
        for (files, expected) in [
            (vec![v2, ("proc/self/mountinfo", V2), (service, "max\n")], MACHINE),
            (vec![v2, ("proc/self/mountinfo", V2), (service, "1048576\n")], 1 << 20),
            (vec![v2, (service, "1048576\n")], 1 << 20),
            (
                vec![v2, (service, "2097152\n"), ("sys/fs/cgroup/system.slice/memory.max", "1048576\n")],
                1 << 20,
            ),
            (vec![v2, (service, "max\n"), ("sys/fs/cgroup/system.slice/memory.high", "1048576\n")], 1 << 20),
            (vec![v2, (service, "99999999999999\n")], MACHINE),
            (vec![v2, (service, "garbage")], MACHINE),
            (vec![v1, ("proc/self/mountinfo", V1), (docker, unlimited)], MACHINE),
            (vec![v1, ("proc/self/mountinfo", V1), (docker, "1048576\n")], 1 << 20),
            (vec![v1, (docker, "1048576\n")], 1 << 20),
            (
                vec![
                    v1,
                    (docker, unlimited),
                    ("sys/fs/cgroup/memory/docker/memory.limit_in_bytes", "1048576"),
                ],
                1 << 20,
            ),
            (
                vec![
                    v1,
                    (docker, unlimited),
                    (
                        "sys/fs/cgroup/memory/docker/abc/memory.stat",
                        "cache 1\nhierarchical_memory_limit 1048576\n",
                    ),
                ],
                1 << 20,
            ),
            (vec![("proc/self/cgroup", "4:cpu:/docker/abc\n"), (docker, "1048576\n")], MACHINE),
            (vec![], MACHINE),
        ] {
            assert_eq!(with(&files), expected, "{files:?}");
        }
    }

    #[test]
    fn a_container_sees_its_own_group_at_the_mounts_point() {
        let at_point = ("sys/fs/cgroup/memory.max", "1048576\n");
        let mount = "30 23 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        for group in ["0::/docker/abc\n", "0::/\n", "0::/../def\n", "0::/elsewhere\n"] {
            let files = [("proc/self/cgroup", group), ("proc/self/mountinfo", mount), at_point];
            assert_eq!(with(&files), 1 << 20, "{group}");
        }
        let v1 = "32 24 0:28 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let files = [
            ("proc/self/cgroup", "4:memory:/docker/abc\n"),
            ("proc/self/mountinfo", v1),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1048576\n"),
        ];
        assert_eq!(with(&files), 1 << 20);
        let elsewhere = "30 23 0:26 / /mnt/c\\040g rw - cgroup2 cgroup2 rw\n";
        let files = [
            ("proc/self/cgroup", "0::/a\n"),
            ("proc/self/mountinfo", elsewhere),
            ("mnt/c g/a/memory.max", "1048576\n"),
        ];
        assert_eq!(with(&files), 1 << 20);
    }
}
