//! How many requests may wait at once. Reviewers who are flooded approve without reading, so what exceeds this is refused:
//! never asked, never let through.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Effect, Holds, Live, record};
use crate::{
    record::Event,
    request::{End, Hold, HoldId},
};

/// Most holds of one tree that wait for an answer.
pub const OF_A_TREE: usize = 64;
/// Most of all trees. Fewer than the kernel's side has room for ([`holdpoint_common::pending::PENDING_HOLDS`]): what is turned
/// away is there until it has met its denial.
pub const OF_A_HOST: usize = 1024;

/// Whose requests are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Crowd {
    /// Those of the tree that asks.
    Tree,
    /// Those of all trees.
    Host,
}

impl Crowd {
    /// How many wait, and of whom.
    pub fn words(self) -> String {
        match self {
            Self::Tree => format!("{OF_A_TREE} requests of this tree wait for an answer"),
            Self::Host => format!("{OF_A_HOST} requests of this host wait for an answer"),
        }
    }
}

impl Holds {
    /// Whether so many wait already that nobody can be asked about `hold`, too.
    fn crowd(&self, hold: &Hold) -> Option<Crowd> {
        let others = || self.pending().filter(|other| other.id != hold.id);
        let of_tree = others().filter(|other| other.request.tree == hold.request.tree).count();
        match () {
            () if of_tree >= OF_A_TREE => Some(Crowd::Tree),
            () if others().count() >= OF_A_HOST => Some(Crowd::Host),
            () => None,
        }
    }

    /// Asks reviewers, unless too many wait for them.
    pub(super) fn ask(&mut self, now: Timestamp, id: HoldId) -> Vec<Effect> {
        let Some(Live { hold, .. }) = self.live.get(&id) else { return vec![] };
        match self.crowd(hold) {
            None => vec![Effect::Ask(hold.clone())],
            Some(crowd) => self.turn_away(now, id, crowd),
        }
    }

    /// Denies what nobody is asked about, as silence does.
    fn turn_away(&mut self, now: Timestamp, id: HoldId, crowd: Crowd) -> Vec<Effect> {
        let Some(live) = self.live.get_mut(&id) else { return vec![] };
        live.crowd = Some(crowd);
        let mut effects = vec![record(now, Event::TurnedAway { hold: id, crowd })];
        effects.extend(live.settle(now, End::Denied, live.hold.on_timeout, None));
        effects
    }
}

#[cfg(test)]
mod tests {
    use holdpoint_common::decision::Decision;

    use super::*;
    use crate::{
        holds::Input,
        request::sample::{hold, start},
    };

    /// As many as fit, of as many trees as that takes; all asked.
    fn full(holds: &mut Holds, trees: usize) {
        for number in 0..trees * OF_A_TREE {
            let effects = held(holds, number, number / OF_A_TREE);
            assert!(effects.iter().any(|effect| matches!(effect, Effect::Ask(_))), "{number}");
        }
    }

    fn held(holds: &mut Holds, number: usize, tree: usize) -> Vec<Effect> {
        let mut hold = hold(HoldId(number as u64 + 1));
        hold.request.tree = format!("{tree:016x}");
        holds.on(start(), Input::Held { hold: Box::new(hold), kernel: None, passed: false, recorded: None })
    }

    /// Nobody is asked or told but the tree, and it fails as silence has it.
    #[track_caller]
    fn check_turned_away(holds: &mut Holds, number: usize, tree: usize, by: Crowd) {
        let effects = held(holds, number, tree);
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Ask(_))), "{effects:?}");
        let id = HoldId(number as u64 + 1);
        let effects = holds.on(start(), Input::Recorded(id));
        let [Effect::Decide { decision, .. }, Effect::TurnedAway { standing, crowd, .. }] = &effects[..] else {
            panic!("{effects:?}")
        };
        assert_eq!((*decision, standing.state, *crowd), (Decision::Fail, End::Denied, by));
    }

    #[test]
    fn a_tree_that_asks_too_much_is_refused_and_others_are_asked() {
        let mut holds = Holds::default();
        full(&mut holds, 1);
        check_turned_away(&mut holds, OF_A_TREE, 0, Crowd::Tree);
        assert!(held(&mut holds, OF_A_TREE + 1, 1).iter().any(|effect| matches!(effect, Effect::Ask(_))));
    }

    #[test]
    fn once_one_is_answered_another_is_asked() {
        let mut holds = Holds::default();
        full(&mut holds, 1);
        holds.on(start(), Input::Gone(HoldId(1), crate::request::Withdrawal::ProcessDead));
        assert!(held(&mut holds, OF_A_TREE, 0).iter().any(|effect| matches!(effect, Effect::Ask(_))));
    }

    #[test]
    fn many_trees_together_ask_no_more_than_a_host_may() {
        let mut holds = Holds::default();
        full(&mut holds, OF_A_HOST / OF_A_TREE);
        check_turned_away(&mut holds, OF_A_HOST, 1000, Crowd::Host);
    }
}
