//! What a line of the record says. Plain data.

use std::net::IpAddr;

use holdpoint_common::decision::Decision;
use jiff::Timestamp;
use serde::Serialize;

use super::OperationKey;
use crate::{
    claims::Claim,
    holds::{
        Crowd,
        grants::{Ending, Grant},
    },
    ladder::Step,
    quorum::{Assurance, Group, SelfAnswer},
    request::{
        Answer, Digest, End, Entrance, Hold, HoldId, Reading, Request, Same, Withdrawal, decision_word, is_false,
    },
    scope::Scope,
};

/// One line of the record.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// When it was seen.
    pub time: Timestamp,
    /// What was seen.
    #[serde(flatten)]
    pub event: Event,
}

/// What was seen. Every event about a hold names it in `hold`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The agent began to work.
    Started {
        /// Version of the program.
        version: &'static str,
        /// Revision of the policy.
        policy: String,
    },
    /// Another policy was put in force.
    PolicyChanged {
        /// Its revision.
        policy: String,
        /// That of the one before.
        before: String,
        /// User id of who asked for it; none for a signal.
        by: Option<u32>,
    },
    /// The agent ended in order; enforcement goes on.
    Stopped,
    /// The kernel parked a request; after a restart of the agent it is seen again.
    Held {
        /// The hold.
        hold: HoldId,
        /// What is held.
        #[serde(flatten)]
        what: Box<Held>,
    },
    /// A channel took the question.
    Asked {
        /// The hold.
        hold: HoldId,
        /// The channel's name.
        channel: String,
        /// How many attempts that took.
        attempts: u32,
    },
    /// A channel could not be asked. The hold stays as it is.
    NotAsked {
        /// The hold.
        hold: HoldId,
        /// The channel's name.
        channel: String,
        /// What the last attempt met.
        error: String,
    },
    /// Nobody has decided in time, and others are asked, too.
    Escalated {
        /// The hold.
        hold: HoldId,
        /// Who.
        reviewers: Vec<Group>,
    },
    /// A hold waits without a question of its own: reviewers are asked about another one, which asks for the same.
    Joined {
        /// The hold.
        hold: HoldId,
        /// The other one.
        behind: HoldId,
    },
    /// One question is about several holds that ask for the same.
    Gathered {
        /// The hold that reviewers answer.
        hold: HoldId,
        /// What they approve: [`Digest::of_all`] that are listed.
        digest: Digest,
        /// That hold, and the others.
        listed: Vec<Same>,
    },
    /// Nobody is asked about a hold: too many wait already, or come too fast.
    TurnedAway {
        /// The hold.
        hold: HoldId,
        /// Whose.
        crowd: Crowd,
    },
    /// An approval counts, and others must join it.
    Counted {
        /// The hold.
        hold: HoldId,
        /// The approval.
        answer: Answer,
        /// Whose are missing still.
        missing: String,
    },
    /// A hold was decided. On disk before the kernel is told.
    Decided(Box<Decided>),
    /// An approval stands for more than the one call: what the reviewers have said is in the line that decided the hold.
    Granted(Box<Grant>),
    /// It does so no more.
    GrantEnded {
        /// The hold that was approved.
        grant: HoldId,
        /// Why.
        #[serde(flatten)]
        ending: Ending,
    },
    /// An answer had no effect.
    RefusedAnswer {
        /// The hold that it named, as far as that could be read.
        hold: Option<HoldId>,
        /// The answer; none if it was refused before it was read.
        answer: Option<Answer>,
        /// Why it was refused.
        refusal: String,
        /// Address that it came from, for callbacks that prove nothing.
        from: Option<IpAddr>,
        /// Refusals of this kind that were not recorded since the last one: there were too many.
        #[serde(skip_serializing_if = "is_zero")]
        more: u64,
    },
    /// Somebody was given a link to the review page.
    PageLink {
        /// For whom: who opens it answers in this name.
        reviewer: String,
        /// User id of who asked for it; 0 where root did so for somebody else.
        by: u32,
        /// As whom that user had logged in, where that is somebody else.
        #[serde(skip_serializing_if = "Option::is_none")]
        login: Option<u32>,
        /// Its process.
        pid: u32,
    },
    /// A session began on the review page.
    LoggedIn {
        /// In whose name.
        reviewer: String,
        /// Address that it came from; a proxy's, if there is one.
        from: IpAddr,
        /// By what that is known; none where root had a link made for them.
        #[serde(flatten)]
        entrance: Option<Entrance>,
    },
    /// A hold ended because its call is gone.
    Withdrawn {
        /// The hold.
        hold: HoldId,
        /// What it was.
        digest: Digest,
        /// Why.
        reason: Withdrawal,
    },
    /// The kernel let the held call through.
    Passed {
        /// The hold.
        hold: HoldId,
    },
    /// The kernel refused the held call as decided.
    Refused {
        /// The hold.
        hold: HoldId,
    },
    /// The granted call is over.
    Left {
        /// The hold.
        hold: HoldId,
    },
    /// The policy allowed a request and wants it recorded.
    Audited {
        /// What the rule would have said if the policy did not only observe.
        #[serde(skip_serializing_if = "Option::is_none")]
        would: Option<&'static str>,
        /// What was asked.
        #[serde(flatten)]
        request: Box<Request>,
    },
    /// The policy denied a request.
    Denied {
        /// Whether it was because a reviewer had denied the same not long before.
        #[serde(skip_serializing_if = "is_false")]
        again: bool,
        /// What was asked.
        #[serde(flatten)]
        request: Box<Request>,
    },
    /// The policy answered a request by killing the process.
    Killed(Box<Request>),
    /// A request that should have been held was refused.
    NotHeld {
        /// Why: [`holdpoint_common::event::Reason::word`].
        reason: &'static str,
        /// What was asked.
        #[serde(flatten)]
        request: Box<Request>,
    },
    /// A tree or a process carries a label from now on.
    Labelled(Box<Reading>),
    /// Somebody says something of a tree: nobody has verified it.
    Claimed {
        /// The governed tree.
        tree: String,
        /// What is said, and who says so.
        #[serde(flatten)]
        claim: Claim,
    },
    /// A process became governed.
    Enrolled {
        /// The governed tree.
        tree: String,
        /// Name of the subject.
        subject: String,
        /// Process id in the initial PID namespace.
        pid: u32,
        /// User id that launched the tree.
        launcher: u32,
        /// Whether it ran before: descriptors that it had were not asked about.
        #[serde(skip_serializing_if = "is_false")]
        already_running: bool,
    },
    /// Something that belongs into the record did not get there.
    Lost {
        /// How many.
        count: u64,
        /// What, and why.
        reason: &'static str,
    },
}

