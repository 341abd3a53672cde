//! What follows from nobody deciding, before the deadline: others are asked, too, and those who were are reminded.

use holdpoint_common::decision::Decision;
use jiff::Timestamp;

use super::{Effect, Holds, Live, State, record};
use crate::{
    record::Event,
    request::{End, Hold, HoldId},
};

impl Holds {
    /// Asks those whose turn it is by now. What has been approved before counts for them, too.
    pub(super) fn escalate(&mut self, now: Timestamp, id: HoldId) -> Vec<Effect> {
        let Some(live) = self.live.get_mut(&id).filter(|live| matches!(live.state, State::Pending)) else {
            return vec![];
        };
        let mut effects = vec![];
        while let Some(step) = live.hold.escalation.iter_mut().find(|step| !step.asked && now >= step.at) {
            step.asked = true;
            live.panel.open();
            effects.push(record(now, Event::Escalated { hold: id, reviewers: step.reviewers.clone() }));
            effects.push(Effect::Escalate(live.hold.clone()));
        }
        if !effects.is_empty() && live.panel.is_met(&live.approvals) {
            // The last of them is the answer that decides.
            live.hold.approved.pop();
            let last = live.approvals.pop().map(|answer| (answer, None));
            effects.extend(live.settle(now, End::Approved, Decision::Approve, last));
        }
        effects
    }

    /// Reminds those who are asked by now, if it is time.
    pub(super) fn remind(&mut self, now: Timestamp, id: HoldId) -> Vec<Effect> {
        let waiting = self.live.get_mut(&id).filter(|live| matches!(live.state, State::Pending));
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
