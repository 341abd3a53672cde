//! The two local sockets: `control`, which holds authority, and `tree`, from which none comes.
//!
//! A connection turns lines into [`Command`]s; the daemon answers them. Nothing is decided here: who may do
//! what is the daemon's to say, from the [`Peer`] that the kernel names.
//!
//! ```text
//! client -- line --> connection (size, time, sender) --> control|tree -- Command --> daemon
//!        <- line --                                                   <-- Reply ---
//! ```

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::{
    approval::channel::Preview,
    claims::{Claim, Said, Unclaimed},
    denials::Denial,
    holds::grants::Grant,
    request::{Answer, Caller, Hold, HoldId, Outcome, Refusal, Standing},
    signature::{BadSignature, NAMESPACE},
};

pub mod bind;
pub mod client;
mod connection;
pub mod control;
pub mod message;
pub mod tree;

pub use message::{Notice, Which};

/// Directory of both sockets: 0755 root, so that only root can put a file there.
pub const RUN_DIR: &str = "/run/holdpoint";
/// File name of the socket with authority.
pub const CONTROL: &str = "control";
/// File name of the socket without.
pub const TREE: &str = "tree";

/// Who wrote a line, as the kernel names the sender of its bytes; it is also who connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Process id, as this process's PID namespace counts.
    pub pid: u32,
    /// User id, likewise for the user namespace.
    pub uid: u32,
    /// Group id, when it connected.
    pub gid: u32,
}

/// Why something is not done, and what would help.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{cause}")]
pub struct Declined {
    /// What stands against it.
    pub cause: String,
    /// What the person can do.
    pub remedy: Option<String>,
}

impl Declined {
    /// Declined, with nothing to be done about it.
    pub fn new(cause: impl Into<String>) -> Self {
        Self { cause: cause.into(), remedy: None }
    }

    /// The same, with what would help.
    #[must_use]
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}

impl From<Refusal> for Declined {
    fn from(refusal: Refusal) -> Self {
        let declined = Self::new(match &refusal {
            Refusal::Conflict(standing) | Refusal::Over(standing) => format!("{refusal}: {}", stands(standing)),
            _ => refusal.to_string(),
        });
        match refusal {
            Refusal::UnknownHold | Refusal::WrongDigest => declined.remedy("see `holdpoint holds`"),
            Refusal::Assurance(_) => declined.remedy("`holdpoint show` says what the rule asks for"),
            Refusal::Scope(_) => {
                declined.remedy("choose one of these, or a shorter time; `holdpoint show` says which there are")
            }
            Refusal::Granted(_) => declined.remedy("approve it once, or take some back: `holdpoint grants`"),
            Refusal::NotNeeded(_) => declined.remedy("wait for the others: everybody counts once"),
            Refusal::Stranger(_) => declined.remedy("who is who is said by [[reviewer]] in the policy"),
            Refusal::NotNamed => declined.remedy("`holdpoint show` says who is asked"),
            Refusal::Requester => declined.remedy("ask another reviewer: `holdpoint show` says who is asked"),
            Refusal::NotRecorded => declined.remedy("see journalctl --unit holdpoint"),
            Refusal::Conflict(_) | Refusal::Over(_) | Refusal::NotShown => declined,
        }
    }
}

impl From<Unclaimed> for Declined {
    fn from(unclaimed: Unclaimed) -> Self {
        Self::new(unclaimed.to_string()).remedy(unclaimed.remedy())
    }
}

impl From<BadSignature> for Declined {
    fn from(bad: BadSignature) -> Self {
        let declined = Self::new(bad.to_string());
        match bad {
            BadSignature::Unreadable | BadSignature::OtherNamespace(_) => {
                declined.remedy(format!("`ssh-keygen -Y sign -n {NAMESPACE} -f KEY` makes one, and so does --sign"))
            }
            BadSignature::UnknownKey(_) => declined
                .remedy("sign with a key that a [[reviewer]] of the policy has, or add this one there and reload it"),
            BadSignature::OtherStatement => declined
                .remedy("sign exactly what the same command prints with --statement: hold, digest and word count"),
        }
    }
}

/// What stands of a hold that is over, in words.
fn stands(standing: &Standing) -> String {
    let by = standing.by.as_deref().map(|by| format!(" by {by}")).unwrap_or_default();
    format!("{}{by}", message::word(standing.state))
}

/// Where the daemon puts its answer. Dropped unanswered, it tells the client that the agent is stopping.
pub type Reply<T> = oneshot::Sender<Result<T, Declined>>;

/// Dropped by the connection once the answer that it came with is written, or cannot be.
pub type Written = oneshot::Sender<()>;