/// A hold without its identity, which the line already has.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Held {
    /// What a reviewer approves.
    pub digest: Digest,
    /// When silence denies.
    pub deadline: Timestamp,
    /// Who is asked, and may answer.
    pub reviewers: Vec<Group>,
    /// Who is asked after a while.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub escalation: Vec<Step>,
    /// How sure it has to be who approves.
    pub assurance: Assurance,
    /// Whether the requester may answer.
    #[serde(rename = "self", skip_serializing_if = "SelfAnswer::is_refused")]
    pub own: SelfAnswer,
    /// What an approval may be for besides the one call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<Scope>,
    /// What is asked, and by whom.
    pub request: Request,
    /// What labelled data was read before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read: Vec<Reading>,
    /// The working directory.
    pub cwd: String,
}

impl From<&Hold> for Held {
    fn from(hold: &Hold) -> Self {
        Self {
            digest: hold.digest.clone(),
            deadline: hold.deadline,
            reviewers: hold.reviewers.clone(),
            escalation: hold.escalation.clone(),
            assurance: hold.assurance,
            own: hold.own,
            scopes: hold.scopes.clone(),
            request: hold.request.clone(),
            read: hold.read.clone(),
            cwd: hold.context.cwd.clone(),
        }
    }
}

/// A decision and the answer behind it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decided {
    /// The hold.
    pub hold: HoldId,
    /// What it was: that of this hold alone.
    pub digest: Digest,
    /// Where its question was about several ([`Event::Gathered`]): all of them. Their digest is that of the answer, so that the
    /// line by itself says what was approved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listed: Vec<Same>,
    /// Which operations are the same another time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_key: Option<OperationKey>,
    /// How it ended.
    pub state: End,
    /// What the kernel is told.
    #[serde(serialize_with = "decision_word")]
    pub decision: Decision,
    /// Approvals before the last one, where several were needed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Answer>,
    /// The answer that counted; none if the time ran out, or a grant did. Given to another hold, it is to the question that
    /// listed this one, or a no to that which this one waited behind ([`Event::Joined`]).
    pub answer: Option<Answer>,
    /// The grant that counted.
    #[serde(flatten)]
    pub grant: Option<ByGrant>,
}

/// An approval of the same before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ByGrant {
    /// The hold that was approved then.
    pub grant: HoldId,
    /// Who has approved it: [`crate::quorum::joined`].
    pub granted_by: String,
}

impl Entry {
    /// The hold that this line decides. Such a line is on disk before anything follows from it.
    pub fn decides(&self) -> Option<HoldId> {
        match &self.event {
            Event::Decided(decided) => Some(decided.hold),
            _ => None,
        }
    }
}

/// Serde asks by reference.
fn is_zero(count: &u64) -> bool {
    *count == 0
}
