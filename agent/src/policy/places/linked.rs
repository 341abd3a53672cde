//! Files that have more names than one.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Most directory entries that are looked at for one path of a policy.
const ENTRIES: usize = 100_000;
/// File systems that stand for the kernel's state: nobody links there, and to walk them takes long.
const PSEUDO: [&str; 9] = ["proc", "sysfs", "cgroup", "cgroup2", "tracefs", "debugfs", "securityfs", "bpf", "configfs"];

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Linked {
    /// The files, each by a name by which it was found.
    pub files: BTreeMap<File, PathBuf>,
    /// Whether there was more than is looked at.
    pub incomplete: bool,
}

/// A file with more than one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct File {
    /// `s_dev` of its file system.
    pub device: u32,
    /// Its inode number.
    pub inode: u64,
}

/// Whether a file system of this kind is left out.
pub fn is_pseudo(kind: &str) -> bool {
    PSEUDO.contains(&kind)
}

/// The files with further names at `path` and, if `below`, in it, within its file system, which is `device`.
pub fn find(path: &Path, device: u32, below: bool) -> Linked {
    let mut found = Linked::default();
    let Ok(top) = fs::symlink_metadata(path) else { return found };
    found.look_at(path, &top, device);
    let mut directories = if below && top.is_dir() { vec![path.to_owned()] } else { Vec::new() };
    let mut left = ENTRIES;
    while let Some(directory) = directories.pop() {
        // What vanishes meanwhile, or cannot be read, has nothing to show.
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if left == 0 {
                found.incomplete = true;
                return found;
            }
            left -= 1;
            let Ok(metadata) = fs::symlink_metadata(entry.path()) else { continue };
            if metadata.dev() != top.dev() {
                continue;
            }
            found.look_at(&entry.path(), &metadata, device);
            if metadata.is_dir() {
                directories.push(entry.path());
            }
        }
    }
    found
}

impl Linked {
    fn look_at(&mut self, path: &Path, metadata: &fs::Metadata, device: u32) {
        if !metadata.is_dir() && metadata.nlink() > 1 {
            let file = File { device, inode: metadata.ino() };
            self.files.entry(file).or_insert_with(|| path.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_with_two_names_are_found_once_and_directories_never() {
        let folder = std::env::temp_dir().join(format!("holdpoint-linked-{}", std::process::id()));
        fs::create_dir_all(folder.join("a/b")).unwrap();
        fs::write(folder.join("a/b/secret"), "x").unwrap();
        fs::write(folder.join("a/alone"), "x").unwrap();
        fs::hard_link(folder.join("a/b/secret"), folder.join("alias")).unwrap();
        let inode = fs::metadata(folder.join("alias")).unwrap().ino();
        let inodes = |linked: Linked| linked.files.keys().map(|file| file.inode).collect::<Vec<_>>();
        assert_eq!(inodes(find(&folder, 1, true)), [inode]);
        assert_eq!(inodes(find(&folder.join("alias"), 1, false)), [inode]);
        assert_eq!(inodes(find(&folder, 1, false)), [0; 0]);
        assert_eq!(find(&folder.join("missing"), 1, true), Linked::default());
        fs::remove_dir_all(folder).unwrap();
    }
}
