//! Approvals that stand for more than one call: made when a decision is on record, used by holds of the same class in the
//! same tree, judged anew at each use, and taken back at once. Kept by this agent alone.
//!
//! Nothing here lets anything through by itself. A hold that a grant covers is decided as by an answer: on record first, then
//! in the kernel, which looks at the call once more.

use std::{collections::BTreeMap, sync::Arc};

use holdpoint_common::decision::Decision;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Effect, Holds, Live, State, record};
use crate::{
    class::Class,
    quorum::{self, Group},
    record::{ByGrant, Decided, Event, OperationKey},
    request::{Answer, End, Hold, HoldId, Refusal, Standing, Withdrawal, Word},
    scope::Scope,
};

/// Most grants of one tree.
const OF_A_TREE: usize = 64;
/// Most of all trees.
const OF_A_HOST: usize = 1024;

/// An approval that stands for more than one call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Grant {
    /// That of the hold that was approved.
    #[serde(rename = "grant")]
    pub id: HoldId,
    /// What it is for.
    pub class: Class,
    /// The same for people: [`Hold::sentence`].
    pub what: String,
    /// The one tree that it is for.
    pub tree: String,
    /// Name of the tree's subject.
    pub subject: String,
    /// Name of the rule.
    pub rule: Option<String>,
    /// Revision of the policy.
    pub policy: String,
    /// The one process that it is for; none if it is for all of the tree.
    pub process: Option<OneProcess>,
    /// Who has approved: [`quorum::joined`].
    pub by: String,
    /// When.
    pub since: Timestamp,
    /// From this moment on it is over; none if it lasts until the tree or the process ends.
    pub until: Option<Timestamp>,
    /// How many calls it has let pass.
    pub uses: u64,
    /// When the last one.
    pub last_use: Option<Timestamp>,
    /// Who was asked.
    #[serde(skip)]
    pub reviewers: Vec<Group>,
    /// The labels that who asked carried: they were shown, and no others.
    #[serde(skip)]
    carried: Vec<String>,
    /// The approvals that it was made of, to be judged anew.
    #[serde(skip)]
    answers: Vec<Answer>,
}

/// One process, whatever it executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneProcess {
    /// Process id in the initial PID namespace.
    pub pid: u32,
    /// Its start, nanoseconds of `CLOCK_BOOTTIME`.
    pub started: u64,
}

/// Why a grant is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Ending {
    /// Somebody has taken it back.
    Revoked {
        /// Their name.
        by: String,
        /// In their words.
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// A reviewer has said no to the same.
    Denied {
        /// Their name.
        by: String,
    },
    /// Its time.
    Time,
    /// There is nobody any more whom it is for.
    Gone,
    /// Another policy is in force.
    PolicyChanged,
}

/// All grants of this host.
#[derive(Debug, Default)]
pub(super) struct Grants(BTreeMap<HoldId, Arc<Grant>>);

impl Grant {
    /// What these answers about `hold`, on record at `now`, grant together: no more than each of them.
    fn of(hold: &Hold, answers: &[Answer], now: Timestamp) -> Option<Self> {
        if !are_wider(answers) {
            return None;
        }
        let scopes: Vec<_> = answers.iter().map(|answer| answer.scope).collect();
        let class = hold.class()?;
        let time = scopes.iter().filter_map(|scope| if let Scope::Time(time) = scope { Some(*time) } else { None });
        let ends = |time: u32| now.saturating_add(SignedDuration::from_secs(time.into())).unwrap_or(now);
        let request = &hold.request;
        Some(Self {
            id: hold.id,
            class,
            what: hold.sentence(),
            tree: request.tree.clone(),
            subject: request.subject.clone(),
            rule: request.rule.clone(),
            policy: request.policy.clone(),
            process: scopes
                .contains(&Scope::Process)
                .then_some(OneProcess { pid: request.pid, started: request.started }),
            by: quorum::joined(answers.iter().map(|answer| answer.who.clone())),
            since: now,
            until: time.min().map(ends),
            uses: 0,
            last_use: None,
            reviewers: hold.asked().flatten().cloned().collect(),
            carried: hold.carried.clone(),
            answers: answers.to_vec(),
        })
    }

    /// Whom it is for, for people.
    pub fn whose(&self) -> String {
        let end = if self.until.is_some() { "" } else { " until it ends" };
        self.process.map_or_else(|| format!("this tree{end}"), |process| format!("process {}{end}", process.pid))
    }