/// What the daemon is asked to do. Those up to [`Command::EndCanary`] come from `control`, the others from `tree`.
#[derive(Debug)]
pub enum Command {
    /// All pending holds.
    Holds { from: Peer, reply: Reply<Vec<Hold>> },
    /// One hold.
    Show { from: Peer, id: HoldId, reply: Reply<Hold> },
    /// What the channel of this name would be asked about a hold.
    Preview { from: Peer, id: HoldId, channel: String, reply: Reply<Preview> },
    /// A reviewer's answer; its `who` and `proof` are those of `from`, who passes it on if it comes with a signature.
    Answer { from: Peer, answer: Answer, signature: Option<String>, reply: Reply<Outcome> },
    /// All grants.
    Grants { from: Peer, reply: Reply<Vec<Arc<Grant>>> },
    /// The `caller`, which is the user of `from`, takes these grants back; gives which they were.
    Revoke { from: Peer, caller: Caller, which: Which, why: Option<String>, reply: Reply<Vec<HoldId>> },
    /// A link to the review page, and for whom: for the `caller`, which is the user of `from`, unless root names a reviewer.
    Page { from: Peer, caller: Caller, reviewer: Option<String>, reply: Reply<(String, String)> },
    /// How the agent is.
    Status { from: Peer, reply: Reply<Status> },
    /// Read the policy anew.
    Reload { from: Peer, reply: Reply<Reloaded> },
    /// Deny everything, detach, stop. Answered when it is done, and the agent ends when the answer is written.
    Detach { from: Peer, reply: Reply<Written> },
    /// Process `pid`, a child of `from`, is to become governed as the canary at its next `execve(2)`.
    Canary { from: Peer, pid: u32, trusted: bool, reply: Reply<()> },
    /// That offer is over. Whether it was taken is told to who wants to know.
    EndCanary { pid: u32, reply: Option<Reply<bool>> },
    /// `from` asks to be governed from its next `execve(2)` on, and says this of the tree that it launches.
    Enrol { from: Peer, subject: Option<String>, said: Said, reply: Reply<Enrolled> },
    /// `from` went away after [`Command::Enrol`] without a confirmation: an offer not taken is void.
    Abandon { from: Peer },
    /// Is `from` governed now, as it was offered? Asked of the kernel's tables.
    Confirm { from: Peer, reply: Reply<bool> },
    /// The holds of a tree, now and later. Only for who launched it, and for root.
    Watch { from: Peer, tree: u64, reply: Reply<Watching> },
    /// Which tree `from` belongs to, that tree's holds, and what was refused there.
    Mine { from: Peer, reply: Reply<Mine> },
    /// `from` says this of the tree that it belongs to; gives all that is claimed of that tree.
    Annotate { from: Peer, said: Said, reply: Reply<Vec<Claim>> },
}

/// Which policy is in force now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Its revision.
    pub policy: String,
    /// That of the one before.
    pub before: String,
}

/// How an enrolment was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enrolled {
    /// Offered: taken at the next `execve(2)`.
    Offered {
        /// The new tree.
        tree: u64,
    },
    /// Nothing to do: the process is in a governed tree, and stays there.
    Already {
        /// The subject of that tree.
        subject: String,
    },
}

/// The holds of a tree: those that are pending, and the stream of what comes after.
#[derive(Debug)]
pub struct Watching {
    /// Pending at this moment.
    pub held: Vec<Hold>,
    /// From then on. When the sender is dropped the connection is closed and the client begins anew, so the
    /// daemon need not wait for a slow one: drop it when the channel is full.
    pub later: mpsc::Receiver<Notice>,
}

/// What a process may know of its own tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Mine {
    /// Tree and subject; none if the process is not governed.
    pub tree: Option<(u64, String)>,
    /// Pending holds of the tree.
    pub held: Vec<Hold>,
    /// What was refused there of late, the first one first.
    pub denied: Vec<Denial>,
}

/// How the agent is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the agent.
    pub version: String,
    /// When it started.
    pub since: Timestamp,
    /// Whether its programs are attached.
    pub attached: bool,
    /// Whether they were seen to act, all of them, under a policy. `attached` is not `enforcing`.
    pub enforcing: bool,
    /// What stands against enforcing; empty if it is.
    pub problems: Vec<String>,
    /// Each hook, and whether the canary met it.
    pub hooks: Vec<Hook>,
    /// The policy's file.
    pub policy_file: String,
    /// The host that it is for.
    pub host: String,
    /// The policy's revision, as in [`crate::request::Request::policy`].
    pub policy_revision: String,
    /// Bytes of the kernel's memory that the tables take, full or not; none if somebody removed their pins.
    pub kernel_memory: Option<u64>,
    /// Governed threads.
    pub governed_threads: u64,
    /// Pending holds.
    pub pending_holds: u64,
    /// Files that rules are about and that have further names (hard links).
    pub hard_links: u64,
    /// Events that did not reach the agent.
    pub lost_events: u64,
    /// Requests refused that would have been held, by the kernel's reason
    /// ([`holdpoint_common::event::Reason::word`]).
    pub not_held: BTreeMap<String, u64>,
}

/// One hook in [`Status`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// The kernel's name for it.
    pub name: String,
    /// Whether the canary met it.
    pub proven: bool,
}

/// Puts one question to the daemon and waits for its answer.
async fn ask<T>(daemon: &mpsc::Sender<Command>, question: impl FnOnce(Reply<T>) -> Command) -> Result<T, Declined> {
    let (reply, answer) = oneshot::channel();
    let stopping = || Declined::new("the agent is stopping").remedy("try again when it has restarted");
    daemon.send(question(reply)).await.map_err(|_| stopping())?;
    answer.await.unwrap_or_else(|_| Err(stopping()))
}

#[cfg(test)]
mod tests {
    use holdpoint_common::decision::Decision;

    use super::*;
    use crate::request::End;

    #[test]
    fn a_late_answer_is_told_what_stands() {
        let standing =
            Standing { hold: HoldId(1), state: End::Denied, decision: Decision::Kill, by: Some("bob".to_owned()) };
        assert_eq!(Declined::from(Refusal::Conflict(standing)).cause, "already decided otherwise: denied by bob");
    }

    #[test]
    fn a_refused_answer_comes_with_a_remedy() {
        assert!(Declined::from(Refusal::Requester).remedy.unwrap().contains("another reviewer"));
    }
}
