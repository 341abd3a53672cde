//! Labels on this host: which bit of the kernel's masks each is, and who has read what. Both are kept in the run directory,
//! as long as the kernel's memory of them may be: until the next boot.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};
use holdpoint_common::tables::LABELS;

use crate::{
    kept::{read, write},
    policy::Policy,
    request::{self, Reading},
};

/// Most readings that are kept of one tree. The kernel forgets none; beyond these nobody is shown the file.
const READINGS: usize = 256;
/// Most readings that are shown of processes that are gone, or of which it is not known whether they handed the label on.
const OTHERS: usize = 16;

/// The bit of each label that is known: those of the policy in force, and those that somebody carries.
#[derive(Debug)]
pub struct Bits {
    file: PathBuf,
    of: BTreeMap<String, u32>,
}

impl Bits {
    /// Those of an agent before this one, if there was one.
    pub fn open(run_dir: &Path) -> Result<Self> {
        let file = run_dir.join("labels.json");
        Ok(Self { of: read(&file)?, file })
    }

    /// Gives each label of `policy` its bit: the one that it has, or a new one that nobody carries.
    pub fn assign(&mut self, policy: &mut Policy) -> Result<()> {
        let mut of = self.of.clone();
        for label in &mut policy.labels {
            if !of.contains_key(&label.name) {
                let free = (0..LABELS as u32).find(|bit| !of.values().any(|taken| taken == bit));
                let Some(bit) = free else {
                    let known: Vec<_> = of.keys().map(String::as_str).collect();
                    bail!(
                        "no room for the label \"{}\": this host knows {LABELS} labels, those of the policy in force and \
                         those that governed trees carry. Use the names of before, or end those trees first. Known are: {}",
                        label.name,
                        known.join(", ")
                    );
                };
                of.insert(label.name.clone(), bit);
            }
            label.bit = of[&label.name];
        }
        self.keep(of)
    }

    /// Forgets labels that are not in `policy`, which is in force, and that nobody carries: `carried` is a mask.
    pub fn forget(&mut self, policy: &Policy, carried: u64) -> Result<()> {
        let mut of = self.of.clone();
        of.retain(|name, bit| carried >> *bit & 1 != 0 || policy.labels.iter().any(|label| label.name == *name));
        self.keep(of)
    }

    /// The names of the labels in a mask.
    pub fn names(&self, mask: u64) -> impl Iterator<Item = &str> {
        self.of.iter().filter(move |(_, bit)| mask >> **bit & 1 != 0).map(|(name, _)| name.as_str())
    }

    fn keep(&mut self, of: BTreeMap<String, u32>) -> Result<()> {
        if of != self.of {
            write(&self.file, &of)?;
            self.of = of;
        }
        Ok(())
    }
}

/// What was read: the first time for each tree and label, or for each process that carries it for itself.
#[derive(Debug)]
pub struct Readings {
    file: PathBuf,
    known: Vec<Reading>,
}

impl Readings {
    /// Those that an agent before this one has seen.
    pub fn open(run_dir: &Path) -> Result<Self> {
        let file = run_dir.join("readings.json");
        Ok(Self { known: read(&file)?, file })
    }

    /// Notes a reading; false if it is not the first. Those of trees that are not among `governed` are forgotten.
    pub fn note(&mut self, reading: &Reading, governed: &BTreeSet<String>) -> Result<bool> {
        let same_process = |known: &Reading| (known.pid, known.started) == (reading.pid, reading.started);
        let same = |known: &&Reading| known.tree == reading.tree && known.label == reading.label;
        if self.known.iter().filter(same).any(|known| !reading.lineage || same_process(known)) {
            return Ok(false);
        }
        self.known.retain(|known| known.tree == reading.tree || governed.contains(&known.tree));
        if self.known.iter().filter(|known| known.tree == reading.tree).count() < READINGS {
            self.known.push(reading.clone());
        }
        write(&self.file, &self.known)?;
        Ok(true)
    }

    /// What was read of the labels that who asks has `carried`; of `first`, for which the rule asks, before all others. Where
    /// a process carries a label for itself, what it or an ancestor has read that still lives; if that is not known, what the
    /// latest others of the tree have.
    pub fn of(&self, tree: &str, carried: &[String], first: &[String], context: &request::Context) -> Vec<Reading> {
        let known = self.known.iter().filter(|known| known.tree == tree && carried.contains(&known.label));
        let by_ancestor = |known: &&Reading| context.ancestry.iter().any(|process| process.pid == known.pid);
        let (mut own, others): (Vec<_>, Vec<_>) = known.partition(|known| !known.lineage || by_ancestor(known));
        let explained: BTreeSet<_> = own.iter().map(|known| &known.label).collect();
        let unexplained = others.into_iter().rev().filter(|known| !explained.contains(&known.label));
        own.extend(unexplained.take(OTHERS).collect::<Vec<_>>());
        own.sort_by_key(|known| !first.contains(&known.label));
        own.into_iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests;