    /// Whether it is for what `live` asks, as its rule has it now, at this moment.
    fn covers(&self, now: Timestamp, live: &Live) -> bool {
        let request = &live.hold.request;
        let caller = OneProcess { pid: request.pid, started: request.started };
        request.tree == self.tree
            && live.class.as_ref() == Some(&self.class)
            && self.process.is_none_or(|process| process == caller)
            && self.until.is_none_or(|until| now < until)
            && live.hold.carried.iter().all(|label| self.carried.contains(label))
            && live.panel.would_approve(&self.answers)
    }
}

impl Holds {
    /// The grants, by the ids of their holds.
    pub fn grants(&self) -> impl Iterator<Item = &Arc<Grant>> {
        self.grants.0.values()
    }

    /// Decides a new hold by the grant that covers it; without one, somebody is asked.
    pub(super) fn use_or_ask(&mut self, now: Timestamp, id: HoldId) -> Vec<Effect> {
        let Some(grant) = self.covering(now, id) else { return self.join_or_ask(now, id) };
        if let Some(live) = self.live.get_mut(&id) {
            live.quiet = true;
        }
        self.use_grant(now, id, grant)
    }

    pub(super) fn covering(&self, now: Timestamp, id: HoldId) -> Option<HoldId> {
        let live = self.live.get(&id)?;
        self.grants().find(|grant| grant.covers(now, live)).map(|grant| grant.id)
    }

    pub(super) fn use_grant(&mut self, now: Timestamp, id: HoldId, grant: HoldId) -> Vec<Effect> {
        let (Some(live), Some(grant)) = (self.live.get_mut(&id), self.grants.0.get(&grant)) else { return vec![] };
        live.grant = Some(grant.id);
        live.settle_by(now, ByGrant { grant: grant.id, granted_by: grant.by.clone() })
    }

    /// Whether there is room for what the approvals of `live` grant with one more.
    ///
    /// # Errors
    /// There are too many grants.
    pub(super) fn grantable(&self, live: &Live, last: &Answer) -> Result<(), Refusal> {
        let wider = are_wider(live.approvals.iter().chain([last]));
        let tree = &live.hold.request.tree;
        // Those that are being recorded count.
        let drafts = self.live.values().filter(|live| live.state.is_granting());
        let trees: Vec<_> =
            self.grants().map(|grant| &grant.tree).chain(drafts.map(|live| &live.hold.request.tree)).collect();
        match () {
            () if !wider => Ok(()),
            () if trees.iter().filter(|of| **of == tree).count() >= OF_A_TREE => Err(Refusal::Granted("tree")),
            () if trees.len() >= OF_A_HOST => Err(Refusal::Granted("host")),
            () => Ok(()),
        }
    }

    /// The grant stands, since the approvals that it is made of are on record; what waits and asks for the same is decided by it.
    pub(super) fn make(&mut self, now: Timestamp, id: HoldId, answers: &[Answer]) -> Vec<Effect> {
        let Some(grant) = self.live.get(&id).and_then(|live| Grant::of(&live.hold, answers, now)) else {
            return vec![];
        };
        // Several that were decided by the clock at once can be too many together.
        let of_tree = self.grants().filter(|other| other.tree == grant.tree).count();
        if of_tree >= OF_A_TREE || self.grants.0.len() >= OF_A_HOST {
            return vec![];
        }
        let mut effects = vec![record(now, Event::Granted(Box::new(grant.clone())))];
        self.grants.0.insert(id, Arc::new(grant));
        effects.push(self.shown());
        let pending: Vec<_> = self.pending().map(|hold| hold.id).collect();
        for waiting in pending {
            if self.covering(now, waiting) == Some(id) {
                effects.extend(self.use_grant(now, waiting, id));
            }
        }
        effects
    }

    /// What a grant has decided is on record: it counts as a use. False if the grant is over by now.
    pub(super) fn count_use(&mut self, now: Timestamp, grant: HoldId) -> bool {
        let Some(grant) = self.grants.0.get_mut(&grant).map(Arc::make_mut) else { return false };
        (grant.uses, grant.last_use) = (grant.uses + 1, Some(now));
        true
    }

