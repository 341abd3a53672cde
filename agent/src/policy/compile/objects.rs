//! Files that a rule means by one name and that have others: hard links made before anybody was governed. A path does not
//! lead to them, so the kernel knows them by their inode.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    path::{Path, PathBuf},
};

use holdpoint_common::tables::{Marks, ObjectKey};

use super::{
    Tables,
    choice::{Choices, Row},
    limits,
    paths::note,
};
use crate::policy::{Linked, Pattern, Places, Policy, pattern::Part};

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
pub fn links_of_rules(policy: &Policy, revision: u32, places: &dyn Places, tables: &mut Tables) {
    let mut objects = Objects::default();
    let mut rows = BTreeMap::new();
    for (index, rule) in (0..).zip(&policy.rules).filter(|(_, rule)| !rule.lets_pass()) {
        for pattern in rule.paths().0.iter().filter(|pattern| !pattern.is_everything()) {
            let Some((path, rest)) = pattern.beginning() else { continue };
            let mut linked = places.linked(&path, !rest.is_empty());
            linked.files.retain(|_, found| matches(pattern, rest, &path, found));
            for subject in &rule.subjects {
                objects.add(&linked, revision, *subject, &mut rows, |row| note(row, rule, index));
            }
        }
    }
    let known = tables.links.len();
    let mut choices = Choices::new(policy, mem::take(&mut tables.links));
    objects.rows = rows.into_iter().map(|(key, row): (_, Row)| (key, row.marks(&mut choices))).collect();
    let (mut links, _) = choices.into_parts();
    if links.len() > limits::LINKS {
        // No reason to refuse the policy: such a rule still holds by the file's own path.
        links.truncate(known);
        (objects.rows, objects.incomplete) = (BTreeMap::new(), true);
    }
    tables.links = links;
    tables.objects = objects;
}

/// Whether the pattern accepts a file that was found below `path`, with which the pattern begins. A file that was found by
/// way of a link is taken to be meant.
fn matches(pattern: &Pattern, rest: &[Part], path: &Path, found: &Path) -> bool {
    matches!(rest, [] | [Part::Any]) || !found.starts_with(path) || pattern.accepts(found)
}

impl Objects {
    /// Notes these files in `rows`, for `subject`.
    pub fn add<R: Default>(
        &mut self,
        linked: &Linked,
        revision: u32,
        subject: u32,
        rows: &mut BTreeMap<ObjectKey, R>,
        note: impl Fn(&mut R),
    ) {
        self.incomplete |= linked.incomplete;
        for (file, path) in &linked.files {
            let key = ObjectKey { inode: file.inode, device: file.device, revision, subject, reserved: 0 };
            if rows.len() >= limits::OBJECTS && !rows.contains_key(&key) {
                self.incomplete = true;
                return;
            }
            note(rows.entry(key).or_default());
            self.files.insert(path.clone());
        }
    }
}
