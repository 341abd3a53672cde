//! What follows from nobody deciding, before the deadline: others are asked, too, and those who were are reminded.

use holdpoint_common::decision::Decision;
use jiff::Timestamp;

use super::{Effect, Holds, Live, State, record};
use crate::{
    record::Event,
    request::{End, Hold, HoldId},
};

impl Holds {
    /// Asks those whose turn it is by now. What they have approved before counts, of this call and, by a grant, of the same.
    pub(super) fn escalate(&mut self, now: Timestamp, id: HoldId) -> Vec<Effect> {
        let Some(live) = self.live.get_mut(&id).filter(|live| matches!(live.state, State::Pending)) else {
            return vec![];
        };
        let mut effects = vec![];
        while let Some(step) = live.hold.escalation.iter_mut().find(|step| !step.asked && now >= step.at) {
            step.asked = true;
            live.panel.open(&step.reviewers);
            effects.push(record(now, Event::Escalated { hold: id, reviewers: step.reviewers.clone() }));
            effects.push(Effect::Escalate(live.hold.clone()));
        }
        if !effects.is_empty() {
            // Whoever is asked just now need not be reminded of it.
            live.reminders = reminders_until(now, &live.hold);
            if let Some(grant) = self.covering(now, id) {
                effects.extend(self.use_grant(now, id, grant));
            }
        }
        effects.extend(self.decide_if_met(now, id));
        effects
    }

    /// Fewer may be asked for by now than at first. Tried again if it could not be recorded.
    fn decide_if_met(&mut self, now: Timestamp, id: HoldId) -> Vec<Effect> {
        let is_met = |live: &&mut Live| {
            let waits = matches!(live.state, State::Pending) && !live.approvals.is_empty();
            waits && live.panel.is_met(&live.approvals)
        };
        let Some(live) = self.live.get_mut(&id).filter(is_met) else { return vec![] };
        // The last of them is the answer that decides.
        let last = live.approvals.last().cloned().map(|answer| (answer, None));
        live.settle(now, End::Approved, Decision::Approve, last)
    }

    /// Reminds those who are asked by now, if it is time.
    pub(super) fn remind(&mut self, now: Timestamp, id: HoldId) -> Vec<Effect> {
        let asked = |live: &&mut Live| matches!(live.state, State::Pending) && live.hold.behind.is_none();
        let waiting = self.live.get_mut(&id).filter(asked);
        let Some(Live { hold, reminders, .. }) = waiting else { return vec![] };
        let number = reminders_until(now, hold);
        if number <= *reminders {
            return vec![];
        }
        *reminders = number;
        vec![Effect::Remind { hold: hold.clone(), number }]
    }
}

/// How many reminders are due of it by now; the same after a restart of the agent.
pub(super) fn reminders_until(now: Timestamp, hold: &Hold) -> u32 {
    let waited = now.duration_since(hold.request.at).as_millis();
    let every = hold.remind.map_or(i128::MAX, |every| i128::try_from(every.as_millis()).unwrap_or(i128::MAX)).max(1);
    u32::try_from(waited / every).unwrap_or(0)
}
