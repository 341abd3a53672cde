//! Path patterns to tries: rules on files, and what starts a governed tree.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use holdpoint_common::{
    request::Class,
    tables::{CGROUPS, ENROLMENT, LITERAL_BYTES, Marks, NO_RULE, Node, UNKNOWN},
};

use super::{Trie, shown};
use crate::policy::{
    Pattern, Place, Places, Policy, Rule, classes,
    pattern::{NAME_LIMIT, can_be_spelled},
    problem::{Problem, Span},
};

/// Adds the policy's rules on paths.
pub fn compile(policy: &Policy, places: &dyn Places, trie: &mut Trie<'_>, problems: &mut Vec<Problem>) {
    for (index, rule) in (0..).zip(&policy.rules) {
        for pattern in rule.paths().0 {
            if !trie.is_overfull() {
                note_pattern(index, rule, pattern, places, trie, problems);
                note_mount_points(index, rule, pattern, places, trie);
            }
        }
    }
    for subject in 0..policy.subjects.len() as u32 {
        note_unknown(policy, subject, trie);
    }
}

/// Adds the pseudo subject whose rules are the starters of governed trees.
pub fn enrol(policy: &Policy, places: &dyn Places, trie: &mut Trie<'_>, problems: &mut Vec<Problem>) {
    for subject in &policy.subjects {
        for path in &subject.exe {
            for place in spellable(places.resolve(path), path, &subject.span, problems) {
                let node = trie.node(ENROLMENT, place.device, &spelled(&place.components));
                node.exact.note(Class::Exec, subject.number());
            }
        }
        for path in &subject.cgroup {
            let names: Vec<_> = path.iter().skip(1).map(OsStr::to_owned).collect();
            trie.node(ENROLMENT, CGROUPS, &spelled(&names)).subtree.note(Class::Exec, subject.number());
        }
    }
}

fn note_pattern(
    index: u32,
    rule: &Rule,
    pattern: &Pattern,
    places: &dyn Places,
    trie: &mut Trie<'_>,
    problems: &mut Vec<Problem>,
) {
    match pattern {
        Pattern::Exact(path) => {
            let places = spellable(places.resolve(path), path, &rule.span, problems);
            note(trie, index, rule, &places, |node| mark(&mut node.exact, rule, index));
        }
        Pattern::Below(path) => {
            let mut places = reachable(places.below(path), rule);
            if pattern.is_everything() {
                places.extend(whole(&places));
            }
            note(trie, index, rule, &places, |node| mark(&mut node.subtree, rule, index));
        }
        Pattern::Named(name) => {
            for subject in &rule.subjects {
                mark(trie.name(*subject, padded(OsStr::new(name))), rule, index);
            }
        }
    }
}

/// What is mounted goes, and every rule on it, when what it is mounted over is removed or replaced (from another mount
/// namespace, that works), or moves away along with a directory above it. A rule that stands in the way of what is mounted
/// stands in the way of that. One on everything does so wherever the files are.
fn note_mount_points(index: u32, rule: &Rule, pattern: &Pattern, places: &dyn Places, trie: &mut Trie<'_>) {
    let Some((path, below)) = pattern.site().filter(|_| !rule.lets_pass()) else { return };
    for point in places.mount_points(path, below) {
        // As for `reachable`: too much is held, never too little.
        let in_full = can_be_spelled(&point.components);
        note(trie, index, rule, &[cut(point)], |node| {
            let marks = if in_full { &mut node.exact } else { &mut node.subtree };
            classes(Class::REPLACING).for_each(|class| marks.note(class, index));
            node.below = node.below.min(index);
        });
    }
}

fn note(trie: &mut Trie<'_>, index: u32, rule: &Rule, places: &[Place], note: impl Fn(&mut Node)) {
    for place in places {
        let path = spelled(&place.components);
        for subject in &rule.subjects {
            note(trie.node(*subject, place.device, &path));
            for length in (0..path.len()).filter(|_| !rule.lets_pass()) {
                let above = trie.node(*subject, place.device, &path[..length]);
                above.below = above.below.min(index);
            }
        }
    }
}

/// A rule that stands in the way accepts what asks for any of its classes; one that lets pass, only what asks for no
/// other: a file that may be read is not thereby opened for writing.
pub fn mark(marks: &mut Marks, rule: &Rule, index: u32) {
    let (_, access) = rule.paths();
    if rule.lets_pass() && access & Class::Exec.bit() == 0 {
        return marks.note_only(access, index);
    }
    for class in classes(access) {
        marks.note(class, index);
    }
}

/// The places that the tables can spell out; the others are problems.
fn spellable(places: Vec<Place>, path: &Path, span: &Span, problems: &mut Vec<Problem>) -> Vec<Place> {
    let (good, bad): (Vec<_>, Vec<_>) = places.into_iter().partition(|place| can_be_spelled(&place.components));
    for place in bad {
        let message =
            format!("{} is {} in its file system, which cannot be spelled out", path.display(), shown(&place));
        let remedy = format!("name a directory above it: components of at most {NAME_LIMIT} bytes");
        problems.push(Problem::new(span.clone(), message, remedy));
    }
    good
}

/// The places of a directory and of what is mounted below it. Where one cannot be spelled out (a container's
/// mount under a name of 64 digits), a rule that lets pass leaves it out, and any other takes the nearest
/// directory above that can: too much is held, never too little.
fn reachable(places: Vec<Place>, rule: &Rule) -> Vec<Place> {
    let spellable = |place: &Place| !rule.lets_pass() || can_be_spelled(&place.components);
    places.into_iter().filter(spellable).map(cut).collect()
}

fn cut(mut place: Place) -> Place {
    while !can_be_spelled(&place.components) {
        place.components.pop();
    }
    place
}

/// The whole of each file system that is there with a part.
fn whole(places: &[Place]) -> Vec<Place> {
    places.iter().map(|place| Place { device: place.device, components: Vec::new() }).collect()
}

pub fn spelled(components: &[OsString]) -> Vec<[u8; LITERAL_BYTES]> {
    components.iter().map(|name| padded(name)).collect()
}

pub fn padded(name: &OsStr) -> [u8; LITERAL_BYTES] {
    let mut padded = [0; LITERAL_BYTES];
    padded[..name.len()].copy_from_slice(name.as_bytes());
    padded
}

/// The row for what is not found in any trie. A path that could not be walked meets the first rule that
/// might have accepted it and does not let pass (`subtree`); a file on a file system that is mounted nowhere
/// here (a memfd, another mount namespace's) meets the first rule on `/**` (`exact`).
fn note_unknown(policy: &Policy, subject: u32, trie: &mut Trie<'_>) {
    let mut possible = Marks::NONE;
    let mut certain = Marks::NONE;
    for (index, rule) in (0..).zip(&policy.rules).filter(|(_, rule)| rule.subjects.contains(&subject)) {
        if everything(rule) {
            mark(&mut certain, rule, index);
        }
        if everything(rule) || !rule.lets_pass() {
            mark(&mut possible, rule, index);
        }
    }
    possible.rule = possible.rule.map(|index| if passes(policy, index) { NO_RULE } else { index });
    if [possible, certain].iter().any(|marks| *marks != Marks::NONE) {
        let root = trie.root(subject, UNKNOWN);
        (root.subtree, root.exact) = (possible, certain);
    }
}

fn everything(rule: &Rule) -> bool {
    rule.paths().0.iter().any(Pattern::is_everything)
}

fn passes(policy: &Policy, index: u32) -> bool {
    policy.rule(index).is_some_and(Rule::lets_pass)
}
