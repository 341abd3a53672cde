//! Taking grants back, and noticing that nobody is left whom they are for.

use std::collections::BTreeSet;

use super::{Daemon, commands::fits};
use crate::{
    holds::{
        Input,
        grants::{Ending, Grant},
    },
    page::Revocation,
    request::HoldId,
    sockets::{Declined, Which, message::tree_text},
};

impl Daemon {
    /// Ends these grants, in the name of `by`: whoever may use the control socket may, since it lets nothing through. Gives
    /// which they were.
    pub(super) fn revoke(&mut self, which: &Which, by: &str, why: Option<&String>) -> Result<Vec<HoldId>, Declined> {
        fits(why)?;
        let is_meant = |grant: &Grant| match which {
            Which::One(id) => grant.id == *id,
            Which::Tree(tree) => grant.tree == *tree,
            Which::All => true,
        };
        let ids: Vec<_> = self.holds.grants().filter(|grant| is_meant(grant)).map(|grant| grant.id).collect();
        if ids.is_empty() {
            return Err(Declined::new("there is no such grant").remedy("see `holdpoint grants`"));
        }
        for id in &ids {
            self.input(Input::GrantOver(*id, Ending::Revoked { by: by.to_owned(), why: why.cloned() }));
        }
        Ok(ids)
    }

    pub(super) fn revoked_on_the_page(&mut self, Revocation { grant, by, done }: Revocation) {
        // It may be over by now, and then there is nothing to do.
        self.input(Input::GrantOver(grant, Ending::Revoked { by, why: None }));
        let _ = done.send(());
    }

    /// Ends the grants of trees and processes that have ended, and those whose time is over while nobody is held.
    pub(super) fn end_grants_of_nobody(&mut self) {
        if self.holds.grants().next().is_none() {
            return;
        }
        let governed = self.kernel.governed();
        let trees: BTreeSet<_> = governed.iter().map(|governed| tree_text(governed.tree)).collect();
        // Another process of that number has another start, and the grant is not for it.
        let is_there = |grant: &Grant| match grant.process {
            Some(process) => governed.iter().any(|governed| governed.pid == process.pid),
            None => trees.contains(&grant.tree),
        };
        let over: Vec<_> = self.holds.grants().filter(|grant| !is_there(grant)).map(|grant| grant.id).collect();
        over.into_iter().for_each(|id| self.input(Input::GrantOver(id, Ending::Gone)));
        self.input(Input::Tick);
    }
}
