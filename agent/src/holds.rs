//! Where an answer becomes a decision ([`answers`]). A state machine without clock and I/O: time is handed
//! in, effects are handed out.
//!
//! ```text
//!            answer, deadline, close              on disk                 kernel: refused, left; call gone
//!   Pending ------------------------> Deciding ------------> Decided -----------------------------------> Ended
//!      ^                                 |                      ^
//!      '--- approval could not be recorded                      |
//!      '------------------ call gone: withdrawn ----------------'
//! ```
//!
//! - Whatever is not an approval that is valid, in time and on record denies. Late is late: an approval after
//!   the deadline denies, even if no tick came in between.
//! - A denial that cannot be recorded is carried out all the same, and counted; an approval is not.
//! - The first no decides. A yes decides once nobody's is missing any more: until then it is kept, by this agent alone.
//! - Whom a later step of the rule names may answer once the time for that has come, whether or not a tick came in between.
//! - An answer counts once. Repeated, it gets the standing decision; another one is in conflict with it.
//! - While somebody is asked, what asks for the same in the same tree waits behind that question: [`same`].
//! - A grant ([`grants`]) decides as the answers do that it is made of, judged anew, and never without a line of its own.
//!
//! Time is a [`Timestamp`] that the caller derives from `CLOCK_BOOTTIME`, the clock of the kernel's deadlines,
//! plus an offset taken once at start. It never jumps: neither NTP nor somebody who sets the clock moves a
//! deadline; and it is the same number that reviewers are shown.

mod answers;
mod crowd;
mod ending;
mod flow;
pub mod grants;
mod ladder;
mod panel;
mod same;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

use holdpoint_common::decision::Decision;
use jiff::{SignedDuration, Timestamp};

pub use self::{
    crowd::Crowd,
    flow::{Effect, Input, Ticket},
};
use self::{crowd::Paces, grants::Grants, panel::Panel};
use crate::{
    class::Class,
    quorum,
    record::{Decided, Entry, Event, OperationKey, Recorded},
    request::{Answer, End, Hold, HoldId, Outcome, Refusal, Standing, Withdrawal},
};

/// How long a hold that is over is remembered, so that a late answer is told how it ended.
const MEMORY: SignedDuration = SignedDuration::from_hours(1);

/// How many holds that are over are remembered at most: about 10 MB.
const MEMORIES: usize = 10_000;

/// All holds of this host.
#[derive(Debug, Default)]
pub struct Holds {
    live: BTreeMap<HoldId, Live>,
    ended: HashMap<HoldId, Ended>,
    grants: Grants,
    /// Ended holds, oldest first.
    order: VecDeque<(Timestamp, HoldId)>,
    /// Decisions that took effect without being recorded.
    unrecorded: u64,
    /// Those of them that the record has not been told of.
    untold: u64,
    /// How often was asked.
    paces: Paces,
    closing: bool,
}

#[derive(Debug)]
struct Live {
    hold: Box<Hold>,
    /// What else asks for the same; none if that cannot be told.
    class: Option<Class>,
    panel: Panel,
    /// Approvals that count, while others are needed still.
    approvals: Vec<Answer>,
    /// How often those who are asked have been reminded.
    reminders: u32,
    /// Why nobody was asked.
    crowd: Option<Crowd>,
    /// The grant that decides it.
    grant: Option<HoldId>,
    /// Nobody was asked, since a grant covered it.
    quiet: bool,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Pending,
    /// The decision is being recorded.
    Deciding {
        standing: Standing,
        ticket: Option<Ticket>,
        /// The answers to its question, from which more than this decision follows: a grant, and what becomes of holds that ask
        /// for the same.
        answers: Vec<Answer>,
    },
    /// The kernel has been told.
    Decided {
        standing: Standing,
        passed: bool,
    },
}

#[derive(Debug)]
struct Ended {
    panel: Panel,
    on_deny: Decision,
    standing: Standing,
}

impl Holds {
    /// Takes `input` at `now`; returns what is to be done, in order.
    pub fn on(&mut self, now: Timestamp, input: Input) -> Vec<Effect> {
        self.prune(now);
        let mut effects = self.end_late(now);
        effects.extend(self.take(now, input));
        effects
    }

