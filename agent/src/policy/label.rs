//! Labels: names for data, by the files that it is in. Who reads such a file carries the label from then on.

use super::{Pattern, Policy, problem::Span};

/// One line of `[labels]`.
#[derive(Clone, Debug)]
pub struct Label {
    /// Its name: what it stays the same by, from one policy to the next.
    pub name: String,
    /// The files.
    pub patterns: Vec<Pattern>,
    /// Whether only the process carries it that has read, and what it forks from then on; else its whole tree.
    pub lineage: bool,
    /// Its bit in the kernel's masks: the place in the file, until the agent gives it one that is its own on this host.
    pub bit: u32,
    /// Its place in the source.
    pub span: Span,
}

impl Label {
    /// Its bit, as a mask.
    pub fn mask(&self) -> u64 {
        1 << self.bit
    }
}

impl Policy {
    /// The mask of the labels with these names.
    pub fn labels_named(&self, names: &[String]) -> u64 {
        self.mask_of(|label| names.contains(&label.name))
    }

    /// The mask of the labels that a process carries for itself.
    pub fn lineage(&self) -> u64 {
        self.mask_of(|label| label.lineage)
    }

    /// The mask of some of its labels.
    pub fn mask_of(&self, wanted: impl Fn(&Label) -> bool) -> u64 {
        self.labels.iter().filter(|label| wanted(label)).fold(0, |mask, label| mask | label.mask())
    }
}
