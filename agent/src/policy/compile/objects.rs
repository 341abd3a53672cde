//! Files that a rule, or a label, means by one name and that have others: hard links made before anybody was governed. A path does not
//! lead to them, so the kernel knows them by their inode.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use holdpoint_common::tables::{Named, ObjectKey};

use super::{
    Tables,
    choice::{Choices, Row},
    limits,
};
use crate::policy::{Linked, Pattern, Places, Policy, pattern::Part};

/// What there is of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    /// The kernel's rows.
    pub rows: BTreeMap<ObjectKey, Named>,
    /// The files, by one name each.
    pub files: BTreeSet<PathBuf>,
    /// Whether some were left out: there are more files, or more of these, than are looked at.
    pub incomplete: bool,
}

/// The files with further names below what rules stand in the way of, and below what has labels. A rule on every path needs
/// no such list, and a rule on a file name wherever it stands cannot have one.
pub fn links_of_rules(policy: &Policy, revision: u32, places: &dyn Places, tables: &mut Tables) {
    let mut objects = Objects::default();
    let mut rows = BTreeMap::new();
    for (index, rule) in (0..).zip(&policy.rules).filter(|(_, rule)| !rule.lets_pass()) {
        for pattern in rule.paths().0.iter().filter(|pattern| !pattern.is_everything()) {
            let Some(linked) = linked(pattern, places) else { continue };
            for subject in &rule.subjects {
                objects.add(&linked, revision, *subject, &mut rows, |(row, _): &mut (Row, u64)| {
                    row.note(index, |slot| rule.accepts(slot))
                });
            }
        }
    }
    for label in &policy.labels {
        for pattern in label.patterns.iter().filter(|pattern| !pattern.is_everything()) {
            let Some(linked) = linked(pattern, places) else { continue };
            for subject in 0..policy.subjects.len() as u32 {
                objects.add(&linked, revision, subject, &mut rows, |(_, labels)| *labels |= label.mask());
            }
        }
    }
    let (links, words) = (tables.links.len(), tables.words.clone());
    let mut choices = Choices::new(policy, revision, tables);
    let mut named = |(row, labels): (Row, u64)| Named { labels, marks: row.marks(&mut choices) };
    objects.rows = rows.into_iter().map(|(key, row)| (key, named(row))).collect();
    // Rules that are too many for a choice hold without their conditions.
    objects.incomplete |= !choices.give_back(tables).is_empty();
    if tables.links.len() > limits::LINKS || tables.words.len() > limits::WORDS {
        // No reason to refuse the policy: such a rule still holds by the file's own path.
        tables.links.truncate(links);
        tables.words = words;
        (objects.rows, objects.incomplete) = (BTreeMap::new(), true);
    }
    tables.objects = objects;
}

/// The files with further names that the pattern accepts.
fn linked(pattern: &Pattern, places: &dyn Places) -> Option<Linked> {
    let (path, rest) = pattern.beginning()?;
    let mut linked = places.linked(&path, !rest.is_empty());
    linked.files.retain(|_, found| matches(pattern, rest, &path, found));
    Some(linked)
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
