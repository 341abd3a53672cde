//! What becomes of an answer: refused, counted, or the decision.

use holdpoint_common::decision::Decision;
use jiff::Timestamp;

use super::{Effect, Ended, Holds, Live, Ticket, panel::Panel, record};
use crate::{
    record::Event,
    request::{Answer, End, HoldId, Outcome, Refusal, Standing, Word},
};

/// What becomes of an answer that is about the hold and from somebody who may give it.
enum Judged {
    /// The hold is decided already, in the same way.
    Repeats(Standing),
    /// It is an approval, and others must join it.
    Counts {
        /// Whose, in words.
        missing: String,
    },
    /// The hold ends by it.
    Decides,
}

impl Holds {
    pub(super) fn answered(&mut self, now: Timestamp, mut answer: Answer, ticket: Ticket) -> Vec<Effect> {
        let id = answer.hold;
        answer.known.own = self.panel(id).is_some_and(|panel| panel.is_requester(&answer));
        let mut effects = if self.is_late(now, id) { self.expire(now, id) } else { self.escalate(now, id) };
        match self.judge(&answer) {
            Ok(Judged::Repeats(standing)) => {
                effects.push(Effect::Reply { ticket, result: Ok(Outcome::Again(standing)) });
            }
            Ok(Judged::Counts { missing }) => effects.extend(self.count(now, answer, ticket, missing)),
            Ok(Judged::Decides) => effects.extend(self.decide(now, answer, ticket)),
            Err(refusal) => {
                let text = refusal.to_string();
                let event =
                    Event::RefusedAnswer { hold: Some(id), answer: Some(answer), refusal: text, from: None, more: 0 };
                effects.push(record(now, event));
                effects.push(Effect::Reply { ticket, result: Err(refusal) });
            }
        }
        effects
    }

    fn panel(&self, id: HoldId) -> Option<&Panel> {
        self.live.get(&id).map(|live| &live.panel).or_else(|| self.ended.get(&id).map(|ended| &ended.panel))
    }

    /// What becomes of `answer`.
    fn judge(&self, answer: &Answer) -> Result<Judged, Refusal> {
        let (panel, on_deny, standing) = match (self.live.get(&answer.hold), self.ended.get(&answer.hold)) {
            (Some(Live { panel, hold, state, .. }), _) => (panel, hold.on_deny, state.standing()),
            (None, Some(Ended { panel, on_deny, standing })) => (panel, *on_deny, Some(standing)),
            (None, None) => return Err(Refusal::UnknownHold),
        };
        panel.admits(answer)?;
        let Some(standing) = standing.cloned() else { return self.weigh(answer) };
        if matches!(standing.state, End::Expired | End::Withdrawn) {
            Err(Refusal::Over(standing))
        } else if self.is_deciding(answer.hold) {
            Err(Refusal::NotRecorded)
        } else if answer.word.decision(on_deny) == standing.decision {
            Ok(Judged::Repeats(standing))
        } else {
            Err(Refusal::Conflict(standing))
        }
    }

    /// The first no decides; a yes does once nobody's is missing any more.
    fn weigh(&self, answer: &Answer) -> Result<Judged, Refusal> {
        let Some(live @ Live { panel, approvals, .. }) = self.live.get(&answer.hold) else {
            return Err(Refusal::UnknownHold);
        };
        if answer.word != Word::Approve {
            return Ok(Judged::Decides);
        }
        let missing = panel.missing(approvals, answer)?;
        self.grantable(live, answer)?;
        Ok(if missing.is_empty() { Judged::Decides } else { Judged::Counts { missing } })
    }

    /// An approval that others have to join.
    fn count(&mut self, now: Timestamp, answer: Answer, ticket: Ticket, missing: String) -> Vec<Effect> {
        let Some(live) = self.live.get_mut(&answer.hold) else { return vec![] };
        live.hold.approved.push(answer.who.clone());
        live.approvals.push(answer.clone());
        let hold = live.hold.clone();
        let event = Event::Counted { hold: answer.hold, answer, missing: missing.clone() };
        let result = Ok(Outcome::Counted(missing.clone()));
        vec![record(now, event), Effect::Counted { hold, missing }, Effect::Reply { ticket, result }]
    }

    /// Where an answer becomes a decision.
    fn decide(&mut self, now: Timestamp, answer: Answer, ticket: Ticket) -> Vec<Effect> {
        let Some(live) = self.live.get_mut(&answer.hold) else { return vec![] };
        if live.hold.behind.is_none() {
            self.paces.give_back(&live.hold.request.tree);
        }
        let decision = answer.word.decision(live.hold.on_deny);
        if decision == Decision::Approve {
            return live.settle(now, End::Approved, decision, Some((answer, Some(ticket))));
        }
        let (id, by) = (answer.hold, answer.who.clone());
        let mut effects = live.settle(now, End::Denied, decision, Some((answer, Some(ticket))));
        effects.extend(self.end_denied(now, id, &by));
        effects
    }
}
