//! What reviewers say, how that is known, and what becomes of it.

use std::fmt;

use holdpoint_common::decision::Decision;
use serde::{Deserialize, Serialize, Serializer};

use super::{Digest, HoldId, is_false, shown};
use crate::{
    quorum::{Assurance, Voice},
    scope::Scope,
};

/// What a reviewer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// The operation may happen.
    Approve,
    /// It may not; what that does is the rule's `on_deny`.
    Deny,
    /// It may not, and the process is killed.
    Kill,
    /// It may not; the call fails and the process lives.
    Fail,
}

impl Proof {
    /// The groups that this way asks: it answers for no others. None where it is nobody's channel.
    pub fn asks(&self) -> Option<&[String]> {
        match self {
            Self::Webhook { asks, .. } | Self::Slack { asks, .. } | Self::Exec { asks, .. } => Some(asks),
            Self::Page { .. } | Self::Local(_) | Self::Signed { .. } => None,
        }
    }

    /// The user of this host who answers by this way.
    pub fn caller(&self) -> Option<&Caller> {
        match self {
            Self::Local(caller) => Some(caller),
            Self::Page { entrance: Some(Entrance::Local(caller)), .. } => Some(caller),
            Self::Page { .. } | Self::Webhook { .. } | Self::Slack { .. } | Self::Exec { .. } | Self::Signed { .. } => {
                None
            }
        }
    }
}

impl Answer {
    /// As it counts towards a quorum.
    pub fn voice(&self) -> Voice<'_> {
        Voice { who: &self.who, asks: self.proof.asks() }
    }
}

impl Word {
    /// The decision that this word leads to, `on_deny` being what the rule says of a denial.
    pub fn decision(self, on_deny: Decision) -> Decision {
        match self {
            Self::Approve => Decision::Approve,
            Self::Deny => on_deny,
            Self::Kill => Decision::Kill,
            Self::Fail => Decision::Fail,
        }
    }
}

/// The way an answer came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "by", rename_all = "lowercase")]
pub enum Proof {
    /// A callback signed with the secret of this channel.
    Webhook {
        /// The channel's name in the configuration.
        channel: String,
        /// Groups of reviewers that the channel asks: it answers for no others.
        #[serde(skip)]
        asks: Vec<String>,
    },
    /// A click in Slack, signed with the app's secret.
    Slack {
        /// The channel's name in the configuration.
        channel: String,
        /// Who clicked, as Slack says: `TEAM/USER`.
        user: String,
        /// As of [`Self::Webhook`].
        #[serde(skip)]
        asks: Vec<String>,
    },
    /// Printed by the program of this channel.
    Exec {
        /// The channel's name in the configuration.
        channel: String,
        /// As of [`Self::Webhook`].
        #[serde(skip)]
        asks: Vec<String>,
    },
    /// Said on the review page, in a session of this reviewer.
    Page {
        /// The reviewer's name.
        user: String,
        /// By what the reviewer came in; none where root had a link made for somebody else.
        #[serde(flatten)]
        entrance: Option<Entrance>,
    },
    /// A local user, as the kernel names the peer of the control socket.
    Local(Caller),
    /// Signed with a key that the policy has of this reviewer: see [`crate::signature`].
    Signed {
        /// The key's fingerprint.
        key: String,
        /// The signature, which can be verified from the record alone.
        signature: String,
        /// User id of who passed it on. Decides nothing.
        uid: u32,
    },
}

/// By what somebody is known who comes to the review page. What it leads to is looked up again whenever it matters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Entrance {
    /// The user of this host who has asked for the link.
    Local(Caller),
    /// The link stood in a message that the reviewer alone reads.
    Message {
        /// The channel's name in the configuration.
        channel: String,
    },
    /// A login provider says so: OpenID Connect.
    Sso(Box<Account>),
}

/// Who somebody is to a login provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Account {
    /// The provider.
    pub issuer: String,
    /// Who that is there.
    pub subject: String,
    /// The address that it has verified, where such a one counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

impl fmt::Display for Entrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(caller) => write!(f, "this host's user {}", shown(&caller.name)),
            Self::Message { channel } => write!(f, "who reads {channel}"),
            Self::Sso(subject) => subject.fmt(f),
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let email = self.email.as_ref().map_or_else(String::new, |email| format!(" ({})", shown(email)));
        write!(f, "{}{email} at {}", shown(&self.subject), self.issuer)
    }
}

/// A user of this host, as the kernel names the peer of the control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Caller {
    /// User id.
    pub uid: u32,
    /// As whom there was a login, where that is somebody else: it stays through `su` and `sudo`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<u32>,
    /// The user's name, or of root that of who has logged in; a user without one is `#` and the number.
    #[serde(skip)]
    pub name: String,
}

impl Caller {
    /// Whether it is this user, or has logged in as it.
    pub fn is(&self, uid: u32) -> bool {
        self.uid == uid || self.login == Some(uid)
    }
}

