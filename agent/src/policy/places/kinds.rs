//! File systems that the kernel makes itself, of which there can be more instances than this host's: a container's own
//! `/proc`, another mount of `binfmt_misc`. A path in one of them means the same path in each.

use std::path::Path;

use holdpoint_common::tables::kind;

use super::{Place, names};

/// Names of file systems, their magic numbers (`include/uapi/linux/magic.h`, `fs/binfmt_misc.c`), and where they are by
/// custom; the outer ones first.
const KINDS: [(&str, u32, &str); 10] = [
    ("proc", 0x9fa0, "/proc"),
    ("binfmt_misc", 0x4249_4e4d, "/proc/sys/fs/binfmt_misc"),
    ("sysfs", 0x6265_6572, "/sys"),
    ("cgroup2", 0x6367_7270, "/sys/fs/cgroup"),
    ("cgroup", 0x0027_e0eb, "/sys/fs/cgroup"),
    ("bpf", 0xcafe_4a11, "/sys/fs/bpf"),
    ("tracefs", 0x7472_6163, "/sys/kernel/tracing"),
    ("debugfs", 0x6462_6720, "/sys/kernel/debug"),
    ("securityfs", 0x7363_6673, "/sys/kernel/security"),
    ("configfs", 0x6265_6570, "/sys/kernel/config"),
];

/// `path` in whichever instance: the kinds of the innermost place that it is in.
pub fn place(path: &Path) -> Vec<Place> {
    let innermost = KINDS.iter().rev().find(|(.., point)| path.starts_with(point));
    let Some((.., innermost)) = innermost else { return Vec::new() };
    let same = KINDS.iter().filter(|(.., point)| point == innermost);
    same.map(|(_, magic, point)| in_kind(*magic, path.strip_prefix(point).unwrap_or(Path::new("")))).collect()
}

/// The whole of each kind that is by custom in the directory `path`, and where.
pub fn below(path: &Path) -> impl Iterator<Item = (&'static Path, Place)> {
    let inside = KINDS.iter().filter(move |(.., point)| Path::new(point).starts_with(path));
    inside.map(|(_, magic, point)| (Path::new(*point), in_kind(*magic, Path::new(""))))
}

/// Whether the file system `name` is of the kind with this pseudo device.
pub fn is_of(device: u32, name: &str) -> bool {
    KINDS.iter().any(|(known, magic, _)| *known == name && kind(*magic) == device)
}

fn in_kind(magic: u32, path: &Path) -> Place {
    Place { device: kind(magic), components: names(path).collect() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_kinds_share_a_pseudo_device() {
        assert_eq!(KINDS.map(|(_, magic, _)| kind(magic)).into_iter().collect::<BTreeSet<_>>().len(), KINDS.len());
    }

    #[test]
    fn a_path_is_in_the_innermost_kind_and_a_directory_has_all_below() {
        let shown = |place: Place| (place.device, place.components.join("/".as_ref()).into_string().unwrap());
        let place = |path: &str| place(Path::new(path)).into_iter().map(shown).collect::<Vec<_>>();
        assert_eq!(place("/proc/sys/kernel"), [(kind(0x9fa0), "sys/kernel".to_owned())]);
        assert_eq!(place("/sys/fs/bpf/x"), [(kind(0xcafe_4a11), "x".to_owned())]);
        assert_eq!(place("/sys/fs/cgroup").len(), 2);
        assert_eq!(place("/home"), []);
        assert_eq!(below(Path::new("/sys/kernel")).count(), 4);
        assert_eq!(below(Path::new("/")).count(), KINDS.len());
    }
}