    fn take(&mut self, now: Timestamp, input: Input) -> Vec<Effect> {
        match input {
            Input::Held { hold, kernel, passed, recorded } => {
                let id = hold.id;
                let mut effects = self.held(now, hold, kernel, recorded);
                if passed {
                    // It is awake.
                    effects.retain(|effect| !matches!(effect, Effect::Wake(_)));
                    effects.extend(self.passed(now, id));
                }
                effects
            }
            Input::Answered { answer, ticket } => self.answered(now, answer, ticket),
            Input::Tick => self.tick(now),
            Input::Recorded(id) => self.recorded(now, id),
            Input::RecordFailed(id) => self.record_failed(now, id),
            Input::Gone(id, reason) => self.gone(now, id, reason),
            Input::Passed(id) => self.passed(now, id),
            Input::Refused(id) => self.dropped(now, id, Event::Refused { hold: id }),
            Input::Left(id) => self.dropped(now, id, Event::Left { hold: id }),
            Input::PolicyChanged => self.judge_by_another_policy(now),
            Input::GrantOver(grant, ending) => self.end_grant(now, grant, ending),
            Input::Close => self.close(now),
            Input::Reopen => {
                self.closing = false;
                vec![]
            }
        }
    }

    /// Holds that wait for an answer.
    pub fn pending(&self) -> impl Iterator<Item = &Hold> {
        self.live.values().filter(|live| matches!(live.state, State::Pending)).map(|live| &*live.hold)
    }

    /// Whether it waits for an answer.
    pub fn is_pending(&self, id: HoldId) -> bool {
        self.live.get(&id).is_some_and(|live| matches!(live.state, State::Pending))
    }

    /// A hold that is not over yet: pending, or decided and not yet seen off.
    pub fn get(&self, id: HoldId) -> Option<&Hold> {
        self.live.get(&id).map(|live| &*live.hold)
    }

    /// What stands of a hold, once it was decided or withdrawn.
    pub fn standing(&self, id: HoldId) -> Option<&Standing> {
        match self.live.get(&id) {
            Some(live) => match &live.state {
                State::Decided { standing, .. } => Some(standing),
                State::Pending | State::Deciding { .. } => None,
            },
            None => self.ended.get(&id).map(|ended| &ended.standing),
        }
    }

    /// How long the same request is refused without a question: where a reviewer said no, or nobody could be asked. Nothing
    /// where nobody answered.
    pub fn pause(&self, id: HoldId) -> Option<Duration> {
        let Live { hold, crowd, state: State::Decided { standing, .. }, .. } = self.live.get(&id)? else { return None };
        if crowd.is_some() {
            return Some(Crowd::PAUSE);
        }
        let said_no = standing.state == End::Denied && standing.by.is_some();
        (said_no && !hold.pause.is_zero()).then_some(hold.pause)
    }

    /// Denials that took effect although they could not be recorded.
    pub fn unrecorded(&self) -> u64 {
        self.unrecorded
    }

    fn held(
        &mut self,
        now: Timestamp,
        hold: Box<Hold>,
        kernel: Option<Decision>,
        recorded: Option<Recorded>,
    ) -> Vec<Effect> {
        let id = hold.id;
        if self.ended.contains_key(&id) {
            // Its end was seen, but the kernel still has it: without the entry the call is a new request.
            return vec![Effect::Forget(id), Effect::Wake(id)];
        }
        if self.live.contains_key(&id) {
            return if kernel.is_none() { self.again(now, id) } else { vec![] };
        }
        let mut effects = vec![record(now, Event::Held { hold: id, what: Box::new((&*hold).into()) })];
        // An approval of something else is none. A denial stays one whatever it was about.
        let recorded = recorded.filter(|it| it.decision != Decision::Approve || it.digest == hold.digest);
        let standing = inherited(id, kernel, recorded);
        let decided = standing.is_some();
        let state = standing.map_or(State::Pending, |standing| State::Decided { standing, passed: false });
        let deadline = hold.deadline;
        self.live.insert(id, Live::new(now, hold, state));
        effects.extend(match kernel {
            Some(_) => vec![Effect::Wake(id)],
            None if decided => self.again(now, id),
            None if self.closing => self.deny(now, id),
            None if now >= deadline => self.expire(now, id),
            None => self.use_or_ask(now, id),
        });
        effects
    }

    /// A decided hold for which no decision stands in the kernel: it got lost on the way, so it is repeated.
    /// An approval is not repeated after the deadline; there it expires.
    fn again(&mut self, now: Timestamp, id: HoldId) -> Vec<Effect> {
        let Some(live) = self.live.get(&id) else { return vec![] };
        let State::Decided { standing, passed: false } = &live.state else { return vec![] };
        if standing.decision == Decision::Approve && now >= live.hold.deadline {
            return self.expire(now, id);
        }
        let decide = Effect::Decide { hold: id, decision: standing.decision };
        [decide].into_iter().chain(live.told(standing)).collect()
    }

    fn expire(&mut self, now: Timestamp, id: HoldId) -> Vec<Effect> {
        let Some(live) = self.live.get_mut(&id) else { return vec![] };
        live.grant = None;
        live.settle(now, End::Expired, live.hold.on_timeout, None)
    }