/// What is known of who answers, beside the name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Known {
    /// How sure it is.
    #[serde(skip_serializing_if = "Assurance::is_basic")]
    pub assurance: Assurance,
    /// What the way that it came calls them, where that is another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed: Option<String>,
    /// Names of the users of this host that they are.
    #[serde(skip)]
    pub users: Vec<String>,
    /// Their numbers, and that of the user of the reviewer's name, where there are such users.
    #[serde(skip)]
    pub uids: Vec<u32>,
    /// Whether it is the requester.
    #[serde(rename = "self", skip_serializing_if = "is_false")]
    pub own: bool,
}

/// What came back from a reviewer. Not yet a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The hold that is answered.
    pub hold: HoldId,
    /// The digest that the reviewer saw; the local command line shows and repeats it.
    pub digest: Digest,
    /// What was said.
    pub word: Word,
    /// How far an approval reaches. Of a no, nothing.
    #[serde(skip_serializing_if = "Scope::is_once")]
    pub scope: Scope,
    /// Who says so: as the way that it came calls them, until [`crate::identity`] has said who that is.
    pub who: String,
    /// In their words.
    pub why: Option<String>,
    /// How that is known.
    pub proof: Proof,
    /// What else is, once it is known who that is.
    #[serde(flatten)]
    pub known: Box<Known>,
}

/// How a hold ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// A reviewer approved in time.
    Approved,
    /// A reviewer refused; or nobody was asked, since too many wait or come too fast, or enforcement ends.
    Denied,
    /// Nobody answered before the deadline.
    Expired,
    /// The call is gone.
    Withdrawn,
}

/// Why a hold was withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Withdrawal {
    /// The process, or the thread that asked, no longer exists.
    ProcessDead,
    /// The thread does something else: a signal handler jumped out of the call.
    CallAbandoned,
    /// A signal waits that will end the process as soon as it runs.
    FatalSignal,
    /// Another policy is in force, and says something else of the call.
    PolicyChanged,
    /// The grant that let it pass was taken back before it did: the call is asked about anew.
    GrantEnded,
}

/// What stands of a hold that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The hold.
    pub hold: HoldId,
    /// How it ended.
    pub state: End,
    /// What the kernel was told.
    #[serde(serialize_with = "decision_word")]
    pub decision: Decision,
    /// The reviewer whose answer counted, or all of them if several had to approve ([`quorum::joined`]); none if nobody's
    /// did.
    pub by: Option<String>,
}

/// Serialises a decision as its word in records and messages.
pub fn decision_word<S: Serializer>(decision: &Decision, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(word(*decision))
}

/// The decision's word in records and messages.
pub fn word(decision: Decision) -> &'static str {
    match decision {
        Decision::Approve => "approve",
        Decision::Fail => "fail",
        Decision::Kill => "kill",
        Decision::Withdraw => "withdraw",
    }
}

/// What the sender of an answer is told when it was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This answer decided the hold.
    Accepted(Standing),
    /// The hold was already decided in the same way; the answer had no effect.
    Again(Standing),
    /// This approval counts, and others are needed still: [`quorum::phrase`].
    Counted(String),
}

/// Why an answer was refused. It had no effect on the hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No hold has this id, or it ended long ago.
    #[error("unknown hold")]
    UnknownHold,
    /// The answer is about something else than what is held.
    #[error("wrong digest: this is not what is held")]
    WrongDigest,
    /// It is nobody's whom the policy knows by this way.
    #[error("{0}")]
    Stranger(String),
    /// The rule does not name this reviewer, or the channel does not ask the rule's reviewers.
    #[error("the rule does not name this reviewer")]
    NotNamed,
    /// Whoever asks, launched the tree that asks, or logged in to do so, does not answer.
    #[error("self: the requester may not answer")]
    Requester,
    /// A channel may not have shown all that an approval would be about.
    #[error("too long to be approved there: `holdpoint show` on the host shows all of it, and the review page")]
    NotShown,
    /// It is not sure enough who approves.
    #[error("this rule asks for an approval {}", .0.way())]
    Assurance(Assurance),
    /// The rule does not offer that much.
    #[error("this rule does not offer that scope; it offers: {0}")]
    Scope(String),
    /// So many approvals stand for more than one call already.
    #[error("too many grants are in force for this {0}")]
    Granted(&'static str),
    /// Others must approve: this reviewer has done so, or those whom they could stand for have.
    #[error("this adds nothing to the approvals that are there: still needed: {0}")]
    NotNeeded(String),
    /// The hold was decided otherwise.
    #[error("already decided otherwise")]
    Conflict(Standing),
    /// The hold expired or was withdrawn.
    #[error("the hold is over")]
    Over(Standing),
    /// The decision could not be recorded, so it did not take effect: the hold is still pending.
    #[error("the decision could not be recorded; the hold is still pending")]
    NotRecorded,
}
