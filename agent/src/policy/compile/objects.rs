//! Files that a rule means by one name and that have others: hard links made before anybody was governed. A path does not
//! lead to them, so the kernel knows them by their inode.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use holdpoint_common::tables::{Marks, ObjectKey};

use super::{limits, paths::mark};
use crate::policy::{Linked, Pattern, Places, Policy};

/// What there is of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    /// The kernel's rows.
    pub rows: BTreeMap<ObjectKey, Marks>,
    /// The files, by one name each.
    pub files: BTreeSet<PathBuf>,
    /// Whether some were left out: there are more files, or more of these, than are looked at.
    pub incomplete: bool,
}

/// The files with further names below what rules stand in the way of. A rule on every path needs no such list, and a rule
/// on a file name wherever it stands cannot have one.
pub fn links_of_rules(policy: &Policy, revision: u32, places: &dyn Places) -> Objects {
    let mut objects = Objects::default();
    for (index, rule) in (0..).zip(&policy.rules).filter(|(_, rule)| !rule.lets_pass()) {
        for (path, below) in rule.paths().0.iter().filter_map(Pattern::site) {
            let linked = places.linked(path, below);
            for subject in &rule.subjects {
                objects.add(&linked, revision, *subject, |marks| mark(marks, rule, index));
            }
        }
    }
    objects
}

impl Objects {
    /// Adds the rows of `subject` for these files.
    pub fn add(&mut self, linked: &Linked, revision: u32, subject: u32, note: impl Fn(&mut Marks)) {
        self.incomplete |= linked.incomplete;
        for (file, path) in &linked.files {
            let key = ObjectKey { inode: file.inode, device: file.device, revision, subject, reserved: 0 };
            if self.rows.len() >= limits::OBJECTS && !self.rows.contains_key(&key) {
                self.incomplete = true;
                return;
            }
            note(self.rows.entry(key).or_insert(Marks::NONE));
            self.files.insert(path.clone());
        }
    }
}