    fn deny(&mut self, now: Timestamp, id: HoldId) -> Vec<Effect> {
        let Some(live) = self.live.get_mut(&id) else { return vec![] };
        live.settle(now, End::Denied, live.hold.on_deny, None)
    }

    fn is_late(&self, now: Timestamp, id: HoldId) -> bool {
        let late = |live: &Live| matches!(live.state, State::Pending) && now >= live.hold.deadline;
        self.live.get(&id).is_some_and(late)
    }

    fn is_deciding(&self, id: HoldId) -> bool {
        self.live.get(&id).is_some_and(|live| matches!(live.state, State::Deciding { .. }))
    }

    /// Who has approved, while others must, does so again: the key or the name may be nobody's any more.
    fn judge_by_another_policy(&mut self, now: Timestamp) -> Vec<Effect> {
        let mut effects = self.end_all(now);
        let counted = |live: &&mut Live| matches!(live.state, State::Pending) && !live.approvals.is_empty();
        let forget = |live: &mut Live| {
            live.approvals.clear();
            live.hold.approved.clear();
            let (hold, asked) = (live.hold.clone(), live.hold.behind.is_none());
            let forgotten = Effect::Counted { missing: hold.asked_briefly(), hold: hold.clone() };
            [forgotten].into_iter().chain(asked.then_some(Effect::Ask(hold)))
        };
        effects.extend(self.live.values_mut().filter(counted).flat_map(forget));
        effects
    }

    fn tick(&mut self, now: Timestamp) -> Vec<Effect> {
        let pending: Vec<_> = self.pending().map(|hold| hold.id).collect();
        pending.into_iter().flat_map(|id| self.waits(now, id)).collect()
    }

    /// Nobody has decided of it so far.
    fn waits(&mut self, now: Timestamp, id: HoldId) -> Vec<Effect> {
        if self.is_late(now, id) {
            return self.expire(now, id);
        }
        let mut effects = self.escalate(now, id);
        effects.extend(self.remind(now, id));
        effects
    }

    fn close(&mut self, now: Timestamp) -> Vec<Effect> {
        self.closing = true;
        let open: Vec<_> = self.pending().map(|hold| hold.id).collect();
        open.into_iter().flat_map(|id| self.deny(now, id)).collect()
    }

    fn recorded(&mut self, now: Timestamp, id: HoldId) -> Vec<Effect> {
        let mut effects = match self.live.get(&id).and_then(|live| live.grant) {
            _ if self.is_approved_late(now, id) => self.come_late(now, id),
            Some(grant) if self.is_deciding(id) && !self.count_use(now, grant) => {
                self.withdraw(now, id, Withdrawal::GrantEnded, false)
            }
            used => self.carry_out(now, id).into_iter().chain(used.map(|_| self.shown())).collect(),
        };
        if self.untold > 0 {
            let reason = "a denial could not be recorded";
            effects.push(record(now, Event::Lost { count: std::mem::take(&mut self.untold), reason }));
        }
        effects
    }

    fn is_approved_late(&self, now: Timestamp, id: HoldId) -> bool {
        self.live.get(&id).is_some_and(|live| {
            let approved = live.state.standing().is_some_and(|it| it.decision == Decision::Approve);
            approved && now >= live.hold.deadline && matches!(live.state, State::Deciding { .. })
        })
    }

    /// An approval that took too long to record is late.
    fn come_late(&mut self, now: Timestamp, id: HoldId) -> Vec<Effect> {
        let waiting = self.live.get(&id).and_then(|live| live.state.ticket());
        let mut effects = self.expire(now, id);
        effects.extend(waiting.and_then(|ticket| self.over(id, ticket)));
        effects
    }

    /// Tells the sender of an answer how the hold ended meanwhile.
    fn over(&self, id: HoldId, ticket: Ticket) -> Option<Effect> {
        let standing = self.live.get(&id)?.state.standing()?.clone();
        Some(Effect::Reply { ticket, result: Err(Refusal::Over(standing)) })
    }

    /// The decision is on record, or does not have to be.
    fn carry_out(&mut self, now: Timestamp, id: HoldId) -> Vec<Effect> {
        let Some(live) = self.live.get_mut(&id) else { return vec![] };
        let State::Deciding { standing, ticket, answers } = live.state.clone() else { return vec![] };
        live.state = State::Decided { standing: standing.clone(), passed: false };
        let told = live.told(&standing);
        let mut effects = vec![Effect::Decide { hold: id, decision: standing.decision }];
        let result = Ok(Outcome::Accepted(standing));
        effects.extend(ticket.map(|ticket| Effect::Reply { ticket, result }));
        effects.extend(told);
        effects.extend(self.make(now, id, &answers));
        effects.extend(self.follow(now, id, &answers));
        effects
    }

