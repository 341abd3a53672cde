//! Requests of a tree that ask for the same ([`Class`]) while reviewers are asked about one of them: nobody is asked twice.
//!
//! ```text
//!   1 comes: asked.  2, 3, 4 come: behind 1.
//!       a no ------------------------------> denied: 1, 2, 3, 4
//!       approval --> approved: 1 --.
//!       expired, gone: 1 ----------+-------> one question about 4 that lists 2 and 3.  5 comes: behind 4.
//!                                                a no ----------> denied: 4, 2, 3, 5
//!                                                approval ------> approved: 4, 2, 3; one question about 5
//! ```
//!
//! A question lists no more than [`LISTED`], those with the least time left; the others wait behind it for the next one.
//!
//! An approval reaches as far as the question listed, which its digest says ([`Digest::of_all`]), and no further. Each hold is
//! decided on record by itself, if the answers would decide it at that moment, and has its own deadline.
//!
//! [`Class`]: crate::class::Class

use jiff::Timestamp;

use super::{Effect, Holds, Live, State, ladder, record};
use crate::{
    record::Event,
    request::{Answer, Digest, End, Hold, HoldId, Same, Word},
};

/// Most holds that one question is about, with the one that is answered: so many every channel shows, unless their programs have
/// names of unusual length.
const LISTED: usize = 16;

impl Holds {
    /// Has it wait behind the question about the same; without one, asks about it.
    pub(super) fn join_or_ask(&mut self, now: Timestamp, id: HoldId) -> Vec<Effect> {
        let Some(first) = self.asked_about_the_same(id) else { return self.ask(now, id) };
        if let Some(crowd) = self.live.get(&id).and_then(|live| self.crowd(&live.hold)) {
            return self.turn_away(now, id, crowd);
        }
        self.wait_behind(id, first);
        [record(now, Event::Joined { hold: id, behind: first })].into_iter().chain(self.shown_behind(id)).collect()
    }

    /// Asks about a hold that waits again, unless its question, or that about the same, is open still.
    pub(super) fn ask_if_nobody_is(&mut self, now: Timestamp, id: HoldId) -> Vec<Effect> {
        let Some(Live { hold, quiet, .. }) = self.live.get(&id) else { return vec![] };
        let (quiet, behind) = (*quiet, hold.behind);
        if !quiet && behind.is_none_or(|first| self.live.get(&first).is_some_and(Live::has_a_question)) {
            return vec![];
        }
        if let Some(live) = self.live.get_mut(&id) {
            (live.quiet, live.hold.behind) = (false, None);
        }
        self.join_or_ask(now, id)
    }

    fn asked_about_the_same(&self, id: HoldId) -> Option<HoldId> {
        let class = self.live.get(&id)?.class.as_ref()?;
        let is_same = |other: &&Live| other.hold.id != id && other.class.as_ref() == Some(class);
        self.live.values().filter(is_same).find(|other| other.has_a_question()).map(|other| other.hold.id)
    }

    fn wait_behind(&mut self, id: HoldId, first: HoldId) {
        if let Some(live) = self.live.get_mut(&id) {
            live.hold.behind = Some(first);
        }
    }

    fn shown_behind(&self, id: HoldId) -> Option<Effect> {
        self.live.get(&id).map(|live| Effect::Join(live.hold.clone()))
    }

    /// The question about `first` is over. Decides those that wait behind it by the `answers`, as far as these are about them,
    /// and asks about the others.
    pub(super) fn follow(&mut self, now: Timestamp, first: HoldId, answers: &[Answer]) -> Vec<Effect> {
        let behind = |live: &&Live| matches!(live.state, State::Pending) && live.hold.behind == Some(first);
        let behind: Vec<_> = self.live.values().filter(behind).map(|live| live.hold.id).collect();
        if behind.is_empty() {
            return vec![];
        }
        let listed = self.live.get(&first).map(|live| live.hold.same.clone()).unwrap_or_default();
        let is_meant = |id: &HoldId| match answers.last().map(|last| last.word) {
            Some(Word::Approve) => listed.iter().any(|same| same.hold == *id),
            Some(Word::Deny | Word::Kill | Word::Fail) => true,
            None => false,
        };
        let (meant, mut others): (Vec<_>, Vec<_>) = behind.into_iter().partition(is_meant);
        let mut effects = vec![];
        for id in meant {
            effects.extend(self.decide_likewise(now, id, answers));
            others.extend(self.is_pending(id).then_some(id));
        }
        effects.extend(self.gather(now, others));
        effects
    }

    /// Decides a hold as another one was, if these answers would decide it now.
    fn decide_likewise(&mut self, now: Timestamp, id: HoldId, answers: &[Answer]) -> Vec<Effect> {
        if self.is_late(now, id) {
            return self.expire(now, id);
        }
        let mut effects = self.escalate(now, id);
        let follows = |live: &&mut Live| matches!(live.state, State::Pending) && live.panel.follows(answers);
        if let (Some(live), Some(last)) = (self.live.get_mut(&id).filter(follows), answers.last()) {
            let state = if last.word == Word::Approve { End::Approved } else { End::Denied };
            effects.push(live.settle_by_all(now, state, last.word.decision(live.hold.on_deny), answers));
        }
        effects
    }

    /// One question about all of these, as many as fit: that about the one with the most time left lists the others. If there is
    /// no room for it, all are turned away.
    fn gather(&mut self, now: Timestamp, mut ids: Vec<HoldId>) -> Vec<Effect> {
        ids.sort_by_key(|id| self.live.get(id).map(|live| live.hold.deadline));
        let Some(first) = ids.pop() else { return vec![] };
        if let Some(crowd) = self.count_question(now, first) {
            return ids.into_iter().chain([first]).flat_map(|id| self.turn_away(now, id, crowd)).collect();
        }
        ids.iter().for_each(|other| self.wait_behind(*other, first));
        let (listed, unlisted) = ids.split_at(ids.len().min(LISTED - 1));
        let same = listed.iter().filter_map(|id| self.live.get(id)).map(|live| Same::from(&*live.hold)).collect();
        let mut effects: Vec<_> = self.list(now, first, same).into_iter().collect();
        effects.extend(unlisted.iter().map(|hold| record(now, Event::Joined { hold: *hold, behind: first })));
        effects.extend(self.asked(now, first));
        effects.extend(ids.into_iter().filter_map(|id| self.shown_behind(id)));
        effects
    }

    /// Nobody has been asked about `first` so far: its question is about these, too.
    fn list(&mut self, now: Timestamp, first: HoldId, same: Vec<Same>) -> Option<Effect> {
        let live = self.live.get_mut(&first)?;
        live.hold.behind = None;
        live.reminders = ladder::reminders_until(now, &live.hold);
        if same.is_empty() {
            return None;
        }
        live.list(same);
        Some(record(now, Event::Gathered { hold: first, digest: live.hold.digest.clone(), listed: live.hold.listed() }))
    }
}

impl Live {
    /// Whether reviewers are asked about it: until what they have said is on record.
    fn has_a_question(&self) -> bool {
        let open = matches!(self.state, State::Pending | State::Deciding { .. });
        open && self.hold.behind.is_none() && !self.quiet && self.crowd.is_none()
    }

    /// From now on its question is about these, too. Who has approved it alone has not seen them, and does so again.
    fn list(&mut self, same: Vec<Same>) {
        let hold: &mut Hold = &mut self.hold;
        (hold.alone, hold.same) = (Some(hold.alone()), same);
        hold.digest = Digest::of_all(&hold.listed());
        self.panel.asks_about(&hold.digest);
        self.approvals.clear();
        hold.approved.clear();
    }
}
