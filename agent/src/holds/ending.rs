//! How holds end: what the kernel reports of decided ones, and calls that are gone.

use holdpoint_common::decision::Decision;
use jiff::Timestamp;

use super::{Effect, Ended, Holds, Live, MEMORIES, MEMORY, State, record};
use crate::{
    record::Event,
    request::{End, HoldId, Withdrawal},
};

impl Holds {
    pub(super) fn gone(&mut self, now: Timestamp, id: HoldId, reason: Withdrawal) -> Vec<Effect> {
        let Some(live) = self.live.get(&id) else { return vec![] };
        if live.is_open() && !(reason == Withdrawal::FatalSignal && live.is_decided()) {
            let seen = matches!(reason, Withdrawal::ProcessDead | Withdrawal::PolicyChanged);
            return self.withdraw(now, id, reason, seen);
        }
        match reason {
            // The process has been woken for its decision: the signal ends it now.
            Withdrawal::FatalSignal => vec![],
            // It was killed by the decision before its call met it.
            Withdrawal::ProcessDead if self.is_denied(id) => self.dropped(now, id, Event::Refused { hold: id }),
            Withdrawal::ProcessDead
            | Withdrawal::CallAbandoned
            | Withdrawal::PolicyChanged
            | Withdrawal::GrantEnded => self.end(now, id),
        }
    }

    /// The held call was let through. Said again, by whoever looks into the kernel's map, it changes nothing.
    pub(super) fn passed(&mut self, now: Timestamp, id: HoldId) -> Vec<Effect> {
        match self.live.get_mut(&id).map(|live| &mut live.state) {
            Some(State::Decided { passed: true, .. }) => return vec![],
            Some(State::Decided { passed, .. }) => *passed = true,
            _ => {}
        }
        vec![record(now, Event::Passed { hold: id })]
    }

    /// The kernel has dropped the hold, and reports it with `event`. If it was not decided, or approved and not
    /// used, the thread went another way.
    pub(super) fn dropped(&mut self, now: Timestamp, id: HoldId, event: Event) -> Vec<Effect> {
        let Some(live) = self.live.get(&id) else { return vec![Effect::Forget(id)] };
        if live.is_open() {
            return self.withdraw(now, id, Withdrawal::CallAbandoned, true);
        }
        let mut effects = vec![record(now, event)];
        effects.extend(self.end(now, id));
        effects
    }

    fn is_denied(&self, id: HoldId) -> bool {
        let standing = self.live.get(&id).and_then(|live| live.state.standing());
        standing.is_some_and(|standing| matches!(standing.decision, Decision::Fail | Decision::Kill))
    }

    /// Ends a hold whose call is gone, whatever was decided of it. `seen` by the kernel, it is over at once;
    /// otherwise the kernel is told, and reports the end.
    pub(super) fn withdraw(&mut self, now: Timestamp, id: HoldId, reason: Withdrawal, seen: bool) -> Vec<Effect> {
        let Some(live) = self.live.get_mut(&id) else { return vec![] };
        let waiting = live.state.ticket();
        let standing = live.standing(End::Withdrawn, Decision::Withdraw, &[]);
        let told = live.told(&standing);
        let digest = live.hold.alone();
        live.state = State::Decided { standing, passed: false };
        let mut effects = vec![record(now, Event::Withdrawn { hold: id, digest, reason })];
        if !seen {
            effects.push(Effect::Decide { hold: id, decision: Decision::Withdraw });
        }
        effects.extend(waiting.and_then(|ticket| self.over(id, ticket)));
        effects.extend(told);
        effects.extend(self.follow(now, id, &[]));
        if seen {
            effects.extend(self.end(now, id));
        }
        effects
    }

    /// The hold is over in the kernel too. What is needed to answer late answers is kept for a while.
    fn end(&mut self, now: Timestamp, id: HoldId) -> Vec<Effect> {
        if let Some(Live { hold, panel, state: State::Decided { standing, .. }, .. }) = self.live.remove(&id) {
            self.ended.insert(id, Ended { panel, on_deny: hold.on_deny, standing });
            self.order.push_back((now, id));
        }
        vec![Effect::Forget(id)]
    }

    pub(super) fn prune(&mut self, now: Timestamp) {
        while let Some((ended, id)) = self.order.front().copied()
            && (self.order.len() > MEMORIES || now.duration_since(ended) > MEMORY)
        {
            self.order.pop_front();
            self.ended.remove(&id);
        }
    }
}

impl Live {
    fn is_decided(&self) -> bool {
        matches!(self.state, State::Decided { .. })
    }

    /// Whether the held call has not been let through or refused: nothing but a withdrawal can follow if
    /// it is gone.
    fn is_open(&self) -> bool {
        match &self.state {
            State::Pending | State::Deciding { .. } => true,
            State::Decided { standing, passed } => standing.decision == Decision::Approve && !passed,
        }
    }
}