    fn record_failed(&mut self, now: Timestamp, id: HoldId) -> Vec<Effect> {
        if let Some(Live { state, grant, .. }) = self.live.get_mut(&id)
            && let State::Deciding { standing: Standing { decision: Decision::Approve, .. }, ticket, .. } = *state
        {
            (*state, *grant) = (State::Pending, None);
            let result = Err(Refusal::NotRecorded);
            let reply = ticket.map(|ticket| Effect::Reply { ticket, result });
            return reply.into_iter().chain(self.ask_if_nobody_is(now, id)).collect();
        }
        self.unrecorded += 1;
        self.untold += 1;
        self.carry_out(now, id)
    }
}

impl Live {
    fn new(now: Timestamp, hold: Box<Hold>, state: State) -> Self {
        let (class, panel, reminders) = (hold.class(), Panel::of(&hold), ladder::reminders_until(now, &hold));
        Self { hold, class, panel, approvals: vec![], reminders, crowd: None, grant: None, quiet: false, state }
    }

    /// Begins to decide: nothing follows before that is on record.
    fn settle(
        &mut self,
        now: Timestamp,
        state: End,
        decision: Decision,
        answer: Option<(Answer, Option<Ticket>)>,
    ) -> Vec<Effect> {
        let (answer, ticket) = answer.unzip();
        // The approvals before the last, where it is one.
        let before =
            self.approvals.iter().filter(|other| decision == Decision::Approve && Some(*other) != answer.as_ref());
        let answers: Vec<_> = before.chain(&answer).cloned().collect();
        let entry = self.settle_by_all(now, state, decision, &answers);
        if let State::Deciding { ticket: waiting, answers: all, .. } = &mut self.state {
            (*waiting, *all) = (ticket.flatten(), answers);
        }
        vec![entry]
    }

    /// Likewise, by all of these answers; nothing but this decision follows from them.
    fn settle_by_all(&mut self, now: Timestamp, state: End, decision: Decision, answers: &[Answer]) -> Effect {
        let (hold, digest) = (self.hold.id, self.hold.alone());
        let standing = self.standing(state, decision, answers);
        self.state = State::Deciding { standing, ticket: None, answers: vec![] };
        let (answer, approvals) = match answers.split_last() {
            Some((last, before)) => (Some(last.clone()), before.to_vec()),
            None => (None, vec![]),
        };
        let (listed, operation_key) = (self.hold.listed(), OperationKey::of(&self.hold.request));
        let decided = Decided { hold, digest, listed, operation_key, state, decision, approvals, answer, grant: None };
        record(now, Event::Decided(Box::new(decided)))
    }

    /// Reviewers are told how it ended if they could see it, and the tree in any case; nobody where a grant let it pass.
    fn told(&self, standing: &Standing) -> Option<Effect> {
        let (hold, standing, crowd) = (self.hold.clone(), standing.clone(), self.crowd);
        let refused = matches!(standing.decision, Decision::Fail | Decision::Kill);
        match () {
            () if self.quiet && !refused => None,
            () if self.quiet || crowd.is_some() => Some(Effect::TellTree { hold, standing, crowd }),
            () => Some(Effect::Tell { hold, standing }),
        }
    }

    fn standing(&self, state: End, decision: Decision, answers: &[Answer]) -> Standing {
        let who = || quorum::joined(answers.iter().map(|answer| answer.who.clone()));
        Standing { hold: self.hold.id, state, decision, by: (!answers.is_empty()).then(who) }
    }
}

impl State {
    fn standing(&self) -> Option<&Standing> {
        match self {
            Self::Pending => None,
            Self::Deciding { standing, .. } | Self::Decided { standing, .. } => Some(standing),
        }
    }

    fn ticket(&self) -> Option<Ticket> {
        match self {
            Self::Deciding { ticket, .. } => *ticket,
            Self::Pending | Self::Decided { .. } => None,
        }
    }
}

/// What an agent before this one decided: what the kernel has counts, the record knows by whom.
fn inherited(id: HoldId, kernel: Option<Decision>, recorded: Option<Recorded>) -> Option<Standing> {
    let decision = kernel.or(recorded.as_ref().map(|it| it.decision))?;
    let recorded = recorded.filter(|it| it.decision == decision);
    let state = recorded.as_ref().map_or(end(decision), |it| it.state);
    Some(Standing { hold: id, state, decision, by: recorded.and_then(|it| it.by) })
}

fn end(decision: Decision) -> End {
    match decision {
        Decision::Approve => End::Approved,
        Decision::Fail | Decision::Kill => End::Denied,
        Decision::Withdraw => End::Withdrawn,
    }
}

fn record(time: Timestamp, event: Event) -> Effect {
    Effect::Record(Entry { time, event })
}

#[cfg(test)]
mod tests;
