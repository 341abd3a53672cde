//! Rules that every policy has: before its own, what no policy can allow; after them, what it must allow expressly.
//!
//! What has no path is in the kernel's hands: an operation on the host ([`holdpoint_common::system`]) that no rule names
//! is denied.

use std::path::{Path, PathBuf};

use holdpoint_common::{request::Class, tables::CANARIES};

use super::{Pattern, Policy, Rule, Then, When};

/// What a process can do to the host through files that stand for the kernel's own state, and to others through `/proc`.
const KERNEL: [&str; 4] = ["/sys/**", "/proc/sys/**", "/proc/sysrq-trigger", "**/oom_score_adj"];

/// The memory of the kernel.
const KERNEL_MEMORY: [&str; 1] = ["/proc/kcore"];

impl Policy {
    /// This policy with the rules that every policy has. `own` are the files and directories of Holdpoint.
    #[must_use]
    pub fn with_built_in(mut self, own: &[PathBuf]) -> Self {
        let own_subjects = (0..).zip(&self.subjects).map(|(index, _)| index);
        let subjects: Vec<u32> = own_subjects.chain(CANARIES).collect();
        let deny = |name: &str, why: &str, paths: Vec<Pattern>, access: u32| Rule {
            name: name.to_owned(),
            why: Some(why.to_owned()),
            subjects: subjects.clone(),
            when: When::Open { paths, access },
            then: Then::Deny,
            span: 0..0,
        };
        let own = own.iter().map(PathBuf::as_path).map(below).collect();
        let changes = Class::OPENING & !Class::Read.bit();
        let first =
            deny("built in: Holdpoint itself", "a gate that the subject can change is none", own, Class::OPENING);
        let last = [
            deny("built in: the kernel's settings", "they act outside the tree", spelled(&KERNEL), changes),
            deny("built in: the kernel's memory", "it holds everything", spelled(&KERNEL_MEMORY), Class::OPENING),
        ];
        self.rules.insert(0, first);
        self.rules.extend(last);
        self
    }
}

fn below(path: &Path) -> Pattern {
    Pattern::Below(path.to_owned())
}

fn spelled(patterns: &[&str]) -> Vec<Pattern> {
    patterns.iter().map(|pattern| Pattern::parse(pattern).expect("a pattern of this file")).collect()
}
