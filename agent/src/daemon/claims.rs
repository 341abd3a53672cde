//! Claims on their way to reviewers: of which tree they are, and who makes them, is what the kernel says, not what they say.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Daemon;
use crate::{
    claims::{Claim, Said, Speaker},
    process,
    record::{self, Entry},
    request::Process,
    sockets::{Declined, Peer, message::tree_text},
    user,
};

impl Daemon {
    /// Who launches `tree` says this of it. It is on record once the tree is there.
    pub(super) fn introduce(&mut self, from: Peer, tree: u64, said: Said) -> Result<(), Declined> {
        self.claim(tree, &Speaker::Launcher { user: user::name(from.uid) }, said).map(drop)
    }

    /// A process says this of the tree that it is in; gives all that is claimed of that tree.
    pub(super) fn annotate(&mut self, from: Peer, said: Said) -> Result<Vec<Claim>, Declined> {
        let Some(governed) = self.kernel.governed_process(from.pid) else {
            let outside =
                Declined::new("this process is not governed: there is no tree that it could say something of");
            return Err(outside.remedy("say it inside the tree; or as you start one: holdpoint run --intent TEXT"));
        };
        let speaker = self.speaker(from.pid, governed.tree);
        let mut new = self.claim(governed.tree, &speaker, said)?;
        let tree = tree_text(governed.tree);
        self.masks().claims(&mut new);
        new.into_iter().for_each(|claim| self.claimed(&tree, claim));
        Ok(self.claims_of(&tree, self.now()))
    }

    /// What is claimed of `tree`, as it is shown, without what was said after `at`.
    pub(super) fn claims_of(&self, tree: &str, at: Timestamp) -> Vec<Claim> {
        let mut claims = self.claims.of(tree, at);
        self.masks().claims(&mut claims);
        claims
    }

    /// Puts a claim on record, its secrets masked.
    pub(super) fn claimed(&mut self, tree: &str, claim: Claim) {
        self.note(&Entry { time: claim.at, event: record::Event::Claimed { tree: tree.to_owned(), claim } });
    }

    fn claim(&mut self, tree: u64, by: &Speaker, said: Said) -> Result<Vec<Claim>, Declined> {
        let name = tree_text(tree);
        if !self.claims.knows(&name) {
            let living = self.living();
            self.claims.forget_all_but(&living);
        }
        Ok(self.claims.say(&name, by, said, self.now())?)
    }

    /// The trees that are there, and those that are offered.
    fn living(&self) -> BTreeSet<String> {
        let governed = self.kernel.governed().into_iter().map(|governed| governed.tree);
        governed.chain(self.offers.values().copied()).map(tree_text).collect()
    }

    fn speaker(&self, pid: u32, tree: u64) -> Speaker {
        let governed = self.kernel.governed().into_iter();
        let members = governed.filter(|governed| governed.tree == tree).map(|governed| governed.pid).collect();
        let own = std::env::current_exe().unwrap_or_default();
        speaker(pid, &process::context(pid).ancestry, &members, &own.to_string_lossy())
    }
}

/// Who of the `members` of a tree says something: process `pid`; or, where that runs `own`, which is `holdpoint annotate`, who
/// has started it.
fn speaker(pid: u32, ancestry: &[Process], members: &BTreeSet<u32>, own: &str) -> Speaker {
    let of_tree = || ancestry.iter().take_while(|process| members.contains(&process.pid));
    match of_tree().find(|process| process.exe != own).or_else(|| of_tree().next()) {
        Some(process) => Speaker::Process { pid: process.pid, exe: process.exe.clone() },
        None => Speaker::Process { pid, exe: String::new() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_run_annotate_says_it_and_nobody_outside_the_tree() {
        let process = |pid, exe: &str| Process { pid, exe: exe.into(), ..Process::default() };
        let by = |pid, exe: &str| Speaker::Process { pid, exe: exe.into() };
        let ancestry = [process(9, "/usr/bin/holdpoint"), process(8, "/usr/bin/agent"), process(7, "/usr/bin/bash")];
        let said = |ancestry: &[Process], members: &[u32]| {
            speaker(9, ancestry, &members.iter().copied().collect(), "/usr/bin/holdpoint")
        };
        assert_eq!(said(&ancestry, &[9, 8]), by(8, "/usr/bin/agent"));
        assert_eq!(said(&ancestry, &[9, 7]), by(9, "/usr/bin/holdpoint"), "its parent is outside");
        assert_eq!(said(&[process(9, "/tmp/own"), process(8, "/usr/bin/agent")], &[9, 8]), by(9, "/tmp/own"));
        assert_eq!(said(&[], &[9]), by(9, ""), "it has gone");
    }
}
