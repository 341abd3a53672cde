//! How many requests may wait at once, and how fast those may follow each other that nobody answers. Reviewers who are flooded
//! approve without reading, so what exceeds this is refused: never asked, never let through.

use std::{collections::HashMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Effect, Holds, record};
use crate::{
    record::Event,
    request::{End, Hold, HoldId},
};

/// Most holds of one tree that wait for an answer.
pub const OF_A_TREE: usize = 64;
/// Most of all trees. Fewer than the kernel's side has room for ([`holdpoint_common::pending::PENDING_HOLDS`]): what is turned
/// away is there until it has met its denial.
pub const OF_A_HOST: usize = 1024;

/// How fast questions may follow each other that nobody answers, since they are taken back or run out: so many at once, and one
/// more in each `every`.
struct Pace {
    burst: i32,
    every: SignedDuration,
}

/// Of one tree: twice as many as may wait, and 120 a minute.
const PACE_OF_A_TREE: Pace = Pace { burst: 128, every: SignedDuration::from_millis(500) };
/// Of all trees: 1,920 a minute.
const PACE_OF_A_HOST: Pace = Pace { burst: 2048, every: SignedDuration::from_micros(31_250) };

/// Whose requests are too many, or too fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Crowd {
    /// Those of the tree that asks.
    Tree,
    /// Those of all trees.
    Host,
    /// Those of the tree that asks come too fast.
    TreePace,
    /// Those of all trees do.
    HostPace,
}

impl Crowd {
    /// How long what was turned away is refused without being recorded anew, if it is asked for again.
    pub const PAUSE: Duration = Duration::from_secs(1);

    /// What is too much.
    pub fn words(self) -> String {
        match self {
            Self::Tree => format!("{OF_A_TREE} requests of this tree wait for an answer"),
            Self::Host => format!("{OF_A_HOST} requests of this host wait for an answer"),
            Self::TreePace => "this tree asks faster than anybody answers".to_owned(),
            Self::HostPace => "this host asks faster than anybody answers".to_owned(),
        }
    }
}

/// Until when those questions that were asked are enough at their pace: the generic cell rate algorithm (ITU-T I.371).
#[derive(Debug, Default)]
pub(super) struct Paces {
    host: Timestamp,
    trees: HashMap<String, Timestamp>,
}

impl Paces {
    /// Counts a question of `tree`, unless it comes too fast.
    fn take(&mut self, now: Timestamp, tree: &str) -> Result<(), Crowd> {
        self.trees.retain(|_, until| *until > now);
        let of_tree = self.trees.get(tree).copied().unwrap_or(now);
        let of_tree = PACE_OF_A_TREE.after(now, of_tree).ok_or(Crowd::TreePace)?;
        self.host = PACE_OF_A_HOST.after(now, self.host).ok_or(Crowd::HostPace)?;
        self.trees.insert(tree.to_owned(), of_tree);
        Ok(())
    }

    /// A question of `tree` was answered: whoever answers as fast as is asked is not flooded.
    pub(super) fn give_back(&mut self, tree: &str) {
        if let Some(until) = self.trees.get_mut(tree) {
            *until = until.saturating_sub(PACE_OF_A_TREE.every).unwrap_or(Timestamp::MIN);
        }
        self.host = self.host.saturating_sub(PACE_OF_A_HOST.every).unwrap_or(Timestamp::MIN);
    }
}

impl Pace {
    /// One more than what is enough `until` then; none if that is too many.
    fn after(&self, now: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let until = until.max(now).saturating_add(self.every).unwrap_or(Timestamp::MAX);
        (until.duration_since(now) <= self.every * self.burst).then_some(until)
    }
}

impl Holds {
    /// Whether so many wait already that `hold` cannot, too.
    pub(super) fn crowd(&self, hold: &Hold) -> Option<Crowd> {
        let others = || self.pending().filter(|other| other.id != hold.id);
        let of_tree = others().filter(|other| other.request.tree == hold.request.tree).count();
        match () {
            () if of_tree >= OF_A_TREE => Some(Crowd::Tree),
            () if others().count() >= OF_A_HOST => Some(Crowd::Host),
            () => None,
        }
    }

    /// Asks reviewers, unless too many wait for them, or come too fast.
    pub(super) fn ask(&mut self, now: Timestamp, id: HoldId) -> Vec<Effect> {
        match self.count_question(now, id) {
            Some(crowd) => self.turn_away(now, id, crowd),
            None => self.asked(now, id),
        }
    }