    /// Ends a grant. What it has decided and the kernel has not let through yet is asked about anew, if it was taken back.
    pub(super) fn end_grant(&mut self, now: Timestamp, id: HoldId, ending: Ending) -> Vec<Effect> {
        if self.grants.0.remove(&id).is_none() {
            return vec![];
        }
        let is_taken_back = matches!(ending, Ending::Revoked { .. } | Ending::Denied { .. });
        let mut effects = vec![record(now, Event::GrantEnded { grant: id, ending }), self.shown()];
        if is_taken_back {
            let unused = |live: &&Live| live.grant == Some(id) && live.is_approved();
            let unused: Vec<_> = self.live.values().filter(unused).map(|live| live.hold.id).collect();
            let withdrawn = |hold| self.withdraw(now, hold, Withdrawal::GrantEnded, false);
            effects.extend(unused.into_iter().flat_map(withdrawn));
        }
        effects
    }

    /// Ends the grants of what somebody says no to.
    pub(super) fn end_denied(&mut self, now: Timestamp, id: HoldId, by: &str) -> Vec<Effect> {
        let Some(Live { hold, class: Some(class), .. }) = self.live.get(&id) else { return vec![] };
        let tree = &hold.request.tree;
        let same = |grant: &&Arc<Grant>| grant.tree == *tree && grant.class == *class;
        let same: Vec<_> = self.grants().filter(same).map(|grant| grant.id).collect();
        let ending = || Ending::Denied { by: by.to_owned() };
        same.into_iter().flat_map(|grant| self.end_grant(now, grant, ending())).collect()
    }

    /// Ends the grants whose time is over.
    pub(super) fn end_late(&mut self, now: Timestamp) -> Vec<Effect> {
        let is_over = |grant: &&Arc<Grant>| grant.until.is_some_and(|until| now >= until);
        let over: Vec<_> = self.grants().filter(is_over).map(|grant| grant.id).collect();
        over.into_iter().flat_map(|id| self.end_grant(now, id, Ending::Time)).collect()
    }

    /// Another policy says anew whom and what it asks: no grant of before counts, nor one that is being made, and what waits is
    /// approved for the one call only. What an approval that is being recorded would decide besides its own hold is asked anew.
    pub(super) fn end_all(&mut self, now: Timestamp) -> Vec<Effect> {
        for live in self.live.values_mut() {
            live.hold.scopes.clear();
            live.panel.offers_nothing();
            if let State::Deciding { answers, .. } = &mut live.state {
                answers.retain(|answer| answer.word != Word::Approve);
            }
        }
        let all: Vec<_> = self.grants.0.keys().copied().collect();
        all.into_iter().flat_map(|id| self.end_grant(now, id, Ending::PolicyChanged)).collect()
    }

    pub(super) fn shown(&self) -> Effect {
        Effect::Grants(self.grants().cloned().collect())
    }
}

/// Whether a grant is made of these answers: there are some, and each is an approval that reaches beyond the one call.
fn are_wider<'a>(answers: impl IntoIterator<Item = &'a Answer>) -> bool {
    let mut answers = answers.into_iter().peekable();
    answers.peek().is_some() && answers.all(|answer| answer.word == Word::Approve && !answer.scope.is_once())
}

impl State {
    /// Whether a grant is being made.
    fn is_granting(&self) -> bool {
        matches!(self, Self::Deciding { answers, .. } if are_wider(answers))
    }
}

impl Live {
    /// Begins to decide by a grant, which is as good as the answers that it is made of.
    fn settle_by(&mut self, now: Timestamp, grant: ByGrant) -> Vec<Effect> {
        let (hold, digest) = (self.hold.id, self.hold.alone());
        let (state, decision, by) = (End::Approved, Decision::Approve, Some(grant.granted_by.clone()));
        let standing = Standing { hold, state, decision, by };
        self.state = State::Deciding { standing, ticket: None, answers: vec![] };
        let (grant, operation_key) = (Some(grant), OperationKey::of(&self.hold.request));
        let (listed, approvals, answer) = (vec![], vec![], None);
        let decided = Decided { hold, digest, listed, operation_key, state, decision, approvals, answer, grant };
        vec![record(now, Event::Decided(Box::new(decided)))]
    }

    /// Whether it is approved, in the kernel, and not used yet.
    fn is_approved(&self) -> bool {
        let State::Decided { standing, passed: false } = &self.state else { return false };
        standing.decision == Decision::Approve
    }
}