    /// Counts a question about `id`; why not, if there is no room for it.
    pub(super) fn count_question(&mut self, now: Timestamp, id: HoldId) -> Option<Crowd> {
        let hold = &self.live.get(&id)?.hold;
        self.crowd(hold).or_else(|| self.paces.take(now, &hold.request.tree).err())
    }

    /// The question, which was counted.
    pub(super) fn asked(&mut self, now: Timestamp, id: HoldId) -> Vec<Effect> {
        let ask = self.live.get(&id).map(|live| Effect::Ask(live.hold.clone()));
        ask.into_iter().chain(self.escalate(now, id)).collect()
    }

    /// Denies what nobody is asked about, as silence does.
    pub(super) fn turn_away(&mut self, now: Timestamp, id: HoldId, crowd: Crowd) -> Vec<Effect> {
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
        holds::{Input, Ticket},
        request::{
            Answer, Proof, Word,
            sample::{hold_of_its_own, start},
        },
        scope::Scope,
    };

    /// As many as fit, of as many trees as that takes; all asked.
    fn full(holds: &mut Holds, trees: usize) {
        for number in 0..trees * OF_A_TREE {
            let effects = held(holds, number, number / OF_A_TREE);
            assert!(effects.iter().any(|effect| matches!(effect, Effect::Ask(_))), "{number}");
        }
    }

    fn held(holds: &mut Holds, number: usize, tree: usize) -> Vec<Effect> {
        let mut hold = hold_of_its_own(HoldId(number as u64 + 1));
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
        let [Effect::Decide { decision, .. }, Effect::TellTree { standing, crowd, .. }] = &effects[..] else {
            panic!("{effects:?}")
        };
        assert_eq!((*decision, standing.state, *crowd), (Decision::Fail, End::Denied, Some(by)));
        assert_eq!(holds.pause(id), Some(Crowd::PAUSE), "whatever the rule says of a reviewer's no");
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

    /// Asked and answered, one after the other.
    fn pass(holds: &mut Holds, number: usize) -> bool {
        let asked = held(holds, number, 0).iter().any(|effect| matches!(effect, Effect::Ask(_)));
        let id = HoldId(number as u64 + 1);
        holds.on(start(), Input::Gone(id, crate::request::Withdrawal::ProcessDead));
        asked
    }

    #[test]
    fn a_tree_that_asks_too_fast_is_refused_for_a_while_and_others_are_asked() {
        let mut holds = Holds::default();
        let burst = 128;
        assert!((0..burst).all(|number| pass(&mut holds, number)));
        check_turned_away(&mut holds, burst, 0, Crowd::TreePace);
        assert!(held(&mut holds, burst + 1, 1).iter().any(|effect| matches!(effect, Effect::Ask(_))));
        let mut hold = hold_of_its_own(HoldId(1_000));
        hold.request.tree = format!("{:016x}", 0);
        let input = Input::Held { hold: Box::new(hold), kernel: None, passed: false, recorded: None };
        let effects = holds.on(start() + PACE_OF_A_TREE.every, input);
        assert!(effects.iter().any(|effect| matches!(effect, Effect::Ask(_))), "{effects:?}");
    }

    fn approval(holds: &Holds, id: HoldId) -> Answer {
        let digest = holds.get(id).expect("it is held").digest.clone();
        let proof = Proof::Webhook { channel: "ops".into(), asks: vec!["security".into()] };
        let (word, scope) = (Word::Approve, Scope::Once);
        Answer { hold: id, digest, word, scope, who: "alice".into(), why: None, proof, known: Box::default() }
    }

    #[test]
    fn who_is_answered_may_ask_as_fast() {
        let mut holds = Holds::default();
        for number in 0..1_000 {
            assert!(held(&mut holds, number, 0).iter().any(|effect| matches!(effect, Effect::Ask(_))), "{number}");
            let hold = HoldId(number as u64 + 1);
            holds.on(start(), Input::Answered { answer: approval(&holds, hold), ticket: Ticket(1) });
            holds.on(start(), Input::Recorded(hold));
        }
    }

    #[test]
    fn many_trees_together_ask_no_more_than_a_host_may() {
        let mut holds = Holds::default();
        full(&mut holds, OF_A_HOST / OF_A_TREE);
        check_turned_away(&mut holds, OF_A_HOST, 1000, Crowd::Host);
    }
}
